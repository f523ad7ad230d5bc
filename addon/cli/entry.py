"""Where the command `patchbay` begins. An environment that lacks a requirement is told in one line, as in mitmproxy."""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path

from .. import needs


def main() -> int:
    """Run the command of the process's arguments and return its exit code."""
    _open_streams()
    try:
        command = importlib.import_module(f"{__package__}.main")
    except ImportError:
        needs.check(Path(__file__).resolve().parent.parent)
        raise
    return int(command.main())


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
