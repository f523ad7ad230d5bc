"""What a detector may know about the attempt whose answer it looks at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ..correlation import Mint, Returned
from ..ledger import Entry, Ledger


@dataclass(slots=True)
class Sent:
    """
    One attempt. *entry* is what the ledger says of it; *expected* names, per place, what must come back there.

    *own* are ids of the client that went up with it, *earlier* the ids of this exchange's attempts before. *promised*:
    the provider gives back what it was sent. *generation*: the answer was made for this request alone; one that is
    fetched from a store is legally another request's. *status* is the answer's, 0 until its head has come.
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

    def returned(self, value: str, now: float) -> Returned:
        """Say what *value* is to this attempt."""
        return self.mint.classify(
            value,
            mine=self.entry.request_id,
            sent=self.own,
            earlier=self.earlier,
            exchange=self.entry.exchange,
            ledger=self.ledger,
            now=now,
        )

    def repeats(self, other: Entry) -> bool:
        """
        Whether *other* asked for the same thing before us, so that its answer is a retry's or a cache's.

        An answer to a request that was sent *after* ours cannot have come from there.
        """
        return bool(other.digest) and other.digest == self.entry.digest and other.at <= self.entry.at
