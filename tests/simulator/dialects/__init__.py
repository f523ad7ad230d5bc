"""The wire protocols the provider speaks: each reads what is asked and writes an answer down, whole or in events."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from ..asking import Asked
from ..reply import Reply
from . import anthropic, chat, gemini, interactions, responses


class Dialect(Protocol):
    """What a dialect module offers. Every document it returns may be changed by the caller."""

    ANSWER_ID: str  # prefix of the ids of its answers
    TOOL_ID: str  # prefix of the ids of tool calls

    def read(self, document: Mapping[str, Any], model: str, stream: bool) -> Asked:
        """Say what *document* asks; *model* and *stream* are the path's word. Raises Mistake."""

    def whole(self, reply: Reply) -> dict[str, Any]:
        """Return the answer as one document."""

    def events(self, reply: Reply) -> list[tuple[str, Any]]:
        """Return the answer's stream: (name, document or literal text) of every event."""

    def failure(self, error: Mapping[str, Any], number: int, reply: Reply | None) -> tuple[str, Any]:
        """Return the event in which *error* is said in a stream, as event *number* of it."""


DIALECTS: Mapping[str, Dialect] = {
    "chat": chat,
    "responses": responses,
    "anthropic": anthropic,
    "gemini": gemini,
    "interactions": interactions,
}
