"""The context of a detector: the attempt, its answer so far, and the standing of the host's rules."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from ..correlation import Mint, Returned
from ..ledger import Entry, Ledger
from .attempt_record import AttemptRecord
from .host_habits import PROVEN, TWICE, Standing
from .recent import LiveAttempt, RecentExchanges
from .request_summary import RequestSummary


@dataclass(slots=True)
class DetectorContext:
    """
    One attempt and its answer so far. *entry* is the attempt's entry in the ledger.

    *status* is 0 before the head. *memory* and *asked* are None where only ids are compared. *kept*: the answer comes
    from a cache. *date*: the head's `Date`, by the host's clock; *headed*: the arrival of the head. *names*: the first
    provider id at each place; *born*: a digest of the event that brought the answer's id. *broken* and *held*: the
    host's rules that this answer broke and kept; *judged*: their standing at the first use. *noted*: the tokens of this
    answer in the ledger.
    """

    record: AttemptRecord
    entry: Entry
    mint: Mint
    ledger: Ledger
    judged: dict[str, Standing]
    own: frozenset[str] = frozenset()
    status: int = 0
    memory: RecentExchanges | None = None
    asked: RequestSummary | None = None
    kept: bool = False
    date: float | None = None
    headed: float | None = None
    names: dict[str, str] = field(default_factory=dict)
    born: str = ""
    models: list[str] = field(default_factory=list)
    held: set[str] = field(default_factory=set)
    broken: set[str] = field(default_factory=set)
    noted: list[tuple[str, str]] = field(default_factory=list)
    foreign: bool = False  # the answer is proved to be another's, so what stands in it was not given to this attempt
    clock: int = 0  # how often our clock was set when it was sent
    last: tuple[str, float, Returned] | None = None  # what was asked of `returned`, and what it said

    def returned(self, value: str, now: float) -> Returned:
        """Classify *value* for this attempt."""
        if self.last is None or self.last[:2] != (value, now):  # several detectors ask of one fact
            found = self.mint.classify(
                value,
                mine=self.entry.request_id,
                sent=self.own,
                earlier=tuple(self.record.earlier),
                exchange=self.entry.exchange,
                ledger=self.ledger,
                now=now,
            )
            self.last = value, now, found
        return self.last[2]

    def repeats(self, other: Entry) -> bool:
        """Whether *other* sent the same request no later than ours: its answer is a retry's or a cache's."""
        return bool(other.digest) and other.digest == self.entry.digest and other.at <= self.entry.at

    def asked_alike(self, other: Entry) -> bool:
        """Whether *other* sent the same request or the same words, at any time: some hosts merge equal requests."""
        same, words = other.digest == self.entry.digest, other.words == self.entry.words
        return (bool(other.digest) and same) or (bool(other.words) and words)

    def note(self, kind: str, token: str, entry: Entry, now: float) -> None:
        """Enter in the ledger that *token* came to this attempt."""
        self.ledger.note(kind, token, replace(entry, seen=now, born=self.born), now)
        self.noted.append((kind, token))

    def disown(self) -> None:
        """Drop the answer's tokens from the ledger: they belong to another answer, which may still arrive."""
        for kind, token in self.noted:
            self.ledger.drop(kind, token, self.entry.exchange)
        self.noted.clear()

    # -- habits of the host ----------------------------------------------------------------------------------------

    def broke(self, rule: str, now: float, *, found: str = "", explained: bool = False) -> None:
        """Note that this answer breaks *rule*; `standing` keeps the state before. See `host_habits`."""
        self.standing(rule)
        if rule not in self.broken:
            self.broken.add(rule)
            if self.memory is not None:
                self.memory.habits.broke(self.record.host, rule, now, found=found, explained=explained)

    def standing(self, rule: str) -> Standing:
        """Return the standing of *rule* at the host, as of its first use for this answer."""
        if rule not in self.judged:
            habits = self.memory.habits if self.memory else None
            stood = habits.standing(self.record.host, rule, self.entry.request_id) if habits else Standing()
            self.judged[rule] = stood
        return self.judged[rule]

    def stands(self, rule: str, answers: int) -> bool:
        """Whether the host kept *rule* in at least *answers* answers in a row before this one; see `host_habits`."""
        return self.standing(rule).stands(answers)

    def suspects(self, rule: str, answers: int) -> bool:
        """The same for a finding that rests on the host's habits alone."""
        return self.standing(rule).suspects(answers)

    def swapped(self, rule: str, other: Entry | None) -> bool:
        """Whether *rule* stands, or the answer to *other*, swapped with this one, broke it last."""
        stood = self.standing(rule)
        pair = self.pair(other)
        return stood.stands(PROVEN) or (bool(pair) and stood.mirrors(PROVEN, pair, self.entry.at))

    def pair(self, other: Entry | None) -> str:
        """Return the note that the answer to *other* may have come to us."""
        return f"{self.entry.request_id} → {other.request_id}" if other is not None else ""

    def explained(self, rule: str) -> bool:
        """Whether *rule* stands where another exchange under way explains why this answer breaks it."""
        return self.standing(rule).seldom

    def is_new(self, rule: str, answers: int) -> bool:
        """Whether the host never broke *rule* before, or has kept it since as `stands` says."""
        stood = self.standing(rule)
        return not stood.doubted and (not stood.broken or stood.stands(answers))

    def void(self, rule: str) -> bool:
        """Whether the host breaks *rule* as a matter of course."""
        return self.standing(rule).void

    def repeated(self, rule: str, other: Entry, at_once: int = PROVEN, later: int = TWICE) -> bool:
        """Whether *rule* (a value comes once) stands: after *at_once* answers if both waited, else after *later*."""
        return self.memory is None or self.stands(rule, at_once if other.seen > self.entry.at else later)

    def beside(self) -> Iterator[LiveAttempt]:
        """Yield the attempts of other exchanges at this host that overlap this one."""
        return self.memory.others(self.entry, self.record.host) if self.memory is not None else iter(())

    def other_offered(self, tool: str) -> Entry | None:
        """Return the one exchange under way at this host that offered *tool*; None when there is none, or several."""
        found = {live.entry.exchange: live.entry for live in self.beside() if tool in (live.asked.tools or ())}
        return next(iter(found.values())) if len(found) == 1 else None
