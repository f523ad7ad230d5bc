"""Whatever a body holds is in its transcript, and no body makes the reader fail."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from patchbay import dialects
from patchbay.transcript import of_answer, of_messages, of_request, reading
from patchbay.transcript.reading import MOST_EVENTS

from .completeness import missing
from .conversations import ANSWERS, REQUESTS, STREAMS, sse
from .test_streams import comparable

DIALECTS = ["", *dialects.BY_NAME]
FEW = settings(max_examples=25)  # of each; `scripts/transcripts --fuzz` tries as many as wanted


@pytest.mark.parametrize(("dialect", "bodies"), REQUESTS)
def test_nothing_of_a_conversation_is_lost(dialect: str, bodies: st.SearchStrategy[Any]) -> None:
    @FEW
    @given(bodies)
    def check(body: Any) -> None:
        found = of_request(json.dumps(body).encode(), dialect)
        assert missing(body, found) == []
        assert not found.other

    check()


@pytest.mark.parametrize(("dialect", "bodies"), ANSWERS)
def test_nothing_of_an_answer_is_lost(dialect: str, bodies: st.SearchStrategy[Any]) -> None:
    @FEW
    @given(bodies)
    def check(body: Any) -> None:
        assert missing(body, of_answer(json.dumps(body).encode(), dialect)) == []

    check()


@pytest.mark.parametrize(("dialect", "streams"), STREAMS)
def test_a_stream_however_it_is_cut_into_deltas_reads_as_the_whole(
    dialect: str, streams: st.SearchStrategy[Any]
) -> None:
    @FEW
    @given(streams)
    def check(stream: Any) -> None:
        whole, events = stream
        found = of_answer(sse(events), dialect, "", "text/event-stream")
        assert comparable(found, is_cut=False) == comparable(of_answer(json.dumps(whole).encode(), dialect))
        assert missing(whole, found) == []
        assert found == of_messages([json.dumps(event).encode() for event in events], dialect)

    check()


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("of_body", [of_request, of_answer])
def test_no_bytes_make_it_fail(dialect: str, of_body: Any) -> None:
    @FEW
    @given(st.binary(max_size=200) | st.text(max_size=100).map(str.encode))
    def check(body: bytes) -> None:
        for kind in ("application/json", "text/event-stream", ""):
            of_body(body, dialect, "", kind)

    check()


@pytest.mark.parametrize(("dialect", "bodies"), [*REQUESTS, *ANSWERS])
def test_no_wrong_type_makes_it_fail(dialect: str, bodies: st.SearchStrategy[Any]) -> None:
    """A value anywhere in a body is of another type: the body is still read, and nothing else of it is lost."""

    @FEW
    @given(bodies, st.randoms(use_true_random=False))
    def check(body: Any, chance: random.Random) -> None:
        wrong = mutated(body, chance)
        for found in (of_request(json.dumps(wrong).encode(), dialect), of_answer(json.dumps(wrong).encode(), dialect)):
            assert not any(detail.name == "body" for detail in found.other) or not isinstance(wrong, dict)
            assert missing(wrong, found) == []

    check()


@pytest.mark.parametrize(("dialect", "streams"), STREAMS)
def test_no_wrong_event_makes_it_fail(dialect: str, streams: st.SearchStrategy[Any]) -> None:
    @FEW
    @given(streams, st.randoms(use_true_random=False))
    def check(stream: Any, chance: random.Random) -> None:
        events = [mutated(event, chance) if chance.random() < 0.3 else event for event in stream[1]]
        chance.shuffle(events) if chance.random() < 0.3 else None
        found = of_answer(sse(events), dialect, "", "text/event-stream")
        assert not any(detail.name == "body" for detail in found.other)

    check()


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize(
    "body",
    [
        b'{"messages":' + b"[" * 100_000, b'{"messages":' + b"[" * 900 + b"]" * 900 + b"}",
        b'{"messages":' + b'{"a":' * 900 + b"1" + b"}" * 901, b'{"a":"\\ud800", "messages": [{"role": "\\udfff"}]}',
        b'{"temperature": NaN, "n": Infinity, "x": 1e999, "y": ' + b"9" * 6000 + b"}",
        b'{"model": "a", "model": "b", "messages": [], "messages": 1}', b"\xef\xbb\xbf{}", b"\xff\xfe{\0}\0", b"[]",
        b"[[]]",
        b"null", b"1", b'"x"', b"", b"data: ", b"data:\n\n", b"event: x\n\n", b"[1", b"[{", b'[{"a": 1}',
        b'{"a": 1}{"b": 2}',
        b"<html>", b"data: [1]\n\ndata: null\n\ndata: 1\n\ndata: \"x\"\n\n",
    ],
    ids=range(23),
)  # fmt: skip
def test_no_odd_body_makes_it_fail(dialect: str, body: bytes) -> None:
    for kind in ("application/json", "text/event-stream", "text/plain"):
        of_request(body, dialect, "", kind)
        of_answer(body, dialect, "", kind)
    of_messages([body, body], dialect)


def mutated(body: Any, chance: random.Random) -> Any:
    """Return a copy of *body* in which one value is another one."""
    places = [*_places(body, ())]
    where = chance.choice(places)
    instead = chance.choice(
        ["odd words", 4711, 0.25, True, None, [], {}, ["odd"], {"odd": "words"}, [{"type": 1}], [None]]
    )
    return _replaced(body, where, instead)


def _places(value: Any, at: tuple[Any, ...]) -> Any:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, each in inner:
        yield (*at, name)
        yield from _places(each, (*at, name))


def _replaced(value: Any, where: tuple[Any, ...], instead: Any) -> Any:
    if not where:
        return instead
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[where[0]] = _replaced(value[where[0]], where[1:], instead)
    return copy


PLAIN = {
    "anthropic": (
        {"messages": [
            {"role": "user", "content": [{"type": "text", "text": "hi"}]},
            {"role": "assistant", "content": [{"type": "tool_use", "id": "t1", "name": "Read", "input": {"a": 1}}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1", "content": "done"}]},
        ]}
    ),
    "openai_chat": (
        {"messages": [
            {"role": "user", "content": "hi"},
            {"role": "user", "content": [{"type": "text", "text": "hi"}]},
            {"role": "assistant", "content": None, "tool_calls": [
                {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
            ]},
            {"role": "tool", "tool_call_id": "c1", "content": "done"},
        ]}
    ),
    "openai_responses": (
        {"input": [
            {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hi"}]},
            {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c1", "output": "done"},
        ]}
    ),
    "gemini": (
        {"contents": [
            {"role": "user", "parts": [{"text": "hi"}]},
            {"role": "model", "parts": [{"functionCall": {"name": "f", "args": {"a": 1}}}]},
            {"role": "user", "parts": [{"functionResponse": {"name": "f", "response": {"output": "done"}}}]},
        ]}
    ),
}  # fmt: skip


@pytest.mark.parametrize("dialect", PLAIN)
def test_the_plain_forms_which_are_read_faster_read_as_all_others(dialect: str) -> None:
    plain = of_request(json.dumps(PLAIN[dialect]).encode(), dialect)
    longer = of_request(json.dumps(_with_nulls(PLAIN[dialect])).encode(), dialect)

    assert plain == longer
    assert {"text", "call", "result"} == {block.kind for turn in plain.turns for block in turn.blocks}
    assert all(block.name for turn in plain.turns for block in turn.blocks if block.kind == "result")


def _with_nulls(value: Any, name: str = "") -> Any:
    """Return *value* with a member in each object that says nothing; arguments stay as they are."""
    if isinstance(value, list):
        return [_with_nulls(each) for each in value]
    if not isinstance(value, dict) or (name in ("args", "response") or (name == "input" and "a" in value)):
        return value
    return {**{inner: _with_nulls(each, inner) for inner, each in value.items()}, "nothing": None}


ERRORS = [
    ("openai_chat", {"error": {"message": "no such key", "type": "invalid_request_error", "code": "invalid_api_key"}}),
    ("openai_chat", [{"error": {"message": "no such key", "code": 400}}]),
    ("openai_chat", {"error": "no such key", "code": "x"}),
    ("openai_chat", {"object": "error", "message": "no such key", "type": "NotFound"}),
    ("openai_responses", {"id": "r", "object": "response", "status": "failed", "error": {"message": "no such key"}}),
    ("openai_responses", {"type": "error", "message": "no such key", "code": "c"}),
    ("anthropic", {"type": "error", "error": {"type": "api_error", "message": "no such key"}, "request_id": "req"}),
    ("gemini", {"error": {"code": 400, "message": "no such key", "details": [{"@type": "x", "retryDelay": "3s"}]}}),
    ("gemini", [{"error": {"code": 400, "message": "no such key"}}]),
    ("anthropic", {"message": "no such key"}),
    ("", {"detail": "no such key"}),
    ("", {"error": "invalid_request", "error_description": "no such key"}),
]


@pytest.mark.parametrize(("dialect", "body"), ERRORS)
def test_an_error_of_any_shape_says_its_sentence(dialect: str, body: Any) -> None:
    found = of_answer(json.dumps(body).encode(), dialect)

    assert found.error and "no such key" in (found.error.message, *(each.value for each in found.error.details))
    assert missing(body, found) == []


@pytest.mark.parametrize(("dialect", "body"), [each for each in ERRORS if isinstance(each[1], dict)])
def test_an_error_in_a_stream_is_its_end(dialect: str, body: Any) -> None:
    found = of_answer(sse([body]), dialect, "", "text/event-stream")

    assert missing(body, found) == []
    assert found.is_stream and (found.error is None or not found.is_cut)


OTHERS = [
    ("/completions", {"model": "m", "prompt": "once upon"}, {"choices": [{"index": 0, "text": "a time"}]}, "a time"),
    ("/embeddings", {"model": "m", "input": ["once upon"]}, {"object": "list", "data": [
        {"object": "embedding", "index": 0, "embedding": [0.5, 0.25]}]}, "[0.5,0.25]"),
    ("/audio/transcriptions", {"model": "m", "prompt": "once upon"}, {"text": "a time"}, "a time"),
]  # fmt: skip


@pytest.mark.parametrize(("suffix", "request_", "answer", "text"), OTHERS)
def test_what_is_no_chat_is_read_too(suffix: str, request_: Any, answer: Any, text: str) -> None:
    asked = of_request(json.dumps(request_).encode(), "openai_chat", suffix)
    found = of_answer(json.dumps(answer).encode(), "openai_chat", suffix)

    assert [block.text for turn in asked.turns for block in turn.blocks] == ["once upon"]
    assert [block.text for turn in found.turns for block in turn.blocks] == [text]


@pytest.mark.parametrize("asked", ["anthropic", "gemini", ""])
def test_an_answer_in_the_shape_of_another_dialect_is_read_as_that(asked: str) -> None:
    chunk = {"choices": [{"index": 0, "delta": {"content": "not for you"}}]}
    found = of_answer(sse([chunk]), asked, "", "text/event-stream")

    assert [block.text for turn in found.turns for block in turn.blocks] == ["not for you"]


def test_a_stream_of_very_many_events_is_read_in_part_and_says_so() -> None:
    """A page of it is made on an event loop."""
    event = b'data: {"choices":[{"delta":{"content":"x"}}]}\n\n'
    whole, longer = (of_answer(event * (MOST_EVENTS + more), "openai_chat") for more in (0, 1))

    assert not whole.other and len(longer.turns[0].blocks[0].text) == MOST_EVENTS
    assert "50,000 events" in str(longer.other[-1].value) and longer.is_cut


def values(value: Any) -> int:
    """Return how many entries and members *value* holds, at any depth."""
    inner = value if isinstance(value, list) else [*value.values()] if isinstance(value, dict) else []
    return len(inner) + sum(map(values, inner))


JSON = st.recursive(
    st.none() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=4),
    max_leaves=30,
)


@given(st.dictionaries(st.text(max_size=3), JSON, max_size=4), st.integers(1, 12))
def test_no_more_values_are_read_than_are_allowed(body: Any, most: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reading, "MOST_VALUES", most)
        patch.setattr(reading, "MANY_COMMAS", most)
        text = json.dumps(body).encode()
        reader = reading.Reader(text, "", "")
        kept = reader._parsed(text)

    if text.count(b",") <= most:
        assert kept == body
    else:
        assert values(kept) == min(values(body), most)
        assert (reader._unread > 0) == (values(body) > most)


def test_a_bounded_list_keeps_its_end_and_leaves_room_for_what_is_short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "MOST_VALUES", 20)
    monkeypatch.setattr(reading, "MANY_COMMAS", 20)
    messages = [{"role": "user", "content": "old"}, {"role": "user", "content": "new"}]
    found = of_request(json.dumps({"tools": [{}] * 100, "model": "m", "messages": messages}).encode(), "openai_chat")

    assert [turn.blocks[0].text for turn in found.turns] == ["old", "new"]
    assert len(found.tools) == 11  # three members of the body, two turns and four members of theirs
    assert [(each.name, each.value) for each in found.other] == [
        ("not read", "89 values, of each list the first ones: 20 are read")
    ]

    newest = of_request(json.dumps({"messages": [{"role": "user", "content": str(n)} for n in range(99)]}).encode())
    assert newest.turns[-1].blocks[0].text == "98"


def test_commas_in_texts_bound_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "MOST_VALUES", 20)
    monkeypatch.setattr(reading, "MANY_COMMAS", 20)
    found = of_request(json.dumps({"messages": [{"role": "user", "content": "," * 500}]}).encode(), "openai_chat")

    assert found.turns[0].blocks[0].text == "," * 500 and not found.other


def test_the_events_of_a_stream_share_one_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "MOST_VALUES", 20)
    monkeypatch.setattr(reading, "MANY_COMMAS", 20)
    events = [{"choices": [{"index": 0, "delta": {"content": f"{n}"}}]} for n in range(30)]
    found = of_answer(b"".join(b"data: %s\n\n" % json.dumps(each).encode() for each in events), "openai_chat")

    assert found.turns[0].blocks[0].text == "0123" and "not read" in {each.name for each in found.other}
