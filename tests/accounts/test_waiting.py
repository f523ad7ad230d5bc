"""
Before a lane rests: can waiting cure this? Every kind of refusal that providers document, against a whole router.

One conversation meets each of them while another one runs on the same accounts. Where no waiting cures it, the other
one never notices. Where all accounts show it for a moment, all of them are back soon after.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import count, cycle, pairwise
from random import Random
from typing import Any

import pytest

from patchbay import dialects
from patchbay.accounts.cooldown import LAST_CHANCE
from patchbay.accounts.lease import Lease
from patchbay.body import Body
from patchbay.exchange import Exchange
from patchbay.router import Router
from patchbay.settings.presets import PRESETS
from patchbay.settings.settings import Config, FailoverSettings
from patchbay.values.account import Account, Secret
from patchbay.values.answer import Chunk, End, Head
from patchbay.values.decision import Refusal, Wait
from patchbay.values.http import Client, Headers, Origin, Request

from .provider_refusals import ABOUT_THE_REQUEST, JSON, KINDS, Kind

UPSTREAM = Origin("http", "127.0.0.1", 9)
PATHS = {
    "openai": "/v1/chat/completions",
    "anthropic": "/v1/messages",
    "gemini": "/v1beta/models/m:generateContent",
}
GOOD: dict[str, Any] = {
    "openai": {"id": "c", "object": "chat.completion", "model": "m",
               "choices": [{"index": 0, "message": {"role": "assistant", "content": "well"}, "finish_reason": "stop"}]},
    "anthropic": {"id": "msg", "type": "message", "role": "assistant", "model": "m", "stop_reason": "end_turn",
                  "content": [{"type": "text", "text": "well"}]},
    "gemini": {"candidates": [{"content": {"role": "model", "parts": [{"text": "well"}]}, "finishReason": "STOP"}]},
}  # fmt: skip
SIZES = (1, 4)  # accounts of a pool
BACK = 35.0  # seconds after which a pool is well again when what it showed has passed


Says = Callable[[str, str, float], Kind | None]  # conversation, account and time → what is refused, if anything is


@dataclass(frozen=True)
class Turn:
    """How a turn ended: the accounts that were asked, whether the last of them served it, and when."""

    asked: tuple[str, ...]
    served: bool
    refusal: Refusal | None
    now: float

    @property
    def by(self) -> str:
        return self.asked[-1] if self.served else ""


class Pool:
    """A router in front of *size* accounts that answer as `says` says; `between` is called before each attempt."""

    def __init__(self, family: str, size: int, says: Says = lambda *_: None, attempts: int = 100) -> None:
        numbers = count(1)
        preset = {"gemini": "gemini", "anthropic": "anthropic", "openai": "generic"}[family]
        accounts = tuple(
            Account(f"account{n}", PRESETS[preset], Secret("literal", f"key-{n}"), origin=UPSTREAM, insecure_http=True)
            for n in range(size)
        )
        config = Config(accounts, failover=FailoverSettings(attempts=attempts))
        self.family, self.says = family, says
        self.between: Callable[[float], None] = lambda now: None
        self.router = Router(config, bytes(32), Random(1), lambda size: next(numbers).to_bytes(size))

    def request(self, conversation: str) -> Request:
        path = PATHS[self.family]
        body: dict[str, Any] = {"messages": [{"role": "user", "content": f"this is {conversation}"}], "model": "m"}
        if self.family == "gemini":
            body = {"contents": [{"role": "user", "parts": [{"text": f"this is {conversation}"}]}]}
        headers = Headers((("x-session-id", f"conversation-{conversation}"),))
        endpoint = dialects.endpoint("POST", path)
        return Request("POST", path, headers, Body(json.dumps(body).encode()), endpoint, UPSTREAM, Client())

    def turn(self, conversation: str, now: float) -> Turn:
        router, asked = self.router, list[str]()
        exchange = router.open(self.request(conversation), now, reverse=UPSTREAM)
        assert isinstance(exchange, Exchange)
        served, refusal, began = False, None, now
        while True:
            match router.next(exchange, now):
                case Wait() as wait:
                    now = max(now + 0.01, wait.until)
                    assert now < began + 60, "it waits for ever"
                    continue
                case Refusal() as refusal:
                    break
                case Lease() as route:
                    asked.append(route.account.id)
            kind = self.says(conversation, route.account.id, now)
            good = (Head(200, Headers((("content-type", JSON),))), Chunk(json.dumps(GOOD[self.family]).encode()), End())
            reactions = [router.answered(exchange, each, now) for each in (kind.answer() if kind else good)]
            served = kind is None
            if conversation != "other":
                self.between(now)
            if reactions[-1] != "next":
                break
        router.close(exchange, "", now, status=200 if served else 400)
        return Turn(tuple(asked), served, refusal, now)


def names(kind: Kind) -> str:
    return kind.name


def in_turn(kinds: Iterable[Kind], sizes: Iterable[int]) -> list[Any]:
    """Return each of *kinds* with one of *sizes*, which take turns."""
    return [
        pytest.param(kind, size, id=f"{kind.name}, {size}") for kind, size in zip(kinds, cycle(sizes), strict=False)
    ]


def test_can_waiting_cure_it_is_asked_of_at_least_forty_kinds_of_refusal() -> None:
    """A1: and of each cure there are some."""
    assert len({(kind.status, json.dumps(kind.body), str(kind.headers)) for kind in KINDS}) >= 100
    assert len(ABOUT_THE_REQUEST) >= 60
    assert {kind.cure for kind in KINDS} == {"nothing", "time", "somebody"}


@pytest.mark.slow(every=6)
@pytest.mark.parametrize(("kind", "size"), in_turn(ABOUT_THE_REQUEST, SIZES))
def test_can_waiting_cure_it_no_then_the_other_conversation_never_notices(kind: Kind, size: int) -> None:
    """A1, A2: not between the attempts of the one that is refused, not when it comes back again and again."""
    pool = Pool(kind.family, size, lambda who, *_: kind if who == "refused" else None)
    home = pool.turn("other", 0.0).by
    seen = list[Turn]()
    pool.between = lambda now: seen.append(pool.turn("other", now))

    for number in range(6):
        pool.turn("refused", 10.0 + 20 * number)

    assert len(seen) >= 6
    assert {turn.asked for turn in seen} == {(home,)}
    assert all(turn.served for turn in seen)


@pytest.mark.slow(every=6)
@pytest.mark.parametrize("size", [1, 4])
@pytest.mark.parametrize("kind", ABOUT_THE_REQUEST, ids=names)
def test_can_waiting_cure_it_no_then_one_that_comes_later_is_served_at_once(kind: Kind, size: int) -> None:
    """A1, A2: also a conversation that nobody has heard of, and where nobody was served before."""
    pool = Pool(kind.family, size, lambda who, *_: kind if who == "refused" else None)
    pool.turn("refused", 0.0)
    later = pool.turn("other", 0.5)
    assert (later.served, len(later.asked), later.now) == (True, 1, 0.5)


@pytest.mark.slow(every=8)
@pytest.mark.parametrize("kind", ABOUT_THE_REQUEST, ids=names)
def test_can_waiting_cure_it_no_then_three_conversations_do_not_shut_out_a_fourth(kind: Kind) -> None:
    """A1: nor do three at once, whatever a single one of them was served before."""
    pool = Pool(kind.family, 4, lambda who, _, now: kind if who.startswith("refused") and now > 1 else None)
    home = pool.turn("other", 0.0).by
    for number in range(5):
        pool.turn(f"refused {number}", 0.0)
    for number in range(5):
        for _ in range(2):
            pool.turn(f"refused {number}", 10.0 + number)
    after = pool.turn("other", 20.0)
    assert (after.served, len(after.asked), after.now) == (True, 1, 20.0)
    assert after.by == home or kind.passes, "what ten requests met just now may be an outage"


@pytest.mark.slow(every=8)
@pytest.mark.parametrize(("kind", "size"), in_turn(KINDS, SIZES))
def test_can_waiting_cure_it_yes_then_the_pool_is_back_in_35_seconds(kind: Kind, size: int) -> None:
    """R8: all accounts show it to everybody for five seconds, whatever it is, and are well then."""
    pool = Pool(kind.family, size, lambda _, __, now: kind if now < 5.0 else None)
    for number in range(20):
        pool.turn(f"conversation {number % 7}", number / 4)
    back = next((now for now in range(5, 60) if pool.turn(f"conversation {now % 7}", float(now)).served), None)
    assert back is not None
    assert back <= 5 + BACK

    everybody = [pool.turn(f"conversation {number}", back + 1.0 + number) for number in range(7)]
    assert all(turn.served for turn in everybody)
    later = [pool.turn(f"new {number}", back + 12.0 + number) for number in range(4 * size)]
    assert len({turn.by for turn in (*everybody, *later)}) == size, "what began to rest together is looked at together"


@pytest.mark.slow(every=6)
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.cure != "nothing"], ids=names)
def test_can_waiting_cure_it_or_not_what_is_wrong_with_one_account_is_served_by_another(kind: Kind) -> None:
    """A8, A9: nobody is refused while three accounts are well, and the bad one is asked seldom."""
    pool = Pool(kind.family, 4, lambda _, account, __: kind if account == "account0" else None)
    turns = [pool.turn(f"conversation {number % 10}", number / 2) for number in range(60)]
    assert all(turn.served for turn in turns)
    assert sum(turn.asked.count("account0") for turn in turns) <= 20


def test_a_dead_pool_is_probed_ever_more_seldom() -> None:
    """R8: one request in half a minute finds out, and what it finds out again and again it is asked less often."""
    bad = next(kind for kind in KINDS if kind.name == "somebody: openai key")
    pool = Pool("openai", 1, lambda *_: bad)
    asked = [second for second in range(0, 3600, 3) if pool.turn(f"conversation {second % 9}", float(second)).asked]
    probes = [second for second in asked if second > LAST_CHANCE]
    assert 5 <= len(probes) <= 25
    gaps = [after - before for before, after in pairwise(probes)]
    assert min(gaps) >= LAST_CHANCE
    assert gaps[-1] > gaps[0]
