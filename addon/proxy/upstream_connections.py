"""
Upstream connections: each belongs to one account, and its end tells each request on it whether it was processed.

mitmproxy shares one connection between all requests to an address, closes it at the first GOAWAY, forgets requests
that wait for a stream, and keeps using a connection that no longer answers. These classes replace its own. They know
connections and streams of HTTP/2, and nothing of exchanges.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass
from typing import Any, cast
from weakref import WeakSet

import h2.errors
import h2.events
import h2.exceptions
import hpack
from hyperframe.frame import Frame, GoAwayFrame, HeadersFrame
from mitmproxy.connection import Connection, ConnectionState, Server
from mitmproxy.proxy import commands, events, layer
from mitmproxy.proxy.context import Context
from mitmproxy.proxy.layers import http as mitm
from mitmproxy.proxy.layers.http._base import ReceiveHttp
from mitmproxy.proxy.layers.http._http1 import Http1Client
from mitmproxy.proxy.layers.http._http2 import Http2Client, Http2Server
from mitmproxy.proxy.layers.http._http_h2 import BufferedH2Connection

Commands = Generator[commands.Command, Any, None]

HEADERS = 1 << 18  # bytes of a header list over HTTP/2; h2 allows a quarter of it, and ends the connection above that
HUFFMAN = 1 << 12  # bytes up to which a header list is Huffman-coded: hpack takes quadratic time to do so
IDLE_CONNECTIONS = 32  # unused ones that a client keeps; mitmproxy has a limit for all, and waits for ever above it


@dataclass
class Lost(mitm.ResponseProtocolError):
    """The connection ended before the answer did."""


@dataclass
class Unprocessed(Lost):
    """The upstream has not processed the request, so any request may be sent again (RFC 9113, 8.7)."""


@dataclass(slots=True, eq=False)
class Upstream:
    """One upstream connection, established now or before."""

    owner: object
    connection: Connection
    http: Http1Client | Http2Client | None = None  # None: it speaks something else
    failed: bool = False  # it could not be established
    retired: bool = False  # it takes no new stream
    served: int = 0  # streams that were put on it
    heard: int = 0  # times that it was read, HTTP/2 only
    blamed: bool = False  # its end has counted against its account
    used: int = 0  # the number of the last stream on it, counted over the layer

    @property
    def is_http2(self) -> bool:
        return isinstance(self.http, Http2Client)

    @property
    def usable(self) -> bool:
        """Whether it accepts new streams, now or when it has room."""
        return not (self.failed or self.retired) and self.connection.connected

    @property
    def settled(self) -> bool:
        """Whether its limit of streams is known."""
        return not isinstance(self.http, Http2Client) or self.http.provisional_max_concurrency is None

    @property
    def is_shared(self) -> bool:
        """Whether several streams are on it."""
        return isinstance(self.http, Http2Client) and self.http.h2_conn.open_outbound_streams > 1

    @property
    def limit(self) -> int:
        """How many concurrent streams it accepts."""
        if not isinstance(self.http, Http2Client):
            return 1
        return self.http.provisional_max_concurrency or self.http.h2_conn.remote_settings.max_concurrent_streams

    @property
    def room(self) -> bool:
        """Whether another stream is sent at once."""
        if isinstance(self.http, Http2Client):
            return self.http.h2_conn.open_outbound_streams < self.limit
        return self.http is None or self.http.stream_id is None

    @property
    def idle(self) -> bool:
        """Whether it is established and speaks HTTP without a stream on it."""
        if self.http is None or not self.connection.connected:
            return False
        if isinstance(self.http, Http2Client):
            return not self.http.streams and not self.http.h2_conn.open_outbound_streams
        return self.http.stream_id is None


class ConnectingStream(mitm.HttpStream):
    """A stream as the layer that gives it connections sees it."""

    upstream: Upstream | None = None  # the connection it was given last
    reused = False  # that had served before
    heard = 0  # how often it had been read when it was given
    alone = False  # it must share its connection with no other stream
    reopened = False  # a connection that it waited for ended while it was made

    @property
    def owner(self) -> object:
        """Whose connections it may use: streams of equal owners share."""
        return None


# Connections whose end has reached no layer yet: mitmproxy loses that event when it cancels the task that brings it.
unended: WeakSet[Connection] = WeakSet()


class FreshConnection(mitm.GetHttpConnection):
    """Matches no failed connection: mitmproxy keeps those, and fails every later request to their address with them."""

    def connection_spec_matches(self, connection: Connection) -> bool:
        return not connection.error and super().connection_spec_matches(connection)


class ConnectionLayer(mitm.HttpLayer):
    """
    mitmproxy's HTTP layer, with connections that only the streams of one owner share.

    A stream gets a connection on which it is sent at once. It waits only while its connection is established, and for
    the SETTINGS of a new HTTP/2 connection that has as many streams as are allowed before them.
    """

    upstreams: dict[Connection, Upstream]
    awaiting_settings: list[mitm.GetHttpConnection]
    given: int  # streams that were put on a connection
    overdue: Connection | None  # the last connection that took too long to establish

    def take_over(self) -> None:
        """Set up what mitmproxy's layer, which has not started, lacks."""
        self.upstreams, self.awaiting_settings, self.overdue = {}, [], None
        self.given = 0

    def get_connection(self, event: mitm.GetHttpConnection, *, reuse: bool = True) -> Commands:
        event.__class__ = FreshConnection
        asking = self._asking(event)
        if reuse and not asking.alone:
            for upstream in self._usable(event, asking):
                if upstream.room:
                    yield from self._give(event, upstream)
                    return
            if waiting := self._waiting_list(event, asking):
                waiting.append(event)
                return
            unsettled = any(not upstream.settled for upstream in self._usable(event, asking))
            if unsettled and self._known_stream_limit(event) is None:
                self.awaiting_settings.append(event)
                return
        yield from self._make_room()
        yield from super().get_connection(event, reuse=False)

    def _make_room(self) -> Commands:
        """Close the connections that have been idle longest, so that another one can be opened."""
        idle = sorted((each for each in self.upstreams.values() if each.idle), key=lambda each: each.used)
        for upstream in idle[: max(0, len(idle) - IDLE_CONNECTIONS + 1)]:
            upstream.retired = True
            yield commands.CloseConnection(upstream.connection)

    def register_connection(self, command: mitm.RegisterHttpConnection) -> Commands:
        waiting = self.waiting_for_establishment[command.connection]
        first = self._asking(waiting[0])
        upstream = self._registered(command.connection, first.owner, failed=bool(command.err))
        upstream.retired = first.alone and upstream.is_http2
        if isinstance(upstream.http, Http2Client) and (known := self._known_stream_limit(waiting[0])):
            upstream.http.provisional_max_concurrency = known
        for event in waiting:
            asking = self._asking(event)
            asking.upstream, asking.reused, asking.heard = upstream, False, 0
        if command.err:
            again = self._go_again(command, waiting)
            if waiting:
                yield from super().register_connection(command)
            else:
                del self.waiting_for_establishment[command.connection]
            for event in again:
                yield from self.get_connection(event)
            return
        if not upstream.is_http2:
            upstream.served = 1
            self._use(upstream)
            yield from super().register_connection(command)
            return
        del self.waiting_for_establishment[command.connection]
        for event in waiting:
            if upstream.room:
                yield from self._give(event, upstream)
            else:
                yield from self.get_connection(event)

    def _go_again(
        self, command: mitm.RegisterHttpConnection, waiting: list[mitm.GetHttpConnection]
    ) -> list[mitm.GetHttpConnection]:
        """Take out of *waiting* the streams that may try again: the upstream accepted the connection and closed it."""
        connection = command.connection  # nothing was sent on it
        accepted = isinstance(connection, Server) and connection.timestamp_tcp_setup is not None
        if not accepted or connection is self.overdue:
            return []
        again = [event for event in waiting if not self._asking(event).reopened]
        waiting[:] = [event for event in waiting if self._asking(event).reopened]
        for event in again:
            self._asking(event).reopened = True
        return again

    def _asking(self, event: mitm.GetHttpConnection) -> ConnectingStream:
        return cast("ConnectingStream", self.command_sources[event])

    def retry_waiting(self) -> Commands:
        """Give connections to the streams that wait for SETTINGS, which may be known now or never will be."""
        waiting, self.awaiting_settings = self.awaiting_settings, []
        for event in waiting:
            yield from self.get_connection(event)

    def _give(self, event: mitm.GetHttpConnection, upstream: Upstream) -> Commands:
        child = self.command_sources.pop(event)
        asking = cast("ConnectingStream", child)
        asking.upstream, asking.reused, asking.heard = upstream, upstream.served > 0, upstream.heard
        upstream.served += 1
        self._use(upstream)
        yield from self.event_to_child(child, mitm.GetHttpConnectionCompleted(event, (upstream.connection, None)))

    def _use(self, upstream: Upstream) -> None:
        self.given += 1
        upstream.used = self.given

    def _usable(self, event: mitm.GetHttpConnection, asking: ConnectingStream) -> list[Upstream]:
        early = self.context.server  # mitmproxy may have opened it before the first request
        if early in self.connections and early not in self.upstreams and early.connected:
            self._registered(early, asking.owner)
        gone = [each for each in self.upstreams if each.state is ConnectionState.CLOSED]
        for each in gone:
            del self.upstreams[each]
        return [
            upstream
            for upstream in self.upstreams.values()
            if upstream.usable and upstream.owner == asking.owner and event.connection_spec_matches(upstream.connection)
        ]

    def _waiting_list(
        self, event: mitm.GetHttpConnection, asking: ConnectingStream
    ) -> list[mitm.GetHttpConnection] | None:
        known = self._known_stream_limit(event)
        for connection, waiting in self.waiting_for_establishment.items():
            first = self._asking(waiting[0])
            mine = first.owner == asking.owner and not first.alone
            if mine and event.connection_spec_matches(connection) and len(waiting) < (known or len(waiting) + 1):
                return waiting
        return None

    def _known_stream_limit(self, event: mitm.GetHttpConnection) -> int | None:
        for upstream in reversed(self.upstreams.values()):
            if upstream.is_http2 and upstream.settled and event.connection_spec_matches(upstream.connection):
                return max(1, upstream.limit)
        return None

    def _registered(self, connection: Connection, owner: object, *, failed: bool = False) -> Upstream:
        """Return *connection*, which belongs to *owner* from now on."""
        if connection not in self.upstreams:
            found = None if failed else _http_client(self.connections[connection])
            self.upstreams[connection] = upstream = Upstream(owner, connection, found, failed)
            if not failed:
                unended.add(connection)
            if isinstance(found, Http2Client):
                _adopt(found, upstream)
        return self.upstreams[connection]


