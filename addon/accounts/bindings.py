"""
Bindings: the home account of each conversation.

A binding's lifetime is sliding. Each change of home starts a new generation; updates from an older one are ignored.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, defaultdict
from dataclasses import field

from ..bounded import BoundedMap, ChangeLog
from ..frozen import dataclass

MAX_FORMER = 1000  # lost homes that are remembered
SWEEP = 64  # expired bindings that one call removes at most; each call adds one, so this keeps up


@dataclass(frozen=True, slots=True)
class Key:
    """A conversation within a pool and a client. *model* is set only where its home does not serve that model."""

    pool: str
    scope: bytes
    affinity: str
    model: str = ""


@dataclass(frozen=True, slots=True)
class Binding:
    """A home as other instances are told: empty when *key* lost it at *since*."""

    key: Key
    home: str
    since: float
    expires: float


@dataclass(slots=True)
class _Entry:
    """A key with its home, or only with the requests in flight that may give it one (*held*, by account)."""

    generation: int
    home: str = ""
    expires: float = 0.0
    uses: int = 0
    since: float = 0.0  # when it became the home
    warm: float = 0.0  # when the home served last; 0: not known
    fallback: str = ""  # the account that served last, where it was not the home
    fallback_at: float = 0.0
    held: Counter[str] = field(default_factory=Counter)


class Bindings:
    """
    Homes by key, for *ttl* seconds after the last use, at most *limit* of them; the longest idle are removed first.

    `hold` and `release` frame every request, so that a key is remembered while a late answer can still come. The
    sessions of an account are its bindings, and the keys without a home that are held there.
    """

    def __init__(self, ttl: float = 3600.0, limit: int = 10_000) -> None:
        self._ttl = ttl
        self._limit = limit
        self._entries: dict[Key, _Entry] = {}
        self._bound: OrderedDict[Key, None] = OrderedDict()  # the longest idle first
        self._sessions: Counter[str] = Counter()
        self._generation = 0
        self._changes: ChangeLog[Key] = ChangeLog()
        self._former: BoundedMap[Key, str] = BoundedMap(MAX_FORMER)  # homes that were lost, until there is another

    def former(self, key: Key) -> str:
        """Return the account that *key* was bound to before it lost its home, or the empty string."""
        return self._former.get(key, "")

    def home(self, key: Key, now: float) -> str:
        """Return the account *key* is bound to, or the empty string."""
        entry = self._entries.get(key)
        if entry is not None and entry.home and entry.expires <= now:
            self._unbind(key, entry)
        return entry.home if entry else ""

    def pending(self, key: Key) -> tuple[str, ...]:
        """Return the accounts of the requests in flight of a *key* without a home."""
        entry = self._entries.get(key)
        return tuple(entry.held) if entry and not entry.home else ()

    def hold(self, key: Key, account: str, now: float) -> int:
        """Record that a request of *key* goes to *account*; return the generation. Follow with `release`."""
        self.expire(now)
        entry = self._entries.get(key)
        if entry is None:
            entry = self._entries[key] = _Entry(self._next_generation())
        if not entry.home and not entry.held[account]:
            self._count(account, +1)
        entry.held[account] += 1
        if entry.home == account:
            entry.uses += 1
            self._touch(key, entry, now)
        return entry.generation

    def release(self, key: Key, account: str) -> None:
        """Undo one `hold`."""
        entry = self._entries.get(key)
        if entry is None or not entry.held[account]:
            return
        entry.held[account] -= 1
        if not entry.held[account]:
            del entry.held[account]
            if not entry.home:
                self._count(account, -1)
        self._forget_if_unused(key, entry)

    def bind(self, key: Key, account: str, generation: int, now: float) -> bool:
        """
        Make *account* the home of *key*; return whether it is its home now.

        It is not when *generation* is outdated, or when another account is the home: only `unbind` removes a home.
        """
        entry = self._entries.get(key)
        if entry is None or entry.generation != generation:
            return False
        if entry.home not in ("", account):
            entry.fallback, entry.fallback_at = account, now
            return False
        entry.warm, entry.fallback = now, ""
        if not entry.home:
            self._set_home(entry, account)
            self._bound[key] = None
            self._former.pop(key, None)
            entry.uses, entry.since = 1, now
        self._touch(key, entry, now)
        self._shrink()
        return True

    def unbind(self, key: Key, account: str, generation: int) -> bool:
        """Remove the home *account* of *key*, unless *generation* is outdated; return whether that was done."""
        entry = self._entries.get(key)
        if entry is None or entry.home != account or entry.generation != generation:
            return False
        self._lose(key, entry)
        self._changes.note(key)
        return True

    def is_cold(self, key: Key, now: float, seconds: float) -> bool:
        """Whether the home of *key* has not served it for so many *seconds* that its cache is gone."""
        entry = self._entries.get(key)
        if entry is None or not entry.home:
            return False
        return now - (entry.warm or entry.expires - self._ttl) >= seconds

    def fallback(self, key: Key, now: float, seconds: float) -> str:
        """Return the account that served *key* instead of its home within the last *seconds*, or the empty string."""
        entry = self._entries.get(key)
        if entry is None or not entry.fallback or now - entry.fallback_at >= seconds:
            return ""
        return entry.fallback

    def move(self, key: Key, account: str, now: float) -> None:
        """Replace the home of *key* by *account*; requests in flight can no longer change it."""
        entry = self._entries.get(key)
        if entry is None or not entry.home:
            return
        entry.generation = self._next_generation()
        self._set_home(entry, account)
        entry.since = entry.warm = now
        entry.fallback = ""
        self._touch(key, entry, now)

    def drop(self, key: Key) -> None:
        """Forget the home of *key*; requests in flight do not restore it."""
        entry = self._entries.get(key)
        if entry is not None and entry.home:
            self._lose(key, entry)
            self._changes.note(key)

    def forget(self, affinity: str) -> frozenset[str]:
        """Forget every home of the conversation *affinity*, as `drop` does; return them."""
        keys = [key for key in self._bound if key.affinity == affinity]
        homes = frozenset(self._entries[key].home for key in keys)
        for key in keys:
            self.drop(key)
        return homes

    def sessions(self, account: str) -> int:
        """Return the number of conversations whose home is *account*, or is about to be."""
        return self._sessions[account]

    def active(self, account: str, now: float, seconds: float) -> int:
        """Return the number of conversations whose home is *account* and that were used within so many *seconds*."""
        count = 0
        for key in reversed(self._bound):
            entry = self._entries[key]
            if now - (entry.expires - self._ttl) >= seconds:
                break
            count += entry.home == account
        return count

    def busiest(self) -> dict[str, tuple[str, float]]:
        """Return for each account that was used the affinity that uses it most, and its share of the uses."""
        uses: defaultdict[str, Counter[str]] = defaultdict(Counter)
        for key in self._bound:
            entry = self._entries[key]
            uses[entry.home][key.affinity] += entry.uses
        return {account: _top(counts) for account, counts in uses.items() if counts.total()}

    def expire(self, now: float, most: int = SWEEP) -> None:
        """Remove expired bindings, at most so many, so that no request waits long for it."""
        for _ in range(most):
            oldest = next(iter(self._bound), None)
            if oldest is None or self._entries[oldest].expires > now:
                return
            self._unbind(oldest, self._entries[oldest])

    def resize(self, ttl: float, limit: int) -> None:
        """Apply *ttl* from the next use on, and *limit* at once."""
        self._ttl, self._limit = ttl, limit
        self._shrink()

    def watch(self) -> None:
        """Record changes from now on, for `changes`."""
        self._changes.watch()

    def changes(self, now: float) -> list[Binding]:
        """Return the changes since the last call; none before `watch`."""
        return [self._told(key, now) for key in self._changes.take()]

    def all(self, now: float) -> list[Binding]:
        """Return every home, the longest idle first."""
        return [self._told(key, now) for key in self._bound]

    def adopt(self, told: Binding, now: float) -> None:
        """Merge what another instance, or an earlier process, knows: the newer home and the later end win."""
        entry = self._entries.get(told.key)
        bound = entry is not None and bool(entry.home)
        if told.expires <= now or not (told.home or bound):
            return
        if not bound and told.key in self._changes:  # it was removed here, and no other instance knows yet
            return
        if entry is not None and (told.since, told.expires) <= (entry.since, entry.expires):
            return
        if entry is None:
            entry = self._entries[told.key] = _Entry(self._next_generation())
        if entry.home and entry.home != told.home:
            self._lose(told.key, entry)
            entry = self._entries.setdefault(told.key, entry)
        if not told.home:
            self._forget_if_unused(told.key, entry)
            return
        if not entry.home:
            self._set_home(entry, told.home)
        self._former.pop(told.key, None)
        entry.since, entry.expires, entry.warm, entry.fallback = told.since, told.expires, 0.0, ""
        self._bound[told.key] = None
        self._bound.move_to_end(told.key)
        self._shrink()

    def __len__(self) -> int:
        return len(self._bound)

    def _told(self, key: Key, now: float) -> Binding:
        entry = self._entries.get(key)
        if entry is None or not entry.home:
            return Binding(key, "", now, now + self._ttl)
        return Binding(key, entry.home, entry.since, entry.expires)

    def _shrink(self) -> None:
        while len(self._bound) > self._limit:
            oldest = next(iter(self._bound))
            self._unbind(oldest, self._entries[oldest])

    def _touch(self, key: Key, entry: _Entry, now: float) -> None:
        entry.expires = now + self._ttl
        self._bound.move_to_end(key)
        self._changes.note(key)

    def _lose(self, key: Key, entry: _Entry) -> None:
        self._former[key] = entry.home
        self._unbind(key, entry)

    def _unbind(self, key: Key, entry: _Entry) -> None:
        entry.generation = self._next_generation()
        self._set_home(entry, "")
        del self._bound[key]
        self._forget_if_unused(key, entry)

    def _set_home(self, entry: _Entry, home: str) -> None:
        for account in (entry.home,) if entry.home else tuple(entry.held):
            self._count(account, -1)
        entry.home = home
        for account in (home,) if home else tuple(entry.held):
            self._count(account, +1)

    def _count(self, account: str, by: int) -> None:
        self._sessions[account] += by
        if not self._sessions[account]:
            del self._sessions[account]

    def _forget_if_unused(self, key: Key, entry: _Entry) -> None:
        if not entry.home and not entry.held:
            del self._entries[key]

    def _next_generation(self) -> int:
        self._generation += 1
        return self._generation


def _top(counts: Counter[str]) -> tuple[str, float]:
    name, count = min(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    return name, count / counts.total()
