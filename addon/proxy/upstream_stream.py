"""
Where requests leave and answers arrive: one stream class and one layer class in place of mitmproxy's own.

The stream puts the account's credential on a copy of the request at the moment its header block goes upstream, so that
the flow never holds it. It hands every head, chunk, end and failure of an upstream to the exchange, holds an answer
back when told to, and sends the request again to another account. What is not explicitly let through does not leave.

Only this file touches mitmproxy's private HTTP state machine; `internals` checks at start that it is as we know it.
"""

from __future__ import annotations

import asyncio
import logging
import math
import re
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass, replace
from typing import Any, cast

from mitmproxy import flow, http
from mitmproxy.connection import Server
from mitmproxy.net.http import validate
from mitmproxy.proxy import commands, events, layer
from mitmproxy.proxy.layers.http import (
    DropStream,
    ErrorCode,
    GetHttpConnection,
    HttpErrorHook,
    HttpLayer,
    HTTPMode,
    HttpRequestHeadersHook,
    HttpResponseHeadersHook,
    HttpStream,
    RequestData,
    RequestEndOfMessage,
    RequestHeaders,
    RequestProtocolError,
    RequestTrailers,
    ResponseData,
    ResponseEndOfMessage,
    ResponseHeaders,
    ResponseProtocolError,
    ResponseTrailers,
    SendHttp,
)
from mitmproxy.proxy.layers.http._base import HttpEvent
from mitmproxy.proxy.layers.http._http1 import Http1Server
from mitmproxy.proxy.layers.http._http2 import Http2Server

from .. import guards, secret_patterns
from ..content_coding import CodingError
from ..values.answer import Chunk, End, Failure, Head, Overdue, Reaction
from ..values.decision import Refusal
from . import header_fields, http1, misdirected, own_responses
from .answer_filter import AnswerFilter
from .exchange_driver import ExchangeDriver
from .redacted_heads import bare
from .shadow import Passthrough
from .upstream_connections import ClientHttp2, ConnectionLayer, Lost, Unprocessed, Upstream, unended
from .websocket_layer import PatchbayWebsocket

logger = logging.getLogger(__name__)

Commands = Generator[commands.Command, Any, None]

_UPWARDS = (RequestHeaders, RequestData, RequestTrailers, RequestEndOfMessage, RequestProtocolError)
_BODY_UPWARDS = frozenset({RequestData, RequestTrailers, RequestEndOfMessage})
_BROKEN = frozenset({ResponseProtocolError, Lost, Unprocessed})
_DOWNWARDS = _BROKEN | {ResponseHeaders, ResponseData, ResponseTrailers, ResponseEndOfMessage}
_BEGINNINGS = frozenset({events.Start, RequestHeaders})
_DRESSED = (RequestHeaders, RequestData, ResponseHeaders)
_ENDS = _BROKEN | {ResponseEndOfMessage}
# One upstream connection takes each stream id once, so attempt n of stream s is stream s + (n-1) * ATTEMPT there.
ATTEMPT = 1 << 40
JOINED = 1 << 16  # bytes for one connection that are joined before they are sent
_QUOTED_BYTES = re.compile(r"\bb(?:'.*'|\".*\")", re.DOTALL)
_QUEUED = 128  # events of a stream that may wait while it gives way to others
RESENDS = 3  # times that a request goes again because its upstream had not looked at it
_CLOSED = "server closed connection"  # mitmproxy's words where an HTTP/1 connection ends before the answer begins
BACKLOG = 4 << 20  # bytes of a stream that a client of HTTP/2 need not take before its upstream is read no further
SHARED_BACKLOG = 64 << 20  # the same, while other streams share the upstream's connection
STALLED = 300.0  # seconds after which such a client is given up
ALIVE = 120.0  # seconds after which an exchange without a bound says that it is no idle connection
SPELL = 0.002  # seconds of work on one answer before it waits for its next turn; see `turns`
_HEAD_TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


@dataclass
class PatchbayNextHook(commands.StartHook):
    """The addon is asked for the next route of a flow: it sets one and `again`, or leaves things as they are."""

    turn: Turn


@dataclass
class Turn:
    """The argument of `patchbay_next`."""

    flow: http.HTTPFlow
    again: bool = False
    instead: Refusal | None = None  # what the client gets in place of the answer that is held


@dataclass
class PatchbayGiveWayHook(commands.StartHook):
    """The addon lets others go on before the next piece of an answer that takes long to read."""

    pause: Pause


@dataclass
class Pause:
    """
    The argument of `patchbay_give_way`: for how many *seconds*, and the connection that is not read meanwhile.

    With *over*, the pause lasts until that says so.
    """

    flow: http.HTTPFlow
    connection: Server | None
    seconds: float = SPELL
    over: Callable[[], bool] | None = None


