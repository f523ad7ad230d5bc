"""
Passages of a text, found again wherever the text is quoted: indented, wrapped, escaped, in tags or behind a prefix.

Only letters and digits count. A passage begins at a place that its own words choose, so what stands before it makes no
difference.
"""

from __future__ import annotations

import re
from zlib import crc32

LENGTH = 90  # letters and digits of one passage: some 120 characters of prose
MAX_TEXT = 8_192  # characters of one text that are looked at: its beginning and its end
_TAIL = 2_048  # … of which the end
_PIECES = re.compile('[^\\W_]+|[\n.!?:<>"|\u3001\u3002\uff01\uff0c\uff1a\uff1b\uff1f]')
_ESCAPE = re.compile(r"\\[nrt]")
_ENTITY = re.compile(r"&(?:[a-z]{2,5}|#\d{1,4});")
_FIRST_LETTERS = frozenset("bdghklpBDGHKLP")  # of one word in five; a passage may begin at any of them


def passages(text: str, limit: int, *, first: bool = False) -> tuple[str, ...]:
    """
    Return at most *limit* passages of *text*, and with *first* the first one as well: always the same choice.

    The choice is by checksum, so a part of a text and the whole of it choose the same passages where they can.
    """
    found = tuple(dict.fromkeys(_beginnings(text)))
    if len(found) <= limit:
        return found
    chosen = tuple(sorted(found, key=_rank)[:limit])
    return (found[0], *chosen) if first and found[0] not in chosen else chosen


def letters(text: str) -> str:
    """Return what counts of *text*: its letters and digits."""
    return "".join(piece for piece in _PIECES.findall(_plain(text)) if piece[0].isalnum())


def _beginnings(text: str) -> list[str]:
    if len(text) < LENGTH:
        return []
    words, places, length, is_start = [], [], 0, True
    for piece in _PIECES.findall(_plain(_bounded(text))):
        if not piece[0].isalnum():
            is_start = True
            continue
        if is_start or piece[0] in _FIRST_LETTERS:
            places.append(length)
        words.append(piece)
        length += len(piece)
        is_start = False
    squeezed = "".join(words)
    return [squeezed[place : place + LENGTH] for place in places if place + LENGTH <= length]


def _bounded(text: str) -> str:
    return text if len(text) <= MAX_TEXT else f"{text[: MAX_TEXT - _TAIL]}\n{text[-_TAIL:]}"


def _plain(text: str) -> str:
    """Return *text* without the escapes of JSON and HTML that leave letters behind."""
    if "\\" in text:
        text = _ESCAPE.sub("\n", text)
    return _ENTITY.sub(" ", text) if "&" in text else text


def _rank(passage: str) -> tuple[int, str]:
    return crc32(passage.encode("utf-8", "surrogatepass")), passage
