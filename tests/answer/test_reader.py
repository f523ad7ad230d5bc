"""Answers of every dialect, as a stream and as one text, cut anywhere, compressed, broken."""

from __future__ import annotations

import gzip
import json
import time
import zlib
from typing import Any

import brotli
import pytest
from backports import zstd
from hypothesis import given, strategies as st

from patchbay.answer.reader import AnswerReader, facts_of_json
from patchbay.values.account import Echo
from patchbay.values.answer import Fact, Head, Usage
from patchbay.values.http import Headers

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


@pytest.mark.parametrize(("dialect", "content_type", "stream"), STREAMS)
@pytest.mark.parametrize("coding", ["gzip", "deflate", "raw deflate", "br", "zstd"])
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


@pytest.mark.parametrize("dialect", ["openai_chat", "openai_responses", "anthropic", "gemini", ""])
@pytest.mark.parametrize(
    "body", [b'{"error":{"message":"m","code":"c"}}', b'{"error":"m","code":"c"}', b'{"message":"m","code":"c"}']
)
@pytest.mark.parametrize("content_type", ["application/json", "text/event-stream", ""])
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
    reader = AnswerReader(dialect)
    reader.head(Head(200, Headers((("content-type", "application/json"),))))
    facts = [*reader.feed(body), *reader.end()]

    assert [(fact.kind, fact.value) for fact in facts if fact.kind in ("shape", "id")] == [
        ("shape", "anthropic"),
        ("id", "msg_01AbC"),
    ]
