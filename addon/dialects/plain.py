"""Paths of no dialect. Our errors still need a shape there: it is OpenAI's, which most tools can show."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..values.answer import Fact
from ..values.http import Endpoint
from . import openai_chat, tokens

NAME = "plain"
FAMILY = ""
_STORED = (
    "thread",
    "assistant",
    "video",
    "eval",
    "chatkit",
    "agent",
    "session",
    "environment",
    "vault",
    "memory_store",
)

TERMINAL: frozenset[str] = frozenset()

error = openai_chat.error
error_event = openai_chat.error_event


def endpoint(method: str, path: str) -> Endpoint | None:
    """Know no path."""
    return None


def is_text(suffix: str) -> bool:
    """Know no generation."""
    return False


def holds_answer(suffix: str, data: dict[str, Any]) -> bool:
    """Judge nothing: what such a path answers is not known."""
    return True


def read(name: str, data: dict[str, Any]) -> Iterator[Fact]:
    """
    Yield the id of a stored thing (a thread, a video) of a body that says what it is, and nothing else.

    Not even an `error` in a good answer means the same everywhere.
    """
    kind = data.get("object") or data.get("type")
    if not name and isinstance(kind, str) and kind.startswith(_STORED):
        yield from tokens.token(data.get("id"), "file")
