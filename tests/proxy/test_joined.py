"""What one event sends to one connection leaves in one piece, in its order, and before anything else happens."""

from __future__ import annotations

from hypothesis import given, strategies as st
from mitmproxy.connection import Server
from mitmproxy.proxy.commands import CloseConnection, SendData

from patchbay.proxy import upstream_stream

ONE, TWO = (Server(address=("127.0.0.1", port)) for port in (1, 2))
PIECES = st.builds(SendData, st.sampled_from([ONE, TWO]), st.binary(max_size=6))
COMMANDS = st.lists(st.one_of(PIECES, st.builds(CloseConnection, st.just(ONE))), max_size=12)


def joined(commands):
    return list(upstream_stream._joined(iter(commands)))


def told(commands):
    """Return what each connection gets, and where among it something else happens."""
    return [(c.connection, bytes([byte])) if isinstance(c, SendData) else c
            for c in commands for byte in (c.data if isinstance(c, SendData) else b"-")]  # fmt: skip


@given(COMMANDS)
def test_nothing_is_lost_and_nothing_changes_places(commands):
    assert told(joined(commands)) == told(commands)


def test_a_head_and_its_body_are_one_piece():
    (sent,) = joined([SendData(ONE, b"head"), SendData(ONE, b"body")])
    assert sent.data == b"headbody"


def test_what_goes_elsewhere_or_is_no_sending_comes_between():
    commands = [
        SendData(ONE, b"a"),
        SendData(TWO, b"b"),
        SendData(ONE, b"c"),
        CloseConnection(ONE),
        SendData(ONE, b"d"),
    ]
    assert len(joined(commands)) == len(commands)


def test_large_pieces_are_not_copied_together():
    large = b"x" * upstream_stream.JOINED
    assert [len(sent.data) for sent in joined([SendData(ONE, b"head"), SendData(ONE, large)])] == [
        4,
        upstream_stream.JOINED,
    ]
