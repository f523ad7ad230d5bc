"""
What may go wrong between two answers, and what only looks as if it did: one function each.

A function lets answers pass in a `World` and returns, line by line, what is true: whose answer it was given, or that it
was its own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from .world import Line, Wire, World, another, words_of


@dataclass(frozen=True)
class Truth:
    """*line* was given (something of) the answer of *of*; None: its own, whatever it looked like."""

    line: Line
    of: Line | None = None


Mode = Callable[[World], list[Truth]]


def _pair(world: World) -> tuple[Line, Line]:
    return world.send(), world.send()


def swap(world: World) -> list[Truth]:
    """Two live answers are exchanged."""
    a, b = _pair(world)
    world.side_by_side((a, b.own), (b, a.own))
    return [Truth(a, b), Truth(b, a)]


def rotate(world: World) -> list[Truth]:
    """Four live answers go one further each."""
    lines = [world.send() for _ in range(4)]
    turned = [*lines[1:], lines[0]]
    world.side_by_side(*((line, other.own) for line, other in zip(lines, turned, strict=True)))
    return [Truth(line, other) for line, other in zip(lines, turned, strict=True)]


def late(world: World) -> list[Truth]:
    """The answer to one request is given to the next one on the connection."""
    a = world.send()
    b = world.send()
    world.deliver(b, a.own)
    return [Truth(b, a)]


def stale(world: World) -> list[Truth]:
    """An answer that was made a minute ago and never delivered."""
    old = world.send()
    world.now += 60
    line = world.send()
    world.deliver(line, old.own)
    return [Truth(line, old)]


def duplicate(world: World) -> list[Truth]:
    """One answer is delivered to two."""
    a, b = _pair(world)
    world.deliver(a, a.own)
    world.deliver(b, a.own)
    return [Truth(a), Truth(b, a)]


def duplicate_new_id(world: World) -> list[Truth]:
    """One answer's words are delivered to two, under an id of its own each."""
    a, b = world.send(words=60), world.send(words=60)
    world.deliver(a, a.own)
    wire = words_of(b, a, world)
    world.deliver(b, wire)
    return [Truth(a), Truth(b, a)]


def splice(world: World) -> list[Truth]:
    """A stream goes over into another one."""
    a, b = _pair(world)
    at = min(len(a.own.pieces), len(b.own.pieces)) // 2
    world.side_by_side(
        (a, Wire(a.own.headers, a.own.pieces[:at] + b.own.pieces[at:], b.number)),
        (b, Wire(b.own.headers, b.own.pieces[:at] + a.own.pieces[at:], a.number)),
    )
    return [Truth(a, b), Truth(b, a)]


def interleave(world: World) -> list[Truth]:
    """Two streams are poured into one, an event from each in turn."""
    a, b = _pair(world)
    mixed = tuple(piece for pair in zip(a.own.pieces, b.own.pieces, strict=False) for piece in pair)
    world.side_by_side((a, Wire(a.own.headers, mixed, b.number)), (b, b.own))
    return [Truth(a, b), Truth(b)]


def head_only(world: World) -> list[Truth]:
    """Another's head over the right body."""
    a, b = _pair(world)
    world.side_by_side((a, another(a.own, b.own, body=False)), (b, another(b.own, a.own, body=False)))
    return [Truth(a, b), Truth(b, a)]


def body_only(world: World) -> list[Truth]:
    """The right head over another's body: a gateway that answers with the head of its own request."""
    a, b = _pair(world)
    world.side_by_side((a, another(a.own, b.own, head=False)), (b, another(b.own, a.own, head=False)))
    return [Truth(a, b), Truth(b, a)]


def words_only(world: World) -> list[Truth]:
    """Every id is right and the words are another's: what a mixed-up cache inside an engine does."""
    a, b = _pair(world)
    world.side_by_side((a, words_of(a, b, world)), (b, words_of(b, a, world)))
    return [Truth(a, b), Truth(b, a)]


def wrong_dialect(world: World) -> list[Truth]:
    """The answer to a request in another dialect."""
    other = "anthropic" if world.dialect != "anthropic" else "openai_chat"
    a, b = world.send(), world.send(dialect=other)
    world.deliver(a, b.own)
    b.watch.end(world.now, whole=False)
    return [Truth(a, b)]


def other_model(world: World) -> list[Truth]:
    """Two requests for two models are exchanged: what a switch of models does."""
    a, b = world.send(model="sim-large"), world.send(model="sim-small")
    world.side_by_side((a, b.own), (b, a.own))
    return [Truth(a, b), Truth(b, a)]


def settings(world: World) -> list[Truth]:
    """Two requests with settings of their own are exchanged (Responses repeats them)."""
    asks: list[dict[str, Any]] = [
        {"prompt_cache_key": f"k{world.number}{n}", "metadata": {"turn": f"{world.number}.{n}"}} for n in (1, 2)
    ]
    a, b = (world.send(**each) for each in asks)
    world.side_by_side((a, b.own), (b, a.own))
    return [Truth(a, b), Truth(b, a)]


