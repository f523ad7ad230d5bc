"""When requests of any instance of a shared store were under way: an answer of ours may be that to one of theirs."""

from __future__ import annotations

from collections.abc import Iterator

from ..bounded import BoundedMap
from ..frozen import dataclass
from ..ledger import Entry

_KNOWN = 1_000  # requests
_LONGEST = 600.0  # seconds after which a request whose end is not told counts as ended


@dataclass(frozen=True, slots=True)
class _Known:
    entry: Entry
    until: float
    ours: bool


class Elsewhere:
    """The requests of other instances, and the answered ones of ours; those that were first told of are forgotten."""

    def __init__(self) -> None:
        self._known: BoundedMap[str, _Known] = BoundedMap(_KNOWN)

    def asked(self, entry: Entry) -> None:
        """Note that another instance sent the request of *entry*."""
        self._known.setdefault(entry.exchange, _Known(entry, entry.at + _LONGEST, ours=False))

    def answered(self, entry: Entry, at: float, *, ours: bool) -> None:
        """Note that the request of *entry* was answered."""
        self._known[entry.exchange] = _Known(entry, at, ours)

    def during(self, entry: Entry, until: float, *, ours: bool) -> Iterator[Entry]:
        """Yield the requests to the account of *entry* that overlap it; ours only where *ours*. It ended at *until*."""
        for each in self._known.values():
            other = each.entry
            if other.account == entry.account and other.at <= until and each.until >= entry.at and ours >= each.ours:
                yield other
