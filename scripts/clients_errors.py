"""
What the tools show when Patchbay cannot serve: every situation, every client, recorded from the released programs.

Each client asks one question, with its own retries, through a relay that counts requests. Used by `scripts/clients
--errors`, which runs it inside a network namespace that has only loopback.
"""

from __future__ import annotations

import contextlib
import functools
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from patchbay.values import header_names
from scripts.clients_recipes import KEY, RECIPES, Recipe
from tests.end_to_end.harness import Proxy, eventually, generic_config, proxy
from tests.ports import free_port
from tests.simulator import Simulator, simulator_thread

MODEL = "sim-large"
NAMES = {"sk-real-amber-0123456789abcdef": "amber", "sk-real-birch-0123456789abcdef": "birch"}
GIVEN_UP = 90.0  # seconds after which a client that is still trying is ended
AT_ONCE = 4  # clients that run at the same time
TOOLS = ("Claude Code", "Codex", "Codex, sockets", "Gemini CLI")
BEGIN, END = "<!-- recorded by scripts/clients --errors -->\n", "<!-- end of what was recorded -->\n"
QUESTION = "What is a patch bay? Answer in one sentence."


@dataclass(frozen=True, slots=True)
class Shown:
    """What one client made of one situation: what it printed last, how it ended, what it asked and for how long."""

    situation: str
    client: str
    version: str
    text: str
    code: int | None
    requests: int
    seconds: float
    answers: tuple[str, ...] = ()  # the status and the `code` of each answer it got


# -- the situations -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Situation:
    """
    One reason why nothing can be served. *fault* is what the simulated provider does; *account*, *more*: settings.

    *busy* requests are under way or wait before the client comes; with *ends* the proxy is told to end then.
    """

    name: str
    code: str  # of our error, which the client must have got
    fault: tuple[str, Mapping[str, Any]] | None = None
    account: str = ""
    more: str = ""
    unreachable: bool = False
    busy: int = 0
    ends: bool = False


_WINDOW = {"error": {"type": "usage_limit_reached", "message": "The usage limit has been reached", "plan_type": "plus",
                     "resets_in_seconds": 7500}}  # fmt: skip
SITUATIONS: tuple[Situation, ...] = (
    Situation("unreachable", "upstream_unreachable", unreachable=True),
    Situation("all rate limited, for 25 seconds", "model_cooldown", ("status", {"status": 429, "retry_after": 25})),
    Situation("all rate limited, for 10 minutes", "model_cooldown", ("status", {"status": 429, "retry_after": 600})),
    Situation("usage limit reached", "usage_limit_reached", ("status", {"status": 429, "body": _WINDOW})),
    Situation("all out of credit", "insufficient_quota", ("status", {"status": 402, "kind": "quota"})),
    Situation("key refused", "upstream_credentials_exhausted", ("status", {"status": 401, "kind": "auth"})),
    Situation("unserved model", "model_not_found", account="models: [another-model]"),
    Situation("queue full", "queue_full", ("hang", {"after": 3}), "max_concurrent: 1",
              "queue: {limit: 1, timeout: 600s, preferred_wait: 0s}\n", busy=3),
    Situation("shutting down", "shutting_down", ("hang", {"after": 3}), more="grace_period: 600s\n", busy=1, ends=True),
)  # fmt: skip


def record(
    versions: Mapping[str, str], program: Callable[[Recipe, str], Path], folder: Path, only: Sequence[str] = ()
) -> Iterator[list[Shown]]:
    """Let every client meet every situation, or those that *only* names; yield what they showed, a situation each."""
    clients = _clients(versions, program)
    for situation in SITUATIONS:
        if only and situation.name not in only:
            continue
        place = folder / re.sub(r"\W+", "-", situation.name)
        with _room(situation, place) as room, ThreadPoolExecutor(AT_ONCE) as pool:
            found = list(pool.map(functools.partial(_meets, room), clients))
        for shown in found:
            answers = " ".join(dict.fromkeys(shown.answers))
            print(f"{shown.situation}: {shown.client}: exit {shown.code}, {shown.requests} requests, "
                  f"{shown.seconds:.1f} s, {answers}: {shown.text}", flush=True)  # fmt: skip
        yield found


