"""
Faults for which no account cools down, because they are the upstream's, or the request's.

The upstream's: two accounts show the same fault within WINDOW, and no third account succeeds there in that time.
The request's: one conversation meets the same fault on two accounts, and asks other accounts first from then on. Such a
fault is an account's after all once CONFIRMED conversations (or exchanges) met it there and it served none meanwhile.
Doubted: the fault may be about one conversation alone. With nothing but a status, it is doubted until CONFIRMED
conversations met it; otherwise, where the lane served another conversation lately, until a second one meets it. The
next request of another conversation is the probe.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Mapping

from ..bounded import BoundedMap
from ..frozen import dataclass
from ..values.account import OutcomeKind
from ..values.decision import Outcome
from .cooldown import TRANSIENT

WINDOW = 10.0  # seconds within which two faults count as one
MEMORY = 600.0  # seconds for which a fault, a success and a refusal of a conversation count
CONNECT_FAILED = "connect"  # the detail of a failure before anything was sent: no fault of the request
CONFIRMED = 3  # conversations, or exchanges, that met a fault on one account; one that is not certain counts half
MAX_FAULTS = 128
MAX_PLACES = 1024
MAX_SERVED = 64  # conversations remembered for each lane, the last ones
MAX_REFUSED = 4096  # conversations of which it is known where they were refused
# One such fault on a lane that served another conversation within MEMORY says nothing about the account yet.
DOUBTED: frozenset[OutcomeKind] = frozenset({"model", "permission", "rate", "overload", "server"})
# A limit, a credential and money are an account's own, however many accounts fail at once. That no account of a pool
# reaches its upstream is kept apart from this, in `Accounts._unreached`: it makes the refusal final.
OF_UPSTREAM: frozenset[OutcomeKind] = frozenset({"server", "overload", "permission"})
_OF_ACCOUNT: frozenset[OutcomeKind] = frozenset({"auth", "quota"})  # about the account, whatever the lane

UpstreamLane = tuple[str, str]  # an upstream and a lane
Undo = Callable[[], bool]  # takes a penalty back; False while later ones depend on it


@dataclass(frozen=True, slots=True)
class OutcomeContext:
    """The request of an outcome: the *upstream* it went to, its *exchange*, and its *conversation*, if it has one."""

    upstream: str = ""
    exchange: str = ""
    conversation: str = ""

    @property
    def asker(self) -> str:
        """The conversation, or the exchange that belongs to none."""
        return self.conversation or self.exchange


NO_CONTEXT = OutcomeContext()


@dataclass(slots=True)
class _Fault:
    account: str
    place: UpstreamLane
    kind: OutcomeKind
    detail: str
    exchange: str
    conversation: str
    at: float
    undo: Undo
    certain: bool = False
    excused: bool = False
    undone: bool = False
    served_since: bool = False  # the account has served a request since
    by_request: bool = False  # excused because one conversation met it on several accounts
    doubted: bool = False  # no penalty followed


class UpstreamFaults:
    """The recent faults and successes by place, and the conversations that each lane served or refused."""

    def __init__(self) -> None:
        self._faults: deque[_Fault] = deque(maxlen=MAX_FAULTS)
        self._succeeded: BoundedMap[UpstreamLane, dict[str, float]] = BoundedMap(MAX_PLACES)
        # by account and lane
        self._served: BoundedMap[tuple[str, str], BoundedMap[str, float]] = BoundedMap(MAX_PLACES)
        # by conversation: the accounts and lanes that refused it, and until when it asks others first
        self._refused: BoundedMap[str, dict[tuple[str, str], float]] = BoundedMap(MAX_REFUSED)

    def success(self, account: str, lane: str, context: OutcomeContext, now: float) -> None:
        """Record that *account* served a request on *lane*; its faults there are forgotten."""
        place, where = (context.upstream, lane), (account, lane)
        succeeded = self._succeeded.use(place)
        if succeeded is None:
            succeeded = self._succeeded[place] = {}
        if account not in succeeded:  # it grows: the old ones leave
            for name in [name for name, at in succeeded.items() if now - at > WINDOW]:
                del succeeded[name]
        succeeded[account] = now
        served = self._served.use(where)
        if served is None:
            served = self._served[where] = BoundedMap(MAX_SERVED)
        served[context.asker] = now
        if refused := self._refused.get(context.asker):
            refused.pop(where, None)
        for each in [each for each in self._faults if (each.by_request or each.doubted) and _is_about(each, place)]:
            each.served_since = True
            if each.account == account:
                self._faults.remove(each)

    def doubts(self, account: str, lane: str, outcome: Outcome, context: OutcomeContext, now: float) -> bool:
        """
        Whether a fault may be about its conversation alone, so that the account does not cool down.

        Such a fault is recorded, and the conversation asks other accounts first.
        """
        if not is_doubtful(outcome):
            return False
        kind, asker = outcome.kind, context.asker
        this = _fault(account, lane, outcome, context, now, lambda: True)
        this.doubted = True
        alike = [each for each in self._faults
                 if (each.account, each.kind) == (account, kind) and now - each.at <= MEMORY]  # fmt: skip
        if outcome.status_only:
            confirmed = self._is_confirmed(this, now, [*alike, this])
        else:
            confirmed = any(each.conversation != asker and each.place[1] == lane for each in alike)
            confirmed = confirmed or not self._has_served_others(account, lane, asker, now)
        if not confirmed:
            self._faults.append(this)
            self.refuse(account, lane, asker, now, TRANSIENT[kind].first if kind in TRANSIENT else MEMORY)
        return not confirmed

    def refuse(self, account: str, lane: str, conversation: str, now: float, seconds: float = MEMORY) -> None:
        """Record that *account* refused *conversation*, which asks other accounts first for so many *seconds*."""
        if not conversation:
            return
        refused = self._refused[conversation] = self._refused.get(conversation, {})
        refused[account, lane] = now + seconds
        if len(refused) > MAX_FAULTS:
            del refused[next(iter(refused))]

    def fault(self, account: str, lane: str, outcome: Outcome, context: OutcomeContext, now: float, undo: Undo) -> None:
        """Record a fault whose penalty *undo* takes back; that happens when another account shows the same fault."""
        stated = outcome.until is not None and outcome.kind not in OF_UPSTREAM
        if outcome.kind == "rate" or stated:  # a rate limit, or one with a stated end, is the account's own
            return
        this = _fault(account, lane, outcome, context, now, undo)
        this.certain = outcome.certain and not outcome.status_only
        alike = [each for each in self._faults if _is_alike(each, this)]
        of_request = [each for each in self._faults if _is_same_request(each, this)]
        self._faults.append(this)
        if any(each.account != account for each in of_request):
            self._excuse([each for each in (*of_request, this) if not self._is_confirmed(each, now)], by_request=True)
            return
        failing = {account, *(each.account for each in alike)}
        if this.kind in OF_UPSTREAM and len(failing) > 1 and not self._others_succeed(this.place, failing, now):
            self._excuse([*alike, this])

    def shift(self, seconds: float) -> None:
        """Move all times by *seconds*: the clock was set."""
        for fault in self._faults:
            fault.at += seconds
        for times in (*self._succeeded.values(), *self._served.values()):
            for name, at in list(times.items()):
                times[name] = at + seconds
        for refused in self._refused.values():
            for where in refused:
                refused[where] += seconds

    def own_faults(self, conversation: str, now: float) -> frozenset[str]:
        """Return the accounts on which *conversation* met a lasting fault that counts as its own."""
        while self._faults and now - self._faults[0].at > MEMORY:
            self._faults.popleft()
        own = [each for each in self._faults if each.by_request and each.conversation == conversation]
        return frozenset([each.account for each in own if each.kind not in TRANSIENT])

    def refused_by(self, conversation: str, now: float) -> frozenset[tuple[str, str]]:
        """Return the accounts and lanes that refused *conversation* lately."""
        return frozenset([where for where, until in self._refused.get(conversation, {}).items() if until > now])

    def has_refused(self, conversation: str, account: str, lane: str, now: float) -> bool:
        """Whether *account* refused *conversation* on this lane lately."""
        return self._refused.get(conversation, {}).get((account, lane), now) > now

    def has_served(self, conversation: str, account: str, lane: str, now: float) -> bool:
        """Whether *account* served *conversation* on this lane lately."""
        served = self._served.get((account, lane))
        return served is not None and now - served.get(conversation, -math.inf) <= MEMORY

    def _has_served_others(self, account: str, lane: str, conversation: str, now: float) -> bool:
        served: Mapping[str, float] = self._served.get((account, lane)) or {}
        return any(now - at <= MEMORY for name, at in served.items() if name != conversation)

    def _excuse(self, faults: list[_Fault], *, by_request: bool = False) -> None:
        for each in faults:
            each.by_request = by_request or each.by_request
            each.excused = True
        for each in reversed(self._faults):  # the latest first: each restores the state before it
            if each.excused and not each.undone:
                each.undone = each.undo()

    def _is_confirmed(self, this: _Fault, now: float, faults: Iterable[_Fault] | None = None) -> bool:
        alike = [each for each in (self._faults if faults is None else faults)
                 if (each.account, each.kind) == (this.account, this.kind) and now - each.at <= MEMORY]  # fmt: skip
        exchanges = {each.exchange: 1.0 if each.certain else 0.5 for each in alike if not each.served_since}
        return max(len({each.conversation for each in alike}), sum(exchanges.values())) >= CONFIRMED

    def _others_succeed(self, place: UpstreamLane, failing: set[str], now: float) -> bool:
        succeeded = self._succeeded.get(place, {})
        return any(name not in failing and now - at <= WINDOW for name, at in succeeded.items())


def is_doubtful(outcome: Outcome) -> bool:
    """Whether *outcome* may be about the request; one that states its end is not."""
    return (
        outcome.until is None and outcome.detail != CONNECT_FAILED and (outcome.status_only or outcome.kind in DOUBTED)
    )


def _fault(account: str, lane: str, outcome: Outcome, context: OutcomeContext, now: float, undo: Undo) -> _Fault:
    place = context.upstream, lane
    return _Fault(account, place, outcome.kind, outcome.detail, context.exchange, context.asker, now, undo)


def _is_about(fault: _Fault, place: UpstreamLane) -> bool:
    return fault.place == place or (fault.kind in _OF_ACCOUNT and fault.place[0] == place[0])


def _is_alike(one: _Fault, other: _Fault) -> bool:
    if (one.place, one.kind, one.detail) != (other.place, other.kind, other.detail):
        return False
    return other.at - one.at <= WINDOW or bool(one.exchange and one.exchange == other.exchange)


def _is_same_request(one: _Fault, other: _Fault) -> bool:
    """Whether one exchange met both, or one conversation at once; their providers may word the fault differently."""
    if one.kind != other.kind or not other.exchange or CONNECT_FAILED in (one.detail, other.detail):
        return False
    if one.exchange == other.exchange:
        return True
    return one.conversation == other.conversation and other.at - one.at <= WINDOW
