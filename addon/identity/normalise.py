"""
Texts and JSON values in the form that is hashed, without the parts that a client may change between two requests.

Thinking, white space, line ends, Unicode composition, key order and cache markers drop out; dates, ids and folders are
masked where a text is an instruction. Nothing is cut off before hashing. `turns` leaves out what tools add to messages.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterator
from typing import Any

import msgspec
from blake3 import blake3

from .seeds import encode

_LONG = 2048  # bytes of JSON; a longer value is hashed by its digest
_VOLATILE_KEYS = frozenset(
    ("cache_control", "id", "status", "signature", "thoughtSignature", "thought_signature", "citations", "annotations")
)
_THINK_TAGS = (("<think>", "</think>"), ("<thinking>", "</thinking>"))  # `squeezed_bytes` looks for `<think`
_ASCII_BLANKS = bytes(code for code in range(128) if chr(code).isspace())
_BLANKS = tuple(chr(code) for code in range(128, 0x3001) if chr(code).isspace())
_MONTHS = "jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec"
# Every repetition is bounded or ends at a line: the text is the client's and the event loop waits.
VOLATILE = tuple(
    re.compile(pattern, re.IGNORECASE | re.MULTILINE)
    for pattern in (
        r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b",
        r"\b\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:[.,]\d+)?)?)?(?:\s?(?:Z|UTC|[+-]\d\d:?\d\d))?",
        r"\b\d{1,2}:\d\d(?::\d\d)?(?:\s?[ap]m)?\b",
        r"\b\d{1,2}[/.]\d{1,2}[/.]\d{2,4}\b",
        r"\b(?:mon|tues?|wed(?:nes)?|thu(?:rs)?|fri|sat(?:ur)?|sun)(?:day)?,?\s{1,4}(?=[\d•]|\w{1,12}\s{1,4}\d)",
        rf"\b(?:{_MONTHS})[a-z]{{0,6}}\.?\s{{1,4}}\d{{1,2}}(?:st|nd|rd|th)?,?(?:\s{{1,4}}\d{{4}})?\b",
        rf"\b\d{{1,2}}\s{{1,4}}(?:{_MONTHS})[a-z]{{0,6}}\.?(?:\s{{1,4}}\d{{4}})?\b",
        r"^[^\S\n]*(?:today'?s date|current (?:date|time)|the date is|working directory|cwd)\b[^\n]*$",
        r"^[^\S\n]*gitStatus:[\s\S]*?(?:\n[^\S\n]*\n|\Z)",
        r"\b\d[\d,]{0,15}(?:\s?/\s?\d[\d,]{0,15})?\s{1,4}tokens?\b",
        r"\b1[5-9]\d{8}(?:\d{3})?\b",
    )
)
# A text without any of these holds nothing volatile.
_MAY_CHANGE = re.compile(r"\d|\b(?:date|time|directory|cwd|gitstatus)\b", re.IGNORECASE)


def normal(text: str) -> str:
    """Return *text* with one kind of line end, composed (NFC), without outer blanks."""
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    return text.strip() if _is_composed(text) else unicodedata.normalize("NFC", text).strip()


def squeezed(text: str) -> str:
    """Return the *text* of an answer without thinking and white space: the same however it was cut into blocks."""
    return squeezed_bytes(text).decode("utf-8", "surrogatepass")


def squeezed_bytes(text: str) -> bytes:
    """Return `squeezed` *text* as bytes."""
    if not text.isascii() or "<think" in text:
        text = normal(_without_thinking(text))
    if not text.isascii() and any(blank in text for blank in _BLANKS):
        text = "".join(text.split())
    return encode(text).translate(None, _ASCII_BLANKS)


def masked(text: str) -> str:
    """Return *text* with a dot for each date, time, uuid, folder and token count."""
    if not _MAY_CHANGE.search(text):
        return text
    for pattern in VOLATILE:
        text = pattern.sub("\N{BULLET}", text)
    return text


def clipped(text: str, most: int) -> str:
    """Return both ends of *text*, half of *most* characters each, or all of it if it has no more."""
    return text if len(text) <= most else f"{text[: most // 2]}\n{text[-most // 2 :]}"


def lasting(part: dict[str, Any]) -> dict[str, Any]:
    """Return *part* without the members that change between requests."""
    return {name: value for name, value in part.items() if name not in _VOLATILE_KEYS and value is not None}


def canonical(value: Any) -> bytes:
    """Return *value* as JSON with its keys in order, or a digest of it when it is long."""
    try:
        text = msgspec.json.encode(value, order="deterministic")
    except (ValueError, TypeError, OverflowError, RecursionError):
        text = _canonical_slowly(value)
    return text if len(text) <= _LONG else blake3(text).digest()


def arguments(value: Any) -> bytes:
    """Return the arguments of a call, an object or its JSON text, in one form."""
    if isinstance(value, str):
        try:
            value = msgspec.json.decode(value)
        except (ValueError, RecursionError):
            return encode(normal(value))
    return canonical(value)


def _canonical_slowly(value: Any) -> bytes:
    try:
        return json.dumps(value, sort_keys=True).encode()
    except (ValueError, TypeError, RecursionError):
        return b"unreadable"


def _without_thinking(text: str) -> str:
    for opening, closing in _THINK_TAGS:
        if opening in text:
            text = "".join(_outside(text, opening, closing))
    return text


def _outside(text: str, opening: str, closing: str) -> Iterator[str]:
    at = 0
    while (start := text.find(opening, at)) >= 0 and (end := text.find(closing, start)) >= 0:
        yield text[at:start]
        at = end + len(closing)
    yield text[at:]


def _is_composed(text: str) -> bool:
    """Whether *text* is composed for certain: below U+0100 there is nothing to compose."""
    try:
        return text.isascii() or bool(text.encode("latin-1"))
    except UnicodeEncodeError:
        return False
