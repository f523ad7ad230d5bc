"""Bounds of WebSocket messages, and what an upstream quotes beside them, through the real layers without sockets."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

import pytest
from mitmproxy.proxy import events

from patchbay.config import Secret
from patchbay.proxy import intake, internals
from patchbay.proxy.keys import Keys

KEY = "sk-real-0123456789abcdef"
LIMIT = 1000  # of the rig
TOO_BIG = struct.pack("!H", 1009)


class Rig(internals._Rig):
    """A WebSocket that has been opened."""

    def __init__(self) -> None:
        super().__init__(ready=True)
        keys = Keys()
        keys.now(Secret("literal", KEY))
        self.cord.intake = lambda: intake.Intake(keys, LIMIT)  # type: ignore[method-assign]
        self.feed(events.DataReceived(self.client, internals._UPGRADE))
        self.from_server(internals._UPGRADED)
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
    assert b"xx" not in rig.taken(rig.server)
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
