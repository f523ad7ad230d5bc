"""Serve exchanges in the dialect of `toy.py` through the router of a copy of the package; print what came of them."""

from __future__ import annotations

import json
from dataclasses import replace
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
from patchbay.values.answer import AnswerEvent, Chunk, End, Head
from patchbay.values.decision import Decision, Refusal
from patchbay.values.http import Headers, Origin, Request

UPSTREAM = Origin("http", "127.0.0.1", 9)
QUESTION, ANSWER = (
    {"role": "user", "content": "What floats, and why does it float?"},
    "A duck: it is lighter than water.",
)


def _request(*turns: dict[str, str], path: str = "/v1/toy/talk") -> Request:
    body = Body(json.dumps({"turns": turns, "stream": len(turns) > 1}).encode())
    return Request("POST", path, Headers(), body, dialects.endpoint("POST", path), UPSTREAM)


def _serve(router: Router, request: Request, now: float, kind: str, *pieces: dict[str, Any]) -> tuple[Lease, Decision]:
    exchange = router.open(request, now, reverse=UPSTREAM)
    assert isinstance(exchange, Exchange)
    route = router.next(exchange, now)
    assert isinstance(route, Lease), route
    mark = "data: {}\n\n" if kind == "text/event-stream" else "{}"
    chunks = (Chunk(mark.replace("{}", json.dumps(piece)).encode()) for piece in pieces)
    events: tuple[AnswerEvent, ...] = (Head(200, Headers([("content-type", kind)])), *chunks, End())
    assert [router.answered(exchange, event, now) for event in events][-1] == "deliver"
    decision = router.close(exchange, "", now=now, status=200)
    assert decision is not None
    return route, decision


def main() -> None:
    """Print, as JSON, what the router made of two exchanges of one conversation."""
    numbers, provider = count(), replace(PRESETS["generic"], families=frozenset({"toys"}))
    accounts = tuple(Account(name, provider, Secret("literal", f"key-{name}")) for name in ("a", "b", "c"))
    router = Router(Config(accounts), bytes(32), Random(1), lambda size: next(numbers).to_bytes(size))

    whole = {"toy": "t1", "says": ANSWER, "over": True}
    first, began = _serve(router, _request(QUESTION), 0.0, "application/json", whole)
    turns = QUESTION, {"role": "assistant", "content": ANSWER}, {"role": "user", "content": "And a stone?"}
    events = {"toy": "t2", "says": "No."}, {"toy": "t2", "over": True}, {"toy": "t2", "says": "more"}
    second, went_on = _serve(router, _request(*turns), 9.0, "text/event-stream", *events)
    found = {
        "family": dialects.FAMILIES[-1],
        "dialect": began.dialect,
        "event": began.event_type,
        "key": dialects.of(began.dialect).credential_form,
        "same account": first.account.id == second.account.id,
        "same thread": bool(began.thread) and began.thread == went_on.thread,
        "findings": [f"{finding.detector} {finding.received}" for finding in went_on.findings],
        "refusal": json.loads(dialects.of("toy").error(Refusal(429, "model_cooldown", "later"), "id")),
        "unknown spelling": dialects.is_ambiguous("POST", "/v1/Toy/talk"),
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
