"""
What a request says, in one form for every dialect: the turns of its history, each as a digest.

Whatever a client may change between two requests of one conversation does not count: cache markers, thinking, key
order, a string instead of a list with one block, camel or snake case, line ends. Nothing is cut off before hashing.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import msgspec
from blake3 import blake3

from ..body import Body
from ..dialects import HISTORIES
from ..keyed import fingerprint
from .seeds import encode

MAX_TURNS = 10_000
_MAX_DEPTH = 6
_SHORT = 65_536  # characters of instructions whose digest is remembered
_MEDIA_LIMIT = 2048  # characters; longer payloads stand in by their digest

_INSTRUCTING = frozenset(("system", "instructions", "systemInstruction", "system_instruction", "request"))
_ROLES = {"system": "system", "developer": "system", "assistant": "assistant", "model": "assistant", "tool": "tool"}
_PLAIN_ROLES = {"user": "user", "assistant": "assistant", "model": "assistant"}
_SURE = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSUVWXYZ0123456789")  # begin no context, are no blank
_PLAIN_BLOCKS = ("text", "input_text", "output_text")
_THINKING = frozenset(("thinking", "redacted_thinking", "reasoning", "reasoning_text", "reasoning_content"))
_CALLS = frozenset(("tool_use", "function_call", "custom_tool_call", "function", "server_tool_use", "mcp_tool_use"))
_RESULTS = frozenset(("tool_result", "function_call_output", "custom_tool_call_output", "mcp_tool_result"))
_MEDIA = ("inlineData", "inline_data", "fileData", "file_data", "image_url", "input_audio", "source", "file")
_MEDIA_KEYS = ("data", "url", "fileUri", "file_uri", "file_id", "file_data", "image_url", "file_url", "text")
_VOLATILE_KEYS = frozenset(
    ("cache_control", "id", "status", "signature", "thoughtSignature", "thought_signature", "citations", "annotations")
)
_THINK_TAGS = (("<think>", "</think>"), ("<thinking>", "</thinking>"))
_ASCII_BLANKS = bytes(code for code in range(128) if chr(code).isspace())
_BLANKS = tuple(chr(code) for code in range(128, 0x3001) if chr(code).isspace())
_BILLING = re.compile(r"\s*x-anthropic-billing-header:")
# Blocks that tools put into user messages about date, folder and rules: equal for many chats, and not for ever.
_CONTEXT = re.compile(
    r"<(session_context|environment_context|environment_details|user_instructions|permissions instructions"
    r"|system-reminder)>.*</\1>"
    r"|# AGENTS\.md instructions for .*</INSTRUCTIONS>"
    r"|This is the [\w -]{1,30}\. We are setting up the context for our chat\..*",
    re.DOTALL,
)
_MONTHS = "jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec"
# Every repetition is bounded or ends at a line: the text is the client's, and the clock that runs is everybody's.
_VOLATILE = tuple(
    re.compile(pattern, re.IGNORECASE | re.MULTILINE)
    for pattern in (
        r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b",
        r"\b\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:[.,]\d+)?)?)?(?:\s?(?:Z|UTC|[+-]\d\d:?\d\d))?",
        r"\b\d{1,2}:\d\d(?::\d\d)?(?:\s?[ap]m)?\b",
        r"\b\d{1,2}[/.]\d{1,2}[/.]\d{2,4}\b",
        r"\b(?:mon|tues?|wed(?:nes)?|thu(?:rs)?|fri|sat(?:ur)?|sun)(?:day)?,?\s{1,4}(?=[\d•]|\w{1,12}\s{1,4}\d)",
        rf"\b(?:{_MONTHS})[a-z]{{0,6}}\.?\s{{1,4}}\d{{1,2}}(?:st|nd|rd|th)?,?(?:\s{{1,4}}\d{{4}})?\b",
        rf"\b\d{{1,2}}\s{{1,4}}(?:{_MONTHS})[a-z]{{0,6}}\.?(?:\s{{1,4}}\d{{4}})?\b",
        r"^[^\S\n]*(?:today'?s date|current (?:date|time)|the date is|working directory|cwd)\b[^\n]*$",
        r"^[^\S\n]*gitStatus:[\s\S]*?(?:\n[^\S\n]*\n|\Z)",
        r"\b\d[\d,]{0,15}(?:\s?/\s?\d[\d,]{0,15})?\s{1,4}tokens?\b",
        r"\b1[5-9]\d{8}(?:\d{3})?\b",
    )
)

_MAY_CHANGE = re.compile(
    r"\d|\b(?:date|time|directory|cwd|gitstatus)\b", re.IGNORECASE
)  # without it none of them match


class Turn:
    """
    One message: who speaks (`user`, `assistant`, `tool`), a digest of it, and its place in the history.

    *told* is the digest, or what a user or an assistant said when it is nothing but a text: the digest is then made
    when somebody asks for it, and of most turns nobody does.
    """

    __slots__ = ("_told", "index", "role")

    def __init__(self, role: str, told: bytes | str, index: int) -> None:
        self.role = role
        self.index = index
        self._told = told

    @property
    def digest(self) -> bytes:
        if isinstance(self._told, str):
            self._told = _digest_of_text(self.role, self._told)
        return self._told

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Turn):
            return NotImplemented
        return (self.role, self.digest, self.index) == (other.role, other.digest, other.index)

    def __hash__(self) -> int:
        return hash((self.role, self.digest, self.index))


@dataclass(frozen=True, slots=True)
class Conversation:
    """A history. *system* stands for the leading instructions, less what changes by itself; empty if there are none."""

    system: bytes = b""
    turns: tuple[Turn, ...] = ()
    # for whoever reads on where this one ends: how many messages it was made of, what *system* was, by text, and the
    # digests of its prefixes as far as somebody knows them
    messages: int = field(default=0, compare=False)
    leading: tuple[bytes, ...] = field(default=(), compare=False)
    context: tuple[bytes, ...] = field(default=(), compare=False)
    prefixes: tuple[bytes, ...] = field(default=(), compare=False)

    @property
    def root(self) -> int:
        """The place of the first thing the user says, -1 if the user says nothing."""
        for place, turn in enumerate(self.turns):
            if turn.role == "user":
                return place
        return -1

    @property
    def first_answer(self) -> int:
        """The place of the first answer to it, -1 in a first turn."""
        is_answer = False
        for place, turn in enumerate(self.turns):
            if is_answer and turn.role == "assistant":
                return place
            is_answer = is_answer or turn.role == "user"
        return -1


def conversation_of(body: Body) -> Conversation:
    """Read the history of *body*, whichever dialect's. A body without one gives an empty conversation; never raises."""
    try:
        return _read(body)
    except RecursionError:
        return Conversation()


