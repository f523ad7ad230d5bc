"""
Where the time of a request goes, area by area: the driver without sockets, under Python's own profiler.

Calls are those of Python functions and of C functions in one request; they repeat. The share of the time is as the
profiler sees it, which makes calls dearer than they are. What C does, counts for the function that called it.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import os
import pstats
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from . import bench_driver as driver
from .bench_instructions import OURS, ROOT, SCRIPTS, WAYS

_WARM_UP = 20
# of addon/proxy, the first that fits
_PARTS = (
    ("addon/proxy/host/", "the host steps"),
    ("addon/proxy/upstream_", "the connections to the upstream"),
    ("addon/proxy/http1", "the connections to the upstream"),
    ("addon/proxy/stream_lane", "the connections to the upstream"),
    ("addon/proxy/", "hooks, heads, redaction, record"),
    ("addon/accounts/", "accounts"),
    ("addon/answer/", "reading the answer"),
    ("addon/dialects/", "reading the answer"),
    ("addon/crosstalk/", "crosstalk"),
    ("addon/identity/", "identity"),
    ("addon/", "story, guards, correlation, values"),
    ("scripts/", ""),
    ("mitmproxy/", "mitmproxy"),
    ("h11/", "mitmproxy"),
)
_ELSE = "Python's library"
Function = tuple[str, int, str]  # a file, a line and a name


def area(path: str) -> str:
    """Return the area of the file at *path*; empty for the driver's own."""
    inside = path.removeprefix(f"{ROOT}/").replace(".venv/import/patchbay/", "addon/").rpartition("site-packages/")[2]
    return next((name for begins, name in _PARTS if inside.startswith(begins)), _ELSE)


def by_area(stats: Mapping[Function, tuple[Any, ...]]) -> tuple[dict[str, float], dict[str, int]]:
    """Return the seconds and the calls of each area, from the *stats* of a profile."""
    seconds: defaultdict[str, float] = defaultdict(float)
    calls: defaultdict[str, int] = defaultdict(int)
    for name, called, took in _own(stats):
        seconds[name] += took
        calls[name] += called
    return seconds, calls


def _own(stats: Mapping[Function, tuple[Any, ...]]) -> Iterator[tuple[str, int, float]]:
    for (path, _, _), (_, called, took, _, callers) in stats.items():
        if path != "~":
            yield area(path), called, took
            continue
        for (caller, _, _), row in callers.items():  # a C function belongs to who called it
            yield area(caller), row[1], row[2]


async def _profiled(setup: str, way: str, count: int) -> Mapping[Function, tuple[Any, ...]]:
    profile = cProfile.Profile()

    async def use(connect: Callable[[], driver.Client]) -> None:
        client = connect()
        for at in range(_WARM_UP + count):
            if at == _WARM_UP:
                profile.enable()
            await WAYS[way].run(client)
        profile.disable()
        await client.leave()

    with tempfile.TemporaryDirectory() as name, open(os.devnull, "w") as nowhere, redirect_stdout(nowhere):
        folder, script = Path(name), ROOT / "addon" / "main.py"
        if setup == OURS:
            driver.settings_file(folder)
        else:
            script = folder / "script.py"
            script.write_text(SCRIPTS.get(setup, ""))
        await driver.serve(folder, str(script), use)
    return pstats.Stats(profile).stats  # type: ignore[attr-defined,no-any-return]


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/bench_profile", description=__doc__)
    ways = [name for name, way in WAYS.items() if way.of == 1]
    parser.add_argument("way", nargs="?", default=ways[0], choices=ways)
    parser.add_argument("--setup", default=OURS, choices=[OURS, *SCRIPTS])
    parser.add_argument("--count", type=int, default=400)
    options = parser.parse_args()
    seconds, calls = by_area(asyncio.run(_profiled(options.setup, options.way, options.count)))
    time, called = (sum(count for name, count in counted.items() if name) for counted in (seconds, calls))
    print("| | calls | share of the time |\n|---|---|---|")
    for name, took in sorted(seconds.items(), key=lambda row: -row[1]):
        if name:
            print(f"| {name} | {calls[name] / options.count:,.0f} | {took / time:.0%} |")
    print(f"| together | {called / options.count:,.0f} | |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
