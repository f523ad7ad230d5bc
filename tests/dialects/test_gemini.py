"""Gemini's own: interactions (in steps or, as before, in outputs), verbs, words of errors, batches."""

from __future__ import annotations

import json
from typing import Any

import pytest

from patchbay import dialects
from patchbay.body import Body
from patchbay.dialects.outcome_rules import LAST_RULES
from patchbay.values.answer import Fact, Usage
from patchbay.values.decision import Refusal

from ..each_row import each_row

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


@each_row("status", range(399, 600))
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


def facts(data: dict[str, object], name: str = "") -> list[tuple[object, ...]]:
    return [(fact.kind, fact.value, fact.where) for fact in dialects.of("gemini").read(name, data)]


def candidate(*parts: object, **more: object) -> dict[str, object]:
    return {"candidates": [{"content": {"parts": list(parts)}, **more}]}


TEXT = [("content", "text", ""), ("text", "x", "")]
CACHE = {"name": "cachedContents/c", "uri": "https://u"}


@each_row(
    ("data", "told"),
    [
        ({"responseId": "r", "modelVersion": "m", "createTime": "t", "candidates": []},
         [("id", "r", "body responseId"), ("model", "m", "body modelVersion"), ("created", "t", "body createTime")]),
        (candidate({"text": "x"}), TEXT), ({"response": candidate({"text": "x"})}, TEXT), (candidate({"text": ""}), []),
        (candidate({"text": 7}, {"text": "x"}), TEXT), (candidate({"text": "x"}, index=1), TEXT[:1]),
        (candidate({"text": "x", "thought": True}), [("content", "reasoning", "")]),
        (candidate({"text": "x", "thoughtSignature": "s"}), [*TEXT, ("token", "s", "signature")]),
        (candidate({"functionCall": {"id": "f", "name": "n"}}),
         [("content", "tool", ""), ("token", "f", "tool"), ("tool", "n", "")]),
        (candidate({"functionCall": {"name": 7}}), [("content", "tool", "")]), (candidate({"functionCall": {}}), []),
        *((candidate({name: {}}), [("content", "tool", "")])
          for name in ("inlineData", "executableCode", "codeExecutionResult", "fileData")),
        (candidate(finishReason="STOP"), [("finish", "STOP", "0"), ("end", "finishReason", "")]),
        (candidate(finishReason="STOP", index=2), [("finish", "STOP", "2"), ("end", "finishReason", "")]),
        (candidate(finishReason="FINISH_REASON_UNSPECIFIED"), []), (candidate(finishReason=None), []),
        ({"promptFeedback": {"blockReason": "SAFETY"}}, [("finish", "SAFETY", "0"), ("end", "blockReason", "")]),
        ({"promptFeedback": {"blockReason": None}}, []),
        ({"response": {"usageMetadata": {"promptTokenCount": 1}}}, [("usage", Usage(1), "")]),
        ({"usageMetadata": {"promptTokenCount": 1, "toolUsePromptTokenCount": 2, "candidatesTokenCount": 4,
                            "thoughtsTokenCount": 8, "cachedContentTokenCount": 16}},
         [("usage", Usage(3, 12, 16), "")]),
        (CACHE, [("token", "cachedContents/c", "cache"), ("token", "https://u", "cache")]),
        ({"file": {"name": "files/f"}}, [("token", "files/f", "file")]),
        ({"name": "projects/p/batches/b"}, [("token", "projects/p/batches/b", "batch")]), ({"name": "models/m"}, []),
        *(({listing: [CACHE] * 101}, [("token", "cachedContents/c", "cache"), ("token", "https://u", "cache")] * 100)
          for listing in ("files", "cachedContents", "operations")),
        ({"object": "interaction", "id": "i", "model": "m", "outputs": [{"text": "x"}], "usage": {
          "total_input_tokens": 1,
          "total_tool_use_tokens": 2, "total_output_tokens": 4, "total_thought_tokens": 8, "total_cached_tokens": 16}},
         [("id", "i", "body id"), ("model", "m", "body model"), *TEXT,
          ("usage", Usage(3, 12, 16), "")]),
        ({"steps": [{"type": "model_output", "content": [{"type": "text", "text": "x"}]}], "status": "s"}, TEXT),
        ({"event_type": "interaction.complete", "interaction": {"outputs": [{"text": "x"}]}},
         [TEXT[0], ("text", "x", "whole"), ("finish", "completed", "0"), ("end", "interaction.complete", "")]),
        ({"event_type": "interaction.completed", "interaction": {"status": "failed", "steps": [
            {"type": "model_output", "content": [{"text": "x"}]}]}},
         [TEXT[0], ("text", "x", "whole"), ("finish", "failed", "0"), ("end", "interaction.completed", "")]),
        ({"event_type": "content.delta", "delta": {"type": "text", "text": "x"}}, TEXT),
        ({"event_type": "content.delta", "id": "no"}, []),
        ({"event_type": "step.start", "step": {"type": "function_call", "id": "f", "name": "n", "signature": "s"}},
         [("content", "tool", ""), ("token", "f", "tool"), ("token", "s", "signature"), ("tool", "n", "")]),
        ({"event_type": "e", "delta": {"type": "thought"}}, [("content", "reasoning", "")]),
        ({"event_type": "e", "delta": {"type": "thought_summary", "text": "x"}}, [("content", "reasoning", "")]),
        *(({"event_type": "e", "delta": {"type": kind, "text": "x"}}, [("content", "tool", "")])
          for kind in ("image", "audio", "document", "video", "arguments_delta", "some_call")),
        ({"event_type": "e", "step": {"type": "user_input", "text": "x"}}, []),
        ({"event_type": "e", "step": {"type": "function_result", "name": "n"}}, []),
    ],
)  # fmt: skip
def test_each_member_of_an_answer_tells_its_facts(data: dict[str, object], told: list[tuple[object, ...]]) -> None:
    assert facts(data, "message") == facts(data) == told


