"""Answers of every dialect, as a stream and as one text, cut anywhere, compressed, broken."""

from __future__ import annotations

import gzip
import json
import time
import zlib
from dataclasses import fields
from typing import Any

import brotli
import pytest
from backports import zstd
from hypothesis import given, strategies as st

from patchbay import dialects
from patchbay.answer import reader
from patchbay.answer.reader import AnswerReader
from patchbay.values.account import Echo
from patchbay.values.answer import Fact, Head, Usage
from patchbay.values.http import Headers

from ..each_row import each_row
from .whole import facts_of_json

ECHO = Echo(headers={"X-Request-ID": "handler"}, body={"request_id": "body"}, promised=True)


def sse(*events: Any, names: bool = False) -> bytes:
    out = b""
    for event in events:
        out += b"event: " + event["type"].encode() + b"\n" if names else b""
        out += b"data: " + (event if isinstance(event, bytes) else json.dumps(event).encode()) + b"\n\n"
    return out


def chunk(delta: dict[str, Any] | None = None, finish: str | None = None, **more: Any) -> dict[str, Any]:
    choices = [] if delta is None else [{"index": 0, "delta": delta, "finish_reason": finish}]
    return {
        "id": "chatcmpl-q8Zr1Vd0mXy7", "object": "chat.completion.chunk", "created": 1, "model": "m-1",
        "choices": choices, **more,
    }  # fmt: skip


CHAT = sse(
    {"id": "", "object": "", "created": 0, "model": "", "choices": [], "prompt_filter_results": []},  # Azure
    chunk({"role": "assistant", "content": ""}),
    chunk({"content": "Hello"}, request_id="pb1-a"),
    chunk({"content": " there"}),
    chunk({"tool_calls": [{"index": 0, "id": "call_abc", "function": {"name": "read", "arguments": ""}}]}),
    chunk({"tool_calls": [{"index": 0, "function": {"arguments": "{}"}}]}),
    chunk({}, "tool_calls"),
    chunk(usage={"prompt_tokens": 9, "completion_tokens": 4, "prompt_tokens_details": {"cached_tokens": 5}}),
    b"[DONE]",
)
RESPONSE = {
    "id": "resp_1", "object": "response", "created_at": 5, "model": "m-1", "status": "in_progress",
    "conversation": {"id": "conv_1"}, "output": [], "request_id": "pb1-a", "error": None,
}  # fmt: skip
ITEMS = [
    {"type": "reasoning", "id": "rs_1", "encrypted_content": "gAAA", "summary": []},
    {
        "type": "message",
        "id": "msg_1",
        "role": "assistant",
        "content": [{"type": "output_text", "text": "Hello there"}],
    },
    {"type": "function_call", "id": "fc_1", "call_id": "call_abc", "name": "read", "arguments": "{}"},
]
DONE = {
    **RESPONSE, "status": "completed", "output": ITEMS,
    "usage": {"input_tokens": 9, "output_tokens": 4, "input_tokens_details": {"cached_tokens": 5}},
}  # fmt: skip
RESPONSES = sse(
    {"type": "response.created", "sequence_number": 0, "response": RESPONSE},
    {
        "type": "response.output_item.added",
        "output_index": 0,
        "item": {"type": "reasoning", "id": "rs_1", "summary": []},
    },
    {"type": "response.output_item.done", "output_index": 0, "item": ITEMS[0]},
    {
        "type": "response.output_item.added",
        "output_index": 1,
        "item": {"type": "message", "id": "msg_1", "content": []},
    },
    {"type": "response.output_text.delta", "item_id": "msg_1", "delta": "Hello"},
    {"type": "response.output_text.delta", "item_id": "msg_1", "delta": " there"},
    {"type": "response.output_text.done", "item_id": "msg_1", "text": "Hello there"},
    {"type": "response.output_item.added", "output_index": 2, "item": {**ITEMS[2], "arguments": ""}},
    {"type": "response.function_call_arguments.delta", "item_id": "fc_1", "delta": "{}"},
    {"type": "response.completed", "response": DONE},
    names=True,
)
CLAUDE = sse(
    {"type": "message_start", "message": {
        "id": "msg_1", "type": "message", "role": "assistant", "content": [], "model": "m-1", "request_id": "pb1-a",
        "usage": {"input_tokens": 4, "cache_read_input_tokens": 3, "cache_creation_input_tokens": 2,
                  "output_tokens": 1}}},
    {"type": "content_block_start", "index": 0, "content_block": {"type": "thinking", "thinking": "", "signature": ""}},
    {"type": "ping"},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "signature_delta", "signature": "EqQB"}},
    {"type": "content_block_stop", "index": 0},
    {"type": "content_block_start", "index": 1, "content_block": {"type": "text", "text": ""}},
    {"type": "content_block_delta", "index": 1, "delta": {"type": "text_delta", "text": "Hello"}},
    {"type": "content_block_delta", "index": 1, "delta": {"type": "text_delta", "text": " there"}},
    {"type": "content_block_start", "index": 2, "content_block": {"type": "tool_use", "id": "toolu_1", "name": "read"}},
    {"type": "content_block_delta", "index": 2, "delta": {"type": "input_json_delta", "partial_json": "{}"}},
    {"type": "message_delta", "delta": {"stop_reason": "tool_use", "container": {"id": "container_1"}},
     "usage": {"output_tokens": 4}},
    {"type": "message_stop"},
    names=True,
)  # fmt: skip
META = {"responseId": "r-1", "modelVersion": "m-1"}
GEMINI_CHUNKS = [
    {"candidates": [{"content": {"parts": [{"text": "hm", "thought": True}]}}], "request_id": "pb1-a", **META},
    {"candidates": [{"content": {"parts": [{"text": "Hello"}]}}], "usageMetadata": {"promptTokenCount": 9}, **META},
    {"candidates": [{"content": {"parts": [{"text": " there"}]}}], **META},
    {
        "candidates": [{
            "content": {"parts": [{"functionCall": {"id": "f1", "name": "read"}, "thoughtSignature": "Cg"}]},
            "finishReason": "STOP",
        }],
        "usageMetadata": {"promptTokenCount": 9, "candidatesTokenCount": 3, "thoughtsTokenCount": 1,
                          "cachedContentTokenCount": 5},
        **META,
    },
]  # fmt: skip
GEMINI = sse(*GEMINI_CHUNKS)
GEMINI_ARRAY = b"[" + b",\r\n".join(json.dumps(each, indent=1).encode() for each in GEMINI_CHUNKS) + b"\n]\n"

