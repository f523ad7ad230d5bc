"""Two processes with one key agree on the order of accounts, conversation by conversation."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ORDERS = """
import sys
from random import Random
from patchbay.accounts.selection import STRATEGIES, Cursors, SelectionState
from patchbay.settings.presets import PRESETS
from patchbay.values.account import Account, Secret

accounts = [Account(f"account-{n}", PRESETS["generic"], Secret("literal", "k"), weight=1 + n % 2) for n in range(4)]
Random(sys.argv[1]).shuffle(accounts)
state = SelectionState(bytes(range(32)), Cursors(Random(sys.argv[1])))
for number in range(1000):
    order = STRATEGIES["rendezvous"].order(f"{number:032x}", accounts, state)
    print(" ".join(account.id for account in order))
"""


def test_two_processes_with_one_key_give_the_same_order_for_1000_of_1000_seeds() -> None:
    here = str(Path(__file__).parent.parent.parent / ".venv" / "import")
    orders = [
        subprocess.run(
            [sys.executable, "-c", ORDERS, luck],
            env={**os.environ, "PYTHONHASHSEED": luck, "PYTHONPATH": here},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.splitlines()
        for luck in ("1", "2")
    ]

    assert len(orders[0]) == 1000
    assert sum(one == other for one, other in zip(*orders, strict=True)) == 1000
    assert len(set(orders[0])) > 10
