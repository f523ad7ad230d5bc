"""
Tool calls in answers: their names and arguments, as a later request repeats them.

Unlike their ids, which a framework may rewrite or a dialect may not have, these come back as they were.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec

from ..values.answer import Fact
from . import tokens

Read = Callable[[dict[str, Any]], Iterator[Fact]]


def read(dialect: str, data: dict[str, Any]) -> Iterator[Fact]:
    """
    Yield `called` (the name) and `arguments` (a piece of JSON text) for the calls in one event, or in a whole body.

    *where* of a fact tells one call from the others of the answer.
    """
    reader = _READERS.get(dialect)
    return reader(data) if reader else iter(())


def _of(where: object, name: object, arguments: object) -> Iterator[Fact]:
    if isinstance(name, str) and name:
        yield Fact("called", name, str(where))
    if isinstance(arguments, dict) and arguments:
        arguments = msgspec.json.encode(arguments).decode()
    if isinstance(arguments, str) and arguments:
        yield Fact("arguments", arguments, str(where))


def _chat(data: dict[str, Any]) -> Iterator[Fact]:
    for choice in tokens.dicts(data.get("choices"))[:1]:
        message = tokens.member(choice, "delta") or tokens.member(choice, "message")
        for place, call in enumerate(tokens.dicts(message.get("tool_calls"))):
            function = tokens.member(call, "function")
            yield from _of(call.get("index", place), function.get("name"), function.get("arguments"))


def _messages(data: dict[str, Any]) -> Iterator[Fact]:
    match data.get("type"):
        case "content_block_delta":
            yield from _of(data.get("index"), None, tokens.member(data, "delta").get("partial_json"))
        case "content_block_start":
            yield from _block(data.get("index"), tokens.member(data, "content_block"))
        case "message":
            for place, block in enumerate(tokens.dicts(data.get("content"))):
                yield from _block(place, block)


def _block(place: object, block: dict[str, Any]) -> Iterator[Fact]:
    if block.get("type") == "tool_use":
        yield from _of(place, block.get("name"), block.get("input"))


def _responses(data: dict[str, Any]) -> Iterator[Fact]:
    if data.get("type") == "response.output_item.done":
        yield from _item(data.get("output_index"), tokens.member(data, "item"))
    elif data.get("object") == "response":
        for place, item in enumerate(tokens.dicts(data.get("output"))):
            yield from _item(place, item)


def _item(place: object, item: dict[str, Any]) -> Iterator[Fact]:
    if item.get("type") == "function_call":
        yield from _of(place, item.get("name"), item.get("arguments"))


def _gemini(data: dict[str, Any]) -> Iterator[Fact]:
    data = tokens.member(data, "response") or data  # Code Assist wraps what the API gives
    for candidate in tokens.dicts(data.get("candidates"))[:1]:
        for part in tokens.dicts(tokens.member(candidate, "content").get("parts")):
            if call := tokens.member(part, "functionCall"):
                # each comes in one piece and without a number: a name begins another one
                yield from _of("", call.get("name"), call.get("args"))


_READERS: Mapping[str, Read] = {
    "openai_chat": _chat,
    "anthropic": _messages,
    "openai_responses": _responses,
    "gemini": _gemini,
}
