"""
How many instructions a request costs, counted by valgrind's callgrind over the driver without sockets.

Counts repeat within a per cent on any machine of one architecture and Python, so that a budget can be held. A run
starts itself under callgrind; `os.getloadavg`, which nothing else calls, marks where a path begins and ends.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mitmproxy import version

from . import bench_driver as driver

ROOT = Path(__file__).resolve().parent.parent
BUDGETS = ROOT / "scripts" / "bench_budgets.json"
SLACK = 0.03  # of a budget
AGAIN = 2  # times that a path above its budget is counted anew
_TOTAL = re.compile(r"^(?:totals|summary): (\d+)", re.MULTILINE)


@dataclass(frozen=True)
class Way:
    """One way through the proxy, which is gone *count* times; each is *of* units."""

    run: Callable[[driver.Client], Awaitable[Any]]
    count: int
    of: int = 1


async def _json(client: driver.Client, sent: bytes) -> None:
    heard = await client.ask(sent, driver.is_whole)
    assert heard.startswith(b"HTTP/1.1 200"), heard[:300]


async def _stream(client: driver.Client, sent: bytes) -> None:
    heard = await client.ask(sent, lambda heard: heard.endswith(b"\r\n0\r\n\r\n"))
    assert heard.startswith(b"HTTP/1.1 200") and heard.count(b" word ") == driver.EVENTS, heard[:300]


async def _refused(client: driver.Client, sent: bytes) -> None:
    heard = await client.ask(sent, driver.is_whole)
    assert heard.startswith(b"HTTP/1.1 4"), heard[:300]


def _asks(size: int, headers: str = "x-session-id: bench-0\r\n") -> Callable[[driver.Client], Awaitable[Any]]:
    sent = driver.request(driver.body(size), headers)
    return lambda client: _json(client, sent)


_EVENT_STREAM = driver.request(driver.body(2000, stream=True))
_REFUSED = driver.request(driver.body(2000)).replace(b"x-session-id", b"x-patchbay-account: nobody\r\nx-session-id")
_MASKED = b"\x81\x85\x00\x00\x00\x00hello"
_UPGRADE = (
    b"GET /v1/realtime HTTP/1.1\r\nhost: 127.0.0.1:8080\r\nconnection: upgrade\r\nupgrade: websocket\r\n"
    b"authorization: Bearer sk-client\r\nsec-websocket-version: 13\r\n"
    b"sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
MESSAGES = 20


async def _messages(client: driver.Client) -> None:
    for _ in range(MESSAGES):
        await client.ask(_MASKED, lambda heard: len(heard) > 20)


WAYS = {
    "2 kB": Way(_asks(2_000), 60),
    "2 kB, no id": Way(_asks(2_000, ""), 40),
    "50 kB": Way(_asks(50_000), 20),
    "500 kB": Way(_asks(500_000), 6),
    "SSE event": Way(lambda client: _stream(client, _EVENT_STREAM), 4, driver.EVENTS),
    "refusal": Way(lambda client: _refused(client, _REFUSED), 30),
    "WebSocket message": Way(_messages, 4, 2 * MESSAGES),
}
OF_PATCHBAY = frozenset({"2 kB, no id", "refusal", "WebSocket message"})  # ways that mitmdump alone does not go
BARE, STEPS, LINE, OURS = "mitmdump", "host steps", "one line", "Patchbay"
SCRIPTS = {
    LINE: "def responseheaders(flow): flow.response.stream = True\n",
    STEPS: "from patchbay.proxy.host import steps\nsteps.install()\n",  # mitmdump alone, with what Patchbay puts on it
}


def measured(setup: str, names: Sequence[str], *, root: Path = ROOT) -> dict[str, float]:
    """Return the instructions per unit of each of WAYS in *names*, in thousands."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        command = ["valgrind", "-q", "--tool=callgrind", f"--callgrind-out-file={folder}/out"]
        command += ["--dump-before=getloadavg", sys.executable, "-m", "scripts.bench_instructions"]
        command += ["--inside", setup, "--folder", str(folder), *names]
        environment = os.environ | {"PYTHONHASHSEED": "0", "PYTHONPATH": str(root)}
        subprocess.run(command, check=True, cwd=root, env=environment, stdout=subprocess.DEVNULL, timeout=580)
        dumps = {int(path.suffix[1:]): path for path in folder.glob("out.*") if path.suffix[1:].isdigit()}
        counts = [int(_TOTAL.findall(dumps[at].read_text())[-1]) for at in sorted(dumps)]
    spans = zip(names, counts[1::2], strict=True)
    return {name: count / WAYS[name].count / WAYS[name].of / 1000 for name, count in spans}


