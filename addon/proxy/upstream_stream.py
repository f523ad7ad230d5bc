"""
The stream of one client request, in place of mitmproxy's own: every answer passes it before the client sees any of it.

The exchange's driver reacts to each head, chunk, end and failure of an upstream. This file, `upstream_attempt` and
`upstream_layer` use mitmproxy's private HTTP state machine, which `compatibility` checks at start.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass, replace
from typing import Any

from mitmproxy import flow, http
from mitmproxy.connection import Server
from mitmproxy.proxy import commands, events
from mitmproxy.proxy.layers import http as mitm
from mitmproxy.proxy.layers.http._base import HttpEvent
from mitmproxy.proxy.layers.http._http2 import Http2Server

from .. import guards
from ..accounts import mends
from ..content_coding import CodingError
from ..replacement import CROSSTALK
from ..values.answer import Chunk, End, Failure, FailureKind, Head, Overdue, Reaction
from ..values.decision import Refusal
from . import header_fields, misdirected, own_responses
from .answer_filter import AnswerFilter
from .exchange_driver import ExchangeDriver
from .http1 import no_commands
from .stream_lane import LaneStream, OffLane
from .upstream_connections import Commands, Lost, Unprocessed

logger = logging.getLogger(__name__)

_BODY_UPWARDS = frozenset({mitm.RequestData, mitm.RequestTrailers, mitm.RequestEndOfMessage})
_PASSED_UP = _BODY_UPWARDS | {mitm.RequestHeaders}
_BREAKS = frozenset({mitm.ResponseProtocolError, Lost, Unprocessed})
_PASSED_DOWN = frozenset({
    mitm.ResponseHeaders, mitm.ResponseData, mitm.ResponseTrailers, mitm.ResponseEndOfMessage,
})  # fmt: skip
_DOWNWARDS = _BREAKS | _PASSED_DOWN
_UPSTREAM_ENDS = _BREAKS | {mitm.ResponseEndOfMessage}
_QUEUED = 128  # events of a stream that may wait while it pauses
_CLOSED = "server closed connection"  # mitmproxy's words where an HTTP/1 connection ends before the answer begins
BACKLOG = 4 << 20  # bytes of a stream that wait for the window of an HTTP/2 client; above, its upstream is not read
SHARED_BACKLOG = 64 << 20  # the same, while other streams share the upstream's connection
STALLED = 300.0  # seconds after which such a client is given up
SPELL = 0.002  # seconds of work on one answer before the stream pauses for others


@dataclass
class PatchbayNextHook(commands.StartHook):
    """Ask the addon for the next lease of a flow."""

    wanted: NextAttempt


@dataclass
class NextAttempt:
    """The argument of `patchbay_next`: the addon sets the driver's next lease and *again*, or changes nothing."""

    flow: http.HTTPFlow
    again: bool = False
    instead: Refusal | None = None  # what the client gets in place of the answer that is held


@dataclass
class PatchbayGiveWayHook(commands.StartHook):
    """Pause a stream while others go on."""

    pause: Pause


@dataclass
class Pause:
    """The argument of `patchbay_give_way`: *seconds*, or until *over* is True; *connection* is not read meanwhile."""

    flow: http.HTTPFlow
    connection: Server | None
    seconds: float = SPELL
    over: Callable[[], bool] | None = None


