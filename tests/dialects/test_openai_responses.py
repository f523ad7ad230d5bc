"""The Responses API's own: settings in a form to be compared, ends, headers for Codex."""

from __future__ import annotations

import json
from typing import Any

import pytest

from patchbay import dialects
from patchbay.body import Body
from patchbay.values.answer import Usage
from patchbay.values.decision import Refusal

from ..each_row import each_row

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
    assert settings({"metadata": {"\ud800\x1b[1m": "x"}}) == {"metadata.\\ud800\\x1b[1m": "x"}
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


def facts(data: dict[str, Any], name: str = "message") -> list[tuple[object, ...]]:
    return [(fact.kind, fact.value, fact.where) for fact in RESPONSES.read(name, data) if fact.kind != "settings"]


ITEM = {"id": "i", "call_id": "c", "name": "n", "encrypted_content": "e", "container_id": "t", "type": "function_call"}
ITEM_TOLD = [
    ("token", "i", "item"), ("token", "c", "tool"), ("token", "e", "signature"), ("token", "t", "container"),
    ("tool", "n", ""),
]  # fmt: skip
SAYS = {"type": "message", "content": [{"text": "x"}, {"text": ""}, {"text": 7}]}
TOLD = [("content", "text", ""), ("text", "x", "")]
TOOL = ("content", "tool", "")


@each_row(
    ("data", "told"),
    [
        ({"id": "r", "model": "m", "created_at": 1, "conversation": {"id": "v"}, "output": [],
          "usage": {"input_tokens": 1}},
         [("id", "r", "body id"), ("model", "m", "body model"), ("created", 1, "body created_at"),
          ("token", "v", "conversation"), ("usage", Usage(1), "")]),
        ({"output": [ITEM]}, [*ITEM_TOLD, TOOL]), ({"output": [SAYS]}, TOLD),
        ({"output": [{"content": [{"text": "x"}]}]}, TOLD), ({"output": [{"type": "reasoning"}]}, []),
        ({"output": [{"name": "n"}]}, [TOOL]), ({"type": "response.output_item.done", "item": {"type": "message"}}, []),
        ({"type": "response.output_item.added", "item": ITEM}, [*ITEM_TOLD, TOOL]),
        ({"type": "response.output_item.added", "item": {"type": "reasoning", "id": "i"}}, [("token", "i", "item")]),
        ({"type": "response.output_text.delta", "delta": "x"}, TOLD),
        ({"type": "response.output_text.delta", "delta": ""}, []),
        ({"type": "response.output_text.done", "delta": "x"}, []),
        ({"type": "response.output_text.delta", "delta": {"a": 1}}, TOLD[:1]),
        ({"type": "response.refusal.delta", "delta": "x"}, TOLD[:1]),
        ({"type": "response.reasoning_text.delta", "delta": "x"}, [("content", "reasoning", "")]),
        ({"type": "response.function_call_arguments.delta", "delta": "x"}, [TOOL]),
        ({"type": "response.completed", "response": {"output": [SAYS], "status": "s"}},
         [TOLD[0], ("text", "x", "whole"), ("finish", "s", "0"), ("end", "response.completed", "")]),
        *(({"type": f"response.{end}", "response": {}}, [("finish", end, "0"), ("end", f"response.{end}", "")])
          for end in ("completed", "failed", "incomplete", "cancelled")),
        ({"type": "response.created", "response": {"id": "r", "output": [SAYS]}}, [("id", "r", "body id")]),
        ({"object": "list", "data": [{"id": "i", "type": "message"}]},
         [("token", "i", "item")]),
        ({"object": "lost", "data": [{"id": "i", "type": "message"}]}, []),
        ({"id": "conv_1", "object": "conversation"},
         [("id", "conv_1", "body id"), ("token", "conv_1", "conversation")]),
    ],
)  # fmt: skip
def test_each_member_of_an_answer_tells_its_facts(data: dict[str, Any], told: list[tuple[object, ...]]) -> None:
    assert facts(data) == told


