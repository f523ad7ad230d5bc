"""
What other gateways cost beside Patchbay and mitmdump alone: the same load, the same simulated provider, one sitting.

All run at the same time, and take turns in each round. A figure is the median over rounds, a ratio the median of
ratios within one round. Everything happens in a network namespace with loopback only; what is missing is installed
from the package registries into a cache folder first. Linux only.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tests.ports import free_port

from . import process_tree
from .bench import Figures, body, simulated_upstream
from .bench_load import ANSWER, connected
from .clients import namespace, run_tool
from .peers import BARE, PEERS, Peer, Place, install, last_line

CLIENTS = (1, 20)
SIZE = 2000  # bytes of a request
MOST = 4000  # requests of one figure
WARM = 4  # times as long as the others is the first round: Node compiles what it runs for thousands of requests
DIRECT = Peer("no proxy", lambda _: [])
START_SECONDS, ANSWER_SECONDS, END_SECONDS, STUCK_SECONDS = 120, 20, 20, 30
PAGE = Path(__file__).resolve().parent.parent / "docs" / "peers.md"
_PAGE_BEGINS = (
    "# Beside other gateways\n\n"
    "Written by `scripts/bench --peers --write`. Absolute values depend on the machine and its load; the ratios are"
    " comparable. Each program is set as its documentation says for passing requests on unchanged. nginx and Envoy,"
    " written in C and C++, read nothing of a request: they bound what is possible. The others are gateways for LLM"
    " APIs; none of them keeps a conversation on one account or looks at whose answer comes back.\n\n"
)
_TEXT = b"word " * 20  # in the provider's answer
_PROCESSOR = {clients: f"processor, {clients}" for clients in CLIENTS}
_LATENCY = "latency"


@dataclass(frozen=True, slots=True)
class Running:
    """A peer that answers: its port, its first process, and the seconds from its start to its first answer."""

    peer: Peer
    port: int
    upstream: int
    pid: int = 0
    start: float = 0.0

    def request(self, client: int) -> bytes:
        content = body(SIZE, client)
        head = (
            f"POST {self.peer.path} HTTP/1.1\r\nhost: 127.0.0.1:{self.port}\r\ncontent-type: application/json\r\n"
            f"authorization: Bearer sk-client\r\ncontent-length: {len(content)}\r\n{self.peer.headers}\r\n"
        )
        return head.format(client=client, upstream=self.upstream).encode() + content


class NotMeasured(Exception):
    """A peer did not start or did not answer; the message says why in one line."""


# -- processes --------------------------------------------------------------------------------------------------------


@contextmanager
def started(peer: Peer, home: Path, upstream: int) -> Iterator[Running]:
    """Run *peer* in *home* until the block ends. Raises NotMeasured."""
    home.mkdir(parents=True)
    place = Place(home, free_port(), upstream, peer.folder)
    environment = {"PATH": os.environ["PATH"], "HOME": str(home), "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    command, log_file = peer.command(place), home / "log.txt"
    began = time.perf_counter()
    with log_file.open("wb") as log:
        try:
            process = subprocess.Popen(
                command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=environment, cwd=home,
                start_new_session=True,
            )  # fmt: skip
        except OSError as e:
            raise NotMeasured(str(e)) from e
    try:
        running = Running(peer, place.port, upstream, process.pid)
        if why := _until_answered(running, process):
            raise NotMeasured(f"{why}; it printed: {last_line(log_file.read_text(errors='replace'))}")
        yield Running(peer, place.port, upstream, process.pid, time.perf_counter() - began)
    finally:
        _end(process)


def _until_answered(running: Running, process: subprocess.Popen[bytes]) -> str:
    """Ask until the provider's answer comes back; return why it does not, or nothing."""
    why, deadline = "does not listen", time.perf_counter() + START_SECONDS
    while process.poll() is None:
        if time.perf_counter() > deadline:
            return why
        with suppress(OSError):
            if (status := _status(running)) == 200:
                return ""
            why = f"answers {status}"
        time.sleep(0.02)  # a process is starting; there is nothing to be told by
    return f"ended with {process.returncode}"


