"""Calls beside a conversation: counting, warming up, naming a chat. They may follow a binding, but not make one."""

from __future__ import annotations

import re
from typing import Any

from ..values import Request
from .canonical import history, instructions, role_of, said

_COUNTING = ("/count_tokens", ":counttokens", ":computetokens", "/input_tokens")
_LIMITS = ("max_tokens", "max_completion_tokens", "max_output_tokens")
_LIMITING = frozenset((*_LIMITS, "generationConfig", "generation_config"))
_TITLE = re.compile(
    r"\b(?:generate|write|create|produce|suggest|summari[sz]e|come up with)\b[^.\n]{0,100}\b(?:title|topic)\b"
    r"|\btitle generator\b",
    re.IGNORECASE,
)
_LOOKED_AT = 2000  # characters of instructions; a title prompt says so at once
TITLE_MESSAGES = 3


def counts_tokens(request: Request) -> bool:
    """Say whether *request* only asks how many tokens a history has."""
    return request.path.partition("?")[0].lower().endswith(_COUNTING)


def is_probe(request: Request) -> bool:
    """Say whether *request* only counts tokens, or asks for one at most: nothing stays warm after it."""
    return counts_tokens(request) or any(_is_one(limit) for limit in _limits(request))


def names_a_chat(request: Request) -> bool:
    """Say whether *request* asks for the title of a chat: short, without tools, and told so in its instructions."""
    body = request.body
    messages = history(body)
    if body.get("tools") or len(messages) > TITLE_MESSAGES:
        return False
    texts = [*instructions(body), *(said(message) for message in messages if role_of(message) == "system")]
    return any(_TITLE.search(text[:_LOOKED_AT]) for text in texts)


def _limits(request: Request) -> list[Any]:
    if not request.body.holds_any(_LIMITING):
        return []
    limits = [request.body.get(name) for name in _LIMITS if name in request.body]
    for name in ("generationConfig", "generation_config"):
        settings = request.body.get(name) if name in request.body else None
        if isinstance(settings, dict):
            limits += [settings.get("maxOutputTokens"), settings.get("max_output_tokens")]
    return limits


def _is_one(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value <= 1
