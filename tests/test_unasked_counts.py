"""The count of tokens that a client did not ask for is no part of the stream that it gets."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, strategies as st

from patchbay.answer.sse import EventBuffer
from patchbay.unasked_counts import without_count

USAGE = {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}


def chunk(choices: Any = None, end: str = "\n", **more: Any) -> bytes:
    return f"data: {json.dumps({'id': 'c', 'choices': choices or [], **more})}{end}{end}".encode()


SAID = chunk([{"index": 0, "delta": {"content": 'said "usage" and "choices": []'}}], usage=None)
LAST = chunk([{"index": 0, "delta": {}, "finish_reason": "stop"}], usage=USAGE)
DONE = b"data: [DONE]\n\n"


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_a_chunk_that_holds_the_count_alone_is_left_out(end: str) -> None:
    assert without_count(SAID + chunk(usage=USAGE, end=end) + DONE) == SAID + DONE


@pytest.mark.parametrize(
    "other",
    [
        SAID,
        LAST,
        DONE,
        chunk(usage=None),
        chunk(prompt_filter_results=[]),  # Azure begins with it
        chunk(usage=5),
        b'data: {"usage":{}}\n\n',
        b'data: {"choices":[],"usage":\n\n',
        b"data: " + b'{"choices":[],"usage":' * 50_000 + b"\n\n",
        b': "usage"\n\n',
        b'{"choices":[],"usage":{}}',  # no event
        b"",
    ],
    ids=range(12),
)
def test_all_else_stays_as_it_is(other: bytes) -> None:
    assert without_count(SAID + other) == SAID + other


@given(st.lists(st.integers(1, 40), max_size=40))
def test_however_the_stream_is_cut(cuts: list[int]) -> None:
    stream, buffer, passed, at = SAID + chunk(usage=USAGE) + LAST + DONE, EventBuffer(), b"", 0
    for size in [*cuts, len(SAID) * 9]:
        passed += without_count(buffer.feed(stream[at : at + size]))
        at += size
    assert passed + buffer.rest() == SAID + LAST + DONE
