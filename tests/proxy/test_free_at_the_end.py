"""An exchange that is over leaves no cycle: its memory is free at once, without the garbage collector."""

from __future__ import annotations

import asyncio
import gc
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from mitmproxy.http import HTTPFlow

from patchbay.exchange import Exchange
from patchbay.proxy import option_defaults
from patchbay.proxy.exchange_driver import ExchangeDriver
from patchbay.proxy.host import steps
from patchbay.proxy.upstream_stream import PatchbayStream
from scripts import bench_driver
from scripts.bench_instructions import ROOT, WAYS

TIMES = 4
KINDS = (HTTPFlow, PatchbayStream, ExchangeDriver, Exchange)


def alive() -> Counter[str]:
    return Counter(type(each).__name__ for each in gc.get_objects() if type(each) in KINDS)


@pytest.mark.parametrize("way", ["2 kB", "2 kB, no id", "500 kB", "SSE event", "refusal"])
def test_an_exchange_is_forgotten_when_it_is_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    monkeypatch.delenv(steps.SWITCH, raising=False)  # mitmproxy's own ways leave cycles behind
    monkeypatch.setattr(option_defaults, "settle", lambda: None)
    bench_driver.settings_file(tmp_path)
    counts: list[Counter[str]] = []

    async def use(connect: Callable[[], bench_driver.Client]) -> None:
        client = connect()
        for _ in range(TIMES):
            await WAYS[way].run(client)
            counts.append(alive())
        await client.leave()

    gc.disable()
    try:
        asyncio.run(bench_driver.serve(tmp_path, str(ROOT / "addon" / "main.py"), use))
    finally:
        gc.enable()

    assert counts == [counts[0]] * TIMES
