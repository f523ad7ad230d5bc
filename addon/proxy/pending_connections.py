"""Connections on which no request has come yet: they have a time for it, and there are only so many of them."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable

from . import http1

MOST = 1000  # of them at a time; the oldest makes room


class PendingConnections:
    """
    The connections without a request, by their ids. *hang_up* closes one.

    `http1` sees to the heads of HTTP/1; this also holds for TLS and HTTP/2, whose beginnings may come as slowly.
    """

    def __init__(self, hang_up: Callable[[str], None]) -> None:
        self._hang_up = hang_up
        self._waiting: OrderedDict[str, asyncio.TimerHandle] = OrderedDict()

    def __len__(self) -> int:
        return len(self._waiting)

    def came(self, connection: str) -> None:
        """Give a new *connection* its time."""
        later = asyncio.get_running_loop().call_later
        self._waiting[connection] = later(http1.HEAD_SECONDS, self._close, connection)
        if len(self._waiting) > MOST:
            self._close(next(iter(self._waiting)))

    def settled(self, connection: str) -> None:
        """Let *connection* be: a request has come on it, or it has gone."""
        if timer := self._waiting.pop(connection, None):
            timer.cancel()

    def _close(self, connection: str) -> None:
        self.settled(connection)
        self._hang_up(connection)
