"""
Who is fit to serve: what follows from the outcomes, for each lane (an account for one model) and for each account.

All of it is one table and a set of deadlines. Nothing ticks: a deadline that has passed is noticed when somebody asks,
and then one request, and no more than one, sees whether all is well again.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from random import Random
from types import MappingProxyType
from typing import Literal

from ..values.account import OutcomeKind
from ..values.decision import Outcome
from .limits import ABSURD, Bucket
from .upstream_faults import Place, UpstreamFaults, is_doubtful

Blocked = Literal["cooling", "unsupported", "forbidden", "auth-failed", "billing-blocked"]
State = Literal["healthy", "throttled", "half-open"] | Blocked


@dataclass(frozen=True, slots=True)
class Penalty:
    """
    What an outcome costs: *state* for *first* seconds, times *factor* for every earlier time in a row, *cap* at most.

    It falls due with the *strikes*-th such outcome in a row, of those within so many seconds and so far *apart*. A time
    the outcome states is taken instead. *reach* says what is blocked: `account`, `lane`, or `scope`: what the outcome
    says. Where *spends* is set, it is the allowance (`quota:`) that is used up, and all who share it rest. Where
    *remembers* is set, a recovery forgives only half. What it may *grow* into is imposed beside it.
    """

    state: Blocked
    first: float
    factor: float
    cap: float
    strikes: int = 1
    within: float = math.inf
    apart: float = 0.0
    reach: Literal["account", "lane", "scope"] = "scope"
    spends: bool = False
    remembers: bool = False
    grows: Penalty | None = None


MINUTE, HOUR = 60.0, 3600.0

# Who is denied again and again, and nothing else, is let in nowhere; a burst of denials is one.
_SHUT_OUT = Penalty(
    "auth-failed", 10 * MINUTE, 3.0, 6 * HOUR, strikes=3, within=3 * HOUR, apart=10 * MINUTE, reach="account"
)

TRANSITIONS: Mapping[OutcomeKind, Penalty | Literal["heal", "keep"]] = MappingProxyType({
    "ok":         "heal",
    "rate":       Penalty("cooling", 5.0, 2.0, 15 * MINUTE, spends=True, remembers=True),
    "overload":   Penalty("cooling", 5.0, 2.0, MINUTE),
    "server":     Penalty("cooling", 10.0, 2.0, 2 * MINUTE, strikes=2),
    "auth":       Penalty("auth-failed", 10 * MINUTE, 3.0, 6 * HOUR, reach="account"),
    "quota":      Penalty("billing-blocked", 30 * MINUTE, 2.0, 6 * HOUR, spends=True),
    "permission": Penalty("forbidden", 10 * MINUTE, 1.0, 10 * MINUTE, reach="lane", grows=_SHUT_OUT),
    "model":      Penalty("unsupported", 10 * MINUTE, 6.0, 12 * HOUR, reach="lane"),
    "request":    "keep",
    "cancelled":  "keep",
})  # fmt: skip

FLOOR = 1.0  # seconds; the shortest hint there is
JITTER = 0.1, 5.0  # a share of the hint, and seconds at most: what rests together must not wake together
BELIEF = 15 * MINUTE  # a hint is believed this long, then one request may see whether it still holds
BELIEF_CAP = HOUR
LEASE = 20.0  # seconds the one request that looks has to itself before the next may try
LAST_CHANCE = 30.0  # seconds a lane has rested before one request may look because nobody else is left
# Looks that find no change come ever more seldom: after such a part of the time since the rest began, up to the cap.
SELDOM, LOOK_CAP = 4, 10 * MINUTE
# Seconds, instead of LAST_CHANCE, for one that met nothing of a doubtful rest: at first, and after the first look.
FIRST_LOOK, SECOND_LOOK = 0.1, 1.0
FREE_LOOKS = 4  # of conversations that met nothing of a failing server, each at once, before looks come seldom
TOGETHER = 60.0  # seconds; what began to rest within them for one reason may be well together
SKEW = 60.0  # seconds by which the clocks of two instances may differ
LONGEST = ABSURD + JITTER[1]  # seconds; no rest is longer
JUMP = 5.0  # seconds; a clock that goes back further was set
QUIET = 10 * MINUTE  # without trouble, an escalation loses one step
LOW, ENOUGH, SOON = 0.1, 0.2, 5.0  # shares left of a limit, and the seconds after which it is full again anyway
FADE = 60.0  # seconds in which a recent error loses half its weight
MAX_LANES = 10_000
SHARED: frozenset[Blocked] = frozenset({"cooling", "billing-blocked"})  # a credential may be another one elsewhere
_NEVER = float("-inf")
_MAX_LEVEL = 32  # far beyond every cap, and no number overflows


@dataclass(frozen=True, slots=True)
class Rest:
    """
    Why and how long an account (*lane* None) or one of its lanes rests, as it is told to others.

    All times are by the clock of the instance that found it out; *at* is when it did.
    """

    account: str
    lane: str | None
    state: Blocked
    kind: OutcomeKind
    until: float
    verify_at: float
    at: float


@dataclass(frozen=True, slots=True)
class Trouble:
    """The *outcome* a lane or an account rests for; *hinted*: the provider itself said until when."""

    outcome: Outcome
    hinted: bool


@dataclass(slots=True)
class _Mark:
    """
    One reason not to use a lane or an account, and how often it came in a row.

    *set_at* is when *until* was found out. *probe* is the ticket of the one request that looks whether it still holds,
    *probe_until* the end of its lease; *looks* of them found no change, the last one at *looked_at*. *doubtful*: it
    may be about those alone that met it. *upstream* is where it came from.
    """

    kind: OutcomeKind
    until: float = _NEVER
    since: float = _NEVER
    set_at: float = _NEVER
    verify_at: float = float("inf")
    outcome: Outcome | None = None
    hinted: bool = False
    strict: bool = False
    doubtful: bool = False
    upstream: str = ""
    checks: int = 0
    looks: int = 0
    looked_at: float = _NEVER
    probe: int | None = None
    probe_until: float = _NEVER
    levels: dict[OutcomeKind, int] = field(default_factory=dict)
    level_at: float = _NEVER
    strikes: dict[OutcomeKind, tuple[float, ...]] = field(default_factory=dict)  # when; the latest, as many as count
    changes: int = 0

    def chance(self, now: float) -> float:
        """Return when a request may pass, as far as this reason goes."""
        if self.until == _NEVER:
            return _NEVER
        if self.is_probed(now):
            return self.probe_until
        return min(self.until, self.verify_at)

    def is_probed(self, now: float) -> bool:
        return self.probe is not None and self.probe_until > now

    def look_at(self, *, soon: bool = False) -> float:
        """Return when a request may probe this rest early, when no other lane is left; *soon*: it met no such fault."""
        if self.strict and self.hinted:
            return self.until
        if soon and self.doubtful and self.kind in ("permission", "auth"):
            return self.looked_at  # at once, one at a time: conversations that differ may all be well
        if soon and self.doubtful and self.kind == "server" and self.looks < FREE_LOOKS:
            return self.looked_at
        if soon and self.doubtful and not self.looks:
            return self.since + FIRST_LOOK
        first = SECOND_LOOK if soon and self.doubtful else LAST_CHANCE
        return self.looked_at + min(max((self.looked_at - self.since) / SELDOM, first), LOOK_CAP)


_Marks = dict[Blocked, _Mark]


class Health:
    """
    The state of every lane and account that ever gave trouble; the others are healthy and cost nothing.

    A deadline only moves later while it runs. *random* spreads hinted deadlines. *quotas* names the allowance that an
    account shares with others.
    """

    def __init__(self, random: Random, quotas: Mapping[str, str] | None = None) -> None:
        self._random = random
        self.quotas: Mapping[str, str] = quotas or {}
        self._accounts: dict[str, _Marks] = {}
        self._lanes: OrderedDict[tuple[str, str], _Marks] = OrderedDict()
        self._errors: dict[str, tuple[float, float]] = {}
        self._low: OrderedDict[tuple[str, str], float] = OrderedDict()
        self._shared = UpstreamFaults()
        self._clock = _NEVER

    # -- what is asked ---------------------------------------------------------------------------------------------

    def available(self, account: str, lane: str, now: float) -> bool:
        """Say whether a request may go to *account* for *lane*. When it does, call `taken` next."""
        return all(mark.chance(now) <= now for _, mark in self._marks(account, lane))

    def until(self, account: str, lane: str, now: float) -> float | None:
        """Return when the lane may be used next, or None when it may be now."""
        at = max((mark.chance(now) for _, mark in self._marks(account, lane)), default=now)
        return at if at > now else None

    def deadline(self, account: str, lane: str, now: float) -> float | None:
        """Return when the lane is well again as far as we were told; `until` is earlier when a hint is verified."""
        at = max((max(mark.until, mark.chance(now)) for _, mark in self._marks(account, lane)), default=now)
        return at if at > now else None

    def state(self, account: str, lane: str, now: float) -> State:
        """Return the state that keeps the lane blocked longest; `half-open` after it, until something succeeded."""
        worst = self._worst(account, lane)
        if worst is None or worst[1].until == _NEVER:  # a strike alone is not a state
            return "throttled" if self.is_low(account, lane, now) else "healthy"
        return worst[0] if worst[1].until > now else "half-open"

    def reason(self, account: str, lane: str, now: float) -> str:
        """Return why the lane may not be used now, in words for people; empty when it may."""
        worst = None if self.available(account, lane, now) else self._worst(account, lane, now)
        if worst is None:
            return ""
        told = f"{worst[0]} ({worst[1].kind})"
        return f"{told}, another request is looking" if worst[1].is_probed(now) else told

    def trouble(self, account: str, lane: str, now: float) -> Trouble | None:
        """Return what keeps the lane blocked longest; None: it may be used now."""
        worst = self._worst(account, lane, now)
        return worst and Trouble(worst[1].outcome or Outcome(worst[1].kind), worst[1].hinted)

    def is_probed(self, account: str, lane: str, now: float) -> bool:
        """Say whether nothing keeps the lane but a request that looks whether all is well again."""
        closed = [mark for _, mark in self._marks(account, lane) if mark.chance(now) > now]
        return bool(closed) and all(mark.is_probed(now) for mark in closed)

    def may_look(self, account: str, lane: str, now: float) -> bool:
        """
        Say whether one that waited for a passing fault to pass may see whether it has, though the lane still rests.

        One alone may, and only where nobody has found meanwhile that it lasts.
        """
        closed = [(state, mark) for state, mark in self._marks(account, lane) if mark.chance(now) > now]
        return all(state == "cooling" and not mark.is_probed(now) and not mark.checks for state, mark in closed)

    def last_chance(self, account: str, lane: str, now: float, conversation: str = "") -> float | None:
        """
        Return the deadline of a lane that one request may try though it rests, since nobody else is left; or None.

        Whatever the reason: what all accounts show at once may be over in a moment. Only after a while, and not against
        a hint that is trusted to the end. A *conversation* that met none of it need not wait where it is doubtful.
        """
        closed = [mark for _, mark in self._marks(account, lane) if mark.chance(now) > now]
        soon = self.is_innocent(conversation, account, lane, now)
        if not closed:
            return None
        if any(mark.is_probed(now) or now < mark.look_at(soon=soon) for mark in closed):
            return None
        return max(mark.until for mark in closed)

    def next_chance(self, account: str, lane: str, now: float) -> float:
        """Return when a request may next probe this lane, when no other lane is left."""
        closed = [mark for _, mark in self._marks(account, lane) if mark.chance(now) > now]
        ends = (mark.probe_until if mark.is_probed(now) else min(mark.chance(now), mark.look_at()) for mark in closed)
        return max(ends, default=now)

    def is_innocent(self, conversation: str, account: str, lane: str, now: float) -> bool:
        """Say whether *conversation* is known, and was not refused by *account* on this lane."""
        return bool(conversation) and not self._shared.has_refused(conversation, account, lane, now)

    def may_go_on(self, conversation: str, account: str, lane: str, now: float) -> bool:
        """
        Say whether a *conversation* that *account* served a while ago may see whether a rest is about itself at all.

        Only where the rest is doubtful, and does not pass soon anyway. One alone may, and each one once.
        """
        closed = [(state, mark) for state, mark in self._marks(account, lane) if mark.chance(now) > now]
        if not closed or any(state == "cooling" or not mark.doubtful or mark.is_probed(now) for state, mark in closed):
            return False
        known = self._shared.has_served(conversation, account, lane, now)
        return known and self.is_innocent(conversation, account, lane, now)

    def is_dead(self, account: str, now: float) -> bool:
        """Say whether the account as a whole is of no use: its credential or its money, not a passing fault."""
        return any(state != "cooling" and mark.chance(now) > now for state, mark in self._whole(account))

    def is_well(self, account: str, now: float) -> bool:
        """Say whether nothing keeps *account* or any of its lanes: it may be asked for whatever it serves."""
        return all(mark.chance(now) <= now for marks in self._rooms(account) for mark in marks.values()) and all(
            mark.chance(now) <= now for _, mark in self._whole(account)
        )

    def lacks(self, account: str, lane: str, now: float) -> bool:
        """Say whether the account has found out that it cannot serve this lane, though it may serve others."""
        marks = self._lanes.get((account, lane), {})
        return any(state != "cooling" and mark.chance(now) > now for state, mark in marks.items())

    def is_low(self, account: str, lane: str, now: float) -> bool:
        """Say whether so little is left of a limit that no new conversation should begin here."""
        return self._low.get(self._purse(account, lane), _NEVER) > now

    def lanes(self, account: str) -> list[str]:
        """Return the lanes of *account* of which anything is known."""
        low = {lane for who, lane in self._low if who == account and lane}
        return sorted({lane for who, lane in self._lanes if who == account} | low)

    def worst_lane(self, account: str, now: float) -> str:
        """Return the lane of *account* that is blocked longest, or has least left; empty when all are well."""
        ranked = [(self.deadline(account, lane, now) or now, self.is_low(account, lane, now), lane)
                  for lane in self.lanes(account)]  # fmt: skip
        until, low, lane = max(ranked, default=(now, False, ""))
        return lane if until > now or low else ""

    def met(self, conversation: str, now: float) -> frozenset[str]:
        """Return the accounts on which *conversation* met what counts as its own fault: it asks others first."""
        return self._shared.met(conversation, now)

    def apart(self, conversation: str, now: float) -> frozenset[tuple[str, str]]:
        """Return the accounts and lanes that refused *conversation* a while ago: it asks others first."""
        return self._shared.apart(conversation, now)

    def errors(self, account: str, now: float) -> float:
        """Return how many errors *account* had of late; half of the weight fades every minute."""
        weight, at = self._errors.get(account, (0.0, now))
        return weight * math.exp2(-max(now - at, 0.0) / FADE)

    # -- what happened ---------------------------------------------------------------------------------------------

    def clock(self, now: float) -> float:
        """
        Take note of the time, and return by how much the clock was set back.

        Deadlines move with it: a rest is a length, however wrong the clock was when it began.
        """
        back = now - self._clock
        self._clock = now
        if back >= -JUMP or back == math.inf:
            return 0.0
        for marks in (*self._accounts.values(), *self._lanes.values()):
            for mark in marks.values():
                _shift(mark, back)
        self._errors = {account: (weight, at + back) for account, (weight, at) in self._errors.items()}
        for purse in self._low:
            self._low[purse] += back
        self._shared.shift(back)
        return back

    def taken(self, account: str, lane: str, now: float, ticket: int = 0, *, by_force: bool = False) -> None:
        """
        Note that the request *ticket* goes to this lane.

        If a deadline is over or a hint in doubt, it looks whether all is well, and has that to itself for its lease.
        With *by_force* it looks before that.
        """
        for _, mark in self._marks(account, lane):
            if mark.until != _NEVER and (by_force or mark.chance(now) <= now):
                mark.probe, mark.probe_until = ticket, now + LEASE

    def returned(self, account: str, lane: str, ticket: int) -> bool:
        """Note that the request *ticket* is over, whatever it found; say whether another may look now instead of it."""
        freed = False
        for _, mark in self._marks(account, lane):
            if mark.probe == ticket:
                mark.probe, freed = None, True
        return freed

    def headroom(self, account: str, lane: str, buckets: Sequence[Bucket], now: float) -> None:
        """Note what a success said is left of the limits."""
        if not buckets:
            return
        low = [bucket.reset for bucket in buckets if bucket.left < LOW and bucket.reset - now > SOON]
        purse = self._purse(account, lane)
        if low:
            self._low[purse] = min(max(low), now + BELIEF)
            self._low.move_to_end(purse)
            if len(self._low) > MAX_LANES:
                self._low.popitem(last=False)
        elif all(bucket.left >= ENOUGH for bucket in buckets):
            self._low.pop(purse, None)

    def note(
        self,
        account: str,
        lane: str,
        outcome: Outcome,
        now: float,
        ticket: int = 0,
        *,
        upstream: str = "",
        exchange: str = "",
        conversation: str = "",
        strict: bool = False,
    ) -> None:
        """
        Draw the consequences of *outcome* of the request *ticket*, by the table; none if its scope is `none`, or it may
        be about its *conversation* alone (see `shared`).

        When a second account of *upstream* shows the same fault at once and none does well there meanwhile, or when one
        *exchange* or *conversation* meets it on two accounts, it is no account's fault, and the penalties are taken
        back. *strict*: a hint is believed to its end.
        """
        place = upstream, lane
        match TRANSITIONS[outcome.kind]:
            case Penalty() if outcome.scope == "none":
                self._shared.refuse(account, lane, conversation or exchange, now)
                self.returned(account, lane, ticket)
            case Penalty() if not self._is_looking(account, lane, ticket) and self._shared.doubts(
                account, place, outcome, exchange, now, conversation
            ):
                pass
            case Penalty() as penalty:
                if is_doubtful(outcome):
                    self._shared.refuse(account, lane, conversation or exchange, now)
                self._errors[account] = (self.errors(account, now) + 1, now)
                self._looked(account, lane, ticket, now)
                imposed = self._impose(account, place, penalty, outcome, now, strict)
                self._shared.fault(account, place, outcome, exchange, now, imposed, conversation)
                self._sweep(account, lane)
            case "heal":
                self._shared.success(account, place, now, exchange, conversation)
                self._heal(account, lane, ticket, now)
            case _:
                self.returned(account, lane, ticket)

    def began(
        self,
        account: str,
        lane: str,
        now: float,
        ticket: int = 0,
        *,
        upstream: str = "",
        exchange: str = "",
        conversation: str = "",
    ) -> None:
        """Note that the request *ticket* was served, so far: what looked is over, but it can still break off."""
        self._shared.success(account, (upstream, lane), now, exchange, conversation)
        self._heal(account, lane, ticket, now, whole=False)

    def cleared(self, account: str) -> None:
        """Forget what was wrong with the credential of *account*: it has another one now."""
        for marks in (*self._rooms(account), self._accounts.get(self._group(account), {})):
            marks.pop("auth-failed", None)
            marks.pop("billing-blocked", None)
        self._sweep(account)

    def woken(self, account: str) -> None:
        """End every rest of *account*, of its lanes, and of the accounts that share its quota: a user woke it."""
        self._accounts.pop(self._group(account), None)
        self.forget(account)

    def forget(self, account: str) -> None:
        """Forget all about *account*: it is at another place now."""
        self._accounts.pop(account, None)
        self._errors.pop(account, None)
        for key in [key for key in self._lanes if key[0] == account]:
            del self._lanes[key]

    # -- what others are told --------------------------------------------------------------------------------------

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
        if told.state not in SHARED:
            return
        if told.kind == "ok":
            self._end_rest(told)
            return
        told = _by_our_clock(told, now)
        if told.until <= now:
            return
        mark = self._place(told.account, told.lane).setdefault(told.state, _Mark(told.kind))
        if told.until > mark.until:
            mark.kind, mark.outcome, mark.until = told.kind, None, told.until
            mark.verify_at, mark.set_at = told.verify_at, told.at
            mark.since, mark.probe, mark.hinted, mark.doubtful = now, None, True, False
            mark.looks, mark.looked_at = 0, now
            mark.changes += 1

    def _end_rest(self, told: Rest) -> None:
        rooms = self._accounts.get(told.account, {}), self._lanes.get((told.account, told.lane or ""), {})
        marks = rooms[0] if told.lane is None else rooms[1]
        if told.state in marks and marks[told.state].until <= told.until:
            del marks[told.state]
            self._sweep(told.account)

    # -- rooms and marks -------------------------------------------------------------------------------------------

    def _group(self, account: str) -> str:
        """Return under which name what is shared by a `quota:` is kept; no account has such a name."""
        quota = self.quotas.get(account, "")
        return f"quota:{quota}" if quota else ""

    def _purse(self, account: str, lane: str) -> tuple[str, str]:
        group = self._group(account)
        return (group, "") if group else (account, lane)

    def _whole(self, account: str) -> Iterator[tuple[Blocked, _Mark]]:
        yield from self._accounts.get(account, {}).items()
        if self.quotas.get(account):
            yield from self._accounts.get(self._group(account), {}).items()

    def _marks(self, account: str, lane: str) -> Iterator[tuple[Blocked, _Mark]]:
        yield from self._whole(account)
        yield from self._lanes.get((account, lane), {}).items()

    def _rooms(self, account: str) -> list[_Marks]:
        lanes = [marks for (who, _), marks in self._lanes.items() if who == account]
        return [self._accounts.get(account, {}), *lanes]

    def _room(self, account: str, lane: str, penalty: Penalty, outcome: Outcome) -> tuple[str, str | None]:
        """Return where the mark of a penalty belongs, for `_place`."""
        group = self._group(account)
        if penalty.spends and group:
            return group, None
        whole = penalty.reach == "account" or (penalty.reach == "scope" and outcome.scope == "account")
        return account, None if whole else lane

    def _place(self, account: str, lane: str | None) -> _Marks:
        if lane is None:
            return self._accounts.setdefault(account, {})
        marks = self._lanes.setdefault((account, lane), {})
        self._lanes.move_to_end((account, lane))
        while len(self._lanes) > MAX_LANES:
            self._lanes.popitem(last=False)
        return marks

    def _worst(self, account: str, lane: str, now: float | None = None) -> tuple[Blocked, _Mark] | None:
        """Return the mark with the latest deadline; with *now*, of those that keep a request out at that moment."""
        found = [each for each in self._marks(account, lane) if now is None or each[1].chance(now) > now]
        return max(found, key=lambda each: each[1].until, default=None)

    # -- consequences ----------------------------------------------------------------------------------------------

    def _impose(
        self, account: str, place: Place, penalty: Penalty, outcome: Outcome, now: float, strict: bool
    ) -> _Together:
        """Put *penalty* and what it grows into where they belong. What is said of the whole account grows at once."""
        upstream, lane = place
        penalties = [penalty]
        if penalty.grows:
            penalties.append(replace(penalty.grows, strikes=1) if outcome.scope == "account" else penalty.grows)
        imposed = []
        for each in penalties:
            imposed.append(self._punish(self._room(account, lane, each, outcome), each, outcome, now, strict))
            imposed[-1].mark.upstream = upstream
        return _Together(tuple(imposed))

    def _punish(
        self, room: tuple[str, str | None], penalty: Penalty, outcome: Outcome, now: float, strict: bool
    ) -> _Imposed:
        """Put the penalty of *outcome* into its *room*, and return how to take it back."""
        kind = outcome.kind
        mark = self._place(*room).setdefault(penalty.state, _Mark(kind))
        imposed = _Imposed(lambda: self._place(*room), penalty.state, mark, _copy(mark), mark.changes + 1)
        mark.changes += 1
        mark.strikes[kind] = _strikes(mark, penalty, kind, now)
        if len(mark.strikes[kind]) < penalty.strikes:
            return imposed
        before = min(mark.until, mark.verify_at) if mark.until > now else now
        hinted = outcome.until is not None and outcome.until > now
        until = self._hinted(outcome, now) if hinted else now + _backoff(mark, penalty, kind, now)
        if until <= mark.until:
            return imposed
        if mark.until <= now:
            mark.since, mark.looks, mark.looked_at, mark.doubtful = now, 0, now, is_doubtful(outcome)
        mark.kind, mark.until, mark.hinted, mark.strict, mark.probe = kind, until, hinted, strict, None
        mark.set_at, mark.doubtful = now, mark.doubtful and is_doubtful(outcome)
        mark.outcome = outcome
        believed = max(now + _belief(mark), before)
        mark.verify_at = believed if hinted and not strict and believed < until else float("inf")
        return imposed

    def _hinted(self, outcome: Outcome, now: float) -> float:
        wait = max((outcome.until or now) - now, FLOOR)
        share, most = JITTER
        return now + wait + self._random.uniform(0, min(share * wait, most))

    def _is_looking(self, account: str, lane: str, ticket: int) -> bool:
        return any(mark.probe == ticket for _, mark in self._marks(account, lane))

    def _looked(self, account: str, lane: str, ticket: int, now: float) -> None:
        """End the lease of a request that looked and found that all is not well; the next look comes later."""
        for _, mark in self._marks(account, lane):
            if mark.probe == ticket:
                mark.probe = None
                if mark.until > now:
                    mark.checks = min(mark.checks + 1, _MAX_LEVEL)
                    mark.looks, mark.looked_at = min(mark.looks + 1, _MAX_LEVEL), now
                    mark.verify_at = max(now + _belief(mark), min(mark.verify_at, mark.until))

    def _heal(self, account: str, lane: str, ticket: int, now: float, *, whole: bool = True) -> None:
        """
        Forget what is over, and what the request that looked has just disproved.

        An answer that set out before the trouble began says nothing about it, so a deadline that runs stays.
        """
        group = self._accounts.get(self._group(account), {}) if self.quotas.get(account) else {}
        found: list[tuple[Blocked, _Mark]] = []
        for marks in (self._accounts.get(account, {}), self._lanes.get((account, lane), {}), group):
            for state, mark in list(marks.items()):
                if whole:
                    mark.strikes.clear()
                looked = mark.probe == ticket
                if looked and mark.until > now:
                    found.append((state, mark))
                if looked or (whole and mark.until <= now and not mark.is_probed(now)):
                    _forgive(marks, state, mark)
        self._sweep(account, lane)
        for state, mark in found:
            self._hope(state, mark, now)

    def _hope(self, state: Blocked, over: _Mark, now: float) -> None:
        """Let what began to rest together with *over*, which ended early, be looked at now, one request each."""
        for marks in (*self._accounts.values(), *self._lanes.values()):
            mark = marks.get(state)
            if mark is None or mark.until <= now or (mark.strict and mark.hinted):
                continue
            if (mark.kind, mark.upstream) == (over.kind, over.upstream) and abs(mark.since - over.since) <= TOGETHER:
                mark.verify_at = min(mark.verify_at, now)

    def _sweep(self, account: str, *lanes: str) -> None:
        for name in (account, self._group(account)):
            if not self._accounts.get(name, True):
                del self._accounts[name]
        for lane in lanes or [lane for who, lane in self._lanes if who == account]:
            if not self._lanes.get((account, lane), True):
                del self._lanes[account, lane]


@dataclass(slots=True)
class _Imposed:
    """A penalty: what it made of a *mark*, and what that was *before*. What happened since is left alone."""

    room: Callable[[], _Marks]
    state: Blocked
    mark: _Mark
    before: _Mark
    changes: int
    after: _Mark | None = None

    def undo(self) -> bool:
        marks = self.room()
        if marks.get(self.state) is not self.mark or self.mark.changes != self.changes:
            return False
        self.after = _copy(self.mark)
        _become(self.mark, self.before)
        if self.mark.until == _NEVER and not self.mark.strikes and not self.mark.levels:
            del marks[self.state]
        return True

    def redo(self) -> None:
        marks = self.room()
        unchanged = marks.get(self.state, self.mark) is self.mark and self.mark.changes == self.before.changes
        if self.after is not None and unchanged:
            _become(self.mark, self.after)
            marks[self.state] = self.mark


@dataclass(frozen=True, slots=True)
class _Together:
    """Penalties of one outcome, taken back and imposed again as one."""

    penalties: tuple[_Imposed, ...]

    def undo(self) -> bool:
        undone = [penalty.undo() for penalty in self.penalties]  # every one of them, also behind one that cannot be
        return all(undone)

    def redo(self) -> None:
        for penalty in self.penalties:
            penalty.redo()


def _copy(mark: _Mark) -> _Mark:
    return replace(mark, levels=dict(mark.levels), strikes=dict(mark.strikes))


def _become(mark: _Mark, other: _Mark) -> None:
    """Make *mark* what *other* is, but for who looks at this moment."""
    copy = _copy(other)
    for each in fields(_Mark):
        if each.name not in ("probe", "probe_until"):
            setattr(mark, each.name, getattr(copy, each.name))


def _forgive(marks: _Marks, state: Blocked, mark: _Mark) -> None:
    """End a mark. How often it came is half remembered where the table says so."""
    levels: dict[OutcomeKind, int] = {
        kind: level // 2
        for kind, level in mark.levels.items()
        if level > 1 and isinstance(penalty := TRANSITIONS[kind], Penalty) and penalty.remembers
    }
    if levels:
        marks[state] = _Mark(mark.kind, levels=levels, level_at=mark.level_at)
    else:
        del marks[state]


def _strikes(mark: _Mark, penalty: Penalty, kind: OutcomeKind, now: float) -> tuple[float, ...]:
    """Return the strikes that count, this one among them. What fell due once needs no new ones until it is over."""
    fallen = mark.until != _NEVER and mark.kind == kind
    times = [at for at in mark.strikes.get(kind, ()) if fallen or now - at <= penalty.within]
    if not times or abs(now - times[-1]) >= penalty.apart:  # a clock may be set back
        times.append(now)
    return tuple(times[-penalty.strikes :])


def _backoff(mark: _Mark, penalty: Penalty, kind: OutcomeKind, now: float) -> float:
    """Return the seconds to rest. A burst of equal answers is one event: the level rises once per window."""
    level = mark.levels.get(kind, 0)
    if level and mark.until > now:
        level -= 1
    else:
        quiet = max(now - max(mark.level_at, mark.until), 0.0)
        level = max(level - int(quiet // QUIET), 0) if level else 0
        mark.levels[kind], mark.level_at = min(level + 1, _MAX_LEVEL), now
    return min(penalty.first * penalty.factor**level, penalty.cap)


def _belief(mark: _Mark) -> float:
    return min(math.ldexp(BELIEF, mark.checks), BELIEF_CAP)


def _shift(mark: _Mark, seconds: float) -> None:
    """Move all times of *mark* by *seconds*; infinite ones stay."""
    mark.until, mark.since, mark.set_at = mark.until + seconds, mark.since + seconds, mark.set_at + seconds
    mark.verify_at, mark.looked_at = mark.verify_at + seconds, mark.looked_at + seconds
    mark.probe_until, mark.level_at = mark.probe_until + seconds, mark.level_at + seconds
    mark.strikes = {kind: tuple(at + seconds for at in times) for kind, times in mark.strikes.items()}
    mark.changes += 1


def _by_our_clock(told: Rest, now: float) -> Rest:
    """
    Return *told* as a length that ends by our clock, whatever the writer's said.

    What was found out long after now was found out by a wrong clock, ours or the writer's, who knows when: it counts
    for LAST_CHANCE at most, at every start anew.
    """
    ahead, length = told.at - now, min(told.until - told.at, LONGEST)
    if ahead <= 0:
        return replace(told, until=min(told.until, told.at + LONGEST))
    at, most = now, min(length, LAST_CHANCE if ahead > SKEW else LONGEST)
    return replace(told, until=at + most, verify_at=min(told.verify_at - ahead, at + most), at=at)


def _rests(account: str, lane: str | None, marks: _Marks, now: float) -> Iterator[Rest]:
    for state, mark in marks.items():
        if state in SHARED and mark.until > now:
            yield Rest(account, lane, state, mark.kind, mark.until, mark.verify_at, mark.set_at)
