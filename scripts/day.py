"""
Simulates a day of 40 conversations over 5 accounts with faults, and counts cold turns.

A turn is cold when the account that serves it does not hold the conversation's prompt cache: it never served it, or
longer ago than the cache lives. The router is the real one; time and answers are simulated. The first turn of a
conversation is always cold and is counted for nobody.
"""

from __future__ import annotations

import argparse
import heapq
import json
import random
import sys
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from patchbay import dialects
from patchbay.body import Body
from patchbay.router import Exchange, Router
from patchbay.settings.presets import PRESETS
from patchbay.settings.settings import Config, Failover, Sessions
from patchbay.values.account import Account, Secret
from patchbay.values.answer import Chunk, End, Head
from patchbay.values.decision import Route, Wait
from patchbay.values.http import Client, Headers, Origin, Request

CONVERSATIONS, ACCOUNTS, HOURS = 40, 5, 16
CACHE = 300.0  # seconds a provider keeps a prompt warm after its last use
ANSWER = (
    b'{"id":"chatcmpl-0123456789abcdef",'
    b'"choices":[{"message":{"role":"assistant","content":"Yes."},"finish_reason":"stop"}]}'
)
UPSTREAM = Origin("http", "127.0.0.1", 9)
JSON = Headers([("content-type", "application/json")])
# Most faults of a day hit one request and are over; some last. Each is a status and a Retry-After.
PASSING = ((429, 1.0), (429, 2.0), (529, None), (503, None), (500, None))
PASSING_SHARE = 0.03  # of all attempts
LASTING = ((429, 20.0), (429, None), (529, None), (503, None))
LASTING_EVERY, LASTING_LENGTH = 3600.0, (10.0, 60.0)  # seconds


@dataclass
class Tally:
    """What became of the turns."""

    turns: int = 0
    cold: int = 0
    failed: int = 0
    served: dict[str, dict[int, float]] = field(default_factory=dict)

    def serve(self, account: str, conversation: int, now: float, first: bool) -> None:
        last = self.served.setdefault(account, {}).get(conversation, -1e9)
        self.served[account][conversation] = now
        if not first:
            self.turns += 1
            self.cold += now - last > CACHE


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    plain = Sessions(order=())
    runs = {
        "Patchbay, no faults": live(options.seed, faults=False),
        "Patchbay": live(options.seed, faults=True),
        "on_error: clear": live(options.seed, faults=True, sessions=Sessions(on_error="clear")),
        "round robin": live(options.seed, faults=True, sessions=plain, strategy="round_robin"),
        "fill first": live(options.seed, faults=True, sessions=plain, strategy="fill_first"),
    }
    print(f"{CONVERSATIONS} conversations over {ACCOUNTS} accounts, {HOURS} hours, seed {options.seed}\n")
    print(f"{'':24}{'turns':>8}{'cold':>8}{'share':>9}{'failed':>8}")
    for name, tally in runs.items():
        share = tally.cold / tally.turns
        print(f"{name:24}{tally.turns:8}{tally.cold:8}{share:9.2%}{tally.failed:8}")
    shares = {name: tally.cold / tally.turns for name, tally in runs.items()}
    extra = shares["Patchbay"] - shares["Patchbay, no faults"]
    cleared = shares["on_error: clear"] - shares["Patchbay, no faults"]
    claims = [
        (extra <= 0.02, f"faults cost {extra:.2%} of the turns their cache, at most 2 points"),
        (extra <= cleared / 3, f"that is at most a third of what clearing on every fault costs ({cleared:.2%})"),
        (not runs["Patchbay"].failed, "no turn failed"),
    ]
    print()
    for holds, text in claims:
        print(f"  {'✓' if holds else '✗ NOT SO:'} {text}")
    return 0 if all(holds for holds, _ in claims) else 1


def live(seed: int, *, faults: bool, **settings: Any) -> Tally:
    """Live one day under *settings* and return what became of it."""
    luck = random.Random(seed)
    accounts = tuple(
        Account(f"account-{n}", PRESETS["generic"], Secret("literal", "k"), UPSTREAM) for n in range(ACCOUNTS)
    )
    numbers = count()
    config = Config(accounts, failover=Failover(attempts=4), **settings)
    router = Router(config, bytes(32), random.Random(seed), lambda size: next(numbers).to_bytes(size))
    bad = {account.id: _episodes(random.Random(f"{seed}/{account.id}")) if faults else [] for account in accounts}
    tally = Tally()
    for now, conversation, turn in _turns(luck):
        _take(router, bad, tally, now, conversation, turn)
    return tally


def _turns(luck: random.Random) -> list[tuple[float, int, int]]:
    turns: list[tuple[float, int, int]] = []
    for conversation in range(CONVERSATIONS):
        now = luck.uniform(0, (HOURS - 2) * 3600)
        for turn in range(min(400, int(luck.paretovariate(1.2) * 20))):
            heapq.heappush(turns, (now, conversation, turn))
            now += luck.expovariate(1 / 40)
    return [heapq.heappop(turns) for _ in range(len(turns))]


def _episodes(luck: random.Random) -> list[tuple[float, float, tuple[int, float | None]]]:
    """Return the times in which one account is bad for longer."""
    found, now = [], 0.0
    while now < HOURS * 3600:
        now += luck.expovariate(1 / LASTING_EVERY)
        found.append((now, now + luck.uniform(*LASTING_LENGTH), luck.choice(LASTING)))
    return found


def _take(router: Router, bad: dict[str, Any], tally: Tally, now: float, conversation: int, turn: int) -> None:
    said = {"model": "m", "messages": [{"role": "user", "content": f"conversation {conversation}"}]}
    request = Request(
        "POST", "/v1/chat/completions", Headers([("x-session-id", f"day-{conversation}")]),
        Body(json.dumps(said).encode()), dialects.endpoint("POST", "/v1/chat/completions"), UPSTREAM, Client(),
    )  # fmt: skip
    exchange = router.open(request, now)
    assert isinstance(exchange, Exchange)
    served = _answered(router, bad, exchange, now)
    if served:
        tally.serve(served, conversation, now, turn == 0)
    else:
        tally.failed += 1
    router.close(exchange, "", now, status=200 if served else 503)


def _answered(router: Router, bad: dict[str, Any], exchange: Exchange, now: float) -> str:
    """Send attempts until one is answered; return which account did it."""
    while True:
        route = router.next(exchange, now)
        if isinstance(route, Wait):
            now = route.until
            continue
        if not isinstance(route, Route):
            return ""
        fault = next((fault for start, end, fault in bad[route.account.id] if start <= now < end), None)
        luck = random.Random(f"{route.account.id}/{now}/{route.attempt}")
        if bad[route.account.id] and luck.random() < PASSING_SHARE:
            fault = fault or luck.choice(PASSING)
        if fault is None:
            for what in (Head(200, JSON), Chunk(ANSWER), End()):
                router.answered(exchange, what, now)
            return route.account.id
        status, after = fault
        fields = [("content-type", "application/json")] + ([("retry-after", str(after))] if after else [])
        for what in (Head(status, Headers(fields)), Chunk(b'{"error":{"message":"busy"}}'), End()):
            reaction = router.answered(exchange, what, now)
        if reaction != "next":
            return ""


if __name__ == "__main__":
    sys.exit(main())