class PatchbayStream(LaneStream):
    """One client request, through all of its attempts."""

    held: list[events.Event] | None = None
    kept: tuple[list[events.Event], Any] | None = None  # the last whole answer of an earlier attempt, and its lease
    hold_until = 0.0  # until when an answer is held at most
    backlog = 0  # bytes handed to an HTTP/2 client since its unsent bytes were counted
    head_sent = False  # of an upload
    waiting = 0  # bytes of a body that came while the stream was paused
    overrun = False  # they were more than may wait

    def handle_event(self, event: events.Event) -> Commands:
        # unlike _handle_event this also sees what arrives while the stream is paused for a hook
        if type(event) is mitm.RequestProtocolError and (driver := self.driver):
            driver.client_left()
        if self._paused:
            if isinstance(event, mitm.RequestData) and (driver := self.driver):
                self.waiting += len(event.data)
                self.overrun = self.overrun or self.waiting > driver.body_limit
                if self.overrun:
                    return no_commands()
            if isinstance(event, events.Wakeup) and isinstance(self._paused.command, mitm.GetHttpConnection):
                return self._give_up_connecting(event, self._paused.command)
        return super().handle_event(event)

    def _handle_event(self, event: events.Event) -> Commands:
        try:
            generator, reply = self._dispatch(event), None
            while True:
                try:
                    command = generator.send(reply)
                except StopIteration:
                    break
                reply = yield self._on_the_wire(command)
        except Exception as e:
            # mitmproxy would log this and leave the client hanging; the message could quote a header, so only its type
            logger.error("an exchange failed inside: %s", type(e).__name__, exc_info=logger.isEnabledFor(logging.DEBUG))
            yield from self._fail(Refusal(502, "patchbay_failed", "Patchbay could not carry this request"))
        if self.timer and (
            self.state_errored in (self.client_state, self.server_state) or self.server_state == self.state_done
        ):
            self._disarm()  # a timer that still runs would keep the flow alive

    def _dispatch(self, event: events.Event) -> Commands:
        """Return what *event* leads to. No generator, as those it calls: each would be one more for every event."""
        kind, driver = type(event), self.driver
        if kind in _DOWNWARDS:
            assert isinstance(event, HttpEvent)
            return self._from_upstream(event, driver)
        if isinstance(event, events.Wakeup):
            due = event.command is self.timer
            return self._time_is_up(self.timer.what) if due and self.timer else no_commands()
        if isinstance(event, OffLane):
            return event.following()
        if self.answering and kind in _BODY_UPWARDS:
            return no_commands()  # queued while the answer was made, which does without it
        if isinstance(event, mitm.RequestTrailers):
            attached = self.attached
            event.trailers = attached.redacted_heads.bare(event.trailers) if attached else http.Headers()
        return self._as_mitmproxy(event)

    def _from_upstream(self, event: HttpEvent, driver: ExchangeDriver | None) -> Commands:
        if event.stream_id != self.wire_id or self.answering or (driver and not self.upstream_open):
            # of an attempt that was given up: it waited in the queue of a paused stream, or came in one piece
            # with what made us answer ourselves
            return no_commands()
        event.stream_id = self.stream_id  # mitmproxy's client side knows only this id
        self.upstream_open = self.upstream_open and type(event) not in _UPSTREAM_ENDS
        self.heard_at = time.monotonic()
        if driver is None:
            return self._as_mitmproxy(event)
        filtering = self.answer_filter
        if filtering and isinstance(event, mitm.ResponseData) and not filtering.is_encoded:
            event.data = filtering.plain(event.data)
            return self._report(event, driver) if event.data else no_commands()
        return self._filter(event, driver)

    def _as_mitmproxy(self, event: events.Event) -> Commands:
        kind = type(event)
        if kind in _PASSED_UP:
            following: Commands = self.client_state(event)
        elif kind in _PASSED_DOWN:
            following = self.server_state(event)
        else:
            following = super()._handle_event(event)
        return following

    def carried(self, size: int) -> OffLane | None:
        """Note that *size* bytes were handed on; return what follows where an HTTP/2 client takes too little."""
        self.backlog += size
        driver = self.driver
        if driver is None or self.backlog <= BACKLOG or self.context.client.alpn != b"h2":
            return None
        return OffLane(self.stream_id, lambda: self._wait_for_window(driver))

    def _filter(self, event: HttpEvent, driver: ExchangeDriver) -> Commands:
        try:
            match event:
                case mitm.ResponseData():
                    if self.answer_filter:
                        yield from self._report_decoded(event, driver, self.answer_filter)
                    return
                case mitm.ResponseHeaders():
                    self.answer_filter = driver.answer_filter()
                    has_body = not event.end_stream and self.flow.request.method != "HEAD"
                    self.answer_filter.head(event.response, self.flow.request, has_body=has_body)
                case mitm.ResponseTrailers() if self.answer_filter:
                    self.answer_filter.trailers(event.trailers)
                case mitm.ResponseEndOfMessage() if self.answer_filter and (rest := self.answer_filter.rest()):
                    filtering = self.answer_filter
                    yield from self._report(mitm.ResponseData(event.stream_id, rest), driver)
                    if self.answer_filter is not filtering:
                        return
        except CodingError as e:
            yield from self._unreadable(driver, str(e))
            return
        yield from self._report(event, driver)

    def _report_decoded(self, event: mitm.ResponseData, driver: ExchangeDriver, filtering: AnswerFilter) -> Commands:
        begun = time.monotonic()
        kept = self.server_state != self.state_stream_response_body
        for piece in filtering.feed(event.data, kept=kept):
            # what arrives in a pause is queued, and the queue must not grow
            if time.monotonic() - begun > SPELL and len(self._paused_event_queue) < _QUEUED:
                yield self._give_way()
                begun = time.monotonic()
            if self.answer_filter is not filtering or driver.left:
                return  # the answer was given up meanwhile
            if piece:
                yield from self._report(mitm.ResponseData(event.stream_id, piece), driver)

    def _give_way(self) -> PatchbayGiveWayHook:
        server = self.context.server  # one of HTTP/2 has other streams, which go on
        return PatchbayGiveWayHook(Pause(self.flow, None if server.alpn == b"h2" else server))

    def _report(self, event: HttpEvent, driver: ExchangeDriver) -> Commands:
        """Tell *driver* of *event* and return what follows. No generator: it is called for every chunk."""
        if self.held is None and isinstance(event, mitm.ResponseData | mitm.ResponseEndOfMessage):
            if driver.answered(Chunk(event.data) if isinstance(event, mitm.ResponseData) else End()) == "cut":
                return self._cut(driver, CROSSTALK)
            return self._deliver(event, driver)
        return self._as_mitmproxy(event)

    def _unreadable(self, driver: ExchangeDriver, why: str) -> Commands:
        """Give up an answer that cannot be decoded: keys that it quotes could not be covered."""
        yield from self._give_up_connection()
        if self._is_undelivered():
            broken = mitm.ResponseProtocolError(self.stream_id, why, mitm.ErrorCode.GENERIC_SERVER_ERROR)
            yield from self.handle_protocol_error(broken)
            return
        driver.answered(Failure("reset", why))
        yield from self._cut(
            driver, driver.upstream_refusal("upstream_unreadable", f"The upstream's answer is unusable: {why}")
        )

    def _deliver(self, event: mitm.ResponseData | mitm.ResponseEndOfMessage, driver: ExchangeDriver) -> Commands:
        if isinstance(event, mitm.ResponseData):
            event.data = driver.deliver(event.data)
            if not event.data:
                return
        elif rest := driver.deliver_rest():
            yield from self.server_state(mitm.ResponseData(event.stream_id, rest))
        yield from self.server_state(event)
        if isinstance(event, mitm.ResponseData) and self.context.client.alpn == b"h2":
            self.backlog += len(event.data)
            if self.backlog > BACKLOG and self.server_state == self.state_stream_response_body:
                yield from self._wait_for_window(driver)

    def _wait_for_window(self, driver: ExchangeDriver) -> Commands:
        """Read no more of an upstream than its client takes. Over HTTP/1 the client's socket sees to that."""
        self.backlog = unsent = self._unsent_bytes()
        if unsent <= BACKLOG // 2:
            return
        if upstream := self.upstream:
            upstream.retired = True  # new streams go elsewhere: this connection may soon not be read
            if upstream.is_shared and unsent < SHARED_BACKLOG:
                self.backlog = BACKLOG // 2  # the connection is read on for its other streams; count again soon
                return
        ends = time.monotonic() + STALLED

        def is_over() -> bool:
            return driver.left or self._unsent_bytes() <= BACKLOG // 2 or time.monotonic() > ends

        yield PatchbayGiveWayHook(Pause(self.flow, self.context.server, over=is_over))
        self.heard_at = time.monotonic()
        self.backlog = self._unsent_bytes()
        if self.backlog > BACKLOG // 2 and not driver.left:
            yield from self._cut(driver, Refusal(408, "client_stalled", "The client takes nothing of its answer"))

    def _unsent_bytes(self) -> int:
        client = self.above.connections[self.context.client]
        buffers = client.h2_conn.stream_buffers if isinstance(client, Http2Server) else {}
        return sum(len(waiting.data) for waiting in buffers.get(self.stream_id, ()))

    def flow_done(self) -> Commands:
        attached = self.attached
        ours = attached.websocket(self.context, self.flow, self._give_way) if attached and self.flow.websocket else None
        if ours is None:
            yield from super().flow_done()
            return
        self.child_layer = ours
        self._handle_event = self.passthrough  # type: ignore[method-assign]
        yield from self.child_layer.handle_event(events.Start())
        # only now: what comes with it must find the layer in its place
        yield mitm.SendHttp(mitm.ResponseEndOfMessage(self.stream_id), self.context.client)

    def handle_protocol_error(self, event: mitm.RequestProtocolError | mitm.ResponseProtocolError) -> Commands:
        driver = self.driver
        if driver is None or isinstance(event, mitm.RequestProtocolError):
            yield from super().handle_protocol_error(event)
        else:
            lost = isinstance(event, Lost) or event.message == _CLOSED
            event = replace(event, message=driver.answer_filter().text(event.message))  # it may quote what came
            server = self.flow.server_conn
            server.error = driver.answer_filter().text(server.error) if server.error else None
            yield from self._upstream_failed(event, driver, lost=lost)

    def _upstream_failed(self, event: mitm.ResponseProtocolError, driver: ExchangeDriver, *, lost: bool) -> Commands:
        if driver.left or self.answering:  # a client's connections are cancelled with it, which is no failure
            yield from super().handle_protocol_error(event)
            return
        if not (self._is_undelivered() and (self.client_state == self.state_done or self.uploading)):
            driver.answered(self._failure("reset", event.message, shared=lost))
            if self.server_state == self.state_consume_response_body:
                yield from self._break_off(driver, event.message)
            else:
                yield from super().handle_protocol_error(event)
            return
        if lost and self.held is None and self._goes_again(driver, unprocessed=isinstance(event, Unprocessed)):
            self.attempt += 1  # what may still come on the lost connection is dropped
            yield commands.Log("The upstream ended its connection: the request goes again on another", logging.DEBUG)
            yield from self._send_request()
            return
        self.held = None  # half an answer is none
        if event.code is mitm.ErrorCode.CONNECT_FAILED:
            failure = self._failure("connect", event.message, shared=True)
        else:
            kind: FailureKind = "lost" if isinstance(event, Lost) else "reset"
            self.alone = self.alone or kind == "lost"
            failure = self._failure(kind, event.message, shared=lost)
        yield from self._carry_out(driver.answered(failure), event.message)

    def _is_undelivered(self) -> bool:
        return self.server_state in (self.state_wait_for_response_headers, self.state_hold)

    def _time_is_up(self, what: str) -> Commands:
        driver = self.driver
        assert driver is not None
        if what == "alive":
            self._arm("alive", 0.0)
        elif what == "hold" and not self._is_silent(driver):
            yield from self._held_long_enough(driver)
        elif what == "idle" and self._goes_on(driver):
            self._arm("idle", self._idle_left(driver))
        else:
            why = "no answer in time" if what == "head" else "the answer took too long"
            if self.upstream:
                self.upstream.retired = True
            reaction = driver.answered(self._failure("timeout", why, shared=True))
            yield from self._abandon()
            self.held = None  # half an answer is none
            if self._is_undelivered():
                yield from self._carry_out(reaction, why)
            else:
                yield from self._break_off(driver, why)

    def _break_off(self, driver: ExchangeDriver, why: str) -> Commands:
        if self.server_state == self.state_consume_response_body:
            refusal = driver.upstream_refusal("upstream_unreachable", f"The upstream's answer broke off: {why}")
            yield from self._cut(driver, refusal)
            return
        broken = mitm.ResponseProtocolError(self.stream_id, why, mitm.ErrorCode.GENERIC_SERVER_ERROR)
        yield from super().handle_protocol_error(broken)

    def state_wait_for_response_headers(self, event: mitm.ResponseHeaders) -> Commands:
        driver = self.driver
        if driver is None:
            yield from super().state_wait_for_response_headers(event)
            return
        early = self.client_state != self.state_done
        head = Head(event.response.status_code, header_fields.read(event.response.headers), early)
        reaction = driver.answered(head)
        if reaction == "deliver" or (early and not self.uploading and reaction != "cut"):
            self._arm("idle", driver.timeouts.idle)
            yield from self._deliver_head(event)
            return
        self.held = [event]
        self.server_state = self.state_hold
        if reaction == "hold":
            self.hold_until = time.monotonic() + driver.hold_seconds
            self._arm_hold(driver)
        else:
            yield from self._carry_out(reaction)

    def _deliver_head(self, head: events.Event) -> Commands:
        yield from super().state_wait_for_response_headers(head)
        if self.server_state == self.state_errored:  # killed, or the client left during the hook
            yield from self._abandon()

    def state_hold(self, event: events.Event) -> Commands:
        driver = self.driver
        assert driver is not None and self.held is not None
        self.held.append(event)
        reaction: Reaction = "hold"
        if isinstance(event, mitm.ResponseData):
            reaction = driver.answered(Chunk(event.data))
        elif isinstance(event, mitm.ResponseEndOfMessage):
            reaction = driver.answered(End())
        if reaction != "hold":
            yield from self._carry_out(reaction)

    def _arm_hold(self, driver: ExchangeDriver) -> None:
        self._arm("hold", min(max(0.001, self.hold_until - time.monotonic()), self._idle_left(driver) or math.inf))

    def _held_long_enough(self, driver: ExchangeDriver) -> Commands:
        if time.monotonic() < self.hold_until:
            self._arm_hold(driver)
            return
        reaction: Reaction = driver.answered(Overdue())
        if reaction == "hold":  # its bound is now that of any answer
            self._arm("idle", self._idle_left(driver))
        else:
            yield from self._carry_out(reaction)

    def _is_silent(self, driver: ExchangeDriver) -> bool:
        idle, head = driver.timeouts.idle, self.held[0] if self.held else None
        good = isinstance(head, mitm.ResponseHeaders) and head.response.status_code < 400
        return good and idle > 0 and time.monotonic() >= self.heard_at + idle

    def _carry_out(self, reaction: Reaction, failure: str = "") -> Commands:
        self._disarm()
        driver = self.driver
        assert driver is not None
        wanted, before = NextAttempt(self.flow), driver.lease
        if reaction == "next":
            # The pause is needed even if the lease is at hand: mitmproxy's HTTP/1 client does its book-keeping after
            # the event we are in, and a request sent on that connection before is lost.
            yield PatchbayNextHook(wanted)
            if (yield from self.check_killed(True)):
                yield from self._abandon()
                return
        if reaction == "cut":
            yield from self._give_up_connection()
            yield from self._fail(CROSSTALK)
            return
        if self.held is None or wanted.again or wanted.instead:
            yield from self._abandon()
        if wanted.again:
            yield from self._send_again(before)
        elif wanted.instead:
            yield from self._fail(wanted.instead)
        elif self.held is not None:
            yield from self._release()
        elif self.kept:  # the present attempt brought no answer, but an earlier one did
            self.held, driver.lease = self.kept
            yield from self._release()
        else:
            mend = f"; {mends.COMPANY_CA}" if str(failure).startswith("Certificate") else ""
            why = f"The upstream did not answer: {failure}{mend}"
            yield from self._fail(driver.upstream_refusal("upstream_unreachable", why))

    def _release(self) -> Commands:
        assert self.held is not None
        if self.upstream_open and (driver := self.driver):
            self._arm("idle", driver.timeouts.idle)
        (head, *rest), self.held = self.held, None
        self.server_state = self.state_wait_for_response_headers
        yield from self._deliver_head(head)
        for event in rest:
            if isinstance(event, mitm.ResponseData | mitm.ResponseEndOfMessage) and (driver := self.driver):
                yield from self._deliver(event, driver)
            else:
                yield from self.server_state(event)

    def _send_again(self, before: Any) -> Commands:
        if self.held and isinstance(self.held[-1], mitm.ResponseEndOfMessage):
            self.kept = self.held, before
        self.attempt += 1
        self.held = None
        self.server_state = self.state_wait_for_response_headers
        yield from self._begin_upload() if self.uploading else self._send_request()

    def _abandon(self) -> Commands:
        self.answer_filter = None
        yield from super()._abandon()

    def _cut(self, driver: ExchangeDriver, refusal: Refusal) -> Commands:
        """End what the client has begun to get; a client that has got nothing yet gets *refusal* as an answer."""
        self._disarm()
        yield from self._give_up_connection()
        if self.server_state != self.state_stream_response_body:
            self.response_body_buf.clear()
            self.server_state = self.state_wait_for_response_headers
            yield from self._fail(refusal)
            return
        if last := driver.closing_event(refusal):
            yield mitm.SendHttp(mitm.ResponseData(self.stream_id, last), self.context.client)
        self.flow.error = flow.Error(refusal.code)
        self.client_state = self.server_state = self.state_errored
        yield mitm.HttpErrorHook(self.flow)
        broken = mitm.ResponseProtocolError(self.stream_id, refusal.code, mitm.ErrorCode.KILL)
        yield mitm.SendHttp(broken, self.context.client)
        self.flow.live = False
        yield mitm.DropStream(self.stream_id)

    def state_wait_for_request_headers(self, event: mitm.RequestHeaders) -> Commands:
        yield from super().state_wait_for_request_headers(event)
        if self.flow.response and not event.end_stream and self.client_state == self.state_consume_request_body:
            yield from self._send_own_answer()  # at once: the body is not waited for, nor kept

    def check_invalid(self, request: bool) -> Generator[commands.Command, Any, bool]:
        if request and self.mode is mitm.HTTPMode.transparent and self.flow.request.method == "CONNECT":
            self.flow.response = own_responses.error_response("", misdirected.no_proxy(self.context.client), "")
            yield mitm.HttpRequestHeadersHook(self.flow)
            yield from self._send_own_answer()
            return True
        return (yield from super().check_invalid(request))

    def state_consume_request_body(self, event: events.Event) -> Commands:
        driver = self.driver
        size = len(self.request_body_buf) + (len(event.data) if isinstance(event, mitm.RequestData) else 0)
        if driver and (self.overrun or size > driver.body_limit):
            yield from self._fail(guards.body_too_large(driver.body_limit))
            return
        self.waiting = 0
        yield from super().state_consume_request_body(event)

    def start_request_stream(self) -> Commands:
        if not self.driver:
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
        yield mitm.SendHttp(mitm.RequestHeaders(self.stream_id, self.flow.request, False), self.context.server)

    def state_stream_request_body(self, event: mitm.RequestData | mitm.RequestEndOfMessage) -> Commands:
        driver = self.driver
        if driver and self.overrun:
            yield from self._fail(Refusal(503, "upload_waited", "The upload waited for an account for too long"))
            return
        self.waiting -= min(self.waiting, len(event.data)) if isinstance(event, mitm.RequestData) else 0
        yield from super().state_stream_request_body(event)
        ended = isinstance(event, mitm.RequestEndOfMessage)
        if driver and ended and self.server_state == self.state_wait_for_response_headers:
            self._arm("head", driver.timeouts.first_byte)

    def _fail(self, refusal: Refusal) -> Commands:
        """End the exchange with *refusal*: as an answer while the client has none, else by breaking off."""
        if self.answering or not self._is_undelivered():
            self.answering = True
            broken = mitm.ResponseProtocolError(self.stream_id, refusal.message, mitm.ErrorCode.GENERIC_SERVER_ERROR)
            yield from super().handle_protocol_error(broken)
            return
        self.answering = True
        self.held = None
        yield from self._abandon()
        driver = self.driver
        self.flow.response = driver.error_response(refusal) if driver else own_responses.error_response("", refusal, "")
        yield from self._send_own_answer()

    def _send_own_answer(self) -> Commands:
        self.answering = True
        self.client_state = self.state_done  # what still comes in of the request is not waited for
        yield mitm.HttpResponseHeadersHook(self.flow)
        if (yield from self.check_killed(True)):
            return
        yield from self.send_response()