def _status(running: Running) -> int:
    """Ask once on a connection of its own. Raises OSError, also when the answer is not the provider's."""
    with socket.create_connection(("127.0.0.1", running.port), ANSWER_SECONDS) as opened:
        opened.sendall(running.request(0))
        seen = b""
        while received := opened.recv(65536):
            seen += received
            status = int(seen[9:12] or b"0")
            if status != 200 or _TEXT in seen:
                return status
    raise ConnectionError("something else than the provider's answer")


def _end(process: subprocess.Popen[bytes]) -> None:
    """End *process* and all it started: politely, then at once."""
    left = process_tree.members(process.pid)
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(END_SECONDS)
    for pid in left | process_tree.members(process.pid):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.wait()


# -- load -------------------------------------------------------------------------------------------------------------


async def load(running: Running, clients: int, seconds: float) -> list[float]:
    """Let *clients* ask without a pause; return the seconds that each answer took. Raises NotMeasured."""
    deadline, taken = time.perf_counter() + seconds, list[float]()

    async def one(number: int) -> None:
        caller, sent = await connected(running.port), running.request(number)
        try:
            while (began := time.perf_counter()) < deadline and len(taken) < MOST:
                heard = await caller.ask(sent)
                if heard.status != 200:
                    raise NotMeasured(f"answers {heard.status}")
                taken.append(time.perf_counter() - began)
        finally:
            caller.close()

    try:
        async with asyncio.timeout(seconds + STUCK_SECONDS):
            await asyncio.gather(*(one(number) for number in range(clients)))
    except OSError as e:  # a TimeoutError is one
        raise NotMeasured(str(e) or "does not answer any more") from e
    return taken


def measure(running: Running, clients: int, seconds: float, figures: Figures) -> None:
    """Note what one round of load has cost. Raises NotMeasured."""
    spent = process_tree.processor(running.pid) if running.pid else 0.0
    taken = asyncio.run(load(running, clients, seconds))
    if running.pid:
        spent = process_tree.processor(running.pid) - spent
        figures.add(_PROCESSOR[clients], running.peer.name, spent / len(taken) * 1e6)
    if clients == 1:
        figures.add(_LATENCY, running.peer.name, statistics.median(taken) * 1e6)


def rounds_of(found: Sequence[Running], count: int, seconds: float, figures: Figures, failed: dict[str, str]) -> None:
    """Measure all of *found* in turns; what stops to answer is noted in *failed*, and measured no more."""
    for number in range(-1, count):  # the first round, in which caches are filled and code is compiled, is not noted
        lasting = seconds if number >= 0 else seconds * WARM
        into = figures if number >= 0 else Figures()
        start = number % len(found)
        for clients in CLIENTS:
            for running in (*found[start:], *found[:start]):
                if running.peer.name in failed:
                    continue
                try:
                    measure(running, clients, lasting, into)
                except NotMeasured as e:
                    failed[running.peer.name] = str(e)
        print(f"round {number + 1} of {count}" if number >= 0 else "warm", file=sys.stderr, flush=True)


# -- the table --------------------------------------------------------------------------------------------------------


def table(names: Mapping[str, str], figures: Figures, memory: Mapping[str, tuple[float, float]],
          starts: Mapping[str, float]) -> Iterator[str]:  # fmt: skip
    """Return the lines of the table: a row for each of *names*, which are given with their releases."""
    processor = " | ".join(
        f"processor µs per request, {clients} {'client' if clients == 1 else 'clients'}" for clients in CLIENTS
    )
    yield f"| | release | {processor} | added latency, 1 client, µs | memory, PSS (RSS), MB | start, s |"
    yield "|---" * (5 + len(CLIENTS)) + "|"
    for name, release in names.items():
        costs = " | ".join(
            f"{figures.median(row, name):.0f} (x{figures.ratio(row, BARE, name):.2f})" for row in _PROCESSOR.values()
        )
        pairs = zip(figures.rows[_LATENCY][name], figures.rows[_LATENCY][DIRECT.name], strict=True)
        added = statistics.median(ours - direct for ours, direct in pairs)
        resident, shared = memory[name]
        yield f"| {name} | {release} | {costs} | {added:.0f} | {shared:.0f} ({resident:.0f}) | {starts[name]:.1f} |"


