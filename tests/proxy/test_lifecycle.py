"""The settings make a service, change it or are refused; and what was begun is ended."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from types import FunctionType
from typing import Any, get_args, get_type_hints

import pytest
from mitmproxy import ctx
from mitmproxy.addons import clientplayback
from mitmproxy.exceptions import OptionsError
from mitmproxy.test import tflow

from patchbay.clients import Known
from patchbay.proxy import (
    compatibility,
    lifecycle as lifecycle_module,
    option_checks,
    option_defaults,
    reload,
    start_lines,
    tls_passthrough,
)  # fmt: skip
from patchbay.proxy.hooks import Patchbay
from patchbay.proxy.incident_recorder import IncidentRecorder
from patchbay.proxy.lifecycle import Lifecycle
from patchbay.proxy.loaded_flows import LoadedFlows
from patchbay.proxy.persistence import Persistence
from patchbay.proxy.reload import FIXED
from patchbay.proxy.terminal_lines import LineStyle
from patchbay.values.account import LoginFile
from patchbay.values.http import Origin

from .addon import ACCOUNTS, ask, driver, flow, in_loop, patchbay, patchbay_of_a_fixture, service

THREE = ACCOUNTS + '  - {id: three, provider: generic, base_url: "http://127.0.0.1:9", key: sk-three-0123456789}\n'


@pytest.fixture
def addon(tmp_path: Path) -> Iterator[Patchbay]:
    with patchbay_of_a_fixture(tmp_path) as made:
        yield made


def lifecycle(of: Patchbay) -> Lifecycle:
    return of._lifecycle


def other_file(folder: Path, settings: str, state: str = "state") -> str:
    file = folder / "other.yaml"
    file.write_text(f"state: {folder / state}\n{settings}")
    return str(file)


@in_loop
@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ("accounts: [{id: a}]", "config.yaml:2:"),
        ("", "accounts"),
        ("clients: [{name: x, key: env:PATCHBAY_TEST_UNSET}]" + ACCOUNTS, "is not set"),
        ("journal: {path: /}" + ACCOUNTS, "is no ordinary file"),
        ("store: env:PATCHBAY_TEST_UNSET" + ACCOUNTS, "PATCHBAY_TEST_UNSET is not set"),
    ],
)
async def test_a_start_that_is_refused_says_why_and_serves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, settings: str, said: str
) -> None:
    looked: list[str] = []
    monkeypatch.setattr(option_checks, "warn", lambda: looked.append("at the options"))
    with patchbay(tmp_path, settings) as addon:
        assert lifecycle(addon).refused and looked == []
        assert lifecycle(addon).service is None
        lifecycle(addon).configure({"patchbay_config"})  # nor does a later event change that
        lifecycle(addon).running()
        asked = await ask(addon, flow())

    assert len([record for record in caplog.records if said in record.getMessage()]) == 1
    assert asked.response is not None and asked.response.status_code == 502
    assert logging.getLogger("asyncio").disabled  # what is ended with the process would hide the reason


@in_loop
async def test_a_file_that_is_not_there_is_named_with_the_places_where_it_is_looked_for(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with patchbay(tmp_path, patchbay_config=str(tmp_path / "missing.yaml")):
        pass

    assert (
        f"no file {tmp_path / 'missing.yaml'}; name the settings (in mitmproxy: --set patchbay_config=FILE)"
        in caplog.text
    )


@in_loop
async def test_a_state_folder_that_cannot_be_used_is_not_taken_for_the_settings(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "master.key").write_bytes(b"short")
    with patchbay(tmp_path) as addon:
        assert lifecycle(addon).refused

    assert "master.key" in caplog.text
    assert "name the settings" not in caplog.text


@pytest.mark.parametrize("error", [RuntimeError, AttributeError, KeyError, TypeError])
@in_loop
async def test_a_mitmproxy_that_is_another_is_not_run_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: type[Exception]
) -> None:
    def fails() -> None:
        raise error("an answer does not arrive")

    monkeypatch.setattr(compatibility, "check", fails)
    applied: list[str] = []
    monkeypatch.setattr(option_defaults, "apply", lambda: applied.append("defaults"))
    replays, factory = clientplayback.ReplayHandler, logging.getLogRecordFactory()
    with patchbay(tmp_path) as addon:
        assert lifecycle(addon).service is None
        assert clientplayback.ReplayHandler is replays
        assert logging.getLogRecordFactory() is factory

    assert applied == []
    assert "patchbay does not run on this mitmproxy: " in caplog.text
    assert "an answer does not arrive" in caplog.text


@in_loop
async def test_the_settings_file_is_an_option_and_its_warnings_are_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    unset = ACCOUNTS.replace("sk-account-one-0123456789", "env:PATCHBAY_TEST_UNSET")
    with patchbay(tmp_path, unset):
        option = ctx.options._options["patchbay_config"]
        assert (option.default, option.typespec) == ("", str)
        where = "$PATCHBAY_CONFIG, ./config.yaml, ~/.config/patchbay/config.yaml"
        assert option.help == f"The YAML file with the accounts (else {where})"

    assert len([line for line in caplog.messages if "stored here in plain text" in line]) == 1


@in_loop
async def test_a_missing_key_is_said_at_the_start_by_the_line_of_its_account_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    unset = ACCOUNTS.replace("sk-account-one-0123456789", "env:PATCHBAY_TEST_UNSET")
    unset += f"  - {{id: login, provider: codex_login, login: {tmp_path / 'nowhere.json'}}}\n"
    with patchbay(tmp_path, unset) as addon:
        lines = list(start_lines.of(service(addon).router, {}, 1.0))
        assert "PATCHBAY_TEST_UNSET" not in caplog.text and "nowhere.json" not in caplog.text
        ctx.options.update(patchbay_config=other_file(tmp_path, unset.replace("UNSET", "NONE")))

    said = [line.level for line in lines if "PATCHBAY_TEST_UNSET" in line.text(LineStyle())]
    assert said == [logging.WARNING]
    assert len([line for line in lines if "nowhere.json" in line.text(LineStyle())]) == 1
    assert caplog.text.count("PATCHBAY_TEST_NONE") == 1  # later no such line is written


@in_loop
async def test_another_file_is_taken_over_while_it_runs(tmp_path: Path) -> None:
    with patchbay(tmp_path) as addon:
        before = service(addon)
        asked = await ask(addon, flow())
        ctx.options.update(patchbay_config=other_file(tmp_path, THREE, state="elsewhere"))

        assert service(addon) is before
        assert [each.id for each in before.router.config.accounts] == ["one", "two", "three"]
        assert before.router.config.state == str(tmp_path / "state")  # it holds from the next start on
        assert not (tmp_path / "elsewhere").exists()
        assert driver(asked).lease is not None


def leaves(of: object, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every single setting of *of*: its path, and its value."""
    if isinstance(of, tuple) and of and is_dataclass(of[0]):
        for place, one in enumerate(of):
            yield from leaves(one, f"{path}.{place}")
    elif is_dataclass(of):
        for each in fields(of):
            if path or each.name not in ("warnings", "places", *FIXED):
                yield from leaves(getattr(of, each.name), f"{path}.{each.name}")
    else:
        yield path, of


