"""
A studio to be wrong in: simulated providers over HTTP/1 and HTTP/2 that give ids back in several ways, one real
mitmdump before all of them, and clients over HTTP/1, HTTP/2 and WebSockets.
"""

from __future__ import annotations

import json
import random
import socket
import ssl
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import trustme
from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException

from patchbay.proxy.exchange_log import VERDICT_CHANGE
from tests.end_to_end.conftest import KEYS
from tests.end_to_end.dialogue import DIALECTS, body, credential, path
from tests.end_to_end.harness import ROOT, Proxy, eventually, proxy
from tests.ports import free_port
from tests.simulator import Record, Simulator, simulator_thread

HTTP1, HTTP2 = "HTTP/1", "HTTP/2"
WAYS = ((HTTP1, HTTP1), (HTTP2, HTTP2), (HTTP2, HTTP1), (HTTP1, HTTP2))  # what the client speaks, and the provider
# How an id comes back, and the provider as Patchbay knows it: only the first promises anything.
PRESETS = {"both": "generic", "vllm": "quiet", "none": "quiet", "metadata": "repeats"}
DEPTH_OF = {"both": "body", "vllm": "engine", "none": "none", "metadata": "metadata"}
SIMULATED = {"metadata": "none"}  # a provider gives metadata back by itself, and none of our ids
RESPONSES = "openai_responses"
SPOKEN = {"metadata": (RESPONSES,)}  # elsewhere, all dialects
_WAIT = {"timeout": 20.0}
# What goes wrong: the simulator's fault with its settings, and how many requests it takes.
WRONGS: dict[str, tuple[str, dict[str, Any], int]] = {
    "swap": ("swap", _WAIT | {"room": "all"}, 2),
    "rotate": ("swap", _WAIT | {"room": "rotate", "size": 4}, 4),
    "body": ("swap", _WAIT | {"room": "body", "part": "body"}, 2),
    "head": ("swap", _WAIT | {"room": "head", "part": "head"}, 2),
    "settings": ("swap", _WAIT | {"room": "reply", "part": "reply"}, 2),
    "dialect": ("swap", _WAIT | {"room": "dialect", "alike": False}, 2),
    "stale": ("stale", {}, 2),
    "repeat": ("repeat", {}, 2),
    "splice": ("splice", _WAIT | {"after": 3}, 2),
    "interleave": ("splice", _WAIT | {"after": 4, "interleave": True}, 2),
    "stray": ("head_in_body", {}, 1),
}
_draw = random.Random()
# A whole answer with a stray head in it is no JSON: another account is asked, and its answer is the client's.
STREAMS_ONLY = frozenset({"splice", "interleave", "stray"})
# What goes wrong on WebSockets too, where Responses are spoken: all that moves whole answers; and at which echoes.
ON_SOCKETS, SOCKETS_AT = ("swap", "rotate", "settings", "stale", "repeat"), ("none", "metadata")
ENDS = ("response.completed", "response.failed", "response.incomplete", "error")


@dataclass(frozen=True)
class Ask:
    """
    One request. *wrong* names what goes wrong with its answer; *pieces*: its events are cut into small pieces.

    *socket*: it is the one message on a WebSocket of its own.
    """

    wrong: str = ""
    dialect: str = DIALECTS[0]
    stream: bool = False
    pieces: bool = False
    socket: bool = False
    mark: str = field(default_factory=lambda: f"MARK-{_draw.getrandbits(128):032x}")

    @property
    def headers(self) -> dict[str, str]:
        told = {"x-wrong": self.wrong, "x-pieces": "1" if self.pieces else ""}
        told |= {"session-id": self.mark} if self.socket else {}  # which its two lines of the journal have in common
        return credential(self.dialect, "sk-client") | {name: value for name, value in told.items() if value}

    @property
    def body(self) -> dict[str, Any]:
        filler = "word " * (int(self.mark[-3:], 16) % 500)  # no two prompts are equally long
        document = body(self.dialect, [f"{filler}SIGN_WORDS WORDS-20 {self.mark}"], stream=self.stream)
        if self.dialect == "openai_responses":
            document["metadata"] = {"turn": self.mark[-12:]}  # a setting of its own, which the answer repeats
        return document


@dataclass
class Heard:
    """What a client got: the status, the bytes, and whether they were said to be all."""

    ask: Ask
    status: int = 0
    data: bytes = b""
    whole: bool = False


