"""The wall clock, watched for jumps: what was learned about times is void once the clock has been set."""

from __future__ import annotations

from collections.abc import Callable

JUMP = 1.5  # seconds; only a clock that was set, or a machine that slept, is further off between two calls


class Clock:
    """
    The time of *wall*; calls *jumped* when it differs from *steady*, which is never set.

    A slow correction is no jump: each call is compared with the one before.
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
