"""Messages, their blocks and their streams as transcripts, and the text completions before them."""

from __future__ import annotations

from typing import Any

from ..values.transcript import Block, Detail, OfferedTool, Transcript, TranscriptTurn
from .members import Json, JsonMembers, details, error, json_text, media_kind, of_contents, of_place, other, result
from .stream_join import Pieces, StreamJoin, extend, merge, settled, taken_list
from .transcript_form import TranscriptForm

_PIECES = {"partial_json": "input"}  # the member that each member of a delta continues, where its name differs
_BLOCKS = {"text": "text", "thinking": "thinking", "signature": "thinking", "partial_json": "tool_use"}
_PLAIN, _PLAIN_TOOL = {"role", "content"}, {"name", "description", "input_schema"}
_EVENTS = frozenset("message_start content_block_start content_block_delta content_block_stop message_delta".split())


def _request(suffix: str, body: Json) -> Transcript:
    members = JsonMembers(body)
    turns = tuple(_turn(message) for message in members.items("messages"))
    if prompt := members.text("prompt"):
        turns = (TranscriptTurn("user", (Block("text", prompt),)), *turns)
    return Transcript(
        model=members.text("model"),
        system=blocks(members.take("system")),
        tools=tuple(_tool(tool) for tool in members.items("tools")),
        turns=turns,
        settings=members.rest(),
    )


def _answer(suffix: str, body: Json) -> Transcript:
    members = JsonMembers(body)
    failed = error(members)
    members.text("type")
    model, stop = members.text("model"), members.text("stop_reason")
    usage = members.numbers("usage")
    said = blocks(members.take("content"))
    if completion := members.text("completion"):
        said = (*said, Block("text", completion))
    turns = (TranscriptTurn(members.text("role") or "assistant", said),) if said else ()
    if "input_tokens" in members:  # of count_tokens
        usage = (*usage, *details({"input_tokens": members.take("input_tokens")}))
    return Transcript(model, turns=turns, usage=usage, stop=stop, error=failed, settings=members.rest())


def _turn(message: Any) -> TranscriptTurn:
    if isinstance(message, dict) and {*message} == _PLAIN and isinstance(message["role"], str):  # nearly all
        return TranscriptTurn(message["role"], blocks(message["content"]))
    members = JsonMembers(message)
    said = blocks(members.take("content"))
    return TranscriptTurn(members.text("role"), said, members.rest())


def _tool(tool: Any) -> OfferedTool:
    if isinstance(tool, dict) and {*tool} == _PLAIN_TOOL:  # nearly all
        name, description, schema = tool["name"], tool["description"], tool["input_schema"]
        if isinstance(name, str) and isinstance(description, str) and isinstance(schema, dict):
            return OfferedTool(name, description, json_text(schema))
    members = JsonMembers(tool)
    kind = members.text("type")
    name = members.text("name") or kind
    rest = (Detail("type", kind),) if kind not in ("", "custom", name) else ()
    schema, description = members.json("input_schema"), members.text("description")
    return OfferedTool(name, description, schema, (*rest, *members.rest()))


def blocks(content: Any) -> tuple[Block, ...]:
    """Return *content*, a text, a block or a list of both, as blocks."""
    if content is None or content == "":
        return ()
    return tuple([_block(entry) for entry in content]) if isinstance(content, list) else (_block(content),)


def _block(entry: Any) -> Block:
    if isinstance(entry, str):
        return Block("text", entry)
    # The plain forms first: a long conversation has tens of thousands of them.
    kind, size = (entry.get("type"), len(entry)) if isinstance(entry, dict) else ("", 0)
    if kind == "text" and size == 2 and isinstance(text := entry.get("text"), str):
        return Block("text", text)
    if kind == "tool_use" and size == 4:
        name, call, arguments = entry.get("name"), entry.get("id"), entry.get("input")
        if isinstance(name, str) and isinstance(call, str) and isinstance(arguments, dict):
            return Block("call", json_text(arguments), name, call)
    if kind == "tool_result" and size == 3:
        said, call = entry.get("content"), entry.get("tool_use_id")
        if isinstance(call, str) and isinstance(said, str | list):
            return result(said if isinstance(said, str) else [_block(each) for each in said], id=call)
    return _any_block(entry)


def _any_block(entry: Any) -> Block:
    members = JsonMembers(entry)
    kind = members.text("type")
    if kind.endswith("tool_use"):
        server = (Detail("type", kind),) if kind != "tool_use" else ()
        name, call, arguments = members.text("name"), members.text("id"), members.json("input")
        return Block("call", arguments, name, call, details=(*server, *members.rest()))
    if kind.endswith("tool_result"):
        return _result(kind, members)
    match kind:
        case "text":
            return Block("text", members.text("text"), details=members.rest())
        case "thinking":
            return Block("thinking", members.text("thinking"), details=members.rest())
        case "redacted_thinking":
            sealed = members.text("data")
            return Block("thinking", details=(*_named("data", sealed), *members.rest()))
        case "image" | "document":
            return _media(kind, members)
        case "container_upload":
            return Block("file", media=of_place(members.text("file_id")), details=members.rest())
        case "search_result" | "compaction":
            inner = blocks(members.take("content"))
            return Block("other", name=kind, blocks=inner, details=members.rest())
    return other(members, kind)


