"""
Long bodies that begin as one we have read: what stands around a history is read without reading the history again.

A body that is a known beginning, one more comma and the rest parses as the known history, with what the rest adds to
it. So the rest can be read alone, behind all that stood before the history.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from ..body import Body
from .seeds import digest

LONG = 16_384  # bytes; a shorter body is read in less time than it takes to see whether it is known
_HISTORIES = ("messages", "input", "contents")
_BLANKS = b" \t\r\n"
_EDGE = 512  # bytes at either end of a known history that are compared
_MAX_BEFORE = 65_536  # bytes before a history


@dataclass(frozen=True, slots=True)
class Mark:
    """Where a history began and ended when it was last seen, and a digest of both ends and all before it."""

    start: int
    end: int
    edges: bytes


class Familiar:
    """
    The last body of each named session, by its edges: at most *limit* of them, the longest unseen leave first.

    A session that names itself needs nobody to prove that its history is the same; the edges only make sure that the
    known end is the end of a message. In between a client may have changed what it likes.
    """

    def __init__(self, limit: int) -> None:
        self._marks: OrderedDict[str, Mark] = OrderedDict()
        self._limit = limit

    def resize(self, limit: int) -> None:
        """Let *limit* hold from the next body on."""
        self._limit = limit

    def shortened(self, seed: str, body: Body) -> Body | None:
        """
        Return *body* of the session *seed* without the messages it had when it was last seen, or None.

        Its members beside the history are those of *body*. This one is remembered for the next time.
        """
        mark = self._marks.get(seed)
        short = _cut(body.raw or b"", mark) if mark else None
        if mark is None or short is None:
            self._note(seed, body, body)
        elif any(short.slice(name) not in (b"", b"[]") for name in _HISTORIES):
            self._note(seed, body, short)
        else:
            self._marks.move_to_end(seed)
        return short

    def _note(self, seed: str, body: Body, read: Body) -> None:
        """Remember where the history of *body* ends, which *read*, the same or shortened, can say."""
        raw, read_raw = body.raw or b"", read.raw or b""
        place = _history(read)
        if place is None:
            self._marks.pop(seed, None)
            return
        start, end = place[0], place[1] + len(raw) - len(read_raw)
        self._marks[seed] = Mark(start, end, _edges(raw, start, end))
        self._marks.move_to_end(seed)
        while len(self._marks) > self._limit:
            self._marks.popitem(last=False)

    def __len__(self) -> int:
        return len(self._marks)


def is_long(body: Body) -> bool:
    """Say whether *body* is so long that it pays not to read all of it."""
    return body.raw is not None and len(body.raw) >= LONG


def _edges(raw: bytes, start: int, end: int) -> bytes:
    return digest((raw[: start + _EDGE], raw[max(start, end - _EDGE) : end]))


def _cut(raw: bytes, mark: Mark) -> Body | None:
    if len(raw) <= mark.end or _edges(raw, mark.start, mark.end) != mark.edges:
        return None
    rest = raw[mark.end :].lstrip(_BLANKS)
    if rest.startswith(b","):
        rest = rest[1:].lstrip(_BLANKS)
        if rest.startswith(b"]"):
            return None
    elif not rest.startswith(b"]"):
        return None
    short = Body(raw[: mark.start] + rest)
    return short if short.is_plain else None


def _history(body: Body) -> tuple[int, int] | None:
    """Return where the first message begins in the bytes of *body* and the last one ends."""
    name = next((name for name in _HISTORIES if name in body), "")
    span = body.span(name)
    if span is None or body.raw is None:
        return None
    start, end = span[0] + 1, span[1] - 1
    if body.raw[span[0] : start] != b"[" or start > _MAX_BEFORE:
        return None
    while end > start and body.raw[end - 1] in _BLANKS:
        end -= 1
    return (start, end) if end > start else None
