"""Gemini's own: interactions (in steps or, as before, in outputs), verbs, words of errors, batches."""

from __future__ import annotations

import json
from typing import Any

import pytest

from patchbay import dialects
from patchbay.values.answer import Fact
from patchbay.values.decision import Refusal

STEPS: list[dict[str, Any]] = [
    {"type": "user_input", "content": [{"type": "text", "text": "what I asked"}]},
    {"type": "thought", "signature": "sig-1", "summary": [{"type": "text", "text": "hm"}]},
    {"type": "function_call", "id": "call-1", "name": "look", "arguments": {}},
    {"type": "function_result", "call_id": "call-0", "name": "look", "result": "theirs"},
    {"type": "model_output", "content": [{"type": "text", "text": "said"}, {"type": "image", "data": "aGk="}]},
]
WHOLE = {"id": "v1_x", "status": "completed", "model": "g", "created": "2026-11-21T00:00:00Z", "steps": STEPS,
         "usage": {"total_input_tokens": 7, "total_output_tokens": 2}}  # fmt: skip


def told(data: dict[str, Any], name: str = "") -> list[tuple[str, object]]:
    return [(fact.kind, fact.value) for fact in dialects.of("gemini").read(name, data) if fact.kind != "usage"]


def test_a_whole_interaction_names_itself_and_what_its_model_said() -> None:
    assert told(WHOLE) == [
        ("id", "v1_x"), ("model", "g"), ("content", "reasoning"), ("token", "sig-1"), ("content", "tool"),
        ("token", "call-1"), ("tool", "look"), ("content", "text"), ("text", "said"), ("content", "tool"),
    ]  # fmt: skip


def test_one_that_goes_on_elsewhere_has_said_nothing_yet() -> None:
    assert told({**WHOLE, "status": "in_progress", "steps": []}) == [("id", "v1_x"), ("model", "g")]


def test_a_stream_is_named_first_and_ends_with_its_status() -> None:
    first = {"event_type": "interaction.created", "interaction": {**WHOLE, "steps": []}}
    assert told(first, "interaction.created") == [("id", "v1_x"), ("model", "g")]
    assert told({"event_type": "step.start", "index": 0, "step": {"type": "model_output"}}, "step.start") == []
    last = {"event_type": "interaction.completed", "interaction": {**WHOLE, "steps": []}}
    assert told(last, "interaction.completed")[2:] == [("finish", "completed"), ("end", "interaction.completed")]


@pytest.mark.parametrize(
    ("delta", "facts"),
    [
        ({"type": "text", "text": "a"}, [("content", "text"), ("text", "a")]),
        ({"type": "text", "text": ""}, []),
        ({"type": "thought_summary", "content": {"type": "text", "text": "b"}}, [("content", "reasoning")]),
        ({"type": "thought_signature", "signature": "s"}, [("token", "s")]),
        ({"type": "arguments_delta", "arguments": "{}"}, [("content", "tool")]),
        ({"type": "google_search_call", "arguments": {}}, [("content", "tool")]),
        ({"type": "image", "data": "aGk="}, [("content", "tool")]),
        ({"type": "text_annotation_delta", "annotations": []}, []),
    ],
)
def test_a_delta_says_what_kind_of_content_began(delta: dict[str, Any], facts: list[tuple[str, object]]) -> None:
    assert told({"event_type": "step.delta", "index": 0, "delta": delta}, "step.delta") == facts


def test_an_error_in_its_stream_is_one() -> None:
    event = {"event_type": "error", "error": {"code": "rate_limit_exceeded", "message": "slow down"}}
    (fact,) = dialects.of("gemini").read("error", event)
    assert isinstance(fact, Fact)
    assert (fact.kind, fact.value["code"] if isinstance(fact.value, dict) else "") == ("error", "rate_limit_exceeded")


def test_the_older_form_is_read_too() -> None:
    older = {"object": "interaction", "id": "i", "outputs": [{"type": "text", "text": "said"}]}
    assert told(older)[-2:] == [("content", "text"), ("text", "said")]


@pytest.mark.parametrize("path", ["/v1beta/interactions", "/v1beta1/projects/p/locations/l/interactions"])
def test_interactions_are_made_at_both_of_googles_services(path: str) -> None:
    made = dialects.endpoint("POST", path)
    assert (made.kind, made.suffix) == ("generation", path)
    for method, at in (("GET", f"{path}/x"), ("DELETE", f"{path}/x"), ("POST", f"{path}/x/cancel")):
        assert dialects.endpoint(method, at).kind == "resource"


