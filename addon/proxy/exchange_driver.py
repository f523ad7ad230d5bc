"""
The driver of one exchange: what the stream asks and is told, attached to the flow as `flow.patchbay`.

The router decides; the driver holds the lease, makes the upstream request and changes the answer for the client.
"""

from __future__ import annotations

import asyncio
import time
import weakref
from collections.abc import Callable
from functools import partial

from mitmproxy import http
from mitmproxy.connection import Server
from mitmproxy.proxy import commands, context
from mitmproxy.proxy.layers import websocket

from .. import answer_urls, dialects, failover
from ..accounts.lease import Lease
from ..accounts.refusals import of_tool, of_upstream
from ..answer.sse import EventBuffer
from ..credential_places import PROTOCOL_KEYS, KeyHeaders
from ..exchange import Exchange
from ..frozen import dataclass
from ..router import Router
from ..values.account import Timeouts
from ..values.answer import AnswerEvent, Head, Reaction
from ..values.decision import Decision, Refusal, session_name
from ..values.http import Client, Endpoint, Headers, Origin
from . import own_responses
from .answer_filter import AnswerFilter
from .credentials import Credentials
from .header_fields import HeaderFields, Raw, as_text
from .key_cover import GivenNames
from .redacted_heads import RedactedHeads, credential_names
from .upstream_request import UpstreamRequest, check_destination
from .websocket_layer import PatchbayWebsocket

_UNAUTHORIZED = 401


@dataclass(frozen=True, slots=True)
class DriverContext:
    """What a driver needs of the addon."""

    router: Router
    keys: Credentials
    verified: Callable[[], bool]  # whether upstream certificates are checked
    alarm: Callable[[http.HTTPFlow, Exchange], None]  # the present answer holds a proof of crosstalk
    wake: Callable[[http.HTTPFlow, commands.RequestWakeup], None]
    opened: Callable[[http.HTTPFlow, Exchange], None]  # a message of a WebSocket began an exchange
    record: Callable[[http.HTTPFlow, Exchange, Decision], None]  # … which is over
    client_now: Callable[[Client], Client | None] = lambda client: client  # a client's present rights; None: it is gone
    now: Callable[[], float] = time.time  # the seconds of the wall clock


@dataclass(frozen=True, slots=True)
class RequestTarget:
    """What a request's head names."""

    endpoint: Endpoint
    destination: Origin
    credential_form: str  # of the client's
    address: str = ""  # of this proxy, as the client used it


