"""
Faults that two accounts show are the upstream's or the request's, and no account is penalized for them.

The upstream's: two accounts of one place fail alike within WINDOW, and no third account succeeds there in that time.
The request's: one conversation meets the fault on two accounts, and no other account serves the same exchange.
The penalty stands again when CONFIRMED conversations (or exchanges) met the fault on an account that served none
meanwhile. Until then that conversation asks other accounts first.

A fault is doubted, and rests no account, while it may be about one conversation: where only a status speaks for it,
until CONFIRMED conversations met it; where another conversation was served on the same lane a moment ago, until a
second one meets it. The next request of another conversation is the probe. The conversation itself asks other accounts
first for a while.
"""

from __future__ import annotations

import math
from collections import OrderedDict, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Protocol

from ..values.account import OutcomeKind
from ..values.decision import Outcome

WINDOW = 10.0  # seconds within which two faults count as one
MEMORY = 600.0  # seconds in which what other conversations met counts
UNSENT = "connect"  # the detail of a failure before anything of the request was sent: the request is not at fault
CONFIRMED = 3  # conversations that met the same on one account, or exchanges; one that is not certain counts half
MAX_FAULTS = 128
MAX_PLACES = 1024
MAX_WITNESSES = 64  # conversations remembered for each lane: those served last
MAX_APART = 4096  # conversations of which is known where they were refused
# What one conversation meets on a lane that served another one within MEMORY says nothing of the account yet.
DOUBTED: frozenset[OutcomeKind] = frozenset({"model", "permission", "rate", "overload", "server"})
# How long a conversation that met a passing fault, and was served elsewhere, asks elsewhere first.
APART: Mapping[OutcomeKind, float] = MappingProxyType({"rate": 5.0, "overload": 5.0, "server": 10.0})
# A limit, a credential and money are an account's own, however many have trouble with theirs at once.
KINDS: frozenset[OutcomeKind] = frozenset({"server", "overload", "permission"})
_PASSING: frozenset[OutcomeKind] = frozenset({"server", "overload"})
_WHOLE: frozenset[OutcomeKind] = frozenset({"auth", "quota"})  # what is said of an account, whatever the lane

Place = tuple[str, str]  # an upstream, and a lane


class Penalized(Protocol):
    """A penalty that can be taken back, and imposed again. False: it cannot be as long as later ones stand on it."""

    def undo(self) -> bool: ...
    def redo(self) -> None: ...


class _Nothing:
    """The penalty of a fault for which nothing was imposed."""

    def undo(self) -> bool:
        return True

    def redo(self) -> None:
        pass


_NOTHING = _Nothing()


@dataclass(slots=True)
class _Fault:
    account: str
    place: Place
    kind: OutcomeKind
    detail: str
    exchange: str
    conversation: str
    at: float
    penalty: Penalized
    certain: bool = False
    excused: bool = False
    undone: bool = False
    served_since: bool = False  # the account has served a request since
    by_request: bool = False  # excused because one conversation met it on several accounts
    doubted: bool = False  # nothing followed for the account