def extended(before: Conversation, body: Body, name: str) -> Conversation:
    """
    Read on where *before* ends: *body* has in its member *name* what came since, and all its other members.

    *before* has an answer in it, so that nothing that comes later can stand before its first turn.
    """
    try:
        return _gathered(body, body.get(name, ())[: MAX_TURNS - before.messages], before)
    except RecursionError:
        return Conversation()


def messages_of(body: Body) -> Sequence[Any]:
    """Return the messages of *body* as they stand there, the oldest first."""
    inner = body.get("request") if "request" in body else None
    for value in (
        *(body.get(name) for name in HISTORIES),
        inner.get("contents") if isinstance(inner, dict) else None,
        body.get("prompt"),
    ):
        if isinstance(value, str | dict) and value:
            return (value,)
        if isinstance(value, list) and any(isinstance(item, str | dict) for item in value):
            return value[:MAX_TURNS]
    return ()


def instructions(body: Body) -> Iterator[str]:
    """Yield the instructions that stand outside the history."""
    if not body.holds_any(_INSTRUCTING):
        return
    inner = body.get("request") if "request" in body else None
    for name in ("system", "instructions", "systemInstruction", "system_instruction"):
        yield from _texts(body.get(name))
        if isinstance(inner, dict):
            yield from _texts(inner.get(name))


def role_of(message: Any) -> str:
    """Say who speaks in *message*: `system`, `user`, `assistant`, `tool`, or the empty string for what is no turn."""
    if isinstance(message, str):
        return "user"
    if not isinstance(message, dict):
        return ""
    kind = message.get("type")
    role = message.get("role")
    if isinstance(role, str):
        return "tool" if role == "function" else _ROLES.get(role, "user")
    if not isinstance(kind, str) or kind.startswith("input_") or kind in ("message", "text"):
        return "user"
    if kind in _THINKING or kind == "item_reference":
        return ""
    return "tool" if kind in _RESULTS or kind.endswith("_output") else "assistant"


