"""Whether the pages of recorded exchanges show every text and number of their bodies."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mitmproxy import contentviews, http
from mitmproxy.io import FlowReader

from patchbay import dialects
from patchbay.answer.sse import ServerSentEvents
from patchbay.body import decoded
from tests.transcript.pages import Leaf, missing_on


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
    """Yield for each message of *flow* what its page, on which nothing is folded, lacks."""
    if flow.websocket:
        for number, said in enumerate(flow.websocket.messages):
            if said.from_client:
                later = flow.websocket.messages[number + 1 :]
                end = next((at for at, each in enumerate(later) if each.from_client), len(later))
                page = contentviews.prettify_message(said, flow, "conversation-full").text
                yield missing_on(page, [decoded(said.content)])
                yield missing_on(page, [decoded(each.content) for each in later[:end]])
        return
    page = contentviews.prettify_message(flow.request, flow, "conversation-full").text
    for message in filter(None, (flow.request, flow.response)):
        if values := _values(message):
            yield missing_on(page, values)


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
