"""Conversations of every dialect, made by hypothesis: requests, answers, and streams of answers."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

# Lone surrogates are no text of a JSON that is written as UTF-8; the fuzzed bodies have them.
words = st.text(st.characters(codec="utf-8"), min_size=1, max_size=30)
names = st.from_regex(r"[a-z][a-z0-9_]{0,15}", fullmatch=True)
numbers = st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False, width=32)
scalars = words | numbers | st.booleans() | st.none()
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3), max_leaves=8
)
arguments = st.dictionaries(names, values, max_size=4)
extras = st.dictionaries(st.from_regex(r"x_[a-z]{1,8}", fullmatch=True), values, max_size=2)


def several(kind: SearchStrategy[Any], most: int = 4) -> SearchStrategy[list[Any]]:
    return st.lists(kind, max_size=most)


def some(**members: SearchStrategy[Any]) -> SearchStrategy[dict[str, Any]]:
    """Return objects of *members* and up to two that no dialect knows."""
    known = st.fixed_dictionaries(members)
    return st.builds(lambda one, more: {**one, **more}, known, extras)


def just(value: str) -> SearchStrategy[str]:
    return st.just(value)


usage = st.dictionaries(
    names, st.integers(0, 2**40) | st.dictionaries(names, st.integers(0, 9999), max_size=3), max_size=4
)

# Anthropic
_text = some(type=just("text"), text=words)
_cached = some(type=just("text"), text=words, cache_control=st.just({"type": "ephemeral", "ttl": "1h"}))
_image = some(type=just("image"), source=st.fixed_dictionaries({"type": just("url"), "url": words}))
_use = some(
    type=st.sampled_from(["tool_use", "server_tool_use", "mcp_tool_use"]), id=names, name=names, input=arguments
)
_thinking = some(type=just("thinking"), thinking=words, signature=words) | some(
    type=just("redacted_thinking"), data=words
)
_result = some(
    type=just("tool_result"), tool_use_id=names, content=words | several(_text | _image), is_error=st.booleans()
)
_unknown = some(type=st.from_regex(r"new_[a-z]{1,9}", fullmatch=True), text=words, more=values)
_blocks = _text | _cached | _image | _use | _thinking | _result | _unknown
messages_request = some(
    model=words,
    max_tokens=st.integers(1, 10**6),
    system=words | several(_text | _cached),
    messages=several(some(role=st.sampled_from(["user", "assistant"]), content=words | several(_blocks))),
    tools=several(some(name=names, description=words, input_schema=arguments)),
    metadata=arguments,
)
messages_answer = some(
    id=words, type=just("message"), model=words, content=several(_blocks), stop_reason=words | st.none(), usage=usage
)

# OpenAI chat
_part = some(type=just("text"), text=words) | some(type=just("image_url"), image_url=some(url=words, detail=names))
_call = some(id=names, type=just("function"), function=some(name=names, arguments=words))
_said = some(
    role=just("assistant"), content=words | st.none(), reasoning_content=words | st.none(), tool_calls=several(_call, 2)
)
_chat = (
    _said
    | some(role=st.sampled_from(["system", "developer", "user"]), content=words | several(_part), name=names)
    | some(role=just("tool"), tool_call_id=names, content=words | several(_part))
)
chat_request = some(
    model=words,
    messages=several(_chat),
    tools=several(some(type=just("function"), function=some(name=names, description=words, parameters=arguments))),
    temperature=st.floats(0, 2),
    stop=several(words),
)
_choice = some(message=_said, finish_reason=words | st.none(), logprobs=st.none() | arguments)
chat_answer = some(id=words, model=words, choices=several(_choice, 3), usage=usage)

# OpenAI Responses
_input = some(type=just("input_text"), text=words) | some(type=just("input_image"), image_url=words, detail=names)
_output = some(type=just("output_text"), text=words, annotations=several(arguments)) | some(
    type=just("refusal"), refusal=words
)
_made = (
    some(type=just("message"), id=names, role=just("assistant"), status=names, content=several(_output))
    | some(type=just("reasoning"), id=names, summary=several(some(type=just("summary_text"), text=words)))
    | some(type=just("reasoning"), id=names, summary=st.just([]), encrypted_content=words)
    | some(type=just("function_call"), id=names, call_id=names, name=names, arguments=words)
    | some(type=just("custom_tool_call"), call_id=names, name=names, input=words)
    | some(type=just("web_search_call"), id=names, status=names, action=arguments)
    | some(type=just("mcp_call"), id=names, name=names, server_label=names, arguments=words, output=words)
    | some(type=just("newer_call"), id=names, result=words, thing=arguments)
)
_item = (
    _made
    | some(role=st.sampled_from(["user", "developer", "system", "assistant"]), content=words | several(_input))
    | some(type=just("function_call_output"), call_id=names, output=words | several(_input))
    | some(type=just("item_reference"), id=words)
)
responses_request = some(
    model=words,
    instructions=words | st.none(),
    input=words | several(_item),
    tools=several(some(type=just("function"), name=names, description=words, parameters=arguments)),
    reasoning=arguments,
)
responses_answer = some(
    id=words, object=just("response"), status=just("completed"), model=words, output=several(_made), usage=usage
)

# Gemini
_parts = (
    some(text=words)
    | some(text=words, thought=st.just(True), thoughtSignature=words)
    | some(functionCall=some(name=names, args=arguments, id=names))
    | some(functionResponse=some(name=names, response=arguments | st.fixed_dictionaries({"output": words})))
    | some(fileData=some(mimeType=words, fileUri=words))
    | some(executableCode=some(language=names, code=words))
    | some(codeExecutionResult=some(outcome=names, output=words))
    | some(newPart=arguments)
)
_content = some(role=st.sampled_from(["user", "model"]), parts=several(_parts))
gemini_request = some(
    contents=several(_content),
    systemInstruction=_content | some(parts=several(some(text=words))),
    tools=several(some(functionDeclarations=several(some(name=names, description=words, parameters=arguments)))),
    generationConfig=arguments,
)
assist_request = some(model=words, project=words, request=gemini_request)
_candidate = some(
    content=some(role=just("model"), parts=several(_parts)), finishReason=words, safetyRatings=several(arguments)
)
gemini_answer = some(candidates=several(_candidate, 2), usageMetadata=usage, modelVersion=words, responseId=words)
interaction_request = some(
    model=words, input=words | several(some(type=just("text"), text=words)), system_instruction=words
)

REQUESTS = [
    ("anthropic", messages_request),
    ("openai_chat", chat_request),
    ("openai_responses", responses_request),
    ("gemini", gemini_request),
    ("gemini", assist_request),
    ("gemini", interaction_request),
]
ANSWERS = [
    ("anthropic", messages_answer),
    ("openai_chat", chat_answer),
    ("openai_responses", responses_answer),
    ("gemini", gemini_answer),
]


@st.composite
def pieces(draw: DrawFn, text: str) -> list[str]:
    """Return *text*, cut somewhere."""
    at = sorted(draw(st.lists(st.integers(0, len(text)), max_size=3)))
    return [text[start:end] for start, end in zip([0, *at], [*at, len(text)], strict=True)]


def sse(events: Iterable[dict[str, Any]]) -> bytes:
    return b"".join(b"data: " + json.dumps(event).encode() + b"\n\n" for event in events)


@st.composite
def messages_stream(draw: DrawFn) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return an answer, and the events in which it comes."""
    blocks = draw(several(_text | _use | some(type=just("thinking"), thinking=words, signature=words)))
    numbers = draw(usage)
    start = {"id": draw(words), "type": "message", "role": "assistant", "model": draw(words), "usage": numbers}
    events: list[dict[str, Any]] = [{"type": "message_start", "message": {**start, "content": []}}]
    for index, block in enumerate(blocks):
        begun, deltas = dict(block), []
        for name, delta, member in (("text", "text_delta", "text"), ("thinking", "thinking_delta", "thinking"),
                                    ("input", "input_json_delta", "partial_json")):  # fmt: skip
            if name in block:
                whole = json.dumps(block[name]) if name == "input" else block[name]
                begun[name] = {} if name == "input" else ""
                deltas += [{"type": delta, member: piece} for piece in draw(pieces(whole))]
        if "signature" in block:
            begun["signature"] = ""
            deltas.append({"type": "signature_delta", "signature": block["signature"]})
        events.append({"type": "content_block_start", "index": index, "content_block": begun})
        events += [{"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas]
        events.append({"type": "content_block_stop", "index": index})
    stop = draw(words)
    events.append({"type": "message_delta", "delta": {"stop_reason": stop}, "usage": {}})
    return {**start, "content": blocks, "stop_reason": stop}, [*events, {"type": "message_stop"}]


@st.composite
def chat_stream(draw: DrawFn) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    common = {"id": draw(words), "model": draw(words)}
    choices, events = [], []
    for index in range(draw(st.integers(1, 2))):
        text, thought, calls = draw(words), draw(words), draw(several(_plain_call, 2))
        stop = draw(words)
        message = {"role": "assistant", "content": text, "reasoning_content": thought, "tool_calls": calls}
        choices.append({"index": index, "message": message, "finish_reason": stop})
        deltas: list[dict[str, Any]] = [{"role": "assistant"}]
        deltas += [{"reasoning_content": piece} for piece in draw(pieces(thought))]
        deltas += [{"content": piece} for piece in draw(pieces(text))]
        for at, call in enumerate(calls):
            begun = {**call, "index": at, "function": {**call["function"], "arguments": ""}}
            deltas.append({"tool_calls": [begun]})
            for piece in draw(pieces(call["function"]["arguments"])):
                deltas.append({"tool_calls": [{"index": at, "function": {"arguments": piece}}]})
        events += [{**common, "choices": [{"index": index, "delta": delta}]} for delta in deltas]
        events.append({**common, "choices": [{"index": index, "delta": {}, "finish_reason": stop}]})
    numbers = draw(usage)
    return {**common, "choices": choices, "usage": numbers}, [*events, {**common, "choices": [], "usage": numbers}]


_plain_call = st.fixed_dictionaries(
    {"id": names, "type": just("function"), "function": st.fixed_dictionaries({"name": names, "arguments": words})}
)


@st.composite
def responses_stream(draw: DrawFn) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    start = {"id": draw(words), "object": "response", "model": draw(words)}
    output, events = [], [{"type": "response.created", "response": {**start, "status": "in_progress", "output": []}}]
    for index in range(draw(st.integers(0, 3))):
        text, place = draw(words), {"output_index": index, "item_id": f"i{index}", "content_index": 0}
        if draw(st.booleans()):
            item = {"type": "message", "id": f"i{index}", "role": "assistant", "content": []}
            kind, done = "response.output_text", {**item, "content": [{"type": "output_text", "text": text}]}
        else:
            item = {"type": "function_call", "id": f"i{index}", "call_id": f"c{index}", "name": "f", "arguments": ""}
            kind, done = "response.function_call_arguments", {**item, "arguments": text}
        output.append(done)
        events.append({"type": "response.output_item.added", "output_index": index, "item": item})
        events += [{"type": f"{kind}.delta", **place, "delta": piece} for piece in draw(pieces(text))]
        events.append({"type": f"{kind}.done", **place, ("text" if "text" in kind else "arguments"): text})
        events.append({"type": "response.output_item.done", "output_index": index, "item": done})
    final = {**start, "status": "completed", "output": output, "usage": draw(usage)}
    return final, [*events, {"type": "response.completed", "response": final}]


@st.composite
def gemini_stream(draw: DrawFn) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    common, numbers = {"modelVersion": draw(words), "responseId": draw(words)}, draw(usage)
    parts: list[dict[str, Any]] = []
    pieces_of: list[dict[str, Any]] = []
    for at, text in enumerate(draw(several(words))):
        if at % 2:
            part = {"functionCall": {"name": "f", "args": {"x": text}}}
            pieces_of.append(part)
        else:
            part = {"text": text}
            pieces_of += [{"text": piece} for piece in draw(pieces(text))]
        parts.append(part)
    events = [
        {**common, "candidates": [{"index": 0, "content": {"role": "model", "parts": [one]}}]} for one in pieces_of
    ]
    last = {"index": 0, "finishReason": "STOP"}
    whole = {"candidates": [{"content": {"role": "model", "parts": parts}, **last}], "usageMetadata": numbers, **common}
    return whole, [*events, {**common, "candidates": [last], "usageMetadata": numbers}]


STREAMS = [
    ("anthropic", messages_stream()),
    ("openai_chat", chat_stream()),
    ("openai_responses", responses_stream()),
    ("gemini", gemini_stream()),
]