def text_of(message: Any) -> str:
    """Return all text of *message*, without thinking."""
    return "".join(_texts(_content(message)))


def texts_of(message: Any) -> tuple[str, ...]:
    """Return the texts of *message*, one for each of its blocks, without thinking."""
    return tuple(_texts(_content(message)))


def squeezed(text: str) -> str:
    """Return an answer's *text* without thinking and white space: the same however it was cut into blocks."""
    return _squeezed(_normal(_spoken(text))).decode("utf-8", "surrogatepass")


def answer_turns(text: str, calls: Sequence[tuple[str, str]], *, apart: bool) -> tuple[bytes, ...]:
    """
    Return the digests of the turns that a later request will have for an answer: what it said and what it called.

    *apart*: in the dialect of the answer each of these is an item of its own.
    """
    squeezed = _squeezed(_normal(_spoken(text)))
    parts = [(b"text", squeezed)] if squeezed else []
    parts += [(b"call", fingerprint(encode(name), _arguments(told or "{}"))) for name, told in calls]
    if not parts:
        return ()
    return tuple(_digest("assistant", (part,)) for part in parts) if apart else (_digest("assistant", parts),)


def masked(text: str) -> str:
    """Return *text* with a dot for what changes by itself: dates and times, uuids, folders, counts of tokens."""
    if not _MAY_CHANGE.search(text):
        return text
    for pattern in _VOLATILE:
        text = pattern.sub("\N{BULLET}", text)
    return text


def _read(body: Body) -> Conversation:
    return _gathered(body, messages_of(body), Conversation())


def _gathered(body: Body, messages: Sequence[Any], before: Conversation) -> Conversation:
    leading: list[str] = []
    turns: list[Turn] = list(before.turns)
    context: list[str] = []
    for index, message in enumerate(messages, before.messages):
        if plain := _plain(message):
            turns.append(Turn(*plain, index))
            continue
        role = role_of(message)
        if role == "system":
            if not turns:  # later ones come and go inside a conversation
                leading.extend(_texts(_content(message)))
        elif role:
            parts = tuple(_parts(_content(message), 0))
            if role == "user":
                parts = _without_context(parts, context)
            if turn := _turn(role, parts, index):
                turns.append(turn)
    if context and not any(turn.role == "user" for turn in turns):
        turns.append(Turn("user", fingerprint(*map(encode, context)), 0))
    led, found = before.leading + _instructed(leading), before.context + _instructed(context)
    system = _instructed(instructions(body)) + led + found
    count = before.messages + len(messages)
    return Conversation(fingerprint(*system) if system else b"", tuple(turns), count, led, found, before.prefixes)


def _plain(message: Any) -> tuple[str, str] | None:
    """Return who speaks and what in a *message* that is one text and no more, and surely a turn; None for others."""
    if type(message) is not dict or len(message) != 2:
        return None
    name, text = message.get("role"), message.get("content")
    if type(text) is str and text and text[0] in _SURE and (name == "user" or name == "assistant"):
        return name, text
    role = _PLAIN_ROLES.get(name) if type(name) is str else None
    text = text or message.get("parts")
    if type(text) is list and len(text) == 1:
        text = _only_text(text[0])
    if not role or type(text) is not str or not text or text[0].isspace():
        return None
    return None if role == "user" and text[0] in "<#T" else (role, text)


def _only_text(block: Any) -> Any:
    """Return the text of a *block* that is nothing else."""
    if type(block) is not dict or "text" not in block:
        return None
    return block["text"] if len(block) == 1 or (len(block) == 2 and block.get("type") in _PLAIN_BLOCKS) else None


def _digest_of_text(role: str, text: str) -> bytes:
    if text.isascii() and "\r" not in text and "<think" not in text:  # nearly all: no need to look closer
        data = text.strip().encode()
        if role == "assistant":
            data = data.translate(None, _ASCII_BLANKS)
    else:
        data = _squeezed(_normal(_spoken(text))) if role == "assistant" else encode(_normal(text))
    return _digest(role, ((b"text", data),) if data else ())


