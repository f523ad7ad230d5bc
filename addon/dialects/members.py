"""JSON → parts of a `Transcript`, so that no member of an object is lost: what is not taken stands in the details."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from ..body import encoded
from ..values.transcript import Block, BlockKind, Detail, ErrorText, Media

Json = dict[str, Any]

_DEPTH = 8  # levels of objects that become dotted names; below, they stand as JSON text
_WIDE = 1000  # members of an object that become dotted names; one with more stands as JSON text
_BASE64 = frozenset("data b64_json bytes bytesBase64Encoded file_data partial_image_b64 image_bytes blob".split())
_LONG = 256  # characters; a shorter text under these names may be base64 by accident
_IS_BASE64 = re.compile(r"[A-Za-z0-9+/_=\r\n-]+")
_DATA_URL = re.compile(r"data:([^;,]*)[^,]{0,256},")


class JsonMembers:
    """The members of one JSON object, taken one by one. What is no object has one member, `value`."""

    __slots__ = ("_left",)

    def __init__(self, data: object) -> None:
        self._left: Json = dict(data) if isinstance(data, dict) else {} if data is None else {"value": data}

    def __contains__(self, name: str) -> bool:
        return self._left.get(name) is not None

    def peek(self, name: str) -> Any:
        """Return the member *name* without taking it."""
        return self._left.get(name)

    def take(self, name: str) -> Any:
        """Take the member *name*, of any type."""
        return self._left.pop(name, None)

    def text(self, *names: str) -> str:
        """Take the first of *names* that is a text."""
        for name in names:
            if isinstance(self._left.get(name), str):
                found: str = self._left.pop(name)
                return found
        return ""

    def json(self, *names: str) -> str:
        """Take the first of *names* that is there: a text as it stands, anything else as JSON text."""
        name = next((name for name in names if name in self), "")
        value = self._left.pop(name, None)
        return value if isinstance(value, str) else "" if value is None else json_text(value)

    def items(self, *names: str) -> list[Any]:
        """Take the first of *names* that is a list."""
        for name in names:
            if isinstance(self._left.get(name), list):
                found: list[Any] = self._left.pop(name)
                return found
        return []

    def numbers(self, name: str) -> tuple[Detail, ...]:
        """Take the object *name*, of which every member is worth a line, zeros too."""
        return tuple(details(self._left.pop(name))) if isinstance(self._left.get(name), dict) else ()

    def inner(self, *names: str) -> JsonMembers:
        """Take the first of *names* that is an object."""
        for name in names:
            if isinstance(self._left.get(name), dict):
                return JsonMembers(self._left.pop(name))
        return JsonMembers(None)

    def rest(self, prefix: str = "") -> tuple[Detail, ...]:
        """Take all that is left."""
        if not self._left:
            return ()
        left, self._left = self._left, {}
        return tuple(details(left, prefix))


def details(data: Mapping[str, Any], prefix: str = "", depth: int = 0) -> Iterator[Detail]:
    """Yield the members of *data*: of small objects within, the members by dotted names; a list as JSON text."""
    for name, value in data.items():
        if value is None or value == "" or value == [] or value == {}:
            continue
        if isinstance(value, dict) and depth < _DEPTH and len(value) <= _WIDE:
            yield from details(value, f"{prefix}{name}.", depth + 1)
        elif isinstance(value, dict | list):
            yield Detail(prefix + name, json_text(value))
        elif isinstance(value, str) and name in _BASE64 and is_base64(value):
            yield Detail(prefix + name, f"({size_of(value)} bytes)")
        else:
            yield Detail(prefix + name, value)


def json_text(value: object) -> str:
    """Return *value* as compact JSON."""
    return encoded(value).decode()


def is_base64(value: str) -> bool:
    """Whether *value* is so long, and of such characters, that it is contents in base64 rather than words."""
    return len(value) >= _LONG and bool(_IS_BASE64.fullmatch(value))


def size_of(base64: str) -> int:
    """Return the number of bytes that *base64* holds."""
    return len(base64) * 3 // 4 - base64[-2:].count("=")


def of_place(place: str, kind: str = "") -> Media:
    """Return the media at *place*: a URL, the id of a file, or a data URL, of which only the size is kept."""
    if place.startswith("data:") and (found := _DATA_URL.match(place)):
        return Media(found[1] or kind, size_of(place[found.end() :]))
    return Media(kind, place=place)


def of_contents(contents: str, kind: str, place: str = "") -> Media:
    """Return the media whose *contents* stand in the body in base64, or as a data URL, or else at *place*."""
    if not contents:
        return of_place(place, kind)
    found = of_place(contents, kind) if contents.startswith("data:") else Media(kind, size_of(contents))
    return Media(found.type, found.size, place or found.place)


def media_kind(media_type: str) -> BlockKind:
    """Return the kind of a block of *media_type*."""
    match media_type.partition("/")[0]:
        case "image":
            return "image"
        case "audio":
            return "audio"
        case "video":
            return "video"
    return "file"


def other(members: JsonMembers, kind: str = "") -> Block:
    """Return what is left of *members* as a block of an unknown type."""
    return Block("other", name=kind or members.text("type"), details=members.rest())


def result(text_or_blocks: str | list[Block], **named: Any) -> Block:
    """Return the result of a tool; blocks of nothing but words become its text."""
    if isinstance(text_or_blocks, str):
        return Block("result", text_or_blocks, **named)
    if all(block.kind == "text" and not block.details for block in text_or_blocks):
        return Block("result", "\n".join([block.text for block in text_or_blocks]), **named)
    return Block("result", blocks=tuple(text_or_blocks), **named)


def error(members: JsonMembers) -> ErrorText | None:
    """Take the error of any common shape, if there is one: an object, a text, or the whole of *members*."""
    match members.peek("error"):
        case {**inner} if inner:
            return error_text(JsonMembers(members.take("error")))
        case str(message) if message:
            return ErrorText(members.text("error"), members.rest())
    if members.peek("object") == "error" or members.peek("type") == "error":
        return error_text(members)
    return None


def error_text(members: JsonMembers) -> ErrorText:
    """Return all of *members* as an error."""
    return ErrorText(members.text("message", "detail", "error_description", "msg", "title"), members.rest())