class _Timer(commands.RequestWakeup):
    """
    A wake-up that can be called off.

    mitmproxy's own cannot: each would sleep on, with its exchange's bodies, long after the exchange has ended.
    """

    def __init__(self, seconds: float, what: str) -> None:
        super().__init__(seconds)
        self.what = what  # connect | head | upload | hold | idle | alive
        self.call: asyncio.TimerHandle | None = None


class PatchbayStream(HttpStream):
    """One client request on its way: `flow.patchbay` is a Cord, an Passthrough, or missing, and then nothing leaves."""

    attempt = 1
    upstream_open = False  # the present attempt's answer has not ended yet
    answering = False  # an answer of ours is on its way
    intake: AnswerFilter | None = None  # of the present attempt's answer
    held: list[events.Event] | None = None
    kept: tuple[list[events.Event], Any] | None = None  # the last whole answer of an earlier attempt, and its route
    timer: _Timer | None = None
    upstream: Upstream | None = None  # the connection of the present attempt
    reused = False  # it had served before
    heard = 0  # how often it had been read when it was given
    alone = False  # a connection was lost under this request, so it shares none: the request may be the reason
    reopened = False  # a connection ended while it was made for this request
    resent = 0  # times that the request went again because its upstream had not looked at it
    begun = touched = 0.0  # when this attempt began, and when its upstream last said something
    hold_until = 0.0  # until when an answer is held at most
    backlog = 0  # bytes handed to a client of HTTP/2 since it was last seen how many of them wait for its window
    uploading = False  # the body streams through; once its head is out, it cannot be sent again
    head_sent = False
    waiting = 0  # bytes of a body that came while the stream was paused
    overrun = False  # they were more than may wait

    @property
    def plug(self) -> ExchangeDriver | Passthrough | None:
        return getattr(getattr(self, "flow", None), "patchbay", None)

    @property
    def cord(self) -> ExchangeDriver | None:
        plug = self.plug
        return None if isinstance(plug, Passthrough) else plug

    @property
    def owner(self) -> object:
        cord = self.cord
        return cord.owner if cord else None

    @property
    def wire_id(self) -> int:
        return self.stream_id + (self.attempt - 1) * ATTEMPT

    # -- events in, commands out -----------------------------------------------------------------------------------

    def handle_event(self, event: events.Event) -> Commands:
        # unlike _handle_event this also sees what arrives while the stream is paused for a hook
        if isinstance(event, RequestProtocolError) and (cord := self.cord):
            cord.client_left()
        if self._paused:
            if isinstance(event, RequestData) and (cord := self.cord):
                self.waiting += len(event.data)
                self.overrun = self.overrun or self.waiting > cord.body_limit
                if self.overrun:
                    return _nothing()
            if isinstance(event, events.Wakeup) and isinstance(self._paused.command, GetHttpConnection):
                return self._give_up_connecting(event, self._paused.command)
        return super().handle_event(event)

    def _handle_event(self, event: events.Event) -> Commands:
        try:
            yield from self._on_the_wire(self._sorted(event))
        except Exception as e:
            # mitmproxy would log this and leave the client hanging; the message could quote a header, so only its type
            logger.error("an exchange failed inside: %s", type(e).__name__, exc_info=logger.isEnabledFor(logging.DEBUG))
            yield from self._fail(Refusal(502, "patchbay_failed", "Patchbay could not carry this request"))
        if self.state_errored in (self.client_state, self.server_state) or self.server_state == self.state_done:
            self._disarm()  # a timer that still runs would keep the flow alive

    def _sorted(self, event: events.Event) -> Commands:
        if isinstance(event, events.Wakeup):
            if event.command is self.timer:
                yield from self._time_is_up(self.timer.what)
            return
        kind, cord = type(event), self.cord
        if self.answering and kind in _BODY_UPWARDS:
            return  # it waited in the queue while the answer was made, which does without it
        if isinstance(event, RequestTrailers):
            event.trailers = bare(event.trailers)
        if isinstance(event, HttpEvent) and kind in _DOWNWARDS:
            if event.stream_id != self.wire_id or self.answering or (cord and not self.upstream_open):
                # of an attempt that was given up: it waited in the queue of a paused stream, or came in one piece
                # with what made us answer ourselves
                return
            event.stream_id = self.stream_id  # the client's side of mitmproxy knows only this one
            self.upstream_open = self.upstream_open and kind not in _ENDS
            self.touched = time.monotonic()
            if not self.upstream_open and self.held is None:
                self._disarm()
            if cord and isinstance(event, ResponseData) and self.intake and not self.intake.packed:
                event.data = self.intake.plain(event.data)
                if event.data:
                    yield from self._read(event, cord)
                return
            if cord:
                yield from self._taken_in(event, cord)
                return
        yield from super()._handle_event(event)

    def _taken_in(self, event: HttpEvent, cord: ExchangeDriver) -> Commands:
        """Go on with what an upstream sent as far as it can be read, and without the keys that it quotes."""
        try:
            match event:
                case ResponseData():
                    if self.intake:
                        yield from self._unpacked(event, cord, self.intake)
                    return
                case ResponseHeaders():
                    if not cord.shadow:
                        _validate(event.response)
                    self.intake = cord.intake()
                    has_body = not event.end_stream and self.flow.request.method != "HEAD"
                    self.intake.head(event.response, self.flow.request, has_body=has_body)
                case ResponseTrailers() if self.intake:
                    self.intake.trailers(event.trailers)
                case ResponseEndOfMessage() if self.intake and (rest := self.intake.rest()):
                    intake = self.intake
                    yield from self._read(ResponseData(event.stream_id, rest), cord)
                    if self.intake is not intake:
                        return
        except CodingError as e:
            yield from self._unreadable(cord, str(e))
            return
        yield from self._read(event, cord)

    def _unpacked(self, event: ResponseData, cord: ExchangeDriver, intake: AnswerFilter) -> Commands:
        """Go on with the pieces of *event*; others get their turn in between, for there may be many."""
        begun = time.monotonic()
        kept = self.server_state != self.state_stream_response_body
        for piece in intake.feed(event.data, kept=kept):
            # what arrives in a pause is queued, and the queue must not grow
            if time.monotonic() - begun > SPELL and len(self._paused_event_queue) < _QUEUED:
                yield self._give_way()
                begun = time.monotonic()
            if self.intake is not intake or cord.left:
                return  # it was given up meanwhile
            if piece:
                yield from self._read(ResponseData(event.stream_id, piece), cord)

    def _give_way(self) -> PatchbayGiveWayHook:
        server = self.context.server  # one of HTTP/2 has other streams, which go on
        return PatchbayGiveWayHook(Pause(self.flow, None if server.alpn == b"h2" else server))

    def _read(self, event: HttpEvent, cord: ExchangeDriver) -> Commands:
        """Have *cord* take note of *event* and return what follows. No generator: it is called for every chunk."""
        if self.held is None and isinstance(event, ResponseData | ResponseEndOfMessage):
            if cord.answered(Chunk(event.data) if isinstance(event, ResponseData) else End()) == "cut":
                return self._cut(cord, cord.blocked)
            return self._passing(event, cord)
        following: Commands = super()._handle_event(event)
        return following

    def _unreadable(self, cord: ExchangeDriver, why: str) -> Commands:
        """Give up an answer in which a key could be quoted that nobody can cover."""
        yield from self._give_up_connection()
        if self.server_state in (self.state_wait_for_response_headers, self.state_hold):
            broken = ResponseProtocolError(self.stream_id, why, ErrorCode.GENERIC_SERVER_ERROR)
            yield from self.handle_protocol_error(broken)
            return
        cord.answered(Failure("reset", why))
        yield from self._cut(cord, cord.blame("upstream_unreadable", f"The upstream's answer is unusable: {why}"))

    def _passing(self, event: ResponseData | ResponseEndOfMessage, cord: ExchangeDriver) -> Commands:
        """Hand the client's side what it gets of *event*."""
        if isinstance(event, ResponseData):
            event.data = cord.passing(event.data)
            if not event.data:
                return
        elif rest := cord.rest():
            yield from super()._handle_event(ResponseData(event.stream_id, rest))
        yield from super()._handle_event(event)
        if isinstance(event, ResponseData) and self.context.client.alpn == b"h2":
            self.backlog += len(event.data)
            if self.backlog > BACKLOG and self.server_state == self.state_stream_response_body:
                yield from self._wait_for_window(cord)

    def _wait_for_window(self, cord: ExchangeDriver) -> Commands:
        """Read no more of an upstream than its client takes. Over HTTP/1 the client's socket sees to that."""
        self.backlog = unsent = self._unsent()
        if unsent <= BACKLOG // 2:
            return
        if upstream := self.upstream:
            if upstream.is_http2:
                upstream.retired = True  # new streams go elsewhere: this connection may soon not be read
            if upstream.is_shared and unsent < SHARED_BACKLOG:
                self.backlog = BACKLOG // 2  # it is read on for those that are on it, and looked at again soon
                return
        ends = time.monotonic() + STALLED
        yield PatchbayGiveWayHook(
            Pause(
                self.flow,
                self.context.server,
                over=lambda: cord.left or self._unsent() <= BACKLOG // 2 or time.monotonic() > ends,
            )
        )
        self.touched = time.monotonic()
        self.backlog = self._unsent()
        if self.backlog > BACKLOG // 2 and not cord.left:
            yield from self._cut(cord, Refusal(408, "client_stalled", "The client takes nothing of its answer"))

    def _unsent(self) -> int:
        """Return how many bytes of this stream wait for the client to open its window."""
        client = self.above.connections[self.context.client]
        buffers = client.h2_conn.stream_buffers if isinstance(client, Http2Server) else {}
        return sum(len(waiting.data) for waiting in buffers.get(self.stream_id, ()))

    def _on_the_wire(self, generator: Commands) -> Commands:
        reply = None
        while True:
            try:
                command = generator.send(reply)
            except StopIteration:
                return
            if isinstance(command, SendHttp) and isinstance(command.event, _DRESSED):
                command = self._dressed(command)
            elif isinstance(command, HttpErrorHook) and command.flow.error:
                command.flow.error.msg = _discreet(command.flow.error.msg)
            reply = yield command

    def _dressed(self, command: SendHttp) -> SendHttp:
        """Put the copy in the place of what would leave. The one gate: upwards, what has no plug does not pass."""
        plug, event = self.plug, command.event
        if isinstance(event, ResponseHeaders):
            told = plug.client_response(event.response) if plug else event.response
            return command if told is event.response else SendHttp(replace(event, response=told), command.connection)
        if isinstance(plug, Passthrough):
            if isinstance(event, RequestHeaders):
                event = replace(event, request=plug.wire_request(event.request))
            return SendHttp(event, command.connection)
        if plug is None or not plug.ready:
            raise PermissionError("a request without a route")
        if isinstance(event, RequestHeaders):
            assert isinstance(command.connection, Server)
            event = replace(event, request=plug.wire_request(event.request, command.connection))
            self.upstream_open = True
        elif isinstance(event, RequestData) and self.client_state == self.state_done:
            event = replace(event, data=plug.wire_body(event.data))
        return SendHttp(event, command.connection)

    def flow_done(self) -> Commands:
        cord = self.cord
        if cord is None or cord.shadow or not self.flow.websocket:
            yield from super().flow_done()
            return
        self.child_layer = PatchbayWebsocket(
            self.context,
            self.flow,
            cord.body_limit,
            cord.intake().bytes,
            self._give_way,
            cord.client_left,
            cord.upstream_spoke,
        )
        self._handle_event = self.passthrough  # type: ignore[method-assign]
        yield from self.child_layer.handle_event(events.Start())
        # only now: what comes with it must find the layer in its place
        yield SendHttp(ResponseEndOfMessage(self.stream_id), self.context.client)

    # -- connecting ------------------------------------------------------------------------------------------------

    def make_server_connection(self) -> Generator[commands.Command, Any, bool]:
        plug = self.plug
        if plug is None or not (isinstance(plug, Passthrough) or plug.ready):
            raise PermissionError("a request without a route")
        if isinstance(plug, Passthrough):
            return (yield from super().make_server_connection())
        self.begun = time.monotonic()
        self._arm("connect", plug.timeouts.connect)
        connected = yield from super().make_server_connection()
        if connected and (yield from self.check_killed(True)):
            return False  # the client left while the request waited for its connection
        if connected and self.uploading:
            self._arm("upload", 0.0)  # the answer is due when the body is up, however long that takes
        elif connected:
            self._arm("head", plug.timeouts.first_byte)
        return connected

    def _give_up_connecting(self, event: events.Wakeup, command: GetHttpConnection) -> Commands:
        if event.command is not self.timer:
            return
        for connection, waiting in self.above.waiting_for_establishment.items():
            if any(each is command for each in waiting):  # an equal one may be another account's
                self.above.overdue = connection
                # behind an upstream proxy the socket is that of the tunnel
                handler = self.above.connections[connection]
                yield commands.CloseConnection(getattr(handler, "tunnel_connection", connection))
                return
        self.alone = True  # it waits for a stream: the layer opens a connection for it, behind this event
        self._arm("connect", self.cord.timeouts.connect if self.cord else 0.0)

    def handle_protocol_error(self, event: RequestProtocolError | ResponseProtocolError) -> Commands:
        cord = self.cord
        lost = isinstance(event, Lost) or (isinstance(event, ResponseProtocolError) and event.message == _CLOSED)
        if cord and isinstance(event, ResponseProtocolError):
            event = replace(event, message=cord.intake().text(event.message))  # it may quote what came
            server = self.flow.server_conn
            server.error = cord.intake().text(server.error) if server.error else None
        waiting = self.server_state in (self.state_wait_for_response_headers, self.state_hold)
        if (
            cord is None
            or cord.left  # its connections are cancelled then, which is no fault of theirs
            or not waiting
            or self.answering
            or isinstance(event, RequestProtocolError)
            or not (self.client_state == self.state_done or self.uploading)
        ):
            if cord and not cord.left and isinstance(event, ResponseProtocolError) and not self.answering:
                self.upstream_open = False
                cord.answered(self._failure("reset", event.message, shared=lost))
                if self.server_state == self.state_consume_response_body:
                    yield from self._break_off(cord, event.message)
                    return
            yield from super().handle_protocol_error(event)
            return
        self.upstream_open = False
        if lost and self._goes_again(cord, unprocessed=isinstance(event, Unprocessed)):
            self.attempt += 1  # what may still come on the lost connection is dropped
            yield commands.Log("The upstream ended its connection: the request goes again on another", logging.DEBUG)
            yield from self._send()
            return
        self.held = None  # half an answer is none
        if event.code is ErrorCode.CONNECT_FAILED:
            failure = self._failure("connect", event.message, shared=True)
        else:
            kind = "lost" if isinstance(event, Lost) else "reset"
            self.alone = self.alone or kind == "lost"
            failure = self._failure(kind, event.message, shared=lost)
        yield from self._settle(cord.answered(failure), event.message)

    def _goes_again(self, cord: ExchangeDriver, *, unprocessed: bool) -> bool:
        """
        Whether a request whose connection was lost goes once more to the same account, as if nothing had been.

        It does when its upstream has not looked at it; when nothing was read on a connection that had served before,
        which the upstream then closed while the request was on its way; and when others on a connection of HTTP/2 may
        be the reason, if it may be repeated at all.
        """
        if cord.shadow or self.uploading or self.held is not None:
            return False
        if unprocessed:
            self.resent += 1
            return self.resent <= RESENDS
        upstream = self.upstream
        if self.alone or upstream is None:
            return False
        self.alone = upstream.is_http2
        return (self.reused and upstream.heard == self.heard) or (upstream.is_http2 and cord.repeatable)

    def _failure(self, kind: str, message: str, *, shared: bool) -> Failure:
        """Return a failure. One that all requests on its connection share counts once."""
        upstream = self.upstream
        if not shared or upstream is None:
            return Failure(kind, message)
        counted, upstream.blamed = upstream.blamed, True
        return Failure(kind, message, counted=counted)

    # -- time ------------------------------------------------------------------------------------------------------

    @property
    def above(self) -> ConnectionLayer:
        layers = self.context.layers
        found = layers[layers.index(self) - 1]
        assert isinstance(found, ConnectionLayer)
        return found

    def _arm(self, what: str, seconds: float) -> None:
        self._disarm()
        cord = self.cord
        if cord is None:
            return
        if total := cord.timeouts.total:
            left = max(0.001, self.begun + total - time.monotonic())
            seconds = min(seconds or left, left)
        if not seconds:  # mitmproxy closes a client's connection on which nothing happens for `tcp_timeout`
            seconds, what = ALIVE, "alive"
        self.timer = _Timer(seconds, what)
        self.above.command_sources[self.timer] = self
        self.timer.call = cord.wake(seconds, self.timer)

    def _disarm(self) -> None:
        if self.timer:
            self.above.command_sources.pop(self.timer, None)
            if self.timer.call:
                self.timer.call.cancel()
        self.timer = None

    def _time_is_up(self, what: str) -> Commands:
        cord = self.cord
        assert cord is not None
        if what == "alive":
            self._arm("alive", 0.0)
            return
        if what == "hold" and not self._is_silent(cord):
            if time.monotonic() < self.hold_until:
                self._hold(cord)
                return
            reaction: Reaction = cord.answered(Overdue())
            if reaction == "hold":  # its bound is now that of any answer
                self._arm("idle", self._idle_left(cord))
            else:
                yield from self._settle(reaction)
            return
        idle, total, now = cord.timeouts.idle, cord.timeouts.total, time.monotonic()
        if what == "idle" and now < self.touched + (idle or now) and not (total and now >= self.begun + total):
            self._arm("idle", self.touched + idle - now if idle else 0.0)
            return
        why = "no answer in time" if what == "head" else "the answer took too long"
        if self.upstream:
            self.upstream.retired = True
        reaction = cord.answered(self._failure("timeout", why, shared=True))
        yield from self._abandon()
        self.held = None  # half an answer is none
        if self.server_state in (self.state_wait_for_response_headers, self.state_hold):
            yield from self._settle(reaction, why)
        else:
            yield from self._break_off(cord, why)

    def _hold(self, cord: ExchangeDriver) -> None:
        """Look at what is held again when it has been held for long enough, or has been silent for too long."""
        self._arm("hold", min(max(0.001, self.hold_until - time.monotonic()), self._idle_left(cord) or math.inf))

    def _is_silent(self, cord: ExchangeDriver) -> bool:
        """Whether a good answer that is held has stopped coming; an error is known by its head."""
        idle, held = cord.timeouts.idle, self.held
        head = held[0] if held else None
        good = isinstance(head, ResponseHeaders) and head.response.status_code < 400
        return good and idle > 0 and time.monotonic() >= self.touched + idle

    def _idle_left(self, cord: ExchangeDriver) -> float:
        idle = cord.timeouts.idle
        return max(0.001, self.touched + idle - time.monotonic()) if idle else 0.0

    def _break_off(self, cord: ExchangeDriver, why: str) -> Commands:
        """End an answer that broke off: of a whole one the client has got nothing yet, so it gets an error of ours."""
        if self.server_state == self.state_consume_response_body:
            yield from self._cut(cord, cord.blame("upstream_unreachable", f"The upstream's answer broke off: {why}"))
            return
        broken = ResponseProtocolError(self.stream_id, why, ErrorCode.GENERIC_SERVER_ERROR)
        yield from super().handle_protocol_error(broken)

    # -- holding, and trying again ---------------------------------------------------------------------------------

    def state_wait_for_response_headers(self, event: ResponseHeaders) -> Commands:
        cord = self.cord
        repeatable = self.client_state == self.state_done or self.uploading
        early = self.client_state != self.state_done
        reaction: Reaction = cord.answered(_head(event.response, early)) if cord else "deliver"
        if cord and reaction != "deliver" and (repeatable or reaction == "cut"):
            self.held = [event]
            self.server_state = self.state_hold
            if reaction == "hold":
                self.hold_until = time.monotonic() + cord.hold_seconds
                self._hold(cord)
            else:
                yield from self._settle(reaction)
        else:
            self._arm("idle", cord.timeouts.idle if cord else 0.0)
            yield from super().state_wait_for_response_headers(event)

    def state_hold(self, event: events.Event) -> Commands:
        cord = self.cord
        assert cord is not None and self.held is not None
        self.held.append(event)
        reaction: Reaction = "hold"
        if isinstance(event, ResponseData):
            reaction = cord.answered(Chunk(event.data))
        elif isinstance(event, ResponseEndOfMessage):
            reaction = cord.answered(End())
        if reaction != "hold":
            yield from self._settle(reaction)

    def _settle(self, reaction: Reaction, failure: str = "") -> Commands:
        self._disarm()
        turn = Turn(self.flow)
        before = self.cord.route if self.cord else None
        if reaction == "next":
            # The pause is needed even if the answer is at hand: mitmproxy's HTTP/1 client does its book-keeping after
            # the event we are in, and a request sent on that connection before is lost.
            yield PatchbayNextHook(turn)
            if (yield from self.check_killed(True)):
                yield from self._abandon()
                return
        cord = self.cord
        assert cord is not None
        if turn.again:
            yield from self._abandon()
            yield from self._send_again(before)
        elif turn.instead or reaction == "cut":
            yield from self._give_up_connection() if reaction == "cut" else self._abandon()
            yield from self._fail(turn.instead or cord.blocked)
        elif self.held is not None:
            yield from self._release()
        elif self.kept:  # the present attempt brought no answer, but an earlier one did
            yield from self._abandon()
            self.held, cord.route = self.kept
            yield from self._release()
        else:
            yield from self._abandon()
            yield from self._fail(cord.blame("upstream_unreachable", f"The upstream did not answer: {failure}"))

    def _release(self) -> Commands:
        assert self.held is not None
        if self.upstream_open and (cord := self.cord):
            self._arm("idle", cord.timeouts.idle)
        (head, *rest), self.held = self.held, None
        self.server_state = self.state_wait_for_response_headers
        yield from super().state_wait_for_response_headers(head)
        if self.server_state == self.state_errored:  # killed, or the client left during the hook
            yield from self._abandon()
        for event in rest:
            if isinstance(event, ResponseData | ResponseEndOfMessage) and (cord := self.cord):
                yield from self._passing(event, cord)
            else:
                yield from self.server_state(event)

    def _abandon(self) -> Commands:
        self.intake = None
        if self.upstream_open:
            self.upstream_open = False
            given_up = RequestProtocolError(self.stream_id, "the attempt was given up", ErrorCode.CANCEL)
            yield SendHttp(given_up, self.context.server)

    def _cut(self, cord: ExchangeDriver, refusal: Refusal) -> Commands:
        """End what the client has begun to get; of a whole answer it has got nothing yet, so it gets ours instead."""
        self._disarm()
        yield from self._give_up_connection()
        if self.server_state != self.state_stream_response_body:
            self.response_body_buf.clear()
            self.server_state = self.state_wait_for_response_headers
            yield from self._fail(refusal)
            return
        if told := cord.last_words(refusal):
            yield SendHttp(ResponseData(self.stream_id, told), self.context.client)
        self.flow.error = flow.Error(refusal.code)
        self.client_state = self.server_state = self.state_errored
        yield HttpErrorHook(self.flow)
        broken = ResponseProtocolError(self.stream_id, refusal.code, ErrorCode.KILL)
        yield SendHttp(broken, self.context.client)
        self.flow.live = False
        yield DropStream(self.stream_id)

    def _give_up_connection(self) -> Commands:
        """Leave a connection on which something that is not ours arrived; others share one of HTTP/2, so it stays."""
        yield from self._abandon()
        server = self.context.server
        if server.alpn != b"h2" and server.connected:
            yield commands.CloseConnection(server)

    def _send_again(self, before: Any) -> Commands:
        if self.held and isinstance(self.held[-1], ResponseEndOfMessage):
            self.kept = self.held, before
        self.attempt += 1
        self.held = None
        self.flow.response = None
        self.server_state = self.state_wait_for_response_headers
        if self.uploading:
            yield from self._begin_upload()
            return
        yield from self._send()

    def _send(self) -> Commands:
        """Send the whole request to where the route goes."""
        if not (yield from self.make_server_connection()):
            return
        request, content = self.flow.request, self.flow.request.raw_content
        last = not (content or request.trailers)
        yield SendHttp(RequestHeaders(self.stream_id, request, last), self.context.server)
        if content:
            yield SendHttp(RequestData(self.stream_id, content), self.context.server)
        if request.trailers:
            yield SendHttp(RequestTrailers(self.stream_id, request.trailers), self.context.server)
        yield SendHttp(RequestEndOfMessage(self.stream_id), self.context.server)

    # -- what the client sends -------------------------------------------------------------------------------------

    def state_wait_for_request_headers(self, event: RequestHeaders) -> Commands:
        yield from super().state_wait_for_request_headers(event)
        refused = getattr(self, "flow", None) and self.flow.response
        if refused and not event.end_stream and self.client_state == self.state_consume_request_body:
            yield from self._answer()  # at once: a body that nobody wants is not waited for, nor kept

    def check_invalid(self, request: bool) -> Generator[commands.Command, Any, bool]:
        if request and self.mode is HTTPMode.transparent and self.flow.request.method == "CONNECT":
            self.flow.response = own_responses.refusal("", misdirected.no_proxy(self.context.client), "")
            yield HttpRequestHeadersHook(self.flow)
            yield from self._answer()
            return True
        return (yield from super().check_invalid(request))

    def state_consume_request_body(self, event: events.Event) -> Commands:
        cord = self.cord
        size = len(self.request_body_buf) + (len(event.data) if isinstance(event, RequestData) else 0)
        if cord and (self.overrun or size > cord.body_limit):
            self.request_body_buf.clear()
            yield from self._fail(guards.body_too_large(cord.body_limit))
            return
        self.waiting = 0
        yield from super().state_consume_request_body(event)

    def start_request_stream(self) -> Commands:
        if not self.cord:
            yield from super().start_request_stream()
            return
        self.uploading = True
        self.server_state = self.state_wait_for_response_headers  # what fails from here on is ours to answer
        yield from self._begin_upload()

    def _begin_upload(self) -> Commands:
        if self.head_sent:
            raise PermissionError("an upload cannot be sent twice")
        if not (yield from self.make_server_connection()):
            return
        self.head_sent = True
        self.client_state = self.state_stream_request_body
        yield SendHttp(RequestHeaders(self.stream_id, self.flow.request, False), self.context.server)

    def state_stream_request_body(self, event: RequestData | RequestEndOfMessage) -> Commands:
        cord = self.cord
        if cord and self.overrun:
            yield from self._fail(Refusal(503, "upload_waited", "The upload waited for an account for too long"))
            return
        self.waiting -= min(self.waiting, len(event.data)) if isinstance(event, RequestData) else 0
        yield from super().state_stream_request_body(event)
        ended = isinstance(event, RequestEndOfMessage)
        if cord and ended and self.server_state == self.state_wait_for_response_headers:
            self._arm("head", cord.timeouts.first_byte)

    # -- answers of ours -------------------------------------------------------------------------------------------

    def _fail(self, refusal: Refusal) -> Commands:
        """End the exchange with *refusal*: as an answer while the client has none, else by breaking off."""
        if self.answering or self.server_state not in (self.state_wait_for_response_headers, self.state_hold):
            self.answering = True
            broken = ResponseProtocolError(self.stream_id, refusal.message, ErrorCode.GENERIC_SERVER_ERROR)
            yield from super().handle_protocol_error(broken)
            return
        self.answering = True
        self.held = None
        yield from self._abandon()
        plug = self.cord
        self.flow.response = plug.refusal(refusal) if plug else _plain(refusal)
        yield from self._answer()

    def _answer(self) -> Commands:
        """Give the client the answer of ours that stands in the flow."""
        self.answering = True
        self.client_state = self.state_done  # what still comes in of the request is not waited for
        yield HttpResponseHeadersHook(self.flow)
        if (yield from self.check_killed(True)):
            return
        yield from self.send_response()


