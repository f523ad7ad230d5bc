"""What `patchbay …` prints of running proxies, of several, of none."""

from __future__ import annotations

import json
import time
from pathlib import Path
from random import Random

import pytest

from patchbay.accounts.bindings import Binding, Key
from patchbay.cli.main import main
from patchbay.proxy import persistence
from patchbay.proxy.control_answers import ProxyStatus
from patchbay.proxy.control_socket import ControlFailed
from patchbay.proxy.persistence import Persistence
from patchbay.router import Router
from patchbay.settings.reader import load
from patchbay.store import master_key

from .fake_proxy import ANSWERS, SESSION, fake_proxy

ACCOUNTS = "accounts: [{id: one, provider: openai, key: example-1}, {id: two, provider: openai, key: example-2}]\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PATCHBAY_CONTROL", raising=False)
    (tmp_path / "config.yaml").write_text(f"state: {tmp_path / 'state'}\n{ACCOUNTS}")
    master_key(tmp_path / "state")
    return tmp_path


def printed(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> str:
    assert main(list(words)) == code
    told = capsys.readouterr()
    return told.err if code else told.out


def test_a_running_proxy_is_shown_as_tables(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with fake_proxy(folder / "state"):
        assert printed(capsys, "status").splitlines() == [
            "proxy     http://127.0.0.1:8080 · process 7 · patchbay 0.9",
            "mode      serve",
            "up        1m15s",
            "exchanges 12 · 1 in flight · 2 failed · 1 moved",
            "accounts  one 10, two 2",
            "tokens    1,000 in (80% cached) 50 out",
            "verdicts  12 clean",
        ]
        accounts = printed(capsys, "accounts").splitlines()
        assert [line.split()[0] for line in accounts] == ["ACCOUNT", "one", "m", "n", "two"]
        assert "2096-" in accounts[1] and accounts[1].endswith("rate limited (m)") and "3/5" in accounts[1]
        sessions = printed(capsys, "sessions").splitlines()
        assert len(sessions) == 2 and sessions[1].startswith("abcd1234  claude  local")
        (_, _, move) = printed(capsys, "sessions", "abcd1234").splitlines()
        assert move.endswith("one → two: rate limited")
        told = printed(capsys, "explain", "abcd1234")
        assert f"session   {SESSION}" in told and "account   two · moved" in told


def test_json_is_what_the_proxy_says(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with fake_proxy(folder / "state"):
        assert json.loads(printed(capsys, "status", "--json"))["totals"]["accounts"] == {"one": 10, "two": 2}
        assert json.loads(printed(capsys, "accounts", "--json"))[0]["until"] == 4e9
        assert json.loads(printed(capsys, "sessions", "--json"))[0]["session"] == SESSION
        assert json.loads(printed(capsys, "explain", "abcd1234", "--json"))["request_id"] == "pb1-x"


def test_a_proxy_of_another_release_is_named(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async def answer(name: str, arguments: tuple[str, ...]) -> object:
        return [{"account": "one", "tokens": 3.5}]

    with fake_proxy(folder / "state", answer):
        said = printed(capsys, "accounts", code=2)
    assert "is of another release" in said and "$[0].tokens" in said


def test_each_change_says_what_it_did(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with fake_proxy(folder / "state"):
        for words in (["wake", "one"], ["cool", "one", "5"], ["disable", "one"], ["enable", "one"],
                      ["unbind", "abcd1234"], ["reload"]):  # fmt: skip
            assert printed(capsys, *words) == f"{ANSWERS[words[0]]}\n"
        assert printed(capsys, "wake", "of-nowhere", code=1) == "there is no of-nowhere; there are: one, two\n"


def test_of_several_proxies_all_are_changed_and_each_is_shown(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked: list[str] = []

    async def other(name: str, arguments: tuple[str, ...]) -> object:
        asked.append(name)
        if name == "status":
            return ProxyStatus(8)
        if name == "unbind":
            raise ControlFailed("there is no session abcd1234")
        if name == "reload":
            raise ControlFailed("config.yaml has mistakes")
        return ANSWERS[name]

    with fake_proxy(folder / "state"), fake_proxy(folder / "state", other):
        assert printed(capsys, "wake", "one") == "account one may be used again\n"
        assert printed(capsys, "unbind", "abcd1234") == f"{ANSWERS['unbind']}\n", "where it is known"
        told = printed(capsys, "status")
        assert "process 7\nproxy" in told and "process 8\nproxy" in told
        assert "there are: 7, 8" in printed(capsys, "status", "--json", code=2)
        assert [name for name in asked if name != "status"] == ["wake", "unbind"]
        assert main(["reload"]) == 1, "one that refuses is enough"
        assert capsys.readouterr() == (f"{ANSWERS['reload']}\n", "config.yaml has mistakes\n")
        assert "no proxy is running as process 1; there are: 7, 8" in printed(capsys, "status", "--pid", "1", code=1)
        assert "process 8" in printed(capsys, "status", "--pid", "8")


def test_the_environment_names_the_proxy(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = str(folder / "elsewhere.sock")
    with fake_proxy(folder / "state", PATCHBAY_CONTROL=path):
        monkeypatch.setenv("PATCHBAY_CONTROL", path)
        assert "process 7" in printed(capsys, "status")
    assert "no proxy is running" in printed(capsys, "status", code=1)


@pytest.mark.parametrize(
    "words", [["status"], ["accounts"], ["sessions"], ["unbind", "abcd"], ["reload"], ["explain", "abcd"]]
)
def test_without_a_proxy_and_a_store_a_sentence_says_what_to_do(
    folder: Path, capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    told = printed(capsys, *words, code=1)
    assert told.count("\n") == 1 and "no proxy is running" in told and "patchbay run" in told


def test_without_a_proxy_the_store_is_read_and_changed(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(persistence, "FIRST_READ_WAIT", 30.0)
    text = f"state: {folder / 'state'}\nstore: sqlite\n{ACCOUNTS}"
    (folder / "config.yaml").write_text(text)
    settings = load(text, "config.yaml")

    def process() -> tuple[Router, Persistence]:
        router = Router(settings, master_key(folder / "state"), Random(0), lambda count: bytes(count))
        return router, Persistence(settings, master_key(folder / "state"), router.state)

    router, store = process()
    now = time.time()
    router.accounts.bindings.adopt(Binding(Key("openai@any", b"", SESSION), "one", now, now + 1000), now)
    generation = router.accounts.bindings.hold(Key("openai@any", b"", SESSION), "one", now)
    router.accounts.bindings.bind(Key("openai@any", b"", SESSION), "one", generation, now)
    store.end()

    assert "account one is disabled; running proxies apply" in printed(capsys, "disable", "one")
    assert "account two rests for 1m30s: paused by a command" in printed(capsys, "cool", "two", "90")
    one, two = json.loads(printed(capsys, "accounts", "--json"))
    assert (one["state"], one["reason"], two["state"], two["sessions"]) == ("disabled", "by a command", "paused", 0)
    (session,) = json.loads(printed(capsys, "sessions", "abcd", "--json"))
    assert (session["name"], session["home"]) == ("abcd1234", "one")
    assert "there is no session ff" in printed(capsys, "sessions", "ff", code=1)
    assert "account two rests for 2h00m: paused by a command" in printed(capsys, "cool", "two", "2h")
    assert "no length such as 90s, 10m or 2h" in printed(capsys, "cool", "two", "0", code=1)

    router, store = process()
    assert [each.enabled for each in router.config.accounts] == [False, True]
    assert not router.accounts.health.available("two", "m", time.time())
    store.end()

    printed(capsys, "enable", "one")
    printed(capsys, "wake", "two")
    printed(capsys, "cool", "two", "50")
    router, store = process()
    assert [each.enabled for each in router.config.accounts] == [True, True]
    until = router.accounts.health.deadline("two", "m", time.time())
    assert until is not None and 40 < until - time.time() <= 50
    store.end()
