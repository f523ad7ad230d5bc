"""
Measures what memory mitmdump with Patchbay keeps: of 10,000 sessions, after one body of 63 MiB, and after 700,000
messages on a WebSocket.

The sessions may add 50 MiB. A minute after the body and after the messages the resident set must be within 1.3 times
of what it was before them. Linux only.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
from websockets.sync.client import connect
from websockets.sync.connection import Connection

from tests.end_to_end.harness import Proxy, generic_config, proxy
from tests.simulator import simulator_thread

KEY = "sk-memory-0123456789abcdef"
BODY = 62 * 1024 * 1024  # bytes of text in a body: 63 MiB with what is around it would be refused by the limit of 64
MESSAGES = 700_000
AT_ONCE = 1000  # messages between two answers of the upstream, so that none pile up on the way
MOST = 1.3  # times of what it was before
SESSIONS = 10_000
MOST_FOR_SESSIONS = 50.0  # MiB
CLIENT = {"authorization": "Bearer sk-client"}


def resident(running: Proxy) -> float:
    """Return the resident set in MiB."""
    status = Path(f"/proc/{running.process.pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1]) / 1024


def ask(running: Proxy, text: str) -> None:
    asked = {"model": "sim-1", "messages": [{"role": "user", "content": text}]}
    answer = httpx.post(f"{running.url}/v1/chat/completions", json=asked, headers=CLIENT, timeout=300, trust_env=False)
    assert answer.status_code == 200, answer.text


def many_sessions(running: Proxy, scale: float) -> None:
    """Begin conversations, each with an id of its own."""
    with httpx.Client(base_url=running.url, headers=CLIENT, timeout=300, trust_env=False) as client:
        for number in range(int(SESSIONS * scale)):
            asked = {"model": "sim-1", "messages": [{"role": "user", "content": f"question {number}"}]}
            headers = {"x-session-id": f"session-{number}"}
            assert client.post("/v1/chat/completions", json=asked, headers=headers).status_code == 200


def one_large_body(running: Proxy, scale: float) -> None:
    ask(running, "x" * int(BODY * scale))


def many_messages(running: Proxy, scale: float) -> None:
    """Send small events upstream on one socket, and wait now and then until they are through."""
    with socket(running) as opened:
        for number in range(int(MESSAGES * scale)):
            opened.send('{"type":"response.cancel","n":1}')
            if number % AT_ONCE == 0:
                answered(opened)
        answered(opened)


def answered(opened: Connection) -> None:
    opened.send(json.dumps({"type": "response.create", "model": "sim-1", "input": "are you there"}))
    while json.loads(opened.recv(timeout=300))["type"] != "response.completed":
        pass


@contextmanager
def socket(running: Proxy) -> Iterator[Connection]:
    url = running.url.replace("http", "ws") + "/v1/responses"
    with connect(url, additional_headers=CLIENT, proxy=None) as opened:
        yield opened


def kept(running: Proxy, what: Callable[[Proxy, float], None], idle: float, options: argparse.Namespace) -> bool:
    """Whether little is kept of *what* after a rest."""
    began = time.monotonic()
    what(running, options.scale)
    took, after = time.monotonic() - began, resident(running)
    print(f"{what.__name__}: {took:.0f} s, {after:.0f} MiB at its end", end="", flush=True)
    time.sleep(options.rest)
    now = resident(running)
    print(f", {now:.0f} MiB {options.rest:g} s later: {now / idle:.2f} times of what it was before", flush=True)
    return now <= MOST * idle


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scale", type=float, default=1.0, help="of the body and of the messages")
    parser.add_argument("--rest", type=float, default=60.0, help="seconds after each, before memory is read again")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="patchbay-memory-") as name, simulator_thread({KEY: "one"}) as simulator:
        folder = Path(name)
        with proxy(folder, generic_config(folder, {"one": KEY}), mode=f"reverse:{simulator.url}") as running:
            for number in range(20):
                ask(running, f"hello {number}")
            time.sleep(1)
            first = resident(running)
            print(f"idle: {first:.0f} MiB", flush=True)
            many_sessions(running, options.scale)
            idle = resident(running)
            print(f"many_sessions: {idle:.0f} MiB, {idle - first:.0f} more", flush=True)
            good = idle - first <= MOST_FOR_SESSIONS
            for what in (one_large_body, many_messages):
                good = kept(running, what, idle, options) and good
    bounds = f"(at most {MOST_FOR_SESSIONS:g} MiB for the sessions, and {MOST} times after the rest)"
    print("so" if good else "NOT SO", bounds)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
