"""
What Patchbay costs, paired in one run: mitmdump alone, mitmdump with an addon of one line that streams, and Patchbay.

Every figure is the median over rounds, and every ratio the median of ratios within one round, in which the setups take
turns: what else the machine does falls on all of them. Client and provider share one process; both cost little.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import anthropic
import openai

from patchbay import dialects
from patchbay.body import Body
from patchbay.identity.identify import Identifier
from patchbay.ledger import Ledger
from patchbay.settings.settings import SessionSettings
from patchbay.values.http import Headers, Origin, Request
from tests.end_to_end.harness import BIN, ROOT, generic_config, proxy
from tests.ports import free_port

from . import bench_detection, bench_instructions
from .bench_load import Upstream, connected

SIZES = {"2 kB": 2_000, "50 kB": 50_000, "500 kB": 500_000, "5 MB": 5_000_000}
CLIENTS = (1, 20)
EVENTS = 300  # of one stream
BARE, LINE, OURS, UNNAMED = "mitmdump", "one line that streams", "Patchbay", "Patchbay, no ids"
STREAMS = [BARE, LINE, OURS]
TABLE = ROOT / "docs" / "bench.md"
_LINE = "def responseheaders(flow): flow.response.stream = True\n"
_PATH = "/v1/chat/completions"
_PEERS = "scripts/bench --peers measures other gateways; more with --peers --help"


@dataclass(frozen=True)
class Setup:
    """One thing to measure: a port, and the headers a client sends there."""

    name: str
    port: int
    pid: int
    headers: str = ""

    def processor(self) -> float:
        """Return the seconds of processor time it has had: what others do on the machine is not in it."""
        tasks = Path(f"/proc/{self.pid}/task").glob("*/schedstat")
        return sum(int(task.read_text().split()[0]) for task in tasks) / 1e9


@dataclass
class Figures:
    """What was measured, by row and setup, one value a round."""

    rows: dict[str, dict[str, list[float]]] = field(default_factory=dict)

    def add(self, row: str, setup: str, value: float) -> None:
        self.rows.setdefault(row, {}).setdefault(setup, []).append(value)

    def median(self, row: str, setup: str) -> float:
        return statistics.median(self.rows[row][setup])

    def ratio(self, row: str, setup: str, base: str) -> float:
        pairs = zip(self.rows[row][setup], self.rows[row][base], strict=True)
        return statistics.median(ours / theirs for ours, theirs in pairs)


# -- setups -----------------------------------------------------------------------------------------------------------


@contextmanager
def mitmdump(name: str, folder: Path, upstream: str, *arguments: str) -> Iterator[Setup]:
    """Run a mitmdump of its own, without Patchbay."""
    port = free_port()
    command = [str(BIN / "mitmdump"), "-q", "--set", f"confdir={folder / 'mitmproxy'}", "--mode", f"reverse:{upstream}"]
    with running([*command, "--listen-host", "127.0.0.1", "-p", str(port), *arguments], port) as pid:
        yield Setup(name, port, pid)


@contextmanager
def running(command: Sequence[str], port: int) -> Iterator[int]:
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        asyncio.run(_listening(port))
        yield process.pid
    finally:
        process.terminate()
        process.wait(20)


async def _listening(port: int) -> None:
    for _ in range(600):
        try:
            (await connected(port)).close()
        except OSError:
            await asyncio.sleep(0.1)
        else:
            return
    raise RuntimeError("a proxy does not listen")


def setups(stack: ExitStack, folder: Path, upstream: str) -> list[Setup]:
    """Start everything that is measured."""
    line = folder / "line.py"
    line.write_text(_LINE)
    found = [stack.enter_context(mitmdump(BARE, folder, upstream))]
    found.append(stack.enter_context(mitmdump(LINE, folder, upstream, "-s", str(line))))
    keys = {name: f"example-{name}" for name in ("one", "two", "three")}
    text = generic_config(folder, keys, more="store: sqlite")
    ours = stack.enter_context(proxy(folder / "patchbay", text, "-q", mode=f"reverse:{upstream}"))
    found.append(Setup(OURS, ours.port, ours.process.pid, "x-session-id: bench-%d\r\n"))
    found.append(Setup(UNNAMED, ours.port, ours.process.pid))
    return found


# -- requests ---------------------------------------------------------------------------------------------------------


def body(size: int, number: int = 0, *, stream: bool = False, more: str = "") -> bytes:
    """Return a chat of about *size* bytes in turns of 2 kB, as a tool sends it; *number* makes it one of its own."""
    turns = max(1, size // 2000)
    text = "".join(f"word{position % 97} " for position in range(min(size, 2000) // 7))[: min(size, 2000) - 120]
    roles = ("user", "assistant")
    messages = [{"role": roles[at % 2], "content": f"{number} {at}: {text}"} for at in range(turns | 1)]
    return json.dumps({"model": "bench", "stream": stream, "messages": messages} | json.loads(more or "{}")).encode()


def request(setup: Setup, content: bytes, client: int, more: str = "") -> bytes:
    named = setup.headers % client if setup.headers else ""
    head = (
        f"POST {_PATH} HTTP/1.1\r\nhost: 127.0.0.1:{setup.port}\r\ncontent-type: application/json\r\n"
        f"authorization: Bearer sk-client\r\ncontent-length: {len(content)}\r\n{named}{more}\r\n"
    )
    return head.encode() + content


async def throughput(setup: Setup, size: int, clients: int, seconds: float) -> tuple[float, float]:
    """Return requests per second, and per second of processor time, of *clients* that ask without a pause."""
    deadline, count = time.perf_counter() + seconds, 0

    async def one(number: int) -> None:
        nonlocal count
        caller, sent = await connected(setup.port), request(setup, body(size, number), number)
        while time.perf_counter() < deadline:
            heard = await caller.ask(sent)
            assert heard.status == 200, (setup.name, heard.status)
            count += 1
        caller.close()

    began, spent = time.perf_counter(), setup.processor()
    await asyncio.gather(*(one(number) for number in range(clients)))
    return count / (time.perf_counter() - began), count / (setup.processor() - spent)


async def events(setup: Setup, clients: int, pause: float, figures: Figures) -> None:
    """Let *clients* take a stream each, an event every *pause* seconds (0: at once), and note what it cost."""
    label = f"{clients} {'stream' if clients == 1 else 'streams'}"
    heard, began, spent = [], time.perf_counter(), setup.processor()

    async def one(number: int) -> None:
        caller = await connected(setup.port)
        sent = request(setup, body(2000, number, stream=True), number, f"x-bench: {EVENTS}/{pause}\r\n")
        heard.append(await caller.ask(sent))
        caller.close()

    await asyncio.gather(*(one(number) for number in range(clients)))
    taken, spent = time.perf_counter() - began, setup.processor() - spent
    count = sum(len(one.delays) for one in heard)
    assert count >= 0.98 * EVENTS * clients, (setup.name, count)
    if not pause:
        figures.add(f"{label} at once: µs of processor for each event", setup.name, spent / count * 1e6)
        figures.add(f"{label} at once: µs for each event", setup.name, taken / count * 1e6)
        return
    delays = sorted(delay for one in heard for delay in one.delays)
    gaps = sorted(b - a for one in heard for a, b in zip(one.arrivals, one.arrivals[1:], strict=False))
    every = f"{label}, an event every {pause * 1e3:g} ms"
    figures.add(f"{every}: delay, median, µs", setup.name, delays[len(delays) // 2] / 1e3)
    figures.add(f"{every}: delay, 99 %, µs", setup.name, delays[int(len(delays) * 0.99)] / 1e3)
    figures.add(f"{every}: gap, 99 %, ms", setup.name, gaps[int(len(gaps) * 0.99)] / 1e6)


# -- failover ---------------------------------------------------------------------------------------------------------

MOVED, RETRIED = "Patchbay moves it to the next account", "the client retries, through one line that streams"
DIRECTLY = "the client retries, without a proxy"
STAYED, AFTER = "a stream through Patchbay", "the same after it was moved"
ASKED, BY_SDK = 60, 30  # times a round
LONG = 3000  # events


async def failover(line: Setup, ours: Setup, figures: Figures, number: int) -> None:
    """Note the time to the first byte of a stream that is limited first, moved by Patchbay or by its client."""
    limited = "authorization: Bearer sk-limited"
    callers = {setup.name: await connected(setup.port) for setup in (line, ours)}
    times: dict[str, list[int]] = {MOVED: [], RETRIED: []}
    for asked in range(ASKED):
        # a conversation and a model of its own each time: an account rests for the model it was limited for
        content = body(2000, number * ASKED + asked, stream=True, more=json.dumps({"model": f"bench-{number}-{asked}"}))
        began = time.perf_counter_ns()
        heard = await callers[ours.name].ask(request(ours, content, asked, "x-bench: 10/0\r\n"))
        assert heard.status == 200, heard.status
        times[MOVED].append(heard.first - began)
        sent = request(line, content, asked, "x-bench: 10/0\r\n")
        began = time.perf_counter_ns()
        refused = sent.replace(b"authorization: Bearer sk-client", limited.encode())
        assert (await callers[line.name].ask(refused)).status == 429
        heard = await callers[line.name].ask(sent)
        times[RETRIED].append(heard.first - began)
    for name in times:
        figures.add("ms to the first byte", name, statistics.median(times[name]) / 1e6)
    for caller in callers.values():
        caller.close()


async def events_after(ours: Setup, figures: Figures, number: int) -> None:
    """Note what an event costs in a stream that was moved to another account, and in one that was not."""
    caller = await connected(ours.port)
    for asked in range(4):
        for name, pin in ((STAYED, "x-patchbay-account: second\r\n"), (AFTER, "")):
            model = json.dumps({"model": f"after-{number}-{asked}-{len(pin)}"})
            content = body(2000, number, stream=True, more=model)
            spent = ours.processor()
            heard = await caller.ask(request(ours, content, asked, f"x-bench: {LONG}/0\r\n{pin}"))
            assert heard.status == 200, (name, heard.status)
            figures.add("µs for each event", name, (heard.arrivals[-1] - heard.first) / LONG / 1e3)
            figures.add("µs of processor for each event", name, (ours.processor() - spent) / LONG * 1e6)
    caller.close()


def failover_by_sdk(upstream: str, line: Setup, ours: Setup, figures: Figures, number: int) -> None:
    """Note the time to the first event that an SDK gives, when it asks again by itself and when Patchbay does it."""
    once, again = "sk-bench", "sk-bench-first"
    ways = ((DIRECTLY, upstream, again), (RETRIED, f"http://127.0.0.1:{line.port}", again),
            (MOVED, f"http://127.0.0.1:{ours.port}", once))  # fmt: skip
    for row, first_event in (("openai SDK", _by_openai), ("anthropic SDK", _by_anthropic)):
        for name, url, key in ways:
            ask = first_event(url, key, retries=int(key == again))
            times = [ask(f"{row}-{number}-{asked}".replace(" ", "-")) for asked in range(BY_SDK)]
            figures.add(f"{row}: ms to the first event", name, statistics.median(times) * 1e3)


def _by_openai(url: str, key: str, *, retries: int) -> Callable[[str], float]:
    sdk = openai.OpenAI(base_url=f"{url}/v1", api_key=key, max_retries=retries, default_headers=_WANTED)

    def ask(model: str) -> float:
        began = time.perf_counter()
        with sdk.chat.completions.create(model=model, messages=_said(model), stream=True) as answer:
            next(iter(answer))
            return time.perf_counter() - began

    return ask


def _by_anthropic(url: str, key: str, *, retries: int) -> Callable[[str], float]:
    sdk = anthropic.Anthropic(base_url=url, api_key=key, max_retries=retries, default_headers=_WANTED)

    def ask(model: str) -> float:
        began = time.perf_counter()
        with sdk.messages.create(model=model, max_tokens=9, messages=_said(model), stream=True) as answer:
            next(iter(answer))
            return time.perf_counter() - began

    return ask


_WANTED = {"x-bench": "10/0"}


def _said(model: str) -> Any:  # what each SDK calls otherwise
    return [{"role": "user", "content": f"{model}: " + "word " * 400}]


@contextmanager
def failing_over(folder: Path, upstream: str) -> Iterator[Setup]:
    """Run a Patchbay whose first account is always limited."""
    text = (
        f"state: {folder / 'state'}\naccounts:\n"
        "- {id: first, provider: generic, base_url: reverse, key: example-limited, priority: 1}\n"
        "- {id: second, provider: generic, base_url: reverse, key: example-free}\n"
    )
    with proxy(folder, text, "-q", mode=f"reverse:{upstream}") as running:
        yield Setup(OURS, running.port, running.process.pid)


# -- identity ---------------------------------------------------------------------------------------------------------


def identity(figures: Figures, rounds: int) -> None:
    """Measure how long it takes to say whose conversation a request is, against `json.loads` of its body."""
    for label, size in SIZES.items():
        for number in range(rounds if size < 5_000_000 else max(3, rounds // 3)):
            content = body(size, number)
            loaded = _seconds(partial(json.loads, content))
            for name, found in _identities(content, number):
                figures.add(label, name, found / loaded)


def _identities(content: bytes, number: int) -> Iterator[tuple[str, float]]:
    named = json.dumps({"session_id": f"body-{number}"})
    inside = content[:-1] + b"," + named[1:].encode()
    fresh = iter(range(1_000_000))

    def identifier() -> Identifier:
        return Identifier(bytes(32), SessionSettings(), Ledger())

    def ask(who: Identifier, content: bytes, headers: tuple[tuple[str, str], ...] = ()) -> Callable[[], object]:
        return lambda: who.identify(_request(content, headers), 1.0)

    yield "id in a header", _seconds(ask(identifier(), content, (("x-session-id", "bench"),)))
    yield "id in the body", _seconds(ask(identifier(), inside))
    yield "no id, first sight", _seconds(lambda: identifier().identify(_request(content), float(next(fresh))))
    known = identifier()
    first = _request(content)
    known.learn(first, known.identify(first, 1.0), "one", [], 1.0)
    yield "no id, known prefix", _seconds(ask(known, content))


def _request(content: bytes, headers: tuple[tuple[str, str], ...] = ()) -> Request:
    endpoint = dialects.endpoint("POST", _PATH)
    return Request("POST", _PATH, Headers(headers), Body(content), endpoint, Origin("http", "bench", 80))


def _seconds(work: Callable[[], object]) -> float:
    """Return the shortest of a few runs: what the work takes when nothing else comes between."""
    times = list[float]()
    until = time.perf_counter() + 0.02
    while len(times) < 3 or (time.perf_counter() < until and len(times) < 200):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return min(times)


# -- the whole --------------------------------------------------------------------------------------------------------


async def measured(found: list[Setup], figures: Figures, processor: Figures, rounds: int, seconds: float) -> None:
    for setup in found:  # connections, caches and first imports are nobody's cost
        await throughput(setup, 2000, 4, 0.5)
    for number in range(rounds):
        turn = found[number % len(found) :] + found[: number % len(found)]
        for label, size in SIZES.items():
            for clients in CLIENTS:
                for setup in turn:
                    row = f"{label}, {clients} {'client' if clients == 1 else 'clients'}"
                    by_clock, by_processor = await throughput(setup, size, clients, seconds)
                    figures.add(row, setup.name, by_clock)
                    processor.add(row, setup.name, by_processor)
        print(f"round {number + 1} of {rounds}: requests", file=sys.stderr, flush=True)


async def streamed(found: list[Setup], figures: Figures, rounds: int) -> None:
    for number in range(rounds):
        turn = found[number % len(found) :] + found[: number % len(found)]
        for clients, pause in ((1, 0.0), (20, 0.0), (1, 0.005), (20, 0.02)):
            for setup in turn:
                await events(setup, clients, pause, figures)
        print(f"round {number + 1} of {rounds}: streams", file=sys.stderr, flush=True)


async def serving(ready: Callable[[str], None]) -> None:
    server = await asyncio.get_running_loop().create_server(Upstream, "127.0.0.1", 0)
    ready(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    await asyncio.get_running_loop().create_future()


def main() -> int:
    if "--instructions" in sys.argv[1:]:
        sys.argv.remove("--instructions")
        return bench_instructions.main()
    options = _options()
    rounds, seconds = (2, 0.3) if options.quick else (options.rounds, options.seconds)
    requests, processor, streams, moves, identities, sdks, after = (Figures() for _ in range(7))
    identity(identities, rounds * 3)
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack, simulated_upstream() as url:
        found = setups(stack, Path(name), url)
        asyncio.run(measured(found, requests, processor, rounds, seconds))
        asyncio.run(streamed([setup for setup in found if setup.name in STREAMS], streams, rounds))
        line = next(setup for setup in found if setup.name == LINE)
        with failing_over(Path(name) / "failing", url) as ours:
            for number in range(rounds + 1):
                into, by_sdk, later = (moves, sdks, after) if number else (Figures(), Figures(), Figures())
                asyncio.run(failover(line, ours, into, number))  # the first round makes connections
                failover_by_sdk(url, line, ours, by_sdk, number)
                asyncio.run(events_after(ours, later, number))
        stack.close()
    every = (requests, processor, streams, moves, identities, sdks, after)
    text = report(every, rounds, [setup.name for setup in found])
    passing = streams.median("20 streams at once: µs of processor for each event", OURS)
    text += "\n".join(["", *bench_detection.section(passing)])
    if options.write:
        text += "\n".join(["", *bench_instructions.section()])
    print(text)
    if options.write:
        TABLE.write_text(text, encoding="utf-8")
    return 0


@contextmanager
def simulated_upstream() -> Iterator[str]:
    """Run the provider in a process of its own, so that its work is not taken for the client's."""
    code = "import asyncio; from scripts.bench import serving; asyncio.run(serving(lambda url: print(url, flush=True)))"
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=ROOT)
    try:
        assert process.stdout
        yield process.stdout.readline().strip()
    finally:
        process.kill()
        process.wait(5)


