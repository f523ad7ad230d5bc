"""A thousand conversations at once that nobody names, a hundred of which open with the same words."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random

import pytest

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

from .traffic import CHAT, GEMINI, MESSAGES, RESPONSES

HERE = Origin("https", "llm.example", 443)
TURNS = 3
WORDS = "river stone ember maple delta ocean cedar amber".split()


@dataclass
class Talk:
    """One conversation: what was said, and the accounts and threads of its turns."""

    number: int
    path: str
    turns: list[str] = field(default_factory=list)
    accounts: list[str] = field(default_factory=list)
    threads: list[str] = field(default_factory=list)


def _router() -> Router:
    accounts = tuple(
        Account(name, PRESETS["generic"], Secret("literal", f"sk-{name}"), origin=HERE)
        for name in ("amber", "birch", "cedar", "dune")
    )
    return Router(Config(accounts), b"k" * 32, Random(1), Random(2).randbytes)


def _body(talk: Talk, stream: bool) -> bytes:
    said = [(("user", "assistant")[at % 2], text) for at, text in enumerate(talk.turns)]
    if talk.path == GEMINI:
        names = {"user": "user", "assistant": "model"}
        return json.dumps({"contents": [{"role": names[r], "parts": [{"text": t}]} for r, t in said]}).encode()
    name = "input" if talk.path == RESPONSES else "messages"
    return json.dumps({"model": "m", name: [{"role": r, "content": t} for r, t in said], "stream": stream}).encode()


def _answer(path: str, text: str, stream: bool) -> tuple[str, bytes]:
    """Write *text* as an answer of the dialect of *path*, without any id that could link."""
    match path, stream:
        case ("/v1/chat/completions", True):
            pieces = [{"choices": [{"index": 0, "delta": {"content": word + " "}}]} for word in text.split()]
            ends = [{"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}]
            events = [b"data: " + json.dumps(piece).encode() + b"\n\n" for piece in pieces + ends]
            return "text/event-stream", b"".join(events) + b"data: [DONE]\n\n"
        case ("/v1/chat/completions", False):
            message = {"role": "assistant", "content": text}
            value: object = {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}
        case ("/v1/messages", _):
            value = {"type": "message", "role": "assistant", "content": [{"type": "text", "text": text}]}
        case ("/v1/responses", _):
            item = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": text}]}
            value = {"object": "response", "status": "completed", "output": [item]}
        case _:
            value = {"candidates": [{"content": {"role": "model", "parts": [{"text": text}]}, "finishReason": "STOP"}]}
    return "application/json", json.dumps(value).encode()


def _begin(router: Router, talk: Talk, now: float) -> Exchange:
    request = Request(
        "POST", talk.path, Headers([("content-type", "application/json")]), Body(_body(talk, talk.number % 2 == 0)),
        dialects.endpoint("POST", talk.path), HERE,
    )  # fmt: skip
    exchange = router.open(request, now)
    assert isinstance(exchange, Exchange)
    route = router.next(exchange, now)
    assert isinstance(route, Lease)
    talk.accounts.append(route.account.id)
    talk.threads.append(exchange.identity.thread)
    return exchange


def _finish(router: Router, talk: Talk, exchange: Exchange, text: str, now: float) -> None:
    streams = talk.path == CHAT and talk.number % 2 == 0
    kind, body = _answer(talk.path, text, streams)
    router.answered(exchange, Head(200, Headers([("content-type", kind)])), now)
    router.answered(exchange, Chunk(body), now)
    router.answered(exchange, End(), now)
    router.close(exchange, "", now, status=200)
    talk.turns.append(text + (" " if streams else ""))


def _hold(talks: list[Talk], random: Random, opening: str = "hi") -> None:
    """Hold all *talks*, up to forty exchanges at a time, in no order but that of each conversation."""
    router = _router()
    under_way: list[tuple[Talk, Exchange, str]] = []
    left = {talk.number: TURNS for talk in talks}
    idle = list(talks)
    now = 0.0
    while idle or under_way:
        now += 0.01
        if idle and (len(under_way) < 40 or not under_way):
            talk = idle.pop(random.randrange(len(idle)))
            first = opening if talk.number % 10 == 0 else f"question {talk.number}"
            talk.turns.append(f"and then, {len(talk.turns)}?" if talk.turns else first)
            answer = " ".join(random.choice(WORDS) for _ in range(12))
            under_way.append((talk, _begin(router, talk, now), answer))
        else:
            talk, exchange, answer = under_way.pop(random.randrange(len(under_way)))
            _finish(router, talk, exchange, answer, now)
            left[talk.number] -= 1
            if left[talk.number]:
                idle.append(talk)


SIZES = {CHAT: 1000, RESPONSES: 200, MESSAGES: 200, GEMINI: 200}


@pytest.fixture(scope="module", params=SIZES, ids=["chat", "responses", "messages", "gemini"])
def talks(request: pytest.FixtureRequest, share: Callable[[Sequence[int], int], Sequence[int]]) -> list[Talk]:
    held = [Talk(number, request.param) for number in share(range(SIZES[request.param]), 2)]
    _hold(held, Random(5))
    return held


def test_every_turn_is_on_its_account(talks: list[Talk]) -> None:
    assert [talk.number for talk in talks if len(set(talk.accounts)) > 1] == []


def test_every_thread_is_one_from_the_second_turn_and_nobody_elses(talks: list[Talk]) -> None:
    threads = defaultdict(set)
    for talk in talks:
        assert len(set(talk.threads[1:])) == 1
        threads[talk.threads[1]].add(talk.number)

    assert len(threads) == len(talks)


def test_no_account_has_more_than_its_share(talks: list[Talk]) -> None:
    load = Counter(talk.accounts[0] for talk in talks)

    assert max(load.values()) <= 1.5 * len(talks) / 4


def test_those_that_open_alike_are_not_all_on_one() -> None:
    talks = [Talk(number * 10, CHAT) for number in range(200)]
    _hold(talks, Random(6))

    assert max(Counter(talk.accounts[0] for talk in talks).values()) <= 1.5 * len(talks) / 4
    assert [talk.number for talk in talks if len(set(talk.accounts)) > 1] == []
