"""The reader of every answer: bytes in, facts out. It never raises: `malformed` and `unread` are facts as well."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import fields
from operator import attrgetter
from typing import Any, Protocol

import msgspec
from blake3 import blake3

from .. import dialects
from ..content_coding import CodingError, Decoder, TooLarge, UnknownCoding, codings
from ..dialects import errors, tokens
from ..media_types import EVENTS, JSON_LINES, is_json, media_type
from ..values.account import Echo
from ..values.answer import Fact, Head, Usage
from ..values.http import Endpoint
from .answer_text import AnswerText
from .delta_skip import DeltaSkip
from .head_facts import head_facts
from .json_stream import JsonElements, JsonObjects, WholeText
from .sse import Event, ServerSentEvents

BODY_BYTES = 16 * 1024 * 1024  # of an answer that is one JSON text; a longer one is not read
DECODED_BYTES = 64 * 1024 * 1024  # of a compressed answer; reading stops there
_FREE, _RATIO = 1024 * 1024, 100  # decoded bytes that any body may have, and the ratio that holds above them
_MINTED = 4096  # distinct tokens of one answer
_NAMINGS = 7  # changes of whether events bear a name; after an odd number it stays at "they do not"
_BORN = 64 * 1024  # bytes of the event that first names the answer, whose digest identifies the answer
_REPEATS = 64  # changes of one value (an id in mid-stream) that are still told

_STRAY = re.compile(rb"\n(HTTP/1\.[01] \d{3})")
_BEHIND = re.compile(rb"[}\]]\s*(HTTP/1\.[01] \d{3})")  # behind JSON
_STRAY_LENGTH = len(b"\nHTTP/1.1 200")

_SAYS = frozenset({"content", "finish", "end"})  # facts whose event must bear a name
ERROR_ID = "error id"  # the place of the id of an error in a body
_READABLE = frozenset({"", "text/plain", "text/html"})  # besides JSON
_STREAMS = JSON_LINES - {"application/x-jsonl"}  # that is the type of a batch's results, which are many answers
_BROKEN = object()
_COUNTS = attrgetter(*(count.name for count in fields(Usage)))
_NO_USAGE = Usage()


class _Framing(Protocol):
    def feed(self, data: bytes) -> list[Event]: ...
    def end(self) -> list[Event]: ...


class AnswerReader:
    """
    The reader of one answer in *dialect*: `head`, then `feed` for every chunk, then `end`; `message` for WebSockets.

    Facts come in the order of the bytes. A kind at a place is told again only when its value changes; `usage` whenever
    it grows, so the last one holds; `content` once, at the first semantic event; `text` and `calls` (pairs of a name
    and its arguments) once, at the end, when both fit into *keep_text* characters. *asked_stream*: JSON may be the
    first of several objects.
    """

    def __init__(
        self, dialect: str, echo: Echo | None = None, keep_text: int = 262144, *, asked_stream: bool = False
    ) -> None:
        self._dialect = dialects.of(dialect)
        self._spoken = self._dialect  # another one, where the answer has its shape
        self._order = self._dialect.order()
        self._echo = echo or Echo()
        self._asked_stream = asked_stream
        self._delta_skip = DeltaSkip()
        # of the head
        self._status = 0
        self._content_type = ""
        self._coding = ""
        # of the bytes
        self._decoder: Decoder | None = None
        self._framing: _Framing | None = None
        self._is_blind = False  # the body is not read, or not any more
        self._is_partly_unread = False
        self._has_bytes = False  # other than white space
        self._is_escaped = False  # its texts never hold a line end, so no line of them looks like a head
        self._tail = b"\n"
        # of the events
        self._has_events = False
        self._document: object = None  # the body, where it is one JSON text
        self._text = AnswerText(keep_text)
        self._usage = _NO_USAGE
        self._told: dict[tuple[str, str], tuple[object, int]] = {}
        self._minted: set[tuple[str, object]] = set()
        self._has_content = False
        self._ends: set[str] = set()
        self._is_finished = False  # in its own dialect
        self._is_closed = False
        self._is_born = False
        self._is_loose = False  # the last event that said something bore neither an id nor an echo
        self._namings = 0

    @property
    def streamed(self) -> bool:
        """Whether the answer comes in events, rather than as one text."""
        framing = self._framing
        if isinstance(framing, JsonObjects):
            return framing.is_stream
        return isinstance(framing, ServerSentEvents | JsonElements) or self._content_type == EVENTS

    @property
    def is_text(self) -> bool:
        """Whether the body so far looks like one JSON text, of use only when it is complete."""
        return isinstance(self._framing, WholeText | JsonObjects) and not (self._is_blind or self.streamed)

    @property
    def is_foreign(self) -> bool:
        """Whether the body is neither JSON nor events."""
        return self._is_blind and not self._is_partly_unread

    @property
    def is_object(self) -> bool:
        """Whether the body was one JSON object."""
        return isinstance(self._document, dict)

    def answers(self, endpoint: Endpoint) -> bool:
        """Whether it is certain by now that a stream at *endpoint*, which holds no error so far, lacks nothing."""
        if not dialects.of(endpoint.dialect).is_text(endpoint.suffix):
            return self._has_events  # events of sounds and pictures are not understood
        return self._says_something and bool(self._ends & self._spoken.terminal)

    def lacks(self, endpoint: Endpoint) -> str:
        """Return what a good answer to a generation at *endpoint* lacks, now that it is over; empty: nothing."""
        if self._is_partly_unread:
            return ""
        text = dialects.of(endpoint.dialect).is_text(endpoint.suffix)  # other forms are held to less
        if not self._has_bytes:
            kind = self._content_type
            return "it is empty" if text or not kind or kind == EVENTS or is_json(kind) else ""
        if self._is_blind:
            if self._content_type == "text/html":
                return "it is a web page"
            return "it is neither JSON nor a stream of events" if text else ""
        return self._lacks_of_stream(text) if self.streamed else self._lacks_of_whole(endpoint)

    def _lacks_of_stream(self, text: bool) -> str:
        if not self._has_events:
            return "it holds no event"
        if not text:
            return ""
        if not self._says_something:
            return "it says nothing"
        cut = isinstance(self._framing, JsonElements | JsonObjects) and self._framing.is_cut
        return "it ends without its end" if cut or not self._ends & self._spoken.terminal else ""

    def _lacks_of_whole(self, endpoint: Endpoint) -> str:
        document = self._document
        if document is _BROKEN:
            return "it is no JSON, or cut short"
        if not isinstance(document, dict):
            return "" if document else "it holds no answer"
        spoken = self._spoken if self._spoken is not self._dialect else dialects.of(endpoint.dialect)
        return "" if spoken.holds_answer(endpoint.suffix, document) else "it holds no answer"

    @property
    def _says_something(self) -> bool:
        return self._has_content or "finish" in self._ends

    def head(self, head: Head) -> list[Fact]:
        """Return the facts of the answer's head."""
        self._status = head.status
        self._content_type = media_type(head.headers.get("content-type"))
        self._coding = ", ".join(head.headers.all("content-encoding"))
        facts = list(head_facts(head, self._echo))
        if self._coding and codings(self._coding):
            try:
                self._decoder = Decoder(self._coding, free=_FREE, ratio=_RATIO)
            except UnknownCoding as e:
                self._stop(facts, Fact("unread", str(e), "header content-encoding"))
        return facts

    def feed(self, data: bytes) -> list[Fact]:
        """Return the facts that are complete with *data*, a piece of the body as it came."""
        facts: list[Fact] = []
        if not self._is_blind:
            self._guard(facts, self._decode, data)
        return facts

    def end(self) -> list[Fact]:
        """Return the facts of the answer's end; the upstream said that nothing follows."""
        facts: list[Fact] = []
        if self._framing and not self._is_blind:
            self._guard(facts, lambda framing, into: self._read_events(framing.end(), into), self._framing)
        if self._has_events:
            self._guard(facts, lambda order, into: into.extend(order.end()), self._order)
        if self._is_finished and not self._is_closed:  # some servers leave out [DONE]
            self._close(facts, Fact("end", "eof"))
        facts += self._text.facts()
        return facts

    def message(self, data: bytes) -> list[Fact]:
        """Return the facts of one message of a WebSocket."""
        facts: list[Fact] = []
        self._guard(facts, self._next, Event("message", data))
        return facts

    def decoded(self, body: bytes) -> bytes:
        """Return *body*, which may be cut short, without its content coding; unchanged if that fails."""
        if not codings(self._coding):
            return body
        out = bytearray()
        try:
            for piece in Decoder(self._coding, free=2 * BODY_BYTES).feed(body):
                out += piece
                if len(out) > BODY_BYTES:
                    break
        except CodingError:
            pass
        return bytes(out) or body

    def _guard[T](self, facts: list[Fact], work: Callable[[T, list[Fact]], None], what: T) -> None:
        # A mistake of the reader must never reach the stream: after one, the rest of the answer passes unread.
        try:
            work(what, facts)
        except Exception as e:
            self._stop(facts, Fact("malformed", type(e).__name__, "body"))

    def _stop(self, facts: list[Fact], why: Fact) -> None:
        self._is_blind = self._is_partly_unread = True
        facts.append(why)

    def _decode(self, data: bytes, facts: list[Fact]) -> None:
        if self._decoder is None:
            self._frame(data, facts)
            return
        try:
            for piece in self._decoder.feed(data):
                if self._decoder.decoded > DECODED_BYTES:
                    raise TooLarge
                self._frame(piece, facts)
        except TooLarge:
            self._stop(facts, Fact("unread", "too much once decompressed", "body"))

    def _frame(self, data: bytes, facts: list[Fact]) -> None:
        if self._framing is None:
            self._framing = self._framing_for(data)
            if self._framing is None:
                return
            kind = self._content_type
            self._is_escaped = not self._is_blind or kind == EVENTS or is_json(kind)
            if not self._is_blind:
                whole = isinstance(self._framing, WholeText | JsonObjects)
                facts.append(Fact("framing", "whole" if whole else "events", "body"))
        if self._is_escaped:
            self._find_strays(data, facts)
        if not self._is_blind:
            self._read_events(self._framing.feed(data), facts)

    def _find_strays(self, data: bytes, facts: list[Fact]) -> None:
        # a head of another HTTP answer: texts in JSON are escaped and never look like one
        around = self._tail + data
        if b"\nHTTP/1." in around and (found := _STRAY.search(around)):
            self._tell(facts, Fact("stray", found[1].decode(), "body"), once=True)
        self._tail = around[-_STRAY_LENGTH:]

    def _framing_for(self, data: bytes) -> _Framing | None:
        """Choose by content type and first byte: servers send errors as JSON under any type, and events under none."""
        kind, first = self._content_type, data.lstrip(b"\xef\xbb\xbf \t\r\n")[:1]
        sse = kind == EVENTS
        if not first:
            return ServerSentEvents() if sse and data else None
        self._has_bytes = True
        readable = kind in _READABLE or is_json(kind)
        if first in b"{[" and kind in _STREAMS:
            return JsonElements()
        if first == b"{" and (sse or readable):
            return JsonObjects(BODY_BYTES) if self._asked_stream and not sse else WholeText(BODY_BYTES)
        if first == b"[" and readable:
            return JsonElements() if self._dialect.streams_array else WholeText(BODY_BYTES)
        if sse or (readable and first in b":deir" and kind != "text/html"):
            return ServerSentEvents()
        self._is_blind = True
        return WholeText(BODY_BYTES)

    def _read_events(self, events: list[Event], facts: list[Fact]) -> None:
        framing = self._framing  # its kind is asked for first: nearly every event of a stream is of this one
        if not isinstance(framing, ServerSentEvents) and (isinstance(framing, WholeText) or not self.streamed):
            for event in events:
                self._read_event(event, facts, streamed=False)
        else:
            for event in events:
                self._next(event, facts)

    def _next(self, event: Event, facts: list[Fact]) -> None:
        self._has_events = True
        delta = self._delta_skip.match(event)
        if delta is None:
            self._read_event(event, facts, streamed=True)
            return
        if delta.text and delta.call is not None:
            self._text.add_arguments(delta.call, delta.text)
        elif delta.text:
            self._text.add(delta.text)
        for fact in self._order.repeat(delta.number):
            self._tell(facts, fact, once=True)

    def _read_event(self, event: Event, facts: list[Fact], streamed: bool) -> None:
        if event.dropped:
            self._is_partly_unread = self._is_partly_unread or not streamed
            self._has_content = True  # no event without content is that long
            facts.append(Fact("unread", "too long", "event" if streamed else "body"))
        elif event.data.startswith(b"[DONE]"):
            self._order.done()
            self._ends.add("[DONE]")
            self._close(facts, Fact("end", "[DONE]"))
        elif isinstance(data := self._parse(event, streamed), dict):
            name, known = (event.name or "message") if streamed else "", len(facts)
            found = self._read_object(name, data, facts)
            if not self._is_born and "id" in [fact.kind for fact in facts[known:]]:
                self._is_born = True
                facts.insert(known, Fact("born", blake3(event.data[:_BORN]).hexdigest(8)))
            if name and len(facts) == known:
                self._delta_skip.learn(event, data, name, [*found, *_echoes(self._echo, data)], self._facts_and_echoes)
                return
        elif isinstance(data, list) and not streamed:
            for element in tokens.dicts(data)[:1]:  # an error in a list, as Google's OpenAI endpoint has it
                self._read_object("", element, facts)
        elif data is _BROKEN:
            if behind := _BEHIND.search(event.data):
                self._tell(facts, Fact("stray", behind[1].decode(), "body"), once=True)
            self._tell(facts, Fact("malformed", "no JSON", "event" if streamed else "body"))
        self._delta_skip.forget()

    def _parse(self, event: Event, streamed: bool) -> Any:
        data = _json(event.data)
        if not streamed:
            self._document = data
        return data

    def _read_object(self, name: str, data: dict[str, Any], facts: list[Fact]) -> list[Fact]:
        if not self._dialect.has_shape(data) and (shape := dialects.shape_of(data)):
            self._read_foreign(shape, name, data, facts)
        if name:
            for fact in self._order.feed(data):
                self._tell(facts, fact, once=True)
        if self._status >= 400 and not name:
            facts.append(errors.read_refused(data))
        found = self._facts_of(name, data)
        kinds = {fact.kind for fact in found}
        wrong, is_named = self._status >= 400 or "error" in kinds, "id" in kinds
        for fact in _echoes(self._echo, data):
            # In an error the same member is the provider's own id of the request (Anthropic's `request_id`).
            self._tell(facts, Fact("provider_id", fact.value, fact.where) if wrong else fact)
            is_named = True
        for fact in found:
            # the id of an error is that of a kind of error at times, and of no answer
            failed = wrong and not name and fact.kind == "id"
            self._take(Fact("provider_id", fact.value, ERROR_ID) if failed else fact, facts)
        if name and not kinds.isdisjoint(_SAYS):
            self._follow_naming(is_named, facts)
        if not name and not wrong:
            self._close(facts, Fact("end", "body"))
        return found

    def _read_foreign(self, shape: str, name: str, data: dict[str, Any], facts: list[Fact]) -> None:
        self._spoken = dialects.BY_NAME.get(shape, self._spoken)
        self._tell(facts, Fact("shape", shape, "event" if name else "body"), once=True)
        for fact in dialects.of(shape).read(name, data):
            self._follow_progress(fact)
            if fact.kind == "id":
                self._tell(facts, fact)

    def _facts_of(self, name: str, data: dict[str, Any]) -> list[Fact]:
        # the calls first: the last event may hold calls and the end
        return [*self._dialect.read_calls(data), *self._dialect.read(name, data)]

    def _facts_and_echoes(self, name: str, data: dict[str, Any]) -> list[Fact]:
        return [*self._facts_of(name, data), *_echoes(self._echo, data)]

    def _follow_progress(self, fact: Fact) -> None:
        match fact.kind:
            case "content":
                self._has_content = True
            case "finish":
                self._ends.add("finish")
            case "end":
                self._ends.add(str(fact.value))

    def _take(self, fact: Fact, facts: list[Fact]) -> None:
        if fact.kind in _SAYS:
            self._follow_progress(fact)
        match fact.kind:
            case "text":
                self._text.add(str(fact.value), whole=fact.where == "whole")
            case "called":
                self._text.begin_call(fact.where, str(fact.value))
            case "arguments":
                self._text.add_arguments(fact.where, str(fact.value))
            case "usage":
                self._grow(fact, facts)
            case "end":
                self._close(facts, fact)
            case "token" | "tool":
                self._mint(fact, facts)
            case "content":
                self._tell(facts, fact, once=True)
            case "error" if self._status >= 400 and fact.where == "body":
                pass  # told already, in the form for refusals
            case _:
                self._is_finished = self._is_finished or fact.kind == "finish"
                self._tell(facts, fact)

    def _follow_naming(self, is_named: bool, facts: list[Fact]) -> None:
        # `loose`: events that say something come without a name from now on, or with one again
        if is_named is self._is_loose and self._namings < _NAMINGS:
            self._is_loose = not is_named
            self._namings += 1
            facts.append(Fact("loose", self._is_loose, "event"))

    def _tell(self, facts: list[Fact], fact: Fact, once: bool = False) -> None:
        """Add *fact* when its value changed; *once*: when its kind, or its rule of order, was not told before."""
        key = (fact.kind, "" if once and fact.kind != "disorder" else fact.where)
        value, times = self._told.get(key, (None, 0))
        if (once and times) or (times and value == fact.value) or times >= _REPEATS:
            return
        self._told[key] = (fact.value, times + 1)
        facts.append(fact)

    def _mint(self, fact: Fact, facts: list[Fact]) -> None:
        key = (fact.kind + fact.where, fact.value)
        if key not in self._minted and len(self._minted) < _MINTED:
            self._minted.add(key)
            facts.append(fact)

    def _grow(self, fact: Fact, facts: list[Fact]) -> None:
        # Streams count upwards, and Anthropic splits the count over two events: the larger of each number holds.
        if not isinstance(fact.value, Usage):
            return
        old, new = self._usage, fact.value
        merged = new if old is _NO_USAGE else Usage(*map(max, _COUNTS(old), _COUNTS(new)))
        if merged != old:
            self._usage = merged
            facts.append(Fact("usage", merged))

    def _close(self, facts: list[Fact], end: Fact) -> None:
        if not self._is_closed:
            self._is_closed = True
            facts.append(end)
            facts += self._text.facts()  # now: a client may hang up as soon as it has seen the end


def _json(data: bytes) -> Any:
    try:
        return msgspec.json.decode(data)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        pass
    try:  # lone surrogates and NaN: no JSON, but servers send them
        return json.loads(data)
    except (ValueError, RecursionError):
        return _BROKEN


def _echoes(echo: Echo, data: dict[str, Any]) -> Iterator[Fact]:
    for name, depth in echo.body.items():
        for outer in (data, data.get("response"), data.get("message")):
            value = _at(outer, name) if outer else None
            if isinstance(value, str | int) and not isinstance(value, bool) and value != "":
                yield Fact("echo", str(value), f"body {name}", depth)


def _at(data: object, name: str) -> object:
    for part in name.split("."):
        if not isinstance(data, dict):
            return None
        data = data.get(part)
    return data