def report(figures: tuple[Figures, ...], rounds: int, names: list[str]) -> str:
    requests, processor, streams, moves, identities, sdks, after = figures
    parts = [
        "# Cost",
        "",
        "Written by `scripts/bench --write`. Absolute values depend on the machine and its load; the ratios are"
        " comparable.",
        "",
        f"{os.cpu_count()} cores, Python {platform.python_version()}, {rounds} rounds; all setups alternate in each.",
        "",
        "## Requests per second of processor time",
        "",
        "The most that a process can do, nearly independent of other load. Sizes are request sizes; ratios are relative"
        " to mitmdump alone.",
        "",
        *_table(processor, names, BARE, "{:.0f}", "{:.2f}"),
        "",
        "## Requests per second",
        "",
        *_table(requests, names, BARE, "{:.0f}", "{:.2f}"),
        "",
        "## Events of a stream",
        "",
        f"Ratios are relative to an addon of one line that streams. {BARE} alone buffers the whole answer. Delay is the"
        " time from the provider's write to the client's read.",
        "",
        *_table(streams, STREAMS, LINE, "{:.0f}", "{:.2f}"),
        "",
        "## A stream with a rate-limited first account",
        "",
        "Both ways send two requests upstream; a client that retries does so at once.",
        "",
        *_table(moves, [RETRIED, MOVED], RETRIED, "{:.1f}", "{:.2f}"),
        "",
        "The official SDKs, with a `retry-after-ms` that allows an immediate retry.",
        "",
        *_table(sdks, [RETRIED, MOVED, DIRECTLY], RETRIED, "{:.1f}", "{:.2f}"),
        "",
        "The events after the first.",
        "",
        *_table(after, [STAYED, AFTER], STAYED, "{:.1f}", "{:.2f}"),
        "",
        "## Recognising the conversation, relative to `json.loads` of the body",
        "",
        *_plain(identities, ("id in a header", "id in the body", "no id, first sight", "no id, known prefix")),
        "",
    ]
    return "\n".join(parts)


def _table(figures: Figures, names: list[str], base: str, form: str, share: str) -> Iterator[str]:
    yield f"| | {' | '.join(names)} |"
    yield "|---" * (len(names) + 1) + "|"
    for row in figures.rows:
        cells = []
        for name in names:
            ratio = "" if name == base else f" (x{share.format(figures.ratio(row, name, base))})"
            cells.append(form.format(figures.median(row, name)) + ratio)
        yield f"| {row} | {' | '.join(cells)} |"


def _plain(figures: Figures, names: Sequence[str]) -> Iterator[str]:
    yield f"| | {' | '.join(names)} |"
    yield "|---" * (len(names) + 1) + "|"
    for row in figures.rows:
        yield f"| {row} | {' | '.join(f'x{figures.median(row, name):.2f}' for name in names)} |"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__, epilog=_PEERS)
    parser.add_argument("--quick", action="store_true", help="two short rounds, to see that it runs")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0, help="of each throughput figure in each round")
    parser.add_argument("--write", action="store_true", help="write docs/bench.md")
    parser.add_argument(
        "--instructions", action="store_true", help="count instructions instead; more with --instructions --help"
    )
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
