"""The simulator as tests use it: inside a running event loop, or in a thread of its own."""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self, TypeVar

from .provider import Provider, Setup
from .rules import Rule
from .server import Server
from .truth import Truth

T = TypeVar("T")


class Simulator:
    """
    A provider behind a server.

    Use it with `async with`; *keys* maps credentials to accounts, *options* are the other fields of `Setup`.
    """

    def __init__(
        self,
        keys: Mapping[str, str] | None = None,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        tls: ssl.SSLContext | str | Path | tuple[str | Path, str | Path] | None = None,
        http2: bool = True,
        **options: Any,
    ) -> None:
        self.provider = Provider(Setup(keys=dict(keys or {}), **options))
        self.server = Server(self.provider, host, port, tls, http2=http2)

    @property
    def url(self) -> str:
        """Return the base URL, without a path."""
        return self.server.url

    @property
    def port(self) -> int:
        """Return the port the server listens on."""
        return self.server.port

    @property
    def truth(self) -> Truth:
        """Return what happened so far."""
        return self.provider.truth

    def fault(self, fault: str | Callable[..., Any], settings: Mapping[str, Any] | None = None, **where: Any) -> Rule:
        """Let *fault* happen, with its *settings*, to the requests that *where* names (fields of `Rule`)."""
        return self.provider.rules.add(fault, settings, **where)

    def mend(self) -> None:
        """Let nothing go wrong any more."""
        self.provider.rules.clear()

    def reset(self) -> None:
        """Forget everything that happened and was to go wrong."""
        self.provider.reset()

    async def __aenter__(self) -> Self:
        await self.server.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.server.stop()


@contextmanager
def simulator_thread(keys: Mapping[str, str] | None = None, **options: Any) -> Iterator[Simulator]:
    """
    Run a `Simulator` in a thread with an event loop of its own.

    Its truth may be read and its faults set from any thread: each such step is one that the interpreter does not cut.
    """
    simulator = Simulator(keys, **options)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="simulator", daemon=True)
    thread.start()
    try:
        asyncio.run_coroutine_threadsafe(simulator.__aenter__(), loop).result(30)
        yield simulator
    finally:
        asyncio.run_coroutine_threadsafe(_stopped(simulator), loop).result(30)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(30)
        loop.close()


async def _stopped(simulator: Simulator) -> None:
    await simulator.server.stop()
    others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
