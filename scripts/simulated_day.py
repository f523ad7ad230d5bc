"""
One simulated day: conversations, accounts with faults, and the real router between them, on a simulated clock.

Events are kept in a heap, so requests overlap as they do in life, and a day costs about a second.
"""

from __future__ import annotations

import heapq
import json
import math
from collections import Counter
from collections.abc import Callable, Generator
from dataclasses import dataclass, field, replace
from itertools import count
from random import Random
from typing import Any

from patchbay import dialects
from patchbay.accounts.lease import Lease
from patchbay.body import Body
from patchbay.exchange import Exchange
from patchbay.router import Router
from patchbay.settings.presets import PRESETS
from patchbay.settings.settings import Config, FailoverSettings
from patchbay.values.account import Account, Secret
from patchbay.values.answer import Chunk, End, Failure, Head
from patchbay.values.decision import Wait
from patchbay.values.http import Client, Headers, Origin, Request

CACHE = 300.0  # seconds a provider keeps a prompt warm after its last use
RETRIES, RETRY_AFTER = 3, 20.0  # what a client does about a failed turn; seconds
FAULT_SECONDS = 0.3  # until an upstream has said that it fails
SERVICE = (2.0, 8.0)  # seconds of one answer
ANYWHERE = Origin("http", "patchbay.invalid", 80)
UPSTREAM = Origin("http", "127.0.0.1", 9)


@dataclass(frozen=True, slots=True)
class Fault:
    """A failed answer. *after* is its Retry-After in seconds; *status* 0 is a connection that could not be made."""

    status: int
    after: float | None = None
    code: str = ""
    message: str = "busy"


