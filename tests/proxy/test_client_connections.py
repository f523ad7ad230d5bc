"""Connections are found at the proxyserver; what is gone is nothing to act on."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from mitmproxy.proxy import commands, events
from mitmproxy.proxy.mode_specs import ProxyMode
from mitmproxy.test import tflow

from patchbay.proxy import client_connections, replay

from .addon import in_loop


class Transport(asyncio.ReadTransport):
    def __init__(self) -> None:
        self.told: list[str] = []

    def pause_reading(self) -> None:
        self.told.append("pause")

    def resume_reading(self) -> None:
        self.told.append("resume")


class Handler:
    """A connection: of *client*, with one more of an upstream."""

    def __init__(self) -> None:
        self.client, self.upstream = tflow.tclient_conn(), tflow.tserver_conn()
        self.cancelled: list[str] = []
        self.seen: list[events.Event] = []
        self.transport = Transport()
        self.reader = SimpleNamespace(_paused=False)
        handler = SimpleNamespace(cancel=self.cancelled.append)
        writer = SimpleNamespace(transport=self.transport)
        self.transports = {
            self.client: SimpleNamespace(handler=handler, reader=None, writer=None),
            self.upstream: SimpleNamespace(handler=handler, reader=self.reader, writer=writer),
        }

    async def server_event(self, event: events.Event) -> None:
        self.seen.append(event)


@pytest.fixture
def handler(monkeypatch: pytest.MonkeyPatch) -> Handler:
    made = Handler()
    proxyserver = SimpleNamespace(connections={made.client.id: made})
    addons = SimpleNamespace(get={"proxyserver": proxyserver}.get)
    monkeypatch.setattr(client_connections, "ctx", SimpleNamespace(master=SimpleNamespace(addons=addons)))
    return made


def pause(handler: Handler, **more: Any) -> Any:
    flow = tflow.tflow(client_conn=handler.client)
    return SimpleNamespace(**{"flow": flow, "connection": handler.upstream} | more)


def test_a_connection_and_its_ends_are_found(handler: Handler) -> None:
    assert client_connections.handler_of(handler.client.id) is handler
    assert client_connections.handler_of("another") is None
    assert client_connections.transport_of(handler.client.id, handler.upstream) is handler.transports[handler.upstream]
    assert client_connections.transport_of(handler.client.id, None) is None
    assert client_connections.transport_of("another", handler.upstream) is None


def test_a_connection_is_closed_where_it_is_still_there(handler: Handler) -> None:
    client_connections.close_client("another")
    assert handler.cancelled == []
    client_connections.close_client(handler.client.id)
    assert handler.cancelled == ["no request came in time"]

    handler.transports[handler.client].handler = None
    client_connections.close_client(handler.client.id)
    del handler.transports[handler.client]
    client_connections.close_client(handler.client.id)
    assert len(handler.cancelled) == 1


@pytest.mark.parametrize(
    ("mode", "speaks"),
    [
        ("regular", True), ("upstream:http://a.example:1", True), ("reverse:http://a.example", True),
        ("reverse:https://a.example", True), ("reverse:tcp://a.example:1", False), ("socks5", False),
        ("transparent", False),
    ],
)  # fmt: skip
def test_which_listeners_begin_with_a_request(mode: str, speaks: bool) -> None:
    client = tflow.tclient_conn()
    client.proxy_mode = ProxyMode.parse(mode)
    assert client_connections.speaks_http(client) is speaks


def test_an_upstream_is_read_no_further_until_it_is_resumed(handler: Handler) -> None:
    handler.reader._paused = True
    resume = client_connections.stop_reading(pause(handler))
    assert handler.transport.told == ["pause"]
    assert handler.reader._paused is False  # asyncio itself would resume it
    resume()
    assert handler.transport.told == ["pause", "resume"]


def test_what_is_gone_is_not_paused(handler: Handler) -> None:
    client_connections.stop_reading(pause(handler, connection=None))()
    client_connections.stop_reading(pause(handler, flow=tflow.tflow()))()
    client_connections.stop_reading(pause(handler, connection=tflow.tserver_conn()))()
    handler.transports[handler.upstream].writer.transport = object()
    client_connections.stop_reading(pause(handler))()

    assert handler.transport.told == []


@in_loop
async def test_an_event_is_handled_by_the_connection_or_by_the_replay(
    handler: Handler, monkeypatch: pytest.MonkeyPatch
) -> None:
    timer = commands.RequestWakeup(1.0)
    client_connections.wake(tflow.tflow(client_conn=handler.client), timer)
    client_connections.wake(tflow.tflow(), timer)  # its client is gone
    await asyncio.sleep(0)
    assert [type(event) for event in handler.seen] == [events.Wakeup]
    assert isinstance(handler.seen[0], events.Wakeup) and handler.seen[0].command is timer

    replaying = Handler()
    monkeypatch.setattr(replay, "handler", lambda flow: replaying)
    client_connections.wake(tflow.tflow(client_conn=handler.client), timer)
    await asyncio.sleep(0)
    assert len(handler.seen) == len(replaying.seen) == 1