def over_budget(found: Mapping[str, float], budgets: Mapping[str, float]) -> list[str]:
    """Return what of *found* is more than its budget allows, in words."""
    return [
        f"{name}: {count:,.0f} k instructions, and the budget is {budgets[name]:,.0f} k"
        for name, count in found.items()
        if count > budgets[name] * (1 + SLACK)
    ]


def of_this_python() -> str:
    """Return what a budget is of: another build of Python needs another number of instructions."""
    return f"Python {platform.python_version()}, {platform.machine()}"


def section() -> list[str]:
    """Return a table of every setup as lines of Markdown; one line where nothing can be counted."""
    heading = ["## Instructions", ""]
    if shutil.which("valgrind") is None:
        return [*heading, "Not counted: valgrind was not there.", ""]
    setups = (BARE, STEPS, LINE, OURS)
    common = [name for name in WAYS if name not in OF_PATCHBAY]
    counts = {setup: measured(setup, list(WAYS) if setup == OURS else common) for setup in setups}
    rows = [
        f"| {name} | "
        + " | ".join(f"{counts[setup][name]:,.0f}" if name in counts[setup] else "" for setup in setups)
        + " |"
        for name in WAYS
    ]
    return [
        *heading,
        f"Thousands for one request, one event of a stream of {driver.EVENTS} with its share of the request, or one"
        f" message; {of_this_python()}, mitmproxy {version.VERSION}, without sockets, by callgrind. The host steps are"
        " what Patchbay puts on mitmproxy (docs/upstream.md).",
        "",
        f"| | {' | '.join(setups)} |",
        "|---" * (len(setups) + 1) + "|",
        *rows,
        "",
    ]


async def _inside(setup: str, folder: Path, names: Sequence[str]) -> None:
    script = folder / "script.py"
    script.write_text(SCRIPTS.get(setup, ""))
    if setup == OURS:
        driver.settings_file(folder)
        script = ROOT / "addon" / "main.py"

    async def use(connect: Callable[[], driver.Client]) -> None:
        for name in names:
            way, client = WAYS[name], connect()
            if way.run is _messages:
                await client.ask(_UPGRADE, lambda heard: b"\r\n\r\n" in heard)
            for _ in range(max(1, min(10, way.count // 2))):
                await way.run(client)
            await asyncio.sleep(0.2)  # what threads still do is not of the span
            os.getloadavg()
            for _ in range(way.count):
                await way.run(client)
            os.getloadavg()
            await client.leave()

    await driver.serve(folder, "" if setup == BARE else str(script), use)


def main() -> int:
    options = _options()
    if options.inside:
        asyncio.run(_inside(options.inside, options.folder, options.ways))
        return 0
    if shutil.which("valgrind") is None:
        print("patchbay: instructions are not counted: valgrind is not here")
        return 0
    names = options.ways or list(WAYS)
    if options.write:
        budgets = {name: round(count) for name, count in measured(OURS, list(WAYS)).items()}
        BUDGETS.write_text(json.dumps({"of": of_this_python(), "budgets": budgets}, indent=2) + "\n")
        return 0
    print("patchbay: counting; this takes a minute or more", file=sys.stderr, flush=True)
    for setup in () if options.check else options.setups.split(","):
        for name, count in measured(setup, names).items():
            print(f"{setup:10} {name:18} {count:10,.0f} k", flush=True)
    return _checked(names) if options.check else 0


def _checked(names: Sequence[str]) -> int:
    held = json.loads(BUDGETS.read_text())
    if held["of"] != of_this_python():
        print(f"patchbay: instructions are not counted: the budgets are of {held['of']}, this is {of_this_python()}")
        return 0
    found = measured(OURS, names)
    for _ in range(AGAIN):  # what the machine does meanwhile can only add to a count
        if again := [name for name in names if over_budget({name: found[name]}, held["budgets"])]:
            found |= {name: min(found[name], count) for name, count in measured(OURS, again).items()}
    for name, count in found.items():
        print(f"{name:18} {count:10,.0f} k of {held['budgets'][name]:,.0f} k", flush=True)
    above = over_budget(found, held["budgets"])
    for told in above:
        print(f"patchbay: {told}", file=sys.stderr)
    return 1 if above else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/bench_instructions", description=__doc__)
    parser.add_argument("ways", nargs="*", metavar="WAY", help=f"of {', '.join(WAYS)}")
    parser.add_argument("--setups", default=OURS, help=f"parted by commas, of: {BARE}, {STEPS}, {LINE}, {OURS}")
    parser.add_argument("--check", action="store_true", help="compare with scripts/bench_budgets.json")
    parser.add_argument("--write", action="store_true", help="write scripts/bench_budgets.json")
    parser.add_argument("--inside", default="", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if unknown := [name for name in options.ways if name not in WAYS]:
        parser.error(f"there is no way {unknown[0]!r}; there are: {', '.join(WAYS)}")
    return options


if __name__ == "__main__":
    sys.exit(main())
