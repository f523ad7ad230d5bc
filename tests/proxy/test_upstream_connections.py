"""Upstream connections through the real layers, without sockets: whose each is, and what its end means."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import DataReceived, RequestReceived, ResponseReceived, StreamEnded, StreamReset
from h2.settings import SettingCodes
from hyperframe.frame import DataFrame, GoAwayFrame, HeadersFrame, PingFrame, RstStreamFrame
from mitmproxy.connection import ConnectionState, Server
from mitmproxy.proxy import commands, events
from mitmproxy.proxy.layers.http._http1 import Http1Client

from patchbay.proxy import layer_rig, upstream_attempt, upstream_connections, upstream_stream
from patchbay.proxy.upstream_connections import Upstream, UpstreamHttp2, unended
from patchbay.values.answer import Failure, Head

GONE = 2**31 - 1
OK = [(":status", "200")]


class Cord(layer_rig.StubDriver):
    """One exchange: its account, and what it was told."""

    def __init__(self, owner: str, *, repeatable: bool) -> None:
        super().__init__(ready=True)
        self.owner = owner
        self.repeatable = repeatable
        self.told: list[Any] = []

    def answered(self, what: Any) -> Any:
        self.told.append(what)
        return "next" if isinstance(what, Failure) else "deliver"


class Rig(layer_rig.LayerRig):
    """An HTTP/2 client, and as many HTTP/2 upstreams as are asked for; each says what it has to when it is told to."""

    def __init__(self) -> None:
        self.drivers: dict[int, Cord] = {}
        self.servers: dict[Server, H2Connection] = {}
        self.asked: list[tuple[Server, int, int]] = []  # what has reached an upstream: where, its stream, the client's
        self.waits: list[commands.OpenConnection] = []
        self.slow = False  # connections are not made until `connected`
        self.again = False  # a failed attempt is tried again
        super().__init__(ready=True, http2=True)
        self.asking = H2Connection()
        self.asking.initiate_connection()
        self.got: dict[int, list[Any]] = {}

    def carry_out(self, command: commands.Command) -> list[events.Event]:
        if isinstance(command, commands.OpenConnection):
            if self.slow:
                self.waits.append(command)
                return []
            found = super().carry_out(command)
            self._opened(command.connection)
            return found
        return super().carry_out(command)

    def _opened(self, server: Any) -> None:
        self.servers[server] = H2Connection(H2Configuration(client_side=False))
        self.servers[server].initiate_connection()

    def failed(self) -> None:
        """Let connections end while they are made, after they were accepted."""
        waits, self.waits = self.waits, []
        for command in waits:
            command.connection.timestamp_tcp_setup, command.connection.error = 1.0, "ended"
            self.feed(events.OpenConnectionCompleted(command, "ended"))

    def connected(self) -> None:
        waits, self.waits = self.waits, []
        for command in waits:
            self._opened(command.connection)
            command.connection.state, command.connection.alpn = ConnectionState.OPEN, b"h2"
            self.feed(events.OpenConnectionCompleted(command, None))
        self._heard()

    def run_hook(self, hook: commands.StartHook) -> None:
        self.hooks.append(hook.name)
        argument: Any = hook.args()[0]
        if hook.name == "requestheaders":
            number = int(argument.request.headers["x-number"])
            owner, once = argument.request.headers["x-owner"], "x-once" in argument.request.headers
            argument.patchbay = self.drivers[number] = Cord(owner, repeatable=not once)
        if hook.name == "patchbay_next":
            argument.again = self.again

    def ask(self, *numbers: int, owner: str = "one", once: bool = False) -> None:
        """Send requests as streams *numbers* of the client."""
        for number in numbers:
            fields = [(":method", "POST"), (":scheme", "http"), (":authority", "t.invalid"), (":path", "/"),
                      ("x-number", str(number)), ("x-owner", owner), *([("x-once", "1")] if once else [])]  # fmt: skip
            self.asking.send_headers(number, fields, end_stream=True)
        self.from_client(self.asking.data_to_send())

    def from_client(self, data: bytes) -> None:
        self.feed(events.DataReceived(self.client, data))
        self._heard()

    def says(self, server: Server, *frames: Any) -> None:
        """Let *server* send what it has to, and *frames*."""
        data = self.servers[server].data_to_send() + b"".join(each.serialize() for each in frames)
        self.feed(events.DataReceived(server, data))
        self._heard()

    def answers(self, server: Server, stream: int) -> None:
        self.servers[server].send_headers(stream, OK)
        self.servers[server].send_data(stream, b"ok", end_stream=True)
        self.says(server)

    def ends(self, server: Server) -> None:
        server.state = ConnectionState.CLOSED
        self.feed(events.ConnectionClosed(server))
        self._heard()

    def expire(self, number: int) -> None:
        """Let the timer of the client's stream *number* run out."""
        stream = self.layer.streams[number]
        assert isinstance(stream, upstream_stream.PatchbayStream)
        assert stream.timer
        self.feed(events.Wakeup(stream.timer))
        self._heard()

    def _heard(self) -> None:
        for server, speaker in self.servers.items():
            for event in speaker.receive_data(self.taken(server)):
                if isinstance(event, RequestReceived):
                    number = next(int(value) for name, value in event.headers if name == b"x-number")
                    self.asked.append((server, event.stream_id, number))
        for event in self.asking.receive_data(self.taken(self.client)):
            if isinstance(event, ResponseReceived | DataReceived | StreamEnded | StreamReset):
                self.got.setdefault(event.stream_id, []).append(event)

    def where(self, number: int) -> list[Server]:
        """Return which upstreams were asked for the client's stream *number*."""
        return [server for server, _, each in self.asked if each == number]

    def served(self, *numbers: int) -> bool:
        return all(isinstance(self.got.get(number, [None])[-1], StreamEnded) for number in numbers)


