"""Loaded into the proxy beside Patchbay: writes what is left over whenever the file `$PROBE.ask` appears."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import time
from collections import Counter
from pathlib import Path

from mitmproxy import ctx, http
from mitmproxy.addons.proxyserver import Proxyserver

from patchbay.proxy.hooks import Patchbay
from patchbay.proxy.upstream_stream import PatchbayStream


class Probe:
    """Answers questions of the soak."""

    name = "patchbay-soak-probe"

    def __init__(self, answer: Path) -> None:
        self._answer = answer
        self._question = answer.with_suffix(".ask")
        self._task: asyncio.Task[None] | None = None

    def running(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._watch())

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(0.2)
            self.answer()

    def answer(self) -> None:
        """Write what is left over, if that is asked."""
        if self._question.exists():
            self._question.unlink()
            self._answer.write_text(json.dumps(left()))


def left() -> dict[str, int]:
    """Count what the proxy holds."""
    gc.collect()
    ours, theirs = ctx.master.addons.get("patchbay"), ctx.master.addons.get("proxyserver")
    assert isinstance(ours, Patchbay) and isinstance(theirs, Proxyserver)
    kinds = Counter(map(type, gc.get_objects()))
    return {
        "tasks": len(asyncio.all_tasks()),
        "streams": sum(count for kind, count in kinds.items() if issubclass(kind, PatchbayStream)),
        "flows": sum(count for kind, count in kinds.items() if issubclass(kind, http.HTTPFlow)),
        "in flight": sum(status.in_flight for status in ours._router().accounts.status(time.time())),
        "connections": len(theirs.connections),
    }


addons = [Probe(Path(os.environ["PROBE"]))] if "PROBE" in os.environ else []  # a test imports this file
