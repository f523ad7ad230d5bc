"""
The same verdicts once more, over exchanges that were stored: the same reader, the same detectors, in the same order.

What it takes besides the stored request and answer is `Watch.record`; under the key with which it was recorded, the
verdict is the one that was given then. Records of earlier releases are read as they were meant.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, get_args

import msgspec

from ..answer.reader import AnswerReader
from ..body import Body
from ..correlation import Mint
from ..ledger import Entry, Ledger
from ..values.account import Echo
from ..values.answer import Fact, Head
from ..values.decision import Verdict, VerdictKind
from ..values.http import Endpoint
from .host_habits import PROVED, PROVEN, SELDOM, HostHabits, Standing, detector_of
from .recent import RecentExchanges
from .request_summary import RequestSummary
from .watch import SEEN, VERSION, Watch

# What was counted before records named their kinds: version 0, which had no member for its version either.
_KINDS_OF_0 = frozenset(
    {"age", "created", "date", "disorder", "early", "echo", "framing", "id", "kept", "loose", "model", "over",
     "provider_id", "settings", "shape", "stray", "text", "token", "took", "tool"}
)  # fmt: skip
_LATER, _BROKEN = "recorded by a later release of Patchbay", "its record is broken"
# Detectors whose proofs needed no standing before records held how the host's rules stood.
_ALWAYS = frozenset({"disorder", "settings", "stray-head"})
_GIVEN_UP = Fact("given up")  # nobody is beside it any more


class _Shape(msgspec.Struct, frozen=True):
    """What a record of a version that is known here must hold; a dump may come from anywhere."""

    request_id: str
    exchange: str
    account: str
    affinity: str
    thread: str
    digest: Annotated[str, msgspec.Meta(pattern="^([0-9a-f]{2})*$")]
    expected: dict[str, str]
    own: list[str]
    earlier: list[str]
    client_id: str
    promised: bool
    headers: dict[str, str]
    body: dict[str, str]
    generation: bool
    host: str
    silent: list[str]
    model: str
    stream: bool
    dialect: str
    suffix: str
    at: tuple[int, float]
    seen: list[tuple[int, float]]
    early: bool = False
    whole: bool = False
    ended: list[float] = []
    version: int = 0
    kinds: list[str] = []
    habits: dict[str, Standing] | None = None
    owners: dict[str, tuple[str, str, float, str]] = {}


@dataclass(frozen=True, slots=True)
class StoredExchange:
    """
    One exchange as it was stored: *attempts* are their records, *head* and *answer* belong to the last of them.

    On a WebSocket *messages* are what stands for *answer*.

    *said* is the verdict that was given then (empty: none), *cut* whether the answer was not kept whole, *ours* whether
    what is stored is an answer of Patchbay's own: then, and where less is stored than was seen, what was said stands.
    """

    attempts: tuple[Mapping[str, Any], ...]
    request: Body = field(repr=False)
    head: Head | None = None
    answer: bytes = field(default=b"", repr=False)
    messages: tuple[bytes, ...] | None = field(default=None, repr=False)
    said: str = ""
    victim: str = ""
    cut: bool = False
    ours: bool = False

    @property
    def request_id(self) -> str:
        """The id of the last attempt."""
        return str(self.attempts[-1].get("request_id", "")) if self.attempts else ""


@dataclass(slots=True)
class Judged:
    """A stored exchange and the verdict of this time."""

    stored: StoredExchange
    verdict: Verdict

    @property
    def agrees(self) -> bool:
        """Whether it is the verdict of that time, where there was one."""
        said, now = (self.stored.said, self.stored.victim), (self.verdict.kind, self.verdict.victim)
        return not self.stored.said or said == now


def judge(everything: Iterable[StoredExchange], mint: Mint) -> list[Judged]:
    """Judge stored exchanges anew, all of one instance together, in the order in which things happened then."""
    ledger, memory = Ledger(), RecentExchanges()
    memory.habits = _HabitsOfBefore()
    steps: list[tuple[float, int, int, int, Fact | None]] = []
    runs: list[_Run] = []
    for stored in everything:
        run = _Run(stored, mint, ledger, memory)
        steps += run.steps(len(runs))
        runs.append(run)
    for now, _, number, attempt, fact in sorted(steps, key=lambda step: step[:4]):
        runs[number].step(attempt, fact, now)
    return [Judged(run.stored, run.verdict()) for run in runs]


class _HabitsOfBefore(HostHabits):
    """For records that do not say how the rules stood: then, three answers that kept one were enough for anything."""

    def standing(self, host: str, rule: str, answer: str = "") -> Standing:
        stood = super().standing(host, rule)
        seldom = stood.kept >= PROVEN and stood.kept > SELDOM * stood.broken
        if seldom or (detector_of(rule) in _ALWAYS and not stood.void):
            return Standing(kept=max(PROVED, stood.kept), run=PROVED)
        return Standing(kept=stood.kept, broken=stood.broken)


class _Run:
    """One stored exchange, as it goes again."""

    def __init__(self, stored: StoredExchange, mint: Mint, ledger: Ledger, memory: RecentExchanges) -> None:
        self.stored = stored
        self._mint, self._ledger, self._memory = mint, ledger, memory
        self._watches: dict[int, Watch] = {}
        self._unreadable = next(filter(None, map(_unreadable, stored.attempts)), "")
        self._partial = stored.ours or bool(self._unreadable)
        self._status = stored.head.status if stored.head else 0

    def steps(self, number: int) -> Iterator[tuple[float, int, int, int, Fact | None]]:
        """Yield when what happened: (clock, order, *number*, attempt, the fact; None is the sending)."""
        if self._unreadable:
            return
        for at, record in enumerate(self.stored.attempts):
            order, now = record["at"]
            yield now, order, number, at, None
            if record.get("ended") and (self.stored.ours or not record.get("whole")):
                order, now = record["ended"]
                yield now, order, number, at, _GIVEN_UP
        if self.stored.attempts:
            last = self.stored.attempts[-1]
            kinds = frozenset(last.get("kinds", _KINDS_OF_0))
            facts = [fact for fact in _facts(self.stored, last) if fact.kind in kinds]
            self._partial = self._partial or len(facts) < len(last["seen"]) - bool(last.get("whole"))
            if self.stored.ours:
                return
            for (order, now), fact in _timed(last, facts):
                yield now, order, number, len(self.stored.attempts) - 1, fact

    def step(self, attempt: int, fact: Fact | None, now: float) -> None:
        """Let what happened at *now* happen again."""
        if fact is None:
            self._watches[attempt] = self._sent(self.stored.attempts[attempt], now)
            if attempt:
                self._watches[attempt - 1].end(now, whole=False)
        elif fact is _GIVEN_UP:
            self._watches[attempt].end(now, whole=False)
        elif fact.kind == "over":
            self._watches[attempt].end(now)
        else:
            self._watches[attempt].see(fact, self._status, now)

    def verdict(self) -> Verdict:
        """Return what it all amounts to."""
        last = self._watches.get(len(self.stored.attempts) - 1)
        said = self.stored.said
        if self._partial and said in get_args(VerdictKind):
            return Verdict(said, (), "", self.stored.victim, "the verdict of then")  # type: ignore[arg-type]
        if self._unreadable:
            return Verdict("unverifiable", note=self._unreadable)
        return last.verdict() if last else Verdict("unverifiable", note="nothing was sent")

    def _sent(self, record: Mapping[str, Any], now: float) -> Watch:
        endpoint = Endpoint(record["dialect"], suffix=record["suffix"])
        for value, (exchange, request_id, at, digest) in (record.get("owners") or {}).items():
            if self._ledger.find("request", value, now) is None:  # another instance's, whose flows are elsewhere
                owner = Entry(exchange, request_id, digest=bytes.fromhex(digest), at=at)
                self._ledger.note("request", value, owner, now)
        return Watch(
            _echo(record),
            record["expected"],
            request_id=record["request_id"],
            exchange=record["exchange"],
            mint=self._mint,
            ledger=self._ledger,
            now=now,
            earlier=tuple(record["earlier"]),
            client_id=record["client_id"],
            sent=frozenset(record["own"]),
            account=record["account"],
            affinity=record["affinity"],
            thread=record["thread"],
            digest=bytes.fromhex(record["digest"]),
            generation=record["generation"],
            memory=self._memory,
            asked=RequestSummary(endpoint, self.stored.request, record["model"], record["stream"]),
            host=record["host"],
            silent=frozenset(record["silent"]),
            judged=msgspec.convert(record.get("habits") or {}, dict[str, Standing]),
        )


def version(record: Mapping[str, Any]) -> int:
    """Return the version of a `Watch.record`; 0 for those of before they had one."""
    named = record.get("version", 0)
    return named if isinstance(named, int) else VERSION + 1


def _unreadable(record: Mapping[str, Any]) -> str:
    """Say why *record* cannot be judged by, empty where it can."""
    if version(record) > VERSION:
        return _LATER
    try:
        shape = msgspec.convert(record, _Shape)
    except msgspec.ValidationError:
        return _BROKEN
    return "" if len(shape.ended) in (0, 2) else _BROKEN


def _timed(record: Mapping[str, Any], facts: list[Fact]) -> Iterator[tuple[tuple[int, float], Fact]]:
    """Yield *facts*, and that the answer is over if it ended well, each with the moment at which it came."""
    moments, over = record["seen"], [Fact("over")] if record.get("whole") else []
    if len(facts) + len(over) > len(moments) >= SEEN:  # the times of the last ones were not kept; they came before this
        late = record.get("ended") or moments[-1]
        moments = [*moments, *[late] * (len(facts) + len(over) - len(moments))]
    yield from zip(moments, [*facts[: len(moments) - len(over)], *over], strict=False)


def _echo(record: Mapping[str, Any]) -> Echo:
    return Echo(headers=record["headers"], body=record["body"], promised=record["promised"])


def _facts(stored: StoredExchange, record: Mapping[str, Any]) -> list[Fact]:
    if stored.head is None:
        return []
    reader = AnswerReader(record["dialect"], _echo(record), asked_stream=bool(record["stream"]))
    facts = reader.head(replace(stored.head, early=bool(record.get("early"))))
    for message in stored.messages or ():
        facts += reader.message(message)
    return [*facts, *reader.feed(stored.answer), *reader.end()]
