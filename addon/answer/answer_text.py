"""The text and the tool calls of an answer, put together from their pieces."""

from __future__ import annotations

from collections.abc import Iterator

from ..values.answer import Fact


class AnswerText:
    """Collects at most *limit* characters; of a longer answer, neither text nor calls are told."""

    __slots__ = ("_calls", "_has_deltas", "_length", "_limit", "_texts")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._length = 0
        self._texts: list[str] | None = []
        self._calls: list[tuple[str, list[str]]] | None = []  # the place of each, its name and pieces of its arguments
        self._has_deltas = False

    def add(self, text: str, *, whole: bool = False) -> None:
        """Add *text*; *whole*: the text once more at a stream's end, which counts when no delta came."""
        if self._texts is None or (whole and self._has_deltas):
            return
        self._has_deltas = self._has_deltas or not whole
        self._length += len(text)
        if self._length > self._limit:
            self._texts = None
        else:
            self._texts.append(text)

    def begin_call(self, place: str, name: str) -> None:
        """Begin the call of the tool *name* at *place* of the answer."""
        if self._calls is not None:
            self._calls.append((place, [name]))

    def add_arguments(self, place: str, piece: str) -> None:
        """Add a *piece* of the arguments of the last call at *place*."""
        call = next((pieces for at, pieces in reversed(self._calls or ()) if at == place), None)
        self._length += len(piece)
        if self._length > self._limit:
            self._calls = None
        elif call is not None:
            call.append(piece)

    def facts(self) -> Iterator[Fact]:
        """Yield `calls` and `text`, once."""
        if self._calls:
            yield Fact("calls", tuple((pieces[0], "".join(pieces[1:])) for _, pieces in self._calls))
        if self._texts:
            yield Fact("text", "".join(self._texts))
        self._texts = self._calls = None
