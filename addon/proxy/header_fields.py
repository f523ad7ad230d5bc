"""Header fields for many reads and changes: mitmproxy's multi-map folds the case of all of them for each."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

from mitmproxy import http

from ..values import header_names
from ..values.http import Headers

Raw = tuple[tuple[bytes, bytes], ...]

_HOPS = header_names.encoded(header_names.HOPS)
# `Proxy-*` is for one hop too, except the field that reports to the reader of an answer what a proxy did.
_PROXY, _PROXY_STATUS = b"proxy-", b"proxy-status"
_SHORT = 256  # bytes of a value that is worth remembering
# What `Connection` cannot take off.
_NEEDED = header_names.encoded({*header_names.MESSAGE, "authorization", "upgrade"})


class HeaderFields:
    """The fields of one message in their order. Every *name* is bytes in lower case, but in `put`."""

    __slots__ = ("_fields", "_names")

    def __init__(self, fields: Raw) -> None:
        self._fields = list(fields)
        self._names = [name.lower() for name, _ in fields]

    def __contains__(self, name: bytes) -> bool:
        return name in self._names

    def first(self, name: bytes) -> bytes:
        """Return the first value of *name*, or nothing."""
        return self._fields[self._names.index(name)][1] if name in self._names else b""

    def text(self, name: str) -> str:
        """Return the first value of *name* (lower case) as text that keeps every byte, or nothing."""
        return self.first(name.encode()).decode("utf-8", "surrogateescape")

    def put(self, name: bytes, value: bytes) -> None:
        """Set *name*, in any case, to *value* alone: in its place and spelling if it stands there, else at the end."""
        lower = name.lower()
        if lower not in self._names:
            self._fields.append((name, value))
            self._names.append(lower)
        else:
            at = self._names.index(lower)
            self._fields[at] = (self._fields[at][0], value)
            if self._names.count(lower) > 1:
                kept = [i for i, found in enumerate(self._names) if found != lower or i == at]
                self._fields, self._names = [self._fields[i] for i in kept], [self._names[i] for i in kept]

    def put_item(self, name: bytes, item: bytes) -> None:
        """Let *item* stand in the list that *name* is, once: behind what stands there."""
        lower = name.lower()
        said = [value for held, (_, value) in zip(self._names, self._fields, strict=True) if held == lower]
        items = [each.strip() for value in said for each in value.split(b",")]
        if item not in items:
            self.put(name, b",".join([*filter(None, items), item]))

    def drop(self, unwanted: Callable[[bytes], bool]) -> None:
        """Take off every field whose name is *unwanted*."""
        if any(map(unwanted, self._names)):
            kept = [i for i, name in enumerate(self._names) if not unwanted(name)]
            self._fields, self._names = [self._fields[i] for i in kept], [self._names[i] for i in kept]

    def add(self, name: bytes, value: bytes) -> None:
        """Add one field more at the end."""
        self._fields.append((name, value))
        self._names.append(name.lower())

    def listed(self) -> frozenset[bytes]:
        """Return the names that `Connection` lists, without those that a message needs on every hop."""
        if b"connection" not in self._names:
            return frozenset()
        said = [value for name, (_, value) in zip(self._names, self._fields, strict=True) if name == b"connection"]
        return _words(b",".join(said)) - _NEEDED

    def drop_hops(self, connection: bytes = b"") -> None:
        """
        Take off the fields of one connection, and those that `Connection` lists.

        Where `Connection` stood, its new value is *connection*: nothing, `keep-alive` or `Upgrade`.
        """
        hops = _HOPS | self.listed()
        hops |= {name for name in self._names if name[:6] == _PROXY and name != _PROXY_STATUS}
        if connection and b"connection" in self._names:
            hops -= {b"connection", b"upgrade"} if connection == b"Upgrade" else {b"connection"}
            if self.first(b"connection").lower() != connection.lower() or self._names.count(b"connection") > 1:
                self.put(b"connection", connection)
        self.drop(hops.__contains__)

    def names(self) -> list[bytes]:
        """Return the name of each field, in lower case."""
        return self._names

    def values(self) -> bytes:
        """Return all values, a line each."""
        return b"\n".join([value for _, value in self._fields])

    def each_field(self, change: Callable[[bytes, bytes], bytes]) -> None:
        """Replace every value by *change* of its name, in lower case, and itself."""
        self._fields = [
            (field, change(name, value)) for name, (field, value) in zip(self._names, self._fields, strict=True)
        ]

    def raw(self) -> Raw:
        """Return the fields as a message holds them."""
        return tuple(self._fields)

    def on(self, headers: http.Headers) -> None:
        """Put the fields on *headers*."""
        headers.fields = tuple(self._fields)


def _words(said: bytes) -> frozenset[bytes]:
    return _remembered_words(said) if len(said) <= _SHORT else _words_of(said)


def _words_of(said: bytes) -> frozenset[bytes]:
    return frozenset(word.strip().lower() for word in said.split(b","))


_remembered_words = lru_cache(64)(_words_of)


def read(headers: http.Headers) -> Headers:
    """Return *headers* as text that keeps every byte, for the code that knows no mitmproxy."""
    return as_text(headers.fields)


def as_text(fields: Raw) -> Headers:
    """Return *fields* as text that keeps every byte."""
    return Headers(
        [(name.decode("utf-8", "surrogateescape"), value.decode("utf-8", "surrogateescape")) for name, value in fields]
    )
