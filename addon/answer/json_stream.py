"""JSON bodies out of bytes, however the bytes are cut: arrays and lines that grow by objects, and single texts."""

from __future__ import annotations

import re
from typing import Literal

from .sse import EVENT_BYTES, Event

_MARKS = re.compile(rb'["{}]')
_QUOTE = re.compile(rb'[\\"]')


class JsonElements:
    """Splits a JSON array (Gemini without `alt=sse`) or NDJSON into its objects, each at its closing brace."""

    __slots__ = ("_array", "_at", "_buffer", "_depth", "_in_string", "_limit", "_skipping")

    def __init__(self, limit: int = EVENT_BYTES) -> None:
        self._buffer = bytearray()
        self._at = 0
        self._depth = 0
        self._in_string = False
        self._limit = limit
        self._skipping = False
        self._array: Literal["unknown", "open", "closed", "none"] = "unknown"

    @property
    def is_cut(self) -> bool:
        """Whether the bytes so far end inside an object, or inside the array."""
        return self._depth > 0 or self._array == "open"

    def feed(self, data: bytes) -> list[Event]:
        """Return the objects that are complete with *data*, as events without a name."""
        self._buffer += data
        found: list[Event] = []
        while self._step(found):
            pass
        if not self._depth:
            self._note_brackets(self._at)
            self._cut(self._at)
        elif len(self._buffer) > self._limit:
            found += [] if self._skipping else [Event("", b"", dropped=True)]
            self._skipping = True
            self._cut(self._at)
        return found

    def end(self) -> list[Event]:
        """Return nothing: an unfinished object is no object."""
        return []

    def rest(self) -> bytes:
        """Return the bytes of an unfinished object."""
        return bytes(self._buffer)

    def _step(self, found: list[Event]) -> bool:
        mark = (_QUOTE if self._in_string else _MARKS).search(self._buffer, self._at)
        if mark is None:
            self._at = len(self._buffer)
            return False
        at, byte = mark.start(), mark[0]
        if byte == b"\\":
            if at + 1 >= len(self._buffer):
                self._at = at
                return False
            self._at = at + 2
            return True
        self._at = at + 1
        if byte == b'"':
            self._in_string = not self._in_string
        elif byte == b"{":
            self._open(at)
        else:
            self._close(found)
        return True

    def _open(self, at: int) -> None:
        if not self._depth:
            self._note_brackets(at)
            self._cut(at)
            self._array = "none" if self._array == "unknown" else self._array
        self._depth += 1

    def _note_brackets(self, at: int) -> None:
        if self._array == "unknown" and b"[" in self._buffer[:at]:
            self._array = "open"
        if self._array == "open" and b"]" in self._buffer[:at]:
            self._array = "closed"

    def _close(self, found: list[Event]) -> None:
        self._depth = max(0, self._depth - 1)
        if self._depth:
            return
        long = self._at > self._limit
        if not self._skipping:
            found.append(Event("", b"" if long else bytes(self._buffer[: self._at]), dropped=long))
        self._skipping = False
        self._cut(self._at)

    def _cut(self, at: int) -> None:
        del self._buffer[:at]
        self._at -= at


class JsonObjects:
    """One JSON object, or several in a row (NDJSON under the type of JSON): the second object decides, or the end."""

    __slots__ = ("_elements", "_first", "is_stream")

    def __init__(self, limit: int = EVENT_BYTES) -> None:
        self._elements = JsonElements(limit)
        self._first: list[Event] = []
        self.is_stream = False

    @property
    def is_cut(self) -> bool:
        """Whether the bytes so far end inside an object."""
        return self._elements.is_cut

    def feed(self, data: bytes) -> list[Event]:
        """Return the objects that are complete with *data*, once there are two."""
        found = self._elements.feed(data)
        if self.is_stream:
            return found
        self._first += found
        if len(self._first) < 2:
            return []
        self.is_stream, found, self._first = True, self._first, []
        return found

    def end(self) -> list[Event]:
        """Return the one object, finished or not."""
        if self.is_stream:
            return []
        rest = self._elements.rest()
        if not rest.strip():
            return self._first
        return [Event("", b"".join(event.data for event in self._first) + rest)]


class WholeText:
    """One JSON text, kept until its end; a text of more than *limit* bytes is dropped."""

    __slots__ = ("_buffer", "_dropped", "_limit")

    def __init__(self, limit: int) -> None:
        self._buffer = bytearray()
        self._limit = limit
        self._dropped = False

    def feed(self, data: bytes) -> list[Event]:
        """Keep *data*; return nothing."""
        self._buffer += data
        if len(self._buffer) > self._limit:
            self._buffer.clear()
            self._dropped = True
        return []

    def end(self) -> list[Event]:
        """Return the text, if it is more than white space."""
        if self._dropped:
            return [Event("", b"", dropped=True)]
        return [Event("", bytes(self._buffer))] if self._buffer.strip() else []
