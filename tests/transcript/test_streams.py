"""A stream reads as the answer that is not streamed does, and at every cut as the begin of it."""

from __future__ import annotations

import json

import pytest
from msgspec.structs import replace

from patchbay.transcript import of_answer, of_messages
from patchbay.values.transcript import Block, Transcript

from ..simulator.dialects import DIALECTS as SIMULATED
from ..simulator.reply import Tool
from .answers import NAMES, TOOL, bytes_of, events_of, other_reply, reply, sse
from .completeness import missing

CASES = [(name, tool) for name in NAMES for tool in (None, TOOL)]


@pytest.mark.parametrize(("name", "tool"), CASES)
def test_a_stream_reads_as_a_whole_answer(name: str, tool: Tool | None) -> None:
    whole = json.dumps(SIMULATED[name].whole(reply(name, tool))).encode()

    buffered = of_answer(whole, NAMES[name], "", "application/json")
    streamed = of_answer(sse(name, tool), NAMES[name], "", "text/event-stream")

    assert buffered.turns and buffered.usage and buffered.model == "m-2"
    assert comparable(streamed) == comparable(buffered)
    assert (streamed.is_stream, streamed.is_cut, buffered.is_stream) == (True, False, False)


@pytest.mark.parametrize(("name", "tool"), CASES)
def test_a_stream_that_is_cut_reads_as_the_begin_of_the_whole(name: str, tool: Tool | None) -> None:
    data, whole = sse(name, tool), said(of_answer(sse(name, tool), NAMES[name], "", "text/event-stream"))

    for cut in range(len(data)):
        found = of_answer(data[:cut], NAMES[name], "", "text/event-stream")
        assert whole.startswith(said(found)), cut
        assert all(each.name.rpartition(".")[2] in ("data", "body") for each in found.other)  # the last event, cut


@pytest.mark.parametrize(("name", "tool"), CASES)
def test_each_event_of_a_stream_is_in_it(name: str, tool: Tool | None) -> None:
    found = of_answer(sse(name, tool), NAMES[name], "", "text/event-stream")

    lost = [each for _, event in events_of(name, tool) if isinstance(event, dict) for each in missing(event, found)]

    assert {*lost} <= {("status", "in_progress")}


@pytest.mark.parametrize("tool", [None, TOOL])
def test_the_messages_of_a_websocket_read_as_the_stream(tool: Tool | None) -> None:
    messages = [bytes_of(data) for _, data in events_of("responses", tool)]

    assert of_messages(messages, "openai_responses") == of_answer(
        sse("responses", tool), "openai_responses", "", "text/event-stream"
    )


@pytest.mark.parametrize("tool", [None, TOOL])
def test_an_array_that_grows_reads_as_events(tool: Tool | None) -> None:
    elements = [data for _, data in events_of("gemini", tool)]
    body = json.dumps(elements, indent=2).encode()

    assert of_answer(body, "gemini") == of_answer(sse("gemini", tool), "gemini", "", "text/event-stream")
    cut = of_answer(body[: -len(b"}\n]")], "gemini")
    assert cut.is_cut and cut.is_stream == (len(elements) > 1)


def comparable(found: Transcript, **same: bool) -> Transcript:
    turns = tuple(replace(turn, blocks=tuple(map(_compact, turn.blocks))) for turn in found.turns)
    usage = tuple(sorted((each for each in found.usage if "at_start" not in each.name), key=lambda each: each.name))
    settings = tuple(sorted(found.settings, key=lambda each: each.name))
    return replace(found, turns=turns, usage=usage, settings=settings, is_stream=False, **same)


def _compact(block: Block) -> Block:
    try:
        return replace(block, text=json.dumps(json.loads(block.text))) if block.kind == "call" else block
    except ValueError:  # cut, or no JSON at all
        return block


def said(found: Transcript) -> str:
    return "".join(_compact(block).text for turn in found.turns for block in turn.blocks)


@pytest.mark.parametrize("name", ["responses", "anthropic"])
def test_two_answers_in_one_stream_are_both_in_it(name: str) -> None:
    first, second = events_of(name, TOOL), json.loads(json.dumps(SIMULATED[name].events(other_reply(name))))
    messages = [bytes_of(data) for _, data in (*first, *second)]
    found = of_messages(messages, NAMES[name])

    lost = [each for _, event in (*first, *second) for each in missing(event, found)]

    assert {*lost} <= {("status", "in_progress")}


def test_calls_that_share_an_index_stay_apart() -> None:
    """Some servers number every call of one answer with 0; others send them in any order."""
    calls = [(0, "a", "one"), (0, "b", "two"), (5, "c", "three"), (1, "d", "four")]
    deltas = [
        {"index": index, "id": call, "type": "function", "function": {"name": name, "arguments": "{}"}}
        for index, call, name in calls
    ]
    events = [{"choices": [{"index": 0, "delta": {"tool_calls": [delta]}}]} for delta in deltas]
    found = of_messages([bytes_of(event) for event in events], "openai_chat")

    assert [(block.id, block.name) for block in found.turns[0].blocks] == [(call, name) for _, call, name in calls]


def test_steps_of_a_stream_that_lacks_its_begin_are_read() -> None:
    events = [
        {"event_type": "step.delta", "index": 0, "delta": {"type": "text", "text": piece}} for piece in ("a", "b")
    ]
    found = of_messages([bytes_of(event) for event in events], "gemini")

    assert [block.text for block in found.turns[0].blocks] == ["ab"]
    assert found.is_cut


def test_of_many_events_that_cannot_be_read_the_number_is_told() -> None:
    events = [b'{"type": "weird", "x": %d}' % number for number in range(10_010)]
    found = of_messages(events, "anthropic")

    assert len(found.other) == 10_001
    assert (found.other[-1].name, found.other[-1].value) == ("more.events", 10)


def test_a_text_that_differs_from_its_deltas_is_kept_with_them() -> None:
    """A host that mixes two answers may show it only there."""
    place = {"output_index": 0, "item_id": "i", "content_index": 0}
    item = {"type": "message", "id": "i", "role": "assistant", "content": [{"type": "output_text", "text": "mine"}]}
    events = [
        {"type": "response.output_text.delta", **place, "delta": "not "},
        {"type": "response.output_text.delta", **place, "delta": "mine at all"},
        {"type": "response.completed", "response": {"id": "r", "status": "completed", "output": [item]}},
    ]
    found = of_messages([bytes_of(event) for event in events], "openai_responses")

    assert [block.text for block in found.turns[0].blocks] == ["mine"]
    assert any("not mine at all" in str(each.value) for each in found.other)
