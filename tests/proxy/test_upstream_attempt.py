"""One attempt: the gate through which its request leaves, its timer, and the end of its connection."""

from __future__ import annotations

import json

import pytest
from mitmproxy import http
from mitmproxy.connection import ConnectionState
from mitmproxy.proxy import commands, events
from mitmproxy.test import tflow

from patchbay.proxy import layer_rig, upstream_attempt
from patchbay.proxy.credentials import Credentials
from patchbay.proxy.shadow import Passthrough
from patchbay.values.account import Timeouts
from patchbay.values.answer import Chunk, End, Failure, Head

from .rig import OVER, Clock, Rig, Version
from .stream_states import (
    connecting,
    left_before_connected,
    streaming,
    time_is_up,
    uploaded,
    waiting,
)

pytestmark = pytest.mark.usefixtures("nothing_fails_inside")


# -- the gate ----------------------------------------------------------------------------------------------------------


@OVER
@pytest.mark.parametrize("attached", ["nothing", "not ready"])
@pytest.mark.parametrize("uploads", [False, True])
def test_without_a_lease_nothing_leaves(
    over: tuple[Version, Version], attached: str, uploads: bool, caplog: pytest.LogCaptureFixture
) -> None:
    rig = Rig(*over)
    rig.uploads = uploads
    rig.driver.ready = False
    if attached == "nothing":
        rig.attached = None
    rig.ask()

    assert rig.answer.start == "502"
    assert rig.upstreams == {}
    assert "PermissionError" in caplog.text
    caplog.clear()


@OVER
def test_a_route_that_is_gone_when_the_connection_stands_sends_nothing(
    over: tuple[Version, Version], caplog: pytest.LogCaptureFixture
) -> None:
    rig = Rig(*over)
    rig.slow = True
    rig.ask()
    rig.driver.ready = False
    rig.connected()

    assert rig.requests == []
    assert rig.answer.start == "502"
    caplog.clear()


@OVER
def test_the_credential_is_on_the_wire_copy_alone(over: tuple[Version, Version]) -> None:
    rig = Rig(*over)
    rig.ask()

    assert rig.request.headers["authorization"] == layer_rig.KEY
    assert layer_rig.KEY not in repr(rig.flows[0].get_state())


