"""
Header fields in one's own hand: looked at and changed many times, and put back on a message once.

mitmproxy's multi-map goes through all fields, and folds each one's case anew, for every look at one of them.
"""

from __future__ import annotations

from collections.abc import Callable

from mitmproxy import http

from ..values import Headers

Raw = tuple[tuple[bytes, bytes], ...]


class Fields:
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

    def put(self, name: bytes, value: bytes) -> None:
        """Set *name*, in any case, to *value* alone: in its place and spelling if it stands there, else at the end."""
        lower = name.lower()
        if lower not in self._names:
            self._fields.append((name, value))
            self._names.append(lower)
            return
        at = self._names.index(lower)
        self._fields[at] = (self._fields[at][0], value)
        if self._names.count(lower) > 1:
            kept = [i for i, found in enumerate(self._names) if found != lower or i == at]
            self._fields, self._names = [self._fields[i] for i in kept], [self._names[i] for i in kept]

    def drop(self, unwanted: Callable[[bytes], bool]) -> None:
        """Take off every field whose name is *unwanted*."""
        if any(map(unwanted, self._names)):
            kept = [i for i, name in enumerate(self._names) if not unwanted(name)]
            self._fields, self._names = [self._fields[i] for i in kept], [self._names[i] for i in kept]

    def values(self) -> bytes:
        """Return all values, a line each."""
        return b"\n".join([value for _, value in self._fields])

    def each(self, change: Callable[[bytes], bytes]) -> None:
        """Put every value through *change*."""
        self._fields = [(name, change(value)) for name, value in self._fields]

    def raw(self) -> Raw:
        """Return what stands on a message."""
        return tuple(self._fields)

    def on(self, headers: http.Headers) -> None:
        """Put the fields on *headers*."""
        headers.fields = self.raw()


def read(headers: http.Headers) -> Headers:
    """Return *headers* as the rooms outside know them: as text, in which no byte is lost."""
    return Headers(
        [(name.decode("utf-8", "surrogateescape"), value.decode("utf-8", "surrogateescape"))
         for name, value in headers.fields]
    )  # fmt: skip
