"""What we say when no account can serve: which cause, when to come back, never that a client's own key were bad."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ..values import Refusal

_MAX_NAME = 256


@dataclass(frozen=True, slots=True)
class Absent:
    """
    One account that would serve the model but cannot now.

    *cooling* tells one that comes back by itself from one that needs somebody. *chance* is when a request may go there
    next, *deadline* when it is well as far as we were told; None when nobody knows.
    """

    provider: str
    cooling: bool
    chance: float | None = None
    deadline: float | None = None


def none_left(model: str, absent: Sequence[Absent], now: float) -> Refusal:
    """Refuse because of *absent*, all the accounts that serve *model*; there may be none at all."""
    if not absent:
        return Refusal(503, "auth_not_found", f"No credential here serves {_named(model)}")
    if all(each.cooling for each in absent):
        return _cooling(model, absent, now)
    message = f"No credential for {_named(model)} can be used now, for different reasons"
    return Refusal(503, "auth_unavailable", message, _wait(absent, now), _fields(model, absent))


def owner_unavailable(absent: Sequence[Absent], now: float) -> Refusal:
    """Refuse because the request names something that only the *absent* accounts have; none: they are not here."""
    if not absent:
        message = "This request names something that belongs to an account which is not in this pool"
        return Refusal(503, "owner_unavailable", message)
    wait = _wait(absent, now)
    message = "This request names something that belongs to an account which cannot be used now"
    return Refusal(503, "owner_unavailable", message, wait)


def unreadable(why: str) -> Refusal:
    """Refuse because every account serves some models only, and which the request asks for cannot be read: *why*."""
    message = f"Every account here serves some models only, and which this request asks for cannot be read: {why}"
    return Refusal(403, "model_not_allowed", message)


def account_unknown(account: str) -> Refusal:
    """Refuse because a request asks for an *account* by name that is not one of its pool."""
    return Refusal(400, "account_unknown", f"There is no account {account[:_MAX_NAME]!r} for this request")


def queue_full(limit: int) -> Refusal:
    """Refuse because as many wait already as may."""
    return Refusal(503, "queue_full", f"All accounts are busy, and {limit} requests wait already", 1.0)


def duration(seconds: int) -> str:
    """Write *seconds* the way Go does, and hence most of this field: `1h2m5s`."""
    hours, rest = divmod(max(seconds, 0), 3600)
    minutes, seconds = divmod(rest, 60)
    if hours:
        return f"{hours}h{minutes}m{seconds}s"
    return f"{minutes}m{seconds}s" if minutes else f"{seconds}s"


def _cooling(model: str, absent: Sequence[Absent], now: float) -> Refusal:
    back = min((each.deadline for each in absent if each.deadline is not None), default=now)
    seconds = max(math.ceil(back - now), 0)
    fields = _fields(model, absent)
    via = f" via provider {fields['provider']}" if "provider" in fields else ""
    return Refusal(
        429,
        "model_cooldown",
        f"All credentials for {_named(model)} are cooling down{via}",
        _wait(absent, now),
        {**fields, "reset_time": duration(seconds), "reset_seconds": seconds},
    )


def _wait(absent: Sequence[Absent], now: float) -> float | None:
    chances = [each.chance for each in absent if each.chance is not None]
    return max(min(chances) - now, 0.0) if chances else None


def _fields(model: str, absent: Sequence[Absent]) -> dict[str, object]:
    fields: dict[str, object] = {"model": model[:_MAX_NAME]} if model else {}
    providers = {each.provider for each in absent}
    if len(providers) == 1:
        fields["provider"] = providers.pop()
    return fields


def _named(model: str) -> str:
    return f"model {model[:_MAX_NAME]}" if model else "this request"