KEEPS = (
    "cancel", "wait", "register", "download", "query", "importFile", "uploadToFileSearchStore", "batchCreate",
    "batchUpdate", "batchDelete", "transferOwnership", "updateGenerateContentBatch", "updateEmbedContentBatch",
)  # fmt: skip
ADMINISTERS = (
    "loadCodeAssist", "onboardUser", "fetchAdminControls", "getCodeAssistGlobalUserSetting",
    "setCodeAssistGlobalUserSetting", "recordCodeAssistMetrics", "recordClientEvent", "listExperiments",
    "retrieveUserQuota", "fetchAvailableModels", "listRemoteRepositories",
)  # fmt: skip
GENERATES = (
    "generateContent", "streamGenerateContent", "embedContent", "batchEmbedContents", "generateAnswer", "predict",
    "predictLongRunning", "batchGenerateContent", "asyncBatchEmbedContent", "generateMessage", "generateText",
)  # fmt: skip
STATUS = {
    400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 402: "RESOURCE_EXHAUSTED", 403: "PERMISSION_DENIED",
    404: "NOT_FOUND", 409: "ABORTED", 413: "INVALID_ARGUMENT", 429: "RESOURCE_EXHAUSTED", 499: "CANCELLED",
    501: "UNIMPLEMENTED", 503: "UNAVAILABLE", 504: "DEADLINE_EXCEEDED",
}  # fmt: skip


@pytest.mark.parametrize("verb", GENERATES)
def test_each_verb_that_generates_is_a_generation(verb: str) -> None:
    found = dialects.endpoint("POST", f"/v1beta/models/g:{verb}")

    assert (found.kind, found.model_source, found.model) == ("generation", "model", "g")
    assert found.stream is (verb == "streamGenerateContent")


@pytest.mark.parametrize("verb", KEEPS)
def test_each_verb_that_keeps_runs_nothing_but_at_a_model(verb: str) -> None:
    assert dialects.endpoint("POST", f"/v1beta/files/f:{verb}").model_source == "nothing"
    assert dialects.endpoint("POST", f"/v1beta/models/g:{verb}").model_source == "model"


@pytest.mark.parametrize("verb", ADMINISTERS)
def test_each_verb_that_administers_runs_nothing_at_code_assist_alone(verb: str) -> None:
    assert dialects.endpoint("POST", f"/v1internal:{verb}").model_source == "nothing"
    assert dialects.endpoint("POST", f"/v1beta/models/g:{verb}").model_source == "model"


@pytest.mark.parametrize("status", range(399, 600))
def test_each_status_has_its_word(status: int) -> None:
    other = "INVALID_ARGUMENT" if 400 <= status < 500 else "INTERNAL"
    error = json.loads(dialects.of("gemini").error(Refusal(status, "c", "m"), "id"))["error"]

    assert (error["status"], error["code"]) == (STATUS.get(status, other), status)


@pytest.mark.parametrize("member", ["embedding", "embeddings", "predictions", "answer", "candidates"])
def test_each_member_for_results_must_not_be_empty(member: str) -> None:
    holds = dialects.of("gemini").holds_answer

    assert holds("/v1/models/g:predict", {member: [1]}) and not holds("/v1/models/g:predict", {member: []})
    assert holds("/v1/models/g:predict", {}) and not holds("/v1/models/g:embedContent", {})


@pytest.mark.parametrize(
    ("suffix", "body", "hides"),
    [
        (":batchGenerateContent", {"batch": {"inputConfig": {"requests": {}}}}, False),
        (":batchGenerateContent", {"batch": {"input_config": {"file_name": "f"}}}, True),
        (":batchGenerateContent", {"Batch": {"inputConfig": {"requests": {}, "fileName": "f"}}}, True),
        (":asyncBatchEmbedContent", {"batch": {"inputConfig": {"fileName": "f"}}}, True),
        (":generateContent", {"batch": {"inputConfig": {"fileName": "f"}}}, False),
        (":batchGenerateContent", [], False),
    ],
)
def test_a_batch_may_name_models_in_a_file(suffix: str, body: object, hides: bool) -> None:
    assert dialects.of("gemini").hides_models(suffix, json.dumps(body).encode()) is hides
