"""What a request repeats of answers."""

from __future__ import annotations

import json

import pytest

from patchbay.body import Body
from patchbay.identity import references

from .test_history import IN_EVERY_DIALECT
from .traffic import CHAT, GEMINI, MESSAGES, RESPONSES, chat, request

TOKEN = "01Hk2mP8sYt4WzQe7RvNc3Jd"


@pytest.mark.parametrize(
    "token",
    [
        f"toolu_{TOKEN}", f"call_{TOKEN}", "call_550e8400-e29b-41d4-a716-446655440000", f"msg_{TOKEN}",
        "chatcmpl-tool-0123456789abcdef0123456789abcdef", "fc_68af4030592c81938ec0a5fbab4a3e9f05438e46b5f69a3b",
        "EpwBCkYIBRgCKkDsig0123456789abcdefABCDEF+/==",
    ],
)  # fmt: skip
def test_a_long_irregular_token_is_strong(token):
    assert references.is_strong(token)


@pytest.mark.parametrize(
    "token",
    [
        "", "call_0", "call_1", "functions.read_file:0", "functions.some_long_tool_name_here:12", "D681PevKs", "abc",
        "call_aaaaaaaaaaaaaaaaaaaaaaaa", "call_function_name_of_a_tool_1", "toolu_read_the_file", "0", "call_",
        "skip_thought_signature_validator",
    ],
)  # fmt: skip
def test_a_counter_or_a_name_is_weak(token):
    assert not references.is_strong(token)


def linked(body):
    return [quote.value for quote in references.newest_first(Body(json.dumps(body).encode()))]


@pytest.mark.parametrize("dialect", ["chat", "responses", "anthropic"])
def test_tool_calls_link_in_every_dialect(dialect):
    old, token = {"anthropic": "toolu_1"}.get(dialect, "call_1"), f"call_{TOKEN}"
    body = json.loads(json.dumps(IN_EVERY_DIALECT[dialect]).replace(old, token))

    assert set(linked(body)) == {token}


def test_signatures_link():
    thinking = {"type": "thinking", "thinking": "…", "signature": f"Ep{TOKEN}"}
    thought = {"functionCall": {"name": "ls"}, "thoughtSignature": f"Cq{TOKEN}"}

    assert linked({"messages": [{"role": "assistant", "content": [thinking]}]}) == [f"Ep{TOKEN}"]
    assert linked({"contents": [{"role": "model", "parts": [thought]}]}) == [f"Cq{TOKEN}"]


def test_the_newest_comes_first():
    texts = [f"answer number {place} is long enough to be told from all the others" for place in range(3)]
    body = chat("a", texts[0], "b", texts[1], "c", texts[2], "d")

    assert linked(body) == [text.replace(" ", "") for text in reversed(texts)]


def test_short_answers_and_what_users_say_link_nothing():
    assert linked(chat("a question that is much longer than forty characters, as questions are", "Hello!")) == []


def test_an_id_inside_arguments_results_or_free_text_is_none_of_ours():
    token = f"toolu_{TOKEN}"
    call = {"type": "tool_use", "id": "x", "name": "find", "input": {"id": token, "deep": [{"tool_use_id": token}]}}
    result = {"functionResponse": {"name": "find", "response": {"id": token}}}

    assert linked({"messages": [{"role": "assistant", "content": [call]}]}) == []
    assert linked({"contents": [{"role": "user", "parts": [result]}]}) == []
    assert linked(chat(f'look at {{"id": "{token}"}}')) == []


@pytest.mark.parametrize(
    ("path", "body", "value"),
    [
        (RESPONSES, {"previous_response_id": "resp_1"}, "resp_1"),
        (RESPONSES, {"conversation": {"id": "conv_1"}}, "conv_1"),
        (RESPONSES, {"input": [{"type": "item_reference", "id": "msg_1"}]}, "msg_1"),
        (RESPONSES, {"input": [{"type": "reasoning", "id": "rs_1", "summary": []}]}, "rs_1"),
        (RESPONSES, {"input": [{"type": "reasoning", "id": "rs_1", "encrypted_content": "gAAA"}]}, "gAAA"),
        (RESPONSES, {"tools": [{"type": "file_search", "vector_store_ids": ["vs_1"]}]}, "vs_1"),
        (RESPONSES, {"tools": [{"type": "code_interpreter", "container": "cntr_1"}]}, "cntr_1"),
        (CHAT, {"messages": [{"role": "user", "content": [{"file": {"file_id": "file-1"}}]}]}, "file-1"),
        (MESSAGES, {"container": "container_1"}, "container_1"),
        (MESSAGES, {"container": {"id": "container_1", "skills": []}}, "container_1"),
        (MESSAGES, {"messages": [{"role": "user", "content": [
            {"type": "document", "source": {"type": "file", "file_id": "file_1"}}]}]}, "file_1"),
        (GEMINI, {"cachedContent": "cachedContents/abc"}, "cachedContents/abc"),
        (GEMINI, {"contents": [{"parts": [{"fileData": {"fileUri": "https://g.com/v1beta/files/a"}}]}]}, "files/a"),
        ("/v1/batches", {"input_file_id": "file-1"}, "file-1"),
    ],
)  # fmt: skip
def test_what_ties_a_request_to_an_account(path, body, value):
    assert value in [quote.value for quote in references.owning(request(path, body)) if quote.owns]


def test_the_turn_state_of_codex_ties_too():
    asked = request(RESPONSES, {}, {"x-codex-turn-state": "state-1"})

    assert [quote.value for quote in references.owning(asked)] == ["state-1"]


def test_files_containers_and_caches_link_no_conversations():
    for place in ("file", "container", "cache", "state"):
        assert not references.Reference(place, f"file_{TOKEN}").links


def test_a_path_names_what_stands_in_it():
    values = {quote.value for quote in references.of_path("/v1/messages/batches/msgbatch_01/results?x=1")}

    assert {"msgbatch_01", "results"} <= values
    assert "cachedContents/abc" in {quote.value for quote in references.of_path("/v1beta/cachedContents/abc:update")}
    assert next(references.of_path("/v1/responses/resp_1")).place == "reference"


def test_a_message_of_very_many_parts_is_read_to_a_bound():
    parts = [{"type": "text", "text": "x", "id": f"{place}{TOKEN}"} for place in range(50_000)]

    assert len(linked({"messages": [{"role": "user", "content": parts}]})) < 10_000


@pytest.mark.parametrize(
    ("path", "one"),
    [
        ("/v1/files/file-1", True),
        ("/v1/jobs/12/status", True),
        ("/v1beta/files/abc-123", True),
        ("/upload/v1beta/files?upload_id=x", True),
        ("/v1/files?after=x&limit=2", True),
        ("/v1/results?sig=abc", True),
        ("/v1/files", False),
        ("/v1/files?limit=100", False),
        ("/v1beta/files/", False),
        ("/api/v1/jobs", False),
        ("/v1/models/gpt-4", False),
        ("/v1beta/models/gemini-2.5-pro", False),
        ("/v1beta/models/gemini-2.5-pro/operations/abc1", True),
        ("/", False),
        ("", False),
    ],
)
def test_an_address_of_one_thing_is_told_from_that_of_a_collection(path, one):
    """P1: a collection, an endpoint and a model are every account's."""
    assert references.names_one(path) is one
