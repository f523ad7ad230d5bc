"""
Answers without sockets: what a simulated provider would send, mixed up on purpose, read by the reader and the detectors
that read it in the proxy. Everything follows from a seed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from email.utils import formatdate
from random import Random
from typing import Any

from patchbay import correlation, dialects
from patchbay.answer.reader import AnswerReader
from patchbay.body import Body
from patchbay.crosstalk.recent import RecentExchanges
from patchbay.crosstalk.request_summary import RequestSummary
from patchbay.crosstalk.reverify import StoredExchange
from patchbay.crosstalk.watch import Watch
from patchbay.ledger import Ledger
from patchbay.settings.presets import PRESETS
from patchbay.values.account import METADATA, Provider
from patchbay.values.answer import Head
from patchbay.values.decision import Verdict
from patchbay.values.http import Endpoint, Headers

from ..simulator import render
from ..simulator.dialects import DIALECTS
from ..simulator.reply import Echoed, Reply, Tool, Usage, mint, speak
from ..simulator.steps import Data, head_of
from .records import record

NAMES = {"openai_chat": "chat", "openai_responses": "responses", "anthropic": "anthropic", "gemini": "gemini"}
PATHS = {
    "openai_chat": "/v1/chat/completions",
    "openai_responses": "/v1/responses",
    "anthropic": "/v1/messages",
    "gemini": "/v1beta/models/{model}:{verb}",
}
PREFIXES = {"openai_chat": "chatcmpl-", "openai_responses": "resp_", "anthropic": "msg_", "gemini": ""}
# how deep our id comes back: the provider as Patchbay knows it; in the metadata only at Responses
DEPTHS: dict[str, Provider] = {
    "none": PRESETS["openai_compatible"],
    "handler": PRESETS["generic"],
    "body": PRESETS["generic"],
    "engine": PRESETS["openai_compatible"],
    "metadata": replace(
        PRESETS["openai_compatible"], echo=replace(PRESETS["openai_compatible"].echo, body={METADATA: "body"})
    ),
}


@dataclass(frozen=True)
class Wire:
    """An answer as it is sent: its head and the pieces of its body. *of* is the number of the line it was made for."""

    headers: tuple[tuple[str, str], ...]
    pieces: tuple[bytes, ...]
    of: int


@dataclass
class Line:
    """One exchange in the core."""

    number: int
    dialect: str
    stream: bool
    document: dict[str, Any]
    model: str
    request_id: str
    watch: Watch
    reply: Reply
    sent: float
    provider: Provider
    own: Wire = field(init=False)
    got: tuple[Head, bytes] | None = None

    def verdict(self) -> Verdict:
        return self.watch.verdict()


def dialects_of(depth: str) -> tuple[str, ...]:
    """Return the dialects in which our id can come back so."""
    return ("openai_responses",) if depth == "metadata" else tuple(NAMES)


class World:
    """One instance of Patchbay and one host, at one depth of echo, for one dialect."""

    def __init__(self, depth: str, dialect: str, stream: bool, seed: int) -> None:
        self.depth, self.dialect, self.stream = depth, dialect, stream
        self.random = Random(f"{seed}:{depth}:{dialect}:{stream}")
        self.mint = correlation.Mint(b"k" * 32)
        self.ledger = Ledger()
        self.memory = RecentExchanges()
        self.now = 1_760_000_000.0
        self.number = 0
        self.thread = ""  # of what is sent next
        self.silent: frozenset[str] = frozenset()
        self.lines: list[Line] = []

    def send(self, *, like: Line | None = None, dialect: str = "", **asks: Any) -> Line:
        """Begin an exchange; *like* is one whose request is sent again, byte for byte. *asks* goes into the body."""
        self.now += 0.2
        self.number += 1
        dialect = dialect or self.dialect
        model = asks.pop("model", "sim-large")
        document = like.document if like else self._document(dialect, model, asks)
        verb = "streamGenerateContent" if self.stream else "generateContent"
        endpoint = dialects.endpoint("POST", PATHS[dialect].format(model=model, verb=verb))
        body = Body(render._json(document))
        provider = DEPTHS[self.depth]
        request_id, watch = self.opened(endpoint, body, model, f"d{(like or self).number}".encode())
        reply = self._reply(dialect, document, model, request_id)
        line = Line(self.number, dialect, self.stream, document, model, request_id, watch, reply, self.now, provider)
        line.own = self.wire(line)
        self.lines.append(line)
        return line

    def opened(self, endpoint: Endpoint, body: Body, model: str, digest: bytes) -> tuple[str, Watch]:
        """Begin the exchange of the present number; return its request id and the watch over its answer."""
        provider = DEPTHS[self.depth]
        request_id = self.mint.new(self.now, self.random.randbytes)
        at = endpoint.suffix
        stamped = correlation.stamps(provider, Headers(), body, request_id=request_id, at=at, in_metadata=True)
        sent = record(
            provider.echo, stamped, request_id=request_id, exchange=f"x{self.number}", digest=digest, account="a",
            affinity=f"s{self.number}", client_id="", host="http://host", silent=sorted(self.silent), model=model,
            stream=self.stream, dialect=endpoint.dialect, suffix=endpoint.suffix, thread=self.thread,
        )  # fmt: skip
        asked = RequestSummary(endpoint, body, model, self.stream)
        return request_id, Watch(sent, self.mint, self.ledger, self.now, self.memory, asked)

    def wire(self, line: Line, reply: Reply | None = None) -> Wire:
        """Return the answer to *line* as the host would send it."""
        script = render.answer(reply or line.reply, "sse" if self.stream else "json")
        pieces = tuple(step.data for step in script if isinstance(step, Data))
        date = ("Date", _date(self.now))
        return Wire((*head_of(script).headers, date), pieces, line.number)

    def deliver(self, line: Line, wire: Wire, *, status: int = 200, extra: tuple[tuple[str, str], ...] = ()) -> Verdict:
        """Let *line* have *wire* as its answer."""
        for _ in self.delivering(line, wire, status=status, extra=extra):
            pass
        return line.verdict()

    def delivering(
        self, line: Line, wire: Wire, *, status: int = 200, extra: tuple[tuple[str, str], ...] = ()
    ) -> Iterator[None]:
        """The same, a piece at a time, so that several answers pass side by side."""
        reader = AnswerReader(line.dialect, line.provider.echo)
        self.now += 0.01
        head = Head(status, Headers((*wire.headers, *extra)))
        line.got = (head, b"".join(wire.pieces))
        facts = reader.head(head)
        for piece in wire.pieces:
            for fact in facts:
                line.watch.see(fact, status, self.now)
            yield
            self.now += 0.001
            facts = reader.feed(piece)
        for fact in (*facts, *reader.end()):
            line.watch.see(fact, status, self.now)
        line.watch.end(self.now)

    def side_by_side(self, *deliveries: tuple[Line, Wire]) -> None:
        """Let several answers pass at once, piece by piece."""
        running = [self.delivering(line, wire) for line, wire in deliveries]
        while running:
            running = [each for each in running if next(each, _OVER) is not _OVER]

    def stored(self) -> list[StoredExchange]:
        """Return every exchange as a dump would keep it."""
        return [
            StoredExchange(
                attempts=(line.watch.record.encoded(),),
                request=Body(render._json(line.document)),
                head=line.got[0] if line.got else None,
                answer=line.got[1] if line.got else b"",
                recorded=line.verdict().kind,
                victim=line.verdict().victim,
            )
            for line in self.lines
        ]

    def warm(self, count: int = 6) -> None:
        """Let some answers pass as they should, so that the host is known."""
        for number in range(count):
            asks = ({}, {"tools": ("warm_up", "other")}, {"model": "sim-small"})[number % 3]
            line = self.send(**asks)
            self.deliver(line, line.own)

    def _document(self, dialect: str, model: str, asks: dict[str, Any]) -> dict[str, Any]:
        words = " ".join(self.random.choice(_WORDS) for _ in range(self.random.randrange(12, 112)))
        text = f"question {self.random.getrandbits(64):x}: {words} WORDS-{asks.pop('words', 12)}"
        turn = [{"role": "user", "content": text}]
        tools = asks.pop("tools", ())
        if dialect == "gemini":
            document: dict[str, Any] = {"contents": [{"role": "user", "parts": [{"text": text}]}]}
            if tools:
                document["tools"] = [{"functionDeclarations": [{"name": name} for name in tools]}]
            return document
        named: list[dict[str, Any]] = [{"type": "function", "name": name} for name in tools]
        if dialect == "openai_chat":
            named = [{"type": "function", "function": {"name": name}} for name in tools]
        if dialect == "anthropic":
            named = [{"name": name, "input_schema": {"type": "object"}} for name in tools]
        held = {"input": turn} if dialect == "openai_responses" else {"messages": turn}
        limit = {"max_tokens": 4096} if dialect == "anthropic" else {}
        document = {"model": model, "stream": self.stream, **held, **limit, **asks}
        return {**document, "tools": named} if named else document

    def _reply(self, dialect: str, document: dict[str, Any], model: str, request_id: str) -> Reply:
        if self.depth == "metadata":
            document = {**document, "metadata": {**document.get("metadata", {}), "pb": request_id}}
        read = DIALECTS[NAMES[dialect]].read(document, model, self.stream)
        text, stop = speak(read, 60)
        seed = f"{self.random.getrandbits(64)}"
        tool = None
        if read.tools:
            call = mint({"gemini": ""}.get(dialect, "call_"), seed + "tool", 24)
            tool = Tool(read.tools[0], {"subject": "x"}, call)
        minted = mint(PREFIXES[dialect], seed + "answer", 29)
        answer_id = PREFIXES[dialect] + request_id if self.depth == "engine" else minted
        header = (("X-Request-ID", request_id),) if self.depth in ("handler", "body") else ()
        inside = request_id if self.depth == "body" else ""
        usage = Usage(prompt=len(str(document)) // 4, completion=len(text) // 4)
        item = mint("msg_", seed + "item", 40)
        return Reply(
            read, answer_id, item, model, text, int(self.now), usage, tool, stop, echoed=Echoed(header, inside)
        )


def another(wire: Wire, other: Wire, *, head: bool = True, body: bool = True) -> Wire:
    """Return *wire* with the head, the body or both of *other*."""
    return Wire(
        other.headers if head else wire.headers,
        other.pieces if body else wire.pieces,
        other.of if body else wire.of,
    )


def words_of(line: Line, other: Line, world: World) -> Wire:
    """Return *line*'s answer with the words of *other*'s: right ids, wrong text."""
    return world.wire(line, replace(line.reply, text=other.reply.text, tool=other.reply.tool))


def _date(now: float) -> str:
    return formatdate(int(now), usegmt=True)


_OVER = object()
_WORDS = "amber cedar delta ember maple ocean river stone cloud field glass honey".split()