class _Streams(dict[int, HttpStream]):
    """The streams of a layer, found by the id of any of their attempts."""

    def __missing__(self, stream_id: int) -> HttpStream:
        if stream_id < ATTEMPT:
            raise KeyError(stream_id)
        return self[stream_id % ATTEMPT]


class PatchbayLayer(ConnectionLayer):
    """mitmproxy's HTTP layer, with our streams in it."""

    def _handle_event(self, event: events.Event) -> Commands:
        if isinstance(event, events.Wakeup) and event.command not in self.command_sources:
            return _nothing()  # of a timer that was called off
        if isinstance(event, events.ConnectionClosed):
            unended.discard(event.connection)
        if isinstance(event, events.Start) and self.context.client.alpn == b"h2":
            self.connections.setdefault(self.context.client, ClientHttp2(self.context.fork()))
        following: Commands = super()._handle_event(event)
        return _joined(self._with_line(following) if self.line else following)

    def _with_line(self, following: Commands) -> Commands:
        yield from following
        yield from self.serve_line()

    def make_stream(self, stream_id: int) -> Commands:
        self.streams[stream_id] = PatchbayStream(self.context.fork(), stream_id)
        yield from self.event_to_child(self.streams[stream_id], events.Start())

    def event_to_child(self, child: layer.Layer | HttpStream, event: events.Event) -> Commands:
        if type(event) in _BEGINNINGS and not isinstance(child, HttpStream):
            http1.adopt(child)
        if isinstance(event, events.DataReceived) and isinstance(child, Http1Server) and len(child.buf) > http1.HEAD:
            return _refuse_head(child)
        if isinstance(event, _UPWARDS) and not isinstance(child, HttpStream):
            stream = self.streams.get(event.stream_id)
            if isinstance(stream, PatchbayStream) and stream.attempt > 1:
                event = replace(event, stream_id=stream.wire_id)
        elif isinstance(event, ResponseHeaders) and isinstance(child, Http1Server) and child.request:
            event = replace(event, response=_framed(child.request, event))
        return super().event_to_child(child, event)


