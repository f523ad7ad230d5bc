"""
Long bodies that begin as one we have read: what stands around a history is read without reading the history again.

A body that is a known beginning, one more comma and the rest parses as the known history, with what the rest adds to
it. So the rest can be read alone, behind all that stood before the history.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass

from blake3 import blake3

from ..body import Body
from ..bounded import BoundedMap
from ..dialects import HISTORIES
from ..keyed import fingerprint
from .history import MAX_TURNS, Conversation

LONG = 16_384  # bytes; a shorter body is read in less time than it takes to see whether it is known
_BLANKS = b" \t\r\n"
_EDGE = 512  # bytes at either end of a known history that are compared
_MAX_BEFORE = 65_536  # bytes before a history
_TAIL = 64  # bytes of the end of a history that are compared before all of it is
_ALIKE = 64  # histories that begin with the same bytes


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
        self._marks: BoundedMap[str, Mark] = BoundedMap(limit)

    def resize(self, limit: int) -> None:
        """Let *limit* hold from the next body on."""
        self._marks.limit = limit

    def shortened(self, seed: str, body: Body) -> Body | None:
        """
        Return *body* of the session *seed* without the messages it had when it was last seen, or None.

        Its members beside the history are those of *body*. This one is remembered for the next time.
        """
        mark = self._marks.get(seed)
        short = _cut(body.raw or b"", mark) if mark and _has_edges(body.raw or b"", mark) else None
        if mark is None or short is None:
            self._note(seed, body, body)
        elif any(short.slice(name) not in (b"", b"[]") for name in HISTORIES):
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

    def __len__(self) -> int:
        return len(self._marks)


@dataclass(frozen=True, slots=True)
class Past:
    """
    A history that was served: the member it stood in, where it began and ended, and what it said.

    *digest* stands for all bytes up to its end, *tail* is the last of them; *at* is when it was read in whole.
    """

    name: str
    start: int
    end: int
    tail: bytes
    digest: bytes
    head: bytes
    conversation: Conversation
    at: float


class Histories:
    """
    Histories without an id, so that the bytes must prove that one is the same: all of them up to its end.

    At most *limit* turns in all; the longest unseen leave first. What is older than *ttl* seconds is read in whole
    again, so that everything learned from it is renewed.
    """

    def __init__(self, limit: int, ttl: float) -> None:
        self._pasts: OrderedDict[bytes, Past] = OrderedDict()
        self._by_head: dict[bytes, dict[bytes, Past]] = {}
        self._limit = limit
        self._ttl = ttl
        self._turns = 0

    def resize(self, limit: int, ttl: float) -> None:
        """Let *limit* and *ttl* hold from the next request on."""
        self._limit, self._ttl = limit, ttl

    def find(self, body: Body, now: float) -> tuple[Past, Body] | None:
        """Return the longest history that *body* begins with, and *body* without it."""
        if body.raw is None or len(body.raw) < LONG:
            return None
        best = max(self._beginnings(body.raw), key=lambda past: past.end, default=None)
        if best is None or best.at + self._ttl <= now:
            return None
        short = _cut(body.raw, best)
        if short is None or not _is_told_in(short, best):
            return None
        self._pasts.move_to_end(best.digest)
        return best, short

    def note(self, body: Body, conversation: Conversation, grown: tuple[Past, Body] | None, now: float) -> None:
        """Remember that *body* said *conversation*; it may have *grown* out of one that need not be kept then."""
        raw, read = body.raw or b"", grown[1] if grown else body
        place = _history(read) if len(raw) >= LONG and conversation.first_answer >= 0 else None
        if place is None:
            return
        name = next(name for name in HISTORIES if name in read)
        end = place[1] + len(raw) - len(read.raw or b"")
        at = grown[0].at if grown else now
        found = _digest(raw[:end])
        self._drop(found)
        if grown:
            self._drop(grown[0].digest)
        past = Past(name, place[0], end, raw[end - _TAIL : end], found, _digest(raw[:LONG]), conversation, at)
        if end >= LONG and len(conversation.turns) <= self._limit:
            self._put(past)

    def _beginnings(self, raw: bytes) -> Iterator[Past]:
        """Yield the histories that *raw* begins with, the shortest first."""
        pasts = self._by_head.get(_digest(raw[:LONG])) if self._by_head else None
        likely = [past for past in (pasts or {}).values() if raw[past.end - _TAIL : past.end] == past.tail]
        hasher, at = blake3(), 0
        for past in sorted(likely, key=lambda past: past.end):
            hasher.update(memoryview(raw)[at : past.end])
            at = past.end
            if hasher.digest(length=16) == past.digest:
                yield past

    def _put(self, past: Past) -> None:
        self._pasts[past.digest] = past
        self._by_head.setdefault(past.head, {})[past.digest] = past
        self._turns += len(past.conversation.turns)
        while self._turns > self._limit or len(self._by_head[past.head]) > _ALIKE:
            alike = self._by_head[past.head]
            self._drop(next(iter(alike if len(alike) > _ALIKE else self._pasts)))

    def _drop(self, found: bytes) -> None:
        past = self._pasts.pop(found, None)
        if past is None:
            return
        self._turns -= len(past.conversation.turns)
        del self._by_head[past.head][found]
        if not self._by_head[past.head]:
            del self._by_head[past.head]

    def __len__(self) -> int:
        return len(self._pasts)


def is_long(body: Body) -> bool:
    """Say whether *body* is so long that it pays not to read all of it."""
    return body.raw is not None and len(body.raw) >= LONG


def _edges(raw: bytes, start: int, end: int) -> bytes:
    return fingerprint(raw[: start + _EDGE], raw[max(start, end - _EDGE) : end])


def _has_edges(raw: bytes, mark: Mark) -> bool:
    return len(raw) > mark.end and _edges(raw, mark.start, mark.end) == mark.edges


def _digest(raw: bytes) -> bytes:
    return blake3(raw).digest(length=16)


def _is_told_in(short: Body, past: Past) -> bool:
    """Whether what is left of the history of *past* is what the whole body tells: no other member comes before it."""
    name = next((name for name in HISTORIES if name in short), "")
    span = short.span(name)
    value = short.get(name) if span and (name, span[0] + 1) == (past.name, past.start) else None
    return isinstance(value, list) and past.conversation.messages + len(value) <= MAX_TURNS


def _cut(raw: bytes, mark: Mark | Past) -> Body | None:
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
    name = next((name for name in HISTORIES if name in body), "")
    span = body.span(name)
    if span is None or body.raw is None:
        return None
    start, end = span[0] + 1, span[1] - 1
    if body.raw[span[0] : start] != b"[" or start > _MAX_BEFORE:
        return None
    while end > start and body.raw[end - 1] in _BLANKS:
        end -= 1
    return (start, end) if end > start else None
