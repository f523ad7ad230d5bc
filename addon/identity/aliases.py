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
        self._changed: dict[str, None] | None = None

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
        self._shrink()
        if self._changed is not None:
            self._changed[seed] = None
        return end

    def resize(self, limit: int, ttl: float) -> None:
        """Let *ttl* hold from the next use on, and *limit* at once."""
        self._limit, self._ttl = limit, ttl
        self._shrink()

    def watch(self) -> None:
        """Keep track of what changes from now on, for `changes`."""
        self._changed = {}

    def changes(self) -> list[tuple[str, Alias]]:
        """Return the ids that were led anywhere since the last call; none before `watch`."""
        changed, self._changed = self._changed, None if self._changed is None else {}
        return [(seed, self._aliases[seed]) for seed in changed or () if seed in self._aliases]

    def all(self) -> list[tuple[str, Alias]]:
        """Return every id, the longest unseen first."""
        return list(self._aliases.items())

    def adopt(self, seed: str, told: Alias, now: float) -> None:
        """Take over where another instance, or an earlier one, saw the id *seed* lead later than we did."""
        found = self._aliases.get(seed)
        if told.expires <= now or (found and found.expires >= told.expires):
            return
        self._aliases[seed] = told
        self._aliases.move_to_end(seed)
        self._shrink()

    def __len__(self) -> int:
        return len(self._aliases)

    def _shrink(self) -> None:
        while len(self._aliases) > self._limit:
            self._aliases.popitem(last=False)
