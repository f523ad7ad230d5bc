"""What a user of mitmdump sees: every exchange, and what happens to accounts, on a terminal, in a pipe and as JSON."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pty
import re
import signal
import socket
import struct
import termios
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx

from ..ports import free_port
from .harness import BIN, certificates, eventually, main_script, proxy

KEYS = {"acc-a": "sk-a-0123456789abcdefghij", "acc-b": "sk-b-0123456789abcdefghij"}
PROMPT = "a prompt that is shown nowhere"
COLOUR = re.compile(r"\x1b\[[0-9;]*m")


class Provider(BaseHTTPRequestHandler):
    """Answers each account as `ways` says: well, or with a status and headers."""

    protocol_version = "HTTP/1.1"
    ways: dict[str, tuple[int, dict[str, str]]]

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        key = self.headers["authorization"].removeprefix("Bearer ")
        status, headers = self.ways.get(key, (200, {}))
        code = "invalid_api_key" if status == 401 else "rate_limit_exceeded"
        answer: dict[str, Any] = {"error": {"message": "no", "type": "x", "code": code}}
        if status == 200:
            usage = {
                "prompt_tokens": 19200,
                "completion_tokens": 127,
                "prompt_tokens_details": {"cached_tokens": 18816},
            }
            choice = {"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}
            answer = {"id": "chatcmpl-1", "object": "chat.completion", "created": int(time.time()),
                      "model": asked["model"], "choices": [choice], "usage": usage}  # fmt: skip
        body = json.dumps(answer).encode()
        self.send_response(status)
        for name, value in {"content-type": "application/json", "content-length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextlib.contextmanager
def provider() -> Iterator[tuple[str, type[Provider]]]:
    """A provider, and its ways by key."""
    kind = type("AProvider", (Provider,), {"ways": {}})
    with ThreadingHTTPServer(("127.0.0.1", 0), kind) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/v1", kind
        server.shutdown()


def settings(folder: Path, base: str) -> str:
    accounts = "\n".join(
        f"  - {{id: {name}, provider: sim, key: {key}, models: {{deny: [gone, keyless]}}}}"
        for name, key in KEYS.items()
    )
    return f"""
state: {folder / "state"}
grace_period: 1s
failover: {{sticky_wait: 0s}}
providers:
  sim: {{preset: openai, base_url: "{base}"}}
  gone: {{preset: openai, base_url: "http://127.0.0.1:{free_port()}/v1"}}
accounts:
{accounts}
  - {{id: acc-gone, provider: gone, key: sk-gone-0123456789abcdef, models: {{allow: [gone]}}}}
  - {{id: acc-keyless, provider: sim, key: "env:PATCHBAY_TEST_NO_KEY", models: {{allow: [keyless]}}}}
