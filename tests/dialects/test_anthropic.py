"""Anthropic's own: types of errors, marks of its events, blocks and their deltas, empty answers."""

from __future__ import annotations

import json
from typing import Any

import pytest

from patchbay import dialects
from patchbay.values.answer import Fact, Usage
from patchbay.values.decision import Refusal

ANTHROPIC = dialects.of("anthropic")
TYPES = {
    400: "invalid_request_error", 401: "authentication_error", 402: "billing_error", 403: "permission_error",
    404: "not_found_error", 408: "timeout_error", 413: "request_too_large", 429: "rate_limit_error",
    503: "overloaded_error", 504: "timeout_error", 529: "overloaded_error",
}  # fmt: skip
MARKS = (
    "message_start", "content_block_start", "content_block_delta", "content_block_stop", "message_delta",
    "message_stop",
)  # fmt: skip
FITTING = {
    "text_delta": ("text",), "citations_delta": ("text",), "thinking_delta": ("thinking",),
    "signature_delta": ("thinking",), "input_json_delta": ("tool_use", "server_tool_use", "mcp_tool_use"),
}  # fmt: skip
BLOCKS = ("text", "thinking", "tool_use", "server_tool_use", "mcp_tool_use")


def kind_of(refusal: Refusal) -> str:
    return str(json.loads(ANTHROPIC.error(refusal, "id"))["error"]["type"])


@pytest.mark.parametrize("status", range(399, 600))
def test_each_status_has_its_type(status: int) -> None:
    other = "invalid_request_error" if 400 <= status < 500 else "api_error"

    assert kind_of(Refusal(status, "x", "y")) == TYPES.get(status, other)


@pytest.mark.parametrize(
    "code", ["upstream_credentials_exhausted", "upstream_unreachable", "upstream_failing", "owner_unavailable"]
)
def test_a_503_that_is_no_overload_is_not_called_one(code: str) -> None:
    assert kind_of(Refusal(503, code, "y")) == "api_error"
    assert kind_of(Refusal(503, "x", "y", final=True)) == "api_error"
    assert kind_of(Refusal(529, "x", "y", final=True)) == "overloaded_error"


@pytest.mark.parametrize(
    ("status", "wait", "fields", "told"),
    [(429, 61.0, {"resets_at": 7}, True), (429, 60.0, {"resets_at": 7}, False), (429, 61.0, {}, False),
     (503, 61.0, {"resets_at": 7}, False)],
)  # fmt: skip
def test_a_long_limit_is_told_in_the_headers_that_claude_code_reads(
    status: int, wait: float, fields: dict[str, Any], told: bool
) -> None:
    headers = dict(ANTHROPIC.error_headers(Refusal(status, "x", "y", wait, fields)))

    assert ("anthropic-ratelimit-unified-status" in headers) is told
    assert headers.get("anthropic-ratelimit-unified-reset") == ("7" if told else None)


@pytest.mark.parametrize("mark", MARKS)
def test_each_event_is_its_own(mark: str) -> None:
    assert ANTHROPIC.has_shape({"type": mark})
    assert not ANTHROPIC.has_shape({"type": f"{mark}s"})


@pytest.mark.parametrize("delta", FITTING)
@pytest.mark.parametrize("block", [*BLOCKS, "a_later_kind"])
def test_each_delta_fits_into_its_blocks_alone(delta: str, block: str) -> None:
    order = ANTHROPIC.order()
    start = {"type": "content_block_start", "index": 0, "content_block": {"type": block}}
    assert not list(order.feed(start))
    found = order.feed({"type": "content_block_delta", "index": 0, "delta": {"type": delta}})

    fits = block in FITTING[delta] or block not in BLOCKS
    assert [fact.where for fact in found] == ([] if fits else ["wrong-delta"])


@pytest.mark.parametrize("kind", ["server_x", "mcp_x", "web_x", "code_x", "bash_x", "text_editor_x", "tool_search_x"])
def test_each_tool_of_the_server_may_add_to_the_prompt(kind: str) -> None:
    for block, told in ((kind, []), (f"x{kind}", ["another-prompt"])):
        order = ANTHROPIC.order()
        list(order.feed({"type": "message_start", "message": {"usage": {"input_tokens": 5}}}))
        list(order.feed({"type": "content_block_start", "index": 0, "content_block": {"type": block}}))
        closing = {"type": "message_delta", "delta": {}, "usage": {"input_tokens": 6}}
        assert [fact.where for fact in order.feed(closing)] == told


@pytest.mark.parametrize(
    ("data", "holds"),
    [
        ({"content": [{"type": "text"}]}, True),
        ({"content": [], "stop_reason": "end_turn"}, True),
        ({"content": [], "stop_reason": "tool_use"}, False),
        ({"content": []}, False),
        ({"completion": "x"}, True),
        ({"completion": "", "stop_reason": "stop_sequence"}, True),
        ({"completion": ""}, False),
        ({}, False),
    ],
)
def test_an_answer_holds_content_or_ends_without_a_call(data: dict[str, Any], holds: bool) -> None:
    assert ANTHROPIC.holds_answer("/v1/messages", data) is holds


def test_usage_counts_the_prompt_with_its_cache() -> None:
    usage = {"input_tokens": 1, "cache_read_input_tokens": 20, "cache_creation_input_tokens": 300, "output_tokens": 4}
    found = ANTHROPIC.read("message", {"type": "message_delta", "usage": usage})

    assert list(found) == [Fact("usage", Usage(prompt=321, completion=4, cached=20, cache_write=300))]


@pytest.mark.parametrize(
    ("method", "path", "runs"),
    [
        ("POST", "/v1/messages/count_tokens", "model"),
        ("POST", "/v1/messages/batches", "batch"),
        ("POST", "/v1/messages/batches/b/cancel", "nothing"),
        ("GET", "/v1/messages/batches/b/results", "nothing"),
    ],
)
def test_a_resource_runs_what_its_path_says(method: str, path: str, runs: str) -> None:
    assert dialects.endpoint(method, path).model_source == runs