@dataclass(frozen=True, slots=True)
class _Room:
    situation: Situation
    running: Proxy
    folder: Path
    relay: Callable[[], contextlib.AbstractContextManager[_Relay]]


@contextlib.contextmanager
def _room(situation: Situation, folder: Path) -> Iterator[_Room]:
    folder.mkdir(parents=True, exist_ok=True)
    with simulator_thread(dict(NAMES)) as simulator:
        if situation.fault:
            simulator.fault(*situation.fault)
        config = generic_config(folder, {name: key for key, name in NAMES.items()}, more=situation.more,
                                account=situation.account)  # fmt: skip
        url = f"http://127.0.0.1:{free_port()}" if situation.unreachable else simulator.url
        with proxy(folder, config, mode=f"reverse:{url}") as running, _occupied(situation, running, simulator):
            if situation.busy == 0:
                _rest(running, situation.code)
            kept = [_connected(running.port) for _ in range(60)] if situation.ends else []
            if situation.ends:
                running.process.send_signal(signal.SIGINT)
                eventually(lambda: not _listens(running.port))
            yield _Room(situation, running, folder, lambda: _relayed(running.port, kept))
            for each in kept:
                each.close()


@contextlib.contextmanager
def _occupied(situation: Situation, running: Proxy, simulator: Simulator) -> Iterator[None]:
    """Keep as many requests under way, or in line, as the *situation* asks for."""
    over = threading.Event()
    threads = [threading.Thread(target=_occupy, args=(running, over, n), daemon=True) for n in range(situation.busy)]
    for number, thread in enumerate(threads):
        thread.start()
        wanted = min(number + 1, len(NAMES) if "max_concurrent" in situation.account else situation.busy)
        eventually(lambda wanted=wanted: len(simulator.truth.requests) >= wanted)
        time.sleep(0.5)  # the last one only waits in line, which nobody sees
    try:
        yield
    finally:
        over.set()


def _occupy(running: Proxy, over: threading.Event, number: int) -> None:
    body = {"model": MODEL, "stream": True, "messages": [{"role": "user", "content": f"occupy {number}"}]}
    with (
        contextlib.suppress(httpx.HTTPError),
        httpx.Client(trust_env=False, timeout=600) as client,
        client.stream("POST", f"{running.url}/v1/chat/completions", json=body) as answer,
    ):
        for _ in answer.iter_raw():
            if over.is_set():
                return


def _rest(running: Proxy, code: str) -> None:
    """Ask until the answer is *code*, so that what the clients show is ours and not the provider's."""
    for number in range(8):
        body = {"model": MODEL, "messages": [{"role": "user", "content": f"warm {number}"}]}
        answer = httpx.post(f"{running.url}/v1/chat/completions", json=body, trust_env=False, timeout=60)
        if answer.headers.get(header_names.ACCOUNT) is None and code in answer.text:
            return


# -- the clients ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Client:
    name: str
    version: str
    command: Callable[[Path, str], tuple[Sequence[str], Mapping[str, str]]]  # of a home folder and a URL


SDKS: Mapping[str, tuple[str, str]] = {
    "openai SDK, chat": ("openai", "openai.OpenAI(base_url=url + '/v1', api_key=key).chat.completions.create("
                         "model=model, messages=[{'role': 'user', 'content': text}])"),
    "openai SDK, responses": ("openai", "openai.OpenAI(base_url=url + '/v1', api_key=key).responses.create("
                              "model=model, input=text)"),
    "anthropic SDK": ("anthropic", "anthropic.Anthropic(base_url=url, api_key=key).messages.create("
                      "model=model, max_tokens=99, messages=[{'role': 'user', 'content': text}])"),
    "google-genai SDK": ("google-genai", "(client := genai.Client(api_key=key, http_options={'base_url': url}))"
                         ".models.generate_content(model=model, contents=text)"),
}  # fmt: skip
_PROGRAM = """
import sys
{imports}
url, key, model, text = sys.argv[1:]
try:
    {call}
except Exception as e:
    print(f"{{type(e).__name__}}: {{e}}")
    sys.exit(1)
"""


