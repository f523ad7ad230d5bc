"""
A client and its upstreams around the real layer, without sockets: each speaks HTTP/1 or HTTP/2.

A test says what each peer sends, which timer runs out and which hook finishes; every peer keeps the messages it got.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, Literal, cast

import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import DataReceived, RequestReceived, ResponseReceived, StreamEnded, StreamReset, TrailersReceived
from mitmproxy import http
from mitmproxy.connection import ConnectionState, Server
from mitmproxy.proxy import commands, events

from patchbay.proxy import layer_rig, stream_lane, upstream_attempt, upstream_stream
from patchbay.proxy.upstream_stream import PatchbayStream
from patchbay.values.account import Timeouts
from patchbay.values.answer import AnswerEvent, Chunk, End, Failure, Head, Overdue, Reaction
from patchbay.values.decision import Refusal

Version = Literal["h1", "h2"]
PAIRS: list[tuple[Version, Version]] = [("h1", "h1"), ("h1", "h2"), ("h2", "h1"), ("h2", "h2")]
OVER = pytest.mark.parametrize("over", PAIRS, ids=[f"{client}-{upstream}" for client, upstream in PAIRS])
LIMIT = 1000  # bytes of a body that the driver lets wait


@dataclass
class Message:
    """One request or answer as a peer got it. *end*: `` (not yet), `complete` or `broken`."""

    stream: int = 0
    start: str = ""  # method or status
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    end: str = ""
    trailers: dict[str, str] = field(default_factory=dict)
    left: int | None = None  # bytes of a body of known length that are missing
    code: int = 0  # of the reset that broke it


class Http1:
    """What came on one connection of HTTP/1."""

    def __init__(self, *, of_client: bool) -> None:
        self.of_client = of_client
        self.messages: list[Message] = []
        self._buffer = b""

    def receive(self, data: bytes) -> None:
        self._buffer += data
        while self._buffer and self._step():
            pass

    def _step(self) -> bool:
        if not self.messages or self.messages[-1].end:
            head, found, rest = self._buffer.partition(b"\r\n\r\n")
            if not found:
                return False
            self._buffer = rest
            self.messages.append(self._head(head.decode()))
            return True
        return self._body(self.messages[-1])

    def _head(self, head: str) -> Message:
        first, *lines = head.split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        message = Message(start=first.split(" ")[1 if self.of_client else 0], headers=headers)
        if headers.get("transfer-encoding") != "chunked":
            unknown = None if self.of_client else 0
            message.left = int(headers["content-length"]) if "content-length" in headers else unknown
        if message.left == 0 or message.start in ("204", "304"):
            message.end = "complete"
        return message

    def _body(self, message: Message) -> bool:
        if "content-length" in message.headers and message.left is not None:
            taken, self._buffer = self._buffer[: message.left], self._buffer[message.left :]
            message.body, message.left = message.body + taken, message.left - len(taken)
            message.end = "" if message.left else "complete"
            return True
        if message.headers.get("transfer-encoding") != "chunked":
            message.body, self._buffer = message.body + self._buffer, b""
            return True
        size, found, rest = self._buffer.partition(b"\r\n")
        if not found:
            return False
        if size == b"0":
            lines, _, self._buffer = (b"\r\n" + rest).partition(b"\r\n\r\n")
            fields = (line.decode().partition(": ") for line in lines.split(b"\r\n") if line)
            message.trailers, message.end = {name.lower(): value for name, _, value in fields}, "complete"
            return True
        message.body, self._buffer = message.body + rest[: int(size, 16)], rest[int(size, 16) + 2 :]
        return True

    def closed(self) -> None:
        """The connection was closed: an unfinished message is broken, unless its end is the connection's."""
        if self.messages and not self.messages[-1].end:
            message = self.messages[-1]
            until_close = "content-length" not in message.headers and "transfer-encoding" not in message.headers
            message.end = "complete" if until_close else "broken"


class Http2:
    """What came on one connection of HTTP/2, and what is said on it."""

    def __init__(self, *, of_client: bool) -> None:
        self.speaker = H2Connection(H2Configuration(client_side=of_client, header_encoding="utf-8"))
        self.speaker.initiate_connection()
        self.messages: list[Message] = []

    def receive(self, data: bytes) -> None:
        for event in self.speaker.receive_data(data):
            match event:
                case RequestReceived() | ResponseReceived():
                    headers = dict(cast("Iterable[tuple[str, str]]", event.headers))
                    start = headers.get(":status") or headers[":method"]
                    self.messages.append(Message(event.stream_id, start, headers))
                case DataReceived():
                    self.of(event.stream_id).body += event.data
                case TrailersReceived():
                    self.of(event.stream_id).trailers = dict(cast("Iterable[tuple[str, str]]", event.headers))
                case StreamEnded():
                    self.of(event.stream_id).end = "complete"
                case StreamReset():
                    message = self.of(event.stream_id)
                    message.end, message.code = "broken", int(event.error_code or 0)

    def of(self, stream: int) -> Message:
        for message in self.messages:
            if message.stream == stream:
                return message
        self.messages.append(Message(stream))
        return self.messages[-1]

    def closed(self) -> None:
        for message in self.messages:
            message.end = message.end or "broken"


