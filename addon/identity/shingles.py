"""
Shingles: pieces of a text that are found again wherever the text is quoted, indented, wrapped, escaped or in tags.

Only letters and digits count. The letters of a text decide where a shingle begins, whatever stands before them.
"""

from __future__ import annotations

import re
from itertools import accumulate
from zlib import crc32

from .seeds import encode

LENGTH = 90  # letters and digits of one shingle: some 120 characters of prose
MAX_TEXT = 8_192  # characters of one text that are read: its beginning and its end
_TAIL = 2_048  # … of which the end
_BREAK = re.compile('[\n:<>"|\u3002\uff1a]')  # a shingle may begin after it
_LETTERS = re.compile(r"[^\W_]+")
# … and at these letters, one in some twenty.
_BEGINNING = re.compile("[bgkpBGKP](?=[aeiou])")
_BEGINNING_ANYWHERE = re.compile(f"{_BEGINNING.pattern}|[бгкп](?=[аеиоу])|[\u4e00-\u51ff\u30a1-\u30af\uac00-\uafff]")
# The same for texts in ASCII, nearly all: breaks become line ends, all but letters and digits drop out.
_TO_LINES = bytes(10 if chr(code) in '\n:<>"|' else code for code in range(256))
_NO_LETTERS = bytes(code for code in range(128) if not chr(code).isalnum() and chr(code) not in '\n:<>"|')
_ESCAPE = re.compile(r"\\[nrt]")
_ENTITY = re.compile(r"&(?:[a-z]{2,5}|#\d{1,4});")


def shingles(text: str, limit: int, *, first: bool = False) -> tuple[str, ...]:
    """
    Return at most *limit* shingles of *text*, and with *first* the first one as well.

    The choice is by checksum, so a part of a text and the whole text choose the same shingles where they can.
    """
    found = tuple(dict.fromkeys(_beginnings(text)))
    if len(found) <= limit:
        return found
    chosen = tuple(sorted(found, key=lambda shingle: crc32(encode(shingle)))[:limit])
    return (found[0], *chosen) if first and found[0] not in chosen else chosen


def letters(text: str) -> str:
    """Return the letters and digits of *text*."""
    return "".join(_letters_between_breaks(_plain(text)))


def _beginnings(text: str) -> list[str]:
    if len(text) < LENGTH:
        return []
    pieces = _letters_between_breaks(_plain(_bounded(text)))
    squeezed = "".join(pieces)
    last = len(squeezed) - LENGTH
    pattern = _BEGINNING if squeezed.isascii() else _BEGINNING_ANYWHERE
    places = {match.start() for match in pattern.finditer(squeezed, 0, last + 2)}
    places.update(accumulate(map(len, pieces), initial=0))
    return [squeezed[place : place + LENGTH] for place in sorted(places) if place <= last]


def _letters_between_breaks(text: str) -> list[str]:
    if text.isascii():
        return text.encode().translate(_TO_LINES, _NO_LETTERS).decode().split("\n")
    return ["".join(_LETTERS.findall(piece)) for piece in _BREAK.split(text)]


def _bounded(text: str) -> str:
    return text if len(text) <= MAX_TEXT else f"{text[: MAX_TEXT - _TAIL]}\n{text[-_TAIL:]}"


def _plain(text: str) -> str:
    """Return *text* without the escapes of JSON and HTML that leave letters behind."""
    if "\\" in text:
        text = _ESCAPE.sub("\n", text)
    return _ENTITY.sub(" ", text) if "&" in text else text
