"""Server-sent events as they pass, each when it is whole: nobody reads a part of one, and it cannot be taken back."""

from __future__ import annotations

import re

KEPT = 1 << 20  # bytes of one event that wait for its end; more pass as they come

_BLANK = re.compile(rb"(?:\r\n|\n|\r(?!\n)){2}")
_OVERLAP = 3  # bytes of a blank line that may have come before


class EventBuffer:
    """Keeps back the beginning of an event until its end has come, whatever ends its lines."""

    __slots__ = ("_kept", "_searched")

    def __init__(self) -> None:
        self._kept = bytearray()
        self._searched = 0

    def feed(self, data: bytes) -> bytes:
        """Return what is whole with *data*."""
        self._kept += data
        end = 0
        for found in _BLANK.finditer(self._kept, max(0, self._searched - _OVERLAP)):
            end = found.end()
        if len(self._kept) - end > KEPT:
            end = len(self._kept)
        whole = bytes(self._kept[:end])
        del self._kept[:end]
        self._searched = len(self._kept)
        return whole

    def rest(self) -> bytes:
        """Return what is kept back, once: nothing comes behind it."""
        rest, self._kept = bytes(self._kept), bytearray()
        return rest
