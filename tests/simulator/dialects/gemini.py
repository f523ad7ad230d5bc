"""Gemini generateContent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..asking import Asked, Mistake, Turn, flatten, named, objects, stable, whole as number
from ..reply import Reply, Usage

ANSWER_ID = ""  # no prefix: a responseId is 23 characters of no visible shape
TOOL_ID = ""
_STOPS = {"stop": "STOP", "length": "MAX_TOKENS"}


def read(document: Mapping[str, Any], model: str, stream: bool) -> Asked:
    contents = document.get("contents")
    if not isinstance(contents, list) or not contents:
        raise Mistake("* GenerateContentRequest.contents: contents is not specified")
    offered = [
        function
        for tool in objects(document.get("tools"))
        for function in objects(tool.get("functionDeclarations") or tool.get("function_declarations"))
    ]
    turns = [Turn("tools", stable(offered))] if offered else []
    system = document.get("systemInstruction") or document.get("system_instruction")
    if isinstance(system, dict):
        turns.append(Turn("system", flatten(system.get("parts"))))
    turns += [_turn(content) for content in objects(contents)]
    config = document.get("generationConfig")
    limit = number(config, "maxOutputTokens") if isinstance(config, dict) else None
    return Asked("gemini", model, stream, tuple(turns), named(offered), limit, document=document)


def whole(reply: Reply) -> dict[str, Any]:
    parts = [_call(reply)] if reply.tool else [{"text": reply.text}]
    return _chunk(reply, parts, _STOPS[reply.stop])


def events(reply: Reply) -> list[tuple[str, Any]]:
    if reply.tool:
        return [("", whole(reply))]
    pieces = reply.pieces or ("",)
    documents = [_chunk(reply, [{"text": piece}], "") for piece in pieces[:-1]]
    return [("", document) for document in (*documents, _chunk(reply, [{"text": pieces[-1]}], _STOPS[reply.stop]))]


def failure(error: Mapping[str, Any], number: int, reply: Reply | None) -> tuple[str, Any]:
    return "", dict(error)


def _turn(content: Mapping[str, Any]) -> Turn:
    role = "assistant" if content.get("role") == "model" else "user"
    parts = objects(content.get("parts"))
    responses = [part["functionResponse"] for part in parts if "functionResponse" in part]
    return Turn("tool", stable(responses)) if responses else Turn(role, flatten(list(parts)))


def _call(reply: Reply) -> dict[str, Any]:
    assert reply.tool
    return {"functionCall": {"name": reply.tool.name, "args": dict(reply.tool.arguments)}}


def _chunk(reply: Reply, parts: list[dict[str, Any]], finish: str) -> dict[str, Any]:
    candidate: dict[str, Any] = {"content": {"parts": parts, "role": "model"}}
    if finish:
        candidate["finishReason"] = finish
    candidate["index"] = 0
    identity = {"responseId": reply.answer_id} if reply.answer_id else {}
    usage = _usage(reply.usage, finished=bool(finish))
    return {"candidates": [candidate], "usageMetadata": usage, "modelVersion": reply.model, **identity}


def _usage(usage: Usage, *, finished: bool) -> dict[str, Any]:
    counted: dict[str, Any] = {
        "promptTokenCount": usage.prompt,
        "promptTokensDetails": [{"modality": "TEXT", "tokenCount": usage.prompt}],
        "totalTokenCount": usage.prompt + (usage.completion if finished else 0),
    }
    if finished:
        counted["candidatesTokenCount"] = usage.completion
    if usage.cached:
        counted["cachedContentTokenCount"] = usage.cached
    return counted