def _turn(role: str, parts: tuple[tuple[bytes, bytes], ...], index: int) -> Turn | None:
    if not parts:
        return None
    tags = {tag for tag, _ in parts}
    if tags == {b"result"}:
        role = "tool"  # Anthropic and Gemini hand results over in the user's name
    if role == "assistant" and b"text" in tags:
        parts = _joined(parts)
    return Turn(role, _digest(role, parts), index)


def _joined(parts: tuple[tuple[bytes, bytes], ...]) -> tuple[tuple[bytes, bytes], ...]:
    """An answer's text may come back in one block or in several; a user's blocks are the user's."""
    said = [data for tag, data in parts if tag == b"text"]
    if len(said) == 1 and said[0].isascii() and b"<think" not in said[0]:  # nearly all: no need to see it as text
        squeezed = said[0].translate(None, _ASCII_BLANKS)
    else:
        squeezed = _squeezed(_normal(_spoken("".join(data.decode("utf-8", "surrogatepass") for data in said))))
    rest = tuple(part for part in parts if part[0] != b"text")
    return ((b"text", squeezed), *rest) if squeezed else rest


def _without_context(parts: tuple[tuple[bytes, bytes], ...], context: list[str]) -> tuple[tuple[bytes, bytes], ...]:
    kept = []
    for tag, data in parts:
        text = data.decode("utf-8", "surrogatepass") if tag == b"text" and data[:1] in b"<#T" else ""
        if text and _CONTEXT.fullmatch(text):
            context.append(text)
        else:
            kept.append((tag, data))
    return tuple(kept)


def _instructed(texts: Iterable[str]) -> tuple[bytes, ...]:
    """Return a digest for each of *texts* that instructs, without what changes by itself."""
    kept = [text for text in texts if text.strip() and not _BILLING.match(text)]
    return tuple(_told(text) if len(text) <= _SHORT else _masked_digest(text) for text in kept)


def _masked_digest(text: str) -> bytes:
    return fingerprint(encode(masked(_normal(text))))


_told = lru_cache(64)(_masked_digest)  # a tool says the same in each of its requests


def _outside(text: str, opening: str, closing: str) -> Iterator[str]:
    """Yield what stands outside the tags; an opening without a closing tag is text."""
    at = 0
    while (start := text.find(opening, at)) >= 0 and (end := text.find(closing, start)) >= 0:
        yield text[at:start]
        at = end + len(closing)
    yield text[at:]


def _spoken(text: str) -> str:
    """Return *text* without what stands between tags of thinking."""
    if "<" not in text or "<think" not in text:  # the first is found at once, and few answers hold one
        return text
    for opening, closing in _THINK_TAGS:
        if opening in text:
            text = "".join(_outside(text, opening, closing))
    return text


def _squeezed(text: str) -> bytes:
    if not text.isascii() and any(blank in text for blank in _BLANKS):
        text = "".join(text.split())
    return encode(text).translate(None, _ASCII_BLANKS)


def _normal(text: str) -> str:
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    return text.strip() if _is_composed(text) else unicodedata.normalize("NFC", text).strip()


def _is_composed(text: str) -> bool:
    """Say whether *text* is in its normal form for certain: below U+0100 there is nothing to compose."""
    try:
        return text.isascii() or bool(text.encode("latin-1"))
    except UnicodeEncodeError:
        return False


def _content(message: Any) -> Any:
    """Return what *message* says: its content, its parts, its tool calls, or itself when it is a part."""
    if not isinstance(message, dict):
        return message
    role = message.get("role")
    if not isinstance(role, str) and not ("content" in message and message.get("type") in (None, "message")):
        return message.get("parts", message)
    pieces: list[Any] = []
    for name in ("content", "parts", "refusal", "tool_calls", "function_call"):
        value = message.get(name)
        pieces.extend(value if isinstance(value, list) else (value,))
    if role in ("tool", "function"):
        return {"type": "tool_result", "content": pieces}
    return pieces


