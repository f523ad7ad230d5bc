"""
The one bounded memory of what we handed to whom: request ids we sent, ids and tokens that answers brought.

Written where answers are read; read by identity (owner, lineage) and by crosstalk (victims). It knows neither.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Entry:
    """
    To whom something was handed. Equal *digest* on two entries means: the same request, so a retry or a cache. Equal
    *words*: the same conversation, whoever asked, which some caches take for the same request too.

    *at* is when the request was sent. Of what an answer brought, *seen* is when it came, and *born* a digest of what it
    came in; empty where that does not matter.
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


@dataclass(frozen=True, slots=True)
class Told:
    """An entry as it is told to others, and the time it lives to."""

    kind: str
    token: str
    expires: float
    entry: Entry


class Ledger:
    """
    Entries by (kind, token), at most *limit* of them, the longest unused leave first.

    A token lives *ttl* seconds after it was last written. Kinds keep unrelated namespaces apart.
    """

    def __init__(self, limit: int = 100_000, ttl: float = 3600.0) -> None:
        self._entries: OrderedDict[tuple[str, str], tuple[float, Entry]] = OrderedDict()
        self._limit = limit
        self._ttl = ttl
        self._watched: frozenset[str] = frozenset()
        self._changed: dict[tuple[str, str], None] = {}
        self._counts: dict[str, int] = {}

    def note(self, kind: str, token: str, entry: Entry, now: float, ttl: float | None = None) -> Entry | None:
        """Remember *entry* under *token*; return what stood there before, if it is still alive."""
        before = self.find(kind, token, now)
        self._put((kind, token), now + (ttl or self._ttl), entry)
        if kind in self._watched:
            self._changed[kind, token] = None
        return before

    def find(self, kind: str, token: str, now: float) -> Entry | None:
        """Return the entry of *token*, or None when it is unknown or too old."""
        found = self._entries.get((kind, token))
        if found is None:
            return None
        expires, entry = found
        if expires <= now:
            del self._entries[kind, token]
            self._counts[kind] -= 1
            return None
        self._entries.move_to_end((kind, token))
        return entry

    def drop(self, kind: str, token: str, exchange: str) -> None:
        """Forget *token* if it is said to be *exchange*'s."""
        found = self._entries.get((kind, token))
        if found is not None and found[1].exchange == exchange:
            del self._entries[kind, token]
            self._counts[kind] -= 1

    def holds(self, kind: str) -> bool:
        """Whether there may be anything of *kind*: a look-up that this answers with no need not be made."""
        return self._counts.get(kind, 0) > 0

    def resize(self, limit: int, ttl: float) -> None:
        """Let *limit* and *ttl* hold from the next note on."""
        self._limit, self._ttl = limit, ttl

    def watch(self, kinds: Iterable[str]) -> None:
        """Keep track of the tokens of *kinds* that are noted from now on, for `changes`."""
        self._watched = frozenset(kinds)

    def changes(self) -> list[Told]:
        """Return what was noted of the watched kinds since the last call."""
        changed, self._changed = self._changed, {}
        return [Told(*key, *self._entries[key]) for key in changed if key in self._entries]

    def all(self) -> list[Told]:
        """Return all there is of the watched kinds, the longest unused first."""
        return [Told(*key, *held) for key, held in self._entries.items() if key[0] in self._watched]

    def adopt(self, told: Told, now: float) -> None:
        """Take over what another instance, or an earlier one, noted later than we did."""
        key = told.kind, told.token
        found = self._entries.get(key)
        if told.expires <= now or (found and (found[1].at, found[0]) >= (told.entry.at, told.expires)):
            return
        self._put(key, told.expires, told.entry)

    def __len__(self) -> int:
        return len(self._entries)

    def _put(self, key: tuple[str, str], expires: float, entry: Entry) -> None:
        if key in self._entries:
            self._entries.move_to_end(key)
        else:
            self._counts[key[0]] = self._counts.get(key[0], 0) + 1
        self._entries[key] = (expires, entry)
        while len(self._entries) > self._limit:
            (kind, _), _ = self._entries.popitem(last=False)
            self._counts[kind] -= 1