STREAMS = [
    ("openai_chat", "text/event-stream", CHAT),
    ("openai_responses", "text/event-stream; charset=utf-8", RESPONSES),
    ("anthropic", "text/event-stream", CLAUDE),
    ("gemini", "text/event-stream", GEMINI),
    ("gemini", "application/json; charset=UTF-8", GEMINI_ARRAY),
]
BODIES = [
    ("openai_chat", {
        "id": "chatcmpl-q8Zr1Vd0mXy7", "object": "chat.completion", "created": 1, "model": "m-1", "request_id": "pb1-a",
        "choices": [{"index": 0, "finish_reason": "tool_calls", "message": {"content": "Hello there", "tool_calls": [
            {"id": "call_abc", "type": "function", "function": {"name": "read", "arguments": "{}"}}]}}],
        "usage": {"prompt_tokens": 9, "completion_tokens": 4, "prompt_tokens_details": {"cached_tokens": 5}}}),
    ("openai_responses", DONE),
    ("anthropic", {
        "id": "msg_1", "type": "message", "model": "m-1", "stop_reason": "tool_use", "request_id": "pb1-a", "content": [
            {"type": "thinking", "thinking": "hm", "signature": "EqQB"}, {"type": "text", "text": "Hello there"},
            {"type": "tool_use", "id": "toolu_1", "name": "read", "input": {}}], "container": {"id": "container_1"},
        "usage": {"input_tokens": 4, "cache_read_input_tokens": 3, "cache_creation_input_tokens": 2,
                  "output_tokens": 4}}),
    ("gemini", {
        "candidates": [{"content": {"parts": [{"text": "hm", "thought": True}, {"text": "Hello there"}, {
            "functionCall": {"id": "f1", "name": "read"}, "thoughtSignature": "Cg"}]}, "finishReason": "STOP"}],
        "usageMetadata": GEMINI_CHUNKS[-1]["usageMetadata"], "request_id": "pb1-a", **META}),
]  # fmt: skip
IDS = {"openai_chat": "chatcmpl-q8Zr1Vd0mXy7", "openai_responses": "resp_1", "anthropic": "msg_1", "gemini": "r-1"}
TOKENS = {
    "openai_chat": {("tool", "call_abc")},
    "openai_responses": {
        ("conversation", "conv_1"), ("item", "rs_1"), ("signature", "gAAA"), ("item", "msg_1"),
        ("item", "fc_1"), ("tool", "call_abc"),
    },
    "anthropic": {("signature", "EqQB"), ("tool", "toolu_1"), ("container", "container_1")},
    "gemini": {("tool", "f1"), ("signature", "Cg")},
}  # fmt: skip
USAGES = {
    "openai_chat": Usage(9, 4, 5),
    "openai_responses": Usage(9, 4, 5),
    "anthropic": Usage(9, 4, 3, 2),
    "gemini": Usage(9, 4, 5),
}


def read(
    dialect: str, content_type: str, *pieces: bytes, status: int = 200, echo: Echo = ECHO, keep: int = 9999, **more: str
) -> list[Fact]:
    answer = AnswerReader(dialect, echo, keep)
    fields = [("Content-Type", content_type)] if content_type else []
    fields += [(name.replace("_", "-"), value) for name, value in more.items()]
    facts = answer.head(Head(status, Headers(fields)))
    for piece in pieces:
        facts += answer.feed(piece)
    return facts + answer.end()


def values(facts: list[Fact], kind: str) -> list[Any]:
    return [fact.value for fact in facts if fact.kind == kind]


def check_all(dialect: str, facts: list[Fact]) -> None:
    assert values(facts, "id") == [IDS[dialect]]
    assert values(facts, "model") == ["m-1"]
    assert {(fact.where, fact.value) for fact in facts if fact.kind == "token"} == TOKENS[dialect]
    assert values(facts, "usage")[-1] == USAGES[dialect]
    assert values(facts, "text") == ["Hello there"]
    assert len(values(facts, "content")) == 1
    assert len(values(facts, "end")) == 1
    assert values(facts, "tool") == ["read"]
    assert [(fact.value, fact.where, fact.depth) for fact in facts if fact.kind == "echo"] == [
        ("pb1-a", "body request_id", "body")
    ]
    assert not {"error", "malformed", "unread"} & {fact.kind for fact in facts}


@pytest.mark.parametrize(("dialect", "content_type", "stream"), STREAMS)
def test_a_stream_tells_everything_about_itself(dialect: str, content_type: str, stream: bytes) -> None:
    check_all(dialect, read(dialect, content_type, stream))


@pytest.mark.parametrize(("dialect", "body"), BODIES)
def test_a_whole_body_tells_the_same(dialect: str, body: dict[str, Any]) -> None:
    check_all(dialect, read(dialect, "application/json", json.dumps(body).encode()))
    check_all(dialect, facts_of_json(dialect, json.dumps(body, indent=2).encode(), ECHO))


@pytest.mark.parametrize(("dialect", "content_type", "stream"), STREAMS)
def test_every_cut_of_a_stream_gives_the_same_facts(dialect: str, content_type: str, stream: bytes) -> None:
    whole = read(dialect, content_type, stream)

    for at in range(1, len(stream), 3):
        assert read(dialect, content_type, stream[:at], stream[at:]) == whole, at


