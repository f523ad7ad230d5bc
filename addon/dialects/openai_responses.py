"""
OpenAI's Responses, and the conversations they are kept in.

https://platform.openai.com/docs/api-reference/responses
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
from blake3 import blake3

from ..values.answer import Fact, Usage
from ..values.decision import Refusal
from ..values.http import Endpoint, Runs
from . import errors, tokens

NAME = "openai_responses"
FAMILY = "openai"

_GENERATION = re.compile(r"/responses(?:/compact)?$")
_RESOURCE = re.compile(
    r"(?:^|/v\d+|/openai|/codex)(?P<suffix>/(?:responses/input_tokens|responses/[^/]+(?:/cancel|/input_items)?"
    r"|conversations(?:/.*)?))$"
)
_ENDS = ("response.completed", "response.failed", "response.incomplete", "response.cancelled")
TERMINAL = frozenset(_ENDS)
_UNDER_WAY = frozenset({"queued", "in_progress", "incomplete", "failed", "cancelled"})  # may have no output
_READS = ("GET", "DELETE", "POST")
# What an answer repeats of its request, and can be compared with it.
_SCALARS = ("previous_response_id", "prompt_cache_key", "safety_identifier", "user")
_NUMBERS = ("temperature", "top_p", "max_output_tokens", "max_tool_calls")
_HUGE = 1e15  # no setting; an integer of a thousand digits is no float either
_DIGESTED = ("instructions",)


def endpoint(method: str, path: str) -> Endpoint | None:
    """Say what *path* means here, or None when this dialect does not know it."""
    # A WebSocket opens with a GET of the same path; its messages are this dialect's events.
    if method in ("POST", "GET") and (found := _GENERATION.search(path)):
        return Endpoint(NAME, FAMILY, "generation", found[0], runs="socket" if method == "GET" else "model")
    if method in _READS and (found := _RESOURCE.search(path)):
        return Endpoint(NAME, FAMILY, "resource", found["suffix"], runs=_runs(method, found["suffix"]))
    return None


def _runs(method: str, suffix: str) -> Runs:
    if method != "POST" or suffix.endswith("/cancel"):
        return "nothing"
    return "named" if suffix.startswith("/conversations") else "model"  # Mistral's conversations run one


def error(refusal: Refusal, request_id: str) -> bytes:
    """Return the body of an error answer. The shape has no place for *request_id*; it travels in a header."""
    return msgspec.json.encode({"error": errors.openai_error(refusal)})


def error_event(refusal: Refusal, request_id: str) -> bytes:
    """
    Return the events that end a stream with an error.

    OpenAI's SDKs raise on the first; Codex ignores that one and waits for `response.failed`, so both are sent.
    """
    inner = errors.openai_error(refusal)
    flat = {"code": inner["code"], "message": inner["message"], "param": None}
    first = {"type": "error", **flat, "sequence_number": 0, "error": inner}
    response = {"id": request_id, "object": "response", "status": "failed", "error": inner, "output": []}
    last = {"type": "response.failed", "sequence_number": 1, "response": response}
    return _event("error", first) + _event("response.failed", last)


def read(name: str, data: dict[str, Any]) -> Iterator[Fact]:
    """Yield the facts of one event of a stream, or of a whole body (*name* is empty)."""
    kind = data.get("type")
    event = kind if isinstance(kind, str) and ("." in kind or kind == "error") else name
    if not event or event == "message":
        yield from _whole(data)
    elif event == "error":
        yield _with_head(errors.read(data, "event") or errors.read_refused(data), data)
    elif isinstance(data.get("response"), dict):
        yield from _response(data["response"])
        yield from _final(event, data["response"])
    else:
        yield from _part(event, data)


def is_text(suffix: str) -> bool:
    """Whether a generation at *suffix* is always answered in this dialect's JSON or events (audio is not)."""
    return True


def holds_answer(suffix: str, data: dict[str, Any]) -> bool:
    """
    Whether *data*, the whole body of a good answer to a generation at *suffix*, answers it.

    One that is finished may have said nothing (`generate: false`), and then it says that it is finished.
    """
    output, status = data.get("output"), data.get("status")
    return bool(tokens.dicts(output)) or status in _UNDER_WAY or (output == [] and isinstance(status, str))


def _with_head(error: Fact, data: dict[str, Any]) -> Fact:
    """Add what an error on a WebSocket says of the answer it stands for: its status, and some of its headers."""
    status = data.get("status") or data.get("status_code")
    if not isinstance(error.value, dict) or not isinstance(status, int) or isinstance(status, bool):
        return error
    return Fact(error.kind, {**error.value, "status": status, "headers": data.get("headers")}, error.where)


