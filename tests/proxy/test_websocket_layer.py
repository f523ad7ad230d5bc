"""Bounds of WebSocket messages, and what an upstream quotes beside them, through the real layers without sockets."""

from __future__ import annotations

import asyncio
import struct
import time
import zlib
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
import wsproto.events
from mitmproxy.connection import ConnectionState
from mitmproxy.proxy import commands, events
from mitmproxy.proxy.layers.websocket import WebSocketMessageInjected
from mitmproxy.websocket import WebSocketMessage
from wsproto.frame_protocol import Opcode

from patchbay.proxy import answer_filter, compatibility, layer_rig, websocket_layer
from patchbay.proxy.credentials import Credentials
from patchbay.proxy.websocket_layer import PatchbayWebsocket, _Incoming, closing, end_behind, end_with, ping
from patchbay.values.account import Secret

KEY = "sk-real-0123456789abcdef"
LIMIT = 1000  # of the rig
TOO_BIG = struct.pack("!H", 1009)


class Rig(layer_rig.LayerRig):
    """A WebSocket that has been opened."""

    def __init__(self) -> None:
        super().__init__(ready=True)
        keys = Credentials()
        asyncio.run(keys.ready(Secret("literal", KEY)))
        self.driver.answer_filter = lambda: answer_filter.AnswerFilter(keys, LIMIT)  # type: ignore[method-assign]
        self.feed(events.DataReceived(self.client, compatibility._UPGRADE))
        self.from_server(compatibility._UPGRADED)
        self.taken(self.client)
        self.taken(self.server)

    def from_server(self, data: bytes) -> None:
        assert self.server is not None
        self.feed(events.DataReceived(self.server, data))

    def from_client(self, data: bytes) -> None:
        self.feed(events.DataReceived(self.client, data))

    @property
    def messages(self) -> list[bytes]:
        assert self.flow and self.flow.websocket
        return [message.content for message in self.flow.websocket.messages]


@pytest.fixture
def rig() -> Iterator[Rig]:
    yield Rig()


def frame(kind: int, payload: bytes = b"", *, final: bool = True, masked: bool = False, rsv: int = 0) -> bytes:
    flag = 0x80 if masked else 0
    size = (
        bytes((flag | len(payload),)) if len(payload) < 126 else bytes((flag | 126,)) + struct.pack("!H", len(payload))
    )
    return bytes((kind | rsv | (0x80 if final else 0),)) + size + (bytes(4) if masked else b"") + payload


@pytest.mark.parametrize("kind", [1, 2])
def test_a_message_passes_as_it_was_cut(rig: Rig, kind: int) -> None:
    cut = frame(kind, b"one", final=False) + frame(0, b"", final=False) + frame(0, b"two")
    for at in range(len(cut)):
        rig.from_server(cut[:at])
        rig.from_server(cut[at:])
        assert rig.taken(rig.client) == cut
    assert set(rig.messages) == {b"onetwo"}


def test_of_a_client_a_message_goes_up(rig: Rig) -> None:
    rig.from_client(frame(1, b"hello", masked=True))

    assert len(rig.taken(rig.server)) == 11
    assert rig.messages == [b"hello"]


