"""
A transcript as text in a pane: the newest first, then what came before it, then what is the same in every turn.

System texts, tools and long members are folded to their names and sizes, unless everything is asked for.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby

import msgspec

from ..body import text_of
from ..values.transcript import Block, Detail, ErrorText, Media, OfferedTool, Transcript, TranscriptTurn
from .pane import Pane, safe

FOLDED = 160  # characters of a member, and of the begin of a system text, that are shown when it is folded
_TAIL = 20_000  # characters that system, tools and settings may take where the turns have used up the room
_FEW = 200  # characters of a sentence about what is left out
_SHORT = 72  # bytes of an object or a list that stands in one line
_LABEL = 24  # characters of a name behind which its value stands
_READ = 1_000_000  # bytes of arguments that are read; longer ones stand as JSON
_DEPTH = 6  # levels of an argument that are shown as lines, rather than as JSON
_MEMBERS = msgspec.json.Decoder(dict[str, msgspec.Raw])
_ITEMS = msgspec.json.Decoder(list[msgspec.Raw])
_UNREADABLE = (ValueError, RecursionError, msgspec.DecodeError)


class TranscriptText:
    """Writes transcripts into *pane*; *everything*: nothing is folded. *elsewhere* says where the rest is shown."""

    def __init__(self, pane: Pane, *, everything: bool = False, elsewhere: str = "") -> None:
        self._pane = pane
        self._everything = everything
        self._elsewhere = elsewhere
        self._told_of = 0  # characters without room that the page has named

    def answer(self, answer: Transcript, note: str = "the answer") -> None:
        """Write *answer*, put together: its error, its turns, what could not be read of it, and its numbers."""
        if answer.error:
            self._error(answer.error)
        for number, turn in enumerate(answer.turns):
            if self._pane.is_full:
                self._pane.leave_out(sum(_length(each.blocks) for each in answer.turns[number:]))
                break
            self._turn(turn, f"{note} · choice {turn.choice + 1}" if turn.choice else note)
        self._other([each for each in answer.other if not _is_short(each)])
        self._leave_out(0)
        self._pane.make_room(_TAIL)
        if answer.is_cut:
            self._pane.text("(it ends here, before its end)")
        said = [Detail("stop", answer.stop)] if answer.stop else []
        self._numbers([*said, *answer.usage, *self._named(answer), *filter(_is_short, answer.other)])

    def request(self, request: Transcript) -> None:
        """Write *request*: its turns, the newest first, then system, tools and settings."""
        turns = request.turns
        unread = len(turns)
        while unread and not self._pane.is_full:
            self._turn(turns[unread - 1], "the newest" if unread == len(turns) else f"{unread} of {len(turns)}")
            unread -= 1
        self._leave_out(unread)
        self._pane.make_room(_TAIL)
        self._other(request.other)
        self._system(request.system)
        self._tools(request.tools)
        self._numbers([*request.usage, *self._named(request)], "settings")
        self._leave_out(0)

    def _leave_out(self, turns: int) -> None:
        """Say how many of the earlier *turns*, and how much of the texts since it was said last, found no room."""
        characters, self._told_of = self._pane.left_out - self._told_of, self._pane.left_out
        if turns or characters:
            parts = [f"{turns:,} earlier turns"] if turns else []
            if characters:
                parts.append(f"{characters:,} characters of the last text above")
            self._pane.make_room(_FEW)
            self._pane.rule("left out", line="─")
            self._pane.text(f"{' and '.join(parts)}{self._elsewhere}")

    # -- turns -----------------------------------------------------------------------------------------------------

    def _turn(self, turn: TranscriptTurn, note: str) -> None:
        self._pane.rule(turn.role or "?", note)
        self._blocks(turn.blocks, "")
        self._details(turn.details, "")

    def _blocks(self, blocks: Sequence[Block], indent: str) -> None:
        before = ""
        for number, block in enumerate(blocks):
            if self._pane.is_full:
                self._pane.leave_out(_length(blocks[number:]))
                return
            if before and not before == block.kind == "call":
                self._pane.blank()
            before = block.kind
            self._block(block, indent)

    def _block(self, block: Block, indent: str) -> None:
        write = self._pane.text
        match block.kind:
            case "text":
                write(block.text, indent)
            case "thinking" | "refusal":
                write(block.kind, indent)
                write(block.text, f"{indent}┊ ")
            case "call":
                write(_titled("→", block), indent)
                self._arguments(block.text, f"{indent}    ")
            case "result":
                write(_titled("←", block), indent)
                if block.text:
                    write(block.text, f"{indent}    ")
                self._blocks(block.blocks, f"{indent}    ")
            case _:
                write(f"[{' '.join(filter(None, (block.kind, block.name, _media(block.media))))}]", indent)
                if block.text:
                    write(block.text, f"{indent}    ")
        self._details(block.details, f"{indent}    ")

    def _arguments(self, text: str, indent: str) -> None:
        raw = text.encode("utf-8", "surrogatepass")
        members = _members(raw) if len(raw) <= _READ else None
        if members is None:
            if text:
                self._pane.text(text, indent)
            return
        self._members(members, len(raw), indent, _DEPTH)

    def _members(self, members: dict[str, msgspec.Raw], size: int, indent: str, depth: int) -> None:
        """Write *members* of an object of *size* bytes, until the pane is full."""
        for name, value in members.items():
            if self._pane.is_full:
                self._pane.leave_out(size)
                return
            raw = bytes(value)
            size -= len(raw)
            self._value(f"{name}: ", raw, indent, depth)

    def _value(self, label: str, raw: bytes, indent: str, depth: int) -> None:
        """Write the JSON *raw* behind *label*: texts as they read, objects and lists line by line, *depth* levels."""
        pane, inner = self._pane, f"{indent}  "
        if raw[:1] == b'"':
            self._labelled(label, text_of(raw), indent)
            return
        deep = depth > 0 and len(raw) > _SHORT
        members = _members(raw) if deep and raw[:1] == b"{" else None
        items = _items(raw) if deep and raw[:1] == b"[" else None
        if members:
            pane.text(label.rstrip(), indent)
            self._members(members, len(raw), inner, depth - 1)
        elif items:
            pane.text(label.rstrip(), indent)
            for number, value in enumerate(items):
                if pane.is_full:
                    pane.leave_out(sum(len(memoryview(each)) for each in items[number:]))
                    return
                self._value("- ", bytes(value), inner, depth - 1)
        else:
            self._labelled(label, raw.decode("utf-8", "replace"), indent)

    def _labelled(self, label: str, text: str, indent: str) -> None:
        """Write *text* behind *label*, or below it where it has several lines, or the label is long."""
        inner = f"{indent}  "
        if text and "\n" not in text and len(label) <= _LABEL:
            self._pane.text(text, inner, f"{indent}{safe(label)}")
        else:
            self._pane.text(label.rstrip(), indent)
            self._pane.text(text, inner)

    # -- what stands around them -----------------------------------------------------------------------------------

    def _error(self, error: ErrorText) -> None:
        self._pane.rule("error")
        self._pane.text(error.message)
        self._numbers(error.details, "")

    def _other(self, other: Sequence[Detail]) -> None:
        """Write what could not be read; *other* of one kind stand together."""
        for name, found in groupby(other, lambda each: each.name):
            self._pane.rule(f"not read: {name}" if name != "body" else "body")
            for each in found:
                if self._pane.is_full:
                    self._pane.leave_out(len(str(each.value)))
                else:
                    self._pane.text(str(each.value))

    def _system(self, system: Sequence[Block]) -> None:
        if not system:
            return
        self._pane.rule("system", _sizes(len(system), "text", sum(len(each.text) for each in system)), "─")
        if self._everything:
            self._blocks(system, "")
            return
        for number, block in enumerate(system):
            if self._pane.is_full:
                self._pane.leave_out(_length(system[number:]))
                return
            begin = " ".join(block.text[: 2 * FOLDED].split())
            self._pane.text(begin if len(block.text) <= FOLDED else f"{begin[:FOLDED]} …", "  ", "· ")

    def _tools(self, tools: Sequence[OfferedTool]) -> None:
        if not tools:
            return
        self._pane.rule("tools", _sizes(len(tools), "tool", sum(map(_size, tools))), "─")
        if not self._everything:
            self._pane.items(tools, lambda each: f"{each.name} {_short(_size(each))}", between=", ")
            return
        for number, tool in enumerate(tools):
            if self._pane.is_full:
                self._pane.leave_out(sum(map(_size, tools[number:])))
                return
            self._pane.text(tool.name)
            self._pane.text(tool.description, "    ")
            self._arguments(tool.schema, "    ")
            self._details(tool.details, "    ")

    def _numbers(self, details: Sequence[Detail], title: str = "") -> None:
        if not details:
            return
        if title:
            self._pane.rule(title, line="─")
        else:
            self._pane.blank()
        self._pane.items(details, self._told)

    def _details(self, details: Sequence[Detail], indent: str) -> None:
        self._pane.items(details, self._told, indent)

    def _named(self, transcript: Transcript) -> list[Detail]:
        model = [Detail("model", transcript.model)] if transcript.model else []
        return [*model, *transcript.settings]

    def _told(self, detail: Detail) -> str:
        value = str(detail.value).lower() if isinstance(detail.value, bool) else str(detail.value)
        if len(value) > FOLDED and not self._everything:
            value = f"{value[:40]}… ({len(value):,} characters)"
        return f"{detail.name} {value}"


def _is_short(detail: Detail) -> bool:
    return detail.name != "body" and len(value := str(detail.value)) <= FOLDED and "\n" not in value


def _length(blocks: Iterable[Block]) -> int:
    """Return how many characters of text *blocks* hold."""
    return sum(len(block.text) + (_length(block.blocks) if block.blocks else 0) for block in blocks)


def _titled(arrow: str, block: Block) -> str:
    return " ".join(filter(None, (arrow, block.name, f"({block.id})" if block.id else "")))


def _media(media: Media | None) -> str:
    if media is None:
        return ""
    return " ".join(filter(None, (media.type, f"{media.size:,} bytes" if media.size else "", media.place)))


def _members(raw: bytes) -> dict[str, msgspec.Raw] | None:
    try:
        return _MEMBERS.decode(raw)
    except _UNREADABLE:
        return None


def _items(raw: bytes) -> list[msgspec.Raw] | None:
    try:
        return _ITEMS.decode(raw)
    except _UNREADABLE:
        return None


def _size(tool: OfferedTool) -> int:
    return len(tool.description) + len(tool.schema)


def _sizes(count: int, noun: str, characters: int) -> str:
    return f"{count} {noun}{'s' if count != 1 else ''}, {characters:,} characters"


def _short(characters: int) -> str:
    return f"{characters / 1000:.1f}k" if characters >= 1000 else str(characters)
