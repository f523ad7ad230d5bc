"""Chat completions' own: what each path runs, where an answer stands, and members beside the text."""

from __future__ import annotations

from typing import Any

import pytest

from patchbay import dialects

CHAT = dialects.of("openai_chat")


@pytest.mark.parametrize(
    ("method", "path", "runs"),
    [
        *(("POST", f"/v1/{kept}", "nothing") for kept in ("files", "uploads", "vector_stores", "containers", "skills")),
        ("POST", "/v1/batches", "file"),
        ("POST", "/v1/batches/b/cancel", "nothing"),
        ("POST", "/v1/fine_tuning/jobs", "tuning"),
        ("POST", "/v1/fine_tuning/jobs/j/pause", "nothing"),
        ("POST", "/v1/fine_tuning/jobs/j/cancel", "nothing"),
        ("POST", "/v1/chat/completions/c", "named"),
        ("POST", "/v1/chat/completions/c/messages", "unread"),
        ("GET", "/v1/chat/completions/c", "nothing"),
        ("DELETE", "/v1/files/f", "nothing"),
    ],
)
def test_a_resource_runs_what_its_path_says(method: str, path: str, runs: str) -> None:
    found = dialects.endpoint(method, path)

    assert (found.dialect, found.model_source) == ("openai_chat", runs)


@pytest.mark.parametrize("member", ["reasoning_content", "reasoning", "refusal", "audio", "images"])
def test_each_member_beside_the_text_is_content(member: str) -> None:
    data = {"choices": [{"message": {member: "x"}}]}

    assert [fact.value for fact in CHAT.read("", data) if fact.kind == "content"] == ["reasoning"]
    assert CHAT.holds_answer("/chat/completions", data)


@pytest.mark.parametrize("member", ["data", "results", "embeddings", "embedding"])
def test_each_member_for_results_must_not_be_empty(member: str) -> None:
    assert CHAT.holds_answer("/embeddings", {member: [1]})
    assert not CHAT.holds_answer("/embeddings", {member: []})


@pytest.mark.parametrize(
    ("suffix", "data", "holds"),
    [
        ("/chat/completions", {"choices": [{"finish_reason": "stop"}]}, True),
        ("/chat/completions", {"choices": [{"message": {}}]}, False),
        ("/chat/completions", {"choices": []}, False),
        ("/completions", {"choices": [{"text": "x"}]}, True),
        ("/images/generations", {"other": 1}, True),
        ("/images/generations", {}, False),
        ("/embeddings", {"data": [], "results": [1]}, True),
    ],
)
def test_an_answer_holds_a_choice_or_a_result(suffix: str, data: dict[str, Any], holds: bool) -> None:
    assert CHAT.holds_answer(suffix, data) is holds


@pytest.mark.parametrize(
    ("suffix", "shape"),
    [("/chat/completions", "openai_chat"), ("/completions", "openai_chat"), ("/embeddings", "embedding"),
     ("/rerank", "")],
)  # fmt: skip
def test_an_answer_has_the_shape_of_its_path(suffix: str, shape: str) -> None:
    assert CHAT.answer_shape(suffix) == shape


@pytest.mark.parametrize(("index", "kinds"), [(0, ["content", "text"]), (1, ["content"]), (None, ["content", "text"])])
def test_the_text_of_the_first_choice_is_told(index: int | None, kinds: list[str]) -> None:
    data = {"choices": [{"index": index, "delta": {"content": "x"}}]}

    assert [fact.kind for fact in CHAT.read("message", data)] == kinds
