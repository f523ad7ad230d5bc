"""
Puts mixed load on a real mitmdump for a long time: buffered, streams, WebSockets, clients that leave at every phase.

Memory is read from the process as it goes. At the end nothing may be left over: no task, no stream, no slot, and no
exception in the log.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path

import httpx
from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException

from tests.end_to_end.dialogue import DIALECTS, body, credential, path
from tests.end_to_end.harness import ROOT, Proxy, eventually, generic_config, proxy
from tests.simulator import simulator_thread

NAMES = {f"account-{n}": f"sk-soak-{n}-0123456789abcdef" for n in range(4)}
WORKERS = 6
PAGE = 4096


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="patchbay-soak-") as name,
        simulator_thread(
            {key: name for name, key in NAMES.items()}, echo="both", bodies=False, records=2000
        ) as simulator,
    ):
        folder = Path(name)
        simulator.fault("delay_events", {"seconds": 0.005}, probability=0.2)
        simulator.fault("delay_head", {"seconds": 0.2}, probability=0.1)
        more = "limits: {keep_streamed: 64KiB, known_ids: 10000}\nsessions: {limit: 1000}\n"
        with proxy(
            folder, generic_config(folder, NAMES, more=more), "-q", mode=f"reverse:{simulator.url}",
            scripts=[str(ROOT / "scripts" / "soak_probe.py")], environment={"PROBE": str(folder / "probe")},
        ) as running:  # fmt: skip
            before = left(running)
            done, memory = asyncio.run(load(running, options.minutes * 60, options.seed))
            after = settled(running, before)
            log = running.log
    return report(done, memory, before, after, log)


async def load(running: Proxy, seconds: float, seed: int) -> tuple[Counter[str], list[tuple[float, int]]]:
    """Put load on for *seconds*; return what was done, and resident memory in bytes over time."""
    done: Counter[str] = Counter()
    memory: list[tuple[float, int]] = []
    begun = time.monotonic()

    async def work(number: int) -> None:
        luck = random.Random(f"{seed}/{number}")
        async with httpx.AsyncClient(base_url=running.url, timeout=30, trust_env=False) as client:
            while time.monotonic() - begun < seconds:
                name, act = luck.choice(ACTS)
                try:
                    await act(running, client, luck)
                    done[name] += 1
                except (httpx.HTTPError, OSError, WebSocketException, TimeoutError) as e:
                    done[f"{name}: {type(e).__name__}"] += 1

    async def watch() -> None:
        while time.monotonic() - begun < seconds:
            memory.append((time.monotonic() - begun, resident(running.process.pid)))
            minutes, total = memory[-1][0] / 60, sum(done.values())
            print(f"  {minutes:5.1f} min  {total:7} done  {memory[-1][1] / 1e6:6.1f} MB", end="\r", flush=True)
            await asyncio.sleep(min(5.0, seconds / 20))

    await asyncio.gather(watch(), *(work(number) for number in range(WORKERS)))
    print()
    return done, memory


def _request(luck: random.Random, *, stream: bool) -> tuple[str, dict[str, object], dict[str, str]]:
    dialect = luck.choice(DIALECTS)
    turns = [f"soak {luck.randrange(1_000_000)} " + "x" * luck.choice((10, 2000, 50_000))]
    headers = credential(dialect, "sk-client") | (
        {"x-session-id": str(luck.randrange(500))} if luck.random() < 0.5 else {}
    )
    return path(dialect, stream=stream), body(dialect, turns, stream=stream), headers


async def buffered(running: Proxy, client: httpx.AsyncClient, luck: random.Random) -> None:
    where, asked, headers = _request(luck, stream=False)
    (await client.post(where, json=asked, headers=headers)).raise_for_status()


async def streamed(running: Proxy, client: httpx.AsyncClient, luck: random.Random) -> None:
    where, asked, headers = _request(luck, stream=True)
    async with client.stream("POST", where, json=asked, headers=headers) as answer:
        answer.raise_for_status()
        async for _ in answer.aiter_raw():
            pass


async def leaves_in_stream(running: Proxy, client: httpx.AsyncClient, luck: random.Random) -> None:
    where, asked, headers = _request(luck, stream=True)
    async with (
        httpx.AsyncClient(base_url=running.url, timeout=30, trust_env=False) as own,
        own.stream("POST", where, json=asked, headers=headers) as answer,
    ):
        async for _ in answer.aiter_raw():
            if luck.random() < 0.3:
                return


async def leaves_before_the_answer(running: Proxy, client: httpx.AsyncClient, luck: random.Random) -> None:
    await _half(running, luck, whole=True)


async def leaves_in_the_request(running: Proxy, client: httpx.AsyncClient, luck: random.Random) -> None:
    await _half(running, luck, whole=False)


async def _half(running: Proxy, luck: random.Random, *, whole: bool) -> None:
    where, asked, headers = _request(luck, stream=luck.random() < 0.5)
    text = json.dumps(asked).encode()
    fields = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    head = f"POST {where} HTTP/1.1\r\nhost: 127.0.0.1\r\n{fields}content-length: {len(text)}\r\n\r\n".encode()
    sent = head + text if whole else (head + text)[: luck.randrange(len(head) + len(text))]
    _, writer = await asyncio.open_connection("127.0.0.1", running.port)
    writer.write(sent)
    await writer.drain()
    await asyncio.sleep(luck.uniform(0, 0.02))
    writer.transport.abort()


async def socket(running: Proxy, client: httpx.AsyncClient, luck: random.Random) -> None:
    headers = {"Authorization": "Bearer sk-client", "session-id": str(luck.randrange(100))}
    async with connect(f"ws://127.0.0.1:{running.port}/v1/responses", additional_headers=headers, proxy=None) as opened:
        for _ in range(luck.randrange(1, 4)):
            said = {"type": "response.create", "model": "sim-large", "input": f"soak {luck.random()}"}
            await opened.send(json.dumps(said))
            while json.loads(await asyncio.wait_for(opened.recv(), 20))["type"] != "response.completed":
                if luck.random() < 0.02:
                    opened.transport.abort()
                    return


Act = Callable[[Proxy, httpx.AsyncClient, random.Random], Awaitable[None]]
ACTS: list[tuple[str, Act]] = [
    ("buffered", buffered), ("buffered", buffered), ("stream", streamed), ("stream", streamed),
    ("leaves in the stream", leaves_in_stream), ("leaves before the answer", leaves_before_the_answer),
    ("leaves in the request", leaves_in_the_request), ("WebSocket", socket),
]  # fmt: skip


def resident(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE


def left(running: Proxy) -> dict[str, int]:
    """Ask the proxy what it holds now."""
    out = running.folder / "probe"
    out.unlink(missing_ok=True)
    out.with_suffix(".ask").touch()
    eventually(lambda: out.exists() and out.read_text().endswith("}"), 20)
    found: dict[str, int] = json.loads(out.read_text())
    return found


def settled(running: Proxy, before: dict[str, int]) -> dict[str, int]:
    """Wait until what the load has left behind is gone, or is seen to stay."""
    after = left(running)
    for _ in range(20):
        if all(after[name] <= before[name] for name in before):
            break
        time.sleep(1)  # upstream connections and their tasks end when the last clients are gone
        after = left(running)
    return after


def report(
    done: Counter[str], memory: list[tuple[float, int]], before: dict[str, int], after: dict[str, int], log: str
) -> int:
    """Print what was seen and what held; return the exit code."""
    for name, number in sorted(done.items()):
        print(f"  {name:45}{number:8}")
    warm = [size for _, size in memory[len(memory) // 3 :]]  # by then what is remembered has reached its bounds
    third = max(1, len(warm) // 3)
    early, late = sum(warm[:third]) / third, sum(warm[-third:]) / third
    print(f"resident memory after warm-up {early / 1e6:.1f} MB, at the end {late / 1e6:.1f} MB")
    for number, line in enumerate(lines := log.splitlines()):
        if "Traceback" in line or "has crashed" in line:
            print("\n".join(lines[max(0, number - 2) : number + 40]))
            break
    print(f"before {before}\nafter  {after}")
    broken = [name for name in done if ":" in name and not name.startswith("leaves")]
    claims = [
        (late <= early * 1.1, "memory is flat after warm-up (within a tenth)"),
        (
            all(after[name] <= before[name] for name in ("tasks", "streams", "flows", "in flight")),
            "no task, stream, flow or slot is left",
        ),
        ("Traceback" not in log and "has crashed" not in log, "no exception is in the log"),
        (not broken, f"no client that stayed saw an error ({', '.join(broken) or 'none'})"),
    ]
    for holds, text in claims:
        print(f"  {'✓' if holds else '✗ NOT SO:'} {text}")
    return 0 if all(holds for holds, _ in claims) else 1


if __name__ == "__main__":
    sys.exit(main())
