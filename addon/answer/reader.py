"""
An answer as it passes: bytes in, facts out. The only reader of answers, whatever their dialect, framing and coding.

It never changes a byte and never raises: what it cannot read becomes a fact as well (`malformed`, `unread`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import msgspec
from blake3 import blake3

from .. import dialects
from ..content_coding import CodingError, Decoder, TooLarge, UnknownCoding, codings
from ..dialects import errors, tokens
from ..dialects.order import StreamOrder
from ..values.account import Echo
from ..values.answer import Fact, Head, Usage
from ..values.http import Endpoint
from .delta_skip import DeltaSkip
from .sse import Elements, Event, Events, Objects

BODY_BYTES = 16 * 1024 * 1024  # what is kept of an answer that is one JSON text
DECODED_BYTES = 64 * 1024 * 1024  # how much a compressed answer may swell before we stop looking
_FREE, _RATIO = 1024 * 1024, 100  # and, above so many bytes, by how much
_SEEN = 4096  # distinct tokens of one answer
_TURNS = 7  # changes of whether events bear a name; after an odd number of them it stays at "they do not"
_BORN = 64 * 1024  # bytes of the event that first names the answer, by which it is known again
_REPEATS = 64  # changes of one value (an id in mid-stream) that are still worth telling

# Headers in which providers and gateways put an id of their own. Not here: `cf-ray` and trace ids, which name a
# connection or a whole trace; `x-client-request-id`, which clients reuse; `x-patchbay-*` of an instance upstream.
PROVIDER_IDS = (
    "request-id", "x-request-id", "apim-request-id", "x-amzn-requestid", "x-amzn-request-id", "x-ms-request-id",
    "x-generation-id", "x-inference-id", "x-litellm-call-id", "x-ds-trace-id", "x-oai-request-id", "x-goog-request-id",
    "mistral-correlation-id",
)  # fmt: skip

# How long the server says it took, in milliseconds, and marks of an answer that was kept from before.
_TOOK = ("openai-processing-ms", "x-envoy-upstream-service-time")
_KEPT = ("x-cache", "cf-cache-status", "cf-aig-cache-status", "x-portkey-cache-status", "helicone-cache", "x-cache-hit",
         "x-openrouter-cache-status", "x-litellm-cache-hit")  # fmt: skip
_HIT = frozenset({"hit", "true", "1", "revalidated", "stale"})
_STRAY = re.compile(rb"\n(HTTP/1\.[01] \d{3})")
_BEHIND = re.compile(rb"[}\]]\s*(HTTP/1\.[01] \d{3})")  # in what is no JSON any more
_STRAY_LENGTH = len(b"\nHTTP/1.1 200")

_SAYS = frozenset({"content", "finish", "end"})  # what an event must bear a name for
_JSON_TYPES = frozenset({"application/json", "text/json", "text/event-stream"})
_ESCAPED = frozenset({"application/json", "text/event-stream", "text/json"})
_READABLE = frozenset({"", "application/json", "text/json", "text/plain", "text/html"})
_LINES = frozenset({"application/x-ndjson", "application/ndjson", "application/jsonl", "application/x-jsonlines",
                    "application/json-lines", "application/jsonlines", "application/stream+json"})  # fmt: skip


class _Framing(Protocol):
    def feed(self, data: bytes) -> list[Event]: ...
    def end(self) -> list[Event]: ...


class _Whole:
    """One JSON text, kept until its end; more than *limit* bytes of it are not kept at all."""

    def __init__(self, limit: int = BODY_BYTES) -> None:
        self._buffer = bytearray()
        self._limit = limit
        self._dropped = False

    def feed(self, data: bytes) -> list[Event]:
        self._buffer += data
        if len(self._buffer) > self._limit:
            self._buffer.clear()
            self._dropped = True
        return []

    def end(self) -> list[Event]:
        if self._dropped:
            return [Event("", b"", dropped=True)]
        return [Event("", bytes(self._buffer))] if self._buffer.strip() else []


class AnswerReader:
    """
    The reader of one answer in *dialect*: `head`, then `feed` for every chunk, then `end`.

    Facts come in the order in which they stood. One kind at a place is told again only when its value changes; `usage`
    is told whenever it grows, so the last one holds; `content` once, at the first semantic event; `text` and `calls`
    (pairs of a name and its arguments) once, at the end, when all of it fits into *keep_text* characters. A WebSocket's
    messages go to `message`. *asked_stream*: the request asked for a stream, so JSON may be the first of several
    objects.
    """

    def __init__(
        self, dialect: str, echo: Echo | None = None, keep_text: int = 262144, *, asked_stream: bool = False
    ) -> None:
        self._dialect = dialects.of(dialect)
        self._spoken = self._dialect  # the dialect of the answer, where it is another one
        self._echo = echo or Echo()
        self._keep_text = keep_text
        self._status = 0
        self._content_type = ""
        self._coding = ""
        self._decoder: Decoder | None = None
        self._framing: _Framing | None = None
        self._blind = False
        self._ended = False
        self._told: dict[tuple[str, str], tuple[object, int]] = {}
        self._tokens: set[tuple[str, object]] = set()
        self._usage = Usage()
        self._pieces: list[str] | None = []
        self._length = 0
        self._calls: list[tuple[str, list[str]]] | None = []  # where each stands, its name and pieces of its arguments
        self._by_delta = False
        self._finished = False
        self._order = self._dialect.order()
        self._tail = b"\n"
        self._is_escaped = False  # texts in it never hold a new line, so that no line of theirs looks like a head
        self._loose = False  # the last event that said something bore neither an id nor an echo
        self._turns = 0
        self._born = False
        self._alike = DeltaSkip()
        self._asked_stream = asked_stream
        self._any = False  # whether the body holds anything but blanks
        self._document: object = None  # the body, where it is one JSON text
        self._events_read = 0
        self._said = False
        self._ends: set[str] = set()
        self._unjudged = False  # a part of it was not read

    @property
    def streamed(self) -> bool:
        """Whether the answer comes in events, rather than as one text."""
        framing = self._framing
        if isinstance(framing, Objects):
            return framing.is_stream
        return isinstance(framing, Events | Elements) or self._content_type == "text/event-stream"

    @property
    def is_text(self) -> bool:
        """Whether the body that has begun is one JSON text, as far as can be told: of use only when it is whole."""
        return isinstance(self._framing, _Whole | Objects) and not (self._blind or self.streamed)

    @property
    def is_foreign(self) -> bool:
        """Whether the body is nothing that is read here: neither JSON nor events."""
        return self._blind and not self._unjudged

    @property
    def is_object(self) -> bool:
        """Whether the body was one JSON object."""
        return isinstance(self._document, dict)

    def answers(self, endpoint: Endpoint) -> bool:
        """Whether it is certain by now that a stream at *endpoint*, which holds no error so far, lacks nothing."""
        if not dialects.of(endpoint.dialect).is_text(endpoint.suffix):
            return self._events_read > 0  # sounds and pictures: what an event of theirs says is not known
        return (self._said or "finish" in self._ends) and bool(self._ends & self._terminal)

    def lacks(self, endpoint: Endpoint) -> str:
        """
        Say what a good answer to a generation at *endpoint* lacks, now that it is over; empty where it lacks nothing.

        Endpoints that may answer in anything but JSON and events of their dialect are held to less.
        """
        if self._unjudged:
            return ""
        text = dialects.of(endpoint.dialect).is_text(endpoint.suffix)
        if not self._any:
            return "it is empty" if text or self._content_type in _JSON_TYPES or not self._content_type else ""
        if self._blind:
            if self._content_type == "text/html":
                return "it is a web page"
            return "it is neither JSON nor a stream of events" if text else ""
        return self._lacks_of_stream(text) if self.streamed else self._lacks_of_whole(endpoint)

    def _lacks_of_stream(self, text: bool) -> str:
        if not self._events_read:
            return "it holds no event"
        if not text:
            return ""
        if not (self._said or "finish" in self._ends):
            return "it says nothing"
        cut = isinstance(self._framing, Elements | Objects) and self._framing.is_cut
        return "it ends without its end" if cut or not self._ends & self._terminal else ""

    def _lacks_of_whole(self, endpoint: Endpoint) -> str:
        document = self._document
        if document is _BROKEN:
            return "it is no JSON, or cut short"
        if not isinstance(document, dict):
            return "" if document else "it holds no answer"
        spoken = self._spoken if self._spoken is not self._dialect else dialects.of(endpoint.dialect)
        return "" if spoken.holds_answer(endpoint.suffix, document) else "it holds no answer"

    @property
    def _terminal(self) -> frozenset[str]:
        return self._spoken.terminal

    def head(self, head: Head) -> list[Fact]:
        """Return the facts of the answer's head."""
        self._status = head.status
        self._content_type = head.headers.get("content-type").partition(";")[0].strip().lower()
        self._coding = ", ".join(head.headers.all("content-encoding"))
        facts = [
            Fact("echo", head.headers.get(name.lower()), f"header {name.lower()}", depth)
            for name, depth in self._echo.headers.items()
            if head.headers.get(name.lower())
        ]
        echoes, there = {name.lower() for name in self._echo.headers}, head.headers.names()
        facts += [
            Fact("provider_id", head.headers.get(name), f"header {name}")
            for name in PROVIDER_IDS
            if name in there and name not in echoes and head.headers.get(name)
        ]
        facts += _times(head)
        if head.early:
            facts.append(Fact("early", "the head", "head"))
        if codings(self._coding):
            try:
                self._decoder = Decoder(self._coding, free=_FREE, ratio=_RATIO)
            except UnknownCoding as e:
                self._blind = self._unjudged = True
                facts.append(Fact("unread", str(e), "header content-encoding"))
        return facts

    def feed(self, data: bytes) -> list[Fact]:
        """Return the facts that are complete with *data*, a piece of the body as it came."""
        facts: list[Fact] = []
        if not self._blind:
            self._guard(facts, self._pieces_of, data)
        return facts

    def end(self) -> list[Fact]:
        """Return the facts of the answer's end; the upstream said that nothing follows."""
        facts: list[Fact] = []
        if self._framing and not self._blind:
            self._guard(facts, self._rest, self._framing)
        self._guard(facts, self._out_of_order, self._order)
        if self._finished and not self._ended:  # some servers leave out [DONE]
            self._close(facts, Fact("end", "eof"))
        self._tell_text(facts)
        return facts

    def message(self, data: bytes) -> list[Fact]:
        """Return the facts of one message of a WebSocket."""
        facts: list[Fact] = []
        self._guard(facts, self._next, Event("message", data))
        return facts

    def decoded(self, body: bytes) -> bytes:
        """Return *body*, which may be cut short, with its content-encoding taken off; as it is if that fails."""
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

    # -- from bytes to events --------------------------------------------------------------------------------------

    def _guard[T](self, facts: list[Fact], work: Callable[[T, list[Fact]], None], what: T) -> None:
        # A reader's mistake must never reach the stream it watches: after one, this answer is passed unread.
        try:
            work(what, facts)
        except Exception as e:
            self._blind = self._unjudged = True
            facts.append(Fact("malformed", type(e).__name__, "body"))

    def _pieces_of(self, data: bytes, facts: list[Fact]) -> None:
        if self._decoder is None:
            self._plain(data, facts)
            return
        try:
            for piece in self._decoder.feed(data):
                if self._decoder.decoded > DECODED_BYTES:
                    raise TooLarge
                self._plain(piece, facts)
        except TooLarge:
            self._blind = self._unjudged = True
            facts.append(Fact("unread", "too much once decompressed", "body"))

    def _plain(self, data: bytes, facts: list[Fact]) -> None:
        if self._framing is None:
            self._framing = self._framing_for(data)
            if self._framing is None:
                return
            self._is_escaped = not self._blind or self._content_type in _ESCAPED or self._content_type[-5:] == "+json"
            if not self._blind:
                whole = isinstance(self._framing, _Whole | Objects)
                facts.append(Fact("framing", "whole" if whole else "events", "body"))
        if self._is_escaped:
            self._strays(data, facts)
        if not self._blind:
            self._events(self._framing.feed(data), facts)

    def _strays(self, data: bytes, facts: list[Fact]) -> None:
        """
        Tell of the head of another HTTP answer at the beginning of a line, in events and in JSON.

        Their texts are escaped and never look so. A file may well: it is not read, nor is a text of lines.
        """
        around = self._tail + data
        if b"\nHTTP/1." in around and (found := _STRAY.search(around)):
            self._repeat(facts, Fact("stray", found[1].decode(), "body"), once=True)
        self._tail = around[-_STRAY_LENGTH:]

    def _framing_for(self, data: bytes) -> _Framing | None:
        """Choose by content type and first byte: servers send errors as JSON under any type, and events under none."""
        first = data.lstrip(b"\xef\xbb\xbf \t\r\n")[:1]
        if not first:
            return Events() if self._content_type == "text/event-stream" and data else None
        self._any = True
        sse = self._content_type == "text/event-stream"
        readable = self._content_type in _READABLE or self._content_type.endswith("+json")
        if first in b"{[" and self._content_type in _LINES:
            return Elements()
        if first == b"{" and (sse or readable):
            return Objects(BODY_BYTES) if self._asked_stream and not sse else _Whole()
        if first == b"[" and readable:
            return Elements() if self._dialect.streams_array else _Whole()
        if sse or (readable and first in b":deir" and self._content_type != "text/html"):
            return Events()
        self._blind = True
        return _Whole()

    def _rest(self, framing: _Framing, facts: list[Fact]) -> None:
        self._events(framing.end(), facts)

    def _out_of_order(self, order: StreamOrder, facts: list[Fact]) -> None:
        facts.extend(order.end())

    def _events(self, events: list[Event], facts: list[Fact]) -> None:
        if isinstance(self._framing, _Whole) or not self.streamed:
            for event in events:
                self._event(event, facts, streamed=False)
        else:
            for event in events:
                self._next(event, facts)

    def _next(self, event: Event, facts: list[Fact]) -> None:
        self._events_read += 1
        said = self._alike.said(event)
        if said is None:
            self._event(event, facts, streamed=True)
            return
        if said.text and said.call is not None:
            self._argue(said.call, said.text)
        elif said.text:
            self._keep(said.text)
        for fact in self._order.repeat(said.number):
            self._repeat(facts, fact, once=True)

    def _event(self, event: Event, facts: list[Fact], streamed: bool) -> None:
        if event.dropped:
            self._unjudged = self._unjudged or not streamed
            self._said = True  # nothing is as long that says nothing
            facts.append(Fact("unread", "too long", "event" if streamed else "body"))
        elif event.data.startswith(b"[DONE]"):
            self._order.done()
            self._ends.add("[DONE]")
            self._close(facts, Fact("end", "[DONE]"))
        elif isinstance(data := self._decoded(event, streamed), dict):
            name, known = (event.name or "message") if streamed else "", len(facts)
            found = self._object(name, data, facts)
            if not self._born and any(fact.kind == "id" for fact in facts[known:]):
                self._born = True
                facts.insert(known, Fact("born", blake3(event.data[:_BORN]).hexdigest(8)))
            if name and len(facts) == known:
                self._alike.learn(event, data, name, [*found, *_echoes(self._echo, data)], self._read_all)
                return
        elif isinstance(data, list) and not streamed:
            for element in tokens.dicts(data)[:1]:  # an error in a list, as Google's OpenAI endpoint has it
                self._object("", element, facts)
        elif data is _BROKEN:
            if behind := _BEHIND.search(event.data):
                self._repeat(facts, Fact("stray", behind[1].decode(), "body"), once=True)
            self._repeat(facts, Fact("malformed", "no JSON", "event" if streamed else "body"))
        self._alike.forget()

    def _decoded(self, event: Event, streamed: bool) -> Any:
        data = _json(event.data)
        if not streamed:
            self._document = data
        return data

    # -- from events to facts --------------------------------------------------------------------------------------

    def _object(self, name: str, data: dict[str, Any], facts: list[Fact]) -> list[Fact]:
        if not self._dialect.has_shape(data) and (shape := dialects.shape_of(data)):
            self._read_foreign(shape, name, data, facts)
        if name:
            for fact in self._order.feed(data):
                self._repeat(facts, fact, once=True)
        if self._status >= 400 and not name:
            facts.append(errors.read_refused(data))
        found = list(self._read(name, data))
        wrong = self._status >= 400 or any(fact.kind == "error" for fact in found)
        named = False
        for fact in _echoes(self._echo, data):
            # In an error the same member is the provider's own id of the request (Anthropic's `request_id`).
            self._repeat(facts, Fact("provider_id", fact.value, fact.where) if wrong else fact)
            named = True
        said = False
        for fact in found:
            named = named or fact.kind == "id"
            said = said or fact.kind in _SAYS
            self._fact(fact, facts)
        if name and said:
            self._tie(named, facts)
        if not name and not wrong:
            self._close(facts, Fact("end", "body"))
        return found

    def _read_foreign(self, shape: str, name: str, data: dict[str, Any], facts: list[Fact]) -> None:
        """Note that *data* has the *shape* of another dialect, and read its progress and its id in that dialect."""
        self._spoken = dialects.BY_NAME.get(shape, self._spoken)
        self._repeat(facts, Fact("shape", shape, "event" if name else "body"), once=True)
        for fact in dialects.of(shape).read(name, data):
            self._progress(fact)
            if fact.kind == "id":
                self._repeat(facts, fact)

    def _read(self, name: str, data: dict[str, Any]) -> Iterator[Fact]:
        yield from self._dialect.read_calls(data)  # first: the last event may hold calls and the end
        yield from self._dialect.read(name, data)

    def _read_all(self, name: str, data: dict[str, Any]) -> Iterator[Fact]:
        yield from self._read(name, data)
        yield from _echoes(self._echo, data)

    def _progress(self, fact: Fact) -> None:
        """Take note of how far the answer has come."""
        match fact.kind:
            case "content":
                self._said = True
            case "finish":
                self._ends.add("finish")
            case "end":
                self._ends.add(str(fact.value))

    def _fact(self, fact: Fact, facts: list[Fact]) -> None:
        self._progress(fact)
        match fact.kind:
            case "text":
                self._keep(str(fact.value), whole=fact.where == "whole")
            case "called":
                if self._calls is not None:
                    self._calls.append((fact.where, [str(fact.value)]))
            case "arguments":
                self._argue(fact.where, str(fact.value))
            case "usage":
                self._grow(fact, facts)
            case "end":
                self._close(facts, fact)
            case "token" | "tool":
                self._mint(fact, facts)
            case "content":
                self._repeat(facts, fact, once=True)
            case "error" if self._status >= 400 and fact.where == "body":
                pass  # told already, in the form for refusals
            case _:
                self._finished = self._finished or fact.kind == "finish"
                self._repeat(facts, fact)

    def _tie(self, named: bool, facts: list[Fact]) -> None:
        """Tell when what a stream says begins to come without a name, and when a name comes again."""
        if named is self._loose and self._turns < _TURNS:
            self._loose = not named
            self._turns += 1
            facts.append(Fact("loose", self._loose, "event"))

    def _repeat(self, facts: list[Fact], fact: Fact, once: bool = False) -> None:
        key = (fact.kind, "" if once and fact.kind != "disorder" else fact.where)
        value, times = self._told.get(key, (None, 0))
        if (once and times) or (times and value == fact.value) or times >= _REPEATS:
            return
        self._told[key] = (fact.value, times + 1)
        facts.append(fact)

    def _mint(self, fact: Fact, facts: list[Fact]) -> None:
        key = (fact.kind + fact.where, fact.value)
        if key not in self._tokens and len(self._tokens) < _SEEN:
            self._tokens.add(key)
            facts.append(fact)

    def _grow(self, fact: Fact, facts: list[Fact]) -> None:
        # Streams count upwards, and Anthropic splits the count over two events: the larger of each number holds.
        if not isinstance(fact.value, Usage):
            return
        old, new = self._usage, fact.value
        merged = Usage(
            max(old.prompt, new.prompt),
            max(old.completion, new.completion),
            max(old.cached, new.cached),
            max(old.cache_write, new.cache_write),
        )
        if merged != old:
            self._usage = merged
            facts.append(Fact("usage", merged))

    def _keep(self, text: str, *, whole: bool = False) -> None:
        """Keep *text*; *whole*: the text once more at a stream's end, which counts when no delta came."""
        if self._pieces is None or (whole and self._by_delta):
            return
        self._by_delta = self._by_delta or not whole
        self._length += len(text)
        if self._length > self._keep_text:
            self._pieces = None
        else:
            self._pieces.append(text)

    def _argue(self, where: str, piece: str) -> None:
        """Keep a *piece* of the arguments of the last call that stands at *where*."""
        call = next((told for place, told in reversed(self._calls or ()) if place == where), None)
        self._length += len(piece)
        if self._length > self._keep_text:
            self._calls = None
        elif call is not None:
            call.append(piece)

    def _close(self, facts: list[Fact], end: Fact) -> None:
        if not self._ended:
            self._ended = True
            self._tell_text(facts, end)  # now: a client may hang up as soon as it has seen the end

    def _tell_text(self, facts: list[Fact], *first: Fact) -> None:
        facts.extend(first)
        if self._calls:
            facts.append(Fact("calls", tuple((told[0], "".join(told[1:])) for _, told in self._calls)))
        if self._pieces:
            facts.append(Fact("text", "".join(self._pieces)))
        self._pieces = self._calls = None