def _http_client(child: layer.Layer) -> Http1Client | Http2Client | None:
    found: layer.Layer | None = child
    while found is not None and not isinstance(found, Http1Client | Http2Client):
        found = getattr(found, "child_layer", None)
    return found


def _adopt(found: Http2Client, upstream: Upstream) -> None:
    found.__class__ = UpstreamHttp2
    cast("UpstreamHttp2", found).upstream = upstream
    found.h2_conn.__class__ = Frames
    frames = cast("Frames", found.h2_conn)
    frames._frame_dispatch_table[GoAwayFrame] = frames.go_away
    _widen(frames)


@dataclass
class GoAway(h2.events.Event):
    """The upstream accepts no new streams and has not processed those above *last*. h2's own event ends all."""

    last: int = 0
    code: int = 0


class Frames(BufferedH2Connection):
    """h2's connection, but it goes on after a GOAWAY, and delivers what came before a malformed frame."""

    broken = False

    def go_away(self, frame: GoAwayFrame) -> tuple[list[Frame], list[h2.events.Event]]:
        return [], [GoAway(frame.last_stream_id, frame.error_code)]

    def _receive_frame(self, frame: Frame) -> list[Any]:
        if self.broken:
            return []
        try:
            return super()._receive_frame(frame)
        except h2.exceptions.ProtocolError as e:
            if _is_about_one_stream(frame, e):
                self.reset_stream(frame.stream_id, h2.errors.ErrorCodes.PROTOCOL_ERROR)
                return [
                    h2.events.StreamReset(stream_id=frame.stream_id, error_code=h2.errors.ErrorCodes.PROTOCOL_ERROR)
                ]
            self.broken = True
            return [e]  # mitmproxy takes it for an event


