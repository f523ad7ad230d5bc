"""How providers say no: any error object read into one form, and the words each family has for a status."""

from __future__ import annotations

import math
from typing import Any

from ..values.answer import Fact
from ..values.decision import Refusal

OPENAI_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    413: "invalid_request_error",
    429: "rate_limit_error",
    502: "api_error",
    503: "server_error",
    504: "timeout_error",
    529: "server_error",
}
ANTHROPIC_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
    529: "overloaded_error",
}
GEMINI_STATUS = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    402: "RESOURCE_EXHAUSTED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    409: "ABORTED",
    413: "INVALID_ARGUMENT",
    429: "RESOURCE_EXHAUSTED",
    499: "CANCELLED",
    501: "UNIMPLEMENTED",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}

# Words of our own that are OpenAI's as well: clients read them as the type of an error.
OPENAI_OWN = {
    "insufficient_quota": "insufficient_quota",
    "model_not_found": "invalid_request_error",
}
ANTHROPIC_OWN = {  # a 503 that is no overload: Claude Code asks an overloaded API again and again
    "upstream_credentials_exhausted": "api_error",
    "upstream_unreachable": "api_error",
    "upstream_failing": "api_error",
    "owner_unavailable": "api_error",
}
LONGEST_WAIT = 60.0  # seconds of `Retry-After` that the SDKs wait; a longer one they replace by a guess of their own
_RETRIED = frozenset({408, 409, 429})  # beside 5xx: what clients send again by themselves


def headers(dialect: str, refusal: Refusal) -> list[tuple[str, str]]:
    """Return the header fields by which clients of *dialect* decide what to do about *refusal*."""
    found: list[tuple[str, str]] = []
    wait = refusal.retry_after
    # Codex waits for as long as it is told, without a word, at every status but a 429 whose type it knows
    if wait is not None and not (dialect == "openai_responses" and is_hopeless(refusal) and refusal.status != 429):
        found.append(("retry-after", str(max(1, math.ceil(wait)))))
    if is_hopeless(refusal) and (refusal.status >= 500 or refusal.status in _RETRIED):
        found.append(("x-should-retry", "false"))  # the SDKs of OpenAI and Anthropic, and Claude Code, go by it
    if dialect == "anthropic" and _is_limit(refusal):
        found.append(("anthropic-ratelimit-unified-status", "rejected"))
        found.append(("anthropic-ratelimit-unified-reset", str(refusal.fields["resets_at"])))
    return found


def is_hopeless(refusal: Refusal) -> bool:
    """Whether the same request will not be served within the time that clients wait."""
    wait = refusal.retry_after
    return refusal.final or (wait is not None and wait > LONGEST_WAIT)


def _is_limit(refusal: Refusal) -> bool:
    """Whether a limit is reached for longer than a client waits: Codex tries again at every other 429."""
    return refusal.status == 429 and "resets_at" in refusal.fields and is_hopeless(refusal)


def word(words: dict[int, str], status: int, other: str) -> str:
    """Return the word for *status*; an unlisted client fault reads as 400, anything else as *other*."""
    return words.get(status) or (words[400] if 400 <= status < 500 else other)


def openai_error(refusal: Refusal) -> dict[str, Any]:
    """Return the error object of the OpenAI dialects: what stands under `error`."""
    inner = {
        "message": refusal.message,
        "type": _openai_type(refusal),
        "param": refusal.fields.get("param"),
        "code": refusal.code,
    }
    return {**inner, **{name: value for name, value in refusal.fields.items() if name not in inner}}


def _openai_type(refusal: Refusal) -> str:
    if _is_limit(refusal):
        return "usage_limit_reached"
    return OPENAI_OWN.get(refusal.code) or word(OPENAI_TYPES, refusal.status, "api_error")


def anthropic_type(refusal: Refusal) -> str:
    """Return the type of an error in Anthropic's words; what waiting does not cure is no overload."""
    if refusal.status == 503 and refusal.final:
        return "api_error"
    return ANTHROPIC_OWN.get(refusal.code) or word(ANTHROPIC_TYPES, refusal.status, "api_error")


def read(data: dict[str, Any], where: str) -> Fact | None:
    """
    Return an `error` fact when *data* is an error of any shape that is common on the wire.

    Its value is a dict of `code`, `type`, `message` and the untouched `raw` object. Gateways mix the shapes of all
    families, so every dialect reads all of them.
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
    found = read(data, "body")
    if found:
        return found
    message = data.get("message") or data.get("detail") or ""
    return _fact({**data, "message": message}, "body", data)


def _fact(inner: dict[str, Any], where: str, raw: dict[str, Any]) -> Fact:
    kind = inner.get("status") if isinstance(inner.get("status"), str) else inner.get("type")
    value = {"code": _text(inner.get("code")), "type": _text(kind), "message": _text(inner.get("message")), "raw": raw}
    return Fact("error", value, where)


def _text(value: object) -> str:
    if isinstance(value, str):
        return value
    return "" if value is None or isinstance(value, bool | dict | list) else str(value)
