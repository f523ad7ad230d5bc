"""A record of the store."""

from __future__ import annotations

from ..frozen import dataclass


@dataclass(frozen=True, slots=True)
class Record:
    """
    State that outlives the process; *rank* and *expires* are in the clock's seconds.

    Of two with the same *kind* and *key* the one with the greater `order` is kept. An empty *value* deletes the record.
    """

    kind: str
    key: str
    value: str
    rank: float
    expires: float

    @property
    def order(self) -> tuple[float, float, str]:
        return self.rank, self.expires, self.value
