"""Clients that take their time: their heads have a bound, and what they hold open does not disturb the end."""

from __future__ import annotations

import contextlib
import re
import signal
import socket
import ssl
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from .harness import Proxy, eventually, generic_config, proxy
from .tunnel import listener, read_head

HASTY = "from patchbay.proxy import http1\n\nhttp1.HEAD_SECONDS = {seconds}\naddons = []\n"
GOOD = b'{"choices": [{"message": {"content": "hi"}, "finish_reason": "stop"}]}'


def serve(client: socket.socket) -> None:
    head = read_head(client)
    length = re.search(r"(?i)content-length: (\d+)", head)
    client.recv(int(length[1]) if length else 0)
    if "x-way: hangs" in head.lower():
        client.sendall(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\ndata: {}\n\n")
        time.sleep(60)  # the proxy ends before
        return
    client.sendall(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n\r\n" + GOOD)


@contextlib.contextmanager
def hasty(folder: Path, more: str = "", seconds: float = 2.0) -> Iterator[Proxy]:
    script = folder / "hasty.py"
    script.write_text(HASTY.format(seconds=seconds))
    settings = generic_config(folder, {"one": "sk-one-0123456789abcdef"}, more=more)
    with (
        listener(serve) as port,
        proxy(folder, settings, "-v", scripts=[str(script)], mode=f"reverse:http://127.0.0.1:{port}") as running,
    ):
        yield running


def _is_closed(client: socket.socket) -> bool:
    client.settimeout(0.2)
    try:
        while client.recv(4096):
            pass
    except TimeoutError:
        return False
    except OSError:
        pass
    return True


@pytest.mark.parametrize(
    "begins",
    [b"", b"POST /v1/chat/completions HTTP/1.1\r\nx-a: ", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"PRI * HT"],
    ids=["nothing", "half a head", "half of TLS", "half a preface"],
)
def test_heads_that_do_not_come_are_given_up(tmp_path: Path, begins: bytes) -> None:
    """R20: at a byte a second, or none at all; others are served meanwhile and afterwards."""
    with hasty(tmp_path) as running, contextlib.ExitStack() as held:
        at = ("127.0.0.1", running.port)
        slow = [held.enter_context(socket.create_connection(at, 30)) for _ in range(50)]
        for client in slow:
            client.sendall(begins)
        deadline = time.monotonic() + 60
        while not all(map(_is_closed, slow[:3])) and time.monotonic() < deadline:
            for client in slow[:3]:
                with contextlib.suppress(OSError):
                    client.sendall(b"a" if begins else b"")
        assert time.monotonic() < deadline
        assert eventually(lambda: all(map(_is_closed, slow)))
        asked = {"model": "m", "messages": []}
        assert httpx.post(running.url + "/v1/chat/completions", json=asked, trust_env=False, timeout=30).content == GOOD
        assert "Traceback" not in running.log


def test_a_kept_connection_may_rest_between_two_requests(tmp_path: Path) -> None:
    """R20: the bound is for heads, and an idle client has none that is coming."""
    asked = {"model": "m", "messages": []}
    with hasty(tmp_path) as running, httpx.Client(trust_env=False, timeout=30) as client:
        for _ in range(2):
            assert client.post(running.url + "/v1/chat/completions", json=asked).content == GOOD
            time.sleep(2.5)  # longer than the bound
        assert running.log.count("client connect") == 2  # the probe for the port, and this one


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_quietly_whatever_is_open(tmp_path: Path, number: signal.Signals) -> None:
    """R22: half heads, half handshakes, an idle connection, a stream under way."""
    with hasty(tmp_path, "grace_period: 0s\n", 60.0) as running, contextlib.ExitStack() as held:
        at = ("127.0.0.1", running.port)
        opened = [held.enter_context(socket.create_connection(at, 30)) for _ in range(6)]
        body = b'{"stream": true, "model": "m"}'
        head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\nx-way: hangs\r\n"
        opened[1].sendall(head)
        opened[2].sendall(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")
        opened[3].sendall(head + b"content-length: %d\r\n\r\n%s" % (len(body), body))
        opened[4].sendall(head + b"content-length: %d\r\n\r\n%s" % (len(body), body[:9]))
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.set_alpn_protocols(["h2"])
        held.enter_context(context.wrap_socket(opened[5]))
        assert eventually(lambda: "server connect" in running.log)
        running.process.send_signal(number)
        assert running.process.wait(30) == 0
        assert "Traceback" not in running.log and "crashed" not in running.log
