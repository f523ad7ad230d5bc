"""Answers that seem to be one another's: a ring of requests, each of which received what fits the next one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ..bounded import BoundedMap
from ..frozen import dataclass

_KNOWN = 10_000  # answers
_LONGEST = 4  # requests in a ring
NEAREST = 4  # requests that one answer may fit
_WORSE, _A_LITTLE = 3, 0.1  # times the distance, and some more: so much worse is every ring that names another request

Ring = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Misfit:
    """
    An answer to *exchange* that does not fit its request, but those of *others*: exchange → how far it is from fitting.

    *expected* and *received* are what a finding about it says.
    """

    exchange: str
    others: Mapping[str, float]
    expected: str
    received: str


class Mixups:
    """The misfits of recent answers. One alone may be chance; a ring of them hardly ever is."""

    def __init__(self) -> None:
        self._misfits: BoundedMap[str, Misfit] = BoundedMap(_KNOWN)

    def note(self, misfit: Misfit) -> list[tuple[Misfit, str]]:
        """Note *misfit*; return all misfits in rings with it, each with the exchange it fits (empty: several)."""
        self._misfits[misfit.exchange] = misfit
        members = {name for ring in self._rings((misfit.exchange,)) for name in ring}
        return [(self._misfits[name], self._next(name)) for name in sorted(members)]

    def fits(self, exchange: str) -> None:
        """Note that the answer to *exchange* fits its own request."""
        if self._misfits:
            self._misfits.pop(exchange, None)

    def _next(self, exchange: str) -> str:
        """Return what follows *exchange* in the nearest ring; empty where its answer fits another nearly as well."""
        nearest = dict(self._misfits[exchange].others)
        for ring in self._rings((exchange,)):
            distance = self._distance(ring)
            nearest[ring[1]] = min(distance, nearest[ring[1]])
        (name, best), *rest = sorted(nearest.items(), key=lambda each: each[1])
        return name if all(distance > _WORSE * best + _A_LITTLE for _, distance in rest) else ""

    def _distance(self, ring: Ring) -> float:
        return sum(
            self._misfits[here].others[there] for here, there in zip(ring, (*ring[1:], ring[0]), strict=True)
        ) / len(ring)

    def _rings(self, path: Ring) -> Iterator[Ring]:
        last = self._misfits.get(path[-1])
        if last is None:
            return
        if path[0] in last.others and len(path) > 1:
            yield path
        if len(path) < _LONGEST:
            for other in last.others:
                if other not in path:
                    yield from self._rings((*path, other))


def nearest(others: Mapping[str, float]) -> dict[str, float]:
    """Return the few of *others* that are nearest."""
    return dict(sorted(others.items(), key=lambda each: each[1])[:NEAREST])
