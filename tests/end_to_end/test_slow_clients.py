"""Clients of HTTP/2 that do not open their window: little is kept for them, and nobody else waits for them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import ssl
import time
from collections.abc import Iterator
from pathlib import Path

import h2.config
import h2.connection
import h2.events
import pytest

from .harness import Proxy, eventually, generic_config, proxy
from .http2_upstream import WHOLE, Asked, Link, upstream
from .test_http2_faults import ACCOUNTS, WHERE, started
from .tunnel import listener

MIB = 1 << 20


class Client:
    """A client of HTTP/2 that takes what its streams' first window holds, until it is told to take more."""

    def __init__(self, running: Proxy) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.set_alpn_protocols(["h2"])
        raw = socket.create_connection(("127.0.0.1", running.port), 30)
        self._socket = context.wrap_socket(raw)
        self._socket.settimeout(30)
        self._h2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
        self._h2.initiate_connection()
        self._h2.increment_flow_control_window(1 << 30)
        self.bodies: dict[int, bytearray] = {}
        self.ended: set[int] = set()

    def ask(self, path: str, text: str = "") -> int:
        """Ask, and return the stream."""
        stream = self._h2.get_next_available_stream_id()
        body = json.dumps({"model": "m", "stream": True, "messages": [{"role": "user", "content": text}]}).encode()
        head = [(":method", "POST" if text else "GET"), (":path", path), (":scheme", "https"),
                (":authority", "localhost"), ("authorization", "Bearer c"), ("x-session-id", "one")]  # fmt: skip
        self._h2.send_headers(stream, head, end_stream=not text)
        if text:
            self._h2.send_data(stream, body, end_stream=True)
        self.bodies[stream] = bytearray()
        self._send()
        return stream

    def take(self, stream: int) -> None:
        """Open the window of *stream*."""
        self._h2.increment_flow_control_window(1 << 30, stream)
        self._send()

    def until_end_of(self, stream: int) -> bytes:
        """Read until *stream* has ended, and return what came on it."""
        while stream not in self.ended:
            data = self._socket.recv(MIB)
            assert data, "the connection was closed"
            for event in self._h2.receive_data(data):
                if isinstance(event, h2.events.DataReceived):
                    self.bodies[event.stream_id] += event.data
                elif isinstance(event, h2.events.StreamEnded):
                    self.ended.add(event.stream_id)
                assert not isinstance(event, h2.events.StreamReset), event
            self._send()
        return bytes(self.bodies[stream])

    def close(self) -> None:
        self._socket.close()

    def _send(self) -> None:
        self._socket.sendall(self._h2.data_to_send())


@contextlib.contextmanager
def connected(running: Proxy) -> Iterator[Client]:
    client = Client(running)
    try:
        yield client
    finally:
        client.close()


def _settled(count: list[int]) -> bool:
    before = count[0]
    time.sleep(0.5)  # nothing tells that no more is to come
    return count[0] == before > 0


@pytest.mark.parametrize("kind", ["application/octet-stream", "application/json"])
def test_what_a_client_does_not_take_is_not_read_from_an_upstream_of_http_1(tmp_path: Path, kind: str) -> None:
    """R39: neither a stream nor JSON of a size that nobody reads is kept for a client that opens no window."""
    pieces, sent = 120, [0]

    def serve(asking: socket.socket) -> None:
        asking.recv(65536)
        asking.sendall(
            b"HTTP/1.1 200 OK\r\ncontent-type: %s\r\ncontent-length: %d\r\n\r\n" % (kind.encode(), pieces * MIB)
        )
        for number in range(pieces):
            asking.sendall(bytes([number]) * MIB)
            sent[0] += 1

    with listener(serve) as port:
        config = generic_config(tmp_path, {"one": ACCOUNTS["one"]})
        with proxy(tmp_path, config, mode=f"reverse:http://127.0.0.1:{port}") as running, connected(running) as client:
            stream = client.ask("/v1/files/file-1/content")
            assert eventually(lambda: _settled(sent))
            assert sent[0] < pieces // 3
            client.take(stream)
            assert client.until_end_of(stream) == b"".join(bytes([number]) * MIB for number in range(pieces))


def test_who_shares_a_connection_with_an_answer_that_is_not_taken_is_served(tmp_path: Path) -> None:
    """R39, R33: streams that are on its upstream connection go on, and new ones get another."""
    size = 24
    sent: list[int] = [0]

    def large(link: Link, asked: Asked) -> None:
        async def send() -> None:
            link.head(asked.stream, 200)
            for number in range(size):
                for _ in range(64):
                    link.data(asked.stream, bytes([65 + number]) * (1 << 14))
                sent[0] += 1
                while link.transport.get_write_buffer_size():
                    await asyncio.sleep(0.01)
            link.data(asked.stream, WHOLE, end=True)

        server.tasks.append(asyncio.get_running_loop().create_task(send()))

    with (
        upstream(tmp_path) as server,
        started(tmp_path, server.port, {"one": ACCOUNTS["one"]}, "20s") as running,
        connected(running) as client,
    ):
        assert client.until_end_of(client.ask(WHERE, "hi")) == WHOLE
        server.released = False
        waits = client.ask(WHERE, "hold")
        assert eventually(lambda: server.waits)
        others, server.asked = server.asked, large  # type: ignore[method-assign]
        slow = client.ask(WHERE, "large")
        assert eventually(lambda: sent[0] == size, 30)
        server.asked = others  # type: ignore[method-assign]
        (first,) = server.links
        assert client.until_end_of(client.ask(WHERE, "hi again")) == WHOLE
        assert len(server.links) == 2
        server.loop.call_soon_threadsafe(server.release)
        assert client.until_end_of(waits) == WHOLE
        assert [asked.text for asked in first.seen] == ["hi", "hold", "large"]
        client.take(slow)
        letters = b"".join(bytes([65 + number]) * MIB for number in range(size))
        assert client.until_end_of(slow) == letters + WHOLE
