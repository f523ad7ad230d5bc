"""Flows that were stored, as what a verdict needs of them. Reading them changes nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mitmproxy import exceptions, http, io, websocket

from .. import dialects
from ..body import Body
from ..correlation import NAMESPACE_HEADER, Mint
from ..crosstalk.again import Stored
from ..router import FOREIGN
from ..values import Head, Headers
from . import packed

LIMIT = 200_000  # flows that are judged together
ON_SOCKET = 200  # exchanges of one WebSocket that can be judged again
_EXCHANGES, _FORGOTTEN = "patchbay.on_socket", "patchbay.forgotten"


class Unreadable(ValueError):
    """The file is no dump, or broken in the middle."""


def read(path: Path, mint: Mint) -> Iterator[Stored]:
    """Yield the exchanges of the dump at *path*. Raises OSError, and Unreadable for what is no dump."""
    with path.open("rb") as file:
        try:
            for number, flow in enumerate(io.FlowReader(file).stream()):
                if number >= LIMIT:
                    return
                if isinstance(flow, http.HTTPFlow):
                    yield from stored(flow, mint)
        except exceptions.FlowReadException as e:
            raise Unreadable(str(e)) from e


def stored(flow: http.HTTPFlow, mint: Mint) -> Iterator[Stored]:
    """Yield what *flow* holds: nothing when it is none of ours, one exchange, or all those of a WebSocket."""
    attempts = flow.metadata.get("patchbay.sent") or (() if flow.websocket else _on_the_wire(flow, mint))
    if attempts:
        yield _exchange(flow, attempts)
    if flow.websocket is not None:
        yield from _on_socket(flow, flow.websocket)


def note(flow: http.HTTPFlow, exchange: Mapping[str, Any]) -> None:
    """
    Put on the WebSocket *flow* what it takes to judge one of its exchanges again.

    *exchange* has its attempts' records as `sent`, its `verdict` and `victim`, and which messages of the socket,
    counted from its first, were its `request`, the `first` of its answer and the `last`; -1 where there was none.
    """
    flow.metadata[_EXCHANGES] = [*flow.metadata.get(_EXCHANGES, ())[1 - ON_SOCKET :], dict(exchange)]


def forgot(flow: http.HTTPFlow, messages: int) -> None:
    """Take note that so many *messages* more, the oldest ones, are no longer kept with *flow*."""
    flow.metadata[_FORGOTTEN] = forgotten(flow) + messages


def forgotten(flow: http.HTTPFlow) -> int:
    """Return how many messages of the WebSocket *flow* are no longer kept with it."""
    return int(flow.metadata.get(_FORGOTTEN, 0))


def _exchange(flow: http.HTTPFlow, attempts: Sequence[Mapping[str, Any]]) -> Stored:
    response = flow.response
    return Stored(
        attempts=tuple(attempts),
        request=Body(packed.content(flow.request, packed.KEPT)),
        head=Head(response.status_code, Headers(_fields(response.headers))) if response else None,
        answer=(response.raw_content or b"") if response else b"",
        said=str(flow.metadata.get("patchbay.verdict", "")),
        victim=str(flow.metadata.get("patchbay.victim", "")),
        # of what was cut, the proof itself is not stored, but our last words are
        ours=bool(flow.metadata.get("patchbay.own_answer"))
        or (flow.error is not None and flow.error.msg == FOREIGN.code),
        cut="bytes of the answer are kept" in flow.comment,
    )


def _on_socket(flow: http.HTTPFlow, socket: websocket.WebSocketData) -> Iterator[Stored]:
    gone = forgotten(flow)
    for each in flow.metadata.get(_EXCHANGES, ()):
        at, kept = each["request"] - gone, socket.messages
        answer = kept[max(0, each["first"] - gone) : max(0, each["last"] + 1 - gone)] if each["first"] >= 0 else []
        yield Stored(
            attempts=tuple(each["sent"]),
            request=Body(kept[at].content if 0 <= at < len(kept) else None),
            head=Head(200, Headers()) if answer else None,  # as the messages of a socket are taken, which have none
            messages=tuple(message.content for message in answer if not (message.from_client or message.injected)),
            said=each["verdict"],
            victim=each["victim"],
            ours=at < 0,  # what was forgotten cannot be judged again
            cut=at < 0,
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