def _times(head: Head) -> Iterator[Fact]:
    """Yield what a head says about when its answer was made: `kept`, `took` (seconds), `date` and `age`."""
    there = head.headers.names()
    for name in _KEPT:
        if name in there and head.headers.get(name).partition(" ")[0].partition(",")[0].strip().lower() in _HIT:
            yield Fact("kept", "hit", f"header {name}")
    if date := head.headers.get("date"):
        yield Fact("date", date, "header date")
    for name in _TOOK:
        if name in there and (took := _count(head.headers.get(name))) is not None:
            yield Fact("took", took / 1000, f"header {name}")
    if "age" in there and (age := _count(head.headers.get("age"))) is not None:
        yield Fact("age", age, "header age")


def _count(value: str) -> int | None:
    value = value.strip()
    return int(value) if value.isascii() and value.isdigit() and len(value) < 12 else None


def facts_of_json(dialect: str, body: bytes, echo: Echo | None = None) -> list[Fact]:
    """Return the facts of a whole JSON *body* of a successful answer."""
    reader = AnswerReader(dialect, echo)
    facts = reader.feed(body)
    return facts + reader.end()


_BROKEN = object()


def _json(data: bytes) -> Any:
    try:
        return msgspec.json.decode(data)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        pass
    try:  # lone surrogates and NaN: strange, but servers send them
        return json.loads(data)
    except (ValueError, RecursionError):
        return _BROKEN


def _echoes(echo: Echo, data: dict[str, Any]) -> Iterator[Fact]:
    """Yield what stands where a request id may come back: at the top, and inside what an event wraps."""
    for name, depth in echo.body.items():
        for outer in (data, data.get("response"), data.get("message")):
            value = _at(outer, name)
            if isinstance(value, str | int) and not isinstance(value, bool) and value != "":
                yield Fact("echo", str(value), f"body {name}", depth)


def _at(data: object, name: str) -> object:
    for part in name.split("."):
        if not isinstance(data, dict):
            return None
        data = data.get(part)
    return data
