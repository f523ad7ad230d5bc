"""
Anthropic's Messages, its batches and files.

https://docs.anthropic.com/en/api/messages-streaming
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import msgspec

from ..values.answer import Fact, Usage
from ..values.decision import Refusal
from ..values.http import Endpoint, Runs
from . import errors, tokens

NAME = "anthropic"
FAMILY = "anthropic"

_GENERATION = re.compile(r"/v1/(?:messages|complete)$")
_RESOURCE = re.compile(r"/v1/messages/(?:count_tokens|batches(?:/.*)?)$|/v1/skills(?:/.*)?$")
_VERTEX = re.compile(r"/v1(?:beta1)?/projects/.*/publishers/anthropic/models/(?P<model>[^/:]+):(?P<verb>\w+)$")
TERMINAL = frozenset({"message_stop", "completion"})
_READS = ("GET", "DELETE", "POST")


def endpoint(method: str, path: str) -> Endpoint | None:
    """Say what *path* means here, or None when this dialect does not know it."""
    if method == "POST" and (found := _GENERATION.search(path)):
        return Endpoint(NAME, FAMILY, "generation", found[0])
    if method == "POST" and (found := _VERTEX.search(path)):
        return _vertex(found)
    if method in _READS and (found := _RESOURCE.search(path)):
        return Endpoint(NAME, FAMILY, "resource", found[0], runs=_runs(method, found[0]))
    return None


def _runs(method: str, suffix: str) -> Runs:
    if method != "POST" or suffix.endswith("/cancel") or "/skills" in suffix:
        return "nothing"
    return "model" if suffix.endswith("/count_tokens") else "batch"


def _vertex(found: re.Match[str]) -> Endpoint | None:
    if found["model"] == "count-tokens":
        return Endpoint(NAME, FAMILY, "resource", found[0], runs="model")
    if found["verb"] not in ("rawPredict", "streamRawPredict"):
        return None
    return Endpoint(NAME, FAMILY, "generation", found[0], found["model"], found["verb"] == "streamRawPredict")


def error(refusal: Refusal, request_id: str) -> bytes:
    """Return the body of an error answer."""
    inner = {
        "type": errors.anthropic_type(refusal),
        "message": refusal.message,
        "code": refusal.code,
    }
    extra = {name: value for name, value in refusal.fields.items() if name not in inner}  # behind: the SDK shows it all
    return msgspec.json.encode({"type": "error", "error": {**inner, **extra}, "request_id": request_id})


def error_event(refusal: Refusal, request_id: str) -> bytes:
    """Return the event that ends a stream with an error."""
    return b"event: error\ndata: " + error(refusal, request_id) + b"\n\n"


def read(name: str, data: dict[str, Any]) -> Iterator[Fact]:
    """Yield the facts of one event of a stream, or of a whole body."""
    kind = data.get("type")
    if refused := errors.read(data, "event" if name else "body"):
        yield refused
    elif kind == "content_block_delta":
        yield from _delta(tokens.member(data, "delta"))
    elif kind == "content_block_start":
        yield from _block(tokens.member(data, "content_block"))
    elif kind == "message_start":
        yield from _message(tokens.member(data, "message"))
    elif kind == "message_delta":
        yield from _closing(data)
    elif kind == "message_stop":
        yield Fact("end", kind)
    elif kind == "completion":
        yield from _message(data)
        if name and isinstance(data.get("stop_reason"), str):
            yield Fact("end", kind)
    elif kind not in ("ping", "content_block_stop"):
        yield from _message(data)
        if "content" not in data:
            yield from tokens.resource(data)


def is_text(suffix: str) -> bool:
    """Whether a generation at *suffix* is always answered in this dialect's JSON or events (audio is not)."""
    return True


def holds_answer(suffix: str, data: dict[str, Any]) -> bool:
    """
    Whether *data*, the whole body of a good answer to a generation at *suffix*, answers it.

    An answer may say nothing and end (`end_turn` after a tool's result, `max_tokens: 0`); it cannot call a tool so.
    https://docs.anthropic.com/en/api/handling-stop-reasons#empty-responses-with-end-turn
    """
    content, reason = data.get("content"), data.get("stop_reason")
    if isinstance(data.get("completion"), str):
        return bool(data["completion"]) or isinstance(reason, str)
    if tokens.dicts(content):
        return True
    return content == [] and isinstance(reason, str) and reason != "tool_use"


def _message(message: dict[str, Any]) -> Iterator[Fact]:
    yield from tokens.text("id", message, "id")
    yield from tokens.text("model", message, "model")
    yield from tokens.text("created", message, "created_at")
    yield from tokens.text("object", message, "type")
    yield from tokens.container(message.get("container"))
    for block in tokens.dicts(message.get("content")):
        yield from _block(block)
    if isinstance(message.get("completion"), str) and message["completion"]:  # the old text completions
        yield from _text(message["completion"])
    yield from _usage(message.get("usage"))
    yield from _finish(message)


def _block(block: dict[str, Any]) -> Iterator[Fact]:
    kind = str(block.get("type") or "")
    if isinstance(block.get("text"), str) and block["text"]:
        yield from _text(block["text"])
    elif kind.endswith("tool_use"):
        yield Fact("content", "tool")
        yield from tokens.token(block.get("id"), "tool")
        if isinstance(block.get("name"), str):
            yield Fact("tool", block["name"])
    elif kind == "redacted_thinking" or block.get("thinking"):
        yield Fact("content", "reasoning")
    elif kind.endswith("tool_result"):
        yield Fact("content", "tool")
        yield from _result_files(block.get("content"))
    yield from tokens.signature(block.get("signature"))
    yield from tokens.signature(block.get("data") if kind == "redacted_thinking" else None)


def _result_files(content: object) -> Iterator[Fact]:
    inner = content.get("content") if isinstance(content, dict) else content
    for part in tokens.dicts(inner):
        yield from tokens.token(part.get("file_id"), "file")


def _delta(delta: dict[str, Any]) -> Iterator[Fact]:
    if isinstance(delta.get("text"), str) and delta["text"]:
        yield from _text(delta["text"])
    elif delta.get("thinking"):
        yield Fact("content", "reasoning")
    elif delta.get("partial_json"):
        yield Fact("content", "tool")
    yield from tokens.signature(delta.get("signature"))


def _closing(data: dict[str, Any]) -> Iterator[Fact]:
    delta = tokens.member(data, "delta")
    yield from tokens.container(delta.get("container"))
    yield from _usage(data.get("usage"))
    yield from _finish(delta)


def _text(text: str) -> Iterator[Fact]:
    yield Fact("content", "text")
    yield Fact("text", text)


def _finish(data: dict[str, Any]) -> Iterator[Fact]:
    if isinstance(data.get("stop_reason"), str):
        yield Fact("finish", data["stop_reason"], "0")
    for name, value in tokens.member(data, "stop_details").items():
        if name.endswith("_token"):  # what a next request may be cheaper by, with this account
            yield from tokens.token(value, "credit")


def _usage(usage: object) -> Iterator[Fact]:
    if not isinstance(usage, dict):
        return
    cached, written = tokens.count(usage, "cache_read_input_tokens"), tokens.count(usage, "cache_creation_input_tokens")
    yield Fact(
        "usage",
        Usage(
            prompt=tokens.count(usage, "input_tokens") + cached + written,
            completion=tokens.count(usage, "output_tokens"),
            cached=cached,
            cache_write=written,
        ),
    )