def group(wrong: str, number: int, spoken: Sequence[str] = DIALECTS) -> list[Ask]:
    """Return the requests that meet in the fault *wrong*: the *number*-th of them, through all dialects and forms."""
    stream = number // 4 % 2 == 1 or wrong in STREAMS_ONLY
    dialect = RESPONSES if wrong == "settings" else spoken[number % len(spoken)]
    dialects = [dialect] * WRONGS[wrong][2]
    if wrong == "dialect":
        dialects[1] = "anthropic" if "anthropic" in spoken and dialect != "anthropic" else "openai_chat"
    return [Ask(wrong, each, stream) for each in dialects]


def group_on_sockets(wrong: str) -> list[Ask]:
    """Return the requests that meet in the fault *wrong*, each on a WebSocket."""
    return [Ask(wrong, RESPONSES, stream=True, socket=True) for _ in range(WRONGS[wrong][2])]


@dataclass
class Studio:
    """What runs. *providers* are by echo and version; *ports* are where the proxy stands in for them."""

    folder: Path
    providers: Mapping[tuple[str, str], Simulator]
    ports: Mapping[tuple[str, str], int]
    running: Proxy

    @property
    def records(self) -> Iterator[tuple[str, str, Record]]:
        """Yield what each provider knows to be true of every request: echo, version, record."""
        for (echo, version), provider in self.providers.items():
            for record in provider.truth.requests:
                yield echo, version, record

    def url(self, echo: str, way: tuple[str, str]) -> str:
        scheme = "http" if way == (HTTP1, HTTP1) else "https"
        return f"{scheme}://127.0.0.1:{self.ports[echo, way[1]]}"

    def lines(self, count: int) -> dict[str, dict[str, Any]]:
        """
        Wait for *count* lines of the journal, end the proxy, and return them by the id that went upstream.

        Each has the last verdict on its answer.
        """
        eventually(lambda: self.running.journal.count("\n") >= count, 60)
        self.running.interrupt()
        told = [json.loads(line) for line in (self.folder / "journal.jsonl").read_text("utf-8").splitlines()]
        changes = {each["request_id"]: each for each in told if each["event_type"] == VERDICT_CHANGE}
        lines = {each["request_id"]: each for each in told if "attempts" in each}
        for request_id in changes.keys() & lines.keys():
            lines[request_id] |= {name: changes[request_id][name] for name in ("verdict", "victim", "findings")}
        return lines

    def judged_again(self, lines: Mapping[str, Mapping[str, Any]]) -> tuple[int, int]:
        """Judge the dump again; return how many exchanges that were, and how many verdicts are not those of the day."""
        command = [sys.executable, "-m", "patchbay.cli", "verify", "--all", "--state", str(self.folder / "state")]
        done = subprocess.run(
            [*command, str(self.folder / "day.mitm")], cwd=ROOT, capture_output=True, text=True, check=False
        )
        if done.returncode == 2:
            raise RuntimeError(done.stderr)
        told = [line for line in done.stdout.splitlines() if line.startswith("pb1-")]
        again = dict(line.split()[:2] for line in told)
        others = {each for each, line in lines.items() if again.get(each) != line["verdict"]}
        return len(again), len(others | {line.split()[0] for line in told if "judged live: " in line})


@contextmanager
def studio(echoes: Sequence[str], seed: int, more: str = "") -> Iterator[Studio]:
    """Open a studio with a provider of each version for each of *echoes*; *more* is what else the settings say."""
    _draw.seed(seed)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="patchbay-score-")))
        _certificates(folder)
        providers = {
            (echo, version): stack.enter_context(_provider(folder, echo, version, f"{seed} {echo} {version}"))
            for echo in echoes
            for version in (HTTP1, HTTP2)
        }
        first, *others = providers
        ports = {place: free_port() for place in others}
        modes = [f"reverse:{_url(providers[place])}@{port}" for place, port in ports.items()]
        running = stack.enter_context(
            proxy(
                folder,
                _settings(folder, providers) + more,
                *("-q", "-w", str(folder / "day.mitm")),
                *(word for mode in modes for word in ("--mode", mode)),
                *("--set", f"ssl_verify_upstream_trusted_ca={folder / 'providers.pem'}"),
                mode=f"reverse:{_url(providers[first])}",
            )
        )
        ports[first] = running.port
        assert eventually(lambda: all(map(_listens, ports.values()))), running.log
        yield Studio(folder, providers, ports, running)


