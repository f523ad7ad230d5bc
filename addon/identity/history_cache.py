"""
Long bodies that begin like an earlier one: a known history is not read again.

A body that is a known beginning, one more comma and the rest parses as the known history plus the messages of the
rest. So the rest can be read alone, behind all that stood before the history.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from typing import Any
from weakref import WeakKeyDictionary

from blake3 import blake3

from ..body import Body
from ..bounded import BoundedMap
from ..dialects import HISTORIES
from ..frozen import dataclass
from ..keyed import SIZE, fingerprint
from ..values.http import Request
from .history import MAX_TURNS, conversation_of, extended, messages_of
from .prefixes import with_prefixes
from .turns import Conversation

LONG = 16_384  # bytes; a shorter body is read in less time than a look-up takes
_BLANKS = b" \t\r\n"
_EDGE = 512  # bytes at either end of a known history that are compared
_MAX_BEFORE = 65_536  # bytes before a history
_TAIL = 64  # bytes of the end of a history that are compared before all of it is
_MAX_SIBLINGS = 64  # known prefixes that begin with the same bytes
_RENEWED = 4  # times in the life of an entry that its history is read in whole
_TURNS = 5  # turns in memory, for each session of the limit


class HistoryCache:
    """
    The histories of the bodies in use, and of those that were learned: at most *limit* sessions, for *ttl* seconds.

    Identifying and learning read a body once; an entry goes with its body. A request that extends a learned history is
    read from where that ends.
    """

    def __init__(self, limit: int, ttl: float) -> None:
        self._sessions = SessionHistories(limit)
        self._known = KnownPrefixes(limit * _TURNS, ttl / _RENEWED)
        self._readings: WeakKeyDictionary[Body, _Reading] = WeakKeyDictionary()

    def resize(self, limit: int, ttl: float) -> None:
        """Let *limit* and *ttl* hold from the next request on."""
        self._sessions.resize(limit)
        self._known.resize(limit * _TURNS, ttl / _RENEWED)

    def shortened(self, request: Request, session: str, now: float) -> Body | None:
        """
        Return the body of *request* without the messages that are known, None when none are.

        *session* is the seed of an id that names the session, or empty: then the bytes must prove the history.
        """
        if session:
            return self._sessions.shortened(session, request.body)
        reading = self._readings[request.body] = _Reading(self._known.find(request.body, now))
        return reading.extension.short if reading.extension else None

    def conversation(self, request: Request) -> Conversation:
        """Return the history of *request*."""
        reading = self._reading(request)
        if reading.conversation is None:
            if extension := reading.extension:
                known = extension.prefix
                reading.conversation = extended(known.conversation, extension.short, known.name)
            else:
                reading.conversation = conversation_of(request.body)
        return reading.conversation

    def known_turns(self, request: Request) -> int:
        """Return how many of the first turns of *request* were learned with an earlier one."""
        extension = self._reading(request).extension
        return len(extension.prefix.conversation.turns) if extension else 0

    def new_messages(self, request: Request) -> tuple[int, Sequence[Any]]:
        """Return the messages that *request* adds to its known prefix, and how many there are before them."""
        extension = self._reading(request).extension
        if extension is None:
            return 0, messages_of(request.body)
        return extension.prefix.conversation.messages, extension.short.get(extension.prefix.name)

    def keep(self, request: Request, now: float) -> Conversation:
        """Remember the history of *request*, now that it was learned, and return it with all its prefixes."""
        reading = self._reading(request)
        reading.conversation = with_prefixes(self.conversation(request))
        self._known.note(request.body, reading.conversation, reading.extension, now)
        return reading.conversation

    def _reading(self, request: Request) -> _Reading:
        found = self._readings.get(request.body)
        if found is None:
            found = self._readings[request.body] = _Reading(None)
        return found

    def __len__(self) -> int:
        return len(self._readings)


@dataclass(frozen=True, slots=True)
class KnownPrefix:
    """
    The history of a served body: the member it stood in, where it began and ended, and its turns.

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


@dataclass(frozen=True, slots=True)
class Extension:
    """A body that extends a known *prefix*; *short* is that body without the messages of the prefix."""

    prefix: KnownPrefix
    short: Body


@dataclass(slots=True)
class _Reading:
    extension: Extension | None
    conversation: Conversation | None = None


@dataclass(frozen=True, slots=True)
class _HistoryEnd:
    """Where a history began and ended when it was last seen, and a digest of both ends and all before it."""

    start: int
    end: int
    edges: bytes


class SessionHistories:
    """
    Where the last history of each named session ended: at most *limit*, the least recently used leave first.

    The id of the session vouches for the history. The edges only prove that the known end is the end of a message; in
    between the client may have changed anything.
    """

    def __init__(self, limit: int) -> None:
        self._marks: BoundedMap[str, _HistoryEnd] = BoundedMap(limit)

    def resize(self, limit: int) -> None:
        """Let *limit* hold from the next body on."""
        self._marks.limit = limit

    def shortened(self, session: str, body: Body) -> Body | None:
        """
        Return *body* of the *session* without the messages it had when it was last seen, or None.

        Its members beside the history are those of *body*. This one is remembered for the next time.
        """
        mark = self._marks.use(session)
        short = _without_known(body.raw or b"", mark) if mark and _has_edges(body.raw or b"", mark) else None
        if short is None:
            self._note(session, body, body)
        elif any(short.slice(name) not in (b"", b"[]") for name in HISTORIES):
            self._note(session, body, short)
        return short

    def _note(self, session: str, body: Body, read: Body) -> None:
        raw, read_raw = body.raw or b"", read.raw or b""
        place = _history_span(read)
        if place is None:
            self._marks.pop(session, None)
            return
        _, start, end = place
        end += len(raw) - len(read_raw)
        self._marks[session] = _HistoryEnd(start, end, _edges(raw, start, end))

    def __len__(self) -> int:
        return len(self._marks)