@pytest.fixture
def rig() -> Rig:
    return Rig()


def test_streams_of_one_account_share_a_connection(rig: Rig) -> None:
    rig.ask(1, 3)
    rig.ask(5)
    [server] = rig.servers
    for _, stream, _ in list(rig.asked):
        rig.answers(server, stream)

    assert rig.served(1, 3, 5)
    assert len(rig.servers) == 1


def test_those_of_two_accounts_do_not(rig: Rig) -> None:
    """R33: not while a connection is being made, and not when it stands."""
    rig.slow = True
    rig.ask(1, 3)
    rig.ask(5, owner="two")
    rig.connected()
    rig.ask(7, owner="two")
    rig.ask(9)

    assert rig.where(1) == rig.where(3) == rig.where(9)
    assert rig.where(5) == rig.where(7)
    assert len(rig.servers) == 2


def test_a_goaway_leaves_what_is_below_its_last_stream(rig: Rig) -> None:
    """R33: the others are sent again, none of them has failed, and the connection closes behind the last one."""
    rig.ask(1, 3, 5)
    [first] = rig.servers
    rig.says(first, GoAwayFrame(0, 3))
    rig.ask(7)
    second = rig.where(7)[0]

    assert rig.where(5) == [first, second]
    rig.answers(first, 1)
    assert first.connected
    rig.answers(first, 3)
    assert not first.connected
    for stream in (1, 3):
        rig.answers(second, stream)
    assert rig.served(1, 3, 5, 7)
    assert not any(isinstance(each, Failure) for driver in rig.drivers.values() for each in driver.told)


@pytest.mark.parametrize(
    "frame", [GoAwayFrame(0, 1), RstStreamFrame(3, ErrorCodes.REFUSED_STREAM)], ids=["GOAWAY", "a stream is refused"]
)
def test_what_comes_in_one_piece_with_the_end_of_a_connection_is_told(rig: Rig, frame: Any) -> None:
    """R33: h2 has read the last answer when the frame before it is looked at; the connection closes behind it."""
    rig.ask(1, 3)
    [first] = rig.servers
    rig.says(first)  # its SETTINGS
    rig.servers[first].send_headers(1, OK)
    rig.servers[first].send_data(1, b"ok", end_stream=True)
    rig.feed(events.DataReceived(first, frame.serialize() + rig.servers[first].data_to_send()))
    rig._heard()
    assert rig.served(1)
    assert not first.connected
    rig.answers(rig.where(3)[-1], 1)

    assert rig.served(3)
    assert len(rig.where(1)) == 1
    assert not any(isinstance(each, Failure) for driver in rig.drivers.values() for each in driver.told)


def test_a_goaway_in_two_steps(rig: Rig) -> None:
    """R33: the first one ends nothing."""
    rig.ask(1, 3)
    [first] = rig.servers
    rig.says(first, GoAwayFrame(0, GONE))
    assert [len(rig.where(number)) for number in (1, 3)] == [1, 1]
    rig.says(first, GoAwayFrame(0, 1))

    assert [len(rig.where(number)) for number in (1, 3)] == [1, 2]


