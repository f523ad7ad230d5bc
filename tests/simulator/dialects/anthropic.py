"""Anthropic Messages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..asking import Asked, Mistake, Turn, flatten, named, objects, stable, whole as number
from ..reply import Reply, Usage

ANSWER_ID = "msg_01"
TOOL_ID = "toolu_01"
_STOPS = {"stop": "end_turn", "length": "max_tokens"}


def read(document: Mapping[str, Any], model: str, stream: bool) -> Asked:
    messages = document.get("messages")
    if not isinstance(messages, list) or not messages:
        raise Mistake("messages: Field required")
    tools = objects(document.get("tools"))
    turns = [Turn("tools", stable(_unmarked(tools)))] if tools else []
    if system := flatten(document.get("system")):
        turns.append(Turn("system", system))
    for message in objects(messages):
        turns += _turns(message)
    return Asked(
        "anthropic",
        str(document.get("model") or model),
        document.get("stream") is True,
        tuple(turns),
        named(tools),
        number(document, "max_tokens"),
        document=document,
    )


def whole(reply: Reply) -> dict[str, Any]:
    said = {**_block(reply), "input": dict(reply.tool.arguments)} if reply.tool else _block(reply, reply.text)
    content = [{"type": "thinking", "thinking": "", "signature": reply.sealed}, said] if reply.sealed else [said]
    usage = {**_input_usage(reply.usage), "output_tokens": reply.usage.completion}
    return {**_message(reply), "content": content, "stop_reason": _stop(reply), "usage": usage}


def events(reply: Reply) -> list[tuple[str, Any]]:
    usage = {**_input_usage(reply.usage), "output_tokens": 1}
    final = {"stop_reason": _stop(reply), "stop_sequence": None}
    inputs = {name: number for name, number in usage.items() if name.endswith("input_tokens")}
    counted, at = {**inputs, "output_tokens": reply.usage.completion}, int(bool(reply.sealed))
    documents: list[dict[str, Any]] = [
        {"type": "message_start", "message": {**_message(reply), "usage": usage}},
        *_thinking(reply),
        {"type": "content_block_start", "index": at, "content_block": _block(reply)},
        {"type": "ping"},
        *({"type": "content_block_delta", "index": at, "delta": delta} for delta in _deltas(reply)),
        {"type": "content_block_stop", "index": at},
        {"type": "message_delta", "delta": final, "usage": counted},
        {"type": "message_stop"},
    ]
    return [(document["type"], document) for document in documents]


def _thinking(reply: Reply) -> list[dict[str, Any]]:
    if not reply.sealed:
        return []
    block = {"type": "thinking", "thinking": "", "signature": ""}
    delta = {"type": "signature_delta", "signature": reply.sealed}
    return [
        {"type": "content_block_start", "index": 0, "content_block": block},
        {"type": "content_block_delta", "index": 0, "delta": delta},
        {"type": "content_block_stop", "index": 0},
    ]


def failure(error: Mapping[str, Any], number: int, reply: Reply | None) -> tuple[str, Any]:
    return "error", dict(error)


def _turns(message: Mapping[str, Any]) -> list[Turn]:
    """Read one message; results of tools, which stand inside user messages here, become turns of their own."""
    role, content = str(message.get("role", "user")), message.get("content")
    results = [block for block in objects(content) if block.get("type") == "tool_result"]
    if not results:
        return [Turn(role, flatten(content))]
    rest = [block for block in objects(content) if block.get("type") != "tool_result"]
    turns = [Turn("tool", flatten(block.get("content"))) for block in results]
    return [*turns, Turn(role, flatten(rest))] if rest else turns


def _unmarked(value: Any) -> Any:
    """Return *value* without cache markers: where they stand moves from turn to turn and is not part of the prompt."""
    if isinstance(value, dict):
        return {name: _unmarked(inner) for name, inner in value.items() if name != "cache_control"}
    return [_unmarked(inner) for inner in value] if isinstance(value, list) else value


def _message(reply: Reply) -> dict[str, Any]:
    identity = {"id": reply.answer_id} if reply.answer_id else {}
    kind = {"type": "message", "role": "assistant", "model": reply.model, "content": []}
    return {**identity, **kind, "stop_reason": None, "stop_sequence": None, **reply.told}


def _block(reply: Reply, text: str = "") -> dict[str, Any]:
    if reply.tool:
        return {"type": "tool_use", "id": reply.tool.call_id, "name": reply.tool.name, "input": {}}
    return {"type": "text", "text": text}


def _deltas(reply: Reply) -> list[dict[str, Any]]:
    if not reply.tool:
        return [{"type": "text_delta", "text": piece} for piece in reply.pieces]
    arguments = stable(reply.tool.arguments)
    half = len(arguments) // 2
    parts = ("", arguments[:half], arguments[half:])
    return [{"type": "input_json_delta", "partial_json": part} for part in parts]


def _stop(reply: Reply) -> str:
    return "tool_use" if reply.tool else _STOPS[reply.stop]


def _input_usage(usage: Usage) -> dict[str, Any]:
    """Count the prompt the Anthropic way: input_tokens is what was neither read from nor written to the cache."""
    return {
        "input_tokens": usage.prompt - usage.cached - usage.written,
        "cache_creation_input_tokens": usage.written,
        "cache_read_input_tokens": usage.cached,
        "cache_creation": {"ephemeral_5m_input_tokens": usage.written, "ephemeral_1h_input_tokens": 0},
        "service_tier": "standard",
    }
