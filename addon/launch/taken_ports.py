"""A port that another program has: found before mitmproxy fails at it, told with what has it and with a free one."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

from ..proxy import control_socket
from ..proxy.control_socket import ControlFailed
from .command_line import LaunchError

EXIT_TAKEN = 1
WEB_PORT = 8081  # of mitmweb's own pages


def check(places: Sequence[tuple[str, int]], option: str, folder: Path, env: Mapping[str, str]) -> None:
    """
    Raise LaunchError where one of *places*, host and port, is taken.

    *option* names, behind `patchbay run`, how another port is given. *folder* has the sockets of running proxies.
    """
    for host, port in places:
        if not is_free(host, port):
            other = free_after(host, port, {WEB_PORT, *(port for _, port in places)})
            raise LaunchError(f"{_told(port, folder, env)}; another port:  patchbay run {option} {other}", EXIT_TAKEN)


def free_after(host: str, port: int, but: Collection[int]) -> int:
    """Return the first port of *host* above *port* at which nothing listens, none of *but*."""
    return next((each for each in range(port + 1, 65536) if each not in but and is_free(host, each)), 0)


def is_free(host: str, port: int) -> bool:
    """Whether no program listens at *port*. A *host* that is not this machine's is for mitmproxy to refuse."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as tried:
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            tried.bind((host, port))
        except OSError as e:
            return e.errno != errno.EADDRINUSE
    return True


def owner(port: int) -> str:
    """Return program and pid of what listens at *port*, as far as Linux tells this user."""
    inodes = set(_listening(port))
    for folder in Path("/proc").glob("[0-9]*") if inodes else ():
        with contextlib.suppress(OSError):
            if any(os.readlink(each) in inodes for each in (folder / "fd").iterdir()):
                return f"{(folder / 'comm').read_text().strip()} (pid {folder.name})"
    return ""


def _told(port: int, folder: Path, env: Mapping[str, str]) -> str:
    for proxy in control_socket.running(folder, env):
        with contextlib.suppress(ControlFailed, LookupError, TypeError):
            status = control_socket.ask(proxy.path, "status", patience=2.0)
            found = next((each for each in status["addresses"] if each.rstrip("/").endswith(f":{port}")), "")
            if found:
                return f"Patchbay runs already at {found} (pid {status['pid']})"
    return f"port {port} is in use by {owner(port) or 'another program'}"


def _listening(port: int) -> Iterator[str]:
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with contextlib.suppress(OSError):
            for line in Path(table).read_text().splitlines()[1:]:
                fields = line.split()
                if fields[3] == "0A" and int(fields[1].rpartition(":")[2], 16) == port:
                    yield f"socket:[{fields[9]}]"
