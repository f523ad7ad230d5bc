"""
The one bounded memory of what we handed to whom: request ids we sent, ids and tokens that answers brought.

Written where answers are read; read by identity (owner, lineage) and by crosstalk (victims). It knows neither.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Entry:
    """To whom something was handed. Equal *digest* on two entries means: the same request, so a retry or a cache."""

    exchange: str
    request_id: str = ""
    account: str = ""
    affinity: str = ""
    thread: str = ""
    digest: bytes = b""
    at: float = 0.0


class Ledger:
    """
    Entries by (kind, token), at most *limit* of them, the longest unused leave first.

    A token lives *ttl* seconds after it was last written. Kinds keep unrelated namespaces apart.
    """

    def __init__(self, limit: int = 100_000, ttl: float = 3600.0) -> None:
        self._entries: OrderedDict[tuple[str, str], tuple[float, Entry]] = OrderedDict()
        self._limit = limit
        self._ttl = ttl

    def note(self, kind: str, token: str, entry: Entry, now: float, ttl: float | None = None) -> Entry | None:
        """Remember *entry* under *token*; return what stood there before, if it is still alive."""
        before = self.find(kind, token, now)
        self._entries[kind, token] = (now + (ttl or self._ttl), entry)
        self._entries.move_to_end((kind, token))
        while len(self._entries) > self._limit:
            self._entries.popitem(last=False)
        return before

    def find(self, kind: str, token: str, now: float) -> Entry | None:
        """Return the entry of *token*, or None when it is unknown or too old."""
        found = self._entries.get((kind, token))
        if found is None:
            return None
        expires, entry = found
        if expires <= now:
            del self._entries[kind, token]
            return None
        self._entries.move_to_end((kind, token))
        return entry

    def __len__(self) -> int:
        return len(self._entries)
