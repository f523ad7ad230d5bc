"""
What is said of hosts whose answers are all right, whatever their habits.

Every habit of `tests/crosstalk/honest_hosts.py` is tried in every dialect, streaming and not, from the first answer on,
at one worker of eight, and after a deploy. Everything follows from the seed. The table shows what is not as it must be.
With --recorded, conversations of recorded clients (`scripts/clients --keep`) pass in a week at random speeds, too.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.crosstalk import recorded
from tests.crosstalk.honest_hosts import HABITS
from tests.crosstalk.serving import SETTLED, WAYS, Host, Said, Way, hosts, serve

SUSPECTED = 0.0005  # the share of suspects, once a habit is known


@dataclass
class Row:
    """What was said of the hosts of one habit, in one way."""

    hosts: int = 0
    wrong: int = 0
    proofs: int = 0  # the most of one host; so the next two
    blocked: int = 0
    suspects: int = 0
    answers: int = 0  # of all hosts; so the next five
    all_proofs: int = 0
    all_suspects: int = 0
    settled: int = 0
    settled_proofs: int = 0
    settled_suspects: int = 0
    detectors: Counter[str] = field(default_factory=Counter)

    def add(self, host: Host, said: Said) -> None:
        """Count what was *said* of *host*."""
        self.hosts += 1
        self.wrong += said.wrong(host)
        self.proofs = max(self.proofs, said.proofs)
        self.blocked = max(self.blocked, said.blocked)
        self.suspects = max(self.suspects, said.suspects)
        self.answers += said.answers
        self.all_proofs += said.proofs
        self.all_suspects += said.suspects
        self.settled += said.settled
        self.settled_proofs += said.settled_proofs
        self.settled_suspects += said.settled_suspects
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


def run(options: argparse.Namespace, rows: dict[tuple[str, Way], Row]) -> None:
    """Serve everything that was asked for, into *rows*."""
    every = list(chosen(options.habit))
    for number, host in enumerate(every, 1):
        said = serve(host, options.seed, options.reaction)
        rows.setdefault((str(host.habit), host.way), Row()).add(host, said)
        if sys.stderr.isatty():
            print(f"\r{number} of {len(every)}   ", end="", file=sys.stderr, flush=True)


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
    parser.add_argument("--recorded", action="append", type=Path, default=[], metavar="FLOWS", help="of clients")
    parser.add_argument("--answers", type=int, default=10_000, help="to the clients of each of these files")
    options = parser.parse_args()
    began = time.monotonic()
    rows: dict[tuple[str, Way], Row] = {}
    run(options, rows)
    print("\n".join(table(rows, everything=options.all)))
    good = totals(rows)
    for file in options.recorded:
        good = replayed(file, options.seed, options.answers) and good
    print(f"({time.monotonic() - began:.0f} s)", file=sys.stderr)
    return 0 if good else 1


def totals(rows: dict[tuple[str, Way], Row]) -> bool:
    """Print the sums; return whether they are as they must be."""
    wrong = {name for (name, _), row in rows.items() if row.wrong}
    habits, every = {name for name, _ in rows}, list(rows.values())

    def total(member: str) -> int:
        return sum(getattr(row, member) for row in every)

    answers, settled, suspects = total("answers"), total("settled"), total("settled_suspects")
    print(f"\n{answers} right answers of {total('hosts')} hosts with {len(habits)} habits.")
    print(f"Too much is said of {total('wrong')} hosts, with {len(wrong)} habits.")
    print(f"In all: {total('all_proofs')} proofs, {_share(total('all_suspects'), answers)} suspects.")
    print(
        f"After the first {SETTLED} answers with a habit ({settled} answers): {total('settled_proofs')} proofs,"
        f" {_share(suspects, settled)} suspects."
    )
    return not wrong and not total("settled_proofs") and suspects <= SUSPECTED * settled


def replayed(file: Path, seed: int, answers: int) -> bool:
    """Let the conversations of *file* pass in a week; print what was said, and return whether it was nothing."""
    said = recorded.week(recorded.recorded(file), seed, answers)
    print(
        f"{said.answers} right answers to the clients in {file.name}, {said.beside} of them with others under way:"
        f" {said.proofs} proofs, {said.suspects} suspects; {said.differ} verdicts differ when judged again."
    )
    return said.answers > 0 and not said.proofs and not said.suspects and not said.differ


def _share(some: int, of: int) -> str:
    return f"{some} ({some / max(1, of):.3%})"


if __name__ == "__main__":
    sys.exit(main())
