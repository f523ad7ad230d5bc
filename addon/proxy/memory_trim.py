"""
Returns memory to the system after large bodies.

Only the cycle collector frees an exchange, whose flow and layers refer to each other; in an idle proxy it never runs.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import sys
from collections.abc import Callable

LARGE = 8 * 1024 * 1024  # bytes held by ended exchanges since the last collection that make one worthwhile
YOUNG = 1.0  # seconds until the young generations are collected, which takes a millisecond
IDLE_CHECK_EVERY = 5.0  # seconds between checks for an idle proxy, in which a full collection delays nothing
BUSY_LIMIT = 30.0  # seconds after which a busy proxy runs the full collection too; it takes some 50 ms


class MemoryTrim:
    """Collects after exchanges that held much. *busy* returns how many are under way."""

    def __init__(self, busy: Callable[[], int]) -> None:
        self._busy = busy
        self._held = 0
        self._timer: asyncio.TimerHandle | None = None
        self._waited = 0.0

    def exchange_ended(self, size: int) -> None:
        """Count the *size* bytes that an ended exchange held. Call it in the event loop."""
        self._held += size
        if self._held >= LARGE and self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(YOUNG, self._collect_young)

    def stop(self) -> None:
        """Cancel the collection that is due."""
        if self._timer is not None:
            self._timer.cancel()

    def _collect_young(self) -> None:
        gc.collect(1)
        self._waited = 0.0
        self._later()

    def _later(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(IDLE_CHECK_EVERY, self._collect_when_idle)

    def _collect_when_idle(self) -> None:
        self._waited += IDLE_CHECK_EVERY
        if self._busy() and self._waited < BUSY_LIMIT:
            self._later()
            return
        self._timer, self._held = None, 0
        gc.collect()
        give_back()


def give_back() -> None:
    """Have the C library return its free memory to the system, where it can (glibc)."""
    if sys.platform == "win32":
        return
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
