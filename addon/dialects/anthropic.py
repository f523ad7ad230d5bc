"""Anthropic's Messages, its batches and files (https://docs.anthropic.com/en/api/messages-streaming)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from .. import json_splice
from ..body import Body
from ..json_splice import Splice
from ..values.answer import Fact, Usage
from ..values.decision import Refusal
from ..values.http import Endpoint, ModelSource
from . import anthropic_transcript, errors, tokens
from .dialect import BoundField, Dialect, Keeps
from .order import MEMBERS, SHOWN, StreamOrder, disorder
from .outcome_rules import AT_ONCE, BUSY, PLAN, rule_for

_NAME = "anthropic"

_GENERATION = re.compile(r"/v1/(?:messages|complete)$")
_RESOURCE = re.compile(r"/v1/messages/(?:count_tokens|batches(?:/.*)?)$|/v1/skills(?:/.*)?$")
_VERTEX = re.compile(r"/v1(?:beta1)?/projects/.*/publishers/anthropic/models/(?P<model>[^/:]+):(?P<verb>\w+)$")
_READS = ("GET", "DELETE", "POST")
_ERROR_TYPES = {
    400: "invalid_request_error", 401: "authentication_error", 402: "billing_error", 403: "permission_error",
    404: "not_found_error", 408: "timeout_error", 413: "request_too_large", 429: "rate_limit_error",
    503: "overloaded_error", 504: "timeout_error", 529: "overloaded_error",
}  # fmt: skip
# A 503 of ours that is no overload: Claude Code retries an overloaded API again and again.
_NO_OVERLOAD = frozenset(
    "upstream_credentials_exhausted upstream_unreachable upstream_unreadable upstream_failing owner_unavailable".split()
)
_MARKS = frozenset(
    "message_start content_block_start content_block_delta content_block_stop message_delta message_stop".split()
)
# The block that each kind of delta belongs to, by the end of the block's type; other kinds are not judged.
_BLOCK_OF_DELTA = {
    "text_delta": "text", "citations_delta": "text", "thinking_delta": "thinking", "signature_delta": "thinking",
    "input_json_delta": "tool_use",
}  # fmt: skip
_CACHE_COUNTS = ("cache_read_input_tokens", "cache_creation_input_tokens")  # not among the `input_tokens`
_BLOCKS = frozenset({"text", "thinking", "tool_use", "server_tool_use", "mcp_tool_use"})
_SERVER_TOOLS = ("server_", "mcp_", "web_", "code_", "bash_", "text_editor_", "tool_search")
_THINKING = ("thinking", "redacted_thinking")
_CHANGES = {
    "model_changed": "model", "system_changed": "system", "tools_changed": "tools", "messages_changed": "messages",
}  # fmt: skip
_DIFFERING = re.compile(r"differing field\(s\):\s*(\w+(?:\s*,\s*\w+)*)")
_PLACE = re.compile(r"messages\.(\d{1,6})\.content\.(\d{1,6})")

_OUTCOME_RULES = (
    rule_for("quota", "credits_required", scope="lane"),
    rule_for("quota", "billing_error enforced_spend_limit_reached"),
    rule_for("quota", phrase=r"credit balance is too low|reached your specified (workspace )?api usage limits",
             statuses="400 402 403 429"),
    rule_for("auth", "authentication_error"),
    rule_for("auth", phrase=r"organization has been disabled", statuses="400 401 403", why="organization disabled"),
    rule_for("overload", "overloaded_error"),
    BUSY,
    AT_ONCE,
    PLAN,
    rule_for("rate", "rate_limit_error"),
    rule_for("model", phrase=r"(^|\s)model: ?\S", statuses="404"),
)  # fmt: skip


def _endpoint(method: str, path: str) -> Endpoint | None:
    if method == "POST" and (found := _GENERATION.search(path)):
        return Endpoint(_NAME, _NAME, "generation", found[0])
    if method == "POST" and (found := _VERTEX.search(path)):
        return _vertex(found)
    if method in _READS and (found := _RESOURCE.search(path)):
        return Endpoint(_NAME, _NAME, "resource", found[0], source=_model_source(method, found[0]))
    return None


def _model_source(method: str, suffix: str) -> ModelSource:
    if method != "POST" or suffix.endswith("/cancel") or "/skills" in suffix:
        return "nothing"
    return "model" if suffix.endswith("/count_tokens") else "batch"


def _vertex(found: re.Match[str]) -> Endpoint | None:
    if found["model"] == "count-tokens":
        return Endpoint(_NAME, _NAME, "resource", found[0], source="model")
    if found["verb"] not in ("rawPredict", "streamRawPredict"):
        return None
    return Endpoint(_NAME, _NAME, "generation", found[0], found["model"], found["verb"] == "streamRawPredict")


def _error(refusal: Refusal, request_id: str) -> bytes:
    inner = {"type": _error_type(refusal), "message": refusal.message, "code": refusal.code}
    extra = {name: value for name, value in refusal.fields.items() if name not in inner}  # last: the SDK shows it all
    return msgspec.json.encode({"type": "error", "error": {**inner, **extra}, "request_id": request_id})


def _error_type(refusal: Refusal) -> str:
    if refusal.code in _NO_OVERLOAD or (refusal.status == 503 and refusal.final):
        return "api_error"
    return errors.word(_ERROR_TYPES, refusal.status, "api_error")


def _error_headers(refusal: Refusal) -> list[tuple[str, str]]:
    found = errors.headers(refusal)
    if errors.is_limit(refusal):
        found.append(("anthropic-ratelimit-unified-status", "rejected"))
        found.append(("anthropic-ratelimit-unified-reset", str(refusal.fields["resets_at"])))
    return found


def _read(name: str, data: dict[str, Any]) -> Iterator[Fact]:
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
        delta = tokens.member(data, "delta")
        yield from tokens.reference(delta.get("container"), "container")
        yield from _usage(data.get("usage"))
        yield from _finish(delta)
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


def _holds_answer(suffix: str, data: dict[str, Any]) -> bool:
    # An answer may be empty and end (`end_turn` after a tool's result, `max_tokens: 0`), but not with a tool call.
    # https://docs.anthropic.com/en/api/handling-stop-reasons#empty-responses-with-end-turn
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
    yield from tokens.reference(message.get("container"), "container")
    if "diagnostics" in message:
        yield from _diagnosis(message["diagnostics"])
    if isinstance(changes := message.get("input_transformations"), list) and changes:
        yield from _binding(changes)
    for block in tokens.dicts(message.get("content")):
        yield from _block(block)
    if isinstance(message.get("completion"), str) and message["completion"]:  # the old text completions
        yield from _text(message["completion"])
    yield from _usage(message.get("usage"))
    yield from _finish(message)


def _diagnosis(diagnostics: object) -> Iterator[Fact]:
    """
    Yield what the API found when it compared the request with the one of `diagnostics.previous_message_id`.

    Null: no difference; an empty reason: not compared yet; other reasons say nothing about whose request it was.
    https://platform.claude.com/docs/en/build-with-claude/cache-diagnostics
    """
    reason = diagnostics.get("cache_miss_reason") if isinstance(diagnostics, dict) else None
    kind = str(reason.get("type")) if isinstance(reason, dict) else ""
    if diagnostics is None or kind in _CHANGES:
        yield Fact("compared", _CHANGES.get(kind, "unchanged"), "body diagnostics")


def _binding(changes: list[Any]) -> Iterator[Fact]:
    """Yield the places of reasoning that was made in another conversation, as (message, block)."""
    named = [str(each.get("path")) for each in tokens.dicts(changes) if each.get("reason") == "prefix_binding_mismatch"]
    places = [found for name in named if (found := _PLACE.fullmatch(name))]
    if places:
        yield Fact("bound", tuple((int(found[1]), int(found[2])) for found in places), "body input_transformations")


def _continued_id(body: Body) -> str | None:
    thread = body.get("thread")
    return str(thread.get("previous_message_id") or "") if isinstance(thread, dict) else None


def _differing(error: Mapping[str, Any]) -> tuple[str, ...]:
    """Return what the API names as other than what its message thread holds; Claude Code reads it so too."""
    details = tokens.member(error["raw"], "details")
    found = _DIFFERING.search(error["message"]) if details.get("error_code") == "thread_fingerprint_mismatch" else None
    return tuple(re.split(r"\s*,\s*", found[1])) if found else ()


def _compared_id(body: Body) -> str | None:
    asked = body.get("diagnostics")
    if not isinstance(asked, dict):
        return None
    named = asked.get("previous_message_id")
    return named if isinstance(named, str) else ""


def _comparing(body: Body, previous: str) -> dict[str, object]:
    asks = "messages" in body and "diagnostics" not in body
    return {"diagnostics": {"previous_message_id": previous or None}} if asks else {}


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
    cached, written = (tokens.count(usage, name) for name in _CACHE_COUNTS)
    completion = tokens.count(usage, "output_tokens")
    yield Fact("usage", Usage(_prompt_of(usage), completion, cached=cached, cache_write=written))


def _read_calls(data: dict[str, Any]) -> Iterator[Fact]:
    match data.get("type"):
        case "content_block_delta":
            yield from tokens.call(data.get("index"), None, tokens.member(data, "delta").get("partial_json"))
        case "content_block_start":
            yield from _block_call(data.get("index"), tokens.member(data, "content_block"))
        case "message":
            for place, block in enumerate(tokens.dicts(data.get("content"))):
                yield from _block_call(place, block)


def _block_call(place: object, block: dict[str, Any]) -> Iterator[Fact]:
    if block.get("type") == "tool_use":
        yield from tokens.call(place, block.get("name"), block.get("input"))


class _MessageOrder(StreamOrder):
    """Blocks are opened, get deltas of their kind, and are closed; the end counts the prompt as the start did."""

    __slots__ = ("_kinds", "_prompt")

    def __init__(self) -> None:
        super().__init__()
        self._kinds: dict[object, str] = {}  # of the blocks that were opened
        self._prompt = 0  # tokens, as the start counts them

    def step(self, data: dict[str, Any]) -> Iterator[Fact]:
        kind, index = data.get("type"), data.get("index")
        if self._ended and kind not in ("ping", "error"):
            yield disorder("after-end", str(kind)[:SHOWN])
        match kind:
            case "message_start":
                message = tokens.member(data, "message")
                yield from self.start(message.get("id"))
                self._prompt = _prompt_of(tokens.member(message, "usage"))
            case "content_block_start" if isinstance(index, int):
                yield from self._opened(index, str(tokens.member(data, "content_block").get("type") or ""))
            case "content_block_delta" if isinstance(index, int) and index not in self._open:
                yield disorder("unopened", f"block {index}")
            case "content_block_delta":
                yield from self._fits(index, tokens.member(data, "delta").get("type"))
            case "content_block_stop" if isinstance(index, int):
                if index not in self._open:
                    yield disorder("unopened", f"block {index}")
                self._open.discard(index)
                self.close(index)
            case "message_delta":
                yield from self._closing(data)
            case "message_stop":
                self._ended = True

    def _opened(self, index: int, kind: str) -> Iterator[Fact]:
        if index in self._open or index in self._closed:
            yield disorder("opened-twice", f"block {index}")
        self.open(index)
        if len(self._kinds) < MEMBERS:
            self._kinds[index] = kind[:SHOWN]
            self._called = self._called or kind == "tool_use"

    def _fits(self, index: object, delta: object) -> Iterator[Fact]:
        kind = self._kinds.get(index, "") if isinstance(index, int) else ""
        wanted = _BLOCK_OF_DELTA.get(delta) if isinstance(delta, str) else None
        if wanted and kind in _BLOCKS and not kind.endswith(wanted):
            yield disorder("wrong-delta", f"{delta} in {kind}")

    def _closing(self, data: dict[str, Any]) -> Iterator[Fact]:
        if tokens.member(data, "delta").get("stop_reason") == "tool_use" and not self._called:
            yield disorder("no-call", "tool_use")
        if "context_management" in data or "iterations" in tokens.member(data, "usage"):
            return
        if any(kind.startswith(_SERVER_TOOLS) for kind in self._kinds.values()):  # their results add to the prompt
            return
        begun, ended = self._prompt, _prompt_of(tokens.member(data, "usage"))
        if begun and ended and begun != ended:  # 0: a server that does not count there
            yield disorder("another-prompt", f"{begun} → {ended} tokens")


def _prompt_of(usage: dict[str, Any]) -> int:
    return sum(tokens.count(usage, name) for name in ("input_tokens", *_CACHE_COUNTS))


def _has_shape(data: dict[str, Any]) -> bool:
    kind = data.get("type")
    return isinstance(kind, str) and (kind in _MARKS or (kind == "message" and "stop_reason" in data))


def _without_sealed(body: Body, keeps: Keeps) -> bytes:
    raw = body.raw or b""
    span = body.span("messages") if "messages" in body else None
    raw = json_splice.edited(raw, _thinking(raw, span[0], keeps)) if span else raw
    return json_splice.edited(raw, _thinking_off(Body(raw))) if "thinking" in body else raw


def _thinking(raw: bytes, at: int, keeps: Keeps) -> Iterator[Splice]:
    messages = json_splice.items(raw, at)
    empty: set[int] = set()
    for place, message in enumerate(messages):
        if raw.find(b"thinking", message.start, message.end) < 0:
            continue
        content = next((part for part in json_splice.members(raw, message.value) if part.name == "content"), None)
        blocks = json_splice.items(raw, content.value) if content else []
        signed = {
            at for at, block in enumerate(blocks) if _is_signed(json_splice.object_with(b"thinking", raw, block), keeps)
        }
        if signed and len(signed) == len(blocks):
            empty.add(place)
        else:
            yield from json_splice.removed(blocks, signed)
    yield from json_splice.removed(messages, empty)


def _is_signed(block: dict[str, object], keeps: Keeps) -> bool:
    mark = block.get("data") if block.get("type") == "redacted_thinking" else block.get("signature")
    return block.get("type") in _THINKING and not (isinstance(mark, str) and mark != "" and keeps(mark))


def _thinking_off(body: Body) -> Iterator[Splice]:
    # A tool loop whose last assistant turn does not begin with thinking is refused where thinking is `enabled`.
    thinking, messages = body.get("thinking"), body.get("messages")
    if not (isinstance(thinking, dict) and thinking.get("type") == "enabled" and isinstance(messages, list)):
        return
    turns = [message for message in messages if isinstance(message, dict)]
    last = max((place for place, turn in enumerate(turns) if turn.get("role") == "assistant"), default=-1)
    answered = {kind for turn in turns[last + 1 :] for kind in _kinds(turn)}
    begins = next(iter(_kinds(turns[last])), "text") if last >= 0 else ""
    if "tool_result" not in answered or begins in _THINKING:
        return
    raw = body.raw or b""
    if span := body.span("thinking"):
        yield *span, b'{"type":"disabled"}'
    managed = body.span("context_management") if "context_management" in body else None
    for member in json_splice.members(raw, managed[0]) if managed else ():
        if member.name == "edits":  # an edit that clears thinking is refused where there is none
            edits = json_splice.items(raw, member.value)
            clears = {at for at, part in enumerate(edits) if b"clear_thinking" in raw[part.start : part.end]}
            yield from json_splice.removed(edits, clears)


def _kinds(turn: dict[str, object]) -> Iterator[str]:
    content = turn.get("content")
    for block in content if isinstance(content, list) else ():
        yield str(block.get("type")) if isinstance(block, dict) else ""


DIALECT = Dialect(
    name=_NAME,
    family=_NAME,
    vendor="Anthropic",
    endpoint=_endpoint,
    tool_paths=("/api/claude_", "/api/event_logging", "/api/oauth", "/api/organizations", "/api/hello", "/api/eval"),
    models_headers={"anthropic-version": "2023-06-01"},
    path_words=frozenset(
        "messages complete count_tokens batches cancel skills projects publishers anthropic models rawPredict"
        " streamRawPredict".split()
    ),
    shared_paths=frozenset({"/models", "/files", "/skills"}),
    is_marked=lambda headers, query: "anthropic-version" in headers,
    credential_form="x-api-key",
    owning_marks={"messages": (b"file_id",)},
    bound_fields=(
        # null asks for the diagnosis all the same, as in a first turn
        BoundField("diagnostics.previous_message_id", instead=b"null"),
        BoundField("fallback_credit_token"),
        BoundField("workspace_id", accepted=True),
        BoundField(header="anthropic-workspace-id", accepted=True),
    ),
    without_sealed=_without_sealed,
    adds=lambda body: bool(_continued_id(body)),
    continued_id=_continued_id,
    differing=_differing,
    compared_id=_compared_id,
    prompt_parts=("system", "tools"),
    model_mode="speed",
    comparing=_comparing,
    read=_read,
    read_calls=_read_calls,
    order=_MessageOrder,
    terminal=frozenset({"message_stop", "completion"}),
    is_text=lambda suffix: True,
    holds_answer=_holds_answer,
    has_shape=_has_shape,
    answer_shape=lambda suffix: _NAME if suffix.endswith(("/messages", "Predict")) else "",
    transcript=anthropic_transcript.TRANSCRIPT,
    outcome_rules=_OUTCOME_RULES,
    error=_error,
    error_event=lambda refusal, request_id: b"event: error\ndata: " + _error(refusal, request_id) + b"\n\n",
    error_headers=_error_headers,
    quota_status=402,
)