@pytest.mark.parametrize(("dialect", "content_type", "stream"), STREAMS)
def test_single_bytes_give_the_same_facts(dialect: str, content_type: str, stream: bytes) -> None:
    pieces = (stream[i : i + 1] for i in range(len(stream)))

    assert read(dialect, content_type, *pieces) == read(dialect, content_type, stream)


@each_row(("dialect", "content_type", "stream"), STREAMS)
@each_row("coding", ["gzip", "deflate", "raw deflate", "br", "zstd"])
def test_a_compressed_stream_gives_the_same_facts(dialect: str, content_type: str, stream: bytes, coding: str) -> None:
    packed = {
        "gzip": gzip.compress,
        "deflate": zlib.compress,
        "raw deflate": lambda data: zlib.compress(data)[2:-4],
        "br": brotli.compress,
        "zstd": zstd.compress,
    }[coding](stream)
    pieces = [packed[i : i + 7] for i in range(0, len(packed), 7)]

    check_all(dialect, read(dialect, content_type, *pieces, content_encoding=coding.removeprefix("raw ")))


def test_content_is_told_with_the_first_delta_that_holds_something() -> None:
    answer = AnswerReader("openai_chat")
    answer.head(Head(200, Headers([("content-type", "text/event-stream")])))

    assert values(answer.feed(sse(chunk({"role": "assistant", "content": ""}))), "content") == []
    assert values(answer.feed(sse(chunk({"content": "H"}))), "content") == ["text"]
    assert answer.streamed


def test_a_whole_text_is_no_stream() -> None:
    answer = AnswerReader("openai_chat")
    answer.head(Head(200, Headers([("content-type", "application/json")])))
    answer.feed(b"{}")

    assert not answer.streamed


def test_ids_of_the_provider_in_the_head_are_told_and_echoes_are_kept_apart() -> None:
    facts = read("openai_chat", "", x_request_id="pb1-a", request_id="req_1", cf_ray="8a-FRA")

    assert [(fact.kind, fact.where, fact.value) for fact in facts] == [
        ("echo", "header x-request-id", "pb1-a"),
        ("provider_id", "header request-id", "req_1"),
    ]
    without = read("openai_chat", "", echo=Echo(), x_request_id="req_2")
    assert [(fact.kind, fact.where) for fact in without] == [("provider_id", "header x-request-id")]


def test_an_id_that_changes_in_mid_stream_is_told_again() -> None:
    facts = read("openai_chat", "text/event-stream", sse(chunk({"content": "a"}), chunk({}, id="other"), b"[DONE]"))

    assert values(facts, "id") == ["chatcmpl-q8Zr1Vd0mXy7", "other"]


def test_an_echo_that_changes_in_mid_stream_is_told_again() -> None:
    stream = sse(*(chunk({"content": "a"}, request_id=each) for each in ("pb1-a", "pb1-a", "pb1-b")))

    assert values(read("openai_chat", "text/event-stream", stream), "echo") == ["pb1-a", "pb1-b"]


def test_an_echo_may_stand_deeper() -> None:
    echo = Echo(body={"metadata.trace": "body", "id": "engine"})
    facts = facts_of_json("openai_responses", b'{"id":"resp_pb1-a","metadata":{"trace":"pb1-b"},"output":[]}', echo)

    assert [(fact.where, fact.value, fact.depth) for fact in facts if fact.kind == "echo"] == [
        ("body metadata.trace", "pb1-b", "body"),
        ("body id", "resp_pb1-a", "engine"),
    ]


def test_text_that_is_too_long_is_not_told() -> None:
    assert values(read("openai_chat", "text/event-stream", CHAT, keep=10), "text") == []
    assert values(read("openai_chat", "text/event-stream", CHAT, keep=11), "text") == ["Hello there"]


def test_text_is_told_with_the_end_since_clients_hang_up_there() -> None:
    answer = AnswerReader("anthropic")
    answer.head(Head(200, Headers([("content-type", "text/event-stream")])))

    assert values(answer.feed(CLAUDE), "text") == ["Hello there"]
    assert values(answer.end(), "text") == []


def test_a_response_without_deltas_has_its_text_in_the_last_event() -> None:
    stream = sse({"type": "response.completed", "response": DONE}, names=True)

    assert values(read("openai_responses", "text/event-stream", stream), "text") == ["Hello there"]


def test_a_chat_stream_without_done_ends_with_its_last_byte() -> None:
    stream = sse(chunk({"content": "a"}), chunk({}, "stop"))
    cut = sse(chunk({"content": "a"}))

    assert values(read("openai_chat", "text/event-stream", stream), "end") == ["eof"]
    assert values(read("openai_chat", "text/event-stream", cut), "end") == []


def test_code_assist_wraps_what_the_api_gives() -> None:
    facts = read("gemini", "text/event-stream", sse(*({"response": each, "traceId": "t"} for each in GEMINI_CHUNKS)))

    assert values(facts, "text") == ["Hello there"]
    assert values(facts, "id") == ["r-1"]


def test_messages_of_a_websocket_are_read_one_by_one() -> None:
    answer = AnswerReader("openai_responses", ECHO)
    facts: list[Fact] = []
    for line in RESPONSES.split(b"\n"):
        if line.startswith(b"data: "):
            facts += answer.message(line[6:])

    check_all("openai_responses", facts)


IN_STREAM = [
    ("openai_chat", sse({"error": {"message": "m", "type": "server_error", "code": "server_is_overloaded"}}),
     ("server_is_overloaded", "server_error")),
    ("openai_responses",
     sse({"type": "error", "code": "rate_limit_exceeded", "message": "m", "param": None}, names=True),
     ("rate_limit_exceeded", "error")),
    ("openai_responses", sse({"type": "response.failed", "response": {
        **RESPONSE, "error": {"code": "server_error", "message": "m"}}}, names=True), ("server_error", "")),
    ("anthropic", sse({"type": "error", "error": {"type": "overloaded_error", "message": "m"}}, names=True),
     ("", "overloaded_error")),
    ("gemini", sse({"error": {"code": 503, "message": "m", "status": "UNAVAILABLE"}}), ("503", "UNAVAILABLE")),
]  # fmt: skip


