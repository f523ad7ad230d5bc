"""
Passages of a text, found again wherever the text is quoted: indented, wrapped, escaped, in tags or behind a prefix.

Only letters and digits count. A passage begins at a place that its own words choose, so what stands before it makes no
difference.
"""

from __future__ import annotations

import re
from zlib import crc32

LENGTH = 90  # letters and digits of one passage: some 120 characters of prose
MAX_TEXT = 16_384  # characters of one text that are looked at: its beginning and its end
_TAIL = 4_096  # … of which the end
_PIECES = re.compile('[^\\W_]+|[\n.!?:<>"|\u3001\u3002\uff01\uff0c\uff1a\uff1b\uff1f]')
_ESCAPE = re.compile(r"\\[nrt]")
_ENTITY = re.compile(r"&(?:[a-z]{2,5}|#\d{1,4});")
_FIRST_LETTERS = frozenset("bdghklpBDGHKLP")  # of one word in five; a passage may begin at any of them


def passages(text: str, limit: int) -> tuple[str, ...]:
    """
    Return at most *limit* passages of *text*: always the same choice of the same passages.

    The choice is by checksum, so a part of a text and the whole of it choose the same passages where they can.
    """
    found = dict.fromkeys(_beginnings(text))
    return tuple(found if len(found) <= limit else sorted(found, key=_rank)[:limit])


def opening_passage(text: str) -> str:
    """Return the first passage of *text*, the empty string of a text too short to have one."""
    return next(iter(_beginnings(text)), "")


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
