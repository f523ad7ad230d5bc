"""The decisions about an exchange: identity, edits, outcome, findings, verdict, and the record of them all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from msgspec import Struct, to_builtins

from .account import OutcomeKind, OutcomeScope
from .answer import Usage

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
    The conversation of a request.

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
    scope: OutcomeScope = "lane"
    detail: str = ""
    certain: bool = field(default=False, compare=False)
    bare: bool = field(default=False, compare=False)
    said: str = field(default="", compare=False)


class Finding(Struct, frozen=True, omit_defaults=True):
    """
    The finding of one detector.

    *strength*: proof | strong | weak. *victim* is the exchange whose answer this is, or `unknown`. *disputed*: that one
    and this one got the same answer at the same time, and which of them it belongs to cannot be known.
    """

    detector: str
    family: str
    strength: Literal["proof", "strong", "weak"]
    where: str
    expected: str
    received: str
    victim: str
    disputed: bool = False


@dataclass(frozen=True, slots=True)
class Verdict:
    """The weighed findings about one answer. *echo* is the place where our id came back, if it did."""

    kind: VerdictKind
    findings: tuple[Finding, ...] = ()
    echo: str = ""
    victim: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True)
class Candidate:
    """One account that was considered, and why it was not taken (empty for the one that was)."""

    account: str
    reason: str = ""


class Tried(Struct, frozen=True):
    """One attempt, as a decision records it."""

    account: str
    request_id: str
    status: int | None
    outcome: str
    seconds: float


class Decision(Struct, frozen=True):
    """
    The decision about one exchange: the members of a journal line, in its order.

    Ids, seeds, times and counts; never contents, never keys. The flow's metadata are the same members, see `encoded`.
    """

    time: float
    event_type: str
    request_id: str
    exchange: str
    client: str
    client_request_id: str
    account: str
    provider: str
    pool: str
    dialect: str
    method: str
    path: str
    model: str
    stream: bool
    status: int | None
    error: str
    duration_seconds: float
    first_byte_seconds: float | None
    tokens: Usage | None
    session: str
    thread: str
    tier: str
    session_id: str
    binding: str
    in_flight: int
    attempts: list[Tried]
    verdict: VerdictKind
    echo: str
    victim: str
    findings: list[Finding]
    mode: str = "serve"  # shadow: nothing of it was carried out

    def encoded(self) -> dict[str, Any]:
        """Return the journal line, as plain types."""
        line: dict[str, Any] = to_builtins(self)
        return line