def _whole(data: dict[str, Any]) -> Iterator[Fact]:
    yield from _response(data)
    for item in tokens.dicts(data.get("output")):
        yield from _item_text(item)
    if "output" not in data:
        yield from tokens.resource(data)
    if data.get("object") == "list":  # items of a response or a conversation
        for item in tokens.dicts(data.get("data")):
            yield from _item(item)


def _response(response: dict[str, Any]) -> Iterator[Fact]:
    if refused := errors.read(response, "body"):
        yield refused
    yield from tokens.text("id", response, "id")
    yield from tokens.text("model", response, "model")
    yield from tokens.text("created", response, "created_at")
    yield from tokens.text("object", response, "object")
    if response.get("object") == "response":
        yield Fact("settings", settings(response), "body response")
    conversation = response.get("conversation")
    yield from tokens.token(conversation.get("id") if isinstance(conversation, dict) else conversation, "conversation")
    for item in tokens.dicts(response.get("output")):
        yield from _item(item)
    yield from _usage(response.get("usage"))


def settings(data: Mapping[str, Any]) -> dict[str, str]:
    """
    Return the settings that stand in *data*, a request or the answer that repeats them, in a form to be compared.

    Long texts are digests. What is not there, or null, is left out.
    """
    found = {name: str(value) for name in _SCALARS if isinstance(value := data.get(name), str) and value}
    for name in _NUMBERS:
        value = data.get(name)
        if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < _HUGE:
            found[name] = f"{value:g}"
    for name in _DIGESTED:
        if isinstance(value := data.get(name), str) and value:
            found[name] = blake3(value.encode("utf-8", "surrogatepass")).hexdigest(16)
    metadata = data.get("metadata")
    if isinstance(metadata, dict):
        found |= {f"metadata.{name}": str(value) for name, value in list(metadata.items())[:32] if value is not None}
    tools = [str(tool.get("name") or "") for tool in tokens.dicts(data.get("tools")) if tool.get("type") == "function"]
    if any(tools):
        found["tools"] = blake3("\0".join(sorted(tools)).encode("utf-8", "surrogatepass")).hexdigest(16)
    return {name: value if len(value) <= 256 else value[:256] for name, value in found.items()}


def _final(event: str, response: dict[str, Any]) -> Iterator[Fact]:
    if event not in _ENDS:
        return
    for item in tokens.dicts(response.get("output")):
        for fact in _item_text(item):
            yield Fact("text", fact.value, "whole") if fact.kind == "text" else fact
    yield Fact("finish", response.get("status") or event.partition(".")[2], "0")
    yield Fact("end", event)


def _part(event: str, data: dict[str, Any]) -> Iterator[Fact]:
    if isinstance(data.get("item"), dict):
        yield from _item(data["item"])
        if data["item"].get("type") not in ("message", "reasoning"):
            yield Fact("content", "tool")
    delta = data.get("delta")
    if not event.endswith(".delta") or not delta:
        return
    yield Fact("content", _content(event))
    if event == "response.output_text.delta" and isinstance(delta, str):
        yield Fact("text", delta)


def _content(event: str) -> str:
    if "reasoning" in event:
        return "reasoning"
    return "text" if "text" in event or "refusal" in event else "tool"


def _item(item: dict[str, Any]) -> Iterator[Fact]:
    yield from tokens.token(item.get("id"), "item")
    yield from tokens.token(item.get("call_id"), "tool")
    yield from tokens.signature(item.get("encrypted_content"))
    yield from tokens.container(item.get("container_id"))
    if item.get("call_id") and isinstance(item.get("name"), str):
        yield Fact("tool", item["name"])


def _item_text(item: dict[str, Any]) -> Iterator[Fact]:
    if item.get("type") == "message" or "content" in item:
        for part in tokens.dicts(item.get("content")):
            if isinstance(part.get("text"), str) and part["text"]:
                yield Fact("content", "text")
                yield Fact("text", part["text"])
    elif item.get("type") != "reasoning":
        yield Fact("content", "tool")


def _usage(usage: object) -> Iterator[Fact]:
    if not isinstance(usage, dict):
        return
    details = tokens.member(usage, "input_tokens_details")
    yield Fact(
        "usage",
        Usage(
            prompt=tokens.count(usage, "input_tokens", "prompt_tokens"),
            completion=tokens.count(usage, "output_tokens", "completion_tokens"),
            cached=tokens.count(details, "cached_tokens"),
            cache_write=tokens.count(details, "cache_write_tokens", "cache_creation_tokens"),
        ),
    )


def _event(name: str, data: dict[str, Any]) -> bytes:
    return b"event: " + name.encode() + b"\ndata: " + msgspec.json.encode(data) + b"\n\n"
