"""
The verdicts of stored exchanges, computed again by the same reader and detectors in the same order.

The input is request, answer and attempt record. Under the key of the recording and with the same detectors, the
verdict is that of the recording; records of earlier releases keep their meaning.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import field, replace
from typing import Any, get_args

from ..answer.reader import AnswerReader
from ..body import Body
from ..correlation import Mint
from ..frozen import dataclass
from ..ledger import Ledger
from ..values.answer import Fact, Head
from ..values.decision import Amendment, Verdict, VerdictKind
from ..values.http import Endpoint
from .attempt_record import AttemptRecord, Moment, read
from .detectors import DETECTORS
from .host_habits import KEPT_PER_BREAK, RUN_EXPLAINED, RUN_FORM_PROOF, HostHabits, Standing, detector_of
from .judgement import ATTESTED
from .recent import RecentExchanges
from .request_summary import RequestSummary
from .watch import BY_OUR_ID, SEEN, Watch

_NEEDS_NO_STANDING = frozenset(name for name, each in DETECTORS.items() if each.needs_no_standing)
_Step = tuple[float, int, int, int, Fact | None]  # clock, order, number of the exchange, attempt; no fact: the sending
_GIVEN_UP = Fact("given up")  # the attempt is under way no longer


@dataclass(frozen=True, slots=True)
class StoredExchange:
    """
    One exchange as stored: the records of its *attempts*; head and *answer* (or a WebSocket's *messages*) of the last.

    *recorded*: the verdict of that time (empty: none). *amends*: verdicts on earlier exchanges that its answer changed,
    as `Amendment.encoded` has them; *amended*: those that took the place of its own. *cut*: the stored answer is
    incomplete; *ours*: it is Patchbay's own. The recorded verdict holds for *ours*, and where facts are missing.
    """

    attempts: tuple[Mapping[str, Any], ...]
    request: Body = field(repr=False)
    head: Head | None = None
    answer: bytes = field(default=b"", repr=False)
    messages: tuple[bytes, ...] | None = field(default=None, repr=False)
    recorded: str = ""
    victim: str = ""
    amends: tuple[Mapping[str, Any], ...] = ()
    amended: tuple[Mapping[str, Any], ...] = ()
    cut: bool = False
    ours: bool = False

    @property
    def exchange(self) -> str:
        """The exchange's id."""
        return str(self.attempts[-1].get("exchange", "")) if self.attempts else ""

    @property
    def request_id(self) -> str:
        """The id of the last attempt."""
        return str(self.attempts[-1].get("request_id", "")) if self.attempts else ""


@dataclass(slots=True)
class Judged:
    """
    A stored exchange and its new verdict.

    *change*: how a later answer changed the verdict. *told*: how one had changed the recorded verdict, as
    `Amendment.encoded` has it.
    """

    stored: StoredExchange
    verdict: Verdict
    change: Amendment | None = None
    told: Mapping[str, Any] | None = None

    @property
    def recorded(self) -> tuple[str, str]:
        """The verdict and the victim that were recorded last; empty where there are none."""
        told = self.told or {"verdict": self.stored.recorded, "victim": self.stored.victim}
        return str(told.get("verdict", "")), str(told.get("victim", ""))

    @property
    def agrees(self) -> bool:
        """Whether the new verdict is the recorded one, where there is one."""
        return not self.recorded[0] or self.recorded == (self.verdict.kind, self.verdict.victim)


def judge(everything: Iterable[StoredExchange], mint: Mint) -> list[Judged]:
    """Judge all stored exchanges of one instance again, in the order of the recorded events."""
    ledger, memory = Ledger(), RecentExchanges()
    memory.habits = _HabitsOfBefore()
    steps: list[_Step] = []
    runs: list[_Run] = []
    for stored in everything:
        run = _Run(stored, mint, ledger, memory)
        steps += run.steps(len(runs))
        runs.append(run)
    changed: dict[str, Amendment] = {}
    steps.sort(key=lambda step: step[:2])
    for now, _, number, attempt, fact in steps:
        runs[number].step(attempt, fact, now)
        changed |= {change.exchange: change for change in memory.late.amendments(runs[number].stored.exchange)}
    recorded = _recorded_changes([run.stored for run in runs])
    apart, later = _missing_others(runs)
    untold = {run.stored.exchange for run in runs if not run.is_replayed}
    judged: list[Judged] = []
    for number, run in enumerate(runs):
        told = recorded.get(run.stored.exchange)
        is_amended = run.stored.exchange in changed or bool(told)
        is_untold = run.stored.exchange not in changed and (told or {}).get("by") in untold
        is_later = number in later or (bool(later) and is_amended) or is_untold
        verdict = run.verdict(told or {}, apart=number in apart, later=is_later)
        judged.append(Judged(run.stored, verdict, changed.get(run.stored.exchange), told))
    return judged


def _missing_others(runs: Sequence[_Run]) -> tuple[set[int], set[int]]:
    """
    Return the numbers of those of *runs* that miss others, which are not stored.

    During the first ones these were under way; the second ones ended after there were any.
    """
    first: dict[int, int] = {}
    found: set[int] = set()
    later: set[int] = set()
    gaps, before = 0, 0
    for _, order, number in sorted(
        (each.clock, each.number, at) for at, run in enumerate(runs) for each in run.moments
    ):
        gaps += order > before + 1  # at a start of the proxy, the order begins again
        before = order
        if gaps:
            later.add(number)
        if gaps > first.setdefault(number, gaps):
            found.add(number)
    return found, later


def _recorded_changes(everything: Sequence[StoredExchange]) -> dict[str, Mapping[str, Any]]:
    """Return the last recorded change of each exchange's verdict; an empty one where what showed it is not stored."""
    found: dict[str, Mapping[str, Any]] = {}
    times: dict[str, float] = {}
    present = {stored.exchange for stored in everything}
    for stored in everything:
        for told in (*stored.amends, *stored.amended):
            at, exchange = told.get("time"), str(told.get("exchange", ""))
            if not isinstance(at, int | float):
                continue
            if told.get("by") not in present:  # the verdict cannot be compared
                found[exchange], times[exchange] = {"verdict": ""}, math.inf
            elif times.get(exchange, -math.inf) <= at:
                found[exchange], times[exchange] = told, at
    return found


class _HabitsOfBefore(HostHabits):
    """For records without standings: in their releases, three answers that kept a rule sufficed for any finding."""

    def standing(self, host: str, rule: str, answer: str = "") -> Standing:
        standing = super().standing(host, rule)
        seldom = standing.kept >= RUN_EXPLAINED and standing.kept > KEPT_PER_BREAK * standing.broken
        if seldom or (detector_of(rule) in _NEEDS_NO_STANDING and not standing.void):
            return Standing(kept=max(RUN_FORM_PROOF, standing.kept), run=RUN_FORM_PROOF)
        return Standing(kept=standing.kept, broken=standing.broken)


class _Run:
    """One stored exchange, replayed step by step."""

    def __init__(self, stored: StoredExchange, mint: Mint, ledger: Ledger, memory: RecentExchanges) -> None:
        self.stored = stored
        self._mint, self._ledger, self._memory = mint, ledger, memory
        self._watches: dict[int, Watch] = {}
        found = [read(each) for each in stored.attempts]
        self._unreadable = next((each for each in found if isinstance(each, str)), "")
        self._records = [each for each in found if isinstance(each, AttemptRecord)]
        self._partial = stored.ours or bool(self._unreadable)
        self._status = stored.head.status if stored.head else 0

    @property
    def is_replayed(self) -> bool:
        """Whether all that came is stored: of several attempts, only the last one's answer is."""
        return not self._partial and len(self.stored.attempts) == 1

    @property
    def moments(self) -> Iterator[Moment]:
        """Every moment of the exchange."""
        for record in self._records:
            yield record.at
            yield from record.seen
            if record.end:
                yield record.end

    def steps(self, number: int) -> Iterator[_Step]:
        """Yield the steps of the exchange, which has this *number*."""
        if self._unreadable:
            return
        for at, record in enumerate(self._records):
            yield record.at.clock, record.at.number, number, at, None
            if (end := record.end) and (self.stored.ours or not record.whole):
                yield end.clock, end.number, number, at, _GIVEN_UP
        if self._records:
            last = self._records[-1]
            facts = [fact for fact in _facts(self.stored, last) if fact.kind in last.kinds]
            self._partial = self._partial or len(facts) < len(last.seen) - last.whole
            if self.stored.ours:
                return
            for moment, fact in _timed(last, facts):
                yield moment.clock, moment.number, number, len(self._records) - 1, fact

    def step(self, attempt: int, fact: Fact | None, now: float) -> None:
        """Replay the step of *now*."""
        if fact is None:
            self._watches[attempt] = self._sent(self._records[attempt], now)
            if attempt:
                self._watches[attempt - 1].end(now, whole=False)
        elif fact is _GIVEN_UP:
            self._watches[attempt].end(now, whole=False)
        elif fact.kind == "over":
            self._watches[attempt].end(now)
            self._watches[attempt].judgement.told = self._watches[attempt].verdict()
        else:
            self._watches[attempt].see(fact, self._status, now)

    def verdict(self, told: Mapping[str, Any], *, apart: bool = False, later: bool = False) -> Verdict:
        """
        Return the verdict; *told* is the recorded change of it.

        *apart*: others that were under way are missing; *later*: others that ended before, or began.
        """
        recorded = str(told.get("verdict") or self.stored.recorded)
        victim = str(told.get("victim", self.stored.victim))
        found = self._last.verdict() if self._last else Verdict("unverifiable", note="nothing was sent")
        if recorded in get_args(VerdictKind):
            differs = later and (found.kind, found.victim) != (recorded, victim)
            if self._partial or (apart and not _is_certain(found)) or (differs and not _is_by_our_id(found)):
                return Verdict(recorded, (), "", victim, "the recorded verdict")  # type: ignore[arg-type]
        return Verdict("unverifiable", note=self._unreadable) if self._unreadable else found

    @property
    def _last(self) -> Watch | None:
        return self._watches.get(len(self.stored.attempts) - 1)

    def _sent(self, record: AttemptRecord, now: float) -> Watch:
        for value, owner in record.owners.items():
            if self._ledger.find("request", value, now) is None:  # another instance's, whose flows are elsewhere
                self._ledger.note("request", value, owner.entry, now)
        endpoint = Endpoint(record.dialect, suffix=record.suffix)
        request = RequestSummary(endpoint, self.stored.request, record.model, record.stream)
        return Watch(record.sent_again(), self._mint, self._ledger, now, self._memory, request)


def _is_certain(found: Verdict) -> bool:
    """Whether the verdict rests on the answer itself, and not on who else was under way."""
    return found.kind == "clean" or any(each.strength == "proof" for each in found.findings)


def _is_by_our_id(found: Verdict) -> bool:
    """Whether the verdict rests on an id of ours in the answer, and not on what was asked or answered before."""
    proofs = {each.detector for each in found.findings if each.strength == "proof"}
    return bool(proofs & BY_OUR_ID) or (found.kind == "clean" and found.echo != ATTESTED)


def _timed(record: AttemptRecord, facts: list[Fact]) -> Iterator[tuple[Moment, Fact]]:
    """Yield *facts*, and the end of a complete answer, each with its moment."""
    moments, over = record.seen, [Fact("over")] if record.whole else []
    if len(facts) + len(over) > len(moments) >= SEEN:  # the times of the last ones were not kept; they came before this
        late = record.end or moments[-1]
        moments = [*moments, *[late] * (len(facts) + len(over) - len(moments))]
    yield from zip(moments, [*facts[: len(moments) - len(over)], *over], strict=False)


def _facts(stored: StoredExchange, record: AttemptRecord) -> list[Fact]:
    if stored.head is None:
        return []
    reader = AnswerReader(record.dialect, record.echo, asked_stream=record.stream)
    facts = reader.head(replace(stored.head, early=record.early))
    for message in stored.messages or ():
        facts += reader.message(message)
    return [*facts, *reader.feed(stored.answer), *reader.end()]
