"""What a request asks for, read from its body without regard to which dialect it was written in."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

MARK = re.compile(r"MARK-[0-9a-f]{32}")
WORDS = re.compile(r"WORDS-(\d{1,6})")
SIGN_WORDS = "SIGN_WORDS"
USE_TOOL = "USE_TOOL"


class Mistake(Exception):
    """The request is not one this dialect allows: the kind of error, what names it, and what a provider would say."""

    def __init__(
        self, message: str, kind: str = "request", *, status: int | None = None, code: str | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.kind = kind
        self.status = status


@dataclass(frozen=True, slots=True)
class Turn:
    """One entry of the history: its role (`system`, `user`, `assistant`, `tool`, `tools`) and its text."""

    role: str
    text: str


@dataclass(frozen=True, slots=True)
class Asked:
    """
    One request for an answer.

    *turns* is the whole prompt in cache order (tools and system text first). *document* is the body as it was read.
    """

    dialect: str
    model: str
    stream: bool
    turns: tuple[Turn, ...]
    tools: tuple[str, ...] = ()
    limit: int | None = None
    usage_chunk: bool = False
    document: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @property
    def own(self) -> tuple[str, ...]:
        """Return the last user message, and what tools have said since."""
        said = [turn for turn in self.turns if turn.role in ("user", "tool")]
        last = max((at for at, turn in enumerate(said) if turn.role == "user"), default=0)
        return tuple(turn.text for turn in said[last:])

    @property
    def mark(self) -> str:
        """Return the last marker in the last user message, else one a tool has said, else the empty string."""
        return next((marks[-1] for text in self.own if (marks := MARK.findall(text))), "")

    @property
    def wants_tool(self) -> bool:
        """Whether a tool is offered and the user, not a tool's result, has just asked for it."""
        last = self.turns[-1] if self.turns else Turn("", "")
        return bool(self.tools) and last.role == "user" and USE_TOOL in last.text


def flatten(content: object) -> str:
    """Return all text inside *content*, whatever blocks and parts it is made of; of an image, its JSON."""
    match content:
        case None:
            return ""
        case str():
            return content
        case [*parts]:
            return "\n".join(text for part in parts if (text := flatten(part)))
        case {"text": str(text)}:
            return text
        case {"content": inner}:
            return flatten(inner)
        case {"output": inner}:
            return flatten(inner)
        case _:
            return stable(content)


def stable(value: object) -> str:
    """Return *value* as JSON with sorted keys: equal values, equal text."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False)


def objects(value: object) -> Sequence[Mapping[str, Any]]:
    """Return the members of *value* that are JSON objects, when it is a list."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def named(tools: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
    """Return the tools' names; a tool of the provider's own goes by its type."""
    return tuple(str(tool.get("name") or tool.get("type") or "tool") for tool in tools)


def whole(document: Mapping[str, Any], *names: str) -> int | None:
    """Return the first of *names* that is a number above zero."""
    for name in names:
        value = document.get(name)
        if isinstance(value, int) and not isinstance(value, bool) and value > 0:
            return value
    return None
