"""Which accounts of the pool could serve a request now, and why the others cannot."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal

from .. import upstream_url
from ..values.account import Account, Provider
from ..values.http import Origin
from . import models, refusals
from .absent import Absent, Cause
from .account_limits import Demand, is_limited, limits_of
from .cooldown import TRANSIENT
from .health import Health
from .lease import Ask
from .limiter import Limit, Limiter, Scope

Obstacle = Literal["", "disabled", "model", "owner", "resting", "probed", "tried", "busy"]


@dataclass(frozen=True, slots=True)
class Option:
    """An account of the pool, for one request. *obstacle* and *reason* say why it cannot serve; empty: it can."""

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
    """The *accounts* of the settings, seen with their health and limits."""

    def __init__(self, accounts: Sequence[Account], health: Health, limiter: Limiter) -> None:
        self.accounts = accounts
        self._health = health
        self._limiter = limiter

    def options(self, ask: Ask, now: float) -> list[Option]:
        """Return the pool of *ask*."""
        found = ((account, self.origin(ask, account)) for account in self.accounts)
        return [self.option(ask, account, origin, now) for account, origin in found if origin is not None]

    def origin(self, ask: Ask, account: Account) -> Origin | None:
        """
        Return the origin that the credential of *account* is for; None when it is not in the pool of *ask*.

        An account without an origin of its own goes to the reverse upstream and nowhere else, least of all to an
        address that a client chose.
        """
        origin = account.origin or ask.reverse
        if origin is None or (ask.family and ask.family not in account.provider.families):
            return None
        if not ask.client.may_use(account.provider.name):  # for this client the account does not exist
            return None
        if not upstream_url.takes(account, ask.path) or not _has(account.provider, ask.endpoint):
            return None
        return origin if ask.destination is None or ask.destination == origin else None

    def serves(self, family: str, destination: Origin | None, reverse: Origin | None, path: str = "") -> bool:
        """Whether any enabled account is in the pool of *family* (empty: any) at *destination*, as in `Ask`."""
        return any(
            account.enabled
            and (origin := account.origin or reverse) is not None
            and (not family or family in account.provider.families)
            and upstream_url.takes(account, path)
            and (destination is None or destination == origin)
            for account in self.accounts
        )

    def option(self, ask: Ask, account: Account, origin: Origin, now: float) -> Option:
        """Return *account* as *ask* finds it now."""
        lane = models.lane(account, ask.model)
        obstacle, reason = self._obstacle(ask, account, lane, now)
        limit = None if obstacle else self.reached(ask, account, lane, now)
        if limit is not None:
            return Option(account, origin, lane, "busy", limit.why, limit)
        return Option(account, origin, lane, obstacle, reason)

    def reached(self, ask: Ask, account: Account, lane: str, now: float) -> Limit | None:
        """Return a limit of *account* that leaves no room for *ask*."""
        return self._limiter.obstacle(self.limits(ask, account, lane), now, ask.waiter, ask.party)

    def limits(self, ask: Ask, account: Account, lane: str) -> tuple[Limit, ...]:
        """Return the limits that *ask* comes under at *account*."""
        if ask.opens or not is_limited(account):
            return ()
        return limits_of(account, Demand(ask.pool, ask.client.scope, ask.identity.thread, lane, ask.tokens))

    def willing(self, ask: Ask, eligible: Sequence[Account], now: float) -> Sequence[Account]:
        """Return those of *eligible* that did not refuse this conversation lately."""
        faults = self._health.own_faults(ask.conversation, now)
        refused = self._health.refused_by(ask.conversation, now)
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
        if account in ask.tried or self._health.state(account, lane, now) != "cooling":
            return False
        return now < (self._health.usable_at(account, lane, now) or now) <= ask.preferred_until

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

    def _obstacle(self, ask: Ask, account: Account, lane: str, now: float) -> tuple[Obstacle, str]:
        if not account.enabled:
            return "disabled", "disabled by a command" if account.switched_off else "disabled"
        if not (models.serves(account, ask.model) and all(models.serves(account, model) for model in ask.others)):
            return "model", "does not serve the model"
        if ask.unreadable and models.restricts(account):
            return "model", "serves some models only, and which this request asks for cannot be read"
        if ask.identity.owner is not None and account.id not in ask.identity.owner:
            return "owner", "the request belongs to another account"
        if account.id == ask.retry_home and self._health.may_probe_after_wait(account.id, lane, now):
            return "", ""
        if reason := self._health.reason(account.id, lane, now):
            if account.id in ask.tried:
                return "resting", reason
            if self._health.may_probe_doubtful(ask.conversation, account.id, lane, now):
                return "", ""
            return ("probed" if self._health.is_probed(account.id, lane, now) else "resting"), reason
        if account.id in ask.tried:
            return "tried", "tried in this exchange"
        return "", ""
