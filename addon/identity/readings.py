"""Histories that were read a moment ago: whoever asks again with the same bytes need not read them again."""

from __future__ import annotations

from collections import OrderedDict

from blake3 import blake3

from ..values import Request
from .canonical import Conversation, read


class Readings:
    """The last *limit* histories, by the digest of their bytes: asking, learning and a retry see the same body."""

    def __init__(self, limit: int = 64) -> None:
        self._readings: OrderedDict[bytes, Conversation] = OrderedDict()
        self._limit = limit

    def of(self, request: Request) -> Conversation:
        """Return the history of *request*."""
        key = blake3(request.body.raw or b"").digest()
        found = self._readings.get(key)
        if found is None:
            found = self._readings[key] = read(request.body)
            if len(self._readings) > self._limit:
                self._readings.popitem(last=False)
        return found

    def __len__(self) -> int:
        return len(self._readings)
