"""Streams pass event by event, byte by byte, and can be looked at afterwards."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from mitmproxy import http
from mitmproxy.io import FlowReader

from .dialogue import DIALECTS, body, credential, path
from .harness import eventually, generic_config, proxy
from .tunnel import stop_listening

EVENTS = [
    b": a comment\n\n",
    b'data: {"id":"c-1","choices":[{"delta":{"role":"assistant","content":""}}]}\r\n\r\n',
    b'event: x\ndata: {"id":"c-1","type":"content_block_delta","delta":{"type":"text_delta","text":"\xc3\xa9"},'
    b'"choices":[{"delta":{"content":"hi"}}],"candidates":[{"content":{"parts":[{"text":"hi"}]}}]}\n\n',
    b'event: response.output_text.delta\ndata: {"type":"response.output_text.delta","delta":"hi"}\n\n',
    b"data: not json at all \xff\xfe\n\n",
    b"data: [DONE]\n\n",
]


class OneAtATime:
    """A server that sends one event whenever it is told to, and not before."""

    def __init__(self) -> None:
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        self.go = threading.Semaphore(0)
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self.socket.accept()
                with connection:
                    self._answer(connection)

    def _answer(self, connection: socket.socket) -> None:
        if not _whole_request(connection):  # what is left unread would make closing a reset
            return
        head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
        connection.sendall(head)
        for event in EVENTS:
            self.go.acquire()
            connection.sendall(b"%x\r\n%s\r\n" % (len(event), event))
        connection.sendall(b"0\r\n\r\n")
        connection.recv(1)


def _whole_request(connection: socket.socket) -> bytes:
    received = b""
    while True:
        head, end, body = received.partition(b"\r\n\r\n")
        length = re.search(rb"(?i)content-length: (\d+)", head)
        if end and len(body) >= int(length[1] if length else 0):
            return received
        if not (data := connection.recv(65536)):
            return b""
        received += data


@pytest.fixture
def upstream() -> Iterator[OneAtATime]:
    server = OneAtATime()
    yield server
    stop_listening(server.socket, server.thread)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_each_event_arrives_before_the_next_one_is_sent(tmp_path: Path, upstream: OneAtATime, dialect: str) -> None:
    dump = tmp_path / "all.mitm"
    settings = generic_config(tmp_path, {"a": "sk-stream-0123456789"})
    with proxy(tmp_path, settings, "-w", str(dump), mode=f"reverse:http://127.0.0.1:{upstream.port}") as running:
        received = b""
        upstream.go.release(_content(dialect) + 1)
        with httpx.stream(
            "POST", running.url + path(dialect, stream=True), json=body(dialect, ["x"], stream=True),
            headers=credential(dialect, "k"), timeout=30, trust_env=False,
        ) as answer:  # fmt: skip
            pieces = answer.iter_raw()
            sent = b"".join(EVENTS[: _content(dialect) + 1])
            while len(received) < len(sent):
                received += next(pieces)
            assert received == sent
            for event in EVENTS[_content(dialect) + 1 :]:
                upstream.go.release()
                got = b""
                while len(got) < len(event):
                    got += next(pieces)
                assert got == event  # nothing more was sent yet, so nothing is held back
                received += got
            assert b"".join(pieces) == b""
        assert received == b"".join(EVENTS)
        assert eventually(lambda: running.journal.count("\n") == 1)
        assert json.loads(running.journal)["status"] == 200
        running.interrupt()

    with dump.open("rb") as file:
        [flow] = FlowReader(file).stream()
    assert isinstance(flow, http.HTTPFlow)
    assert flow.response is not None
    assert flow.response.raw_content == b"".join(EVENTS)


def _content(dialect: str) -> int:
    """Return which event is the first that says something, until which the head may wait."""
    return 3 if dialect == "openai_responses" else 2