@pytest.mark.parametrize(
    ("data", "more"),
    [
        ({}, {}), ({"status": True}, {}), ({"status": "429"}, {}),
        ({"status": 429, "headers": {"a": "b"}}, {"status": 429, "headers": {"a": "b"}}),
        ({"status_code": 500}, {"status": 500, "headers": None}),
    ],
)  # fmt: skip
def test_an_error_event_has_the_status_that_it_stands_for(data: dict[str, Any], more: dict[str, object]) -> None:
    (fact,) = RESPONSES.read("message", {"type": "error", "error": {"code": "c", "message": "m"}, **data})

    assert isinstance(fact.value, dict)
    assert (fact.kind, fact.where, fact.value["code"]) == ("error", "event", "c")
    assert {name: value for name, value in fact.value.items() if name in ("status", "headers")} == more
    (unshaped,) = RESPONSES.read("error", {"message": "m"})
    assert (unshaped.kind, unshaped.where) == ("error", "body")


def test_an_error_in_a_response_is_told_beside_its_members() -> None:
    found = facts({"type": "response.failed", "response": {"id": "r", "error": {"message": "m"}}})

    assert [kind for kind, _, _ in found] == ["error", "id", "finish", "end"]


@pytest.mark.parametrize(("number", "said"), [(999_999_999_999_999.5, "1e+15"), (1e15, None), (-1e15, None)])
def test_a_number_of_fifteen_digits_is_a_setting(number: float, said: str | None) -> None:
    assert settings({"top_p": number}).get("top_p") == said


@pytest.mark.parametrize(
    ("item", "stays"),
    [
        (b'{"type": "reasoning", "encrypted_content": "kept"}', True),
        (b'{"type": "reasoning", "encrypted_content": "lost"}', False),
        (b'{"type": "reasoning", "encrypted_content": ""}', True),
        (b'{"type": "reasoning", "encrypted_content": null}', True),
        (b'{"type": "compaction", "encrypted_content": "lost"}', True),
    ],
)
def test_reasoning_of_another_account_is_taken_out(item: bytes, stays: bool) -> None:
    raw = b'{"input": [{"role": "user"}, %s, "encrypted_content"], "model": "m"}' % item
    found = RESPONSES.without_sealed(Body(raw), lambda sealed: sealed == "kept")

    assert found == (raw if stays else raw.replace(item + b", ", b""))
    assert RESPONSES.without_sealed(Body(b'{"input": "encrypted_content"}'), lambda sealed: False) == (
        b'{"input": "encrypted_content"}'
    )


def test_a_stream_that_fails_ends_with_an_error_and_a_failed_response() -> None:
    first, last = RESPONSES.error_event(Refusal(502, "c", "m", fields={"param": "p"}), "id").split(b"\n\n")[:2]
    inner = {"message": "m", "type": "api_error", "param": "p", "code": "c"}

    assert first.startswith(b"event: error\ndata: ") and last.startswith(b"event: response.failed\ndata: ")
    assert json.loads(first.partition(b"data: ")[2]) == {
        "type": "error", "code": "c", "message": "m", "param": None, "sequence_number": 0, "error": inner,
    }  # fmt: skip
    assert json.loads(last.partition(b"data: ")[2]) == {
        "type": "response.failed", "sequence_number": 1,
        "response": {"id": "id", "object": "response", "status": "failed", "error": inner, "output": []},
    }  # fmt: skip


@pytest.mark.parametrize("said", [["Be kind"], 7, "", None])
def test_instructions_that_are_no_text_are_not_compared(said: object) -> None:
    assert settings({"instructions": said}) == {}


def test_digests_have_32_digits_and_metadata_is_compared_as_text() -> None:
    tools = [{"type": "function", "name": "b"}, {"type": "function"}]
    found = settings({"instructions": "x", "tools": tools, "metadata": {"k": 1, "l": None}})

    assert (len(found["instructions"]), len(found["tools"]), found["metadata.k"]) == (32, 32, "1")
    assert settings({"tools": [{"type": "function"}, {"type": "web_search", "name": "b"}]}) == {}
    assert settings({"tools": tools[:1]}) != settings({"tools": tools})
    assert settings({"metadata": ["k"]}) == {}


