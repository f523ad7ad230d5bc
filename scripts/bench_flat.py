"""
Measures what one exchange costs in the core, by the number of accounts and of known sessions, without a socket.

Processor time is this thread's, the median of rounds in which all sizes take turns, so that a busy machine slows them
alike. Calls are those of functions, Python's and C's, in one exchange: they repeat exactly.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count
from random import Random
from typing import Any

from patchbay import dialects
from patchbay.accounts.lease import Lease
from patchbay.body import Body
from patchbay.exchange import Exchange
from patchbay.router import Router
from patchbay.settings.presets import PRESETS
from patchbay.settings.settings import Config
from patchbay.values.account import Account, Secret
from patchbay.values.answer import Chunk, End, Head
from patchbay.values.http import Headers, Origin, Request

SIZES = (2, 30, 300, 1000)
SESSIONS = (0, 10_000)
EACH = 10  # exchanges that are timed at once
PATH = "/v1/chat/completions"
UPSTREAM = Origin("http", "127.0.0.1", 9)
JSON = Headers([("content-type", "application/json")])
LIMITS: dict[str, Any] = {"max_concurrent": 8, "rpm": 1_000_000, "tpm": 1_000_000_000, "slots": 8}


@dataclass(frozen=True, slots=True)
class Case:
    """*limits* are those of every account; *status* is what the accounts answered to another conversation before."""

    name: str
    is_new: bool
    limits: dict[str, Any]
    status: int = 200


CASES = (
    Case("a turn at home", is_new=False, limits={}),
    Case("a turn at home, every account has limits", is_new=False, limits=LIMITS),
    Case("a new conversation", is_new=True, limits={}),
    Case("a new conversation, every account has limits", is_new=True, limits=LIMITS),
    Case("a refusal, every account cools down", is_new=True, limits={}, status=429),
)


class Talk:
    """One router, and the exchanges that go through it."""

    def __init__(self, case: Case, accounts: int, sessions: int = 0) -> None:
        preset = PRESETS["generic"]
        self._accounts = tuple(
            Account(f"account-{number}", preset, Secret("literal", f"key-{number}"), **case.limits)
            for number in range(accounts)
        )
        self._case, self._numbers, self._now = case, count(), 0.0
        random = Random(1)
        self._router = Router(Config(self._accounts), bytes(32), random, random.randbytes)
        for _ in range(accounts if case.status != 200 else 0):
            self._exchange("limited", case.status)
        for number in range(sessions):
            self._exchange(f"known-{number}")
        self.run()

    def run(self) -> None:
        """Have EACH exchanges."""
        for _ in range(EACH):
            self._exchange(f"new-{next(self._numbers)}" if self._case.is_new else "home")

    def _exchange(self, session: str, status: int = 200) -> None:
        self._now += 0.001
        number, now, router = next(self._numbers), self._now, self._router
        exchange = router.open(_request(session, number), now, reverse=UPSTREAM)
        assert isinstance(exchange, Exchange)
        while isinstance(router.next(exchange, now), Lease):
            reactions = [router.answered(exchange, event, now) for event in _answer(status, number)]
            if reactions[-1] != "next":
                break
        router.close(exchange, "", now, status=status)


def _request(session: str, number: int) -> Request:
    body = {"model": "m", "messages": [{"role": "user", "content": f"question {number}"}]}
    headers = Headers([("content-type", "application/json"), ("x-session-id", session)])
    return Request("POST", PATH, headers, Body(json.dumps(body).encode()), dialects.endpoint("POST", PATH), UPSTREAM)


def _answer(status: int, number: int) -> tuple[Head, Chunk, End]:
    good = {"id": f"chatcmpl-{number:016x}Zk3v9Qx", "object": "chat.completion", "model": "m",
            "choices": [{"index": 0, "message": {"role": "assistant", "content": f"answer {number}"}}],
            "usage": {"prompt_tokens": 9, "completion_tokens": 9}}  # fmt: skip
    bad = {"error": {"message": "Rate limit reached", "type": "rate_limit_error", "code": "rate_limit_exceeded"}}
    return Head(status, JSON), Chunk(json.dumps(good if status == 200 else bad).encode()), End()


def calls(work: Callable[[], object]) -> int:
    """Return how many functions *work* calls."""
    counted = 0

    def see(frame: object, event: str, argument: object) -> None:
        nonlocal counted
        counted += event in ("call", "c_call")

    sys.setprofile(see)
    try:
        work()
    finally:
        sys.setprofile(None)
    return counted


def in_turn(works: Sequence[Callable[[], object]], rounds: int) -> list[float]:
    """Return the median of each one's processor time in seconds."""
    times: list[list[float]] = [[] for _ in works]
    for _ in range(rounds):
        for work, taken in zip(works, times, strict=True):
            started = time.thread_time()
            work()
            taken.append(time.thread_time() - started)
    return [statistics.median(taken) for taken in times]


def table(title: str, what: str, sizes: Sequence[int], talks: Sequence[Talk], rounds: int) -> None:
    """Print a line for each of *talks*, each figure also as a multiple of the first one."""
    times = in_turn([talk.run for talk in talks], rounds)
    counts = [calls(talk.run) for talk in talks]
    print(f"\n{title}")
    for size, taken, counted in zip(sizes, times, counts, strict=True):
        ours, theirs = taken / times[0], counted / counts[0]
        print(f"  {size:6} {what:9} {taken / EACH * 1e6:9.0f} µs {ours:7.2f}"
              f" {counted / EACH:9.0f} calls {theirs:7.2f}")  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/bench_flat", description=__doc__)
    parser.add_argument("--rounds", type=int, default=15, help="of which each figure is the median; 15")
    rounds = parser.parse_args().rounds
    for case in CASES:
        table(case.name, "accounts", SIZES, [Talk(case, size) for size in SIZES], rounds)
    for case in CASES[0], CASES[2]:
        title = f"{case.name}, among sessions"
        table(title, "sessions", SESSIONS, [Talk(case, 2, sessions) for sessions in SESSIONS], rounds)
    return 0


if __name__ == "__main__":
    sys.exit(main())
