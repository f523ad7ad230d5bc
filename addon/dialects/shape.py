"""Which dialect a JSON object looks like, by marks that no two of them share."""

from __future__ import annotations

from typing import Any

_ANTHROPIC = frozenset(
    "message_start content_block_start content_block_delta content_block_stop message_delta message_stop".split()
)


def is_of(dialect: str, data: dict[str, Any]) -> bool:
    """Whether *data* carries a mark of *dialect*: the cheap question, asked of every event."""
    match dialect:
        case "openai_chat":
            return "choices" in data
        case "openai_responses":
            kind = data.get("type")
            return (isinstance(kind, str) and kind.startswith("response.")) or data.get("object") == "response"
        case "anthropic":
            kind = data.get("type")
            return isinstance(kind, str) and (kind in _ANTHROPIC or (kind == "message" and "stop_reason" in data))
        case "gemini":
            inner = data.get("response")
            return "candidates" in data or (isinstance(inner, dict) and "candidates" in inner)
        case "embedding":
            entries = data.get("data")
            first = entries[0] if isinstance(entries, list) and entries else None
            return isinstance(first, dict) and first.get("object") == "embedding"
    return False


def of(data: dict[str, Any]) -> str:
    """Return the one dialect (or `embedding`) that *data* looks like, or nothing when it could be several or none."""
    found = [name for name in NAMES if is_of(name, data)]
    return found[0] if len(found) == 1 else ""


NAMES = ("openai_chat", "openai_responses", "anthropic", "gemini", "embedding")
