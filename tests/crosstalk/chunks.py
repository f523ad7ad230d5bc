"""
Answers that no server would send, in pieces cut anywhere: real ones, broken in every way that came to mind, read by
all that reads answers and judged by all that judges them. Everything follows from a seed.
"""

from __future__ import annotations

import copy
import gzip
import json
import resource
import sys
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from random import Random
from typing import Any

import brotli  # type: ignore[import-untyped]
import msgspec
from backports import zstd
from mitmproxy import http

from patchbay.answer.reader import AnswerReader
from patchbay.answer.sse import Elements, Events
from patchbay.crosstalk import report
from patchbay.proxy.message_content import unpacked
from patchbay.values.answer import Fact, Head
from patchbay.values.http import Headers

from .world import NAMES, World

PACKED: dict[str, Callable[[bytes], bytes]] = {
    "gzip": lambda data: gzip.compress(data, 1, mtime=0),
    "deflate": lambda data: zlib.compress(data, 1),
    "br": lambda data: brotli.compress(data, quality=1),
    "zstd": lambda data: zstd.compress(data, 1),
}
_UNPACKING = frozenset({"CodingError"})  # what the libraries raise about bytes that are not theirs
_TYPES = ("text/event-stream", "application/json", "text/plain", "", "text/html", "application/problem+json")
_SHORT = 4096  # bytes that the readers of events may keep here
_ROOM = 64 * 1024  # bytes that a reader may hold beside what it was fed
_JUNK = (
    b"\x00", b"\r", b"\r\n", b"\n\n", b"\xef\xbb\xbf", b"\xff\xfe", b"{", b"}", b"[", b"]", b'"', b"\\", b"data:",
    b"event: error\n", b"data: [DONE]\n\n", b": ping\n\n", b"\nHTTP/1.1 200 OK\r\n\r\n", b"\xed\xa0\x80", b"NaN",
    b"[" * 2000, b'{"a":' * 2000, b"9" * 400, b" " * 5000, b"x" * 6000,
)  # fmt: skip
_ODD: tuple[Any, ...] = (
    None, True, False, 0, -1, 1e308, 2**63, 10**400, "", "x", "\ud800", "x" * 5000, [], {}, [[]], [None], [{}],
    {"id": {}}, {"type": []}, {"": ""}, [1, "2", {"index": [], "delta": 7}],
)  # fmt: skip


@dataclass
class Tally:
    """What was read. *facts* by kind; *strange*: what a reader stumbled over of its own."""

    chunks: int = 0
    answers: int = 0
    bodies: int = 0
    facts: Counter[str] = field(default_factory=Counter)
    verdicts: Counter[str] = field(default_factory=Counter)
    strange: Counter[str] = field(default_factory=Counter)
    most: int = 0
    grown: float = 0.0


def survive(chunks: int, seed: int = 1) -> Tally:
    """Read answers until there were *chunks* pieces of them; what is wrong is raised, with the number of the answer."""
    tally, began = Tally(), None
    while tally.chunks < chunks:
        try:
            _one(tally, Random(f"{seed}:{tally.answers}"))
        except Exception as e:
            raise AssertionError(f"seed {seed}, answer {tally.answers}: {type(e).__name__}: {e}") from e
        tally.answers += 1
        if began is None and tally.chunks >= chunks // 4:
            began = _memory()
    tally.grown = _memory() - (began or 0.0)
    return tally


def _one(tally: Tally, random: Random) -> None:
    world = World(random.choice(["none", "handler", "body", "engine"]), random.choice(list(NAMES)), True, tally.answers)
    world.stream = random.random() < 0.8
    line, other = world.send(tools=("shell",) if random.random() < 0.3 else ()), world.send()
    body = b"".join(_mixed(random, [list(line.own.pieces), list(other.own.pieces)]))
    for _ in range(random.randrange(4)):
        body = _broken(random, body)
    coding = random.choice(list(PACKED)) if random.random() < 0.2 else ""
    if coding:
        _pack(tally, random, coding, body)
        body = PACKED[coding](body)
        body = _broken(random, body) if random.random() < 0.5 else body
    pieces = list(_cut(random, body))
    tally.chunks += len(pieces)
    head = _head(random, line.own.headers, coding)
    dialect = line.dialect if random.random() < 0.8 else random.choice(list(NAMES))
    facts = _read(tally, AnswerReader(dialect, line.provider.echo), head, pieces)
    for fact in facts:
        line.watch.see(fact, head.status, world.now)
    line.watch.end(world.now)
    msgspec.json.encode([line.watch.record(), report.verdict(line.verdict())])
    tally.verdicts[line.verdict().kind] += 1
    tally.facts.update(fact.kind for fact in facts)
    _events(pieces)
    _messages(random, line.dialect, pieces)


# -- what reads --------------------------------------------------------------------------------------------------------


def _read(tally: Tally, reader: AnswerReader, head: Head, pieces: list[bytes]) -> list[Fact]:
    facts, fed = reader.head(head), 0
    for piece in pieces:
        facts += reader.feed(piece)
        fed += len(piece)
    held = _size(reader)
    tally.most = max(tally.most, held)
    if not head.headers.get("content-encoding"):
        assert held <= _ROOM + 6 * fed, f"{held} bytes are held of {fed}"
    facts += reader.end()
    for fact in facts:
        if fact.kind == "malformed" and fact.value != "no JSON" and fact.value not in _UNPACKING:
            tally.strange[str(fact.value)] += 1
    return facts


