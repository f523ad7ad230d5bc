"""Flows that were stored, as what a verdict needs of them. Reading them changes nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mitmproxy import exceptions, http, io

from .. import dialects
from ..body import Body
from ..correlation import NAMESPACE_HEADER, Mint
from ..crosstalk.again import Stored
from ..router import FOREIGN
from ..values import Head, Headers

LIMIT = 200_000  # flows that are judged together


class Unreadable(ValueError):
    """The file is no dump, or broken in the middle."""


def read(path: Path, mint: Mint) -> Iterator[Stored]:
    """Yield the exchanges of the dump at *path*. Raises OSError, and Unreadable for what is no dump."""
    with path.open("rb") as file:
        try:
            for number, flow in enumerate(io.FlowReader(file).stream()):
                if number >= LIMIT:
                    return
                if isinstance(flow, http.HTTPFlow) and (found := stored(flow, mint)):
                    yield found
        except exceptions.FlowReadException as e:
            raise Unreadable(str(e)) from e


def stored(flow: http.HTTPFlow, mint: Mint) -> Stored | None:
    """Return what *flow* holds; None when it is none of ours, or a WebSocket: that is many exchanges."""
    attempts = flow.metadata.get("patchbay.sent") or _on_the_wire(flow, mint)
    if not attempts or flow.websocket is not None:
        return None
    response = flow.response
    return Stored(
        attempts=tuple(attempts),
        request=Body(flow.request.get_content(strict=False)),
        head=Head(response.status_code, Headers(_fields(response.headers))) if response else None,
        answer=(response.raw_content or b"") if response else b"",
        said=str(flow.metadata.get("patchbay.verdict", "")),
        victim=str(flow.metadata.get("patchbay.victim", "")),
        # of what was cut, the proof itself is not stored, but our last words are
        ours=bool(flow.metadata.get("patchbay.own_answer"))
        or (flow.error is not None and flow.error.msg == FOREIGN.code),
        cut="bytes of the answer are kept" in flow.comment,
    )


def _on_the_wire(flow: http.HTTPFlow, mint: Mint) -> list[dict[str, Any]]:
    """Return a record of a flow that was stored between Patchbay and a provider: our id stands in its request."""
    headers = {name.lower(): value for name, value in flow.request.headers.items(multi=True)}
    request_id = next((known for name in _PLACES if (known := mint.recognise(headers.get(name, "")))), "")
    if not request_id:
        return []
    began, ended = flow.request.timestamp_start, flow.response.timestamp_end if flow.response else None
    places = {"header x-request-id": headers.get("x-request-id", ""), "body request_id": request_id}
    return [
        {
            "request_id": request_id, "exchange": request_id, "account": "", "affinity": "", "thread": "",
            "digest": "", "expected": {place: value for place, value in places.items() if value}, "own": [],
            "earlier": [], "client_id": "", "promised": False, "headers": {"x-request-id": "handler"},
            "body": {"request_id": "body"}, "generation": True, "host": flow.request.host, "silent": [], "model": "",
            "stream": False, "dialect": _dialect(flow), "suffix": "", "at": [0, began],
            "whole": False, "seen": [[number, ended or began] for number in range(256)],
        }
    ]  # fmt: skip


_PLACES = (NAMESPACE_HEADER.lower(), "x-request-id")


def _dialect(flow: http.HTTPFlow) -> str:
    return dialects.endpoint(flow.request.method, flow.request.path.partition("?")[0]).dialect


def _fields(headers: http.Headers) -> list[tuple[str, str]]:
    return [(n.decode("utf-8", "surrogateescape"), v.decode("utf-8", "surrogateescape")) for n, v in headers.fields]
