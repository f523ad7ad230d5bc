"""
WebSockets: one exchange from a `response.create` to the event that ends it, on the account that took the upgrade.

A socket cannot change its account. A message that another account would have to answer is refused here, in the words of
the protocol, and goes nowhere. When the account fails or is not served any more, the socket is closed right behind what
the client has to know, so that its next try gets another account.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import msgspec
from mitmproxy import ctx, http
from mitmproxy.proxy.layers.websocket import WebSocketMessageInjected
from mitmproxy.websocket import WebSocketMessage

from .. import dialects, guards
from ..body import Body, members
from ..clients import GONE
from ..router import FOREIGN, Exchange
from ..settings.settings import Config
from ..values.answer import Failure, Head, Message
from ..values.decision import Decision, Refusal, Route, Wait
from ..values.http import Headers, Request
from . import stored_flows
from .exchange_driver import DriverContext, ExchangeDriver
from .websocket_layer import closing, end_behind, end_with, ping

logger = logging.getLogger(__name__)

_OBJECT = 512  # bytes of memory that a message takes beside its content
MAX_OPEN = 16  # exchanges on one socket; the protocol knows one at a time, and some clients ask ahead
SILENCE = 20.0  # seconds for which an upstream that owes an answer may say nothing before it is pinged
PONG = 5.0  # seconds it has to answer the ping
_BROKEN = Refusal(502, "patchbay_failed", "Patchbay could not handle this message; see its log")
_CROWDED = Refusal(429, "too_many_in_flight", "Too many responses are under way on this WebSocket")
_LEFT = Refusal(499, "client_left", "The client left while its message waited")
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
    """Why a socket is closed, in the words of RFC 6455."""

    code: int
    reason: str


_FAILED = _Closing(1013, "the account of this WebSocket failed; connect again for another one")
_REFUSED = _Closing(1013, "the account of this WebSocket cannot take it now; connect again for another one")
_NOT_SERVED = _Closing(1012, "the account of this WebSocket is not served any more; connect again for another one")
_UNKNOWN = _Closing(1008, GONE.message)
_LOST = _Closing(1011, "the upstream of this WebSocket failed; connect again")
_INSIDE = _Closing(1011, "Patchbay failed; see its log")
_CUT = _Closing(1011, "an answer that belongs to another request came")


class Socket:
    """
    One WebSocket whose upgrade *cord* carried.

    `from_client` and `from_upstream` are shown every message before it goes on, and drop or change it.
    """

    def __init__(self, flow: http.HTTPFlow, cord: ExchangeDriver, around: DriverContext) -> None:
        self.flow = flow
        self._cord = cord
        self._around = around
        self._open: deque[Exchange] = deque()
        self._alarmed: set[tuple[str, str]] = set()
        self._places: dict[str, list[int]] = {}  # exchange → its request and the first and last message of its answer
        self._kept = 0
        self._timer: asyncio.TimerHandle | None = None  # looks whether the upstream is still there
        self._pinged = 0.0
        self._settings: Config = around.router.config  # under which the account was found to be served
        self._closes: _Closing | None = None  # once nothing is under way
        self._hung_up = False  # and nothing more is passed on
        self._is_over = False
        self._served = False  # an answer came
        self._last: Exchange | None = None

    @property
    def in_flight(self) -> int:
        """How many answers are under way."""
        return len(self._open)

    async def message(self, message: WebSocketMessage) -> None:
        """Look at *message*, and drop or change it where that must be. A failure lets nothing pass and hangs up."""
        try:
            self._keep(message)
            if message.from_client:
                await self._from_client(message)
            elif not message.injected:
                self._from_upstream(message)
        except Exception as e:
            logger.error("a message failed: %s", type(e).__name__, exc_info=logger.isEnabledFor(logging.DEBUG))
            message.drop()
            message.content = b""  # it may hold what is not to be seen
            if message.from_client:
                self._say(_BROKEN)
            self._hang_up(_INSIDE)
            self._give_up()

    def reloaded(self) -> None:
        """Take note that the settings changed: a socket whose account is not served any more ends once it is idle."""
        self._cord.stirred.set()  # a message that waits is asked again what its client may
        if self._is_moved() and not self._open:
            self._hang_up(_NOT_SERVED)

    def settled(self) -> None:
        """Take note that some account failed: a socket that is idle on one that rests ends before anything is lost."""
        last = self._last or self._cord.exchange
        if self._cord.shadow or self._open or self._hung_up or last is None:
            return
        if not self._around.router.may_go_on(last, time.time()):
            self._hang_up(_REFUSED)

    def ended(self, error: str = "") -> None:
        """Take note that the socket is closed; *error* says why the answers that are open will not be finished."""
        socket = self.flow.websocket
        by_client = socket is None or bool(socket.closed_by_client)
        why = error or ("Client disconnected." if by_client else "the WebSocket was closed")
        by_upstream = not (by_client or error or self._hung_up)
        self._is_over = True
        self._cord.client_left()  # nothing waits for a socket that is gone
        if self._timer:
            self._timer.cancel()
        if by_upstream and not self._served and self._cord.exchange:
            self._around.router.left(self._cord.exchange, time.time())
        while self._open:
            exchange = self._open.popleft()
            if by_upstream:
                self._around.router.answered(exchange, Failure("reset", why), time.time())
                self._left(exchange)
            self._close(exchange, why)

    def _left(self, exchange: Exchange) -> None:
        """Let the next socket of the conversation of *exchange* get another account."""
        for each in (exchange, self._cord.exchange):
            if each:
                self._around.router.left(each, time.time())

    def _give_up(self) -> None:
        try:
            self.ended(_BROKEN.code)
        except Exception as e:
            logger.error("exchanges could not be closed: %s", type(e).__name__)

    # -- upwards ---------------------------------------------------------------------------------------------------

    async def _from_client(self, message: WebSocketMessage) -> None:
        upgrade = self._cord.exchange
        if upgrade is None:
            return
        if self._hung_up:  # it came before the client could know
            message.drop()
            return
        if self._is_moved() and not self._open:
            message.drop()
            self._end_behind(message, _NOT_SERVED)
            return
        opening = dialects.of(self._cord.asked.endpoint.dialect).opening_message
        if not opening:
            self._unread(message, upgrade)
            return
        event = _read(message)
        if isinstance(event, _Unreadable):
            if not self._cord.shadow:
                end_with(message, event.code, event.reason)
            return
        if event.is_too_deep:
            self._refuse(message, guards.body_too_deep())
            return
        request = self._request(event, upgrade)
        if isinstance(request, Refusal):
            self._refuse(message, request)
        elif refusal := _in_two_ways(event):
            self._refuse(message, refusal)
        elif _opens(event, opening):
            await self._create(message, request, upgrade)
        elif self._cord.route and (refused := self._around.router.passes(request, self._cord.route, time.time())):
            self._refuse(message, refused)

    def _unread(self, message: WebSocketMessage, upgrade: Exchange) -> None:
        """End a socket whose messages nobody here reads, once its client may not have it any more."""
        asked = upgrade.request
        client = asked.client if self._cord.shadow else self._around.client_now(asked.client)
        if client == asked.client:
            return
        if client is None:
            end_with(message, 1008, GONE.message)
        elif refusal := self._around.router.oversteps(replace(asked, client=client)):
            end_with(message, 1008, refusal.message)

    async def _create(self, message: WebSocketMessage, request: Request, upgrade: Exchange) -> None:
        opened = self._around.router.open(request, time.time(), reverse=upgrade.reverse, socket=self._cord.route)
        if isinstance(opened, Refusal):
            self._refuse(message, opened)
            return
        self._open.append(opened)
        self._last = opened
        self._places[opened.id] = [self._number(), -1, -1]
        self._around.opened(self.flow, opened)
        refusal = _CROWDED if len(self._open) > MAX_OPEN else await self._routed(opened, message)
        if refusal and not self._cord.shadow:
            if opened in self._open:
                self._open.remove(opened)
            opened.refusal = refusal
            self._refuse(message, refusal)
            self._close(opened, "", refusal.status)
        elif not self._cord.shadow:
            self._watch()

    async def _routed(self, exchange: Exchange, message: WebSocketMessage) -> Refusal | None:
        """Give *exchange* its route, and *message* what is stamped on it; or say why it cannot be sent."""
        turn = self._cord.stirred
        exchange.woken = turn.set
        while True:
            if refusal := self._unfit(exchange):
                return refusal
            decided = self._around.router.next(exchange, time.time())
            if not isinstance(decided, Wait) or self._cord.shadow:
                break
            if len(self._open) > 1:  # nothing passes while this one waits, not even the answer it would wait for
                return _CROWDED
            turn.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(turn.wait(), max(0.01, decided.until - time.time()))
            if refusal := self._asked_again(exchange):
                return refusal
        if isinstance(decided, Refusal):
            return _fitting(exchange, decided)
        if isinstance(decided, Route) and decided.body is not None and not self._cord.shadow:
            message.content = decided.body
        return None

    def _unfit(self, exchange: Exchange) -> Refusal | None:
        """Say why the account of this socket cannot answer *exchange* while another one may."""
        if self._cord.shadow:
            return None
        if self._is_moved():
            return self._cord.blame(*_MOVED)
        if not self._around.router.is_served_elsewhere(exchange):
            return None
        self._left(exchange)
        return self._cord.blame(*_UNSERVED)

    def _asked_again(self, exchange: Exchange) -> Refusal | None:
        """Say why *exchange*, which waited in line, may not be sent any more."""
        if self._is_over or self._cord.gone.is_set():
            return _LEFT
        client = self._around.client_now(exchange.request.client)
        if client is None:
            return GONE
        exchange.request = replace(exchange.request, client=client)
        return self._around.router.oversteps(exchange.request, self._cord.route)

    def _is_moved(self) -> bool:
        """Whether the account of this socket is not served any more: then it ends as soon as nothing is under way."""
        settings, route = self._around.router.config, self._cord.route
        if settings is not self._settings and route and not self._cord.shadow:
            self._settings = settings
            self._closes = None if self._around.router.stands(route) else _NOT_SERVED
        return self._closes is not None

    def _request(self, body: Body, upgrade: Exchange) -> Request | Refusal:
        """Return the request that a message with *body* makes, with what its client may now: settings change."""
        asked = upgrade.request
        client = asked.client if self._cord.shadow else self._around.client_now(asked.client)
        if client is None:
            return GONE
        return replace(asked, body=body, client=client)

    def _refuse(self, message: WebSocketMessage, refusal: Refusal) -> None:
        if self._cord.shadow:
            return
        message.drop()
        if refusal is _LEFT:
            return
        self._say(refusal)
        if refusal.code == GONE.code:
            self._hang_up(_UNKNOWN)
        elif refusal.code == _MOVED[0]:
            self._hang_up(_NOT_SERVED)
        elif (refusal.status in (429, 503) and refusal is not _CROWDED) or refusal.code == "account_unknown":
            self._hang_up(_REFUSED)  # another socket may get an account that can

    # -- downwards -------------------------------------------------------------------------------------------------

    def _from_upstream(self, message: WebSocketMessage) -> None:
        if not self._cord.shadow:
            scrubbed = self._around.keys.scrub(message.content)
            if scrubbed != message.content:
                message.content = scrubbed
        if self._hung_up:
            message.drop()
            return
        if not self._open:
            return
        exchange, router, now = self._open[0], self._around.router, self._around.now()
        attempt = exchange.attempt
        if attempt is None:  # in shadow, where no account would have been found
            self._shadowed(exchange, message)
            return
        self._answered(exchange)
        if attempt.head is None:  # messages have no head of their own
            if not self._cord.shadow and isinstance(_read(message), _Unreadable):
                message.drop()
                self._fails(exchange, Failure("reset", "what came is no event"), _UNREADABLE)
                return
            router.answered(exchange, Head(200, Headers()), now)
        reaction = router.answered(exchange, Message(message.content), now)
        self._alarm(exchange)
        if reaction == "cut" and not self._cord.shadow:
            self._open.popleft()
            self._close(exchange, "", FOREIGN.status)
            self._cut(message)
        elif attempt.ended:
            self._open.popleft()
            self._finished(exchange, message)

    def _finished(self, exchange: Exchange, message: WebSocketMessage) -> None:
        """Close *exchange*, whose last event *message* is, and with it a socket that can go on no longer."""
        router, status = self._around.router, 200
        failed = router.has_failed(exchange) and not self._cord.shadow
        if failed:
            self._left(exchange)
            if instead := router.instead(exchange):
                exchange.refusal, status = instead, instead.status
                message.content = self._event(instead)
        self._served = self._served or not failed
        self._close(exchange, "", status)
        if failed:
            self._end_behind(message, _FAILED)
        elif self._closes and not self._open:
            self._end_behind(message, self._closes)

    def _fails(self, exchange: Exchange, failure: Failure, blame: tuple[str, str]) -> None:
        """Give up the upstream, which owes *exchange* an answer and will not give it."""
        self._around.router.answered(exchange, failure, time.time())
        self._left(exchange)
        self._say(self._cord.blame(*blame))
        self._hang_up(_LOST)
        self.ended(failure.message)

    # -- whether the upstream is there -----------------------------------------------------------------------------

    def _watch(self) -> None:
        """Watch over the answer that the upstream owes from now on."""
        self._cord.upstream_spoke()
        if self._timer is None and self._open:
            self._look_in(self._patience, self._look)

    @property
    def _patience(self) -> float:
        return min(SILENCE, self._cord.timeouts.idle or SILENCE)

    def _look_in(self, seconds: float, look: Callable[[], None]) -> None:
        self._timer = asyncio.get_running_loop().call_later(seconds, look)

    def _look(self) -> None:
        """Ping an upstream that is silent for long, and give it up when it does not answer that either."""
        self._timer = None
        if self._is_over or not self._open:
            return
        silent = time.monotonic() - self._cord.spoke
        if silent < self._patience:
            self._pinged = 0.0
            self._look_in(self._patience - silent, self._look)
        elif not self._pinged:
            self._pinged = time.monotonic()
            self._inject(ping(self.flow))
            self._look_in(PONG, self._look)
        else:
            self._fails(self._open[0], Failure("timeout", "the upstream is silent, and answers no ping"), _SILENT)

    # -- messages of an answer -------------------------------------------------------------------------------------

    def _answered(self, exchange: Exchange) -> None:
        place = self._places.get(exchange.id)
        if place is not None:
            place[2] = self._number()
            place[1] = place[2] if place[1] < 0 else place[1]

    def _cut(self, message: WebSocketMessage) -> None:
        # whose answer comes next on this socket, nobody can say
        message.drop()
        self._say(FOREIGN)
        self._hang_up(_CUT)

    def _shadowed(self, exchange: Exchange, message: WebSocketMessage) -> None:
        if any(end in message.content[:64] for end in (b"response.completed", b"response.failed", b'"error"')):
            self._open.popleft()
            self._close(exchange, "")

    def _alarm(self, exchange: Exchange) -> None:
        for finding in self._around.router.verdict(exchange).findings:
            if finding.strength == "proof" and (exchange.id, finding.where) not in self._alarmed:
                self._alarmed.add((exchange.id, finding.where))
                self._around.alarm(self.flow, exchange, finding)

    # -- both ------------------------------------------------------------------------------------------------------

    def _close(self, exchange: Exchange, error: str, status: int | None = None) -> None:
        self._alarmed = {known for known in self._alarmed if known[0] != exchange.id}
        decision = self._around.router.close(exchange, error, time.time(), status=status)
        self._note(exchange, decision)
        self._around.record(self.flow, exchange, decision)

    def _note(self, exchange: Exchange, decision: Decision) -> None:
        request, first, last = self._places.pop(exchange.id, (-1, -1, -1))
        sent, found = self._around.router.sent(exchange), decision.verdict
        if sent:
            places = {"request": request, "first": first, "last": last}
            stored_flows.note(self.flow, {"sent": sent, "verdict": found.kind, "victim": found.victim, **places})

    def _number(self) -> int:
        """Return which message of all that passed here the present one is."""
        kept = self.flow.websocket.messages if self.flow.websocket else []
        return stored_flows.forgotten(self.flow) + len(kept) - 1

    def _event(self, refusal: Refusal) -> bytes:
        dialect = dialects.of(self._cord.asked.endpoint.dialect)
        said, heads = msgspec.json.decode(dialect.error(refusal, "")), dict(dialect.error_headers(refusal))
        event = {"type": "error", "status": refusal.status, "error": said["error"], "headers": heads}
        return msgspec.json.encode(event)

    def _say(self, refusal: Refusal) -> None:
        """Tell the client, in an event of its protocol, what became of its message."""
        _proxy().inject_websocket(self.flow, True, self._event(refusal), True)

    def _end_behind(self, message: WebSocketMessage, why: _Closing) -> None:
        self._hung_up = True
        end_behind(message, why.code, why.reason)

    def _hang_up(self, why: _Closing) -> None:
        """Close the socket behind what has been said on it so far."""
        self._hung_up = True
        self._inject(closing(self.flow, why.code, why.reason))

    def _inject(self, event: WebSocketMessageInjected) -> None:
        with contextlib.suppress(ValueError):  # its client is gone already
            _proxy().inject_event(event)

    def _keep(self, message: WebSocketMessage) -> None:
        """Forget the oldest messages of the flow where they are too many: mitmproxy itself keeps all of them."""
        self._kept += len(message.content) + _OBJECT
        kept = self.flow.websocket.messages if self.flow.websocket else []
        room = self._around.router.config.limits.keep_streamed
        gone = 0
        while self._kept > room and gone < len(kept) - 1:
            self._kept -= len(kept[gone].content) + _OBJECT
            gone += 1
        if gone:
            del kept[:gone]
            stored_flows.forgot(self.flow, gone)


@dataclass(frozen=True, slots=True)
class _Unreadable:
    """Why a message is no event, in the words of RFC 6455."""

    code: int
    reason: str


def _read(message: WebSocketMessage) -> Body | _Unreadable:
    """Return what *message* says. Events are JSON objects in text messages; who takes others, we do not know."""
    if not message.is_text:
        return _Unreadable(1003, "Events are JSON in text messages; this one is binary")
    body = Body(message.content)
    if not body.is_too_deep and not (body.is_object and isinstance(body.get("type"), str)):
        return _Unreadable(1007, "Events are JSON objects with a type; this one is none")
    return body


def _opens(body: Body, opening: str) -> bool:
    return body.text("type").strip().casefold() == opening


def _in_two_ways(body: Body) -> Refusal | None:
    try:
        members(body.raw or b"")
    except ValueError as e:
        return Refusal(400, "body_unusable", f"This event can be read in two ways: {e}")
    return None


def _fitting(exchange: Exchange, refusal: Refusal) -> Refusal:
    """Return *refusal* in the word for it on a WebSocket, at which clients send what they have in full."""
    chained = bool(exchange.request.body.text("previous_response_id"))
    if chained and refusal.code == "owner_unavailable":
        return replace(_ELSEWHERE, fields={"param": "previous_response_id"})
    return refusal


def _proxy() -> Any:
    return ctx.master.addons.get("proxyserver")
