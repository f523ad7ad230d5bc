"""Thirty conversations that begin alike over eight accounts, through the real router; `scripts/fleets` prints these."""

from __future__ import annotations

from random import Random

import pytest

from .fleets import FLEETS
from .talks import Order, Record, Run, shares

CONVERSATIONS = 30
ORDERS: tuple[Order, ...] = ("at once", "in turns", "one by one")


def held(fleet: str, order: Order, seed: int, restart_at: int | None = None) -> list[Record]:
    kind = FLEETS[fleet]
    talks = [(fleet, kind(number, Random(f"{seed} {number}"))) for number in range(CONVERSATIONS)]
    return Run(seed=seed, restart_at=restart_at).hold(talks, order)


def check(records: list[Record]) -> None:
    """The three bounds. A conversation counts where its first turn went; turns are counted as well."""
    found = shares(records)
    assert found.load <= 1.5, found
    assert found.load_of_turns <= 1.5, found
    assert found.shared == 0, found
    assert found.at_home >= 0.99, found


@pytest.mark.slow(every=5)
@pytest.mark.parametrize("fleet", FLEETS)
@pytest.mark.parametrize("order", ORDERS)
def test_a_fleet_is_told_apart_and_spread(fleet: str, order: Order) -> None:
    """
    I1: no account above 1.5 of its share, no session upstream for two, at least 99 % of later turns at home.

    A provider that is told the thread sees no two histories under one either. One order has a restart in it, from
    which only comes back what is stored.
    """
    records = held(fleet, order, seed=ORDERS.index(order) + 1, restart_at=50 if order == "in turns" else None)

    check(records)
    assert len({record.threads[-1] for record in records}) == CONVERSATIONS


def test_all_fleets_at_once_are_told_apart() -> None:
    """I1: equal openings of one fleet hide among those of the others."""
    talks = [
        (fleet, kind(number, Random(f"{fleet} {number}"))) for fleet, kind in FLEETS.items() for number in range(4)
    ]
    records = Run(seed=11).hold(talks, "at once", width=60)

    check(records)
