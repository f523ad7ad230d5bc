"""
How many instructions a request costs, counted by valgrind's callgrind over the driver without sockets.

Counts repeat within a per cent on any machine of one architecture and Python, so that a budget can be held. A run
starts itself under callgrind; `os.getloadavg`, which nothing else calls, marks where a path begins and ends.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import bench_driver as driver

ROOT = Path(__file__).resolve().parent.parent
_TOTAL = re.compile(r"^(?:totals|summary): (\d+)", re.MULTILINE)
_LINE = "def responseheaders(flow): flow.response.stream = True\n"


@dataclass(frozen=True)
class Path_:
    """One way through the proxy that is measured; *count* times, each of *of* units."""

    name: str
    run: Callable[[driver.Client], Awaitable[Any]]
    count: int
    of: int = 1
    fresh: bool = False  # each on a connection of its own


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


PATHS = {
    "2 kB": Path_("2 kB", _asks(2_000), 60),
    "2 kB, no id": Path_("2 kB, no id", _asks(2_000, ""), 40),
    "50 kB": Path_("50 kB", _asks(50_000), 20),
    "500 kB": Path_("500 kB", _asks(500_000), 6),
    "SSE": Path_("SSE", lambda client: _stream(client, _EVENT_STREAM), 4, driver.EVENTS),
    "refusal": Path_("refusal", lambda client: _refused(client, _REFUSED), 30),
    "WebSocket message": Path_("WebSocket message", _messages, 3, 2 * MESSAGES),
}
SETUPS = ("mitmdump", "one line", "Patchbay")


def measured(setup: str, names: list[str], *, root: Path = ROOT) -> dict[str, float]:
    """Return the instructions per unit of each path of *names*, in thousands."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        command = ["valgrind", "-q", "--tool=callgrind", f"--callgrind-out-file={folder}/out"]
        command += ["--dump-before=getloadavg"]
        command += [sys.executable, "-m", "scripts.bench_instructions", "--inside", setup, str(folder), *names]
        environment = os.environ | {"PYTHONHASHSEED": "0", "PYTHONPATH": str(root)}
        subprocess.run(command, check=True, cwd=root, env=environment, stdout=subprocess.DEVNULL, timeout=580)
        dumps = {int(path.suffix[1:]): path for path in folder.glob("out.*") if path.suffix[1:].isdigit()}
        counts = [int(_TOTAL.findall(dumps[at].read_text())[-1]) for at in sorted(dumps)]
    found = {}
    for at, path in enumerate(PATHS[name] for name in names):
        found[path.name] = counts[2 * at + 1] / path.count / path.of / 1000
    return found


async def _inside(setup: str, folder: Path, names: list[str]) -> None:
    script = ""
    if setup == "one line":
        script = str(folder / "line.py")
        Path(script).write_text(_LINE)
    elif setup != "mitmdump":
        driver.settings_file(folder)
        script = str(ROOT / "addon" / "main.py")

    async def use(connect: Callable[[], driver.Client]) -> None:
        for path in (PATHS[name] for name in names):
            client = connect()
            if path.name.startswith("WebSocket"):
                await client.ask(_UPGRADE, lambda heard: b"\r\n\r\n" in heard)
            for _ in range(max(1, min(10, path.count // 2))):
                await path.run(client)
            await asyncio.sleep(0.2)
            os.getloadavg()
            for _ in range(path.count):
                await path.run(client)
            os.getloadavg()
            await client.leave()

    await driver.serve(folder, script, use)


def main() -> None:
    if sys.argv[1:2] == ["--inside"]:
        asyncio.run(_inside(sys.argv[2], Path(sys.argv[3]), sys.argv[4:]))
        return
    if shutil.which("valgrind") is None:
        print("not run: valgrind is not here")
        return
    names = sys.argv[2:] or list(PATHS)
    setups = sys.argv[1].split(",") if sys.argv[1:] else list(SETUPS)
    for setup in setups:
        for name, count in measured(setup, names).items():
            print(f"{setup:12} {name:20} {count:9.0f} k", flush=True)


if __name__ == "__main__":
    main()
