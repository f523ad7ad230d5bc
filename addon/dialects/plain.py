"""Paths of no dialect. Our errors still need a shape there: it is OpenAI's, which most tools can show."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..values import Endpoint, Fact
from . import openai_chat

NAME = "plain"
FAMILY = ""

error = openai_chat.error
error_event = openai_chat.error_event


def endpoint(method: str, path: str) -> Endpoint | None:
    """Know no path."""
    return None


def read(name: str, data: dict[str, Any]) -> Iterator[Fact]:
    """Yield nothing: not even an `error` in a good answer means the same everywhere."""
    yield from ()
