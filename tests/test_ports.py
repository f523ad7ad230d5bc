"""Ports that tests listen on belong to one of them."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

from .ports import free_port

_MANY = "from tests.ports import free_port; import sys; print(*[free_port() for _ in range(300)], flush=True); input()"


def test_processes_that_ask_at_the_same_time_get_different_ports() -> None:
    root = Path(__file__).parent.parent
    started = [
        subprocess.Popen([sys.executable, "-c", _MANY], cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        for _ in range(4)
    ]
    found = [port for process in started for port in (process.stdout.readline() if process.stdout else b"").split()]
    for process in started:
        process.communicate(b"\n", timeout=60)
    assert len(found) == len(set(found)) == 4 * 300


def test_no_outgoing_connection_gets_one_of_them() -> None:
    ranges = Path("/proc/sys/net/ipv4/ip_local_port_range")
    lowest = int(ranges.read_text().split()[0]) if ranges.exists() else 49152
    assert all(free_port() < lowest for _ in range(50))


def test_a_port_on_which_something_listens_is_not_given() -> None:
    from . import ports

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", free_port()))
        taken.listen()
        assert not ports._nothing_listens(taken.getsockname()[1])
