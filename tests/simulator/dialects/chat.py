"""OpenAI chat completions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..asking import Asked, Mistake, Turn, flatten, named, objects, stable, whole as number
from ..reply import Reply, Usage

ANSWER_ID = "chatcmpl-"
TOOL_ID = "call_"
_ROLES = {"developer": "system", "function": "tool"}


def read(document: Mapping[str, Any], model: str, stream: bool) -> Asked:
    messages = document.get("messages")
    if not isinstance(messages, list) or not messages:
        raise Mistake("Missing required parameter: 'messages'.")
    tools = [tool.get("function", tool) for tool in objects(document.get("tools"))]
    turns = [Turn("tools", stable(tools))] if tools else []
    turns += [_turn(message) for message in objects(messages)]
    options = document.get("stream_options")
    return Asked(
        "chat",
        str(document.get("model") or model),
        document.get("stream") is True,
        tuple(turns),
        named(tools),
        number(document, "max_completion_tokens", "max_tokens"),
        isinstance(options, dict) and options.get("include_usage") is True,
        document=document,
    )


def whole(reply: Reply) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": None if reply.tool else reply.text, "refusal": None}
    if reply.tool:
        message["tool_calls"] = [_call(reply)]
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": _finish(reply)}
    return {**_common(reply, "chat.completion"), "choices": [choice], "usage": _usage(reply.usage)}


def events(reply: Reply) -> list[tuple[str, Any]]:
    deltas: list[dict[str, Any]] = [{"role": "assistant", "content": None if reply.tool else "", "refusal": None}]
    if reply.tool:
        deltas += _tool_deltas(reply)
    else:
        deltas += [{"content": piece} for piece in reply.pieces]
    choices: list[dict[str, Any]] = [
        {"index": 0, "delta": delta, "logprobs": None, "finish_reason": None} for delta in deltas
    ]
    choices.append({"index": 0, "delta": {}, "logprobs": None, "finish_reason": _finish(reply)})
    documents: list[dict[str, Any]] = [
        {**_common(reply, "chat.completion.chunk"), "choices": [choice]} for choice in choices
    ]
    if reply.asked.usage_chunk:
        for document in documents:
            document["usage"] = None
        last = {**_common(reply, "chat.completion.chunk"), "choices": [], "usage": _usage(reply.usage)}
        documents.append(last)
    return [*(("", document) for document in documents), ("", "[DONE]")]


def failure(error: Mapping[str, Any], number: int, reply: Reply | None) -> tuple[str, Any]:
    return "", dict(error)


def _turn(message: Mapping[str, Any]) -> Turn:
    role = str(message.get("role", "user"))
    calls = message.get("tool_calls")
    text = flatten(message.get("content")) + (stable(calls) if calls else "")
    return Turn(_ROLES.get(role, role), text)


def _common(reply: Reply, kind: str) -> dict[str, Any]:
    identity = {"id": reply.answer_id} if reply.answer_id else {}
    rest: dict[str, Any] = {"object": kind, "created": reply.created, "model": reply.model, "service_tier": "default"}
    return {**identity, **rest, "system_fingerprint": "fp_5a1b2c3d4e"}


def _call(reply: Reply) -> dict[str, Any]:
    assert reply.tool
    function = {"name": reply.tool.name, "arguments": stable(reply.tool.arguments)}
    return {"id": reply.tool.call_id, "type": "function", "function": function}


def _tool_deltas(reply: Reply) -> list[dict[str, Any]]:
    call = _call(reply)
    arguments = call["function"]["arguments"]
    half = len(arguments) // 2
    start: dict[str, Any] = {"index": 0, **call, "function": {"name": call["function"]["name"], "arguments": ""}}
    rest = [{"index": 0, "function": {"arguments": part}} for part in (arguments[:half], arguments[half:])]
    return [{"tool_calls": [part]} for part in (start, *rest)]


def _finish(reply: Reply) -> str:
    return "tool_calls" if reply.tool else reply.stop


def _usage(usage: Usage) -> dict[str, Any]:
    return {
        "prompt_tokens": usage.prompt,
        "completion_tokens": usage.completion,
        "total_tokens": usage.prompt + usage.completion,
        "prompt_tokens_details": {"cached_tokens": usage.cached, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
    }
