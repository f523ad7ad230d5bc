"""The simulator's answers in every dialect: whole, as events, and as a stream."""

from __future__ import annotations

import json
from typing import Any

from ..simulator.asking import Asked
from ..simulator.dialects import DIALECTS
from ..simulator.reply import Reply, Tool, Usage

NAMES = {
    "chat": "openai_chat",
    "responses": "openai_responses",
    "anthropic": "anthropic",
    "gemini": "gemini",
    "interactions": "gemini",
}
TOOL = Tool("get_weather", {"city": "Rome", "days": [1, 2.5]}, "call_1")
TEXT = "one two\n three é 漢字 🙂 four"


def reply(name: str, tool: Tool | None) -> Reply:
    asked = Asked(name, "m", True, (), usage_chunk=True, document={"input": "hi"})
    sealed = "U2VhbGVk" * 40 if name == "responses" else ""
    return Reply(asked, "ans-1", "item_1", "m-2", TEXT, 1_700_000_000, Usage(100, 50, 20, 7), tool, sealed=sealed)


def events_of(name: str, tool: Tool | None) -> list[tuple[str, Any]]:
    events: list[tuple[str, Any]] = json.loads(json.dumps(DIALECTS[name].events(reply(name, tool))))
    return events


def sse(name: str, tool: Tool | None) -> bytes:
    return b"".join(
        (f"event: {event}\n" if event else "").encode() + b"data: " + bytes_of(data) + b"\n\n"
        for event, data in events_of(name, tool)
    )


def bytes_of(data: Any) -> bytes:
    return data.encode() if isinstance(data, str) else json.dumps(data, ensure_ascii=False).encode()


def other_reply(name: str) -> Reply:
    """Return an answer that has nothing in common with that of `reply`."""
    asked = Asked(name, "m", True, (), document={"input": "hi"})
    return Reply(asked, "ans-2", "item_2", "m-3", "other words", 1_800_000_000, Usage(900, 800, 70, 60))


def whole(name: str, tool: Tool | None) -> bytes:
    return json.dumps(DIALECTS[name].whole(reply(name, tool))).encode()
