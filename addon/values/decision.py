"""What is decided about an exchange: identity, route, outcome, findings, verdict, and the record of it all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from .account import Account, OutcomeKind
from .answer import Usage
from .http import Origin

VerdictKind = Literal["clean", "suspect", "crosstalk", "unverifiable"]


Strength = Literal["exact", "derived", "guess"]


@dataclass(frozen=True, slots=True)
class Evidence:
    """One signal that was found: its tier, where it stood, and whether it was used or why it was not."""

    tier: str
    where: str
    used: bool = True
    why: str = ""
    value: str = field(default="", repr=False)  # the raw id; for `explain`, never for a log


@dataclass(frozen=True, slots=True)
class Identity:
    """
    Whose conversation a request belongs to.

    *owner*: ids of the accounts an account-bound resource allows (None: no constraint). *affinity*: what picks the
    account, 32 hex characters (empty: nothing to hold on to). *thread*: one message history, the same form. *began*: of
    a first turn, what it begins under: its opening, its name, a common id. *near*: the account where the last one began
    that began alike.
    """

    affinity: str = ""
    thread: str = ""
    owner: frozenset[str] | None = None
    tier: str = ""
    strength: Strength = "guess"
    value: str = field(default="", repr=False)  # the raw id the tier found, if it found one
    binds: bool = True  # False: a side call, which may follow a binding but never makes or moves one
    evidence: tuple[Evidence, ...] = ()
    home: str = ""  # the account that gave the answer this request quotes: where an affinity without a binding is warm
    began: tuple[str, ...] = ()
    near: str = ""


@dataclass(frozen=True, slots=True)
class Edit:
    """Changes for one attempt, against what the client sent. A header value of None takes the header off."""

    headers: tuple[tuple[str, str | None], ...] = ()
    path: str = ""
    body: Mapping[str, object] = field(default_factory=dict)  # dotted member path → JSON value


@dataclass(frozen=True, slots=True)
class Route:
    """The decision for one attempt. The credential is named by its account; its value is put in at the wire."""

    account: Account
    origin: Origin
    request_id: str
    session_id: str
    attempt: int
    edit: Edit
    body: bytes | None = None  # what goes up in place of the client's body; None: the client's own bytes
    binding: str = "none"  # hit | new | reselected | inherited | none
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing is free now; ask again at *until* (the clock's seconds) or earlier when something was released."""

    until: float
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Refusal:
    """
    An answer of ours. *code* is a stable word for programs, *message* a sentence for people.

    *fields* go beside them inside the error object; *retry_after* is in seconds. *final*: the same request will not
    be served in the next minutes, so a client that tries again by itself only keeps its user waiting. *lasts* is the
    time in seconds until the cause is expected to end; Patchbay probes earlier, after *retry_after*.
    """

    status: int
    code: str
    message: str
    retry_after: float | None = None
    fields: Mapping[str, object] = field(default_factory=dict)
    final: bool = False
    lasts: float | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """
    What an answer says about its account. *until* is the time before which the account asks not to be used.

    *certain*: a code or the status says it, and no words alone. *bare*: nothing but the status, so that it may be about
    this one request. *said* is what went wrong, in words for people, where no answer came.
    """

    kind: OutcomeKind
    until: float | None = None
    scope: Literal["lane", "account", "none"] = "lane"
    detail: str = ""
    certain: bool = field(default=False, compare=False)
    bare: bool = field(default=False, compare=False)
    said: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Finding:
    """
    What one detector saw.

    *strength*: proof | strong | weak. *victim* is the exchange whose answer this is, or `unknown`. *disputed*: that one
    and this one got the same answer at the same time, and which of them it belongs to cannot be known.
    """

    detector: str
    family: str
    strength: Literal["proof", "strong", "weak"]
    where: str
    expected: str
    received: str
    victim: str = "unknown"
    disputed: bool = False


@dataclass(frozen=True, slots=True)
class Verdict:
    """What all findings about one answer amount to. *echo* is where our id came back, if it did."""

    kind: VerdictKind
    findings: tuple[Finding, ...] = ()
    echo: str = ""
    victim: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True)
class Tried:
    """One attempt, as a decision records it."""

    account: str
    request_id: str
    status: int | None
    outcome: str
    seconds: float
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Candidate:
    """One account that was considered, and why it was not taken (empty for the one that was)."""

    account: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Decision:
    """Everything that was decided about one exchange; the journal, the flow's comment and `explain` render it."""

    exchange: str
    time: float
    client: str
    method: str
    path: str
    dialect: str
    endpoint: str
    model: str
    stream: bool
    pool: str
    identity: Identity
    binding: str
    account: str
    provider: str
    request_id: str
    client_request_id: str
    session_id: str
    candidates: tuple[Candidate, ...]
    attempts: tuple[Tried, ...]
    status: int | None
    event_type: str
    error: str
    duration: float
    first_byte: float | None
    usage: Usage | None
    in_flight: int
    verdict: Verdict
    mode: str = "serve"  # shadow: nothing of it was carried out
