"""The body of a message without its content codings, decoded within a bound."""

from __future__ import annotations

from mitmproxy import http

from .. import guards
from ..content_coding import SUPPORTED, CodingError, TooLarge, UnknownCoding, codings, decode
from ..values.decision import Refusal

KEPT = 64 * 1024 * 1024  # bytes that the body of a stored flow may decode to
_UNKNOWN = Refusal(415, "content_encoding", f"The Content-Encoding of this body is none of {SUPPORTED}")
_MISPACKED = Refusal(400, "content_encoding", "The body is not what its Content-Encoding says")


def decoded(request: http.Request, limit: int) -> bytes | Refusal:
    """Return the decoded body of *request*, or a refusal: it is above *limit*, its coding unknown or broken."""
    try:
        return _decoded(request, limit)
    except TooLarge:
        return guards.body_too_large(limit)
    except UnknownCoding:
        return _UNKNOWN
    except CodingError:
        return _MISPACKED


def content(message: http.Message, limit: int) -> bytes:
    """Return the decoded body of *message*, or the raw one where decoding fails or goes above *limit*."""
    try:
        return _decoded(message, limit)
    except CodingError:
        return message.raw_content or b""


def coding_of(message: http.Message) -> str:
    """Return the Content-Encoding of *message*, empty where its body is not encoded."""
    value = ", ".join(message.headers.get_all("content-encoding"))
    return value if codings(value) else ""


def _decoded(message: http.Message, limit: int) -> bytes:
    raw = message.raw_content or b""
    return decode(raw, value, limit) if (value := coding_of(message)) else raw
