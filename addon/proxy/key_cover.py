"""Covers keys in short texts, of which most are those of an earlier exchange."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from .. import given_text
from ..bounded import BoundedMap
from .redaction import cover_of_length

_REMEMBERED, _LONGEST_REMEMBERED = 1_000, 256  # texts, and characters of each


class KeyCover:
    """
    Covers in lines the values that *scrub* knows; call `forget` once it knows others.

    The search costs as much as a line, and the texts of an exchange are nearly always those of an earlier one.
    """

    def __init__(self, scrub: Callable[[str], str]) -> None:
        self._scrub = scrub
        self._harmless: BoundedMap[tuple[str, ...], bool] = BoundedMap(_REMEMBERED)
        self._names: BoundedMap[str, str] = BoundedMap(_REMEMBERED)

    def over(self, line: str, texts: tuple[str, ...] = ()) -> str:
        """Return *line*, covered; *texts* are all that is in it of others (empty: not known)."""
        if texts and texts not in self._harmless and max(map(len, texts)) <= _LONGEST_REMEMBERED:
            self._harmless[texts] = self._scrub(joined := "\n".join(texts)) == joined
        return line if texts and self._harmless.get(texts) else self._scrub(line)

    def over_name(self, text: str) -> str:
        """Return the name *text* as `given_text.fit` makes it, with known keys covered."""
        found = self._names.get(text)
        if found is None:
            found = given_text.fit(text, self._scrub)
            if len(text) <= _LONGEST_REMEMBERED:
                self._names[text] = found
        return found

    def forget(self) -> None:
        """Search every text anew from now on."""
        self._harmless.clear()
        self._names.clear()


class GivenNames:
    """Makes names that one client gave fit to be shown: without known keys, and without those it *presented*."""

    __slots__ = ("_cover", "_presented")

    def __init__(self, cover: KeyCover, presented: Iterable[bytes]) -> None:
        self._cover = cover
        self._presented = tuple(value.decode("latin-1") for value in presented)

    def __call__(self, text: str) -> str:
        """Return *text*, fit to be shown."""
        for value in self._presented:
            if value in text:
                return given_text.fit(text, self._covered)
        return self._cover.over_name(text) if text else text

    def _covered(self, text: str) -> str:
        for value in self._presented:
            text = text.replace(value, cover_of_length(len(value)).decode())
        return self._cover.over(text)