def test_an_answer_that_comes_after_all_is_not_mixed_in(rig: Rig) -> None:
    """R33: an upstream that answers a stream which it said it had not looked at."""
    rig.ask(1, 3)
    [first] = rig.servers
    rig.says(first, GoAwayFrame(0, 1))
    second = rig.where(3)[1]
    rig.says(first, HeadersFrame(3, b"\x88", flags=["END_HEADERS"]), DataFrame(3, b"wrong", flags=["END_STREAM"]))
    assert 3 not in rig.got
    rig.answers(second, 1)

    assert b"".join(event.data for event in rig.got[3] if isinstance(event, DataReceived)) == b"ok"


def test_what_waits_for_settings_leaves_a_dead_connection(rig: Rig) -> None:
    """R31: ten streams go out before it is known how many may; none of the others is lost."""
    numbers = range(1, 41, 2)
    rig.ask(*numbers)
    [first] = rig.servers
    assert len(rig.asked) == 10  # as many as mitmproxy sends before the SETTINGS are known
    rig.ends(first)

    assert [len(rig.where(number)) for number in numbers] == [2] * 10 + [1] * 10
    assert not any(isinstance(each, Failure) for driver in rig.drivers.values() for each in driver.told)


def test_a_connection_that_ends_while_it_is_made_is_made_again(rig: Rig) -> None:
    """R31: once for all who wait for it, since nothing was sent; then it counts, once."""
    rig.slow = True
    rig.ask(1, 3, 5)
    rig.failed()
    assert len(rig.waits) == 1
    rig.ask(7)
    rig.failed()

    assert len(rig.waits) == 1  # for the one that has come in between
    failures = [[each.kind, each.counted] for number in (1, 3, 5) for each in rig.drivers[number].told]
    assert failures == [["connect", False], ["connect", True], ["connect", True]]
    rig.connected()
    assert len(rig.where(7)) == 1


def test_a_connection_that_takes_too_long_is_given_up_alone(rig: Rig) -> None:
    """R33: another account's, which is made at the same time to the same address, is not."""
    rig.slow = True
    rig.ask(1)
    rig.ask(3, owner="two")
    one, two = [command.connection for command in rig.waits]
    for each in (one, two):
        each.state = ConnectionState.OPEN
    rig.expire(3)

    assert (one.connected, two.connected) == (True, False)


def test_what_waits_for_settings_goes_out_with_them(rig: Rig) -> None:
    numbers = range(1, 41, 2)
    rig.ask(*numbers)
    [first] = rig.servers
    rig.says(first)

    assert [rig.where(number) for number in numbers] == [[first]] * 20


@pytest.mark.parametrize("limit", [1, 4])
def test_an_upstream_gets_no_more_streams_than_it_takes(rig: Rig, limit: int) -> None:
    """R37: what is above its limit goes on further connections, which are known to take no more."""
    rig.ask(1)
    [first] = rig.servers
    rig.servers[first].update_settings({SettingCodes.MAX_CONCURRENT_STREAMS: limit})
    rig.says(first)
    rig.ask(*range(3, 21, 2))
    rig.ask(21)  # the last of those connections has not told its limit

    assert [len(rig.where(number)) for number in range(1, 23, 2)] == [1] * 11
    most = max(sum(server is each for each, _, _ in rig.asked) for server in rig.servers)
    assert most <= limit


def test_a_cancelled_stream_that_waits_is_never_sent(rig: Rig) -> None:
    """R37: mitmproxy sends it when it is its turn, and cancels it then."""
    rig.ask(*range(1, 25, 2))
    [first] = rig.servers
    rig.asking.reset_stream(23, ErrorCodes.CANCEL)
    rig.from_client(rig.asking.data_to_send())
    rig.says(first)

    assert rig.where(21) == [first]
    assert rig.where(23) == []


def test_a_cancel_that_comes_with_the_end_is_heard(rig: Rig) -> None:
    """R37: in one piece with the request, before the upstream is asked."""
    rig.slow = True
    rig.ask(1)
    fields = [(":method", "POST"), (":scheme", "http"), (":authority", "t.invalid"), (":path", "/"),
              ("x-number", "3"), ("x-owner", "one")]  # fmt: skip
    rig.asking.send_headers(3, fields, end_stream=True)
    rig.asking.reset_stream(3, ErrorCodes.CANCEL)
    rig.from_client(rig.asking.data_to_send())
    rig.connected()

    assert rig.drivers[3].left
    assert rig.where(1)
    assert rig.where(3) == []


