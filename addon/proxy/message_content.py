"""The content of messages whose body is encoded: decoded within a bound, for nothing else is."""

from __future__ import annotations

from mitmproxy import http

from .. import guards
from ..content_coding import CodingError, TooLarge, UnknownCoding, codings, decode
from ..values.decision import Refusal

KEPT = 64 * 1024 * 1024  # bytes that the body of a stored flow may decode to
_UNKNOWN = Refusal(415, "content_encoding", "The Content-Encoding of this body is none of gzip, deflate, br, zstd")
_BROKEN = Refusal(400, "content_encoding", "The body is not what its Content-Encoding says")


def unpacked(request: http.Request, limit: int) -> bytes | Refusal:
    """Return the body of *request* without its codings, or why there is none: above *limit*, unknown, broken."""
    raw = request.raw_content or b""
    value = coding_of(request)
    if not value:
        return raw
    try:
        return decode(raw, value, limit)
    except TooLarge:
        return guards.body_too_large(limit)
    except UnknownCoding:
        return _UNKNOWN
    except CodingError:
        return _BROKEN


def content(message: http.Message, limit: int) -> bytes:
    """Return the body of *message* without its content codings; as it is where that fails, or goes above *limit*."""
    raw = message.raw_content or b""
    try:
        return decode(raw, value, limit) if (value := coding_of(message)) else raw
    except CodingError:
        return raw


def coding_of(message: http.Message) -> str:
    """Return the Content-Encoding of *message*, empty where its body is as it is."""
    if "content-encoding" not in message.headers:
        return ""
    value = ", ".join(message.headers.get_all("content-encoding"))
    return value if codings(value) else ""
