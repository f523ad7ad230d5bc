"""A chunk of an answer that streams reaches its client in one call, as through the states of its stream."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, strategies as st
from mitmproxy.proxy import commands, events

from patchbay.proxy import upstream_stream
from patchbay.proxy.stream_lane import OffLane
from patchbay.proxy.upstream_stream import PatchbayStream
from patchbay.values.answer import AnswerEvent, Chunk, End

from .rig import OVER, PAIRS, Rig, Version
from .stream_states import holding, streaming

HEAD = b"HTTP/1.1 200 X\r\ntransfer-encoding: chunked\r\n\r\n"
SIZES = ("%x", "%X", "000%x", "%x;ext=1", "%x ")  # ways to write the size of a chunk
CHUNKS = st.lists(st.tuples(st.binary(min_size=1, max_size=40), st.sampled_from(SIZES)), max_size=6)
ENDS = (b"0\r\n\r\n", b"0\r\nx-sum: 1\r\n\r\n", b"00\r\n\r\n", b"", b"zz\r\n", b"5\r\nabc", b"2\r\nabc\r\n")


@pytest.fixture
def carried(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The chunks that were carried."""
    seen: list[bytes] = []
    carry = PatchbayStream.carry

    def noted(self: PatchbayStream, data: bytes) -> Any:
        seen.append(data)
        return carry(self, data)

    monkeypatch.setattr(PatchbayStream, "carry", noted)
    return seen


def _heard(sent: bytes, cuts: list[int], client: Version, *, in_lane: bool, whole: bool = False) -> Any:
    """Return what the client got of *sent*, which came in pieces that end at *cuts*, and what the driver was told."""
    with pytest.MonkeyPatch.context() as patch:
        if not in_lane:
            patch.setattr(PatchbayStream, "in_lane", lambda self, stream_id: False)
        rig = Rig(client, "h1")
        rig.streams = not whole
        rig.ask()
        places = sorted({0, *(cut % (len(sent) + 1) for cut in cuts), len(sent)})
        for begin, end in itertools.pairwise(places):
            rig.from_upstream(sent[begin:end])
        told = b"".join(each.data for each in rig.driver.told if isinstance(each, Chunk))
        kinds = [type(each).__name__ for each in rig.driver.told if not isinstance(each, Chunk)]
        answer = rig.answer
        return answer.start, answer.body, answer.end, answer.trailers, told, kinds, rig.timer


@given(CHUNKS, st.sampled_from(ENDS), st.lists(st.integers(0, 400), max_size=8), st.sampled_from(("h1", "h2")))
def test_every_cut_of_every_body_arrives_as_without_it(
    chunks: list[tuple[bytes, str]], end: bytes, cuts: list[int], client: Version
) -> None:
    sent = HEAD + b"".join(f"{size % len(data)}\r\n".encode() + data + b"\r\n" for data, size in chunks) + end

    for whole in (False, True):
        ours = _heard(sent, cuts, client, in_lane=True, whole=whole)
        assert ours == _heard(sent, cuts, client, in_lane=False, whole=whole)
    if end == ENDS[0]:
        assert ours[1] == b"".join(data for data, _ in chunks)


@OVER
def test_a_stream_is_carried(over: tuple[Version, Version], carried: list[bytes]) -> None:
    rig = Rig(*over)
    streaming(rig)
    rig.data(b"two")
    rig.end()

    assert carried == [b"one", b"two"]
    assert (rig.answer.body, rig.answer.end) == (b"onetwo", "complete")
    assert [each for each in rig.driver.told if isinstance(each, Chunk | End)] == [Chunk(b"one"), Chunk(b"two"), End()]


def test_chunks_that_come_at_once_are_read_at_once(carried: list[bytes]) -> None:
    rig = Rig("h1", "h1")
    rig.ask()
    rig.head()
    rig.from_upstream(b"3\r\none\r\n3\r\ntwo\r\n5\r\nth")
    rig.from_upstream(b"ree\r\n0\r\n\r\n")

    assert carried[0] == b"onetwo"
    assert (rig.answer.body, rig.answer.end) == (b"onetwothree", "complete")


