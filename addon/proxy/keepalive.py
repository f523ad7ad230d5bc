"""TCP keepalive on upstream connections: a silent upstream may be thinking, and only probes tell that it is gone."""

from __future__ import annotations

import contextlib
import socket

SILENT, INTERVAL, PROBES = 60, 15, 4  # seconds without a byte, seconds between two probes, and how many may be lost

_SETTINGS = (("TCP_KEEPIDLE", SILENT), ("TCP_KEEPALIVE", SILENT), ("TCP_KEEPINTVL", INTERVAL), ("TCP_KEEPCNT", PROBES))


def enable(connected: socket.socket) -> None:
    """Have the system detect within two minutes that the peer of *connected* is gone."""
    with contextlib.suppress(OSError):  # no TCP, or closed already
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _SETTINGS:
        option = getattr(socket, name, None)  # macOS has another name for the first, Windows lacks some
        if option is not None:
            with contextlib.suppress(OSError):
                connected.setsockopt(socket.IPPROTO_TCP, option, value)
