"""The limits that the settings of an account put on a request: concurrency, order, slots, and rates."""

from __future__ import annotations

from collections.abc import Iterator

from ..frozen import dataclass
from ..values.account import Account
from .limiter import Limit

MINUTE = 60.0
RPM, TPM = "rpm", "tpm"  # scopes that the status shows


@dataclass(frozen=True, slots=True)
class Demand:
    """What the limits of a request depend on. *client* is its client's scope, *lane* the model it is for."""

    pool: str
    client: bytes
    thread: str
    lane: str
    tokens: int


def is_limited(account: Account) -> bool:
    """Whether the settings limit *account* at all: a quick answer for the many that have no limits."""
    at_once = account.max_concurrent or account.slots or account.serialize != "none"
    return bool(at_once or account.rpm or account.tpm)


def limits_of(account: Account, demand: Demand) -> tuple[Limit, ...]:
    """Return the limits of *account* that a request with this *demand* comes under."""
    return tuple(_limits_of(account, demand))


def _limits_of(account: Account, demand: Demand) -> Iterator[Limit]:
    client, at_once = demand.client.hex(), account.max_concurrent
    if at_once:
        yield Limit(("account", account.id), at_once, f"busy ({at_once} at once)")
    match account.serialize:
        case "account":
            yield Limit(("serial", account.id), 1, "busy (one request at a time)")
        case "thread" if demand.thread:
            yield Limit(("thread", demand.pool, client, demand.thread), 1, "busy with this thread")
        case "model_switch":
            why = "busy with another model for this client"
            yield Limit(("model", account.id, client), 1, why, tenant=demand.lane)
        case _:
            pass
    if account.slots:
        scope = ("slot", account.id, client, demand.lane)
        yield Limit(scope, account.slots, f"busy ({account.slots} sessions for this client and model)", numbered=True)
    if account.rpm:
        yield Limit((RPM, account.id), account.rpm, f"at its limit ({account.rpm} requests a minute)", window=MINUTE)
    if account.tpm:
        why = f"at its limit ({account.tpm} tokens a minute)"
        amount = max(demand.tokens, 1)
        yield Limit((TPM, account.id), account.tpm, why, amount, window=MINUTE, counts_tokens=True)
