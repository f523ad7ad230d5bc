"""Content seeds and the order of signals, row by row of the systems this follows."""

from __future__ import annotations

import json
from typing import Any

import pytest

from patchbay import dialects
from patchbay.body import Body
from patchbay.identity.identify import Identifier
from patchbay.ledger import Ledger
from patchbay.settings.settings import Sessions
from patchbay.values.decision import Identity
from patchbay.values.http import Client, Headers, Origin, Request

PATHS = {"chat": "/v1/chat/completions", "responses": "/v1/responses", "anthropic": "/v1/messages"}


def identify(
    body: Any, headers: dict[str, str] | None = None, path: str = PATHS["chat"], order: tuple[str, ...] | None = None
) -> Identity:
    sessions = Sessions() if order is None else Sessions(order=order)
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    request = Request(
        "POST", path, Headers((headers or {}).items()), Body(raw), dialects.endpoint("POST", path),
        Origin("https", "api.example", 443), Client(),
    )  # fmt: skip
    return Identifier(bytes(32), sessions, Ledger()).identify(request, now=0)


def chat(*messages: tuple[str, str], **more: Any) -> dict[str, Any]:
    return {"model": "m", "messages": [{"role": role, "content": text} for role, text in messages], **more}


HELLO = chat(("user", "hello there"))


def test_row_c1_header_before_cache_key_before_content() -> None:
    keyed = HELLO | {"prompt_cache_key": "pck"}

    assert identify(keyed, {"session_id": "s"}).value == "s"
    assert identify(keyed, {"conversation_id": "c"}).value == "c"
    assert identify(keyed, {"session_id": "s", "conversation_id": "c"}).value == "s"
    assert (identify(keyed).tier, identify(keyed).value) == ("cache_key", "pck")
    assert identify(HELLO).tier == "content"


def test_row_c2_the_content_seed_is_what_stays_the_same_over_a_conversation() -> None:
    first = identify(chat(("system", "be kind"), ("user", "hello there")))
    grown = identify(chat(("system", "be kind"), ("user", "hello there"), ("assistant", "hi"), ("user", "more")))

    assert first.affinity == grown.affinity
    assert first.affinity != identify(chat(("system", "be kind"), ("user", "good bye"))).affinity
    assert identify(HELLO | {"tools": []}).affinity == identify(HELLO).affinity


def test_row_c2_key_order_and_white_space_do_not_matter() -> None:
    loose = b'{ "messages" : [ {"content" : "hello there", "role" : "user"} ],\n "model" : "m" }'

    assert identify(loose).affinity == identify(HELLO).affinity
    assert identify(loose).thread == identify(HELLO).thread


def test_row_c2_the_forms_of_responses_input_are_one() -> None:
    string = identify({"model": "m", "input": "hello there"}, path=PATHS["responses"])
    item = identify({"model": "m", "input": [{"role": "user", "content": "hello there"}]}, path=PATHS["responses"])
    bare = identify({"model": "m", "input": [{"type": "input_text", "text": "hello there"}]}, path=PATHS["responses"])

    assert string.affinity == item.affinity == bare.affinity != ""


def test_row_c2_messages_win_over_input() -> None:
    assert identify(HELLO | {"input": "something else"}).affinity == identify(HELLO).affinity


def test_row_c3_a_content_seed_never_equals_an_explicit_id() -> None:
    derived = identify(HELLO)

    assert identify(HELLO, {"x-session-id": derived.affinity}).affinity != derived.affinity
    assert identify(HELLO, {"x-session-id": derived.thread}).affinity != derived.affinity


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff\x00", b"{}", b'{"messages": []}', b'{"model": "m"}'])
def test_row_c3_an_empty_or_unreadable_body_gives_no_seed(body: bytes) -> None:
    assert identify(body).affinity == ""


def test_row_c4_the_same_body_twice_gives_the_same_seed() -> None:
    assert identify(HELLO) == identify(HELLO)


OLD = "user_" + "a" * 64 + "_account__session_22222222-2222-4222-8222-222222222222"
NEW = json.dumps({"device_id": "d", "account_uuid": "", "session_id": "22222222-2222-4222-8222-222222222222"})


def test_row_d4_claude_code_s_user_id_comes_first_in_both_its_forms() -> None:
    body = {"messages": [{"role": "user", "content": "hello"}], "conversation_id": "c"}
    found = [
        identify(body | {"metadata": {"user_id": user}}, {"x-session-id": "x"}, PATHS["anthropic"])
        for user in (OLD, NEW)
    ]

    assert {one.tier for one in found} == {"claude_session"}
    assert len({one.affinity for one in found}) == 1


def test_row_d4_x_session_id_stands_above_a_plain_user_and_a_conversation_id() -> None:
    body = {"messages": [{"role": "user", "content": "hi"}], "metadata": {"user_id": "u"}, "conversation_id": "c"}

    assert identify(body, {"x-session-id": "x"}, PATHS["anthropic"]).value == "x"


def test_row_d4_a_plain_user_id_stands_below_a_conversation_id_unless_the_order_says_otherwise() -> None:
    body = {"messages": [{"role": "user", "content": "hi"}], "metadata": {"user_id": "u"}, "conversation_id": "c"}
    theirs = ("claude_session", "generic_header", "user", "body_session", "content")

    assert identify(body, path=PATHS["anthropic"]).value == "c"
    assert identify(body, path=PATHS["anthropic"], order=theirs).tier == "user"


def test_row_b5_with_only_the_header_in_the_order_nothing_else_is_asked() -> None:
    only = ("generic_header",)

    assert identify(HELLO, order=only).affinity == ""
    assert identify(HELLO, {"x-session-id": "s"}, order=only).value == "s"
