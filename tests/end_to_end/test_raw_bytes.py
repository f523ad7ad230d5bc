"""What is no HTTP, or is not to be read as such, does not reach a provider past the addon."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from ..ports import free_port
from .harness import proxy
from .tunnel import stop_listening

OWN = b"sk-client-key-that-stays-here"
_REQUEST = (
    b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer " + OWN + b"\r\n"
    b"content-type: application/json\r\ncontent-length: 2\r\n\r\n{}"
)
_NO_HTTP = b"\0\1 " + OWN + b"\r\n\r\n"


@dataclass
class Listening:
    """A provider that writes down every byte and says nothing."""

    port: int
    heard: bytearray = field(default_factory=bytearray)

    def take(self, client: socket.socket) -> None:
        with client, contextlib.suppress(OSError):
            while data := client.recv(65536):
                self.heard += data


@pytest.fixture
def provider() -> Iterator[Listening]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        found = Listening(server.getsockname()[1])

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    threading.Thread(target=found.take, args=(server.accept()[0],), daemon=True).start()

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield found
        stop_listening(server, thread)


@pytest.mark.parametrize(
    ("mode", "arguments", "sent"),
    [
        ("reverse:tcp://{}", (), _REQUEST),
        ("reverse:tls://{}", (), _REQUEST),
        ("reverse:http://{}", ("--ignore-hosts", ".*"), _REQUEST),
        ("reverse:http://{}", ("--allow-hosts", "elsewhere"), _REQUEST),
        ("reverse:http://{}", ("--tcp-hosts", ".*"), _NO_HTTP),
        ("regular", (), _NO_HTTP),
        ("regular", ("--tcp-hosts", ".*"), _REQUEST),
        ("regular", ("--ignore-hosts", ".*"), _REQUEST),
        ("socks5", (), _NO_HTTP),
    ],
    ids=[
        "reverse:tcp", "reverse:tls", "ignored", "not allowed", "no HTTP", "no HTTP in a tunnel", "tcp in a tunnel",
        "an ignored tunnel", "no HTTP in socks",
    ],
)  # fmt: skip
def test_nothing_unread_reaches_a_provider(
    tmp_path: Path, provider: Listening, mode: str, arguments: tuple[str, ...], sent: bytes
) -> None:
    """R3: a connection that mitmproxy would let pass as bytes is closed: its client's own key would pass with it."""
    address = f"127.0.0.1:{provider.port}"
    account = f"{{id: a, provider: generic, base_url: 'http://{address}', key: k-1}}"
    text = f"state: {tmp_path / 'state'}\naccounts: [{account}]\n"
    with proxy(tmp_path, text, *arguments, mode=mode.format(address), port=free_port()) as running:
        with socket.create_connection(("127.0.0.1", running.port), 30) as client:
            client.settimeout(30)
            with contextlib.suppress(OSError):
                _open(client, mode, address, provider.port)
                client.sendall(sent)
                while client.recv(65536):
                    pass
        log = running.log

    assert OWN not in provider.heard
    assert "Traceback" not in log


def _open(client: socket.socket, mode: str, address: str, port: int) -> None:
    if mode == "regular":
        client.sendall(f"CONNECT {address} HTTP/1.1\r\nhost: {address}\r\n\r\n".encode())
        assert b" 200 " in client.recv(4096)
    elif mode == "socks5":
        client.sendall(b"\x05\x01\x00\x05\x01\x00\x01" + socket.inet_aton("127.0.0.1") + port.to_bytes(2, "big"))
        assert client.recv(4096)
