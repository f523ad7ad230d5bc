"""One accepted connection: bytes in and out, back-pressure, and how it may end."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import Coroutine
from typing import Any, Protocol, cast

from .exchange import Handler


class Speaker(Protocol):
    """One HTTP version on one connection."""

    def receive(self, data: bytes) -> None:
        """Take bytes from the client."""

    def lost(self) -> None:
        """The connection is gone; stop what still runs."""


class Link(asyncio.Protocol):
    """
    The server's end of one connection. The first bytes (or ALPN) say which HTTP version speaks.

    *links* is the server's set of open connections; this one keeps itself in it while it lives.
    """

    def __init__(self, number: int, handler: Handler, links: set[Link]) -> None:
        self.number = number
        self.handler = handler
        self.closing = False
        self._links = links
        self._speaker: Speaker | None = None
        self._first = b""
        self._writable = asyncio.Event()
        self._writable.set()
        self._tasks: set[asyncio.Task[None]] = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self._links.add(self)
        tls = transport.get_extra_info("ssl_object")
        if tls is not None and tls.selected_alpn_protocol() == "h2":
            self._speak(http2=True)

    def data_received(self, data: bytes) -> None:
        if self._speaker is None:
            data = self._first = self._first + data
            if len(data) < 4 and b"PRI "[: len(data)] == data:
                return
            self._speak(http2=data.startswith(b"PRI "))
        assert self._speaker
        self._speaker.receive(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self.closing = True
        self._links.discard(self)
        self._writable.set()
        if self._speaker is not None:
            self._speaker.lost()
        for task in self._tasks:
            task.cancel()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    async def write(self, data: bytes) -> None:
        """Write *data* and wait while the client reads too slowly."""
        if data and not self.closing:
            self.transport.write(data)
        await self._writable.wait()

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run *work* until it is done or the connection is."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def close(self) -> None:
        """Close after what is written has left."""
        self.closing = True
        self.transport.close()

    def abort(self) -> None:
        """Reset the connection: the client sees ECONNRESET, not an end."""
        self.closing = True
        raw = self.transport.get_extra_info("socket")
        with contextlib.suppress(OSError, AttributeError):
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):  # a bug of ours or of a test's own fault: be loud
            task.get_loop().call_exception_handler({"message": "the simulator's handler failed", "exception": error})

    def _speak(self, *, http2: bool) -> None:
        from .http1 import Http1
        from .http2 import Http2

        self._speaker = Http2(self) if http2 else Http1(self)
