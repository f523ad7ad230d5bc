"""mitmproxy's HTTP/1 with what it lacks: trailers, interim answers, and a time limit for a request's head."""

from __future__ import annotations

import re
from collections.abc import Generator
from typing import Any

from h11._readers import ChunkedReader
from mitmproxy import http
from mitmproxy.proxy import commands, events, layer
from mitmproxy.proxy.layers.http import (
    RequestEndOfMessage,
    RequestTrailers,
    ResponseData,
    ResponseEndOfMessage,
    ResponseHeaders,
    ResponseTrailers,
    _http1,
)
from mitmproxy.proxy.layers.http._base import HttpEvent, ReceiveHttp
from mitmproxy.proxy.layers.http._http1 import Http1Client, Http1Connection, Http1Server

HEAD = 1 << 20  # bytes of a head, or of trailers
HEAD_SECONDS = 60.0  # for a client's head, from its first byte on, and for the first byte of a connection
_TIMED_OUT = b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
_INTERIM = re.compile(rb"HTTP/1\.[01] 1\d\d[ \r\n]")
_PROTOCOL = b"HTTP/1."  # an answer begins so, behind blank lines at most
_STATUS_LINE = len(b"HTTP/1.1 100 ")
_NO_TRAILERS = frozenset((b"transfer-encoding", b"content-length", b"host", b"trailer", b"content-encoding", b"te"))
_EndOfMessage: Any = _http1.h11.EndOfMessage  # of the library that mitmproxy reads with
_PIECES = frozenset((ResponseHeaders, ResponseData))
_LAST_CHUNK, _END = b"0\r\n", b"0\r\n\r\n"
_CHUNK = re.compile(rb"([0-9a-fA-F]{1,8})\r\n")  # the head of one without extensions

Commands = Generator[commands.Command, Any, None]


def no_commands(event: events.Event | None = None) -> Commands:
    yield from ()


def adopt(child: layer.Layer) -> None:
    """Give *child*, or the HTTP/1 connection that it wraps, our class in place of mitmproxy's."""
    found: Any = child.context.layers[-1]
    ours = _PATCHBAY_LAYERS.get(type(found))
    if ours is not None:
        state = found.state.__name__
        found.__class__ = ours
        found.state = getattr(found, state)  # it is bound to the method of the class before


class _Trailers(Http1Connection):
    """Reads the trailers of a chunked message, and writes those of the message it sends."""

    trailers: http.Headers | None = None

    def handle_event(self, event: events.Event) -> Commands:
        """Without the generator that stands for a pause: nothing here asks for one."""
        following: Commands = super().handle_event(event) if self.debug else self._handle_event(event)
        return following

    def read_body(self, event: events.Event) -> Commands:
        reader: Any = self.body_reader
        if type(reader) is ChunkedReader:
            reader = self.body_reader = _Reader(reader)  # type: ignore[assignment]
        following: Commands = super().read_body(event)
        return self._read_trailers(following, reader) if type(reader) is _Reader else following

    def _read_trailers(self, following: Commands, reader: _Reader) -> Commands:
        for command in following:
            is_end = isinstance(command, ReceiveHttp) and isinstance(
                command.event, RequestEndOfMessage | ResponseEndOfMessage
            )
            if is_end and reader.trailers:
                assert isinstance(command, ReceiveHttp)
                kind = RequestTrailers if isinstance(command.event, RequestEndOfMessage) else ResponseTrailers
                yield ReceiveHttp(kind(command.event.stream_id, http.Headers(reader.trailers)))
            yield command
        if self.state == self.read_body and len(self.buf) > HEAD:  # of trailers, or of a chunk size
            yield from self._refuse("the trailers are too large")

    def _refuse(self, why: str) -> Commands:
        assert self.stream_id is not None
        kind = self.ReceiveProtocolError
        yield commands.CloseConnection(self.conn)
        yield ReceiveHttp(kind(self.stream_id, f"HTTP/1 protocol error: {why}", kind.code))

    def send(self, event: HttpEvent) -> Commands:
        if isinstance(event, RequestTrailers | ResponseTrailers):
            self.trailers = event.trailers  # written behind the last chunk; a body without chunks has no place for them
            return no_commands()
        following: Commands = super().send(event)
        if self.trailers and isinstance(event, RequestEndOfMessage | ResponseEndOfMessage):
            return self._with_trailers(following, self.trailers)
        return following

    def _with_trailers(self, following: Commands, trailers: http.Headers) -> Commands:
        self.trailers = None
        for command in following:
            if isinstance(command, commands.SendData) and command.data == _END:
                command = commands.SendData(command.connection, _LAST_CHUNK + _written(trailers))
            yield command


class _Reader:
    """Reads a body in chunks with mitmproxy's reader, and keeps its trailers, on which mitmproxy raises."""

    def __init__(self, theirs: Any) -> None:
        self.theirs = theirs
        self.trailers: list[tuple[bytes, bytes]] = []

    def __call__(self, buffer: Any) -> Any:
        return self._without_trailers(self.theirs(buffer))

    def read_eof(self) -> Any:
        return self._without_trailers(self.theirs.read_eof())

    def _without_trailers(self, event: Any) -> Any:
        if isinstance(event, _EndOfMessage) and event.headers:
            fields = [(bytes(name).lower(), bytes(value)) for name, value in event.headers]
            self.trailers = [field for field in fields if field[0] not in _NO_TRAILERS]
            return _EndOfMessage()
        return event


