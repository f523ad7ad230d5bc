"""A hundred and twenty-five conversations of all kinds of clients, interleaved, through the real router."""

from __future__ import annotations

from functools import cache

import pytest

from .mixed import KINDS, talks
from .talks import Record, Run, shares


@cache
def held(accounts: int, seed: int, restart_at: int | None = None) -> tuple[Record, ...]:
    return tuple(Run(accounts, seed, restart_at).hold(talks(seed), "at once", width=40))


def test_there_are_enough_of_them() -> None:
    assert sum(share.count for share in KINDS.values()) == 125


@pytest.mark.slow(every=4)
@pytest.mark.parametrize("restart_at", [None, 400], ids=["through", "restart"])
@pytest.mark.parametrize("accounts", [1, 8])
def test_they_stay_at_home(accounts: int, restart_at: int | None) -> None:
    """I1, I2, I3, I4: at least 99 % of later turns at home, no conversation split, and no two merged."""
    records = held(accounts, 3, restart_at)
    found = shares(records, accounts)

    assert found.at_home >= 0.99, found
    assert [each.kind for each in records if each.strayed] == []
    assert found.shared == 0, found


@pytest.mark.slow
@pytest.mark.parametrize("row", sorted({share.row for share in KINDS.values() if share.row}))
def test_so_do_those_that_hang_on_a_row(row: str) -> None:
    records = [each for each in held(8, 3) if KINDS[each.kind].row == row]

    assert [each.kind for each in records if each.strayed] == []
    if row == "I4":  # what a side call binds would be a session of its own
        assert {len(set(each.sessions)) for each in records} == {1}