@OVER
def test_an_error_inside_is_an_answer_not_a_hang(
    over: tuple[Version, Version], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """mitmproxy would log it with its message, which could quote a header, and leave the client waiting."""

    def fails(*_: object) -> None:
        raise ValueError(layer_rig.KEY)

    rig = Rig(*over)
    rig.ask()
    monkeypatch.setattr(rig.driver, "answered", fails)
    rig.head()

    assert (rig.answer.start, json.loads(rig.answer.body)["error"]["code"]) == ("502", "patchbay_failed")
    assert "ValueError" in caplog.text
    assert layer_rig.KEY not in caplog.text
    assert rig.left_behind == []
    caplog.clear()


@OVER
def test_the_client_gets_the_head_that_the_driver_gives(over: tuple[Version, Version]) -> None:
    rig = Rig(*over)

    def given(response: http.Response) -> http.Response:
        copy = response.copy()
        copy.headers["x-given"] = "1"
        return copy

    rig.driver.client_response = given  # type: ignore[method-assign]
    streaming(rig)

    assert rig.answer.headers["x-given"] == "1"
    assert "x-given" not in rig.flows[0].response.headers


@OVER
def test_the_whole_request_goes_up_again(over: tuple[Version, Version]) -> None:
    rig = Rig(*over)
    rig.ask(b"body")
    rig.break_off()
    assert [(message.body, message.end) for _, message in rig.requests] == [(b"BODY", "complete")] * 2
    rig.answers(200, b"ok")
    rig.ask(b"", method="GET")

    assert (rig.request.start, rig.request.body, rig.request.end) == ("GET", b"", "complete")


def test_trailers_of_a_request_go_up_again() -> None:
    rig = Rig("h1", "h2")
    rig.ask(b"hi", ends=False)
    rig._from_client(b"0\r\nx-sum: 1\r\n\r\n")
    rig.break_off()

    assert [message.trailers for _, message in rig.requests] == [{"x-sum": "1"}] * 2


# -- a flow that passes ------------------------------------------------------------------------------------------------


@OVER
def test_what_is_attached_as_passthrough_goes_as_it_came(over: tuple[Version, Version]) -> None:
    class Plain(Passthrough):
        def wire_request(self, request: http.Request) -> http.Request:
            request = super().wire_request(request).copy()
            request.headers.setdefault("content-length", "2")
            return request

    rig = Rig(*over)
    rig.attached = Plain(tflow.tflow(), Credentials())
    rig.ask()
    rig.answers(503, b"busy")

    assert "authorization" not in rig.request.headers
    assert rig.request.body == b"hi"
    assert (rig.answer.start, rig.answer.body, rig.answer.end) == ("503", b"busy", "complete")
    assert rig.driver.told == rig.driver.calls == []


@OVER
def test_a_passthrough_that_breaks_off_is_mitmproxys_own_affair(over: tuple[Version, Version]) -> None:
    rig = Rig(*over)
    rig.attached = Passthrough(tflow.tflow(), Credentials())
    rig.ask(b"", method="GET")
    rig.break_off()

    assert rig.answer.start == "502" or rig.answer.end == "broken"
    assert rig.driver.told == []
    assert rig.left_behind == []


# -- time --------------------------------------------------------------------------------------------------------------


@OVER
def test_a_piece_starts_the_idle_time_anew(over: tuple[Version, Version], clock: Clock) -> None:
    rig = Rig(*over, clock)
    streaming(rig)
    clock.now += 20
    rig.data(b"two")
    stream_timer = rig.timer
    clock.now += 10  # 30 since the timer was set, 10 since the last piece
    assert rig.stream.timer
    rig.feed(events.Wakeup(rig.stream.timer))

    assert stream_timer == ("idle", 30)
    assert (rig.answer.end, rig.timer) == ("", ("idle", 20))
    rig.expire("idle")
    assert rig.answer.end == "broken"


@OVER
@pytest.mark.parametrize("idle", [0, 30])
def test_the_total_bounds_an_answer_that_goes_on(over: tuple[Version, Version], clock: Clock, idle: int) -> None:
    rig = Rig(*over, clock)
    rig.driver.timeouts = Timeouts(connect=10, first_byte=20, idle=idle, total=25)
    streaming(rig)
    assert rig.timer == ("idle", 25)
    clock.now += 24
    rig.data(b"two")
    clock.now += 1
    assert rig.stream.timer
    rig.feed(events.Wakeup(rig.stream.timer))

    assert (rig.answer.body, rig.answer.end) == (b"onetwo", "broken")
    assert rig.driver.failures == ["timeout"]


@OVER
def test_the_total_is_shorter_than_the_wait_for_a_head(over: tuple[Version, Version], clock: Clock) -> None:
    rig = Rig(*over, clock)
    rig.driver.timeouts = Timeouts(connect=10, first_byte=20, idle=30, total=15)
    rig.slow = True
    rig.ask()
    assert rig.timer == ("connect", 10)
    clock.now += 6
    rig.connected()

    assert rig.timer == ("head", 9)


@OVER
def test_without_bounds_the_exchange_stays_alive(over: tuple[Version, Version], clock: Clock) -> None:
    """mitmproxy closes a client's connection on which nothing happens."""
    rig = Rig(*over, clock)
    rig.driver.timeouts = Timeouts(0, 0, 0, 0)
    rig.ask()
    for _ in range(3):
        rig.expire("alive")
    rig.head()
    for _ in range(3):
        rig.expire("alive")
    rig.data(b"late")
    rig.end()

    assert (rig.answer.body, rig.answer.end, rig.driver.failures) == (b"late", "complete", [])


@OVER
@pytest.mark.parametrize(("status", "released"), [(200, True), (429, False)])
def test_a_good_answer_that_fell_silent_is_not_held_to_the_end(
    over: tuple[Version, Version], clock: Clock, status: int, released: bool
) -> None:
    """Its upstream has stopped; an error is known by its head, whatever becomes of its body."""
    rig = Rig(*over, clock)
    rig.driver.hold_seconds = 100
    rig.driver.reacts |= {Head: "hold", Chunk: "hold", End: "hold"}
    rig.ask()
    rig.head(status)
    assert rig.timer == ("hold", 30)
    rig.expire("hold")

    assert (rig.driver.failures == ["timeout"]) is released
    assert rig.timer == (("head", 20) if released else ("hold", pytest.approx(0.001)))


@OVER
def test_what_is_held_is_held_for_its_time_alone(over: tuple[Version, Version], clock: Clock) -> None:
    rig = Rig(*over, clock)
    rig.driver.hold_seconds = 40
    rig.driver.timeouts = Timeouts(connect=10, first_byte=20, idle=30, total=0)
    rig.driver.reacts |= {Head: "hold", Chunk: "hold", End: "hold"}
    rig.ask()
    rig.head(200)
    clock.now += 29
    rig.data(b"one")
    clock.now += 1
    assert rig.stream.timer
    rig.feed(events.Wakeup(rig.stream.timer))
    assert rig.timer == ("hold", 10)
    rig.expire("hold")

    assert (rig.answer.start, rig.answer.body, rig.timer) == ("200", b"one", ("idle", 30))


@OVER
def test_a_timer_that_was_called_off_changes_nothing(over: tuple[Version, Version], clock: Clock) -> None:
    rig = Rig(*over, clock)
    rig.ask()
    old = rig.stream.timer
    assert old
    rig.head()
    rig.feed(events.Wakeup(old))
    rig.data(b"one")
    rig.end()
    rig.feed(events.Wakeup(old))

    assert (rig.answer.body, rig.answer.end) == (b"one", "complete")
    assert rig.driver.failures == []


@OVER
def test_a_connection_that_timed_out_is_used_no_more(over: tuple[Version, Version], clock: Clock) -> None:
    rig = Rig(*over, clock)
    waiting(rig)
    time_is_up(rig)

    assert rig.requests[0][0] is not rig.requests[1][0]


@OVER
def test_an_upload_has_no_time_of_its_own(over: tuple[Version, Version], clock: Clock) -> None:
    rig = Rig(*over, clock)
    rig.uploads = True
    rig.ask(b"up", ends=False)
    assert rig.timer == ("alive", 120)
    rig.finish()

    assert rig.timer == ("head", 20)


@OVER
def test_a_connection_that_takes_too_long_is_closed(over: tuple[Version, Version], clock: Clock) -> None:
    rig = Rig(*over, clock)
    connecting(rig)
    rig.feed(events.Wakeup(commands.RequestWakeup(1)))
    [wait] = rig.waits
    assert wait.connection not in rig.closed
    rig.expire("connect")

    assert wait.connection in rig.closed


def test_an_old_timer_gives_up_no_connection(clock: Clock) -> None:
    """It was set for the attempt before, which has failed meanwhile."""
    rig = Rig(clock=clock)
    connecting(rig)
    old = rig.stream.timer
    assert old
    rig.layer.command_sources[old] = rig.stream
    rig.refused()
    rig.layer.command_sources[old] = rig.stream
    [wait] = rig.waits
    rig.feed(events.Wakeup(old))

    assert wait.connection not in rig.closed


# -- connections that end ----------------------------------------------------------------------------------------------


def test_a_kept_connection_that_closed_costs_no_attempt() -> None:
    rig = Rig()
    rig.ask()
    rig.answers(200, b"ok")
    rig.ask()
    rig.hang_up()

    assert rig.driver.failures == []
    assert [server.connected for server, _ in rig.requests] == [False, False, True]
    rig.answers(200, b"again")
    assert rig.answer.body == b"again"


def test_a_kept_connection_that_closes_twice_is_a_failure() -> None:
    rig = Rig()
    rig.ask()
    rig.answers(200, b"ok")
    rig.ask()
    rig.hang_up()
    rig.hang_up()

    assert rig.driver.failures == ["reset"]


def test_a_streamed_request_is_not_sent_twice_though_its_connection_was_kept() -> None:
    rig = Rig()
    rig.ask()
    rig.answers(200, b"ok")
    uploaded(rig)
    rig.hang_up()

    assert rig.driver.failures == ["reset"]
    assert rig.answer.start == "502"


@pytest.mark.parametrize(("repeatable", "attempts"), [(True, 2), (False, 1)])
def test_of_a_lost_http2_connection_a_repeatable_request_goes_once_more(repeatable: bool, attempts: int) -> None:
    """Another request may have been the reason; so it goes alone."""
    rig = Rig("h2", "h2")
    rig.driver.repeatable = repeatable
    rig.moves = False
    rig.ask()
    rig.hang_up()

    assert len(rig.requests) == attempts
    assert rig.driver.failures == ([] if repeatable else ["lost"])


def test_a_request_that_loses_two_connections_of_http2_has_failed() -> None:
    rig = Rig("h2", "h2")
    rig.moves = False
    rig.ask()
    rig.hang_up()
    rig.hang_up()

    assert len(rig.requests) == 2
    assert rig.driver.failures == ["lost"]


def test_a_failure_of_one_stream_is_not_shared() -> None:
    rig = Rig("h2", "h2")
    rig.driver.repeatable, rig.moves = False, False
    rig.ask()
    rig.break_off()
    rig.ask()
    rig.from_upstream(b"")
    rig.hang_up()

    failures = [each for each in rig.driver.told if isinstance(each, Failure)]
    assert [(each.kind, each.counted) for each in failures] == [("reset", False), ("lost", False)]


def test_a_shared_failure_counts_once() -> None:
    rig = Rig("h2", "h2")
    rig.driver.repeatable = False
    rig.ask()
    rig.ask()
    rig.from_upstream(b"")  # else the connection had closed before, and the second would go again
    server = rig.requests[0][0]
    server.state = ConnectionState.CLOSED
    rig.feed(events.ConnectionClosed(server))

    failures = [each for each in rig.driver.told if isinstance(each, Failure)]
    assert [each.counted for each in failures] == [False, True]


@OVER
def test_what_was_refused_before_is_asked_again(over: tuple[Version, Version]) -> None:
    """mitmproxy keeps a connection that failed, and every later request to that address would fail with it."""
    rig = Rig(*over)
    rig.slow, rig.moves = True, False
    rig.ask()
    rig.refused()
    rig.slow = False
    rig.ask()
    rig.answers(200, b"back")

    assert rig.answer.body == b"back"


@OVER
def test_a_client_that_left_while_it_was_connected_sends_nothing(over: tuple[Version, Version]) -> None:
    rig = Rig(*over)
    connecting(rig)
    left_before_connected(rig)

    assert rig.requests == []
    assert rig.driver.left


def test_a_connect_timeout_while_a_stream_waits_opens_a_connection_of_its_own(clock: Clock) -> None:
    """The first connection of HTTP/2 has as many streams as it may have, and its SETTINGS never come."""
    rig = Rig("h2", "h2", clock)
    for _ in range(11):
        rig.ask()
    asked = len(rig.requests)
    rig.stream_id += 0
    waits = [stream for stream in rig.layer.streams.values() if stream._paused]
    assert len(waits) == 1 and asked == 10
    timer = waits[0].timer
    assert timer and timer.what == "connect"
    rig.feed(events.Wakeup(timer))

    assert len(rig.upstreams) == 2
    assert len(rig.requests) == 11


def test_a_request_that_was_not_processed_goes_again_three_times() -> None:
    assert upstream_attempt.RESENDS == 3


@pytest.mark.parametrize("attached", [None, Passthrough(tflow.tflow(), Credentials())])
def test_without_a_driver_a_stream_has_no_owner(attached: object) -> None:
    """All of these share connections."""
    rig = Rig()
    rig.ask()
    rig.flows[0].patchbay = attached  # type: ignore[attr-defined]

    assert (rig.stream.driver, rig.stream.owner) == (None, None)


@OVER
def test_a_streamed_upload_whose_connection_is_refused_leaves_no_timer(
    over: tuple[Version, Version], clock: Clock
) -> None:
    rig = Rig(*over, clock)
    rig.slow, rig.uploads, rig.moves = True, True, False
    rig.ask(b"up", ends=False)
    assert rig.timer == ("connect", 10)
    rig.refused()

    assert rig.answer.start == "502"
    assert rig.driver.armed == []


def test_a_connection_that_was_given_up_is_not_opened_a_second_time_for_its_stream(clock: Clock) -> None:
    """Its streams are not among those that wait for another one: the layer tells them by the end of this one."""
    rig = Rig("h2", "h2", clock)
    connecting(rig)
    stream, [wait] = rig.stream, rig.waits
    rig.expire("connect")

    assert rig.layer.overdue is wait.connection
    assert not stream.alone
    assert rig.closed.count(wait.connection) == 1


@OVER
def test_an_attempt_that_has_ended_is_not_given_up_again(over: tuple[Version, Version], clock: Clock) -> None:
    """Its upstream gets one reset, or none where the answer was complete."""
    rig = Rig(*over, clock)
    rig.ask()
    stream = rig.stream
    assert stream.upstream_open
    assert len(list(stream._abandon())) == 1
    assert not stream.upstream_open
    assert list(stream._abandon()) == []
