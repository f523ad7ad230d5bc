"""One client request with its attempts, and the decision that is made of them when it ends."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from msgspec.structs import replace

from . import client_tool, dialects, given_text
from .accounts.lease import Lease
from .accounts.quoted_text import ClientText
from .answer.reader import AnswerReader
from .body import Body
from .correlation import Stamps
from .crosstalk.attempt_record import AttemptRecord, Moment
from .crosstalk.watch import Watch
from .requested_models import RequestedModels
from .values.answer import Fact, Head, Usage
from .values.decision import (
    AttemptSummary,
    Candidate,
    Decision,
    Finding,
    Identity,
    Outcome,
    Placement,
    Refusal,
    Verdict,
)
from .values.http import Headers, Origin, PriorServing, Request

_ID_LENGTH = 128  # characters of a client's own request id in the decision
# Members of a request that name what a provider has stored of earlier requests.
_STORED = ("previous_response_id", "previous_interaction_id", "conversation")
_NOWHERE: frozenset[str] = frozenset()
_NOTHING_SENT = Verdict("unverifiable", note="nothing was sent")


@dataclass(slots=True)
class Attempt:
    """One sending upstream and what is known of its answer so far."""

    lease: Lease
    reader: AnswerReader
    watch: Watch
    started: float
    stripped: bool = False  # something that belongs to another account was left out of the request
    head: Head | None = None
    body: bytearray = field(default_factory=bytearray)  # of an error answer
    # while the answer comes
    held: bool = False  # it is kept from the client until it is known to be one
    held_bytes: int = 0
    content_began: bool = False  # the first content came, and the account is the home
    alarm: bool = False  # a proof of crosstalk was found, disputed or not
    alarmed: set[str] = field(default_factory=set)  # the victims, or `unknown`, for which an alarm was raised
    proof: bool = False  # an undisputed proof: the answer's owner loses nothing when the answer is withheld
    withheld: bool = False  # the client does not get it because of the proof
    complaint: str = ""  # code and message of an error, in an event or a body
    error_head: Head | None = None  # the head that an error event would have had as an answer of its own
    usage: Usage | None = None
    learned: list[Fact] = field(default_factory=list)  # what identity learns from when the answer ends
    learned_from: bool = False  # identity has learned it
    # when no whole answer came
    reached: bool = True  # the upstream may have seen the request: neither its connection nor its key failed
    broken: bool = False  # the connection failed, or a timeout ended it: no answer came, or half of one
    lost: bool = False  # the connection ended under the request; other requests on it may be the cause
    key_replaced: bool = False  # it was refused under a key that its account no longer has
    slow: bool = False  # given up while the upstream may be working on it: the request must not be repeated
    lacks: str = ""  # why an answer of a good status is no answer
    # when the attempt is over; an error event sets *outcome* and *error* already
    outcome: Outcome | None = None
    error: str = ""  # why it failed, for the decision
    finished: float | None = None

    @property
    def ended(self) -> bool:
        """Whether the attempt is over."""
        return self.finished is not None

    @property
    def status(self) -> int:
        """The answer's status, 0 before its head."""
        return self.head.status if self.head else 0

    @property
    def has_answered(self) -> bool:
        """Whether its account answered, so far as the client got it: neither an error nor another request's answer."""
        whole = self.outcome is not None and self.outcome.kind == "ok" and self.is_good
        return (whole or self.content_began) and not self.proof

    @property
    def is_error(self) -> bool:
        """Whether the answer's status is an error."""
        return self.head is not None and self.head.status >= 400

    @property
    def is_good(self) -> bool:
        """Whether the answer's status is none of an error."""
        return self.head is not None and self.head.status < 400


