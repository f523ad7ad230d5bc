"""The client's own credentials: out of the flow, back on the wire, and nowhere but where the client wanted."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from mitmproxy.connection import Server
from mitmproxy.http import Headers, HTTPFlow
from mitmproxy.test import tflow

from patchbay.proxy.exchange_driver import RequestTarget
from patchbay.proxy.shadow import ShadowDriver, warn_of_nowhere
from patchbay.settings import reader
from patchbay.values.http import Endpoint, Origin

KEY = "sk-the-clients-own-0123456789"
CAME = (
    (b"Host", b"api.example.com"),
    (b"AUTHORIZATION", b"Bearer " + KEY.encode()),
    (b"x-api-key", KEY.encode()),
    (b"X-Api-Key", KEY.encode() + b"-2"),
    (b"Sec-WebSocket-Protocol", b"realtime, openai-insecure-api-key." + KEY.encode()),
    (b"Accept-Encoding", b"br"),
)


def hung(path: str = f"/v1/x?a=1&key={KEY}&b=%2F") -> tuple[HTTPFlow, ShadowDriver]:
    flow = tflow.tflow()
    flow.request.headers, flow.request.path = Headers(CAME), path
    around: Any = None
    cord = ShadowDriver(flow, around, "")
    cord.asked = RequestTarget(Endpoint(), Origin("https", "api.example.com", 443), "")
    return flow, cord


def server(host: str = "api.example.com", port: int = 443) -> Server:
    return Server(address=(host, port))


def test_no_credential_stands_in_the_flow() -> None:
    flow, _ = hung()

    assert KEY not in repr(flow.get_state())


def test_the_wire_gets_what_the_client_sent_byte_for_byte() -> None:
    flow, cord = hung()
    sent = cord.wire_request(flow.request, server())

    assert (sent.headers.fields, sent.path) == (CAME, f"/v1/x?a=1&key={KEY}&b=%2F")
    assert KEY not in repr(flow.get_state())


def test_what_was_edited_stays_edited_and_the_credentials_come_back() -> None:
    flow, cord = hung()
    flow.request.headers["accept-encoding"] = "gzip"
    flow.request.path = "/v1/other?key=whatever"
    sent = cord.wire_request(flow.request, server())

    assert sent.headers["accept-encoding"] == "gzip"
    assert sent.headers["authorization"] == f"Bearer {KEY}"
    assert sent.path == f"/v1/other?key={KEY}"


@pytest.mark.parametrize("elsewhere", [server("evil.example"), server(port=80), Server(address=None)])
def test_they_go_nowhere_else(elsewhere: Server) -> None:
    flow, cord = hung()

    with pytest.raises(PermissionError):
        cord.wire_request(flow.request, elsewhere)


def test_a_cord_shows_nothing() -> None:
    _, cord = hung()

    assert KEY not in repr(cord)


def test_shadow_on_one_port_is_warned_about(caplog: pytest.LogCaptureFixture) -> None:
    accounts = "accounts: [{id: a, provider: openai, key: example-key}]"
    with caplog.at_level(logging.WARNING):
        warn_of_nowhere(reader.load(f"mode: shadow\n{accounts}", "x"), ["reverse:https://api.openai.com"])
        warn_of_nowhere(reader.load(accounts, "x"), ["reverse:http://patchbay.invalid"])
        assert caplog.messages == []
        warn_of_nowhere(reader.load(f"mode: shadow\n{accounts}", "x"), ["reverse:http://patchbay.invalid"])

    assert "nobody answers" in caplog.text
