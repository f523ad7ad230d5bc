"""
Which ids come back, and where.

A mode is words joined by `+`: `header` (X-Request-ID as received), `body` (`request_id` at the top of the JSON), `own`
(the provider's own ids in its usual header), `vllm` (the ids of answers and stored things are made from X-Request-ID);
`both` is header and body, `none` nothing. What is stored keeps the `request_id` of the request that made it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from .exchange import Incoming
from .reply import Echoed, mint

_PREFIX = re.compile(r"chatcmpl-|[a-z]+_")  # Gemini's ids have none
WORDS = frozenset({"header", "body", "both", "none", "own", "vllm"})


def words_of(mode: str) -> frozenset[str]:
    """Return the words of *mode*. Raises ValueError for a word that is none of them."""
    words = frozenset(mode.split("+"))
    if unknown := words - WORDS:
        raise ValueError(f"echo: {', '.join(sorted(unknown))!r} is none of {', '.join(sorted(WORDS))}")
    return words | {"header", "body"} if "both" in words else words


def received_id(incoming: Incoming, document: Mapping[str, Any]) -> tuple[str, str]:
    """Return the request id of the header and the one of the body."""
    inside = document.get("request_id")
    return incoming.header("x-request-id"), inside if isinstance(inside, str) else ""


def echoed(mode: str, incoming: Incoming, document: Mapping[str, Any], dialect: str, seed: str, every: bool) -> Echoed:
    """Return what an answer to *incoming* gives back under *mode*. What was not sent does not come back."""
    words = words_of(mode)
    header, body = received_id(incoming, document)
    fields: list[tuple[str, str]] = []
    if "header" in words and (header or body):
        fields.append(("X-Request-ID", header or body))
    own = mint("req_", seed + "request", 24)
    if "own" in words:
        name = {"anthropic": "request-id", "gemini": ""}.get(dialect, "x-request-id")
        if name and not any(field.lower() == name for field, _ in fields):
            fields.append((name, own))
    inside = (body or header) if "body" in words else ""
    return Echoed(tuple(fields), inside, every, own if dialect == "anthropic" and "own" in words else "")


def made_of(mode: str, incoming: Incoming, document: Mapping[str, Any]) -> str:
    """Return the id that was sent, where ids are made from it: under `vllm`."""
    header, body = received_id(incoming, document)
    return (header or body) if "vllm" in words_of(mode) else ""


def answer_id(mode: str, incoming: Incoming, document: Mapping[str, Any], minted: str) -> str:
    """Return the id of the answer: *minted*, or under `vllm` its prefix and the id that was sent."""
    sent = made_of(mode, incoming, document)
    if not sent:
        return minted
    prefix = _PREFIX.match(minted)
    return (prefix[0] if prefix else "chatcmpl-") + sent
