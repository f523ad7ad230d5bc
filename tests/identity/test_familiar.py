"""Bodies that begin as one we have read."""

from __future__ import annotations

import json
from typing import Any

import pytest

from patchbay.body import Body
from patchbay.identity import familiar
from patchbay.identity.familiar import Familiar
from patchbay.values import Identity

from .traffic import CHAT, Teller

LINE = "as much as one says in a line or so, "


def body(turns: int, *, after: Any = None, **before: Any) -> bytes:
    messages = [{"role": ("user", "assistant")[at % 2], "content": f"{at}: {LINE}" * 40} for at in range(turns)]
    return json.dumps({**before, "messages": messages, **(after or {})}).encode()


def names(short: Body | None) -> tuple[str, ...]:
    assert short is not None
    return short.names()


def known(first: bytes) -> Familiar:
    seen = Familiar(10)
    assert seen.shortened("s", Body(first)) is None
    return seen


def test_a_history_that_grows_is_read_from_where_it_ended():
    seen = known(body(21, model="m"))
    short = seen.shortened("s", Body(body(23, model="m", after={"session_id": "x"})))

    assert names(short) == ("model", "messages", "session_id")
    assert [message["content"][:3] for message in short.get("messages")] == ["21:", "22:"]
    assert seen.shortened("s", Body(body(25, model="m"))).get("messages")[0]["content"].startswith("23:")


def test_the_same_again_adds_nothing():
    seen = known(body(21))

    assert seen.shortened("s", Body(body(21))).get("messages") == []
    assert seen.shortened("s", Body(body(21))).get("messages") == []


@pytest.mark.parametrize(
    "other",
    [
        body(21, model="other"),
        body(19, model="m"),
        body(21, model="m")[:-1],
        body(21, model="m")[:-2],
        body(21, model="m")[:-2] + b",]}",
        body(21, model="m")[:-2] + b"x]}",
        body(21, model="m").replace(b"20: ", b"20, "),
        b'{"messages":[]}',
        b"",
    ],
)
def test_what_does_not_go_on_is_read_in_whole(other):
    assert known(body(21, model="m")).shortened("s", Body(other)) is None


@pytest.mark.parametrize("odd", [b'{"messages": [], "messages": [{"role": "user"}]}', b'{"messages": "a"}', b"[1]"])
def test_an_odd_body_is_not_remembered(odd):
    seen = known(odd)

    assert seen.shortened("s", Body(odd)) is None
    assert len(seen) == 0


def test_it_is_bounded():
    seen = Familiar(2)
    for seed in "abc":
        seen.shortened(seed, Body(body(3)))

    assert len(seen) == 2
    assert seen.shortened("a", Body(body(3))) is None
    assert seen.shortened("c", Body(body(3))) is not None


def asked(teller: Teller, content: bytes, **headers: str) -> Identity:
    return teller.ask(CHAT, content, {name.replace("_", "-"): value for name, value in headers.items()})


def test_an_id_that_appears_beside_a_known_history_is_seen():
    teller = Teller()
    asked(teller, body(21), x_session_id="s")
    assert len(body(21)) > familiar.LONG
    named = asked(teller, body(23, after={"session_id": "weaker"}), x_session_id="s")
    alone = asked(teller, body(25, after={"session_id": "weaker"}))

    assert alone.affinity == named.affinity
