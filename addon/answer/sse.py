"""
Bytes → events, however the bytes are cut: server-sent events, and the elements of a JSON array that grows.

https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

EVENT_BYTES = 4 * 1024 * 1024  # a picture in base64 fits; what is longer is dropped and said so
BUFFERED = 1 << 20  # bytes of an unfinished event that an EventBuffer holds back; above, they pass unfinished
_BOM = b"\xef\xbb\xbf"
_BLANK = re.compile(rb"(?:\r\n|\n|\r(?!\n)){2}")
_OVERLAP = 3  # bytes of a blank line that an earlier chunk may end with
_MARKS = re.compile(rb'["{}]')
_QUOTE = re.compile(rb'[\\"]')


@dataclass(frozen=True, slots=True)
class Event:
    """One event. *name* is empty when the stream gave none; *dropped* says that it was too long to be kept."""

    name: str
    data: bytes
    dropped: bool = False


class Events:
    """Server-sent events. Only those that carry data are given: comments and keep-alives are nothing."""

    __slots__ = ("_after_cr", "_buffer", "_limit", "_skipping", "_started")

    def __init__(self, limit: int = EVENT_BYTES) -> None:
        self._buffer = bytearray()
        self._limit = limit
        self._started = False
        self._after_cr = False  # the last chunk ended in CR: a LF that follows belongs to it
        self._skipping = False

    def feed(self, data: bytes) -> list[Event]:
        """Return the events that are complete with *data*."""
        if self._after_cr or b"\r" in data:
            data = self._with_line_feeds(data)
        if self._started and not self._buffer and not self._skipping and data.endswith(b"\n\n"):
            return [event for block in data[:-2].split(b"\n\n") if (event := self._event(block))]
        # A boundary may straddle the cut, so the search begins one byte before it.
        searched = max(0, len(self._buffer) - 1)
        self._buffer += data
        if not self._started and not self._start():
            return []
        if self._buffer.find(b"\n\n", searched) < 0:
            return self._bounded()
        *blocks, rest = bytes(self._buffer).split(b"\n\n")
        self._buffer = bytearray(rest)
        return [event for block in blocks if (event := self._event(block))] + self._bounded()

    def end(self) -> list[Event]:
        """Return what is left: the last event often lacks its blank line, and SDKs read it all the same."""
        rest, self._buffer = bytes(self._buffer), bytearray()
        event = self._event(rest.removeprefix(b"" if self._started else _BOM))
        return [event] if event else []

    def _start(self) -> bool:
        if len(self._buffer) < len(_BOM) and _BOM.startswith(self._buffer):
            return False
        if self._buffer.startswith(_BOM):
            del self._buffer[: len(_BOM)]
        self._started = True
        return True

    def _with_line_feeds(self, data: bytes) -> bytes:
        if self._after_cr and data.startswith(b"\n"):
            data = data[1:]
            self._after_cr = False
        if data:
            self._after_cr = data.endswith(b"\r")
        return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")

    def _bounded(self) -> list[Event]:
        if len(self._buffer) <= self._limit:
            return []
        dropped = [] if self._skipping else [Event("", b"", dropped=True)]
        self._skipping = True
        self._buffer = self._buffer[-1:]
        return dropped

    def _event(self, block: bytes) -> Event | None:
        if self._skipping:
            self._skipping = False
            return None
        if len(block) > self._limit:
            return Event("", b"", dropped=True)
        if block.startswith(b"data: ") and b"\n" not in block:  # nearly all of OpenAI's and Google's
            return Event("", block[6:])
        return _parsed(block)


def _parsed(block: bytes) -> Event | None:
    name, lines = "", []
    for line in block.split(b"\n"):
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"data":
            lines.append(value)
        elif field == b"event":
            name = value.decode("utf-8", "replace")
    return Event(name, b"\n".join(lines)) if lines else None


class EventBuffer:
    """Bytes → bytes: holds the beginning of an event back until the event is complete, whatever its line endings."""

    __slots__ = ("_buffer", "_searched")

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._searched = 0

    def feed(self, data: bytes) -> bytes:
        """Return the events that are complete with *data*."""
        self._buffer += data
        end = 0
        for found in _BLANK.finditer(self._buffer, max(0, self._searched - _OVERLAP)):
            end = found.end()
        if len(self._buffer) - end > BUFFERED:
            end = len(self._buffer)
        complete = bytes(self._buffer[:end])
        del self._buffer[:end]
        self._searched = len(self._buffer)
        return complete

    def rest(self) -> bytes:
        """Return the unfinished event, at the end of the stream."""
        rest, self._buffer = bytes(self._buffer), bytearray()
        return rest


class Elements:
    """
    The objects of a JSON array (Gemini without `alt=sse`) or of NDJSON, each given as soon as its closing brace came.
    """

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
        """Whether what came so far ends inside an object, or inside the array."""
        return self._depth > 0 or self._array == "open"

    def feed(self, data: bytes) -> list[Event]:
        """Return the objects that are complete with *data*, as events without a name."""
        self._buffer += data
        found: list[Event] = []
        while self._step(found):
            pass
        if not self._depth:
            self._between(self._at)
            self._cut(self._at)
        elif len(self._buffer) > self._limit:
            found += [] if self._skipping else [Event("", b"", dropped=True)]
            self._skipping = True
            self._cut(self._at)
        return found

    def end(self) -> list[Event]:
        """Return nothing: an object without its end is no object."""
        return []

    def rest(self) -> bytes:
        """Return the bytes of an object whose end has not come."""
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
            self._between(at)
            self._cut(at)
            self._at = 1
            self._array = "none" if self._array == "unknown" else self._array
        self._depth += 1

    def _between(self, at: int) -> None:
        """Take note of the brackets that stand before *at*, outside of any object."""
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
        self._at = max(0, self._at - at)


class Objects:
    """One JSON object, or several in a row (NDJSON under the type of JSON): the second one tells, or the end."""

    __slots__ = ("_elements", "_first", "is_stream")

    def __init__(self, limit: int = EVENT_BYTES) -> None:
        self._elements = Elements(limit)
        self._first: list[Event] = []
        self.is_stream = False

    @property
    def is_cut(self) -> bool:
        """Whether what came so far ends inside an object."""
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
        """Return the one object, or what there is of it."""
        if self.is_stream:
            return []
        rest = self._elements.rest()
        if not rest.strip():
            return self._first
        return [Event("", b"".join(event.data for event in self._first) + rest)]
