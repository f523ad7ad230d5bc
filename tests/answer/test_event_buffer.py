"""A stream passes in whole events, however it is cut."""

from __future__ import annotations

from hypothesis import given, strategies as st

from patchbay.answer import event_buffer
from patchbay.answer.event_buffer import EventBuffer

EVENT = st.sampled_from([b"data: a", b"event: x\ndata: b", b": note", b"data: long " + b"x" * 40, b""])
ENDS = st.sampled_from([b"\n\n", b"\r\n\r\n", b"\r\r"])


@st.composite
def cut(draw: st.DrawFn) -> list[bytes]:
    end = draw(ENDS)
    line = end[: len(end) // 2]
    events = [event.replace(b"\n", line) + end for event in draw(st.lists(EVENT, max_size=6))]
    data = b"".join(events) + draw(st.sampled_from([b"", b"data: half", b"data: line" + line]))
    places = sorted(draw(st.lists(st.integers(0, len(data)), max_size=8)))
    return [data[a:b] for a, b in zip([0, *places], [*places, len(data)], strict=True)]


@given(cut())
def test_nothing_is_lost_and_all_that_passes_is_whole(pieces):
    stream = EventBuffer()
    passed = [stream.feed(piece) for piece in pieces]

    assert b"".join(passed) + stream.rest() == b"".join(pieces)
    assert all(not piece or piece.endswith((b"\n\n", b"\r\n\r", b"\r\n\r\n", b"\r\r")) for piece in passed)
    assert stream.rest() == b""


@given(cut())
def test_what_is_whole_waits_for_nothing(pieces):
    stream, came, went = EventBuffer(), b"", b""
    for piece in pieces:
        came += piece
        went += stream.feed(piece)
        left = came[len(went) :].lstrip(b"\r\n")
        assert b"\n\n" not in left and b"\r\n\r\n" not in left and b"\r\r" not in left


def test_an_event_without_an_end_is_not_kept_for_ever():
    stream = EventBuffer()
    assert stream.feed(b"x" * event_buffer.KEPT) == b""
    assert len(stream.feed(b"yy")) == event_buffer.KEPT + 2
    assert stream.rest() == b""
