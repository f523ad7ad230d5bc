"""What belongs to one account is left out elsewhere, and no other byte changes."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, strategies as st

from patchbay import account_bound, dialects
from patchbay.body import Body

from .each_row import each_row
from .identity.traffic import MESSAGES, RESPONSES, request

FIELDS = [bound for dialect in dialects.DIALECTS for bound in dialect.bound_fields]
SPELLINGS: tuple[dict[str, Any], ...] = ({}, {"indent": 1}, {"separators": (",", ":")}, {"indent": "\t"})


def none(blob: str) -> bool:
    return False


@each_row(
    ("path", "body", "headers", "kept", "found"),
    [
        (MESSAGES, {"diagnostics": {"previous_message_id": "msg_1", "x": 1}, "model": "m"}, {},
         {"diagnostics": {"previous_message_id": None, "x": 1}, "model": "m"}, ["msg_1"]),
        (MESSAGES, {"model": "m", "fallback_credit_token": "fct_1"}, {}, {"model": "m"}, ["fct_1"]),
        (MESSAGES, {"fallback_credit_token": {"token": "fct_1", "mode": "strict"}, "model": "m"}, {}, {"model": "m"},
         ["fct_1"]),
        (MESSAGES, {"workspace_id": "wrkspc_1"}, {}, {}, ["wrkspc_1"]),
        (MESSAGES, {"a": 1, "workspace_id": "w", "fallback_credit_token": "f"}, {}, {"a": 1}, ["f", "w"]),
        (MESSAGES, {"diagnostics": {"previous_message_id": None}}, {},
         {"diagnostics": {"previous_message_id": None}}, []),
        (MESSAGES, {"diagnostics": "x", "fallback_credit_token": 7}, {},
         {"diagnostics": "x", "fallback_credit_token": 7}, []),
        (MESSAGES, {"model": "m"}, {"anthropic-workspace-id": "wrkspc_1"}, {"model": "m"}, ["wrkspc_1"]),
        (RESPONSES, {"prompt_cache_options": {"comparison_response_id": "resp_1", "mode": "explicit"}}, {},
         {"prompt_cache_options": {"mode": "explicit"}}, ["resp_1"]),
        (RESPONSES, {"prompt_cache_options": {"comparison_response_id": "resp_1"}}, {},
         {"prompt_cache_options": {}}, ["resp_1"]),
        (RESPONSES, {"workspace_id": "wrkspc_1"}, {}, {"workspace_id": "wrkspc_1"}, []),
    ],
)  # fmt: skip
@each_row("how", SPELLINGS)
def test_members_that_belong_to_an_account_are_taken_out(
    path: str, body: Any, headers: Any, kept: Any, found: list[str], how: dict[str, Any]
) -> None:
    """P9: each row of the table, however the body is written."""
    asked = request(path, body, headers)
    raw = json.dumps(body, **how).encode()
    bound = list(account_bound.bound_fields(asked))

    assert sorted(value for _, value in bound) == found
    assert json.loads(account_bound.without(Body(raw), [each for each, _ in bound])) == kept


def test_every_other_byte_stays() -> None:
    """P9: spaces, escapes and order are as the client wrote them."""
    raw = b'{ "model" : "\\u0061" ,\n "fallback_credit_token":"f" , "n": 1.0 }'
    token = next(each for each in FIELDS if each.member == "fallback_credit_token")

    assert account_bound.without(Body(raw), [token]) == b'{ "model" : "\\u0061" ,\n "n": 1.0 }'


def thinking(signature: str) -> dict[str, Any]:
    return {"type": "thinking", "thinking": 'so "much" [thought}', "signature": signature}


TEXT = {"type": "text", "text": 'a thinking "signature" \\ ]'}
CALL = {"type": "tool_use", "id": "t", "name": "n", "input": {"type": "thinking", "signature": "x"}}
ASSISTANT = [
    ([thinking("s1"), TEXT], [TEXT]),
    ([thinking("s1"), {"type": "redacted_thinking", "data": "d"}, CALL], [CALL]),
    ([TEXT, thinking("s1")], [TEXT]),
    ([thinking("s1"), TEXT, thinking("s2"), CALL, thinking("s3")], [TEXT, CALL]),
    ([TEXT], [TEXT]),
    ("said", "said"),
]


@each_row("how", SPELLINGS)
@each_row(("before", "after"), ASSISTANT)
def test_signed_thinking_is_taken_out(before: Any, after: Any, how: dict[str, Any]) -> None:
    """A3: blocks of thinking go, whatever stands around them stays."""

    def body(content: Any) -> dict[str, Any]:
        return {
            "messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": content}],
            "system": "s",
        }

    raw = json.dumps(body(before), **how).encode()

    assert json.loads(account_bound.unsealed(Body(raw), none)) == body(after)


def test_a_message_of_nothing_else_goes_too() -> None:
    """A3: a message without content would be refused."""
    user = {"role": "user", "content": "hi"}
    body = {"messages": [user, {"role": "assistant", "content": [thinking("s")]}, user]}

    assert json.loads(account_bound.unsealed(Body(json.dumps(body).encode()), none)) == {"messages": [user, user]}


@pytest.mark.parametrize("how", SPELLINGS)
def test_sealed_reasoning_is_taken_out(how: dict[str, Any]) -> None:
    """A3: items of reasoning go; a compaction, which is all there is of a history, stays."""
    message = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "encrypted_content"}]}
    reasoning = {"type": "reasoning", "summary": [], "encrypted_content": "gAAA"}
    call = {"type": "function_call", "call_id": "c", "name": "n", "arguments": '{"encrypted_content": "x"}'}
    compaction = {"type": "compaction", "encrypted_content": "gAAB"}
    empty = {"type": "reasoning", "summary": [{"text": "x"}], "encrypted_content": None}
    body = {"model": "m", "input": [reasoning, message, reasoning, call, compaction, empty, reasoning], "store": False}
    raw = json.dumps(body, **how).encode()

    assert json.loads(account_bound.unsealed(Body(raw), none)) == body | {"input": [message, call, compaction, empty]}


@pytest.mark.parametrize("wrapped", [False, True])
def test_signatures_of_thoughts_are_taken_off(wrapped: bool) -> None:
    """A3: Gemini's calls say that they have no signature, other parts have none."""
    call = {"functionCall": {"name": "n", "args": {"thoughtSignature": "x"}}, "thoughtSignature": "s1"}
    parts = [{"text": "hm", "thoughtSignature": "s2"}, call, {"thought_signature": "s3", "text": "t"}]
    unsigned = call | {"thoughtSignature": "skip_thought_signature_validator"}

    def body(parts: Any) -> dict[str, Any]:
        inner = {"contents": [{"role": "model", "parts": parts}, {"role": "user", "parts": [{"text": "?"}]}]}
        return {"model": "m", "request": inner} if wrapped else inner

    raw = json.dumps(body(parts)).encode()

    assert json.loads(account_bound.unsealed(Body(raw), none)) == body([{"text": "hm"}, unsigned, {"text": "t"}])


