"""A real Redis from the system's package, on a port of its own, that forgets everything when it ends."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import redis
from ports import free_port

PROGRAM = shutil.which("redis-server") or shutil.which("valkey-server")
MISSING = "not run: there is no redis-server (apt-get install redis-server)"


@dataclass
class RedisServer:
    """A running server, which can be stopped and started again."""

    folder: Path
    port: int
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def count(self, kind: str) -> int:
        """Return how many records of *kind* are kept in it."""
        with redis.Redis.from_url(self.url) as asking:
            return sum(1 for _ in asking.scan_iter(match=f"patchbay:*:{kind}:*", count=1000))

    def start(self) -> None:
        assert PROGRAM
        arguments = ["--bind", "127.0.0.1", "--port", str(self.port), "--save", "", "--appendonly", "no"]
        self.process = subprocess.Popen([PROGRAM, *arguments, "--dir", str(self.folder)], stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and self.process.poll() is None:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 0.5):
                return
            time.sleep(0.02)  # a process is starting; there is nothing to be told by
        raise RuntimeError("redis-server does not listen")

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait(30)
            self.process = None


@contextlib.contextmanager
def redis_server(folder: Path) -> Iterator[RedisServer]:
    server = RedisServer(folder, free_port())
    server.start()
    try:
        yield server
    finally:
        server.stop()
