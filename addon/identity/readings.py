"""Histories that were read already: whoever asks again about the same request need not read it again."""

from __future__ import annotations

from weakref import WeakKeyDictionary

from ..body import Body
from ..values import Request
from .canonical import Conversation, read


class Readings:
    """The histories of the bodies that are in use: asking and learning see the same one. Each goes with its body."""

    def __init__(self) -> None:
        self._readings: WeakKeyDictionary[Body, Conversation] = WeakKeyDictionary()

    def of(self, request: Request) -> Conversation:
        """Return the history of *request*."""
        found = self._readings.get(request.body)
        if found is None:
            found = self._readings[request.body] = read(request.body)
        return found

    def __len__(self) -> int:
        return len(self._readings)
