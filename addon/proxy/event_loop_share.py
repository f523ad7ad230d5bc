"""Turns for long work: however many answers take long to read, two thirds of the event loop's time are left."""

from __future__ import annotations

from collections.abc import Callable


class EventLoopShare:
    """Spaces out long work. *clock* returns monotonic seconds; the first spell of each work needs no turn."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._next = 0.0

    def wait(self, spell: float) -> float:
        """Return in how many seconds work of one more *spell* may begin; two spells before it are left to others."""
        now = self._clock()
        at = max(now, self._next) + 2 * spell
        self._next = at + spell
        return at - now