@dataclass(slots=True)
class Sky:
    """
    The faults of one day.

    *episodes* lists per account when it fails, and how. *passing* is the share of attempts that meet one of *showers*.
    *at_once* bounds the requests in progress at one account, *quota* the answers of each account within every *period*
    of seconds; the accounts in *hinted* say in their error when it is renewed. *denied* maps a conversation to the
    fault that it meets at every account.
    """

    episodes: dict[str, list[tuple[float, float, Fault]]] = field(default_factory=dict)
    passing: float = 0.0
    showers: tuple[Fault, ...] = ()
    at_once: int = 0
    at_once_after: float | None = None
    quota: dict[str, int] = field(default_factory=dict)
    period: float = 3600.0
    exhausted: Fault = Fault(429, code="rate_limit_exceeded")
    hinted: frozenset[str] = frozenset()
    denied: dict[int, Fault] = field(default_factory=dict)
    busy: Counter[str] = field(default_factory=Counter)
    used: Counter[tuple[str, int]] = field(default_factory=Counter)

    def fault(self, account: str, conversation: int, now: float, luck: Random) -> Fault | None:
        """Return the fault that an attempt meets now, or None."""
        if conversation in self.denied:
            return self.denied[conversation]
        for start, end, fault in self.episodes.get(account, ()):
            if start <= now < end:
                return fault
        if self.at_once and self.busy[account] >= self.at_once:
            return Fault(429, self.at_once_after, message="too many requests")
        if self.quota and self.used[account, self._span(now)] >= self.quota[account]:
            return replace(self.exhausted, after=self._renewed(now) - now) if account in self.hinted else self.exhausted
        return luck.choice(self.showers) if luck.random() < self.passing else None

    def serve(self, account: str, now: float) -> list[tuple[str, str]]:
        """Count one answer; return the headers that say how much of the quota is left."""
        if not self.quota:
            return []
        self.used[account, self._span(now)] += 1
        left = max(self.quota[account] - self.used[account, self._span(now)], 0)
        return [
            ("x-ratelimit-limit-requests", str(self.quota[account])),
            ("x-ratelimit-remaining-requests", str(left)),
            ("x-ratelimit-reset-requests", f"{self._renewed(now) - now:.0f}s"),
        ]

    def _span(self, now: float) -> int:
        return int(now // self.period)

    def _renewed(self, now: float) -> float:
        return (self._span(now) + 1) * self.period


@dataclass(frozen=True, slots=True)
class Talk:
    """
    One conversation. *pauses* are the seconds before each turn, the first counted from midnight.

    Without *named* the conversation has no session id, and its history alone says which it is.
    """

    number: int
    pauses: tuple[float, ...]
    opening: str
    named: bool = True


@dataclass(frozen=True, slots=True)
class Day:
    """A kind of day: its *accounts*, and functions from randomness to its conversations and its faults."""

    name: str
    why: str
    accounts: tuple[Account, ...]
    talks: Callable[[Random], list[Talk]]
    sky: Callable[[Random], Sky]
    settings: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class Tally:
    """
    The outcome of a day. *turns* leaves out the first turn of each conversation, which is always cold.

    *failed* counts exchanges of conversations that some account would serve, *wasted* attempts at an account that had
    failed before and had not recovered. *lower* counts turns at an account below the highest priority. *waits* are the
    seconds of each turn until the attempt that served it began, the client's own retries included.
    """

    turns: int = 0
    cold: int = 0
    failed: int = 0
    wasted: int = 0
    lower: int = 0
    waits: list[float] = field(default_factory=list)

    @property
    def p95(self) -> float:
        """The wait of which 95 % of the turns stay below, in seconds."""
        ranked = sorted(self.waits)
        return ranked[math.ceil(0.95 * len(ranked)) - 1] if ranked else 0.0

    def add(self, other: Tally) -> None:
        """Add the figures of another day."""
        for name in ("turns", "cold", "failed", "wasted", "lower"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.waits += other.waits


def account(name: str, **settings: Any) -> Account:
    """Return an account of the generic provider."""
    return Account(name, PRESETS["generic"], Secret("literal", "k"), settings.pop("origin", UPSTREAM), **settings)


def live(day: Day, seed: int, **settings: Any) -> Tally:
    """Run one *day* under *settings* and return its figures."""
    return _Run(day, seed, settings).run()


@dataclass(slots=True)
class _Client:
    """The client of one conversation. *version* tells its valid event in the heap from stale ones."""

    talk: Talk
    luck: Random
    history: list[dict[str, str]]
    steps: Generator[float]
    turn: int = 0
    version: int = 0
    waiting: bool = False


class _Run:
    """The event loop of a day. A client is a generator that yields the time at which it goes on."""

    def __init__(self, day: Day, seed: int, settings: dict[str, Any]) -> None:
        numbers = count()
        config = Config(day.accounts, **{"failover": FailoverSettings(attempts=4)} | day.settings | settings)
        self.router = Router(config, bytes(32), Random(seed), lambda size: next(numbers).to_bytes(size))
        self.day, self.seed = day, seed
        self.sky = day.sky(Random(f"{seed}/{day.name}/sky"))
        self.tally = Tally()
        self.now = 0.0
        self._due: list[tuple[float, int, _Client, int]] = []
        self._order = count()
        self._failing: dict[str, float] = {}  # by account: when it was seen to fail; until it serves again
        self._served: dict[tuple[int, str], float] = {}  # by conversation and account: when last
        self._best = max(account.priority for account in day.accounts)

    def run(self) -> Tally:
        for talk in self.day.talks(Random(f"{self.seed}/{self.day.name}/talks")):
            history = [{"role": "user", "content": talk.opening}]
            client = _Client(talk, Random(f"{self.seed}/{talk.number}"), history, _nothing())
            client.steps = self._hold(client)
            self._call(client, 0.0)
        while self._due:
            at, _, client, version = heapq.heappop(self._due)
            if version != client.version:
                continue
            self.now, client.waiting = max(self.now, at), False
            if (until := next(client.steps, None)) is not None:
                self._call(client, until)
        return self.tally

    def _call(self, client: _Client, at: float) -> None:
        client.version += 1
        heapq.heappush(self._due, (at, next(self._order), client, client.version))

    def _wake(self, client: _Client) -> None:
        if client.waiting:
            self._call(client, self.now)

    def _hold(self, client: _Client) -> Generator[float]:
        """Take the turns of a conversation, each again after a while when it failed."""
        for turn, pause in enumerate(client.talk.pauses):
            client.turn = turn
            yield self.now + pause
            asked = self.now
            for _ in range(1 + RETRIES):
                if (yield from self._exchange(client, asked)):
                    said = {"role": "assistant", "content": _answer(client)}
                    client.history += [said, {"role": "user", "content": f"go on {client.turn}"}]
                    break
                self.tally.failed += client.talk.number not in self.sky.denied
                yield self.now + RETRY_AFTER

    def _exchange(self, client: _Client, asked: float) -> Generator[float, None, bool]:
        exchange = self.router.open(_request(client), self.now)
        assert isinstance(exchange, Exchange), exchange
        exchange.recheck = lambda: self._wake(client)
        answered = False
        while not answered:
            route = self.router.next(exchange, self.now)
            if isinstance(route, Wait):
                client.waiting = True
                yield max(route.until, self.now + 0.001)
                continue
            if not isinstance(route, Lease):
                break
            began = self.now
            reaction = yield from self._attempt(client, exchange, route)
            answered = exchange.attempts[-1].content_began
            if answered:
                self._count(client, route, began - asked)
            elif reaction != "next":
                break
        self.router.close(exchange, "", self.now, status=200 if answered else 503)
        return answered

    def _attempt(self, client: _Client, exchange: Exchange, route: Lease) -> Generator[float, None, str]:
        name, began = route.account.id, self.now
        fault = self.sky.fault(name, client.talk.number, began, client.luck)
        self.sky.busy[name] += 1
        yield began + (client.luck.uniform(*SERVICE) if fault is None else FAULT_SECONDS)
        self.sky.busy[name] -= 1
        if fault is None:
            self._failing.pop(name, None)
            fields = self.sky.serve(name, self.now)
            events = _events(Head(200, _json(fields)), _completion(client))
        else:
            self.tally.wasted += began > self._failing.setdefault(name, self.now)
            events = _failed(fault)
        reaction = "deliver"
        for event in events:
            reaction = self.router.answered(exchange, event, self.now)
        return reaction

    def _count(self, client: _Client, route: Lease, wait: float) -> None:
        name, number = route.account.id, client.talk.number
        last = self._served.get((number, name), -math.inf)
        self._served[number, name] = self.now
        self.tally.waits.append(wait)
        self.tally.lower += route.account.priority < self._best
        if client.turn:
            self.tally.turns += 1
            self.tally.cold += self.now - last > CACHE


def _nothing() -> Generator[float]:
    yield from ()


def _request(client: _Client) -> Request:
    talk = client.talk
    fields = [("content-type", "application/json")]
    if talk.named:
        fields.append(("x-session-id", f"day-{talk.number}"))
    said = client.history[:1] if talk.named else client.history
    body = Body(json.dumps({"model": "m", "messages": said}).encode())
    endpoint = dialects.endpoint("POST", "/v1/chat/completions")
    return Request("POST", "/v1/chat/completions", Headers(fields), body, endpoint, ANYWHERE, Client())


def _answer(client: _Client) -> str:
    """Return what the model says in this turn, long enough to name its conversation."""
    luck = Random(f"{client.talk.number}/{client.turn}")
    return " ".join(f"word{luck.randrange(10**6)}" for _ in range(10))


def _completion(client: _Client) -> bytes:
    message = {"role": "assistant", "content": _answer(client)}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    name = f"chatcmpl-{client.talk.number:08}{client.turn:016}"
    return json.dumps({"id": name, "object": "chat.completion", "choices": [choice]}).encode()


def _json(fields: list[tuple[str, str]]) -> Headers:
    return Headers([("content-type", "application/json"), *fields])


def _events(head: Head, body: bytes) -> tuple[Head | Chunk | End | Failure, ...]:
    return head, Chunk(body), End()


def _failed(fault: Fault) -> tuple[Head | Chunk | End | Failure, ...]:
    if not fault.status:
        return (Failure("connect", "connection refused"),)
    fields = [("retry-after", f"{fault.after:.0f}")] if fault.after else []
    error = {"message": fault.message} | ({"code": fault.code} if fault.code else {})
    return _events(Head(fault.status, _json(fields)), json.dumps({"error": error}).encode())
