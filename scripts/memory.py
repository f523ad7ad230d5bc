"""
Measures what memory mitmdump with Patchbay keeps: after one body of 63 MiB, and after 700,000 messages on a WebSocket.

A minute after each its resident set must be within 1.3 times of what it was when idle. Linux only.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator
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
MOST = 1.3  # times of what it was when idle
CLIENT = {"authorization": "Bearer sk-client"}


def resident(running: Proxy) -> float:
    """Return the resident set in MiB."""
    status = Path(f"/proc/{running.process.pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1]) / 1024


def ask(running: Proxy, text: str) -> None:
    asked = {"model": "sim-1", "messages": [{"role": "user", "content": text}]}
    answer = httpx.post(f"{running.url}/v1/chat/completions", json=asked, headers=CLIENT, timeout=300, trust_env=False)
    assert answer.status_code == 200, answer.text


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
            idle = resident(running)
            print(f"idle: {idle:.0f} MiB", flush=True)
            good = True
            for what in (one_large_body, many_messages):
                began = time.monotonic()
                what(running, options.scale)
                after = resident(running)
                print(
                    f"{what.__name__}: {time.monotonic() - began:.0f} s, {after:.0f} MiB at its end", end="", flush=True
                )
                time.sleep(options.rest)
                kept = resident(running)
                print(f", {kept:.0f} MiB {options.rest:g} s later: {kept / idle:.2f} times of idle", flush=True)
                good = good and kept <= MOST * idle
    print("so" if good else "NOT SO", f"(at most {MOST} times)")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
