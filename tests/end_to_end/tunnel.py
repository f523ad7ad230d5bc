"""Servers that a test of modes needs beside the simulator: a proxy that only tunnels, and a TLS server of nobody's."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

Serve = Callable[[socket.socket], None]


@contextlib.contextmanager
def listener(serve: Serve) -> Iterator[int]:
    """Serve every connection to a port of this machine in a thread of its own; the value is the port."""
    server = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=_accept, args=(server, serve), daemon=True)
    thread.start()
    try:
        yield int(server.getsockname()[1])
    finally:
        stop_listening(server, thread)


def stop_listening(server: socket.socket, thread: threading.Thread) -> None:
    """
    Wake *thread*, which waits for a connection to *server*, and close that when it has ended.

    A thread that went on waiting would take a connection of whichever server next gets the number of this one.
    """
    server.shutdown(socket.SHUT_RDWR)
    thread.join(30)
    server.close()


@dataclass
class Tunnels:
    """A proxy that knows CONNECT alone. *asked* are the heads it got, in order."""

    port: int = 0
    asked: list[str] = field(default_factory=list)

    def serve(self, client: socket.socket) -> None:
        head = read_head(client)
        self.asked.append(head)
        method, _, rest = head.partition(" ")
        host, _, port = rest.partition(" ")[0].rpartition(":")
        if method != "CONNECT":
            client.sendall(b"HTTP/1.1 405 Method Not Allowed\r\ncontent-length: 0\r\n\r\n")
            return
        _join(client, host, int(port))


def joined(client: socket.socket, port: int) -> None:
    """Read a CONNECT of *client*, and join it to *port* of this machine, whatever host it names."""
    read_head(client)
    _join(client, "127.0.0.1", port)


def _join(client: socket.socket, host: str, port: int) -> None:
    with socket.create_connection((host, port), 30) as server:
        client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        back = threading.Thread(target=_pour, args=(server, client), daemon=True)
        back.start()
        _pour(client, server)
        back.join(30)


@contextlib.contextmanager
def tunnels() -> Iterator[Tunnels]:
    """Run a proxy that only tunnels."""
    running = Tunnels()
    with listener(running.serve) as port:
        running.port = port
        yield running


@contextlib.contextmanager
def bystander(certificate: Path, heads: list[str]) -> Iterator[int]:
    """Run a TLS server under *certificate* that says `untouched` and keeps the *heads* it gets; give its port."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)

    def serve(client: socket.socket) -> None:
        with contextlib.suppress(OSError), context.wrap_socket(client, server_side=True) as secured:
            heads.append(read_head(secured))
            secured.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\nconnection: close\r\n\r\nuntouched")

    with listener(serve) as port:
        yield port


def read_head(client: socket.socket) -> str:
    """Return the head of a message, with the blank line. Raises ConnectionError when there is none."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        piece = client.recv(1)
        if not piece:
            raise ConnectionError("the client left")
        head += piece
    return head.decode("latin-1")


def _accept(server: socket.socket, serve: Serve) -> None:
    with contextlib.suppress(OSError):  # closed: the test is over
        while True:
            client, _ = server.accept()
            threading.Thread(target=_served, args=(client, serve), daemon=True).start()


def _served(client: socket.socket, serve: Serve) -> None:
    with client, contextlib.suppress(OSError):
        serve(client)


def _pour(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
