"""What becomes of flows that pass, before other addons see them."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from mitmproxy.http import Headers, HTTPFlow, Response
from mitmproxy.test import tflow

from patchbay.proxy.body_hooks import PassingBodyHooks
from patchbay.proxy.credentials import Credentials
from patchbay.proxy.exchange_driver import RequestTarget
from patchbay.proxy.passing_bodies import LARGEST_KEPT
from patchbay.proxy.shadow import Passthrough, ShadowDriver
from patchbay.values.http import Endpoint, Origin

KEY = "own-key-0123456789-of-no-format"
HOOKS = PassingBodyHooks()


def passing() -> HTTPFlow:
    flow = tflow.tflow(resp=True)
    flow.request.headers = Headers(authorization=f"Bearer {KEY}")
    flow.patchbay = Passthrough(flow, Credentials())  # type: ignore[attr-defined]
    return flow


def observed(endpoint: Endpoint) -> HTTPFlow:
    flow = tflow.tflow(resp=True)
    driver = ShadowDriver(flow, SimpleNamespace(keys=Credentials()), endpoint.dialect)  # type: ignore[arg-type]
    driver.target = RequestTarget(endpoint, Origin("http", "x", 1), "")
    flow.patchbay = driver  # type: ignore[attr-defined]
    return flow


def test_what_the_head_presents_is_looked_for_in_the_bodies() -> None:
    flow = passing()
    flow.request.text = flow.response.text = f"my key is {KEY}"  # type: ignore[union-attr]
    HOOKS.requestheaders(flow)
    HOOKS.request(flow)
    HOOKS.response(flow)

    assert KEY not in repr(flow.get_state())


@pytest.mark.parametrize(
    ("endpoint", "stays"),
    [
        (Endpoint("anthropic", "anthropic", "generation", "/v1/messages"), True),
        (Endpoint("anthropic", "anthropic", "resource", "/v1/messages/count_tokens", source="model"), True),
        (Endpoint("openai_chat", "openai", "resource", "/realtime/client_secrets"), False),
    ],
)
def test_a_conversation_keeps_its_words(endpoint: Endpoint, stays: bool) -> None:
    flow = observed(endpoint)
    flow.request.text = '{"input": {"api_key": "what-the-model-wrote"}}'
    HOOKS.request(flow)

    assert ("what-the-model-wrote" in flow.request.text) is stays


@pytest.mark.parametrize(
    ("headers", "streams"),
    [
        ({"content-type": "text/event-stream; charset=utf-8"}, True),
        ({"content-type": "application/json"}, False),
        ({"content-length": str(LARGEST_KEPT + 1)}, True),
        ({"content-length": str(LARGEST_KEPT)}, False),
        ({"content-length": "9" * 5000}, False),
        ({"content-length": "²"}, False),
    ],
)
def test_what_has_no_end_or_is_large_streams_through(headers: dict[str, str], streams: bool) -> None:
    flow = passing()
    flow.response = Response.make(200)
    flow.response.headers = Headers([(name.encode(), value.encode()) for name, value in headers.items()])
    HOOKS.responseheaders(flow)

    assert bool(flow.response.stream) is streams


def test_what_another_addon_adds_to_the_head_is_sent_and_not_kept() -> None:
    """As mitmproxy's `upstream_auth` does, behind our own hook."""
    flow = passing()
    HOOKS.requestheaders(flow)
    flow.request.headers["Proxy-Authorization"] = "Basic bWU6dGhlLXBhc3N3b3Jk"
    flow.request.headers["x-mine"] = "1"
    HOOKS.request(flow)
    sent = flow.patchbay.wire_request(flow.request)  # type: ignore[attr-defined]

    assert "bWU6dGhl" not in repr(flow.get_state()) and KEY not in repr(flow.get_state())
    assert sent.headers["proxy-authorization"] == "Basic bWU6dGhlLXBhc3N3b3Jk"
    assert (sent.headers["authorization"], sent.headers["x-mine"]) == (f"Bearer {KEY}", "1")


def test_a_password_for_this_proxy_is_not_kept() -> None:
    for hook in (HOOKS.http_connect, HOOKS.requestheaders):
        flow = tflow.tflow()
        flow.metadata["proxyauth"] = ("ann", "the-password")
        hook(flow)
        assert flow.metadata["proxyauth"] == ("ann", "patchbay")


def test_other_flows_are_left_alone() -> None:
    flow = tflow.tflow(resp=True)
    before = flow.get_state()
    for hook in (HOOKS.http_connect, HOOKS.requestheaders, HOOKS.request, HOOKS.responseheaders, HOOKS.response):
        hook(flow)

    assert flow.get_state() == before
