"""What a request must be able to hold of an account before it goes there, as its settings say."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ..values.account import Account
from .limiter import Limit

MINUTE = 60.0


@dataclass(frozen=True, slots=True)
class Wish:
    """Of a request what its claims depend on. *client* is the scope of who asks, *lane* the model it is for."""

    pool: str
    client: bytes
    thread: str
    lane: str
    tokens: int


def is_bounded(account: Account) -> bool:
    """Whether a request may need anything of *account*; most have no bounds, and every request looks at every one."""
    at_once = account.max_concurrent or account.slots or account.serialize != "none"
    return bool(at_once or account.rpm or account.tpm)


def claims(account: Account, wish: Wish) -> tuple[Limit, ...]:
    """Return what a request of this *wish* needs of *account*."""
    return tuple(_claims(account, wish))


def _claims(account: Account, wish: Wish) -> Iterator[Limit]:
    client, at_once = wish.client.hex(), account.max_concurrent
    if at_once:
        yield Limit(("account", account.id), at_once, f"busy ({at_once} at once)")
    match account.serialize:
        case "account":
            yield Limit(("serial", account.id), 1, "busy (one request at a time)")
        case "thread" if wish.thread:
            yield Limit(("thread", wish.pool, client, wish.thread), 1, "busy with this thread")
        case "model_switch":
            why = "busy with another model for this client"
            yield Limit(("model", account.id, client), 1, why, tenant=wish.lane)
        case _:
            pass
    if account.slots:
        scope = ("slot", account.id, client, wish.lane)
        yield Limit(scope, account.slots, f"busy ({account.slots} sessions for this client and model)", numbered=True)
    if account.rpm:
        yield Limit(("rpm", account.id), account.rpm, f"at its limit ({account.rpm} requests a minute)", window=MINUTE)
    if account.tpm:
        why = f"at its limit ({account.tpm} tokens a minute)"
        yield Limit(("tpm", account.id), account.tpm, why, amount=max(wish.tokens, 1), window=MINUTE)
