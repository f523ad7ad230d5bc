"""
Who is fit to serve: what follows from the outcomes, for each lane (an account for one model) and for each account.

All of it is one table and a set of deadlines. Nothing ticks: a deadline that has passed is noticed when somebody asks.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from random import Random
from types import MappingProxyType
from typing import Literal

from ..values import Outcome, OutcomeKind

State = Literal["healthy", "half-open", "cooling", "unsupported", "auth-failed", "billing-blocked"]
Blocked = Literal["cooling", "unsupported", "auth-failed", "billing-blocked"]


@dataclass(frozen=True, slots=True)
class Penalty:
    """
    What an outcome costs: *state* for *first* seconds, times *factor* for every earlier time in a row, *cap* at most.

    It falls due with the *strikes*-th such outcome in a row. Where *hints* is set, a time the provider states is taken
    instead. *reach* says what is blocked: `account`, `lane`, or `scope`: what the outcome says.
    """

    state: Blocked
    first: float
    factor: float
    cap: float
    strikes: int = 1
    hints: bool = False
    reach: Literal["account", "lane", "scope"] = "scope"


MINUTE, HOUR = 60.0, 3600.0

TRANSITIONS: Mapping[OutcomeKind, Penalty | Literal["heal", "keep"]] = MappingProxyType({
    "ok":         "heal",
    "rate":       Penalty("cooling", 5.0, 2.0, 15 * MINUTE, hints=True),
    "overload":   Penalty("cooling", 5.0, 2.0, MINUTE, hints=True),
    "server":     Penalty("cooling", 10.0, 2.0, 2 * MINUTE, strikes=2, hints=True),
    "auth":       Penalty("auth-failed", 10 * MINUTE, 3.0, 6 * HOUR, reach="account"),
    "quota":      Penalty("billing-blocked", 30 * MINUTE, 2.0, 6 * HOUR, hints=True),
    "permission": Penalty("unsupported", 10 * MINUTE, 1.0, 10 * MINUTE, reach="lane"),
    "model":      Penalty("unsupported", 10 * MINUTE, 6.0, 12 * HOUR, reach="lane"),
    "request":    "keep",
    "cancelled":  "keep",
})  # fmt: skip

FLOOR = 1.0  # seconds; the shortest hint there is
JITTER = 0.1, 5.0  # a share of the hint, and seconds at most: what rests together must not wake together
BELIEF = 15 * MINUTE  # a hint is believed this long, then one request may see whether it still holds
BELIEF_CAP = HOUR
LEASE = 60.0  # seconds the verifying request has before the next may try
FADE = 60.0  # seconds in which a recent error loses half its weight
MAX_LANES = 10_000
SHARED: frozenset[Blocked] = frozenset({"cooling", "billing-blocked"})  # a credential may be another one elsewhere
_NEVER = float("-inf")
_MAX_LEVEL = 32  # far beyond every cap, and no number overflows


@dataclass(frozen=True, slots=True)
class Rest:
    """Why and how long an account (*lane* None) or one of its lanes rests, as it is told to others."""

    account: str
    lane: str | None
    state: Blocked
    kind: OutcomeKind
    until: float
    verify_at: float


@dataclass(slots=True)
class _Mark:
    """One reason not to use a lane or an account, and how often it came in a row."""

    kind: OutcomeKind
    until: float = _NEVER
    verify_at: float = float("inf")
    checks: int = 0
    leased: bool = False
    levels: dict[OutcomeKind, int] = field(default_factory=dict)
    strikes: dict[OutcomeKind, int] = field(default_factory=dict)

    def next_chance(self) -> float:
        return min(self.until, self.verify_at)


_Marks = dict[Blocked, _Mark]


class Health:
    """
    The state of every lane and account that ever gave trouble; the others are healthy and cost nothing.

    A deadline only moves later while it runs. *random* spreads hinted deadlines.
    """

    def __init__(self, random: Random) -> None:
        self._random = random
        self._accounts: dict[str, _Marks] = {}
        self._lanes: OrderedDict[tuple[str, str], _Marks] = OrderedDict()
        self._errors: dict[str, tuple[float, float]] = {}

    def available(self, account: str, lane: str, now: float) -> bool:
        """Say whether a request may go to *account* for *lane*. For one that verifies a hint, call `taken` next."""
        return all(mark.next_chance() <= now for _, mark in self._marks(account, lane))

    def until(self, account: str, lane: str, now: float) -> float | None:
        """Return when the lane may be used next, or None when it may be now."""
        at = max((mark.next_chance() for _, mark in self._marks(account, lane)), default=now)
        return at if at > now else None

    def deadline(self, account: str, lane: str, now: float) -> float | None:
        """Return when the lane is well again as far as we were told; `until` is earlier when a hint is verified."""
        at = max((mark.until for _, mark in self._marks(account, lane)), default=now)
        return at if at > now else None

    def state(self, account: str, lane: str, now: float) -> State:
        """Return the state that keeps the lane blocked longest; `half-open` after it, until something succeeded."""
        worst = self._worst(account, lane)
        if worst is None or worst[1].until == _NEVER:  # a strike alone is not a state
            return "healthy"
        return worst[0] if worst[1].until > now else "half-open"

    def reason(self, account: str, lane: str, now: float) -> str:
        """Return why the lane may not be used now, in words for people; empty when it may."""
        worst = None if self.available(account, lane, now) else self._worst(account, lane)
        return f"{worst[0]} ({worst[1].kind})" if worst else ""

    def is_dead(self, account: str, now: float) -> bool:
        """Say whether the account as a whole is of no use: its credential or its money, not a passing fault."""
        marks = self._accounts.get(account, {})
        return any(state != "cooling" and mark.next_chance() > now for state, mark in marks.items())

    def lacks(self, account: str, lane: str, now: float) -> bool:
        """Say whether the account has found out that it cannot serve this lane, though it may serve others."""
        marks = self._lanes.get((account, lane), {})
        return any(state != "cooling" and mark.next_chance() > now for state, mark in marks.items())

    def worst_lane(self, account: str, now: float) -> str:
        """Return the lane of *account* that is blocked longest; empty when none is."""
        blocked = [(self.deadline(account, lane, now) or now, lane) for who, lane in self._lanes if who == account]
        until, lane = max(blocked, default=(now, ""))
        return lane if until > now else ""

    def errors(self, account: str, now: float) -> float:
        """Return how many errors *account* had of late; half of the weight fades every minute."""
        weight, at = self._errors.get(account, (0.0, now))
        return weight * math.exp2(-max(now - at, 0.0) / FADE)

    def taken(self, account: str, lane: str, now: float) -> None:
        """Note that a request goes to this lane. If it verifies a hint, the next may do so only after the lease."""
        for _, mark in self._marks(account, lane):
            if mark.verify_at <= now < mark.until:
                mark.leased = True
                mark.verify_at = now + LEASE

    def note(self, account: str, lane: str, outcome: Outcome, now: float) -> None:
        """Draw the consequences of *outcome*, by the table."""
        match TRANSITIONS[outcome.kind]:
            case Penalty() as penalty:
                self._errors[account] = (self.errors(account, now) + 1, now)
                self._end_leases(account, lane, now)
                whole = penalty.reach == "account" or (penalty.reach == "scope" and outcome.scope == "account")
                self._punish(self._room(account, None if whole else lane), penalty, outcome, now)
            case "heal":
                self._heal(account, lane, now)
            case "keep":
                pass

    def cleared(self, account: str) -> None:
        """Forget what was wrong with the credential of *account*: it has another one now."""
        for marks in self._rooms(account):
            marks.pop("auth-failed", None)
            marks.pop("billing-blocked", None)
        self._sweep(account)

    def forget(self, account: str) -> None:
        """Forget all about *account*: it is at another place now."""
        self._accounts.pop(account, None)
        self._errors.pop(account, None)
        for key in [key for key in self._lanes if key[0] == account]:
            del self._lanes[key]

    def rests(self, now: float) -> Iterator[Rest]:
        """Yield what others, or a later process, should know of: the rests that a provider asked for."""
        for account, marks in self._accounts.items():
            yield from _rests(account, None, marks, now)
        for (account, lane), marks in self._lanes.items():
            yield from _rests(account, lane, marks, now)

    def adopt(self, told: Rest, now: float) -> None:
        """
        Let an account rest as long as another instance, or an earlier one, was told to; never shorter than it does.

        Of the kind `ok`, it says that the rests up to that time are over.
        """
        if told.until <= now or told.state not in SHARED:
            return
        if told.kind == "ok":
            self._end_rest(told)
            return
        mark = self._room(told.account, told.lane).setdefault(told.state, _Mark(told.kind))
        if told.until > mark.until:
            mark.kind, mark.until, mark.verify_at = told.kind, told.until, told.verify_at

    def _end_rest(self, told: Rest) -> None:
        marks = (
            self._accounts.get(told.account, {})
            if told.lane is None
            else self._lanes.get((told.account, told.lane), {})
        )
        if told.state in marks and marks[told.state].until <= told.until:
            del marks[told.state]
            self._sweep(told.account)

    def _marks(self, account: str, lane: str) -> Iterator[tuple[Blocked, _Mark]]:
        yield from self._accounts.get(account, {}).items()
        yield from self._lanes.get((account, lane), {}).items()

    def _worst(self, account: str, lane: str) -> tuple[Blocked, _Mark] | None:
        return max(self._marks(account, lane), key=lambda pair: pair[1].until, default=None)

    def _room(self, account: str, lane: str | None) -> _Marks:
        if lane is None:
            return self._accounts.setdefault(account, {})
        marks = self._lanes.setdefault((account, lane), {})
        self._lanes.move_to_end((account, lane))
        while len(self._lanes) > MAX_LANES:  # a client may ask for any number of models
            self._lanes.popitem(last=False)
        return marks

    def _rooms(self, account: str) -> Iterator[_Marks]:
        yield self._accounts.get(account, {})
        yield from (marks for (who, _), marks in self._lanes.items() if who == account)

    def _punish(self, marks: _Marks, penalty: Penalty, outcome: Outcome, now: float) -> None:
        kind = outcome.kind
        mark = marks.setdefault(penalty.state, _Mark(kind))
        mark.strikes[kind] = min(mark.strikes.get(kind, 0) + 1, penalty.strikes)
        if mark.strikes[kind] < penalty.strikes:
            return
        before = mark.next_chance() if mark.until > now else now
        hinted = penalty.hints and outcome.until is not None and outcome.until > now
        until = self._hinted(outcome, now) if hinted else now + _backoff(mark, penalty, kind, now)
        if until <= mark.until:
            return
        mark.kind, mark.until = kind, until
        believed = max(now + _belief(mark), before)
        mark.verify_at = believed if hinted and believed < until else float("inf")

    def _hinted(self, outcome: Outcome, now: float) -> float:
        wait = max((outcome.until or now) - now, FLOOR)
        share, most = JITTER
        return now + wait + self._random.uniform(0, min(share * wait, most))

    def _end_leases(self, account: str, lane: str, now: float) -> None:
        for _, mark in self._marks(account, lane):
            if mark.leased:
                mark.leased = False
                mark.checks = min(mark.checks + 1, _MAX_LEVEL)
                mark.verify_at = max(mark.verify_at, now + _belief(mark))

    def _heal(self, account: str, lane: str, now: float) -> None:
        """
        Forget what is over, and what a verifying request has just disproved.

        An answer that set out before the trouble began says nothing about it, so a deadline that runs stays.
        """
        for marks in (self._accounts.get(account, {}), self._lanes.get((account, lane), {})):
            for state, mark in list(marks.items()):
                mark.strikes.clear()
                if mark.leased or mark.until <= now:
                    del marks[state]
        self._sweep(account, lane)

    def _sweep(self, account: str, *lanes: str) -> None:
        if not self._accounts.get(account, True):
            del self._accounts[account]
        for lane in lanes or [lane for who, lane in self._lanes if who == account]:
            if not self._lanes.get((account, lane), True):
                del self._lanes[account, lane]


def _backoff(mark: _Mark, penalty: Penalty, kind: OutcomeKind, now: float) -> float:
    """Return the seconds to rest. A burst of equal answers is one event: the level rises once per window."""
    level = mark.levels.get(kind, 0)
    if mark.until > now and level:
        level -= 1
    else:
        mark.levels[kind] = min(level + 1, _MAX_LEVEL)
    return min(penalty.first * penalty.factor**level, penalty.cap)


def _belief(mark: _Mark) -> float:
    return min(math.ldexp(BELIEF, mark.checks), BELIEF_CAP)


def _rests(account: str, lane: str | None, marks: _Marks, now: float) -> Iterator[Rest]:
    for state, mark in marks.items():
        if state in SHARED and mark.until > now:
            yield Rest(account, lane, state, mark.kind, mark.until, mark.verify_at)
