"""Our request id in the metadata that an answer repeats: taken out of what the client gets, which sent none there."""

from __future__ import annotations

import re

from . import json_splice
from .correlation import PREFIX, REPEATING, names_own
from .values.account import METADATA, Provider
from .values.http import Request

_OUTER, _, _NAME = METADATA.partition(".")
_MARK = b'"%s"' % _OUTER.encode()
_VALUE = re.compile(PREFIX + r"[0-9a-hjkmnp-tv-z]{48}")
# Within a text, the quotes of this name would be escaped.
_METADATA = re.compile(_MARK + rb"\s*:\s*(?=\{)")


def repeats_stamp(provider: Provider, request: Request) -> bool:
    """Whether an answer of *provider* to *request* may hold our id; it may not where the client sent one of its own."""
    return provider.echo.in_metadata and request.endpoint.suffix.startswith(REPEATING) and not names_own(request.body)


def without_stamp(text: bytes) -> bytes:
    """Return *text*, JSON or whole events of JSON, without the request id in its metadata."""
    if _MARK not in text:
        return text
    edits: list[json_splice.Splice] = []
    found = _METADATA.search(text)
    while found:
        parts = json_splice.members(text, found.end())
        ours = [
            place for place, part in enumerate(parts) if part.name == _NAME and _is_stamp(text[part.value : part.end])
        ]
        edits += json_splice.removed(parts, ours) if ours else ()
        found = _METADATA.search(text, parts[-1].end if parts else found.end())
    return json_splice.edited(text, edits)


def _is_stamp(value: bytes) -> bool:
    return value.startswith(b'"') and _VALUE.fullmatch(json_splice.string(value).lower()) is not None