def _events(pieces: list[bytes]) -> None:
    for reader in (Events(_SHORT), Elements(_SHORT)):
        for piece in pieces:
            for event in reader.feed(piece):
                assert len(event.data) <= _SHORT
            assert len(reader._buffer) <= _SHORT + len(piece)
        reader.end()


def _messages(random: Random, dialect: str, pieces: list[bytes]) -> None:
    reader = AnswerReader(dialect)
    reader.head(Head(200, Headers()))
    for piece in random.sample(pieces, min(4, len(pieces))):
        reader.message(piece)
    reader.end()


def _pack(tally: Tally, random: Random, coding: str, body: bytes) -> None:
    packed = PACKED[coding](body)
    packed = _broken(random, packed) if random.random() < 0.7 else packed
    request = http.Request.make("POST", "http://a/", headers={"content-encoding": coding})
    request.raw_content = packed
    unpacked(request, random.choice([100, 10_000, 1_000_000]))
    tally.bodies += 1


# -- what is wrong with it ---------------------------------------------------------------------------------------------


def _mixed(random: Random, answers: list[list[bytes]]) -> list[bytes]:
    """Return the pieces of one answer, or of two poured together; some changed, left out, or in another order."""
    mine, other = answers
    match random.randrange(5):
        case 0:
            mine = [piece for pair in zip(mine, other, strict=False) for piece in pair]
        case 1:
            mine = mine[: random.randrange(len(mine) + 1)] + other[random.randrange(len(other) + 1) :]
        case 2:
            random.shuffle(mine)
        case 3:
            mine = [piece for piece in mine for _ in range(random.randrange(3))]
    often = random.choice([0.0, 0.1, 0.6])
    return [_changed(random, piece) if random.random() < often else piece for piece in mine]


def _changed(random: Random, piece: bytes) -> bytes:
    """Return an event with something in its JSON that should not be there."""
    start, end = piece.find(b"{"), piece.rfind(b"}") + 1
    try:
        document = json.loads(piece[start:end])
    except ValueError:
        return piece
    for _ in range(random.randrange(1, 4)):
        _change(random, document)
    return piece[:start] + json.dumps(document).encode() + piece[end:]


def _change(random: Random, value: Any) -> None:
    while isinstance(value, dict | list) and value:
        key = random.choice(list(value) if isinstance(value, dict) else range(len(value)))
        if random.random() < 0.5 or not isinstance(value[key], dict | list):
            value[key] = copy.deepcopy(random.choice(_ODD))
            return
        value = value[key]


def _broken(random: Random, body: bytes) -> bytes:
    """Return *body* with a wound."""
    at = random.randrange(len(body) + 1)
    end = min(len(body), at + random.choice([1, 2, 8, 200]))
    match random.randrange(6):
        case 0:
            return body[:at] + random.randbytes(end - at) + body[end:]
        case 1:
            return body[:at] + body[end:]
        case 2:
            return body[:end] + body[at:]
        case 3:
            return body[:at]
        case _:
            return body[:at] + random.choice(_JUNK) + body[at:]


def _cut(random: Random, body: bytes) -> Iterator[bytes]:
    longest, at = random.choice([60, 300, 300, 1000, 4000]), 0
    finely = random.randrange(-len(body), len(body) + 1)  # from here on for a while, byte by byte
    while at < len(body):
        size = 1 if finely <= at < finely + 30 else random.randrange(longest + 1)  # of nothing, at times
        yield body[at : at + size]
        at += size


def _head(random: Random, fields: tuple[tuple[str, str], ...], coding: str) -> Head:
    if random.random() < 0.3:
        fields = (("Content-Type", random.choice(_TYPES)), ("Age", random.choice(["-1", "9" * 30, "x"])))
    if random.random() < 0.2:
        fields = (*fields, ("Date", random.choice(["", "yesterday", "Thu, 99 Foo 2026 99:99:99 GMT", "1e999"])))
    if coding:
        fields = (*fields, ("Content-Encoding", coding if random.random() < 0.9 else "gzip"))
    return Head(random.choice([200, 200, 200, 200, 0, 204, 302, 400, 503]), Headers(fields))


# -- memory ------------------------------------------------------------------------------------------------------------


def _size(thing: Any, depth: int = 0) -> int:
    """Return about how many bytes of what passed *thing* holds."""
    if isinstance(thing, str | bytes | bytearray):
        return len(thing)
    if depth > 6 or callable(thing):
        return 0
    if isinstance(thing, dict):
        return sum(_size(key, depth + 1) + _size(value, depth + 1) for key, value in thing.items())
    if isinstance(thing, list | tuple | set | frozenset):
        return sum(_size(each, depth + 1) for each in thing)
    names = [*getattr(thing, "__dict__", ()), *getattr(type(thing), "__slots__", ())]
    return sum(_size(getattr(thing, name, None), depth + 1) for name in names)


def _memory() -> float:
    """Return the most memory this process has had, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 * 1024 if sys.platform == "darwin" else 1024)
