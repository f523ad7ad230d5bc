"""
The bounded memory of what was handed to whom: request ids we sent, ids and tokens that answers brought.

Written where answers are read; read by identity (owner, lineage) and by crosstalk (victims). It knows neither.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from .bounded import ChangeLog, ExpiringMap


@dataclass(frozen=True, slots=True)
class Entry:
    """
    To whom something was handed. Entries with an equal *digest* come from the same request: a retry or a cache. Entries
    with equal *words* come from the same conversation of any client; some caches take those for the same request too.

    *at* is when the request was sent. Of a part of an answer, *seen* is when it came and *born* a digest of its event;
    both are empty where they do not matter.
    """

    exchange: str
    request_id: str = ""
    account: str = ""
    affinity: str = ""
    thread: str = ""
    digest: bytes = b""
    at: float = 0.0
    seen: float = 0.0
    born: str = ""
    words: bytes = b""


class LedgerRow(NamedTuple):
    """An entry with its key and its expiry, as it is shared with other instances."""

    kind: str
    token: str
    expires: float
    entry: Entry


class _Rows(ExpiringMap[tuple[str, str], LedgerRow]):
    """Rows by kind and token, and how many there are of each kind."""

    def __init__(self, limit: int) -> None:
        super().__init__(limit)
        self.counts: dict[str, int] = {}

    def add(self, row: LedgerRow) -> None:
        """Add *row*, whose key is new."""
        self.counts[row.kind] = self.counts.get(row.kind, 0) + 1
        self[row.kind, row.token] = row

    def __delitem__(self, key: tuple[str, str]) -> None:
        super().__delitem__(key)
        self.counts[key[0]] -= 1


class Ledger:
    """
    Entries by (kind, token), at most *limit* of them; the least recently used leave first.

    A token lives *ttl* seconds after its last write. Kinds are separate namespaces.
    """

    def __init__(self, limit: int = 100_000, ttl: float = 3600.0) -> None:
        self._rows = _Rows(limit)
        self._ttl = ttl
        self._watched: frozenset[str] = frozenset()
        self._changes: ChangeLog[tuple[str, str]] = ChangeLog()

    def note(self, kind: str, token: str, entry: Entry, now: float, ttl: float | None = None) -> Entry | None:
        """Remember *entry* under *token*; return the entry that stood there, unless it has expired."""
        before = self.find(kind, token, now)
        row = LedgerRow(kind, token, now + (ttl or self._ttl), entry)
        if before is None:
            self._rows.add(row)
        else:
            self._rows[kind, token] = row
        if kind in self._watched:
            self._changes.note((kind, token))
        return before

    def find(self, kind: str, token: str, now: float) -> Entry | None:
        """Return the entry of *token*, or None when it is unknown or has expired."""
        row = self._rows.find((kind, token), now)
        return row.entry if row else None

    def drop(self, kind: str, token: str, exchange: str) -> None:
        """Forget *token* if its entry is *exchange*'s."""
        row = self._rows.get((kind, token))
        if row is not None and row.entry.exchange == exchange:
            del self._rows[kind, token]

    def holds(self, kind: str) -> bool:
        """Whether there may be anything of *kind*; without that a look-up can be left out."""
        return self._rows.counts.get(kind, 0) > 0

    def resize(self, limit: int, ttl: float) -> None:
        """Let *limit* and *ttl* hold from the next note on."""
        self._rows.limit, self._ttl = limit, ttl

    def watch(self, kinds: Iterable[str]) -> None:
        """Log the tokens of *kinds* that are noted from now on, for `changes`."""
        self._watched = frozenset(kinds)
        self._changes.watch()

    def changes(self) -> list[LedgerRow]:
        """Return the rows of the watched kinds that were noted since the last call."""
        return [self._rows[key] for key in self._changes.take() if key in self._rows]

    def all(self) -> list[LedgerRow]:
        """Return all rows of the watched kinds, the least recently used first."""
        return [row for row in self._rows.values() if row.kind in self._watched]

    def adopt(self, told: LedgerRow, now: float) -> None:
        """Take over a row of another instance, or an earlier one, if it is newer than ours."""
        key = told.kind, told.token
        found = self._rows.get(key)
        if told.expires <= now:
            return
        if found is None:
            self._rows.add(told)
        elif (found.entry.at, found.expires) < (told.entry.at, told.expires):
            self._rows[key] = told

    def __len__(self) -> int:
        return len(self._rows)
