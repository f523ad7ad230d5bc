"""
Gives memory back after large bodies.

A flow and mitmproxy's layers hold each other, so what an exchange held is free only when Python looks for such circles,
and that is when much else was made since: after one body of 63 MiB an idle proxy keeps all of it for ever.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import sys
from collections.abc import Callable

LARGE = 8 * 1024 * 1024  # bytes that ended exchanges have held, since the last look, from which on one is worth it
YOUNG = 1.0  # seconds until the young objects are looked through, which takes a millisecond
IDLE = 5.0  # seconds between two looks whether nothing is under way, so that a look at everything delays nobody
PATIENCE = 30.0  # seconds after which all is looked through all the same; it takes some 50 ms


class MemoryTrim:
    """Counts what ended exchanges have held. *busy* says how many are under way."""

    def __init__(self, busy: Callable[[], int]) -> None:
        self._busy = busy
        self._held = 0
        self._timer: asyncio.TimerHandle | None = None
        self._waited = 0.0

    def left(self, size: int) -> None:
        """Take note that an exchange is over that has held *size* bytes; to be called in the loop."""
        self._held += size
        if self._held >= LARGE and self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(YOUNG, self._look_through_young)

    def stop(self) -> None:
        """Do nothing any more."""
        if self._timer is not None:
            self._timer.cancel()

    def _look_through_young(self) -> None:
        gc.collect(1)
        self._waited = 0.0
        self._later()

    def _later(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(IDLE, self._look)

    def _look(self) -> None:
        self._waited += IDLE
        if self._busy() and self._waited < PATIENCE:
            self._later()
            return
        self._timer, self._held = None, 0
        gc.collect()
        give_back()


def give_back() -> None:
    """Let the C library return to the system what it keeps for later, where it can (glibc)."""
    if sys.platform == "win32":
        return
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
