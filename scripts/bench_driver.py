"""
A whole mitmdump without sockets: what a client sends and what its upstream answers goes from memory to memory.

The kernel and the timing of a machine are left out, so that the work of one request can be counted in instructions.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mitmproxy import options
from mitmproxy.tools import dump

from tests.end_to_end.harness import certificates

from .bench_load import ANSWER

EVENTS = 300  # of one stream
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_UPGRADE = re.compile(rb"\r\nupgrade: *websocket", re.IGNORECASE)
_DELTA = (
    b'data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"bench","system_fingerprint":null,'
    b'"choices":[{"index":0,"delta":{"content":" word %d"},"logprobs":null,"finish_reason":null}],"usage":null}\n\n'
)
_MESSAGE = b'{"type":"response.output_text.delta","item_id":"msg_1","output_index":0,"content_index":0,"delta":"word"}'
_UPGRADED = (
    b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n"
    b"sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
)


def body(size: int, *, model: str = "bench", stream: bool = False) -> bytes:
    """Return a chat of about *size* bytes in turns of 2 kB, as a tool sends it."""
    turns = max(1, size // 2000)
    text = "".join(f"word{position % 97} " for position in range(min(size, 2000) // 7))[: min(size, 2000) - 120]
    roles = ("user", "assistant")
    messages = [{"role": roles[at % 2], "content": f"{at}: {text}"} for at in range(turns | 1)]
    return json.dumps({"model": model, "stream": stream, "messages": messages}).encode()


def request(content: bytes, headers: str = "x-session-id: bench-0\r\n") -> bytes:
    """Return a chat request with *content*."""
    head = (
        "POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1:8080\r\ncontent-type: application/json\r\n"
        f"accept: */*\r\nuser-agent: OpenAI/Python 2.8.1\r\nauthorization: Bearer sk-client\r\n"
        f"content-length: {len(content)}\r\n{headers}\r\n"
    )
    return head.encode() + content


class Writer:
    """The writing end of a connection in memory, as mitmproxy uses an asyncio.StreamWriter."""

    def __init__(self, take: Callable[[bytes], None], port: int) -> None:
        self._take = take
        self._port = port
        self._closed = False

    def write(self, data: bytes) -> None:
        self._take(data)

    def is_closing(self) -> bool:
        return self._closed

    def close(self) -> None:
        self._closed = True

    def write_eof(self) -> None:
        pass

    async def drain(self) -> None:
        pass

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return {"peername": ("127.0.0.1", self._port), "sockname": ("127.0.0.1", 8080)}.get(name, default)


class Upstream:
    """Answers what is written to it at once: JSON, or a stream of EVENTS chunks, or a message for each message."""

    def __init__(self) -> None:
        self.reader = asyncio.StreamReader()
        self.writer = Writer(self._take, 9)
        self._seen = bytearray()
        self._missing = -1
        self._is_websocket = False
        self._chunks: Iterator[bytes] = iter(())

    def _take(self, data: bytes) -> None:
        if self._is_websocket:
            self.reader.feed_data(b"\x81" + bytes([len(_MESSAGE)]) + _MESSAGE)
            return
        self._seen += data
        if self._missing < 0:
            end = self._seen.find(b"\r\n\r\n")
            if end < 0:
                return
            length = _LENGTH.search(self._seen, 0, end + 2)
            self._missing = end + 4 + (int(length[1]) if length else 0)
        if len(self._seen) < self._missing:
            return
        self._missing, head = -1, bytes(self._seen[:4000])
        self._seen.clear()
        self._answer(head)

    def _answer(self, head: bytes) -> None:
        if _UPGRADE.search(head):
            self._is_websocket = True
            self.reader.feed_data(_UPGRADED)
        elif b'"stream": true' in head:
            self._chunks = self._stream()
            self._next_chunk()
        else:
            told = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
            self.reader.feed_data(told % len(ANSWER) + ANSWER)

    def _next_chunk(self) -> None:
        """Feed a chunk once the last was taken: each is read by itself, as those of a provider that thinks are."""
        loop = asyncio.get_running_loop()
        if self.reader._buffer:  # type: ignore[attr-defined]
            loop.call_soon(self._next_chunk)
        elif (chunk := next(self._chunks, None)) is not None:
            self.reader.feed_data(chunk)
            loop.call_soon(self._next_chunk)

    def _stream(self) -> Iterator[bytes]:
        yield b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
        for number in range(EVENTS):
            event = _DELTA % number
            yield b"%x\r\n%b\r\n" % (len(event), event)
        yield b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n"


@dataclass
class Client:
    """One connection of a client to the proxy."""

    handle: Callable[[asyncio.StreamReader, Any], Any]
    reader: asyncio.StreamReader = field(default_factory=asyncio.StreamReader)
    heard: bytearray = field(default_factory=bytearray)
    _over: Callable[[bytearray], bool] = lambda heard: False
    _done: asyncio.Future[None] | None = None
    _serves: asyncio.Task[None] | None = None

    async def ask(self, sent: bytes, over: Callable[[bytearray], bool]) -> bytes:
        """Send *sent* and return what came back once *over* says that it is all."""
        self.heard.clear()
        self._over, self._done = over, asyncio.get_running_loop().create_future()
        if self._serves is None:
            writer = Writer(self._take, 50000)
            self._serves = asyncio.get_running_loop().create_task(self.handle(self.reader, writer))
        self.reader.feed_data(sent)
        await asyncio.wait_for(self._done, 120)
        return bytes(self.heard)

    async def leave(self) -> None:
        self.reader.feed_eof()
        if self._serves:
            await asyncio.wait([self._serves])

    def _take(self, data: bytes) -> None:
        self.heard += data
        if self._done and not self._done.done() and self._over(self.heard):
            self._done.set_result(None)


def is_whole(heard: bytearray) -> bool:
    """Whether *heard* is an answer with a Content-Length, or the end of a stream."""
    end = heard.find(b"\r\n\r\n")
    length = _LENGTH.search(heard, 0, end + 2) if end >= 0 else None
    if length:
        return len(heard) >= end + 4 + int(length[1])
    return heard.endswith(b"\r\n0\r\n\r\n")


@dataclass
class _Ready:
    """An addon that says when mitmdump has started."""

    event: asyncio.Event

    def running(self) -> None:
        self.event.set()


async def serve(folder: Path, script: str, use: Callable[[Callable[[], Client]], Any], *more: str) -> None:
    """Run a mitmdump with *script* (empty: none) and options *more*, and await *use* with what makes its clients."""
    logging.getLogger("asyncio").setLevel(logging.ERROR)
    settings = options.Options(confdir=str(certificates(folder)), listen_host="127.0.0.1", listen_port=0)
    master = dump.DumpMaster(settings, with_termlog=True, with_dumper=True)
    ready = asyncio.Event()
    master.addons.add(_Ready(ready))
    settings.update_defer(scripts=[script] if script else [])
    settings.set(*more, defer=True)
    settings.update(mode=["reverse:http://127.0.0.1:9/"])
    connect = asyncio.open_connection

    async def in_memory(host: str, port: int, **arguments: Any) -> Any:
        if port != 9:
            return await connect(host, port, **arguments)
        await asyncio.sleep(0)  # as any connecting waits
        upstream = Upstream()
        return upstream.reader, upstream.writer

    asyncio.open_connection = in_memory  # type: ignore[assignment]
    running = asyncio.get_running_loop().create_task(master.run())
    try:
        await asyncio.wait_for(ready.wait(), 300)
        proxyserver: Any = master.addons.get("proxyserver")
        (listener,) = proxyserver.servers
        await use(lambda: Client(listener.handle_stream))
        await listener.stop()
    finally:
        master.shutdown()
        await running
        asyncio.open_connection = connect


def settings_file(folder: Path, accounts: int = 3) -> Path:
    """Write the settings that are measured."""
    lines = "\n".join(
        f"  - {{id: account-{number}, provider: generic, base_url: reverse, key: example-key-{number}}}"
        for number in range(accounts)
    )
    path = folder / "config.yaml"
    path.write_text(
        f"state: {folder / 'state'}\njournal: {{path: {folder / 'journal.jsonl'}}}\ngrace_period: 1s\n"
        f"accounts:\n{lines}\n"
    )
    os.environ["PATCHBAY_CONFIG"] = str(path)
    return path
