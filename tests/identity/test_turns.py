"""Turns and their digests."""

from __future__ import annotations

import json

import pytest

from patchbay.body import Body
from patchbay.identity.history import conversation_of
from patchbay.identity.turns import Conversation, Turn, answer_turns
from patchbay.keyed import fingerprint

from .test_history import IN_EVERY_DIALECT
from .traffic import chat

# Threads and affinities are derived from these digests, and stores hold them.
STORED = {
    "chat": "33e538077ea43d7ddbe219a03166507b",
    "responses": "d3549eb3e23aa8dd4d84291bbe4d1808",
    "anthropic": "b00a7d4fb3177e9fcd298a869b8eb7f2",
    "gemini": "43a9cb29f190e6213acbcfc653d49b8e",
}


def talk(*texts: str) -> Conversation:
    return conversation_of(Body(json.dumps(chat(*texts)).encode()))


@pytest.mark.parametrize("dialect", IN_EVERY_DIALECT)
def test_the_digests_of_a_history_never_change(dialect: str) -> None:
    found = conversation_of(Body(json.dumps(IN_EVERY_DIALECT[dialect]).encode()))
    turns = (turn.role.encode() + turn.digest + bytes([turn.index]) for turn in found.turns)

    assert fingerprint(found.system, *turns).hex() == STORED[dialect]


@pytest.mark.parametrize("text", ["hi", " hi\r\nyou ", "<think>a</think>b c", "caf\u00e9\u3000au lait", "e\u0301"])
@pytest.mark.parametrize("role", ["user", "assistant"])
def test_a_plain_text_has_the_digest_of_the_same_text_in_a_block(role: str, text: str) -> None:
    block = {"messages": [{"role": role, "content": [{"type": "text", "text": text}, {"type": "thinking"}]}]}

    assert conversation_of(Body(json.dumps(block).encode())).turns == (Turn(role, text, 0),)


def test_turns_differ_by_role_and_place_and_text() -> None:
    turns = {Turn(role, text, place) for role in ("user", "assistant") for text in "ab" for place in (0, 1)}

    assert len(turns) == 8
    assert Turn("user", "a", 0) in turns
    assert Turn("user", "a", 0) != "a"


@pytest.mark.parametrize(
    ("texts", "root", "first_answer"),
    [((), -1, -1), (("hi",), 0, -1), (("hi", "ho"), 0, 1), (("hi", "ho", "so", "la"), 0, 1)],
)
def test_the_root_and_the_first_answer(texts: tuple[str, ...], root: int, first_answer: int) -> None:
    assert (talk(*texts).root, talk(*texts).first_answer) == (root, first_answer)


def test_an_answer_before_the_first_question_is_not_the_first_answer() -> None:
    turns = tuple(Turn(role, "a", place) for place, role in enumerate(("assistant", "tool", "user", "assistant")))

    assert Conversation(turns=turns).root == 2
    assert Conversation(turns=turns).first_answer == 3
    assert Conversation(turns=turns[:3]).first_answer == -1
    assert Conversation(turns=turns[:2]).root == -1


def test_a_history_with_its_answer_is_that_of_the_next_request() -> None:
    assert talk("a", "b", "c").with_answer(answer_turns("d", (), apart=False)).turns == talk("a", "b", "c", "d").turns


def test_calls_are_turns_of_their_own_where_the_dialect_has_items() -> None:
    calls = (("ls", '{"p": 1}'), ("pwd", ""))

    assert len(answer_turns("so", calls, apart=True)) == 3
    assert len(answer_turns("so", calls, apart=False)) == 1
    assert len(answer_turns("", calls, apart=True)) == 2
    assert answer_turns("", calls, apart=True)[1] == answer_turns("", (("pwd", "{}"),), apart=True)[0]
    assert answer_turns("<think>so</think>", (), apart=False) == ()
