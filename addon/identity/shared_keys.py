"""Cache keys that name no conversation: an application may use one of them for all its chats."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field

SEVERAL = 8  # openings under one key that may still be one conversation: side calls, sub-agents, a compacted history


@dataclass(slots=True)
class _Key:
    expires: float
    openings: set[str] = field(default_factory=set)


class SharedKeys:
    """
    The openings that were seen under each key: at most *limit* keys, each for *ttl* seconds after it was last seen.

    Of a key with more than `SEVERAL` only that much is remembered, and it stays a bucket as long as it is in use.
    """

    def __init__(self, limit: int, ttl: float) -> None:
        self._keys: OrderedDict[str, _Key] = OrderedDict()
        self._limit = limit
        self._ttl = ttl

    def resize(self, limit: int, ttl: float) -> None:
        """Let *limit* and *ttl* hold from the next key on."""
        self._limit, self._ttl = limit, ttl

    def is_one(self, key: str, opening: str, now: float) -> bool:
        """Take note that *opening* came under *key*, and say whether so many did that the key names none of them."""
        found = self._keys.get(key)
        if found is None or found.expires <= now:
            found = self._keys[key] = _Key(now)
        found.expires = now + self._ttl
        self._keys.move_to_end(key)
        if len(found.openings) <= SEVERAL:
            found.openings.add(opening)
        while len(self._keys) > self._limit:
            self._keys.popitem(last=False)
        return len(found.openings) > SEVERAL

    def __len__(self) -> int:
        return len(self._keys)
