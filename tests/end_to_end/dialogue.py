"""Requests of the four dialects as plain JSON, for tests that look at bytes rather than at SDKs."""

from __future__ import annotations

import json
from typing import Any

DIALECTS = ("openai_chat", "openai_responses", "anthropic", "gemini")


def path(dialect: str, *, stream: bool = False) -> str:
    """Return where *dialect* asks for an answer."""
    action = "streamGenerateContent?alt=sse" if stream else "generateContent"
    return {
        "openai_chat": "/v1/chat/completions",
        "openai_responses": "/v1/responses",
        "anthropic": "/v1/messages",
        "gemini": f"/v1beta/models/gemini-sim:{action}",
    }[dialect]


def body(dialect: str, turns: list[str], *, stream: bool = False, model: str = "sim-1") -> dict[str, Any]:
    """Return the body that carries *turns*: a user's, an assistant's, a user's, …"""
    roles = [("user", "assistant")[number % 2] for number in range(len(turns))]
    said = list(zip(roles, turns, strict=True))
    messages = [{"role": role, "content": text} for role, text in said]
    match dialect:
        case "openai_chat":
            return {"model": model, "messages": messages, "stream": stream}
        case "openai_responses":
            return {"model": model, "input": messages, "stream": stream, "store": False}
        case "anthropic":
            return {"model": model, "max_tokens": 64, "messages": messages, "stream": stream}
        case _:
            names = {"user": "user", "assistant": "model"}
            return {"contents": [{"role": names[role], "parts": [{"text": text}]} for role, text in said]}


def credential(dialect: str, key: str) -> dict[str, str]:
    """Return the header in which a client of *dialect* sends *key*."""
    match dialect:
        case "anthropic":
            return {"x-api-key": key, "anthropic-version": "2023-06-01"}
        case "gemini":
            return {"x-goog-api-key": key}
        case _:
            return {"authorization": f"Bearer {key}"}


def text_of(dialect: str, answer: bytes) -> str:
    """Return what the assistant said in a buffered *answer*."""
    said = json.loads(answer)
    match dialect:
        case "openai_chat":
            return str(said["choices"][0]["message"]["content"])
        case "openai_responses":
            return "".join(
                part["text"] for item in said["output"] for part in item.get("content", []) if part.get("text")
            )
        case "anthropic":
            return "".join(part.get("text", "") for part in said["content"])
        case _:
            return "".join(part.get("text", "") for part in said["candidates"][0]["content"]["parts"])
