"""
Bad weather for WebSockets: clients like Codex hold a conversation each while accounts fail in every way there is.

A turn has one fault: the first account that it meets stays bad for the whole turn, and all others are well. A client
that gets an error event, or whose socket or upgrade fails, connects again and asks once more.
"""

from __future__ import annotations

import json
import random
import struct
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from websockets.exceptions import ConnectionClosed, InvalidHandshake
from websockets.protocol import State
from websockets.sync.client import ClientConnection, connect

from ..simulator import Simulator, simulator_thread
from ..simulator.faults import FAULTS, Fault
from ..simulator.play import Play
from ..simulator.steps import Data, End, Head, Pause, Raw, Reset, head_of
from .harness import Proxy, eventually, proxy

KEYS = {f"account-{n:02}": f"sk-weather-{n:02}-0123456789abcdef" for n in range(12)}
BEARER = {"Authorization": "Bearer sk-client-0123456789abcdef-its-own"}
LIMIT = 256 * 1024  # bytes of a message
TRIES = 6
SCALE = 4  # clients


@dataclass(frozen=True, slots=True)
class Kind:
    """
    What goes wrong, on an upgrade (GET) or a message (POST): a *fault* of the simulator with its *settings*.

    *lasting* ones take the account out for the rest of the run. What the client itself brings about has no fault.
    """

    method: str = "POST"
    fault: str = ""
    settings: dict[str, Any] = field(default_factory=dict)
    lasting: bool = False


def frame(kind: int, payload: bytes) -> bytes:
    """Return one frame of a server."""
    size = bytes((len(payload),)) if len(payload) < 126 else b"\x7f" + struct.pack("!Q", len(payload))
    return bytes((0x80 | kind,)) + size + payload


async def raw(play: Play, data: bytes, after: int = 0) -> None:
    """Put *data* on the wire behind *after* events, and nothing more."""
    events = [step for step in play.script if isinstance(step, Data)]
    play.script = (head_of(play.script), *events[:after], Raw(data), End())


async def reset_late(play: Play) -> None:
    """Break off when all has been said, while the socket is idle."""
    play.script = (*play.script, Pause(0.05), Reset())


async def no_upgrade(play: Play) -> None:
    """Answer an upgrade with a page."""
    play.script = (Head(200, (("content-type", "text/html"),)), Data(b"<html>sign in</html>"), End())


KINDS: dict[str, Kind] = {
    "upgrade 401": Kind("GET", "status", {"status": 401}, lasting=True),
    "upgrade 429": Kind("GET", "status", {"status": 429, "retry_after": 2}),
    "upgrade 503": Kind("GET", "status", {"status": 503}),
    "upgrade cut": Kind("GET", "reset_head"),
    "upgrade 200": Kind("GET", "no_upgrade"),
    "401": Kind("POST", "status", {"status": 401}, lasting=True),
    "402": Kind("POST", "status", {"status": 402}, lasting=True),
    "403": Kind("POST", "status", {"status": 403}, lasting=True),
    "429": Kind("POST", "status", {"status": 429, "retry_after": 2}),
    "500": Kind("POST", "status", {"status": 500}),
    "overload": Kind("POST", "status", {"status": 529}),
    "error later": Kind("POST", "stream_error", {"after": 2}),
    "cut at once": Kind("POST", "reset_head"),
    "cut later": Kind("POST", "reset_body", {"after": 2}),
    "cut when idle": Kind("POST", "reset_late"),
    "closed 1001": Kind("POST", "close_head"),
    "closed 1012": Kind("POST", "raw", {"data": frame(8, struct.pack("!H", 1012)), "after": 2}),
    "closed 1000": Kind("POST", "raw", {"data": frame(8, struct.pack("!H", 1000))}),
    "oversized": Kind("POST", "raw", {"data": frame(1, b"x" * (LIMIT + 1))}),
    "garbage text": Kind("POST", "raw", {"data": frame(1, b"<html>busy</html>")}),
    "garbage frame": Kind("POST", "raw", {"data": b"\xff\xff\xff\xff", "after": 1}),
    "silence": Kind("POST", "hang"),
    "silence later": Kind("POST", "hang", {"after": 2}),
    "rests": Kind(),
    "reload": Kind(),
}
_OWN: Mapping[str, Fault] = {each.__name__: each for each in (raw, reset_late, no_upgrade)}


@dataclass
class Turn:
    """One turn of a client: what went wrong, on which account, and how many errors the client saw."""

    session: str
    kind: str
    account: str = ""  # the first that it met
    struck: int = 0
    errors: list[str] = field(default_factory=list)
    answered: bool = False

    async def strike(self, play: Play) -> None:
        kind = KINDS.get(self.kind, Kind())
        if not kind.fault or play.record.method != kind.method:
            return
        self.account = self.account or play.record.account
        if play.record.account == self.account:
            self.struck += 1
            await {**FAULTS, **_OWN}[kind.fault](play, **kind.settings)


class Weather:
    """The turns that are under way, by session, and the fault of the simulator that strikes them."""

    def __init__(self, running: Proxy, simulator: Simulator) -> None:
        self.running = running
        self.simulator = simulator
        self.turns: dict[str, Turn] = {}
        self._changing = threading.Lock()
        self._changes = 0
        simulator.fault(self._strike)

    async def _strike(self, play: Play) -> None:
        turn = self.turns.get(play.record.header("session-id"))
        if turn:
            await turn.strike(play)

    def rests(self, account: str) -> None:
        """Let *account* meet a rate limit in a request of its own."""
        limited = {"status": 429, "retry_after": 2}
        self.simulator.fault("status", limited, account=account, path="/v1/chat/completions", times=1)
        body = {"model": "sim-large", "messages": [{"role": "user", "content": "x"}]}
        headers = {**BEARER, "X-Patchbay-Account": account}
        httpx.post(f"{self.running.url}/v1/chat/completions", json=body, headers=headers, trust_env=False, timeout=30)

    def reload(self, account: str) -> None:
        """Disable *account* in the settings."""
        with self._changing:
            settings = self.running.folder / "config.yaml"
            aside = self.running.folder / "config.new"
            aside.write_text(settings.read_text().replace(f"id: {account},", f"id: {account}, enabled: false,"))
            aside.chmod(0o600)
            aside.replace(settings)
            self._changes += 1
            assert eventually(lambda: self.running.log.count("is applied") >= self._changes, 20)


