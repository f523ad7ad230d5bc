"""Turns and their digests."""

from __future__ import annotations

import json
from typing import Any

import pytest

from patchbay.body import Body
from patchbay.identity import turns
from patchbay.identity.history import conversation_of
from patchbay.identity.turns import Conversation, Turn, answer_turns
from patchbay.keyed import fingerprint

from ..each_row import each_row
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
    turns = [Turn(role, text, place) for role in ("user", "assistant") for text in "ab" for place in (0, 1)]

    assert [turn == other for turn in turns for other in turns].count(True) == 8
    assert Turn("user", "a", 0) == turns[0] != "a"


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


def digests(*content: Any, role: str = "user") -> list[tuple[str, bytes]]:
    found = conversation_of(Body(json.dumps({"messages": [{"role": role, "content": list(content)}]}).encode()))
    return [(turn.role, turn.digest) for turn in found.turns]


@pytest.mark.parametrize("kind", sorted(turns.THINKING))
def test_each_kind_of_thinking_drops_out(kind: str) -> None:
    assert digests({"type": kind, "text": "a"}) == []
    assert digests({"text": "a", "thought": True}) == []


@pytest.mark.parametrize("kind", [*sorted(turns.RESULTS), "web_search_tool_result", "local_shell_call_output"])
@pytest.mark.parametrize("member", ["content", "output"])
def test_each_kind_of_result_is_a_turn_of_a_tool(kind: str, member: str) -> None:
    (found,) = digests({"type": kind, member: "a.txt", "tool_use_id": "x"})

    assert found[0] == "tool"
    assert [found] == digests({"type": "tool_result", "content": [{"text": "a.txt"}], "tool_use_id": "y"})
    assert [found] != digests({"type": kind, member: "b.txt"})
    assert digests({"type": kind}) == digests({"type": kind, member: None}) != []


@pytest.mark.parametrize("kind", sorted(turns._CALLS))
@pytest.mark.parametrize("member", ["arguments", "input", "args"])
def test_each_kind_of_call_is_its_name_and_its_arguments(kind: str, member: str) -> None:
    found = digests({"type": kind, "id": "1", "name": "ls", member: {"p": "a", "q": 1}}, role="assistant")

    assert found == digests(
        {"type": "tool_use", "id": "2", "name": "ls", "input": {"q": 1, "p": "a"}}, role="assistant"
    )
    assert found == digests({"name": "ls", "arguments": '{"p": "a", "q": 1}'}, role="assistant")
    assert found != digests({"type": kind, "name": "cat", member: {"p": "a", "q": 1}}, role="assistant")
    assert found != digests({"type": kind, "name": "ls", member: {"p": "b", "q": 1}}, role="assistant")
    assert digests({"type": kind, "name": "ls"}, role="assistant") != found


@pytest.mark.parametrize("member", ["functionCall", "function_call", "function"])
def test_each_member_with_a_call_is_read(member: str) -> None:
    plain = digests({"type": "tool_use", "name": "ls", "input": {"p": 1}}, role="assistant")

    assert digests({member: {"name": "ls", "args": {"p": 1}}}, role="assistant") == plain


@pytest.mark.parametrize("member", ["functionResponse", "function_response"])
def test_each_member_with_a_response_is_read(member: str) -> None:
    assert digests({member: {"name": "ls", "response": "a.txt"}}) == digests(
        {"type": "tool_result", "content": "a.txt"}
    )


@each_row("member", turns._MEDIA)
@each_row("key", turns._MEDIA_KEYS)
def test_each_place_of_media_counts(member: str, key: str) -> None:
    found = digests({"type": "media", member: {key: "AAAA", "detail": "low"}})

    assert found == digests({"type": "input_x", member: {"detail": "high", key: "AAAA"}})
    assert found != digests({"type": "media", member: {key: "AAAB"}})
    assert len(found) == 1


def test_media_without_a_known_place_count_as_they_are() -> None:
    assert digests({"type": "input_image", "odd": 1}) == digests({"odd": 1, "type": "input_image", "id": "x"})
    assert digests({"type": "input_image", "odd": 1}) != digests({"type": "input_image", "odd": 2})
    assert digests({"type": "image", "odd": 1}) != digests({"type": "image", "odd": 2})
    assert digests({"id": "x"}) == []


