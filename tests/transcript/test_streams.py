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
