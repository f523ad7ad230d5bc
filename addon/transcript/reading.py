"""Bytes → `Transcript`, for bodies of any dialect and of none. Never raises: what is not read stands in `other`."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import takewhile
from typing import Any

from msgspec.structs import replace

from .. import dialects
from ..answer.sse import ServerSentEvents
from ..body import MISSING, decoded
from ..dialects.members import JsonMembers, details, error_text
from ..dialects.transcript_form import TranscriptForm
from ..media_types import EVENTS, media_type
from ..values.transcript import Block, Detail, Transcript, TranscriptTurn

_SCANNER = json.JSONDecoder(strict=False)
_BETWEEN = "\ufeff \t\r\n,[]"  # before, between and after the objects of a stream
_GAP = re.compile(r"[\s,\]]*")
_BOM = b"\xef\xbb\xbf"
_BLANK = b" \t\r\n"
_COMPLAINTS = ("message", "detail", "error_description")  # an answer with no more than one of these is an error
# A page is made on an event loop, so of a stream and of a body no more is read than
MOST_EVENTS = 50_000
MOST_VALUES = 200_000  # entries of lists, and members, where a body has
MANY_COMMAS = 500_000  # more than these: to count its values exactly takes as long as to read them
_PIECE = 1 << 20  # bytes of a stream that are taken apart at once


def of_request(body: bytes, dialect: str = "", suffix: str = "", content_type: str = "") -> Transcript:
    """
    Return the request *body*, without its content coding, as a transcript.

    *dialect* and *suffix* are those of its `Endpoint`. A `response.create` message of a WebSocket is a request too.
    """
    reader = Reader(body, dialect, suffix)
    return reader.guarded(reader.request)


def of_answer(body: bytes, dialect: str = "", suffix: str = "", content_type: str = "") -> Transcript:
    """Return the answer *body*, without its content coding, as a transcript: one JSON text, or a whole stream."""
    reader = Reader(body, dialect, suffix)
    return reader.guarded(lambda: reader.answer(content_type))


def of_messages(messages: Iterable[bytes], dialect: str = "", suffix: str = "") -> Transcript:
    """Return an answer of which each event is one message of a WebSocket."""
    kept = [*messages]
    reader = Reader(b"\n".join(kept), dialect, suffix)
    return reader.guarded(lambda: reader.stream([("", data) for data in kept]))


class Reader:
    """Reads one *body*. Where it has MANY_COMMAS, MOST_VALUES entries and members are read, of a list the last."""

    def __init__(self, body: bytes, dialect: str, suffix: str) -> None:
        self._body, self._dialect, self._suffix = body, dialect, suffix
        self._is_bounded = body.count(b",") > MANY_COMMAS  # nearly none: a comma divides values, if it is in no text
        self._room, self._unread = MOST_VALUES, 0

    def guarded(self, read: Callable[[], Transcript]) -> Transcript:
        """Return what *read* does. A transcript is for display alone: a mistake of a reader shows the body as it is."""
        try:
            found = _linked(read())
        except Exception:
            return Transcript(other=_raw(self._body))
        if not self._unread:
            return found
        more = Detail("not read", f"{self._unread:,} values, of each list the first ones: {MOST_VALUES:,} are read")
        return replace(found, other=(*found.other, more))

    def request(self) -> Transcript:
        data = self._parsed(self._body)
        if not isinstance(data, dict):
            return Transcript(other=_raw(self._body))
        name = self._dialect or next((each.name for each in dialects.DIALECTS if each.history in data), "")
        return dialects.of(name).transcript.request(self._suffix, data)

    def answer(self, content_type: str) -> Transcript:
        body, kind = self._body, media_type(content_type)
        first = body.lstrip(_BOM + _BLANK)[:1]
        if first in (b"{", b"["):
            data = self._parsed(body)
            if isinstance(data, dict):
                return self._whole(data)
            return self._listed(data) if isinstance(data, list) else self._objects()
        if kind == EVENTS or (first and first in b":deir" and kind != "text/html"):
            return self.stream(_events(body))
        return Transcript(other=_raw(body))

    def stream(self, events: Sequence[tuple[str, bytes]]) -> Transcript:
        read = events[:MOST_EVENTS]
        found = self._joined((name, self._event(data)) for name, data in read if data and not data.isspace())
        if len(read) == len(events):
            return found
        more = Detail("not read", f"what follows the first {MOST_EVENTS:,} events")
        return replace(found, other=(*found.other, more), is_cut=True)

    def _parsed(self, data: bytes) -> Any:
        value = decoded(data)
        return self._within(value) if self._is_bounded else value

    def _within(self, value: Any) -> Any:
        """Return *value* without what has no room any more."""
        if isinstance(value, list):
            kept = [self._within(each) for each in takewhile(self._takes, reversed(value))]
            self._unread += len(value) - len(kept)
            return kept[::-1]
        if isinstance(value, dict):  # the short ones first: a long list of tools leaves room for the conversation
            short_first = sorted(value, key=lambda name: _length(value[name]))
            members = {name: self._within(value[name]) for name in takewhile(self._takes, short_first)}
            self._unread += len(value) - len(members)
            return {name: members[name] for name in value if name in members}
        return value

    def _takes(self, _: Any) -> bool:
        has_room = self._room > 0
        self._room -= has_room
        return has_room

    def _whole(self, data: dict[str, Any]) -> Transcript:
        found = self._spoken(data).answer(self._suffix, data)
        if found.turns or found.error or found.usage:
            return found
        complains = isinstance(data.get("detail"), list) or any(isinstance(data.get(name), str) for name in _COMPLAINTS)
        return Transcript(error=error_text(JsonMembers(data))) if complains else found

    def _spoken(self, data: dict[str, Any]) -> TranscriptForm:
        """Return how to read *data*, which may have the shape of another dialect than the one that was asked."""
        shape = "" if dialects.of(self._dialect).has_shape(data) else dialects.shape_of(data)
        return dialects.of(shape if shape in dialects.BY_NAME else self._dialect).transcript

    def _listed(self, data: list[Any]) -> Transcript:
        if all(isinstance(each, dict) for each in data) and data:
            if len(data) == 1 and not dialects.of(self._dialect).streams_array:
                return self._whole(data[0])
            return self._joined(("", each) for each in data)
        return Transcript(other=_raw(self._body))

    def _objects(self) -> Transcript:
        """Read JSON that is no single text: one object a line, or a stream as an array that was cut."""
        text = self._body.decode("utf-8", "replace").lstrip(_BETWEEN)
        events: list[tuple[str, Any]] = []
        at = 0
        with suppress(ValueError, RecursionError):  # the rest is no whole object
            while at < len(text) and len(events) < MOST_EVENTS:
                value, end = _SCANNER.raw_decode(text, at)
                events.append(("", self._within(value) if self._is_bounded else value))
                gap = _GAP.match(text, end)
                at = gap.end() if gap else end
        rest = text[at:].strip(_BETWEEN)
        if not events:
            return Transcript(other=_raw(self._body), is_cut=True)
        found = self._joined(events)
        return replace(found, other=(*found.other, Detail("body", rest)), is_cut=True) if rest else found

    def _event(self, data: bytes) -> Any:
        value = self._parsed(data)
        return data.decode("utf-8", "replace") if value is MISSING else value

    def _joined(self, events: Iterable[tuple[str, Any]]) -> Transcript:
        join, form, aside = None, dialects.of(self._dialect).transcript, []
        for name, event in events:
            if not isinstance(event, dict):
                if isinstance(event, str) and event.startswith("[DONE]"):
                    join = join or form.join()
                    join.done()
                else:
                    aside.append({"type": name, "data": event})
                continue
            if join is None:
                form = self._spoken(event)
                join = form.join()
            join.feed(name, event)
        if join is None:
            return Transcript(other=tuple(_asides(aside)), is_stream=True, is_cut=True)
        join.end()
        found = form.answer(self._suffix, join.document)
        other = (*found.other, *_asides([*join.aside, *aside]))
        return replace(found, other=other, is_stream=True, is_cut=not join.ended)


def _length(value: Any) -> int:
    return len(value) if isinstance(value, list | dict) else 0


def _raw(body: bytes) -> tuple[Detail, ...]:
    return (Detail("body", body.decode("utf-8", "replace")),) if body.strip() else ()


def _events(body: bytes) -> list[tuple[str, bytes]]:
    """Return the events of a stream: as many as are read, and one more where there are more."""
    stream, found = ServerSentEvents(limit=len(body) + 1), []
    for at in range(0, len(body), _PIECE):
        found += [(event.name, event.data) for event in stream.feed(body[at : at + _PIECE])]
        if len(found) > MOST_EVENTS:
            return found[: MOST_EVENTS + 1]
    return [*found, *((event.name, event.data) for event in stream.end())]


def _asides(events: Iterable[dict[str, Any]]) -> Iterator[Detail]:
    for event in events:
        kind = event.pop("type") if isinstance(event.get("type"), str) else ""
        found = [*details(event, f"{kind}." if kind else "")]
        yield from found or ([Detail("event", kind)] if kind else [])


def _linked(found: Transcript) -> Transcript:
    """Return *found* with the name of its tool at each result."""
    names = {block.id: block.name for turn in found.turns for block in turn.blocks if block.kind == "call" and block.id}
    if not names:
        return found
    return replace(found, turns=tuple([_with_names(turn, names) for turn in found.turns]))


def _with_names(turn: TranscriptTurn, names: dict[str, str]) -> TranscriptTurn:
    for block in turn.blocks:
        if block.kind == "result" and not block.name and block.id in names:
            return TranscriptTurn(turn.role, tuple([_named(each, names) for each in turn.blocks]), turn.details)
    return turn


def _named(block: Block, names: dict[str, str]) -> Block:
    if block.kind != "result" or block.name:
        return block
    return Block("result", block.text, names.get(block.id, ""), block.id, None, block.blocks, block.details)
