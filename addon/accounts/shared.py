"""
Whose fault is it? The same fault from two accounts at once is the upstream's, or the request's, and nobody's penalty.

Unless a third account does well there at the same time, before or after: then it is theirs after all.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from dataclasses import dataclass
from typing import Protocol

from ..values import Outcome, OutcomeKind

WINDOW = 10.0  # seconds within which two faults count as one
MAX_FAULTS = 128
MAX_PLACES = 1024
# A limit, a credential and money are an account's own, however many have trouble with theirs.
KINDS: frozenset[OutcomeKind] = frozenset({"server", "overload", "permission"})

Place = tuple[str, str]  # an upstream, and a lane


class Penalized(Protocol):
    """A penalty that can be taken back, and imposed again."""

    def undo(self) -> None: ...
    def redo(self) -> None: ...


@dataclass(slots=True)
class _Fault:
    account: str
    place: Place
    kind: OutcomeKind
    detail: str
    exchange: str
    at: float
    penalty: Penalized
    undone: bool = False


class Shared:
    """The faults and successes of the last moments, by place."""

    def __init__(self) -> None:
        self._faults: deque[_Fault] = deque(maxlen=MAX_FAULTS)
        self._well: OrderedDict[Place, dict[str, float]] = OrderedDict()

    def success(self, account: str, place: Place, now: float) -> None:
        """Take note that *account* did well at *place*, so that what others did wrong there was their fault."""
        well = self._well.setdefault(place, {})
        for name in [name for name, at in well.items() if now - at > WINDOW]:
            del well[name]
        well[account] = now
        self._well.move_to_end(place)
        if len(self._well) > MAX_PLACES:
            self._well.popitem(last=False)
        for each in self._faults:
            if each.undone and each.place == place and each.account != account and now - each.at <= WINDOW:
                each.undone = False
                each.penalty.redo()

    def fault(
        self, account: str, place: Place, outcome: Outcome, exchange: str, now: float, penalty: Penalized
    ) -> None:
        """Take note of a fault and its *penalty*; that and its like are taken back when another account shows it."""
        if outcome.kind not in KINDS:
            return
        this = _Fault(account, place, outcome.kind, outcome.detail, exchange, now, penalty)
        alike = [each for each in self._faults if _is_alike(each, this)]
        self._faults.append(this)
        guilty = {account, *(each.account for each in alike)}
        if len(guilty) < 2 or self._does_well(place, guilty, now):
            return
        for each in (this, *reversed(alike)):  # the latest first: each brings back what was before it
            if not each.undone:
                each.undone = True
                each.penalty.undo()

    def _does_well(self, place: Place, but: set[str], now: float) -> bool:
        return any(name not in but and now - at <= WINDOW for name, at in self._well.get(place, {}).items())


def _is_alike(one: _Fault, other: _Fault) -> bool:
    if (one.place, one.kind, one.detail) != (other.place, other.kind, other.detail):
        return False
    return other.at - one.at <= WINDOW or bool(one.exchange and one.exchange == other.exchange)
