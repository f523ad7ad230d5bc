"""A client that takes nothing of its answer costs a bounded amount of memory, over HTTP/1 and HTTP/2."""

from __future__ import annotations

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

from .harness import eventually, generic_config, proxy
from .tunnel import listener, read_head

SIZE = 64 << 20
EVENT = b"data: " + json.dumps({"choices": [{"index": 0, "delta": {"content": "x" * 16_000}}]}).encode() + b"\n\n"
END = b"data: [DONE]\n\n"
BODY = json.dumps({"model": "m", "stream": True, "messages": [{"role": "user", "content": "hi"}]}).encode()
BOUND = 24 << 20  # what lies in the buffers of four sockets comes on top of what is kept


class Upstream:
    """Answers with a stream of SIZE bytes, and counts those that were taken from it."""

    def __init__(self) -> None:
        self.sent = 0

    def serve(self, client: socket.socket) -> None:
        read_head(client)
        body = b""
        while len(body) < len(BODY):  # what is left unread would make closing a reset
            body += client.recv(len(BODY) - len(body))
        client.sendall(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n")
        while self.sent < SIZE:
            client.sendall(EVENT)
            self.sent += len(EVENT)
        client.sendall(END)

    def rests(self) -> bool:
        """Whether nothing is taken any more."""
        before = self.sent
        time.sleep(0.5)  # how long a silence has to be
        return before == self.sent > 0


@contextlib.contextmanager
def secured(port: int) -> Iterator[ssl.SSLSocket]:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    with socket.create_connection(("127.0.0.1", port), 30) as raw, context.wrap_socket(raw) as client:
        client.settimeout(30)
        assert client.selected_alpn_protocol() == "h2"
        yield client


def ask(client: ssl.SSLSocket) -> h2.connection.H2Connection:
    connection = h2.connection.H2Connection(h2.config.H2Configuration())
    connection.initiate_connection()
    head = [(":method", "POST"), (":scheme", "https"), (":authority", "localhost"), (":path", "/v1/chat/completions"),
            ("authorization", "Bearer c"), ("content-type", "application/json")]  # fmt: skip
    connection.send_headers(1, head)
    connection.send_data(1, BODY, end_stream=True)
    client.sendall(connection.data_to_send())
    return connection


@pytest.mark.parametrize("takes", [True, False])
def test_what_a_client_does_not_take_is_not_read(tmp_path: Path, takes: bool) -> None:
    """R39: a client of HTTP/2 that opens no window; when it does, it gets everything."""
    upstream = Upstream()
    with listener(upstream.serve) as port:
        settings = generic_config(tmp_path, {"one": "sk-one-0123456789abcdef"})
        with proxy(tmp_path, settings, mode=f"reverse:http://127.0.0.1:{port}") as running:
            with secured(running.port) as client:
                connection = ask(client)
                assert eventually(upstream.rests, 20)
                assert upstream.sent < BOUND
                if takes:
                    assert _taken(client, connection) >= SIZE
            assert eventually(lambda: running.journal.count("\n") == 1), running.log
            told = json.loads(running.journal)
            assert told["event_type"] == ("chat_completion_success" if takes else "chat_completion_error")
            assert "Traceback" not in running.log


def _taken(client: ssl.SSLSocket, connection: h2.connection.H2Connection) -> int:
    taken, ended = 0, False
    while not ended:
        for event in connection.receive_data(client.recv(1 << 16)):
            if isinstance(event, h2.events.DataReceived):
                taken += len(event.data)
                connection.acknowledge_received_data(event.flow_controlled_length, 1)
            ended = ended or isinstance(event, h2.events.StreamEnded | h2.events.StreamReset)
        client.sendall(connection.data_to_send())
    return taken


def test_over_http_1_the_socket_sees_to_it(tmp_path: Path) -> None:
    """R39: a client of HTTP/1 that does not read."""
    upstream = Upstream()
    asked = (
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer c\r\n"
        b"content-type: application/json\r\ncontent-length: %d\r\n\r\n%s" % (len(BODY), BODY)
    )
    settings = generic_config(tmp_path, {"one": "sk-one-0123456789abcdef"})
    with (
        listener(upstream.serve) as port,
        proxy(tmp_path, settings, mode=f"reverse:http://127.0.0.1:{port}") as running,
        socket.create_connection(("127.0.0.1", running.port), 30) as client,
    ):
        client.sendall(asked)
        assert eventually(upstream.rests, 20)
        assert upstream.sent < BOUND
