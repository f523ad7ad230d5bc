"""Where the command `patchbay` begins. An environment that lacks a requirement is told in one line, as in mitmproxy."""

from __future__ import annotations

import importlib
from pathlib import Path

from .. import needs


def main() -> int:
    """Run the command of the process's arguments and return its exit code."""
    try:
        command = importlib.import_module(f"{__package__}.main")
    except ImportError:
        needs.check(Path(__file__).resolve().parent.parent)
        raise
    return int(command.main())
