"""
The bounded memory of ids and tokens, each with its exchange: request ids we sent, ids and tokens of answers.

Written where answers are read; read by identity (owner, lineage) and by crosstalk (victims). It knows neither.
"""

from __future__ import annotations

from collections.abc import Iterable

from .bounded import ChangeLog, ExpiringMap
from .frozen import dataclass


@dataclass(frozen=True, slots=True)
class Entry:
    """
    The exchange that a token belongs to.

    Entries with an equal *digest* come from the same request: a retry or a cache. Entries with equal *words* come from
    the same conversation of any client, which some caches take for the same request too.

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

    def is_alike(self, other: Entry) -> bool:
        """Whether both sent the same request or the same words."""
        return (bool(self.digest) and self.digest == other.digest) or (bool(self.words) and self.words == other.words)


@dataclass(frozen=True, slots=True)
class LedgerRow:
    """An entry with its key and its expiry, as it is shared with other instances."""

    kind: str
    token: str
    expires: float
    entry: Entry


class _Entries(ExpiringMap[tuple[str, str], Entry]):
    """Entries by kind and token. *counts*, by kind, is raised by `Ledger` for a new key."""

    def __init__(self, limit: int) -> None:
        super().__init__(limit)
        self.counts: dict[str, int] = {}

    def __delitem__(self, key: tuple[str, str]) -> None:
        super().__delitem__(key)
        self.counts[key[0]] -= 1


class Ledger:
    """
    Entries by (kind, token), at most *limit* of them; the least recently used leave first.

    A token lives *ttl* seconds after its last write. Kinds are separate namespaces.
    """

    def __init__(self, limit: int = 100_000, ttl: float = 3600.0) -> None:
        self._entries = _Entries(limit)
        self._ttl = ttl
        self._watched: frozenset[str] = frozenset()
        self._changes: ChangeLog[tuple[str, str]] = ChangeLog()

    def note(self, kind: str, token: str, entry: Entry, now: float, ttl: float | None = None) -> Entry | None:
        """Remember *entry* under *token*; return the entry that stood there, unless it has expired."""
        key = kind, token
        before = self._entries.find(key, now)
        if before is None:
            self._count(kind)
        self._entries[key] = now + (ttl or self._ttl), entry
        if kind in self._watched:
            self._changes.note(key)
        return before

    def find(self, kind: str, token: str, now: float) -> Entry | None:
        """Return the entry of *token*, or None when it is unknown or has expired."""
        return self._entries.find((kind, token), now)

    def drop(self, kind: str, token: str, exchange: str) -> None:
        """Forget *token* if its entry is *exchange*'s."""
        held = self._entries.get((kind, token))
        if held is not None and held[1].exchange == exchange:
            del self._entries[kind, token]

    def holds(self, kind: str) -> bool:
        """Whether there may be anything of *kind*; without that a look-up can be left out."""
        return self._entries.counts.get(kind, 0) > 0

    def resize(self, limit: int) -> None:
        """Let *limit* hold from the next note on."""
        self._entries.limit = limit

    def watch(self, kinds: Iterable[str]) -> None:
        """Log the tokens of *kinds* that are noted from now on, for `changes`."""
        self._watched = frozenset(kinds)
        self._changes.watch()

    def changes(self) -> list[LedgerRow]:
        """Return the rows of the watched kinds that were noted since the last call."""
        return [LedgerRow(*key, *self._entries[key]) for key in self._changes.take() if key in self._entries]

    def all(self) -> list[LedgerRow]:
        """Return all rows of the watched kinds, the least recently used first."""
        return [LedgerRow(*key, *held) for key, held in self._entries.items() if key[0] in self._watched]

    def adopt(self, row: LedgerRow, now: float) -> None:
        """Take over a row of another instance, or an earlier one, if it is newer than ours."""
        key = row.kind, row.token
        held = self._entries.get(key)
        if row.expires <= now or (held and (held[1].at, held[0]) >= (row.entry.at, row.expires)):
            return
        if held is None:
            self._count(row.kind)
        self._entries[key] = row.expires, row.entry

    def _count(self, kind: str) -> None:
        self._entries.counts[kind] = self._entries.counts.get(kind, 0) + 1

    def __len__(self) -> int:
        return len(self._entries)