def test_what_the_account_made_itself_stays() -> None:
    """A3: only what is another's is taken out; where that is nothing, the bytes are the client's own."""
    body = Body(
        json.dumps({"messages": [{"role": "assistant", "content": [thinking("a"), thinking("b"), TEXT]}]}).encode()
    )

    assert json.loads(account_bound.unsealed(body, lambda blob: blob == "b"))["messages"][0]["content"] == [
        thinking("b"),
        TEXT,
    ]
    assert account_bound.unsealed(body, lambda blob: True) is body.raw


@given(st.lists(st.sampled_from([thinking("s"), TEXT, CALL]), min_size=1, max_size=8), st.sampled_from(SPELLINGS))
def test_any_order_of_blocks(blocks: list[dict[str, Any]], how: dict[str, Any]) -> None:
    """A3: any order of blocks gives the rest of them, in order."""
    raw = json.dumps({"messages": [{"role": "assistant", "content": blocks}], "n": 1}, **how).encode()
    kept = [block for block in blocks if block["type"] != "thinking"]
    messages = [{"role": "assistant", "content": kept}] if kept else []

    assert json.loads(account_bound.unsealed(Body(raw), none)) == {"messages": messages, "n": 1}


@given(st.binary(max_size=120))
def test_any_bytes_are_left_alone(raw: bytes) -> None:
    for text in (raw, b'{"messages": ' + raw, b'{"input": [' + raw + b"]}"):
        account_bound.unsealed(Body(text), none)
        account_bound.without(Body(text), FIELDS)


