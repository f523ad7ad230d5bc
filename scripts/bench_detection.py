"""
What it costs to say whose an answer is, for each event of a stream: paired in one process, the same events with all of
it and without.

Without: the reader tells what the router needs in any case (usage, content, errors, ids), and nobody looks for
crosstalk.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from unittest import mock

from patchbay import dialects
from patchbay.answer import reader
from patchbay.dialects.order import StreamOrder
from patchbay.values.answer import Fact, Head
from patchbay.values.http import Headers
from tests.crosstalk.world import NAMES, Line, World

WORDS = 400  # events of one stream, more or less
ROUNDS = 15
_SETTLED = 12  # answers after which a host's habits are known


@dataclass
class Cost:
    """Microseconds for each event, one value a round."""

    with_it: list[float] = field(default_factory=list)
    without: list[float] = field(default_factory=list)

    @property
    def more(self) -> float:
        return statistics.median(a - b for a, b in zip(self.with_it, self.without, strict=True))

    @property
    def share(self) -> float:
        """Return how much of reading, with all of it, is detection."""
        return statistics.median(1 - b / a for a, b in zip(self.with_it, self.without, strict=True))


def measured(rounds: int = ROUNDS) -> dict[str, Cost]:
    """Let streams pass in every dialect, in turn with detection and without."""
    costs: dict[str, Cost] = {}
    for dialect in NAMES:
        world = World("body", dialect, True, 1)
        world.warm(_SETTLED)
        cost = costs[dialect] = Cost()
        for number in range(rounds + 1):
            turn = [(cost.with_it, _watched), (cost.without, _unwatched)]
            for into, way in turn if number % 2 else reversed(turn):
                micros = way(world.send(words=WORDS), world.now)
                if number:  # the first round fills caches
                    into.append(micros)
            world.lines.clear()
    return costs


def section(whole: float, rounds: int = ROUNDS) -> list[str]:
    """Return the table; *whole* is what an event costs mitmdump and Patchbay together, in µs of processor time."""
    lines = [
        "## Crosstalk detection, per event of a stream",
        "",
        "Microseconds of processor time: reading an event with and without detection. The last column is the"
        f" share of the {whole:.0f} µs that passing an event takes in all, measured above for 20 streams.",
        "",
        "| | read and judged | read | detection | share of reading | share of passing |",
        "|---|---|---|---|---|---|",
    ]
    for dialect, cost in measured(rounds).items():
        times = f"{statistics.median(cost.with_it):.1f} | {statistics.median(cost.without):.1f} | {cost.more:.1f}"
        lines.append(f"| {dialect} | {times} | {cost.share:.0%} | {cost.more / whole:.1%} |")
    return [*lines, ""]


def _watched(line: Line, now: float) -> float:
    see = line.watch.see

    def judge(facts: list[Fact]) -> None:
        for fact in facts:
            see(fact, 200, now)

    return _timed(line, judge)


def _unwatched(line: Line, now: float) -> float:
    with _nobody_looks():
        return _timed(line, lambda facts: None)


def _timed(line: Line, judge: Callable[[list[Fact]], None]) -> float:
    answer = reader.AnswerReader(line.dialect, line.provider.echo)
    head, pieces = Head(200, Headers(line.own.headers)), line.own.pieces
    began = time.thread_time()
    judge(answer.head(head))
    for piece in pieces:
        judge(answer.feed(piece))
    judge(answer.end())
    return (time.thread_time() - began) / len(pieces) * 1e6


@contextmanager
def _nobody_looks() -> Iterator[None]:
    """Take out of the reader what is there for detection alone."""
    with ExitStack() as stack:
        unordered = {
            each.name: replace(each, order=StreamOrder, has_shape=lambda data: True) for each in dialects.DIALECTS
        }
        stack.enter_context(mock.patch.object(dialects, "BY_NAME", unordered))
        finds_strays = reader.AnswerReader._find_strays.__name__
        stack.enter_context(mock.patch.object(reader, reader._echoes.__name__, lambda echo, data: ()))
        stack.enter_context(mock.patch.object(reader.AnswerReader, finds_strays, lambda self, data, facts: None))
        yield


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("whole", type=float, nargs="?", default=100.0, help="what passing an event takes in all, in µs")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    options = parser.parse_args()
    print("\n".join(section(options.whole, options.rounds)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
