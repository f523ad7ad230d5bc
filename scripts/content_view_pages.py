"""Whether the pages of recorded exchanges show every text and number of their bodies, but those that are folded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from mitmproxy import contentviews, http
from mitmproxy.io import FlowReader
from mitmproxy.websocket import WebSocketMessage

from patchbay import dialects
from patchbay.answer.sse import ServerSentEvents
from patchbay.body import decoded
from tests.transcript.pages import Leaf, missing_on

_INSTRUCTING = ("system", "developer")
_FOLDED = frozenset(
    "system instructions systemInstruction tools functions signature thoughtSignature client_metadata metadata".split()
)


def all_shown(file: Path) -> bool:
    """Print what the pages of the exchanges in *file* lack, and return whether that is nothing."""
    pages, lacking = 0, 0
    with file.open("rb") as stream:
        for flow in FlowReader(stream).stream():
            if isinstance(flow, http.HTTPFlow) and _is_asked(flow):
                for lost in lost_of(flow):
                    pages, lacking = pages + 1, lacking + bool(lost)
                    for name, value in lost:
                        print(f"{flow.request.path[:40]}: {name} {str(value)[:80]!r}")
    print(f"{pages} messages, of {lacking} of them the page lacks something")
    return pages > 0 and not lacking


def lost_of(flow: http.HTTPFlow) -> Iterator[list[Leaf]]:
    """
    Yield for each message of *flow* what its pages lack.

    `conversation-full` must show every text and number, `conversation` those of all that it does not fold.
    """
    if flow.websocket:
        for number, said in enumerate(flow.websocket.messages):
            if said.from_client:
                later = flow.websocket.messages[number + 1 :]
                end = next((at for at, each in enumerate(later) if each.from_client), len(later))
                yield _lost(said, flow, [decoded(said.content)])
                yield _lost(said, flow, [decoded(each.content) for each in later[:end]])
        return
    for message in filter(None, (flow.request, flow.response)):
        if values := _values(message):
            yield _lost(flow.request, flow, values)


def _lost(shown: http.Message | WebSocketMessage, flow: http.HTTPFlow, values: Sequence[Any]) -> list[Leaf]:
    whole, folded = (
        contentviews.prettify_message(shown, flow, view).text for view in ("conversation-full", "conversation")
    )
    return [*missing_on(whole, values), *missing_on(folded, [_unfolded(value) for value in values])]


def _unfolded(value: Any) -> Any:
    """Return *value* without what `conversation` folds to sizes: system texts, tools, signatures, long settings."""
    if isinstance(value, list):
        return [_unfolded(each) for each in value if not (isinstance(each, dict) and each.get("role") in _INSTRUCTING)]
    if isinstance(value, dict):
        return {name: _unfolded(each) for name, each in value.items() if name not in _FOLDED}
    return value


def _is_asked(flow: http.HTTPFlow) -> bool:
    return dialects.endpoint(flow.request.method, flow.request.path.partition("?")[0]).kind == "generation" or bool(
        flow.websocket
    )


def _values(message: http.Message) -> list[Any]:
    body = message.content or b""
    if "event-stream" not in message.headers.get("content-type", ""):
        return [decoded(body)] if body else []
    stream = ServerSentEvents(limit=len(body) + 1)
    found = [decoded(event.data) for event in (*stream.feed(body), *stream.end())]
    return [value for value in found if isinstance(value, dict)]
