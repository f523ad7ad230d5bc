"""
HTTP/1 heads in one pass, and header look-ups that do not fold every name.

What is usual is read here; anything else takes mitmproxy's own way, so that its results and its errors are the same:
a target that is not a path, a transfer coding, two lengths, an odd name, a value of another type than it should have.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any

from mitmproxy import http
from mitmproxy.coretypes import multidict, serializable
from mitmproxy.net import check
from mitmproxy.net.http import http1, url, validate
from mitmproxy.net.http.http1 import read
from mitmproxy.proxy.layers import http as layers
from mitmproxy.utils import strutils, typecheck

from .host_step import HostStep

_VERSIONS = frozenset((b"HTTP/1.1", b"HTTP/1.0"))
_NAMES = 1 << 10  # names of fields that are remembered as plain
_LONGEST = 128  # bytes of such a name, or of an authority that is remembered
_new = object.__new__
_plain_names: set[bytes] = set()  # as they were sent
_THEIRS: dict[str, Callable[..., Any]] = {
    "request line": read._read_request_line,
    "response line": read._read_response_line,
    "validate": validate.validate_headers,
    "size": read.expected_http_body_size,
    "authority": url.parse_authority,
    "types": getattr(http.MessageData, "__post_init__", lambda self: None),  # not there under python -O
    "get": http.Headers.get,
    "get_all": http.Headers.get_all,
    "contains": http.Headers.__contains__,  # it, and `get`, ask `__getitem__`
    "getitem": http.Headers.__getitem__,
}


# -- look-ups ----------------------------------------------------------------------------------------------------------


def _get_all(self: http.Headers, name: str | bytes) -> list[str]:
    if type(self) is http.Headers:
        try:
            key = bytes.lower(name.encode("utf-8", "surrogateescape") if isinstance(name, str) else name)
            size = len(key)
            return [
                value.decode("utf-8", "surrogateescape")
                for sent, value in self.fields
                if len(sent) == size and sent.lower() == key
            ]
        except (AttributeError, TypeError):
            pass  # fields of other types, or such a name: mitmproxy says what is wrong
    return _THEIRS["get_all"](self, name)  # type: ignore[no-any-return]


def _get(self: http.Headers, key: str | bytes, default: Any = None) -> Any:
    if type(self) is not http.Headers:
        return _THEIRS["get"](self, key, default)
    found = _get_all(self, key)
    return ", ".join(found) if found else default


def _contains(self: http.Headers, key: str | bytes) -> bool:
    if type(self) is not http.Headers:
        return _THEIRS["contains"](self, key)  # type: ignore[no-any-return]
    return bool(_get_all(self, key))


def _getitem(self: http.Headers, key: str | bytes) -> str:
    found = _get_all(self, key) if type(self) is http.Headers else None
    if not found:
        return _THEIRS["getitem"](self, key)  # type: ignore[no-any-return]
    return ", ".join(found)


# -- reading -----------------------------------------------------------------------------------------------------------


def _read_headers(lines: Iterable[bytes]) -> http.Headers:
    fields: list[tuple[bytes, bytes]] = []
    for line in lines:
        if line[0] in b" \t":
            if not fields:
                raise ValueError("Invalid headers")
            fields[-1] = (fields[-1][0], fields[-1][1] + b"\r\n " + line.strip())
            continue
        name, colon, value = line.partition(b":")
        if not (name and colon):
            raise ValueError(f"Invalid header line: {line!r}")
        fields.append((name, value.strip()))
    made: http.Headers = _new(http.Headers)
    made.fields = tuple(fields)
    return made


def _read_request_head(lines: list[bytes]) -> http.Request:
    words = lines[0].split()
    if len(words) == 3 and words[1][:1] == b"/" and words[2] in _VERSIONS:
        host, port, scheme, authority = "", 0, b"", b""
        method, path, version = words
    else:
        host, port, method, scheme, authority, path, version = _THEIRS["request line"](lines[0])
    data: http.RequestData = _new(http.RequestData)
    data.__dict__.update(
        http_version=version, headers=_read_headers(lines[1:]), content=None, trailers=None,
        timestamp_start=time.time(), timestamp_end=None,
        host=host, port=port, method=method, scheme=scheme, authority=authority, path=path,
    )  # fmt: skip
    made: http.Request = _new(http.Request)
    made.data = data
    return made


def _read_response_head(lines: list[bytes]) -> http.Response:
    version, status, reason = _THEIRS["response line"](lines[0])
    data: http.ResponseData = _new(http.ResponseData)
    data.__dict__.update(
        http_version=version, headers=_read_headers(lines[1:]), content=None, trailers=None,
        timestamp_start=time.time(), timestamp_end=None, status_code=status, reason=reason,
    )  # fmt: skip
    made: http.Response = _new(http.Response)
    made.data = data
    return made


# -- what a head says --------------------------------------------------------------------------------------------------


def _validate_headers(message: http.Message) -> None:
    lengths = _lengths(message.headers.fields)
    if lengths is None:
        _THEIRS["validate"](message)
    elif lengths:
        validate.parse_content_length(lengths[0])


def _expected_http_body_size(request: http.Request, response: http.Response | None = None) -> int | None:
    if response:
        status, method = response.data.status_code, request.data.method.upper()
        if method in (b"HEAD", b"CONNECT") or 100 <= status <= 199 or status in (204, 304):
            return _THEIRS["size"](request, response)  # type: ignore[no-any-return]
    lengths = _lengths((response or request).headers.fields)
    if lengths is None:
        return _THEIRS["size"](request, response)  # type: ignore[no-any-return]
    if lengths and lengths[0]:
        return validate.parse_content_length(lengths[0].decode("utf-8", "surrogateescape"))
    return -1 if response else 0


def _lengths(fields: Iterable[tuple[bytes, bytes]]) -> list[bytes] | None:
    """Return the only Content-Length, or none; None where there are more, a transfer coding, or what is no name."""
    found = []
    try:
        for name, value in fields:
            if name in _plain_names:
                continue
            if name.lower() == b"content-length":
                found.append(value)
            elif not _is_plain(name):
                return None
    except (AttributeError, TypeError):
        return None  # fields of other types
    return found if len(found) < 2 else None


def _is_plain(name: bytes) -> bool:
    """Whether *name* is valid and says nothing of the body's length."""
    plain = validate._valid_header_name.match(name) and name.lower() != b"transfer-encoding"
    if plain and len(name) <= _LONGEST:
        if len(_plain_names) >= _NAMES:
            _plain_names.clear()
        _plain_names.add(name)
    return bool(plain)


