"""Bytes → `Transcript`, for bodies of any dialect and of none. Never raises: what is not read stands in `other`."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
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
MOST_EVENTS = 50_000  # of a stream, that are read: a page is made on an event loop
_PIECE = 1 << 20  # bytes of a stream that are taken apart at once


def of_request(body: bytes, dialect: str = "", suffix: str = "", content_type: str = "") -> Transcript:
    """
    Return the request *body*, without its content coding, as a transcript.

    *dialect* and *suffix* are those of its `Endpoint`. A `response.create` message of a WebSocket is a request too.
    """
    return _guarded(body, lambda: _request(body, dialect, suffix))


def of_answer(body: bytes, dialect: str = "", suffix: str = "", content_type: str = "") -> Transcript:
    """Return the answer *body*, without its content coding, as a transcript: one JSON text, or a whole stream."""
    return _guarded(body, lambda: _answer(body, dialect, suffix, content_type))


def of_messages(messages: Iterable[bytes], dialect: str = "", suffix: str = "") -> Transcript:
    """Return an answer of which each event is one message of a WebSocket."""
    kept = [*messages]
    return _guarded(b"\n".join(kept), lambda: _stream([("", data) for data in kept], dialect, suffix))


def _guarded(body: bytes, read: Callable[[], Transcript]) -> Transcript:
    # The transcript is for display alone: a mistake of a reader must show the body as it is, and break nothing.
    try:
        return _linked(read())
    except Exception:
        return Transcript(other=_raw(body))


def _raw(body: bytes) -> tuple[Detail, ...]:
    return (Detail("body", body.decode("utf-8", "replace")),) if body.strip() else ()


def _request(body: bytes, dialect: str, suffix: str) -> Transcript:
    data = decoded(body)
    if not isinstance(data, dict):
        return Transcript(other=_raw(body))
    name = dialect or next((each.name for each in dialects.DIALECTS if each.history in data), "")
    return dialects.of(name).transcript.request(suffix, data)


def _answer(body: bytes, dialect: str, suffix: str, content_type: str) -> Transcript:
    kind, first = media_type(content_type), body.lstrip(_BOM + _BLANK)[:1]
    if first in (b"{", b"["):
        data = decoded(body)
        if isinstance(data, dict):
            return _whole(data, dialect, suffix)
        if isinstance(data, list):
            return _listed(data, body, dialect, suffix)
        return _objects(body, dialect, suffix)
    if kind == EVENTS or (first and first in b":deir" and kind != "text/html"):
        return _stream(_events(body), dialect, suffix)
    return Transcript(other=_raw(body))


def _events(body: bytes) -> list[tuple[str, bytes]]:
    """Return the events of a stream: as many as are read, and one more where there are more."""
    stream, found = ServerSentEvents(limit=len(body) + 1), []
    for at in range(0, len(body), _PIECE):
        found += [(event.name, event.data) for event in stream.feed(body[at : at + _PIECE])]
        if len(found) > MOST_EVENTS:
            return found[: MOST_EVENTS + 1]
    return [*found, *((event.name, event.data) for event in stream.end())]


def _whole(data: dict[str, Any], dialect: str, suffix: str) -> Transcript:
    found = _spoken(data, dialect).answer(suffix, data)
    if found.turns or found.error or found.usage:
        return found
    complains = isinstance(data.get("detail"), list) or any(isinstance(data.get(name), str) for name in _COMPLAINTS)
    return Transcript(error=error_text(JsonMembers(data))) if complains else found


def _spoken(data: dict[str, Any], dialect: str) -> TranscriptForm:
    """Return how to read *data*, which may have the shape of another dialect than the one that was asked."""
    shape = "" if dialects.of(dialect).has_shape(data) else dialects.shape_of(data)
    return dialects.of(shape if shape in dialects.BY_NAME else dialect).transcript


def _listed(data: list[Any], body: bytes, dialect: str, suffix: str) -> Transcript:
    if all(isinstance(each, dict) for each in data) and data:
        if len(data) == 1 and not dialects.of(dialect).streams_array:
            return _whole(data[0], dialect, suffix)
        return _joined((("", each) for each in data), dialect, suffix)
    return Transcript(other=_raw(body))


def _objects(body: bytes, dialect: str, suffix: str) -> Transcript:
    """Read JSON that is no single text: one object a line, or a stream as an array that was cut."""
    text = body.decode("utf-8", "replace").lstrip(_BETWEEN)
    events, at = [], 0
    with suppress(ValueError, RecursionError):  # the rest is no whole object
        while at < len(text):
            value, end = _SCANNER.raw_decode(text, at)
            events.append(("", value))
            gap = _GAP.match(text, end)
            at = gap.end() if gap else end
    rest = text[at:].strip(_BETWEEN)
    if not events:
        return Transcript(other=_raw(body), is_cut=True)
    found = _joined(events, dialect, suffix)
    return replace(found, other=(*found.other, Detail("body", rest)), is_cut=True) if rest else found


def _stream(events: Sequence[tuple[str, bytes]], dialect: str, suffix: str) -> Transcript:
    read = events[:MOST_EVENTS]
    found = _joined(((name, _parsed(data)) for name, data in read if data and not data.isspace()), dialect, suffix)
    if len(read) == len(events):
        return found
    more = Detail("not read", f"what follows the first {MOST_EVENTS:,} events")
    return replace(found, other=(*found.other, more), is_cut=True)


def _parsed(data: bytes) -> Any:
    value = decoded(data)
    return data.decode("utf-8", "replace") if value is MISSING else value


def _joined(events: Iterable[tuple[str, Any]], dialect: str, suffix: str) -> Transcript:
    join, form, aside = None, dialects.of(dialect).transcript, []
    for name, event in events:
        if not isinstance(event, dict):
            if isinstance(event, str) and event.startswith("[DONE]"):
                join = join or form.join()
                join.done()
            else:
                aside.append({"type": name, "data": event})
            continue
        if join is None:
            form = _spoken(event, dialect)
            join = form.join()
        join.feed(name, event)
    if join is None:
        return Transcript(other=tuple(_asides(aside)), is_stream=True, is_cut=True)
    join.end()
    found = form.answer(suffix, join.document)
    other = (*found.other, *_asides([*join.aside, *aside]))
    return replace(found, other=other, is_stream=True, is_cut=not join.ended)


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
