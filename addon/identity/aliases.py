"""The ids we know: each leads to the affinity it stands for, and several may lead to one."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

_MAX_HOPS = 8


@dataclass(frozen=True, slots=True)
class Alias:
    """Where an id leads. *claimed* is the stronger id that already came with it: a second one is somebody else."""

    affinity: str
    claimed: str = ""
    expires: float = 0.0


class Aliases:
    """At most *limit* ids, each for *ttl* seconds after it was last seen; the longest unseen leave first."""

    def __init__(self, limit: int, ttl: float) -> None:
        self._aliases: OrderedDict[str, Alias] = OrderedDict()
        self._limit = limit
        self._ttl = ttl

    def find(self, seed: str, now: float) -> Alias | None:
        """Return where the id *seed* leads, or None when it is unknown or too old."""
        found = self._aliases.get(seed)
        if found is None:
            return None
        if found.expires <= now:
            del self._aliases[seed]
            return None
        return found

    def resolve(self, seed: str, now: float) -> str:
        """Return the affinity at the end of *seed*: its own if it leads nowhere."""
        for _ in range(_MAX_HOPS):
            found = self.find(seed, now)
            if found is None or found.affinity == seed:
                break
            seed = found.affinity
        return seed

    def lead(self, seed: str, affinity: str, now: float, claimed: str = "") -> str:
        """
        Let the id *seed* lead to *affinity* and return where that ends. A loop is refused: the id then leads to itself.

        Who claimed it first keeps it.
        """
        end = self.resolve(affinity, now)
        before = self.find(seed, now)
        self._aliases[seed] = Alias(end, (before.claimed if before else "") or claimed, now + self._ttl)
        self._aliases.move_to_end(seed)
        while len(self._aliases) > self._limit:
            self._aliases.popitem(last=False)
        return end

    def __len__(self) -> int:
        return len(self._aliases)