def _is_about_one_stream(frame: Frame, error: h2.exceptions.ProtocolError) -> bool:
    """Whether *frame* makes a malformed message and harms no other (RFC 9113, 8.1.1); h2 ends the connection then."""
    if isinstance(error, h2.exceptions.InvalidBodyLengthError):
        return True
    # an error with a cause is about a header block that cannot be decoded, or a frame that is not allowed now
    return isinstance(frame, HeadersFrame) and type(error) is h2.exceptions.ProtocolError and error.__cause__ is None


def _widen(connection: BufferedH2Connection) -> None:
    connection.encoder.__class__ = _Encoder
    connection.decoder.max_header_list_size = HEADERS


class _Encoder(hpack.Encoder):
    """hpack's encoder, in linear time."""

    def encode(self, headers: Any, huffman: bool = True) -> bytes:
        fields = list(headers)
        return super().encode(fields, huffman and sum(len(field[0]) + len(field[1]) for field in fields) <= HUFFMAN)


class UpstreamHttp2(Http2Client):
    """mitmproxy's HTTP/2 client that reports lost and unprocessed streams; once retired, it ends its present ones."""

    upstream: Upstream

    def _handle_event(self, event: events.Event) -> Commands:
        if type(event) is events.DataReceived:
            self.upstream.heard += 1
        elif type(event) is mitm.RequestProtocolError:
            self.streams.pop(self.our_stream_id.get(event.stream_id, 0), None)
        return self._and_close(super()._handle_event(event))

    def _and_close(self, following: Commands) -> Commands:
        """Close a retired connection after *following*: h2 may close a stream before its end is passed on."""
        yield from following
        if self.upstream.retired and self.conn.connected and not self.h2_conn.open_outbound_streams:
            self.streams.clear()
            self.h2_conn.close_connection()
            yield commands.SendData(self.conn, self.h2_conn.data_to_send())
            yield from self.close_connection("")

    def handle_h2_event(self, event: h2.events.Event) -> Generator[commands.Command, Any, bool]:
        handler = _HANDLERS.get(type(event))
        return handler(self, event) if handler else super().handle_h2_event(event)

    def go_away(self, event: GoAway) -> Generator[commands.Command, Any, bool]:
        self.upstream.retired = True
        message = f"HTTP/2 connection closed by the upstream ({_name(event.code)})"
        for stream_id in [each for each in self.streams if each > event.last]:
            del self.streams[stream_id]
            if not self.is_closed(stream_id):
                self.h2_conn.reset_stream(stream_id, h2.errors.ErrorCodes.CANCEL)
            yield ReceiveHttp(Unprocessed(stream_id, message, mitm.ErrorCode.GENERIC_SERVER_ERROR))
        return False

    def reset(self, event: h2.events.StreamReset) -> Generator[commands.Command, Any, bool]:
        if event.error_code != h2.errors.ErrorCodes.REFUSED_STREAM or event.stream_id not in self.streams:
            return (yield from super().handle_h2_event(event))
        self.upstream.retired = True  # it is at its limit
        del self.streams[event.stream_id]
        yield ReceiveHttp(Unprocessed(event.stream_id, "stream refused", mitm.ErrorCode.GENERIC_SERVER_ERROR))
        return False

    def skip(self, event: h2.events.UnknownFrameReceived) -> Generator[commands.Command, Any, bool]:
        """Skip a frame of an unknown type; mitmproxy logs each."""
        yield from ()
        return False

    def close_connection(self, msg: str) -> Commands:
        yield commands.CloseConnection(self.conn)
        lost, self.streams = self.streams, {}
        self._handle_event = self.done  # type: ignore[method-assign]
        for stream_id in lost:
            yield ReceiveHttp(Lost(stream_id, msg, mitm.ErrorCode.GENERIC_SERVER_ERROR))


