"""Our request id in the metadata that an answer repeats: taken out of what the client gets, which sent none there."""

from __future__ import annotations

import re

from .correlation import PREFIX
from .values.account import METADATA

_NAME = METADATA.partition(".")[2].encode()
_MARK = b'"' + _NAME + b'"'
_TEXT = rb'"(?:[^"\\]|\\.)*+"'
_VALUE = rb'"' + PREFIX.encode() + rb'[0-9a-hjkmnp-tv-z]{48}"'
# Metadata hold texts alone. Within a text, the quotes of these names would be escaped.
_METADATA = re.compile(rb'"metadata"\s*:\s*\{(?:[^"{}]|' + _TEXT + rb")*+\}")
_MEMBER = re.compile(rb"(?P<before>,\s*)?" + _MARK + rb"\s*:\s*" + _VALUE + rb"(?P<after>\s*,\s*)?")


def without_stamp(text: bytes) -> bytes:
    """Return *text*, JSON or whole events of JSON, without the request id in its metadata."""
    if _MARK not in text:
        return text
    return _METADATA.sub(lambda found: _MEMBER.sub(_joined, found[0]), text)


def _joined(found: re.Match[bytes]) -> bytes:
    return b"," if found["before"] and found["after"] else b""
