"""What a detector may know about the attempt whose answer it looks at."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from ..correlation import Mint, Returned
from ..ledger import Entry, Ledger
from .host_habits import PROVEN, TWICE, Standing
from .recent import LiveAttempt, RecentExchanges
from .request_summary import RequestSummary


@dataclass(slots=True)
class AttemptRecord:
    """
    One attempt. *entry* is what the ledger says of it; *expected* names, per place, what must come back there.

    *own* are ids of the client that went up with it, *earlier* the ids of this exchange's attempts before. *promised*:
    the provider gives back what it was sent. *generation*: the answer was made for this request alone; one that is
    fetched from a store is legally another request's. *status* is the answer's, 0 until its head has come.

    *memory*, *asked* and *host* are missing where only ids are looked at. *kept*: the answer says that it comes from a
    cache. *date*: what the answer's head says of the time, by the host's own clock; *headed* is when it came.
    *names* are the first of the provider's ids at each place, *born* a digest of what the answer's id came in. *broken*
    are the rules of the host that this answer broke, *held* those it kept; *judged* is how those stood that were asked
    about, when they were asked about first. *noted* is what the ledger was told of this answer.
    """

    entry: Entry
    mint: Mint
    ledger: Ledger
    expected: Mapping[str, str] = field(default_factory=dict)
    own: frozenset[str] = frozenset()
    earlier: tuple[str, ...] = ()
    promised: bool = False
    generation: bool = False
    status: int = 0
    memory: RecentExchanges | None = None
    asked: RequestSummary | None = None
    host: str = ""
    kept: bool = False
    date: float | None = None
    headed: float | None = None
    names: dict[str, str] = field(default_factory=dict)
    born: str = ""
    models: list[str] = field(default_factory=list)
    held: set[str] = field(default_factory=set)
    broken: set[str] = field(default_factory=set)
    judged: dict[str, Standing] = field(default_factory=dict)
    noted: list[tuple[str, str]] = field(default_factory=list)
    foreign: bool = False  # the answer is proved to be another's, so what stands in it was not given to this attempt
    clock: int = 0  # how often our clock was set when it was sent
    last: tuple[str, float, Returned] | None = None  # what was asked of `returned`, and what it said

    def returned(self, value: str, now: float) -> Returned:
        """Say what *value* is to this attempt."""
        if self.last is None or self.last[:2] != (value, now):  # several detectors ask of one fact
            found = self.mint.classify(
                value,
                mine=self.entry.request_id,
                sent=self.own,
                earlier=self.earlier,
                exchange=self.entry.exchange,
                ledger=self.ledger,
                now=now,
            )
            self.last = value, now, found
        return self.last[2]

    def repeats(self, other: Entry) -> bool:
        """
        Whether *other* asked for the same thing before us, so that its answer is a retry's or a cache's.

        An answer to a request that was sent *after* ours cannot have come from there.
        """
        return bool(other.digest) and other.digest == self.entry.digest and other.at <= self.entry.at

    def asked_alike(self, other: Entry) -> bool:
        """Whether *other* asked for the same thing, at whatever time: some hosts answer all who ask alike at once."""
        same, words = other.digest == self.entry.digest, other.words == self.entry.words
        return (bool(other.digest) and same) or (bool(other.words) and words)

    def note(self, kind: str, token: str, entry: Entry, now: float) -> None:
        """Have the ledger know that *token* came to this attempt."""
        self.ledger.note(kind, token, replace(entry, seen=now, born=self.born), now)
        self.noted.append((kind, token))

    def disown(self) -> None:
        """Forget what came in the answer: it is another's, who may get it yet."""
        for kind, token in self.noted:
            self.ledger.drop(kind, token, self.entry.exchange)
        self.noted.clear()

    # -- habits of the host ----------------------------------------------------------------------------------------

    def broke(self, rule: str, now: float, *, found: str = "", explained: bool = False) -> None:
        """Note that this answer breaks *rule*; what is said of the rule is how it stood before. See `host_habits`."""
        self.standing(rule)
        if rule not in self.broken:
            self.broken.add(rule)
            if self.memory is not None:
                self.memory.habits.broke(self.host, rule, now, found=found, explained=explained)

    def standing(self, rule: str) -> Standing:
        """Return how *rule* stood at the host when it was asked about first."""
        if rule not in self.judged:
            habits = self.memory.habits if self.memory else None
            stood = habits.standing(self.host, rule, self.entry.request_id) if habits else Standing()
            self.judged[rule] = stood
        return self.judged[rule]

    def stands(self, rule: str, answers: int) -> bool:
        """Whether the host kept *rule* in at least *answers* answers in a row before this one; see `host_habits`."""
        return self.standing(rule).stands(answers)

    def suspects(self, rule: str, answers: int) -> bool:
        """The same for a finding that nothing but the host's habits speaks for."""
        return self.standing(rule).suspects(answers)

    def swapped(self, rule: str, other: Entry | None) -> bool:
        """Whether *rule* stands, or was broken last by the answer to *other*, with which this one was exchanged."""
        stood = self.standing(rule)
        pair = self.pair(other)
        return stood.stands(PROVEN) or (bool(pair) and stood.mirrors(PROVEN, pair, self.entry.at))

    def pair(self, other: Entry | None) -> str:
        """Return how it is written that the answer to *other* may have come to us."""
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
        """
        Whether *rule*, which lets nothing come twice, stands for what came to *other* and comes to us now.

        It takes *at_once* answers in a row where both waited at the same time, else *later*.
        """
        return self.memory is None or self.stands(rule, at_once if other.seen > self.entry.at else later)

    def beside(self) -> Iterator[LiveAttempt]:
        """Yield the attempts of other exchanges at this host that are or were under way beside this one."""
        return self.memory.others(self.entry, self.host) if self.memory is not None else iter(())

    def other_offered(self, tool: str) -> Entry | None:
        """Return the one exchange under way at this host that offered *tool*; None when there is none, or several."""
        found = {live.entry.exchange: live.entry for live in self.beside() if tool in (live.asked.tools or ())}
        return next(iter(found.values())) if len(found) == 1 else None
