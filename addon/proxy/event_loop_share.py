"""Turns for long work: several answers that take long to read leave the event loop two thirds of its time."""

from __future__ import annotations

from collections.abc import Callable


class EventLoopShare:
    """
    The order in which long work goes on, a spell at a time.

    *clock* gives monotonic seconds. The first spell of each piece of work needs no turn.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._next = 0.0

    def wait(self, spell: float) -> float:
        """Return in how many seconds work may go on for one more *spell*, after a pause of two for everything else."""
        now = self._clock()
        at = max(now, self._next) + 2 * spell
        self._next = at + spell
        return at - now