def _by_an_addon(rig: Rig) -> None:
    streaming(rig)
    rig.flows[-1].response.stream = bytes.upper


def _stored(rig: Rig) -> None:
    rig.layer.context.options.store_streamed_bodies = True
    streaming(rig)


def _held(rig: Rig) -> None:
    holding(rig)


def _paused(rig: Rig) -> None:
    rig.paused.add("responseheaders")
    rig.ask()
    rig.head()


@pytest.mark.parametrize("over", PAIRS)
@pytest.mark.parametrize("state", [_by_an_addon, _stored, _held, _paused])
def test_what_needs_its_stream_is_not_carried(
    over: tuple[Version, Version], state: Callable[[Rig], None], carried: list[bytes]
) -> None:
    rig = Rig(*over)
    state(rig)
    carried.clear()
    rig.data(b"two")
    assert carried == []
    if state is _by_an_addon:
        assert rig.answer.body == b"oneTWO"
    if state is _paused:
        rig.paused.clear()
        rig.go_on()
        rig.data(b"three")
        assert rig.answer.body == b"twothree"
        assert carried == [b"three"]


@OVER
def test_a_failure_amid_it_ends_the_answer_and_tells_no_key(
    over: tuple[Version, Version], caplog: pytest.LogCaptureFixture
) -> None:
    rig = Rig(*over)
    streaming(rig)

    def fails(event: AnswerEvent) -> Any:
        raise ValueError("sk-secret-0123456789")

    rig.driver.answered = fails  # type: ignore[method-assign]
    with caplog.at_level(logging.INFO):
        rig.data(b"two")

    assert (rig.answer.body, rig.answer.end) == (b"one", "broken")
    assert "an exchange failed inside: ValueError" in caplog.text
    assert "sk-secret" not in caplog.text
    assert not rig.driver.armed


@pytest.mark.parametrize("upstream", ["h1", "h2"])
def test_a_client_that_takes_too_little_is_waited_for(
    upstream: Version, monkeypatch: pytest.MonkeyPatch, carried: list[bytes]
) -> None:
    monkeypatch.setattr(upstream_stream, "BACKLOG", 1000)
    rig = Rig("h2", upstream)
    rig.paused.add("patchbay_give_way")
    streaming(rig)
    for _ in range(40):
        rig.data(b"x" * 3000)

    assert [hook.name for hook in rig.suspended] == ["patchbay_give_way"]
    before = len(carried)
    rig.data(b"more")
    assert len(carried) == before  # it waits behind what waits


def test_a_client_over_http1_that_was_promised_a_length_gets_no_chunks(carried: list[bytes]) -> None:
    rig = Rig("h1", "h1")
    rig.ask()
    rig.from_upstream(b"HTTP/1.1 200 X\r\ncontent-length: 6\r\n\r\none")
    rig.from_upstream(b"two")

    assert (rig.answer.body, rig.answer.end) == (b"onetwo", "complete")
    assert carried == [b"two"]  # what comes in one piece with the head waits for its hook


def test_what_follows_a_carried_chunk_logs_no_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A log line of the host may quote a client's key."""
    rig = Rig("h1", "h1")
    streaming(rig)

    def logs() -> Any:
        yield commands.Log("cannot parse b'sk-proj-0123456789abcdefghij'")

    monkeypatch.setattr(PatchbayStream, "carry", lambda self, data: OffLane(self.stream_id, logs))
    arrived = events.DataReceived(rig.requests[-1][0], b"3\r\ntwo\r\n")
    [said] = [command for command in rig.layer.handle_event(arrived) if isinstance(command, commands.Log)]

    assert said.message == "cannot parse (not shown)"
