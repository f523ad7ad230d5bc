"""Content parts, tool calls and tools in the spellings of all of OpenAI's protocols, as parts of a transcript."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msgspec.structs import replace

from ..values.transcript import Block, Detail, OfferedTool, TranscriptTurn
from .members import JsonMembers, of_contents, of_place, other

_TEXTS = frozenset({"text", "input_text", "output_text", "summary_text"})
_THOUGHTS = frozenset({"reasoning_text", "thinking"})
_IMAGES = frozenset({"image_url", "input_image", "output_image", "computer_screenshot", "image"})
_INSTRUCTS = frozenset({"system", "developer"})
_FORMATS = frozenset({"function", "custom"})  # types of tools that a name makes clear


def parts(content: Any) -> list[Block]:
    """Return *content*, a text, a part or a list of both, as blocks."""
    if content is None or content == "":
        return []
    return [part(entry) for entry in content] if isinstance(content, list) else [part(content)]


def part(entry: Any) -> Block:
    """Return one part of a content."""
    if isinstance(entry, str):
        return Block("text", entry)
    if isinstance(entry, dict) and len(entry) == 2:  # nearly all
        kind, text = entry.get("type"), entry.get("text")
        if isinstance(kind, str) and kind in _TEXTS and isinstance(text, str):
            return Block("text", text)
    members = JsonMembers(entry)
    kind = members.text("type")
    if kind in _TEXTS:
        return Block("text", members.text("text"), details=members.rest())
    if kind in _THOUGHTS:
        return Block("thinking", _thought(members), details=members.rest())
    if kind in _IMAGES:
        return _image(members)
    match kind:
        case "refusal":
            return Block("refusal", members.text("refusal"), details=members.rest())
        case "input_audio" | "output_audio":
            return audio(members.inner("input_audio") if "input_audio" in members else members, members)
        case "file" | "input_file":
            return _file(members.inner("file") if "file" in members else members, members)
        case "video_url":
            source = members.inner("video_url")
            media = of_place(source.text("url") or members.text("video_url"), "video")
            return Block("video", media=media, details=(*source.rest(), *members.rest()))
    return other(members, kind)


def _thought(members: JsonMembers) -> str:
    inner = members.peek("thinking")
    if isinstance(inner, list) and all(isinstance(one, dict) and {*one} == {"type", "text"} for one in inner):
        return "".join(str(one["text"]) for one in members.items("thinking"))  # Mistral's
    return members.text("text", "thinking")


def _image(members: JsonMembers) -> Block:
    source = members.inner("image_url")
    place, file = source.text("url") or members.text("image_url"), members.text("file_id")
    rest = (*source.rest(), *members.rest())
    return Block("image", media=of_place(place or file), details=(*_named("file_id", file if place else ""), *rest))


def audio(source: JsonMembers, around: JsonMembers) -> Block:
    """Return what *source* tells of a sound, and the words that were spoken."""
    spoken, kind, contents = source.text("transcript"), source.text("format"), source.text("data")
    media = of_contents(contents, kind, source.text("id"))
    return Block("audio", spoken, media=media, details=(*source.rest(), *around.rest()))


def _file(source: JsonMembers, around: JsonMembers) -> Block:
    contents, place, name = source.text("file_data"), source.text("file_url", "file_id"), source.text("filename")
    return Block("file", name=name, media=of_contents(contents, "", place), details=(*source.rest(), *around.rest()))


def call(entry: Any) -> Block:
    """Return a call of a chat message."""
    if isinstance(entry, dict) and len(entry) == 3 and entry.get("type") == "function":  # nearly all
        plain, call_id = entry.get("function"), entry.get("id")
        if isinstance(call_id, str) and isinstance(plain, dict) and len(plain) == 2:
            name, arguments = plain.get("name"), plain.get("arguments")
            if isinstance(name, str) and isinstance(arguments, str):
                return Block("call", arguments, name, call_id)
    members = JsonMembers(entry)
    if isinstance(members.peek("index"), int):
        members.take("index")
    kind = members.text("type")
    form = "custom" if isinstance(members.peek("custom"), dict) else "function"
    inner = members.inner(form)
    name, arguments, call_id = inner.text("name"), inner.json("arguments", "input"), members.text("id")
    known = _named("type", "" if kind == form else kind)
    return Block("call", arguments, name, call_id, details=(*known, *inner.rest(f"{form}."), *members.rest()))


def offered(tool: Any) -> OfferedTool:
    """Return a tool, whose definition stands under its type (chat) or beside it."""
    outer = JsonMembers(tool)
    kind = outer.text("type")
    inner = outer.inner(kind) if isinstance(outer.peek(kind), dict) else outer
    name = inner.text("name") or outer.text("server_label")
    known = _named("type", kind if name and kind not in _FORMATS else "")
    description, schema = inner.text("description"), inner.json("parameters", "input_schema")
    return OfferedTool(name or kind, description, schema, (*known, *inner.rest(), *outer.rest()))


def instructions(turns: Sequence[TranscriptTurn]) -> tuple[tuple[Block, ...], tuple[TranscriptTurn, ...]]:
    """Divide *turns* into the instructions that they begin with, and all others."""
    first = next((at for at, turn in enumerate(turns) if turn.role not in _INSTRUCTS), len(turns))
    system = [block for turn in turns[:first] for block in _instructing(turn)]
    return tuple(system), tuple(turns[first:])


def _instructing(turn: TranscriptTurn) -> list[Block]:
    known = (*_named("role", "" if turn.role == "system" else turn.role), *turn.details)
    blocks = list(turn.blocks)
    if known and blocks:
        blocks[0] = replace(blocks[0], details=(*blocks[0].details, *known))
    return blocks or ([Block("other", details=known)] if known else [])


def merged(turns: Sequence[TranscriptTurn], roles: Sequence[str] = ("tool",)) -> tuple[TranscriptTurn, ...]:
    """Return *turns* with those of one of *roles* that follow each other made one."""
    found: list[TranscriptTurn] = []
    group: list[TranscriptTurn] = []
    for turn in turns:
        if group and (turn.role not in roles or turn.role != group[0].role):
            found.append(_one(group))
            group.clear()
        group.append(turn)
    return (*found, _one(group)) if group else ()


def _one(turns: Sequence[TranscriptTurn]) -> TranscriptTurn:
    if len(turns) == 1:
        return turns[0]
    blocks = tuple([block for turn in turns for block in turn.blocks])
    return TranscriptTurn(turns[0].role, blocks, tuple([each for turn in turns for each in turn.details]))


def _named(name: str, value: str) -> tuple[Detail, ...]:
    return (Detail(name, value),) if value else ()