class PatchbayHttp1Server(_Trailers, Http1Server):
    """The client's side: a head has a time limit."""

    _due: commands.RequestWakeup | None = None  # the time limit of the head that is coming in
    _begun = False  # a request has come on this connection
    _framed: tuple[http.Response | None, bool] = None, False  # the present answer, and whether it has chunks

    def framed(self, data: bytes) -> bytes:
        """Return what carries *data*, which is not empty, as the next piece of the present answer's body."""
        if self._framed[0] is not self.response:
            assert self.response
            self._framed = self.response, "chunked" in self.response.headers.get("transfer-encoding", "").lower()
        return b"%x\r\n%b\r\n" % (len(data), data) if self._framed[1] else data

    def _handle_event(self, event: events.Event) -> Commands:
        if isinstance(event, HttpEvent) and type(event) in _PIECES:  # of an answer: it ends no wait for a head
            return self.send(event)
        if isinstance(event, events.Wakeup):
            return self._woken(event)
        return self._within_time(super()._handle_event(event))

    def _woken(self, event: events.Wakeup) -> Commands:
        if event.command is self._due:
            self._due = None
            yield from self._time_out()

    def _within_time(self, following: Commands) -> Commands:
        yield from following
        waits = self.state == self.read_headers and (len(self.buf) > 0 or not self._begun)
        if not waits:
            self._begun = self._begun or self.state != self.read_headers
            self._due = None
        elif self._due is None:
            self._due = commands.RequestWakeup(HEAD_SECONDS)
            yield self._due

    def _time_out(self) -> Commands:
        if self.buf:
            yield commands.SendData(self.conn, _TIMED_OUT)
        self.state = self.done
        yield commands.CloseConnection(self.conn)


class PatchbayHttp1Client(_Trailers, Http1Client):
    """An upstream's side: interim answers and blank lines before a head are dropped."""

    def read_body(self, event: events.Event) -> Commands:
        data = self.take_chunks() if type(event) is events.DataReceived else b""
        return self._read_behind(data, event) if data else super().read_body(event)

    def _read_behind(self, data: bytes, event: events.Event) -> Commands:
        assert self.stream_id is not None
        yield ReceiveHttp(self.ReceiveData(self.stream_id, data))
        if self.buf:
            yield from super().read_body(event)

    def take_chunks(self) -> bytes:
        """
        Take the whole chunks at the beginning of the buffer out of it, and return their data as one.

        It is empty where the body has no chunks or its reader is amid one; what is odd is left to the reader as well.
        """
        reader: Any = self.body_reader
        theirs = reader.theirs if type(reader) is _Reader else reader
        if type(theirs) is not ChunkedReader or theirs._bytes_in_chunk or theirs._reading_trailer:
            return b""
        data, at, found = self.buf._data, 0, []
        while (head := _CHUNK.match(data, at)) and (size := int(head[1], 16)):
            begin, end = head.end(), head.end() + size
            if data[end : end + 2] != b"\r\n":
                break
            found.append(data[begin:end])
            at = end + 2
        if at:
            self.buf._extract(at)
        return bytes(found[0]) if len(found) == 1 else b"".join(found)

    def read_headers(self, event: events.ConnectionEvent) -> Commands:
        while isinstance(event, events.DataReceived) and self.request:
            self._skip_blank_lines()
            if not self._is_interim():
                break
            if not self.buf.maybe_extract_lines():
                return  # its rest is still to come
        if isinstance(event, events.DataReceived) and self.stream_id is not None and not self._may_be_status_line():
            yield from self._refuse("the upstream does not speak HTTP")
            return
        yield from super().read_headers(event)
        if self.state == self.read_headers and self.stream_id is not None and len(self.buf) > HEAD:
            yield from self._refuse("the head is too large")

    def _skip_blank_lines(self) -> None:
        """Drop blank lines, which some servers send behind an answer; mitmproxy would wait without limit at one."""
        blank = len(self.buf) - len(self.buf._data.lstrip(b"\r\n"))
        if blank:
            self.buf._extract(blank)

    def _may_be_status_line(self) -> bool:
        begins = bytes(self.buf._data[:_STATUS_LINE]).lstrip(b"\r\n")[: len(_PROTOCOL)]
        return _PROTOCOL.startswith(begins)

    def _is_interim(self) -> bool:
        """Whether an interim head comes next. 101 is none: it answers an upgrade, and is refused for other requests."""
        begins = bytes(self.buf._data[:_STATUS_LINE])
        return bool(_INTERIM.match(begins)) and begins[9:12] != b"101"


_PATCHBAY_LAYERS: dict[type, type] = {Http1Server: PatchbayHttp1Server, Http1Client: PatchbayHttp1Client}


def _written(trailers: http.Headers) -> bytes:
    return b"".join(b"%s: %s\r\n" % field for field in trailers.fields) + b"\r\n"
