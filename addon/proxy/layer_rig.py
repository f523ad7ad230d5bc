"""One client connection through `PatchbayLayer` without sockets, for the self-check at start and for tests."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

from mitmproxy import http, options
from mitmproxy.connection import Client, ConnectionState, Server
from mitmproxy.proxy import commands, context, events
from mitmproxy.proxy.layers import http as mitm

from ..values.account import Timeouts
from ..values.answer import AnswerEvent, Head, Reaction
from . import upstream_layer
from .answer_filter import AnswerFilter
from .credentials import Credentials
from .exchange_driver import DriverContext, ExchangeDriver

KEY = "self-test-key"
_OPTIONS: dict[str, bool | int | str] = {
    "store_streamed_bodies": False, "stream_large_bodies": "", "body_size_limit": "", "validate_inbound_headers": True,
    "keep_host_header": False, "normalize_outbound_headers": True, "http2": True, "http2_ping_keepalive": 58,
    "websocket": True, "rawtcp": True, "connection_strategy": "lazy", "proxy_debug": False,
}  # fmt: skip


class StubDriver(ExchangeDriver):
    """A driver without a router: its key goes on the wire, errors are held, and failed answers are tried again."""

    ready = False
    owner: object = KEY
    repeatable = True
    timeouts = Timeouts()
    body_limit = 1000
    hold_seconds = 1.0

    def __init__(self, ready: bool) -> None:
        flow = http.HTTPFlow(_client(), Server(address=None))
        flow.request = http.Request.make("GET", "http://t.invalid/")
        self.own_flow = flow
        super().__init__(flow, cast("DriverContext", SimpleNamespace(keys=Credentials())), "")
        self.ready = ready
        self.key = KEY

    def wire_request(self, request: http.Request, server: Server) -> http.Request:
        copy = request.copy()
        copy.headers["authorization"] = self.key
        return copy

    def wire_body(self, content: bytes) -> bytes:
        return content.upper()

    def answered(self, event: AnswerEvent) -> Reaction:
        if isinstance(event, Head):
            return "hold" if event.status >= 400 else "deliver"
        return "next"

    def answer_filter(self) -> AnswerFilter:
        return AnswerFilter(Credentials(), self.body_limit)

    def wake(self, seconds: float, timer: commands.RequestWakeup) -> asyncio.TimerHandle | None:
        return None


class LayerRig:
    """One client connection through the layer: bytes in, bytes out."""

    def __init__(self, ready: bool, *, http2: bool = False) -> None:
        self.client = _client()
        self.client.alpn = b"h2" if http2 else None
        self.layer = mitm.HttpLayer(context.Context(self.client, _options()), mitm.HTTPMode.regular)
        upstream_layer.adopt(self.layer)
        self.driver = StubDriver(ready)
        self.attached: object = self.driver
        self.flow: http.HTTPFlow | None = None
        self.server: Server | None = None
        self.hooks: list[str] = []
        self.sent: dict[object, bytes] = {}
        self.drops = False
        self.feed(events.Start())

    def feed(self, event: events.Event) -> None:
        waiting = [event]
        while waiting:
            for command in self.layer.handle_event(waiting.pop(0)):
                waiting += self.carry_out(command)

    def carry_out(self, command: commands.Command) -> list[events.Event]:
        match command:
            case commands.SendData(connection=connection, data=data):
                self.sent[connection] = self.sent.get(connection, b"") + data
            case commands.OpenConnection(connection=connection):
                assert isinstance(connection, Server)
                self.server, connection.state, connection.alpn = connection, ConnectionState.OPEN, self.client.alpn
                return [events.OpenConnectionCompleted(command, None)]
            case commands.CloseConnection(connection=connection):
                connection.state = ConnectionState.CLOSED
            case commands.StartHook():
                self.run_hook(command)
                return [events.HookCompleted(command)] if command.blocking else []
        return []

    def run_hook(self, hook: commands.StartHook) -> None:
        self.hooks.append(hook.name)
        argument: Any = hook.args()[0]
        if hook.name == "requestheaders":
            self.flow = argument
            argument.patchbay = self.attached
        if hook.name == "websocket_message" and self.drops:
            argument.websocket.messages[-1].drop()
        if hook.name == "patchbay_next":
            argument.again = True
            self.driver.key = KEY + "-two"

    def ask(self) -> None:
        self.feed(
            events.DataReceived(
                self.client, b"POST http://t.invalid/ HTTP/1.1\r\nhost: t.invalid\r\ncontent-length: 2\r\n\r\nhi"
            )
        )

    def taken(self, connection: object) -> bytes:
        return self.sent.pop(connection, b"")


def _client() -> Client:
    here = ("127.0.0.1", 1)
    return Client(peername=here, sockname=here, state=ConnectionState.OPEN, timestamp_start=0)


def _options() -> options.Options:
    made = options.Options()
    for name, value in _OPTIONS.items():
        if name not in made:
            made.add_option(name, type(value), value, "")
    return made
