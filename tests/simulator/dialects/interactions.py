"""Gemini's interactions: stored answers made of steps, continued by their ids."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from ..asking import Asked, Mistake, Turn, flatten, named, objects, stable, whole as number
from ..reply import Reply, Usage

ANSWER_ID = "v1_"
TOOL_ID = ""


def read(document: Mapping[str, Any], model: str, stream: bool) -> Asked:
    tools = [tool for tool in objects(document.get("tools")) if tool.get("type") == "function"]
    turns = [Turn("tools", stable(tools))] if tools else []
    if system := flatten(document.get("system_instruction")):
        turns.append(Turn("system", system))
    turns += _input(document.get("input"))
    config = document.get("generation_config")
    limit = number(config, "max_output_tokens") if isinstance(config, dict) else None
    asked = str(document.get("model") or document.get("agent") or model)
    streams = document.get("stream") is True
    return Asked("interactions", asked, streams, tuple(turns), named(tools), limit, document=document)


def whole(reply: Reply) -> dict[str, Any]:
    status = "requires_action" if reply.tool else "in_progress" if _is_background(reply) else "completed"
    return {**_interaction(reply, status), "steps": [] if _is_background(reply) else [_step(reply)]}


def events(reply: Reply) -> list[tuple[str, Any]]:
    plain: list[dict[str, Any]] = [
        {"event_type": "interaction.created", "interaction": {**_interaction(reply, "in_progress"), "steps": []}},
        {"event_type": "step.start", "index": 0, "step": _step(reply) if reply.tool else {"type": "model_output"}},
        *({"event_type": "step.delta", "index": 0, "delta": delta} for delta in _deltas(reply)),
        {"event_type": "step.stop", "index": 0},
        {"event_type": "interaction.completed", "interaction": {**whole(reply), "steps": []}},
    ]
    return [(event["event_type"], {**event, "event_id": f"{reply.answer_id}_{at}"}) for at, event in enumerate(plain)]


def failure(error: Mapping[str, Any], number: int, reply: Reply | None) -> tuple[str, Any]:
    inner = error.get("error", {})
    said = {"code": inner.get("code") or inner.get("type"), "message": inner.get("message")}
    return "error", {"event_type": "error", "error": said}


def _input(value: object) -> list[Turn]:
    if isinstance(value, str) and value:
        return [Turn("user", value)]
    entries = [value] if isinstance(value, dict) else objects(value)
    if not entries:
        raise Mistake("Missing required parameter: 'input'.")
    return [_turn(entry) for entry in entries]


def _turn(step: Mapping[str, Any]) -> Turn:
    kind = str(step.get("type"))
    if kind.endswith("_result"):
        return Turn("tool", stable(step))
    role = "assistant" if kind in ("model_output", "thought") or kind.endswith("_call") else "user"
    return Turn(role, flatten(dict(step)))


def _is_background(reply: Reply) -> bool:
    return reply.asked.document.get("background") is True and not reply.asked.stream


def _interaction(reply: Reply, status: str) -> dict[str, Any]:
    at = datetime.fromtimestamp(reply.created, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    named_by = "agent" if "agent" in reply.asked.document else "model"
    previous = reply.asked.document.get("previous_interaction_id")
    said = {
        "id": reply.answer_id,
        "status": status,
        "created": at,
        "updated": at,
        named_by: reply.model,
        "role": "model",
    }
    return {**said, **({"previous_interaction_id": previous} if previous else {}), "usage": _usage(reply.usage)}


def _step(reply: Reply) -> dict[str, Any]:
    if reply.tool:
        return {"type": "function_call", "id": reply.tool.call_id, "name": reply.tool.name,
                "arguments": dict(reply.tool.arguments)}  # fmt: skip
    return {"type": "model_output", "content": [{"type": "text", "text": reply.text}]}


def _deltas(reply: Reply) -> list[dict[str, Any]]:
    if reply.tool:
        return [{"type": "arguments_delta", "arguments": stable(dict(reply.tool.arguments))}]
    return [{"type": "text", "text": piece} for piece in reply.pieces]


def _usage(usage: Usage) -> dict[str, Any]:
    return {
        "total_input_tokens": usage.prompt,
        "total_cached_tokens": usage.cached,
        "total_output_tokens": usage.completion,
        "total_tokens": usage.prompt + usage.completion,
    }
