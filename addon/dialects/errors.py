"""Errors of providers, read from any shape into one; and the header fields that every refusal of ours bears."""

from __future__ import annotations

import math
from typing import Any

from ..values.answer import Fact
from ..values.decision import Refusal

LONGEST_WAIT = 60.0  # seconds of `Retry-After` that the SDKs wait; a longer wait they replace by a guess of their own
_RETRIED = frozenset({408, 409, 429})  # beside 5xx: statuses at which clients retry by themselves


def headers(refusal: Refusal) -> list[tuple[str, str]]:
    """Return the header fields by which clients decide whether, and when, to retry after *refusal*."""
    found: list[tuple[str, str]] = []
    if refusal.retry_after is not None:
        found.append(("retry-after", str(max(1, math.ceil(refusal.retry_after)))))
    if is_hopeless(refusal) and (refusal.status >= 500 or refusal.status in _RETRIED):
        found.append(("x-should-retry", "false"))  # the SDKs of OpenAI and Anthropic, and Claude Code, obey it
    return found


def is_hopeless(refusal: Refusal) -> bool:
    """Whether a retry within the time that clients wait is bound to fail."""
    wait = refusal.retry_after
    return refusal.final or (wait is not None and wait > LONGEST_WAIT)


def is_limit(refusal: Refusal) -> bool:
    """Whether a usage limit lasts longer than clients wait: Codex retries every other 429."""
    return refusal.status == 429 and "resets_at" in refusal.fields and is_hopeless(refusal)


def word(words: dict[int, str], status: int, other: str) -> str:
    """Return the word for *status*; an unlisted client error reads as 400, anything else as *other*."""
    return words.get(status) or (words[400] if 400 <= status < 500 else other)


def read(data: dict[str, Any], where: str) -> Fact | None:
    """
    Return an `error` fact (`code`, `type`, `message`, the `raw` object) if *data* is an error of any common shape.

    Gateways mix the shapes of all families, so every dialect reads all of them.
    """
    inner = data.get("error")
    if isinstance(inner, dict) and inner:
        return _fact(inner, where, inner)
    if isinstance(inner, str) and inner:  # Ollama, xAI: a flat string, xAI with a code beside it
        return _fact({**data, "message": inner}, where, data)
    if data.get("object") == "error" or data.get("type") == "error":  # Mistral; the Responses stream
        return _fact(data, where, data)
    return None


def read_refused(data: dict[str, Any]) -> Fact:
    """Return an `error` fact of a body that came with a status of 400 or more, whatever its shape."""
    message = data.get("message") or data.get("detail") or ""
    return read(data, "body") or _fact({**data, "message": message}, "body", data)


def _fact(inner: dict[str, Any], where: str, raw: dict[str, Any]) -> Fact:
    kind = inner.get("status") if isinstance(inner.get("status"), str) else inner.get("type")
    value = {"code": _text(inner.get("code")), "type": _text(kind), "message": _text(inner.get("message")), "raw": raw}
    return Fact("error", value, where)


def _text(value: object) -> str:
    return "" if value is None or isinstance(value, bool | dict | list) else str(value)
