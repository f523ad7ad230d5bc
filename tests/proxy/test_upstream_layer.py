"""The layer: one write for one event, framing of what has none, a bound on heads, and its place in mitmproxy."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, strategies as st
from mitmproxy.connection import ConnectionState, Server
from mitmproxy.proxy import commands, context, events, layer
from mitmproxy.proxy.commands import CloseConnection, SendData
from mitmproxy.proxy.layers import TCPLayer
from mitmproxy.proxy.layers.http import HttpLayer, HTTPMode

from patchbay.proxy import http1, upstream_connections, upstream_layer
from patchbay.proxy.upstream_attempt import ATTEMPT

from .rig import Http1, Http2, Rig, Version

ONE, TWO = (Server(address=("127.0.0.1", port)) for port in (1, 2))
PIECES = st.builds(SendData, st.sampled_from([ONE, TWO]), st.binary(max_size=6))
COMMANDS = st.lists(st.one_of(PIECES, st.builds(CloseConnection, st.just(ONE))), max_size=12)


def joined(commands):
    return list(upstream_layer._joined(iter(commands)))


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
    large = b"x" * upstream_layer.JOINED
    assert [len(sent.data) for sent in joined([SendData(ONE, b"head"), SendData(ONE, large)])] == [
        4,
        upstream_layer.JOINED,
    ]


def test_pieces_are_joined_up_to_a_bound():
    third = b"x" * (upstream_layer.JOINED // 3 + 1)
    assert [len(sent.data) // len(third) for sent in joined([SendData(ONE, third)] * 5)] == [2, 2, 1]


def test_a_log_line_of_the_host_quotes_no_bytes():
    """What mitmproxy cannot read of a client may hold its key."""
    line = commands.Log("cannot parse b'authorization: sk-proj-0123456789abcdefghij' from 127.0.0.1", 30)
    [said] = joined([line])

    assert said.message == "cannot parse (not shown) from 127.0.0.1"
    assert said.level == 30


# -- framing -----------------------------------------------------------------------------------------------------------

CHUNKED = "chunked"


@pytest.mark.parametrize("client", ["h1", "h2"])
@pytest.mark.parametrize(
    ("method", "status", "fields", "ends", "framed"),
    [
        ("POST", 200, [], False, CHUNKED),
        ("POST", 404, [], False, CHUNKED),
        ("POST", 203, [], False, CHUNKED),
        ("POST", 200, [("content-length", "2")], False, None),
        ("POST", 200, [], True, None),
        ("POST", 204, [], True, None),
        ("POST", 304, [], True, None),
        ("HEAD", 200, [], True, None),
    ],
)
def test_an_answer_of_unknown_length_is_chunked_for_http1(
    client: Version, method: str, status: int, fields: list[tuple[str, str]], ends: bool, framed: str | None
):
    """Else mitmproxy ends it by closing, and an answer that broke off looks complete."""
    rig = Rig(client, "h2")
    rig.ask(b"" if method == "HEAD" else b"hi", method=method)
    server, message = rig.requests[-1]
    peer = rig.upstreams[server]
    assert isinstance(peer, Http2)
    peer.speaker.send_headers(message.stream, [(":status", str(status)), *fields], end_stream=ends)
    rig.from_upstream(b"")
    if not ends:
        rig.data(b"ok")
        rig.end()

    assert rig.answer.start == str(status)
    assert rig.answer.headers.get("transfer-encoding") == (framed if client == "h1" else None)
    assert rig.answer.body == (b"" if ends else b"ok")


def test_a_client_of_http_1_0_gets_no_chunks():
    rig = Rig("h1", "h2")
    rig.stream_id = 1
    rig.feed(events.DataReceived(rig.client, b"GET http://t.invalid/ HTTP/1.0\r\nhost: t.invalid\r\n\r\n"))
    rig.head()
    rig.data(b"ok")
    rig.end()

    assert "transfer-encoding" not in rig.answer.headers
    assert (rig.answer.body, rig.answer.end) == (b"ok", "complete")


def test_an_answer_in_http_1_0_is_chunked_as_http_1_1() -> None:
    """HTTP/1.0 has no chunks: a client takes such framing for broken (RFC 9112, 6.1)."""
    rig, sent = Rig("h1", "h1"), b""

    def receive(data: bytes) -> None:
        nonlocal sent
        sent += data
        Http1.receive(peer, data)

    peer = rig.peer
    assert isinstance(peer, Http1)
    peer.receive = receive  # type: ignore[method-assign]
    rig.ask()
    rig.from_upstream(b"HTTP/1.0 200 OK\r\nserver: SimpleHTTP\r\n\r\nok")
    rig.hang_up()

    assert sent.startswith(b"HTTP/1.1 200 OK\r\n")
    assert rig.answer.headers["transfer-encoding"] == "chunked"
    assert (rig.answer.body, rig.answer.end) == (b"ok", "complete")


# -- a head without an end ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("more", "refused"), [(0, False), (1, True)])
def test_a_head_without_an_end_is_refused(more: int, refused: bool):
    rig = Rig()
    rig.stream_id = 1
    begins = b"GET / HTTP/1.1\r\nx: "
    rig.feed(events.DataReceived(rig.client, begins + b"a" * (http1.HEAD - len(begins) + more)))
    rig.feed(events.DataReceived(rig.client, b"a"))

    assert (rig.answer.start == "431") == refused
    assert rig.client.connected != refused
    rig.feed(events.DataReceived(rig.client, b"a\r\nhost: t.invalid\r\n\r\n" if refused else b"a" * 100))
    assert rig.requests == []
    assert rig.hooks == []
    assert [message.start for message in rig.peer.messages] == ["431"], "it is said once"


# -- streams and attempts ----------------------------------------------------------------------------------------------


def test_every_attempt_finds_its_stream():
    rig = Rig("h2", "h2")
    rig.ask()
    streams = rig.layer.streams

    assert streams[1] is streams[1 + ATTEMPT] is streams[1 + 7 * ATTEMPT]
    for unknown in (3, 3 + ATTEMPT):
        with pytest.raises(KeyError):
            streams[unknown]


def test_each_attempt_has_a_stream_of_its_own_upstream():
    rig = Rig("h2", "h2")
    rig.ask()
    rig.break_off()

    (first, one), (second, two) = rig.requests
    assert first is second
    assert one.stream < two.stream


def test_a_timer_of_nothing_is_no_event():
    """mitmproxy would raise KeyError."""
    rig = Rig()

    assert list(rig.layer.handle_event(events.Wakeup(commands.RequestWakeup(1)))) == []


def test_a_connection_that_ended_is_no_longer_awaited():
    rig = Rig()
    rig.ask()
    server = rig.requests[0][0]
    assert server in upstream_connections.unended
    rig.hang_up()

    assert server not in upstream_connections.unended


def test_over_http2_a_cancel_with_the_end_of_the_request_is_seen():
    rig = Rig("h2", "h2")
    assert isinstance(rig.layer.connections[rig.client], upstream_connections.ClientHttp2)


# -- its place in mitmproxy --------------------------------------------------------------------------------------------


def decided(*layers: type[layer.Layer] | None) -> tuple[layer.NextLayer, context.Context]:
    rig = Rig()
    at = context.Context(rig.client, rig.layer.context.options)
    for kind in layers:
        HttpLayer(at, HTTPMode.regular) if kind is HttpLayer else kind(at)  # type: ignore[misc]
    return layer.NextLayer(at), at


def test_every_http_layer_that_was_decided_becomes_ours():
    asked, at = decided(HttpLayer, TCPLayer, HttpLayer)
    upstream_layer.install(asked)
    kinds = [type(found) for found in at.layers if not isinstance(found, layer.NextLayer)]

    assert kinds == [upstream_layer.PatchbayLayer, TCPLayer, upstream_layer.PatchbayLayer]


def test_a_layer_that_is_ours_is_left_alone():
    asked, at = decided(HttpLayer)
    upstream_layer.install(asked)
    ours: Any = at.layers[0]
    ours.upstreams["known"] = 1
    upstream_layer.install(asked)

    assert ours.upstreams == {"known": 1}


def test_a_closed_connection_goes_nowhere():
    rig = Rig()
    closed = upstream_layer.Closed(context.Context(rig.client, rig.layer.context.options))

    [command] = closed.handle_event(events.Start())
    assert isinstance(command, CloseConnection) and command.connection is rig.client
    assert list(closed.handle_event(events.DataReceived(rig.client, b"more"))) == []
    assert rig.client.state is ConnectionState.OPEN


def test_the_bounds_of_a_layer():
    assert (upstream_layer.JOINED, ATTEMPT) == (65_536, 1 << 40)


def test_the_trailers_of_a_request_reach_the_stream_of_its_second_attempt():
    rig = Rig("h2", "h2")
    rig.ask(b"hi", ends=False)
    assert isinstance(rig.peer, Http2)
    rig.peer.speaker.send_headers(rig.stream_id, [("x-trailer", "1")], end_stream=True)
    rig.feed(events.DataReceived(rig.client, rig.peer.speaker.data_to_send()))
    rig.break_off()

    assert [message.trailers for _, message in rig.requests] == [{"x-trailer": "1"}] * 2
    assert [message.end for _, message in rig.requests] == ["complete"] * 2


def test_a_client_that_leaves_ends_the_second_attempt_alone():
    rig = Rig("h2", "h2")
    rig.ask()
    rig.break_off()
    rig.leave()

    assert rig.driver.left and rig.left_behind == []
