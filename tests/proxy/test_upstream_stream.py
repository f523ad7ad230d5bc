"""The stream's states, each met by every event that can come in it, over HTTP/1 and HTTP/2 on either side."""

from __future__ import annotations

import asyncio
import gzip
import json
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import pytest
from h2.errors import ErrorCodes
from hypothesis import HealthCheck, given, settings, strategies as st
from mitmproxy import http
from mitmproxy.proxy import commands, events
from mitmproxy.proxy.layers.http import HTTPMode, RequestData
from mitmproxy.test import tflow

from patchbay.content_coding import CodingError
from patchbay.proxy import upstream_stream
from patchbay.proxy.answer_filter import AnswerFilter
from patchbay.proxy.credentials import Credentials
from patchbay.proxy.shadow import Passthrough
from patchbay.proxy.upstream_attempt import ALIVE
from patchbay.proxy.upstream_stream import STALLED
from patchbay.proxy.websocket_layer import ObservedWebsocket, PatchbayWebsocket
from patchbay.values.account import Secret, Timeouts
from patchbay.values.answer import Chunk, End, Failure, Head

from .rig import LIMIT, OVER, Clock, Http2, Rig, Version
from .stream_states import (
    another_answer,
    answered,
    broken_off,
    broken_off_and_none_is_left,
    collecting,
    connected,
    connecting,
    cut_at_its_end,
    cut_by_its_head,
    dropped,
    found,
    goes_on,
    holding,
    holding_a_good_one,
    left,
    left_before_connected,
    left_meanwhile,
    none_found,
    old_answer_goes_on,
    old_answer_goes_on_and_none_is_found,
    overdue_and_held_on,
    overdue_and_next,
    refused,
    refused_and_none_is_left,
    released,
    said_cut,
    said_next,
    said_next_and_none_is_left,
    second_attempt,
    settling,
    streaming,
    time_is_up,
    time_is_up_and_none_is_left,
    too_late_to_connect,
    upload_ends,
    upload_goes_on,
    uploaded,
    uploading,
    waiting,
)

pytestmark = pytest.mark.usefixtures("nothing_fails_inside")


# -- what follows ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Want:
    """
    What is seen from outside when the event has been dealt with.

    *answer*: status and body; *end* of it: ``, `complete` or `broken`. *attempts*: how many requests went up, each with
    a key of its own; *given_up*: which of them were cancelled. *told*: what the driver was told, in short.
    """

    answer: tuple[str, str] = ("", "")
    end: str = ""
    attempts: int = 1
    given_up: tuple[int, ...] = ()
    told: str = ""
    hooks: str = ""
    timer: tuple[str, float] | None = None


