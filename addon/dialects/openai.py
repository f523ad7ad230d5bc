"""The error shape and account-bound fields of both OpenAI dialects, and the dialect of paths that no dialect knows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from ..values.answer import Fact
from ..values.decision import Refusal
from . import errors, tokens
from .dialect import BoundField, Dialect

FAMILY = "openai"
VENDOR = "OpenAI"
BOUND_FIELDS = (BoundField("prompt_cache_options.comparison_response_id"), BoundField(header="x-codex-turn-state"))
_TYPES = {
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
_TYPES_OF_CODES = {"insufficient_quota": "insufficient_quota", "model_not_found": "invalid_request_error"}
# Things that a path of no dialect may store, by the beginning of their `object` or `type`.
_STORED = (
    "thread", "assistant", "video", "eval", "chatkit", "agent", "session", "environment", "vault", "memory_store"
)  # fmt: skip


def error_object(refusal: Refusal) -> dict[str, Any]:
    """Return the object that stands under `error`."""
    inner = {
        "message": refusal.message,
        "type": _type(refusal),
        "param": refusal.fields.get("param"),
        "code": refusal.code,
    }
    return {**inner, **{name: value for name, value in refusal.fields.items() if name not in inner}}


def _type(refusal: Refusal) -> str:
    if errors.is_limit(refusal):
        return "usage_limit_reached"
    return _TYPES_OF_CODES.get(refusal.code) or errors.word(_TYPES, refusal.status, "api_error")


def error(refusal: Refusal, request_id: str) -> bytes:
    """Return the body of an error answer. The shape has no place for *request_id*; it travels in a header."""
    return msgspec.json.encode({"error": error_object(refusal)})


def error_event(refusal: Refusal, request_id: str) -> bytes:
    """Return the event that ends a stream with an error: no `[DONE]` follows, or it would read as success."""
    return b"data: " + error(refusal, request_id) + b"\n\n"


def _read_stored(name: str, data: dict[str, Any]) -> Iterator[Fact]:
    """
    Yield the id of a stored thing (a thread, a video) of a body that says its type, and nothing else.

    Not even an `error` in a good answer means the same everywhere.
    """
    kind = data.get("object") or data.get("type")
    if not name and isinstance(kind, str) and kind.startswith(_STORED):
        yield from tokens.token(data.get("id"), "file")


NO_DIALECT = Dialect(
    name="",
    family="",
    endpoint=lambda method, path: None,
    read=_read_stored,
    error=error,  # the shape that most tools can show
    error_event=error_event,
)