@pytest.mark.parametrize(("dialect", "stream", "wanted"), IN_STREAM)
def test_an_error_in_a_stream_is_told(dialect: str, stream: bytes, wanted: tuple[str, str]) -> None:
    (error,) = values(read(dialect, "text/event-stream", stream), "error")

    assert (error["code"], error["type"], error["message"]) == (*wanted, "m")


def test_an_error_in_an_array_is_told() -> None:
    facts = read("gemini", "application/json", b'[{"error":{"code":429,"message":"m","status":"RESOURCE_EXHAUSTED"}}]')

    assert [error["type"] for error in values(facts, "error")] == ["RESOURCE_EXHAUSTED"]


@each_row("dialect", ["openai_chat", "openai_responses", "anthropic", "gemini", ""])
@each_row("body", [b'{"error":{"message":"m","code":"c"}}', b'{"error":"m","code":"c"}', b'{"message":"m","code":"c"}'])
@each_row("content_type", ["application/json", "text/event-stream", ""])
def test_a_refusal_is_read_once_whatever_its_type_says(dialect: str, body: bytes, content_type: str) -> None:
    (error,) = values(read(dialect, content_type, body, status=429), "error")

    assert (error["code"], error["message"]) == ("c", "m")


def test_the_request_id_of_an_error_is_the_provider_s_own() -> None:
    """Anthropic puts its own id of the request into `request_id` of every error, also in one that breaks a stream."""
    event = {"type": "error", "error": {"type": "overloaded_error", "message": "m"}, "request_id": "req_1"}

    for facts in (
        read("anthropic", "text/event-stream", sse(event, names=True)),
        read("anthropic", "application/json", json.dumps(event).encode(), status=529),
    ):
        assert values(facts, "echo") == []
        assert values(facts, "provider_id") == ["req_1"]


RESOURCES = [
    ("openai_chat", {"id": "file-abc", "object": "file"}, ("file", "file-abc")),
    ("openai_chat", {"id": "batch_1", "object": "batch", "output_file_id": None}, ("batch", "batch_1")),
    ("openai_chat", {"object": "list", "data": [{"id": "file-abc", "object": "file"}]}, ("file", "file-abc")),
    ("openai_responses", {"id": "conv_1", "object": "conversation"}, ("conversation", "conv_1")),
    ("openai_responses", {"object": "list", "data": [{"id": "msg_1", "type": "message"}]}, ("item", "msg_1")),
    ("anthropic", {"id": "msgbatch_01abc"}, ("batch", "msgbatch_01abc")),
    ("anthropic", {"id": "file_01", "type": "file"}, ("file", "file_01")),
    ("gemini", {"name": "cachedContents/a"}, ("cache", "cachedContents/a")),
    ("gemini", {"file": {"name": "files/a", "uri": "https://x/v1beta/files/a"}}, ("file", "files/a")),
]


@pytest.mark.parametrize(("dialect", "body", "token"), RESOURCES)
def test_what_is_stored_is_told_as_a_token(dialect: str, body: dict[str, Any], token: tuple[str, str]) -> None:
    facts = facts_of_json(dialect, json.dumps(body).encode())

    assert token in [(fact.where, fact.value) for fact in facts if fact.kind == "token"]


@pytest.mark.slow(every=4)
@pytest.mark.parametrize("dialect", ["openai_chat", "openai_responses", "anthropic", "gemini", ""])
@pytest.mark.parametrize("name", ["", "message", "response.completed"])
@given(
    data=st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(
            "id type object choices delta message content response output item usage error candidates parts text data"
            " index tool_calls function model usageMetadata conversation container finish_reason".split()
        ), inner, max_size=5),
        max_leaves=25,
    )
)  # fmt: skip
def test_nothing_a_provider_sends_stops_the_reader(dialect: str, name: str, data: Any) -> None:
    answer = AnswerReader(dialect, ECHO)
    event = (b"event: " + name.encode() + b"\n" if name else b"") + b"data: " + json.dumps(data).encode() + b"\n\n"
    facts = answer.feed(event if name else json.dumps(data).encode()) + answer.end()

    assert "malformed" not in {fact.kind for fact in facts}


@given(st.binary(max_size=200), st.sampled_from(["", "text/event-stream", "application/json", "image/png"]))
def test_garbage_never_raises(data: bytes, content_type: str) -> None:
    for dialect in ("openai_chat", "gemini"):
        read(dialect, content_type, data[:50], data[50:])
        for coding in ("gzip", "br", "zstd", "deflate", "compress", "gzip, br"):
            read(dialect, content_type, data[:50], data[50:], content_encoding=coding)


def test_what_is_no_json_is_malformed_and_said_so() -> None:
    assert values(read("openai_chat", "application/json", b'{"id": "x", '), "malformed") == ["no JSON"]
    assert values(read("openai_chat", "text/event-stream", b"data: {oops\n\n"), "malformed") == ["no JSON"]


def test_a_page_or_a_picture_is_passed_unread() -> None:
    assert read("openai_chat", "text/html", b"<html>") == []
    assert read("openai_chat", "audio/mpeg", b"{not json") == []
    assert read("anthropic", "application/x-jsonl", b'{"custom_id":"1"}\n{"custom_id":"2"}\n') == []


def test_an_unknown_coding_is_passed_unread() -> None:
    assert [fact.kind for fact in read("openai_chat", "application/json", b"xx", content_encoding="lzma")] == ["unread"]


def test_identity_is_no_coding() -> None:
    check_all("openai_chat", read("openai_chat", "text/event-stream", CHAT, content_encoding="identity"))


