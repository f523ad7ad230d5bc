"""Known ids: each leads to the affinity it stands for, and several may lead to the same."""

from __future__ import annotations

from ..bounded import ChangeLog, ExpiringMap
from ..frozen import dataclass

_MAX_HOPS = 8


@dataclass(frozen=True, slots=True)
class Alias:
    """Where an id leads. *claimed* is the first stronger id that came with it; another one is another session."""

    affinity: str
    claimed: str = ""


class Aliases:
    """At most *limit* ids, each for *ttl* seconds after its last use; the least recently used leave first."""

    def __init__(self, limit: int, ttl: float) -> None:
        self._aliases: ExpiringMap[str, Alias] = ExpiringMap(limit)
        self._ttl = ttl
        self._changes: ChangeLog[str] = ChangeLog()

    def find(self, seed: str, now: float) -> Alias | None:
        """Return where the id *seed* leads, or None when it is unknown or has expired."""
        return self._aliases.find(seed, now)

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
        Let the id *seed* lead to *affinity* and return where that ends. In a loop the id leads to itself.

        The first claim stays.
        """
        before = self.find(seed, now)
        leads_to_itself = before is not None and before.affinity == affinity == seed
        end = seed if leads_to_itself else self.resolve(affinity, now)
        self._aliases[seed] = now + self._ttl, Alias(end, (before.claimed if before else "") or claimed)
        self._changes.note(seed)
        return end

    def resize(self, limit: int, ttl: float) -> None:
        """Let *ttl* hold from the next use on, and *limit* at once."""
        self._aliases.resize(limit)
        self._ttl = ttl

    def watch(self) -> None:
        """Log changes from now on, for `changes`."""
        self._changes.watch()

    def changes(self) -> list[tuple[str, float, Alias]]:
        """Return the ids that `lead` changed since the last call, with their expiry; none before `watch`."""
        return [(seed, *self._aliases[seed]) for seed in self._changes.take() if seed in self._aliases]

    def all(self) -> list[tuple[str, float, Alias]]:
        """Return every id with its expiry, the least recently used first."""
        return [(seed, *held) for seed, held in self._aliases.items()]

    def adopt(self, seed: str, expires: float, alias: Alias, now: float) -> None:
        """Take over what another instance, or an earlier one, knows of the id *seed*, if it expires later."""
        found = self._aliases.get(seed)
        if now < expires and (found is None or found[0] < expires):
            self._aliases[seed] = expires, alias

    def __len__(self) -> int:
        return len(self._aliases)
