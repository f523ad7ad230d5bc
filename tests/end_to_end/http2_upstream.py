"""An upstream that writes HTTP/2 frame by frame, so that it can do what no library lets a server do."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import hpack
import trustme
from h2.frame_buffer import FrameBuffer
from hyperframe import frame as frames

CONTENT = (
    b'data: {"id":"c","object":"chat.completion.chunk","model":"m","choices":'
    b'[{"index":0,"delta":{"content":"ok"}}]}\n\n'
)
STOP = (
    b'data: {"id":"c","object":"chat.completion.chunk","model":"m","choices":'
    b'[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
)
WHOLE = CONTENT + STOP


@dataclass
class Asked:
    """A request that has come in whole, or the part of it that has come."""

    stream: int
    key: str = ""
    text: str = ""  # the last user message
    body: bytearray = field(default_factory=bytearray)
    path: str = ""


class Link(asyncio.Protocol):
    """The upstream's end of one connection. What is asked is given to *upstream*, which knows what to answer."""

    def __init__(self, upstream: Upstream) -> None:
        self.upstream = upstream
        self.keys: set[str] = set()
        self.open: dict[int, Asked] = {}
        self.seen: list[Asked] = []
        self.limit = 0  # of streams at a time; more are refused
        self.running = 0
        self.most = 0
        self.mute = False
        self.gone = self.lost = False
        self.pongs = 0
        self._in = FrameBuffer(server=True)
        self._in.max_frame_size = 1 << 20
        self._decoder, self._encoder = hpack.Decoder(), hpack.Encoder()
        self._decoder.max_header_list_size = 1 << 20

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.upstream.links.append(self)
        self.upstream.all_links.append(self)
        start = self.upstream.starts.pop(0) if self.upstream.starts else None
        if start is None:
            self.settings()
        else:
            start(self)

    def data_received(self, data: bytes) -> None:
        self._in.add_data(data)
        with contextlib.suppress(Exception):
            for each in self._in:
                self._take(each)

    def connection_lost(self, exc: Exception | None) -> None:
        self.gone = self.lost = True

    def _take(self, each: frames.Frame) -> None:
        match each:
            case frames.SettingsFrame() if "ACK" not in each.flags:
                self.send(frames.SettingsFrame(0, flags=["ACK"]))
            case frames.PingFrame() if "ACK" not in each.flags:
                self.send(frames.PingFrame(0, each.opaque_data, flags=["ACK"]))
            case frames.PingFrame():
                self.pongs += 1
            case frames.HeadersFrame():
                head = {str(name, "latin-1"): str(value, "latin-1") for name, value in self._decoded(each.data)}
                asked = self.open[each.stream_id] = Asked(each.stream_id, head.get("authorization", ""))
                asked.path = head.get(":path", "")
                self.keys.add(asked.key)
                self._ended(each)
            case frames.DataFrame():
                if each.stream_id in self.open:
                    self.open[each.stream_id].body += each.data
                    self._ended(each)
            case frames.RstStreamFrame():
                self.open.pop(each.stream_id, None)
                self.upstream.cancelled += 1

    def _decoded(self, data: bytes) -> Any:
        return self._decoder.decode(data, raw=True)

    def _ended(self, each: frames.Frame) -> None:
        if "END_STREAM" in each.flags:
            asked = self.open.pop(each.stream_id)
            with contextlib.suppress(ValueError, KeyError, IndexError):
                asked.text = json.loads(bytes(asked.body))["messages"][-1]["content"]
            self.seen.append(asked)
            self.running += 1
            self.most = max(self.most, self.running)
            if self.limit and self.running > self.limit:
                self.running -= 1
                self.reset(asked.stream, 7)
                return
            self.upstream.asked(self, asked)

    # -- what it says ----------------------------------------------------------------------------------------------

    def send(self, *several: frames.Frame) -> None:
        self.raw(b"".join(each.serialize() for each in several))

    def raw(self, data: bytes) -> None:
        if not (self.mute or self.gone):
            self.transport.write(data)

    def settings(self, **values: int) -> None:
        names = {"streams": 3, "window": 4, "table": 1, "frame": 5}
        self.send(frames.SettingsFrame(0, settings={names[name]: value for name, value in values.items()}))

    def head(self, stream: int, status: int = 200, *more: tuple[str, str], end: bool = False) -> None:
        self.send(self.head_frame(stream, status, *more, end=end))

    def head_frame(self, stream: int, status: int, *more: tuple[str, str], end: bool = False) -> frames.HeadersFrame:
        fields = [(":status", str(status)), *((("content-type", "text/event-stream"),) if status == 200 else ()), *more]
        flags = ["END_HEADERS", *(("END_STREAM",) if end else ())]
        return frames.HeadersFrame(stream, self._encoder.encode(fields, huffman=False), flags=flags)

    def trailers(self, stream: int, *fields: tuple[str, str]) -> None:
        self.send(frames.HeadersFrame(stream, self._encoder.encode(fields), flags=["END_HEADERS", "END_STREAM"]))

    def data(self, stream: int, data: bytes, *, end: bool = False) -> None:
        self.send(frames.DataFrame(stream, data, flags=["END_STREAM"] if end else []))
        self.running -= end

    def answer(self, stream: int) -> None:
        self.head(stream)
        self.data(stream, WHOLE, end=True)

    def reset(self, stream: int, code: int) -> None:
        self.send(frames.RstStreamFrame(stream, code))

    def ping(self) -> None:
        self.send(frames.PingFrame(0, bytes(8)))

    def go_away(self, last: int, code: int = 0) -> None:
        self.send(frames.GoAwayFrame(0, last, code))

    def close(self) -> None:
        self.gone = True
        self.transport.close()

    def break_off(self) -> None:
        self.gone = True
        below = self.transport.get_extra_info("socket")
        below.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()


