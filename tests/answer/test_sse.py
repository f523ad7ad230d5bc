"""Events out of bytes, however they are cut."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, strategies as st

from patchbay.answer.sse import BUFFERED, Event, EventBuffer, ServerSentEvents

STREAM = b': hello\n\nevent: one\nid: 7\ndata: {"a":1}\n\ndata: two\ndata:  lines\n\ndata\n\n: ping\n\ndata: [DONE]\n\n'
EVENTS = [Event("one", b'{"a":1}'), Event("", b"two\n lines"), Event("", b""), Event("", b"[DONE]")]


def read(*pieces: bytes, limit: int = 4096) -> list[Event]:
    events = ServerSentEvents(limit)
    return [event for piece in pieces for event in events.feed(piece)] + events.end()


@pytest.mark.parametrize("newline", [b"\n", b"\r\n", b"\r"])
@pytest.mark.parametrize("bom", [b"", b"\xef\xbb\xbf"])
def test_every_cut_gives_the_same_events(newline: bytes, bom: bytes) -> None:
    stream = bom + STREAM.replace(b"\n", newline)

    assert read(stream) == EVENTS
    for at in range(len(stream) + 1):
        assert read(stream[:at], stream[at:]) == EVENTS, at


@pytest.mark.parametrize("newline", [b"\n", b"\r\n", b"\r"])
def test_single_bytes_give_the_same_events(newline: bytes) -> None:
    stream = STREAM.replace(b"\n", newline)

    assert read(*(stream[i : i + 1] for i in range(len(stream)))) == EVENTS


@given(st.lists(st.integers(0, 200), max_size=8), st.sampled_from([b"\n", b"\r\n", b"\r"]))
def test_any_cuts_give_the_same_events(cuts: list[int], newline: bytes) -> None:
    stream = STREAM.replace(b"\n", newline)
    places = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    pieces = [stream[a:b] for a, b in pairwise(places)]

    assert read(*pieces) == EVENTS


def test_mixed_line_ends_are_one_line_end_each() -> None:
    stream = b"data: a\r\n\ndata: b\n\rdata: c\r\rdata: d\r\n\r\n"
    for at in range(len(stream)):
        found = read(stream[:at], *(stream[i : i + 1] for i in range(at, len(stream))))
        assert found == [Event("", x) for x in (b"a", b"b", b"c", b"d")], at


def test_an_event_is_given_as_soon_as_its_blank_line_has_come() -> None:
    events = ServerSentEvents()

    assert events.feed(b"data: a\n") == []
    assert events.feed(b"\n") == [Event("", b"a")]


def test_a_lone_return_ends_an_event_before_we_know_what_follows() -> None:
    events = ServerSentEvents()

    assert events.feed(b"data: a\r\r") == [Event("", b"a")]
    assert events.feed(b"\ndata: b\r\n\r\n") == [Event("", b"b")]


def test_the_last_event_needs_no_blank_line() -> None:
    assert read(b"data: a\n\ndata: b") == [Event("", b"a"), Event("", b"b")]


def test_comments_and_names_without_data_are_no_events() -> None:
    assert read(b": OPENROUTER PROCESSING\n\nevent: ping\n\nretry: 3\n\n") == []


@pytest.mark.parametrize("size", [1, 7, 100, 1000])
def test_an_overlong_event_is_dropped_and_said_so_once(size: int) -> None:
    stream = b"data: a\n\ndata: " + b"x" * 500 + b"\n\ndata: b\n\n"
    pieces = [stream[i : i + size] for i in range(0, len(stream), size)]

    assert read(*pieces, limit=100) == [Event("", b"a"), Event("", b"", dropped=True), Event("", b"b")]


def test_the_tail_of_a_dropped_event_is_no_event_of_its_own() -> None:
    pieces = (b"data: " + b"x" * 500, b"\ndata: forged\n\ndata: b\n\n")

    assert read(*pieces, limit=100) == [Event("", b"", dropped=True), Event("", b"b")]


def test_an_endless_event_holds_no_memory() -> None:
    events = ServerSentEvents(limit=1000)
    for _ in range(1000):
        events.feed(b"data: " + b"x" * 100)

    assert len(events._buffer) <= 1100


@pytest.mark.parametrize("size", [1, 50, 1000])
@pytest.mark.parametrize(("length", "dropped"), [(100, False), (101, True)])
def test_an_event_may_have_exactly_as_many_bytes_as_the_limit(length: int, dropped: bool, size: int) -> None:
    stream = b"data: " + b"x" * (length - 6) + b"\n\n"
    pieces = [stream[i : i + size] for i in range(0, len(stream), size)]

    assert [event.dropped for event in read(b"data: a\n\n", *pieces, limit=100)] == [False, dropped]


@given(st.binary(max_size=300))
def test_garbage_never_raises(data: bytes) -> None:
    read(data)


EVENT = st.sampled_from([b"data: a", b"event: x\ndata: b", b": note", b"data: long " + b"x" * 40, b""])
ENDS = st.sampled_from([b"\n\n", b"\r\n\r\n", b"\r\r"])


@st.composite
def cut_stream(draw: st.DrawFn) -> list[bytes]:
    end = draw(ENDS)
    line = end[: len(end) // 2]
    events = [event.replace(b"\n", line) + end for event in draw(st.lists(EVENT, max_size=6))]
    data = b"".join(events) + draw(st.sampled_from([b"", b"data: half", b"data: line" + line]))
    places = sorted(draw(st.lists(st.integers(0, len(data)), max_size=8)))
    return [data[a:b] for a, b in zip([0, *places], [*places, len(data)], strict=True)]


@given(cut_stream())
def test_nothing_is_lost_and_all_that_passes_is_whole(pieces):
    stream = EventBuffer()
    passed = [stream.feed(piece) for piece in pieces]

    assert b"".join(passed) + stream.rest() == b"".join(pieces)
    sofar = [b"".join(passed[: at + 1]) for at in range(len(passed))]
    assert all(not came or came.endswith((b"\n\n", b"\r\n\r", b"\r\n\r\n", b"\r\r")) for came in sofar)
    assert stream.rest() == b""


@given(cut_stream())
def test_what_is_whole_waits_for_nothing(pieces):
    stream, came, went = EventBuffer(), b"", b""
    for piece in pieces:
        came += piece
        went += stream.feed(piece)
        left = came[len(went) :].lstrip(b"\r\n")
        assert b"\n\n" not in left and b"\r\n\r\n" not in left and b"\r\r" not in left


def test_an_event_without_an_end_is_not_kept_for_ever():
    stream = EventBuffer()
    assert stream.feed(b"x" * BUFFERED) == b""
    assert len(stream.feed(b"yy")) == BUFFERED + 2
    assert stream.rest() == b""


@pytest.mark.parametrize("mark", [b"\xef", b"\xef\xbb", b"\xef\xbb\xbf", b""])
def test_the_beginning_of_a_byte_order_mark_waits_for_its_rest(mark: bytes) -> None:
    events = ServerSentEvents()

    assert events.feed(mark) == []
    rest = b"\xef\xbb\xbf"[len(mark) :] if mark else b""
    assert events.feed(rest + b"data: a\n\n") == [Event("", b"a")]
    assert events.feed(b"\xef\xbb\xbfdata: b\n\ndata: c\n\n") == [Event("", b"c")]


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_only_the_first_byte_order_mark_of_a_stream_is_left_out(mark: bytes) -> None:
    events = ServerSentEvents()

    assert events.feed(mark + b"\n\ndata: a\n\n") == [Event("", b"a")]
    assert events.feed(b"\xef\xbb\xbfdata: b\n") == []
    assert events.feed(b"\ndata: c\n\n") == [Event("", b"c")]
    assert read(mark + b"data: d") == [Event("", b"d")]
    assert read(b"\xef\xbb", b"data: e") == []


def test_an_event_of_four_megabytes_is_read_and_a_longer_one_is_not() -> None:
    longest = 4 * 2**20 - len(b"data: ")
    for size, dropped in ((longest, False), (longest + 1, True)):
        events = ServerSentEvents()
        found = events.feed(b"data: a\n\ndata: " + b"x" * size) + events.feed(b"\n\n")
        assert [(event.dropped, len(event.data)) for event in found] == [(False, 1), (dropped, 0 if dropped else size)]


def test_after_a_dropped_event_the_next_one_is_read_whatever_way_it_comes() -> None:
    events = ServerSentEvents(limit=20)

    assert events.feed(b"data: a\n\n") == [Event("", b"a")]
    assert events.feed(b"data: " + b"x" * 15 + b"\n\n") == [Event("", b"", dropped=True)]
    assert events.feed(b"data: " + b"x" * 15 + b"\n") == [Event("", b"", dropped=True)]
    assert events.feed(b"data: b\n\n") == []
    assert events.feed(b"event: e\ndata: c\n\n") == [Event("e", b"c")]


@pytest.mark.parametrize(("size", "passes"), [(2**20, False), (2**20 + 1, True)])
def test_a_megabyte_of_an_unfinished_event_is_held_back(size: int, passes: bool) -> None:
    stream, complete = EventBuffer(), b"data: a\n\n"

    assert len(stream.feed(complete + b"x" * size)) == len(complete) + (size if passes else 0)
    assert len(stream.feed(b"\n\n")) == (0 if passes else size) + 2


def test_how_much_of_an_unfinished_event_is_held_back_may_be_said() -> None:
    stream = EventBuffer(2**20 + 5)

    assert stream.feed(b"x" * (2**20 + 5)) == b""
    assert len(stream.feed(b"x")) == 2**20 + 6


@pytest.mark.parametrize("stream", [b"data: a\r\n\r\nb", b"data: a\r\n\nb", b"data: a\n\r\nb", b"data: a\r\rb"])
def test_a_blank_line_is_found_however_it_is_cut(stream: bytes) -> None:
    for at in range(len(stream) - 2):
        events = EventBuffer()
        assert events.feed(stream[:at]) + events.feed(stream[at:]) == stream[:-1], at


def test_a_line_feed_that_begins_a_chunk_belongs_to_a_return_only_where_the_last_chunk_ended_in_one() -> None:
    assert read(b"data: a\n", b"\ndata: b\r\n\r\n") == [Event("", b"a"), Event("", b"b")]
    assert read(b"data: a\r", b"\ndata: b\r\n\r\n") == [Event("", b"a\nb")]
    assert read(b"data: a\r", b"", b"\n\ndata: b\n\n") == [Event("", b"a"), Event("", b"b")]


def test_a_byte_order_mark_is_left_out_at_the_beginning_alone_also_without_a_blank_line() -> None:
    assert read(b"\xef\xbb\xbfdata: a") == [Event("", b"a")]
    assert read(b"data: a\n\n", b"\xef\xbb\xbfdata: b") == [Event("", b"a")]
    assert read(b"\xef\xbb") == []
