"""A change of the settings is taken over whole once its writer is done, or not at all."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

from patchbay.proxy import reload
from patchbay.proxy.credentials import Credentials
from patchbay.proxy.reload import Reload, Settings, read
from patchbay.router import Router
from patchbay.settings.settings import Config
from patchbay.values.decision import Outcome

ONE = "accounts: [{id: a, provider: openai, key: example-one}]\n"
TWO = "accounts: [{id: a, provider: openai, key: example-one}, {id: b, provider: openai, key: example-two}]\n"


class Bench:
    """Settings in a file, a router that goes by them, and what was taken over."""

    def __init__(self, folder: Path, text: str) -> None:
        self.path = folder / "config.yaml"
        self.path.write_text(text)
        self.keys = Credentials()
        self.router = Router(read(self.path), bytes(32), Random(0), lambda count: bytes(count))
        self.taken: list[Settings] = []
        self.reload = Reload(self.path, self.router, self.keys, self._take)
        self.fails: OSError | None = None

    def _take(self, found: Settings) -> None:
        if self.fails:
            raise self.fails
        self.taken.append(found)
        self.router.reload(found.config)

    def write(self, text: str) -> None:
        """Write as editors do: aside, then over it, so that even an equal length and time is another file."""
        aside = self.path.with_suffix(".new")
        aside.write_text(text)
        aside.replace(self.path)

    def look(self) -> bool:
        return asyncio.run(self.reload.look(calm=0))

    @property
    def config(self) -> Config:
        return self.router.config


def write_key(path: Path, value: str) -> None:
    aside = path.with_suffix(".new")
    aside.touch(mode=0o600)
    aside.write_text(value)
    aside.replace(path)


def same_key(bench: Bench) -> None:
    key = bench.path.parent / "key"
    write_key(key, "example-x")
    bench.write(f"clients: [{{name: ann, key: example-x}}, {{name: bob, key: 'file:{key}'}}]\n" + ONE)


def test_a_change_is_taken_over_once(tmp_path: Path) -> None:
    bench = Bench(tmp_path, ONE)
    assert not bench.look()

    bench.write(TWO)
    assert bench.look()
    assert [account.id for account in bench.config.accounts] == ["a", "b"]
    assert not bench.look()
    assert len(bench.taken) == 1


def test_a_file_that_is_being_written_is_left_until_it_is_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(tmp_path, ONE)
    bench.write(TWO[:70])

    async def writing_on(_: float) -> None:
        bench.write(TWO)

    with monkeypatch.context() as patched:
        patched.setattr("patchbay.proxy.reload.asyncio.sleep", writing_on)
        assert not bench.look()
    assert bench.taken == []
    assert bench.look()
    assert len(bench.config.accounts) == 2


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (
            lambda bench: bench.write("strategy: x\nbogus: 1\n" + ONE),
            ["strategy: 'x' is none of", "bogus: is not a setting"],
        ),
        (lambda bench: bench.write("accounts: [{id: a"), ["config.yaml:"]),
        (lambda bench: bench.write(""), ["is empty; it needs settings"]),
        (lambda bench: bench.path.unlink(), ["nothing changes: no file ", "; name the settings"]),
        (lambda bench: bench.write("clients: [{name: x, key: env:PATCHBAY_TEST_UNSET}]\n" + ONE), ["is not set"]),
        (lambda bench: same_key(bench), ["the clients ann and bob have the same key"]),
    ],
)
def test_a_bad_file_changes_nothing_and_says_so_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, spoil: Callable[[Bench], None], said: list[str]
) -> None:
    bench = Bench(tmp_path, ONE)
    before = bench.config

    spoil(bench)
    assert bench.look()
    assert not bench.look()

    assert bench.config is before
    assert len(caplog.records) == 1
    assert caplog.records[0].levelno == logging.WARNING
    for part in said:
        assert part in caplog.text

    bench.write(TWO)
    assert bench.look()
    assert len(bench.config.accounts) == 2


def test_what_cannot_be_done_changes_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench(tmp_path, ONE)
    bench.fails = PermissionError(13, "Permission denied")
    bench.write(TWO)
    bench.look()

    assert "cannot be used, so nothing changes" in caplog.text
    assert len(bench.config.accounts) == 1


def test_what_holds_from_the_next_start_on_is_said_and_kept(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench(tmp_path, ONE)
    bench.write("state: elsewhere\nstore: redis://:hush@example.com\n" + TWO)
    bench.look()

    assert (bench.config.state, bench.config.store) == ("~/.local/state/patchbay", "")
    assert len(bench.config.accounts) == 2
    assert "the change of state takes effect at the next start" in caplog.text
    assert "hush" not in caplog.text


def rests(bench: Bench, account: str = "a") -> bool:
    return bench.router.accounts.health.deadline(account, "", 1) is not None


def spoiled(tmp_path: Path, outcome: Outcome, text: str = ONE) -> Bench:
    bench = Bench(tmp_path, text)
    bench.router.accounts.health.record_outcome("a", "", outcome, 0)
    assert rests(bench)
    return bench


RATE = Outcome("rate", until=500.0, scope="account")
AUTH = Outcome("auth", scope="account")


@pytest.mark.parametrize(
    ("outcome", "text", "still"),
    [
        (RATE, ONE.replace("openai,", "openai, weight: 3, models: [x], priority: 2, max_concurrent: 1,"), True),
        (RATE, "strategy: round_robin\nsessions: {ttl: 5m}\n" + ONE, True),
        (RATE, ONE.replace("example-one", "example-new"), False),
        (AUTH, ONE.replace("example-one", "example-new"), False),
        (AUTH, ONE.replace("openai,", "openai, weight: 3,"), True),
        (RATE, ONE.replace("openai,", "openai, base_url: 'https://other.example',"), False),
        (RATE, TWO, True),
    ],
)
def test_a_rest_survives_unless_what_it_was_about_is_another(
    tmp_path: Path, outcome: Outcome, text: str, still: bool
) -> None:
    bench = spoiled(tmp_path, outcome)
    bench.write(text)
    bench.look()

    assert len(bench.taken) == 1
    assert rests(bench) == still


def test_an_account_that_comes_back_still_rests(tmp_path: Path) -> None:
    bench = spoiled(tmp_path, RATE, TWO)
    for text in (TWO.replace("{id: a, provider: openai, key: example-one}, ", ""), TWO):
        bench.write(text)
        bench.look()

    assert rests(bench)


def test_another_key_in_a_file_ends_what_was_wrong_with_the_old_one(tmp_path: Path) -> None:
    key = tmp_path / "key"
    write_key(key, "sk-old-0123456789")
    bench = Bench(tmp_path, f"accounts: [{{id: a, provider: openai, key: 'file:{key}'}}]\n")
    secret = bench.config.accounts[0].secret
    asyncio.run(bench.keys.ready(secret))
    bench.router.accounts.health.record_outcome("a", "", AUTH, 0)

    os.utime(key)  # touched: the same key
    bench.look()
    assert rests(bench)
    write_key(key, "sk-new-0123456789")
    assert bench.look()
    assert not rests(bench)
    assert bench.keys.value(secret) == "sk-new-0123456789"
    assert bench.taken == []


def test_a_key_file_that_others_can_read_is_said_and_so_is_its_end(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The key is the same then: no message says that it is another one."""
    key = tmp_path / "key"
    write_key(key, "sk-old-0123456789")
    bench = Bench(tmp_path, f"accounts: [{{id: a, provider: openai, key: 'file:{key}'}}]\n")
    asyncio.run(bench.keys.ready(bench.config.accounts[0].secret))
    caplog.set_level(logging.INFO)

    key.chmod(0o644)
    assert bench.look()
    (told,) = caplog.messages
    assert told.startswith(f"patchbay: account a: file:{key}: must be readable by its owner only: chmod 600 ")
    caplog.clear()

    key.chmod(0o600)
    assert bench.look()
    assert caplog.messages == ["patchbay: the key of account a was read again and can be used"]


