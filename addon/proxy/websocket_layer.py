"""mitmproxy's WebSocket layer with bounds on messages, and with the keys covered that an upstream quotes."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Generator
from typing import Any

import wsproto.events
from mitmproxy import http
from mitmproxy.proxy import commands, context, events
from mitmproxy.proxy.layers import websocket
from mitmproxy.websocket import WebSocketMessage
from wsproto.connection import ConnectionState
from wsproto.frame_protocol import CloseReason, Opcode

Commands = Generator[commands.Command, Any, None]

_END_WITH = "patchbay_ending"
_END_BEHIND = "patchbay_last"
_PING = "patchbay_ping"
_INSTEAD = "patchbay_instead"
_READ = 1 << 16  # bytes that mitmproxy reads at once
_SLICE = 4096  # bytes that are parsed at once
_SPELL = 0.002  # seconds of work before a pause for others
_FRAGMENTS = 1024  # of one message; with more, it is not sent on in its own fragments
_EACH = 16  # bytes that each frame counts for, even an empty one
_GOING_AWAY = wsproto.events.CloseConnection(CloseReason.GOING_AWAY)
_BROKEN_OFF = "the other end broke the connection off"


def end_with(message: WebSocketMessage, code: int, reason: str) -> None:
    """Drop *message* in its hook and close its WebSocket with *code* and *reason* for both ends."""
    message.drop()
    vars(message)[_END_WITH] = code, reason


def end_behind(message: WebSocketMessage, code: int, reason: str) -> None:
    """In the hook of *message*, close its WebSocket right behind it, with *code* and *reason* for the client alone."""
    vars(message)[_END_BEHIND] = code, reason


def send_instead(message: WebSocketMessage, content: bytes) -> None:
    """In the hook of *message*, let the other end get *content* in the place of what the flow holds."""
    vars(message)[_INSTEAD] = content


def closing(flow: http.HTTPFlow, code: int, reason: str) -> websocket.WebSocketMessageInjected:
    """Return the event that closes the WebSocket of *flow*, with *code* and *reason* for the client alone."""
    message = WebSocketMessage(Opcode.TEXT, True, b"")
    end_behind(message, code, reason)
    return websocket.WebSocketMessageInjected(flow, message)


def ping(flow: http.HTTPFlow) -> websocket.WebSocketMessageInjected:
    """Return the event that pings the upstream of *flow*."""
    message = WebSocketMessage(Opcode.PING, True, b"")
    vars(message)[_PING] = True
    return websocket.WebSocketMessageInjected(flow, message)


class _Incoming:
    """The input of one end: bytes that are not parsed yet, events that are not handled yet, the unfinished message."""

    def __init__(self, source: websocket.WebsocketConnection) -> None:
        self.source = source
        self.unread: deque[bytes | None] = deque()  # None: the connection is closed
        self.events: deque[wsproto.events.Event] = deque()
        self.assembly = _UnfinishedMessage()
        self._waiting = 0  # bytes that came since the input was empty
        self._is_over = False

    def add(self, data: bytes | None, limit: int) -> None:
        """Queue *data*; more than *limit* queued bytes end the socket."""
        if self._is_over:
            return
        if not (self.unread or self.events):
            self._waiting = 0
        self._waiting += len(data or b"")
        if self._waiting > limit + _READ:
            self._is_over = True
            self.unread.clear()
            reason = f"more than {limit} bytes while a message waits"
            self.events.append(wsproto.events.CloseConnection(CloseReason.MESSAGE_TOO_BIG, reason))
        else:
            self.unread.append(data)

    def parse(self) -> None:
        """Parse the next slice of the queue."""
        data = self.unread.popleft()
        if data is not None and len(data) > _SLICE:
            self.unread.appendleft(data[_SLICE:])
            data = data[:_SLICE]
        self.source.receive_data(data)
        self.events.extend(self.source.events())

    def ends(self) -> bool:
        """Parse one slice or more, for a moment at most, and return whether this end closes the socket."""
        until = time.monotonic() + _SPELL
        while self.unread:
            self.parse()
            if time.monotonic() >= until:
                break
        return any(isinstance(event, wsproto.events.CloseConnection) for event in self.events)


class _UnfinishedMessage:
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
        """Return the Fragmentizer that cuts a message as this one was cut, unless its fragments are too many."""
        cut = websocket.Fragmentizer([], is_text)
        if len(self._fragments) < _FRAGMENTS:
            cut.fragment_lengths = self._fragments
        return cut


class PatchbayWebsocket(websocket.WebsocketLayer):
    """
    One WebSocket of an account.

    A message of more than *limit* bytes ends it (1009). *scrub* covers the keys in the upstream's close reasons and
    pings; the addon covers those in messages. *pause* makes the command that pauses for others. *left* is called when
    the client leaves, also while a message of its waits; *heard* for any frame of the upstream.
    """

    def __init__(
        self,
        context: context.Context,
        flow: http.HTTPFlow,
        limit: int,
        scrub: Callable[[bytes], bytes],
        pause: Callable[[], commands.Command],
        left: Callable[[], None],
        heard: Callable[[], None],
    ) -> None:
        super().__init__(context, flow)
        self._limit = limit
        self._scrub = scrub
        self._pause = pause
        self._left = left
        self._heard = heard
        self._coming: dict[bool, _Incoming] = {}  # by whether it comes from the client
        self._is_over = False

    def handle_event(self, event: events.Event) -> Commands:
        # unlike relay_messages this also sees events that come while a message waits
        if isinstance(event, events.ConnectionEvent) and not self._is_over:
            self._take(event, event.connection == self.context.client)
        return super().handle_event(event)

    def _take(self, event: events.ConnectionEvent, from_client: bool) -> None:
        if not self._coming:
            self._coming = {True: _Incoming(self.client_ws), False: _Incoming(self.server_ws)}
        coming = self._coming[from_client]
        coming.add(event.data if isinstance(event, events.DataReceived) else None, self._limit)
        if not from_client:
            self._heard()
        elif self._paused and coming.ends():
            self._left()

    def relay_messages(self, event: events.Event) -> Commands:
        if isinstance(event, websocket.WebSocketMessageInjected):
            yield from self._injected(event.message)
        elif isinstance(event, events.ConnectionEvent):
            yield from self._relayed(event.connection == self.context.client)

    def _relayed(self, from_client: bool) -> Commands:
        coming, begun = self._coming[from_client], time.monotonic()
        while (coming.events or coming.unread) and not self._is_over:
            if not coming.events:
                coming.parse()
                continue
            if time.monotonic() - begun > _SPELL:
                yield self._pause()
                begun = time.monotonic()
            match coming.events.popleft():
                case wsproto.events.Message() as event:
                    yield from self._piece(event, from_client)
                case wsproto.events.Ping() | wsproto.events.Pong() as event:
                    yield from self._control(event, from_client)
                case wsproto.events.CloseConnection() as event:
                    yield from self._pass_on_close(event, from_client)

    def _piece(self, event: wsproto.events.Message[Any], from_client: bool) -> Commands:
        coming = self._coming[from_client]
        coming.assembly.add(event)
        if coming.assembly.size > self._limit:
            coming.assembly = _UnfinishedMessage()
            reason = f"a message of more than {self._limit} bytes"
            yield from self._end(wsproto.events.CloseConnection(CloseReason.MESSAGE_TOO_BIG, reason), from_client)
        elif event.message_finished:
            whole, coming.assembly = coming.assembly, _UnfinishedMessage()
            is_text = isinstance(event.data, str)
            message = WebSocketMessage(Opcode.TEXT if is_text else Opcode.BINARY, from_client, whole.content())
            yield from self._shown(message, whole.fragmentizer(is_text))

    def _injected(self, message: WebSocketMessage) -> Commands:
        if self._is_over:
            return
        if _PING in vars(message):
            yield from _sent(self.server_ws, wsproto.events.Ping())
        elif last := vars(message).get(_END_BEHIND):
            yield from self._close_both(*last)
        else:
            injected = WebSocketMessage(message.type, message.from_client, message.content, injected=True)
            yield from self._shown(injected, websocket.Fragmentizer([], message.type == Opcode.TEXT))

    def _shown(self, message: WebSocketMessage, cut: websocket.Fragmentizer) -> Commands:
        assert self.flow.websocket
        target = self.server_ws if message.from_client else self.client_ws
        self.flow.websocket.messages.append(message)
        if message.from_client and self._coming and self._coming[True].ends():
            self._left()
        yield websocket.WebsocketMessageHook(self.flow)
        if ending := vars(message).get(_END_WITH):
            yield from self._end(wsproto.events.CloseConnection(*ending), message.from_client)
            return
        if not message.dropped:
            for event in cut(vars(message).get(_INSTEAD, message.content)):
                yield from _sent(target, event)
        if last := vars(message).get(_END_BEHIND):
            yield from self._close_both(*last)

    def _control(self, event: wsproto.events.Ping | wsproto.events.Pong, from_client: bool) -> Commands:
        payload = bytes(event.payload)
        if not from_client:
            payload = self._scrub(payload)
        name, source = type(event).__name__, "client" if from_client else "server"
        yield commands.Log(f"Received WebSocket {name.lower()} from {source} (payload: {payload!r})")
        target = self.server_ws if from_client else self.client_ws
        yield from _sent(target, type(event)(payload=payload))

    def _pass_on_close(self, event: wsproto.events.CloseConnection, from_client: bool) -> Commands:
        if event.code == CloseReason.ABNORMAL_CLOSURE:
            # no frame has this code, and wsproto would send 1000, a normal end
            broken = wsproto.events.CloseConnection(CloseReason.INTERNAL_ERROR, _BROKEN_OFF)
            yield from self._end(event, from_client, client=broken, server=_GOING_AWAY)
        elif event.reason and not from_client:
            reason = self._scrub(event.reason.encode()).decode()
            yield from self._end(wsproto.events.CloseConnection(event.code, reason), from_client)
        else:
            yield from self._end(event, from_client)

    def _close_both(self, code: int, reason: str) -> Commands:
        told = wsproto.events.CloseConnection(code, reason)
        yield from self._end(told, from_client=False, client=told, server=_GOING_AWAY)

    def _end(
        self,
        event: wsproto.events.CloseConnection,
        from_client: bool,
        *,
        client: wsproto.events.CloseConnection | None = None,
        server: wsproto.events.CloseConnection | None = None,
    ) -> Commands:
        """End the socket: record *event*, and send it, or *client* and *server* in its place, to the two ends."""
        assert self.flow.websocket
        self.flow.websocket.timestamp_end = time.time()
        self.flow.websocket.closed_by_client = from_client
        self.flow.websocket.close_code = event.code
        self.flow.websocket.close_reason = event.reason
        self._is_over = True
        for end, told in ((self.server_ws, server or event), (self.client_ws, client or event)):
            if end.state in (ConnectionState.OPEN, ConnectionState.REMOTE_CLOSING):
                yield end.send2(told)
            yield commands.CloseConnection(end.conn)
        yield websocket.WebsocketEndHook(self.flow)
        self.flow.live = False
        self._handle_event = self.done


def _sent(end: websocket.WebsocketConnection, event: wsproto.events.Event) -> Commands:
    if end.state is ConnectionState.OPEN:  # it may be closing
        yield end.send2(event)


class ObservedWebsocket(websocket.WebsocketLayer):
    """
    mitmproxy's own layer, for a flow that holds its messages without credentials.

    The hook of a message may change what the flow holds of it; *came* returns what is sent in place of that.
    """

    def __init__(self, above: context.Context, flow: http.HTTPFlow, came: Callable[[bytes], bytes]) -> None:
        super().__init__(above, flow)
        self._came = came
        self._sending: tuple[WebSocketMessage, bytes] | None = None  # a message, and what the flow holds of it

    def relay_messages(self, event: events.Event) -> Commands:
        relaying, reply = super().relay_messages(event), None
        while True:
            try:
                command = relaying.send(reply)
            except StopIteration:
                break
            if isinstance(command, commands.StartHook):  # the message before has been sent, and the flow may be saved
                self._hide()
            reply = yield command
            if isinstance(command, websocket.WebsocketMessageHook):
                self._uncover()
        self._hide()

    def _uncover(self) -> None:
        message = self.flow.websocket.messages[-1] if self.flow.websocket else None
        if message is not None and (came := self._came(message.content)) != message.content:
            self._sending = message, message.content
            message.content = came

    def _hide(self) -> None:
        if self._sending is not None:
            message, held = self._sending
            message.content, self._sending = held, None
