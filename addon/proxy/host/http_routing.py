"""What a layer asks of the HTTP layer above it, carried out by the kind of the command, not by a row of questions."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from mitmproxy.proxy import commands, events, layer
from mitmproxy.proxy.layers import http as layers
from mitmproxy.proxy.layers.http import _base

from .host_step import HostStep

_PASS = frozenset((commands.SendData, commands.Log, commands.CloseConnection))  # commands without a reply


def _event_to_child(
    self: Any, child: layer.Layer | layers.HttpStream, event: events.Event
) -> Generator[commands.Command, Any, None]:
    for command in child.handle_event(event):
        kind = type(command)
        if kind in _PASS:
            yield command
        elif kind is _base.ReceiveHttp:
            yield from _received(self, command.event)  # type: ignore[attr-defined]
        elif isinstance(command, commands.StartHook):
            if command.blocking:
                self.command_sources[command] = child
            yield command
        elif kind is layers.SendHttp:
            yield from self.event_to_child(self.connections[command.connection], command.event)  # type: ignore[attr-defined]
        else:
            yield from _carried_out(self, child, command)


def _received(self: Any, event: Any) -> Generator[commands.Command, Any, None]:
    if isinstance(event, layers.RequestHeaders):
        yield from self.make_stream(event.stream_id)
    try:
        stream = self.streams[event.stream_id]
    except KeyError:
        return  # it is over
    yield from self.event_to_child(stream, event)


def _carried_out(self: Any, child: Any, command: commands.Command) -> Generator[commands.Command, Any, None]:
    if command.blocking or isinstance(command, commands.RequestWakeup):
        self.command_sources[command] = child
    if isinstance(command, layers.DropStream):
        self.streams.pop(command.stream_id, None)
    elif isinstance(command, layers.GetHttpConnection):
        yield from self.get_connection(command)
    elif isinstance(command, layers.RegisterHttpConnection):
        yield from self.register_connection(command)
    elif isinstance(command, commands.OpenConnection):
        self.connections[command.connection] = child
        yield command
    else:
        assert isinstance(command, commands.Command)
        yield command


ROUTING = HostStep(
    replaced=((layers.HttpLayer, "event_to_child", _event_to_child),),
    known=(commands, _base),
    written_for=("451febb219cdb61a",),  # 12.2.0 to 12.3.1
)