@pytest.mark.parametrize(("length", "kept"), [(256, 256), (257, 256)])
def test_a_setting_is_compared_by_its_first_256_characters(length: int, kept: int) -> None:
    assert len(settings({"user": "x" * length})["user"]) == kept


CALL: dict[str, object] = {"type": "function_call", "name": "n", "arguments": "{}"}


@pytest.mark.parametrize(
    ("data", "told"),
    [
        ({"type": "response.output_item.done", "output_index": 3, "item": CALL}, [("called", "n", "3")]),
        ({"type": "response.output_item.added", "output_index": 3, "item": CALL}, []),
        ({"object": "response", "output": [{"type": "message"}, CALL, CALL]},
         [("called", "n", "1"), ("called", "n", "2")]),
        ({"object": "list", "output": [CALL]}, []),
        ({"type": "response.output_item.done", "item": {"type": "message", "name": "n"}}, []),
    ],
)  # fmt: skip
def test_calls_are_read_with_their_place(data: dict[str, Any], told: list[tuple[str, object, str]]) -> None:
    found = [(fact.kind, fact.value, fact.where) for fact in RESPONSES.read_calls(data)]

    assert found == [each for call in told for each in (call, ("arguments", "{}", call[2]))]


@pytest.mark.parametrize(
    ("events", "told"),
    [
        ([{"type": 7, "sequence_number": 3}, {"type": "x", "sequence_number": 5}], []),  # without a type: no event
        ([{"type": "x", "sequence_number": 3}, {"type": "x", "sequence_number": 5}], [("sequence-gap", "3 → 5")]),
        ([{"type": "response.created", "response": {"id": "a"}}, {"type": "response.created", "response": {"id": "b"}}],
         [("two-starts", "a → b")]),
        ([{"type": "response.created", "response": {"id": "a"}}, {"type": "response.done", "response": {"id": "b"}}],
         [("another-end", "a → b")]),
        ([{"type": "response.created", "response": {"id": "a"}}, {"type": "x", "response": {"id": ""}},
          {"type": "x", "response": {"id": "a"}}, {"type": "x", "response": {}}], []),
        ([{"type": "x", "response": {"id": "b"}}], []),  # no start was seen
        ([{"type": "response.output_item.added", "item": {"id": "a"}}, {"type": "x", "item_id": "a"},
          {"type": "x", "item_id": 7}, {"type": "x", "item_id": "b"}], [("unopened", "b")]),
        ([{"type": "x", "item_id": "b"}], []),
        ([{"type": "response.completed"}, {"type": "ping"}, {"type": "response." + "x" * 99}],
         [("after-end", ("response." + "x" * 99)[:80])]),
    ],
)  # fmt: skip
def test_each_rule_of_the_order_says_what_it_saw(events: list[dict[str, Any]], told: list[tuple[str, object]]) -> None:
    order = RESPONSES.order()

    assert [(fact.where, fact.value) for event in events for fact in order.feed(event)] == told


@pytest.mark.parametrize(
    ("data", "has"),
    [({"type": "response.x"}, True), ({"type": "responses"}, False), ({"type": 7}, False),
     ({"object": "response"}, True), ({"object": "list"}, False)],
)  # fmt: skip
def test_a_response_and_its_events_have_its_shape(data: dict[str, Any], has: bool) -> None:
    assert RESPONSES.has_shape(data) is has


@pytest.mark.parametrize("raw", [None, b"", b"[]", b'{"model": "m"}', b'{"input": "text"}'])
def test_a_body_without_items_stays_as_it_is(raw: bytes | None) -> None:
    assert RESPONSES.without_sealed(Body(raw), lambda sealed: False) == (raw or b"")


@pytest.mark.parametrize(
    ("data", "holds"),
    [
        ({"status": "queued"}, True),
        ({"status": "completed", "output": []}, True),
        ({"status": "completed"}, False),
        ({"status": {}, "output": []}, False),
        ({"status": ["queued"]}, False),
        ({"status": None, "output": [{}]}, True),
    ],
)
def test_an_answer_has_output_or_a_status_that_says_why_not(data: dict[str, Any], holds: bool) -> None:
    assert RESPONSES.holds_answer("/responses", data) is holds
