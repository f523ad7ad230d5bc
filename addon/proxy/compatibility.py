"""
The self-check at start: whether this mitmproxy's internals are those the proxy is written for.

The stream relies on private parts of mitmproxy. After a change of them a key could stay in a flow, or a request leave
without one, so the addon refuses to start. Names and parameters are checked, then exchanges run without I/O.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping

import hpack
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import StreamEnded
from h11._readers import ChunkedReader
from h11._receivebuffer import ReceiveBuffer
from hyperframe.frame import GoAwayFrame
from mitmproxy import master, optmanager
from mitmproxy.addons import clientplayback, errorcheck, proxyserver
from mitmproxy.connection import ConnectionState
from mitmproxy.proxy import events, layer, mode_servers, server
from mitmproxy.proxy.layers import http as mitm, websocket
from mitmproxy.proxy.layers.http import _http2
from mitmproxy.proxy.layers.http._http1 import Http1Client, Http1Connection, Http1Server
from mitmproxy.proxy.layers.http._http_h2 import BufferedH2Connection

from . import upstream_stream
from .layer_rig import KEY, LayerRig

# Each method of mitmproxy and its libraries that is overridden or called: the file of ours that does so → its class,
# parameters and names. A row goes with that override, once mitmproxy has a hook for what it does.
_RELIED_ON_BY: Mapping[str, tuple[tuple[type, str, str], ...]] = {
    "upstream_layer": (
        (mitm.HttpLayer, "self child event", "event_to_child"),
        (mitm.HttpLayer, "self stream_id", "make_stream"),
        (mitm.HttpLayer, "self event", "_handle_event"),
    ),
    "upstream_attempt": ((mitm.HttpStream, "self", "make_server_connection"),),
    "upstream_stream": (
        (
            mitm.HttpStream,
            "self event",
            "_handle_event state_wait_for_response_headers state_wait_for_request_headers "
            "state_consume_request_body state_stream_request_body handle_protocol_error passthrough",
        ),
        (layer.Layer, "self event", "handle_event"),
        (mitm.HttpStream, "self", "start_request_stream flow_done"),
        (mitm.HttpStream, "self _", "state_errored state_done"),
        (mitm.HttpStream, "self already_streamed", "send_response"),
        (mitm.HttpStream, "self emit_error_hook", "check_killed"),
        (mitm.HttpStream, "self request", "check_invalid"),
    ),
    "upstream_connections": (
        (mitm.HttpLayer, "self event reuse", "get_connection"),
        (mitm.HttpLayer, "self command", "register_connection"),
        (mitm.GetHttpConnection, "self connection", "connection_spec_matches"),
        (_http2.Http2Client, "self event", "_handle_event"),
        (_http2.Http2Connection, "self event", "handle_h2_event"),
        (_http2.Http2Connection, "self msg", "close_connection"),
        (_http2.Http2Server, "self event", "_handle_event"),
        (_http2.BufferedH2Connection, "self frame", "_receive_frame"),
        (hpack.Encoder, "self headers huffman", "encode"),
    ),
    "http1": (
        (ReceiveBuffer, "self count", "_extract"),
        (ReceiveBuffer, "self", "maybe_extract_lines"),
        (Http1Connection, "self event", "_handle_event read_body"),
        (Http1Server, "self event", "send read_headers"),
        (Http1Client, "self event", "send read_headers"),
    ),
    "client_connections": ((server.ConnectionHandler, "self event", "server_event"),),
    "websocket_layer": (
        (websocket.WebsocketLayer, "self event", "relay_messages"),
        (websocket.WebsocketLayer, "self _", "done"),
        (websocket.WebsocketConnection, "self event", "send2"),
        (websocket.Fragmentizer, "self content", "__call__"),
    ),
    "websockets": ((proxyserver.Proxyserver, "self flow to_client message is_text", "inject_websocket"),),
    "replay": (
        (clientplayback.ClientPlayback, "self", "playback"),
        (clientplayback.ReplayHandler, "self flow options", "__init__"),
    ),
    "graceful_shutdown": ((master.Master, "self", "shutdown"),),
    "option_defaults": (
        (errorcheck.ErrorCheck, "self", "finish"),
        (mode_servers.ServerInstance, "self", "stop"),
    ),
}
# The same for attributes: those that a class annotates, or sets when it is made.
_READ_BY: Mapping[str, tuple[tuple[type, str], ...]] = {
    "client_connections": (
        (proxyserver.Proxyserver, "connections"),
        (server.ConnectionHandler, "transports client"),
        (server.ConnectionIO, "handler reader writer"),
    ),
    "http1": ((ReceiveBuffer, "_data"), (ChunkedReader, "_bytes_in_chunk _reading_trailer")),
    "option_defaults": (
        (proxyserver.Proxyserver, "servers"),
        (optmanager.OptManager, "_options"),
        (errorcheck.ErrorCheck, "logger"),
    ),
    "upstream_connections": ((H2Connection, "_frame_dispatch_table"),),
    "upstream_stream": ((BufferedH2Connection, "stream_buffers"),),
}
_RELIED_ON = tuple(
    (owner, name, parameters)
    for rows in _RELIED_ON_BY.values()
    for owner, parameters, names in rows
    for name in names.split()
)


def check() -> None:
    """Raise RuntimeError, naming the change, when this mitmproxy is not one the proxy can run on."""
    _names()
    upstream_stream.logger.disabled = True  # the check makes it fail, and an error logged at start ends mitmproxy
    try:
        _nothing_leaves_without_a_lease()
        _the_key_is_on_the_wire_only()
        _a_failed_answer_moves_on()
        _every_message_is_shown()
        _what_a_kept_connection_did_not_answer_goes_again()
        _a_goaway_is_read_to_its_last_stream()
    finally:
        upstream_stream.logger.disabled = False


def _demand(holds: bool, what: str) -> None:
    if not holds:
        raise RuntimeError(what)


def _names() -> None:
    for owner, name, parameters in _RELIED_ON:
        found = getattr(owner, name, None)
        _demand(found is not None, f"{owner.__name__}.{name} is gone")
        has = " ".join(inspect.signature(found).parameters) if found else ""
        _demand(has == parameters, f"{owner.__name__}.{name} takes ({has}) instead of ({parameters})")
    replays = inspect.unwrap(clientplayback.ClientPlayback.playback).__code__.co_names
    for owner, names in (row for rows in _READ_BY.values() for row in rows):
        held = {*inspect.get_annotations(owner), *inspect.unwrap(vars(owner)["__init__"]).__code__.co_names}
        for name in names.split():
            _demand(name in held, f"{owner.__name__}.{name} is gone")
    _demand("ReplayHandler" in replays, "replays are not made by clientplayback.ReplayHandler")
    classes = upstream_stream.PatchbayStream.__mro__
    own_classes = classes[: classes.index(mitm.HttpStream)]
    ours = {name for owner in own_classes for name in vars(owner) if not name.startswith("__")}
    taken = ours & set(dir(mitm.HttpStream)) - {name for _, name, _ in _RELIED_ON}
    _demand(not taken, f"HttpStream has names of its own that we use: {', '.join(sorted(taken))}")


def _nothing_leaves_without_a_lease() -> None:
    rig = LayerRig(ready=False)
    rig.ask()
    _demand(rig.server is None, "a connection is made for a request without a lease")
    _demand(b" 502 " in rig.taken(rig.client), "a request without a lease is not answered with an error")


def _the_key_is_on_the_wire_only() -> None:
    rig = _answered(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok", expect=KEY)
    _demand(b"200 OK" in rig.taken(rig.client), "an answer does not arrive")
    _demand(KEY not in repr(rig.flow.get_state() if rig.flow else ""), "a key is in the flow")
    _demand(rig.hooks == ["requestheaders", "request", "responseheaders", "response"], f"other hooks: {rig.hooks}")


def _a_failed_answer_moves_on() -> None:
    rig = _answered(b"HTTP/1.1 429 No\r\ncontent-length: 2\r\n\r\nno", expect=KEY)
    _demand(not rig.taken(rig.client), "a held answer reached the client")
    _demand(f"{KEY}-two".encode() in rig.taken(rig.server), "a request is not sent again")


def _answered(answer: bytes, *, expect: str) -> LayerRig:
    rig = LayerRig(ready=True)
    rig.ask()
    up = rig.taken(rig.server)
    _demand(expect.encode() in up and up.endswith(b"HI"), "the copy for the wire is not what is sent")
    assert rig.server is not None
    rig.feed(events.DataReceived(rig.server, answer))
    return rig


def _every_message_is_shown() -> None:
    rig = LayerRig(ready=True)
    _demand(hasattr(rig.layer, "_paused_event_queue"), "Layer._paused_event_queue is gone")
    rig.feed(events.DataReceived(rig.client, _UPGRADE))
    assert rig.server is not None
    _demand(KEY.encode() in rig.taken(rig.server), "an upgrade goes up without its credential")
    rig.feed(events.DataReceived(rig.server, _UPGRADED + b"\x81\x02hi"))
    _demand(rig.hooks.count("websocket_message") == 1, "a message is not shown before it goes on")
    _demand(rig.taken(rig.client).endswith(b"\x81\x02hi"), "a message does not arrive")
    rig.feed(events.DataReceived(rig.server, b"\x89\x02hi"))
    _demand(rig.taken(rig.client).endswith(b"\x89\x02hi"), "a ping does not arrive")
    rig.drops = True
    rig.feed(events.DataReceived(rig.client, b"\x81\x82\x00\x00\x00\x00no"))
    _demand(not rig.taken(rig.server), "a message that was dropped goes up")
    rig.feed(events.DataReceived(rig.server, b"\x82\x7e\x03\xe9" + bytes(1001)))
    _demand(b"\x03\xf1" in rig.taken(rig.client), "a message above the bound does not end a WebSocket")


def _what_a_kept_connection_did_not_answer_goes_again() -> None:
    rig = _answered(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok", expect=KEY)
    kept = rig.server
    assert kept is not None
    rig.ask()
    _demand(rig.server is kept and rig.taken(kept).endswith(b"HI"), "a connection is not used again")
    kept.state = ConnectionState.CLOSED
    rig.feed(events.ConnectionClosed(kept))
    _demand(rig.server is not kept, "a kept connection that closed is not replaced")
    _demand(rig.taken(rig.server).endswith(b"HI"), "what a kept connection did not answer is not sent again")
    _demand("patchbay_next" not in rig.hooks, "what a kept connection did not answer counts as an attempt")


def _a_goaway_is_read_to_its_last_stream() -> None:
    rig = LayerRig(ready=True, http2=True)
    asking, answering = H2Connection(), H2Connection(H2Configuration(client_side=False))
    asking.initiate_connection()
    for stream_id in (1, 3):
        asking.send_headers(stream_id, _GET, end_stream=True)
    rig.feed(events.DataReceived(rig.client, asking.data_to_send()))
    first = rig.server
    assert first is not None
    answering.initiate_connection()
    answering.receive_data(rig.taken(first))
    rig.feed(events.DataReceived(first, answering.data_to_send() + _GOAWAY))
    _demand(rig.server is not first, "a stream that a GOAWAY leaves out is not sent again")
    answering.send_headers(1, [(":status", "200")], end_stream=True)
    rig.feed(events.DataReceived(first, answering.data_to_send()))
    got = asking.receive_data(rig.taken(rig.client))
    ended = [event.stream_id for event in got if isinstance(event, StreamEnded)]
    _demand(ended == [1], "a stream that a GOAWAY leaves in is not read to its end")
    _demand(not first.connected, "a connection that goes away is not closed behind its last stream")


_GET = [(":method", "GET"), (":scheme", "http"), (":authority", "t.invalid"), (":path", "/")]
_GOAWAY = GoAwayFrame(0, last_stream_id=1).serialize()
_UPGRADE = (
    b"GET http://t.invalid/ HTTP/1.1\r\nhost: t.invalid\r\nconnection: upgrade\r\nupgrade: websocket\r\n"
    b"sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
_UPGRADED = (
    b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n"
    b"sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
)