@dataclass(slots=True)
class Exchange:
    """One client request and the answer the client gets, over however many attempts."""

    id: str
    request: Request
    identity: Identity
    model: str
    requested_models: RequestedModels
    stream: bool
    digest: bytes
    opened: float
    pin: str
    reverse: Origin | None
    in_flight: int
    socket_lease: Lease | None = None  # of the WebSocket that the request is a message on
    is_first_on_socket: bool = False  # no request on that WebSocket was answered before it
    prior_serving: PriorServing | None = None  # how a replayed request was served before, in the same conversation
    recheck: Callable[[], None] = lambda: None  # called when a wait may be over: `Router.next` should be asked again
    waits_since: float | None = None
    may_retry: set[str] = field(default_factory=set)  # accounts that may try again, once: a new secret, or no seals
    unsealed: set[str] = field(default_factory=set)  # accounts that get the request without what others sealed
    unstamped: frozenset[str] = frozenset()  # members of the body that go without ours, which the upstream refused
    attempts: list[Attempt] = field(default_factory=list)
    first_byte: float | None = None
    retry_home: str = ""  # the account that it waits for once, after a transient fault, and tries again
    retry_home_at: float = 0.0
    refusal: Refusal | None = None
    decision: Decision | None = None
    shown: Callable[[str], str] = given_text.fit  # makes a name that its client gave fit for records and views
    _client_text: ClientText | None = None

    @property
    def attempt(self) -> Attempt | None:
        """The last attempt."""
        return self.attempts[-1] if self.attempts else None

    @property
    def tried(self) -> frozenset[str]:
        """The accounts that it was at; one in `may_retry` only after its second attempt."""
        if not self.attempts:
            return _NOWHERE
        tried = [attempt.lease.account.id for attempt in self.attempts]
        return frozenset([each for each in tried if each not in self.may_retry or tried.count(each) > 1])

    @property
    def candidates(self) -> tuple[Candidate, ...]:
        """The accounts that were considered for the last attempt."""
        return self.attempts[-1].lease.candidates if self.attempts else ()

    @property
    def verdict(self) -> Verdict:
        """What is known so far about whose answer the last attempt got."""
        return self.attempts[-1].watch.verdict() if self.attempts else _NOTHING_SENT

    @property
    def is_nameless(self) -> bool:
        """Whether an id stands in the answer whose owner is not known here."""
        return bool(self.attempts) and self.attempts[-1].watch.is_nameless

    @property
    def repeatable(self) -> bool:
        """Whether the request may be sent twice: asking a model again does no harm, creating a batch again may."""
        if self.request.body.raw is None:  # it streamed through and is gone
            return False
        if self.request.endpoint.kind == "generation":
            return self.request.body.get("background") is not True  # such a job runs on after a disconnect
        return self.is_safe

    @property
    def is_safe(self) -> bool:
        """Whether the request's method is safe (RFC 9110, 9.2.1)."""
        return self.request.method in ("GET", "HEAD", "OPTIONS")

    @property
    def is_upgrade(self) -> bool:
        """Whether the request opens a WebSocket."""
        return self.request.headers.get("upgrade").lower() == "websocket"

    @property
    def is_generation(self) -> bool:
        """Whether the answer must be a model's. A GET of the same path is for a WebSocket, whose messages end alone."""
        request = self.request
        return self.socket_lease is None and request.endpoint.kind == "generation" and request.method == "POST"

    @property
    def is_answered(self) -> bool:
        """Whether the account of the last attempt answered."""
        return self.attempt is not None and self.attempt.has_answered

    @property
    def is_turn(self) -> bool:
        """Whether the client asks a model by it: no replay, and no handshake of a WebSocket."""
        return (self.is_generation or self.socket_lease is not None) and not self.request.replay

    @property
    def client_text(self) -> ClientText:
        """What the client wrote, as far as it is known; nothing of it is read unless an error asks for it."""
        if self._client_text is None:
            request, body = self.request, self.request.body
            # what is stored at an account holds words of earlier requests, which are not known here
            stored = self.identity.owner is not None or any(body.get(name) for name in _STORED)
            stored = stored or bool(continued_thread(body)) or isinstance(body.get("prompt"), dict)
            self._client_text = ClientText(None if stored else body.raw, request.path, request.headers, self.model)
        return self._client_text

    def records(self) -> list[dict[str, Any]]:
        """Return, as plain types, what it takes to judge the attempts' answers again; see `crosstalk.reverify`."""
        return [attempt.watch.record.encoded() for attempt in self.attempts]


def continued_thread(body: Body) -> str:
    """Return the id of the answer whose message thread (Anthropic) *body* continues, or the empty string."""
    thread = body.get("thread")
    previous = thread.get("previous_message_id") if isinstance(thread, dict) else None
    return previous if isinstance(previous, str) else ""


def record_of(exchange: Exchange, lease: Lease, stamps: Stamps, now: float) -> AttemptRecord:
    """Return the record of what is sent for *exchange* by *lease*, with *stamps* in it."""
    endpoint, provider = exchange.request.endpoint, lease.account.provider
    return AttemptRecord(
        request_id=lease.request_id,
        exchange=exchange.id,
        account=lease.account.id,
        affinity=exchange.identity.affinity,
        thread=exchange.identity.thread,
        digest=exchange.digest.hex(),
        expected=dict(stamps.expected),
        own=sorted(stamps.sent),
        earlier=[attempt.lease.request_id for attempt in exchange.attempts],
        client_id=stamps.client_id,
        promised=provider.echo.promised,
        headers=dict(provider.echo.headers),
        body=dict(provider.echo.body),
        # a compacted history holds what was said, ids and all
        generation=(exchange.is_generation or exchange.socket_lease is not None)
        and not endpoint.suffix.endswith("/compact"),
        host=str(lease.origin),
        silent=sorted(provider.disabled_detectors),
        model=exchange.shown(lease.model or exchange.model),
        stream=exchange.stream,
        dialect=endpoint.dialect,
        suffix=exchange.shown(endpoint.suffix),
        at=Moment(0, now),
        compared=stamps.compared,
    )


