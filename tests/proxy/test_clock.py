"""A wall clock that is set is noticed, at the first look."""

from __future__ import annotations

import pytest

from patchbay.proxy.clock import Clock


class Clocks:
    def __init__(self) -> None:
        self.wall, self.steady, self.jumps = 1_000_000.0, 50.0, 0
        self.clock = Clock(lambda: self.wall, lambda: self.steady, self.jumped)

    def jumped(self) -> None:
        self.jumps += 1

    def later(self, wall: float, steady: float) -> float:
        self.wall += wall
        self.steady += steady
        return self.clock.now()


@pytest.mark.parametrize("by", [3600.0, -3600.0, 2.0, -2.0, 1e8])
def test_a_clock_that_was_set_is_noticed_once(by: float) -> None:
    """R26: by an hour, by seconds, back and forth."""
    clocks = Clocks()
    assert clocks.later(10.0, 10.0) == 1_000_010.0
    assert clocks.later(by, 0.01) == clocks.wall and clocks.jumps == 1
    for _ in range(3):
        clocks.later(5.0, 5.0)
    assert clocks.jumps == 1


def test_a_slow_correction_and_a_long_pause_are_no_jump() -> None:
    clocks = Clocks()
    for _ in range(1000):
        clocks.later(1.0005, 1.0)
    clocks.later(86_400.0, 86_400.0)
    assert clocks.jumps == 0


@pytest.mark.parametrize(("by", "jumps"), [(1.5, 0), (-1.5, 0), (1.625, 1), (-1.625, 1)])
def test_only_more_than_a_second_and_a_half_is_a_jump(by: float, jumps: int) -> None:
    clocks = Clocks()
    clocks.later(1.0 + by, 1.0)
    assert clocks.jumps == jumps
