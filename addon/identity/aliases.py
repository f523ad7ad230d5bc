"""Known ids: each leads to the affinity it stands for, and several may lead to the same."""

from __future__ import annotations

from dataclasses import dataclass

from ..bounded import ChangeLog, ExpiringMap

_MAX_HOPS = 8


@dataclass(frozen=True, slots=True)
class Alias:
    """Where an id leads. *claimed* is the first stronger id that came with it; another one is another session."""

    affinity: str
    claimed: str = ""
    expires: float = 0.0


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
        end = self.resolve(affinity, now)
        before = self.find(seed, now)
        self._aliases[seed] = Alias(end, (before.claimed if before else "") or claimed, now + self._ttl)
        self._changes.note(seed)
        return end

    def resize(self, limit: int, ttl: float) -> None:
        """Let *ttl* hold from the next use on, and *limit* at once."""
        self._aliases.resize(limit)
        self._ttl = ttl

    def watch(self) -> None:
        """Log changes from now on, for `changes`."""
        self._changes.watch()

    def changes(self) -> list[tuple[str, Alias]]:
        """Return the ids that `lead` changed since the last call; none before `watch`."""
        return [(seed, self._aliases[seed]) for seed in self._changes.take() if seed in self._aliases]

    def all(self) -> list[tuple[str, Alias]]:
        """Return every id, the least recently used first."""
        return list(self._aliases.items())

    def adopt(self, seed: str, told: Alias, now: float) -> None:
        """Take over what another instance, or an earlier one, knows of the id *seed*, if it expires later."""
        found = self._aliases.get(seed)
        if now < told.expires and (found is None or found.expires < told.expires):
            self._aliases[seed] = told

    def __len__(self) -> int:
        return len(self._aliases)
