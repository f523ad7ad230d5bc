"""Long work of many leaves two thirds of the time to everything else."""

from __future__ import annotations

import pytest

from patchbay.proxy.event_loop_share import EventLoopShare


@pytest.mark.parametrize("many", [1, 2, 12])
def test_work_of_many_takes_a_third_of_the_time(many: int) -> None:
    """R2: many packed answers at once hold others up no longer than one."""
    now, worked = 0.0, 0.0
    turns = EventLoopShare(lambda: now)
    due = [turns.wait(0.005) for _ in range(many)]
    while now < 1.0:
        number = due.index(min(due))
        assert due[number] >= now  # no two spells overlap, and a pause is before each
        now = due[number] + 0.005
        worked += 0.005
        due[number] = now + turns.wait(0.005)

    assert worked == pytest.approx(1 / 3, abs=0.01)


def test_after_a_rest_the_pause_is_two_spells() -> None:
    """R2: what was done long ago delays nobody."""
    now = 0.0
    turns = EventLoopShare(lambda: now)
    turns.wait(0.005)
    now = 60.0

    assert turns.wait(0.005) == pytest.approx(0.01)