NEXT = ("head", 20)
IDLE = ("idle", 30)
CASES: dict[tuple[Callable[[Rig], None], Callable[[Rig], None]], Want] = {
    (connecting, connected): Want(timer=NEXT),
    (connecting, refused): Want(told="connect", hooks="next", timer=NEXT),
    (connecting, refused_and_none_is_left): Want(
        ("502", "upstream_unreachable"), "complete", 0, told="connect", hooks="next head end"
    ),
    (connecting, too_late_to_connect): Want(told="connect", hooks="next", timer=NEXT),
    (connecting, left_before_connected): Want(attempts=0, hooks="error"),
    (waiting, answered): Want(("200", "two"), "complete", told="Head Chunk End", hooks="head end"),
    (waiting, said_next): Want(attempts=2, told="Head Chunk End", hooks="next", timer=NEXT),
    (waiting, said_next_and_none_is_left): Want(
        ("503", "bad"), "complete", told="Head Chunk End", hooks="next head end"
    ),
    (waiting, cut_by_its_head): Want(
        ("502", "crosstalk_detected"), "complete", given_up=(0,), told="Head", hooks="head end"
    ),
    (waiting, broken_off): Want(attempts=2, told="reset", hooks="next", timer=NEXT),
    (waiting, broken_off_and_none_is_left): Want(
        ("502", "upstream_unreachable"), "complete", told="reset", hooks="next head end"
    ),
    (waiting, time_is_up): Want(attempts=2, given_up=(0,), told="timeout", hooks="next", timer=NEXT),
    (waiting, time_is_up_and_none_is_left): Want(
        ("502", "upstream_unreachable"), "complete", given_up=(0,), told="timeout", hooks="next head end"
    ),
    (waiting, left): Want(given_up=(0,), hooks="error"),
    (holding, goes_on): Want(told="Head Chunk Chunk End", timer=("hold", 1)),
    (holding, released): Want(("429", "onetwo"), told="Head Chunk Chunk", hooks="head", timer=IDLE),
    (holding, dropped): Want(attempts=2, given_up=(0,), told="Head Chunk Chunk", hooks="next", timer=NEXT),
    (holding, said_cut): Want(
        ("502", "crosstalk_detected"), "complete", given_up=(0,), told="Head Chunk Chunk", hooks="head end"
    ),
    (holding, cut_at_its_end): Want(("502", "crosstalk_detected"), "complete", told="Head Chunk End", hooks="head end"),
    (holding, broken_off): Want(attempts=2, told="Head Chunk reset", hooks="next", timer=NEXT),
    (holding, broken_off_and_none_is_left): Want(
        ("502", "upstream_unreachable"), "complete", told="Head Chunk reset", hooks="next head end"
    ),
    (holding, time_is_up): Want(("429", "one"), told="Head Chunk Overdue", hooks="head", timer=IDLE),
    (holding, overdue_and_held_on): Want(told="Head Chunk Overdue", timer=("idle", 29)),
    (holding, overdue_and_next): Want(attempts=2, given_up=(0,), told="Head Chunk Overdue", hooks="next", timer=NEXT),
    (holding, left): Want(given_up=(0,), told="Head Chunk", hooks="error"),
    (holding_a_good_one, time_is_up): Want(("200", "one"), told="Head Chunk Overdue", hooks="head", timer=IDLE),
    (holding_a_good_one, broken_off): Want(attempts=2, told="Head Chunk reset", hooks="next", timer=NEXT),
    (settling, found): Want(attempts=2, given_up=(0,), told="Head", hooks="next", timer=NEXT),
    (settling, none_found): Want(("429", ""), told="Head", hooks="next head", timer=IDLE),
    (settling, another_answer): Want(
        ("503", "none_left"), "complete", given_up=(0,), told="Head", hooks="next head end"
    ),
    (settling, left_meanwhile): Want(given_up=(0,), told="Head", hooks="next error"),
    (settling, old_answer_goes_on): Want(attempts=2, told="Head", hooks="next", timer=NEXT),
    (settling, old_answer_goes_on_and_none_is_found): Want(
        ("429", "two"), "complete", told="Head Chunk End", hooks="next head end"
    ),
    (second_attempt, answered): Want(("200", "two"), "complete", attempts=2, told="Head Chunk End", hooks="head end"),
    (second_attempt, said_next): Want(attempts=3, told="Head Chunk End", hooks="next", timer=NEXT),
    (second_attempt, said_next_and_none_is_left): Want(
        ("503", "bad"), "complete", attempts=2, told="Head Chunk End", hooks="next head end"
    ),
    (second_attempt, time_is_up): Want(attempts=3, given_up=(1,), told="timeout", hooks="next", timer=NEXT),
    (second_attempt, time_is_up_and_none_is_left): Want(
        ("429", "kept"), "complete", attempts=2, given_up=(1,), told="timeout", hooks="next head end"
    ),
    (second_attempt, left): Want(attempts=2, given_up=(1,), hooks="error"),
    (streaming, goes_on): Want(("200", "onetwo"), "complete", told="Head Chunk Chunk End", hooks="head end"),
    (streaming, said_cut): Want(("200", "one"), "broken", given_up=(0,), told="Head Chunk Chunk", hooks="head error"),
    (streaming, cut_at_its_end): Want(("200", "one"), "broken", told="Head Chunk End", hooks="head error"),
    (streaming, broken_off): Want(("200", "one"), "broken", told="Head Chunk reset", hooks="head error"),
    (streaming, time_is_up): Want(
        ("200", "one"), "broken", given_up=(0,), told="Head Chunk timeout", hooks="head error"
    ),
    (streaming, left): Want(("200", "one"), given_up=(0,), told="Head Chunk", hooks="head error"),
    (collecting, goes_on): Want(("200", "onetwo"), "complete", told="Head Chunk Chunk End", hooks="head end"),
    (collecting, said_cut): Want(
        ("502", "crosstalk_detected"), "complete", given_up=(0,), told="Head Chunk Chunk", hooks="head head end"
    ),
    (collecting, broken_off): Want(
        ("502", "upstream_unreachable"), "complete", told="Head Chunk reset", hooks="head head end"
    ),
    (collecting, time_is_up): Want(
        ("502", "upstream_unreachable"),
        "complete",
        given_up=(0,),
        told="Head Chunk timeout",
        hooks="head head end",
    ),
    (collecting, left): Want(given_up=(0,), told="Head Chunk", hooks="head error"),
    (uploading, upload_goes_on): Want(timer=("alive", ALIVE)),
    (uploading, upload_ends): Want(hooks="request", timer=NEXT),
    (uploading, time_is_up): Want(timer=("alive", ALIVE)),
    (uploading, broken_off_and_none_is_left): Want(
        ("502", "upstream_unreachable"), "complete", told="reset", hooks="next head end"
    ),
    (uploading, left): Want(given_up=(0,), hooks="error"),
    (uploaded, answered): Want(("200", "two"), "complete", told="Head Chunk End", hooks="request head end"),
    (uploaded, said_next): Want(("503", "bad"), "complete", told="Head Chunk End", hooks="request next head end"),
    (uploaded, broken_off): Want(
        ("502", "upstream_unreachable"), "complete", told="reset", hooks="request next head end"
    ),
    (uploaded, time_is_up): Want(
        ("502", "upstream_unreachable"), "complete", given_up=(0,), told="timeout", hooks="request next head end"
    ),
    (uploaded, left): Want(given_up=(0,), hooks="request error"),
}
_HOOKS = {"patchbay_next": "next", "responseheaders": "head", "response": "end"}


def seen(rig: Rig, *, uploads: bool) -> Want:
    """Return what is seen of *rig* from outside."""
    answer = rig.answer
    body = answer.body.decode()
    if body.startswith("{"):
        body = json.loads(body)["error"]["code"]
    hooks = [_HOOKS.get(name, name) for name in rig.hooks if name != "requestheaders"]
    if hooks[:1] == ["request"] and not uploads:
        del hooks[0]
    told = [each.kind if isinstance(each, Failure) else type(each).__name__ for each in rig.driver.told]
    given_up = tuple(at for at in range(len(rig.requests)) if rig.is_given_up(at))
    return Want(
        (answer.start, body), answer.end, len(rig.requests), given_up, " ".join(told), " ".join(hooks), rig.timer
    )