def _named(name: str, value: str) -> tuple[Detail, ...]:
    return (Detail(name, value),) if value else ()


def _result(kind: str, members: JsonMembers) -> Block:
    call, content = members.text("tool_use_id"), members.take("content")
    server = (Detail("type", kind),) if kind != "tool_result" else ()
    said = content if isinstance(content, str) else list(blocks(content))
    return result(said, id=call, details=(*server, *members.rest()))


def _media(kind: str, members: JsonMembers) -> Block:
    source = members.inner("source")
    form, media_type = source.text("type"), source.text("media_type")
    shown = media_kind(media_type) if media_type else "image" if kind == "image" else "file"
    match form:
        case "base64":
            media = of_contents(source.text("data"), media_type)
        case "url" | "file":
            media = of_place(source.text("url", "file_id"), media_type)
        case _:  # a document of plain text, or of blocks
            media = of_place("", media_type)
    text, inner = source.text("data") if form == "text" else "", blocks(source.take("content"))
    rest = (*source.rest("source."), *members.rest())
    return Block(shown, text, media=media, blocks=inner, details=rest)


class _MessageJoin(StreamJoin):
    def __init__(self) -> None:
        super().__init__()
        self._blocks: list[Json] = []
        self._at: dict[Any, Json] = {}  # the newest block of each index

    def feed(self, name: str, event: Json) -> None:
        kind = str(event.get("type"))
        index = event.get("index") if isinstance(event.get("index"), int) else None
        match event:
            case {"type": "message_start", "message": dict(message)}:
                self.begin(message)
                self._blocks += [block for block in taken_list(message, "content") if isinstance(block, dict)]
                self.merge_rest(message, ())
            case {"type": "content_block_start", "content_block": dict(block)}:
                if block.get("input") == {}:  # the pieces follow
                    del block["input"]
                self._at[index] = block
                self._blocks.append(block)
            case {"type": "content_block_delta", "delta": dict(delta)}:
                self._continue(index, delta)
            case {"type": "message_delta"}:
                self._finish(event)
            case {"type": "completion"}:
                self._complete(event)
                return
            case {"type": "message_stop"}:
                self.ended = True
            case {"type": "error"} | {"error": _}:
                self.fail(event)
            case {"type": "content_block_stop"}:
                self._close(index)
            case {"type": "ping"}:
                pass
            case _:
                self.put_aside(event)
                return
        if kind in _EVENTS:
            self.merge_rest(event, ("type", "index", "message", "content_block", "delta", "usage"))

    def end(self) -> None:
        if self._blocks:
            self.document["content"] = self._blocks
        super().end()

    def _continue(self, index: object, delta: Json) -> None:
        block = self._at.get(index)
        if block is None:  # of a stream that lacks its begin
            kind = next((kind for name, kind in _BLOCKS.items() if name in delta), str(delta.get("type")))
            block = self._at[index] = {"type": kind}
            self._blocks.append(block)
        for name, value in delta.items():
            if name == "type" or value is None:
                continue
            if name == "citation":
                if not isinstance(block.get("citations"), list):
                    block["citations"] = []
                block["citations"].append(value)
            elif isinstance(value, str):
                self._extend(block, _PIECES.get(name, name), value)
            else:
                merge(block, {name: value})

    def _close(self, index: object) -> None:
        block = self._at.get(index, {})
        if str(block.get("type")).endswith("tool_use") and not settled(block.get("input")):
            block["input"] = {}

    def _extend(self, block: Json, name: str, piece: str) -> None:
        before = block.get(name)
        if before is not None and not isinstance(before, str | Pieces):
            block[name] = json_text(before) if before else ""
        extend(block, name, piece)

    def _finish(self, event: Json) -> None:
        if isinstance(delta := event.get("delta"), dict):
            self.merge_rest(delta, ())
        usage, before = event.get("usage"), self.document.get("usage")
        if isinstance(usage, dict) and isinstance(before, dict):
            replaced = {name: before[name] for name in usage if before.get(name) not in (None, usage[name])}
            numbers = {name: value for name, value in replaced.items() if isinstance(value, int | float)}
            usage = {**usage, "at_start": numbers} if numbers and "at_start" not in before else usage
        merge(self.document, {"usage": usage})

    def _complete(self, event: Json) -> None:
        if isinstance(piece := event.get("completion"), str):
            extend(self.document, "completion", piece)
        self.ended = self.ended or isinstance(event.get("stop_reason"), str)
        self.merge_rest(event, ("completion",))


TRANSCRIPT = TranscriptForm(_request, _answer, _MessageJoin)
