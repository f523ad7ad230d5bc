"""
Passages of a text, found again wherever the text is quoted: indented, wrapped, escaped, in tags or behind a prefix.

Only letters and digits count. A passage begins at a place that its own words choose, so what stands before it makes no
difference.
"""

from __future__ import annotations

import re
from itertools import accumulate
from zlib import crc32

LENGTH = 90  # letters and digits of one passage: some 120 characters of prose
MAX_TEXT = 8_192  # characters of one text that are looked at: its beginning and its end
_TAIL = 2_048  # … of which the end
_BREAK = re.compile('[\n:<>"|\u3002\uff1a]')  # a passage may begin behind it
_LETTERS = re.compile(r"[^\W_]+")
# … and at these letters, whatever stands before them: at one letter in some twenty.
_BEGINNING = re.compile("[bgkpBGKP](?=[aeiou])")
_BEGINNING_ANYWHERE = re.compile(f"{_BEGINNING.pattern}|[бгкп](?=[аеиоу])|[\u4e00-\u51ff\u30a1-\u30af\uac00-\uafff]")
# The same for texts in ASCII, nearly all: breaks become line ends, what is no letter or digit goes.
_TO_LINES = bytes(10 if chr(code) in '\n:<>"|' else code for code in range(256))
_NO_LETTERS = bytes(code for code in range(128) if not chr(code).isalnum() and chr(code) not in '\n:<>"|')
_ESCAPE = re.compile(r"\\[nrt]")
_ENTITY = re.compile(r"&(?:[a-z]{2,5}|#\d{1,4});")


def shingles(text: str, limit: int, *, first: bool = False) -> tuple[str, ...]:
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
    return "".join(_pieces(_plain(text)))


def _beginnings(text: str) -> list[str]:
    """Return the passages of *text* in order."""
    if len(text) < LENGTH:
        return []
    pieces = _pieces(_plain(_bounded(text)))
    squeezed = "".join(pieces)
    last = len(squeezed) - LENGTH
    pattern = _BEGINNING if squeezed.isascii() else _BEGINNING_ANYWHERE
    places = {match.start() for match in pattern.finditer(squeezed, 0, max(0, last + 2))}
    places.update(accumulate(map(len, pieces), initial=0))
    return [squeezed[place : place + LENGTH] for place in sorted(places) if place <= last]


def _pieces(text: str) -> list[str]:
    """Return the letters and digits of *text*, cut where a passage may begin."""
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


def _rank(passage: str) -> int:
    return crc32(passage.encode("utf-8", "surrogatepass"))
