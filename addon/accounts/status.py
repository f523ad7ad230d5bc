"""How every account and lane stands, for display."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

from ..frozen import dataclass
from ..values.account import Account
from .account_limits import RPM, TPM
from .bindings import Bindings
from .health import Health
from .limiter import Limiter

# What a user is told of a state, which programs know by its name: an account is ready, or it rests for some cause.
STATE_WORDS: Mapping[str, str] = MappingProxyType({
    "healthy": "ready", "throttled": "ready", "half-open": "ready", "cooling": "rests", "paused": "rests",
    "unsupported": "rests", "forbidden": "rests", "auth-failed": "rests", "billing-blocked": "rests",
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class LaneStatus:
    """The state of one lane. *until*: when it may be used next; *deadline*: when its cooldown ends."""

    lane: str
    state: str
    reason: str
    until: float | None
    deadline: float | None


@dataclass(frozen=True, slots=True)
class AccountStatus:
    """
    The state of an account, which is that of its worst lane. *until* and *deadline* as in `LaneStatus`.

    *busiest* is the affinity that uses it most, *share* its part of the uses, 0 to 1. *waiting* counts the requests in
    the queue for it; *minute* and *tokens* are the used parts of its `rpm` and `tpm`. *lanes* are the known ones.
    """

    account: str
    provider: str
    state: str
    reason: str
    until: float | None
    in_flight: int
    sessions: int
    busiest: str
    share: float
    deadline: float | None
    waiting: int
    minute: float
    tokens: float
    lanes: tuple[LaneStatus, ...]


def status(
    accounts: Iterable[Account],
    draining: Mapping[str, Account],
    in_flight: Mapping[str, int],
    health: Health,
    bindings: Bindings,
    limiter: Limiter,
    now: float,
) -> list[AccountStatus]:
    """Return the state of *accounts* and then of *draining*, those that are gone from the settings but still answer."""
    bindings.expire(now, len(bindings))
    busiest = bindings.busiest()

    def one(account: Account) -> AccountStatus:
        lane = health.worst_lane(account.id, now)
        out = "draining" if account.id in draining else "" if account.enabled else "disabled"
        return AccountStatus(
            account.id,
            account.provider.name,
            out or health.state(account.id, lane, now),
            ("by a command" if account.switched_off else "")
            if out
            else " on ".join(filter(None, (health.reason(account.id, lane, now), lane))),
            health.usable_at(account.id, lane, now),
            in_flight.get(account.id, 0),
            bindings.sessions(account.id),
            *busiest.get(account.id, ("", 0.0)),
            health.deadline(account.id, lane, now),
            limiter.waiting_for(account.id),
            limiter.used((RPM, account.id)),
            limiter.used((TPM, account.id)),
            tuple(_of_lane(health, account.id, lane, now) for lane in health.lanes(account.id)),
        )

    return [one(account) for account in (*accounts, *draining.values())]


def _of_lane(health: Health, account: str, lane: str, now: float) -> LaneStatus:
    state, reason = health.state(account, lane, now), health.reason(account, lane, now)
    return LaneStatus(lane, state, reason, health.usable_at(account, lane, now), health.deadline(account, lane, now))
