"""
WebSockets: one exchange from a `response.create` to the event that ends it, on the account that took the upgrade.

A socket cannot change its account. A message that needs another account is refused here, as an event of the protocol,
and is not sent. When the account fails or is not served any more, the socket is closed right behind the last event, so
that the client connects again and gets another account.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace

import msgspec
from mitmproxy import http
from mitmproxy.proxy.layers.websocket import WebSocketMessageInjected
from mitmproxy.websocket import WebSocketMessage

from .. import dialects, failover, guards
from ..body import Body, members
from ..clients import GONE
from ..exchange import Exchange
from ..frozen import dataclass
from ..replacement import CROSSTALK, replacement
from ..returned_stamps import repeats_stamp, without_stamp
from ..settings.settings import Config
from ..values.answer import Failure, Head, Message
from ..values.decision import Decision, Refusal, Wait
from ..values.http import Headers, Request
from . import flow_metadata, flow_record
from .client_connections import proxyserver
from .exchange_driver import DriverContext, ExchangeDriver
from .websocket_layer import closing, end_behind, end_with, ping, send_instead

logger = logging.getLogger(__name__)

_OBJECT = 512  # bytes of memory that a message takes beside its content
MAX_OPEN = 16  # exchanges on one socket; the protocol has one at a time, and some clients ask ahead
SILENCE = 20.0  # seconds for which an upstream that owes an answer may say nothing before it is pinged
PONG = 5.0  # seconds it has to answer the ping
_BROKEN = Refusal(502, "patchbay_failed", "Patchbay could not handle this message; see its log")
_CROWDED = Refusal(429, "too_many_in_flight", "Too many responses are under way on this WebSocket")
_CLIENT_LEFT = Refusal(499, "client_left", "The client left while its message waited")
_MOVED = ("account_gone", "Connect again: the account of this WebSocket is not served any more", 503)
_UNSERVED = ("model_elsewhere", "Connect again: the account of this WebSocket does not serve this model", 503)
_SILENT = ("upstream_unreachable", "The upstream did not answer: it is silent, and answers no ping either")
_UNREADABLE = ("upstream_unreadable", "The upstream's answer is unusable: it is no event of this protocol")
_ELSEWHERE = Refusal(
    400,
    "previous_response_not_found",
    "The previous response belongs to another account than this WebSocket: send the whole input, or connect anew",
)


@dataclass(frozen=True, slots=True)
class _Closing:
    """Code and reason of a close frame (RFC 6455)."""

    code: int
    reason: str


_FAILED = _Closing(1013, "the account of this WebSocket failed; connect again for another one")
_REFUSED = _Closing(1013, "the account of this WebSocket cannot take it now; connect again for another one")
_NOT_SERVED = _Closing(1012, "the account of this WebSocket is not served any more; connect again for another one")
_UNKNOWN = _Closing(1008, GONE.message)
_LOST = _Closing(1011, "the upstream of this WebSocket failed; connect again")
_INSIDE = _Closing(1011, "Patchbay failed; see its log")
_CUT = _Closing(1011, "an answer that belongs to another request came")


class WebSocketDriver:
    """
    One WebSocket, whose upgrade *driver* carried.

    `message` gets every message before it is forwarded, and may drop or change it.
    """

    def __init__(self, flow: http.HTTPFlow, driver: ExchangeDriver, context: DriverContext) -> None:
        self.flow = flow
        self._driver = driver
        self._context = context
        self._exchanges: deque[Exchange] = deque()
        # by exchange: its request, and the first and last message of its answer
        self._message_places: dict[str, list[int]] = {}
        self._kept_bytes = 0
        self._silence_timer: asyncio.TimerHandle | None = None  # until the next check of a silent upstream
        self._pinged_at = 0.0
        self._settings_seen: Config = context.router.config  # under these the account was served
        self._idle_close: _Closing | None = None
        self._is_closing = False  # nothing more is forwarded
        self._has_answered = False
        self._last_exchange: Exchange | None = None

    @property
    def in_flight(self) -> int:
        """How many answers are under way."""
        return len(self._exchanges)

    async def message(self, message: WebSocketMessage) -> None:
        """Check *message*, and drop or change it where necessary. A failure drops it and closes the socket."""
        try:
            self._forget_oldest(message)
            if message.from_client:
                await self._from_client(message)
            elif not message.injected:
                self._from_upstream(message)
        except Exception as e:
            logger.error("a message failed: %s", type(e).__name__, exc_info=logger.isEnabledFor(logging.DEBUG))
            if self._driver.shadow:  # it passes all the same
                return
            message.drop()
            message.content = b""  # it may hold a secret
            if message.from_client:
                self._send_error(_BROKEN)
            self._close_socket(_INSIDE)
            self._end_after_failure()

    def settings_changed(self) -> None:
        """Close the socket once it is idle, where the new settings do not serve its account any more."""
        self._driver.recheck.set()  # rights are checked again for a message that waits
        if self._is_account_gone() and not self._exchanges:
            self._close_socket(_NOT_SERVED)

    def account_failed(self) -> None:
        """Close an idle socket whose account is in cooldown, before a message is lost."""
        last = self._last_exchange or self._driver.exchange
        if self._driver.shadow or self._exchanges or self._is_closing or last is None:
            return
        if not self._context.router.may_continue(last, time.time()):
            self._close_socket(_REFUSED)

    def ended(self, error: str = "") -> None:
        """Close the exchanges of a socket that is closed; *error* says why their answers are not finished."""
        socket = self.flow.websocket
        by_client = socket is None or bool(socket.closed_by_client)
        why = error or ("Client disconnected." if by_client else "the WebSocket was closed")
        by_upstream = not (by_client or error or self._is_closing)
        self._driver.client_left()  # ends every wait of this socket
        if self._silence_timer:
            self._silence_timer.cancel()
        if by_upstream and not self._has_answered and self._driver.exchange:
            self._context.router.avoid_account(self._driver.exchange, time.time())
        while self._exchanges:
            exchange = self._exchanges.popleft()
            if by_upstream:
                self._context.router.answered(exchange, Failure("reset", why), time.time())
                self._leave_account(exchange)
            self._close(exchange, why)

    def _leave_account(self, exchange: Exchange) -> None:
        """Let the next socket of the conversation of *exchange* get another account."""
        for each in (exchange, self._driver.exchange):
            if each:
                self._context.router.avoid_account(each, time.time())

    def _end_after_failure(self) -> None:
        try:
            self.ended(_BROKEN.code)
        except Exception as e:
            logger.error("exchanges could not be closed: %s", type(e).__name__)

    # -- upwards ---------------------------------------------------------------------------------------------------

    async def _from_client(self, message: WebSocketMessage) -> None:
        upgrade = self._driver.exchange
        if upgrade is None:
            return
        if self._is_closing:  # it came before the client could know
            message.drop()
            return
        if self._is_account_gone() and not self._exchanges:
            message.drop()
            self._close_behind(message, _NOT_SERVED)
            return
        opening = dialects.of(self._driver.target.endpoint.dialect).opening_message
        if not opening:
            self._pass_unread(message, upgrade)
            return
        event = _read(message)
        if isinstance(event, _Closing):
            if not self._driver.shadow:
                end_with(message, event.code, event.reason)
            return
        if event.is_too_deep:
            self._refuse(message, guards.body_too_deep())
            return
        request = self._request(event, upgrade)
        if isinstance(request, Refusal):
            self._refuse(message, request)
        elif not self._driver.shadow and (refusal := _in_two_ways(event)):
            self._refuse(message, refusal)
        elif _opens(event, opening):
            await self._open_exchange(message, request, upgrade)
        elif refused := self._refused_event(request):
            self._refuse(message, refused)

    def _refused_event(self, request: Request) -> Refusal | None:
        lease, access = self._driver.lease, self._context.router.access
        return access.refused_event(request, lease, time.time()) if lease else None

    def _pass_unread(self, message: WebSocketMessage, upgrade: Exchange) -> None:
        """Close a socket whose messages are not read here once its client may not use it any more."""
        asked = upgrade.request
        client = asked.client if self._driver.shadow else self._context.client_now(asked.client)
        if client == asked.client:
            return
        if client is None:
            end_with(message, 1008, GONE.message)
        elif refusal := self._context.router.access.oversteps(replace(asked, client=client)):
            end_with(message, 1008, refusal.message)

    async def _open_exchange(self, message: WebSocketMessage, request: Request, upgrade: Exchange) -> None:
        opened = self._context.router.open(
            request, time.time(), reverse=upgrade.reverse, socket_lease=self._driver.lease
        )
        if isinstance(opened, Refusal):
            self._refuse(message, opened)
            return
        opened.is_first_on_socket = not self._has_answered
        opened.shown = self._driver.names
        self._exchanges.append(opened)
        self._last_exchange = opened
        self._message_places[opened.id] = [self._position(), -1, -1]
        self._context.opened(self.flow, opened)
        if self._driver.shadow:  # it has an attempt from here on, and neither waits nor is refused
            self._context.router.observe(opened, time.time())
            return
        refusal = _CROWDED if len(self._exchanges) > MAX_OPEN else await self._route(opened, message)
        if refusal:
            if opened in self._exchanges:
                self._exchanges.remove(opened)
            opened.refusal = refusal
            self._refuse(message, refusal)
            self._close(opened, "", refusal.status)
        else:
            self._watch_silence()

    async def _route(self, exchange: Exchange, message: WebSocketMessage) -> Refusal | None:
        """Give *exchange* its lease, and stamp *message*; or return why it cannot be sent."""
        recheck = self._driver.recheck
        exchange.recheck = recheck.set
        while True:
            if refusal := self._misplaced(exchange):
                return refusal
            decided = self._context.router.next(exchange, time.time())
            if not isinstance(decided, Wait):
                break
            if len(self._exchanges) > 1:  # a message that waits holds up the answer that it would wait for
                return _CROWDED
            recheck.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(recheck.wait(), max(0.01, decided.until - time.time()))
            if refusal := self._check_again(exchange):
                return refusal
        if isinstance(decided, Refusal):
            return _fitting(exchange, decided)
        if decided.body is not None:
            message.content = decided.body
        return None

    def _misplaced(self, exchange: Exchange) -> Refusal | None:
        """Return why the account of this socket cannot answer *exchange* while another account may."""
        if self._is_account_gone():
            return self._driver.upstream_refusal(*_MOVED)
        if not self._context.router.access.is_served_elsewhere(exchange):
            return None
        self._leave_account(exchange)
        return self._driver.upstream_refusal(*_UNSERVED)

    def _check_again(self, exchange: Exchange) -> Refusal | None:
        """Return why *exchange*, which waited, may not be sent any more."""
        if self._driver.client_gone.is_set():
            return _CLIENT_LEFT
        client = self._context.client_now(exchange.request.client)
        if client is None:
            return GONE
        exchange.request = replace(exchange.request, client=client)
        return self._context.router.access.oversteps(exchange.request, self._driver.lease)

    def _is_account_gone(self) -> bool:
        settings, lease = self._context.router.config, self._driver.lease
        if settings is not self._settings_seen and lease and not self._driver.shadow:
            self._settings_seen = settings
            self._idle_close = None if self._context.router.destinations.still_serves(lease.account) else _NOT_SERVED
        return self._idle_close is not None

    def _request(self, body: Body, upgrade: Exchange) -> Request | Refusal:
        asked = upgrade.request
        client = asked.client if self._driver.shadow else self._context.client_now(asked.client)
        if client is None:
            return GONE
        return replace(asked, body=body, client=client)

    def _refuse(self, message: WebSocketMessage, refusal: Refusal) -> None:
        if self._driver.shadow:
            return
        message.drop()
        if refusal is _CLIENT_LEFT:
            return
        self._send_error(refusal)
        if refusal.code == GONE.code:
            self._close_socket(_UNKNOWN)
        elif refusal.code == _MOVED[0]:
            self._close_socket(_NOT_SERVED)
        elif (refusal.status in (429, 503) and refusal is not _CROWDED) or refusal.code == "account_unknown":
            self._close_socket(_REFUSED)  # another socket may get an account that can

    # -- downwards -------------------------------------------------------------------------------------------------

    def _from_upstream(self, message: WebSocketMessage) -> None:
        if not self._driver.shadow:
            scrubbed = self._context.keys.scrub(message.content)
            if scrubbed != message.content:
                message.content = scrubbed
        if self._is_closing:
            message.drop()
            return
        if not self._exchanges:
            self._take_off(message, self._last_exchange)
            return
        exchange, router, now = self._exchanges[0], self._context.router, self._context.now()
        attempt = exchange.attempt
        if attempt is None:
            return
        self._note_place(exchange)
        if attempt.head is None:  # messages have no head of their own
            event = _read(message)
            if not self._driver.shadow and (isinstance(event, _Closing) or event.is_too_deep):
                message.drop()
                self._fail(exchange, Failure("reset", "what came is no event"), _UNREADABLE)
                return
            router.answered(exchange, Head(200, Headers()), now)
        reaction = router.answered(exchange, Message(message.content), now)
        if attempt.alarm:
            self._context.alarm(self.flow, exchange)
        if reaction == "cut" and not self._driver.shadow:
            self._exchanges.popleft()
            self._close(exchange, "", CROSSTALK.status)
            self._cut(message)
        elif attempt.ended:
            self._exchanges.popleft()
            self._finished(exchange, message)
        self._take_off(message, exchange)

    def _take_off(self, message: WebSocketMessage, exchange: Exchange | None) -> None:
        """Let the client get *message*, of the answer to *exchange*, without our id."""
        lease = self._driver.lease
        if lease is None or exchange is None or self._driver.shadow:
            return
        if repeats_stamp(lease.account.provider, exchange.request):
            send_instead(message, without_stamp(message.content))

    def _finished(self, exchange: Exchange, message: WebSocketMessage) -> None:
        """Close *exchange*, which ends with *message*, and the socket where it cannot be used any longer."""
        status = 200
        failed = failover.has_failed(exchange) and not self._driver.shadow
        if failed:
            self._leave_account(exchange)
            if instead := replacement(exchange):
                exchange.refusal, status = instead, instead.status
                message.content = self._event(instead)
        self._has_answered = self._has_answered or not failed
        self._close(exchange, "", status)
        if failed:
            self._close_behind(message, _FAILED)
        elif self._idle_close and not self._exchanges:
            self._close_behind(message, self._idle_close)

    def _fail(self, exchange: Exchange, failure: Failure, blame: tuple[str, str]) -> None:
        self._context.router.answered(exchange, failure, time.time())
        self._leave_account(exchange)
        self._send_error(self._driver.upstream_refusal(*blame))
        self._close_socket(_LOST)
        self.ended(failure.message)

    # -- whether the upstream is there -----------------------------------------------------------------------------

    def _watch_silence(self) -> None:
        self._driver.upstream_heard()
        if self._silence_timer is None and self._exchanges:
            self._schedule(self._silence_limit, self._check_silence)

    @property
    def _silence_limit(self) -> float:
        return min(SILENCE, self._driver.timeouts.idle or SILENCE)

    def _schedule(self, seconds: float, look: Callable[[], None]) -> None:
        self._silence_timer = asyncio.get_running_loop().call_later(seconds, look)

    def _check_silence(self) -> None:
        """Ping an upstream that is silent, and give it up when it does not answer the ping."""
        self._silence_timer = None
        if self._driver.client_gone.is_set() or not self._exchanges:
            return
        silent = time.monotonic() - self._driver.heard_at
        if silent < self._silence_limit:
            self._pinged_at = 0.0
            self._schedule(self._silence_limit - silent, self._check_silence)
        elif not self._pinged_at:
            self._pinged_at = time.monotonic()
            self._inject(ping(self.flow))
            self._schedule(PONG, self._check_silence)
        else:
            self._fail(self._exchanges[0], Failure("timeout", "the upstream is silent, and answers no ping"), _SILENT)

    # -- messages of an answer -------------------------------------------------------------------------------------

    def _note_place(self, exchange: Exchange) -> None:
        place = self._message_places.get(exchange.id)
        if place is not None:
            place[2] = self._position()
            place[1] = place[2] if place[1] < 0 else place[1]

    def _cut(self, message: WebSocketMessage) -> None:
        # the next answer on this socket may belong to any request
        message.drop()
        self._send_error(CROSSTALK)
        self._close_socket(_CUT)

    # -- both ------------------------------------------------------------------------------------------------------

    def _close(self, exchange: Exchange, error: str, status: int | None = None) -> None:
        decision = self._context.router.close(exchange, error, time.time(), status=status)
        self._write_record(exchange, decision)
        self._context.record(self.flow, exchange, decision)

    def _write_record(self, exchange: Exchange, decision: Decision) -> None:
        request, first, last = self._message_places.pop(exchange.id, (-1, -1, -1))
        sent = exchange.records()
        if sent:
            places = {"request": request, "first": first, "last": last}
            flow_record.add_record(
                self.flow, {"sent": sent, "verdict": decision.verdict, "victim": decision.victim, **places}
            )

    def _position(self) -> int:
        """Return the number of the present message among all of this socket."""
        kept = self.flow.websocket.messages if self.flow.websocket else []
        return flow_metadata.forgotten(self.flow) + len(kept) - 1

    def _event(self, refusal: Refusal) -> bytes:
        dialect = dialects.of(self._driver.target.endpoint.dialect)
        said, heads = msgspec.json.decode(dialect.error(refusal, "")), dict(dialect.error_headers(refusal))
        event = {"type": "error", "status": refusal.status, "error": said["error"], "headers": heads}
        return msgspec.json.encode(event)

    def _send_error(self, refusal: Refusal) -> None:
        proxyserver().inject_websocket(self.flow, True, self._event(refusal), True)

    def _close_behind(self, message: WebSocketMessage, why: _Closing) -> None:
        self._is_closing = True
        end_behind(message, why.code, why.reason)

    def _close_socket(self, why: _Closing) -> None:
        """Close the socket behind the messages sent so far."""
        self._is_closing = True
        self._inject(closing(self.flow, why.code, why.reason))

    def _inject(self, event: WebSocketMessageInjected) -> None:
        with contextlib.suppress(ValueError):  # its client is gone already
            proxyserver().inject_event(event)

    def _forget_oldest(self, message: WebSocketMessage) -> None:
        """Drop the oldest messages from the flow above limits.keep_streamed: mitmproxy itself keeps all of them."""
        self._kept_bytes += len(message.content) + _OBJECT
        kept = self.flow.websocket.messages if self.flow.websocket else []
        room = self._context.router.config.limits.keep_streamed
        gone = 0
        while self._kept_bytes > room and gone < len(kept) - 1:
            self._kept_bytes -= len(kept[gone].content) + _OBJECT
            gone += 1
        if gone:
            del kept[:gone]
            flow_record.add_forgotten(self.flow, gone)


def _read(message: WebSocketMessage) -> Body | _Closing:
    """Return the event in *message*: a JSON object in a text message."""
    if not message.is_text:
        return _Closing(1003, "Events are JSON in text messages; this one is binary")
    body = Body(message.content)
    if not (body.is_object and isinstance(body.get("type"), str)) and not body.is_too_deep:
        return _Closing(1007, "Events are JSON objects with a type; this one is none")
    return body


def _opens(body: Body, opening: str) -> bool:
    return body.text("type").strip().casefold() == opening


def _in_two_ways(body: Body) -> Refusal | None:
    try:
        members(body.raw or b"")
    except ValueError as e:
        return Refusal(400, "body_unusable", f"This event is ambiguous: {e}")
    return None


def _fitting(exchange: Exchange, refusal: Refusal) -> Refusal:
    """Return *refusal* with the code at which clients send their whole input, where that applies."""
    chained = bool(exchange.request.body.text("previous_response_id"))
    if chained and refusal.code == "owner_unavailable":
        return replace(_ELSEWHERE, fields={"param": "previous_response_id"})
    return refusal
