"""mitmproxy's HTTP layer with Patchbay's streams, and one write for what one event sends to a connection."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any, cast

from mitmproxy import http
from mitmproxy.proxy import commands, events, layer
from mitmproxy.proxy.layers import http as mitm
from mitmproxy.proxy.layers.http._http1 import Http1Server

from . import http1
from .http1 import no_commands
from .log_redaction import discreet
from .upstream_attempt import ATTEMPT
from .upstream_connections import ClientHttp2, Commands, ConnectionLayer, unended
from .upstream_stream import PatchbayStream

JOINED = 1 << 16  # bytes for one connection that are joined before they are sent
_UPWARDS = frozenset({
    mitm.RequestHeaders, mitm.RequestData, mitm.RequestTrailers, mitm.RequestEndOfMessage, mitm.RequestProtocolError,
})  # fmt: skip
_BEGINNINGS = frozenset({events.Start, mitm.RequestHeaders})
_HEAD_TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


class _Streams(dict[int, mitm.HttpStream]):
    """The streams of a layer, found by the id of any of their attempts; one that is taken out is over."""

    def pop(self, *arguments: Any) -> Any:
        found = super().pop(*arguments)
        if isinstance(found, PatchbayStream):
            found.let_go()
        return found

    def __missing__(self, stream_id: int) -> mitm.HttpStream:
        if stream_id < ATTEMPT:
            raise KeyError(stream_id)
        return self[stream_id % ATTEMPT]


class PatchbayLayer(ConnectionLayer):
    """mitmproxy's HTTP layer with PatchbayStreams."""

    def _handle_event(self, event: events.Event) -> Commands:
        if isinstance(event, events.Wakeup) and event.command not in self.command_sources:
            return no_commands()  # of a timer that was cancelled
        if isinstance(event, events.ConnectionClosed):
            unended.discard(event.connection)
        if type(event) is events.DataReceived and (stream := self._carries(event)):
            return self._read(event, stream)
        if isinstance(event, events.Start) and self.context.client.alpn == b"h2":
            self.connections.setdefault(self.context.client, ClientHttp2(self.context.fork()))
        following: Commands = super()._handle_event(event)
        return _joined(self._and_retry(following) if self.awaiting_settings else following)

    def _carries(self, event: events.DataReceived) -> PatchbayStream | None:
        """Return the stream whose answer *event* goes on with, where its chunks can be read at once."""
        upstream = self.upstreams.get(event.connection)
        if upstream is None or type(reading := upstream.http) is not http1.PatchbayHttp1Client:
            return None
        if reading.state != reading.read_body or self._paused or self.debug:
            return None
        if type(self.connections.get(event.connection)) is not mitm.HttpClient:
            return None  # what comes is still encrypted, or in a tunnel
        stream = self.streams.get((reading.stream_id or 0) % ATTEMPT)
        return stream if type(stream) is PatchbayStream else None

    def _read(self, event: events.DataReceived, stream: PatchbayStream) -> Commands:
        reading = self.upstreams[event.connection].http
        assert type(reading) is http1.PatchbayHttp1Client and reading.stream_id is not None
        reading.buf += event.data
        data = reading.take_chunks()
        if data and stream.in_lane(reading.stream_id):
            yield from self._carried(stream, data)
        elif data:
            yield from _joined(self.event_to_child(stream, mitm.ResponseData(reading.stream_id, data)))
        if reading.buf or not data:
            yield from _joined(super()._handle_event(events.DataReceived(event.connection, b"")))

    def _carried(self, stream: PatchbayStream, data: bytes) -> Iterable[commands.Command]:
        """Return what hands *data*, a chunk of an answer that streams, to the client past the stream's states."""
        out, client = stream.carry(data), self.context.client
        if not isinstance(out, bytes):
            return _joined(super().event_to_child(stream, out))
        above = self.connections[client]
        if type(above) is http1.PatchbayHttp1Server:
            return (commands.SendData(client, above.framed(out)),) if out else ()
        return self._handed(stream, above, out)

    def _handed(self, stream: PatchbayStream, above: layer.Layer, out: bytes) -> Commands:
        if out:
            yield from super().event_to_child(above, mitm.ResponseData(stream.stream_id, out))
            if following := stream.carried(len(out)):
                yield from super().event_to_child(stream, following)

    def _and_retry(self, following: Commands) -> Commands:
        yield from following
        yield from self.retry_waiting()

    def make_stream(self, stream_id: int) -> Commands:
        self.streams[stream_id] = PatchbayStream(self.context.fork(), stream_id)
        yield from self.event_to_child(self.streams[stream_id], events.Start())

    def event_to_child(self, child: layer.Layer | mitm.HttpStream, event: Any) -> Commands:
        kind = type(event)
        if isinstance(child, mitm.HttpStream):
            if kind is mitm.ResponseData and type(child) is PatchbayStream and child.in_lane(event.stream_id):
                return cast("Commands", self._carried(child, event.data))
            return super().event_to_child(child, event)
        if kind in _BEGINNINGS:
            http1.adopt(child)
        if kind in _UPWARDS:
            stream = self.streams.get(event.stream_id)
            if type(stream) is PatchbayStream and stream.attempt > 1:
                event = replace(event, stream_id=stream.wire_id)
        elif isinstance(child, Http1Server):
            if isinstance(event, events.DataReceived) and len(child.buf) > http1.HEAD:
                return _refuse_endless_head(child)
            if isinstance(event, mitm.ResponseHeaders) and child.request:
                event.response = _framed(child.request, event)
        return super().event_to_child(child, event)


def _joined(generator: Commands) -> Commands:
    """Join what one event sends to one connection: each piece alone would cost a system call."""
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
                command = commands.Log(discreet(command.message), command.level)
            yield command
    if connection is not None:
        yield commands.SendData(connection, b"".join(waiting))


def _refuse_endless_head(child: Http1Server) -> Commands:
    if child.state == child.read_headers:
        yield commands.SendData(child.conn, _HEAD_TOO_LARGE)
    child.state = child.done
    yield commands.CloseConnection(child.conn)


class Closed(layer.Layer):
    """A connection that is closed at once, because its protocol is refused or could not be decided."""

    def _handle_event(self, event: events.Event) -> Commands:
        if isinstance(event, events.Start):
            yield commands.CloseConnection(self.context.client)


def install(decided: layer.NextLayer) -> None:
    """Adopt each HTTP layer among *decided*. Call it when the built-in `next_layer` has decided."""
    for found in decided.context.layers:
        if type(found) is mitm.HttpLayer:
            adopt(found)


def adopt(found: mitm.HttpLayer) -> None:
    """Turn *found*, a layer of mitmproxy's own that has not started, into a PatchbayLayer."""
    found.__class__ = PatchbayLayer
    found.streams = _Streams(found.streams)
    cast("PatchbayLayer", found).take_over()


def _framed(request: http.Request, event: mitm.ResponseHeaders) -> http.Response:
    """Chunk an HTTP/1 answer of unknown length: mitmproxy would end it by closing, and a broken one look complete."""
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
    response.http_version = "HTTP/1.1"  # HTTP/1.0 has no chunks (RFC 9112, 6.1)
    return response
