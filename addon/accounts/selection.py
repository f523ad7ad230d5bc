"""
Selection strategies: functions of (seed, candidates, state) that return the candidates in order, the best first.

Transport and priority narrow the candidates before; admission may pass over the best one. Nothing here knows health:
every candidate could serve at once.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from random import Random
from types import MappingProxyType

from .. import keyed
from ..bounded import BoundedMap
from ..frozen import dataclass
from ..values.account import Account

BOUND = 1.25  # times the weighted mean; above it a new session goes to another account
BOUND_ALIKE = 1.5  # the same for a session that began like one of the account: it may repeat that one's first turn
FEW = 5  # sessions an account may always have, of those that began alike
MAX_CURSORS = 4096
_PURPOSE = "patchbay accounts: rendezvous order v1"


class Cursors:
    """
    The name that had the last turn of each round. At most *limit* rounds; the longest unused is forgotten.

    Names are kept, not positions, so that no account loses its turn because another one cools down.
    """

    def __init__(self, random: Random, limit: int = MAX_CURSORS) -> None:
        self._last: BoundedMap[tuple[str, ...], str] = BoundedMap(limit)
        self._random = random

    def turn(self, round_: tuple[str, ...], names: Sequence[str], *, at_random: bool = False) -> list[str]:
        """Return *names* (sorted, not empty), beginning with the one whose turn it is."""
        last = self._last.get(round_)
        if last is None:
            start = self._random.randrange(len(names)) if at_random else 0
        else:
            start = bisect_right(names, last) % len(names)
        self._last[round_] = names[start]
        return [*names[start:], *names[:start]]

    def __len__(self) -> int:
        return len(self._last)


@dataclass(frozen=True, slots=True)
class SelectionState:
    """
    What a strategy may know beside the candidates.

    *key* is the derived key of the rendezvous. *round* names what a turn is taken of (pool and model). *in_flight* and
    *errors* tell the load and the recent errors of an account by its id.
    """

    key: bytes
    cursors: Cursors
    in_flight: Callable[[str], int] = lambda _: 0
    errors: Callable[[str], float] = lambda _: 0.0
    round: tuple[str, ...] = ()


Order = Callable[[str, Sequence[Account], SelectionState], list[Account]]


@dataclass(frozen=True, slots=True)
class Strategy:
    """
    A row of the table.

    *order* is that of a new conversation, *fallback* that of a conversation whose home cannot serve: it must be the
    same each time. *bounded*: `admit` bounds the sessions of the first account, as an order by a hash needs.
    """

    order: Order
    fallback: Order
    bounded: bool = False


def derive_key(key: bytes) -> bytes:
    """Derive the key of the rendezvous order from the instance's *key*."""
    return keyed.derive(key, _PURPOSE)


def rendezvous(seed: str, candidates: Sequence[Account], state: SelectionState) -> list[Account]:
    """
    Weighted rendezvous hashing: the order depends on the key and the seed alone.

    Removing an account moves only the seeds it was first for. Without a seed the order is by load.
    """
    if not seed:
        return least_busy(seed, candidates, state)
    names = (each.id.encode("utf-8", "replace") for each in candidates)
    drawn = keyed.digests(state.key, seed.encode("utf-8", "replace"), names, size=8)
    places = {each.id: (-_score(each.weight, digest), each.id) for each, digest in zip(candidates, drawn, strict=True)}
    return sorted(candidates, key=lambda each: places[each.id])


def round_robin(seed: str, candidates: Sequence[Account], state: SelectionState) -> list[Account]:
    """Take turns; between the groups first, if every candidate has one and there are two or more."""
    by_group: dict[str, dict[str, Account]] = {}
    for account in candidates:
        by_group.setdefault(account.group, {})[account.id] = account
    if "" in by_group or len(by_group) < 2:
        return _turn({account.id: account for account in candidates}, state, ())
    groups = state.cursors.turn((*state.round, "groups"), sorted(by_group), at_random=True)
    first = _turn(by_group[groups[0]], state, ("group", groups[0]))
    # Only the first group takes its turn; the others follow in plain order.
    return first + [by_group[group][name] for group in groups[1:] for name in sorted(by_group[group])]


def fill_first(seed: str, candidates: Sequence[Account], state: SelectionState) -> list[Account]:
    """Keep the order of the settings."""
    return list(candidates)


def least_busy(seed: str, candidates: Sequence[Account], state: SelectionState) -> list[Account]:
    """Order by requests in flight per weight, then by recent errors, then by id."""
    return sorted(candidates, key=lambda each: (_load(each, state), state.errors(each.id), each.id))


STRATEGIES: Mapping[str, Strategy] = MappingProxyType({
    "rendezvous": Strategy(rendezvous, rendezvous, bounded=True),
    "round_robin": Strategy(round_robin, rendezvous),
    "fill_first": Strategy(fill_first, fill_first),
    "least_busy": Strategy(least_busy, rendezvous),
})  # fmt: skip


def able(candidates: Sequence[Account], websocket: bool) -> list[Account]:
    """For a WebSocket keep the accounts marked for it, if any; else all."""
    marked = [account for account in candidates if account.websockets] if websocket else []
    return marked or list(candidates)


def best_tier(candidates: Sequence[Account]) -> list[Account]:
    """Keep the accounts of the highest priority."""
    best = max((account.priority for account in candidates), default=0)
    return [account for account in candidates if account.priority == best]


def admit(order: Sequence[Account], sessions: Callable[[str], int]) -> Account:
    """
    Return the first account of *order* (not empty) that a new session does not overload.

    The bound is BOUND times the account's share by weight of all *sessions*, the new one included.
    """
    share = _share(order, sessions)
    fits = (each for each in order if sessions(each.id) + 1 <= math.ceil(BOUND * share(each)))
    return next(fits, order[0])


def has_room(account: Account, among: Sequence[Account], sessions: Callable[[str], int]) -> bool:
    """Whether *account*, one of *among*, has room for a session that began like one of its own."""
    share = _share(among, sessions)(account)
    return sessions(account.id) + 1 <= max(FEW, math.floor(BOUND_ALIKE * share))


def _share(among: Sequence[Account], sessions: Callable[[str], int]) -> Callable[[Account], float]:
    total = sum(sessions(each.id) for each in among) + 1
    weight = sum(each.weight for each in among)
    return lambda account: total * account.weight / weight if weight else total


def _turn(accounts: Mapping[str, Account], state: SelectionState, round_: tuple[str, ...]) -> list[Account]:
    if not accounts:
        return []
    return [accounts[name] for name in state.cursors.turn((*state.round, *round_), sorted(accounts))]


def _score(weight: float, digest: bytes) -> float:
    """Return -w / ln(u) with u in (0, 1) from 52 bits of the digest: more could round u to 1, and ln(1) is 0."""
    number = int.from_bytes(digest) >> 12
    return -weight / math.log((number + 0.5) / 2**52)


def _load(account: Account, state: SelectionState) -> float:
    return state.in_flight(account.id) / account.weight if account.weight > 0 else math.inf