@pytest.mark.parametrize(
    ("said", "refused"),
    [
        ("invalid_encrypted_content", True),
        ("The encrypted content for item rs_1 could not be verified.", True),
        ("Encrypted content could not be decrypted or parsed.", True),
        ("messages.1.content.0: Invalid `signature` in `thinking` block", True),
        ("Invalid signature in thinking block", True),
        ("Thought signature is not valid", True),
        ("Corrupted thought signature.", True),
        ("invalid thoughtSignature", True),
        ("Invalid request signature", False),
        ("max_tokens must be greater than thinking.budget_tokens", False),
        ("input_file is encrypted", False),
        ("", False),
    ],
)  # fmt: skip
def test_refusals_of_what_another_account_sealed(said: str, refused: bool) -> None:
    """A3: the words of three families for one thing."""
    assert account_bound.is_refused(said) is refused


USER = {"role": "user", "content": "hi"}
RESULT = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": "ok"}]}
MANAGED = {"edits": [{"type": "clear_tool_uses_20250919"}, {"type": "clear_thinking_20251015"}]}
ENABLED, DISABLED = {"type": "enabled", "budget_tokens": 1024}, {"type": "disabled"}


def said(*blocks: dict[str, Any]) -> dict[str, Any]:
    return {"role": "assistant", "content": list(blocks)}


@each_row("how", SPELLINGS)
@each_row(
    ("messages", "thinking_is", "becomes"),
    [
        ([USER, said(thinking("s"), CALL), RESULT], ENABLED, DISABLED),
        ([USER, said(thinking("s"), CALL), RESULT], {"type": "adaptive"}, {"type": "adaptive"}),
        ([USER, said(thinking("s"), CALL), RESULT], DISABLED, DISABLED),
        ([USER, said(CALL), RESULT, USER], ENABLED, DISABLED),
        ([USER, said(thinking("s"), CALL), RESULT, said(TEXT), USER], ENABLED, ENABLED),
        ([USER, said(thinking("s"), CALL), RESULT, said(thinking("mine"), CALL), RESULT], ENABLED, ENABLED),
        ([USER, said(thinking("mine"), CALL), RESULT, said(thinking("s"), CALL), RESULT], ENABLED, DISABLED),
        ([USER, said(thinking("s"), TEXT), USER], ENABLED, ENABLED),
        ([USER], ENABLED, ENABLED),
        ([], ENABLED, ENABLED),
        (["x", 1], ENABLED, ENABLED),
    ],
)
def test_a_tool_loop_without_its_thinking_goes_on_without(
    messages: Any, thinking_is: Any, becomes: Any, how: dict[str, Any]
) -> None:
    """A3: where thinking is `enabled`, the last turn of a tool loop must begin with it, so it is switched off."""
    body = {"context_management": MANAGED, "thinking": thinking_is, "messages": messages, "max_tokens": 9}
    told = json.loads(account_bound.unsealed(Body(json.dumps(body, **how).encode()), lambda blob: blob == "mine"))
    off = becomes == DISABLED != thinking_is

    assert told["thinking"] == becomes
    assert told["context_management"]["edits"] == MANAGED["edits"][: 1 if off else 2]
    assert told["max_tokens"] == 9


@pytest.mark.parametrize("raw", [b"", b"[1]", b"  ", b" " * 64 + b'{"workspace_id":"w"}'])
def test_what_is_no_object_at_its_beginning_stays(raw: bytes) -> None:
    workspace = next(each for each in FIELDS if each.member == "workspace_id")

    assert account_bound.without(Body(raw), [workspace]) == raw


def test_an_object_may_begin_after_blanks_and_a_header_stands_in_no_body() -> None:
    workspace = next(each for each in FIELDS if each.member == "workspace_id")
    header = next(each for each in FIELDS if each.header)
    blanks = b" \n" * 31 + b" "

    assert account_bound.without(Body(blanks + b'{"workspace_id":"w"}'), [workspace]) == blanks + b"{}"
    assert account_bound.without(Body(b'{"":"w"}'), [header]) == b'{"":"w"}'


def test_thinking_is_missed_in_the_words_of_the_provider() -> None:
    said = "messages.1.content.0.type: Expected `thinking` or `redacted_thinking`, but found `text`"
    assert account_bound.wants_thinking(said) and account_bound.wants_thinking(said.upper())
    assert not account_bound.wants_thinking("Expected a text, but found `thinking`")
