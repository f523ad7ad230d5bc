"""
What is found where a provider gives no id back: in conversations made of real text, where answers are exchanged.

A part of `scripts/crosstalk_score`. Without faults, the same conversations are right answers, and nothing may be said.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from patchbay.values.decision import Verdict
from tests.crosstalk.talks import MIXED, Talks, run
from tests.crosstalk.world import NAMES
from tests.simulator.diagnosis import Care

ATTESTS = ("anthropic", "openai_responses")
AT_ONCE = (2, 6, 12)  # conversations under way
ROUNDS, EVERY, KNOWN = 160, 10, 20  # turns of each; those in which something goes wrong, from that one on
CLEAN = 40_000  # right answers, at scale 1
FOUND_AT_ONCE, FOUND_LATER, NAMED, SUSPECTED = 0.75, 0.95, 0.99, 0.0005  # what must be reached, and not exceeded


@dataclass
class Row:
    """What became of the answers that were exchanged in one dialect, and of those beside them."""

    wrong: int = 0
    at_once: int = 0
    continued: int = 0  # of the wrong ones: in conversations that had a next turn
    later: int = 0  # of these: found by then
    proved: int = 0
    named: int = 0
    rightly: int = 0
    right: int = 0
    suspected: int = 0
    accused: int = 0  # right answers that were called crosstalk
    by: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True)
class Place:
    """Where conversations are held. *care*: how the provider compares turns. *counts*: whether streams count tokens."""

    dialect: str
    stream: bool
    care: Care | None = None
    counts: bool = True

    def __str__(self) -> str:
        form = "stream" if self.stream else "whole"
        return f"{self.dialect}, {form}{', compares' * bool(self.care)}{', no count of tokens' * (not self.counts)}"

    def world(self, seed: int) -> Talks:
        """Return the host and its conversations."""
        return Talks(self.dialect, self.stream, seed, self.care, counts=self.counts)


def places() -> list[Place]:
    """Return every place."""
    found = [Place(dialect, stream, care) for dialect in NAMES for stream in (False, True) for care in _cares(dialect)]
    return [*found, Place("openai_chat", True, counts=False)]


def mixed(place: Place, seed: int, scale: float) -> Row:
    """Exchange answers of some rounds, two or three at a time."""
    row = Row()
    for number in range(max(1, round(6 * scale))):
        world = place.world(100 * seed + number)
        told = list(run(world, ROUNDS, AT_ONCE[number % len(AT_ONCE)], _wrong))
        for each in told:
            if each.of is None:
                _count_right(row, each.later)
                continue
            row.wrong += 1
            row.at_once += _is_found(each.at_once)
            row.continued += each.continued
            row.later += each.continued and _is_found(each.later)
            row.proved += each.later.kind == "crosstalk"
            if _is_found(each.later) and each.later.victim != "unknown":
                row.named += 1
                row.rightly += each.later.victim == f"x{each.of.number}"
            row.by.update({found.detector for found in each.later.findings if found.strength != "weak"})
    return row


def clean(seed: int, scale: float, progress: Callable[[str, int, int], None]) -> Row:
    """Let conversations pass of which nothing is wrong."""
    row, number, where = Row(), 0, places()
    while row.right < CLEAN * scale:
        world = where[number % len(where)].world(1000 * seed + number)
        for each in list(run(world, ROUNDS, AT_ONCE[number % len(AT_ONCE)], lambda _: "")):
            _count_right(row, each.later)
        number += 1
        progress("talks: right answers", row.right, int(CLEAN * scale))
    return row


def report(seed: int, scale: float, progress: Callable[[str, int, int], None]) -> tuple[list[str], bool]:
    """Return the tables, and whether what must hold does."""
    text = ["### In conversations, with nothing echoed", "", _INTRODUCTION, ""]
    text += [
        "| conversations | answers exchanged | found at once | by the next turn | proved | victims |",
        "|---" * 6 + "|",
    ]
    rows = []
    for number, place in enumerate(places(), 1):
        rows.append((place, row := mixed(place, seed, scale)))
        text.append(_line(str(place), row))
        progress("talks", number, len(places()))
    counted = [row for place, row in rows if place.counts]
    text += [_line("all that count tokens", sum_of(counted)), ""]
    good = _holds(sum_of(counted), [row for place, row in rows if place.care])
    by = sum((row.by for _, row in rows), Counter[str]())
    right = clean(seed, scale, progress)
    text += ["", f"Found by: {', '.join(f'`{name}` {count}' for name, count in by.most_common())}."]
    share = f"{right.suspected / max(1, right.right):.3%}"
    text += [f"{right.right} right answers of such conversations: {right.accused} called crosstalk."]
    text += [f"{right.suspected} ({share}) of them were suspected, by {dict(right.by) or 'none'}."]
    return text, good and not right.accused and right.suspected <= SUSPECTED * right.right


_INTRODUCTION = (
    "Each conversation is about a file of Python's library; its turns send parts of the file, and its answers say the"
    " next part, with token counts of a real tokenizer. Two, six or twelve are under way at once; in one round of ten"
    " two or three answers are exchanged. *Compares*: the provider compares each turn with the one before, as Anthropic"
    " and OpenAI do. *By the next turn*: of the answers after which the conversation had one. A stream of OpenAI chat"
    " counts tokens where the client asks for it (`stream_options`), or Patchbay does (`attest: true`)."
    " *Victims*: those named rightly, of those named."
)


def _cares(dialect: str) -> tuple[Care | None, ...]:
    return (None, "right") if dialect in ATTESTS else (None,)


def _wrong(number: int) -> str:
    return MIXED[number // EVERY % len(MIXED)] if number >= KNOWN and number % EVERY == 0 else ""


def _count_right(row: Row, verdict: Verdict) -> None:
    row.right += 1
    row.accused += verdict.kind == "crosstalk"
    row.suspected += verdict.kind == "suspect"
    if _is_found(verdict):
        row.by.update({found.detector for found in verdict.findings if found.strength != "weak"})


def _is_found(verdict: Verdict) -> bool:
    return verdict.kind in ("crosstalk", "suspect")


def sum_of(rows: Sequence[Row]) -> Row:
    """Return all of *rows* together."""
    names = ("wrong", "at_once", "continued", "later", "proved", "named", "rightly")
    return Row(**{name: sum(getattr(row, name) for row in rows) for name in names})


def _line(name: str, row: Row) -> str:
    shares = (row.at_once, row.wrong), (row.later, row.continued), (row.proved, row.wrong)
    cells = [f"{part / max(1, of):.0%}" for part, of in shares]
    cells[1] += f" of {row.continued}"
    return f"| {name} | {row.wrong} | {' | '.join(cells)} | {row.rightly} of {row.named} |"


def _holds(counted: Row, comparing: Sequence[Row]) -> bool:
    later = sum_of(comparing)
    return (
        counted.at_once >= FOUND_AT_ONCE * counted.wrong
        and later.later >= FOUND_LATER * later.continued
        and counted.rightly >= NAMED * counted.named
    )
