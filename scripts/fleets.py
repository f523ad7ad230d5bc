"""
Holds fleets of conversations that begin alike, and a mixed crowd, through the real router; prints their shares.

*load* is that of the fullest account, in shares; *shared* counts sessions upstream that two conversations have in
common; *home* is the share of the later turns that went where the first one did. The worst of all orders is shown:
all at once, in turns with a restart between, one by one. Ends with 1 when a fleet is beyond a bound.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence
from random import Random

from tests.identity.fleets import FLEETS
from tests.identity.mixed import KINDS, talks
from tests.identity.talks import Order, Record, Run, Shares, shares

CONVERSATIONS, MOST, LEAST = 30, 1.5, 0.99
ORDERS: dict[Order, int | None] = {"at once": None, "in turns": 50, "one by one": None}


def main(argv: Sequence[str] | None = None) -> int:
    """Print the shares of every fleet and kind; return 1 when a fleet is beyond a bound."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--accounts", type=int, default=8, choices=range(1, 9))
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args(argv)
    print(f"| fleet ({CONVERSATIONS} conversations, {asked.accounts} accounts) | load | shared | home |")
    print("|---|---|---|---|")
    bad = False
    for name in FLEETS:
        found = worst(fleet(name, order, asked.accounts, asked.seed) for order in ORDERS)
        bad |= found.load > MOST or found.shared > 0 or found.at_home < LEAST
        print(row(name, found))
    records = Run(asked.accounts, asked.seed, restart_at=400).hold(talks(asked.seed), "at once", width=40)
    print(f"\n| mixed ({len(records)} conversations, a restart between) | load | shared | home |\n|---|---|---|---|")
    for name in KINDS:
        print(row(name, shares([record for record in records if record.kind == name], asked.accounts), load=False))
    print(row("all", shares(records, asked.accounts)))
    return int(bad)


def fleet(name: str, order: Order, accounts: int, seed: int) -> Shares:
    """Hold the fleet *name* in an *order*."""
    kind = FLEETS[name]
    held = [(name, kind(number, Random(f"{seed} {number}"))) for number in range(CONVERSATIONS)]
    records: list[Record] = Run(accounts, seed, ORDERS[order]).hold(held, order)
    return shares(records, accounts)


def worst(found: Iterable[Shares]) -> Shares:
    """Return the one with the most shared sessions, then the fewest turns at home, then the highest load."""
    return max(found, key=lambda each: (each.shared, -each.at_home, each.load))


def row(name: str, found: Shares, *, load: bool = True) -> str:
    """Return a line of the table."""
    return f"| {name} | {f'{found.load:.2f}' if load else ''} | {found.shared} | {found.at_home:.1%} |"


if __name__ == "__main__":
    sys.exit(main())
