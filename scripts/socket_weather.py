"""
Lets clients on WebSockets have turns while accounts fail in 25 ways, and checks that a fault costs one error at most.

Each turn's fault stays on the account that it met first while others are well. Kinds that take an account out for
minutes come at most four times for twelve accounts.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tests.end_to_end.socket_weather import KINDS, errors, faults, run, seen, told, weather, wrong

PAUSE = 1.0  # seconds of a client behind a fault
LOST = 4  # accounts of twelve that may be taken out for good


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--turns", type=int, default=500, help="with a fault; as many are quiet")
    parser.add_argument("--clients", type=int, default=4)
    options = parser.parse_args()
    kinds = list(drawn(random.Random(options.seed), options.turns))
    print(f"{len(kinds)} faults, {options.clients} clients, seed {options.seed}", flush=True)
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="patchbay-weather-") as folder, weather(Path(folder)) as found:
        turns = run(found, kinds, options.clients, options.seed, PAUSE)
        log = found.running.log
    print(f"{len(turns)} turns in {time.monotonic() - begun:.0f} s\n{told(turns)}")
    for turn in (*wrong(turns), *seen(turns)):
        print(f"  {turn.session} {turn.kind} on {turn.account}: {turn.errors}")
    claims = [
        (errors(turns) <= faults(turns), f"at most one error a fault ({errors(turns)} of {faults(turns)})"),
        (not wrong(turns), f"every turn was answered, at two errors at most ({len(wrong(turns))} were not)"),
        (not seen(turns), f"no refused upgrade cost an error ({len(seen(turns))} did)"),
        (faults(turns) >= 0.9 * len(kinds), f"the faults really happened ({faults(turns)} of {len(kinds)})"),
        ("Traceback" not in log, "nothing crashed"),
    ]
    for holds, text in claims:
        print(f"  {'✓' if holds else '✗ NOT SO:'} {text}")
    return 0 if all(holds for holds, _ in claims) else 1


def drawn(luck: random.Random, count: int) -> Iterator[str]:
    """Yield *count* kinds; those that take an account out come four times at most."""
    lost = 0
    passing = [name for name, kind in KINDS.items() if not kind.lasting and name != "reload"]
    for _ in range(count):
        name = luck.choice(list(KINDS))
        if KINDS[name].lasting or name == "reload":
            lost += 1
            name = luck.choice(passing) if lost > LOST else name
        yield name


if __name__ == "__main__":
    sys.exit(main())
