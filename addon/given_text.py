"""Names that others gave (a client's model, its path, its request id), fit to be stored and shown."""

from __future__ import annotations

from collections.abc import Callable

MOST_OF_A_NAME = 256  # characters of a name
_SEARCHED = 16 * MOST_OF_A_NAME  # characters of a longer one in which a key may begin before it is cut


def fit(text: str, cover: Callable[[str], str] = str) -> str:
    """
    Return *text* as one bounded line of well-formed Unicode that holds no control and no mark of direction.

    *cover* covers keys; it sees what is cut off too, so that no half of a key stays.
    """
    if len(text) <= MOST_OF_A_NAME:
        return printable(cover(text))
    covered = cover(text[:_SEARCHED])
    return printable(covered[: MOST_OF_A_NAME - 1]) + "…"


def printable(text: str) -> str:
    """Return *text* with a replacement character for each one that is not printable, lone surrogates included."""
    if text.isprintable():
        return text
    return "".join(sign if sign.isprintable() else "\N{REPLACEMENT CHARACTER}" for sign in text)