class Client:
    """A conversation on a socket that is kept, and opened anew when it has to be."""

    def __init__(self, weather: Weather, session: str) -> None:
        self.weather = weather
        self.session = session
        self._socket: ClientConnection | None = None
        self._said: list[dict[str, str]] = []

    def turn(self, kind: str) -> Turn:
        """Ask once, as often as it takes, while *kind* goes wrong."""
        turn = Turn(self.session, kind)
        self._said.append({"role": "user", "content": f"{kind} {len(self._said)}"})
        if KINDS.get(kind, Kind()).method == "GET" or kind == "fresh":
            self.close()
        if kind in ("rests", "reload") and self._socket and (account := self._account()):
            turn.account, turn.struck = account, 1
            getattr(self.weather, kind)(account)
        self.weather.turns[self.session] = turn
        while not turn.answered and len(turn.errors) < TRIES:
            try:
                self._ask()
                turn.answered = True
            except (ConnectionClosed, InvalidHandshake, OSError, TimeoutError, ValueError) as e:
                turn.errors.append(f"{type(e).__name__}: {e}"[:200])
                self.close()
        del self.weather.turns[self.session]
        return turn

    def close(self) -> None:
        if self._socket:
            self._socket.close()
        self._socket = None

    def _account(self) -> str:
        assert self._socket and self._socket.response
        return str(self._socket.response.headers["x-patchbay-account"])

    def _ask(self) -> None:
        if self._socket is None or self._socket.state is not State.OPEN:
            self.close()
            url = f"ws://127.0.0.1:{self.weather.running.port}/v1/responses"
            headers = {**BEARER, "session-id": self.session}
            self._socket = connect(url, additional_headers=headers, proxy=None, open_timeout=30, close_timeout=1)
        self._socket.send(json.dumps({"type": "response.create", "model": "sim-large", "input": self._said}))
        while True:
            event = json.loads(self._socket.recv(timeout=30))
            if event["type"] in ("error", "response.failed"):
                raise ValueError(json.dumps(event))
            if event["type"] == "response.completed":
                return


@contextmanager
def weather(folder: Path) -> Iterator[Weather]:
    """Run a proxy with twelve accounts at a provider that fails as it is told to."""
    accounts = "\n".join(
        f"  - {{id: {name}, provider: quick, base_url: reverse, key: {key}}}" for name, key in KEYS.items()
    )
    config = (
        f"state: {folder / 'state'}\njournal: {{path: {folder / 'journal.jsonl'}}}\ngrace_period: 1s\n"
        f"limits: {{body: {LIMIT}}}\n"
        "providers:\n  quick: {preset: generic, timeouts: {idle: 500ms}}\n"
        f"accounts:\n{accounts}\n"
    )
    with (
        simulator_thread({key: name for name, key in KEYS.items()}) as simulator,
        proxy(folder, config, mode=f"reverse:{simulator.url}") as running,
    ):
        yield Weather(running, simulator)


def run(found: Weather, kinds: Sequence[str], clients: int, seed: int, pause: float = 0.0) -> list[Turn]:
    """
    Let *clients* have turns until each of *kinds* has gone wrong, with quiet turns between; return all turns.

    Behind a fault each is quiet for *pause* seconds: accounts that rest all at once are no matter of sockets.
    """
    luck = random.Random(seed)
    order = luck.sample(list(kinds), len(kinds))
    shares = [order[at::clients] for at in range(clients)]

    def one(number: int) -> list[Turn]:
        client = Client(found, f"session-{seed}-{number}")
        turns = [client.turn("quiet")]
        for kind in shares[number]:
            turns += [client.turn(kind), client.turn("quiet")]
            time.sleep(pause)
        client.close()
        return turns

    with ThreadPoolExecutor(clients) as pool:
        return [turn for turns in pool.map(one, range(clients)) for turn in turns]


def faults(turns: Sequence[Turn]) -> int:
    """Return how many faults there were: each is one account that fails one conversation for a turn."""
    return sum(bool(turn.struck) for turn in turns)


def errors(turns: Sequence[Turn]) -> int:
    """Return how many errors the clients saw."""
    return sum(len(turn.errors) for turn in turns)


def wrong(turns: Sequence[Turn]) -> list[Turn]:
    """Return the turns that got no answer, or cost more than their own fault and one of another client's account."""
    return [turn for turn in turns if not turn.answered or len(turn.errors) > 2]


def seen(turns: Sequence[Turn]) -> list[Turn]:
    """Return the turns with an error on a socket that was opened for them while an upgrade failed."""
    return [turn for turn in turns if turn.errors and KINDS.get(turn.kind, Kind()).method == "GET"]


def told(turns: Sequence[Turn]) -> str:
    """Say how many errors each kind cost."""
    count: Counter[str] = Counter()
    cost: Counter[str] = Counter()
    for turn in turns:
        count[turn.kind] += 1
        cost[turn.kind] += len(turn.errors)
    return "\n".join(f"  {kind:16} {count[kind]:5} turns {cost[kind]:5} errors" for kind in sorted(count))
