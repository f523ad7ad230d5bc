"""The proxy beside a command: started in a session of its own, waited for, asked over its control socket, and ended."""

from __future__ import annotations

import contextlib
import os
import random
import re
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import msgspec

from ..proxy import control_socket
from ..proxy.control_answers import ProxyStatus
from ..proxy.control_socket import VARIABLE_OF_PATH, ControlFailed
from ..proxy.release import ADDON
from ..visible_text import visible
from .command_line import TOOLS, LaunchError

_PORTS = range(20_000, 32_000)  # below those that the system gives to connections
_START_SECONDS = 120.0  # mitmproxy makes its certificates at the first start
_END_SECONDS = 60.0  # for the answers under way
_GLANCE = 0.02  # seconds between two looks at whether it has started
_IN_USE = re.compile(r"address already in use|EADDRINUSE|\[Errno (?:48|98)\]", re.I)
_TOLD_LINES = 20
_KEPT_SECONDS = 7 * 86_400.0  # of the log of a run that went wrong
_SETTLED_SECONDS = 2.0  # for the ends of exchanges whose client has just left
_STAMP = re.compile(r"^\[\d\d:\d\d:\d\d(?:\.\d+)?\] ?")  # of mitmproxy, before a line of its log


class AddressInUse(Exception):
    """Another program has taken a port since it was found free."""


def host_command(tool: str, watched: str, options: Sequence[str]) -> list[str]:
    """Return the command that runs *tool* (dump, web, console) with Patchbay; nothing else must be on the PATH."""
    script = str(ADDON / "main.py")
    return [sys.executable, "-P", "-m", f"{_package()}.launch.host", TOOLS[tool], watched, "-s", script, *options]


def _package() -> str:
    return __name__.partition(".")[0]


def free_ports(count: int) -> list[int]:
    """Return *count* ports on which nothing listens now."""
    found: list[int] = []
    for port in random.sample(_PORTS, 500):
        if len(found) == count:
            break
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            found.append(port)
    return found


class ProxyProcess:
    """
    A proxy that runs beside a command. Its output goes to *log*.

    It ends when this process does, however that ends: it watches a pipe that only this process holds open.
    """

    def __init__(self, folder: Path, env: Mapping[str, str]) -> None:
        # Containers that share a folder have equal process ids.
        pid, number = os.getpid(), secrets.randbelow(10**8)
        self.log = folder / f"run-{pid}-{number}.log"
        # A name by which other commands find it, at which there is nothing yet: what listens there is this proxy.
        self.control = control_socket.path_for(folder, pid, number)
        self._env = {**env, VARIABLE_OF_PATH: str(self.control), "PYTHONUNBUFFERED": "1"}
        self._process: subprocess.Popen[bytes] | None = None
        self._held = -1

    def start(self, tool: str, options: Sequence[str]) -> None:
        """Start *tool* with *options* and wait until it listens. Raises LaunchError, or AddressInUse."""
        watched, self._held = os.pipe()
        try:
            with open(self.log, "wb", opener=_private) as log:
                self._process = subprocess.Popen(  # noqa: S603 - this Python
                    host_command(tool, str(watched), options), env=self._env, stdin=subprocess.DEVNULL, stdout=log,
                    stderr=subprocess.STDOUT, start_new_session=True, pass_fds=(watched,),
                )  # fmt: skip
        finally:
            os.close(watched)
        self._wait_until_ready(self._process)

    def _wait_until_ready(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + _START_SECONDS
        while process.poll() is None:
            if control_socket.is_live(self.control):
                return
            if time.monotonic() > deadline or control_socket.NO_SOCKET in self.output():
                told, late = self.told(), f"the proxy does not listen after {_START_SECONDS:g} s; its log is {self.log}"
                self.end()
                raise LaunchError(late if time.monotonic() > deadline else f"the proxy cannot be asked:\n{told}", 1)
            time.sleep(_GLANCE)
        self._let_go()
        if _IN_USE.search(self.output()):
            raise AddressInUse(self.told())
        raise LaunchError(f"the proxy did not start:\n{self.told()}", process.returncode or 1)

    def output(self) -> str:
        """Return what it has printed."""
        try:
            return self.log.read_text(encoding="utf-8", errors="replace")
        except OSError:
            return ""

    def told(self) -> str:
        """Return its last lines, for the terminal."""
        lines = [_STAMP.sub("", line) for line in self.output().splitlines() if line.strip()]
        return "\n".join(visible(line) for line in lines[-_TOLD_LINES:] if not line.startswith("Loading script "))

    def status(self) -> ProxyStatus | None:
        """Return what it counted, once the exchanges of clients that have left have ended; None: it does not answer."""
        found = None
        self._signal(signal.SIGCONT)  # a stopped one answers nothing
        deadline = time.monotonic() + _SETTLED_SECONDS
        for found in self._statuses():
            if not found.in_flight or time.monotonic() > deadline:
                break
            time.sleep(_GLANCE)
        return found

    def _statuses(self) -> Iterator[ProxyStatus]:
        with contextlib.suppress(ControlFailed, msgspec.ValidationError):
            while True:
                yield msgspec.convert(control_socket.ask(self.control, "status"), ProxyStatus)

    @property
    def exit_code(self) -> int | None:
        """How it ended, or None while it runs."""
        return self._process.poll() if self._process else None

    def end(self) -> None:
        """End it, with time for the answers under way, at most a minute; Ctrl-C ends it at once."""
        process = self._process
        if process is None:
            return
        for each in (signal.SIGTERM, signal.SIGCONT):  # a stopped one ends when it goes on
            self._signal(each)
        try:
            process.wait(_END_SECONDS)
        except (KeyboardInterrupt, subprocess.TimeoutExpired):
            process.kill()
            process.wait()
        finally:
            self._let_go()

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(number)

    def _let_go(self) -> None:
        if self._held >= 0:
            os.close(self._held)
            self._held = -1
        control_socket.remove_stale([self.control])


def remove_old_logs(folder: Path, now: float) -> None:
    """Remove what earlier runs left in *folder*, some days after they went wrong."""
    for path in folder.glob("run-*.log"):
        with contextlib.suppress(OSError):
            if path.stat().st_mtime < now - _KEPT_SECONDS:
                path.unlink()


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