def tool_name(world: World) -> list[Truth]:
    """Two calls of tools are exchanged, and each tool was offered to one of the two only."""
    a, b = world.send(tools=("read_file", "list")), world.send(tools=("book_flight", "pay"))
    world.side_by_side((a, b.own), (b, a.own))
    return [Truth(a, b), Truth(b, a)]


def tool_id(world: World) -> list[Truth]:
    """The call of a tool that another was given already, in an answer with an id of its own."""
    a, b = world.send(tools=("read_file",)), world.send(tools=("read_file",))
    world.deliver(a, a.own)
    assert a.reply.tool
    world.deliver(b, world.wire(b, replace(b.reply, tool=a.reply.tool)))
    return [Truth(a), Truth(b, a)]


def stray_head(world: World) -> list[Truth]:
    """The head of another answer inside the body."""
    a, b = _pair(world)
    head = b"\nHTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n"
    world.deliver(a, Wire(a.own.headers, (*a.own.pieces[:-1], head, a.own.pieces[-1]), b.number))
    b.watch.end(world.now, whole=False)
    return [Truth(a, b)]


def unknown_id(world: World) -> list[Truth]:
    """A request id that nobody here sent comes back."""
    a = world.send()
    strange = f"req-{world.random.getrandbits(96):x}"
    head = tuple((name, value.replace(a.request_id, strange)) for name, value in a.own.headers)
    body = tuple(piece.replace(a.request_id.encode(), strange.encode()) for piece in a.own.pieces)
    world.deliver(a, Wire(head, body, 0))
    return [Truth(a, a)]


FAULTS: tuple[Mode, ...] = (
    swap, rotate, late, stale, duplicate, duplicate_new_id, splice, interleave, head_only, body_only, words_only,
    wrong_dialect, other_model, settings, tool_name, tool_id, stray_head, unknown_id,
)  # fmt: skip

STREAMS_ONLY = frozenset({"splice", "interleave"})
DIALECTS_ONLY = {"settings": ("openai_responses",), "tool_id": ("openai_chat", "openai_responses", "anthropic")}
# where the fault changes nothing that could be seen: no id of ours comes back in that place
NOTHING_TO_SEE = {
    "unknown_id": ("none", "metadata"),  # nobody writes another's form of ids into our metadata
    "head_only": ("none", "engine", "metadata"),
}


def reaches_the_end(world: World) -> bool:
    """Whether our id comes back to the last event, as far as it comes back in the body: one at the beginning is one."""
    return world.depth in ("body", "metadata") or not (world.stream and world.dialect == "anthropic")


# -- what must stay silent ---------------------------------------------------------------------------------------------


def _alone(world: World, change: Callable[[Line], Wire], *, status: int = 200) -> list[Truth]:
    line = world.send()
    world.deliver(line, change(line), status=status)
    return [Truth(line)]


def clean(world: World) -> list[Truth]:
    """Answers as they should be, several at once."""
    lines = [world.send() for _ in range(4)]
    world.side_by_side(*((line, line.own) for line in lines))
    return [Truth(line) for line in lines]


def clean_tools(world: World) -> list[Truth]:
    """Calls of tools, in parallel with others'."""
    lines = [world.send(tools=(f"tool_{n}", "shell")) for n in range(3)]
    world.side_by_side(*((line, line.own) for line in lines))
    return [Truth(line) for line in lines]


def azure_blank(world: World) -> list[Truth]:
    """A first frame with blank ids and no choices."""
    blank = b'data: {"id":"","object":"","created":0,"model":"","choices":[],"prompt_filter_results":[]}\n\n'
    return _alone(world, lambda line: Wire(line.own.headers, (blank, *line.own.pieces), line.number))


def three_digits(world: World) -> list[Truth]:
    """Ids out of 999, as Ollama gives them."""
    value = f"chatcmpl-{world.random.randrange(1, 1000)}"
    return _alone(world, lambda line: world.wire(line, replace(line.reply, answer_id=value)))


def no_id(world: World) -> list[Truth]:
    """No id at all."""
    return _alone(world, lambda line: world.wire(line, replace(line.reply, answer_id="")))


def counters(world: World) -> list[Truth]:
    """`chat.id.N`, another in every chunk."""

    def change(line: Line) -> Wire:
        pieces = [
            piece.replace(line.reply.answer_id.encode(), f"chat.id.{world.number}{n}".encode())
            for n, piece in enumerate(line.own.pieces)
        ]
        return Wire(line.own.headers, tuple(pieces), line.number)

    return _alone(world, change)


def id_per_chunk(world: World) -> list[Truth]:
    """A new random id in every chunk, as old llama.cpp gave."""

    def change(line: Line) -> Wire:
        pieces = [
            piece.replace(line.reply.answer_id.encode(), f"chatcmpl-{world.random.getrandbits(128):032x}".encode())
            for piece in line.own.pieces
        ]
        return Wire(line.own.headers, tuple(pieces), line.number)

    return _alone(world, change)


