"""
The wire protocols we read. Each is one file: its paths, how its answers are read, how its errors look.

Registration is the tuple below; the first dialect that knows a path has it.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Protocol

from ..values import Endpoint, Fact, Refusal
from . import anthropic, gemini, openai_chat, openai_responses, plain


class Dialect(Protocol):
    """What a dialect module offers. Paths come without their query."""

    NAME: str
    FAMILY: str

    def endpoint(self, method: str, path: str) -> Endpoint | None:
        """Say what *path* means here, or None when this dialect does not know it."""

    def error(self, refusal: Refusal, request_id: str) -> bytes:
        """Return the body of an error answer that a client of this dialect understands."""

    def error_event(self, refusal: Refusal, request_id: str) -> bytes:
        """Return the server-sent event(s) that end a stream of this dialect with an error."""

    def read(self, name: str, data: dict[str, Any]) -> Iterator[Fact]:
        """Yield the facts of one event of a stream (*name* is never empty), or of a whole body (*name* is empty)."""


DIALECTS: tuple[Dialect, ...] = (openai_responses, openai_chat, anthropic, gemini)
_SHORT = 256  # characters of a path whose meaning is remembered
BY_NAME = MappingProxyType({dialect.NAME: dialect for dialect in DIALECTS})


def endpoint(method: str, path: str) -> Endpoint:
    """Say what *path* (without its query) means; a path of no dialect gives an Endpoint without one."""
    return _known(method, path) if len(path) <= _SHORT else _endpoint(method, path)


def _endpoint(method: str, path: str) -> Endpoint:
    for dialect in DIALECTS:
        found = dialect.endpoint(method, path)
        if found is not None:
            return found
    return Endpoint(suffix=path)


_known = lru_cache(1024)(_endpoint)  # tools ask the same few paths again and again


def of(name: str) -> Dialect:
    """Return the dialect *name*; for paths of no dialect, the plain one, whose errors are OpenAI's shape."""
    return BY_NAME.get(name, plain)