def decide(exchange: Exchange, error: str, now: float, *, status: int | None, mode: str) -> Decision:
    """Return the decision about *exchange*, which ends *now*; *error* and *status* as for `Router.close`."""
    request, identity, attempt, verdict = exchange.request, exchange.identity, exchange.attempt, exchange.verdict
    lease, shown = attempt.lease if attempt else None, exchange.shown
    refusal = exchange.refusal.code if exchange.refusal else ""
    placed = placement(exchange)
    first_byte = None if exchange.first_byte is None else round(exchange.first_byte - exchange.opened, 4)
    return Decision(
        time=round(exchange.opened, 3),
        event_type=_event_type(exchange, verdict, error, status),
        request_id=lease.request_id if lease else "",
        exchange=exchange.id,
        client=request.client.name,
        client_request_id=shown(_client_request_id(request.headers)),
        account=lease.account.id if lease else "",
        provider=lease.account.provider.name if lease else "",
        pool=lease.pool if lease else "",
        dialect=request.endpoint.dialect,
        method=shown(request.method),
        path=shown(request.path.partition("?")[0]),
        model=shown(exchange.model),
        stream=exchange.stream,
        status=status if status is not None else (attempt.status or None) if attempt else None,
        error=shown(error or (attempt.error if attempt else "") or refusal),
        duration_seconds=round(now - exchange.opened, 4),
        first_byte_seconds=first_byte,
        tokens=attempt.usage if attempt else None,
        session=identity.affinity,
        thread=identity.thread,
        tier=identity.tier,
        session_id=lease.session_id if lease else "",
        binding=placed.binding,
        in_flight=exchange.in_flight,
        attempts=[_tried(each, now) for each in exchange.attempts],
        verdict=verdict.kind,
        echo=verdict.echo,
        victim=verdict.victim,
        findings=[_shown(each, shown) for each in verdict.findings],
        mode=mode,
        tool=shown(client_tool.of(request.headers)),
        moved_from=placed.moved_from,
        moved_because=placed.because,
    )


def _shown(finding: Finding, shown: Callable[[str], str]) -> Finding:
    return replace(finding, expected=shown(finding.expected), received=shown(finding.received))


def _event_type(exchange: Exchange, verdict: Verdict, error: str, status: int | None) -> str:
    if verdict.kind == "crosstalk":
        return "crosstalk"
    attempt, dialect = exchange.attempt, exchange.request.endpoint.dialect
    failed = bool(error) or exchange.refusal is not None or (status or 0) >= 400
    failed = failed or attempt is None or (attempt.outcome is not None and attempt.outcome.kind != "ok")
    name = dialects.of(dialect).event_type or dialect or "request"
    return f"{name}_{'error' if failed else 'success'}"


def placement(exchange: Exchange) -> Placement:
    """
    Return what the account that answered *exchange* is to its conversation; without an answer it is nothing.

    Of a request under way it is what the account of its last attempt will be. An account takes a whole WebSocket: its
    first answer is placed as the socket was, and it is at home from then on.
    """
    attempt = exchange.attempt
    if attempt is None or not (attempt.outcome is None or attempt.has_answered):
        return Placement()
    if exchange.socket_lease is None:
        return attempt.lease.placement
    if not exchange.identity.affinity or exchange.socket_lease.ask.pin:
        return Placement()
    return exchange.socket_lease.placement if exchange.is_first_on_socket else Placement("hit")


def _client_request_id(headers: Headers) -> str:
    value = headers.get("x-request-id") or headers.get("x-client-request-id")
    return value[:_ID_LENGTH] if value.isprintable() else ""


def _tried(attempt: Attempt, now: float) -> AttemptSummary:
    return AttemptSummary(
        account=attempt.lease.account.id,
        request_id=attempt.lease.request_id,
        status=attempt.head.status if attempt.head else None,
        outcome=attempt.outcome.kind if attempt.outcome else "",
        seconds=round((attempt.finished or now) - attempt.started, 4),
    )