def test_an_error_in_an_answer_is_all_that_is_told() -> None:
    found = [*dialects.of("gemini").read("message", {"error": {"message": "m"}, **candidate({"text": "x"})})]

    assert [(fact.kind, fact.where) for fact in found] == [("error", "event")]
    assert [fact.where for fact in dialects.of("gemini").read("", {"error": "m"})] == ["body"]


def test_the_calls_of_the_first_candidate_are_read() -> None:
    def call(name: str) -> dict[str, object]:
        return {"functionCall": {"name": name, "args": {"a": 1}}}

    data = {"candidates": [*candidate({"text": "x"}, call("n"))["candidates"], *candidate(call("o"))["candidates"]]}  # type: ignore[misc]
    for answer in (data, {"response": data}):
        found = [(fact.kind, fact.value, fact.where) for fact in dialects.of("gemini").read_calls(answer)]
        assert found == [("called", "n", ""), ("arguments", '{"a":1}', "")]


CALL = b'{"functionCall": {"name": "n"}, "thoughtSignature": "lost"}'


@pytest.mark.parametrize(
    ("part", "left"),
    [
        (b'{"text": "a", "thoughtSignature": "kept"}', b'{"text": "a", "thoughtSignature": "kept"}'),
        (b'{"text": "a", "thoughtSignature": "lost"}', b'{"text": "a"}'),
        (b'{"thought_signature": "lost", "text": "a"}', b'{"text": "a"}'),
        (CALL, CALL.replace(b'"lost"', b'"skip_thought_signature_validator"')),
        (CALL.replace(b"functionCall", b"function_call"),
         CALL.replace(b"functionCall", b"function_call").replace(b'"lost"', b'"skip_thought_signature_validator"')),
    ],
)  # fmt: skip
@pytest.mark.parametrize("wrapped", [b"%s", b'{"request": %s, "model": "m"}'])
def test_signatures_of_another_account_are_taken_out(part: bytes, left: bytes, wrapped: bytes) -> None:
    raw = wrapped % (
        b'{"contents": [{"role": "model", "parts": [{"text": "b"}, %s], "thoughtSignature": "lost"}]}' % part
    )

    found = dialects.of("gemini").without_sealed(Body(raw), lambda sealed: sealed == "kept")
    assert found == raw.replace(part, left)


@pytest.mark.parametrize(
    ("method", "path", "source"),
    [
        ("GET", "/v1beta/cachedContents", "nothing"), ("DELETE", "/v1beta/tunedModels/m", "nothing"),
        ("POST", "/v1beta/cachedContents", "model"), ("PATCH", "/v1beta/cachedContents", "nothing"),
        ("POST", "/v1beta/fileSearchStores", "named"), ("POST", "/v1beta/tunedModels", "tuning"),
        ("PATCH", "/v1beta/tunedModels", "nothing"), ("POST", "/v1beta/files", "nothing"),
        ("POST", "/v1beta/models", "unread"), ("POST", "/v1beta/models/m/x", "unread"),
        ("POST", "/v1beta/files/f:cancel", "nothing"), ("POST", "/v1beta/files/f:other", "unread"),
        ("POST", "/v1beta/interactions/i", "model"), ("POST", "/v1beta/interactions/i/cancel", "nothing"),
        ("GET", "/v1beta/interactions/i", "nothing"),
    ],
)  # fmt: skip
def test_each_resource_names_its_models_in_its_own_place(method: str, path: str, source: str) -> None:
    assert dialects.endpoint(method, path).model_source == source


@pytest.mark.parametrize(
    ("wait", "final", "lasts", "delay"),
    [
        (None, True, 900.0, None), (7.0, False, 900.0, "7s"), (7.0, True, 900.0, "900s"), (7.0, True, None, "7s"),
        (0.0, True, None, "1s"), (0.5, False, None, "1s"), (900.0, True, 7.0, "900s"), (1.5, False, None, "1.5s"),
    ],
)  # fmt: skip
def test_a_final_refusal_waits_as_long_as_its_cause_lasts(
    wait: float | None, final: bool, lasts: float | None, delay: str | None
) -> None:
    refusal = Refusal(429, "x", "y", wait, final=final, lasts=lasts)
    details = json.loads(dialects.of("gemini").error(refusal, "id"))["error"]["details"]

    assert [each["retryDelay"] for each in details if "retryDelay" in each] == ([delay] if delay else [])


