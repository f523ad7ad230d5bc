"""OpenAI's errors, by status and code, and stored things on paths of no dialect."""

from __future__ import annotations

import json

import pytest

from patchbay import dialects
from patchbay.dialects.openai import BOUND_FIELDS, NO_DIALECT, OUTCOME_RULES, error, error_event, error_object, usage
from patchbay.values.answer import Fact, Usage
from patchbay.values.decision import Refusal

from ..each_row import each_row

TYPES = {
    400: "invalid_request_error", 401: "authentication_error", 402: "billing_error", 403: "permission_error",
    404: "not_found_error", 408: "timeout_error", 413: "invalid_request_error", 429: "rate_limit_error",
    502: "api_error", 503: "server_error", 504: "timeout_error", 529: "server_error",
}  # fmt: skip
STORED = (
    "thread", "assistant", "video", "eval", "chatkit", "agent", "session", "environment", "vault", "memory_store",
)  # fmt: skip


@each_row("status", range(399, 600))
def test_each_status_has_its_type(status: int) -> None:
    other = "invalid_request_error" if 400 <= status < 500 else "api_error"

    assert error_object(Refusal(status, "x", "y"))["type"] == TYPES.get(status, other)


@pytest.mark.parametrize(
    ("refusal", "kind"),
    [
        (Refusal(429, "insufficient_quota", "y", final=True), "insufficient_quota"),
        (Refusal(404, "model_not_found", "y"), "invalid_request_error"),
        (Refusal(429, "x", "y", 61.0, {"resets_at": 7}), "usage_limit_reached"),
        (Refusal(429, "x", "y", 60.0, {"resets_at": 7}), "rate_limit_error"),
        (Refusal(429, "x", "y", None, {"resets_at": 7}, final=True), "usage_limit_reached"),
        (Refusal(429, "x", "y", 61.0), "rate_limit_error"),
        (Refusal(503, "x", "y", 61.0, {"resets_at": 7}), "server_error"),
    ],
)
def test_a_code_and_a_long_limit_have_a_type_of_their_own(refusal: Refusal, kind: str) -> None:
    assert error_object(refusal)["type"] == kind


def test_fields_of_a_refusal_stand_behind_those_of_the_error() -> None:
    found = error_object(Refusal(404, "c", "m", fields={"param": "model", "code": "other", "model": "gpt"}))

    assert list(found.items()) == [
        ("message", "m"), ("type", "not_found_error"), ("param", "model"), ("code", "c"), ("model", "gpt"),
    ]  # fmt: skip
    assert json.loads(error(Refusal(404, "c", "m"), "id"))["error"]["param"] is None


def test_a_stream_ends_with_the_error_and_without_done() -> None:
    assert error_event(Refusal(502, "c", "m"), "id") == b"data: " + error(Refusal(502, "c", "m"), "id") + b"\n\n"


@each_row("kind", STORED)
@each_row("member", ["object", "type"])
def test_each_stored_thing_on_a_path_of_no_dialect_is_told(kind: str, member: str) -> None:
    data = {"id": "x_1", member: f"{kind}.created"}

    assert list(NO_DIALECT.read("", data)) == [Fact("token", "x_1", "file")]
    assert list(NO_DIALECT.read("message", data)) == []


def test_nothing_else_of_such_a_path_is_understood() -> None:
    for data in ({"id": "x", "object": "page"}, {"id": "x"}, {"error": {"message": "no"}}, {"object": "thread"}):
        assert list(NO_DIALECT.read("", data)) == []


@pytest.mark.parametrize(
    ("data", "told"),
    [
        ({"prompt_tokens": 9, "completion_tokens": 4}, Usage(9, 4)),
        ({"input_tokens": 9, "output_tokens": 4}, Usage(9, 4)),
        ({"prompt_tokens": 9, "input_tokens": 1, "prompt_tokens_details": {"cached_tokens": 5}}, Usage(9, 0, 5)),
        ({"prompt_tokens": 9, "prompt_cache_hit_tokens": 6}, Usage(9, 0, 6)),
        ({"prompt_tokens_details": {"cache_write_tokens": 7}}, Usage(cache_write=7)),
        ({"prompt_tokens_details": {"cache_creation_tokens": 8}}, Usage(cache_write=8)),
        ({}, Usage()),
    ],
)
def test_each_name_for_a_count_is_read(data: dict[str, object], told: Usage) -> None:
    assert list(usage(data, "prompt_tokens", "completion_tokens")) == [Fact("usage", told)]


def test_a_usage_that_is_no_object_is_none() -> None:
    assert [*usage(None, "a", "b"), *usage([1], "a", "b")] == []


def test_fields_that_belong_to_an_account_are_those_of_both_dialects() -> None:
    assert [field.member or field.header for field in BOUND_FIELDS] == [
        "prompt_cache_options.comparison_response_id", "x-codex-turn-state",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("data", "told"),
    [
        ({"p": 1, "prompt_tokens": 2, "input_tokens": 3, "c": 4, "completion_tokens": 5, "output_tokens": 6},
         Usage(1, 4)),
        ({"prompt_tokens": 2, "input_tokens": 3, "completion_tokens": 5, "output_tokens": 6}, Usage(2, 5)),
        ({"input_tokens": 3, "output_tokens": 6}, Usage(3, 6)),
        ({"p_details": {"cached_tokens": 1, "cache_write_tokens": 2, "cache_creation_tokens": 3},
          "prompt_cache_hit_tokens": 4}, Usage(cached=1, cache_write=2)),
    ],
)  # fmt: skip
def test_of_several_names_for_a_count_the_dialect_s_own_comes_first(data: dict[str, object], told: Usage) -> None:
    assert list(usage(data, "p", "c")) == [Fact("usage", told)]


def test_errors_and_account_bound_fields_are_those_of_both_dialects() -> None:
    for name in ("openai_chat", "openai_responses"):
        assert dialects.of(name).bound_fields is BOUND_FIELDS
        assert dialects.of(name).outcome_rules is OUTCOME_RULES
        assert dialects.of(name).quota_status == 429
