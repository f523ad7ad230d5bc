"""An event that is like the last one is not read, and nobody can tell."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest
from hypothesis import given, strategies as st
from msgspec.structs import replace

from patchbay.answer import delta_skip, reader
from patchbay.answer.delta_skip import Delta
from patchbay.answer.reader import AnswerReader
from patchbay.answer.sse import Event
from patchbay.values.account import Echo
from patchbay.values.answer import Fact, Head
from patchbay.values.http import Headers

from ..each_row import each_row

HEAD = Head(200, Headers((("content-type", "text/event-stream"),)))


def chat(text: str, name: str = "chatcmpl-1", **more: object) -> dict[str, object]:
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": None, **more}
    return {"id": name, "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}


def message(text: str, index: int = 0) -> dict[str, object]:
    return {"type": "content_block_delta", "index": index, "delta": {"type": "text_delta", "text": text}}


def response(text: str, number: int, kind: str = "output_text", **more: object) -> dict[str, object]:
    return {"type": f"response.{kind}.delta", "sequence_number": number, "item_id": "i", "delta": text, **more}


def stream(events: list[dict[str, object]], *, ascii_only: bool = True) -> bytes:
    return b"".join(
        b"event: %s\ndata: %s\n\n"
        % (str(event.get("type", "message")).encode(), json.dumps(event, ensure_ascii=ascii_only).encode())
        for event in events
    )


def read(dialect: str, data: bytes) -> tuple[list[Fact], list[Fact]]:
    """Return what is found in *data*, and what is found when every event is read."""
    both = []
    for misses in (0, delta_skip.MISSES):
        reader = AnswerReader(dialect, Echo(body={"request_id": "body"}))
        reader._delta_skip._misses = misses
        both.append([*reader.head(HEAD), *reader.feed(data), *reader.end()])
    return both[0], both[1]


WORDS = st.sampled_from(["a", "m", "chatcmpl-1", "text", '"', "\\", "\n", "ü", "\0", '","id":"x', "", "long " * 9])
PADDING = st.sampled_from(["", "a", "bc", '"', "\\"])
CHAT = st.one_of(
    st.builds(lambda text, padding: chat(text) | {"obfuscation": padding}, WORDS, PADDING),
    st.builds(
        lambda text: {"id": "c", "choices": [{"delta": {"tool_calls": [{"function": {"arguments": text}}]}}]}, WORDS
    ),
    st.builds(lambda text, echo: chat(text) | {"request_id": echo}, WORDS, st.sampled_from(["a", "b"])),
    st.builds(chat, WORDS),
    st.builds(chat, WORDS, st.sampled_from(["chatcmpl-1", "chatcmpl-2"])),
    st.builds(chat, WORDS, finish_reason=st.sampled_from([None, "stop"])),
    st.builds(chat, WORDS, index=st.sampled_from([0, 1])),
    st.just({"id": "chatcmpl-1", "choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 4}}),
)
ANTHROPIC = st.one_of(
    st.builds(message, WORDS, st.sampled_from([0, 1])),
    st.just({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}),
    st.just({"type": "content_block_stop", "index": 0}),
    st.builds(
        lambda text: {"type": "content_block_delta", "index": 1, "delta": {"type": "thinking_delta", "thinking": text}},
        WORDS,
    ),
)
KINDS = st.sampled_from(["output_text", "function_call_arguments", "reasoning_summary_text"])
RESPONSES = st.one_of(
    st.builds(response, WORDS, st.integers(0, 20), KINDS),
    st.builds(response, WORDS, st.integers(0, 20), KINDS, obfuscation=PADDING),
    st.builds(lambda text, item, number: response(text, number, item_id=item), WORDS, st.sampled_from(["i", "j"]),
              st.integers(0, 20)),
    st.just({"type": "response.completed", "sequence_number": 9, "response": {"id": "r", "status": "completed"}}),
    st.just({"type": "response.output_item.added", "sequence_number": 3, "item": {"id": "i", "type": "message"}}),
)  # fmt: skip


@given(st.lists(CHAT, max_size=12), st.booleans())
def test_a_chat_is_read_alike(events, ascii_only):
    found, whole = read("openai_chat", stream(events, ascii_only=ascii_only))
    assert found == whole


@given(st.lists(ANTHROPIC, max_size=12), st.booleans())
def test_a_message_is_read_alike(events, ascii_only):
    found, whole = read("anthropic", stream(events, ascii_only=ascii_only))
    assert found == whole


@given(st.lists(RESPONSES, max_size=12), st.booleans())
def test_a_response_is_read_alike(events, ascii_only):
    found, whole = read("openai_responses", stream(events, ascii_only=ascii_only))
    assert found == whole


@pytest.mark.parametrize(
    ("dialect", "event"),
    [
        ("openai_chat", lambda number, text: chat(text)),
        ("openai_chat", lambda number, text: chat(text) | {"usage": None, "obfuscation": "x" * (number % 7)}),
        ("anthropic", lambda number, text: message(text)),
        ("openai_responses", lambda number, text: response(text, number, logprobs=[], obfuscation=str(number))),
    ],
)
def test_nearly_all_events_of_a_stream_are_not_read(dialect, event, monkeypatch):
    decoded: list[bytes] = []
    sound = reader._json
    monkeypatch.setattr(reader, "_json", lambda data: decoded.append(data) or sound(data))
    said = [f"word {number} " for number in range(100)]
    answer = AnswerReader(dialect)
    facts = [*answer.head(HEAD), *answer.feed(stream([event(*each) for each in enumerate(said)])), *answer.end()]

    assert len(decoded) <= 3
    assert Fact("text", "".join(said)) in facts


def test_an_id_that_changes_under_the_same_text_is_seen():
    events = [chat("same"), chat("same"), chat("same"), chat("same", "chatcmpl-2"), chat("same")]
    found, whole = read("openai_chat", stream(events))
    assert [fact.value for fact in found if fact.kind == "id"] == ["chatcmpl-1", "chatcmpl-2", "chatcmpl-1"]
    assert found == whole


def test_a_text_that_is_written_in_two_places_is_no_form():
    known = delta_skip.DeltaSkip()
    text = [Fact("text", "m")]
    known.learn(Event("", b'{"model":"m","text":"m"}'), {}, "message", text, lambda name, data: text)
    assert known.match(Event("", b'{"model":"m","text":"x"}')) is None


def test_a_text_that_is_spelled_otherwise_is_no_form():
    known = delta_skip.DeltaSkip()
    known.learn(
        Event("", b'{"model":"c","text":"\\u0063"}'),
        {},
        "message",
        [Fact("text", "c")],
        lambda name, data: [Fact("text", data["text"])],
    )
    assert known.match(Event("", b'{"model":"x","text":"\\u0063"}')) is None


def test_a_form_that_never_comes_again_is_not_looked_for_for_ever():
    known, tried = delta_skip.DeltaSkip(), 0

    def reads(name, data):
        nonlocal tried
        tried += 1
        return [Fact("text", data["text"])]

    for number in range(50):
        event = Event("", b'{"n":%d,"text":"x"}' % number)
        assert known.match(event) is None
        known.learn(event, {}, "message", [Fact("text", "x")], reads)
    assert tried == delta_skip.MISSES


def learned(data: dict[str, object], found: Sequence[Fact] = (), spelled: str = "") -> delta_skip.DeltaSkip:
    """Return what has learned the event *data*, which is read as *found*; the text fact is read from `delta`."""
    skip = delta_skip.DeltaSkip()

    def read(name: str, changed: dict[str, object]) -> list[Fact]:
        return [replace(fact, value=changed["delta"]) if fact.kind in ("text", "arguments") else fact for fact in found]

    skip.learn(Event("", (spelled or json.dumps(data)).encode()), data, "message", found, read)
    return skip


def wrapped(member: str, text: object) -> list[dict[str, object]]:
    """Return events of each shape whose delta has *text* as its *member*."""
    delta = {"kind": 7, member: text}
    return [
        {"delta": delta},
        {"choices": [{"delta": delta}]},
        {"delta": {"tool_calls": [{"function": delta}]}},
        {"choices": [{"delta": {"tool_calls": [{"function": delta}]}}]},
    ]


MEMBERS = ["text", "content", "partial_json", "thinking", "reasoning_content", "reasoning", "arguments"]


@pytest.mark.parametrize("member", MEMBERS)
def test_a_delta_that_tells_nothing_is_known_by_each_member_for_text(member: str) -> None:
    shapes = zip(wrapped(member, "one"), wrapped(member, "two"), strict=True)
    for first, second in (*shapes, ({"delta": "one"}, {"delta": "two"})):
        assert learned(first).match(Event("", json.dumps(second).encode())) == Delta("", None)


@each_row(
    "data",
    [
        *wrapped("content", ""), *wrapped("content", ["one"]), *wrapped("signature", "one"), {"delta": 1}, {},
        {"choices": [{"delta": {"content": "one"}}] * 2}, {"choices": {"delta": {"content": "one"}}}, {"choices": []},
        {"choices": ["one"]}, {"choices": [{"delta": ["one"]}]}, {"choices": "x"},
        {"delta": {"tool_calls": [{"function": {"arguments": "one"}}, {"function": {"arguments": "two"}}]}},
        {"delta": {"tool_calls": ["x"]}}, {"delta": {"tool_calls": "x"}}, {"delta": {"tool_calls": []}},
        {"delta": {"tool_calls": [{"function": "x", "content": "one"}]}, "x": "x"},
    ],
)  # fmt: skip
def test_an_event_without_one_delta_of_text_is_no_form(data: dict[str, object]) -> None:
    assert learned(data).match(Event("", json.dumps(data).encode())) is None


@pytest.mark.parametrize(
    ("number", "matches"),
    [("6", True), ("9" * 12, True), ("9" * 13, False), ("x", False), ("", False), ("-1", False), ("1.5", False)],
)
def test_a_sequence_number_is_up_to_twelve_digits(number: str, matches: bool) -> None:
    skip = learned(response("one", 5), [Fact("text", "one")])
    data = json.dumps(response("two", 5)).replace(": 5", f": {number}").encode()

    assert skip.match(Event("", data)) == (Delta("two", int(number)) if matches else None)


@pytest.mark.parametrize(
    ("found", "delta"),
    [
        ([Fact("text", "one")], Delta("two", None)),
        ([Fact("arguments", "one", "3")], Delta("two", None, "3")),
        ([Fact("content", "text"), Fact("text", "one")], Delta("two", None)),
        ([], Delta("", None)),
        ([Fact("text", "one"), Fact("text", "one")], None),
        *(([Fact("text", "one"), Fact(kind, "x")], None) for kind in ("finish", "end", "error", "usage", "called")),
    ],
)
def test_a_delta_is_the_text_or_goes_to_its_call(found: list[Fact], delta: Delta | None) -> None:
    assert learned({"delta": "one"}, found).match(Event("", b'{"delta": "two"}')) == delta


@pytest.mark.parametrize(
    ("event", "matches"),
    [
        (Event("", b'{"delta": "two", "obfuscation": "zzz", "n": 1}'), True),
        (Event("", b'{"delta": "two\\n", "obfuscation": "", "n": 1}'), True),
        (Event("x", b'{"delta": "two", "obfuscation": "zzz", "n": 1}'), False),
        (Event("", b'{"delta": "two", "obfuscation": "zzz", "n": 12}'), False),
        (Event("", b'{"delta": "two", "obfuscation": "zzz", "n": 1} '), False),
        (Event("", b'{"delta":  "two", "obfuscation": "zzz", "m": 1}'), False),
        (Event("", b'{"delta": "", "obfuscation": "zzz", "n": 1}'), False),
        (Event("", b'{"delta": two, "obfuscation": "zzz", "n": 1}'), False),
        (Event("", b'{"delta": "tw\xff", "obfuscation": "zzz", "n": 1}'), False),
        (Event("", b'{"delta": "two", "obfuscation": "z"z", "n": 1}'), False),
        (Event("", b'{"delta": , "obfuscation": "zzz", "n": 1}'), False),
        (Event("", b'{"Delta": "two", "obfuscation": "zzz", "n": 1}'), False),
    ],
)
def test_only_the_text_and_its_padding_may_differ(event: Event, matches: bool) -> None:
    data = {"delta": "one", "obfuscation": "xy", "n": 1}
    found = learned(data, [Fact("text", "one")]).match(event)

    assert (found is not None) is matches
    assert found is None or found.text == json.loads(event.data)["delta"]


@pytest.mark.parametrize(
    "spelled",
    [
        '{"sequence_number": "5", "delta": "one"}', '{"sequence_number": null, "delta": "one"}',
        '{"sequence_number": 5.5, "delta": "one"}', '{"sequence_number": -5, "delta": "one"}',
        '{"x": {"sequence_number": 5}, "delta": "one"}', '{"obfuscation": "one", "delta": "\\u006fne"}',
        '{"one": 1, "delta": "\\u006fne"}', '{"delta": "\\u006fne"}', '{"delta": "one", "again": "one"}',
    ],
)  # fmt: skip
def test_an_event_whose_holes_are_not_where_they_seem_is_no_form(spelled: str) -> None:
    skip = learned(json.loads(spelled), [Fact("text", "one")], spelled)

    assert skip.match(Event("", spelled.encode())) is None


def test_half_a_character_is_no_form() -> None:
    assert learned({"delta": "\ud800"}, [Fact("text", "\ud800")]).match(Event("", b'{"delta": "\\ud800"}')) is None


@pytest.mark.parametrize(("spelled", "matches"), [('"obfuscation": "x", ' * 2, False), ('"obfuscation": 7, ', True)])
def test_padding_is_one_text(spelled: str, matches: bool) -> None:
    """Two members of the same name, or one that is no text, may not differ."""
    whole = "{" + spelled + '"delta": "one"}'
    skip = learned(json.loads(whole), [Fact("text", "one")], whole)

    assert skip.match(Event("", whole.replace("one", "two").encode())) == Delta("two", None)
    assert skip.match(Event("", whole.replace('"x"', '"y"', 1).replace("7", "8").encode())) is None


@pytest.mark.parametrize(("unmatched", "learns"), [(7, True), (8, False)])
def test_after_eight_forms_that_never_matched_none_is_learned(unmatched: int, learns: bool) -> None:
    skip, found = delta_skip.DeltaSkip(), [Fact("text", "one")]

    def learn(spelled: bytes) -> Event:
        skip.learn(Event("", spelled), {}, "", found, lambda name, data: [Fact("text", data["delta"])])
        return Event("", spelled)

    for _ in range(20):
        assert skip.match(learn(b'{"delta": "one"}')) is not None
    for number in range(unmatched):
        learn(b'{"n": %d, "delta": "one"}' % number)
    assert (skip.match(learn(b'{"delta": "one"}')) is not None) is learns
