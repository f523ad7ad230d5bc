"""Each block, item, part, tool and event that the SDKs know is in the transcript with all its texts and numbers."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from anthropic.types import beta as messages
from google.genai import _interactions, types as google
from openai.types import chat, responses

from patchbay.transcript import of_answer, of_messages, of_request
from patchbay.values.transcript import Transcript

from .completeness import missing
from .sdk_examples import BASE64, Examples

Case = tuple[str, Any, Any]  # the dialect; the type; where an example stands in a body

REQUESTS: list[Case] = [
    ("anthropic", messages.BetaContentBlockParam, lambda each: {"messages": [{"role": "user", "content": [each]}]}),
    ("anthropic", messages.BetaToolUnionParam, lambda each: {"tools": [each]}),
    ("anthropic", messages.message_create_params.MessageCreateParamsNonStreaming, lambda each: each),
    ("openai_chat", chat.ChatCompletionMessageParam, lambda each: {"messages": [each]}),
    ("openai_chat", chat.ChatCompletionToolUnionParam, lambda each: {"tools": [each]}),
    ("openai_chat", chat.completion_create_params.CompletionCreateParamsNonStreaming, lambda each: each),
    ("openai_responses", responses.ResponseInputItemParam, lambda each: {"input": [each]}),
    ("openai_responses", responses.ToolParam, lambda each: {"tools": [each]}),
    ("openai_responses", responses.response_create_params.ResponseCreateParamsNonStreaming, lambda each: each),
    ("gemini", google.Part, lambda each: _contents(each)),
    ("gemini", google.Tool, lambda each: {"contents": [], "tools": [each]}),
    ("gemini", google.GenerateContentConfig, lambda each: {"contents": [], "generationConfig": each}),
    ("gemini", _interactions.types.step_param.StepParam, lambda each: {"input": [each]}),
    ("gemini", _interactions.types.content_param.ContentParam, lambda each: {"input": [each]}),
    ("gemini", _interactions.types.tool_param.ToolParam, lambda each: {"input": "hi", "tools": [each]}),
]
ANSWERS: list[Case] = [
    ("anthropic", messages.BetaContentBlock, lambda each: {"type": "message", "content": [each]}),
    ("anthropic", messages.BetaMessage, lambda each: each),
    ("openai_chat", chat.ChatCompletion, lambda each: each),
    ("openai_responses", responses.ResponseOutputItem, lambda each: {"object": "response", "output": [each]}),
    ("openai_responses", responses.Response, lambda each: each),
    ("gemini", google.GenerateContentResponse, lambda each: each),
    ("gemini", _interactions.types.step.Step, lambda each: {"status": "completed", "steps": [each]}),
    ("gemini", _interactions.types.interaction.Interaction, lambda each: each),
]
EVENTS: list[Case] = [
    ("anthropic", messages.BetaRawMessageStreamEvent, lambda each: each),
    ("anthropic", messages.BetaRawContentBlockDelta, lambda each: {"type": "content_block_delta", "delta": each}),
    ("openai_chat", chat.ChatCompletionChunk, lambda each: each),
    ("openai_responses", responses.ResponseStreamEvent, lambda each: _sound(each)),
    ("gemini", google.GenerateContentResponse, lambda each: each),
    ("gemini", _interactions.types.interaction_sse_event.InteractionSSEEvent, lambda each: each),
]
# What is neither said nor called: shown by its type and members.
UNKNOWN = frozenset(
    "tool_addition tool_removal mcp_tool_listing fallback compaction search_result mcp_list_tools mcp_approval_response"
    " additional_tools configuration_update compaction_trigger item_reference".split()
) | {""}  # the last: members of a part of Gemini that say something about the others


def named(case: Case) -> str:
    return f"{case[0]}-{getattr(case[1], '__name__', None) or str(case[1]).rpartition('.')[2]}"


def _contents(part: dict[str, Any]) -> dict[str, Any]:
    """Return a request with *part*, whose members exclude each other, and with one part for each member."""
    alone = [{name: value} for name, value in part.items()]
    return {"contents": [{"role": "user", "parts": [part, *alone]}]}


def _sound(event: dict[str, Any]) -> dict[str, Any]:
    return {**event, "delta": BASE64} if event["type"] == "response.audio.delta" else event


@pytest.mark.parametrize("case", REQUESTS, ids=named)
def test_nothing_of_a_request_is_lost(case: Case) -> None:
    check(case, of_request)


@pytest.mark.parametrize("case", ANSWERS, ids=named)
def test_nothing_of_an_answer_is_lost(case: Case) -> None:
    check(case, of_answer)


@pytest.mark.parametrize("case", EVENTS, ids=named)
def test_nothing_of_an_event_is_lost(case: Case) -> None:
    check(case, lambda body, dialect: of_messages([body], dialect))


def check(case: Case, read: Callable[[bytes, str], Transcript]) -> None:
    dialect, kind, place = case
    bodies = [place(each) for each in Examples(by_alias=dialect == "gemini").of(kind)]
    found = [(body, read(json.dumps(body).encode(), dialect)) for body in bodies]

    assert bodies
    assert [lost for body, transcript in found if (lost := missing(body, transcript))] == []
    assert not any(detail.name == "body" for _, transcript in found for detail in transcript.other)


@pytest.mark.parametrize("case", [REQUESTS[0], REQUESTS[3], REQUESTS[6], REQUESTS[9], REQUESTS[12]], ids=named)
def test_the_types_of_words_calls_results_and_pictures_are_known(case: Case) -> None:
    dialect, kind, place = case
    bodies = [place(each) for each in Examples(by_alias=dialect == "gemini").of(kind)]
    turns = [turn for body in bodies for turn in of_request(json.dumps(body).encode(), dialect).turns]
    blocks = [block for turn in turns for block in turn.blocks]

    assert {"text", "call", "result"} <= {block.kind for block in blocks}
    assert {block.name for block in blocks if block.kind == "other"} <= UNKNOWN