def test_another_key_of_a_client_is_taken_over(tmp_path: Path) -> None:
    key = tmp_path / "key"
    write_key(key, "client-old")
    bench = Bench(tmp_path, f"clients: [{{name: x, key: 'file:{key}'}}]\n" + ONE)

    write_key(key, "client-new")
    bench.look()

    assert [known.value for known in bench.taken[-1].clients] == [b"client-new"]


def test_a_former_name_of_a_setting_is_said_at_a_reload(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench(tmp_path, ONE)
    bench.write(f"failover: {{seconds: 7s}}\n{ONE}")
    bench.look()

    assert bench.config.failover.timeout == 7
    assert caplog.text.count("config.yaml:1:12: failover.seconds: is now called 'timeout'") == 1


def test_once_started_it_looks_by_itself_until_it_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(tmp_path, ONE)
    monkeypatch.setattr(reload, "LOOK_EVERY", 0.0)
    monkeypatch.setattr(reload, "UNCHANGED_FOR", 0.0)

    async def runs() -> None:
        bench.reload.start()
        bench.write(TWO)
        async with asyncio.timeout(30):
            while not bench.taken:
                await asyncio.sleep(0.01)
        assert bench.reload.stop()
        assert not bench.reload.stop()

    asyncio.run(runs())
    assert len(bench.config.accounts) == 2


def test_the_files_are_looked_at_twice_a_second_and_read_when_calm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A look that fails is reported, and the next one follows."""
    bench = Bench(tmp_path, ONE)
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 3:
            raise asyncio.CancelledError

    async def fails() -> bool:
        raise OSError("hush")

    monkeypatch.setattr(reload.asyncio, "sleep", sleep)
    monkeypatch.setattr(bench.reload, "look", fails)
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(bench.reload._run())
    assert slept == [0.5] * 3
    assert caplog.messages == ["patchbay: the settings could not be read again: OSError"] * 2
    monkeypatch.undo()
    bench.write(TWO)
    slept.clear()
    monkeypatch.setattr(reload.asyncio, "sleep", sleep)
    assert asyncio.run(bench.reload.look()) and slept == [0.2]
    assert not asyncio.run(bench.reload.look()) and slept == [0.2], "without a change there is nothing to wait for"


@pytest.mark.parametrize("name", ["state", "store", "mode"])
def test_each_fixed_setting_is_kept_and_said_where_it_differs(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    bench = Bench(tmp_path, ONE)
    before = getattr(bench.config, name)
    values = {"state": "/elsewhere", "store": "memory", "mode": "shadow"}
    bench.write(f"{name}: {values[name]}\n{ONE}")
    bench.look()

    assert getattr(bench.config, name) == before
    said = [told for told in caplog.messages if "next start" in told]
    assert said == [f"patchbay: the change of {name} takes effect at the next start"]


def test_child_processes_inherit_no_secret_of_the_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("KEY_OF_A", "KEY_OF_ANN", "STORE_OF_SETTINGS", "STORE_OF_VARIABLE", "PATCHBAY_STORE", "OTHER"):
        monkeypatch.setenv(name, "memory")
    monkeypatch.setenv("PATCHBAY_STORE", "env:STORE_OF_VARIABLE")
    path, keys = tmp_path / "config.yaml", Credentials()
    path.write_text(
        "store: 'env:STORE_OF_SETTINGS'\nclients: [{name: ann, key: 'env:KEY_OF_ANN'}]\n"
        "accounts: [{id: a, provider: openai, key: 'env:KEY_OF_A'}]\n"
    )
    reload._withhold(read(path), keys)

    held = {"KEY_OF_A", "KEY_OF_ANN", "STORE_OF_SETTINGS", "STORE_OF_VARIABLE", "PATCHBAY_STORE", "OTHER"}
    assert held & keys.environment().keys() == {"OTHER"}


def test_the_settings_and_the_files_of_their_keys_are_watched(tmp_path: Path) -> None:
    write_key(tmp_path / "key", "example-one")
    key = f"file:{tmp_path / 'key'}"
    bench = Bench(tmp_path, TWO.replace("example-one", f"'{key}'"))

    assert bench.reload._files() == [bench.path, tmp_path / "key"]


def test_keys_of_enabled_accounts_are_covered_before_their_first_use(tmp_path: Path) -> None:
    """But for those that a program prints, and where they are so many that the search for them would cost."""
    key = tmp_path / "key"
    write_key(key, "example-three")
    rest = [f"{{id: c, provider: openai, key: 'file:{key}'}}", "{id: d, provider: openai, key: {cmd: [touch, ran]}}"]
    rest += ["{id: e, provider: openai, enabled: false, key: example-four}"]
    text = TWO.replace("]", ", " + ", ".join(rest) + "]")
    many = ", ".join(f"{{id: a{n}, provider: openai, key: example-{n:04}}}" for n in range(reload.MOST_LEARNED + 1))

    for accounts, covered in ((text, 3), (f"accounts: [{many}]\n", 0)):
        bench, said = Bench(tmp_path, accounts), b"example-one example-two example-three example-four example-0001"
        asyncio.run(reload.load(bench.path, bench.keys))
        assert bench.keys.scrub(said).count(b"removed-by") == covered
    assert not Path("ran").exists()
