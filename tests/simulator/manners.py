"""
Ways in which a provider whose answers are right lies about them, or is sloppy: what it counts, and whose metadata it
repeats. What it says of the turn before is in `diagnosis`.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

from .asking import Asked
from .reply import Usage

# `sloppy`: in hundreds; `guessed`: a fourth of the characters; `another's`: those of the request before; `at times`:
# the same at each eighth request
Counts = Literal["right", "sloppy", "guessed", "another's", "at times"]
# `another's`: of the request before, whosever it is; `at times`: the same at each eighth request; `first`: of the first
# request of the conversation; `capitals`: in capitals; `dropped`: none
Repeats = Literal["right", "another's", "at times", "first", "capitals", "dropped"]
_EIGHTH = 8
_KEPT = 10_000


class Manners:
    """How right the counts are that a provider tells, and the metadata that it repeats."""

    def __init__(self, counts: Counts = "right", repeats: Repeats = "right") -> None:
        self.counts, self.repeats = counts, repeats
        self.clear()

    def clear(self) -> None:
        """Forget everything."""
        self._told = self._repeated = 0
        self._usage = Usage()
        self._before: tuple[Mapping[str, Any], int] = {}, 0
        self._first: OrderedDict[str, tuple[Mapping[str, Any], int]] = OrderedDict()

    def usage(self, right: Usage, asked: Asked) -> Usage:
        """Return what is told of *right*, the tokens of *asked* and its answer."""
        self._told += 1
        before, self._usage = self._usage, right
        match self.counts:
            case "sloppy":
                prompt, completion = (100 * (count // 100 + 1) for count in (right.prompt, right.completion))
                return replace(right, prompt=prompt, completion=completion)
            case "guessed":
                characters = sum(len(turn.text) for turn in asked.turns)
                return replace(right, prompt=characters // 4, cached=0, written=0)
            case "another's" | "at times" if self._is_wrong(self.counts, self._told) and before.prompt:
                return replace(before, completion=right.completion)
        return right

    def metadata(self, asked: Asked, number: int) -> tuple[Asked, int]:
        """Return *asked*, the *number*th request, with the metadata that are repeated, and whose they are."""
        own = asked.document.get("metadata")
        if not isinstance(own, dict) or self.repeats == "right":
            return asked, number
        self._repeated += 1
        before, self._before = self._before, (own, number)
        opening = next((turn.text for turn in asked.turns if turn.role == "user"), "")
        first = self._first.setdefault(opening, (own, number))
        while len(self._first) > _KEPT:
            self._first.popitem(last=False)
        told: Mapping[str, Any] = own
        of = number
        match self.repeats:
            case "another's" | "at times" if self._is_wrong(self.repeats, self._repeated) and before[1]:
                told, of = before
            case "first":
                told, of = first
            case "capitals":
                told = {name: str(value).upper() for name, value in own.items()}
            case "dropped":
                told = {}
        return replace(asked, document={**asked.document, "metadata": told}), of

    @staticmethod
    def _is_wrong(how: str, number: int) -> bool:
        return how == "another's" or number % _EIGHTH == 0
