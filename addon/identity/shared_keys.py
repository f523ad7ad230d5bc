"""Cache keys that an application uses for many conversations, so that they name none."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..bounded import ExpiringMap

SEVERAL = 8  # openings under one key that may still be one conversation: side calls, sub-agents, a compacted history


@dataclass(slots=True)
class _Key:
    expires: float
    openings: set[str] = field(default_factory=set)


class SharedKeys:
    """
    The openings seen under each key: at most *limit* keys, each for *ttl* seconds after its last use.

    A key with more than `SEVERAL` openings counts as shared for as long as it is in use; further openings are not kept.
    """

    def __init__(self, limit: int, ttl: float) -> None:
        self._keys: ExpiringMap[str, _Key] = ExpiringMap(limit)
        self._ttl = ttl

    def resize(self, limit: int, ttl: float) -> None:
        """Let *limit* and *ttl* hold from the next key on."""
        self._keys.limit, self._ttl = limit, ttl

    def is_shared(self, key: str, opening: str, now: float) -> bool:
        """Note that *opening* came under *key*; return whether the key is shared by several conversations."""
        found = self._keys.find(key, now) or _Key(now)
        found.expires = now + self._ttl
        if len(found.openings) <= SEVERAL:
            found.openings.add(opening)
        self._keys[key] = found
        return len(found.openings) > SEVERAL

    def __len__(self) -> int:
        return len(self._keys)
