"""Server-sent events out of bytes, however these are cut (https://html.spec.whatwg.org/#event-stream-interpretation)."""

from __future__ import annotations

import re
from collections.abc import Iterator

from msgspec import Struct

EVENT_BYTES = 4 * 1024 * 1024  # a picture in base64 fits; a longer event is dropped
BUFFERED = 1 << 20  # bytes of an unfinished event that an EventBuffer usually holds back; above, they pass unfinished
_BOM = b"\xef\xbb\xbf"
_BLANK = re.compile(rb"(?:\r\n|\n|\r(?!\n)){2}")


class Event(Struct, frozen=True):
    """One event. *name* is empty when the stream gave none; *dropped*: it was too long to be read."""

    name: str
    data: bytes
    dropped: bool = False


class ServerSentEvents:
    """Splits a stream into its events with data: comments and keep-alives are left out."""

    __slots__ = ("_after_cr", "_buffer", "_limit", "_skipping", "_started")

    def __init__(self, limit: int = EVENT_BYTES) -> None:
        self._buffer = bytearray()
        self._limit = limit
        self._started = False
        self._after_cr = False  # the last chunk ended in CR: an LF that follows belongs to it
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
        if not self._started:
            self._start()
        if self._buffer.find(b"\n\n", searched) < 0:
            return self._bounded()
        *blocks, rest = bytes(self._buffer).split(b"\n\n")
        self._buffer = bytearray(rest)
        return [event for block in blocks if (event := self._event(block))] + self._bounded()

    def end(self) -> list[Event]:
        """Return the last event, which often lacks its blank line; SDKs read it all the same."""
        rest, self._buffer = bytes(self._buffer), bytearray()
        event = self._event(rest)
        return [event] if event else []

    def _start(self) -> None:
        if len(self._buffer) < len(_BOM) and _BOM.startswith(self._buffer):
            return
        if self._buffer.startswith(_BOM):
            del self._buffer[: len(_BOM)]
        self._started = True

    def _with_line_feeds(self, data: bytes) -> bytes:
        if self._after_cr and data.startswith(b"\n"):
            data = data[1:]
            self._after_cr = False
        if data:
            self._after_cr = data.endswith(b"\r")
        return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")

    def _bounded(self) -> list[Event]:
        if len(self._buffer) - self._buffer.endswith(b"\n") <= self._limit:  # half a blank line is none of the event
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


def blocks(events: bytes) -> Iterator[bytes]:
    """Yield *events*, whole ones, one by one with their blank lines; then what is left of the last."""
    begun = 0
    for found in _BLANK.finditer(events):
        yield events[begun : found.end()]
        begun = found.end()
    yield events[begun:]


class EventBuffer:
    """
    Bytes → bytes: holds the beginning of an event back until the event is complete, whatever its line endings.

    Of one that is longer than *most*, the pieces pass.
    """

    __slots__ = ("_buffer", "_most")

    def __init__(self, most: int = BUFFERED) -> None:
        self._buffer = bytearray()
        self._most = most

    def feed(self, data: bytes) -> bytes:
        """Return the events that are complete with *data*."""
        searched = max(0, len(self._buffer) - 1)
        self._buffer += data
        end = 0
        for found in _BLANK.finditer(self._buffer, searched):
            end = found.end()
        if len(self._buffer) - end > self._most:
            end = len(self._buffer)
        complete = bytes(self._buffer[:end])
        del self._buffer[:end]
        return complete

    def rest(self) -> bytes:
        """Return the unfinished event, at the end of the stream."""
        rest, self._buffer = bytes(self._buffer), bytearray()
        return rest
