"""
The health of accounts and lanes: which cooldowns follow from an outcome, and whether a request may go there now.

A lane is an account for one model. When a cooldown is over, one request probes the lane; the others wait for its
result.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial

from ..bounded import BoundedMap
from ..values.decision import Outcome
from . import refusals
from .absent import Absent
from .cooldown import (
    FLOOR,
    KEEPS_HOME,
    NEVER,
    PENALTIES,
    PROBE_LEASE,
    SHARED,
    VERIFY_AFTER,
    Blocked,
    Cooldown,
    Cooldowns,
    LaneState,
    Penalty,
    SharedCooldown,
    applied,
    pause,
    to_share,
)
from .stated_limits import Bucket
from .upstream_faults import NO_CONTEXT, OutcomeContext, UpstreamFaults, is_doubtful

LOW, ENOUGH, SOON = 0.1, 0.2, 5.0  # shares left of a limit, and the seconds to its reset that do not matter
ERROR_HALF_LIFE = 60.0  # seconds
MAX_LANES = 10_000
CLOCK_SET_BACK = 5.0  # seconds; a clock that goes back further was set


class Health:
    """
    The cooldowns of every lane and account that failed; the others are healthy and need no memory.

    A cooldown that runs is never shortened by another fault. *quotas* names the allowance that an account shares
    with others. `touched` is called with the time and the name of an account, or of a shared allowance, whose cooldowns
    have changed.
    """

    def __init__(self, quotas: Mapping[str, str] | None = None) -> None:
        self.quotas: Mapping[str, str] = quotas or {}
        self._accounts: dict[str, Cooldowns] = {}
        self._lanes: BoundedMap[tuple[str, str], Cooldowns] = BoundedMap(MAX_LANES)
        self._errors: dict[str, tuple[float, float]] = {}
        self._low: BoundedMap[tuple[str, str], float] = BoundedMap(MAX_LANES)
        self._faults = UpstreamFaults()
        self._clock = NEVER
        self.touched: Callable[[str, float], None] = lambda _name, _now: None

    def troubled(self) -> set[str]:
        """Return the accounts of which some trouble is known; every other one is available."""
        return self._with_sharing({*self._accounts, *(account for account, _ in self._lanes)})

    def low(self, now: float) -> set[str]:
        """Return the accounts of which some lane `is_low`."""
        return self._with_sharing({limited[0] for limited, until in self._low.items() if until > now})

    def available(self, account: str, lane: str, now: float) -> bool:
        """Whether a request may go to *account* for *lane*. When it does, call `acquire` next."""
        return not self._closed(account, lane, now)

    def usable_at(self, account: str, lane: str, now: float) -> float | None:
        """Return when the lane may be used next, or None when it may be now."""
        at = max([each.opens_at(now) for _, each in self._of(account, lane)], default=now)
        return at if at > now else None

    def deadline(self, account: str, lane: str, now: float) -> float | None:
        """Return when the cooldown ends; `usable_at` is earlier when a hint is to be verified."""
        at = max([max(each.until, each.opens_at(now)) for _, each in self._of(account, lane)], default=now)
        return at if at > now else None

    def state(self, account: str, lane: str, now: float) -> LaneState:
        """Return the state that blocks the lane longest; `half-open` from its end until a request succeeds."""
        worst = self.blocking(account, lane)
        if worst is None or worst[1].until == NEVER:  # a counted failure alone is not a state
            return "throttled" if self.is_low(account, lane, now) else "healthy"
        return worst[0] if worst[1].until > now else "half-open"

    def reason(self, account: str, lane: str, now: float) -> str:
        """Return why the lane may not be used now, in the words of a refusal; empty when it may."""
        worst = None if self.available(account, lane, now) else self.blocking(account, lane, now)
        if worst is None:
            return ""
        cause, detail = refusals.cause_of_cooldown(worst[1].kind, worst[1].outcome)
        told = refusals.reason(Absent(account, "", cause, detail, worst[1].hinted))
        return f"{told}, another request is probing it" if worst[1].is_probed(now) else told

    def blocking(self, account: str, lane: str, now: float | None = None) -> tuple[Blocked, Cooldown] | None:
        """Return the cooldown with the latest end; with *now*, of those that keep a request out at that time."""
        found = [each for each in self._of(account, lane) if now is None or each[1].opens_at(now) > now]
        return max(found, key=lambda each: each[1].until, default=None)

    def is_probed(self, account: str, lane: str, now: float) -> bool:
        """Whether the lane is closed for no other reason than a probe in progress."""
        closed = self._closed(account, lane, now)
        return bool(closed) and all(each.is_probed(now) for _, each in closed)

    def may_probe_after_wait(self, account: str, lane: str, now: float) -> bool:
        """Whether a request that waited out a transient fault may probe this lane before its cooldown ends."""
        return all(
            state == "cooling" and not each.is_probed(now) and not each.verifications
            for state, each in self._closed(account, lane, now)
        )

    def last_chance(self, account: str, lane: str, now: float, conversation: str = "") -> float | None:
        """
        Return the deadline of a closed lane that may be probed because no other account is left; None: it may not.

        The first probe comes LAST_CHANCE after the start, earlier for a *conversation* that did not meet a doubtful
        fault. A hint that is trusted to its end is not probed.
        """
        closed = [each for _, each in self._closed(account, lane, now)]
        if not closed:
            return None
        unaffected = self.is_unaffected(conversation, account, lane, now)
        if any(each.is_probed(now) or now < each.early_probe_at(unaffected=unaffected) for each in closed):
            return None
        return max(each.until for each in closed)

    def next_probe(self, account: str, lane: str, now: float) -> float:
        """Return when a request may next probe this lane, when no other account is left."""
        closed = [each for _, each in self._closed(account, lane, now)]
        ends = (each.probe_until if each.is_probed(now) else min(each.opens_at(now), each.early_probe_at())
                for each in closed)  # fmt: skip
        return max(ends, default=now)

    def is_unaffected(self, conversation: str, account: str, lane: str, now: float) -> bool:
        """Whether *conversation* is known and was not refused by *account* on this lane."""
        return bool(conversation) and not self._faults.has_refused(conversation, account, lane, now)

    def may_probe_doubtful(self, conversation: str, account: str, lane: str, now: float) -> bool:
        """
        Whether a *conversation* that *account* served lately may probe its lane, whose fault may be about others.

        Only one at a time, each conversation once, and not where the cooldown is short anyway.
        """
        closed = self._closed(account, lane, now)
        if not closed or any(state == "cooling" or not each.doubtful or each.is_probed(now) for state, each in closed):
            return False
        served = self._faults.has_served(conversation, account, lane, now)
        return served and self.is_unaffected(conversation, account, lane, now)

    def is_dead(self, account: str, now: float) -> bool:
        """Whether the account as a whole is unusable: its credential or its money, not a transient fault."""
        return any(state not in KEEPS_HOME and each.opens_at(now) > now for state, each in self._of_account(account))

    def is_well(self, account: str, now: float) -> bool:
        """Whether neither *account* nor any of its lanes cools down."""
        lanes = (each for key, found in self._lanes.items() if key[0] == account for each in found.values())
        own = (each for _, each in self._of_account(account))
        return all(each.opens_at(now) <= now for each in (*lanes, *own))

    def lacks(self, account: str, lane: str, now: float) -> bool:
        """Whether the account was found not to serve this lane, though it may serve others."""
        found = self._lanes.get((account, lane), {})
        return any(state != "cooling" and each.opens_at(now) > now for state, each in found.items())

    def is_low(self, account: str, lane: str, now: float) -> bool:
        """Whether so little is left of a limit that no new conversation should begin here."""
        return self._low.get(self._limited(account, lane), NEVER) > now

    def troubles(self, account: str) -> Iterator[tuple[str | None, Cooldown]]:
        """Yield every cooldown of *account* that no success has ended, with its lane (None: the whole account)."""
        own = ((None, each) for _, each in self._of_account(account))
        lanes = [(lane, each) for (name, lane), found in self._lanes.items() if name == account
                 for each in found.values()]  # fmt: skip
        yield from (each for each in (*own, *lanes) if each[1].until != NEVER)

    def sharing(self, name: str) -> list[str]:
        """Return the accounts that *name*, as `touched` was called with it, stands for."""
        return [account for account in self.quotas if self._quota_key(account) == name] or [name]

    def lanes(self, account: str) -> list[str]:
        """Return the lanes of *account* of which anything is known."""
        low = {lane for name, lane in self._low if name == account and lane}
        return sorted({lane for name, lane in self._lanes if name == account} | low)

    def worst_lane(self, account: str, now: float) -> str:
        """Return the lane of *account* that is blocked longest, or has least left; empty when all are well."""
        ranked = [(self.deadline(account, lane, now) or now, self.is_low(account, lane, now), lane)
                  for lane in self.lanes(account)]  # fmt: skip
        until, low, lane = max(ranked, default=(now, False, ""))
        return lane if until > now or low else ""

    def own_faults(self, conversation: str, now: float) -> frozenset[str]:
        """Return the accounts on which *conversation* met a fault that counts as its own: it asks others first."""
        return self._faults.own_faults(conversation, now)

    def refused_by(self, conversation: str, now: float) -> frozenset[tuple[str, str]]:
        """Return the accounts and lanes that refused *conversation* lately: it asks others first."""
        return self._faults.refused_by(conversation, now)

    def errors(self, account: str, now: float) -> float:
        """Return the number of recent errors of *account*; the weight of each halves every minute."""
        weight, at = self._errors.get(account, (0.0, now))
        return weight * math.exp2(-max(now - at, 0.0) / ERROR_HALF_LIFE)

    def clock(self, now: float) -> float:
        """
        Record the time, and return by how much the clock was set back.

        Deadlines move with it: a cooldown is a length, however wrong the clock was when it began.
        """
        back = now - self._clock
        self._clock = now
        if back >= -CLOCK_SET_BACK or back == math.inf:
            return 0.0
        for found in (*self._accounts.values(), *self._lanes.values()):
            for each in found.values():
                each.shift(back)
        self._errors = {account: (weight, at + back) for account, (weight, at) in self._errors.items()}
        for limited, until in list(self._low.items()):
            self._low[limited] = until + back
        self._faults.shift(back)
        return back

    def acquire(self, account: str, lane: str, now: float, ticket: int = 0, *, early: bool = False) -> None:
        """
        Record that the request *ticket* goes to this lane.

        If a cooldown is over, or its hint due for verification, this request becomes the probe and holds the lease.
        *early*: it probes before that.
        """
        for _, each in self._of(account, lane):
            if each.until != NEVER and (early or each.opens_at(now) <= now):
                each.probe, each.probe_until = ticket, now + PROBE_LEASE

    def release(self, account: str, lane: str, ticket: int) -> bool:
        """Record that the request *ticket* is over, whatever it found; return whether that frees a probe lease."""
        freed = False
        for _, each in self._of(account, lane):
            if each.probe == ticket:
                each.probe, freed = None, True
        return freed

    def record_headroom(self, account: str, lane: str, buckets: Sequence[Bucket], now: float) -> None:
        """Record what a success said is left of the limits."""
        if not buckets:
            return
        low = [bucket.reset for bucket in buckets if bucket.left < LOW and bucket.reset - now > SOON]
        limited = self._limited(account, lane)
        if low:
            self._low[limited] = min(max(low), now + VERIFY_AFTER)
        elif all(bucket.left >= ENOUGH for bucket in buckets):
            self._low.pop(limited, None)

    def record_outcome(
        self,
        account: str,
        lane: str,
        outcome: Outcome,
        now: float,
        ticket: int = 0,
        context: OutcomeContext = NO_CONTEXT,
        *,
        strict: bool = False,
    ) -> None:
        """
        Apply what follows from the *outcome* of the request *ticket*.

        An outcome of scope `exchange` costs the account nothing: its conversation asks other accounts first.

        By its *context*, a fault costs no account anything that may be about its conversation alone, that a second
        account of the upstream shows at the same time, or that an exchange meets on two accounts: see
        `upstream_faults`. *strict*: a hint is trusted to its end.
        """
        match PENALTIES[outcome.kind]:
            case Penalty() if outcome.scope == "exchange":
                self._faults.refuse(account, lane, context.asker, now)
                self.release(account, lane, ticket)
            case Penalty() if not self._is_probe(account, lane, ticket) and self._faults.doubts(
                account, lane, outcome, context, now
            ):
                pass
            case Penalty() as penalty:
                if is_doubtful(outcome):
                    self._faults.refuse(account, lane, context.asker, now)
                self._errors[account] = (self.errors(account, now) + 1, now)
                for _, each in self._of(account, lane):
                    if each.probe == ticket:
                        each.probe_failed(now)
                undo = self._impose(account, lane, penalty, outcome, now, context.upstream, strict)
                self._faults.fault(account, lane, outcome, context, now, undo)
                self._drop_empty(account, lane)
            case "heal":
                self._faults.success(account, lane, context, now)
                self._recover(account, lane, ticket, now)
            case _:
                self.release(account, lane, ticket)

    def first_success(
        self, account: str, lane: str, now: float, ticket: int = 0, context: OutcomeContext = NO_CONTEXT
    ) -> None:
        """Record that an answer to the request *ticket* has begun: its probe succeeded, but it can still break off."""
        self._faults.success(account, lane, context, now)
        self._recover(account, lane, ticket, now, whole=False)

    def credential_changed(self, account: str) -> None:
        """Forget what was wrong with the former credential of *account*."""
        lanes = [found for (name, _), found in self._lanes.items() if name == account]
        for found in (self._accounts.get(account, {}), *lanes, self._accounts.get(self._quota_key(account), {})):
            found.pop("auth-failed", None)
            found.pop("billing-blocked", None)
        self._drop_empty(account)
        self.touched(account, self._clock)

    def pause(self, account: str, until: float, now: float) -> None:
        """Let no request go to *account* until that time, on behalf of a user; an earlier pause is replaced."""
        self._at(account, None)["paused"] = pause(until, now)
        self.touched(account, now)

    def wake(self, account: str) -> None:
        """End every cooldown of *account*, of its lanes, and of the quota that it shares, on behalf of a user."""
        if self._accounts.pop(self._quota_key(account), None):
            self.touched(self._quota_key(account), self._clock)
        self.forget(account)

    def forget(self, account: str) -> None:
        """Forget all about *account*: it is at another upstream now."""
        self._accounts.pop(account, None)
        self._errors.pop(account, None)
        for key in [key for key in self._lanes if key[0] == account]:
            del self._lanes[key]
        self.touched(account, self._clock)

    def cooldowns(self, now: float) -> Iterator[SharedCooldown]:
        """Yield the cooldowns that other instances, or a later process, should know."""
        for account, found in self._accounts.items():
            yield from to_share(account, None, found, now)
        for (account, lane), found in self._lanes.items():
            yield from to_share(account, lane, found, now)

    def adopt(self, told: SharedCooldown, now: float) -> None:
        """
        Apply the cooldown that another instance, or an earlier process, knows; never shorten one of ours.

        The kind `ok` says that cooldowns up to that time are over.
        """
        if told.state not in SHARED:
            return
        if told.kind == "ok":
            self._end(told)
            return
        told = told.by_our_clock(now)
        if told.until <= now:
            return
        paused = told.state == "paused"  # a user's will is not probed
        cooldown = self._at(told.account, told.lane).setdefault(told.state, Cooldown(told.kind, strict=paused))
        if told.until > cooldown.until:
            cooldown.adopt(told, now)
            self.touched(told.account, now)

    def _end(self, told: SharedCooldown) -> None:
        whole, of_lane = self._accounts.get(told.account, {}), self._lanes.get((told.account, told.lane or ""), {})
        found = whole if told.lane is None else of_lane
        if told.state in found and found[told.state].until <= told.until:
            del found[told.state]
            self._drop_empty(told.account)
            self.touched(told.account, self._clock)

    def _quota_key(self, account: str) -> str:
        quota = self.quotas.get(account, "")
        return f"quota:{quota}" if quota else ""

    def _limited(self, account: str, lane: str) -> tuple[str, str]:
        quota = self._quota_key(account)
        return (quota, "") if quota else (account, lane)

    def _with_sharing(self, names: set[str]) -> set[str]:
        return names.union([account for account in self.quotas if self._quota_key(account) in names])

    def _of_account(self, account: str) -> list[tuple[Blocked, Cooldown]]:
        found = [*self._accounts.get(account, {}).items()]
        return [*found, *self._accounts.get(self._quota_key(account), {}).items()] if account in self.quotas else found

    def _of(self, account: str, lane: str) -> list[tuple[Blocked, Cooldown]]:
        if not (self._accounts or self._lanes):  # all is well
            return []
        return [*self._of_account(account), *self._lanes.get((account, lane), {}).items()]

    def _closed(self, account: str, lane: str, now: float) -> list[tuple[Blocked, Cooldown]]:
        return [(state, each) for state, each in self._of(account, lane) if each.opens_at(now) > now]

    def _at(self, account: str, lane: str | None) -> Cooldowns:
        """Return the cooldowns of an account (*lane* None) or a lane, to be added to."""
        if lane is None:
            return self._accounts.setdefault(account, {})
        found = self._lanes[account, lane] = self._lanes.get((account, lane), {})
        return found

    def _drop_empty(self, account: str, *lanes: str) -> None:
        for name in (account, self._quota_key(account)):
            if not self._accounts.get(name, True):
                del self._accounts[name]
        for lane in lanes or [lane for name, lane in self._lanes if name == account]:
            if not self._lanes.get((account, lane), True):
                del self._lanes[account, lane]

    def _impose(
        self, account: str, lane: str, penalty: Penalty, outcome: Outcome, now: float, upstream: str, strict: bool
    ) -> Callable[[], bool]:
        doubtful, penalties = is_doubtful(outcome), [penalty]
        if penalty.escalates:  # what is said of the whole account counts at once
            whole = outcome.scope == "account"
            penalties.append(replace(penalty.escalates, failures=1) if whole else penalty.escalates)
        until = outcome.until if outcome.until is not None and outcome.until > now else None
        until = until and max(until, now + FLOOR)
        undo = []
        for each in penalties:
            name, of_lane = self._kept_at(account, lane, each, outcome)
            where = partial(self._at, name, of_lane)
            undo.append(applied(where, each, outcome, now, until, strict=strict, doubtful=doubtful, upstream=upstream))
            self.touched(name, now)

        def undone() -> bool:
            self.touched(account, self._clock)
            return all([each() for each in undo])  # noqa: C419 - each of them, also after one that fails

        return undone

    def _kept_at(self, account: str, lane: str, penalty: Penalty, outcome: Outcome) -> tuple[str, str | None]:
        quota = self._quota_key(account)
        if penalty.uses_quota and quota:
            return quota, None
        whole = penalty.reach == "account" or (penalty.reach == "scope" and outcome.scope == "account")
        return account, None if whole else lane

    def _is_probe(self, account: str, lane: str, ticket: int) -> bool:
        return any(each.probe == ticket for _, each in self._of(account, lane))

    def _recover(self, account: str, lane: str, ticket: int, now: float, *, whole: bool = True) -> None:
        """Remove the cooldowns that are over or that *ticket* probed; an answer from earlier proves no more."""
        if not (self._accounts or self._lanes):  # all is well
            return
        quota = self._accounts.get(self._quota_key(account), {}) if self.quotas.get(account) else {}
        ended: list[tuple[Blocked, Cooldown]] = []
        for found in (self._accounts.get(account, {}), self._lanes.get((account, lane), {}), quota):
            for state, each in list(found.items()):
                if whole:
                    each.failures.clear()
                if each.probe == ticket and each.until > now:
                    ended.append((state, each))
                if each.probe == ticket or (whole and each.until <= now and not each.is_probed(now)):
                    del found[state]
                    if each.until != NEVER:
                        self.touched(self._quota_key(account) if found is quota else account, now)
        self._drop_empty(account, lane)
        for state, each in ended:
            self._verify_alike(state, each, now)

    def _verify_alike(self, state: Blocked, ended: Cooldown, now: float) -> None:
        """Let cooldowns that began together with *ended*, which was over early, be verified now, by a request each."""
        for found in (*self._accounts.values(), *self._lanes.values()):
            each = found.get(state)
            if each is None or each.until <= now or (each.strict and each.hinted):
                continue
            if each.began_with(ended):
                each.verify_at = min(each.verify_at, now)
