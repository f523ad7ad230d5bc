"""Shutdown: answers under way get a grace period; new requests are refused meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import time
from collections.abc import Callable

from mitmproxy import ctx

from .client_connections import close_client, proxyserver

logger = logging.getLogger(__name__)

_CLOSING = 1.0  # seconds at most for connections to close
_GLANCE = 0.02  # seconds between two checks


class GracefulShutdown:
    """
    Takes the place of mitmproxy's `shutdown`, which would end everything at once.

    *grace* gives the seconds, *under_way* the number of answers; *cut* closes what is unfinished by then. A second
    request to shut down ends the proxy at once.
    """

    def __init__(self, grace: Callable[[], float], under_way: Callable[[], int], cut: Callable[[], None]) -> None:
        self._grace = grace
        self._under_way = under_way
        self._cut = cut
        self._theirs: Callable[[], None] | None = None
        self._restore_signals: list[Callable[[], None]] = []
        self._task: asyncio.Task[None] | None = None
        self._closing: asyncio.Task[None] | None = None  # the loop itself would forget it

    @property
    def begun(self) -> bool:
        """Whether the proxy shuts down and takes no new requests."""
        return self._task is not None

    def install(self) -> None:
        """Replace the master's `shutdown`, once."""
        if self._theirs is None:
            self._theirs = ctx.master.shutdown
            ctx.master.shutdown = self.request_shutdown  # type: ignore[method-assign]
            loop = ctx.master.event_loop
            self._restore_signals = [handle_directly(loop, number) for number in (signal.SIGINT, signal.SIGTERM)]

    def remove(self) -> None:
        """Restore the master's `shutdown`; where a shutdown has begun, end now: no other object would."""
        if self.begun:
            self._end()
            return
        while self._restore_signals:
            self._restore_signals.pop()()
        if self._theirs is not None and ctx.master.shutdown == self.request_shutdown:
            ctx.master.shutdown = self._theirs  # type: ignore[method-assign]
        self._theirs = None

    def request_shutdown(self) -> None:
        """Request the shutdown. May be called from any thread, and from a signal handler."""
        ctx.master.event_loop.call_soon_threadsafe(self._begin)

    def _begin(self) -> None:
        if self.begun or (not self._under_way() and not _unsent()):
            self._end()
        else:
            self._task = asyncio.get_running_loop().create_task(self._wait())

    async def _wait(self) -> None:
        try:
            deadline = time.monotonic() + self._grace()
            logger.info(
                "patchbay: answers under way: %d, at most %g s for them; again Ctrl-C ends at once",
                self._under_way(),
                self._grace(),
            )
            await _close_listeners()
            while (self._under_way() or _unsent()) and time.monotonic() < deadline:
                await asyncio.sleep(_GLANCE)
        finally:
            self._end()

    def _end(self) -> None:
        theirs, self._theirs = self._theirs, None
        if theirs is not None:
            _ignore_interrupts()
            self._cut()
            self._closing = asyncio.get_running_loop().create_task(_close_clients(theirs))


def handle_directly(loop: asyncio.AbstractEventLoop, number: int) -> Callable[[], None]:
    """
    Bypass asyncio's delivery of signal *number* to the handler of *loop*; return a function that undoes it.

    asyncio delivers a signal by a byte in the socket that wakes the loop. mitmproxy also wakes the loop for every line
    it logs. A few hundred lines in one turn of the loop fill the socket, and asyncio then loses the signal: Ctrl-C does
    nothing. A handler that Python itself calls appends to the queue of the loop, which always has room.
    """
    handle = getattr(loop, "_signal_handlers", {}).get(number)
    if handle is None:  # Windows has no such handlers; a program that embeds mitmproxy may have set none
        return _nothing

    def direct(*_: object) -> None:
        loop.call_soon_threadsafe(handle._run)

    def undo() -> None:
        if signal.getsignal(number) is direct:
            loop.add_signal_handler(number, handle._run)

    with contextlib.suppress(RuntimeError, ValueError):  # not the main thread
        loop.add_signal_handler(number, _nothing)
        signal.set_wakeup_fd(signal.set_wakeup_fd(-1), warn_on_full_buffer=False)  # the warning is a traceback
        signal.signal(number, direct)
    return undo


def _nothing() -> None:
    """The handler that asyncio calls for a signal that `direct` has handled."""


def _ignore_interrupts() -> None:
    # asyncio gives Ctrl-C its old meaning back when the loop is closed: a traceback, out of whatever runs then
    with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):  # no such loop, or not the main thread
        asyncio.get_running_loop().remove_signal_handler(signal.SIGINT)
        signal.signal(signal.SIGINT, signal.SIG_IGN)


async def _close_clients(then: Callable[[], None]) -> None:
    """Close all connections, then call *then*: asyncio prints a traceback for a connection left open."""
    try:
        for handler in tuple(proxyserver().connections.values()):
            close_client(handler.client.id, "the proxy ends")
        deadline = time.monotonic() + _CLOSING
        while proxyserver().connections and time.monotonic() < deadline:
            await asyncio.sleep(_GLANCE)
    finally:
        then()


async def _close_listeners() -> None:
    for server in proxyserver().servers:
        if server.is_running:
            try:
                await server.stop()
            except OSError as e:
                logger.warning("a listener could not be closed: %s", e)


def _unsent() -> bool:
    """Whether bytes for a client are still buffered: an exchange ends before its last byte has left."""
    for handler in tuple(proxyserver().connections.values()):
        io = handler.transports.get(handler.client)
        transport = getattr(io.writer, "transport", None) if io and io.writer else None
        if transport is not None and not transport.is_closing() and transport.get_write_buffer_size():
            return True
    return False
