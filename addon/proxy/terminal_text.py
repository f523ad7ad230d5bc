"""Text for a terminal: how many cells it takes, cut to a width, without what a terminal would obey, and in colour."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from functools import lru_cache

from .. import secret_patterns

Colour = str  # a name in _CODES; empty: none

_CODES: Mapping[str, str] = {"red": "31", "green": "32", "yellow": "33", "cyan": "36", "bold red": "1;31", "dim": "2"}
_ENCLOSING = frozenset({"Mn", "Me"})
_WIDE = frozenset("WF")
_ELLIPSIS = "…"
_LONGEST_TEXT = 400  # characters of one text
_BLANKS = re.compile(r"\s+")


def cells(text: str) -> int:
    """Return the number of cells that *text*, which is printable, takes."""
    return len(text) if text.isascii() else sum(map(_cells_of, text))


def cut(text: str, width: int) -> str:
    """Return *text*, or as much of it as fits into *width* cells, with an ellipsis."""
    if cells(text) <= width:
        return text
    room, kept = width - 1, []
    for sign in text:
        room -= _cells_of(sign)
        if room < 0:
            break
        kept.append(sign)
    return ("".join(kept) + _ELLIPSIS) if width > 0 else ""


def cut_inside(text: str, width: int) -> str:
    """Return *text*, or its begin and its end as far as they fit into *width* cells, with an ellipsis between."""
    if cells(text) <= width:
        return text
    begin = cut(text, width - (width - 1) // 2)
    return begin + cut(text[::-1], width - cells(begin) + 1)[-2::-1]


def padded(text: str, width: int, *, right: bool = False) -> str:
    """Return *text* in exactly *width* cells."""
    if len(text) <= width and text.isascii():  # nearly always
        return text.rjust(width) if right else text.ljust(width)
    text = cut(text, width)
    blanks = " " * (width - cells(text))
    return blanks + text if right else text + blanks


@lru_cache(2048)
def clean(text: str, *, spaces: bool = False) -> str:
    """
    Return *text*, of a client or a provider, as one bounded line with no secret and no control character in it.

    With *spaces* it is prose; else blanks in it are shown as such.
    """
    text = _BLANKS.sub(" ", text[:_LONGEST_TEXT]).strip() if spaces else text[:_LONGEST_TEXT]
    shown = "".join(sign if sign.isprintable() else "\N{REPLACEMENT CHARACTER}" for sign in text)
    return secret_patterns.covered(shown)


def wrapped(text: str, width: int, indent: int) -> list[str]:
    """Return *text* in lines of at most *width* cells, broken at blanks, cut where a word is longer."""
    return [cut(each, width) for each in broken(text, width, indent)]


def broken(text: str, width: int, indent: int) -> list[str]:
    """Return *text* in lines of *width* cells, broken at blanks alone; all but the first one are indented."""
    lines, line = [], ""
    for word in text.split(" "):
        longer = f"{line} {word}" if line else word
        if line.strip() and cells(longer) > width:
            lines.append(line)
            longer = " " * indent + word
        line = longer
    return [*lines, line]


def painted(text: str, colour: Colour) -> str:
    """Return *text* in *colour*."""
    return f"\x1b[{_CODES[colour]}m{text}\x1b[0m" if colour else text


def uses_colour(env: Mapping[str, str], *, is_terminal: bool) -> bool:
    """Whether to use colours, as `NO_COLOR`, `FORCE_COLOR` and `TERM` have it."""
    if env.get("NO_COLOR"):
        return False
    if env.get("FORCE_COLOR", "0") not in ("", "0"):
        return True
    return is_terminal and env.get("TERM") != "dumb"


def _cells_of(sign: str) -> int:
    if sign.isascii():
        return 1
    if unicodedata.category(sign) in _ENCLOSING:
        return 0
    return 2 if unicodedata.east_asian_width(sign) in _WIDE else 1
