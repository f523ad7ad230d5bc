"""Bodies of every dialect: small ones with all forms for what breaks bodies, and requests of any size."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from .answers import NAMES, TOOL, sse, whole

_WORDS = 'the quick brown fox jumps over a lazy dog src/main.py line return value é 漢字 "quoted" \\n'.split(" ")


@dataclass(frozen=True, slots=True)
class Sample:
    """A body and what is known of it; *messages* instead of the body are those of a WebSocket."""

    name: str
    dialect: str
    suffix: str
    content_type: str
    body: bytes
    is_request: bool = False
    messages: tuple[bytes, ...] = ()


def request_of(dialect: str, size: int, words: int, seed: int = 1) -> bytes:
    """Return a long conversation of *size* bytes, with calls of tools; each text has some *words*."""
    chance = random.Random(seed)
    turns: list[Any] = []
    length = 0
    while length < size:
        text = " ".join(chance.choices(_WORDS, k=words))
        added = _TURNS[dialect](text, str(len(turns)))
        turns += added
        length += len(json.dumps(added, ensure_ascii=False).encode())
    member = {"gemini": "contents", "openai_responses": "input"}.get(dialect, "messages")
    return json.dumps({"model": "m", member: turns}, ensure_ascii=False).encode()


def _messages(text: str, at: str) -> list[Any]:
    use = {"type": "tool_use", "id": at, "name": "Read", "input": {"path": text[:40], "lines": [1, 2]}}
    result = {"type": "tool_result", "tool_use_id": at, "content": [{"type": "text", "text": text}]}
    said = {"type": "text", "text": text}
    return [
        {"role": "assistant", "content": [{"type": "text", "text": text}, use]},
        {"role": "user", "content": [result, said]},
    ]


def _chat(text: str, at: str) -> list[Any]:
    call = {"id": at, "type": "function", "function": {"name": "f", "arguments": json.dumps({"a": text})}}
    return [
        {"role": "user", "content": text},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": at, "content": text},
    ]


def _responses(text: str, at: str) -> list[Any]:
    return [
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]},
        {"type": "reasoning", "id": "rs", "summary": [], "encrypted_content": "QUJD" * 50},
        {"type": "function_call", "call_id": at, "name": "shell", "arguments": json.dumps({"a": text})},
        {"type": "function_call_output", "call_id": at, "output": text},
    ]


def _gemini(text: str, at: str) -> list[Any]:
    return [
        {"role": "user", "parts": [{"text": text}]},
        {"role": "model", "parts": [{"functionCall": {"name": "f", "args": {"a": text}}}]},
        {"role": "user", "parts": [{"functionResponse": {"name": "f", "response": {"output": text}}}]},
    ]


_TURNS = {"anthropic": _messages, "openai_chat": _chat, "openai_responses": _responses, "gemini": _gemini}


def _samples() -> Iterator[Sample]:
    for dialect in _TURNS:
        yield Sample("request", dialect, "", "application/json", request_of(dialect, 2000, 8), is_request=True)
    for name, dialect in NAMES.items():
        for tool in (None, TOOL):
            yield Sample("answer", dialect, "", "application/json", whole(name, tool))
            yield Sample("stream", dialect, "", "text/event-stream", sse(name, tool))


SAMPLES = tuple(_samples())