@pytest.mark.parametrize(
    "verb",
    ["countTokens", "countTextTokens", "countMessageTokens", "computeTokens", "fetchPredictOperation", "rawPredict",
     "streamRawPredict", "serverStreamingPredict"],
)  # fmt: skip
def test_a_verb_that_does_not_generate_is_a_resource_of_its_model(verb: str) -> None:
    found = dialects.endpoint("POST", f"/v1beta/models/g:{verb}")

    assert (found.kind, found.model_source, found.model, found.stream) == ("resource", "model", "g", False)


@pytest.mark.parametrize(
    ("suffix", "data", "holds"),
    [
        (":generateContent", candidate({"text": "x"}), True),
        (":generateContent", candidate(finishReason="STOP"), True),
        (":generateContent", {"promptFeedback": {"blockReason": "SAFETY"}}, True),
        (":generateContent", {"candidates": []}, False),
        (":streamGenerateContent", {"predictions": ["x"]}, False),
        (":predict", {"predictions": [], "embedding": [1]}, True),
        (":embedContent", {"other": 1}, True),
    ],
)
def test_an_answer_holds_content_or_an_end_and_other_verbs_a_result(
    suffix: str, data: dict[str, Any], holds: bool
) -> None:
    assert dialects.of("gemini").holds_answer(f"/v1beta/models/g{suffix}", data) is holds


def test_calls_stand_in_parts_with_a_call_alone() -> None:
    data = candidate({"text": "x"}, {"functionCall": "n"}, {"functionCall": {"name": ""}})

    assert list(dialects.of("gemini").read_calls(data)) == []


@pytest.mark.parametrize(
    ("data", "disorder"),
    [
        ([("a", 0), ("b", 0), ("a", 0), ("b", 0), ("a", 0)], True),
        ([("a", 0), ("b", 1), ("a", 0), ("b", 1), ("a", 0)], False),
    ],
)
@pytest.mark.parametrize("wrapped", [False, True])
def test_the_ids_of_chunks_with_candidates_are_compared_by_candidate(
    data: list[tuple[str, int]], disorder: bool, wrapped: bool
) -> None:
    order = dialects.of("gemini").order()
    chunks = [{"responseId": name, "candidates": [{"index": index}]} for name, index in data]
    found = [fact for chunk in chunks for fact in order.feed({"response": chunk} if wrapped else chunk)]

    assert bool(found) is disorder
    assert [*order.feed({"responseId": "c"}), *order.feed({"responseId": "a", "candidates": {}})] == []


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (429, "quota_exceeded", "quota"),
        (400, "api_key_invalid", "auth"),
        (429, "rate_limit_exceeded", "rate"),
        (403, "service_disabled", "permission"),
        (400, "failed_precondition", "request"),
        (499, "cancelled", "cancelled"),
        (500, "internal", "server"),
        (504, "deadline_exceeded", "server"),
        (500, "unknown", "server"),
    ],
)
def test_each_row_of_codes_is_read_at_its_statuses(status: int, code: str, kind: str) -> None:
    rules = (*dialects.of("gemini").outcome_rules, *LAST_RULES)
    found = [rule.kind for rule in rules if code in rule.codes and (not rule.statuses or status in rule.statuses)]

    assert found == [kind]


def test_the_api_s_own_names_of_counts_come_before_those_of_interactions() -> None:
    usage = {
        "promptTokenCount": 1, "total_input_tokens": 9, "toolUsePromptTokenCount": 2, "total_tool_use_tokens": 9,
        "candidatesTokenCount": 4, "total_output_tokens": 99, "thoughtsTokenCount": 8, "total_thought_tokens": 99,
        "total_reasoning_tokens": 99, "cachedContentTokenCount": 16, "total_cached_tokens": 99,
    }  # fmt: skip
    reasoning = {"total_reasoning_tokens": 5}

    assert facts({"usageMetadata": usage}) == [("usage", Usage(3, 12, 16), "")]
    assert facts({"usageMetadata": reasoning}) == [("usage", Usage(0, 5), "")]
    assert facts({"usageMetadata": reasoning | {"total_thought_tokens": 3}}) == [("usage", Usage(0, 3), "")]


def test_an_answer_with_candidates_stores_nothing() -> None:
    assert facts({"candidates": [], "name": "files/f"}) == []


@pytest.mark.parametrize(
    "raw",
    [
        b'{"request": {"other": [{"parts": [{"text": "a", "thoughtSignature": "lost"}]}]}}',
        b'{"contents": [{"other": [{"text": "a", "thoughtSignature": "lost"}], "parts": []}]}',
        b'{"other": [{"parts": [{"text": "a", "thoughtSignature": "lost"}]}]}',
        b"[]",
    ],
)
def test_signatures_elsewhere_than_in_parts_of_contents_stay(raw: bytes) -> None:
    assert dialects.of("gemini").without_sealed(Body(raw), lambda sealed: False) == raw
    assert dialects.of("gemini").without_sealed(Body(None), lambda sealed: False) == b""
