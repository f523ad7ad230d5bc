"""The calls of an answer: their names and arguments, however they come."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, strategies as st

from patchbay import dialects
from patchbay.answer.reader import AnswerReader
from patchbay.body import Body
from patchbay.identity.history import conversation_of
from patchbay.identity.turns import answer_turns
from patchbay.values.answer import Head
from patchbay.values.http import Headers

from ..each_row import each_row
from ..identity.talks import CHAT, GEMINI, MESSAGES, RESPONSES, Call, History, Reply, answer

PATHS = (CHAT, RESPONSES, MESSAGES, GEMINI)
TWO = (Call("call_1", "read_file", {"path": "src/été.py"}), Call("call_2", "grep", {"in": ["a", {"b": 1.5}], "n": 7}))
REPLIES = {
    "one": Reply(calls=TWO[:1], id="id_1"),
    "two": Reply(calls=TWO, id="id_1"),
    "text and two": Reply("Let me look.", TWO, id="id_1"),
    "no arguments": Reply(calls=(Call("call_1", "list_files", {}),), id="id_1"),
    "long": Reply(calls=(Call("call_1", "write", {"text": "line\n" * 400}),), id="id_1"),
}


def facts_of(path: str, reply: Reply, *, stream: bool, step: int = 0) -> dict[str, object]:
    """Read *reply* in pieces of *step* bytes; return the values of its facts by kind."""
    kind, body = answer(path, reply, stream=stream)
    reader = AnswerReader(dialects.endpoint("POST", path).dialect)
    facts = reader.head(Head(200, Headers([("content-type", kind)])))
    for at in range(0, len(body), step or len(body)):
        facts += reader.feed(body[at : at + (step or len(body))])
    return {fact.kind: fact.value for fact in [*facts, *reader.end()]}


@each_row("reply", REPLIES.values())
@each_row("stream", [False, True])
@each_row("path", PATHS)
def test_calls_are_told_once_at_the_end(path, stream, reply):
    told = facts_of(path, reply, stream=stream)["calls"]

    assert isinstance(told, tuple)
    assert [(name, json.loads(arguments or "{}")) for name, arguments in told] == [
        (call.name, call.arguments) for call in reply.calls
    ]


@pytest.mark.parametrize("path", PATHS)
def test_an_answer_without_calls_tells_none(path):
    for stream in (False, True):
        assert "calls" not in facts_of(path, Reply("Hello there.", id="id_1"), stream=stream)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("step", [1, 2, 7, 100])
def test_however_the_bytes_are_cut_it_is_the_same(path, step):
    reply = REPLIES["text and two"]

    assert facts_of(path, reply, stream=True, step=step)["calls"] == facts_of(path, reply, stream=True)["calls"]


@each_row("reply", REPLIES.values())
@each_row("stream", [False, True])
@each_row("path", PATHS)
def test_a_later_request_has_the_turns_that_the_answer_foretold(path, stream, reply):
    """I1: whatever ids a framework writes, the answer is known by what it calls."""
    found = facts_of(path, reply, stream=stream)
    history = History(path)
    history.say("hi")
    history.hear(reply, [f"mine_{number}" for number in range(len(reply.calls))])
    turns = conversation_of(Body(json.dumps(history.body()).encode())).turns[1:]

    foretold = answer_turns(str(found.get("text", "")), found["calls"], apart=path == RESPONSES)  # type: ignore[arg-type]
    assert [turn.digest for turn in turns] == list(foretold)


@pytest.mark.parametrize("path", (CHAT, MESSAGES))
def test_arguments_in_many_pieces_are_put_together_though_not_each_is_read(path):
    text = "".join(f"word {number} " for number in range(300))
    arguments = json.dumps({"text": text})
    pieces = [arguments[at : at + 9] for at in range(0, len(arguments), 9)]
    events: list[dict[str, object]]
    if path == CHAT:
        function = {"name": "write", "arguments": ""}
        deltas = [{"tool_calls": [{"index": 0, "id": "call_1", "function": function}]}]
        deltas += [{"tool_calls": [{"index": 0, "function": {"arguments": piece}}]} for piece in pieces]
        events = [{"id": "c", "choices": [{"index": 0, "delta": delta}]} for delta in deltas]
        events.append({"id": "c", "choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]})
    else:
        block = {"type": "tool_use", "id": "toolu_1", "name": "write", "input": {}}
        events = [{"type": "content_block_start", "index": 0, "content_block": block}]
        events += [
            {"type": "content_block_delta", "index": 0, "delta": {"type": "input_json_delta", "partial_json": piece}}
            for piece in pieces
        ]
        events.append({"type": "message_stop"})
    reader = AnswerReader(dialects.endpoint("POST", path).dialect)
    reader.head(Head(200, Headers([("content-type", "text/event-stream")])))
    facts = [fact for event in events for fact in reader.feed(b"data: " + json.dumps(event).encode() + b"\n\n")]
    told = {fact.kind: fact.value for fact in [*facts, *reader.end()]}

    assert told["calls"] == (("write", arguments),)
    assert "text" not in told


def test_arguments_beyond_what_is_kept_are_not_told():
    reader = AnswerReader("anthropic", keep_text=100)
    kind, body = answer(MESSAGES, REPLIES["long"], stream=True)
    reader.head(Head(200, Headers([("content-type", kind)])))

    assert "calls" not in {fact.kind for fact in [*reader.feed(body), *reader.end()]}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["type", "choices", "delta", "tool_calls", "index", "function", "name", "arguments", "output",
                         "content", "content_block", "item", "object", "candidates", "parts", "functionCall", "args"]),
        inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


@given(data=st.dictionaries(st.sampled_from(["type", "choices", "content", "output", "candidates", "item"]), JSON))
def test_whatever_an_answer_is_reading_it_does_not_raise(data):
    for dialect in ("openai_chat", "anthropic", "openai_responses", "gemini", "none"):
        list(dialects.of(dialect).read_calls(data))