"""


def ask(url: str, session: str, model: str = "gpt-5") -> httpx.Response:
    asked = {"model": model, "messages": [{"role": "user", "content": PROMPT}]}
    headers = {"X-Session-ID": session, "User-Agent": "claude-cli/2.1 (external, cli)"}
    return httpx.post(f"{url}/v1/chat/completions", json=asked, headers=headers, trust_env=False, timeout=30)


def homes(url: str) -> dict[str, list[str]]:
    """Let conversations begin until both accounts have two; return them by account."""
    found: dict[str, list[str]] = {name: [] for name in KEYS}
    for number in range(40):
        if all(len(sessions) >= 2 for sessions in found.values()):
            break
        found[ask(url, f"s{number}").headers["x-patchbay-account"]].append(f"s{number}")
    return found


def test_exchanges_and_what_happens_to_accounts_are_told_in_a_pipe(tmp_path: Path) -> None:
    with (
        provider() as (base, kind),
        proxy(tmp_path, settings(tmp_path, base), mode="reverse:http://patchbay.invalid") as running,
    ):
        assert eventually(lambda: "OpenAI SDK: " in running.log)
        sessions = homes(running.url)
        kind.ways[KEYS["acc-a"]] = 429, {"retry-after": "1"}
        for session in sessions["acc-a"]:
            assert ask(running.url, session).headers["x-patchbay-account"] == "acc-b"
        assert eventually(lambda: "acc-a rests" in running.log)
        kind.ways.clear()
        assert eventually(lambda: ask(running.url, sessions["acc-a"][0]).headers["x-patchbay-account"] == "acc-a")
        assert eventually(lambda: "acc-a back" in running.log)
        kind.ways[KEYS["acc-b"]] = 401, {}
        ask(running.url, sessions["acc-b"][0])
        for _ in range(2):
            assert ask(running.url, "x", "gone").status_code in (502, 503)
        ask(running.url, "x", "keyless")
        httpx.get(f"{running.url}/v1/v1/odd", trust_env=False, timeout=30, headers={"User-Agent": "curl/8"})
        assert eventually(lambda: "/v1/v1/odd" in running.log and "acc-gone rests" in running.log)

    log = COLOUR.sub("", running.log)
    assert log == running.log and "<<" not in log and "client connect" not in log and "server connect" not in log
    time_, moves = r"\d\d:\d\d:\d\d", len(sessions["acc-a"])
    exchange = rf"{time_} claude-code +[0-9a-f]{{8}}"
    for told in (
        rf"{time_} Patchbay \S+ listens at {running.url}\n",
        rf"{time_} account acc-a +ready\n",
        rf"{time_} account acc-keyless +no key: env:PATCHBAY_TEST_NO_KEY: .*\n",
        rf"{time_} OpenAI SDK: OPENAI_BASE_URL={running.url}/v1 OPENAI_API_KEY=any COMMAND\n",
        rf"{exchange} acc-a +new +gpt-5 +200 19.2k in  \(98% cached\)   127 out( +\d\.\d s){{2}}\n",
        rf"{exchange} acc-b +moved .* from acc-a: rate limited \(429\)\n",
        rf"{time_} account acc-a rests for gpt-5 until {time_}: rate limited \(429\), retry-after 1 s; {moves} conv",
        rf"{time_} account acc-a back for gpt-5 after \d+ s\n",
        rf"{time_} account acc-b rests until {time_}: key refused \(401\); \d conversations move\n",
        rf"{exchange} acc-gone +\w* +gone +502 connection refused · \d\.\d s\n",
        rf"{time_} account acc-gone rests for gone until {time_}: not reachable \(connection refused\)",
        rf"{time_} account acc-keyless rests until {time_}: no key \(env:PATCHBAY_TEST_NO_KEY: .*\)",
        rf"{time_} curl +GET /v1/v1/odd +404 no account serves this path\n",
    ):
        assert re.search(told, log), f"{told}\n{log}"
    assert PROMPT not in log and not any(key in log for key in KEYS.values())


def test_as_json_each_line_is_an_object(tmp_path: Path) -> None:
    with (
        provider() as (base, kind),
        proxy(
            tmp_path,
            settings(tmp_path, base),
            "--set",
            "patchbay_log_format=json",
            mode="reverse:http://patchbay.invalid",
        ) as running,
    ):
        sessions = homes(running.url)
        kind.ways[KEYS["acc-a"]] = 429, {"retry-after": "600"}
        ask(running.url, sessions["acc-a"][0])
        assert eventually(lambda: '"change":"rests"' in running.log)

    _, *lines = running.log.splitlines()  # mitmproxy loads the addon
    told = [json.loads(line) for line in lines]
    assert all(isinstance(each["time"], float) for each in told)
    (rests,) = [each for each in told if each.get("change") == "rests"]
    assert (rests["account"], rests["cause"], rests["models"], rests["move"]) == ("acc-a", "rate", ["gpt-5"], True)
    assert rests["retry_after"] == 600.0 and rests["until"] - rests["time"] > 590
    moved = [each for each in told if each["event"] == "exchange"][-1]
    assert (moved["account"], moved["binding"], moved["moved_from"]) == ("acc-b", "moved", "acc-a")
    assert {"start", "account", "connect", "exchange", "log"} == {each["event"] for each in told}


class Screen:
    """A mitmproxy on a terminal of its own, of *columns*, and what it has shown."""

    def __init__(self, folder: Path, config: str, columns: int, program: str = "mitmdump") -> None:
        (folder / "config.yaml").write_text(config)
        self.port, self.shown = free_port(), b""
        command = [str(BIN / program), "-s", main_script(), "--mode", "reverse:http://patchbay.invalid",
                   "--listen-port", str(self.port), "--set", f"confdir={certificates(folder)}",
                   "--set", f"patchbay_config={folder / 'config.yaml'}"]  # fmt: skip
        self.pid, self.terminal = pty.fork()
        if not self.pid:
            names = {"NO_COLOR", "FORCE_COLOR", "PYTEST_CURRENT_TEST"}
            env = {name: value for name, value in os.environ.items() if name not in names}
            os.execve(command[0], command, env | {"TERM": "xterm"})  # noqa: S606 - as the harness does
        self.resize(columns)
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        with contextlib.suppress(OSError):
            while data := os.read(self.terminal, 65536):
                self.shown += data

    def resize(self, columns: int) -> None:
        fcntl.ioctl(self.terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))

    def press(self, keys: bytes) -> None:
        os.write(self.terminal, keys)

    def lines(self, begin: int = 0) -> list[str]:
        return COLOUR.sub("", self.shown[begin:].decode()).replace("\r", "").splitlines()

    def end(self) -> int:
        """Press Ctrl-C twice; return the exit status."""
        self.press(b"\x03\x03")
        status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        os.close(self.terminal)
        return status


def test_a_terminal_gets_what_fits_in_colours_and_one_that_is_stopped_holds_up_nothing(tmp_path: Path) -> None:
    with provider() as (base, kind):
        screen = Screen(tmp_path, settings(tmp_path, base), 80)
        url = f"http://127.0.0.1:{screen.port}"
        try:
            assert eventually(lambda: b"OpenAI SDK" in screen.shown)
            begin, sessions = len(screen.shown), homes(url)
            kind.ways[KEYS["acc-a"]] = 429, {"retry-after": "600"}
            ask(url, sessions["acc-a"][0])
            assert eventually(lambda: b"acc-a rests" in screen.shown and b" move" in screen.shown)
            narrow = screen.lines(begin)
            assert all(len(line) <= 80 for line in narrow) and "\x1b[" in screen.shown.decode()
            assert any(re.search(r" [0-9a-f]{8} acc-b +moved .*200 19.2k  98%   127 ", line) for line in narrow), narrow
            assert "  from acc-a: rate limited (429)" in narrow
            assert len([line for line in narrow if re.match("time +session +account .* in  hit   out", line)]) == 1

            screen.resize(160)
            begin = len(screen.shown)
            ask(url, sessions["acc-a"][0])
            assert eventually(lambda: b"from acc-a: rate limited (429)" in screen.shown[begin:])
            assert all(len(line) <= 160 for line in screen.lines(begin)) and "first in all" in screen.lines(begin)[0]

            screen.press(b"\x13")  # Ctrl-S
            begin = len(screen.shown)
            assert {ask(url, session).status_code for session in sessions["acc-b"] * 3} == {200}
            screen.press(b"\x11")
            assert eventually(lambda: len(screen.lines(begin)) >= 3 * len(sessions["acc-b"]))
        finally:
            status = screen.end()
    assert status == 0 and b"Traceback" not in screen.shown


def test_in_the_console_the_lines_stand_in_its_event_log_alone(tmp_path: Path) -> None:
    with provider() as (base, _):
        screen = Screen(tmp_path, settings(tmp_path, base), 160, "mitmproxy")
        try:
            assert eventually(lambda: b"[*:" in screen.shown or b"127.0.0.1:" in screen.shown), screen.shown
            assert eventually(lambda: _answers(screen.port))
            begin = len(screen.shown)
            assert ask(f"http://127.0.0.1:{screen.port}", "s").status_code == 200
            assert eventually(lambda: b"POST" in screen.shown[begin:], 5), screen.shown[begin:]
            assert b"claude-code" not in screen.shown and b"OpenAI SDK" not in screen.shown
            screen.press(b"E")
            assert eventually(lambda: b"claude-code" in screen.shown and b"OpenAI SDK" in screen.shown)
        finally:
            os.kill(screen.pid, signal.SIGTERM)
            os.waitpid(screen.pid, 0)


def _answers(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 5):
        return True
    return False


def test_quiet_says_nothing_and_flow_detail_gives_mitmproxy_s_lines_back(tmp_path: Path) -> None:
    with provider() as (base, _):
        quiet = [("--set", "patchbay_quiet=true"), ("-q",)]
        for number, options in enumerate([*quiet, ("--set", "flow_detail=1")]):
            folder = tmp_path / str(number)
            with proxy(folder, settings(folder, base), *options, mode="reverse:http://patchbay.invalid") as running:
                ask(running.url, "s")
                if options not in quiet:
                    assert eventually(lambda: "<< 200" in running.log and "claude-code" in running.log)
            if options in quiet:
                assert [
                    line for line in running.log.splitlines() if "Loading script" not in line and "root" not in line
                ] == []
