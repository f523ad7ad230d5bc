"""A running proxy is asked and changed: by `patchbay …` over its socket, and by commands in mitmweb."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import signal
import ssl
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import trustme

from patchbay.cli.main import main

from ..ports import free_port
from ..simulator import Simulator, simulator_thread
from .conftest import KEYS
from .dialogue import body, credential, path
from .harness import Proxy, eventually, generic_config, proxy
from .test_replay import Web

NAMES = {name: key for key, name in KEYS.items()}
CLIENT = "sk-client-0123456789abcdef-its-own"
KEPT = ("session", "session_id", "thread", "account", "client", "tier", "path", "model")
PAIR = dict(list(NAMES.items())[:2])


def patchbay(folder: Path, *arguments: str, code: int = 0) -> str:
    """Run the command line beside the proxy of *folder*, in this process; return what it printed."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        ended = main([*arguments, "--config", str(folder / "config.yaml")])
    assert ended == code, printed.getvalue()
    return printed.getvalue()


def shown(folder: Path, *arguments: str) -> Any:
    return json.loads(patchbay(folder, *arguments, "--json"))


def ask(running: Proxy, session: str = "s", dialect: str = "openai_chat", text: str = "hi") -> httpx.Response:
    headers = credential(dialect, CLIENT) | {"x-session-id": f"session of {session}"}
    sent = body(dialect, [text])
    return httpx.post(running.url + path(dialect), json=sent, headers=headers, trust_env=False, timeout=30)


@contextlib.contextmanager
def commanded(folder: Path, config: Path, simulator: Simulator) -> Iterator[Proxy]:
    """Run a proxy in *folder* that takes commands: it answers requests a moment before it has its socket."""
    left = _sockets(folder)
    with proxy(folder, config, mode=f"reverse:{simulator.url}") as found:
        assert eventually(lambda: [each for each in _sockets(folder) if each not in left])
        yield found


@pytest.fixture
def running(tmp_path: Path, simulator: Simulator) -> Iterator[Proxy]:
    simulator.reset()
    with commanded(tmp_path, generic_config(tmp_path, PAIR), simulator) as found:
        yield found


def test_a_cooldown_is_seen_and_ended(running: Proxy, tmp_path: Path, simulator: Simulator) -> None:
    """429 with Retry-After 600 on both accounts: until when is shown, and a command ends it."""
    simulator.fault("status", {"status": 429, "code": "rate_limit_exceeded", "headers": {"retry-after": "600"}})
    assert ask(running).status_code == 429
    simulator.mend()
    assert ask(running).status_code == 429, "the cooldown lasts"

    now, found = time.time(), shown(tmp_path, "accounts")
    assert {each["account"] for each in found} == PAIR.keys()
    for each in found:
        assert (each["state"], each["reason"].startswith("rate limited")) == ("cooling", True)
        assert 500 < each["until"] - now <= 601
    assert re.search(r"\((9m\d\d|10m00)s\)", patchbay(tmp_path, "accounts"))
    assert eventually(lambda: len(running.account_changes) == 2)
    for change in running.account_changes:
        assert (change["change"], change["retry_after"]) == ("rests", 600.0)
        assert abs(change["until"] - found[0]["until"]) < 30
    name = next(iter(PAIR))
    assert f"account {name} may be used again" in patchbay(tmp_path, "wake", name)
    assert eventually(lambda: len(running.account_changes) == 3)
    back = running.account_changes[-1]
    assert (back["account"], back["change"], back["because"]) == (name, "back", "woken by a user")

    served = ask(running)
    assert (served.status_code, served.headers["x-patchbay-account"]) == (200, name)
    status = shown(tmp_path, "status")
    assert status["addresses"] == [running.url]
    assert (status["totals"]["exchanges"], status["totals"]["failed"]) == (3, 2)
    (session,) = shown(tmp_path, "sessions")
    assert (session["home"], session["turns"], session["failed"]) == (name, 1, 2)
    told = patchbay(tmp_path, "explain", session["name"])
    assert name in told and "session of" not in told


