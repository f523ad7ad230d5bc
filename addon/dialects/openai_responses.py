"""OpenAI's Responses and their conversations (https://platform.openai.com/docs/api-reference/responses)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
from blake3 import blake3

from .. import json_splice
from ..body import Body
from ..values.answer import Fact
from ..values.decision import Refusal
from ..values.http import Endpoint, ModelSource
from ..visible_text import visible
from . import errors, openai, openai_responses_transcript, tokens
from .dialect import Dialect, Keeps
from .order import SHOWN, StreamOrder, disorder, shown

_NAME = "openai_responses"

_GENERATION = re.compile(r"/responses(?:/compact)?$")
_RESOURCE = re.compile(
    r"(?:^|/v\d+|/openai|/codex)(?P<suffix>/(?:responses/input_tokens|responses/[^/]+(?:/cancel|/input_items)?"
    r"|conversations(?:/.*)?))$"
)
_TERMINAL = frozenset({"response.completed", "response.failed", "response.incomplete", "response.cancelled"})
_UNDER_WAY = frozenset({"queued", "in_progress", "incomplete", "failed", "cancelled"})  # may have no output
_READS = ("GET", "DELETE", "POST")
# What an answer repeats of its request, and can be compared with it.
_SCALARS = ("previous_response_id", "prompt_cache_key", "safety_identifier", "user")
_NUMBERS = ("temperature", "top_p", "max_output_tokens", "max_tool_calls")
_HUGE = 1e15  # no setting; an integer of a thousand digits is no float either
_DIGESTED = ("instructions",)
_CHANGES = {"model_changed": "model", "tools_changed": "tools", "input_changed": "input"}


def _endpoint(method: str, path: str) -> Endpoint | None:
    # A WebSocket opens with a GET of the same path; its messages are this dialect's events.
    if method in ("POST", "GET") and (found := _GENERATION.search(path)):
        return Endpoint(_NAME, openai.FAMILY, "generation", found[0], source="socket" if method == "GET" else "model")
    if method in _READS and (found := _RESOURCE.search(path)):
        suffix = found["suffix"]
        return Endpoint(_NAME, openai.FAMILY, "resource", suffix, source=_model_source(method, suffix))
    return None


def _model_source(method: str, suffix: str) -> ModelSource:
    if method != "POST" or suffix.endswith("/cancel"):
        return "nothing"
    return "named" if suffix.startswith("/conversations") else "model"  # Mistral's conversations run one


def _error_event(refusal: Refusal, request_id: str) -> bytes:
    # OpenAI's SDKs raise on the first; Codex ignores it and waits for `response.failed`
    inner = openai.error_object(refusal)
    flat = {"code": inner["code"], "message": inner["message"], "param": None}
    first = {"type": "error", **flat, "sequence_number": 0, "error": inner}
    response = {"id": request_id, "object": "response", "status": "failed", "error": inner, "output": []}
    last = {"type": "response.failed", "sequence_number": 1, "response": response}
    return _event("error", first) + _event("response.failed", last)


def _read(name: str, data: dict[str, Any]) -> Iterator[Fact]:
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


def _holds_answer(suffix: str, data: dict[str, Any]) -> bool:
    # an answer that is finished may hold no output (`generate: false`); its status says so
    output, status = data.get("output"), data.get("status")
    return bool(tokens.dicts(output)) or (isinstance(status, str) and (output == [] or status in _UNDER_WAY))


def _with_head(error: Fact, data: dict[str, Any]) -> Fact:
    # on a WebSocket, an error holds the status and some headers of the answer that it stands for
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
    if response.get("object") == "response":
        yield Fact("settings", _settings_of(response), "body response")
    yield from tokens.reference(response.get("conversation"), "conversation")
    for item in tokens.dicts(response.get("output")):
        yield from _item(item)
    yield from openai.usage(response.get("usage"), "input_tokens", "output_tokens")
    yield from _diagnosis(tokens.member(response, "prompt_cache_diagnostics"))


def _diagnosis(told: dict[str, Any]) -> Iterator[Fact]:
    """
    Yield what the API found when it compared the request with that of `prompt_cache_options.comparison_response_id`.

    Reasons that are no part of the prompt say nothing about whose request it was. Source: the types of OpenAI's SDK.
    """
    reason = str(told.get("reason"))
    if told.get("type") == "cache_hit" or (told.get("type") == "cache_miss" and reason in _CHANGES):
        yield Fact("compared", _CHANGES.get(reason, "unchanged"), "body prompt_cache_diagnostics")


def _comparing(body: Body, previous: str) -> dict[str, object]:
    options = body.get("prompt_cache_options")
    asks = previous and (options is None or (isinstance(options, dict) and "comparison_response_id" not in options))
    return {"prompt_cache_options.comparison_response_id": previous} if asks else {}


def _compared_id(body: Body) -> str | None:
    asked = body.get("prompt_cache_options")
    if not isinstance(asked, dict):
        return None
    named = asked.get("comparison_response_id")
    return named if isinstance(named, str) else ""


def _settings_of(data: Body | Mapping[str, Any]) -> dict[str, str]:
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
        said = ((name, value) for name, value in list(metadata.items())[:32] if value is not None)
        found |= {f"metadata.{visible(name)}": str(value) for name, value in said}
    tools = [str(tool.get("name") or "") for tool in tokens.dicts(data.get("tools")) if tool.get("type") == "function"]
    if any(tools):
        found["tools"] = blake3("\0".join(sorted(tools)).encode("utf-8", "surrogatepass")).hexdigest(16)
    return {name: value if len(value) <= 256 else value[:256] for name, value in found.items()}


def _final(event: str, response: dict[str, Any]) -> Iterator[Fact]:
    if event not in _TERMINAL:
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
    yield from tokens.reference(item.get("container_id"), "container")
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


def _event(name: str, data: dict[str, Any]) -> bytes:
    return b"event: " + name.encode() + b"\ndata: " + msgspec.json.encode(data) + b"\n\n"


def _error_headers(refusal: Refusal) -> list[tuple[str, str]]:
    # Codex sleeps for the whole of `Retry-After`, silently, at every status but a 429 whose type it knows
    sleeps = errors.is_hopeless(refusal) and refusal.status != 429
    return [field for field in errors.headers(refusal) if not (sleeps and field[0] == "retry-after")]


def _read_calls(data: dict[str, Any]) -> Iterator[Fact]:
    if data.get("type") == "response.output_item.done":
        yield from _item_call(data.get("output_index"), tokens.member(data, "item"))
    elif data.get("object") == "response":
        for place, item in enumerate(tokens.dicts(data.get("output"))):
            yield from _item_call(place, item)


def _item_call(place: object, item: dict[str, Any]) -> Iterator[Fact]:
    if item.get("type") == "function_call":
        yield from tokens.call(place, item.get("name"), item.get("arguments"))


class _ResponseOrder(StreamOrder):
    """Events are numbered, items are opened before their deltas, and the end bears the id of the start."""

    __slots__ = ()

    def step(self, data: dict[str, Any]) -> Iterator[Fact]:
        kind, response = data.get("type"), data.get("response")
        if not isinstance(kind, str):
            return
        yield from self.count(data.get("sequence_number"))
        if self._ended and kind.startswith("response."):
            yield disorder("after-end", kind[:SHOWN])
        if kind == "response.created" and isinstance(response, dict):
            yield from self.start(response.get("id"))
        elif isinstance(response, dict) and self._began and response.get("id") not in ("", None, self._began):
            yield disorder("another-end", f"{self._began} → {shown(response.get('id'))}")
        elif kind == "response.output_item.added" and isinstance(data.get("item"), dict):
            self.open(data["item"].get("id"))
        elif (item := data.get("item_id")) and isinstance(item, str) and self._open and item not in self._open:
            yield disorder("unopened", shown(item))
        self._ended = self._ended or kind in _TERMINAL


def _has_shape(data: dict[str, Any]) -> bool:
    kind = data.get("type")
    return (isinstance(kind, str) and kind.startswith("response.")) or data.get("object") == "response"


def _without_sealed(body: Body, keeps: Keeps) -> bytes:
    raw = body.raw or b""
    span = body.span("input") if "input" in body else None
    items = json_splice.items(raw, span[0]) if span else []
    sealed = {
        place
        for place, item in enumerate(items)
        if _is_sealed(json_splice.object_with(b"encrypted_content", raw, item), keeps)
    }
    return json_splice.edited(raw, json_splice.removed(items, sealed))


def _is_sealed(item: dict[str, object], keeps: Keeps) -> bool:
    content = item.get("encrypted_content")
    return item.get("type") == "reasoning" and isinstance(content, str) and content != "" and not keeps(content)


DIALECT = Dialect(
    name=_NAME,
    family=openai.FAMILY,
    vendor=openai.VENDOR,
    endpoint=_endpoint,
    path_words=frozenset(
        "responses compact input_tokens input_items cancel conversations openai deployments codex".split()
    ),
    history="input",
    owning_marks={"input": (b"encrypted_content", b"item_reference", b"file_id", b'"rs_', b'"uri"')},
    bound_fields=openai.BOUND_FIELDS,
    without_sealed=_without_sealed,
    settings=_settings_of,
    adds=lambda body: any(map(body.get, ("previous_response_id", "conversation"))),
    compared_id=_compared_id,
    prompt_parts=("instructions", "tools"),
    comparing=_comparing,
    opening_message="response.create",
    other_messages=frozenset({"response.append", "response.cancel", "response.processed"}),
    read=_read,
    read_calls=_read_calls,
    order=_ResponseOrder,
    terminal=_TERMINAL,
    is_text=lambda suffix: True,
    holds_answer=_holds_answer,
    stores_answers=True,
    splits_answers=True,
    has_shape=_has_shape,
    answer_shape=lambda suffix: _NAME if suffix.endswith("/responses") else "",
    transcript=openai_responses_transcript.TRANSCRIPT,
    outcome_rules=openai.OUTCOME_RULES,
    error=openai.error,
    error_event=_error_event,
    error_headers=_error_headers,
)
