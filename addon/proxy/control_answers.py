"""
What a running proxy tells of itself over its control socket, in JSON.

Every member has a default: the command line may be of another release than the proxy.
"""

from __future__ import annotations

import msgspec


class TokenTotals(msgspec.Struct, frozen=True):
    """Tokens as the providers counted them. *input* includes *cached*."""

    input: int = 0
    cached: int = 0
    output: int = 0


class Totals(msgspec.Struct, frozen=True):
    """
    Counts since the start. *failed* exchanges ended with an error; *moved* ones were answered by another account than
    their conversation's home. The opening of a WebSocket is no exchange. *refused* requests became no exchange.
    *accounts* counts the exchanges whose account was reached, *account_tokens* what they used. *last_failure* says why
    the last one failed or was refused (empty: none).
    """

    exchanges: int = 0
    failed: int = 0
    moved: int = 0
    tokens: TokenTotals = TokenTotals()
    accounts: dict[str, int] = {}
    verdicts: dict[str, int] = {}
    refused: int = 0
    last_failure: str = ""
    account_tokens: dict[str, TokenTotals] = {}


class ProxyStatus(msgspec.Struct, frozen=True):
    """
    The answer to `status`. *addresses* are those that clients use, and *kinds* what each is to them, in the same order.

    A kind is `base` (in the place of a provider), `proxy` (an HTTP proxy) or empty. *in_flight* counts exchanges.
    *store_fault* says why the store cannot be used (empty: it can). *trusted_ca* and *trusted_confdir* hold the CAs by
    which providers are trusted (empty: none, or not told).
    """

    pid: int = 0
    version: str = ""
    addresses: list[str] = []
    kinds: list[str] = []
    in_flight: int = 0
    mode: str = "serve"
    uptime_seconds: float = 0.0
    totals: Totals = Totals()
    store_fault: str = ""
    trusted_ca: str = ""
    trusted_confdir: str = ""


class LaneShown(msgspec.Struct, frozen=True):
    """An account for one model. *until*: when it may be used next."""

    model: str = ""
    state: str = ""
    reason: str = ""
    until: float | None = None


class AccountShown(msgspec.Struct, frozen=True):
    """
    How an account stands. *reason*: why it is not used, in words; *until*: to which time (None: it is used).

    *queue* requests wait for it. *rpm_used* and *tpm_used* are the used parts of the limits *rpm* and *tpm* (0: none).
    *sessions* have it as their home; *exchanges* were served by it since the start, and used *tokens*.
    """

    account: str = ""
    provider: str = ""
    state: str = ""
    reason: str = ""
    until: float | None = None
    in_flight: int = 0
    queue: int = 0
    rpm_used: float = 0.0
    rpm: int = 0
    tpm_used: float = 0.0
    tpm: int = 0
    sessions: int = 0
    exchanges: int = 0
    tokens: TokenTotals = TokenTotals()
    lanes: list[LaneShown] = []


class ExchangeShown(msgspec.Struct, frozen=True):
    """The last exchange of the conversation *session*: what happened, as rows of a label and its text."""

    session: str = ""
    time: float = 0.0
    request_id: str = ""
    rows: list[tuple[str, str]] = []


class MoveShown(msgspec.Struct, frozen=True):
    """A change of the account that answers a conversation, at *time*."""

    time: float = 0.0
    origin: str = ""
    account: str = ""
    reason: str = ""


class SessionShown(msgspec.Struct, frozen=True):
    """
    A conversation. *home* is the account it is bound to (empty: none), *account* the one that answered last.

    *turns* are the client's calls of a model that were answered, *failed* those without a whole answer; replays count
    as neither. *moved* answers came from another account than the home; *moves* are the changes of the answering
    account, returns included.

    Without an exchange since the start, all but *name*, *session*, *home* and *last* have their defaults.
    """

    name: str = ""
    session: str = ""
    tool: str = ""
    client: str = ""
    home: str = ""
    account: str = ""
    model: str = ""
    turns: int = 0
    tokens: TokenTotals = TokenTotals()
    first: float = 0.0
    last: float = 0.0
    verdict: str = ""
    moves: list[MoveShown] = []
    failed: int = 0
    moved: int = 0