class KnownPrefixes:
    """
    Histories without an id: all bytes up to the end of one prove that a body extends it.

    At most *limit* turns in all; the least recently used leave first. A prefix older than *ttl* seconds is read in
    whole again, which renews everything learned from it.
    """

    def __init__(self, limit: int, ttl: float) -> None:
        self._prefixes: OrderedDict[bytes, KnownPrefix] = OrderedDict()
        self._by_head: dict[bytes, dict[bytes, KnownPrefix]] = {}
        self._limit = limit
        self._ttl = ttl
        self._turns = 0

    def resize(self, limit: int, ttl: float) -> None:
        """Let *limit* and *ttl* hold from the next request on."""
        self._limit, self._ttl = limit, ttl

    def find(self, body: Body, now: float) -> Extension | None:
        """Return *body* as an extension of the longest prefix that it begins with."""
        if not is_long(body):
            return None
        best = max(self._beginnings(body.raw or b""), key=lambda prefix: prefix.end, default=None)
        if best is None or best.at + self._ttl <= now:
            return None
        short = _without_known(body.raw or b"", best)
        if short is None or not _is_read_alike(short, best):
            return None
        self._prefixes.move_to_end(best.digest)
        return Extension(best, short)

    def note(self, body: Body, conversation: Conversation, extension: Extension | None, now: float) -> None:
        """Remember that *body* holds *conversation*. With *extension* it replaces the prefix that it extends."""
        raw, read = body.raw or b"", extension.short if extension else body
        place = _history_span(read) if len(raw) >= LONG and conversation.first_answer >= 0 else None
        if place is None:
            return
        name, start, end = place
        end += len(raw) - len(read.raw or b"")
        at = extension.prefix.at if extension else now
        found = _digest(raw[:end])
        self._drop(found)
        if extension:
            self._drop(extension.prefix.digest)
        prefix = KnownPrefix(name, start, end, raw[end - _TAIL : end], found, _digest(raw[:LONG]), conversation, at)
        if end >= LONG and len(conversation.turns) <= self._limit:
            self._put(prefix)

    def _beginnings(self, raw: bytes) -> Iterator[KnownPrefix]:
        siblings = self._by_head.get(_digest(raw[:LONG])) if self._by_head else None
        likely = [prefix for prefix in (siblings or {}).values() if raw[prefix.end - _TAIL : prefix.end] == prefix.tail]
        hasher, at = blake3(), 0
        for prefix in sorted(likely, key=lambda prefix: prefix.end):
            hasher.update(memoryview(raw)[at : prefix.end])
            at = prefix.end
            if hasher.digest(SIZE) == prefix.digest:
                yield prefix

    def _put(self, prefix: KnownPrefix) -> None:
        self._prefixes[prefix.digest] = prefix
        siblings = self._by_head.setdefault(prefix.head, {})
        siblings[prefix.digest] = prefix
        self._turns += len(prefix.conversation.turns)
        while self._turns > self._limit or len(siblings) > _MAX_SIBLINGS:
            self._drop(next(iter(siblings if len(siblings) > _MAX_SIBLINGS else self._prefixes)))

    def _drop(self, digest: bytes) -> None:
        prefix = self._prefixes.pop(digest, None)
        if prefix is None:
            return
        self._turns -= len(prefix.conversation.turns)
        del self._by_head[prefix.head][digest]
        if not self._by_head[prefix.head]:
            del self._by_head[prefix.head]

    def __len__(self) -> int:
        return len(self._prefixes)


def is_long(body: Body) -> bool:
    """Whether *body* is so long that a look-up takes less time than reading all of it."""
    return body.raw is not None and len(body.raw) >= LONG


def _edges(raw: bytes, start: int, end: int) -> bytes:
    return fingerprint(raw[: start + _EDGE], raw[max(start, end - _EDGE) : end])


def _has_edges(raw: bytes, mark: _HistoryEnd) -> bool:
    return len(raw) > mark.end and _edges(raw, mark.start, mark.end) == mark.edges


def _digest(raw: bytes) -> bytes:
    return blake3(raw).digest(SIZE)


def _is_read_alike(short: Body, known: KnownPrefix) -> bool:
    """Whether the rest of the history is read from *short* as from the whole body: no other member comes before it."""
    name = next((name for name in HISTORIES if name in short), "")
    span = short.span(name)
    value = short.get(name) if span and (name, span[0] + 1) == (known.name, known.start) else None
    return isinstance(value, list) and known.conversation.messages + len(value) <= MAX_TURNS


def _without_known(raw: bytes, known: _HistoryEnd | KnownPrefix) -> Body | None:
    rest = raw[known.end :].lstrip(_BLANKS)
    if rest.startswith(b","):
        rest = rest[1:].lstrip(_BLANKS)
        if rest.startswith(b"]"):
            return None
    elif not rest.startswith(b"]"):
        return None
    short = Body(raw[: known.start] + rest)
    return short if short.is_plain else None


def _history_span(body: Body) -> tuple[str, int, int] | None:
    name = next((name for name in HISTORIES if name in body), "")
    span = body.span(name)
    if span is None or body.raw is None:
        return None
    start, end = span[0] + 1, span[1] - 1
    if body.raw[span[0] : start] != b"[" or start > _MAX_BEFORE:
        return None
    while end > start and body.raw[end - 1] in _BLANKS:
        end -= 1
    return (name, start, end) if end > start else None
