"""The context of a detector: the attempt, its answer so far, and the standing of the host's rules."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from ..correlation import Mint, Returned
from ..ledger import Entry, Ledger
from ..values.decision import Finding
from .attempt_record import AttemptRecord, IdOwner
from .host_habits import RUN_EXPLAINED, RUN_UNIQUE_VALUE, Standing, detector_of
from .mixups import Misfit, Mixups
from .recent import LiveAttempt, RecentExchanges
from .request_summary import RequestSummary

_OWNERS = 32  # of the ids of one answer


@dataclass(slots=True)
class DetectorContext:
    """
    One attempt and its answer so far. *entry* is the attempt's entry in the ledger.

    *status* is 0 before the head. *memory* and *request* are None where only ids are compared. *cached*: the answer
    comes from a cache. *date*: the head's `Date`, by the host's clock; *head_at*: when the head came. *first_ids*: the
    first provider id at each place; *born*: a digest of the event that brought the answer's id. *broken* and *kept*:
    the host's rules that this answer broke and kept; *standings*: those of the rules, at their first use. *noted*: the
    tokens of this answer in the ledger; *seals*: digests of its signatures.
    """

    record: AttemptRecord
    entry: Entry
    mint: Mint
    ledger: Ledger
    standings: dict[str, Standing]
    client_ids: frozenset[str] = frozenset()
    status: int = 0
    memory: RecentExchanges | None = None
    request: RequestSummary | None = None
    cached: bool = False
    date: float | None = None
    head_at: float | None = None
    first_ids: dict[str, str] = field(default_factory=dict)
    born: str = ""
    models: list[str] = field(default_factory=list)
    kept: set[str] = field(default_factory=set)
    broken: set[str] = field(default_factory=set)
    noted: list[tuple[str, str]] = field(default_factory=list)
    seals: list[bytes] = field(default_factory=list)
    misdelivered: bool = False  # proved to be another's answer: its ids and texts were not given to this attempt
    clock: int = 0  # how often our clock had been set at the sending
    answer_id: str = ""  # the provider's
    prompt_tokens: int = 0  # as the answer counts them
    misfits: bool = False  # they are not those of the request
    answer_tokens: int = 0
    said: list[str] = field(default_factory=list)  # the answer's text and its calls
    classified: tuple[str, float, Returned] | None = None  # the last arguments and result of `returned`

    @property
    def compared_id(self) -> str | None:
        """The id of the answer whose request the provider compares with this one; None where it compares none."""
        if self.record.compared is not None:
            return self.record.compared
        return self.request.compared_id if self.request is not None else None

    def returned(self, value: str, now: float) -> Returned:
        """Classify *value* for this attempt."""
        if self.classified is None or self.classified[:2] != (value, now):  # several detectors classify one fact
            found = self.mint.classify(
                value,
                mine=self.entry.request_id,
                sent=self.client_ids,
                earlier=tuple(self.record.earlier),
                exchange=self.entry.exchange,
                ledger=self.ledger,
                now=now,
            )
            self.classified = value, now, found
            if found.entry is not None and found.entry.exchange != self.entry.exchange:
                self._note_owner(found.value, found.entry)
        return self.classified[2]

    def _note_owner(self, value: str, other: Entry) -> None:
        """Record whose id *value* is: no other record may name it."""
        if len(self.record.owners) < _OWNERS:
            self.record.owners[value] = IdOwner.of(other)

    def repeats(self, other: Entry) -> bool:
        """Whether *other* sent the same request no later than ours: its answer is a retry's or a cache's."""
        return bool(other.digest) and other.digest == self.entry.digest and other.at <= self.entry.at

    def is_earlier_turn(self, other: Entry) -> bool:
        """Whether *other* is an earlier request of the same conversation."""
        return bool(other.thread) and other.thread == self.entry.thread and other.at < self.entry.at

    def asked_alike(self, other: Entry) -> bool:
        """Whether *other* sent the same request or the same words, at any time: some hosts merge equal requests."""
        return other.is_alike(self.entry)

    def note(self, kind: str, token: str, entry: Entry, now: float) -> None:
        """Enter in the ledger that *token* came to this attempt."""
        self.ledger.note(kind, token, replace(entry, seen=now, born=self.born), now)
        self.noted.append((kind, token))

    def disown(self) -> None:
        """Drop the answer's tokens from the ledger: they belong to another exchange, which may still receive them."""
        for kind, token in self.noted:
            self.ledger.drop(kind, token, self.entry.exchange)
        self.noted.clear()
        self.seals.clear()

    def mixed_up(self, mixups: Mixups, misfit: Misfit) -> Iterator[tuple[Misfit, Entry, Entry | None]]:
        """Note *misfit*; yield every misfit in a ring with it, with the entry of its receiver and that of its owner."""
        for each, other in mixups.note(misfit):
            receiver = self._entry_of(each.exchange)
            if receiver is not None:
                yield each, receiver, self._entry_of(other)

    def _entry_of(self, exchange: str) -> Entry | None:
        judgement = self.memory.late.of(exchange) if self.memory else None
        return judgement.entry if judgement else None

    def late(self, entry: Entry, found: Finding, now: float) -> None:
        """Report *found* about the earlier answer to the exchange of *entry*, which another instance may have."""
        if self.memory is not None and self.memory.late.found(entry.exchange, found, self.entry.exchange, now):
            judged = self.memory.late.of(entry.exchange)
            if (judged is None or judged.verdict().kind == "suspect") and found.strength == "strong":
                self.memory.habits.suspected(self.record.host, found.detector, entry.request_id)

    # -- habits of the host ----------------------------------------------------------------------------------------

    def broke(
        self, rule: str, now: float, *, found: str = "", explained: bool = False, misdelivery: bool = False
    ) -> Standing:
        """Note that this answer breaks *rule*; return its standing before. See `HostHabits.broke`."""
        standing = self.standing(rule)
        if rule not in self.broken:
            self.broken.add(rule)
            if self.memory is not None:
                self.memory.habits.broke(
                    self.record.host, rule, now, found=found, explained=explained, misdelivery=misdelivery
                )
        return standing

    def standing(self, rule: str) -> Standing:
        """Return the standing of *rule* at the host, as of its first use for this answer."""
        if rule not in self.standings:
            habits = self.memory.habits if self.memory else None
            found = habits.standing(self.record.host, rule, self.entry.request_id) if habits else Standing()
            self.standings[rule] = found
        return self.standings[rule]

    def stands(self, rule: str, answers: int) -> bool:
        """Whether the host kept *rule* in at least *answers* answers in a row before this one; see `host_habits`."""
        return self.standing(rule).stands(answers)

    def suspects(self, rule: str, answers: int) -> bool:
        """The same for a break that no concurrent exchange explains; see `Standing.suspects`."""
        return self.standing(rule).suspects(answers)

    def swapped(self, rule: str, other: Entry | None) -> bool:
        """Whether *rule* stands, or stood until the answer to *other*, swapped with this one, broke it."""
        standing, swap = self.standing(rule), self.swap_note(other)
        return standing.mirrors(RUN_EXPLAINED, swap, self.entry.at) or standing.stands(RUN_EXPLAINED)

    def swapped_once(self, rule: str, other: Entry) -> bool:
        """The same where a change of the host may look like a swap: one pair, and then no other for a while."""
        standing = self.standing(rule)
        mirrored = standing.mirrors(RUN_EXPLAINED, self.swap_note(other), self.entry.at)
        return mirrored or (standing.seldom_broken and not standing.doubted)

    def swap_note(self, other: Entry | None) -> str:
        """Return the evidence that the answer to *other* may have come to us: `our id → its id`."""
        return f"{self.entry.request_id} → {other.request_id}" if other is not None else ""

    def stands_explained(self, rule: str) -> bool:
        """Whether *rule* stands, where a concurrent exchange explains why this answer breaks it."""
        return self.standing(rule).seldom_broken

    def is_first_break(self, rule: str, answers: int) -> bool:
        """Whether the host never broke *rule* before, or has kept it since as `stands` says."""
        standing = self.standing(rule)
        return not standing.doubted and (not standing.broken or standing.stands(answers))

    def suspects_pair(self, rule: str, other: Entry) -> bool:
        """Whether the detector of *rule* lately suspected no answer of the host, except perhaps that to *other*."""
        if not self.standing(rule).doubted or self.memory is None:  # the record keeps what was doubted then
            return True
        return self.memory.habits.suspect(self.record.host, detector_of(rule)) == other.request_id

    def void(self, rule: str) -> bool:
        """Whether the host breaks *rule* habitually."""
        return self.standing(rule).void

    def stands_unique(self, rule: str, other: Entry, both: int = RUN_EXPLAINED, later: int = RUN_UNIQUE_VALUE) -> bool:
        """Whether *rule* (a value comes once) stands: after *both* answers if *other* waited then too, else *later*."""
        return self.memory is None or self.stands(rule, both if other.seen > self.entry.at else later)

    def concurrent(self) -> Iterator[LiveAttempt]:
        """Yield the attempts of other exchanges at this host that overlap this one."""
        return self.memory.others(self.entry, self.record.host) if self.memory is not None else iter(())

    def other_offered(self, tool: str) -> Entry | None:
        """Return the one exchange under way at this host that offered *tool*; None when there is none, or several."""
        found = {live.entry.exchange: live.entry for live in self.concurrent() if tool in (live.request.tools or ())}
        return next(iter(found.values())) if len(found) == 1 else None
