"""Clients that ask at a port before it is open, and go on asking: what a proxy that starts under load has to stand."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import trustme

from ..ports import free_port
from ..simulator import Simulator, simulator_thread
from .harness import eventually, generic_config, proxy

CLIENTS = 8
OWN = "sk-client-key-that-stays-here"
KEY = "sk-real-account-0123456789abcdef"
MODES = (
    "regular", "reverse:http", "reverse:https", "one port", "upstream", "socks5", "mitmweb reverse:https",
    "mitmweb regular",
)  # fmt: skip
_BODY = b'{"model": "sim-large", "messages": [{"role": "user", "content": "hello"}]}'
_FAILURES = ("Traceback", "Addon error", "has crashed", " failed: ", "Errors logged", "Error logged")
_PATIENCE = 30.0  # seconds for one answer
_Open = Callable[[int], socket.socket]


@dataclass
class Knocking:
    """What the clients met so far. *statuses* are those of the answers, *mistakes* answers that are not Patchbay's."""

    statuses: list[int] = field(default_factory=list)
    mistakes: list[str] = field(default_factory=list)
    stopped: threading.Event = field(default_factory=threading.Event)
    threads: list[threading.Thread] = field(default_factory=list)

    def again_and_again(self, connect: _Open, port: int, target: str) -> None:
        while not self.stopped.is_set():
            with contextlib.suppress(OSError):
                self._once(connect, port, target)
            self.stopped.wait(0.005)

    def _once(self, connect: _Open, port: int, target: str) -> None:
        with connect(port) as client:
            host = urlsplit(target).netloc or "localhost"
            head = f"POST {target} HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer {OWN}\r\nconnection: close\r\n"
            head += f"content-type: application/json\r\ncontent-length: {len(_BODY)}\r\n\r\n"
            client.sendall(head.encode() + _BODY)
            answer = b""
            while piece := client.recv(65536):
                answer += piece
        if answer:
            self.statuses.append(int(answer.split(b" ", 2)[1]))
            if b"x-patchbay-request-id" not in answer:
                self.mistakes.append(f"an answer of an upstream's or an error: {answer[:400]!r}")

    def stop(self) -> None:
        """Let every client end with the answer it is waiting for."""
        self.stopped.set()
        for thread in self.threads:
            thread.join(_PATIENCE)


@contextlib.contextmanager
def knocking(mode: str, port: int, upstream: str) -> Iterator[Knocking]:
    """Let eight clients ask for *upstream* at *port*, in the way that *mode* wants, until the block ends."""
    found = Knocking()
    for number in range(CLIENTS):
        connect, target = _way(mode, number, upstream)
        client = threading.Thread(target=found.again_and_again, args=(connect, port, target), daemon=True)
        client.start()
        found.threads.append(client)
    try:
        yield found
    finally:
        found.stop()


def start(
    folder: Path, mode: str, plain: Simulator, secured: Simulator, certificate: Path, *, named_host: bool = True
) -> list[str]:
    """
    Start a proxy in *mode* while clients knock, ask until all are served, end it; return what was wrong with it.

    With *named_host* (`--listen-host`) mitmproxy opens the port before any script is loaded.
    """
    program, kind = mode.split(" ", 1) if mode.startswith("mitmweb") else ("mitmdump", mode)
    upstream = secured.url if kind == "reverse:https" else plain.url
    named = {
        "reverse:http": f"reverse:{upstream}",
        "reverse:https": f"reverse:{upstream}",
        "one port": "reverse:http://patchbay.invalid",
        "upstream": "upstream:http://127.0.0.1:9",
    }.get(kind, kind)
    text = generic_config(folder, {"one": KEY}).replace("base_url: reverse", f"base_url: '{upstream}'")
    if kind == "upstream":  # nothing is behind it, and each client hears so from Patchbay
        text += "failover: {attempts: 1}\n"
    text = text.replace("state:", "queue: {limit: 100}\nstate:", 1)
    port = free_port()
    arguments = ["--set", f"ssl_verify_upstream_trusted_ca={certificate}"]
    arguments += ["--listen-host", "127.0.0.1"] if named_host else []
    with knocking(kind, port, upstream) as clients:
        try:
            with proxy(folder, text, *arguments, mode=named, program=program, port=port, at_home=True) as running:
                served = eventually(lambda: len(clients.statuses) >= 2 * CLIENTS, 90)
                clients.stop()
                code = running.process.poll()
        except RuntimeError as e:
            return [str(e)]
    log = running.log
    wrong = [] if code is None else [f"it ended with {code}"]
    wrong += [] if served else [f"only {len(clients.statuses)} answers"]
    if kind != "upstream":
        wrong += clients.mistakes[:3]
    wrong += [f"'{sign}' in the log" for sign in _FAILURES if sign in log]
    return [*wrong, log] if wrong else []


@contextlib.contextmanager
def providers(folder: Path) -> Iterator[tuple[Simulator, Simulator, Path]]:
    """Run a provider over http and one over https, with files in *folder*; the third value is the CA to trust."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    authority.issue_cert("localhost", "127.0.0.1").private_key_and_cert_chain_pem.write_to_path(folder / "server.pem")
    with (
        simulator_thread({KEY: "one"}, echo="both") as plain,
        simulator_thread({KEY: "one"}, echo="both", tls=folder / "server.pem") as secured,
    ):
        yield plain, secured, folder / "ca.pem"


def leaked(upstreams: Sequence[Simulator]) -> list[str]:
    """Return what reached *upstreams* under the clients' own key."""
    return [f"{record.path}" for each in upstreams for record in each.truth if OWN in str(record.headers)]


def _way(mode: str, number: int, upstream: str) -> tuple[_Open, str]:
    path = "/v1/chat/completions"
    if mode == "socks5":
        return lambda port: _through_socks(port, upstream), path
    if mode in ("regular", "upstream"):
        return _plainly, upstream + path
    return _secured if mode == "reverse:https" and number % 2 else _plainly, path


def _plainly(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), _PATIENCE)


def _secured(port: int) -> socket.socket:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context.wrap_socket(_plainly(port), server_hostname="localhost")


def _through_socks(port: int, upstream: str) -> socket.socket:
    client = _plainly(port)
    try:
        client.sendall(b"\x05\x01\x00")
        _exactly(client, 2)
        to = urlsplit(upstream).port or 0
        client.sendall(b"\x05\x01\x00\x01" + socket.inet_aton("127.0.0.1") + to.to_bytes(2, "big"))
        _exactly(client, 10)
    except OSError:
        client.close()
        raise
    return client


def _exactly(client: socket.socket, count: int) -> None:
    while count:
        piece = client.recv(count)
        if not piece:
            raise ConnectionError("the proxy closed the connection")
        count -= len(piece)