class Clock:
    """Stands in for `time` in the stream; every look at it takes *step* seconds."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.step = 0.0

    def monotonic(self) -> float:
        self.now += self.step
        return self.now


class Driver(layer_rig.StubDriver):
    """Reacts to each kind of event as *reacts* says, and keeps what it was told and which timers were set."""

    def __init__(self) -> None:
        super().__init__(ready=True)
        self.body_limit = LIMIT
        self.timeouts = Timeouts(connect=10, first_byte=20, idle=30, total=0)
        self.reacts: dict[type[AnswerEvent], Reaction] = {
            Head: "deliver", Chunk: "deliver", End: "deliver", Failure: "next", Overdue: "deliver",
        }  # fmt: skip
        self.told: list[AnswerEvent] = []
        self.calls: list[FakeCall] = []
        self.said = b""  # what ends a stream that was cut
        self.lease = route(1)

    def wire_request(self, request: http.Request, server: Server) -> http.Request:
        copy = super().wire_request(request, server)
        if server.alpn != b"h2" and not {"content-length", "transfer-encoding"} & set(copy.headers):
            if request.stream:
                copy.headers["transfer-encoding"] = "chunked"
            else:
                copy.headers["content-length"] = str(len(request.raw_content or b""))
        return copy

    def answered(self, what: AnswerEvent) -> Reaction:
        self.told.append(what)
        return self.reacts[type(what)]

    def wake(self, seconds: float, timer: commands.RequestWakeup) -> asyncio.TimerHandle:
        self.calls.append(FakeCall(cast("Any", timer).what, seconds))
        return cast("asyncio.TimerHandle", self.calls[-1])

    def closing_event(self, refusal: Refusal) -> bytes:
        return self.said

    @property
    def failures(self) -> list[str]:
        return [each.kind for each in self.told if isinstance(each, Failure)]

    @property
    def armed(self) -> list[tuple[str, float]]:
        return [(each.what, each.seconds) for each in self.calls if not each.cancelled]


@dataclass
class FakeCall:
    """A call that is still to come."""

    what: str
    seconds: float
    cancelled: bool = False

    def cancel(self) -> None:
        self.cancelled = True


class Rig(layer_rig.LayerRig):
    """One client, one exchange at a time, and an upstream for every connection that is opened."""

    driver: Driver

    def __init__(self, client: Version = "h1", upstream: Version = "h1", clock: Clock | None = None) -> None:
        self.clock = clock or Clock()
        self.versions = (client, upstream)
        self.peer: Http1 | Http2 = (Http2 if client == "h2" else Http1)(of_client=True)
        self.upstreams: dict[Server, Http1 | Http2] = {}
        self.requests: list[tuple[Server, Message]] = []  # each attempt that has reached an upstream
        self.slow = False  # connections are made by `connected`, or fail by `refused`
        self.waits: list[commands.OpenConnection] = []
        self.paused: set[str] = set()  # hooks that wait for `go_on`
        self.suspended: list[commands.StartHook] = []
        self.closed: list[object] = []  # connections that the layer closed
        self.kills: set[str] = set()  # hooks in which the user kills the flow
        self.streams = True  # answers stream
        self.uploads = False  # request bodies stream
        self.moves = True  # a next route is found
        self.instead: Refusal | None = None
        self.own: http.Response | None = None  # the answer that is set at the request's head
        self.attempts = 1
        self.stream_id = -1
        self._chunked = False
        self.flows: list[Any] = []
        super().__init__(ready=True, http2=client == "h2")
        self.driver = self.attached = Driver()

    # -- the layer's commands --------------------------------------------------------------------------------------

    def feed(self, event: events.Event) -> None:
        super().feed(event)
        for connection in list(self.sent):
            peer = self.peer if connection is self.client else self.upstreams[cast("Server", connection)]
            peer.receive(self.taken(connection))
        self._collect()

    def is_given_up(self, attempt: int = -1) -> bool:
        """Whether the layer has cancelled *attempt*: HTTP/1 by closing its connection, HTTP/2 by a reset."""
        server, message = self.requests[attempt]
        return not server.connected if self.versions[1] == "h1" else message.end == "broken"

    @property
    def keys(self) -> list[str]:
        """The credential that each attempt carried, in short."""
        return [message.headers["authorization"].removeprefix(layer_rig.KEY) for _, message in self.requests]

    def _collect(self) -> None:
        known = {id(message) for _, message in self.requests}
        for server, peer in self.upstreams.items():
            self.requests += [(server, message) for message in peer.messages if id(message) not in known]

    def carry_out(self, command: commands.Command) -> list[events.Event]:
        if isinstance(command, commands.OpenConnection):
            self.waits.append(command)
            return [] if self.slow else [self._opened(self.waits.pop())]
        if isinstance(command, commands.CloseConnection):
            connection = command.connection
            self.closed.append(connection)
            peer = self.peer if connection is self.client else self.upstreams.get(cast("Server", connection))
            if peer and connection in self.sent:
                peer.receive(self.taken(connection))
            if peer:
                peer.closed()
            return super().carry_out(command)
        if isinstance(command, commands.StartHook) and command.name in self.paused:
            self.suspended.append(command)
            return []
        return super().carry_out(command)

    def _opened(self, command: commands.OpenConnection) -> events.Event:
        server = cast("Server", command.connection)
        version = self.versions[1]
        self.server, server.state, server.alpn = server, ConnectionState.OPEN, b"h2" if version == "h2" else None
        self.upstreams[server] = (Http2 if version == "h2" else Http1)(of_client=False)
        return events.OpenConnectionCompleted(command, None)

    def run_hook(self, hook: commands.StartHook) -> None:
        argument: Any = hook.args()[0]
        if hook.name == "patchbay_next":
            self.hooks.append(hook.name)
            if self.moves:
                self.attempts += 1
                argument.again, self.driver.key = True, f"{layer_rig.KEY}-{self.attempts}"
                self.driver.lease = route(self.attempts)
            argument.instead = self.instead
            return
        super().run_hook(hook)
        if hook.name == "requestheaders":
            self.flows.append(argument)
            argument.request.stream = self.uploads
            argument.response = self.own or argument.response
        if hook.name == "responseheaders" and not self.own:
            argument.response.stream = self.streams
        if hook.name in self.kills:
            argument.kill()

    def go_on(self) -> None:
        """Let the hook that has waited longest finish."""
        command = self.suspended.pop(0)
        self.run_hook(command)
        self.feed(events.HookCompleted(command))

    # -- the client ------------------------------------------------------------------------------------------------

    def ask(self, body: bytes = b"hi", *, ends: bool = True, method: str = "POST") -> None:
        """Send a request: all of it, or its head and the first of its *body*."""
        self.stream_id += 2
        if isinstance(self.peer, Http2):
            fields = [(":method", method), (":scheme", "http"), (":authority", "t.invalid"), (":path", "/")]
            self.peer.speaker.send_headers(self.stream_id, fields, end_stream=ends and not body)
            if body:
                self.peer.speaker.send_data(self.stream_id, body, end_stream=ends)
            self._from_client(b"")
            return
        length = f"content-length: {len(body)}" if ends else "transfer-encoding: chunked"
        head = f"{method} http://t.invalid/ HTTP/1.1\r\nhost: t.invalid\r\n{length}\r\n\r\n".encode()
        self._from_client(head + (body if ends else _chunk(body)))

    def send(self, data: bytes) -> None:
        """Send more of the request's body."""
        if isinstance(self.peer, Http2):
            self.peer.speaker.send_data(self.stream_id, data)
        self._from_client(_chunk(data))

    def finish(self) -> None:
        """End the request's body."""
        if isinstance(self.peer, Http2):
            self.peer.speaker.end_stream(self.stream_id)
        self._from_client(b"0\r\n\r\n")

    def leave(self) -> None:
        """The client goes: HTTP/1 by closing, HTTP/2 by a reset of its stream."""
        if isinstance(self.peer, Http2):
            self.peer.speaker.reset_stream(self.stream_id, ErrorCodes.CANCEL)
            self._from_client(b"")
        else:
            self.client.state = ConnectionState.CLOSED
            self.feed(events.ConnectionClosed(self.client))

    def _from_client(self, data: bytes) -> None:
        data = self.peer.speaker.data_to_send() if isinstance(self.peer, Http2) else data
        self.feed(events.DataReceived(self.client, data))

    @property
    def answer(self) -> Message:
        """What the client has got of the answer to its latest request; an empty one before it begins."""
        if isinstance(self.peer, Http2):
            return next((each for each in self.peer.messages if each.stream == self.stream_id), Message())
        at = (self.stream_id - 1) // 2
        return self.peer.messages[at] if len(self.peer.messages) > at else Message()

    # -- the upstream ----------------------------------------------------------------------------------------------

    @property
    def request(self) -> Message:
        """The latest attempt as its upstream got it."""
        return self.requests[-1][1]

    def head(self, status: int = 200, *, attempt: int = -1) -> None:
        """Answer *attempt* with a head, behind which pieces follow."""
        server, message = self.requests[attempt]
        if isinstance(peer := self.upstreams[server], Http2):
            peer.speaker.send_headers(message.stream, [(":status", str(status))])
        self.from_upstream(f"HTTP/1.1 {status} X\r\ntransfer-encoding: chunked\r\n\r\n".encode(), attempt)

    def data(self, data: bytes, *, attempt: int = -1) -> None:
        server, message = self.requests[attempt]
        if isinstance(peer := self.upstreams[server], Http2):
            peer.speaker.send_data(message.stream, data)
        self.from_upstream(_chunk(data), attempt)

    def end(self, *, attempt: int = -1) -> None:
        server, message = self.requests[attempt]
        if isinstance(peer := self.upstreams[server], Http2):
            peer.speaker.end_stream(message.stream)
        self.from_upstream(b"0\r\n\r\n", attempt)

    def answers(self, status: int, body: bytes, *, attempt: int = -1) -> None:
        """Answer *attempt* in one piece."""
        server, message = self.requests[attempt]
        if isinstance(peer := self.upstreams[server], Http2):
            peer.speaker.send_headers(message.stream, [(":status", str(status))])
            peer.speaker.send_data(message.stream, body, end_stream=True)
        head = f"HTTP/1.1 {status} X\r\ncontent-length: {len(body)}\r\n\r\n".encode()
        self.from_upstream(head + body, attempt)

    def break_off(self, *, attempt: int = -1) -> None:
        """End *attempt* before its answer: HTTP/1 by closing, HTTP/2 by a reset of its stream."""
        server, message = self.requests[attempt]
        if isinstance(peer := self.upstreams[server], Http2):
            peer.speaker.reset_stream(message.stream, ErrorCodes.INTERNAL_ERROR)
            self.from_upstream(b"", attempt)
        else:
            self.hang_up(attempt=attempt)

    def hang_up(self, *, attempt: int = -1) -> None:
        """Close the connection of *attempt*."""
        server = self.requests[attempt][0]
        server.state = ConnectionState.CLOSED
        self.feed(events.ConnectionClosed(server))

    def from_upstream(self, data: bytes, attempt: int = -1) -> None:
        """Bytes of HTTP/1 in *data*, or what an HTTP/2 upstream has to say."""
        server = self.requests[attempt][0]
        if not server.connected:
            return  # the layer has closed it
        peer = self.upstreams[server]
        self.feed(events.DataReceived(server, peer.speaker.data_to_send() if isinstance(peer, Http2) else data))

    def connected(self) -> None:
        self.feed(self._opened(self.waits.pop(0)))

    def refused(self) -> None:
        command = self.waits.pop(0)
        command.connection.error = "refused"
        self.feed(events.OpenConnectionCompleted(command, "refused"))

    # -- time ------------------------------------------------------------------------------------------------------

    @property
    def stream(self) -> PatchbayStream:
        return cast("PatchbayStream", self.layer.streams[self.stream_id])

    @property
    def timer(self) -> tuple[str, float] | None:
        """The one timer that is set, and its seconds."""
        assert len(self.driver.armed) < 2, self.driver.armed
        return self.driver.armed[0] if self.driver.armed else None

    def expire(self, what: str) -> None:
        """Let the timer *what*, which must be the one that is set, run out."""
        assert self.timer and self.timer[0] == what, self.timer
        timer = self.stream.timer
        assert timer is not None
        self.clock.now += self.timer[1]
        self.feed(events.Wakeup(timer))

    @property
    def left_behind(self) -> list[object]:
        """What is still kept of exchanges: streams, timers, commands without a reply."""
        sources = self.layer.command_sources.items()
        waiting = [command for command, source in sources if isinstance(source, PatchbayStream)]
        return [*self.layer.streams.values(), *waiting, *self.driver.armed]


def route(attempt: int) -> Any:
    """Stands in for a Lease: the stream keeps it with an answer, and asks it nothing."""
    return SimpleNamespace(request_id=f"id-{attempt}", account=SimpleNamespace(id=f"account-{attempt}"))


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data) if data else b""


def patched(monkeypatch: Any) -> Clock:
    """Return a clock that the stream reads from now on."""
    clock = Clock()
    for module in (upstream_stream, upstream_attempt, stream_lane):
        monkeypatch.setattr(module, "time", clock)
    return clock
