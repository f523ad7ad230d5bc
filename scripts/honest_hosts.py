"""
What is said of hosts whose answers are all right, whatever their habits.

Every habit of `tests/crosstalk/honest_hosts.py` is tried in every dialect, streaming and not, from the first answer on,
at one worker of eight, and after a deploy. Everything follows from the seed. The table shows what is not as it must be.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from tests.crosstalk.honest_hosts import HABITS
from tests.crosstalk.serving import WAYS, Host, Said, Way, hosts, serve

IN_ALL = 10  # suspects of all hosts whose answers have the habit from the first on


@dataclass
class Row:
    """What was said of the hosts of one habit, in one way."""

    hosts: int = 0
    wrong: int = 0
    proofs: int = 0  # the most of one host; so the next two
    blocked: int = 0
    suspects: int = 0
    all_suspects: int = 0
    detectors: Counter[str] = field(default_factory=Counter)

    def add(self, host: Host, said: Said) -> None:
        """Count what was *said* of *host*."""
        self.hosts += 1
        self.wrong += said.wrong(host)
        self.proofs = max(self.proofs, said.proofs)
        self.blocked = max(self.blocked, said.blocked)
        self.suspects = max(self.suspects, said.suspects)
        self.all_suspects += said.suspects
        self.detectors.update(said.detectors)

    def __str__(self) -> str:
        if not self.hosts:
            return ""
        if not self.proofs and not self.suspects and not self.blocked:
            return "nothing"
        told = [f"{self.proofs} proofs" if self.proofs else "", f"{self.blocked} blocked" if self.blocked else ""]
        told += [f"{self.suspects} suspects" if self.suspects else ""]
        mark = f" (**{self.wrong} of {self.hosts}**)" if self.wrong else ""
        return ", ".join(each for each in told if each) + mark


def run(options: argparse.Namespace, rows: dict[tuple[str, Way], Row]) -> tuple[int, int]:
    """Serve everything that was asked for, into *rows*; return how many hosts and answers there were."""
    every = list(chosen(options.habit))
    answers = 0
    for number, host in enumerate(every, 1):
        said = serve(host, options.seed, options.reaction)
        rows.setdefault((str(host.habit), host.way), Row()).add(host, said)
        answers += said.answers
        if sys.stderr.isatty():
            print(f"\r{number} of {len(every)}   ", end="", file=sys.stderr, flush=True)
    return len(every), answers


def chosen(names: list[str] | None) -> Iterator[Host]:
    """Yield the hosts of the habits *names*; of all where none is named."""
    return (host for host in hosts() if not names or str(host.habit) in names)


def table(rows: dict[tuple[str, Way], Row], *, everything: bool) -> Iterator[str]:
    """Yield the lines of the table: of each way the worst host, and how many hosts are not as they must be."""
    yield f"| habit | {' | '.join(WAYS)} | by |"
    yield "|---|" + "---|" * (len(WAYS) + 1)
    for habit in HABITS:
        found = [rows.get((str(habit), way), Row()) for way in WAYS]
        if any(row.wrong or (everything and row.hosts) for row in found):
            yield f"| {habit} | {' | '.join(str(row) for row in found)} | {_by(found)} |"


def _by(rows: list[Row]) -> str:
    detectors: Counter[str] = sum((row.detectors for row in rows), Counter())
    return ", ".join(name.strip() for name, _ in detectors.most_common(3))


def main() -> int:
    """Print the table; 0 when all is as it must be."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--habit", action="append", choices=[str(habit) for habit in HABITS], metavar="NAME")
    parser.add_argument("--reaction", choices=("observe", "block"), default="block")
    parser.add_argument("--all", action="store_true", help="show the habits of which nothing wrong is said, too")
    options = parser.parse_args()
    began = time.monotonic()
    rows: dict[tuple[str, Way], Row] = {}
    served, answers = run(options, rows)
    suspects = sum(row.all_suspects for (_, way), row in rows.items() if way == "alone")
    wrong = sum(row.wrong for row in rows.values())
    habits = {name for (name, _), row in rows.items() if row.wrong}
    print("\n".join(table(rows, everything=options.all)))
    print(f"\n{answers} right answers of {served} hosts; too much is said of {wrong} hosts, with {len(habits)} habits.")
    print(f"{suspects} suspects of hosts whose answers have the habit from the first on; {IN_ALL} may be.")
    print(f"({time.monotonic() - began:.0f} s)", file=sys.stderr)
    return 0 if not wrong and suspects <= IN_ALL else 1


if __name__ == "__main__":
    sys.exit(main())
