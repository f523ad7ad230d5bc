"""The wall clock, watched: what was learned by it is worth nothing once somebody has set it."""

from __future__ import annotations

from collections.abc import Callable

JUMP = 1.5  # seconds between two looks that only a clock which was set, or a machine that slept, is off by


class Clock:
    """
    Says the time of *wall*, and calls *jumped* when it went another way than *steady*, which is never set.

    A clock that is slowly corrected does not jump: each look is compared with the last one.
    """

    def __init__(self, wall: Callable[[], float], steady: Callable[[], float], jumped: Callable[[], None]) -> None:
        self._wall = wall
        self._steady = steady
        self._jumped = jumped
        self._apart = wall() - steady()

    def now(self) -> float:
        """Return the seconds of the wall clock."""
        now = self._wall()
        before, self._apart = self._apart, now - self._steady()
        if abs(self._apart - before) > JUMP:
            self._jumped()
        return now
