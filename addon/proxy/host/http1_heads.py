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
from mitmproxy.coretypes import multidict
from mitmproxy.net import check
from mitmproxy.net.http import http1, url, validate
from mitmproxy.net.http.http1 import read
from mitmproxy.proxy.layers import http as layers
from mitmproxy.utils import strutils, typecheck

from .host_step import HostStep

_VERSIONS = frozenset((b"HTTP/1.1", b"HTTP/1.0"))
_NAMES = 1 << 10  # names of fields that are remembered as valid
_LONGEST = 128  # bytes of such a name, or of an authority that is remembered
_new = object.__new__
_valid_names: dict[bytes, bytes] = {}  # as it was sent → in lower case
_THEIRS: dict[str, Callable[..., Any]] = {
    "request line": read._read_request_line,
    "response line": read._read_response_line,
    "validate": validate.validate_headers,
    "size": read.expected_http_body_size,
    "authority": url.parse_authority,
    "types": http.MessageData.__post_init__,
    "get": http.Headers.get,
    "get_all": http.Headers.get_all,
    "contains": http.Headers.__contains__,  # it, and `get`, ask `__getitem__`
    "getitem": http.Headers.__getitem__,
}


# -- look-ups ----------------------------------------------------------------------------------------------------------


def _key(name: str | bytes) -> bytes:
    return strutils.always_bytes(name, "utf-8", "surrogateescape").lower()


def _get_all(self: http.Headers, name: str | bytes) -> list[str]:
    key = _key(name)
    size = len(key)
    return [
        value.decode("utf-8", "surrogateescape")
        for sent, value in self.fields
        if len(sent) == size and (sent == key or sent.lower() == key)
    ]


def _get(self: http.Headers, name: str | bytes, default: Any = None) -> Any:
    found = _get_all(self, name)
    if len(found) == 1:
        return found[0]
    return ", ".join(found) if found else default


def _contains(self: http.Headers, name: str | bytes) -> bool:
    key = _key(name)
    size = len(key)
    return any(len(sent) == size and sent.lower() == key for sent, _ in self.fields)


def _getitem(self: http.Headers, name: str | bytes) -> str:
    found = _get_all(self, name)
    if not found:
        raise KeyError(name)
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
    length = None
    for name, value in message.headers.fields:
        lower = _valid_names.get(name) or _lower(name)
        if lower is None or lower == b"transfer-encoding" or (lower == b"content-length" and length is not None):
            _THEIRS["validate"](message)
            return
        if lower == b"content-length":
            length = value
    if length is not None:
        validate.parse_content_length(length)


def _lower(name: bytes) -> bytes | None:
    """Return *name* in lower case, None where it is no name of a field."""
    if not validate._valid_header_name.match(name):
        return None
    lower = name.lower()
    if len(name) <= _LONGEST:
        if len(_valid_names) >= _NAMES:
            _valid_names.clear()
        _valid_names[name] = lower
    return lower


def _expected_http_body_size(request: http.Request, response: http.Response | None = None) -> int | None:
    if response:
        status, method = response.data.status_code, request.data.method.upper()
        if status < 200 or status in (204, 304) or method in (b"HEAD", b"CONNECT"):
            found: int | None = _THEIRS["size"](request, response)
            return found
    length = None
    for name, value in (response or request).data.headers.fields:
        size = len(name)
        if size == 14 and name.lower() == b"content-length":
            if length is not None:
                return _THEIRS["size"](request, response)  # type: ignore[no-any-return]
            length = value
        elif size == 17 and name.lower() == b"transfer-encoding":
            return _THEIRS["size"](request, response)  # type: ignore[no-any-return]
    if length:
        return validate.parse_content_length(length.decode("utf-8", "surrogateescape"))
    return -1 if response else 0


def _parse_authority(authority: Any, check: bool) -> tuple[str, int | None]:
    if len(authority) > _LONGEST:
        return _THEIRS["authority"](authority, check)  # type: ignore[no-any-return]
    return _known_authority(authority, check)


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
    known=(
        read._read_request_line,
        read._read_response_line,
        http.Headers,
        multidict._MultiDict,
        http.RequestData,
        http.ResponseData,
        http.Request.__init__,
        http.Response.__init__,
        validate.parse_content_length,
        typecheck.check_option_type,
        check,
    ),
    written_for="6a70de0125987990",
)
