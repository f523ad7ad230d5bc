"""
mitmproxy's events about what passes: its bodies lose their credentials before another addon keeps or shows them.

The addon runs right behind `hooks.Patchbay`, which has read the body by then, and before those that save flows.
"""

from __future__ import annotations

from mitmproxy import http

from .. import credential_places
from ..media_types import media_type
from .passing_bodies import LARGEST_KEPT
from .shadow import Passthrough, ShadowDriver


class PassingBodyHooks:
    """An addon beside `Patchbay`. It does not raise: of a body that cannot be read, `PassingBodies` keeps nothing."""

    def http_connect(self, flow: http.HTTPFlow) -> None:
        _hide_password(flow)

    def requestheaders(self, flow: http.HTTPFlow) -> None:
        _hide_password(flow)
        if attached := _attached(flow):
            attached.bodies.note(attached.redacted_heads.presented)

    def request(self, flow: http.HTTPFlow) -> None:
        if attached := _attached(flow):
            attached.redacted_heads.cover_added(flow.request)
            attached.bodies.hide_request(flow.request, conversation=attached.is_conversation)

    def responseheaders(self, flow: http.HTTPFlow) -> None:
        attached = _attached(flow)
        if isinstance(attached, Passthrough) and flow.response and _streams(flow.response):
            flow.response.stream = attached.bodies.copy_stream

    def response(self, flow: http.HTTPFlow) -> None:
        if flow.response and (attached := _attached(flow)):
            attached.bodies.hide_answer(flow.response, conversation=attached.is_conversation)

    error = response

    def websocket_message(self, flow: http.HTTPFlow) -> None:
        if flow.websocket and flow.websocket.messages and (attached := _attached(flow)):
            attached.bodies.hide_message(flow.websocket.messages[-1], conversation=attached.is_conversation)


def _hide_password(flow: http.HTTPFlow) -> None:
    """Keep of a client's login at this proxy (mitmproxy's `proxyauth`) its name alone."""
    if login := flow.metadata.get("proxyauth"):
        flow.metadata["proxyauth"] = (login[0], credential_places.HIDDEN)


def _attached(flow: http.HTTPFlow) -> Passthrough | ShadowDriver | None:
    attached = getattr(flow, "patchbay", None)
    return attached if isinstance(attached, Passthrough | ShadowDriver) else None


def _streams(response: http.Response) -> bool:
    """Whether *response* passes chunk by chunk: events have no end to wait for, and what is large is not kept."""
    length = response.headers.get("content-length", "")
    is_large = length.isdecimal() and len(length) < 19 and int(length) > LARGEST_KEPT
    return is_large or media_type(response.headers.get("content-type", "")) == "text/event-stream"
