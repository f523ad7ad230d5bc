"""Upstream sockets are probed, whatever they are."""

from __future__ import annotations

import socket

from patchbay.proxy import keepalive


def test_a_socket_is_probed() -> None:
    """A4: an answer is waited for as long as its connection lives, so somebody has to look whether it does."""
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as connected:
        keepalive.probe(connected)
        assert connected.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert connected.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT) == keepalive.PROBES


def test_what_is_no_tcp_is_let_be() -> None:
    one, other = socket.socketpair()
    with one, other:
        keepalive.probe(one)
    keepalive.probe(one)  # closed
