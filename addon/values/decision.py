"""The decisions about an exchange: identity, edits, outcome, findings, verdict, and the record of them all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from types import MappingProxyType
from typing import Any, Literal

from msgspec import Struct, to_builtins

from ..frozen import dataclass
from .account import OutcomeKind, OutcomeScope
from .answer import Usage

VerdictKind = Literal["clean", "suspect", "crosstalk", "unverifiable"]
BindingKind = Literal["hit", "new", "reselected", "inherited", "none"]
EvidenceStrength = Literal["exact", "derived", "guess"]

SESSION_NAME_LENGTH = 8
_SWITCHED = 101  # the status of an upgrade to a WebSocket


# What readers see of a binding: what the account of an exchange is to its conversation.
BINDING_WORDS: Mapping[str, str] = MappingProxyType(
    {"hit": "home", "new": "new", "reselected": "moved", "inherited": "inherited", "none": ""}
)


def in_words(binding: str, moved_from: str = "", why: str = "") -> str:
    """Return what readers see of a *binding*, such as `home` or `moved from a: rate limited (429)`; empty: nothing."""
    word = BINDING_WORDS.get(binding, binding)
    because = f": {why}" if why else ""
    return f"moved from {moved_from}{because}" if moved_from else word


def session_name(affinity: str) -> str:
    """Return the short name of a conversation that users see: the begin of its *affinity* (empty: it has none)."""
    return affinity[:SESSION_NAME_LENGTH]


@dataclass(frozen=True, slots=True)
class Placement:
    """
    What the account that answered an exchange is to its conversation.

    `hit`: its home, the account of its binding, or the one that answered its last turn. `reselected`: another one than
    *moved_from*, its home, which did not answer, and *because* says why in words. `new`: it had no home, whatever was
    tried first. `none`: no account answered, or the conversation is not known or chose the account itself.
    """

    binding: BindingKind = "none"
    moved_from: str = ""
    because: str = ""


@dataclass(frozen=True, slots=True)
class Evidence:
    """One signal in a request: its tier and place, and whether it was used or why it was not."""

    tier: str
    where: str
    used: bool = True
    why: str = ""
    value: str = field(default="", repr=False)  # the raw id; for `explain`, never for a log


@dataclass(frozen=True, slots=True)
class Identity:
    """
    The conversation of a request.

    *owner*: ids of the accounts that an account-bound resource allows (None: any). *affinity*: picks the account, 32
    hex characters (empty: no conversation is known). *thread*: one message history, in the same form. *opening_marks*:
    of a first turn, the seeds of its opening, its name and a shared id. *near*: the account of the last conversation
    with an equal opening.
    """

    affinity: str = ""
    thread: str = ""
    owner: frozenset[str] | None = None
    tier: str = ""
    strength: EvidenceStrength = "guess"
    value: str = field(default="", repr=False)  # the raw id of the tier, if there is one
    binds: bool = True  # False: an auxiliary call, which follows a binding but never makes or moves one
    evidence: tuple[Evidence, ...] = ()
    home: str = ""  # the account whose answer this request quotes; used while the affinity has no binding
    opening_marks: tuple[str, ...] = ()
    near: str = ""


@dataclass(frozen=True, slots=True)
class Edit:
    """Changes to the client's request for one attempt. A header value of None removes the header."""

    headers: tuple[tuple[str, str | None], ...] = ()
    path: str = ""
    body: Mapping[str, object] = field(default_factory=dict)  # dotted member path → JSON value


@dataclass(frozen=True, slots=True)
class Wait:
    """No account is free now; ask again at *until* (the clock's seconds), or earlier after a release."""

    until: float
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Refusal:
    """
    Patchbay's own error answer. *code* is a stable word for programs, *message* a sentence for people.

    *fields* are further members of the error object; *retry_after* is in seconds. *final*: the request will fail for
    minutes, so clients are told not to retry by themselves. *lasts*: seconds until the cause is expected to end;
    Patchbay probes earlier, after *retry_after*.
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
    The classification of an answer, as far as its account is concerned. *until*: the end of its stated cooldown.

    *certain*: by a code or the status, not by words alone. *status_only*: by the status alone, so this one request may
    be the cause. *failure*: where no answer came, what went wrong, in words for people.
    """

    kind: OutcomeKind
    until: float | None = None
    scope: OutcomeScope = "lane"
    detail: str = ""
    certain: bool = field(default=False, compare=False)
    status_only: bool = field(default=False, compare=False)
    failure: str = field(default="", compare=False)


class Finding(Struct, frozen=True, omit_defaults=True):
    """
    The finding of one detector.

    *strength*: proof | strong | weak. *victim* is the exchange whose answer this is, or `unknown`; *victim_session* its
    session, where it is known. *disputed*: both exchanges got the same answer at the same time, and its owner cannot be
    determined.
    """

    detector: str
    family: str
    strength: Literal["proof", "strong", "weak"]
    where: str
    expected: str
    received: str
    victim: str
    disputed: bool = False
    victim_session: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The weighed findings about one answer. *echo* is where our id came back: `body`, `header` or empty."""

    kind: VerdictKind
    findings: tuple[Finding, ...] = ()
    echo: str = ""
    victim: str = ""
    note: str = ""


class Amendment(Struct, frozen=True):
    """
    A verdict that changed after the decision was made: the members of a journal line, in order.

    *time* is when it changed, by what the answer to the exchange *by* showed; *was* is the verdict before.
    """

    time: float
    exchange: str
    request_id: str
    session: str
    account: str
    verdict: VerdictKind
    was: VerdictKind
    victim: str
    findings: list[Finding]
    by: str

    def encoded(self) -> dict[str, Any]:
        """Return the amendment, as plain types."""
        told: dict[str, Any] = to_builtins(self)
        return told


@dataclass(frozen=True, slots=True)
class Candidate:
    """One account that was considered, and why it was not chosen (empty for the chosen one)."""

    account: str
    reason: str = ""


class AttemptSummary(Struct, frozen=True):
    """One attempt of a decision."""

    account: str
    request_id: str
    status: int | None
    outcome: str
    seconds: float


class Decision(Struct, frozen=True):
    """
    Everything that was decided about one exchange: the members of a journal line, in order.

    Ids, seeds, times and counts; no contents, no keys. The flow's metadata have the same members.
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
    binding: BindingKind
    in_flight: int  # exchanges of its conversation when it began, itself included
    attempts: list[AttemptSummary]
    verdict: VerdictKind
    echo: str
    victim: str
    findings: list[Finding]
    mode: str = "serve"  # shadow: the decision was not carried out
    tool: str = ""  # the program that sent the request; see `client_tool`
    moved_from: str = ""  # the conversation's home, where another account answered; see `Placement`
    moved_because: str = ""  # … and why it did not, in words

    @property
    def is_handshake(self) -> bool:
        """Whether it opened a WebSocket, whose messages are exchanges of their own."""
        return self.status == _SWITCHED and not self.error

    def encoded(self) -> dict[str, Any]:
        """Return the journal line, as plain types."""
        line: dict[str, Any] = to_builtins(self)
        return line