def _parse_authority(authority: Any, check: bool) -> tuple[str, int | None]:
    if type(authority) in (str, bytes) and len(authority) <= _LONGEST:
        return _known_authority(authority, check)
    return _THEIRS["authority"](authority, check)  # type: ignore[no-any-return]


@lru_cache(256)
def _known_authority(authority: Any, check: bool) -> tuple[str, int | None]:
    return _THEIRS["authority"](authority, check)  # type: ignore[no-any-return]


_BYTES, _TEXT, _NUMBER, _TIME = (bytes,), (str,), (int,), (float,)
_TYPES: dict[type, tuple[tuple[str, tuple[type, ...]], ...]] = {
    http.RequestData: (
        ("http_version", _BYTES), ("headers", (http.Headers,)), ("content", (bytes, type(None))),
        ("trailers", (http.Headers, type(None))), ("timestamp_start", _TIME), ("timestamp_end", (float, type(None))),
        ("host", _TEXT), ("port", _NUMBER), ("method", _BYTES), ("scheme", _BYTES), ("authority", _BYTES),
        ("path", _BYTES),
    ),
    http.ResponseData: (
        ("http_version", _BYTES), ("headers", (http.Headers,)), ("content", (bytes, type(None))),
        ("trailers", (http.Headers, type(None))), ("timestamp_start", _TIME), ("timestamp_end", (float, type(None))),
        ("status_code", _NUMBER), ("reason", _BYTES),
    ),
}  # fmt: skip


def _check_types(self: http.MessageData) -> None:
    held = self.__dict__
    for name, types in _TYPES.get(type(self), ()):
        if type(held[name]) not in types:
            break
    else:
        if type(self) in _TYPES:
            return
    _THEIRS["types"](self)


HEADS = HostStep(
    replaced=(
        (http.Headers, "get_all", _get_all),
        (http.Headers, "get", _get),
        (http.Headers, "__contains__", _contains),
        (http.Headers, "__getitem__", _getitem),
        (http.MessageData, "__post_init__", _check_types),
        (read, "_read_headers", _read_headers),
        (read, "read_request_head", _read_request_head),
        (read, "read_response_head", _read_response_head),
        (read, "expected_http_body_size", _expected_http_body_size),
        (http1, "read_request_head", _read_request_head),
        (http1, "read_response_head", _read_response_head),
        (http1, "expected_http_body_size", _expected_http_body_size),
        (layers, "expected_http_body_size", _expected_http_body_size),
        (validate, "validate_headers", _validate_headers),
        (layers, "validate_headers", _validate_headers),
        (url, "parse_authority", _parse_authority),
    ),
    known=(http, multidict, serializable, read, validate, url, check, strutils, typecheck),
    written_for=(
        "609bbcb28cde707f",  # 12.2.0
        "d44d5eaeb94e26ba",
        "aefef4132bcc994c",
        "e4163a7de7aa13c4",  # 12.2.3
        "728a5f39ea332d76",
        "b60feff4372c8e15",  # 12.3.1
    ),
)
