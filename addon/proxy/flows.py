"""Flows that were stored, as requests and answers that can go through a router once more."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mitmproxy import exceptions, http, io

from ..values import Head, Headers
from . import fields, packed


@dataclass(frozen=True, slots=True)
class Stored:
    """One flow: where it went (*url*), what was sent, what came back, and the account that was taken, if it says so."""

    method: str
    url: str
    headers: Headers
    body: bytes
    head: Head | None = None
    answer: bytes = b""
    account: str = ""


def read(path: Path) -> Iterator[Stored]:
    """Yield the HTTP flows of the dump at *path*. Raises OSError, and ValueError for what is no dump."""
    with path.open("rb") as file:
        try:
            for flow in io.FlowReader(file).stream():
                if isinstance(flow, http.HTTPFlow):
                    yield _stored(flow)
        except exceptions.FlowReadException as e:
            raise ValueError(str(e)) from e


def _stored(flow: http.HTTPFlow) -> Stored:
    request, response = flow.request, flow.response
    return Stored(
        method=request.method,
        url=f"{request.scheme}://{request.host}:{request.port}{request.path}",
        headers=fields.read(request.headers),
        body=packed.content(request, packed.KEPT),
        head=Head(response.status_code, fields.read(response.headers)) if response else None,
        answer=(response.raw_content or b"") if response else b"",
        account=response.headers.get("x-patchbay-account", "") if response else "",
    )