def _joined(generator: Commands) -> Commands:
    """
    Join what goes to one connection in one go: a head and its body, or the events of a stream that came together.

    mitmproxy writes each by itself, and each writing is a call of the system that costs more than all else done to it.
    Nothing waits: what one event brings about is sent before the next is looked at.
    """
    waiting: list[bytes] = []
    size, connection = 0, None
    for command in generator:
        data = command.data if isinstance(command, commands.SendData) and command.connection is connection else None
        if data is not None and size + len(data) <= JOINED:
            waiting.append(data)
            size += len(data)
            continue
        if connection is not None:
            yield commands.SendData(connection, b"".join(waiting))
            connection = None
        if isinstance(command, commands.SendData):
            waiting, size, connection = [command.data], len(command.data), command.connection
        else:
            if isinstance(command, commands.Log):
                command = commands.Log(_discreet(command.message), command.level)
            yield command
    if connection is not None:
        yield commands.SendData(connection, b"".join(waiting))


def _discreet(message: str) -> str:
    """Return *message* without the bytes that it quotes: what mitmproxy cannot read of a client may hold a key."""
    return secret_patterns.covered(_QUOTED_BYTES.sub("(not shown)", message))


def _nothing() -> Commands:
    yield from ()


def _refuse_head(child: Http1Server) -> Commands:
    """End a connection whose client sends on and on, and never what it wants."""
    if child.state == child.read_headers:
        yield commands.SendData(child.conn, _HEAD_TOO_LARGE)
    child.state = child.done
    yield commands.CloseConnection(child.conn)


