"""Upstream sockets are probed, whatever they are."""

from __future__ import annotations

import socket
from types import SimpleNamespace

import pytest

from patchbay.proxy import keepalive


def test_a_socket_is_probed() -> None:
    """A4: an answer is waited for as long as its connection lives, so somebody has to look whether it does."""
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as connected:
        keepalive.enable(connected)
        assert connected.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        named = (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
        assert [connected.getsockopt(socket.IPPROTO_TCP, option) for option in named] == [60, 15, 4]


@pytest.mark.parametrize(
    ("system", "idle"), [("Linux", "TCP_KEEPIDLE"), ("macOS", "TCP_KEEPALIVE"), ("one that has none", "")]
)
def test_each_system_has_its_own_name_for_the_idle_time(
    monkeypatch: pytest.MonkeyPatch, system: str, idle: str
) -> None:
    told: list[tuple[int, int, int]] = []
    known = SimpleNamespace(SOL_SOCKET=1, SO_KEEPALIVE=9, IPPROTO_TCP=6, TCP_KEEPINTVL=5)
    if idle:
        setattr(known, idle, 4)
    monkeypatch.setattr(keepalive, "socket", known)
    keepalive.enable(SimpleNamespace(setsockopt=lambda *given: told.append(given)))  # type: ignore[arg-type]

    assert told == [(1, 9, 1), *([(6, 4, 60)] if idle else []), (6, 5, 15)]


def test_what_is_no_tcp_is_let_be() -> None:
    one, other = socket.socketpair()
    with one, other:
        keepalive.enable(one)
    keepalive.enable(one)  # closed
