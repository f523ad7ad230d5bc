"""The page on which nothing is folded shows every text, argument and number of bodies of each dialect."""

from __future__ import annotations

from typing import Any

import pytest

from patchbay import transcript
from patchbay.answer.sse import ServerSentEvents
from patchbay.body import decoded
from patchbay.transcript.pane import Pane
from patchbay.transcript.text import TranscriptText

from .pages import missing_on
from .samples import SAMPLES, Sample


def page_of(sample: Sample) -> str:
    pane = Pane(84, 10_000_000)
    writer = TranscriptText(pane, everything=True)
    if sample.is_request:
        writer.request(transcript.of_request(sample.body, sample.dialect, sample.suffix))
    else:
        writer.answer(transcript.of_answer(sample.body, sample.dialect, sample.suffix, sample.content_type))
    return str(pane)


def events_of(sample: Sample) -> list[Any]:
    stream = ServerSentEvents()
    found = [decoded(event.data) for event in (*stream.feed(sample.body), *stream.end())]
    return [event for event in found if isinstance(event, dict)]


def values_of(sample: Sample) -> list[Any]:
    return events_of(sample) if sample.content_type == "text/event-stream" else [decoded(sample.body)]


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: f"{sample.dialect}-{sample.name}")
def test_every_text_and_number_is_on_the_page(sample: Sample) -> None:
    assert missing_on(page_of(sample), values_of(sample)) == []


@pytest.mark.parametrize("sample", [each for each in SAMPLES if each.name == "stream" and "responses" in each.dialect])
def test_so_it_is_for_the_messages_of_a_socket(sample: Sample) -> None:
    pane, messages = (
        Pane(84, 10_000_000),
        [line[6:] for line in sample.body.split(b"\n") if line.startswith(b"data: {")],
    )
    TranscriptText(pane, everything=True).answer(transcript.of_messages(messages, sample.dialect))

    assert missing_on(str(pane), [decoded(each) for each in messages]) == []


def test_the_check_misses_what_is_not_there() -> None:
    events = [{"type": "d", "index": 0, "delta": {"text": piece}} for piece in ("words on", " two lines\x1b")]

    assert missing_on("words on two\n    lines\\x1b", events) == []
    assert missing_on("words on\n    lines", events) == [("text", "words on two lines\x1b")]
    assert missing_on("output_tokens 120", [{"usage": {"output_tokens": 12}}]) == [("output_tokens", 12)]
