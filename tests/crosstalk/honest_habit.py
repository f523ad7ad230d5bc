"""A habit of a host, a right answer on its way out, and the ways in which a habit changes one."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from ..simulator import render
from ..simulator.diagnosis import Care
from .routed import Routed
from .talks import Conversations, Talk
from .world import NAMES, PREFIXES, Line, Wire

CHAT, RESPONSES, ANTHROPIC = ("openai_chat",), ("openai_responses",), ("anthropic",)


@dataclass(frozen=True, slots=True)
class Right:
    """
    A right answer on its way out: *line* asked, *worker* (0 to 7) of the host answers.

    *n* counts the answers since the habit is there, from 0. *talk* is the conversation, where there are any.
    """

    world: Routed
    line: Line
    worker: int
    n: int
    talk: Talk | None = None

    @property
    def conversation(self) -> Talk:
        assert self.talk is not None
        return self.talk

    @property
    def dialect(self) -> str:
        return self.line.dialect

    @property
    def own(self) -> Wire:
        """The answer as it should be."""
        return self.line.own

    def but(self, **changes: Any) -> Wire:
        """Return the answer with *changes* in the reply."""
        reply = replace(self.line.reply, **changes)
        if isinstance(self.world, Conversations):  # what comes next refers to it
            self.world.becomes(self.line, reply)
        return self.world.wire(self.line, reply)

    def named(self, value: str) -> Wire:
        """Return the answer under the id *value*, with the prefix of the dialect before it."""
        return self.but(answer_id=PREFIXES[self.dialect] + value)


Change = Callable[[Right], Wire]


@dataclass(frozen=True, slots=True)
class Habit:
    """
    One habit and where it can be met.

    *framing* is `both`, `stream` or `whole`. *depth* is how deep our id comes back, as in `world.DEPTHS`. *ask* returns
    what the request asks for besides the ordinary. *first* is how many of its first answers may be called another's:
    none, but where an answer looks in every respect as a wrong one does, until it is known that the host's all do.
    *shared*: all workers have it or none, since with one alone it is no habit of the host's. *talks*: it shows in
    conversations alone, which are of one *project*, or whose turns the host compares with *care*.
    """

    change: Change
    dialects: tuple[str, ...] = tuple(NAMES)
    framing: str = "both"
    depth: str = "none"
    ask: Callable[[int], Mapping[str, Any]] = lambda n: {}
    first: int = 0
    shared: bool = False
    talks: bool = False
    project: bool = False
    care: Care | None = None

    def __str__(self) -> str:
        return getattr(self.change, "__name__", "")


# -- how an answer is changed ------------------------------------------------------------------------------------------

Document = dict[str, Any]


def told(wire: Wire, change: Callable[[Document, int], Document | None]) -> Wire:
    """Return *wire* with *change* made to every JSON document in it; what it returns None for is left out."""
    pieces: list[bytes] = []
    for at, piece in enumerate(wire.pieces):
        start, end = piece.find(b"{"), piece.rfind(b"}") + 1
        if start < 0:
            pieces.append(piece)
            continue
        document = change(json.loads(piece[start:end]), at)
        if document is not None:
            pieces.append(piece[:start] + json_of(document) + piece[end:])
    return replace(wire, pieces=tuple(pieces))


def core(document: Document) -> Document:
    """Return the object that says whose answer it is: of an event that wraps it, the inner one."""
    for name in ("response", "message"):
        if isinstance(document.get(name), dict):
            return document[name]  # type: ignore[no-any-return]
    return document


def members(wire: Wire, **values: Any) -> Wire:
    """Return *wire* with *values* written over the members of what says whose answer it is."""

    def change(document: Document, at: int) -> Document:
        inner = core(document)
        if "id" in inner or "responseId" in inner or "object" in inner or "modelVersion" in inner:
            inner.update(values)
        return document

    return told(wire, change)


def without(wire: Wire, *names: str) -> Wire:
    """Return *wire* without the members *names*, wherever they stand at the top or in what is wrapped."""

    def change(document: Document, at: int) -> Document:
        for name in names:
            document.pop(name, None)
            core(document).pop(name, None)
        return document

    return told(wire, change)


def headed(wire: Wire, *fields: tuple[str, str]) -> Wire:
    """Return *wire* with *fields* in its head, in place of those of the same name."""
    names = {name.lower() for name, _ in fields}
    return replace(wire, headers=(*(each for each in wire.headers if each[0].lower() not in names), *fields))


def headless(wire: Wire, name: str) -> Wire:
    """Return *wire* without the header *name*."""
    return replace(wire, headers=tuple(each for each in wire.headers if each[0].lower() != name))


def event(dialect: str, document: Document, name: str = "") -> bytes:
    """Return *document* as one event of a stream."""
    return render.event(NAMES[dialect], name or str(document.get("type") or ""), document)


def kind(piece: bytes) -> str:
    """Return the type of the event *piece*, where it names one."""
    start, end = piece.find(b"{"), piece.rfind(b"}") + 1
    return str(json.loads(piece[start:end]).get("type") or "") if start >= 0 else ""


def json_of(document: Any) -> bytes:
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()


def text_of(line: Line) -> str:
    return json.dumps(line.document, sort_keys=True)
