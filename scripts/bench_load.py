"""The two ends of a measurement: a provider that costs next to nothing, and clients that look at every event."""

from __future__ import annotations

import asyncio
import json
import re
import time
from dataclasses import dataclass, field

ANSWER = b'{"id":"chatcmpl-1","object":"chat.completion","created":1,"model":"bench","choices":[{"index":0,"message":' \
    b'{"role":"assistant","content":"' + b"word " * 180 + b'"},"finish_reason":"stop"}],"usage":' \
    b'{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}}'  # fmt: skip
_TOLD = re.compile(rb'" word (\d+)"')
_FIRST = rb"\r\nx-stainless-retry-count: 0\r\n"
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


class Upstream(asyncio.Protocol):
    """
    One connection of a client. `x-bench: EVENTS/PAUSE` asks for so many events, so many seconds apart.

    A request whose credential ends in `-limited` is told 429. So is that of an SDK whose credential ends in `-first`,
    the first time, and that it may come back at once.
    """

    def __init__(self) -> None:
        self._seen = bytearray()
        self._missing = -1
        self._head = b""
        self._task: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        if self._task:
            self._task.cancel()

    def data_received(self, data: bytes) -> None:
        if self._missing < 0:
            self._seen += data
            end = self._seen.find(b"\r\n\r\n")
            if end < 0:
                return
            self._head = bytes(self._seen[: end + 2])
            length = _LENGTH.search(self._head)
            self._missing = (int(length[1]) if length else 0) - (len(self._seen) - end - 4)
            self._seen.clear()
        else:
            self._missing -= len(data)
        if self._missing <= 0:
            self._missing = -1
            self._answer()

    def _answer(self) -> None:
        if re.search(rb"-limited\r\n", self._head):
            body = b'{"error":{"message":"slow down","type":"rate_limit_error","code":"rate_limit_exceeded"}}'
            self._send(b"429 Too Many Requests", body, b"retry-after: 1\r\n")
        elif re.search(rb"-first\r\n", self._head) and re.search(_FIRST, self._head, re.IGNORECASE):
            self._send(b"429 Too Many Requests", b'{"error":{"message":"slow down"}}', b"retry-after-ms: 0.001\r\n")
        elif wanted := re.search(rb"\r\nx-bench: *(\d+)/([\d.]+)", self._head, re.IGNORECASE):
            self._task = asyncio.get_running_loop().create_task(self._events(int(wanted[1]), float(wanted[2])))
        else:
            self._send(b"200 OK", ANSWER)

    def _send(self, status: bytes, body: bytes, more: bytes = b"") -> None:
        head = b"HTTP/1.1 %b\r\ncontent-type: application/json\r\n%bcontent-length: %d\r\n\r\n"
        self._transport.write(head % (status, more, len(body)) + body)

    async def _events(self, count: int, pause: float) -> None:
        self._transport.write(
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
        )
        first, event, last = (_BEGIN, _delta, _END) if b"/messages " in self._head else (b"", _event, _DONE)
        if first:
            self._chunk(first)
        for _ in range(count):
            self._chunk(event(time.perf_counter_ns()))
            await asyncio.sleep(pause)
        self._chunk(last)
        self._transport.write(b"0\r\n\r\n")

    def _chunk(self, data: bytes) -> None:
        self._transport.write(b"%x\r\n%b\r\n" % (len(data), data))


def _event(at: int) -> bytes:
    """Return an event as OpenAI sends it; the time of its sending is its text."""
    return (
        b'data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"bench",'
        b'"system_fingerprint":null,"choices":['
        b'{"index":0,"delta":{"content":" word %d"},"logprobs":null,"finish_reason":null}],"usage":null,'
        b'"obfuscation":"%x"}\n\n' % (at, at % 4096)
    )


def _delta(at: int) -> bytes:
    return (
        b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,'
        b'"delta":{"type":"text_delta","text":" word %d"}}\n\n' % at
    )


def _named(*events: dict[str, object]) -> bytes:
    return b"".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode() for event in events)


_DONE = b"data: [DONE]\n\n"
_BEGIN = _named(
    {"type": "message_start", "message": {
        "id": "msg_1", "type": "message", "role": "assistant", "model": "bench", "content": [], "stop_reason": None,
        "stop_sequence": None, "usage": {"input_tokens": 1, "output_tokens": 1},
    }},
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
)  # fmt: skip
_END = _named(
    {"type": "content_block_stop", "index": 0},
    {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 9}},
    {"type": "message_stop"},
)


@dataclass(slots=True)
class Heard:
    """What one client heard of one answer; times in nanoseconds."""

    status: int = 0
    first: int = 0
    delays: list[int] = field(default_factory=list)  # from the upstream's sending of an event to its arrival here
    arrivals: list[int] = field(default_factory=list)


class Caller(asyncio.Protocol):
    """One connection to a proxy, one request at a time."""

    def __init__(self) -> None:
        self._done: asyncio.Future[Heard] | None = None
        self._closed = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        self._closed = True
        if self._done and not self._done.done():
            self._done.set_exception(ConnectionError("the proxy closed the connection"))

    async def ask(self, request: bytes) -> Heard:
        """Send *request* and return when its answer is complete."""
        if self._closed:
            raise ConnectionError("the proxy closed the connection")
        self._heard, self._head, self._rest = Heard(), bytearray(), b""
        self._missing = -1
        self._done = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return await self._done

    def close(self) -> None:
        self._transport.close()

    def data_received(self, data: bytes) -> None:
        now, heard = time.perf_counter_ns(), self._heard
        if not heard.status:
            self._head += data
            end = self._head.find(b"\r\n\r\n")
            if end < 0:
                return
            heard.status, heard.first = int(self._head[9:12]), now
            length = _LENGTH.search(self._head[: end + 2])
            data = bytes(self._head[end + 4 :])
            self._missing = int(length[1]) if length else -1
        if self._missing >= 0:
            self._missing -= len(data)
            over = self._missing <= 0
        else:
            over = self._events(data, now)
        if over and self._done and not self._done.done():
            self._missing = -1
            self._done.set_result(heard)

    def _events(self, data: bytes, now: int) -> bool:
        text = self._rest + data
        last = 0
        for told in _TOLD.finditer(text):
            last = told.end()
            self._heard.delays.append(now - int(told[1]))
            self._heard.arrivals.append(now)
        self._rest = text[last:][-64:]
        return text.endswith(b"0\r\n\r\n")


async def connected(port: int) -> Caller:
    """Return a connection to *port* on this machine."""
    _, caller = await asyncio.get_running_loop().create_connection(Caller, "127.0.0.1", port)
    return caller