def test_a_bomb_is_noticed_early() -> None:
    bomb = gzip.compress(b"{" + b" " * 70_000_000, 1)
    began = time.thread_time()
    facts = read("openai_chat", "application/json", bomb, content_encoding="gzip")

    assert values(facts, "unread") == ["too much once decompressed"]
    assert time.thread_time() - began < 5


def test_a_refusal_s_body_can_be_had_decompressed_even_when_it_was_cut() -> None:
    body = b'{"error":{"message":"' + b"m" * 5000 + b'"}}'
    for coding, packed in (("gzip", gzip.compress(body)), ("br", brotli.compress(body)), ("", body)):
        answer = AnswerReader("openai_chat")
        answer.head(Head(429, Headers([("content-encoding", coding)] if coding else [])))

        assert answer.decoded(packed) == body
        assert body.startswith(answer.decoded(packed[:-3]))


def test_a_deep_nesting_is_malformed_and_nothing_more() -> None:
    deep = b'{"choices":' + b"[" * 100_000 + b"]" * 100_000 + b"}"

    assert "malformed" in {fact.kind for fact in read("openai_chat", "application/json", deep)}


@pytest.mark.parametrize("dialect", ["openai_chat", "gemini"])
def test_an_answer_in_another_dialect_says_its_id_in_its_own_words(dialect: str) -> None:
    body = b'{"type":"message","id":"msg_01AbC","role":"assistant","content":[],"stop_reason":"end_turn","model":"m"}'
    answer = opened("application/json", dialect)
    facts = [*answer.feed(body), *answer.end()]

    assert [(fact.kind, fact.value) for fact in facts if fact.kind in ("shape", "id")] == [
        ("shape", "anthropic"),
        ("id", "msg_01AbC"),
    ]


def opened(
    content_type: str = "text/event-stream", dialect: str = "openai_chat", status: int = 200, **more: Any
) -> AnswerReader:
    answer = AnswerReader(dialect, ECHO, **more)
    answer.head(Head(status, Headers([("content-type", content_type)])))
    return answer


FRAMINGS = [
    *((kind, b'{"a":1}', "whole") for kind in ("", "application/json", "text/json", "text/plain", "text/html",
                                               "text/event-stream", "application/problem+json")),
    *((kind, b'[{"a":1}]', "whole") for kind in ("", "application/json", "text/plain", "application/vnd.x+json")),
    *((kind, b'{"a":1}\n', "events") for kind in (
        "application/x-ndjson", "application/ndjson", "application/jsonl", "application/x-jsonlines",
        "application/json-lines", "application/jsonlines", "application/stream+json")),
    *(("text/plain", start + b"ata: {}\n\n", "events") for start in (b"d", b":", b"e", b"i", b"r")),
    ("application/x-ndjson", b"[{}]", "events"), ("text/event-stream", b"[1]\n\n", "events"),
    ("text/event-stream", b"x", "events"), ("text/event-stream", b" \n", "events"), ("", b"\n", ""),
    ("application/json", b"data: {}\n\n", "events"), ("text/html", b"data: {}\n\n", ""), ("text/plain", b"x", ""),
    ("image/png", b"{}", ""), ("image/png", b"data: {}\n\n", ""), ("application/json", b"\xef\xbb\xbf \t{}", "whole"),
]  # fmt: skip


@each_row(("kind", "body", "framing"), FRAMINGS)
def test_the_type_and_the_first_byte_choose_how_a_body_is_read(kind: str, body: bytes, framing: str) -> None:
    answer = opened(kind.upper() + "; charset=utf-8" if kind else "")
    facts = answer.feed(body[:1]) + answer.feed(body[1:])

    assert values(facts, "framing") == ([framing] if framing else [])
    assert answer.streamed is (framing == "events" or kind == "text/event-stream")
    assert answer.is_text is (framing == "whole" and not answer.streamed)
    assert answer.is_foreign is (not framing and bool(body.strip()))


def test_only_gemini_streams_an_array_and_a_body_of_lines_is_no_array() -> None:
    for dialect, framing in (("gemini", "events"), ("openai_chat", "whole")):
        assert values(read(dialect, "application/json", b"[{}]"), "framing") == [framing]


def test_where_a_stream_was_asked_for_the_second_object_makes_one() -> None:
    answer = opened("application/json", asked_stream=True)
    lines = [json.dumps(chunk({"content": each})).encode() + b"\n" for each in ("a", "b")]

    for line, streamed in zip(lines, (False, True), strict=True):
        answer.feed(line)
        assert (answer.streamed, answer.is_text) == (streamed, not streamed)
    assert values(opened(asked_stream=True).feed(b'{"a":1}\n{"b":2}'), "framing") == ["whole"]


@pytest.mark.parametrize(("body", "is_object"), [(b"{}", True), (b"[]", False), (b"{", False), (b"", False)])
def test_whether_the_body_was_an_object_is_known_at_its_end(body: bytes, is_object: bool) -> None:
    answer = opened("application/json")
    answer.feed(body)

    assert not answer.is_object
    answer.end()
    assert answer.is_object is is_object


@pytest.mark.parametrize(("at", "same"), [(64 * 1024 - 1, False), (64 * 1024, True)])
def test_an_answer_is_born_with_its_id_and_known_by_the_first_64_kilobytes(at: int, same: bool) -> None:
    event = json.dumps(chunk({"content": "x" * 70_000})).encode()
    other = event[:at] + b"y" + event[at + 1 :]
    first, second = (
        read("openai_chat", "text/event-stream", sse(chunk(id=""), each, chunk(id="b"))) for each in (event, other)
    )

    assert len(values(first, "born")) == 1
    assert (values(first, "born") == values(second, "born")) is same
    kinds = [fact.kind for fact in first]
    assert kinds.index("born") < kinds.index("id")


def test_a_stream_that_changes_its_id_is_told_at_its_end() -> None:
    stream = sse(*(chunk({"content": "x"}, id=each) for each in "aabb"))

    assert [fact.where for fact in read("openai_chat", "text/event-stream", stream) if fact.kind == "disorder"] == [
        "switch"
    ]