def report(rows: Iterator[str], figures: Figures, failed: Mapping[str, str], rounds: int) -> str:
    """Return the table between what was measured and what was not."""
    direct = figures.median(_LATENCY, DIRECT.name)
    told = (
        f"{os.cpu_count()} cores, Python {platform.python_version()}, {rounds} rounds. Requests of {SIZE} bytes,"
        f" answers of {len(ANSWER)}. Processor time and memory are those of all processes of a program. Ratios are"
        f" requests per second of processor time, relative to {BARE} alone. Latencies are medians; without a proxy it"
        f" is {direct:.0f} µs. The start ends with the first answer; the better of two."
    )
    return "\n".join([told, "", *rows, *(f"\n{name}: not measured ({why})" for name, why in failed.items())])


# -- the whole --------------------------------------------------------------------------------------------------------


def main() -> int:
    asked = _options()
    if asked.inside:
        return _inside(asked)
    enter = namespace() if shutil.which("unshare") and shutil.which("ip") else []
    if not enter:
        print("peers: not run (unshare or ip is missing, or may not make a network namespace here)")
        return 0
    failed = {peer.name: why for peer in _wanted(asked) if (why := install(peer))}
    inner = ["-m", "scripts.bench_peers", "--inside", "--failed", json.dumps(failed), *sys.argv[1:]]
    return subprocess.run([*enter, sys.executable, *inner], check=False).returncode


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/bench --peers", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0, help="of each figure in each round")
    parser.add_argument("--only", default="", help="those with this in their names, and mitmdump")
    parser.add_argument("--write", action="store_true", help=f"write docs/{PAGE.name}")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--failed", type=json.loads, default={}, help=argparse.SUPPRESS)
    return parser.parse_args()


def _inside(asked: argparse.Namespace) -> int:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the processes are ended
    run_tool("ip", "link", "set", "lo", "up")
    failed, figures, starts = dict(asked.failed), Figures(), dict[str, float]()
    with tempfile.TemporaryDirectory(prefix="patchbay-peers-") as name, ExitStack() as stack:
        upstream = int(stack.enter_context(simulated_upstream()).rpartition(":")[2])
        found = [Running(DIRECT, upstream, upstream)]
        for peer in _wanted(asked):
            if peer.name not in failed:
                try:
                    found.append(_twice(stack, peer, Path(name), upstream, starts))
                except NotMeasured as e:
                    failed[peer.name] = str(e)
        rounds_of(found, asked.rounds, asked.seconds, figures, failed)
        memory = {running.peer.name: process_tree.memory(running.pid) for running in found if running.pid}
    if BARE in failed:
        print(f"peers: not run ({BARE}: {failed[BARE]})")
        return 1
    names = {name: running.peer.release for running in found if (name := running.peer.name) in memory.keys() - failed}
    text = report(table(names, figures, memory, starts), figures, failed, asked.rounds)
    print(text)
    if asked.write:
        PAGE.write_text(f"{_PAGE_BEGINS}{text}\n", encoding="utf-8")
    return 0


def _twice(stack: ExitStack, peer: Peer, folder: Path, upstream: int, starts: dict[str, float]) -> Running:
    """Start *peer*, end it, and start it again: its files are in the system's cache then. Raises NotMeasured."""
    home = folder / str(len(list(folder.iterdir())))
    with started(peer, home / "first", upstream) as first:
        pass
    running = stack.enter_context(started(peer, home / "second", upstream))
    starts[peer.name] = min(first.start, running.start)
    print(f"{peer.name}: started in {starts[peer.name]:.1f} s", file=sys.stderr, flush=True)
    return running


def _wanted(asked: argparse.Namespace) -> list[Peer]:
    return [peer for peer in PEERS if peer.name == BARE or asked.only.lower() in peer.name.lower()]


if __name__ == "__main__":
    sys.exit(main())
