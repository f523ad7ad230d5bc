"""What a Content-Type says."""

from __future__ import annotations

import pytest

from patchbay.answer.reader import AnswerReader
from patchbay.answer_urls import body_form
from patchbay.media_types import JSON_LINES, is_json, media_type
from patchbay.values.answer import Head
from patchbay.values.http import Endpoint, Headers


@pytest.mark.parametrize(
    ("content_type", "found"),
    [
        ("application/json", True), ("Application/JSON; charset=utf-8", True), ("text/json", True),
        ("application/problem+json", True), ("application/x-ndjson", False), ("text/plain", False), ("", False),
    ],
)  # fmt: skip
def test_what_is_json(content_type: str, found: bool) -> None:
    assert is_json(media_type(content_type)) is found


KINDS = (
    "application/x-ndjson", "application/ndjson", "application/jsonl", "application/x-jsonl", "application/jsonlines",
    "application/x-jsonlines", "application/json-lines", "application/stream+json",
)  # fmt: skip


def test_each_type_of_json_lines_has_a_case() -> None:
    assert sorted(KINDS) == sorted(JSON_LINES)


@pytest.mark.parametrize("kind", KINDS)
def test_each_type_of_json_lines_is_read_and_rewritten_line_by_line(kind: str) -> None:
    headers = Headers([("Content-Type", f"{kind.title()}; charset=utf-8")])
    reader = AnswerReader("openai_chat")
    reader.head(Head(200, headers))
    reader.feed(b'{"a": 1}\n')

    assert reader.streamed is (kind != "application/x-jsonl")  # results of a batch are no stream
    assert body_form(Endpoint(kind="resource"), "/v1/files", 200, headers.get) == "lines"