class UpstreamFaults:
    """The faults and successes of the last moments, by place."""

    def __init__(self) -> None:
        self._faults: deque[_Fault] = deque(maxlen=MAX_FAULTS)
        self._well: OrderedDict[Place, dict[str, float]] = OrderedDict()
        self._served: OrderedDict[tuple[str, str], dict[str, float]] = OrderedDict()  # by account and lane
        # by conversation: the accounts and lanes that refused it, and until when it asks elsewhere first
        self._refused: OrderedDict[str, dict[tuple[str, str], float]] = OrderedDict()

    def success(self, account: str, place: Place, now: float, exchange: str = "", conversation: str = "") -> None:
        """
        Take note that *account* did well at *place*, in *exchange* of *conversation*.

        What others did wrong there at the same time, or in that exchange, was their fault; what this one did was not.
        """
        well = self._well.setdefault(place, {})
        for name in [name for name, at in well.items() if now - at > WINDOW]:
            del well[name]
        well[account] = now
        self._well.move_to_end(place)
        if len(self._well) > MAX_PLACES:
            self._well.popitem(last=False)
        self._witness(account, place[1], conversation or exchange, now)
        if self._refused:
            self._refused.get(conversation or exchange, {}).pop((account, place[1]), None)
        if not self._faults:
            return
        for each in self._faults:
            if each.excused and each.account != account and _is_refuted(each, place, exchange, now):
                _blame(each)
        here = [each for each in self._faults if (each.by_request or each.doubted) and _is_about(each, place)]
        for each in here:
            each.served_since = True
            if each.account == account:
                self._faults.remove(each)

    def doubts(
        self, account: str, place: Place, outcome: Outcome, exchange: str, now: float, conversation: str = ""
    ) -> bool:
        """
        Say whether a fault may be about its conversation alone, so that the account does not rest for it.

        Such a fault is remembered, and the conversation asks elsewhere first.
        """
        who, kind = conversation or exchange, outcome.kind
        if not is_doubtful(outcome):
            return False
        this = _Fault(account, place, kind, outcome.detail, exchange, who, now, _NOTHING, doubted=True)
        alike = [each for each in self._faults
                 if (each.account, each.kind) == (account, kind) and now - each.at <= MEMORY]  # fmt: skip
        if outcome.bare:
            found = self._is_confirmed(this, now, [*alike, this])
        else:
            found = any(each.conversation != who and each.place[1] == place[1] for each in alike)
            found = found or not self._is_witnessed(account, place[1], who, now)
        if not found:
            self._faults.append(this)
            self.refuse(account, place[1], who, now, APART.get(kind, MEMORY))
        return not found

    def refuse(self, account: str, lane: str, conversation: str, now: float, seconds: float = MEMORY) -> None:
        """Take note that *account* refused a *conversation*, which is to ask elsewhere first for so many *seconds*."""
        if not conversation:
            return
        refused = self._refused.setdefault(conversation, {})
        refused[account, lane] = now + seconds
        self._refused.move_to_end(conversation)
        if len(refused) > MAX_FAULTS:
            del refused[next(iter(refused))]
        if len(self._refused) > MAX_APART:
            self._refused.popitem(last=False)

    def _witness(self, account: str, lane: str, conversation: str, now: float) -> None:
        served = self._served.setdefault((account, lane), {})
        self._served.move_to_end((account, lane))
        served.pop(conversation, None)
        served[conversation] = now
        if len(served) > MAX_WITNESSES:
            del served[next(iter(served))]
        if len(self._served) > MAX_PLACES:
            self._served.popitem(last=False)

    def _is_witnessed(self, account: str, lane: str, conversation: str, now: float) -> bool:
        served = self._served.get((account, lane), {})
        return any(now - at <= MEMORY for who, at in served.items() if who != conversation)

    def shift(self, seconds: float) -> None:
        """Move all times by *seconds*: the clock was set."""
        for fault in self._faults:
            fault.at += seconds
        for times in (*self._well.values(), *self._served.values()):
            for name in times:
                times[name] += seconds
        for refused in self._refused.values():
            for where in refused:
                refused[where] += seconds

    def fault(
        self,
        account: str,
        place: Place,
        outcome: Outcome,
        exchange: str,
        now: float,
        penalty: Penalized,
        conversation: str = "",
    ) -> None:
        """Take note of a fault and its *penalty*; that and its like are taken back when another account shows it."""
        stated = outcome.until is not None and outcome.kind not in KINDS
        if outcome.kind == "rate" or stated:  # a rate limit, or one with a stated end, is the account's own
            return
        kind, detail, certain = outcome.kind, outcome.detail, outcome.certain and not outcome.bare
        this = _Fault(account, place, kind, detail, exchange, conversation or exchange, now, penalty, certain)
        alike = [each for each in self._faults if _is_alike(each, this)]
        theirs = [each for each in self._faults if _is_same_request(each, this)]
        self._faults.append(this)
        if any(each.account != account for each in theirs):
            self._excuse([each for each in (*theirs, this) if not self._is_confirmed(each, now)], by_request=True)
            return
        guilty = {account, *(each.account for each in alike)}
        if kind in KINDS and len(guilty) > 1 and not self._does_well(place, guilty, now):
            self._excuse([*alike, this])

    def _excuse(self, faults: list[_Fault], *, by_request: bool = False) -> None:
        for each in faults:
            each.by_request = by_request or each.by_request
            each.excused = True
        for each in reversed(self._faults):  # the latest first: each brings back what was before it
            if each.excused and not each.undone:
                each.undone = each.penalty.undo() is not False

    def met(self, conversation: str, now: float) -> frozenset[str]:
        """Return the accounts on which *conversation* met what counts as its own fault, if that does not pass soon."""
        while self._faults and now - self._faults[0].at > MEMORY:
            self._faults.popleft()
        if not self._faults or not conversation:
            return frozenset()
        own = (each for each in self._faults if each.by_request and each.conversation == conversation)
        return frozenset(each.account for each in own if each.kind not in _PASSING)

    def apart(self, conversation: str, now: float) -> frozenset[tuple[str, str]]:
        """Return the accounts and lanes that refused *conversation* a while ago."""
        return frozenset(where for where, until in self._refused.get(conversation, {}).items() if until > now)

    def has_refused(self, conversation: str, account: str, lane: str, now: float) -> bool:
        """Say whether *account* refused *conversation* on this lane a while ago."""
        return self._refused.get(conversation, {}).get((account, lane), now) > now

    def has_served(self, conversation: str, account: str, lane: str, now: float) -> bool:
        """Say whether *account* served *conversation* on this lane a while ago."""
        return now - self._served.get((account, lane), {}).get(conversation, -math.inf) <= MEMORY

    def _is_confirmed(self, this: _Fault, now: float, faults: Iterable[_Fault] | None = None) -> bool:
        alike = [each for each in (self._faults if faults is None else faults)
                 if (each.account, each.kind) == (this.account, this.kind) and now - each.at <= MEMORY]  # fmt: skip
        exchanges = {each.exchange: 1.0 if each.certain else 0.5 for each in alike if not each.served_since}
        return max(len({each.conversation for each in alike}), sum(exchanges.values())) >= CONFIRMED

    def _does_well(self, place: Place, but: set[str], now: float) -> bool:
        return any(name not in but and now - at <= WINDOW for name, at in self._well.get(place, {}).items())