class Clients:
    """A client for every echo and way, open while the block lasts."""

    def __init__(self, place: Studio) -> None:
        self._place = place
        self._stack = AsyncExitStack()
        self._clients: dict[tuple[str, tuple[str, str]], httpx.AsyncClient] = {}

    async def __aenter__(self) -> Clients:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def ask(self, ask: Ask, echo: str, way: tuple[str, str]) -> Heard:
        """Send *ask* and return all that came of it, however it ended."""
        if ask.socket:
            return await _on_socket(ask, self._place.url(echo, (HTTP1, HTTP1)))
        client = self._clients.get((echo, way)) or await self._opened(echo, way)
        heard = Heard(ask)
        with suppress(httpx.HTTPError):
            async with client.stream(
                "POST", path(ask.dialect, stream=ask.stream), json=ask.body, headers=ask.headers
            ) as answer:
                heard.status = answer.status_code
                async for piece in answer.aiter_raw():
                    heard.data += piece
                heard.whole = True
        return heard

    async def _opened(self, echo: str, way: tuple[str, str]) -> httpx.AsyncClient:
        # Left to itself mitmproxy takes the client's first offer for that side, and offers all of them to the other.
        offers = ["h2"] if way[0] == HTTP2 else ["http/1.1", "h2"] if way[1] == HTTP2 else ["http/1.1"]
        trusted = _Offering(ssl.PROTOCOL_TLS_CLIENT)
        trusted.check_hostname, trusted.verify_mode, trusted.offers = False, ssl.CERT_NONE, offers
        limits = httpx.Limits(max_connections=16, max_keepalive_connections=16)
        client = httpx.AsyncClient(
            base_url=self._place.url(echo, way), verify=trusted, trust_env=False, timeout=60, limits=limits,
            http1="http/1.1" in offers, http2="h2" in offers,
        )  # fmt: skip
        self._clients[echo, way] = await self._stack.enter_async_context(client)
        return client


async def _on_socket(ask: Ask, url: str) -> Heard:
    heard = Heard(ask)
    with suppress(OSError, WebSocketException):
        async with connect(
            url.replace("http", "ws", 1) + path(ask.dialect), additional_headers=ask.headers, proxy=None
        ) as opened:
            heard.status = 101
            await opened.send(json.dumps({"type": "response.create"} | ask.body))
            async for message in opened:
                heard.data += str(message).encode()
                if json.loads(message)["type"] in ENDS:
                    heard.whole = True
                    break
    return heard


class _Offering(ssl.SSLContext):
    """A context that offers what it is told to; httpx always offers HTTP/1.1 first."""

    offers: list[str]

    def set_alpn_protocols(self, alpn_protocols: object) -> None:
        super().set_alpn_protocols(self.offers)


@contextmanager
def _provider(folder: Path, echo: str, version: str, seed: str) -> Iterator[Simulator]:
    tls = folder / "server.pem" if version == HTTP2 else None
    with simulator_thread(
        KEYS, echo=SIMULATED.get(echo, echo), seed=zlib.crc32(seed.encode()), bodies=False, tls=tls
    ) as provider:
        for name, (fault, settings, _) in WRONGS.items():
            provider.fault(
                fault, settings, method="POST", when=lambda record, name=name: record.header("x-wrong") == name
            )
        provider.fault("split", {"at": 16}, when=lambda record: bool(record.header("x-pieces")))
        yield provider


def _certificates(folder: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(folder / "providers.pem"))
    authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(str(folder / "server.pem"))


def _url(provider: Simulator) -> str:
    return provider.url.replace("127.0.0.1", "localhost") if provider.url.startswith("https") else provider.url


def _settings(folder: Path, providers: Mapping[tuple[str, str], Simulator]) -> str:
    rows = "".join(
        f"  - {{id: {echo}-{version[-1]}-{name}, key: {key}, provider: {PRESETS[echo]}, base_url: '{_url(each)}'}}\n"
        for (echo, version), each in providers.items()
        for key, name in KEYS.items()
    )
    quiet = "  quiet: {preset: generic, echo: {promised: false}}\n"
    quiet += (
        "  repeats: {preset: openai_compatible, echo: metadata, stamp: {headers: {X-Request-ID: '{request_id}'}}}\n"
    )
    kept = f"state: {folder / 'state'}\njournal: {{path: {folder / 'journal.jsonl'}}}\ngrace_period: 1s\n"
    return f"{kept}providers:\n{quiet}accounts:\n{rows}"


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 5).close()
    except OSError:
        return False
    return True
