"""A JSON body: read lazily, member by member, and changed only in the bytes that must change."""

from __future__ import annotations

import contextlib
import json
import re
from codecs import BOM_UTF8
from collections.abc import Container, Mapping
from typing import Any

import msgspec

from . import json_splice

_FIELDS = msgspec.json.Decoder(dict[str, msgspec.Raw])
_ITEMS = msgspec.json.Decoder(list[msgspec.Raw])
_KEY = re.compile(rb'\s*,?\s*("(?:[^"\\]|\\.)*")\s*:\s*')
_EMPTY = re.compile(rb"(?:\xef\xbb\xbf)?\s*\{\s*\}\s*")
_MAX_DEPTH_ERRORS = (ValueError, RecursionError, msgspec.DecodeError, UnicodeDecodeError)
MISSING: Any = type("Missing", (), {"__repr__": lambda _: "MISSING", "__bool__": lambda _: False})()


class Body:
    """
    The bytes of a message body, read lazily as one JSON object; anything else has no members, and reading never raises.

    *raw* is None for a body that is streamed through.
    """

    __slots__ = ("__weakref__", "_fields", "_values", "is_too_deep", "raw")

    def __init__(self, raw: bytes | None) -> None:
        self.raw = raw
        self._fields: dict[str, msgspec.Raw] | None = None
        self._values: dict[str, Any] = {}
        self.is_too_deep = False  # for any parser; known once the body was read

    @property
    def is_object(self) -> bool:
        """Whether the body is one JSON object that could be read."""
        self._read()
        return bool(self._fields) or bool(self._values) or bool(_EMPTY.fullmatch(self.raw or b""))

    @property
    def is_plain(self) -> bool:
        """Whether the body is a JSON object with members, in strict JSON."""
        return bool(self._read())

    def names(self) -> tuple[str, ...]:
        """Return the names of the members, in order."""
        return tuple(self._read() or self._values)

    def holds_any(self, names: frozenset[str]) -> bool:
        """Whether one of *names* is a member."""
        return not names.isdisjoint(self._fields or self._read() or self._values)

    def __contains__(self, name: str) -> bool:
        return name in self._read() or name in self._values

    def get(self, name: str, default: Any = None) -> Any:
        """Return the decoded member *name*, or *default*. The value is shared: do not change it."""
        fields = self._fields or self._read()
        value = self._values.get(name, MISSING)
        if value is MISSING and name in fields:
            value = self._values[name] = decoded(fields[name])
        return default if value is MISSING else value

    def text(self, name: str) -> str:
        """Return the member *name* when it is a string, else the empty string."""
        value = self.get(name)
        return value if isinstance(value, str) else ""

    def slice(self, name: str) -> bytes:
        """Return the JSON text of member *name* as it stands in the body, or empty bytes."""
        return bytes(self.view(name))

    def view(self, name: str) -> bytes | msgspec.Raw:
        """Return the same without a copy of it."""
        fields = self._read()
        if name in fields:
            return fields[name]
        value = self._values.get(name, MISSING)
        return b"" if value is MISSING else json.dumps(value).encode()

    def span(self, name: str) -> tuple[int, int] | None:
        """Return the start and end of the value of member *name* in the bytes; None where a member stands twice."""
        fields = self._read()
        if self.raw is None or name not in fields:
            return None
        with contextlib.suppress(ValueError):
            return _spans(self.raw, fields)[name]
        return None

    def splice(self, changes: Mapping[str, object]) -> bytes:
        """
        Return the body with members replaced or added (`metadata.key`: one level down), every other byte as it was.

        Raises ValueError where the body is no JSON object, or a changed member stands there twice.
        """
        if self.raw is None or not self.is_object:
            raise ValueError("the body is not a JSON object that can be changed")
        if b"\0" in self.raw[:4]:
            raise ValueError("the body is not in UTF-8")  # UTF-16 or UTF-32, which readers detect by these bytes
        whole, inside = _whole_and_inside(changes)
        spans = _spans_of(self.raw, self._read(), {*whole, *inside})
        texts = {name: encoded(value) for name, value in whole.items()}
        for name, values in inside.items():
            texts[name] = _spliced(self.raw[slice(*spans[name])] if name in spans else b"", values)
        return _replaced(self.raw, texts, spans)

    def _read(self) -> dict[str, msgspec.Raw]:
        if self._fields is None:
            self._fields = {}
            if self.raw:
                try:
                    self._fields = _FIELDS.decode(self.raw)
                except RecursionError:
                    self.is_too_deep = True
                except _MAX_DEPTH_ERRORS:
                    value = decoded(self.raw)  # lone surrogates and NaN: no JSON, but clients send them
                    if isinstance(value, dict):
                        self._values = value
        return self._fields


def decoded(text: bytes | msgspec.Raw) -> Any:
    """Return the value of a JSON *text*, strict or with what clients and servers make of it; MISSING for none."""
    try:
        return msgspec.json.decode(text)
    except _MAX_DEPTH_ERRORS:
        pass
    try:
        return _lenient(bytes(text))
    except _MAX_DEPTH_ERRORS:
        return MISSING


