"""
The process of the proxy: `python -P -m patchbay.launch.host TOOL WATCHED …` runs mitmproxy's TOOL with what follows.

WATCHED is an open pipe: when its other end is closed, the process that started this one is gone, however it ended, and
the proxy ends as well. `-` is none.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import os
import signal
import sys
import threading
import time
from pathlib import Path

STOCK = "PATCHBAY_STOCK"
AUTH = "PATCHBAY_UPSTREAM_AUTH"  # of the outer proxy; other users could read it among the arguments
_PATIENCE = 60.0  # seconds for the answers under way, after which the process ends at once


def main(words: list[str]) -> None:
    tool, watched, *options = words
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # no traceback of an import; mitmproxy has a handler of its own
    if watched != "-":
        threading.Thread(target=_end_with, args=(int(watched),), daemon=True).start()
    if auth := os.environ.pop(AUTH, ""):
        options += ["--set", f"upstream_auth={auth}"]
    sys.argv = [tool, *options]
    _use_uvloop()
    try:
        tools = importlib.import_module("mitmproxy.tools.main")
    except ImportError:
        # Says in one line what is missing here, and ends.
        importlib.import_module("patchbay.needs").check(Path(__file__).resolve().parent.parent)
        raise
    sys.exit(getattr(tools, tool)())


def _use_uvloop() -> None:
    """Let asyncio run on uvloop where that is installed; `PATCHBAY_STOCK` can name it, as a step of `proxy/host`."""
    if {"uvloop", "all"} & {name.strip() for name in os.environ.get(STOCK, "").split(",")}:
        return
    with contextlib.suppress(ImportError):
        asyncio.set_event_loop_policy(importlib.import_module("uvloop").EventLoopPolicy())


def _end_with(watched: int) -> None:
    with contextlib.suppress(OSError):
        os.read(watched, 1)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(_PATIENCE)
    os._exit(1)


if __name__ == "__main__":
    main(sys.argv[1:])
