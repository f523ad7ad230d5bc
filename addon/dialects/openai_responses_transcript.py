"""Responses, their items and their streams as transcripts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from msgspec.structs import replace

from ..frozen import dataclass
from ..values.transcript import Block, Detail, Transcript, TranscriptTurn
from .members import Json, JsonMembers, error, json_text, of_contents, other, result, size_of
from .openai_blocks import instructions, merged, offered, part, parts
from .stream_join import StreamJoin, extend, grow, merge, settled
from .transcript_form import TranscriptForm

_ARGUMENTS = ("arguments", "input", "action", "operation", "code", "queries")
_OUTPUTS = ("output", "outputs", "results")
_TERMINAL = frozenset({"response.completed", "response.failed", "response.incomplete", "response.cancelled"})


@dataclass(frozen=True, slots=True)
class _Text:
    """Where a text that comes in pieces stands: the type of its item, and the list in it that its entry is in."""

    member: str
    item: str
    list: str = ""
    entry: str = ""


_TEXTS = {
    "response.output_text": _Text("text", "message", "content", "output_text"),
    "response.refusal": _Text("refusal", "message", "content", "refusal"),
    "response.reasoning_text": _Text("text", "reasoning", "content", "reasoning_text"),
    "response.reasoning_summary_text": _Text("text", "reasoning", "summary", "summary_text"),
    "response.function_call_arguments": _Text("arguments", "function_call"),
    "response.mcp_call_arguments": _Text("arguments", "mcp_call"),
    "response.custom_tool_call_input": _Text("input", "custom_tool_call"),
    "response.code_interpreter_call_code": _Text("code", "code_interpreter_call"),
}
_PLACE = frozenset(
    "type sequence_number item_id output_index content_index summary_index annotation_index command_index obfuscation"
    " stream_id event_id".split()
)


# An item, or a part, says other things in these while it is made, and they mean nothing afterwards.
_UNIMPORTANT = frozenset({"id", "type", "status", "encrypted_content", "role"})


def _request(suffix: str, body: Json) -> Transcript:
    members = JsonMembers(body)
    if members.peek("type") == "response.create":  # a WebSocket's message
        members.take("type")
        if isinstance(members.peek("response"), dict):
            members = JsonMembers({**members.take("response"), **{found.name: found.value for found in members.rest()}})
    turns = _turns(members.take("input"))
    first, turns = instructions(turns)
    system = (*parts(members.take("instructions")), *first)
    tools = tuple(offered(tool) for tool in members.items("tools"))
    return Transcript(members.text("model"), system, tools, turns, settings=members.rest())


def _answer(suffix: str, body: Json) -> Transcript:
    members = JsonMembers(body)
    failed = error(members)
    turns = _turns(members.items("output", "data"))
    system, tools = tuple(parts(members.take("instructions"))), tuple(map(offered, members.items("tools")))
    usage = members.numbers("usage")
    if not usage and "input_tokens" in members:
        usage = (Detail("input_tokens", members.take("input_tokens")),)
    why, stop = members.inner("incomplete_details"), members.text("status")
    if reason := why.text("reason"):
        stop = f"{stop}: {reason}" if stop else reason
    model = members.text("model")
    members.text("object")
    settings = (*why.rest("incomplete_details."), *members.rest())
    return Transcript(model, system, tools, turns, usage, settings, stop, failed)


def _turns(items: Any) -> tuple[TranscriptTurn, ...]:
    if items is None or items == "":
        return ()
    if not isinstance(items, list):
        items = [{"role": "user", "content": items}] if isinstance(items, str) else [items]
    return merged([_turn(item) for item in items], ("assistant", "tool"))


def _turn(item: Any) -> TranscriptTurn:
    if not isinstance(item, dict):
        return _any_turn(item)
    kind, at, size = item.get("type"), item.get("call_id"), len(item)  # the plain forms first: nearly all
    if kind == "message" and size == 3 and isinstance(item.get("role"), str) and "content" in item:
        return TranscriptTurn(item["role"], tuple(parts(item["content"])))
    if kind == "function_call_output" and size == 3 and isinstance(at, str) and isinstance(item.get("output"), str):
        return TranscriptTurn("tool", (Block("result", item["output"], id=at),))
    if kind == "function_call" and size == 4 and isinstance(at, str):
        name, arguments = item.get("name"), item.get("arguments")
        if isinstance(name, str) and isinstance(arguments, str):
            return TranscriptTurn("assistant", (Block("call", arguments, name, at),))
    return _any_turn(item)


def _any_turn(item: Any) -> TranscriptTurn:
    members = JsonMembers(item)
    kind = members.text("type")
    if "role" in members and kind in ("message", ""):
        return _message(members)
    if kind == "reasoning":
        return TranscriptTurn("assistant", (_reasoning(members),))
    if kind.endswith("_output"):
        return TranscriptTurn("tool", (_output(kind, members),))
    if kind.endswith("_call"):
        return TranscriptTurn("assistant", tuple(_call(kind, members)))
    if kind.startswith("input_"):
        return TranscriptTurn("user", (part(item),))
    return TranscriptTurn("assistant", (_other(kind, members),))


def _message(members: JsonMembers) -> TranscriptTurn:
    role, blocks = members.text("role"), parts(members.take("content"))
    if role != "assistant":
        return TranscriptTurn(role, tuple(blocks), members.rest())
    if rest := members.rest():  # items of one answer make one turn: the members of each stand at its first block
        first = blocks[0] if blocks else Block("text")
        blocks = [replace(first, details=(*first.details, *rest)), *blocks[1:]]
    return TranscriptTurn(role, tuple(blocks))


def _reasoning(members: JsonMembers) -> Block:
    told = [*parts(members.take("summary")), *parts(members.take("content"))]
    if all(block.kind in ("text", "thinking") and not block.details for block in told):
        return Block("thinking", "\n\n".join(block.text for block in told), details=members.rest())
    return Block("thinking", blocks=tuple(told), details=members.rest())


def _call(kind: str, members: JsonMembers) -> Iterator[Block]:
    name, call_id = members.text("name"), members.text("call_id")
    if not call_id and kind != "function_call":
        call_id = members.text("id")
    if kind == "image_generation_call" and (picture := members.text("result")):
        yield Block("image", name=kind, id=call_id, media=of_contents(picture, ""), details=members.rest())
        return
    known = (Detail("type", kind),) if name and kind not in ("function_call", "custom_tool_call") else ()
    arguments = members.json(*_ARGUMENTS)
    said = next((members.take(each) for each in _OUTPUTS if members.peek(each)), None)
    yield Block("call", arguments, name or kind, call_id, details=(*known, *members.rest()))
    if said is not None:
        yield result(said if isinstance(said, str) else _parts_or_json(said), name=name or kind, id=call_id)


def _output(kind: str, members: JsonMembers) -> Block:
    call_id, said = members.text("call_id"), members.take("output")
    known = (Detail("type", kind),) if kind not in ("function_call_output", "custom_tool_call_output") else ()
    given: str | list[Block] = said if isinstance(said, str) else _parts_or_json(said)
    if said is None and "tools" in members:
        given = members.json("tools")
    return result(given, id=call_id, details=(*known, *members.rest()))


def _parts_or_json(said: Any) -> list[Block]:
    entries = [] if said is None else said if isinstance(said, list) else [said]
    return [part(entry) if isinstance(entry, dict | str) else Block("text", json_text(entry)) for entry in entries]


def _other(kind: str, members: JsonMembers) -> Block:
    if kind in ("program", "mcp_approval_request"):
        name, call_id = members.text("name") or kind, members.text("call_id") or members.text("id")
        return Block("call", members.json(*_ARGUMENTS), name, call_id, details=members.rest())
    return other(members, kind)


class _ResponseJoin(StreamJoin):
    envelope = frozenset({"sequence_number", "obfuscation", "stream_id", "event_id"})

    def __init__(self) -> None:
        super().__init__()
        self._done: dict[int | str, Json] = {}  # items as they are at their end
        self._begun: dict[int | str, Json] = {}  # items put together from what came before
        self._entries: dict[
            tuple[int | str, str, str], Json
        ] = {}  # entries of items, by the list and place they are in
        self._loose: dict[tuple[str, ...], Json] = {}  # pieces that belong to no member of an item
        self._repeated: list[Json] = []  # what is said in other events too, as a rule
        self._sounds = 0  # bytes of sounds

    def feed(self, name: str, event: Json) -> None:
        kind = str(event.get("type") or name)
        if isinstance(response := event.get("response"), dict):
            self._respond(kind, response)
            self.merge_rest(event, _PLACE | {"response"})
        elif kind == "error" or (event.get("error") and "item_id" not in event):
            self.fail(event)
        elif isinstance(item := event.get("item"), dict):
            self._take_item(kind, event, item)
        elif kind.endswith(".delta"):
            self._continue(kind.removesuffix(".delta"), event)
        else:
            self._repeat(kind, event)

    def end(self) -> None:
        self.document = settled(self.document)
        output = self.document.get("output")
        output = list(output) if isinstance(output, list) else []
        begun = {place: settled(item) for place, item in self._begun.items()}
        for place in sorted({*begun, *self._done}, key=_by_place):
            if not isinstance(place, int) or place >= len(output):
                output.append(self._done.get(place) or begun[place])
        if output:
            self.document["output"] = output
        self._put_lost_aside(begun)
        self.aside = settled(self.aside)

    def _put_lost_aside(self, begun: Mapping[int | str, Json]) -> None:
        kept = {*_strings(self.document)}
        variants = [{"earlier": item} for items in (begun, self._done) for item in items.values()]
        for event in (*variants, *settled([*self._loose.values()]), *self._repeated):
            if not kept.issuperset(_strings(event)):
                self.put_aside(event)
                kept.update(_strings(event))
        if self._sounds:
            self.put_aside({"type": "response.audio", "bytes": self._sounds})

    def _respond(self, kind: str, response: Json) -> None:
        self.ended = self.ended or kind in _TERMINAL
        self.begin(response)
        output = self.document.get("output")
        merge(self.document, response)
        if output and not response.get("output"):
            self.document["output"] = output

    def _take_item(self, kind: str, event: Json, item: Json) -> None:
        items = self._done if kind.endswith(".done") else self._begun
        place = _place(event)
        if place in items:
            self.put_aside({"earlier": items[place]})
        items[place] = item
        self.merge_rest(event, _PLACE | {"item"})

    def _continue(self, kind: str, event: Json) -> None:
        piece = event.get("delta")
        self.merge_rest(event, _PLACE | {"delta", "logprobs"})
        if kind == "response.audio" and isinstance(piece, str):
            self._sounds += size_of(piece)
        elif kind in _TEXTS and isinstance(piece, str):
            into, member = self._text_at(kind, event)
            extend(into, member, piece)
            if isinstance(found := event.get("logprobs"), list):
                grow(into, {"logprobs": found})
        else:
            places = (kind, *(str(event.get(name)) for name in sorted(_PLACE) if name.endswith(("_id", "_index"))))
            grow(self._loose.setdefault(places, {}), {"type": kind, "delta": piece, "logprobs": event.get("logprobs")})

    def _repeat(self, kind: str, event: Json) -> None:
        base = kind.rpartition(".")[0]
        if base in _TEXTS and kind.endswith(".done"):  # some servers send no deltas before it
            into, member = self._text_at(base, event)
            if isinstance(event.get(member), str) and not into.get(member):
                into[member] = event[member]
        elif base == "response.output_text.annotation":
            into, _ = self._text_at("response.output_text", event)
            into.setdefault("annotations", []).append(event.get("annotation"))
        if left := {name: value for name, value in event.items() if name not in _PLACE and value}:
            self._repeated.append({"type": kind, **left})

    def _text_at(self, kind: str, event: Json) -> tuple[Json, str]:
        """Return the object that a text of *kind* stands in, and the member."""
        text = _TEXTS[kind]
        place = _place(event)
        item = self._begun.setdefault(place, {"type": text.item})
        if not text.list:
            return item, text.member
        key = (place, text.list, str(event.get(f"{text.list}_index")))
        if key not in self._entries:
            self._entries[key] = {"type": text.entry}
            if not isinstance(item.get(text.list), list):
                item[text.list] = []
            item[text.list].append(self._entries[key])
        return self._entries[key], text.member


def _place(event: Json) -> int | str:
    place = event.get("output_index")
    return place if isinstance(place, int) else str(event.get("item_id") or "")


def _by_place(place: int | str) -> tuple[bool, int, str]:
    return (False, place, "") if isinstance(place, int) else (True, 0, place)


def _strings(value: Any) -> Iterator[str]:
    """Yield the texts in *value* that an event may not be the only one to hold."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for name, inner in value.items():
            if name not in _UNIMPORTANT and inner:
                yield from _strings(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _strings(inner)


TRANSCRIPT = TranscriptForm(_request, _answer, _ResponseJoin)
