"""The order of a stream's events. A violation is a fact of kind `disorder`, whose *where* names the rule."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..values.answer import Fact

MEMBERS = 512  # blocks, items and choices of one stream that are followed
SHOWN = 80  # characters of an id in a fact
_RUNS = 8  # of ids of one choice


class StreamOrder:
    """The order of one stream. A dialect overrides `step`; without it, nothing is out of order."""

    __slots__ = ("_began", "_called", "_closed", "_ended", "_last_named", "_names", "_open", "_sequence")

    def __init__(self) -> None:
        self._names: dict[object, _Names] = {}  # by choice: some servers give every choice an id of its own
        self._last_named: _Names | None = None  # of the last event, if it bore an id that is followed
        self._began = ""
        self._ended = False
        self._open: set[object] = set()
        self._closed: set[object] = set()
        self._sequence: int | None = None
        self._called = False  # a tool of the client was called

    def feed(self, data: dict[str, Any]) -> Iterator[Fact]:
        """Yield the rules that *data*, the next event, violates."""
        self._last_named = None
        yield from self.step(data)

    def step(self, data: dict[str, Any]) -> Iterator[Fact]:
        """Yield the rules of the dialect that *data* violates."""
        return iter(())

    def repeat(self, number: int | None) -> Iterator[Fact]:
        """Yield the rules violated by an event that equals the last but for its text and its sequence *number*."""
        if self._last_named is not None:
            self._last_named.runs[-1][1] += 1
        if number is not None:
            yield from self.count(number)

    def end(self) -> Iterator[Fact]:
        """Yield the rule that is known at the end only: the stream changed from one answer to another."""
        for names in self._names.values():
            runs = names.runs
            if len(runs) == 2 and all(length >= 2 for _, length in runs):
                yield disorder("switch", f"{runs[0][0]} → {runs[1][0]}")

    def done(self) -> None:
        """Note `[DONE]`, after which nothing may come."""
        self._ended = True

    def count(self, number: object) -> Iterator[Fact]:
        """Check that sequence numbers grow by one."""
        if not isinstance(number, int) or isinstance(number, bool):
            return
        before, self._sequence = self._sequence, number
        if before is not None and number <= before:
            yield disorder("sequence-back", f"{before} → {number}")
        elif before is not None and number > before + 1:
            yield disorder("sequence-gap", f"{before} → {number}")

    def name(self, name: object, choice: int) -> Iterator[Fact]:
        """Check the id that every event of a *choice* bears: ids that alternate are two answers in one stream."""
        if not isinstance(name, str) or not name:
            return
        names = self._names.get(choice)
        if names is None:
            if len(self._names) >= MEMBERS:
                return
            names = self._names[choice] = _Names()
        self._last_named = names
        runs = names.runs
        if runs and runs[-1][0] == name:
            runs[-1][1] += 1
            return
        # one return is not enough: gateways put an id of their own on the first and the last event
        names.returns += any(run[0] == name for run in runs[:-1])
        if names.returns > 1:
            yield disorder("alternates", f"{runs[-1][0]} → {shown(name)}")
        if len(runs) < _RUNS:
            runs.append([shown(name), 1])

    def start(self, name: object) -> Iterator[Fact]:
        """Check that only one answer starts."""
        if not isinstance(name, str) or not name:
            return
        if self._began and name != self._began:
            yield disorder("two-starts", f"{self._began} → {shown(name)}")
        self._began = self._began or shown(name)

    def open(self, name: object) -> None:
        """Note that the block or item *name* is open."""
        if isinstance(name, str | int) and len(self._open) < MEMBERS:
            self._open.add(name)

    def close(self, name: object) -> None:
        """Note that the block or choice *name* is closed."""
        if len(self._closed) < MEMBERS:
            self._closed.add(name)


class _Names:
    """The ids of the events of one choice: runs of [id, number of events in a row], and returns to an older id."""

    __slots__ = ("returns", "runs")

    def __init__(self) -> None:
        self.runs: list[list[Any]] = []
        self.returns = 0


def index_of(choice: object) -> int:
    """Return the index of a choice or candidate, 0 where it has none."""
    index = choice.get("index") if isinstance(choice, dict) else 0
    return index if isinstance(index, int) else 0


def disorder(rule: str, seen: str) -> Fact:
    """Return the fact that *rule* is violated by *seen*."""
    return Fact("disorder", seen, rule)


def shown(value: object) -> str:
    """Return an id as it stands in a fact."""
    return str(value)[:SHOWN]