Start = Callable[[Link], None]


class Upstream:
    """
    The listener. `starts` are what the next connections begin with in place of SETTINGS.

    A request whose last message is `fault …` gets *fault*, once; one that is `hold …` or `stream …` waits for
    `release`, the latter with its head and its first event sent. Everything else is answered at once.
    """

    def __init__(self) -> None:
        self.links: list[Link] = []  # of one test
        self.all_links: list[Link] = []
        self.starts: list[Start] = []
        self.fault: Callable[[Link, Asked], Any] | None = None
        self.waits: list[tuple[Link, Asked]] = []
        self.released = True
        self.at_once = False  # what waits is released in one piece with a fault
        self.cancelled = 0
        self.refusals = 0  # how many of the next requests are refused
        self.silent: list[Link] = []  # on these nothing is answered
        self.tasks: list[asyncio.Task[None]] = []
        self.loop = asyncio.new_event_loop()
        self.port = 0

    def asked(self, link: Link, asked: Asked) -> None:
        kind = asked.text.partition(" ")[0]
        if link in self.silent:
            return
        if self.refusals:
            self.refusals -= 1
            link.reset(asked.stream, 7)
        elif kind == "fault" and self.fault:
            fault, self.fault = self.fault, None
            fault(link, asked)
            if self.at_once:
                self.release()
            else:
                asyncio.get_running_loop().call_later(0.05, self.release)
        elif kind in ("hold", "stream") and not self.released:
            self.waits.append((link, asked))
            if kind == "stream":
                link.head(asked.stream)
                link.data(asked.stream, CONTENT)
        else:
            link.answer(asked.stream)

    def fresh(self) -> None:
        """Forget what was, for the next test."""
        self.starts.clear()
        self.links.clear()
        self.waits.clear()
        self.fault, self.released, self.refusals = None, True, 0

    def release(self) -> None:
        """Answer all that wait, where their connections still stand."""
        self.released = True
        waits, self.waits = self.waits, []
        for link, asked in waits:
            if asked.text.startswith("stream"):
                link.data(asked.stream, STOP, end=True)
            else:
                link.answer(asked.stream)

    @property
    def requests(self) -> list[Asked]:
        return [asked for link in self.links for asked in link.seen]


@contextlib.contextmanager
def upstream(folder: Path, *, alpn: str = "h2") -> Iterator[Upstream]:
    """Run an upstream at `localhost` until the block ends. Its authority is `providers.pem` in *folder*."""
    folder.mkdir(parents=True, exist_ok=True)
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "providers.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    context.set_alpn_protocols([alpn])
    running = Upstream()
    loop = running.loop

    async def serve() -> asyncio.Server:
        return await loop.create_server(lambda: Link(running), "localhost", 0, family=socket.AF_INET, ssl=context)

    async def stop(server: asyncio.Server) -> None:
        server.close()
        for link in running.all_links:
            link.transport.abort()
        while not all(link.lost for link in running.all_links):  # or a transport would be left that nobody closed
            await asyncio.sleep(0.005)

    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    server = asyncio.run_coroutine_threadsafe(serve(), loop).result(30)
    running.port = server.sockets[0].getsockname()[1]
    try:
        yield running
    finally:
        asyncio.run_coroutine_threadsafe(stop(server), loop).result(30)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(30)
        loop.close()


def until(condition: Callable[[], bool], seconds: float = 30.0) -> bool:
    """Wait until *condition* holds."""
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.005)
    return condition()
