"""Flows that were stored, as what a verdict needs of them. Reading them changes nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mitmproxy import exceptions, http, io

from .. import dialects
from ..body import Body
from ..correlation import NAMESPACE_HEADER, Mint
from ..crosstalk.detectors import KINDS
from ..crosstalk.reverify import StoredExchange, version
from ..crosstalk.watch import VERSION
from ..router import FOREIGN
from ..values.answer import Head
from ..values.http import Headers
from . import message_content

LIMIT = 200_000  # flows that are judged together
ON_SOCKET = 200  # exchanges of one WebSocket that can be judged again
_EXCHANGES, _FORGOTTEN = "patchbay.on_socket", "patchbay.forgotten"
_OWN_ANSWER, _KEPT = "patchbay.own_answer", "patchbay.kept_bytes"

# what mitmproxy's reader raises: the others where a length in the file is absurd
NO_DUMP = (exceptions.FlowReadException, MemoryError, OverflowError, RecursionError)


class Unreadable(ValueError):
    """The file is no dump, or broken in the middle."""


def read(path: Path, mint: Mint) -> Iterator[StoredExchange]:
    """Yield the exchanges of the dump at *path*. Raises OSError, and Unreadable for what is no dump."""
    with path.open("rb") as file:
        try:
            for number, flow in enumerate(io.FlowReader(file).stream()):
                if number >= LIMIT:
                    return
                if isinstance(flow, http.HTTPFlow):
                    yield from stored(flow, mint)
        except NO_DUMP as e:
            raise Unreadable(f"no dump, or broken there: {e}") from e


def stored(flow: http.HTTPFlow, mint: Mint) -> Iterator[StoredExchange]:
    """Yield what *flow* holds: nothing when it is none of ours, one exchange, or all those of a WebSocket."""
    attempts = records(flow.metadata.get("patchbay.sent")) or ([] if flow.websocket else _on_the_wire(flow, mint))
    if attempts:
        yield _exchange(flow, attempts)
    yield from on_socket(flow)


def records(found: object) -> list[dict[str, Any]]:
    """Return the objects of a list in a flow's metadata; what else stands there is nothing that we wrote."""
    return [each for each in found if isinstance(each, dict)] if isinstance(found, list | tuple) else []


def closed(
    flow: http.HTTPFlow, sent: Sequence[Mapping[str, Any]], *, own_answer: bool = False, kept_bytes: int | None = None
) -> None:
    """
    Put on *flow* what it takes to judge its exchange again: the records of its attempts as *sent*.

    *own_answer*: the client got an answer of Patchbay's. *kept_bytes*: how much of a longer answer the flow holds.
    """
    told = {_OWN_ANSWER: own_answer or None, _KEPT: kept_bytes, "patchbay.sent": list(sent)}
    for name, value in told.items():
        flow.metadata.pop(name, None)  # a replay leaves nothing of the exchange before it
        if value is not None:
            flow.metadata[name] = value


def note(flow: http.HTTPFlow, exchange: Mapping[str, Any]) -> None:
    """
    Put on the WebSocket *flow* what it takes to judge one of its exchanges again.

    *exchange* has its attempts' records as `sent`, its `verdict` and `victim`, and which messages of the socket,
    counted from its first, were its `request`, the `first` of its answer and the `last`; -1 where there was none.
    """
    flow.metadata[_EXCHANGES] = [*records(flow.metadata.get(_EXCHANGES))[1 - ON_SOCKET :], dict(exchange)]


def forgot(flow: http.HTTPFlow, messages: int) -> None:
    """Take note that so many *messages* more, the oldest ones, are no longer kept with *flow*."""
    flow.metadata[_FORGOTTEN] = forgotten(flow) + messages


def forgotten(flow: http.HTTPFlow) -> int:
    """Return how many messages of the WebSocket *flow* are no longer kept with it."""
    found = flow.metadata.get(_FORGOTTEN, 0)
    return found if isinstance(found, int) else 0


def _exchange(flow: http.HTTPFlow, attempts: Sequence[Mapping[str, Any]]) -> StoredExchange:
    response = flow.response
    return StoredExchange(
        attempts=tuple(attempts),
        request=Body(message_content.content(flow.request, message_content.KEPT)),
        head=Head(response.status_code, Headers(_fields(response.headers))) if response else None,
        answer=(response.raw_content or b"") if response else b"",
        said=str(flow.metadata.get("patchbay.verdict", "")),
        victim=str(flow.metadata.get("patchbay.victim", "")),
        # of what was cut, the proof itself is not stored, but our last words are
        ours=bool(flow.metadata.get(_OWN_ANSWER))
        or (flow.error is not None and flow.metadata.get("patchbay.error") == FOREIGN.code),
        cut=_is_cut(flow, attempts[-1]),
    )


def _is_cut(flow: http.HTTPFlow, record: Mapping[str, Any]) -> bool:
    # before version 1 only the comment said so
    return _KEPT in flow.metadata or (version(record) < 1 and "bytes of the answer are kept" in flow.comment)


def on_socket(flow: http.HTTPFlow) -> Iterator[StoredExchange]:
    """Yield the exchanges on the WebSocket of *flow*, if it is one."""
    gone, kept = forgotten(flow), flow.websocket.messages if flow.websocket else []
    for each in records(flow.metadata.get(_EXCHANGES)) if flow.websocket else ():
        places = [each.get(name) for name in ("request", "first", "last")]
        request, first, last = [place if isinstance(place, int) else -1 for place in places]
        at = request - gone
        answer = kept[max(0, first - gone) : max(0, last + 1 - gone)] if first >= 0 else []
        yield StoredExchange(
            attempts=tuple(records(each.get("sent"))),
            request=Body(kept[at].content if 0 <= at < len(kept) else None),
            head=Head(200, Headers()) if answer else None,  # as the messages of a socket are taken, which have none
            messages=tuple(message.content for message in answer if not (message.from_client or message.injected)),
            said=str(each.get("verdict", "")),
            victim=str(each.get("victim", "")),
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
            "version": VERSION, "kinds": sorted(KINDS),
        }
    ]  # fmt: skip


_PLACES = (NAMESPACE_HEADER.lower(), "x-request-id")


def _dialect(flow: http.HTTPFlow) -> str:
    return dialects.endpoint(flow.request.method, flow.request.path.partition("?")[0]).dialect


def _fields(headers: http.Headers) -> list[tuple[str, str]]:
    return [(n.decode("utf-8", "surrogateescape"), v.decode("utf-8", "surrogateescape")) for n, v in headers.fields]