def test_a_disabled_account_loses_its_sessions_also_after_a_restart(
    running: Proxy, tmp_path: Path, simulator: Simulator
) -> None:
    home = ask(running).headers["x-patchbay-account"]
    other = next(name for name in PAIR if name != home)
    assert "is disabled" in patchbay(tmp_path, "disable", home)
    assert ask(running).headers["x-patchbay-account"] == other
    (session,) = shown(tmp_path, "sessions")
    assert [(each["origin"], each["account"]) for each in session["moves"]] == [(home, other)]

    patchbay(tmp_path, "enable", home)
    patchbay(tmp_path, "unbind", session["name"])
    assert ask(running).headers["x-patchbay-account"] == home
    assert "there is no account nine" in patchbay(tmp_path, "disable", "nine", code=1)


def test_what_is_disabled_stays_so_where_the_state_is_kept(tmp_path: Path, simulator: Simulator) -> None:
    simulator.reset()
    config = generic_config(tmp_path, PAIR, more="store: sqlite")
    with commanded(tmp_path, config, simulator) as running:
        home = ask(running).headers["x-patchbay-account"]
        patchbay(tmp_path, "disable", home)
    assert "proxies apply this" in patchbay(tmp_path, "cool", next(iter(PAIR)), "60"), "no proxy runs: by the store"
    with commanded(tmp_path, config, simulator) as running:
        found = {each["account"]: each["state"] for each in shown(tmp_path, "accounts")}
        assert found[home] == "disabled"
        assert home == next(iter(PAIR)) or found[next(iter(PAIR))] == "paused"
        assert shown(tmp_path, "sessions")[0]["turns"] == 0
        patchbay(tmp_path, "wake", next(iter(PAIR)))
        assert ask(running).headers["x-patchbay-account"] != home


def test_what_a_killed_proxy_leaves_disturbs_nothing(tmp_path: Path, simulator: Simulator) -> None:
    simulator.reset()
    config = generic_config(tmp_path, PAIR)
    with commanded(tmp_path, config, simulator) as running:
        (left,) = _sockets(tmp_path)
        os.kill(running.process.pid, signal.SIGKILL)
        running.process.wait(30)
    assert left.exists()
    assert "no proxy is running" in patchbay(tmp_path, "status", code=1)
    with commanded(tmp_path, config, simulator) as running:
        assert left not in _sockets(tmp_path)
        assert shown(tmp_path, "status")["addresses"] == [running.url]
    assert not _sockets(tmp_path)


def test_instances_that_share_a_store_hear_of_each_change(tmp_path: Path, simulator: Simulator) -> None:
    simulator.reset()
    config, mode = generic_config(tmp_path, PAIR, more="store: sqlite"), f"reverse:{simulator.url}"
    with proxy(tmp_path, config, mode=mode) as one, proxy(tmp_path / "two", config, mode=mode) as two:
        assert eventually(lambda: len(_sockets(tmp_path)) == 2)
        pids = [process.process.pid for process in (one, two)]
        first, second = PAIR

        def states(pid: int) -> list[str]:
            return [each["state"] for each in shown(tmp_path, "accounts", "--pid", str(pid))]

        patchbay(tmp_path, "disable", first, "--pid", str(pids[0]))
        patchbay(tmp_path, "cool", second, "--pid", str(pids[1]))
        assert eventually(lambda: [states(pid) for pid in pids] == [["disabled", "paused"]] * 2)
        patchbay(tmp_path, "enable", first, "--pid", str(pids[1]))
        patchbay(tmp_path, "wake", second, "--pid", str(pids[0]))
        assert eventually(lambda: [states(pid) for pid in pids] == [["healthy"] * 2] * 2)
        assert patchbay(tmp_path, "status").count("proxy ") == 2


def _sockets(folder: Path) -> list[Path]:
    return [each for each in (folder / "state").glob("control-*.sock") if each.name.count(".") == 1]


# -- mitmweb's command bar --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory, simulator: Simulator) -> Iterator[tuple[Proxy, Web]]:
    folder = tmp_path_factory.mktemp("page")
    settings, mode = generic_config(folder, PAIR), f"reverse:{simulator.url}"
    with proxy(folder, settings, mode=mode, program="mitmweb") as running:
        yield running, Web(running)


def typed(page: Web, command: str, *arguments: str) -> Any:
    answer = page._call("POST", f"/commands/{command}", json={"arguments": list(arguments)})
    assert answer.is_success, answer.text
    return answer.json().get("value", answer.json().get("error"))


