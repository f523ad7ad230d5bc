"""OpenAI Responses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..asking import Asked, Mistake, Turn, flatten, named, objects, stable, whole as number
from ..reply import Reply, Usage

ANSWER_ID = "resp_"
TOOL_ID = "call_"
# What a real answer repeats of its request, with what stands there when the request said nothing.
SETTINGS: Mapping[str, Any] = {
    "instructions": None,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "prompt_cache_key": None,
    "reasoning": {"effort": None, "summary": None},
    "safety_identifier": None,
    "store": True,
    "temperature": 1.0,
    "text": {"format": {"type": "text"}, "verbosity": "medium"},
    "tool_choice": "auto",
    "tools": [],
    "top_p": 1.0,
    "truncation": "disabled",
    "user": None,
    "background": False,
}


def read(document: Mapping[str, Any], model: str, stream: bool) -> Asked:
    tools = objects(document.get("tools"))
    turns = [Turn("tools", stable(tools))] if tools else []
    if instructions := flatten(document.get("instructions")):
        turns.append(Turn("system", instructions))
    turns += _input(document.get("input"))
    return Asked(
        "responses",
        str(document.get("model") or model),
        document.get("stream") is True,
        tuple(turns),
        named(tool for tool in tools if tool.get("type") in ("function", "custom")),
        number(document, "max_output_tokens"),
        document=document,
    )


def whole(reply: Reply) -> dict[str, Any]:
    status = "incomplete" if reply.stop == "length" and not reply.tool else "completed"
    return {**_response(reply, status), "output": _output(reply), "usage": _usage(reply.usage)}


def events(reply: Reply) -> list[tuple[str, Any]]:
    started = {**_response(reply, "in_progress"), "output": [], "usage": None}
    final = whole(reply)
    plain: list[dict[str, Any]] = [
        {"type": "response.created", "response": started},
        {"type": "response.in_progress", "response": dict(started)},
        *_reasoning_events(reply),
        {"type": "response.output_item.added", "output_index": _at(reply), "item": _item(reply, "in_progress")},
        *(_tool_events(reply) if reply.tool else _text_events(reply)),
        {"type": "response.output_item.done", "output_index": _at(reply), "item": _item(reply, "completed")},
        {"type": f"response.{final['status']}", "response": final},
    ]
    return [(event["type"], {**event, "sequence_number": at}) for at, event in enumerate(plain)]


def failure(error: Mapping[str, Any], number: int, reply: Reply | None) -> tuple[str, Any]:
    inner = error.get("error", {})
    if reply is None:
        event = {"type": "error", "code": inner.get("code"), "message": inner.get("message"), "param": None}
        return "error", {**event, "sequence_number": number}
    said = {"code": inner.get("code") or "server_error", "message": inner.get("message")}
    response = {**_response(reply, "failed"), "output": [], "usage": None, "error": said}
    return "response.failed", {"type": "response.failed", "response": response, "sequence_number": number}


def _input(value: object) -> list[Turn]:
    if isinstance(value, str) and value:
        return [Turn("user", value)]
    if not isinstance(value, list) or not value:
        raise Mistake("Missing required parameter: 'input'.")
    return [_turn(item) for item in objects(value)]


def _turn(item: Mapping[str, Any]) -> Turn:
    match item:
        case {"type": "function_call_output" | "custom_tool_call_output"}:
            return Turn("tool", flatten(item.get("output")))
        case {"role": str(role)}:
            return Turn("system" if role == "developer" else role, flatten(item.get("content")))
        case {"type": "input_text" | "input_image" | "input_file"}:
            return Turn("user", flatten(dict(item)))
        case _:
            return Turn("assistant", stable(item))


def _response(reply: Reply, status: str) -> dict[str, Any]:
    asked = reply.asked.document
    settings = {name: asked[name] if asked.get(name) is not None else usual for name, usual in SETTINGS.items()}
    incomplete = {"reason": "max_output_tokens"} if status == "incomplete" else None
    identity = {"id": reply.answer_id} if reply.answer_id else {}
    return {
        **identity,
        "object": "response",
        "created_at": reply.created,
        "status": status,
        "error": None,
        "incomplete_details": incomplete,
        "model": reply.model,
        "service_tier": "default",
        **settings,
        **reply.told,
    }


def _output(reply: Reply) -> list[dict[str, Any]]:
    item = _item(reply, "completed")
    return [_reasoning(reply), item] if reply.sealed else [item]


def _at(reply: Reply) -> int:
    """Return the place of the message or call in the output: reasoning comes before it."""
    return 1 if reply.sealed else 0


def _reasoning(reply: Reply) -> dict[str, Any]:
    number = "rs_" + reply.item_id.partition("_")[2]
    return {"type": "reasoning", "id": number, "summary": [], "encrypted_content": reply.sealed}


def _reasoning_events(reply: Reply) -> list[dict[str, Any]]:
    if not reply.sealed:
        return []
    begun = {**_reasoning(reply), "encrypted_content": ""}
    return [
        {"type": "response.output_item.added", "output_index": 0, "item": begun},
        {"type": "response.output_item.done", "output_index": 0, "item": _reasoning(reply)},
    ]


def _item(reply: Reply, status: str) -> dict[str, Any]:
    done = status == "completed"
    if reply.tool:
        arguments = stable(reply.tool.arguments) if done else ""
        call = {"call_id": reply.tool.call_id, "name": reply.tool.name, "arguments": arguments}
        return {"type": "function_call", "id": reply.item_id, "status": status, **call}
    content = [_part(reply.text)] if done else []
    return {"type": "message", "id": reply.item_id, "status": status, "role": "assistant", "content": content}


def _part(text: str) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _text_events(reply: Reply) -> list[dict[str, Any]]:
    place = {"item_id": reply.item_id, "output_index": _at(reply), "content_index": 0}
    deltas = [{"type": "response.output_text.delta", **place, "delta": piece, "logprobs": []} for piece in reply.pieces]
    return [
        {"type": "response.content_part.added", **place, "part": _part("")},
        *deltas,
        {"type": "response.output_text.done", **place, "text": reply.text, "logprobs": []},
        {"type": "response.content_part.done", **place, "part": _part(reply.text)},
    ]


def _tool_events(reply: Reply) -> list[dict[str, Any]]:
    assert reply.tool
    place = {"item_id": reply.item_id, "output_index": _at(reply)}
    arguments = stable(reply.tool.arguments)
    half = len(arguments) // 2
    kind = "response.function_call_arguments"
    return [
        {"type": f"{kind}.delta", **place, "delta": arguments[:half]},
        {"type": f"{kind}.delta", **place, "delta": arguments[half:]},
        {"type": f"{kind}.done", **place, "name": reply.tool.name, "arguments": arguments},
    ]


def _usage(usage: Usage) -> dict[str, Any]:
    return {
        "input_tokens": usage.prompt,
        "input_tokens_details": {"cached_tokens": usage.cached, "cache_write_tokens": usage.written},
        "output_tokens": usage.completion,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": usage.prompt + usage.completion,
    }