def is_doubtful(outcome: Outcome) -> bool:
    """Say whether an *outcome* may be about the request, as far as it says itself; one that says until when is not."""
    return outcome.until is None and outcome.detail != UNSENT and (outcome.bare or outcome.kind in DOUBTED)


def _is_about(fault: _Fault, place: Place) -> bool:
    """Say whether a *fault* concerns what is asked at *place*: a credential and money count for every lane there."""
    return fault.place == place or (fault.kind in _WHOLE and fault.place[0] == place[0])


def _blame(fault: _Fault) -> None:
    fault.excused = fault.by_request = False
    if fault.undone:
        fault.undone = False
        fault.penalty.redo()


def _is_refuted(fault: _Fault, place: Place, exchange: str, now: float) -> bool:
    """Say whether a success of another account shows that a *fault* was its account's after all."""
    if fault.by_request:
        return bool(exchange) and fault.exchange == exchange
    return fault.place == place and now - fault.at <= WINDOW


def _is_alike(one: _Fault, other: _Fault) -> bool:
    if (one.place, one.kind, one.detail) != (other.place, other.kind, other.detail):
        return False
    return other.at - one.at <= WINDOW or bool(one.exchange and one.exchange == other.exchange)


def _is_same_request(one: _Fault, other: _Fault) -> bool:
    """Say whether one exchange, or at once one conversation, met both; their providers may word it otherwise."""
    if one.kind != other.kind or not other.exchange or UNSENT in (one.detail, other.detail):
        return False
    if one.exchange == other.exchange:
        return True
    return one.conversation == other.conversation and other.at - one.at <= WINDOW