def _texts(content: Any) -> Iterator[str]:
    """Yield the plain texts in *content*: a string, a block, a list of either, or Gemini's `{parts}`."""
    if isinstance(content, str):
        yield content
    elif isinstance(content, list):
        for part in content:
            if isinstance(part, str | dict):
                yield from _texts(part)
    elif isinstance(content, dict):
        if isinstance(parts := content.get("parts"), list):
            yield from _texts(parts)
        elif content.get("type") not in _THINKING and not content.get("thought"):
            yield from (value for name in ("text", "refusal") if isinstance(value := content.get(name), str))


def _parts(content: Any, depth: int) -> Iterator[tuple[bytes, bytes]]:
    if isinstance(content, str):
        if text := _normal(content):
            yield b"text", encode(text)
    elif isinstance(content, dict):
        yield from _part(content, depth)
    elif isinstance(content, list):
        for part in content:
            if isinstance(part, str | dict):
                yield from _parts(part, depth)


def _part(part: dict[str, Any], depth: int) -> Iterator[tuple[bytes, bytes]]:
    kind = part.get("type")
    if kind in _THINKING or part.get("thought") is True:
        return
    if call := _call(part, kind):
        yield b"call", fingerprint(*call)
    elif (result := _result(part, kind)) is not None:
        yield b"result", _digest("result", _parts(result, depth + 1)) if depth < _MAX_DEPTH else _canonical(result)
    elif isinstance(text := part.get("text", part.get("refusal")), str):
        if text := _normal(text):
            yield b"text", encode(text)
    elif media := _media(part):
        yield b"media", media
    elif kept := _lasting(part):
        yield b"other", _canonical(kept)


def _call(part: dict[str, Any], kind: object) -> tuple[bytes, ...]:
    """Return a tool call as name and arguments. Its id is left out: a token links, it does not speak."""
    inner = part.get("functionCall", part.get("function_call", part.get("function")))
    if isinstance(inner, dict):
        part = inner
    elif kind not in _CALLS and not (isinstance(part.get("name"), str) and "arguments" in part):
        return ()
    for name in ("arguments", "input", "args"):
        if name in part:
            return encode(str(part.get("name"))), _arguments(part[name])
    return encode(str(part.get("name"))), b""


def _result(part: dict[str, Any], kind: object) -> Any:
    inner = part.get("functionResponse", part.get("function_response"))
    if isinstance(inner, dict):
        return _as_text(inner.get("response"))
    if kind in _RESULTS or (isinstance(kind, str) and kind.endswith(("_output", "_tool_result"))):
        return _as_text(part.get("content", part.get("output")))
    return None


def _as_text(value: Any) -> Any:
    return "" if value is None else value


def _arguments(value: Any) -> bytes:
    if isinstance(value, str):
        try:
            value = msgspec.json.decode(value)
        except (ValueError, RecursionError):
            return encode(_normal(value))
    return _canonical(value)


def _media(part: dict[str, Any]) -> bytes:
    """Return the digest of a picture, a sound or a file: of its data or its address, whichever is there."""
    kind = part.get("type")
    inner = next((part[name] for name in _MEDIA if name in part), None)
    if inner is None and not (isinstance(kind, str) and kind.startswith("input_")):
        return b""
    places = [part if inner is None else inner]
    while places:
        place = places.pop()
        if isinstance(place, str):
            return fingerprint(encode(place))
        if isinstance(place, dict):
            places = [place[name] for name in reversed(_MEDIA_KEYS) if isinstance(place.get(name), str | dict)]
    return fingerprint(_canonical(_lasting(part)))


def _lasting(part: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in part.items() if name not in _VOLATILE_KEYS and value is not None}


def _canonical(value: Any) -> bytes:
    """Return *value* as JSON whose object keys are in order, shortened to a digest when it is long."""
    try:
        text = msgspec.json.encode(value, order="deterministic")
    except (ValueError, TypeError, OverflowError, RecursionError):
        text = _canonical_slowly(value)
    return text if len(text) <= _MEDIA_LIMIT else blake3(text).digest()


def _canonical_slowly(value: Any) -> bytes:
    try:
        return json.dumps(value, sort_keys=True).encode()
    except (ValueError, TypeError, RecursionError):
        return b"unreadable"


def _digest(role: str, parts: Iterable[tuple[bytes, bytes]]) -> bytes:
    return fingerprint(role.encode(), *(piece for part in parts for piece in part))
