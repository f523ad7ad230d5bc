"""A replay goes through our layer, for the client and on the account of the exchange before it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from mitmproxy.addons import clientplayback
from mitmproxy.http import HTTPFlow
from mitmproxy.options import Options
from mitmproxy.test import tflow
from msgspec import structs

from patchbay import clients
from patchbay.proxy import replay, upstream_layer
from patchbay.proxy.redacted_heads import placeholder
from patchbay.settings.settings import ClientKey
from patchbay.values.account import Secret
from patchbay.values.http import Client, PriorServing

from ..test_router import account, opened, request, routed, router
from .test_flow_record import KEY, SCOPE, served


@pytest.fixture
def flow() -> HTTPFlow:
    found = tflow.tflow(resp=True)
    placeholder(found.request)
    return found


def test_the_client_of_a_replay_has_todays_rights_and_the_scope_of_then(flow: HTTPFlow) -> None:
    """T11: as `clients` name it, or without any."""
    served(router(), flow, Client(SCOPE, "laptop"))
    laptop = ClientKey("laptop", Secret("literal", "sk-laptop-1234567890"), models=("m*",))
    known = (clients.Known(laptop, b"sk-laptop-1234567890"),)

    found = replay.client(flow, known, KEY)
    assert isinstance(found, Client)
    assert replace(found, key=b"") == Client(SCOPE, "laptop", models=("m*",))
    assert replay.client(flow, (), KEY) == Client(SCOPE, may_pin=True)
    assert replay.client(tflow.tflow(), known, KEY) == Client(may_pin=True)


def test_nothing_is_said_to_be_replayed_that_is_not(flow: HTTPFlow) -> None:
    """T11: a request of a client is a new one."""
    served(router(), flow)
    assert replay.served(flow, router(), KEY) is None


@pytest.mark.parametrize(
    ("before", "said"),
    [
        (PriorServing("a"), ""),
        (PriorServing("gone"), "gone served it before, and cannot now (gone)"),
        (PriorServing("b"), "b served it before, and cannot now (disabled)"),
    ],
)
def test_what_is_otherwise_than_before_is_said(flow: HTTPFlow, before: PriorServing, said: str) -> None:
    """T11: in the comment of the flow."""
    of = router(account("a"), account("b", enabled=False))
    exchange = opened(of, replace(request(x_patchbay_session_id="off"), replay=before))
    routed(of, exchange)
    flow.comment = ""
    replay.remark(flow, exchange, of.close(exchange, "", 1.0))

    assert flow.comment == (f" · replay: {said}" if said else "")


def test_a_replay_is_told_how_it_was_served(flow: HTTPFlow) -> None:
    decision = served(router(), flow)
    flow.is_replay = "request"
    found = replay.served(flow, router(), KEY)

    assert found is not None and (found.account, found.affinity) == (decision.account, decision.session)
    assert found.digest == ""  # the flow's body is not what the exchange was opened with


@pytest.mark.parametrize(
    ("before", "said"),
    [
        (PriorServing("a", session_id="s-1"), "the upstream session it had is in use"),
        (PriorServing("a", session_id="s-2"), ""),
        (PriorServing("a", session_id=""), ""),
        (PriorServing(""), ""),
    ],
)
def test_another_upstream_session_than_before_is_said(
    flow: HTTPFlow, caplog: pytest.LogCaptureFixture, before: PriorServing, said: str
) -> None:
    of = router(account("a"))
    exchange = opened(of, replace(request(x_session_id="x"), replay=before))
    routed(of, exchange)
    exchange.prior_serving, flow.comment = before, ""
    replay.remark(flow, exchange, structs.replace(of.close(exchange, "", 1.0), session_id="s-2"))

    assert flow.comment == (f" · replay: {said}" if said else "")
    assert (said in caplog.text) and bool(caplog.records) == bool(said)


def test_an_edit_into_another_conversation_is_said(flow: HTTPFlow) -> None:
    of = router(account("a"))
    exchange = opened(of, replace(request(), replay=PriorServing("a")))
    routed(of, exchange)
    exchange.prior_serving, flow.comment = None, ""
    replay.remark(flow, exchange, of.close(exchange, "", 1.0))

    assert flow.comment == " · replay: it was edited into another conversation than the one a served"


def test_while_installed_a_replay_passes_our_layer() -> None:
    theirs, flow = clientplayback.ReplayHandler, tflow.tflow()
    replay.install()
    try:
        handler = clientplayback.ReplayHandler(flow, Options())
        assert isinstance(handler.layer, upstream_layer.PatchbayLayer)
        assert replay.handler(flow) is None  # it is not being replayed
        flow.is_replay = "request"
        assert replay.handler(flow) is handler
        assert replay.handler(tflow.tflow()) is None
    finally:
        replay.remove()

    assert clientplayback.ReplayHandler is theirs
