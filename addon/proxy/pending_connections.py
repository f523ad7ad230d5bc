"""Client connections without a request so far: bounded in time and in number."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from . import http1

MOST = 1000  # connections at a time; above, the oldest is closed


class PendingConnections:
    """Connections without a request, by id; *close* closes one. TLS and HTTP/2 may come as slowly as HTTP/1 heads."""

    def __init__(self, close: Callable[[str], None]) -> None:
        self._close_client = close
        self._timers: dict[str, asyncio.TimerHandle] = {}

    def __len__(self) -> int:
        return len(self._timers)

    def add(self, connection: str) -> None:
        """Start the time of a new *connection*."""
        later = asyncio.get_running_loop().call_later
        self._timers[connection] = later(http1.HEAD_SECONDS, self._close, connection)
        if len(self._timers) > MOST:
            self._close(next(iter(self._timers)))

    def remove(self, connection: str) -> None:
        """Stop the time of *connection*: a request has come on it, or it is closed."""
        if timer := self._timers.pop(connection, None):
            timer.cancel()

    def _close(self, connection: str) -> None:
        self.remove(connection)
        self._close_client(connection)