class Closed(layer.Layer):
    """A connection that goes nowhere: what is left when nobody could say what it should be."""

    def _handle_event(self, event: events.Event) -> Commands:
        if isinstance(event, events.Start):
            yield commands.CloseConnection(self.context.client)


def install(decided: layer.NextLayer) -> None:
    """Put our layer in the place of mitmproxy's. To be called when the built-in `next_layer` has decided."""
    for found in decided.context.layers:
        if type(found) is HttpLayer:
            adopt(found)


def adopt(found: HttpLayer) -> None:
    """Make *found*, a layer of mitmproxy's own that has not begun yet, one of ours."""
    found.__class__ = PatchbayLayer
    found.streams = _Streams(found.streams)
    cast("PatchbayLayer", found).take_over()


def _validate(response: http.Response) -> None:
    """Raise CodingError for a head that can be read in two ways; mitmproxy looks later, and answers with a page."""
    try:
        validate.validate_headers(response)
    except ValueError as e:
        raise CodingError(f"its head cannot be trusted: {_discreet(str(e))}") from None


def _head(response: http.Response, early: bool) -> Head:
    return Head(response.status_code, header_fields.read(response.headers), early)


def _plain(refusal: Refusal) -> http.Response:
    return own_responses.refusal("", refusal, "")


def _framed(request: http.Request, event: ResponseHeaders) -> http.Response:
    """
    Give an HTTP/1 answer of unknown length a framing of its own.

    From an HTTP/2 upstream it has none, mitmproxy then ends it by closing, and a broken answer would look complete.
    """
    response = event.response
    if (
        event.end_stream
        or response.status_code < 200
        or response.status_code in (204, 304)
        or request.http_version != "HTTP/1.1"
        or request.method in ("HEAD", "CONNECT")
        or "content-length" in response.headers
        or "transfer-encoding" in response.headers
    ):
        return response
    response = response.copy()
    response.headers["transfer-encoding"] = "chunked"
    return response