def with_change(of: Any, path: list[str]) -> Any:
    """Return *of* with another value at *path*."""
    if not path:
        return another(of)
    if isinstance(of, tuple):
        place = int(path[0])
        return (*of[:place], with_change(of[place], path[1:]), *of[place + 1 :])
    name = path[0]
    choices = get_args(get_type_hints(type(of))[name])
    others = [one for one in choices if isinstance(one, str) and one != getattr(of, name)]
    return replace(of, **{name: others[0] if others else with_change(getattr(of, name), path[1:])})


def another(value: Any) -> Any:
    match value:
        case bool():
            return not value
        case int() | float():
            return value * 1000 + 1
        case str():
            return value + "x"
        case tuple():
            return value[1:] or ("x",)
        case frozenset():
            return value ^ {"x"}
        case Mapping():
            return {**value, "x": "none"}
        case Origin():
            return Origin(value.scheme, value.host, value.port + 1)
        case None:  # of a provider
            return LoginFile("tool", "~/login.json", "/token")
    raise TypeError(f"no other value for {value!r}")


def parts(of: object, path: str, seen: set[int]) -> Iterator[tuple[str, object]]:
    """Everything simple that *of* holds: with its path, through our own objects, maps and sequences."""
    if isinstance(of, str | bytes | int | float | None):
        yield path, of
        return
    if isinstance(of, FunctionType):
        yield path, of.__qualname__
    if id(of) in seen:
        return
    seen.add(id(of))
    if isinstance(of, Mapping):
        for key, value in of.items():
            yield from parts(value, f"{path}[{key!r}]", seen)
    elif isinstance(of, frozenset | set):
        yield path, sorted(map(repr, of))
    elif isinstance(of, list | tuple):
        for place, value in enumerate(of):
            yield from parts(value, f"{path}[{place}]", seen)
    if type(of).__module__.startswith("patchbay."):
        names = {*getattr(of, "__dict__", ()), *getattr(of, "__struct_fields__", ())}
        names |= {name for kind in type(of).__mro__ for name in slots_of(kind)}
        for name in sorted(names):
            yield from parts(getattr(of, name, None), f"{path}.{name}", seen)


