"""What a detector may know about the attempt whose answer it looks at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ..correlation import Mint, Returned
from ..ledger import Entry, Ledger
from .asked import Asked
from .memory import Memory


@dataclass(slots=True)
class Sent:
    """
    One attempt. *entry* is what the ledger says of it; *expected* names, per place, what must come back there.

    *own* are ids of the client that went up with it, *earlier* the ids of this exchange's attempts before. *promised*:
    the provider gives back what it was sent. *generation*: the answer was made for this request alone; one that is
    fetched from a store is legally another request's. *status* is the answer's, 0 until its head has come.

    *memory*, *asked* and *host* are missing where only ids are looked at. *kept*: the answer says that it comes from a
    cache. *date*: what the answer's head says of the time, by the host's own clock; *headed* is when it came.
    *names* are the first of the provider's ids at each place. *broken* are the rules of the host that this answer
    broke, *held* those it kept.
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
    memory: Memory | None = None
    asked: Asked | None = None
    host: str = ""
    kept: bool = False
    date: float | None = None
    headed: float | None = None
    names: dict[str, str] = field(default_factory=dict)
    models: list[str] = field(default_factory=list)
    held: set[str] = field(default_factory=set)
    broken: set[str] = field(default_factory=set)
    foreign: bool = False  # the answer is proved to be another's, so what stands in it was not given to this attempt
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

    def proven(self, rule: str) -> bool:
        """Whether the host has kept *rule* in every answer so far, and in enough of them."""
        return self.memory is not None and self.memory.proven(self.host, rule)

    def void(self, rule: str) -> bool:
        """Whether *rule* is none of this host's."""
        return self.memory is not None and self.memory.void(self.host, rule)

    def other_offered(self, tool: str) -> Entry | None:
        """Return the one exchange under way at this host that offered *tool*; None when there is none, or several."""
        if self.memory is None:
            return None
        found = {
            live.entry.exchange: live.entry
            for live in self.memory.others(self.entry, self.host)
            if tool in (live.asked.tools or ())
        }
        return next(iter(found.values())) if len(found) == 1 else None
