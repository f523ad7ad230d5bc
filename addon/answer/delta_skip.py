"""Deltas that need not be parsed: nearly every event of a stream equals the last, in the bytes around its text."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from ..frozen import dataclass
from ..values.answer import Fact
from .sse import Event

MISSES = 8  # forms that were learned and never matched, after which none is learned any more
_PROBE, _NUMBER = '\0"probe\\', 987654321
_TEXT = msgspec.json.Decoder(str)
# Facts that have an effect when they are repeated, or count where they stand: their events are parsed.
_ALWAYS_PARSED = frozenset({"finish", "end", "error", "usage", "called"})
_TEXTS = ("text", "arguments")
_TEXT_MEMBERS = ("text", "content", "partial_json", "thinking", "reasoning_content", "reasoning", "arguments")
_SEQUENCE, _PADDING = b'"sequence_number":', b'"obfuscation":'

FactsOf = Callable[[str, dict[str, Any]], Iterable[Fact]]


class Delta(Struct, frozen=True):
    """
    An event that matched: its *text* (empty: the text is no part of the answer) and its sequence *number*.

    *call*: the place of the tool call whose arguments the text continues; None: the text is the answer's own.
    """

    text: str
    number: int | None
    call: str | None = None


@dataclass(frozen=True, slots=True)
class _Hole:
    """A range of an event's bytes that may differ. The kind is `text`, `number` or `padding`."""

    start: int
    end: int
    kind: str


class DeltaSkip:
    """The form of the last event that was parsed, if every byte in which the next may differ is known."""

    __slots__ = ("_call", "_first", "_holes", "_is_text", "_matched", "_misses", "_name")

    def __init__(self) -> None:
        self._name, self._first = "", b""
        self._holes: tuple[tuple[str, bytes], ...] = ()  # the kind of each, and the bytes behind it
        self._is_text = False
        self._call: str | None = None
        self._matched = True
        self._misses = 0

    def match(self, event: Event) -> Delta | None:
        """Return the delta of *event* if it has the form of the last one; None: it must be parsed."""
        data = event.data
        if not self._holes or event.name != self._name or not data.startswith(self._first):
            return None
        at, text, number = len(self._first), "", None
        for kind, behind in self._holes:
            end = data.find(behind, at)
            piece = data[at:end]
            if end < 0 or not piece:
                return None
            if kind == "number":
                if not piece.isdigit() or len(piece) > 12:
                    return None
                number = int(piece)
            else:
                try:
                    found = _TEXT.decode(piece)
                except (msgspec.DecodeError, UnicodeDecodeError):
                    return None
                text = found if kind == "text" else text
            at = end + len(behind)
        if at != len(data) or not text:
            return None
        self._matched = True
        return Delta(text if self._is_text else "", number, self._call)

    def learn(self, event: Event, data: dict[str, Any], name: str, found: Sequence[Fact], read: FactsOf) -> None:
        """Learn the form of *event*: its *data* was read as *name* into *found*, and told nothing new."""
        self.forget()
        texts = [fact for fact in found if fact.kind in _TEXTS]
        text = str(texts[0].value) if texts else _delta(data)
        if self._misses >= MISSES or not text or len(texts) > 1 or any(fact.kind in _ALWAYS_PARSED for fact in found):
            return
        holes = _holes(event.data, text)
        if not holes or not _change_nothing_else(event.data, holes, name, found, read):
            return
        ends = [*(hole.start for hole in holes[1:]), len(event.data)]
        self._name, self._first = event.name, event.data[: holes[0].start]
        self._is_text, self._matched = bool(texts), False
        self._call = texts[0].where if texts and texts[0].kind == "arguments" else None
        self._holes = tuple((hole.kind, event.data[hole.end : end]) for hole, end in zip(holes, ends, strict=True))

    def forget(self) -> None:
        """Forget the form."""
        self._misses += not self._matched
        self._holes, self._matched = (), True


def _delta(data: dict[str, Any]) -> str:
    delta = data.get("delta")
    choices = data.get("choices")
    if isinstance(choices, list) and len(choices) == 1 and isinstance(choices[0], dict):
        delta = choices[0].get("delta")
    if isinstance(delta, dict):
        calls = delta.get("tool_calls")
        if isinstance(calls, list) and len(calls) == 1 and isinstance(calls[0], dict):
            delta = calls[0].get("function")
    if isinstance(delta, dict):
        delta = next((delta[name] for name in _TEXT_MEMBERS if delta.get(name)), "")
    return delta if isinstance(delta, str) else ""


def _holes(data: bytes, text: str) -> list[_Hole]:
    try:
        quoted = msgspec.json.encode(text)
    except UnicodeEncodeError:  # half a character
        return []
    if data.count(quoted) != 1:
        return []
    at = data.index(quoted)
    holes = [_Hole(at, at + len(quoted), "text")]
    if data.count(_SEQUENCE) == 1:
        start = _value(data, _SEQUENCE)
        end = start
        while data[end : end + 1].isdigit():
            end += 1
        holes.append(_Hole(start, end, "number"))
    if data.count(_PADDING) == 1 and data[(start := _value(data, _PADDING)) :].startswith(b'"'):
        holes.append(_Hole(start, data.find(b'"', start + 1) + 1, "padding"))
    return sorted(holes, key=lambda hole: hole.start)


def _value(data: bytes, key: bytes) -> int:
    start = data.index(key) + len(key)
    while data[start : start + 1] == b" ":
        start += 1
    return start


def _change_nothing_else(data: bytes, holes: Sequence[_Hole], name: str, found: Sequence[Fact], read: FactsOf) -> bool:
    # Holes that touch one another, or are empty, make no JSON: two values follow each other without a comma.
    probes = {"text": msgspec.json.encode(_PROBE), "number": str(_NUMBER).encode(), "padding": b'"probe"'}
    probe, at = bytearray(), 0
    for hole in holes:
        probe += data[at : hole.start] + probes[hole.kind]
        at = hole.end
    try:
        changed = msgspec.json.decode(probe + data[at:])
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return False
    is_numbered = any(hole.kind == "number" for hole in holes)
    wanted = [replace(fact, value=_PROBE) if fact.kind in _TEXTS else fact for fact in found]
    told = [fact.value for fact in found if fact.kind in _TEXTS] or _delta(changed) == _PROBE
    numbered = not is_numbered or changed.get("sequence_number") == _NUMBER
    return bool(told) and numbered and list(read(name, changed)) == wanted
