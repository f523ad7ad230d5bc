"""
Cooldowns: why a lane or an account is not used, for how long, and when a request may probe it.

What an outcome costs is a row of PENALTIES. Nothing ticks: times are compared when a request asks.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import field, fields, replace
from types import MappingProxyType
from typing import Literal

from ..frozen import dataclass
from ..values.account import OutcomeKind
from ..values.decision import Outcome
from .stated_limits import ABSURD

Blocked = Literal["cooling", "paused", "unsupported", "forbidden", "auth-failed", "billing-blocked"]
CooldownKind = OutcomeKind | Literal["paused"]  # what began a cooldown: an outcome, or a user
LaneState = Literal["healthy", "throttled", "half-open"] | Blocked


@dataclass(frozen=True, slots=True)
class Penalty:
    """
    What an outcome costs: *state* for *first* seconds, times *factor* for each repetition, *cap* at most. While a
    transient fault is doubted, its conversation asks other accounts first for *first* seconds (`upstream_faults`).

    Applied at the *failures*-th consecutive failure within *within* seconds; failures closer than *spacing* count once.
    A time that the outcome states replaces the computed one. *reach*: the cooldown is the account's, the lane's, or as
    the outcome's scope says. *uses_quota*: it also holds for the accounts that share its `quota_group`. *escalates* is
    applied beside it.
    """

    state: Blocked
    first: float
    factor: float
    cap: float
    failures: int = 1
    within: float = math.inf
    spacing: float = 0.0
    reach: Literal["account", "lane", "scope"] = "scope"
    uses_quota: bool = False
    escalates: Penalty | None = None


MINUTE, HOUR = 60.0, 3600.0

# An account that denies again and again, with no success between, has lost its access as a whole.
_SHUT_OUT = Penalty(
    "auth-failed", 10 * MINUTE, 3.0, 6 * HOUR, failures=3, within=3 * HOUR, spacing=10 * MINUTE, reach="account"
)

PENALTIES: Mapping[OutcomeKind, Penalty | Literal["heal", "keep"]] = MappingProxyType({
    "ok":         "heal",
    "rate":       Penalty("cooling", 5.0, 2.0, 15 * MINUTE, uses_quota=True),
    "overload":   Penalty("cooling", 5.0, 2.0, MINUTE),
    "server":     Penalty("cooling", 10.0, 2.0, 2 * MINUTE, failures=2),
    "auth":       Penalty("auth-failed", 10 * MINUTE, 3.0, 6 * HOUR, reach="account"),
    "quota":      Penalty("billing-blocked", 30 * MINUTE, 2.0, 6 * HOUR, uses_quota=True),
    "permission": Penalty("forbidden", 10 * MINUTE, 1.0, 10 * MINUTE, reach="lane", escalates=_SHUT_OUT),
    "model":      Penalty("unsupported", 10 * MINUTE, 6.0, 12 * HOUR, reach="lane"),
    "request":    "keep",
    "cancelled":  "keep",
})  # fmt: skip
# The outcomes of an account's load, not of its rights or its money: it may soon be well.
TRANSIENT: Mapping[OutcomeKind, Penalty] = MappingProxyType({
    kind: row for kind, row in PENALTIES.items() if isinstance(row, Penalty) and row.state == "cooling"
})  # fmt: skip

# Only these are told to other instances: a credential may be a different one there.
SHARED: frozenset[Blocked] = frozenset({"cooling", "paused", "billing-blocked"})
KEEPS_HOME: frozenset[Blocked] = frozenset({"cooling", "paused"})  # conversations return when it is over
FLOOR = 1.0  # seconds; the shortest hint
VERIFY_AFTER, VERIFY_CAP = 15 * MINUTE, HOUR  # a hint is trusted this long, then one request may verify it
TOGETHER = 60.0  # seconds; lanes that failed within them for one reason may recover together
PROBE_LEASE = 20.0  # seconds in which a probe is the only one
LAST_CHANCE = 30.0  # seconds of cooldown after which a request may probe a lane because no other account is left
# Probes without success are spaced by this part of the time since the cooldown began, up to the cap.
PROBE_SPACING, PROBE_CAP = 4, 10 * MINUTE
# Seconds instead of LAST_CHANCE for a conversation that did not meet a doubtful fault: first probe, second probe.
FIRST_PROBE, SECOND_PROBE = 0.1, 1.0
FREE_PROBES = 4  # probes of a failing server by such conversations before they are spaced
LEVEL_DECAY = 10 * MINUTE  # without trouble, after which an escalation loses one step
SKEW = 60.0  # seconds by which the clocks of two instances may differ
LONGEST = ABSURD + SKEW  # seconds; no cooldown is longer
NEVER = float("-inf")
MAX_LEVEL = 32  # far beyond every cap, and no number overflows


@dataclass(frozen=True, slots=True)
class SharedCooldown:
    """
    The cooldown of an account (*lane* None) or of a lane, as other instances are told.

    All times are by the clock of the instance that found it out; *at* is when it did.
    """

    account: str
    lane: str | None
    state: Blocked
    kind: CooldownKind
    until: float
    verify_at: float
    at: float

    def by_our_clock(self, now: float) -> SharedCooldown:
        """
        Return it as a length that ends by our clock.

        A time long after *now* was written under a wrong clock, ours or the writer's: it holds for LAST_CHANCE at most.
        """
        ahead, length = self.at - now, min(self.until - self.at, LONGEST)
        if ahead <= 0:
            return replace(self, until=min(self.until, self.at + LONGEST))
        at, most = now, min(length, LAST_CHANCE if ahead > SKEW else LONGEST)
        return replace(self, until=at + most, verify_at=min(self.verify_at - ahead, at + most), at=at)


@dataclass(slots=True)
class Cooldown:
    """
    One reason not to use a lane or an account.

    *set_at* is when *until* was found out, *since* when the cooldown began, *verify_at* when a hint may be verified.
    *hinted*: the provider stated *until*; *strict*: such a hint is not verified. *doubtful*: the fault may be about the
    conversations that met it alone. *probe* is the ticket of the request that probes now, *probe_until* the end of its
    lease; *probes* of them failed, the last one at *probed_at*. *levels* and *failures* count repetitions, by kind.
    *upstream* is where the fault came from.
    """

    kind: CooldownKind
    until: float = NEVER
    since: float = NEVER
    set_at: float = NEVER
    verify_at: float = float("inf")
    outcome: Outcome | None = None
    hinted: bool = False
    strict: bool = False
    doubtful: bool = False
    upstream: str = ""
    verifications: int = 0
    probes: int = 0
    probed_at: float = NEVER
    probe: int | None = None
    probe_until: float = NEVER
    levels: dict[OutcomeKind, int] = field(default_factory=dict)
    level_at: float = NEVER
    failures: dict[OutcomeKind, tuple[float, ...]] = field(default_factory=dict)  # times, as many as count
    changes: int = 0

    def opens_at(self, now: float) -> float:
        """Return when a request may pass, as far as this cooldown goes."""
        if self.until == NEVER:
            return NEVER
        if self.is_probed(now):
            return self.probe_until
        return min(self.until, self.verify_at)

    def is_probed(self, now: float) -> bool:
        """Whether a request probes it now."""
        return self.probe is not None and self.probe_until > now

    def early_probe_at(self, *, unaffected: bool = False) -> float:
        """
        Return when a request may probe before the end, because no other account is left.

        *unaffected*: its conversation did not meet the fault.
        """
        if self.strict and self.hinted:
            return self.until
        if unaffected and self.doubtful and self.kind in ("permission", "auth"):
            return self.probed_at  # at once, one at a time: each conversation may be allowed
        if unaffected and self.doubtful and self.kind == "server" and self.probes < FREE_PROBES:
            return self.probed_at
        if unaffected and self.doubtful and not self.probes:
            return self.since + FIRST_PROBE
        first = SECOND_PROBE if unaffected and self.doubtful else LAST_CHANCE
        return self.probed_at + min(max((self.probed_at - self.since) / PROBE_SPACING, first), PROBE_CAP)

    def verify_delay(self) -> float:
        """Return the seconds for which a hint is trusted; twice as long after each verification."""
        return min(math.ldexp(VERIFY_AFTER, self.verifications), VERIFY_CAP)

    def probe_failed(self, now: float) -> None:
        """End the probe lease without success; the next probe comes later."""
        self.probe = None
        if self.until > now:
            self.verifications = min(self.verifications + 1, MAX_LEVEL)
            self.probes, self.probed_at = min(self.probes + 1, MAX_LEVEL), now
            self.verify_at = max(now + self.verify_delay(), min(self.verify_at, self.until))

    def count_failure(self, penalty: Penalty, kind: OutcomeKind, now: float) -> int:
        """Count a failure; return how many count. A penalty that was applied needs no new ones until it is over."""
        applied = self.until != NEVER and self.kind == kind
        times = [at for at in self.failures.get(kind, ()) if applied or now - at <= penalty.within]
        if not times or abs(now - times[-1]) >= penalty.spacing:  # a clock may be set back
            times.append(now)
        self.failures[kind] = tuple(times[-penalty.failures :])
        return len(self.failures[kind])

    def backoff(self, penalty: Penalty, kind: OutcomeKind, now: float) -> float:
        """Return the seconds to cool down. A burst of equal answers is one event: the level rises once."""
        level = self.levels.get(kind, 0)
        if level and self.until > now:
            level -= 1
        else:
            quiet = max(now - max(self.level_at, self.until), 0.0)
            level = max(level - int(quiet // LEVEL_DECAY), 0) if level else 0
            self.levels[kind], self.level_at = min(level + 1, MAX_LEVEL), now
        return min(penalty.first * penalty.factor**level, penalty.cap)

    def extend(self, until: float, outcome: Outcome, now: float, *, hinted: bool, strict: bool, doubtful: bool) -> None:
        """Let it last until the later time *until*, for *outcome*."""
        before = min(self.until, self.verify_at) if self.until > now else now
        if self.until <= now:
            self.since, self.probes, self.probed_at, self.doubtful = now, 0, now, doubtful
        self.kind, self.until, self.hinted, self.strict, self.probe = outcome.kind, until, hinted, strict, None
        self.set_at, self.doubtful, self.outcome = now, self.doubtful and doubtful, outcome
        trusted = max(now + self.verify_delay(), before)
        self.verify_at = trusted if hinted and not strict and trusted < until else float("inf")

    def adopt(self, told: SharedCooldown, now: float) -> None:
        """Last as long as another instance was told."""
        self.kind, self.outcome, self.until = told.kind, None, told.until
        self.verify_at, self.set_at = told.verify_at, told.at
        self.since, self.probe, self.hinted, self.doubtful = now, None, True, False
        self.probes, self.probed_at = 0, now
        self.changes += 1

    def began_with(self, other: Cooldown) -> bool:
        """Whether both are for one fault of one upstream, and began together."""
        same = (self.kind, self.upstream) == (other.kind, other.upstream)
        return same and abs(self.since - other.since) <= TOGETHER

    def shift(self, seconds: float) -> None:
        """Move all times; infinite ones stay."""
        for name in ("until", "since", "set_at", "verify_at", "probed_at", "probe_until", "level_at"):
            setattr(self, name, getattr(self, name) + seconds)
        self.failures = {kind: tuple(at + seconds for at in times) for kind, times in self.failures.items()}
        self.changes += 1

    def copy(self) -> Cooldown:
        """Return a copy that shares nothing with it."""
        return replace(self, levels=dict(self.levels), failures=dict(self.failures))

    def restore(self, other: Cooldown) -> None:
        """Become what *other* is; a probe that runs goes on."""
        copy = other.copy()
        for each in fields(Cooldown):
            if each.name not in ("probe", "probe_until"):
                setattr(self, each.name, getattr(copy, each.name))


Cooldowns = dict[Blocked, Cooldown]


def pause(until: float, now: float) -> Cooldown:
    """Return the cooldown that a user imposes until that time: no request probes it earlier."""
    return Cooldown("paused", until=until, since=now, set_at=now, hinted=True, strict=True)


def applied(
    cooldowns: Callable[[], Cooldowns],
    penalty: Penalty,
    outcome: Outcome,
    now: float,
    until: float | None,
    *,
    strict: bool,
    doubtful: bool,
    upstream: str = "",
) -> Callable[[], bool]:
    """
    Apply *penalty* to the *cooldowns* it belongs to; return the function that takes it back.

    *until* is the time that the outcome states, if it states one. The function returns False when something happened
    since, and then changes nothing.
    """
    cooldown = cooldowns().setdefault(penalty.state, Cooldown(outcome.kind))
    before, changes = cooldown.copy(), cooldown.changes + 1

    def undo() -> bool:
        found = cooldowns()
        if found.get(penalty.state) is not cooldown or cooldown.changes != changes:
            return False
        cooldown.restore(before)
        if cooldown.until == NEVER and not cooldown.failures and not cooldown.levels:
            del found[penalty.state]
        return True

    cooldown.changes, cooldown.upstream = changes, upstream
    if cooldown.count_failure(penalty, outcome.kind, now) >= penalty.failures:
        end = now + cooldown.backoff(penalty, outcome.kind, now) if until is None else until
        if end > cooldown.until:
            cooldown.extend(end, outcome, now, hinted=until is not None, strict=strict, doubtful=doubtful)
    return undo


def to_share(account: str, lane: str | None, cooldowns: Cooldowns, now: float) -> Iterator[SharedCooldown]:
    """Yield those *cooldowns* of an account or lane that other instances should know."""
    for state, each in cooldowns.items():
        if state in SHARED and each.until > now:
            yield SharedCooldown(account, lane, state, each.kind, each.until, each.verify_at, each.set_at)
