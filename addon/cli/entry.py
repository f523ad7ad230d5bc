"""Where the command `patchbay` begins. An environment that lacks a requirement is told in one line, as in mitmproxy."""

from __future__ import annotations

import importlib
import os
import signal
import sys


def main() -> int:
    """Run the command of the process's arguments and return its exit code."""
    _open_streams()
    if is_usual := signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends the imports without their traceback
    try:
        command = importlib.import_module(f"{__package__}.main")
    except ImportError:
        _tell_missing()
        raise
    if is_usual:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return int(command.main())
    except KeyboardInterrupt:
        # Seen to die of it, as a shell that runs a script expects.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
        return 128 + signal.SIGINT


def _tell_missing() -> None:
    # Loaded here alone: until `main` runs, Ctrl-C shows a traceback.
    from pathlib import Path

    from .. import needs

    needs.check(Path(__file__).resolve().parent.parent)


def _open_streams() -> None:
    """
    Open those of stdin, stdout and stderr that the caller has closed, on nothing.

    Their numbers would be given to other files, which a child process then takes for its streams.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # the lowest number that is free, which is this
            setattr(sys, name, os.fdopen(number, "w" if number else "r", encoding="utf-8", closefd=False))