def test_the_end_of_a_connection_is_told_once_as_a_fault(rig: Rig) -> None:
    """R32: of all streams that the client sees break off, the first alone counts."""
    rig.ask(1, 3, 5)
    [first] = rig.servers
    for stream in (1, 3, 5):
        rig.servers[first].send_headers(stream, OK)
    rig.says(first)
    rig.ends(first)

    failures = [each for driver in rig.drivers.values() for each in driver.told if isinstance(each, Failure)]
    assert [failure.counted for failure in failures] == [False, True, True]


def test_a_request_whose_connection_was_lost_goes_alone(rig: Rig) -> None:
    """R32: it may be the reason, and must not take others with it again."""
    rig.ask(1, 3)
    [first] = rig.servers
    rig.says(first)
    rig.ends(first)
    rig.ask(5)

    used = [rig.where(number)[-1] for number in (1, 3, 5)]
    assert len(set(used)) == 3


def test_it_is_lost_once_in_silence(rig: Rig) -> None:
    """R32: the second time is a fault."""
    rig.ask(1)
    [first] = rig.servers
    rig.ends(first)
    assert not any(isinstance(each, Failure) for each in rig.drivers[1].told)
    rig.ends(rig.where(1)[1])

    assert [each.kind for each in rig.drivers[1].told if isinstance(each, Failure)] == ["lost"]


@pytest.mark.parametrize(("kept", "read", "again"), [(True, False, True), (True, True, False), (False, False, False)])
def test_what_must_not_be_done_twice(rig: Rig, kept: bool, read: bool, again: bool) -> None:
    """R36, A15: it goes again where nothing was read on a connection that had served before."""
    if kept:
        rig.ask(1)
        rig.answers(next(iter(rig.servers)), 1)
    rig.ask(3, once=True)
    server = rig.where(3)[0]
    if read:
        rig.servers[server].ping(b"01234567")
        rig.says(server)
    rig.ends(server)

    assert len(rig.where(3)) == 1 + again
    assert any(isinstance(each, Failure) for each in rig.drivers[3].told) != again


def test_a_refused_stream_leaves_its_connection(rig: Rig) -> None:
    """R31: it was not looked at, so it goes again whatever it asks for, a few times."""
    rig.ask(1, once=True)
    for _ in range(upstream_attempt.RESENDS):
        server = rig.where(1)[-1]
        rig.says(server, RstStreamFrame(1, ErrorCodes.REFUSED_STREAM))
        assert not server.connected
    assert len(rig.where(1)) == 1 + upstream_attempt.RESENDS
    rig.says(rig.where(1)[-1], RstStreamFrame(1, ErrorCodes.REFUSED_STREAM))

    assert len(rig.where(1)) == 1 + upstream_attempt.RESENDS
    assert any(isinstance(each, Failure) for each in rig.drivers[1].told)


def test_what_comes_before_a_frame_that_is_no_frame_is_read(rig: Rig) -> None:
    """R32: h2 forgets what came in one piece with it."""
    rig.ask(1)
    [first] = rig.servers
    rig.servers[first].send_headers(1, OK)
    rig.servers[first].send_data(1, b"ok", end_stream=True)
    rig.says(first, DataFrame(9999, b"x"))

    assert rig.served(1)


def test_a_malformed_answer_harms_no_other(rig: Rig) -> None:
    """R32: it ends its own stream (RFC 9113, 8.1.1)."""
    rig.ask(1, 3)
    [first] = rig.servers
    rig.servers[first].send_headers(1, [*OK, ("content-length", "9")])
    rig.servers[first].send_headers(3, OK)
    rig.says(first, DataFrame(1, b"short", flags=["END_STREAM"]))
    rig.servers[first].send_data(3, b"ok", end_stream=True)
    rig.says(first)

    assert rig.served(3)
    assert [any(isinstance(each, Failure) for each in rig.drivers[number].told) for number in (1, 3)] == [True, False]


@pytest.mark.parametrize(("over_by", "told"), [(0, [200]), (1, [])])
def test_headers_up_to_a_quarter_of_a_mebibyte(rig: Rig, over_by: int, told: list[int]) -> None:
    """h2 ends the whole connection at 64 KiB."""
    rig.ask(1, once=True)
    [first] = rig.servers
    rig.says(first)
    rig.servers[first].encoder.__class__ = upstream_connections._Encoder
    rest = (1 << 18) - (7 + 3 + 32) - (7 + 32)  # of the status and of the name
    rig.servers[first].send_headers(1, [*OK, ("x-large", "x" * (rest + over_by))], end_stream=True)
    rig.says(first)

    assert [each.status for each in rig.drivers[1].told if isinstance(each, Head)] == told
    assert first.connected is not bool(over_by)
    assert isinstance(rig.got[1][-1], StreamEnded | StreamReset)


