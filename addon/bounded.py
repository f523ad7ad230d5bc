"""Bounded maps that evict the least recently used entry, entries that expire, and a log of changed keys."""

from __future__ import annotations

from collections import OrderedDict
from typing import Protocol


class BoundedMap[K, V](OrderedDict[K, V]):
    """
    A map of at most *limit* entries, the least recently used first.

    A write and `use` make an entry the most recently used; other reads leave the order as it is. A lower *limit* holds
    from the next write on, or at once with `resize`.
    """

    def __init__(self, limit: int) -> None:
        super().__init__()
        self.limit = limit

    def __setitem__(self, key: K, value: V) -> None:
        OrderedDict.__setitem__(self, key, value)
        self.move_to_end(key)
        while len(self) > self.limit:
            del self[next(iter(self))]

    def use(self, key: K) -> V | None:
        """Return the value of *key*, or None, and make it the most recently used."""
        value = self.get(key)
        if value is not None:
            self.move_to_end(key)
        return value

    def resize(self, limit: int) -> None:
        """Let *limit* hold at once."""
        self.limit = limit
        while len(self) > limit:
            del self[next(iter(self))]


class Expires(Protocol):
    """A value that says itself when it expires."""

    @property
    def expires(self) -> float: ...


class ExpiringMap[K, V: Expires](BoundedMap[K, V]):
    """
    A bounded map whose values expire, on the caller's clock.

    An expired value stays until `find` meets it or it is evicted.
    """

    def find(self, key: K, now: float) -> V | None:
        """Return the value of *key* and make it the most recently used; delete it when it has expired."""
        value = self.get(key)
        if value is None:
            return None
        if value.expires <= now:
            del self[key]
            return None
        self.move_to_end(key)
        return value


class ChangeLog[K]:
    """Keys that have changed, each once, the first change first. Nothing is logged before `watch`."""

    def __init__(self) -> None:
        self._keys: dict[K, None] | None = None

    def watch(self) -> None:
        """Log changes from now on."""
        self._keys = self._keys or {}

    def note(self, key: K) -> None:
        """Log that *key* has changed."""
        if self._keys is not None:
            self._keys[key] = None

    def take(self) -> list[K]:
        """Return the keys that have changed since the last call."""
        if not self._keys:
            return []
        keys, self._keys = self._keys, {}
        return list(keys)

    def __contains__(self, key: K) -> bool:
        return key in (self._keys or ())