@OVER
@pytest.mark.parametrize(
    ("case", "want"), CASES.items(), ids=[f"{state.__name__}-{event.__name__}" for state, event in CASES]
)
def test_each_event_in_each_state(
    clock: Clock,
    over: tuple[Version, Version],
    case: tuple[Callable[[Rig], None], Callable[[Rig], None]],
    want: Want,
) -> None:
    state, event = case
    rig = Rig(*over, clock)
    state(rig)
    event(rig)
    got = seen(rig, uploads=rig.uploads)

    assert replace(got, given_up=()) == replace(want, given_up=())
    assert set(want.given_up) <= set(got.given_up)
    if over[1] == "h2":  # an HTTP/1 connection is also closed behind a request that had come over HTTP/2
        assert got.given_up == want.given_up
    refused_ones = want.told.count("connect")
    assert rig.keys == ["", "-2", "-3"][refused_ones:][: want.attempts]
    assert {message.body for _, message in rig.requests} <= {b"HI", b"up", b"upmore"}
    if want.end or "error" in want.hooks:
        assert rig.left_behind == []


def test_every_state_and_event_is_in_the_table() -> None:
    """A state that is added here without a row would be met by nothing."""
    assert {state for state, _ in CASES} == {
        connecting, waiting, holding, holding_a_good_one, settling, second_attempt, streaming, collecting, uploading,
        uploaded,
    }  # fmt: skip


# -- keeping the last answer -------------------------------------------------------------------------------------------


@OVER
def test_the_kept_answer_comes_back_with_its_route(over: tuple[Version, Version], clock: Clock) -> None:
    rig = Rig(*over, clock)
    second_attempt(rig)
    assert rig.driver.lease.request_id == "id-2"
    rig.driver.timeouts = Timeouts(10, 20, 30, 0)
    time_is_up_and_none_is_left(rig)

    assert rig.driver.lease.request_id == "id-1"
    assert (rig.answer.start, rig.answer.body) == ("429", b"kept")


@OVER
def test_a_refusal_is_the_drivers(over: tuple[Version, Version]) -> None:
    """In its dialect, and with the id of the attempt."""
    rig = Rig(*over)
    waiting(rig)
    broken_off_and_none_is_left(rig)

    assert rig.answer.headers["x-patchbay-request-id"] == "id-1"
    assert rig.driver.own_answer