def test_a_client_is_told_how_large_its_headers_may_be(rig: Rig) -> None:
    rig.ask(1)

    assert rig.asking.remote_settings.max_header_list_size == 1 << 18


def test_a_connection_whose_stream_was_cancelled_is_idle(rig: Rig) -> None:
    rig.ask(1)
    [server] = rig.servers
    rig.says(server)
    assert not rig.layer.upstreams[server].idle
    rig.asking.reset_stream(1, ErrorCodes.CANCEL)
    rig.from_client(rig.asking.data_to_send())

    assert rig.layer.upstreams[server].idle


def test_a_connection_that_mitmproxy_had_opened_belongs_to_the_first_who_asks(rig: Rig) -> None:
    early = rig.layer.context.server
    early.address, early.state, early.alpn = ("t.invalid", 80), ConnectionState.OPEN, b"h2"
    rig._opened(early)
    rig.says(early)  # its SETTINGS come before the first request
    rig.ask(1)
    rig.ask(3, owner="two")
    rig.ask(5)

    assert rig.where(1) == rig.where(5) == [early]
    assert rig.where(3) not in ([], [early])


def test_after_a_timeout_a_connection_takes_no_new_stream(rig: Rig) -> None:
    """R30: another attempt, another connection; what was on it goes on."""
    rig.again = True
    rig.ask(1, 3)
    [first] = rig.servers
    rig.says(first)
    rig.expire(1)
    rig.ask(5)

    assert first not in (rig.where(1)[-1], rig.where(5)[-1])
    rig.answers(first, 3)
    assert rig.served(3)
    assert not first.connected


def test_a_wait_for_settings_has_an_end(rig: Rig) -> None:
    """R37: then the stream gets a connection of its own, and nobody is blamed."""
    rig.ask(*range(1, 25, 2))
    [first] = rig.servers
    rig.expire(23)

    assert [len(rig.where(number)) for number in (1, 21, 23)] == [1, 0, 1]
    assert rig.where(23) != [first]
    assert rig.drivers[23].told == []


def test_idle_connections_are_bounded(rig: Rig) -> None:
    """R33: the one that has been idle for longest is closed; one with a stream under way never is."""
    rig.ask(1, owner="busy")
    [busy] = rig.servers
    rig.says(busy)
    used = []
    for number in range(3, 3 + 2 * 120, 2):
        rig.ask(number, owner=f"owner {number}")
        used.append(rig.where(number)[0])
        rig.answers(used[-1], 1)

    assert busy.connected
    assert [each.connected for each in used] == [False] * 88 + [True] * 32
    assert [used[87] in rig.layer.upstreams, rig.layer.upstreams[used[87]].retired] == [True, True]


# -- one connection ----------------------------------------------------------------------------------------------------


def _upstream(kind: str = "none", *, streams: int = 0, provisional: int | None = None, most: int = 7) -> Upstream:
    """Return an open connection of HTTP/1 or HTTP/2, or of neither, with *streams* on it."""
    found: Any = None
    if kind == "h1":
        found = object.__new__(Http1Client)
        found.stream_id = 1 if streams else None
    elif kind == "h2":
        found = object.__new__(UpstreamHttp2)
        found.streams, found.provisional_max_concurrency = {}, provisional
        settings = SimpleNamespace(max_concurrent_streams=most)
        found.h2_conn = SimpleNamespace(open_outbound_streams=streams, remote_settings=settings)
    connection = Server(address=("t.invalid", 80))
    connection.state = ConnectionState.OPEN
    return Upstream("one", connection, found)


@pytest.mark.parametrize(
    ("upstream", "is_http2", "settled", "is_shared", "limit", "room", "idle"),
    [
        (_upstream(), False, True, False, 1, True, False),
        (_upstream("h1"), False, True, False, 1, True, True),
        (_upstream("h1", streams=1), False, True, False, 1, False, False),
        (_upstream("h2"), True, True, False, 7, True, True),
        (_upstream("h2", streams=1), True, True, False, 7, True, False),
        (_upstream("h2", streams=2), True, True, True, 7, True, False),
        (_upstream("h2", streams=7), True, True, True, 7, False, False),
        (_upstream("h2", streams=6, provisional=6), True, False, True, 6, False, False),
    ],
    ids=["unknown", "h1 idle", "h1 busy", "h2 idle", "h2 with one", "h2 shared", "h2 full", "h2 unsettled"],
)
def test_what_is_known_of_a_connection(
    upstream: Upstream, is_http2: bool, settled: bool, is_shared: bool, limit: int, room: bool, idle: bool
) -> None:
    known = (upstream.is_http2, upstream.settled, upstream.is_shared, upstream.limit, upstream.room, upstream.idle)

    assert known == (is_http2, settled, is_shared, limit, room, idle)
    assert upstream.usable
    assert (upstream.served, upstream.heard, upstream.used, upstream.blamed) == (0, 0, 0, False)


