"""Loaded into the proxy beside Patchbay: writes what is left over whenever the file `$PROBE.ask` appears."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import time
from pathlib import Path

from mitmproxy import ctx, http
from mitmproxy.addons.proxyserver import Proxyserver

from patchbay.proxy.hooks import Patchbay
from patchbay.proxy.upstream_stream import PatchbayStream

_OUT = Path(os.environ["PROBE"])


class Probe:
    """Answers questions of the soak."""

    name = "patchbay-soak-probe"

    def __init__(self) -> None:
        self._task: asyncio.Task[None] | None = None

    def running(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._watch())

    async def _watch(self) -> None:
        asked = _OUT.with_suffix(".ask")
        while True:
            await asyncio.sleep(0.2)
            if asked.exists():
                asked.unlink()
                _OUT.write_text(json.dumps(_left()))


def _left() -> dict[str, int]:
    gc.collect()
    ours, theirs = ctx.master.addons.get("patchbay"), ctx.master.addons.get("proxyserver")
    assert isinstance(ours, Patchbay) and isinstance(theirs, Proxyserver)
    everything = gc.get_objects()
    return {
        "tasks": len(asyncio.all_tasks()),
        "streams": sum(isinstance(each, PatchbayStream) for each in everything),
        "flows": sum(isinstance(each, http.HTTPFlow) for each in everything),
        "in flight": sum(status.in_flight for status in ours._router().accounts.status(time.time())),
        "connections": len(theirs.connections),
    }


addons = [Probe()]