@OVER
def test_an_error_inside_breaks_off_what_has_begun(
    over: tuple[Version, Version], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = Rig(*over)
    streaming(rig)
    monkeypatch.setattr(rig.driver, "answered", None)
    rig.data(b"two")

    assert (rig.answer.body, rig.answer.end) == (b"one", "broken")
    assert rig.flows[0].error.msg == "Patchbay could not carry this request"
    assert rig.hooks[-2:] == ["responseheaders", "error"]
    assert rig.left_behind == []
    caplog.clear()


@OVER
def test_half_an_answer_is_not_kept(over: tuple[Version, Version], clock: Clock) -> None:
    rig = Rig(*over, clock)
    holding(rig)
    broken_off(rig)
    time_is_up_and_none_is_left(rig)

    assert rig.answer.start == "502"


# -- cutting -----------------------------------------------------------------------------------------------------------


@OVER
def test_the_last_words_end_a_stream_that_is_cut(over: tuple[Version, Version]) -> None:
    rig = Rig(*over)
    streaming(rig)
    rig.driver.said = b"event: error\n\n"
    said_cut(rig)

    assert (rig.answer.body, rig.answer.end) == (b"oneevent: error\n\n", "broken")
    assert rig.flows[0].error.msg == "crosstalk_detected"
    assert not rig.flows[0].live


def test_a_cut_over_http2_leaves_the_connection_to_the_others() -> None:
    rig = Rig("h2", "h2")
    streaming(rig)
    said_cut(rig)

    assert rig.request.end == "broken"
    assert rig.requests[0][0].connected
    rig.driver.reacts[Chunk] = "deliver"
    rig.ask()
    rig.answers(200, b"ok")
    assert (rig.answer.body, rig.answer.end) == (b"ok", "complete")


@OVER
def test_a_stream_that_is_cut_ends_once(over: tuple[Version, Version]) -> None:
    """Its client may leave while the error is being told."""
    rig = Rig(*over)
    streaming(rig)
    rig.paused = {"error"}
    said_cut(rig)
    rig.leave()
    rig.paused = set()
    rig.go_on()

    assert rig.hooks.count("error") == 1
    assert rig.flows[0].error.msg == "crosstalk_detected"
    assert rig.left_behind == []


@OVER
def test_an_answer_that_takes_too_long_says_so(over: tuple[Version, Version], clock: Clock) -> None:
    rig = Rig(*over, clock)
    streaming(rig)
    time_is_up(rig)

    assert rig.flows[0].error.msg == "the answer took too long"
    assert rig.answer.end == "broken"


def test_the_client_sees_why_an_upstream_broke_off_its_stream() -> None:
    rig = Rig("h2", "h2")
    streaming(rig)
    server, message = rig.requests[-1]
    peer = rig.upstreams[server]
    assert isinstance(peer, Http2)
    peer.speaker.reset_stream(message.stream, ErrorCodes.CANCEL)
    rig.from_upstream(b"")

    assert (rig.answer.end, rig.answer.code) == ("broken", ErrorCodes.CANCEL)


def test_a_request_that_goes_again_on_another_connection_is_logged(monkeypatch: pytest.MonkeyPatch) -> None:
    rig = Rig("h1", "h2")
    seen_by_mitmproxy: list[commands.Command] = []
    carry_out = rig.carry_out
    monkeypatch.setattr(rig, "carry_out", lambda command: seen_by_mitmproxy.append(command) or carry_out(command))
    rig.ask()
    rig.hang_up()

    assert (len(rig.requests), rig.driver.failures) == (2, [])
    [logged] = [each for each in seen_by_mitmproxy if isinstance(each, commands.Log) and "another" in each.message]
    assert logged.level == logging.DEBUG


# -- what an answer may hold -------------------------------------------------------------------------------------------


AMBIGUOUS = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n"


def test_a_head_that_is_ambiguous_is_no_answer() -> None:
    rig = Rig()
    rig.moves = False
    rig.ask()
    rig.from_upstream(AMBIGUOUS)

    assert rig.answer.start == "502"
    assert rig.driver.failures == ["reset"]
    assert rig.is_given_up()


class Unreadable(AnswerFilter):
    """Takes nothing after the first piece."""

    is_encoded = True
    pieces = 0

    def feed(self, data: bytes, *, kept: bool) -> Iterator[bytes]:
        self.pieces += 1
        if self.pieces > 1:
            raise CodingError("it is broken")
        yield data

    def rest(self) -> bytes:
        raise CodingError("it is broken")


@OVER
@pytest.mark.parametrize("state", [holding, streaming, collecting])
@pytest.mark.parametrize("event", [lambda rig: rig.data(b"two"), lambda rig: rig.end()], ids=["a piece", "its end"])
def test_an_answer_that_cannot_be_read_ends(
    over: tuple[Version, Version],
    state: Callable[[Rig], None],
    event: Callable[[Rig], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rig = Rig(*over)
    rig.moves = False
    monkeypatch.setattr(rig.driver, "answer_filter", lambda: Unreadable(Credentials(), LIMIT))
    state(rig)
    event(rig)

    assert rig.driver.failures == ["reset"]
    assert rig.answer.end == ("broken" if state is streaming else "complete")
    if state is streaming:
        assert (rig.answer.start, rig.answer.body) == ("200", b"one")
    else:
        assert rig.answer.start == "502"
    assert rig.left_behind == []


@OVER
def test_a_packed_answer_is_unpacked_piece_by_piece(over: tuple[Version, Version]) -> None:
    rig = Rig(*over)
    rig.ask()
    packed = gzip.compress(b"hello " * 100)
    server, message = rig.requests[-1]
    if isinstance(peer := rig.upstreams[server], Http2):
        peer.speaker.send_headers(message.stream, [(":status", "200"), ("content-encoding", "gzip")])
        peer.speaker.send_data(message.stream, packed, end_stream=True)
    head = f"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: {len(packed)}\r\n\r\n".encode()
    rig.from_upstream(head + packed)

    assert (rig.answer.body, rig.answer.end) == (b"hello " * 100, "complete")
    assert "content-encoding" not in rig.answer.headers


def test_others_have_their_turn_while_much_is_unpacked(clock: Clock) -> None:
    rig = Rig("h1", "h1", clock)
    rig.ask()
    clock.step = 0.001
    packed = gzip.compress(bytes(1 << 20))
    rig.from_upstream(b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: %d\r\n\r\n" % len(packed) + packed)

    assert rig.answer.body == bytes(1 << 20)
    pieces = sum(isinstance(each, Chunk) for each in rig.driver.told)
    assert pieces / 4 < rig.hooks.count("patchbay_give_way") < pieces


def test_a_client_that_leaves_meanwhile_gets_no_further_piece(clock: Clock) -> None:
    rig = Rig("h1", "h1", clock)
    rig.ask()
    clock.step, rig.paused = 0.001, {"patchbay_give_way"}
    packed = gzip.compress(bytes(1 << 20))
    rig.from_upstream(b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: %d\r\n\r\n" % len(packed) + packed)
    rig.driver.client_left()
    rig.go_on()

    assert not rig.suspended
    assert sum(isinstance(each, Chunk) for each in rig.driver.told) < 16


def test_trailers_pass_and_carry_no_credential() -> None:
    rig = Rig()
    rig.ask()
    rig.head()
    rig.from_upstream(b"0\r\nx-sum: 1\r\n\r\n")

    assert rig.answer.trailers == {"x-sum": "1"}
    rig.ask(b"hi", ends=False)
    rig._from_client(b"0\r\nx-sum: 2\r\nauthorization: Bearer sk-of-the-client\r\n\r\n")
    assert rig.request.trailers in ({"x-sum": "2"}, {})
    assert "sk-of" not in repr(rig.requests)


def knowing(rig: Rig, key: str) -> None:
    """Let *rig*'s driver know *key*, which an upstream may quote."""
    credentials = Credentials()
    asyncio.run(credentials.ready(Secret("literal", key)))
    rig.driver.answer_filter = lambda: AnswerFilter(credentials, LIMIT)  # type: ignore[method-assign]


@OVER
@pytest.mark.parametrize("cut", [0, 1, 5, 20, 23])
def test_a_key_that_a_stream_quotes_is_covered_wherever_it_is_cut(over: tuple[Version, Version], cut: int) -> None:
    key = "sk-real-0123456789abcdef"
    rig = Rig(*over)
    knowing(rig, key)
    rig.ask()
    rig.head()
    rig.data(b"x" + key[:cut].encode())
    rig.data(key[cut:].encode() + b"y")
    rig.end()

    assert key.encode() not in rig.answer.body
    assert (len(rig.answer.body), rig.answer.end) == (len(key) + 2, "complete")
    assert not any(isinstance(each, Chunk) and key.encode() in each.data for each in rig.driver.told)


@OVER
@pytest.mark.parametrize("streams", [True, False])
def test_what_is_kept_back_at_the_end_comes_before_the_end(over: tuple[Version, Version], streams: bool) -> None:
    rig = Rig(*over)
    rig.streams = streams
    knowing(rig, "sk-real-0123456789abcdef")
    rig.ask()
    rig.head()
    rig.data(b"so far sk-re")
    rig.end()

    assert (rig.answer.body, rig.answer.end) == (b"so far sk-re", "complete")
    assert rig.driver.told[-2:] == [Chunk(b"sk-re"), End()]


@OVER
def test_an_answer_given_up_for_its_last_piece_has_no_end(over: tuple[Version, Version]) -> None:
    """The piece was kept back until the end, for it may have begun a key."""
    rig = Rig(*over)
    knowing(rig, "sk-real-0123456789abcdef")
    rig.driver.reacts |= {Head: "hold", Chunk: "next", End: "hold"}
    rig.ask()
    rig.head(429)
    rig.data(b"sk-re")
    rig.end()

    assert [type(each) for each in rig.driver.told] == [Head, Chunk]
    assert len(rig.requests) == 2


def test_a_failure_quotes_no_key() -> None:
    rig = Rig()
    rig.moves = False
    knowing(rig, "sk-real-0123456789abcdef")
    rig.ask()
    rig.from_upstream(b"HTTP/1.1 sk-real-0123456789abcdef\r\n\r\n")

    assert rig.driver.failures == ["reset"]
    assert "sk-real" not in repr(rig.driver.told) + repr(rig.answer)


@OVER
def test_a_stream_is_what_the_driver_delivers_of_it(
    over: tuple[Version, Version], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A piece may be kept back, and come before the end."""
    rig = Rig(*over)
    monkeypatch.setattr(rig.driver, "deliver", lambda data: b"" if data == b"one" else data.upper())
    monkeypatch.setattr(rig.driver, "deliver_rest", lambda: b"rest")
    streaming(rig)
    assert (rig.answer.start, rig.answer.body) == ("200", b"")
    goes_on(rig)

    assert (rig.answer.body, rig.answer.end) == (b"TWOrest", "complete")


@OVER
@pytest.mark.parametrize("held", [False, True])
def test_a_piece_that_may_begin_a_key_is_not_told_yet(over: tuple[Version, Version], held: bool) -> None:
    rig = Rig(*over)
    knowing(rig, "sk-real-0123456789abcdef")
    rig.driver.reacts[Head] = "hold" if held else "deliver"
    rig.ask()
    rig.head()
    rig.data(b"sk-re")

    assert [type(each) for each in rig.driver.told] == [Head]


@pytest.mark.parametrize("client", ["h1", "h2"])
def test_trailers_of_an_answer_that_is_held_come_with_it(client: Version, clock: Clock) -> None:
    rig = Rig(client, "h1", clock)
    holding(rig)
    rig.from_upstream(b"0\r\nx-sum: 1\r\n\r\n")
    assert [type(each) for each in rig.driver.told] == [Head, Chunk, End]
    rig.expire("hold")

    assert (rig.answer.start, rig.answer.body, rig.answer.trailers) == ("429", b"one", {"x-sum": "1"})
    assert rig.answer.end == "complete"


# -- a client of HTTP/2 that reads slowly ------------------------------------------------------------------------------


@pytest.mark.parametrize("upstream", ["h1", "h2"])
def test_an_upstream_is_not_read_while_its_client_takes_nothing(
    upstream: Version, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upstream_stream, "BACKLOG", 1000)
    rig = Rig("h2", upstream, clock)
    streaming(rig)
    rig.paused = {"patchbay_give_way"}
    for _ in range(12):
        rig.data(b"x" * 6000)  # the window is 65,535 bytes
    [hook] = rig.suspended
    pause = hook.args()[0]

    assert pause.connection is rig.requests[0][0]
    assert pause.over and not pause.over()
    peer = rig.peer
    assert isinstance(peer, Http2)
    for stream in (None, rig.stream_id):
        peer.speaker.increment_flow_control_window(1 << 20, stream)
    rig._from_client(b"")
    assert pause.over()
    rig.paused = set()
    rig.go_on()
    rig.end()
    assert (len(rig.answer.body), rig.answer.end) == (3 + 12 * 6000, "complete")


@pytest.mark.parametrize("upstream", ["h1", "h2"])
def test_a_client_that_takes_nothing_for_long_is_given_up(
    upstream: Version, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upstream_stream, "BACKLOG", 1000)
    rig = Rig("h2", upstream, clock)
    streaming(rig)
    rig.paused = {"patchbay_give_way"}
    for _ in range(12):
        rig.data(b"x" * 6000)
    pause = rig.suspended[0].args()[0]
    assert STALLED == 300
    clock.now += STALLED
    assert not pause.over()
    clock.now += 1
    assert pause.over()
    rig.go_on()

    assert rig.is_given_up()
    assert rig.flows[0].error.msg == "client_stalled"


@pytest.mark.parametrize("upstream", ["h1", "h2"])
def test_the_time_that_an_upstream_is_not_read_does_not_count_as_its_silence(
    upstream: Version, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upstream_stream, "BACKLOG", 1000)
    rig = Rig("h2", upstream, clock)
    streaming(rig)
    rig.paused = {"patchbay_give_way"}
    for _ in range(12):
        rig.data(b"x" * 6000)
    rig.expire("idle")  # which is looked at when the stream goes on
    peer = rig.peer
    assert isinstance(peer, Http2)
    for stream in (None, rig.stream_id):
        peer.speaker.increment_flow_control_window(1 << 20, stream)
    rig._from_client(b"")
    rig.go_on()
    assert (rig.driver.failures, rig.timer) == ([], ("idle", 30))
    rig.expire("idle")

    assert rig.driver.failures == ["timeout"]


def test_a_connection_that_others_use_is_read_on(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upstream_stream, "BACKLOG", 1000)
    rig = Rig("h2", "h2", clock)
    rig.ask()
    rig.head()
    rig.ask()
    for _ in range(12):
        rig.data(b"x" * 6000, attempt=0)

    assert "patchbay_give_way" not in rig.hooks
    rig.ask()
    assert rig.requests[2][0] is not rig.requests[0][0], "a new stream goes elsewhere"
    monkeypatch.setattr(upstream_stream, "SHARED_BACKLOG", 2000)
    rig.data(b"x" * 500, attempt=0)
    assert "patchbay_give_way" not in rig.hooks, "what waits is counted after each half of the bound"
    rig.data(b"x", attempt=0)
    assert "patchbay_give_way" in rig.hooks


@pytest.mark.parametrize(("more", "pauses"), [(0, False), (1, True)])
def test_four_mebibytes_may_wait_for_a_client(more: int, pauses: bool, clock: Clock) -> None:
    rig = Rig("h2", "h1", clock)
    rig.ask()
    rig.head()
    rig.paused = {"patchbay_give_way"}
    for _ in range(4):
        rig.data(bytes(1 << 20))
    assert not rig.suspended
    rig.data(bytes(more))

    assert bool(rig.suspended) is pauses


@pytest.mark.parametrize(("unsent", "over"), [(501, False), (500, True)])
def test_reading_goes_on_when_half_of_it_was_taken(
    unsent: int, over: bool, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upstream_stream, "BACKLOG", 1000)
    rig = Rig("h2", "h1", clock)
    rig.ask()
    rig.head()
    rig.paused = {"patchbay_give_way"}
    for _ in range(12):
        rig.data(b"x" * 6000)
    pause = rig.suspended[0].args()[0]
    peer = rig.peer
    assert isinstance(peer, Http2)
    for stream in (None, rig.stream_id):
        peer.speaker.increment_flow_control_window(12 * 6000 - 65535 - unsent, stream)
    rig._from_client(b"")

    assert pause.over() is over


def test_a_client_that_leaves_meanwhile_ends_the_pause(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upstream_stream, "BACKLOG", 1000)
    rig = Rig("h2", "h1", clock)
    rig.ask()
    rig.head()
    rig.paused = {"patchbay_give_way"}
    for _ in range(12):
        rig.data(b"x" * 6000)
    rig.leave()
    assert rig.suspended[0].args()[0].over()
    rig.go_on()

    assert rig.hooks.count("error") == 1
    assert rig.flows[0].error.msg != "client_stalled"


# -- requests that stream up -------------------------------------------------------------------------------------------


@OVER
def test_an_upload_goes_up_as_it_comes(over: tuple[Version, Version]) -> None:
    rig = Rig(*over)
    uploading(rig)
    assert rig.request.body == b"up"
    rig.send(b"more")
    assert (rig.request.body, rig.request.end) == (b"upmore", "")
    rig.finish()

    assert rig.request.end == "complete"


@OVER
def test_an_upload_that_waits_for_its_connection_keeps_its_order(over: tuple[Version, Version]) -> None:
    rig = Rig(*over)
    rig.slow, rig.uploads = True, True
    rig.ask(b"one", ends=False)
    rig.send(b"two")
    rig.connected()
    rig.send(b"three")
    rig.finish()

    assert (rig.request.body, rig.request.end) == (b"onetwothree", "complete")


@OVER
@pytest.mark.parametrize("over_by", [0, 1])
def test_of_an_upload_that_waits_so_much_is_kept(over: tuple[Version, Version], over_by: int) -> None:
    rig = Rig(*over)
    rig.slow, rig.uploads = True, True
    rig.ask(b"x", ends=False)
    rig.send(b"x" * (LIMIT - 2))
    rig.send(b"x" * (1 + over_by))
    for _ in range(3 * over_by):
        rig.send(b"x" * LIMIT)
    queued = [event.data for event in rig.stream._paused_event_queue if isinstance(event, RequestData)]
    assert sum(map(len, queued)) == LIMIT - over_by
    rig.connected()

    if over_by:
        assert (rig.answer.start, json.loads(rig.answer.body)["error"]["code"]) == ("503", "upload_waited")
        assert rig.is_given_up()
    else:
        assert (len(rig.request.body), rig.answer.start) == (LIMIT, "")


@OVER
def test_what_has_gone_up_no_longer_counts_as_waiting(over: tuple[Version, Version]) -> None:
    rig = Rig(*over)
    uploading(rig)
    for _ in range(4):
        rig.send(b"x" * LIMIT)
    rig.finish()

    assert len(rig.request.body) == 2 + 4 * LIMIT


@OVER
@pytest.mark.parametrize("over_by", [0, 1])
def test_a_body_that_is_read_is_bounded(over: tuple[Version, Version], over_by: int) -> None:
    rig = Rig(*over)
    rig.ask(b"x" * (LIMIT - 1), ends=False)
    rig.send(b"x" * (1 + over_by))

    if over_by:
        assert (rig.answer.start, json.loads(rig.answer.body)["error"]["code"]) == ("413", "body_too_large")
        rig.send(b"more")
        rig.finish()
        assert rig.requests == []
        assert "request" not in rig.hooks
    else:
        rig.finish()
        assert len(rig.request.body) == LIMIT


@OVER
def test_an_answer_that_comes_before_the_upload_has_ended_is_delivered(over: tuple[Version, Version]) -> None:
    rig = Rig(*over)
    uploading(rig)
    rig.head(400)

    assert rig.driver.told == [Head(400, rig.driver.told[0].headers, early=True)]  # type: ignore[union-attr]
    assert rig.answer.start == "400"


@OVER
def test_an_upload_that_ends_behind_the_head_of_its_answer_waits_for_no_other(
    over: tuple[Version, Version], clock: Clock
) -> None:
    rig = Rig(*over, clock)
    uploading(rig)
    rig.head()
    rig.finish()

    assert rig.timer == IDLE


@OVER
def test_a_body_that_grows_too_large_while_its_head_is_looked_at_is_refused_once(over: tuple[Version, Version]) -> None:
    rig = Rig(*over)
    rig.paused = {"requestheaders"}
    rig.ask(b"", ends=False)
    rig.suspended[0].args()[0].patchbay = rig.driver
    rig.send(b"x" * (LIMIT + 1))
    rig.finish()
    rig.go_on()

    assert (rig.answer.start, json.loads(rig.answer.body)["error"]["code"]) == ("413", "body_too_large")
    assert rig.hooks == ["requestheaders", "responseheaders", "response"]


@OVER
@pytest.mark.parametrize("connects", [True, False])
def test_an_upload_that_passes_is_mitmproxys_own_affair(over: tuple[Version, Version], connects: bool) -> None:
    rig = Rig(*over)
    rig.attached, rig.uploads, rig.slow = Passthrough(tflow.tflow(), Credentials()), True, True
    rig.ask(b"up", ends=False)
    if over == ("h2", "h1"):  # mitmproxy frames no body of a length that is not known
        rig.flows[0].request.headers["transfer-encoding"] = "chunked"
    if connects:
        rig.connected()
        rig.finish()
        rig.answers(200, b"ok")
    else:
        rig.refused()
        rig.send(b"more")
        rig.finish()

    assert (rig.answer.start, rig.driver.told) == ("200" if connects else "502", [])
    assert [message.body for _, message in rig.requests] == [b"up"] * connects
    assert rig.left_behind == []


# -- answers of our own ------------------------------------------------------------------------------------------------


@OVER
@pytest.mark.parametrize("ends", [True, False])
def test_an_answer_set_at_the_head_is_given_at_once(over: tuple[Version, Version], ends: bool) -> None:
    """A body that nothing reads is not waited for."""
    rig = Rig(*over)
    rig.own = http.Response.make(403, b"no")
    rig.ask(b"hi", ends=ends)

    assert (rig.answer.start, rig.answer.body) == ("403", b"no")
    assert rig.requests == []
    if not ends:
        rig.send(b"more")
        rig.finish()
    assert rig.hooks.count("response") == 1


@OVER
def test_an_answer_to_a_request_without_a_body_has_all_hooks(over: tuple[Version, Version]) -> None:
    rig = Rig(*over)
    rig.own = http.Response.make(403, b"no")
    rig.ask(b"", method="GET")

    assert rig.hooks == ["requestheaders", "request", "responseheaders", "response"]
    assert (rig.answer.start, rig.answer.body) == ("403", b"no")


def test_a_transparent_listener_is_no_proxy() -> None:
    rig = Rig()
    rig.layer.mode = HTTPMode.transparent
    rig.stream_id = 1
    rig.feed(events.DataReceived(rig.client, b"CONNECT api.example.com:443 HTTP/1.1\r\n\r\n"))

    assert rig.answer.start[0] == "4"
    assert "error" in json.loads(rig.answer.body)
    assert rig.hooks == ["requestheaders", "responseheaders", "response"]
    assert rig.upstreams == {}


@OVER
@pytest.mark.parametrize("hook", ["requestheaders", "request", "responseheaders", "response"])
def test_a_flow_that_the_user_kills_ends(over: tuple[Version, Version], hook: str) -> None:
    rig = Rig(*over)
    rig.kills = {hook}
    rig.streams = False
    rig.ask()
    if hook.startswith("response"):
        rig.answers(200, b"no")

    assert rig.answer.body == b""
    assert rig.answer.end != "complete"
    assert len(rig.requests) == hook.startswith("response")
    assert rig.driver.armed == []


@OVER
@pytest.mark.parametrize("held", [False, True])
def test_a_flow_that_is_killed_at_the_head_of_its_answer_cancels_its_upstream(
    over: tuple[Version, Version], held: bool
) -> None:
    rig = Rig(*over)
    rig.kills = {"responseheaders"}
    rig.driver.reacts[Head] = "hold" if held else "deliver"
    rig.ask()
    rig.head(200)
    if held:
        rig.data(b"released")

    assert rig.is_given_up()
    assert rig.answer.end != "complete"


# -- WebSocket ---------------------------------------------------------------------------------------------------------


UPGRADE = (
    b"GET http://t.invalid/ HTTP/1.1\r\nhost: t.invalid\r\nconnection: upgrade\r\nupgrade: websocket\r\n"
    b"sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
SWITCHED = (
    b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n"
    b"sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
)


def upgrading() -> Rig:
    rig = Rig()
    rig.stream_id = 1
    rig.feed(events.DataReceived(rig.client, UPGRADE))
    return rig


def test_an_upgrade_that_is_accepted_becomes_our_websocket() -> None:
    rig = upgrading()
    rig.from_upstream(SWITCHED + b"\x81\x02hi")

    child = rig.stream.child_layer
    assert isinstance(child, PatchbayWebsocket)
    told = [name for name in rig.hooks if name != "patchbay_give_way"]  # where the machine is busy
    assert told[-2:] == ["websocket_start", "websocket_message"]
    assert rig.flows[0].websocket.messages[0].content == b"hi"
    assert rig.timer is None


def test_a_websocket_that_passes_is_only_observed() -> None:
    rig = Rig()
    rig.attached, rig.stream_id = Passthrough(tflow.tflow(), Credentials()), 1
    rig.feed(events.DataReceived(rig.client, UPGRADE))
    rig.from_upstream(SWITCHED + b"\x81\x02hi")

    assert type(rig.stream.child_layer) is ObservedWebsocket
    assert rig.flows[0].websocket.messages[0].content == b"hi"


def test_an_upgrade_with_an_error_moves_on() -> None:
    rig = upgrading()
    rig.driver.reacts |= {Head: "hold", Chunk: "hold", End: "next"}
    rig.answers(429, b"no")
    rig.driver.reacts[Head] = "deliver"
    rig.from_upstream(SWITCHED)

    assert rig.keys == ["", "-2"]
    assert isinstance(rig.stream.child_layer, PatchbayWebsocket)


def test_in_a_websocket_each_frame_of_the_upstream_is_a_sign_of_life() -> None:
    rig = upgrading()
    rig.from_upstream(SWITCHED)
    heard = rig.driver.heard_at
    rig.from_upstream(b"\x89\x00")

    assert rig.driver.heard_at > heard


# -- any order ---------------------------------------------------------------------------------------------------------

STEPS = [
    "head 200", "head 429", "data", "end", "break off", "hang up", "timer", "leave", "go on", "connect", "refuse",
    "send", "finish", "hold", "deliver", "next", "cut", "stay", "move",
]  # fmt: skip


def step(rig: Rig, word: str) -> None:
    open_answer = rig.requests and rig.requests[-1][0].connected and rig.request.end != "broken"
    match word.split():
        case ["head", status] if open_answer and rig.answered_up < len(rig.requests):
            rig.answered_up, rig.body_open = len(rig.requests), True
            rig.head(int(status))
        case ["data"] if open_answer and rig.body_open and rig.answered_up == len(rig.requests):
            rig.data(b"%d" % len(rig.requests) * 3)
        case ["end"] if open_answer and rig.body_open and rig.answered_up == len(rig.requests):
            rig.body_open = False
            rig.end()
        case ["break", _] if open_answer and (rig.body_open or rig.answered_up < len(rig.requests)):
            rig.body_open, rig.answered_up = False, len(rig.requests)
            rig.break_off()
        case ["hang", _] if open_answer:
            rig.body_open, rig.answered_up = False, len(rig.requests)
            rig.hang_up()
        case ["timer"] if rig.layer.streams and rig.stream.timer:
            rig.clock.now += rig.driver.armed[0][1]
            rig.feed(events.Wakeup(rig.stream.timer))
        case ["leave"] if not rig.gone and not rig.answer.end:
            rig.gone = True
            rig.leave()
        case ["go", _] if rig.suspended:
            rig.go_on()
        case ["connect"] if rig.waits:
            rig.connected()
        case ["refuse"] if rig.waits:
            rig.refused()
        case ["send"] if rig.uploads and not rig.finished and not rig.gone and rig.answer.end == "":
            rig.send(b"more")
        case ["finish"] if rig.uploads and not rig.finished and not rig.gone and rig.answer.end == "":
            rig.finished = True
            rig.finish()
        case ["stay"]:
            rig.moves = False
        case ["move"]:
            rig.moves = not rig.uploads
        case ["hold" | "deliver" | "next" | "cut" as reaction]:
            rig.driver.reacts = dict.fromkeys(rig.driver.reacts, reaction)
            rig.driver.reacts[Failure] = "next"


class AnyRig(Rig):
    answered_up = 0  # attempts that have been answered
    body_open = False  # the answer to the latest has not ended
    gone = False
    finished = False


@OVER
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(st.sampled_from(STEPS), max_size=24), flags=st.tuples(*[st.booleans()] * 4))
def test_in_any_order_a_client_gets_at_most_one_answer(
    over: tuple[Version, Version],
    clock: Clock,
    caplog: pytest.LogCaptureFixture,
    steps: list[str],
    flags: tuple[bool, bool, bool, bool],
) -> None:
    """No mixture of two attempts, one end, one hook for it, and nothing left behind it; never an error inside."""
    rig = AnyRig(*over, clock)
    rig.slow, rig.streams, rig.uploads, waits = flags
    rig.paused = {"patchbay_next"} if waits else set()
    rig.moves = not rig.uploads
    rig.ask(b"up" if rig.uploads else b"hi", ends=not rig.uploads)
    for word in steps:
        step(rig, word)

    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]
    body = rig.answer.body
    assert body.startswith(b"{") or len(set(body)) <= 1 or (body[:1] == b"<" and over[0] == "h1"), body
    ends = [hook for hook in rig.hooks if hook in ("response", "error")]
    assert len(ends) <= 1
    assert len(rig.hooks) - len(set(rig.hooks)) <= rig.hooks.count("patchbay_next") + 1
    if rig.answer.end and not rig.uploads:
        assert len(ends) == 1
    if ends and not rig.suspended and not (rig.uploads and not rig.finished):
        assert rig.driver.armed == []
        assert rig.answer.end or rig.gone or ends == ["error"]
