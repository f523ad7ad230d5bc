"""Which accounts of the pool could serve a request now, and why the others cannot."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Literal

from .. import upstream_url
from ..bounded import BoundedMap
from ..frozen import dataclass
from ..values.account import Account, Provider
from ..values.decision import Identity
from ..values.http import Client, Origin
from . import models, refusals
from .absent import Absent, Cause
from .account_limits import Demand, is_limited, limits_of
from .cooldown import TRANSIENT
from .health import Health
from .lease import Ask
from .limiter import Limit, Limiter, Scope

MAX_POOLS = 64  # pools that are remembered, each for one model
_MAX_NAMES = 1024  # characters of what a client names, in a pool that is remembered
Obstacle = Literal["", "disabled", "model", "owner", "resting", "probed", "tried", "busy"]


@dataclass(frozen=True, slots=True)
class Option:
    """An account of the pool, for one request. *obstacle*: why it cannot serve; *reason*: in words, unless it rests."""

    account: Account
    origin: Origin
    lane: str
    obstacle: Obstacle = ""
    reason: str = ""
    limit: Limit | None = None  # the limit that is reached, where it is busy

    @property
    def awaited(self) -> tuple[Scope, str | None]:
        """What to queue for, and as which tenant."""
        return (self.limit.scope, self.limit.tenant) if self.limit else (probe_scope(self.account.id), None)


def _has(provider: Provider, endpoint: str) -> bool:
    """Whether *provider* has *endpoint* of its dialects (empty: the request is of none)."""
    return not (endpoint and provider.endpoints) or any(fnmatchcase(endpoint, each) for each in provider.endpoints)


def probe_scope(account: str) -> Scope:
    """Name what requests queue for that wait for the probe of *account*."""
    return ("probe", account)


class Eligibility:
    """The *accounts* of the settings, seen with their health and limits: a look at a pool costs what these know of."""

    def __init__(self, accounts: Sequence[Account], health: Health, limiter: Limiter) -> None:
        self.accounts = accounts
        self._health = health
        self._limiter = limiter
        self._pools: BoundedMap[tuple[object, ...], list[Option]] = BoundedMap(MAX_POOLS)
        self._known_to_serve = lru_cache(MAX_POOLS)(self._serves)

    def options(self, ask: Ask, now: float) -> list[Option]:
        """Return the pool of *ask*."""
        pool, used = self._pool(ask), self._limiter.in_use()
        if ask.identity.owner is not None or ask.pool in used:  # `serialize: thread` holds in the whole pool
            return [self._now(ask, each, now) for each in pool]
        known = self._health.troubled() | ask.tried | used
        return [self._now(ask, each, now) if each.account.id in known else each for each in pool]

    def origin(self, ask: Ask, account: Account) -> Origin | None:
        """
        Return the origin that the credential of *account* is for; None when it is not in the pool of *ask*.

        An account without an origin of its own goes to the reverse upstream and nowhere else, least of all to an
        address that a client chose.
        """
        origin = account.origin or ask.reverse
        if origin is None or ask.destination not in (None, origin):
            return None
        if ask.family and ask.family not in account.provider.families:
            return None
        if not ask.client.may_use(account.provider.name):  # for this client the account does not exist
            return None
        takes = upstream_url.takes(account, ask.path) and _has(account.provider, ask.endpoint)
        return origin if takes else None

    def serves(self, family: str, destination: Origin | None, reverse: Origin | None, path: str = "") -> bool:
        """Whether any enabled account is in the pool of *family* (empty: any) at *destination*, as in `Ask`."""
        return (self._serves if path else self._known_to_serve)(family, destination, reverse, path)

    def _serves(self, family: str, destination: Origin | None, reverse: Origin | None, path: str) -> bool:
        pool = self._pool(Ask(family, destination, reverse, "", Identity(), Client(), path=path))
        return any(not option.obstacle for option in pool)

    def option(self, ask: Ask, account: Account, origin: Origin, now: float) -> Option:
        """Return *account* as *ask* finds it now."""
        return self._now(ask, _by_settings(ask, account, origin), now)

    def reached(self, ask: Ask, account: Account, lane: str, now: float) -> Limit | None:
        """Return a limit of *account* that leaves no room for *ask*."""
        limits = self.limits(ask, account, lane)
        return self._limiter.obstacle(limits, now, ask.waiter, ask.party) if limits else None

    def limits(self, ask: Ask, account: Account, lane: str) -> tuple[Limit, ...]:
        """Return the limits that *ask* comes under at *account*."""
        if ask.opens or not is_limited(account):
            return ()
        return limits_of(account, Demand(ask.pool, ask.client.scope, ask.identity.thread, lane, ask.tokens))

    def willing(self, ask: Ask, eligible: Sequence[Account], now: float) -> Sequence[Account]:
        """Return those of *eligible* that did not refuse this conversation lately."""
        conversation = ask.conversation
        faults = self._health.own_faults(conversation, now)
        refused = self._health.refused_by(conversation, now)
        if not faults and not refused:
            return eligible
        return [
            one
            for one in eligible
            if one.id == ask.retry_home
            or (one.id not in faults and (one.id, models.lane(one, ask.model)) not in refused)
        ]

    def free_at(self, option: Option, now: float) -> float | None:
        """Return when time alone may free *option*."""
        if option.limit is not None:
            return self._limiter.free_at(option.limit, now)
        return self._health.usable_at(option.account.id, option.lane, now)

    def is_soon(self, ask: Ask, option: Option, now: float) -> bool:
        """Whether the cooldown of *option* ends so soon that waiting is better than a refusal."""
        account, lane = option.account.id, option.lane
        if account in ask.tried or not now < (self._health.usable_at(account, lane, now) or now) <= ask.preferred_until:
            return False
        return self._health.state(account, lane, now) == "cooling"

    def absent(self, ask: Ask, option: Option, now: float) -> Absent:
        """Return why *option* cannot serve and until when, for a message."""
        account, lane, provider = option.account.id, option.lane, option.account.provider.name
        if option.obstacle == "disabled":
            off: Cause = "switched_off" if option.account.switched_off else "disabled"
            return Absent(account, provider, off, option.reason)
        if upstream_url.is_anywhere(option.origin):
            return Absent(account, provider, "no_upstream")
        if option.limit is not None:  # a slot may be released at any moment
            return Absent(account, provider, "busy", option.reason, chance=self.free_at(option, now) or now)
        blocking = self._health.blocking(account, lane, now)
        if blocking is None:
            outcome = ask.ended.get(account)
            cause, detail = refusals.cause_of(outcome)
            soon = outcome is not None and outcome.kind in TRANSIENT  # the next request may go there at once
            return Absent(account, provider, cause, detail, chance=now if soon else None)
        cooldown = blocking[1]
        cause, detail = refusals.cause_of_cooldown(cooldown.kind, cooldown.outcome)
        chance, deadline = self._health.usable_at(account, lane, now), self._health.deadline(account, lane, now)
        if not cooldown.hinted:  # no provider stated the end: the next probe is the best that is known
            probe = self._health.next_probe(account, lane, now)
            chance = probe if chance is None else min(chance, probe)
        return Absent(account, provider, cause, detail, cooldown.hinted, chance, deadline)

    def all_absent(self, ask: Ask, now: float) -> Iterator[Absent]:
        """Yield why each account that serves the model of *ask* cannot serve now."""
        for option in self.options(ask, now):
            meant = not ask.pin or option.account.id == ask.pin
            if meant and option.obstacle not in ("", "model", "owner", "disabled"):
                yield self.absent(ask, option, now)

    def _pool(self, ask: Ask) -> list[Option]:
        """Return the pool of *ask* as the settings alone have it."""
        names = (ask.endpoint, ask.model, *ask.others)
        key = (ask.family, ask.destination, ask.reverse, ask.client.providers, bool(ask.unreadable), names)
        remembered = not ask.path and sum(map(len, names)) <= _MAX_NAMES
        pool = self._pools.use(key) if remembered else None
        if pool is None:
            found = ((account, self.origin(ask, account)) for account in self.accounts)
            pool = [_by_settings(ask, account, origin) for account, origin in found if origin is not None]
            if remembered:
                self._pools[key] = pool
        return pool

    def _now(self, ask: Ask, option: Option, now: float) -> Option:
        """Return *option*, as the settings have it, as *ask* finds it now."""
        account, lane = option.account, option.lane
        obstacle, reason = self._obstacle(ask, option, account.id, now)
        limit = None if obstacle else self.reached(ask, account, lane, now)
        if limit is not None:
            return Option(account, option.origin, lane, "busy", limit.why, limit)
        return Option(account, option.origin, lane, obstacle, reason)

    def _obstacle(self, ask: Ask, option: Option, account: str, now: float) -> tuple[Obstacle, str]:
        lane = option.lane
        if option.obstacle:
            return option.obstacle, option.reason
        if ask.identity.owner is not None and account not in ask.identity.owner:
            return "owner", "the request belongs to another account"
        if account == ask.retry_home and self._health.may_probe_after_wait(account, lane, now):
            return "", ""
        is_open = self._health.available(account, lane, now)
        if account in ask.tried:
            return ("tried", "tried in this exchange") if is_open else ("resting", "")
        if is_open or self._health.may_probe_doubtful(ask.conversation, account, lane, now):
            return "", ""
        return ("probed" if self._health.is_probed(account, lane, now) else "resting"), ""


def _by_settings(ask: Ask, account: Account, origin: Origin) -> Option:
    lane = models.lane(account, ask.model)
    if not account.enabled:
        return Option(account, origin, lane, "disabled", f"disabled{' by a command' * account.switched_off}")
    if not (models.serves(account, ask.model) and all(models.serves(account, model) for model in ask.others)):
        return Option(account, origin, lane, "model", "does not serve the model")
    if ask.unreadable and models.restricts(account):
        why = "serves some models only, and which this request asks for cannot be read"
        return Option(account, origin, lane, "model", why)
    return Option(account, origin, lane)