@pytest.mark.parametrize("by_client", [False, True])
@pytest.mark.parametrize("size", [1, 100, LIMIT])
def test_a_message_above_the_bound_ends_the_socket(rig: Rig, by_client: bool, size: int) -> None:
    """R29: in one frame or in many, from either side: 1009, and nothing of it goes on."""
    feed = rig.from_client if by_client else rig.from_server
    for at in range(LIMIT // size + 2):
        feed(frame(0 if at else 1, b"x" * size, final=False, masked=by_client))
        if TOO_BIG in rig.sent.get(rig.client, b""):
            break

    assert TOO_BIG in rig.taken(rig.client)
    up = rig.taken(rig.server)
    assert up[0] == 0x88 and len(up) == 6 + (up[1] & 0x7F), "a close frame, and nothing else"
    assert rig.messages == []
    assert rig.flow and rig.flow.websocket
    assert (rig.flow.websocket.close_code, rig.flow.websocket.closed_by_client) == (1009, by_client)
    assert "websocket_end" in rig.hooks


@pytest.mark.parametrize("by_client", [False, True])
def test_fragments_count_also_when_they_are_empty(rig: Rig, by_client: bool) -> None:
    """R29: fragments without an end are kept, so they are counted."""
    feed = rig.from_client if by_client else rig.from_server
    feed(frame(1, b"", final=False, masked=by_client))
    feed(frame(0, b"", final=False, masked=by_client) * (LIMIT // 8))

    assert TOO_BIG in rig.taken(rig.client)


@pytest.mark.parametrize("by_client", [False, True])
def test_what_is_packed_is_not_taken(rig: Rig, by_client: bool) -> None:
    """R29: compression was not offered, so a packed message breaks the protocol, however large it would be."""
    packer = zlib.compressobj(wbits=-15)
    packed = packer.compress(bytes(100_000)) + packer.flush(zlib.Z_SYNC_FLUSH)
    feed = rig.from_client if by_client else rig.from_server
    feed(frame(1, packed[:-4], rsv=0x40, masked=by_client))

    assert struct.pack("!H", 1002) in rig.taken(rig.client)
    assert rig.messages == []


@pytest.mark.parametrize("kind", [9, 10])
def test_a_ping_s_payload_is_covered(rig: Rig, kind: int) -> None:
    """R28: pings and pongs of the upstream reach the client without the key they quote."""
    rig.from_server(frame(kind, f"for {KEY}".encode()))

    assert rig.taken(rig.client) == frame(kind, b"for removed-by-patchbay-----")


def test_a_client_s_ping_goes_up_as_it_is(rig: Rig) -> None:
    rig.from_client(frame(9, b"hello", masked=True))

    assert len(rig.taken(rig.server)) == 11


@pytest.mark.parametrize("spelled", [KEY, KEY.encode().hex(), "".join(f"%{ord(char):02x}" for char in KEY)])
def test_a_close_frame_s_reason_is_covered(rig: Rig, spelled: str) -> None:
    """R28: and so is the reason that an upstream gives for closing, in the flow as well."""
    rig.from_server(frame(8, struct.pack("!H", 1008) + f"bad {spelled}".encode()))

    assert rig.flow and rig.flow.websocket and rig.flow.websocket.close_reason
    assert spelled[8:] not in rig.flow.websocket.close_reason
    assert rig.flow.websocket.close_reason.startswith("bad removed-by")
    assert spelled[8:].encode() not in rig.taken(rig.client) + rig.taken(rig.server)


def test_what_comes_behind_the_end_is_left(rig: Rig) -> None:
    rig.from_server(frame(8, struct.pack("!H", 1000)) + frame(1, b"late") * 2000)

    assert rig.messages == []


class WaitingRig(Rig):
    """A WebSocket on which a message of the client waits until `go_on`; *behind* it came in the same piece."""

    def __init__(self, behind: bytes = b"") -> None:
        super().__init__()
        self.left = 0
        self.waiting: list[commands.StartHook] = []
        self.driver.client_left = self._gone  # type: ignore[method-assign]
        layer = self.layer.streams[1].child_layer
        assert isinstance(layer, PatchbayWebsocket)
        layer._left = self._gone
        self.from_client(frame(1, b"waits", masked=True) + behind)
        assert self.waiting

    def _gone(self) -> None:
        self.left += 1

    def carry_out(self, command: commands.Command) -> list[events.Event]:
        done = super().carry_out(command)
        if isinstance(command, commands.StartHook) and command.name == "websocket_message" and self.messages[-1:]:
            self.waiting.append(command)
            return []
        return done

    def go_on(self, *, drop: bool) -> None:
        assert self.flow and self.flow.websocket
        if drop:
            self.flow.websocket.messages[-1].drop()
        self.feed(events.HookCompleted(self.waiting.pop(0)))


CLOSED = frame(8, struct.pack("!H", 1000), masked=True)


@pytest.mark.parametrize("at", range(len(CLOSED)))
def test_that_the_client_leaves_is_seen_while_its_message_waits(at: int) -> None:
    """R34: in whatever pieces it says so."""
    rig = WaitingRig()
    rig.from_client(CLOSED[:at])
    assert rig.left == 0
    rig.from_client(CLOSED[at:])
    assert rig.left == 1
    rig.go_on(drop=True)

    assert b"waits" not in rig.taken(rig.server)
    assert rig.taken(rig.client) == frame(8, struct.pack("!H", 1000))
    assert "websocket_end" in rig.hooks


def test_that_the_client_leaves_is_seen_however_slow_we_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """R34: the moment for looking may be over before it has begun."""
    monkeypatch.setattr(websocket_layer, "_SPELL", 0.0)
    rig = WaitingRig()
    rig.from_client(CLOSED[:3])
    rig.from_client(CLOSED[3:])

    assert rig.left == 1


def test_that_the_client_leaves_is_seen_in_one_piece_with_its_message() -> None:
    """R34: what was read together with a message is known before it waits."""
    assert WaitingRig(frame(9, b"", masked=True) + CLOSED).left == 1
    assert WaitingRig(frame(9, b"", masked=True)).left == 0


def test_that_the_client_is_cut_off_is_seen_while_its_message_waits() -> None:
    """R34: without a close frame too."""
    rig = WaitingRig()
    rig.client.state = ConnectionState.CLOSED
    rig.feed(events.ConnectionClosed(rig.client))

    assert rig.left == 1


def test_what_comes_while_a_message_waits_follows_in_order() -> None:
    """R34: nothing is lost of it, whatever the pieces, and whatever the upstream says meanwhile."""
    later = frame(1, b"second", masked=True) + frame(9, b"ping", masked=True) + frame(1, b"third" * 150, masked=True)
    for at in (0, 1, 7, 20, len(later) // 2, len(later)):
        rig = WaitingRig()
        rig.from_client(later[:at])
        rig.from_server(frame(1, b"meanwhile"))
        rig.from_client(later[at:])
        while rig.waiting:
            rig.go_on(drop=False)

        assert rig.left == 0
        assert [each for each in rig.messages if each != b"meanwhile"] == [b"waits", b"second", b"third" * 150]
        assert rig.taken(rig.client) == frame(1, b"meanwhile")


def test_what_comes_while_a_message_waits_is_bounded() -> None:
    """R34: a client cannot fill the memory while it waits."""
    rig = WaitingRig()
    for _ in range(100):
        rig.from_client(frame(2, b"x" * 900, masked=True))
    assert rig.left
    rig.go_on(drop=True)
    while rig.waiting:
        rig.go_on(drop=True)

    assert TOO_BIG in rig.taken(rig.client)


def test_an_upstream_that_breaks_off_is_told_from_one_that_closes(rig: Rig) -> None:
    """P6: the client gets 1011, never a 1000 that nobody sent."""
    assert rig.server is not None
    rig.server.state = ConnectionState.CLOSED
    rig.feed(events.ConnectionClosed(rig.server))

    told = rig.taken(rig.client)
    assert told[0] == 0x88 and told[2:4] == struct.pack("!H", 1011)
    assert rig.flow and rig.flow.websocket
    assert (rig.flow.websocket.close_code, rig.flow.websocket.closed_by_client) == (1006, False)


def test_a_client_that_breaks_off_is_going_away(rig: Rig) -> None:
    """P6: the upstream is not told that all is well either."""
    rig.client.state = ConnectionState.CLOSED
    rig.feed(events.ConnectionClosed(rig.client))

    told = rig.taken(rig.server)
    assert told[0] == 0x88 and bytes(a ^ b for a, b in zip(told[6:8], told[2:4], strict=True)) == b"\x03\xe9"


@pytest.mark.parametrize("by_client", [False, True])
@pytest.mark.parametrize("code", [None, 1000, 1001, 1008, 1011, 1012, 1013, 3000, 4999])
def test_close_codes_pass_both_ways(rig: Rig, code: int | None, by_client: bool) -> None:
    """P6: what an end says of why it closes reaches the other one."""
    payload = b"" if code is None else struct.pack("!H", code) + b"why"
    (rig.from_client if by_client else rig.from_server)(frame(8, payload, masked=by_client))

    up, down = rig.taken(rig.server), rig.taken(rig.client)
    key = up[2:6]
    unmasked = bytes(byte ^ key[at % 4] for at, byte in enumerate(up[6:]))
    assert down[2:] == payload and unmasked == payload


def test_a_socket_is_closed_right_behind_a_message(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """R35: in one go, so that no message of the client can come between; the upstream is told nothing of why."""
    hook = rig.run_hook

    def ends(command: commands.StartHook) -> None:
        hook(command)
        if command.name == "websocket_message":
            assert rig.flow and rig.flow.websocket
            end_behind(rig.flow.websocket.messages[-1], 1013, "elsewhere")

    monkeypatch.setattr(rig, "run_hook", ends)
    rig.from_server(frame(1, b"last") + frame(1, b"late"))

    assert rig.taken(rig.client) == frame(1, b"last") + frame(8, struct.pack("!H", 1013) + b"elsewhere")
    assert b"elsewhere" not in rig.taken(rig.server)
    assert rig.messages == [b"last"]


def test_a_socket_is_closed_and_pinged_from_outside(rig: Rig) -> None:
    """R34, R35: without a message of either end."""
    assert rig.flow
    rig.feed(ping(rig.flow))
    assert rig.taken(rig.server)[:2] == b"\x89\x80"
    rig.feed(closing(rig.flow, 1012, "moved"))
    rig.feed(closing(rig.flow, 1012, "moved"))

    assert rig.taken(rig.client) == frame(8, struct.pack("!H", 1012) + b"moved")
    assert rig.messages == []


def test_a_message_of_just_the_bound_passes(rig: Rig) -> None:
    """R29: also in fragments, each of which counts for 16 bytes more."""
    rig.from_server(frame(1, b"x" * LIMIT))
    rig.from_server(frame(1, b"x" * 500, final=False) + frame(0, b"y" * (LIMIT - 500 - 16)))
    assert [len(message) for message in rig.messages] == [LIMIT, LIMIT - 16]
    rig.from_server(frame(1, b"x" * 500, final=False) + frame(0, b"y" * (LIMIT - 500 - 15)))

    assert TOO_BIG in rig.taken(rig.client) and len(rig.messages) == 2


@pytest.mark.parametrize(("kind", "is_text"), [(1, True), (2, False)])
@pytest.mark.parametrize("by_client", [False, True])
def test_a_message_keeps_its_kind_and_its_sender(rig: Rig, kind: int, is_text: bool, by_client: bool) -> None:
    (rig.from_client if by_client else rig.from_server)(frame(kind, b"hello", masked=by_client))

    assert rig.flow and rig.flow.websocket
    [message] = rig.flow.websocket.messages
    assert (message.is_text, message.from_client, message.injected) == (is_text, by_client, False)
    assert rig.taken(rig.server if by_client else rig.client)[0] == 0x80 | kind


@pytest.mark.parametrize("kind", [1, 2])
@pytest.mark.parametrize("to_client", [False, True])
def test_an_injected_message_passes_the_hook_and_goes_on(rig: Rig, kind: int, to_client: bool) -> None:
    assert rig.flow and rig.flow.websocket
    message = WebSocketMessage(Opcode(kind), not to_client, b"ours")
    rig.feed(WebSocketMessageInjected(rig.flow, message))

    assert [(each.content, each.injected) for each in rig.flow.websocket.messages] == [(b"ours", True)]
    taken = rig.taken(rig.client if to_client else rig.server)
    assert taken == frame(kind, b"ours") if to_client else (taken[0], len(taken)) == (0x80 | kind, 10)


def test_a_hook_can_end_the_socket_in_place_of_a_message(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    run = rig.run_hook

    def ends(hook: commands.StartHook) -> None:
        run(hook)
        if hook.name == "websocket_message" and rig.flow and rig.flow.websocket:
            end_with(rig.flow.websocket.messages[-1], 1008, "not allowed")

    monkeypatch.setattr(rig, "run_hook", ends)
    before = time.time()
    rig.from_client(frame(1, b"secret", masked=True))

    assert rig.taken(rig.client) == frame(8, struct.pack("!H", 1008) + b"not allowed")
    up = rig.taken(rig.server)
    assert (up[0], len(up)) == (0x88, 2 + 4 + 2 + len("not allowed")), "a masked close frame alone"
    socket = rig.flow.websocket if rig.flow else None
    assert socket and (socket.close_code, socket.close_reason, socket.closed_by_client) == (1008, "not allowed", True)
    assert socket.timestamp_end and socket.timestamp_end >= before
    assert rig.flow and not rig.flow.live


def test_each_frame_of_the_upstream_is_heard_and_none_of_the_client(rig: Rig) -> None:
    """R35: a pong too; it shows that a slow upstream lives."""
    layer = rig.layer.streams[1].child_layer
    assert isinstance(layer, PatchbayWebsocket)
    heard: list[int] = []
    layer._heard = lambda: heard.append(1)
    for feed, masked in ((rig.from_server, False), (rig.from_client, True)):
        for kind in (1, 9, 10):
            feed(frame(kind, b"x", masked=masked))

    assert len(heard) == 3


def test_pings_are_logged_with_their_source(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    logged: list[str] = []
    carry_out = rig.carry_out

    def noted(command: commands.Command) -> list[events.Event]:
        if isinstance(command, commands.Log):
            logged.append(command.message)
        return carry_out(command)

    monkeypatch.setattr(rig, "carry_out", noted)
    rig.from_server(frame(9, KEY.encode()))
    rig.from_client(frame(10, b"x", masked=True))

    assert logged == [
        "Received WebSocket ping from server (payload: (not shown))",
        "Received WebSocket pong from client (payload: (not shown))",
    ]


def test_others_run_after_two_milliseconds_of_work(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """R29: between the events of one read."""
    layer = rig.layer.streams[1].child_layer
    assert isinstance(layer, PatchbayWebsocket)
    now, step, paused = [0.0], [0.0], [0]
    pause = layer._pause

    def counted() -> commands.Command:
        paused[0] += 1
        return pause()

    def monotonic() -> float:
        now[0] += step[0]
        return now[0]

    layer._pause = counted
    monkeypatch.setattr(websocket_layer, "time", SimpleNamespace(monotonic=monotonic, time=time.time))
    for seconds, pauses in ((0.0, 0), (0.0005, 0), (0.0021, 3)):
        step[0] = seconds
        paused[0] = 0
        rig.from_server(frame(1, b"x") * 3)
        assert paused[0] == pauses, seconds
    assert rig.messages == [b"x"] * 9


@pytest.mark.parametrize("by_client", [False, True])
def test_messages_that_come_in_one_large_read_all_pass(rig: Rig, by_client: bool) -> None:
    """It is parsed in slices."""
    feed = rig.from_client if by_client else rig.from_server
    feed(b"".join(frame(2, bytes((at,)) * 900, masked=by_client) for at in range(40)))

    assert rig.messages == [bytes((at,)) * 900 for at in range(40)]


def test_input_that_waits_is_bounded_to_the_byte_and_then_left() -> None:
    """R34: one message and what mitmproxy reads at once."""
    coming = _Incoming(None)  # type: ignore[arg-type]
    for _ in range(2):
        coming.add(bytes(65_536), 1000)
        coming.add(bytes(1000), 1000)
        coming.add(b"", 1000)
        coming.add(None, 1000)
        assert len(coming.unread) == 4 and not coming.events
        coming.unread.clear()  # what was handled does not count
    coming.add(bytes(66_536), 1000)
    coming.add(b"x", 1000)
    assert not coming.unread
    [closed] = coming.events
    assert isinstance(closed, wsproto.events.CloseConnection)
    assert (closed.code, closed.reason) == (1009, "more than 1000 bytes while a message waits")
    coming.add(b"late", 1000)
    coming.add(None, 1000)

    assert not coming.unread and len(coming.events) == 1


@pytest.mark.parametrize("by_client", [False, True])
def test_both_connections_are_closed_at_the_end(rig: Rig, by_client: bool) -> None:
    server = rig.server
    (rig.from_client if by_client else rig.from_server)(frame(8, struct.pack("!H", 1000), masked=by_client))

    assert server and not server.connected and not rig.client.connected
