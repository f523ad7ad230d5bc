"""The Responses API's own: settings in a form to be compared, ends, headers for Codex."""

from __future__ import annotations

from typing import Any

import pytest

from patchbay import dialects
from patchbay.values.decision import Refusal

RESPONSES = dialects.of("openai_responses")
settings = RESPONSES.settings


@pytest.mark.parametrize(
    ("value", "said"),
    [(1, "1"), (1.0, "1"), (0.25, "0.25"), (True, None), ("1", None), (10**400, None), (-(10**400), None)],
)
def test_a_number_is_compared_as_it_reads(value: object, said: str | None) -> None:
    assert settings({"temperature": value}).get("temperature") == said


@pytest.mark.parametrize("name", ["previous_response_id", "prompt_cache_key", "safety_identifier", "user"])
def test_each_word_of_a_request_is_compared(name: str) -> None:
    assert settings({name: "x"}) == {name: "x"}
    assert settings({name: "x" * 300}) == {name: "x" * 256}
    assert settings({name: ""}) == settings({name: 7}) == settings({name: None}) == {}


@pytest.mark.parametrize("name", ["temperature", "top_p", "max_output_tokens", "max_tool_calls"])
def test_each_number_of_a_request_is_compared(name: str) -> None:
    assert settings({name: 3}) == {name: "3"}
    assert settings({name: 1e15}) == {}


def test_instructions_metadata_and_tools_are_compared() -> None:
    tools = [{"type": "function", "name": "b"}, {"type": "web_search", "name": "c"}, {"type": "function", "name": "a"}]
    found = settings({"instructions": "Be kind", "metadata": {"k": 1, "gone": None}, "tools": tools})

    assert found.keys() == {"instructions", "metadata.k", "tools"}
    assert found["tools"] == settings({"tools": tools[::-1]})["tools"] != settings({"tools": tools[:1]})["tools"]
    assert found["instructions"] != settings({"instructions": "Be kind!"})["instructions"]
    assert len(settings({"metadata": {str(number): "x" for number in range(40)}})) == 32


@pytest.mark.parametrize("end", ["completed", "failed", "incomplete", "cancelled"])
def test_each_end_is_an_end(end: str) -> None:
    event = {"type": f"response.{end}", "response": {"id": "r", "status": end}}

    assert [(fact.kind, fact.value) for fact in RESPONSES.read("x", event)][-2:] == [
        ("finish", end), ("end", f"response.{end}"),
    ]  # fmt: skip
    order = RESPONSES.order()
    assert [fact.where for each in (event, event) for fact in order.feed(each)] == ["after-end"]


@pytest.mark.parametrize("status", ["queued", "in_progress", "incomplete", "failed", "cancelled"])
def test_an_answer_of_each_status_under_way_may_have_no_output(status: str) -> None:
    assert RESPONSES.holds_answer("/responses", {"status": status})
    assert not RESPONSES.holds_answer("/responses", {"status": "completed"})
    assert RESPONSES.holds_answer("/responses", {"status": "completed", "output": []})


@pytest.mark.parametrize(
    ("refusal", "waits"),
    [
        (Refusal(503, "x", "y", 60.0), True), (Refusal(503, "x", "y", 61.0), False),
        (Refusal(503, "x", "y", 5.0, final=True), False), (Refusal(429, "x", "y", 61.0), True),
    ],
)  # fmt: skip
def test_codex_is_not_told_to_wait_where_it_would_sleep_for_long(refusal: Refusal, waits: bool) -> None:
    assert ("retry-after" in dict(RESPONSES.error_headers(refusal))) is waits


@pytest.mark.parametrize(
    ("method", "path", "runs"),
    [
        ("POST", "/v1/responses", "model"), ("GET", "/v1/responses", "socket"),
        ("POST", "/v1/responses/compact", "model"),
        ("POST", "/v1/responses/r/cancel", "nothing"), ("GET", "/v1/responses/r", "nothing"),
        ("POST", "/v1/responses/input_tokens", "model"), ("POST", "/v1/conversations", "named"),
        ("POST", "/v1/conversations/c/items", "named"), ("DELETE", "/v1/conversations/c", "nothing"),
    ],
)  # fmt: skip
def test_a_path_runs_what_it_says(method: str, path: str, runs: str) -> None:
    found: Any = dialects.endpoint(method, path)

    assert (found.dialect, found.model_source) == ("openai_responses", runs)