def test_the_commands_are_listed_for_completion(page: tuple[Proxy, Web]) -> None:
    found = page[1]._call("GET", "/commands").json()
    assert found["patchbay.wake"]["signature_help"].startswith("patchbay.wake account")
    assert typed(page[1], "patchbay.accounts.options") == list(PAIR)
    assert typed(page[1], "patchbay.accounts")[0].startswith("ACCOUNT")


@pytest.mark.parametrize("dialect", ["openai_chat", "anthropic", "gemini"])
@pytest.mark.parametrize("text", ['it\'s "quoted", $HOME `x` \\n\nnext line !! ünï', "long " * 40_000, "ctrl \x07"])
def test_a_command_line_that_is_pasted_is_served_in_the_same_session(
    page: tuple[Proxy, Web], simulator: Simulator, dialect: str, text: str
) -> None:
    simulator.reset()
    running, web = page
    web.post("/clear")
    before = len(running.journal.splitlines())
    first = ask(running, "pasted", dialect, text)
    assert first.status_code == 200
    (sent,) = simulator.truth.requests
    line = typed(web, "patchbay.curl", "@all")
    assert CLIENT not in line and not [key for key in KEYS if key in line]

    done = _pasted(line)
    assert (done.returncode, done.stderr) == (0, b"")
    again = simulator.truth.requests[-1]
    assert len(simulator.truth.requests) == 2
    assert (again.account, again.body) == (sent.account, sent.body)
    assert eventually(lambda: len(running.journal.splitlines()) == before + 2)
    one, two = [json.loads(each) for each in running.journal.splitlines()][-2:]
    assert [one[name] for name in KEPT] == [two[name] for name in KEPT]
    assert (one["account"], one["session"]) == (first.headers["x-patchbay-account"], one["session"] or "none")


def _pasted(line: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(["bash"], input=line.encode(), capture_output=True, timeout=60, check=False)  # noqa: S607


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Proxy, Web, Simulator, dict[str, int]]]:
    """mitmweb with a listener of each kind, before a provider with a certificate."""
    folder = tmp_path_factory.mktemp("house")
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(folder / "server.pem")
    with simulator_thread(dict(KEYS), tls=folder / "server.pem") as provider:
        origin, ports = f"https://localhost:{provider.port}", {name: free_port() for name in ("one port", "proxy")}
        settings = generic_config(folder, PAIR).replace("base_url: reverse", f"base_url: '{origin}'")
        modes = (
            "--mode",
            f"reverse:http://patchbay.invalid@{ports['one port']}",
            "--mode",
            f"regular@{ports['proxy']}",
        )
        trusts = ("--set", f"ssl_verify_upstream_trusted_ca={folder / 'ca.pem'}")
        with proxy(folder, settings, *modes, *trusts, mode=f"reverse:{origin}", program="mitmweb") as running:
            yield running, Web(running), provider, ports | {"reverse": running.port}


@pytest.mark.parametrize("way", ["one port", "proxy", "reverse"])
def test_a_command_line_takes_the_way_of_its_flow(
    house: tuple[Proxy, Web, Simulator, dict[str, int]], way: str
) -> None:
    running, web, provider, ports = house
    web.post("/clear")
    before, seen = len(running.journal.splitlines()), len(provider.truth.requests)
    base = f"https://localhost:{provider.port if way == 'proxy' else ports[way]}"
    if way == "one port":
        base = base.replace("https", "http")
    trusted = ssl.create_default_context(cafile=running.folder / "mitmproxy" / "mitmproxy-ca-cert.pem")
    through = f"http://127.0.0.1:{ports['proxy']}" if way == "proxy" else None
    headers = credential("openai_chat", CLIENT) | {"x-session-id": f"session by {way}"}
    with httpx.Client(verify=trusted, proxy=through, trust_env=False, timeout=30) as client:
        assert client.post(f"{base}/v1/chat/completions", json=body("openai_chat", ["hi"]), headers=headers).is_success
    line = typed(web, "patchbay.curl", "~m POST")
    assert (f"--proxy http://127.0.0.1:{ports['proxy']}" in line) == (way == "proxy")

    done = _pasted(line)
    assert (done.returncode, done.stderr) == (0, b""), line
    one, two = provider.truth.requests[seen:]
    assert (one.account, one.body) == (two.account, two.body)
    assert eventually(lambda: len(running.journal.splitlines()) == before + 2)
    first, second = [json.loads(each) for each in running.journal.splitlines()][-2:]
    assert [first[name] for name in KEPT] == [second[name] for name in KEPT]
