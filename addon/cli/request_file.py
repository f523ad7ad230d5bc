"""A request in a text file: raw HTTP, or a JSON object with method, path, headers and body."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from ..frozen import dataclass
from ..values.http import DEFAULT_PORTS, Headers, Origin


@dataclass(frozen=True, slots=True)
class RequestFile:
    """A request; *destination* is None where the text names none."""

    method: str
    path: str
    headers: Headers
    body: bytes
    destination: Origin | None = None


def read(text: bytes) -> RequestFile:
    """Read one request. Raises ValueError."""
    if text.lstrip().startswith(b"{"):
        return _of_json(text)
    return _of_http(text)


def split(target: str) -> tuple[str, Origin | None]:
    """Return the path with its query, and the origin if *target* is an absolute URL."""
    if not target.lower().startswith(("http://", "https://")):
        return target, None
    parts = urlsplit(target)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return path, Origin(
        parts.scheme.lower(), (parts.hostname or "").lower(), parts.port or DEFAULT_PORTS[parts.scheme.lower()]
    )


def _of_json(text: bytes) -> RequestFile:
    try:
        given = json.loads(text)
    except (ValueError, RecursionError) as e:
        raise ValueError(f"not JSON: {e}") from e
    if not isinstance(given.get("path"), str):
        raise ValueError("no member `path`: a request is {method, path, headers, body}")
    path, destination = split(given["path"])
    body = given.get("body_raw", given.get("body"))
    raw = b"" if body is None else body.encode() if isinstance(body, str) else json.dumps(body).encode()
    headers = Headers(_fields(given.get("headers") or {}))
    return RequestFile(str(given.get("method") or "POST").upper(), path, headers, raw, destination)


def _fields(headers: Any) -> Iterator[tuple[str, str]]:
    if not isinstance(headers, dict):
        raise ValueError("`headers` is not an object of names and values")
    for name, value in headers.items():
        for each in value if isinstance(value, list) else [value]:
            yield str(name), str(each)


def _of_http(text: bytes) -> RequestFile:
    head, _, body = text.lstrip().replace(b"\r\n", b"\n").partition(b"\n\n")
    lines = head.decode("utf-8", "surrogateescape").split("\n")
    words = lines[0].split()
    if len(words) < 2 or not (words[1].startswith("/") or "://" in words[1]):
        raise ValueError("neither JSON nor HTTP: the first line is not `METHOD path`; a flow file needs --flow N")
    headers = Headers((name.strip(), value.strip()) for name, _, value in (line.partition(":") for line in lines[1:]))
    path, destination = split(words[1])
    return RequestFile(words[0].upper(), path, headers, body.rstrip(b"\n") if "content-length" not in headers else body,
                 destination)  # fmt: skip