class ExchangeDriver:
    """
    A plain attribute of its flow, so that it is never saved, copied or shown.

    A driver without an exchange belongs to a request that was refused before it was opened.
    """

    shadow = False  # True: the exchange is observed, and nothing is changed
    may_resend = True  # a request that its upstream did not process goes again by itself

    def __init__(
        self, flow: http.HTTPFlow, around: DriverContext, dialect: str, places: KeyHeaders = PROTOCOL_KEYS
    ) -> None:
        self.redacted_heads = RedactedHeads(flow.request, places, around.keys.cover_of_heads())
        self._flow_at = weakref.ref(flow)  # the flow has the driver: the memory of both is free when it goes
        self._around = around
        self._dialect = dialect
        self.target = RequestTarget(Endpoint(), Origin("", "", 0), "")
        self.client: Client | None = None
        self.own_answer = False  # the client gets an answer of ours, not an upstream's
        self.refusal: Refusal | None = None  # … which says this
        self.head_taken = False  # an upstream's head has been taken for the client
        self.exchange: Exchange | None = None
        self.lease: Lease | None = None  # of the present attempt
        self.placed_fields: Raw | None = None  # the flow's own header fields once it was directed to that account
        self.client_gone = asyncio.Event()  # the client left
        self.recheck = asyncio.Event()  # a request that waits should ask the router again, or its client left
        self.closed = False
        self.heard_at = 0.0  # when the upstream of a WebSocket last sent something
        # takes out of the present answer, whole events or a body, what the client is not to see
        self.takes_off: Callable[[bytes], bytes] | None = None
        self.streamed_copy = bytearray()  # of a streamed answer, for the flow
        self.copy_is_partial = False
        self.streaming = False
        self.event_buffer: EventBuffer | None = None  # a stream that may be cut is delivered in whole events
        self.victim_lookups: set[asyncio.Task[None]] = set()  # searches for the owners of ids that came back
        self._addresses: answer_urls.AddressMap | None = None  # of an answer whose body may hold addresses
        self._lines: answer_urls.LineRewriter | None = None  # … while it streams
        self._body: bytes | None = None  # of the present attempt; None: the flow's own
        self.sent_with: tuple[str, ...] = ()  # the state of its account's secrets as it was sent

    @property
    def _flow(self) -> http.HTTPFlow:
        flow = self._flow_at()
        assert flow is not None, "a driver is used by who has its flow"
        return flow

    @property
    def names(self) -> GivenNames:
        """What makes the names that its client gave fit to be stored and shown."""
        return GivenNames(self._around.keys.texts, self.redacted_heads.presented)

    @property
    def ready(self) -> bool:
        """Whether a lease stands and its credential is at hand."""
        return self.lease is not None and not self.closed

    @property
    def owner(self) -> object:
        """Whose upstream connections the attempt may use; accounts share none."""
        return (self.lease.account.id, self.lease.account.secret) if self.lease else None

    @property
    def repeatable(self) -> bool:
        """Whether the request may be sent again when an upstream may have carried it out."""
        return self.exchange is not None and self.exchange.repeatable

    @property
    def timeouts(self) -> Timeouts:
        """How long the attempt may take."""
        assert self.lease is not None
        timeouts, exchange = self.lease.account.provider.timeouts, self.exchange
        if exchange is None or exchange.stream or exchange.request.method != "POST":
            return timeouts
        return timeouts.for_whole_answer if exchange.request.endpoint.kind == "generation" else timeouts

    @property
    def body_limit(self) -> int:
        """How many bytes of a body or a message are read, or kept while they wait to stream up."""
        return self._around.router.config.limits.body

    @property
    def hold_seconds(self) -> float:
        """How long the present answer may be held back."""
        assert self.exchange is not None
        return failover.hold_seconds(self.exchange, self._around.router.config.failover)

    def wake(self, seconds: float, timer: commands.RequestWakeup) -> asyncio.TimerHandle | None:
        """Have the client's connection get the wake-up of *timer* in *seconds*."""
        return asyncio.get_running_loop().call_later(seconds, self._around.wake, self._flow, timer)

    def wire_request(self, request: http.Request, server: Server) -> http.Request:
        """Return the copy that goes upstream on *server*, with the credential; raise PermissionError if it must not."""
        lease, exchange, around = self.lease, self.exchange, self._around
        assert lease is not None and exchange is not None
        check_destination(lease.account, lease.origin, server, verified=around.verified())
        self.sent_with = around.keys.state_of(lease.account.secrets)
        made = UpstreamRequest(
            exchange,
            lease,
            self.redacted_heads,
            around.keys,
            lambda: around.router.addresses.knows(exchange, time.time()),
            self.body_limit,
        )
        wire, self._body = made.copy(request, server)
        return wire

    def wire_body(self, content: bytes) -> bytes:
        """Return the body bytes that go upstream in place of *content*."""
        return content if self._body is None else self._body

    def answered(self, event: AnswerEvent) -> Reaction:
        """Tell the router what the upstream did, and return its reaction. Never raises."""
        exchange = self.exchange
        if exchange is None:
            return "deliver"
        if isinstance(event, Head) and event.status == _UNAUTHORIZED and exchange.attempt:
            secrets = exchange.attempt.lease.account.secrets
            exchange.attempt.key_replaced = self._around.keys.is_replaced(secrets, self.sent_with)
        reaction = self._around.router.answered(exchange, event, self._around.now())
        if exchange.attempt and exchange.attempt.alarm:
            self._around.alarm(self._flow, exchange)
        return reaction

    def answer_filter(self) -> AnswerFilter:
        """Return the filter that an answer passes before anything else sees it."""
        return AnswerFilter(self._around.keys, self.body_limit)

    def client_response(self, response: http.Response) -> http.Response:
        """Return the head that the client gets in place of *response*, the flow's own."""
        content = response.raw_content if not self.streaming else None
        if content and "content-length" in response.headers and (left := len(self.client_body(content))) < len(content):
            response = response.copy()
            response.headers["content-length"] = str(left)
        return response

    def client_body(self, content: bytes) -> bytes:
        """Return what the client gets in place of *content*, the body of the flow or a chunk of the answer."""
        return self.takes_off(content) if self.takes_off else content

    def deliver(self, data: bytes) -> bytes:
        """Return what the client gets of a chunk now; what is kept back comes with a later chunk, or as the `rest`."""
        if self.event_buffer:
            data = self.event_buffer.feed(data)
        return self._copied(self._addressed(self._lines.feed(data)) if self._lines else data)

    def deliver_rest(self) -> bytes:
        """Return what was kept back of the chunks, at the end."""
        data = self.event_buffer.rest() if self.event_buffer else b""
        if self._lines:
            data = self._addressed(self._lines.feed(data) + self._lines.rest())
        return self._copied(data)

    def _copied(self, data: bytes) -> bytes:
        if self.streaming:
            room = self._around.router.config.limits.keep_streamed - len(self.streamed_copy)
            self.streamed_copy += data[: max(0, room)]
            self.copy_is_partial = self.copy_is_partial or len(data) > room
        return data

    def rewrite_head(self, head: HeaderFields, status: int) -> None:
        """Rewrite the addresses in *head*, of the present answer, for the client, and prepare for those in its body."""
        exchange = self.exchange
        addresses = self._around.router.addresses.map_of(exchange) if exchange else None
        if exchange is None or addresses is None:
            return
        head.each_field(partial(_rewritten_header, addresses))
        self._around.router.addresses.note(exchange, addresses, time.time())
        request = exchange.request
        reads = answer_urls.body_form(request.endpoint, request.path, status, head.text)
        self._addresses = addresses if reads else None
        if reads == "lines":
            self._lines = answer_urls.LineRewriter(addresses)
            if b"content-length" in head and self._flow.request.method != "HEAD":
                head.drop(b"content-length".__eq__)
                if self._flow.request.http_version == "HTTP/1.1":
                    head.put(b"transfer-encoding", b"chunked")

    def rewrite_body(self, response: http.Response) -> None:
        """Rewrite the addresses in the body of *response*, which is whole, for the client."""
        before = response.raw_content or b""
        after = self._addressed(self._addresses.body(before)) if self._addresses else before
        if after != before:
            response.raw_content = after
            if "content-length" in response.headers:
                response.headers["content-length"] = str(len(after))

    def _addressed(self, data: bytes) -> bytes:
        if self._addresses and self.exchange:
            self._around.router.addresses.note(self.exchange, self._addresses, time.time())
        return data

    def websocket(
        self, above: context.Context, flow: http.HTTPFlow, pause: Callable[[], commands.Command]
    ) -> websocket.WebsocketLayer:
        """Return the layer of the WebSocket that *flow* became."""
        scrub = self.answer_filter().bytes
        return PatchbayWebsocket(above, flow, self.body_limit, scrub, pause, self.client_left, self.upstream_heard)

    def error_response(self, refusal: Refusal) -> http.Response:
        """Return *refusal* as an answer in the caller's dialect."""
        if refusal.status >= 429 and not self.target.endpoint.dialect and dialects.is_of_tool(self._flow.request.path):
            refusal = of_tool(refusal)
        self.own_answer, self.refusal = True, refusal
        if self.exchange is not None:
            self.exchange.refusal = refusal
        request_id = self.lease.request_id if self.lease else ""
        session = session_name(self.exchange.identity.affinity) if self.exchange else ""
        return own_responses.error_response(self._dialect, refusal, request_id, session)

    def upstream_refusal(self, code: str, what: str, status: int = 502) -> Refusal:
        """Return a refusal with *code* that names the account in use, whose upstream did *what*."""
        return of_upstream(self.lease.account.id if self.lease else "", code, what, status=status)

    def closing_event(self, refusal: Refusal) -> bytes:
        """Return the event that ends a stream with *refusal*; empty where the stream has no place for one."""
        response = self._flow.response
        if response is None or "text/event-stream" not in response.headers.get("content-type", ""):
            return b""
        request_id = self.lease.request_id if self.lease else ""
        return self._copied(dialects.of(self._dialect).error_event(refusal, request_id))

    @property
    def left(self) -> bool:
        """Whether the client is gone."""
        return self.client_gone.is_set()

    def client_left(self) -> None:
        """The client is gone; called also while a hook of this exchange waits."""
        self.client_gone.set()
        self.recheck.set()

    def upstream_heard(self) -> None:
        """The upstream of a WebSocket sent something, if only a pong."""
        self.heard_at = time.monotonic()

    def request_headers(self, raw: Raw | None = None) -> Headers:
        """Return the client's headers, *raw* or those of the flow, without those that stay here."""
        fields = HeaderFields(self._flow.request.headers.fields if raw is None else raw)
        heads = self.redacted_heads
        credentials = credential_names(fields.names()) - heads.keys.encoded
        unwanted = credentials.union(fields.listed(), heads.by_value, heads.keys.encoded_own)
        fields.drop(unwanted.__contains__)
        return as_text(fields.raw())


def _rewritten_header(addresses: answer_urls.AddressMap, name: bytes, value: bytes) -> bytes:
    if b"/" not in value:
        return value
    return addresses.header(name.decode("latin-1"), value.decode("latin-1")).encode("latin-1", "replace")
