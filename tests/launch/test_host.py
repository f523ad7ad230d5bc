"""The process of the proxy."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable
from types import SimpleNamespace

import pytest

from patchbay.launch import host


@pytest.fixture
def tool(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """What mitmdump is started with."""
    started: list[list[str]] = []
    monkeypatch.setattr("sys.argv", ["host"])

    def imported(name: str) -> object:
        if name == "uvloop":
            raise ImportError(name)
        assert name == "mitmproxy.tools.main"
        return SimpleNamespace(mitmdump=lambda: started.append(list(sys.argv)))

    monkeypatch.setattr(importlib, "import_module", imported)
    return started


def test_it_is_the_tool_with_the_options_that_follow(tool: list[list[str]]) -> None:
    with pytest.raises(SystemExit) as ended:
        host.main(["mitmdump", "-", "-s", "main.py"])

    assert ended.value.code is None
    assert tool == [["mitmdump", "-s", "main.py"]]


def test_the_password_of_an_outer_proxy_is_no_argument_of_the_process(
    tool: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """T6: every user of this machine can read the arguments of a process, and its children its environment."""
    monkeypatch.setenv(host.AUTH, "me:secret")
    with pytest.raises(SystemExit):
        host.main(["mitmdump", "-"])

    assert tool == [["mitmdump", "--set", "upstream_auth=me:secret"]]
    assert host.AUTH not in os.environ


@pytest.mark.parametrize(
    ("stock", "used"), [("", True), ("inline", True), ("uvloop", False), ("heads, uvloop", False), ("all", False)]
)
def test_uvloop_runs_it_where_it_is_installed(monkeypatch: pytest.MonkeyPatch, stock: str, used: bool) -> None:
    chosen: list[object] = []
    monkeypatch.setenv(host.STOCK, stock)
    monkeypatch.setattr("asyncio.set_event_loop_policy", chosen.append)
    host._use_uvloop()

    assert [type(each).__module__ for each in chosen] == (["uvloop"] if used else [])


def test_it_ends_gracefully_when_its_starter_is_gone_and_at_once_when_that_takes_too_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told: list[object] = []

    def note(name: str) -> Callable[..., None]:
        return lambda *what: told.append((name, *what))

    monkeypatch.setattr(os, "kill", note("kill"))
    monkeypatch.setattr(os, "_exit", note("exit"))
    monkeypatch.setattr(host.time, "sleep", note("sleep"))
    reading, writing = os.pipe()
    os.close(writing)
    host._end_with(reading)
    os.close(reading)

    assert told == [("kill", os.getpid(), 15), ("sleep", host._PATIENCE), ("exit", 1)]


def test_an_environment_without_mitmproxy_is_told_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    checked: list[str] = []

    def imported(name: str) -> object:
        if name == "patchbay.needs":
            return SimpleNamespace(check=lambda folder: checked.append(folder.name))
        raise ModuleNotFoundError(name)

    monkeypatch.setattr("sys.argv", ["host"])
    monkeypatch.setattr(importlib, "import_module", imported)
    with pytest.raises(ModuleNotFoundError):
        host.main(["mitmdump", "-"])

    assert checked == ["addon"]
