"""A control socket with canned answers, in a thread: what a running proxy is to the command line."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from patchbay.proxy.control import ControlServer
from patchbay.proxy.control_answers import (
    AccountShown,
    ExchangeShown,
    LaneShown,
    MoveShown,
    ProxyStatus,
    SessionShown,
    TokenTotals,
    Totals,
)
from patchbay.proxy.control_socket import ControlFailed

SESSION = "abcd1234" * 4
TOKENS = TokenTotals(1000, 800, 50)
ANSWERS: Mapping[str, object] = {
    "status": ProxyStatus(7, "0.9", ["http://127.0.0.1:8080"], ["base"], 1, "serve", 75.0,
                          Totals(12, 2, 1, TOKENS, {"one": 10, "two": 2}, {"clean": 12})),
    "accounts": [
        AccountShown("one", "generic", "cooling", "rate limited (m)", 4e9, 1, 2, 3, 5, 0, 0, 4, 10, TOKENS,
                     [LaneShown("m", "cooling", "rate limited", 4e9), LaneShown("n", "healthy", "", None)]),
        AccountShown("two", "generic", "healthy", exchanges=2),
    ],
    "sessions": [SessionShown("abcd1234", SESSION, "claude", "local", "one", "two", "m", 3, TOKENS, 1.0, 2.0, "clean",
                              [MoveShown(1.5, "one", "two", "rate limited")])],
    "explain": ExchangeShown(SESSION, 2.0, "pb1-x", [("account", "two · moved"), ("tokens", "1,000 in")]),
    "wake": "account one may be used again", "cool": "account one rests until 12:00:00: paused by a command",
    "disable": "account one is disabled", "enable": "account one is enabled",
    "unbind": "session abcd1234 is no longer bound to one", "reload": "config.yaml is applied",
}  # fmt: skip


async def answered(name: str, arguments: Sequence[str]) -> object:
    """Return the canned answer; names that begin with `of-` are not known."""
    if any(each.startswith("of-") for each in arguments):
        raise ControlFailed(f"there is no {arguments[0]}; there are: one, two")
    return ANSWERS[name]


@contextmanager
def fake_proxy(
    folder: Path, run: Callable[[str, tuple[str, ...]], object] = answered, **env: str
) -> Iterator[ControlServer]:
    """Answer by *run* at a socket in the state *folder*."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    server = ControlServer(run, lambda data: data)  # type: ignore[arg-type]
    try:
        asyncio.run_coroutine_threadsafe(server.start(folder, env), loop).result(10)
        yield server
    finally:
        asyncio.run_coroutine_threadsafe(_stopped(server), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


async def _stopped(server: ControlServer) -> None:
    server.stop()
    while server._connections:
        await asyncio.sleep(0)
