"""HTTP/2 on one connection: a handler per stream, flow control both ways."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

import h2.config
import h2.connection
import h2.events
import h2.exceptions
from h2.errors import ErrorCodes
from h2.settings import SettingCodes

from .exchange import Exchange, Fields, Incoming

if TYPE_CHECKING:
    from .link import Link

MAX_STREAMS = 1000
CONNECTION_ONLY = frozenset({"connection", "keep-alive", "transfer-encoding", "upgrade"})


class _Stream:
    """What has arrived of one request, and whether there is room to answer."""

    def __init__(self, fields: tuple[tuple[str, str], ...]) -> None:
        self.fields = fields
        self.body = bytearray()
        self.window = asyncio.Event()
        self.task: asyncio.Task[None] | None = None


class Http2:
    """Runs the handler of *link* once per stream, side by side."""

    def __init__(self, link: Link) -> None:
        self.link = link
        self.streams: dict[int, _Stream] = {}
        self.conn = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False, header_encoding="latin-1"))
        self.conn.local_settings[SettingCodes.MAX_CONCURRENT_STREAMS] = MAX_STREAMS
        self.conn.initiate_connection()
        self.flush()

    def receive(self, data: bytes) -> None:
        try:
            for event in self.conn.receive_data(data):
                self._take(event)
        except h2.exceptions.ProtocolError:
            self.flush()
            self.link.close()
        self.flush()

    def lost(self) -> None:
        for stream in self.streams.values():
            if stream.task:
                stream.task.cancel()

    def flush(self) -> None:
        """Write what the protocol has ready."""
        data = self.conn.data_to_send()
        if data and not self.link.closing:
            self.link.transport.write(data)

    def _take(self, event: h2.events.Event) -> None:
        match event:
            case h2.events.RequestReceived():
                self._open(event)
            case h2.events.DataReceived():
                self.conn.acknowledge_received_data(event.flow_controlled_length or 0, event.stream_id)
                if stream := self.streams.get(event.stream_id):
                    stream.body += event.data or b""
            case h2.events.StreamEnded():
                self._start(event.stream_id)
            case h2.events.StreamReset():
                self._drop(event.stream_id or 0)
            case h2.events.WindowUpdated() | h2.events.RemoteSettingsChanged():
                for stream in self.streams.values():
                    stream.window.set()
            case h2.events.ConnectionTerminated():
                self.link.close()

    def _open(self, event: h2.events.RequestReceived) -> None:
        fields = tuple((str(name), str(value)) for name, value in event.headers or ())
        stream_id = event.stream_id or 0
        self.streams[stream_id] = _Stream(fields)
        if ("expect", "100-continue") in fields:
            self.conn.send_headers(stream_id, [(":status", "100")])

    def _start(self, stream_id: int) -> None:
        if stream := self.streams.get(stream_id):
            exchange = _Exchange(self, stream, _incoming(stream, self.link.number, stream_id))
            stream.task = self.link.spawn(self._run(exchange))

    async def _run(self, exchange: _Exchange) -> None:
        try:
            await self.link.handler(exchange)
        finally:
            self.streams.pop(exchange.incoming.stream, None)

    def _drop(self, stream_id: int) -> None:
        stream = self.streams.pop(stream_id, None)
        if stream and stream.task:
            stream.task.cancel()


def _incoming(stream: _Stream, connection: int, number: int) -> Incoming:
    pseudo = dict(stream.fields)
    fields = tuple(field for field in stream.fields if not field[0].startswith(":"))
    if ":authority" in pseudo and "host" not in pseudo:
        fields = (("host", pseudo[":authority"]), *fields)
    return Incoming(pseudo[":method"], pseudo[":path"], fields, bytes(stream.body), "2", connection, number)


class _Exchange(Exchange):
    def __init__(self, speaker: Http2, stream: _Stream, incoming: Incoming) -> None:
        super().__init__(incoming)
        self._speaker = speaker
        self._stream = stream
        self._id = incoming.stream

    async def send_head(self, status: int, headers: Fields) -> None:
        fields = [(name.lower(), value) for name, value in headers if name.lower() not in CONNECTION_ONLY]
        self._speaker.conn.send_headers(self._id, [(":status", str(status)), *fields])
        await self._flush()

    async def send_data(self, data: bytes) -> None:
        if self.incoming.method == "HEAD":
            return
        conn = self._speaker.conn
        while data and not self._speaker.link.closing:
            self._stream.window.clear()
            room = min(conn.local_flow_control_window(self._id), conn.max_outbound_frame_size)
            if room <= 0:
                await self._stream.window.wait()
                continue
            conn.send_data(self._id, data[:room])
            data = data[room:]
            await self._flush()

    async def end(self) -> None:
        self._speaker.conn.end_stream(self._id)
        await self._flush()

    async def reset(self) -> None:
        self._speaker.conn.reset_stream(self._id, ErrorCodes.INTERNAL_ERROR)
        await self._flush()

    async def close(self) -> None:
        self._speaker.conn.close_connection()
        await self._flush()
        self._speaker.link.close()

    async def send_raw(self, data: bytes) -> None:
        await self._speaker.link.write(data)

    def later(self, work: Coroutine[Any, Any, None]) -> None:
        self._speaker.link.spawn(work)

    async def _flush(self) -> None:
        self._speaker.flush()
        await self._speaker.link.write(b"")