def _lenient(text: bytes, **options: Any) -> Any:
    # NaN, lone surrogates, a BOM, control characters, invalid UTF-8
    try:
        return json.loads(text, strict=False, **options)
    except UnicodeDecodeError:
        return json.loads(text.removeprefix(BOM_UTF8).decode("utf-8", "surrogateescape"), strict=False, **options)


def _spans(raw: bytes, fields: Mapping[str, msgspec.Raw]) -> dict[str, tuple[int, int]]:
    spans: dict[str, tuple[int, int]] = {}
    at = raw.index(b"{") + 1
    for name, value in fields.items():
        key = _KEY.match(raw, at)
        text = bytes(value)  # comparing views goes item by item and takes far longer than the copy
        if not key or msgspec.json.decode(key[1]) != name or not raw.startswith(text, key.end()):
            raise ValueError("the body holds a member twice")
        spans[name] = (key.end(), key.end() + len(text))
        at = spans[name][1]
    if raw[at:].strip() != b"}":
        raise ValueError("the body holds a member twice")
    return spans


def _spans_of(raw: bytes, fields: Mapping[str, msgspec.Raw], changing: Container[str]) -> dict[str, tuple[int, int]]:
    with contextlib.suppress(ValueError):
        if fields:
            return _spans(raw, fields)
    spans: dict[str, tuple[int, int]] = {}
    for part in json_splice.members(raw, raw.index(b"{")):  # slower, but for lenient JSON too
        if part.name in spans and part.name in changing:
            raise ValueError("the body holds a member twice")
        spans[part.name] = part.value, part.end
    return spans


def _whole_and_inside(changes: Mapping[str, object]) -> tuple[dict[str, object], dict[str, dict[str, object]]]:
    whole = {name: value for name, value in changes.items() if "." not in name}
    inside: dict[str, dict[str, object]] = {}
    for name, value in changes.items():
        outer, dot, inner = name.partition(".")
        if not dot:
            continue
        if outer in whole:
            before = whole[outer]
            whole[outer] = {**(before if isinstance(before, dict) else {}), inner: value}
        else:
            inside.setdefault(outer, {})[inner] = value
    return whole, inside


def _spliced(raw: bytes, values: Mapping[str, object]) -> bytes:
    member = Body(raw)
    if not member.is_object:
        return encoded(values)
    spans = _spans_of(raw, member._read(), values)
    return _replaced(raw, {name: encoded(value) for name, value in values.items()}, spans)


def _replaced(raw: bytes, texts: Mapping[str, bytes], spans: Mapping[str, tuple[int, int]]) -> bytes:
    out, at = bytearray(), 0
    for (start, end), text in sorted((spans[name], text) for name, text in texts.items() if name in spans):
        out += raw[at:start] + text
        at = end
    tail = raw[at:]
    if added := b",".join(encoded(name) + b":" + text for name, text in texts.items() if name not in spans):
        last = len(tail[: tail.rindex(b"}")].rstrip())
        tail = tail[:last] + (b"," if spans else b"") + added + tail[last:]
    return bytes(out + tail)


def encoded(value: object) -> bytes:
    """Return *value* as JSON, with lone surrogates as escapes."""
    try:
        return msgspec.json.encode(value)
    except UnicodeEncodeError:  # half a surrogate
        return json.dumps(value).encode()


def members(raw: bytes) -> dict[str, bytes]:
    """Return the JSON text of each member of the object *raw*. Raises ValueError if one stands twice."""
    try:
        fields = _FIELDS.decode(raw)
    except _MAX_DEPTH_ERRORS:
        return _lenient_members(raw)
    if not fields:
        return {}
    _spans(raw, fields)
    return {name: bytes(value) for name, value in fields.items()}


def items(raw: bytes) -> list[bytes]:
    """Return the JSON text of each item of the array *raw*. Raises ValueError for anything else."""
    try:
        return [bytes(item) for item in _ITEMS.decode(raw)]
    except _MAX_DEPTH_ERRORS:
        found = decoded(raw)
        if not isinstance(found, list):
            raise ValueError("a value that must be a list is none") from None
        return [json.dumps(item).encode() for item in found]


def text_of(raw: bytes) -> str:
    """Return the string whose JSON text is *raw*; empty for anything else."""
    found = decoded(raw)
    return found if isinstance(found, str) else ""


def _lenient_members(raw: bytes) -> dict[str, bytes]:
    try:
        found = _lenient(raw, object_pairs_hook=_unique)
    except RecursionError as e:
        raise ValueError("the JSON is nested too deeply") from e
    except (json.JSONDecodeError, UnicodeError) as e:
        raise ValueError("the body is no JSON object") from e
    if not isinstance(found, dict):
        raise ValueError("the body is no JSON object")
    return {name: json.dumps(value).encode() for name, value in found.items()}


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("the body holds a member twice")
    return found
