"""mitmproxy's WebSocket layer with bounds on what a message may be, and a cover over what an upstream quotes."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from typing import Any

import wsproto.events
from mitmproxy import http
from mitmproxy.proxy import commands, context, events
from mitmproxy.proxy.layers import websocket
from mitmproxy.websocket import WebSocketMessage
from wsproto.connection import ConnectionState
from wsproto.frame_protocol import CloseReason, Opcode

_ENDING = "patchbay_ending"
Commands = Generator[commands.Command, Any, None]

_SLICE = 4096  # bytes that are parsed at a time
_SPELL = 0.002  # seconds of work after which others get their turn
_FRAGMENTS = 1024  # of one message; where there are more they are not sent on as they came
_EACH = 16  # bytes that a frame counts for, also if it is empty


def end_with(message: WebSocketMessage, code: int, reason: str) -> None:
    """Let *message*, while it is shown, be the last of its WebSocket: it goes nowhere, and both ends are told why."""
    message.drop()
    vars(message)[_ENDING] = code, reason


class _Assembly:
    """The message of one direction that has begun to come."""

    def __init__(self) -> None:
        self.size = 0  # bytes; each frame counts for some
        self._pieces: list[bytes] = []
        self._fragments = [0]

    def add(self, event: wsproto.events.Message[Any]) -> None:
        piece = event.data.encode() if isinstance(event.data, str) else bytes(event.data)
        self.size += len(piece)
        self._fragments[-1] += len(piece)
        if piece:
            self._pieces.append(piece)
        if event.frame_finished and not event.message_finished:
            self.size += _EACH
            if len(self._fragments) < _FRAGMENTS:
                self._fragments.append(0)

    def content(self) -> bytes:
        return b"".join(self._pieces)

    def fragmentizer(self, is_text: bool) -> websocket.Fragmentizer:
        """Return what cuts a message as this one was cut, if that is worth it."""
        cut = websocket.Fragmentizer([], is_text)
        if len(self._fragments) < _FRAGMENTS:
            cut.fragment_lengths = self._fragments
        return cut


class PatchbayWebsocket(websocket.WebsocketLayer):
    """
    One WebSocket of an account.

    A message of more than *limit* bytes ends it (1009). *scrub* covers the keys in reasons and pings of the upstream;
    messages are shown to the addon, which does so itself. *pause* makes the command that lets others go on.
    """

    def __init__(
        self,
        context: context.Context,
        flow: http.HTTPFlow,
        limit: int,
        scrub: Callable[[bytes], bytes],
        pause: Callable[[], commands.Command],
    ) -> None:
        super().__init__(context, flow)
        self._limit = limit
        self._scrub = scrub
        self._pause = pause
        self._coming = {True: _Assembly(), False: _Assembly()}  # by whether it comes from the client
        self._is_over = False

    def relay_messages(self, event: events.Event) -> Commands:
        if isinstance(event, websocket.WebSocketMessageInjected):
            yield from self._injected(event.message)
            return
        assert isinstance(event, events.ConnectionEvent)
        from_client = event.connection == self.context.client
        source = self.client_ws if from_client else self.server_ws
        if not isinstance(event, events.DataReceived):
            source.receive_data(None)
            yield from self._relayed(source, from_client, time.monotonic())
            return
        begun = time.monotonic()
        for start in range(0, len(event.data), _SLICE):
            if self._is_over:
                return
            source.receive_data(event.data[start : start + _SLICE])
            begun = yield from self._relayed(source, from_client, begun)

    def _relayed(
        self, source: websocket.WebsocketConnection, from_client: bool, begun: float
    ) -> Generator[commands.Command, Any, float]:
        """Relay what has come at *source*, with pauses; return when the work since the last one began."""
        for event in source.events():
            if time.monotonic() - begun > _SPELL:
                yield self._pause()
                begun = time.monotonic()
            match event:
                case wsproto.events.Message():
                    yield from self._piece(event, from_client)
                case wsproto.events.Ping() | wsproto.events.Pong():
                    yield from self._control(event, from_client)
                case wsproto.events.CloseConnection():
                    yield from self._closed(event, from_client)
            if self._is_over:
                break
        return begun

    def _piece(self, event: wsproto.events.Message[Any], from_client: bool) -> Commands:
        coming = self._coming[from_client]
        coming.add(event)
        if coming.size > self._limit:
            self._coming[from_client] = _Assembly()
            reason = f"a message of more than {self._limit} bytes"
            yield from self._closed(
                wsproto.events.CloseConnection(CloseReason.MESSAGE_TOO_BIG, reason), from_client, by_us=True
            )
        elif event.message_finished:
            self._coming[from_client] = _Assembly()
            is_text = isinstance(event.data, str)
            message = WebSocketMessage(Opcode.TEXT if is_text else Opcode.BINARY, from_client, coming.content())
            yield from self._shown(message, coming.fragmentizer(is_text))

    def _injected(self, message: WebSocketMessage) -> Commands:
        injected = WebSocketMessage(message.type, message.from_client, message.content, injected=True)
        yield from self._shown(injected, websocket.Fragmentizer([], message.type == Opcode.TEXT))

    def _shown(self, message: WebSocketMessage, cut: websocket.Fragmentizer) -> Commands:
        assert self.flow.websocket
        target = self.server_ws if message.from_client else self.client_ws
        self.flow.websocket.messages.append(message)
        yield websocket.WebsocketMessageHook(self.flow)
        if ending := vars(message).get(_ENDING):
            yield from self._closed(wsproto.events.CloseConnection(*ending), message.from_client, by_us=True)
        elif not message.dropped:
            for event in cut(message.content):
                yield target.send2(event)

    def _control(self, event: wsproto.events.Ping | wsproto.events.Pong, from_client: bool) -> Commands:
        payload = bytes(event.payload)
        if not from_client:
            payload = self._scrub(payload)
        name, source = type(event).__name__, "client" if from_client else "server"
        yield commands.Log(f"Received WebSocket {name.lower()} from {source} (payload: {payload!r})")
        target = self.server_ws if from_client else self.client_ws
        yield target.send2(type(event)(payload=payload))

    def _closed(self, event: wsproto.events.CloseConnection, from_client: bool, *, by_us: bool = False) -> Commands:
        assert self.flow.websocket
        reason = event.reason
        if reason and not (from_client or by_us):
            reason = self._scrub(reason.encode()).decode()
        told = wsproto.events.CloseConnection(event.code, reason)
        self.flow.websocket.timestamp_end = time.time()
        self.flow.websocket.closed_by_client = from_client
        self.flow.websocket.close_code = event.code
        self.flow.websocket.close_reason = reason
        self._is_over = True
        for end in (self.server_ws, self.client_ws):
            if end.state in (ConnectionState.OPEN, ConnectionState.REMOTE_CLOSING):
                yield end.send2(told)
            yield commands.CloseConnection(end.conn)
        yield websocket.WebsocketEndHook(self.flow)
        self.flow.live = False
        self._handle_event = self.done
