"""Commands of a layer reach whom mitmproxy's own HTTP layer sends them to, in the same order."""

from __future__ import annotations

from typing import Any

from hypothesis import given, strategies as st
from mitmproxy.connection import Server
from mitmproxy.options import Options
from mitmproxy.proxy import commands, context, events
from mitmproxy.proxy.layers import http as layers
from mitmproxy.proxy.layers.http._base import ReceiveHttp
from mitmproxy.test import tflow, tutils

from patchbay.proxy.host.http_routing import _event_to_child

SERVERS = [Server(address=("example.com", port)) for port in (1, 2)]
HOOK = layers.HttpRequestHook(tflow.tflow())


class Child:
    """A layer that answers every event with the commands that it was made with."""

    def __init__(self, asked: list[commands.Command]) -> None:
        self.asked, self.seen = asked, []  # type: ignore[var-annotated]

    def handle_event(self, event: Any) -> Any:
        self.seen.append(event)
        yield from self.asked


class HttpLayer(layers.HttpLayer):
    """mitmproxy's layer, which notes what else it is asked."""

    ours = False

    def __init__(self) -> None:
        super().__init__(context.Context(tflow.tclient_conn(), Options()), layers.HTTPMode.regular)
        self.asked: list[object] = []

    def event_to_child(self, child: Any, event: Any) -> Any:
        return _event_to_child(self, child, event) if self.ours else super().event_to_child(child, event)

    def make_stream(self, stream_id: int) -> Any:
        self.asked.append(("stream", stream_id))
        self.streams[stream_id] = Child([commands.Log(f"stream {stream_id}")])  # type: ignore[assignment]
        yield commands.Log("made")

    def get_connection(self, event: Any, *, reuse: bool = True) -> Any:
        self.asked.append(event)
        yield commands.Log("connection")

    def register_connection(self, command: Any) -> Any:
        self.asked.append(command)
        yield commands.Log("registered")


def _commands() -> Any:
    server, number = st.sampled_from(SERVERS), st.integers(1, 3)
    received = st.one_of(
        st.builds(layers.RequestHeaders, number, st.just(tutils.treq()), st.booleans(), st.none()),
        st.builds(layers.ResponseData, number, st.binary(max_size=3)),
        st.builds(layers.RequestEndOfMessage, number),
    )
    return st.one_of(
        st.builds(commands.SendData, server, st.binary(max_size=3)),
        st.builds(commands.Log, st.just("said")),
        st.builds(commands.CloseConnection, server),
        st.builds(commands.CloseTcpConnection, server, st.booleans()),
        st.builds(commands.OpenConnection, server),
        st.builds(commands.RequestWakeup, st.just(1.0)),
        st.just(HOOK),
        st.builds(ReceiveHttp, received),
        st.builds(layers.SendHttp, received, server),
        st.builds(layers.DropStream, number),
        st.builds(layers.GetHttpConnection, st.just(("example.com", 1)), st.booleans(), st.none(), st.just("tcp")),
        st.builds(layers.RegisterHttpConnection, server, st.none()),
    )


def _outcome(asked: list[commands.Command], *, ours: bool) -> Any:
    made = HttpLayer()
    made.ours = ours
    ends = [Child([commands.Log(f"server {number}")]) for number in range(2)]
    made.connections.update(zip(SERVERS, ends, strict=True))  # type: ignore[arg-type]
    child = Child(asked)
    told = list(made.event_to_child(child, events.Start()))
    sources = [(command, source is child) for command, source in made.command_sources.items()]
    streams = {number: stream.seen for number, stream in made.streams.items()}  # type: ignore[attr-defined]
    mine = [(server.address, source is child) for server, source in made.connections.items()]
    return [repr(each) for each in told], sources, streams, mine, made.asked, [end.seen for end in ends]


@given(st.lists(_commands(), max_size=8))
def test_all_commands_are_routed_alike(asked: list[commands.Command]) -> None:
    assert _outcome(asked, ours=True) == _outcome(asked, ours=False)
