"""Chat completions' own: what each path runs, where an answer stands, and members beside the text."""

from __future__ import annotations

from typing import Any

import pytest

from patchbay import dialects
from patchbay.values.answer import Usage

from ..each_row import each_row

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


def facts(data: dict[str, Any]) -> list[tuple[object, ...]]:
    return [(fact.kind, fact.value, fact.where) for fact in CHAT.read("message", data)]


def choice(member: str = "delta", index: int = 0, **message: object) -> dict[str, Any]:
    return {"choices": [{"index": index, member: message}]}


TOLD = [("content", "text", ""), ("text", "x", "")]
TOOL = ("content", "tool", "")


@each_row(
    ("data", "told"),
    [
        ({"id": "i", "model": "m", "created": 1, "created_at": 2, "object": "o", "choices": []},
         [("id", "i", "body id"), ("model", "m", "body model"), ("created", 1, "body created")]),
        ({"created_at": 2, "choices": []}, [("created", 2, "body created_at")]),
        (choice(content="x"), TOLD), (choice("message", content="x"), TOLD), (choice(index=1, content="x"), TOLD[:1]),
        (choice(content=[{"text": "x"}, {"text": ""}, {"text": 7}]), TOLD), (choice(content=""), []),
        ({"choices": [{"text": "x"}]}, TOLD),
        *((choice(**{name: "x"}), [("content", "reasoning", "")])
          for name in ("reasoning_content", "reasoning", "refusal", "audio", "images")),
        (choice(content=[{"thinking": "x"}]), [("content", "reasoning", "")]),
        (choice(tool_calls=[{"id": "c", "function": {"name": "n"},
                             "extra_content": {"google": {"thought_signature": "s"}}}]),
         [TOOL, ("token", "c", "tool"), ("tool", "n", ""), ("token", "s", "signature")]),
        (choice(function_call={"name": "n"}), [TOOL]), (choice(function_call=None), []),
        (choice(reasoning_details=[{"signature": "s"}, {"data": "d"}, {}]),
         [("token", "s", "signature"), ("token", "d", "signature")]),
        ({"choices": [{"finish_reason": "stop"}]}, [("finish", "stop", "0")]),
        ({"choices": [{"index": 2, "finish_reason": "stop"}]}, [("finish", "stop", "2")]),
        ({"choices": [{"finish_reason": None}]}, []),
        ({"choices": [], "usage": {"prompt_tokens": 1}}, [("usage", Usage(1), "")]),
        ({"choices": [], "x_groq": {"usage": {"prompt_tokens": 1}}}, [("usage", Usage(1), "")]),
        ({"id": "file-a", "object": "file"},
         [("id", "file-a", "body id"), ("token", "file-a", "file")]),
        ({"id": "file-a", "choices": []}, [("id", "file-a", "body id")]),
    ],
)  # fmt: skip
def test_each_member_of_an_answer_tells_its_facts(data: dict[str, Any], told: list[tuple[object, ...]]) -> None:
    assert facts(data) == told


def test_an_error_is_all_that_is_told() -> None:
    data = {"error": {"message": "m"}, "id": "i"}

    assert [(fact.kind, fact.where) for fact in CHAT.read("message", data)] == [("error", "event")]
    assert [(fact.kind, fact.where) for fact in CHAT.read("", data)] == [("error", "body")]


def test_the_calls_of_the_first_choice_are_read() -> None:
    calls = [{"index": 4, "function": {"name": "n", "arguments": "{"}}, {"function": {"name": "o"}}]
    data = {"choices": [{"delta": {"tool_calls": calls}}, {"delta": {"tool_calls": calls}}]}

    found = [(fact.kind, fact.value, fact.where) for fact in CHAT.read_calls(data)]
    assert found == [("called", "n", "4"), ("arguments", "{", "4"), ("called", "o", "1")]


@pytest.mark.parametrize(
    ("events", "rules"),
    [
        ([({"tool_calls": [{}]}, None), ({}, "tool_calls")], []),
        ([({"function_call": {}}, "tool_calls")], ["no-call"]),
        ([({"function_call": {"name": "n"}}, "tool_calls")], []), ([({"content": "x"}, "tool_calls")], ["no-call"]),
        ([({"content": "x"}, "stop"), ({}, None), ({"tool_calls": [{}]}, None)], ["after-finish"]),
        ([({"content": "x"}, None), ({"role": "r"}, None)], ["role-again"]),
        ([({"content": "x"}, None), ({"role": "r", "content": "y"}, None)], []),
        ([({"role": "r", "content": "x"}, None), ({"role": "r"}, None)], []),
    ],
)  # fmt: skip
def test_each_rule_of_order(events: list[tuple[dict[str, Any], str | None]], rules: list[str]) -> None:
    order = CHAT.order()
    chunks = [{"choices": [{"delta": delta, "finish_reason": reason}]} for delta, reason in events]

    assert [fact.where for chunk in chunks for fact in order.feed(chunk)] == rules


@pytest.mark.parametrize(
    ("data", "is_embedding"),
    [
        ({"data": [{"object": "embedding"}]}, True), ({"data": [{"object": "embedding"}, {"object": "x"}]}, True),
        ({"data": [{"object": "x"}, {"object": "embedding"}]}, False), ({"data": []}, False), ({"data": {}}, False),
        ({"data": ["x"]}, False),
    ],
)  # fmt: skip
def test_embeddings_are_known_by_the_first(data: dict[str, Any], is_embedding: bool) -> None:
    assert CHAT.other_shapes["embedding"](data) is is_embedding


@pytest.mark.parametrize(
    ("path", "model"), [("/openai/deployments/d/chat/completions", "d"), ("/v1/chat/completions", "")]
)
def test_a_deployment_names_the_model_in_the_path(path: str, model: str) -> None:
    assert dialects.endpoint("POST", path).model == model