def test_what_follows_done_is_told_once() -> None:
    stream = sse(b"[DONE]", chunk({"content": "x"}), chunk({"content": "y"}))

    assert [fact.where for fact in read("openai_chat", "text/event-stream", stream) if fact.kind == "disorder"] == [
        "after-end"
    ]


def test_a_mistake_of_the_reader_is_a_fact_and_the_rest_passes_unread(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = opened()
    monkeypatch.setattr(reader, "_json", lambda data: 1 / 0)

    assert answer.feed(CHAT) == [
        Fact("framing", "events", "body"), Fact("malformed", "ZeroDivisionError", "body"),
    ]  # fmt: skip
    monkeypatch.undo()
    assert answer.feed(CHAT) == answer.end() == []
    assert not answer.is_foreign
    assert answer.lacks(dialects.endpoint("POST", "/v1/chat/completions")) == ""


@pytest.mark.parametrize(
    ("kind", "body", "told"),
    [
        ("text/event-stream", b"data: a\n\nHTTP/1.1 500 Oops", True),
        ("text/event-stream", b"HTTP/1.0 200 OK", True),
        ("text/event-stream", b"data: HTTP/1.1 200", False),
        ("text/event-stream", b"data: a\n\nHTTP/1.1 50", False),
        ("application/json", b"x\nHTTP/1.1 200", True),
        ("text/json", b"x\nHTTP/1.1 200", True),
        ("application/problem+json", b"x\nHTTP/1.1 200", True),
        ("text/plain", b'{"a":1,\nHTTP/1.1 200', True),
        ("application/json", b'{"a":1}HTTP/1.1 200 OK', True),
        ("application/json", b'{"a":1} \n HTTP/1.1 200 OK', True),
        ("application/json", b'{"a":"}HTTP/1.1 200 OK"}', False),
        ("text/plain", b"x\nHTTP/1.1 200", False),
        ("text/html", b"<p>\nHTTP/1.1 200", False),
    ],
)
def test_a_head_in_the_midst_of_a_body_is_told_once_where_no_text_looks_like_one(
    kind: str, body: bytes, told: bool
) -> None:
    found = [body[(start := body.index(b"HTTP/1.")) : start + 12].decode()] if told else []

    assert values(read("openai_chat", kind, body + (b"\n" + body if told else b"")), "stray") == found
    for at in range(1, len(body) if body[:1] in b"dH{" else 1):
        assert values(read("openai_chat", kind, body[:at], body[at:]), "stray") == found, at


@pytest.mark.parametrize(("distinct", "told"), [(4096, 4096), (4097, 4096)])
def test_at_most_4096_tokens_of_an_answer_are_told_each_once(distinct: int, told: int) -> None:
    calls = [{"index": 0, "id": f"call_{number}"} for number in (*range(distinct), 0)]

    assert len(values(read("openai_chat", "text/event-stream", sse(chunk({"tool_calls": calls}))), "token")) == told


@pytest.mark.parametrize(("changes", "told"), [(64, 64), (65, 64)])
def test_at_most_64_changes_of_a_value_are_told(changes: int, told: int) -> None:
    stream = sse(*(chunk({"content": "x"}, id=f"c{number}") for number in range(changes)))

    assert len(values(read("openai_chat", "text/event-stream", stream), "id")) == told


def test_events_that_lose_their_name_and_find_it_again_are_told_up_to_seven_times() -> None:
    def loose(*named: bool, member: str = "id") -> list[bool]:
        events = [chunk({"content": "x"}) | {"id": "", member: "a" if each else ""} for each in named]
        return values(read("openai_chat", "text/event-stream", sse(*events)), "loose")

    assert loose(True, True) == loose(True, True, member="request_id") == []
    assert loose(True, False, False, True) == [True, False]
    assert loose(*([False, True] * 5)) == [True, False] * 3 + [True]
    assert values(read("openai_chat", "text/event-stream", sse(chunk({}, id=""))), "loose") == []


@pytest.mark.parametrize(("status", "errors"), [(399, []), (400, ["m"]), (503, ["m"])])
def test_a_body_under_a_status_of_400_or_more_is_an_error_and_ends_nothing(status: int, errors: list[str]) -> None:
    facts = read("openai_chat", "application/json", b'{"message":"m","request_id":"r"}', status=status)

    assert [error["message"] for error in values(facts, "error")] == errors
    assert values(facts, "end") == ([] if errors else ["body"])
    assert values(facts, "provider_id") == (["r"] if errors else [])


def test_the_first_object_of_a_list_is_read_and_no_other() -> None:
    facts = read("openai_chat", "application/json", b'[7, {"error":"a"}, {"error":"b"}]', status=500)

    assert [error["message"] for error in values(facts, "error")] == ["a"]


@pytest.mark.parametrize(
    ("data", "told"),
    [
        ({"request_id": 7}, ["7"]), ({"request_id": True}, []), ({"request_id": ""}, []), ({"request_id": ["x"]}, []),
        ({"response": {"request_id": "x"}}, ["x"]), ({"message": {"request_id": "x"}}, ["x"]),
        ({"request_id": 0}, ["0"]), ({"other": {"request_id": "x"}}, []),
    ],
)  # fmt: skip
def test_an_echo_is_a_text_or_a_number_in_the_event_or_in_its_answer(data: dict[str, Any], told: list[str]) -> None:
    assert values(facts_of_json("openai_chat", json.dumps(data).encode(), ECHO), "echo") == told


def test_usage_is_told_when_a_number_grows_and_keeps_the_largest_of_each() -> None:
    def usage(prompt: int, completion: int, cached: int) -> dict[str, Any]:
        return chunk(usage={"prompt_tokens": prompt, "completion_tokens": completion,
                            "prompt_tokens_details": {"cached_tokens": cached}})  # fmt: skip

    stream = sse(usage(9, 1, 2), usage(9, 1, 2), usage(5, 4, 0), usage(1, 1, 1), usage(10, 0, 3))
    assert values(read("openai_chat", "text/event-stream", stream), "usage") == [
        Usage(9, 1, 2), Usage(9, 4, 2), Usage(10, 4, 3),
    ]  # fmt: skip


def test_every_count_of_the_usage_grows_by_itself() -> None:
    answer, told, counts = AnswerReader("openai_chat", ECHO), list[Fact](), [count.name for count in fields(Usage)]
    for count in counts:
        answer._grow(Fact("usage", Usage(**{count: 5})), told)
        answer._grow(Fact("usage", Usage(**{count: 4})), told)

    assert [fact.value for fact in told] == [Usage(**dict.fromkeys(counts[: n + 1], 5)) for n in range(len(counts))]


def test_an_answer_ends_once() -> None:
    for stream, ends in ((sse(chunk({}, "stop"), b"[DONE]", b"[DONE]"), ["[DONE]"]), (sse(chunk({})), [])):
        assert values(read("openai_chat", "text/event-stream", stream), "end") == ends
    assert values(read("openai_chat", "application/json", b"{}"), "end") == ["body"]


def test_an_event_that_is_too_long_counts_as_content_and_a_body_is_unread() -> None:
    facts = read("openai_chat", "text/event-stream", b"data: " + b"x" * (4 * 2**20 + 1) + b"\n\n")
    assert [(fact.kind, fact.value, fact.where) for fact in facts] == [
        ("framing", "events", "body"), ("unread", "too long", "event"),
    ]  # fmt: skip
    answer = opened()
    answer.feed(b"data: " + b"x" * (4 * 2**20 + 1) + b"\n\n" + sse(b"[DONE]"))
    assert answer.answers(dialects.endpoint("POST", "/v1/chat/completions"))
    for size, kinds in ((16 * 2**20, ["framing", "end"]), (16 * 2**20 + 1, ["framing", "unread"])):
        body = b'{"a":"' + b"x" * (size - 8) + b'"}'
        assert [fact.kind for fact in read("openai_chat", "application/json", body)] == kinds
    answer = opened("application/json")
    answer.feed(b"{" + b" " * 16 * 2**20)
    answer.end()
    assert answer.lacks(dialects.endpoint("POST", "/v1/chat/completions")) == ""


@pytest.mark.parametrize(("more", "unread"), [(0, []), (1, ["too much once decompressed"])])
def test_a_body_may_decode_to_a_megabyte_and_a_hundred_times_its_size(more: int, unread: list[str]) -> None:
    size = 2**20
    for _ in range(5):
        size = 2**20 + 100 * len(gzip.compress(b" " * size, 9, mtime=0)) + more
    packed = gzip.compress(b" " * size, 9, mtime=0)

    assert size == 2**20 + 100 * len(packed) + more
    assert values(read("openai_chat", "application/json", packed, content_encoding="gzip"), "unread") == unread


def test_only_so_much_of_a_decoded_answer_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (reader.BODY_BYTES, reader.DECODED_BYTES) == (16 * 2**20, 64 * 2**20)
    for most, unread in ((1000, []), (999, ["too much once decompressed"])):
        monkeypatch.setattr(reader, "DECODED_BYTES", most)
        packed = gzip.compress(b" " * 1000)
        assert values(read("openai_chat", "application/json", packed, content_encoding="gzip"), "unread") == unread


def test_a_refusal_s_body_is_decoded_up_to_a_bound_and_kept_where_it_has_no_coding(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(reader, "BODY_BYTES", 10_000)
    plain, packed = AnswerReader("openai_chat"), AnswerReader("openai_chat")
    packed.head(Head(429, Headers([("content-encoding", "gzip")])))

    assert plain.decoded(b"x" * 30_000) == b"x" * 30_000
    assert 10_000 < len(packed.decoded(gzip.compress(bytes(19_000)))) <= 10_000 + 4096
    assert packed.decoded(b"no gzip") == b"no gzip"


def test_codings_in_several_header_lines_are_one_list() -> None:
    body = brotli.compress(gzip.compress(CHAT))
    answer = AnswerReader("openai_chat", ECHO)
    fields = [("content-type", "text/event-stream"), ("content-encoding", "gzip"), ("content-encoding", "br")]
    facts = [*answer.head(Head(200, Headers(fields))), *answer.feed(body), *answer.end()]

    check_all("openai_chat", facts)
    assert answer.decoded(body) == CHAT


@pytest.mark.parametrize(
    ("body", "malformed"),
    [(b'{"a": NaN}', []), (b'{"a": "\\ud800"}', []), (b'{"a": "\xff"}', ["no JSON"]), (b"[" * 9000, ["no JSON"])],
)  # fmt: skip
def test_json_that_servers_send_is_read_though_it_is_none(body: bytes, malformed: list[str]) -> None:
    assert values(read("openai_chat", "application/json", body), "malformed") == malformed


def test_an_answer_in_another_shape_is_told_once_with_the_place() -> None:
    event = {"candidates": [{"content": {"parts": [{"text": "x"}]}}]}
    facts = read("openai_chat", "text/event-stream", sse(event, event))

    assert [(fact.value, fact.where) for fact in facts if fact.kind == "shape"] == [("gemini", "event")]


@pytest.mark.parametrize(
    ("path", "events", "answers"),
    [
        ("/v1/chat/completions", [chunk({"content": "x"})], False),
        ("/v1/chat/completions", [chunk({}, "stop")], True),
        ("/v1/chat/completions", [chunk({"content": "x"}), b"[DONE]"], True),
        ("/v1/chat/completions", [b"[DONE]"], False),
        ("/v1/audio/speech", [{"type": "speech.audio.delta"}], True),
        ("/v1/audio/speech", [], False),
    ],
)
def test_a_stream_answers_with_content_and_an_end_and_sounds_with_any_event(
    path: str, events: list[Any], answers: bool
) -> None:
    answer = opened()
    answer.feed(sse(*events))

    assert answer.answers(dialects.endpoint("POST", path)) is answers


LACKING = [
    ("/v1/chat/completions", "text/event-stream", b"", "it is empty"),
    ("/v1/chat/completions", "image/png", b" ", "it is empty"),
    ("/v1/audio/speech", "text/event-stream", b"", "it is empty"),
    ("/v1/audio/speech", "application/json", b"", "it is empty"),
    ("/v1/audio/speech", "", b"", "it is empty"),
    ("/v1/audio/speech", "text/plain", b"", ""),
    ("/v1/chat/completions", "text/html", b"<p>", "it is a web page"),
    ("/v1/chat/completions", "text/plain", b"<p>", "it is neither JSON nor a stream of events"),
    ("/v1/audio/speech", "text/plain", b"<p>", ""),
    ("/v1/audio/speech", "text/html", b"<p>", "it is a web page"),
    ("/v1/chat/completions", "text/event-stream", b": x\n\n", "it holds no event"),
    ("/v1/audio/speech", "text/event-stream", b": x\n\n", "it holds no event"),
    ("/v1/audio/speech", "text/event-stream", b"data: x\n\n", ""),
    ("/v1/chat/completions", "text/event-stream", b"data: [DONE]\n\n", "it says nothing"),
    ("/v1/chat/completions", "text/event-stream", sse(chunk({"content": "x"})), "it ends without its end"),
    ("/v1/chat/completions", "text/event-stream", sse(chunk({}, "stop")), ""),
    ("/v1/chat/completions", "application/json", b"{", "it is no JSON, or cut short"),
    ("/v1/chat/completions", "application/json", b"null", "it is neither JSON nor a stream of events"),
    ("/v1/chat/completions", "application/json", b"[]", "it holds no answer"),
    ("/v1/chat/completions", "application/json", b"[1]", ""),
    ("/v1/chat/completions", "application/json", b"{}", "it holds no answer"),
    ("/v1/chat/completions", "application/json", b'{"choices": [], "id": "x"}', "it holds no answer"),
    ("/v1/chat/completions", "application/json", b'{"type":"message","content":[],"stop_reason":"end_turn"}', ""),
]


@each_row(("path", "kind", "body", "lacks"), LACKING)
def test_what_an_answer_lacks_is_told_in_words(path: str, kind: str, body: bytes, lacks: str) -> None:
    answer = opened(kind)
    answer.feed(body)
    answer.end()

    assert answer.lacks(dialects.endpoint("POST", path)) == lacks


@pytest.mark.parametrize(("dialect", "content_type", "stream"), STREAMS)
def test_a_stream_of_each_dialect_lacks_its_end_until_it_came(dialect: str, content_type: str, stream: bytes) -> None:
    path = {"openai_chat": "/v1/chat/completions", "openai_responses": "/v1/responses", "anthropic": "/v1/messages"}
    endpoint = dialects.endpoint("POST", path.get(dialect, "/v1beta/models/m:streamGenerateContent"))
    pieces = stream.split(b"\n\n") if b"\n\n" in stream else [stream[:-300], stream[-300:]]
    ends = {"openai_chat": 4, "gemini": 2 if len(pieces) > 2 else 1}.get(dialect, 2)  # pieces from the end on
    joint = b"\n\n" if b"\n\n" in stream else b""
    for read_to, lacks in ((len(pieces) - ends, "it ends without its end"), (len(pieces), "")):
        answer = AnswerReader(dialect, ECHO)
        answer.head(Head(200, Headers([("content-type", content_type)])))
        answer.feed(joint.join(pieces[:read_to]) + joint)
        assert answer.answers(endpoint) is not bool(lacks)
        answer.end()
        assert answer.lacks(endpoint) == lacks


def test_events_that_tell_nothing_new_are_not_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    parsed: list[bytes] = []
    decode = reader._json
    monkeypatch.setattr(reader, "_json", lambda data: parsed.append(data) or decode(data))
    stream = sse(*(chunk({"content": f"word {number}"}) for number in range(50)))
    facts = read("openai_chat", "text/event-stream", stream)

    assert len(parsed) == 2  # the first, and the one of which the form is learned
    assert values(facts, "text") == ["".join(f"word {number}" for number in range(50))]


def test_of_an_answer_in_another_shape_the_id_is_told_and_nothing_else() -> None:
    event = {"type": "message_start", "message": {"id": "msg_1", "model": "m", "usage": {"input_tokens": 1}}}
    facts = read("openai_chat", "text/event-stream", sse(event))

    assert [(fact.kind, fact.value) for fact in facts if fact.kind not in ("framing", "born")] == [
        ("shape", "anthropic"), ("id", "msg_1"),
    ]  # fmt: skip


def test_what_is_no_json_is_told_with_its_place_and_an_answer_is_born_with_16_digits() -> None:
    for kind, where in (("text/event-stream", "event"), ("application/json", "body")):
        facts = read("openai_chat", kind, b"data: {\n\n" if where == "event" else b"{")
        assert [(fact.kind, fact.where) for fact in facts[1:]] == [("malformed", where)]
    assert [len(born) for born in values(read("openai_chat", "text/event-stream", CHAT), "born")] == [16]


def test_a_gap_in_the_numbers_of_events_that_are_not_parsed_is_told_once() -> None:
    def delta(number: int) -> dict[str, Any]:
        return {"type": "response.output_text.delta", "item_id": "i", "delta": f"w{number} ", "sequence_number": number}

    facts = read("openai_responses", "text/event-stream", sse(*map(delta, (1, 2, 3, 4, 7, 9, 10))))

    assert [(fact.value, fact.where) for fact in facts if fact.kind == "disorder"] == [("4 → 7", "sequence-gap")]
    assert values(facts, "text") == ["w1 w2 w3 w4 w7 w9 w10 "]
