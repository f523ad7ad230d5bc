"""The rig of the self-check: bytes go through the real layer, and its driver decides as it promises."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from mitmproxy.connection import ConnectionState
from mitmproxy.proxy import commands, events
from mitmproxy.proxy.layers.http import HttpRequestHeadersHook
from mitmproxy.proxy.layers.websocket import WebsocketMessageHook
from mitmproxy.test import tflow

from patchbay.proxy import layer_rig
from patchbay.proxy.layer_rig import KEY, LayerRig, StubDriver
from patchbay.values.account import Timeouts
from patchbay.values.answer import End, Failure, Head
from patchbay.values.http import Headers


@pytest.mark.parametrize("ready", [True, False])
def test_a_request_goes_up_when_its_driver_is_ready(ready: bool) -> None:
    rig = LayerRig(ready)
    rig.ask()

    assert (rig.server is not None) is ready
    assert (KEY.encode() in rig.taken(rig.server)) is ready
    assert (b" 502 " in rig.taken(rig.client)) is not ready


def test_bytes_are_taken_once() -> None:
    rig = LayerRig(True)
    rig.ask()

    assert rig.taken(rig.server).endswith(b"\r\n\r\nHI")
    assert rig.taken(rig.server) == b""


def test_the_next_attempt_has_another_key() -> None:
    rig = LayerRig(True)
    rig.ask()
    assert rig.server
    rig.taken(rig.server)
    rig.feed(events.DataReceived(rig.server, b"HTTP/1.1 500 No\r\ncontent-length: 2\r\n\r\nno"))

    assert f"{KEY}-two".encode() in rig.taken(rig.server)
    assert rig.hooks == ["requestheaders", "request", "patchbay_next"]


@pytest.mark.parametrize(("status", "reaction"), [(200, "deliver"), (399, "deliver"), (400, "hold"), (500, "hold")])
def test_the_driver_holds_errors(status: int, reaction: str) -> None:
    assert StubDriver(True).answered(Head(status, Headers())) == reaction


def test_the_driver_tries_again_after_a_failure_and_a_held_answer() -> None:
    driver = StubDriver(True)

    assert driver.answered(Failure("reset", "")) == driver.answered(End()) == "next"


def test_a_driver_is_bounded() -> None:
    driver = StubDriver(False)

    assert (driver.ready, driver.owner, driver.repeatable, driver.timeouts) == (False, KEY, True, Timeouts())
    assert (driver.body_limit, driver.hold_seconds, driver.shadow) == (1000, 1.0, False)
    assert driver._dialect == "" and driver._flow.request.pretty_url == "http://t.invalid/"
    assert driver.answer_filter()._limit == 1000


def test_the_key_goes_on_a_copy() -> None:
    driver, server = StubDriver(True), tflow.tserver_conn()
    request = tflow.tflow().request
    sent = driver.wire_request(request, server)

    assert (sent.headers["authorization"], "authorization" in request.headers) == (KEY, False)
    assert driver.wire_body(b"hi") == b"HI"


@pytest.mark.parametrize(("http2", "alpn"), [(True, b"h2"), (False, None)])
def test_the_client_speaks_one_protocol_and_its_upstream_the_same(http2: bool, alpn: bytes | None) -> None:
    rig = LayerRig(True, http2=http2)
    assert rig.client.alpn == alpn
    assert (rig.client.peername, rig.client.sockname) == (("127.0.0.1", 1), ("127.0.0.1", 1))
    assert (rig.client.state, rig.client.timestamp_start) == (ConnectionState.OPEN, 0)
    server = tflow.tserver_conn()
    [event] = rig.carry_out(commands.OpenConnection(server))

    assert isinstance(event, events.OpenConnectionCompleted) and event.reply is None
    assert (rig.server, server.state, server.alpn) == (server, ConnectionState.OPEN, alpn)


def test_a_connection_that_is_closed_is_closed() -> None:
    rig, server = LayerRig(True), tflow.tserver_conn()
    server.state = ConnectionState.OPEN

    assert rig.carry_out(commands.CloseConnection(server)) == []
    assert server.state is ConnectionState.CLOSED


def test_what_is_sent_is_kept_by_its_connection() -> None:
    rig, server = LayerRig(True), tflow.tserver_conn()
    for data in (b"a", b"b"):
        assert rig.carry_out(commands.SendData(server, data)) == []
    rig.carry_out(commands.SendData(rig.client, b"c"))

    assert (rig.taken(server), rig.taken(rig.client), rig.taken(server)) == (b"ab", b"c", b"")


@pytest.mark.parametrize("blocking", [True, False])
def test_only_a_hook_that_is_waited_for_is_completed(blocking: bool) -> None:
    rig, hook = LayerRig(True), HttpRequestHeadersHook(tflow.tflow())
    hook.blocking = blocking
    done = rig.carry_out(hook)

    assert [type(event) for event in done] == ([events.HookCompleted] if blocking else [])
    assert (rig.hooks, rig.flow) == (["requestheaders"], hook.flow)
    assert hook.flow.patchbay is rig.driver  # type: ignore[attr-defined]


@pytest.mark.parametrize("drops", [True, False])
def test_the_last_message_is_dropped_where_that_is_asked_for(drops: bool) -> None:
    rig, flow = LayerRig(True), tflow.twebsocketflow()
    rig.drops = drops
    before = rig.driver.key
    rig.run_hook(WebsocketMessageHook(flow))

    assert flow.websocket
    assert [message.dropped for message in flow.websocket.messages] == [False, False, drops]
    assert (rig.flow, rig.driver.key) == (None, before)
    assert not hasattr(flow, "patchbay") and not hasattr(flow, "again")


@pytest.mark.parametrize("name", ["requestheaders", "request", "error"])
def test_no_other_hook_drops_a_message(name: str) -> None:
    rig, flow = LayerRig(True), tflow.twebsocketflow()
    rig.drops = True
    rig.run_hook(SimpleNamespace(name=name, args=lambda: [flow]))  # type: ignore[arg-type]

    assert flow.websocket and not any(message.dropped for message in flow.websocket.messages)
    assert (rig.flow is flow) is (name == "requestheaders")


def test_events_are_carried_out_in_their_order() -> None:
    rig, first, second = LayerRig(True), tflow.tserver_conn(), tflow.tserver_conn()
    seen: list[object] = []

    def handle(event: events.Event) -> list[commands.Command]:
        seen.append(event if isinstance(event, events.Start) else event.command.connection)  # type: ignore[attr-defined]
        opens = [commands.OpenConnection(first), commands.OpenConnection(second)]
        return list(opens) if isinstance(event, events.Start) else []

    rig.layer = SimpleNamespace(handle_event=handle)  # type: ignore[assignment]
    start = events.Start()
    rig.feed(start)

    assert seen == [start, first, second]


def test_the_options_are_those_that_a_layer_reads() -> None:
    made = layer_rig._options()

    assert {name: getattr(made, name) for name in layer_rig._OPTIONS} == {
        "store_streamed_bodies": False,
        "stream_large_bodies": "",
        "body_size_limit": "",
        "validate_inbound_headers": True,
        "keep_host_header": False,
        "normalize_outbound_headers": True,
        "http2": True,
        "http2_ping_keepalive": 58,
        "websocket": True,
        "rawtcp": True,
        "connection_strategy": "lazy",
        "proxy_debug": False,
    }
