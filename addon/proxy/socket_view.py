"""
The messages of a WebSocket in the content view: each exchange is put together at the message that asked.

mitmweb lists every message and cuts the list, so the message that asks shows the answer, and the events of the answer
take a line each.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from mitmproxy import http
from mitmproxy.websocket import WebSocketMessage

from .. import dialects, transcript
from ..body import Body
from ..frozen import dataclass
from ..transcript.pane import Pane, columns, safe
from ..transcript.text import TranscriptText
from ..values.http import Endpoint
from . import decision_card, flow_metadata as names

_EVENT = 200  # characters of an event that are shown


def reads(flow: http.HTTPFlow) -> bool:
    """Whether the messages of *flow* are those of a protocol that Patchbay reads."""
    return bool(_opening(flow))


def newest(flow: http.HTTPFlow) -> WebSocketMessage | None:
    """Return the newest message of *flow* that asks; its page is that of the upgrade too, at which mitmweb opens."""
    opening = _opening(flow) if flow.websocket else ""
    messages = reversed(flow.websocket.messages) if flow.websocket and opening else ()
    return next((each for each in messages if each.from_client and Body(each.content).text("type") == opening), None)


def write(pane: Pane, writer: TranscriptText, flow: http.HTTPFlow, message: WebSocketMessage) -> None:
    """Write *message* of *flow* into *pane*: with its decision and its answer where it asks, else in one line."""
    if not (message.from_client and Body(message.content).text("type") == _opening(flow)):
        pane.text(_event(message.content, pane.width))
        return
    at, exchange = _endpoint(flow), _exchange(flow, message)
    pane.pairs(decision_card.of_line(exchange.line) if exchange.line else decision_card.rows(flow.metadata))
    if exchange.answer:
        writer.answer(transcript.of_messages(exchange.answer, at.dialect, at.suffix))
    writer.request(transcript.of_request(message.content, at.dialect, at.suffix, "application/json"))


@dataclass(frozen=True, slots=True)
class _SocketExchange:
    """The messages that answered one message, and the line of the journal about it, if it is over."""

    answer: tuple[bytes, ...]
    line: Mapping[str, Any] | None = None


def _exchange(flow: http.HTTPFlow, request: WebSocketMessage) -> _SocketExchange:
    messages = flow.websocket.messages if flow.websocket else []
    at = next((number for number, each in enumerate(messages) if each is request), len(messages))
    gone = names.forgotten(flow)
    for record in names.records(flow.metadata.get(names.SOCKET_RECORDS)):
        if record.get("request") == at + gone:
            first, last = (place if isinstance(place := record.get(name), int) else -1 for name in ("first", "last"))
            found = messages[max(0, first - gone) : max(0, last + 1 - gone)] if first >= 0 else []
            return _SocketExchange(_from_upstream(found), _line(flow, record))
    return _SocketExchange(_from_upstream(_until_next(messages[at + 1 :], _opening(flow))))


def _line(flow: http.HTTPFlow, record: Mapping[str, Any]) -> Mapping[str, Any] | None:
    sent = names.records(record.get("sent"))
    exchange = names.text(sent[-1], "exchange") if sent else ""
    lines = names.records(flow.metadata.get(names.SOCKET_LINES))
    return next((line for line in lines if exchange and line.get("exchange") == exchange), None)


def _until_next(messages: Iterable[WebSocketMessage], opening: str) -> Iterator[WebSocketMessage]:
    for each in messages:
        if each.from_client and Body(each.content).text("type") == opening:
            return
        yield each


def _from_upstream(messages: Iterable[WebSocketMessage]) -> tuple[bytes, ...]:
    return tuple(each.content for each in messages if not each.from_client)


def _event(content: bytes, width: int) -> str:
    """Return *content* in one line: its type, and the begin of what it says."""
    body = Body(content)
    kind, said = body.text("type"), body.text("delta") or body.text("text")
    line = f"{kind}  {said}" if kind and said else kind or content[: 4 * _EVENT].decode("utf-8", "replace")
    line = " ".join(safe(line[:_EVENT]).split())
    while columns(line) > width:
        line = line[:-2] + "…"
    return line


def _opening(flow: http.HTTPFlow) -> str:
    return dialects.of(_endpoint(flow).dialect).opening_message


def _endpoint(flow: http.HTTPFlow) -> Endpoint:
    return dialects.endpoint(flow.request.method, flow.request.path.partition("?")[0])
