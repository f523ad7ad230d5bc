"""Places of values in a JSON text, for edits that change no other byte. The text is not validated."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

import msgspec

from .frozen import dataclass

_STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
_KEY = re.compile(rb'[\s,]*("[^"\\]*(?:\\.[^"\\]*)*")\s*:\s*', re.DOTALL)
_NEXT = re.compile(rb"[\s,]*")
_SCALAR = re.compile(rb"[^\s,\]}]+")
_TOKEN = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|[{}\[\]:]', re.DOTALL)
_OPENS, _CLOSES = b"{[", b"}]"
_DEPTH = 256  # levels whose names are known; a deeper string has the names of the last of them


@dataclass(frozen=True, slots=True)
class JsonString:
    """A string that is a value. *names* are those of the members around it, the outermost first."""

    start: int
    end: int
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class JsonPart:
    """A member of an object or an item of a list: from *start* to *end*, its value from *value* on."""

    start: int
    value: int
    end: int
    name: str = ""


Splice = tuple[int, int, bytes]  # from, to, the bytes that replace them


def strings(text: bytes) -> Iterator[JsonString]:
    """Yield every string of *text* that is a value, in order."""
    names: list[str] = [""]  # by depth: of the member that is read there, empty in a list
    deeper = 0
    last: re.Match[bytes] | None = None  # a string that may prove to be a name
    for found in _TOKEN.finditer(text):
        token = text[found.start() : found.start() + 1]
        if last is not None and token == b":":
            names[-1] = names[-1] if deeper else string(last[0])
            last = None
            continue
        if last is not None:
            yield _text(last, names)
            last = None
        if token == b'"':
            last = found
        elif token in _OPENS and len(names) < _DEPTH:
            names.append("")
        elif token in _OPENS:
            deeper += 1
        elif token in _CLOSES and deeper:
            deeper -= 1
        elif token in _CLOSES and len(names) > 1:
            names.pop()
    if last is not None:
        yield _text(last, names)


def string(text: bytes) -> str:
    """Return the string whose JSON is *text*; empty for anything else."""
    if b"\\" not in text:
        return text[1:-1].decode("utf-8", "replace")
    try:
        found = json.loads(text)
    except ValueError:
        return ""
    return found if isinstance(found, str) else ""


def with_strings(text: bytes, change: Callable[[str, tuple[str, ...]], str], mark: bytes) -> bytes:
    """Return *text* with *change* (a string, the names around it) applied to strings that hold *mark*, in any case."""
    lower, mark = text.lower(), mark.lower()
    if mark not in lower:
        return text
    out, at = bytearray(), 0
    for found in strings(text):
        if lower.find(mark, found.start, found.end) < 0:
            continue
        before = string(text[found.start : found.end])
        after = change(before, found.names)
        if after != before:
            out += text[at : found.start] + json.dumps(after).encode()
            at = found.end
    return bytes(out + text[at:]) if at else text


def members(text: bytes, at: int) -> list[JsonPart]:
    """Return the members of the object that begins *at* in *text*; of anything else there are none."""
    found: list[JsonPart] = []
    place = at + 1
    while text[at : at + 1] == b"{" and (key := _KEY.match(text, place)):
        place = _end(text, key.end())
        found.append(JsonPart(key.start(1), key.end(), place, string(key[1])))
    return found


def items(text: bytes, at: int) -> list[JsonPart]:
    """Return the items of the list that begins *at* in *text*; of anything else there are none."""
    found: list[JsonPart] = []
    place = at + 1
    while text[at : at + 1] == b"[":
        gap = _NEXT.match(text, place)
        start = gap.end() if gap else place
        place = _end(text, start)
        if place <= start:
            break
        found.append(JsonPart(start, start, place))
    return found


def object_with(mark: bytes, text: bytes, part: JsonPart) -> dict[str, object]:
    """Return the value of *part* when it is an object and *mark* occurs in it, else an empty one."""
    if text.find(mark, part.start, part.end) < 0:
        return {}
    try:
        found = msgspec.json.decode(text[part.value : part.end])
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def removed(parts: Sequence[JsonPart], places: Collection[int]) -> Iterator[Splice]:
    """Yield the edits that take the members or items at *places* out of *parts*, which are all of their container."""
    kept = [place for place in range(len(parts)) if place not in places]
    last = kept[-1] if kept else -1
    for place in sorted(places):
        if place < last:
            yield parts[place].start, parts[place + 1].start, b""
    if last < len(parts) - 1:
        yield parts[last].end if kept else parts[0].start, parts[-1].end, b""


def edited(text: bytes, edits: Iterable[Splice]) -> bytes:
    """Return *text* with *edits* that do not overlap; without any, *text* itself."""
    out, at = bytearray(), 0
    for start, end, instead in sorted(edits):
        out += text[at:start] + instead
        at = end
    return bytes(out + text[at:]) if at else text


def _end(text: bytes, at: int) -> int:
    first = text[at : at + 1]
    if first == b'"':
        found = _STRING.match(text, at)
        return found.end() if found else len(text)
    if not first or first not in _OPENS:
        scalar = _SCALAR.match(text, at)
        return scalar.end() if scalar else at
    depth = 0
    for token in _TOKEN.finditer(text, at):
        mark = text[token.start() : token.start() + 1]
        depth += (mark in _OPENS) - (mark in _CLOSES)
        if not depth:
            return token.end()
    return len(text)


def _text(found: re.Match[bytes], names: list[str]) -> JsonString:
    return JsonString(found.start(), found.end(), tuple(filter(None, names)))
