"""An answer that begins before its request has gone up is another's, or a server's that does not listen."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from .harness import eventually, generic_config, proxy
from .tunnel import stop_listening

HEAD = (
    b"POST /v1/files HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer sk-client-0123456789\r\n"
    b"Content-Type: multipart/form-data; boundary=x\r\nTransfer-Encoding: chunked\r\n\r\n"
)
ANSWER = b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 17\r\n\r\n{"id":"file-one"}'
LAST = b"0\r\n\r\n"


@contextmanager
def hasty() -> Iterator[int]:
    """A server that answers every second request as soon as its first piece is there, the others at their end."""
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with suppress(OSError):
            for number in range(99):
                connection, _ = server.accept()
                with connection:
                    wanted, got = (LAST, b"5\r\nhello")[number % 2], b""
                    while wanted not in got:
                        got += connection.recv(65536)
                    connection.sendall(ANSWER)
                    while LAST not in got and (more := connection.recv(65536)):
                        got += more

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield server.getsockname()[1]
    finally:
        stop_listening(server, thread)


def upload(port: int, early: bool) -> None:
    """Send a file in two pieces; the second goes up when the answer is there already, or before."""
    with socket.create_connection(("127.0.0.1", port), 30) as client:
        client.sendall(HEAD + b"5\r\nhello\r\n" + (b"" if early else LAST))
        got = client.recv(65536)
        while b"file-one" not in got:
            got += client.recv(65536)
        if early:
            client.sendall(LAST)


def test_an_answer_that_came_before_the_end_of_its_request_is_noted(tmp_path: Path) -> None:
    config = generic_config(tmp_path, {"one": "sk-real-0123456789abcdef"})
    with hasty() as upstream, proxy(tmp_path, config, mode=f"reverse:http://127.0.0.1:{upstream}") as running:
        for early in (False, True):
            upload(running.port, early)
            assert eventually(lambda early=early: running.journal.count("\n") == 1 + early)
        lines = [json.loads(line) for line in running.journal.splitlines()]

    found = [[(each["detector"], each["strength"]) for each in line["findings"]] for line in lines]
    assert found == [[], [("early", "weak")]]
    assert {line["verdict"] for line in lines} == {"unverifiable"}