@pytest.mark.parametrize(
    "context",
    [
        *(f"<{tag}>a</{tag}>" for tag in (
            "session_context", "environment_context", "environment_details", "user_instructions",
            "permissions instructions", "system-reminder")),
        "# AGENTS.md instructions for /x\n<INSTRUCTIONS>a</INSTRUCTIONS>",
        "This is the Gemini CLI. We are setting up the context for our chat.\nToday is Friday.",
    ],
)  # fmt: skip
def test_each_kind_of_context_is_an_instruction(context: str) -> None:
    found = conversation_of(Body(json.dumps(chat(context, "so", "hi")).encode()))

    assert [turn.role for turn in found.turns] == ["assistant", "user"]
    assert found.system != b""
    assert found.context != ()


@pytest.mark.parametrize(("depth", "differs"), [(5, True), (6, True), (7, True)])
def test_a_nested_result_counts_however_deep(depth: int, differs: bool) -> None:
    def nested(text: str) -> Any:
        part: Any = text
        for _ in range(depth):
            part = [{"type": "tool_result", "content": part}]
        return part

    assert (digests(*nested("a")) != digests(*nested("b"))) == differs


@pytest.mark.parametrize("size", [65_535, 65_536, 65_537])
def test_long_instructions_are_masked_like_short_ones(size: int) -> None:
    one, other = ((f"It is {day}." + "a" * size)[:size] for day in ("2026-11-21", "2026-11-22"))

    assert turns.digests_of_instructions([one]) == turns.digests_of_instructions([other])
    assert turns.digests_of_instructions([one]) != turns.digests_of_instructions([one[:-1]])
    assert turns.digests_of_instructions(["", " ", "x-anthropic-billing-header: a"]) == ()


@pytest.mark.parametrize("role", ["user", "assistant"])
@pytest.mark.parametrize("empty", ["", " \n", [], [{"type": "text", "text": ""}], [7, None, [{"text": "x"}]], 7, None])
def test_a_message_without_content_is_no_turn(role: str, empty: Any) -> None:
    assert digests(empty, role=role) == [] if not isinstance(empty, list) else digests(*empty, role=role) == []


def test_an_answer_without_text_has_no_text_part() -> None:
    call = {"type": "tool_use", "name": "ls", "input": {}}
    for blank in ("<think>x</think>", "\u200b\u3000".strip("\u200b")):
        said = [{"type": "text", "text": blank}, call]
        assert [digest for _, digest in digests(*said, role="assistant")] == [
            digest for _, digest in digests(call, role="assistant")
        ]


def test_what_is_no_text_is_kept_beside_the_text_of_an_answer() -> None:
    call = {"type": "tool_use", "name": "ls", "input": {}}
    text = {"type": "text", "text": "a b"}
    first, second, third = (digests(*parts, role="assistant") for parts in ([text, call], [call, text], [text]))

    assert first == second != third


def test_a_turn_of_an_empty_text_has_the_digest_of_none() -> None:
    assert Turn("user", " ", 0).digest == fingerprint(b"user") != Turn("user", "a", 0).digest
    assert Turn("assistant", "<think>x</think>", 0).digest == fingerprint(b"assistant")


@pytest.mark.parametrize(("depth", "counts"), [(6, True), (7, False)])
def test_results_are_read_six_deep(depth: int, counts: bool) -> None:
    """Further down they count as they are, with what may change."""

    def nested(status: str) -> dict[str, Any]:
        inner: dict[str, Any] = {"type": "text", "text": "a", "cache_control": status}
        for _ in range(depth):
            inner = {"type": "tool_result", "content": [inner]}
        return inner

    assert (digests(nested("x")) == digests(nested("y"))) == counts


def test_context_is_what_a_user_s_message_holds() -> None:
    context = {"type": "text", "text": "<environment_context>\n<cwd>/x</cwd>\n</environment_context>"}

    assert [role for role, _ in digests(context, role="assistant")] == ["assistant"]
    assert conversation_of(Body(json.dumps({"messages": [{"role": "user", "content": [context]}]}).encode())).context


@pytest.mark.parametrize("result", [7, None, True, [7, None]])
def test_a_result_of_no_text_is_a_result(result: object) -> None:
    assert [role for role, _ in digests({"type": "tool_result", "content": result})] == ["tool"]