def constant_id(world: World) -> list[Truth]:
    """One id for all answers, as a test server gives."""
    value = "chatcmpl-8f3a1c9b7d2e4f60a1b2"
    return _alone(world, lambda line: world.wire(line, replace(line.reply, answer_id=value)))


def kimi_calls(world: World) -> list[Truth]:
    """`functions.name:0` as the id of every call."""
    line = world.send(tools=("search_documents_everywhere",))
    assert line.reply.tool
    tool = replace(line.reply.tool, call_id="functions.search_documents_everywhere:0")
    world.deliver(line, world.wire(line, replace(line.reply, tool=tool)))
    return [Truth(line)]


def cache_equal(world: World) -> list[Truth]:
    """The same request again, and the same answer, old as it is, from a cache."""
    first = world.send()
    world.deliver(first, first.own)
    world.now += 300
    again = world.send(like=first)
    kept = Wire(again.own.headers, first.own.pieces, again.number)
    world.deliver(again, kept)
    return [Truth(first), Truth(again)]


def cache_new_id(world: World) -> list[Truth]:
    """The same request again: the words from a cache, under a new id."""
    first = world.send()
    world.deliver(first, first.own)
    again = world.send(like=first)
    world.deliver(again, words_of(again, first, world), extra=(("X-Cache", "HIT"),))
    return [Truth(first), Truth(again)]


def snapshot(world: World) -> list[Truth]:
    """A dated snapshot of the model that was asked for, under its vendor's name."""
    return _alone(world, lambda line: world.wire(line, replace(line.reply, model=f"acme/{line.model}-2026-01-15")))


def renamed(world: World) -> list[Truth]:
    """A host that calls its model something else altogether."""
    return _alone(world, lambda line: world.wire(line, replace(line.reply, model="backend-7b-q4")))


def folded_id(world: World) -> list[Truth]:
    """Our id in capitals."""

    def change(line: Line) -> Wire:
        mine = line.request_id
        head = tuple((name, value.replace(mine, mine.upper())) for name, value in line.own.headers)
        return Wire(
            head, tuple(piece.replace(mine.encode(), mine.upper().encode()) for piece in line.own.pieces), line.number
        )

    return _alone(world, change)


def quoted(world: World) -> list[Truth]:
    """An answer whose words quote the ids of others, as one about a log file does."""
    other = world.send()
    line = world.send()
    text = f"In the log stands {other.request_id} and {other.reply.answer_id}, HTTP/1.1 200 OK, event: message_start"
    world.deliver(line, world.wire(line, replace(line.reply, text=text)))
    world.deliver(other, other.own)
    return [Truth(line), Truth(other)]


def form_letter(world: World) -> list[Truth]:
    """The same short refusal to everybody."""
    return _alone(world, lambda line: world.wire(line, replace(line.reply, text="I cannot help with that.")))


def fixed_time(world: World) -> list[Truth]:
    """A server whose answers were all created at one moment of the past."""
    return _alone(world, lambda line: world.wire(line, replace(line.reply, created=1_677_652_288)))


def error_page(world: World) -> list[Truth]:
    """An error of a gateway, with ids of its own and in a shape of its own."""
    page = b'{"error":{"message":"upstream","type":"api_error"},"request_id":"gw-8f3a1c9b7d2e4f60","choices":[]}'
    head = (("Content-Type", "application/json"), ("X-Request-ID", "gw-8f3a1c9b7d2e4f60"))
    return _alone(world, lambda line: Wire(head, (page,), line.number), status=502)


def cut_short(world: World) -> list[Truth]:
    """A stream that ends in the middle."""
    return _alone(world, lambda line: Wire(line.own.headers, line.own.pieces[: len(line.own.pieces) // 2], line.number))


def every_byte(world: World) -> list[Truth]:
    """An answer cut at every byte."""

    def change(line: Line) -> Wire:
        whole = b"".join(line.own.pieces)
        return Wire(line.own.headers, tuple(whole[at : at + 1] for at in range(len(whole))), line.number)

    return _alone(world, change)


def roles_everywhere(world: World) -> list[Truth]:
    """`role` in every chunk, as many compatible servers have it."""

    def change(line: Line) -> Wire:
        pieces = tuple(
            piece.replace(b'"delta":{"content"', b'"delta":{"role":"assistant","content"') for piece in line.own.pieces
        )
        return Wire(line.own.headers, pieces, line.number)

    return _alone(world, change)


SILENCE: tuple[Mode, ...] = (
    clean, clean_tools, azure_blank, three_digits, no_id, counters, id_per_chunk, constant_id, kimi_calls, cache_equal,
    cache_new_id, snapshot, renamed, folded_id, quoted, form_letter, fixed_time, error_page, cut_short, every_byte,
    roles_everywhere,
)  # fmt: skip
CHAT_ONLY = frozenset({"azure_blank", "counters", "id_per_chunk", "roles_everywhere", "kimi_calls"})
STREAM_ONLY_SILENCE = frozenset({"azure_blank", "counters", "id_per_chunk", "roles_everywhere", "cut_short"})
WITHOUT_ECHO_IN_ID = frozenset({"three_digits", "no_id", "counters", "id_per_chunk", "constant_id"})
