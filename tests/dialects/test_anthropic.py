"""Anthropic's own: types of errors, marks of its events, blocks and their deltas, empty answers."""

from __future__ import annotations

import json
from typing import Any

import pytest

from patchbay import dialects
from patchbay.body import Body
from patchbay.dialects.outcome_rules import LAST_RULES, OutcomeRule
from patchbay.values.answer import Fact, Usage
from patchbay.values.decision import Refusal

from ..each_row import each_row

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


@each_row("status", range(399, 600))
def test_each_status_has_its_type(status: int) -> None:
    other = "invalid_request_error" if 400 <= status < 500 else "api_error"

    assert kind_of(Refusal(status, "x", "y")) == TYPES.get(status, other)


@pytest.mark.parametrize(
    "code",
    [
        "upstream_credentials_exhausted",
        "upstream_unreachable",
        "upstream_unreadable",
        "upstream_failing",
        "owner_unavailable",
    ],
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


@each_row("delta", FITTING)
@each_row("block", [*BLOCKS, "a_later_kind"])
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


def told_of(data: dict[str, Any], name: str = "message") -> list[tuple[object, ...]]:
    return [(fact.kind, fact.value, fact.where) for fact in ANTHROPIC.read(name, data)]


SAID = [("content", "text", ""), ("text", "x", "")]
CALLED = ("content", "tool", "")


def block_of(**block: object) -> dict[str, Any]:
    return {"type": "content_block_start", "content_block": block}


@each_row(
    ("data", "told"),
    [
        ({"type": "message", "id": "i", "model": "m", "created_at": 1, "container": {"id": "c"}, "content": [
            {"type": "text", "text": "x"}], "stop_reason": "end_turn", "stop_details": {"a_token": "t", "other": "u"}},
         [("id", "i", "body id"), ("model", "m", "body model"), ("created", 1, "body created_at"),
          ("token", "c", "container"), *SAID, ("finish", "end_turn", "0"),
          ("token", "t", "credit")]),
        ({"type": "message_start", "message": {"id": "i"}}, [("id", "i", "body id")]),
        ({"type": "message_delta", "delta": {"container": {"id": "c"}, "stop_reason": "s"}, "usage": {"input_tokens": 1,
          "cache_read_input_tokens": 2, "cache_creation_input_tokens": 4, "output_tokens": 8}},
         [("token", "c", "container"), ("usage", Usage(7, 8, 2, 4), ""), ("finish", "s", "0")]),
        ({"type": "message_stop", "id": "i"}, [("end", "message_stop", "")]), ({"type": "ping", "id": "i"}, []),
        ({"type": "content_block_stop", "id": "i"}, []),
        ({"type": "completion", "completion": "x", "stop_reason": "s"},
         [*SAID, ("finish", "s", "0"), ("end", "completion", "")]),
        ({"type": "completion", "completion": "", "stop_reason": None}, []),
        ({"id": "file_1", "type": "file"},
         [("id", "file_1", "body id"), ("token", "file_1", "file")]),
        ({"id": "file_1", "content": []}, [("id", "file_1", "body id")]),
        (block_of(type="text", text="x"), SAID), (block_of(type="text", text=""), []),
        *((block_of(type=kind, id="t", name="n"), [CALLED, ("token", "t", "tool"), ("tool", "n", "")])
          for kind in ("tool_use", "server_tool_use", "mcp_tool_use")),
        (block_of(type="thinking", thinking="x", signature="s"),
         [("content", "reasoning", ""), ("token", "s", "signature")]),
        (block_of(type="redacted_thinking", data="d"), [("content", "reasoning", ""), ("token", "d", "signature")]),
        (block_of(type="thinking", thinking="", data="d"), []),
        (block_of(type="x_tool_result", content=[{"file_id": "f"}]), [CALLED, ("token", "f", "file")]),
        (block_of(type="x_tool_result", content={"content": [{"file_id": "f"}]}), [CALLED, ("token", "f", "file")]),
        *(({"type": "content_block_delta", "delta": delta}, told) for delta, told in (
            ({"text": "x"}, SAID), ({"text": ""}, []), ({"thinking": "x"}, [("content", "reasoning", "")]),
            ({"partial_json": "{"}, [CALLED]), ({"partial_json": ""}, []),
            ({"signature": "s"}, [("token", "s", "signature")]))),
    ],
)  # fmt: skip
def test_each_member_of_an_answer_tells_its_facts(data: dict[str, Any], told: list[tuple[object, ...]]) -> None:
    assert told_of(data) == told


def test_a_whole_completion_has_no_event_that_ends_it() -> None:
    assert told_of({"type": "completion", "stop_reason": "s"}, "")[-1] == ("finish", "s", "0")


@pytest.mark.parametrize(
    ("data", "told"),
    [
        ({"type": "content_block_delta", "index": 2, "delta": {"partial_json": "{"}}, [("arguments", "{", "2")]),
        ({"type": "content_block_start", "index": 2, "content_block": {"type": "tool_use", "name": "n", "input": {}}},
         [("called", "n", "2")]),
        ({"type": "content_block_start", "index": 2, "content_block": {"type": "server_tool_use", "name": "n"}}, []),
        ({"type": "message", "content": [{"type": "text"}, {"type": "tool_use", "name": "n", "input": {"a": 1}}]},
         [("called", "n", "1"), ("arguments", '{"a":1}', "1")]),
        ({"type": "ping", "content": [{"type": "tool_use", "name": "n"}]}, []),
    ],
)  # fmt: skip
def test_calls_are_read_with_their_place(data: dict[str, Any], told: list[tuple[object, ...]]) -> None:
    assert [(fact.kind, fact.value, fact.where) for fact in ANTHROPIC.read_calls(data)] == told


@pytest.mark.parametrize(
    ("path", "shape"),
    [("/messages", "anthropic"), ("/models/claude:rawPredict", "anthropic"), ("/complete", ""), ("/messages/x", "")],
)
def test_answers_to_messages_have_the_dialect_s_shape(path: str, shape: str) -> None:
    assert ANTHROPIC.answer_shape(path) == shape


@pytest.mark.parametrize(
    ("verb", "dialect", "stream"),
    [
        ("rawPredict", "anthropic", False),
        ("streamRawPredict", "anthropic", True),
        ("predict", "gemini", False),
        ("explain", "gemini", False),
    ],
)
def test_each_verb_of_vertex(verb: str, dialect: str, stream: bool) -> None:
    found = dialects.endpoint("POST", f"/v1/projects/p/locations/l/publishers/anthropic/models/claude-4:{verb}")

    assert (found.dialect, found.stream, found.model) == (dialect, stream, "claude-4")


def test_vertex_counts_tokens_under_a_model_of_that_name() -> None:
    found = dialects.endpoint("POST", "/v1/projects/p/locations/l/publishers/anthropic/models/count-tokens:rawPredict")

    assert (found.kind, found.model_source, found.model) == ("resource", "model", "")


def test_an_error_names_its_request_and_each_field_once() -> None:
    refusal = Refusal(503, "code", "message", fields={"accounts": 2, "type": "x", "message": "y"})
    inner = {"type": "overloaded_error", "message": "message", "code": "code", "accounts": 2}

    assert json.loads(ANTHROPIC.error(refusal, "r")) == {"type": "error", "error": inner, "request_id": "r"}
    assert ANTHROPIC.error_event(refusal, "r") == b"event: error\ndata: " + ANTHROPIC.error(refusal, "r") + b"\n\n"


@pytest.mark.parametrize(("name", "where"), [("error", "event"), ("", "body")])
def test_an_error_says_whether_an_event_told_it(name: str, where: str) -> None:
    data = {"type": "error", "error": {"type": "overloaded_error", "message": "m"}}

    assert [(fact.kind, fact.where) for fact in ANTHROPIC.read(name, data)] == [("error", where)]


def disorders(*events: dict[str, Any]) -> list[tuple[str, object]]:
    order = ANTHROPIC.order()
    return [(fact.where, fact.value) for event in events for fact in order.feed(event)]


def started(name: str = "a", tokens: int = 0) -> dict[str, Any]:
    return {"type": "message_start", "message": {"id": name, "usage": {"input_tokens": tokens}}}


def ended(tokens: int, **more: Any) -> dict[str, Any]:
    return {"type": "message_delta", "delta": {}, "usage": {"input_tokens": tokens}, **more}


OPENED = {"type": "content_block_start", "index": 0, "content_block": {"type": "text"}}
CLOSED = {"type": "content_block_stop", "index": 0}


@pytest.mark.parametrize(
    ("events", "told"),
    [
        ([started("a"), started("a")], []),
        ([started("a"), started("b")], [("two-starts", "a → b")]),
        ([CLOSED], [("unopened", "block 0")]),
        ([OPENED, CLOSED, CLOSED], [("unopened", "block 0")]),
        ([OPENED, CLOSED, OPENED], [("opened-twice", "block 0")]),
        ([OPENED, OPENED], [("opened-twice", "block 0")]),
        ([OPENED, CLOSED, {**OPENED, "index": 1}], []),
        ([OPENED, CLOSED, {"type": "content_block_delta", "index": 0, "delta": {}}], [("unopened", "block 0")]),
        ([{"type": "content_block_stop", "index": "0"}], []),
        ([ended(7)], []),
        ([started(tokens=5), ended(6)], [("another-prompt", "5 → 6 tokens")]),
        ([started(tokens=5), ended(0)], []),
        ([started(tokens=5), ended(6, context_management={})], []),
        ([started(tokens=5), {**ended(6), "usage": {"input_tokens": 6, "iterations": []}}], []),
        ([{"type": "message_stop"}, {"type": "error"}, {"type": "x" * 99}], [("after-end", "x" * 80)]),
    ],
)
def test_each_rule_of_the_order_says_what_it_saw(events: list[dict[str, Any]], told: list[tuple[str, object]]) -> None:
    assert disorders(*events) == told


@pytest.mark.parametrize(
    ("status", "kind", "message", "outcome"),
    [
        (404, "x", "model: claude-9", "model"), (404, "x", "no model: claude-9", "model"), (404, "x", "model:", ""),
        (404, "x", "supermodel: claude-9", ""), (400, "x", "model: claude-9", ""),
        (403, "permission_error", "m", "permission"),
        (404, "not_found_error", "m", "request"), (500, "api_error", "m", "server"),
        (504, "timeout_error", "m", "server"),
    ],
)  # fmt: skip
def test_each_row_of_errors(status: int, kind: str, message: str, outcome: str) -> None:
    def fits(rule: OutcomeRule) -> bool:
        named = kind in rule.codes or (rule.phrase is not None and rule.phrase.search(message) is not None)
        return named and (not rule.statuses or status in rule.statuses)

    assert next((rule.kind for rule in (*ANTHROPIC.outcome_rules, *LAST_RULES) if fits(rule)), "") == outcome


def unsealed(body: object, keeps: tuple[str, ...] = ()) -> Any:
    return json.loads(ANTHROPIC.without_sealed(Body(json.dumps(body).encode()), lambda mark: mark in keeps))


SIGNED = {"type": "thinking", "thinking": "x", "signature": "s"}
SAYS = {"type": "text", "text": "a"}
USES = {"type": "tool_use", "id": "t", "name": "n", "input": {}}
RESULT = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": "thinking"}]}


def said(*blocks: object) -> dict[str, object]:
    return {"role": "assistant", "content": list(blocks)}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ([said(SIGNED, SAYS)], [said(SAYS)]),
        ([said(SAYS, {"type": "redacted_thinking", "data": "s"})], [said(SAYS)]),
        ([said(SIGNED), said(SAYS)], [said(SAYS)]),
        ([said(SAYS), said(SIGNED)], [said(SAYS)]),
        ([said({**SIGNED, "signature": "kept"}, SIGNED)], [said({**SIGNED, "signature": "kept"})]),
        ([said({**SIGNED, "signature": ""}, SAYS)], [said(SAYS)]),
        ([said({"type": "text", "text": "thinking"})], [said({"type": "text", "text": "thinking"})]),
        ([{"role": "user", "content": "thinking"}], [{"role": "user", "content": "thinking"}]),
        ([said(), {"role": "thinking"}], [said(), {"role": "thinking"}]),
        ([RESULT], [RESULT]),
    ],
)
def test_thinking_that_an_account_cannot_verify_is_taken_out(before: object, after: object) -> None:
    assert unsealed({"messages": before}, keeps=("kept",)) == {"messages": after}


