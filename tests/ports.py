"""Ports for the servers that tests and scripts start: no other connection and no other test process takes them."""

from __future__ import annotations

import fcntl
import os
import random
import socket
import tempfile
from pathlib import Path

# Below what Linux (32768), macOS and Windows (49152) hand out by themselves: a port that they handed out once may be
# the local end of any client's connection a moment later, and then nobody can listen on it.
_FIRST, _LAST = 12000, 32000
_locks: dict[int, int] = {}  # port: open file of its lock; the system lets go of it when this process ends


def free_port() -> int:
    """Return a port on which nothing listens, and which no other process that asks here gets while this one runs."""
    folder = Path(tempfile.gettempdir()) / f"patchbay-ports-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    for port in random.sample(range(_FIRST, _LAST), 500):
        if port not in _locks and _lock(folder, port) and _nothing_listens(port):
            return port
    raise RuntimeError(f"no port of 500 between {_FIRST} and {_LAST} is free")


def _lock(folder: Path, port: int) -> bool:
    file = os.open(folder / str(port), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(file)
        return False
    _locks[port] = file
    return True


def _nothing_listens(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("", port))
        except OSError:
            return False
    return True