def _clients(versions: Mapping[str, str], program: Callable[[Recipe, str], Path]) -> list[_Client]:
    from importlib.metadata import version

    found = [_Client(name, version(package), _sdk(package, call)) for name, (package, call) in SDKS.items()]
    for recipe in RECIPES:
        if recipe.name in TOOLS and versions.get(recipe.name):
            there = program(recipe, versions[recipe.name])
            found.append(_Client(recipe.name, versions[recipe.name], _tool(recipe, there)))
    return found


def _sdk(package: str, call: str) -> Callable[[Path, str], tuple[Sequence[str], Mapping[str, str]]]:
    imports = "from google import genai" if package == "google-genai" else f"import {package}"
    text = _PROGRAM.format(imports=imports, call=call)
    return lambda home, url: ([sys.executable, "-c", text, url, KEY, MODEL, QUESTION], {})


def _tool(recipe: Recipe, program: Path) -> Callable[[Path, str], tuple[Sequence[str], Mapping[str, str]]]:
    model = ("--model", MODEL) if recipe.program == "claude" else ()
    return lambda home, url: ([str(program), *model, *recipe.first(QUESTION)], recipe.home(home, url))


def _meets(room: _Room, client: _Client) -> Shown:
    home = room.folder / "homes" / client.name.replace(", ", "-").replace(" ", "-")
    (home / "work").mkdir(parents=True, exist_ok=True)
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "TERM") if name in os.environ}
    own = {"HOME": str(home), "NO_COLOR": "1", "CI": "1", "DISABLE_TELEMETRY": "1", "DISABLE_AUTOUPDATER": "1"}
    with room.relay() as relay:
        command, environment = client.command(home, relay.url)
        began = time.monotonic()
        process = subprocess.Popen(
            command, cwd=home / "work", env={**kept, **own, **environment}, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
        code: int | None = None
        try:
            out, _ = process.communicate(timeout=GIVEN_UP)
            code = process.returncode
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            out, _ = process.communicate()
        seconds = time.monotonic() - began
        (home / "printed.txt").write_bytes(out)
        (home / "answers.txt").write_bytes(b"\n\n".join(relay.heads))
        return Shown(room.situation.name, client.name, client.version, _last_words(out, code), code, relay.requests,
                     round(seconds, 1), relay.answers)  # fmt: skip


_NOISE = re.compile(
    r"^(\s*at |\s*[{}\[\]],?$|message: '|warning: |--------$|tokens used|OpenAI Codex|workdir:|model:|provider:"
    r"|approval:|sandbox:|\[claude-code:|reasoning |session id:|user$|\d{4}-\d\d-\d\dT\S+ +(WARN|INFO|DEBUG) )"
)


def _last_words(out: bytes, code: int | None) -> str:
    """Return what a user reads at the end of what a client printed."""
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", out.decode(errors="replace"))
    lines = [line.strip() for line in text.splitlines() if line.strip() and not _NOISE.match(line.strip())]
    ours = [line for line in lines if re.search(r"amber|Patchbay|No account|requests? waits?", line)]
    told = [line for line in lines if re.search(r"error|fail|limit|exhausted|not found|issue", line, re.IGNORECASE)]
    if code is None and not ours:
        return "nothing of it yet: it waits, and asks again"
    said = re.sub(r"Full report available at: \S+ ", "", (ours or told or lines or [""])[-1])
    return re.sub(r"\s+", " ", said)


# -- the relay ------------------------------------------------------------------------------------------------------


@dataclass
class _Relay:
    """Between one client and the proxy: counts requests, keeps the beginning of every answer."""

    url: str
    heads: list[bytes] = field(default_factory=list)
    requests: int = 0

    @property
    def answers(self) -> tuple[str, ...]:
        found = []
        for head in self.heads:
            status = re.match(rb"HTTP/1\.1 (\d{3})", head)
            code = re.search(rb'"(?:code|reason)":"([a-z_]+)"', head)
            if status:
                found.append(f"{status[1].decode()} {code[1].decode() if code else ''}".strip())
        return tuple(found)

    def sent(self, data: bytes) -> None:
        if data.startswith(b"POST /") or (data.startswith(b"GET /") and b"pgrade: websocket" in data[:4000]):
            self.requests += 1

    def got(self, data: bytes) -> None:
        if data.startswith(b"HTTP/1.1 "):
            self.heads.append(data[:8000])
        elif self.heads:
            self.heads[-1] += data[:8000]


@contextlib.contextmanager
def _relayed(port: int, kept: list[socket.socket]) -> Iterator[_Relay]:
    """Open a port that leads to the proxy at *port*; where it listens no more, over connections *kept* open."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
        relay = _Relay(f"http://127.0.0.1:{listener.getsockname()[1]}")
        threading.Thread(target=_accept, args=(listener, port, kept, relay), daemon=True).start()
        yield relay
        listener.shutdown(socket.SHUT_RDWR)


def _accept(listener: socket.socket, port: int, kept: list[socket.socket], relay: _Relay) -> None:
    with contextlib.suppress(OSError):
        while True:
            client = listener.accept()[0]
            try:
                upstream = kept.pop() if kept else _connected(port)
            except OSError:
                client.close()
                continue
            for source, target, seen in ((client, upstream, relay.sent), (upstream, client, relay.got)):
                threading.Thread(target=_pipe, args=(source, target, seen), daemon=True).start()


def _pipe(source: socket.socket, target: socket.socket, seen: Callable[[bytes], None]) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            seen(data)
            target.sendall(data)
    for each in (source, target):
        with contextlib.suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)


def _connected(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), 5)


def _listens(port: int) -> bool:
    with contextlib.suppress(OSError):
        _connected(port).close()
        return True
    return False


# -- the page -------------------------------------------------------------------------------------------------------


def write(found: Sequence[Shown], page: Path) -> None:
    """Put a table for each situation in *found* between the two marks of *page*; those of the others stay."""
    text = page.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    old, _, after = rest.partition(END)
    blocks = sections(old) | {name: _table(name, found) for name in {each.situation for each in found}}
    recorded = "\n".join(blocks[each.name] for each in SITUATIONS if each.name in blocks)
    page.write_text(f"{before}{BEGIN}\n{recorded}\n{END}{after}", encoding="utf-8")


def sections(recorded: str) -> dict[str, str]:
    """Return what was *recorded* of each situation, as it stands on the page."""
    parts = re.split(r"^(?=\*\*)", recorded, flags=re.MULTILINE)[1:]
    return {part[2:].partition("**")[0]: part.rstrip("\n") + "\n" for part in parts}


def _table(name: str, found: Sequence[Shown]) -> str:
    code = next(each.code for each in SITUATIONS if each.name == name)
    lines = [f"**{name}** (`{code}`)", "", "| tool | what it shows | asked | took | exit |", "|---|---|---|---|---|"]
    lines += [
        f"| {row.client} {row.version} | {_cell(row.text)} | {row.requests} | "
        f"{row.seconds:.0f} s | {'still trying' if row.code is None else row.code} |"
        for row in found
        if row.situation == name
    ]
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    text = re.sub(r"127\.0\.0\.1:\d+", "127.0.0.1:8080", text).replace("|", "\\|").replace("<", "&lt;")
    return text if len(text) <= 420 else text[:419] + "…"