def slots_of(kind: type) -> tuple[str, ...]:
    slots = kind.__dict__.get("__slots__", ())
    return (slots,) if isinstance(slots, str) else tuple(slots)


EVERY_SECTION = """
accounts:
  - {id: one, provider: generic, base_url: "http://127.0.0.1:9", key: sk-account-one-0123456789,
     headers: {x-goog-user-project: p, x-key: "env:PATCHBAY_TEST_A"},
     error_rules: [{status: 400, contains: a, outcome: rate, cooldown: 5}]}
clients: [{name: ann, key: sk-client-0123456789}]
"""


@in_loop
async def test_a_reload_leaves_what_a_start_with_the_same_settings_makes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For every setting that is not FIXED: a part that keeps the former value would differ."""
    monkeypatch.setenv("PATCHBAY_TEST_A", "sk-a-0123456789")
    monkeypatch.chdir(tmp_path)  # the other journal lies here
    kept: dict[str, list[str]] = {}
    with patchbay(tmp_path, EVERY_SECTION) as addon:
        begun = reload.Settings(service(addon).router.config, service(addon).clients)
        settings = [path for path, _ in leaves(begun.config)]
        for path in settings:
            config = with_change(begun.config, path.split(".")[1:])
            after = reload.Settings(config, tuple(Known(key, b"sk-client-0123456789") for key in config.clients))
            reloaded, started = lifecycle(addon)._started(begun), lifecycle(addon)._started(after)
            lifecycle(addon)._change(reloaded, after)
            reloaded.router.accounts.take_changes(0.0)  # what a user is told of it
            found, wanted = (dict(parts(each, "", set())) for each in (reloaded, started))
            if wrong := [where for where in found | wanted if found.get(where) != wanted.get(where)]:
                kept[path] = wrong

    assert {".limits.known_ids", ".sessions.order", ".accounts.0.provider.stamp.headers"} <= {*settings}
    assert kept == {".journal.path": [".log.journal._file"]}  # two descriptors of one file


@in_loop
@pytest.mark.parametrize("runs", [True, False])
async def test_the_other_file_is_watched_where_the_first_was(
    tmp_path: Path, runs: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(option_defaults, "settle", lambda: None)
    with patchbay(tmp_path) as addon:
        if runs:
            lifecycle(addon).running()
        ctx.options.update(patchbay_config=other_file(tmp_path, THREE))

        watch = lifecycle(addon)._reload
        assert watch and watch._path == tmp_path / "other.yaml"
        watching = [task for task in asyncio.all_tasks() if task.get_name() == "patchbay-reload"]
        assert [task for task in watching if not task.cancelling()] == ([watch._task] if runs else [])


@in_loop
@pytest.mark.parametrize("settings", ["accounts: [{id: a}]", "clients: [{name: x, key: env:UNSET_HERE}]" + ACCOUNTS])
async def test_a_bad_file_is_refused_as_a_value_of_the_option(tmp_path: Path, settings: str) -> None:
    with patchbay(tmp_path) as addon:
        before = service(addon).router.config
        with pytest.raises(OptionsError):
            ctx.options.update(patchbay_config=other_file(tmp_path, settings))

        assert service(addon).router.config == before
        assert ctx.options.patchbay_config == str(tmp_path / "config.yaml")


@in_loop
async def test_an_option_that_would_give_keys_away_is_refused_while_it_runs(tmp_path: Path) -> None:
    with patchbay(tmp_path):
        with pytest.raises(OptionsError, match="patchbay: ssl_insecure"):
            ctx.options.update(ssl_insecure=True)

        assert ctx.options.ssl_insecure is False


@in_loop
async def test_such_an_option_at_the_start_refuses_it(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with patchbay(tmp_path, ssl_insecure=True) as addon:
        assert lifecycle(addon).service is None

    assert "ssl_insecure would send keys" in caplog.text


@in_loop
async def test_a_proxy_that_only_looks_reads_no_settings_and_writes_nothing(tmp_path: Path) -> None:
    with patchbay(tmp_path, "this is: no settings file", patchbay_look=True) as addon:
        config = service(addon).router.config
        ctx.options.update(patchbay_config=str(tmp_path / "nowhere.yaml"))
        with pytest.raises(OptionsError, match="takes effect at the next start"):
            ctx.options.update(patchbay_look=False)

        assert (config.looks, config.accounts, config.journal.path, config.store) == (True, (), "", "memory")
        assert service(addon).router.config is config
    assert [each.name for each in tmp_path.iterdir()] == ["config.yaml"]


@in_loop
async def test_options_that_do_not_matter_are_not_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    with patchbay(tmp_path):
        monkeypatch.setattr(option_checks, "warn", lambda: told.append("warn"))
        monkeypatch.setattr(option_checks, "check", lambda _: told.append("check"))
        ctx.options.update(key_size=4096)
        assert told == []
        ctx.options.update(proxy_debug=True)
        assert told == ["check", "warn"]


@in_loop
async def test_a_change_reaches_every_part(tmp_path: Path) -> None:
    with patchbay(tmp_path) as addon:
        told: list[str] = []
        lifecycle(addon)._in_flight.settings_changed = lambda: told.append("sockets")  # type: ignore[method-assign]
        before = service(addon).guards
        more = f"journal: {{path: {tmp_path / 'journal.jsonl'}}}\nclients: [{{name: ann, key: sk-ann-0123456789}}]"
        ctx.options.update(patchbay_config=other_file(tmp_path, more + ACCOUNTS))

        assert told == ["sockets"]
        assert [known.key.name for known in service(addon).clients] == ["ann"]
        assert service(addon).guards is not before
        journal = service(addon).log.journal
        assert journal is not None
        assert addon._keys._withheld[1] >= {"sk-ann-0123456789"}
        ctx.options.update(patchbay_config=other_file(tmp_path / ".", f"{more}\ncrosstalk: {{incidents: 7}}{ACCOUNTS}"))
        lifecycle(addon).configure({"patchbay_config"})
        assert service(addon).log.journal is journal  # it is the same
        assert service(addon).incidents._files._settings.incidents == 7
        ctx.options.update(patchbay_config=other_file(tmp_path / ".", ACCOUNTS))
        lifecycle(addon).configure({"patchbay_config"})
        assert service(addon).log.journal is None
        await asyncio.get_running_loop().shutdown_default_executor()
        assert journal._closed.is_set()


@in_loop
async def test_the_parts_know_each_other(tmp_path: Path) -> None:
    with patchbay(tmp_path, "grace_period: 7s" + ACCOUNTS) as addon:
        parts, shutdown = service(addon), lifecycle(addon).shutdown
        alarms = parts.context.alarm.__self__  # type: ignore[attr-defined]

        assert (alarms._router, alarms._store, alarms._incidents) == (parts.router, parts.store, parts.incidents)
        assert parts.router.changed == parts.store.soon
        assert parts.router.state.leaked == parts.incidents.leaked
        assert parts.context.verified()
        assert (parts.context.opened, parts.context.record) == (parts.log.opened, parts.log.message_closed)
        assert (shutdown._grace(), shutdown._under_way()) == (7.0, 0)
        asked = await ask(addon, flow())
        assert shutdown._under_way() == 1
        shutdown._cut()
        assert asked.metadata["patchbay.error"] == "the proxy was ended"


@in_loop
async def test_what_begins_with_mitmproxy_and_what_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[object] = []

    def tell(owner: object, name: str) -> None:
        monkeypatch.setattr(owner, name, lambda *given: told.append((name, *given)))

    for name in ("settle", "listen"):
        tell(option_defaults, name)
    tell(tls_passthrough, "warn")
    tell(lifecycle_module, "warn_of_nowhere")
    for owner, name in ((Persistence, "start"), (Persistence, "end"), (IncidentRecorder, "close")):
        tell(owner, name)
    tell(LoadedFlows, "log_verdicts")
    with patchbay(tmp_path) as addon:
        parts, theirs = service(addon), ctx.master.shutdown
        lifecycle(addon).running()
        config = parts.router.config
        assert told == [
            *[("settle",), ("listen",), ("start", parts.store), ("warn", config)],
            ("warn_of_nowhere", config, ["regular"]),
        ]
        told.clear()
        lifecycle(addon).done()
        assert ctx.master.shutdown == theirs
        assert told == [("end", parts.store), ("close", parts.incidents), ("log_verdicts", parts.loaded)]
        assert lifecycle(addon)._reload and lifecycle(addon)._reload._task is None


@in_loop
async def test_it_runs_and_what_it_began_is_ended(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(option_defaults, "settle", lambda: None)  # it would freeze what all tests have loaded
    caplog.set_level(logging.INFO)
    journal = tmp_path / "journal.jsonl"
    with patchbay(tmp_path, f"journal: {{path: {journal}}}" + ACCOUNTS) as addon:
        factory, replays = logging.getLogRecordFactory(), clientplayback.ReplayHandler
        lifecycle(addon).running()
        names = {task.get_name() for task in asyncio.all_tasks()}
        assert "patchbay-reload" in names
        asked = await ask(addon, flow())
        assert ctx.master.shutdown == lifecycle(addon).shutdown.request_shutdown
        lifecycle(addon)._in_flight.end_all("the proxy was ended")

    await asyncio.sleep(0)
    assert json.loads(journal.read_text())["error"] == "the proxy was ended"
    assert asked.metadata["patchbay.error"] == "the proxy was ended"
    assert service(addon).log.journal is None
    assert logging.getLogRecordFactory() is not factory
    assert clientplayback.ReplayHandler is not replays
    assert not {"patchbay-reload"} & {task.get_name() for task in asyncio.all_tasks() if not task.cancelling()}


def test_a_model_without_an_id_is_logged_without_a_key(addon: Patchbay, caplog: pytest.LogCaptureFixture) -> None:
    asyncio.run(addon._keys.ready(service(addon).router.config.accounts[0].secret))
    service(addon).router.editor.unnamed("vertex", "sk-account-one-0123456789" + "x" * 100)

    named = "removed-by-patchbay------" + "x" * 39  # 64 characters
    assert f"provider vertex: model_ids has no entry for '{named}': its requests" in caplog.text


def test_what_a_client_may_now_is_looked_up_in_the_present_settings(addon: Patchbay) -> None:
    client = service(addon).context.client_now
    assert client(tflow) is tflow  # type: ignore[arg-type,comparison-overlap]  # no clients are configured


def test_before_there_are_settings_nothing_has_a_time_of_grace() -> None:
    assert Patchbay()._lifecycle._grace() == 0.0
