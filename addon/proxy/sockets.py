"""
WebSockets: one exchange from a `response.create` to the event that ends it, on the account that took the upgrade.

A socket cannot change its account. A message that another account would have to answer is refused here, in the words of
the protocol, and goes nowhere.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import deque
from dataclasses import dataclass, replace
from typing import Any

import msgspec
from mitmproxy import ctx, http
from mitmproxy.websocket import WebSocketMessage

from .. import dialects, guards
from ..body import Body, members
from ..dialects import errors
from ..router import FOREIGN, Exchange
from ..values import Decision, Failure, Head, Headers, Message, Refusal, Request, Wait
from . import dump
from .cord import Cord, Surroundings
from .websocket_layer import end_with

logger = logging.getLogger(__name__)

MAX_OPEN = 16  # exchanges on one socket; the protocol knows one at a time, and some clients ask ahead
_CREATE = "response.create"
_BROKEN = Refusal(502, "patchbay_failed", "Patchbay could not handle this message; see its log")
_GONE = Refusal(401, "client_unknown", "This client is not known to the proxy any more")
_CROWDED = Refusal(429, "too_many_in_flight", "Too many responses are under way on this WebSocket")
_ELSEWHERE = Refusal(
    400,
    "previous_response_not_found",
    "The previous response belongs to another account than this WebSocket: send the whole input, or connect anew",
)


class Socket:
    """
    One WebSocket whose upgrade *cord* carried.

    `from_client` and `from_upstream` are shown every message before it goes on, and drop or change it.
    """

    def __init__(self, flow: http.HTTPFlow, cord: Cord, around: Surroundings) -> None:
        self.flow = flow
        self._cord = cord
        self._around = around
        self._open: deque[Exchange] = deque()
        self._is_cut = False  # an answer of another's came, and nothing more is passed on
        self._alarmed: set[tuple[str, str]] = set()
        self._places: dict[str, list[int]] = {}  # exchange → its request and the first and last message of its answer
        self._kept = 0

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
            self._hang_up()
            self._give_up()

    def ended(self, error: str = "") -> None:
        """Take note that the socket is closed; *error* says why the answers that are open will not be finished."""
        socket = self.flow.websocket
        by_client = socket is None or bool(socket.closed_by_client)
        why = error or ("Client disconnected." if by_client else "the WebSocket was closed")
        while self._open:
            exchange = self._open.popleft()
            if not by_client and not error:
                self._around.router.answered(exchange, Failure("reset", why), time.time())
            self._close(exchange, why)

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
        if self._cord.asked.endpoint.dialect != "openai_responses":
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
        elif _creates(event):
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
            end_with(message, 1008, _GONE.message)
        elif refusal := self._around.router.oversteps(replace(asked, client=client)):
            end_with(message, 1008, refusal.message)

    async def _create(self, message: WebSocketMessage, request: Request, upgrade: Exchange) -> None:
        opened = self._around.router.open(request, time.time(), reverse=upgrade.reverse, socket=self._cord.route)
        if isinstance(opened, Refusal):
            self._refuse(message, opened)
            return
        self._open.append(opened)
        self._places[opened.id] = [self._number(), -1, -1]
        self._around.opened(self.flow, opened)
        refusal = _CROWDED if len(self._open) > MAX_OPEN else await self._routed(opened, message)
        if refusal and not self._cord.shadow:
            self._open.remove(opened)
            opened.refusal = refusal
            self._refuse(message, refusal)
            self._close(opened, "", refusal.status)

    async def _routed(self, exchange: Exchange, message: WebSocketMessage) -> Refusal | None:
        """Give *exchange* its route, and *message* what is stamped on it; or say why it cannot be sent."""
        turn = asyncio.Event()
        exchange.woken = turn.set
        while isinstance(decided := self._around.router.next(exchange, time.time()), Wait):
            if self._cord.shadow:
                return None
            if len(self._open) > 1:  # nothing passes while this one waits, not even the answer it would wait for
                return _CROWDED
            turn.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(turn.wait(), max(0.01, decided.until - time.time()))
        if isinstance(decided, Refusal):
            return _fitting(exchange, decided)
        if decided.body is not None and not self._cord.shadow:
            message.content = decided.body
        return None

    def _request(self, body: Body, upgrade: Exchange) -> Request | Refusal:
        """Return the request that a message with *body* makes, with what its client may now: settings change."""
        asked = upgrade.request
        client = asked.client if self._cord.shadow else self._around.client_now(asked.client)
        if client is None:
            return _GONE
        return replace(asked, body=body, client=client)

    def _refuse(self, message: WebSocketMessage, refusal: Refusal) -> None:
        if self._cord.shadow:
            return
        message.drop()
        self._say(refusal)
        elsewhere = refusal.status in (429, 503) and refusal is not _CROWDED
        if elsewhere or refusal.code in ("account_unknown", _GONE.code):
            # another socket may get an account that can, and who may use none has to connect anew
            self._hang_up()

    # -- downwards -------------------------------------------------------------------------------------------------

    def _from_upstream(self, message: WebSocketMessage) -> None:
        if not self._cord.shadow:
            scrubbed = self._around.keys.scrub(message.content)
            if scrubbed != message.content:
                message.content = scrubbed
        if self._is_cut:
            message.drop()
        if self._is_cut or not self._open:
            return
        exchange, router, now = self._open[0], self._around.router, time.time()
        attempt = exchange.attempt
        if attempt is None:  # in shadow, where no account would have been found
            self._shadowed(exchange, message)
            return
        self._answered(exchange)
        if attempt.head is None:  # messages have no head of their own
            router.answered(exchange, Head(200, Headers()), now)
        reaction = router.answered(exchange, Message(message.content), now)
        self._alarm(exchange)
        if reaction == "cut" and not self._cord.shadow:
            self._open.popleft()
            self._close(exchange, "", FOREIGN.status)
            self._cut(message)
        elif attempt.ended:
            self._open.popleft()
            self._close(exchange, "", 200)

    def _answered(self, exchange: Exchange) -> None:
        place = self._places.get(exchange.id)
        if place is not None:
            place[2] = self._number()
            place[1] = place[2] if place[1] < 0 else place[1]

    def _cut(self, message: WebSocketMessage) -> None:
        # whose answer comes next on this socket, nobody can say
        message.drop()
        self._is_cut = True
        self._say(FOREIGN)
        self._hang_up()

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
            dump.note(self.flow, {"sent": sent, "verdict": found.kind, "victim": found.victim, **places})

    def _number(self) -> int:
        """Return which message of all that passed here the present one is."""
        kept = self.flow.websocket.messages if self.flow.websocket else []
        return dump.forgotten(self.flow) + len(kept) - 1

    def _say(self, refusal: Refusal) -> None:
        """Tell the client, in an event of its protocol, what became of its message."""
        said = msgspec.json.decode(dialects.of(self._cord.asked.endpoint.dialect).error(refusal, ""))
        heads = dict(errors.headers(self._cord.asked.endpoint.dialect, refusal))
        event = {"type": "error", "status": refusal.status, "error": said["error"], "headers": heads}
        _proxy().inject_websocket(self.flow, True, msgspec.json.encode(event), True)

    def _hang_up(self) -> None:
        # mitmproxy ends a WebSocket properly when one of its two connections is gone
        handler = _proxy().connections.get(self.flow.client_conn.id)
        upstream = handler.transports.get(self.flow.server_conn) if handler else None
        if upstream and upstream.handler:
            asyncio.get_running_loop().call_soon(upstream.handler.cancel, "a WebSocket is ended")

    def _keep(self, message: WebSocketMessage) -> None:
        """Forget the oldest messages of the flow where they are too many: mitmproxy itself keeps all of them."""
        self._kept += len(message.content)
        kept = self.flow.websocket.messages if self.flow.websocket else []
        room = self._around.router.config.limits.keep_streamed
        gone = 0
        while self._kept > room and gone < len(kept) - 1:
            self._kept -= len(kept[gone].content)
            gone += 1
        if gone:
            del kept[:gone]
            dump.forgot(self.flow, gone)


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


def _creates(body: Body) -> bool:
    return body.text("type").strip().casefold() == _CREATE


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
