"""An account that rests can be used again when somebody says so, beside a running proxy too."""

from __future__ import annotations

import time
from pathlib import Path
from random import Random

import pytest

from patchbay.accounts.upstream_faults import OutcomeContext
from patchbay.cli.main import main
from patchbay.proxy import persistence
from patchbay.proxy.persistence import Persistence, store_of
from patchbay.router import Router
from patchbay.settings.reader import load
from patchbay.settings.settings import Config
from patchbay.store import master_key
from patchbay.values.decision import Outcome

ACCOUNTS = "accounts: [{id: a, provider: openai, key: example-one}, {id: b, provider: openai, key: example-two}]\n"


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Config:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(persistence, "FIRST_READ_WAIT", 30.0)  # seconds; only a failing test takes them
    (tmp_path / "state").mkdir(mode=0o700)
    text = f"state: {tmp_path / 'state'}\nstore: sqlite\n{ACCOUNTS}"
    (tmp_path / "config.yaml").write_text(text)
    (tmp_path / "config.yaml").chmod(0o600)
    return load(text, "config.yaml")


def process(settings: Config) -> tuple[Router, Persistence]:
    key = master_key(Path(settings.state))
    router = Router(settings, key, Random(0), lambda count: bytes(count))
    return router, Persistence(settings, key, router.state)


def rests(router: Router) -> list[bool]:
    return [not router.accounts.health.available(name, "m", time.time()) for name in "ab"]


def spoiled(router: Router, kind: str = "quota") -> None:
    for name in "ab":
        outcome = Outcome(kind, None, "account")  # type: ignore[arg-type]
        router.accounts.health.record_outcome(name, "m", outcome, time.time(), context=OutcomeContext(name))


def test_a_rest_that_is_kept_is_over_for_the_next_process(settings: Config) -> None:
    """A14: by the command line, while no proxy runs."""
    router, persistence = process(settings)
    spoiled(router)
    persistence.end()

    assert main(["wake", "a"]) == 0

    router, persistence = process(settings)
    persistence.end()
    assert rests(router) == [False, True]


@pytest.mark.parametrize("kind", ["quota", "auth", "permission", "model"])
def test_a_running_proxy_hears_of_it_whatever_the_account_rests_for(settings: Config, kind: str) -> None:
    """A14: also what is kept nowhere, such as a bad key."""
    router, persistence = process(settings)
    spoiled(router, kind)
    _, store = store_of(settings, master_key(Path(settings.state)))
    assert store is not None
    store.news(time.time())

    assert main(["wake", "a"]) == 0
    router.state.adopt(store.news(time.time()), time.time())

    assert rests(router) == [False, True]
    store.close()
    persistence.end()


def test_another_instance_hears_of_it_from_the_one_that_was_told(settings: Config) -> None:
    """A14: by mitmproxy's command."""
    (one, first), (two, second) = process(settings), process(settings)
    spoiled(one, "auth")
    spoiled(two, "auth")
    one.state.wake("a", time.time())
    two.state.adopt(one.state.changes(time.time()), time.time())
    assert (rests(one), rests(two)) == ([False, True], [False, True])
    first.end()
    second.end()


def test_that_an_account_is_woken_is_said(settings: Config, capsys: pytest.CaptureFixture[str]) -> None:
    process(settings)[1].end()
    assert main(["wake", "a"]) == 0

    told = "account a may be used again; running proxies apply this within a second\n"
    assert capsys.readouterr().out == told


def test_an_account_that_is_not_there_is_said_to_be_so(settings: Config, capsys: pytest.CaptureFixture[str]) -> None:
    process(settings)[1].end()
    assert main(["wake", "zoe"]) == 1
    assert "there are: a, b" in capsys.readouterr().err


def test_without_a_store_the_command_in_mitmproxy_is_named(
    settings: Config, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    process(settings)[1].end()
    (tmp_path / "config.yaml").write_text(f"state: {tmp_path / 'state'}\n{ACCOUNTS}")
    (tmp_path / "state" / "state.db").unlink()
    assert main(["wake", "a"]) == 2
    assert "patchbay.wake" in capsys.readouterr().err