ON = {"type": "enabled", "budget_tokens": 9}
CLEARING = {"edits": [{"type": "clear_thinking_20251015"}, {"type": "clear_tool_uses_20250919"}], "other": 1}
CLEARED = {**CLEARING, "edits": [{"type": "clear_tool_uses_20250919"}]}


@pytest.mark.parametrize(
    ("thinking", "messages", "off"),
    [
        (ON, [said(USES), RESULT], True),
        (ON, [said(SIGNED, USES), RESULT], True),
        (ON, [said({**SIGNED, "signature": "kept"}, USES), RESULT], False),
        (ON, [said(USES), RESULT, {"role": "user", "content": "so"}], True),
        (ON, [said(USES), {"role": "user", "content": "so"}], False),
        (ON, [said(USES), RESULT, said(SAYS), {"role": "user", "content": "so"}], False),
        (ON, [RESULT], True),
        ({"type": "adaptive"}, [said(USES), RESULT], False),
        ("enabled", [said(USES), RESULT], False),
        (ON, "messages", False),
    ],
)
def test_thinking_is_off_in_a_tool_loop_that_no_longer_begins_with_it(
    thinking: object, messages: object, off: bool
) -> None:
    found = unsealed({"thinking": thinking, "messages": messages, "context_management": CLEARING}, keeps=("kept",))

    assert found["thinking"] == ({"type": "disabled"} if off else thinking)
    assert found["context_management"] == (CLEARED if off else CLEARING)


def test_a_request_without_a_body_or_without_messages_has_nothing_to_take_out() -> None:
    assert ANTHROPIC.without_sealed(Body(None), lambda mark: False) == b""
    assert ANTHROPIC.without_sealed(Body(b'{"thinking": {}}'), lambda mark: False) == b'{"thinking": {}}'
