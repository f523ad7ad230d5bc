"""One attempt of an exchange: its connection, its timer, and the gate through which its request leaves."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Generator
from typing import Any

from mitmproxy.connection import Server
from mitmproxy.proxy import commands, events
from mitmproxy.proxy.layers import http as mitm

from ..values.answer import Failure, FailureKind
from .exchange_driver import ExchangeDriver
from .http1 import no_commands
from .log_redaction import discreet
from .shadow import Passthrough
from .upstream_connections import Commands, ConnectingStream, ConnectionLayer

# One upstream connection takes each stream id once, so attempt n of stream s is stream s + (n-1) * ATTEMPT there.
ATTEMPT = 1 << 40
ALIVE = 120.0  # seconds after which an exchange without a bound shows that its connection is not idle
RESENDS = 3  # times that a request goes again because its upstream had not processed it
_GATED = frozenset({mitm.RequestHeaders, mitm.RequestData, mitm.ResponseHeaders, mitm.ResponseData})


class Timer(commands.RequestWakeup):
    """A wake-up that can be cancelled: mitmproxy's own keeps its exchange's bodies until it ends."""

    def __init__(self, seconds: float, what: str) -> None:
        super().__init__(seconds)
        self.what = what  # connect | head | upload | hold | idle | alive
        self.call: asyncio.TimerHandle | None = None


class UpstreamAttempt(ConnectingStream):
    """mitmproxy's stream, an attempt at a time; without a driver or Passthrough at `flow.patchbay`, nothing leaves."""

    flow: Any = None  # until its head has come
    attempt = 1
    upstream_open = False  # the present attempt's answer has not ended yet
    timer: Timer | None = None
    resent = 0  # times that the request went again because its upstream had not processed it
    started_at = heard_at = 0.0  # when this attempt started, and when its upstream last sent something
    uploading = False  # the body streams through; once its head is out, the request cannot be sent again

    @property
    def attached(self) -> ExchangeDriver | Passthrough | None:
        return getattr(self.flow, "patchbay", None)

    @property
    def driver(self) -> ExchangeDriver | None:
        attached = getattr(self.flow, "patchbay", None)
        return None if isinstance(attached, Passthrough) else attached

    @property
    def owner(self) -> object:
        driver = self.driver
        return driver.owner if driver else None

    @property
    def wire_id(self) -> int:
        return self.stream_id + (self.attempt - 1) * ATTEMPT

    @property
    def above(self) -> ConnectionLayer:
        layers = self.context.layers
        found = layers[layers.index(self) - 1]
        assert isinstance(found, ConnectionLayer)
        return found

    def _on_the_wire(self, command: commands.Command) -> commands.Command:
        """Return *command* of this stream as it may leave."""
        if type(command) is mitm.SendHttp:
            return self._gated(command) if type(command.event) in _GATED else command
        if isinstance(command, mitm.HttpErrorHook) and command.flow.error:
            command.flow.error.msg = discreet(command.flow.error.msg)
        return command

    def _gated(self, command: mitm.SendHttp) -> mitm.SendHttp:
        """
        Put the wire copy in the place of what would leave, in its event, which was made to be sent.

        It is the one gate: without a driver, nothing goes upstream.
        """
        attached, event = self.attached, command.event
        if isinstance(event, mitm.ResponseHeaders):
            event.response = attached.client_response(event.response) if attached else event.response
        elif isinstance(event, mitm.ResponseData):
            event.data = attached.client_body(event.data) if attached else event.data
        elif isinstance(attached, Passthrough):
            if isinstance(event, mitm.RequestHeaders):
                event.request = attached.wire_request(event.request)
            elif isinstance(event, mitm.RequestData):
                event.data = attached.wire_body(event.data)
        elif attached is None or not attached.ready:
            raise PermissionError("a request without a lease")
        elif isinstance(event, mitm.RequestHeaders):
            assert isinstance(command.connection, Server)
            event.request = attached.wire_request(event.request, command.connection)
            self.upstream_open = True
        elif isinstance(event, mitm.RequestData) and self.client_state == self.state_done:
            event.data = attached.wire_body(event.data)
        return command

    def make_server_connection(self) -> Generator[commands.Command, Any, bool]:
        attached = self.attached
        if attached is None or not (isinstance(attached, Passthrough) or attached.ready):
            raise PermissionError("a request without a lease")
        if isinstance(attached, Passthrough):
            return (yield from super().make_server_connection())
        self.started_at = time.monotonic()
        self._arm("connect", attached.timeouts.connect)
        connected = yield from super().make_server_connection()
        if connected and (yield from self.check_killed(True)):
            return False  # the client left while the request waited for its connection
        if connected and self.uploading:
            self._arm("upload", 0.0)  # the answer is due when the body is up, however long that takes
        elif connected:
            self._arm("head", attached.timeouts.first_byte)
        return connected

    def _give_up_connecting(self, event: events.Wakeup, command: mitm.GetHttpConnection) -> Commands:
        if event.command is not self.timer:
            return
        for connection, waiting in self.above.waiting_for_establishment.items():
            if any(each is command for each in waiting):  # an equal command may be another account's
                self.above.overdue = connection
                # behind an upstream proxy the socket is that of the tunnel
                handler = self.above.connections[connection]
                yield commands.CloseConnection(getattr(handler, "tunnel_connection", connection))
                return
        self.alone = True  # it waits for a stream: the layer opens a connection for it, behind this event
        self._arm("connect", self.driver.timeouts.connect if self.driver else 0.0)

    def _give_up_connection(self) -> Commands:
        """Abandon the attempt and close its connection, which HTTP/2 shares: another request's answer arrived on it."""
        yield from self._abandon()
        server = self.context.server
        if server.alpn != b"h2" and server.connected:
            yield commands.CloseConnection(server)

    def _abandon(self) -> Commands:
        if self.upstream_open:
            self.upstream_open = False
            given_up = mitm.RequestProtocolError(self.stream_id, "the attempt was given up", mitm.ErrorCode.CANCEL)
            yield mitm.SendHttp(given_up, self.context.server)

    def _failure(self, kind: FailureKind, message: str, *, shared: bool) -> Failure:
        """Return a failure. One that all requests on its connection share counts once."""
        upstream = self.upstream
        if not shared or upstream is None:
            return Failure(kind, message)
        counted, upstream.blamed = upstream.blamed, True
        return Failure(kind, message, counted=counted)

    def _send_request(self) -> Commands:
        if not (yield from self.make_server_connection()):
            return
        request, content = self.flow.request, self.flow.request.raw_content
        last = not (content or request.trailers)
        yield mitm.SendHttp(mitm.RequestHeaders(self.stream_id, request, last), self.context.server)
        if content:
            yield mitm.SendHttp(mitm.RequestData(self.stream_id, content), self.context.server)
        if request.trailers:
            yield mitm.SendHttp(mitm.RequestTrailers(self.stream_id, request.trailers), self.context.server)
        yield mitm.SendHttp(mitm.RequestEndOfMessage(self.stream_id), self.context.server)

    def _goes_again(self, driver: ExchangeDriver, *, unprocessed: bool) -> bool:
        """
        Whether a request whose connection was lost goes again to the same account, without counting as an attempt.

        It goes when it was not processed; when a reused connection ended unread; and, if repeatable, when other
        requests on an HTTP/2 connection may be the reason.
        """
        if not driver.may_resend or self.uploading:
            return False
        if unprocessed:
            self.resent += 1
            return self.resent <= RESENDS
        upstream = self.upstream
        if self.alone or upstream is None:
            return False
        self.alone = upstream.is_http2
        return (self.reused and upstream.heard == self.heard) or (upstream.is_http2 and driver.repeatable)

    def _arm(self, what: str, seconds: float) -> None:
        self._disarm()
        driver = self.driver
        if driver is None:
            return
        if total := driver.timeouts.total:
            left = max(0.001, self.started_at + total - time.monotonic())
            seconds = min(seconds or left, left)
        if not seconds:  # mitmproxy closes a client's connection on which nothing happens for `tcp_timeout`
            seconds, what = ALIVE, "alive"
        self.timer = Timer(seconds, what)
        self.above.command_sources[self.timer] = self
        self.timer.call = driver.wake(seconds, self.timer)

    def _disarm(self) -> None:
        if self.timer:
            self.above.command_sources.pop(self.timer, None)
            if self.timer.call:
                self.timer.call.cancel()
        self.timer = None

    def let_go(self) -> None:
        """Refer to itself no more, so that its memory is free at once: it is over, and nothing comes to it any more."""
        self._disarm()
        self._handle_event = self.client_state = self.server_state = no_commands
        self.context.layers.clear()

    def _idle_left(self, driver: ExchangeDriver) -> float:
        idle = driver.timeouts.idle
        return max(0.001, self.heard_at + idle - time.monotonic()) if idle else 0.0

    def _goes_on(self, driver: ExchangeDriver) -> bool:
        """Whether the answer has not been idle for too long, nor has taken its total: a piece came since the timer."""
        idle, total, now = driver.timeouts.idle, driver.timeouts.total, time.monotonic()
        return now < self.heard_at + (idle or now) and not (total and now >= self.started_at + total)