_HANDLERS: dict[type, Callable[[UpstreamHttp2, Any], Generator[commands.Command, Any, bool]]] = {
    GoAway: UpstreamHttp2.go_away,
    h2.events.StreamReset: UpstreamHttp2.reset,
    h2.events.UnknownFrameReceived: UpstreamHttp2.skip,
}


class ClientHttp2(Http2Server):
    """
    mitmproxy's HTTP/2 server, but it sees a cancel that comes in one piece with the end of the request.

    A head larger than the client accepts fails its own stream; sent, it would end all streams of the connection.
    """

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.h2_conn.local_settings.max_header_list_size = HEADERS
        self.h2_conn.local_settings.acknowledge()
        _widen(self.h2_conn)

    def _handle_event(self, event: events.Event) -> Commands:
        if type(event) is mitm.ResponseHeaders:
            most = self.h2_conn.remote_settings.max_header_list_size
            if most is not None and _size(event.response.headers.fields) > most:
                message = "the answer has larger headers than the client accepts"
                event = mitm.ResponseProtocolError(event.stream_id, message, mitm.ErrorCode.GENERIC_SERVER_ERROR)
        following: Commands = super()._handle_event(event)
        return following

    def handle_h2_event(self, event: h2.events.Event) -> Generator[commands.Command, Any, bool]:
        if isinstance(event, h2.events.StreamReset) and event.stream_id not in self.streams:
            return self._cancelled(event)
        following: Generator[commands.Command, Any, bool] = super().handle_h2_event(event)
        return following

    def _cancelled(self, event: h2.events.StreamReset) -> Generator[commands.Command, Any, bool]:
        yield ReceiveHttp(mitm.RequestProtocolError(event.stream_id, "stream reset by client", mitm.ErrorCode.CANCEL))
        return False


def _size(fields: Iterable[tuple[bytes, bytes]]) -> int:
    """Return the size of a header list as HTTP/2 counts it, with some room for the status."""
    return 64 + sum(len(name) + len(value) + 32 for name, value in fields)


def _name(code: int) -> str:
    try:
        return h2.errors.ErrorCodes(code).name
    except ValueError:
        return str(code)
