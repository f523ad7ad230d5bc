"""
Start mitmproxy's programs by forking a process that has imported mitmproxy and Patchbay already.

Imports are nine tenths of a start. The forked process then does what the program's entry point does, with its own
arguments, environment, folder and log. What depends on the imports themselves (another environment or installation, a
copy of the addon) is executed instead; so is everything where PATCHBAY_COLD is set.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

# A forked process is not safe with the frameworks that macOS loads; Windows cannot fork.
POSSIBLE = sys.platform == "linux" and not os.environ.get("PATCHBAY_COLD")
_PRELOADED = ["mitmproxy.tools.main", "mitmproxy.tools.dump", "mitmproxy.tools.web.master", "patchbay.proxy.hooks"]


class Forked:
    """A running program, with those members of `subprocess.Popen` that the tests use."""

    def __init__(self, command: Sequence[str], log: Path, environment: Mapping[str, str], folder: Path) -> None:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(_PRELOADED)  # takes effect with the first start
        arguments = (list(command), str(log), dict(environment), str(folder))
        self._process = context.Process(target=run, args=arguments, daemon=True)
        self._process.start()

    @property
    def pid(self) -> int:
        """Return the process id."""
        assert self._process.pid is not None
        return self._process.pid

    def poll(self) -> int | None:
        """Return the exit code, None while it runs; the negative signal that ended it."""
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        """Return the exit code when it has ended. Raises subprocess.TimeoutExpired."""
        self._process.join(timeout)
        code = self.poll()
        if code is None:
            raise subprocess.TimeoutExpired(self._process.name, timeout or 0.0)
        return code

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """End it at once."""
        self.send_signal(signal.SIGKILL)


def run(command: list[str], log: str, environment: dict[str, str], folder: str) -> None:
    """Be the program *command*; called in the forked process."""
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    written = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for number in (1, 2):
        os.dup2(written, number)
    os.close(written)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(line_buffering=True, write_through=True)  # type: ignore[union-attr]
    sys.argv = command

    from mitmproxy.tools import main

    sys.exit(getattr(main, Path(command[0]).name)())
