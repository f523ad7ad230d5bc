"""
Events that are alike: in a stream nearly every event is the one before it with another piece of text.

Such an event says nothing new but its text, so it need not be read: it is known by the bytes around the text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import msgspec

from ..values.answer import Fact
from .sse import Event

MISSES = 8  # forms that were learned and never met again, after which a stream is taken for one without any
_PROBE, _NUMBER = '\0"probe\\', 987654321
_TEXT = msgspec.json.Decoder(str)
# what has an effect when it comes again, or counts where it stands
_TELLING = frozenset({"finish", "end", "error", "usage", "called"})
_TEXTS = ("text", "arguments")
_SAID = ("text", "content", "partial_json", "thinking", "reasoning_content", "reasoning", "arguments")
_SEQUENCE, _PADDING = b'"sequence_number":', b'"obfuscation":'

Read = Callable[[str, dict[str, Any]], Iterable[Fact]]


@dataclass(frozen=True, slots=True)
class Said:
    """
    What an event says that is like the one before: its *text* ("" when it is none of the answer's) and its number.

    *call* is None for what is said, else it tells to which call the text is arguments.
    """

    text: str
    number: int | None
    call: str | None = None


@dataclass(frozen=True, slots=True)
class _Hole:
    """Where an event may differ: *start* to *end* of its bytes. The kind is `text`, `number` or `padding`."""

    start: int
    end: int
    kind: str


class DeltaSkip:
    """The form of the last event that was read, if all that it may differ in from the next one is known."""

    __slots__ = ("_call", "_first", "_holes", "_is_text", "_met", "_misses", "_name")

    def __init__(self) -> None:
        self._name, self._first = "", b""
        self._holes: tuple[tuple[str, bytes], ...] = ()  # the kind of each, and the bytes behind it
        self._is_text = False
        self._call: str | None = None
        self._met = True
        self._misses = 0

    def said(self, event: Event) -> Said | None:
        """Say what *event* says if it has the form of the last one; None when it is to be read."""
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
        self._met = True
        return Said(text if self._is_text else "", number, self._call)

    def learn(self, event: Event, data: dict[str, Any], name: str, found: Sequence[Fact], read: Read) -> None:
        """Take the form of *event*, which holds *data*, was read under *name* as *found*, and told nothing new."""
        self.forget()
        texts = [fact for fact in found if fact.kind in _TEXTS]
        text = str(texts[0].value) if texts else _delta(data)
        if self._misses >= MISSES or not text or len(texts) > 1 or any(fact.kind in _TELLING for fact in found):
            return
        holes = _holes(event.data, text)
        if not holes or not _is_all(event.data, holes, name, found, read):
            return
        ends = [*(hole.start for hole in holes[1:]), len(event.data)]
        self._name, self._first, self._is_text, self._met = event.name, event.data[: holes[0].start], bool(texts), False
        self._call = texts[0].where if texts and texts[0].kind == "arguments" else None
        self._holes = tuple((hole.kind, event.data[hole.end : end]) for hole, end in zip(holes, ends, strict=True))

    def forget(self) -> None:
        """Know no form: an event of another one has come."""
        self._misses += not self._met
        self._holes, self._met = (), True


def _delta(data: dict[str, Any]) -> str:
    """Return the words of an event that are no text of the answer: what it thinks, or gives to a tool."""
    delta = data.get("delta")
    choices = data.get("choices")
    if isinstance(choices, list) and len(choices) == 1 and isinstance(choices[0], dict):
        delta = choices[0].get("delta")
    if isinstance(delta, dict):
        calls = delta.get("tool_calls")
        if isinstance(calls, list) and len(calls) == 1 and isinstance(calls[0], dict):
            delta = calls[0].get("function")
    if isinstance(delta, dict):
        delta = next((delta[name] for name in _SAID if delta.get(name)), "")
    return delta if isinstance(delta, str) else ""


def _holes(data: bytes, text: str) -> list[_Hole]:
    """Return where *data* may differ from the next event, in order; nothing when it cannot be said where *text* is."""
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
    holes.sort(key=lambda hole: hole.start)
    apart = all(one.end < other.start for one, other in pairwise(holes))
    return holes if apart and all(hole.start < hole.end for hole in holes) else []


def _value(data: bytes, key: bytes) -> int:
    """Return where the value of *key* begins."""
    start = data.index(key) + len(key)
    while data[start : start + 1] == b" ":
        start += 1
    return start


def _is_all(data: bytes, holes: Sequence[_Hole], name: str, found: Sequence[Fact], read: Read) -> bool:
    """Whether what fills the *holes* is what was taken for it, and nothing else hangs on it."""
    probes = {"text": msgspec.json.encode(_PROBE), "number": str(_NUMBER).encode(), "padding": b'"probe"'}
    probe, at = bytearray(), 0
    for hole in holes:
        probe += data[at : hole.start] + probes[hole.kind]
        at = hole.end
    try:
        changed = msgspec.json.decode(probe + data[at:])
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return False
    if not isinstance(changed, dict):
        return False
    is_numbered = any(hole.kind == "number" for hole in holes)
    wanted = [replace(fact, value=_PROBE) if fact.kind in _TEXTS else fact for fact in found]
    said = [fact.value for fact in found if fact.kind in _TEXTS] or _delta(changed) == _PROBE
    numbered = not is_numbered or changed.get("sequence_number") == _NUMBER
    return bool(said) and numbered and list(read(name, changed)) == wanted