@pytest.mark.parametrize("why", ["failed", "retired", "closed"])
def test_what_takes_no_new_stream_is_not_usable(why: str) -> None:
    upstream = _upstream("h1")
    if why == "closed":
        upstream.connection.state = ConnectionState.CLOSED
        assert not upstream.idle
    else:
        setattr(upstream, why, True)
        assert upstream.idle

    assert not upstream.usable


def test_an_http2_connection_whose_stream_has_not_been_passed_on_is_not_idle() -> None:
    upstream = _upstream("h2")
    upstream.http.streams[1] = None  # type: ignore[union-attr, index, assignment]

    assert not upstream.idle


@pytest.mark.parametrize(("code", "name"), [(0, "NO_ERROR"), (11, "ENHANCE_YOUR_CALM"), (4711, "4711")])
def test_a_goaway_is_told_by_the_name_of_its_code(rig: Rig, code: int, name: str) -> None:
    """R31: what was not processed goes again; only where that is over, it is told."""
    rig.ask(1, once=True)
    for _ in range(upstream_attempt.RESENDS + 1):
        rig.says(rig.where(1)[-1], GoAwayFrame(0, 0, code))

    [failure] = [each for each in rig.drivers[1].told if isinstance(each, Failure)]
    assert f"HTTP/2 connection closed by the upstream ({name})" in failure.message


def test_the_size_of_a_header_list_is_counted_as_http2_does() -> None:
    """RFC 9113, 6.5.2: 32 bytes more for each field; and room for the status."""
    assert upstream_connections._size([]) == 64
    assert upstream_connections._size([(b"ab", b"cde"), (b"f", b"")]) == 64 + 37 + 33


@pytest.mark.parametrize(("length", "arrives"), [(902, True), (903, False)])
def test_headers_larger_than_the_client_accepts_fail_their_own_stream(rig: Rig, length: int, arrives: bool) -> None:
    rig.asking.update_settings({SettingCodes.MAX_HEADER_LIST_SIZE: 1000})
    rig.ask(1)
    [server] = rig.servers
    rig.says(server)
    rig.servers[server].send_headers(1, [*OK, ("ab", "c" * length)], end_stream=True)
    rig.says(server)

    assert isinstance(rig.got[1][0], ResponseReceived)
    assert (dict(rig.got[1][0].headers)[b":status"] == b"200") is arrives
    rig.ask(3)
    assert rig.where(3), "the connection goes on"


@pytest.mark.parametrize(("length", "coded"), [(4096 - 5, True), (4096 - 4, False)])
def test_long_header_lists_are_not_huffman_coded(length: int, coded: bool) -> None:
    """hpack takes quadratic time to do so."""
    encoder = upstream_connections._Encoder()
    encoded = encoder.encode([("x-abc", "a" * length)], huffman=True)

    assert (len(encoded) < length) is coded
    assert len(encoder.encode([("x-other", "b" * 100)], huffman=False)) > 100


def test_a_connection_that_is_lost_is_told_for_each_stream_on_it(rig: Rig) -> None:
    rig.ask(1, 3, once=True)
    [server] = rig.servers
    rig.says(server)
    assert rig.layer.upstreams[server].heard == 1
    rig.says(server, PingFrame(0, b"01234567"))
    assert rig.layer.upstreams[server].heard == 2
    rig.ends(server)

    told = [[each.kind for each in rig.drivers[at].told if isinstance(each, Failure)] for at in (1, 3)]
    assert told == [["lost"], ["lost"]]


def test_a_closed_connection_is_forgotten_at_the_next_request(rig: Rig) -> None:
    rig.ask(1)
    [first] = rig.servers
    rig.answers(first, 1)
    assert first in unended
    rig.ends(first)
    rig.ask(3)

    assert first not in rig.layer.upstreams
    assert rig.where(3) != [first]
