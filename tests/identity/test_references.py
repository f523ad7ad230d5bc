"""What a request repeats of answers."""

from __future__ import annotations

import json

import pytest

from patchbay.body import Body
from patchbay.identity import references

from ..each_row import each_row
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


def places(body, path=RESPONSES):
    return [(each.place, each.value) for each in references.owning(request(path, body))]


@each_row(
    ("body", "place"),
    [
        ({"previous_response_id": "x"}, "reference"), ({"previous_interaction_id": "x"}, "reference"),
        ({"conversation": "x"}, "reference"), ({"conversation": {"id": "x"}}, "reference"),
        ({"container": "x"}, "container"), ({"container": {"id": "x"}}, "container"), ({"batch_id": "x"}, "reference"),
        ({"thread": {"previous_message_id": "x"}}, "reference"), ({"cachedContent": "x"}, "cache"),
        ({"cached_content": "x"}, "cache"), ({"request": {"cachedContent": "x"}}, "cache"),
        ({"input_file_id": "x"}, "file"), ({"file_id": "x"}, "file"), ({"training_file": "x"}, "file"),
        ({"input": [{"id": "x"}]}, "reference"), ({"input": [{"type": "item_reference", "id": "x"}]}, "reference"),
        ({"input": [{"type": "input_file", "file_id": "x"}]}, "file"),
        ({"contents": [{"parts": [{"fileData": {"fileUri": "x"}}]}]}, "file"),
        ({"contents": [{"parts": [{"file_data": {"file_uri": "x"}}]}]}, "file"),
        ({"input": [{"type": "compaction", "encrypted_content": "x"}]}, "sealed"),
        ({"tools": [{"type": "file_search", "vector_store_ids": ["x"]}], "input": []}, "file"),
        ({"tools": [{"type": "code_interpreter", "container": "x"}], "input": []}, "container"),
        ({"tools": [{"type": "x", "environment": {"type": "container_reference", "container_id": "x"}}]}, "container"),
        ({"tools": [{"type": "x", "file_ids": ["x"]}]}, "file"),
    ],
)  # fmt: skip
def test_each_reference_that_owns(body, place):
    assert places(body) == [(place, "x")]


@pytest.mark.parametrize("member", sorted(references._OWNING_MEMBERS))
def test_each_owning_member_is_read(member):
    inner = {"request": {"cachedContent": "x"}, "thread": {"previous_message_id": "x"}}.get(member, "x")

    assert len(places({member: inner})) == 1


@pytest.mark.parametrize("place", ["tool", "signature", "item", "text", "reference", "reasoning", "sealed"])
def test_each_place_that_links(place):
    assert references.Reference(place, "abc_Zk3v9QxWm2TnB7cL").links
    assert references.Reference(place, "x").links == (place in ("text", "reference"))


@pytest.mark.parametrize(
    "place", ["reference", "reasoning", "file", "container", "cache", "state", "address", "sealed"]
)
def test_each_place_that_owns(place):
    assert references.Reference(place, "x").owns
    assert references.Reference(place, "abc_Zk3v9QxWm2TnB7cL").links == (place in references.LINKS)


@pytest.mark.parametrize("place", ["tool", "signature", "item", "text"])
def test_each_place_that_does_not_own(place):
    assert not references.Reference(place, "abc_Zk3v9QxWm2TnB7cL").owns


@pytest.mark.parametrize(
    ("token", "strong"),
    [
        ("abcdef0123456789", True), ("abcdef012345678", False), ("msg_abcdef0123456789", True),
        ("0123401234012345", True), ("0123401234012340", False), ("abcdefghijklmnop", False),
        ("run:abcdef0123456789:12", False), ("0101010101010101", False),
        ("run:abcdef0123456789:12345", True), ("a_abcdef0123456789", True),
    ],
)  # fmt: skip
def test_a_strong_token_is_long_and_irregular(token, strong):
    assert references.is_strong(token) == strong


@pytest.mark.parametrize(("before", "is_read"), [(511, True), (512, False)])
def test_so_many_references_of_a_request_are_read(before, is_read):
    calls = [{"type": "function_call_output", "call_id": f"call_Zk3v9QxWm2TnB7c{n:04}"} for n in range(before)]
    body = {"input": [{"type": "function_call_output", "call_id": TOKEN_LAST}, *calls]}
    found = [each.value for each in references.newest_first(Body(json.dumps(body).encode()))]

    assert (TOKEN_LAST in found) == is_read


TOKEN_LAST = "call_QxWm2TnB7cLZk3v9"


@pytest.mark.parametrize(("size", "is_read"), [(262_143, True), (262_144, False)])
def test_so_many_characters_of_answers_are_looked_up(size, is_read):
    oldest = "the oldest answer of all of these answers is read last"
    texts = [{"role": "assistant", "content": oldest}, {"role": "assistant", "content": "a" * size}]
    found = references.newest_first(Body(json.dumps({"messages": texts}).encode()))

    assert [each.value == "a" * size for each in found] == [True, False][: 1 + is_read]


@pytest.mark.parametrize("name", ["input", "args", "arguments", "response", "output", "metadata"])
def test_no_id_is_read_from_what_tools_say(name):
    message = {"role": "assistant", "content": [{"type": "x", name: {"id": "abc_Zk3v9QxWm2TnB7cL"}}]}

    assert list(references.of_message(message)) == []


def test_a_file_in_the_result_of_a_call_is_a_file():
    output = {"type": "function_call_output", "output": [{"type": "input_file", "file_id": "x"}]}

    assert places({"input": [output]}) == [("file", "x")]


def test_the_places_that_own_are_these():
    assert {
        "reference", "reasoning", "file", "container", "cache", "state", "address", "sealed",
    } == references.OWNS  # fmt: skip
    assert references.SPARED < references.OWNS


@pytest.mark.parametrize(("size", "links"), [(39, False), (40, True)])
def test_an_answer_of_40_characters_links(size, links):
    message = {"role": "assistant", "content": "a b" + "c" * (size - 2)}

    assert [each.place for each in references.of_message(message)] == ["text"] * links


def test_no_key_stands_in_an_address():
    found = [each.value for each in references.of_address("/v1/files/1?alt=media&key=sk-secret&upload_id=1")]

    assert found == ["/v1/files/1?alt=media&upload_id=1"]


@pytest.mark.parametrize(("depth", "is_read"), [(8, True), (9, False)])
def test_so_deep_an_id_is_read(depth, is_read):
    node = {"call_id": TOKEN}
    for _ in range(depth):
        node = {"inner": node}

    assert [each.value for each in references.of_message(node)] == [TOKEN] * is_read


@pytest.mark.parametrize(
    ("node", "place"),
    [
        ({"type": "redacted_thinking", "data": TOKEN}, "signature"), ({"signature": TOKEN}, "signature"),
        ({"thoughtSignature": TOKEN}, "signature"), ({"thought_signature": TOKEN}, "signature"),
        ({"tool_use_id": TOKEN}, "tool"), ({"tool_call_id": TOKEN}, "tool"), ({"call_id": TOKEN}, "tool"),
        ({"type": "message", "id": TOKEN}, "item"), ({"type": "reasoning", "id": TOKEN}, "reference"),
        ({"type": "reasoning", "encrypted_content": TOKEN}, "reasoning"), ({"encrypted_content": TOKEN}, "sealed"),
        ({"file_id": TOKEN}, "file"), ({"uri": TOKEN}, "file"), ({"fileUri": TOKEN}, "file"),
        ({"file_uri": TOKEN}, "file"), ({"container": TOKEN}, "container"), ({"content": [{"id": TOKEN}]}, "tool"),
    ],
)  # fmt: skip
def test_each_member_of_a_message_that_refers(node, place):
    assert [(each.place, each.value) for each in references.of_message(node)] == [(place, TOKEN)]


@pytest.mark.parametrize("node", [{"data": TOKEN}, {"container_id": TOKEN}, {"name": TOKEN}, {"id": ""}, {"id": 7}])
def test_other_members_refer_to_nothing(node):
    assert list(references.of_message(node)) == []


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("/v1/responses/r",
         [("reference", "r"), ("file", "responses/r"), ("file", "responses"), ("file", "v1/responses")]),
        ("/v1/files/f:verb?x=/y", [("file", "f"), ("file", "files/f"), ("file", "files"), ("file", "v1/files")]),
        ("/", []),
    ],
)  # fmt: skip
def test_each_segment_of_a_path_may_be_an_id(path, found):
    assert [(each.place, each.value) for each in references.of_path(path)] == found


@pytest.mark.parametrize("chain", ["responses", "conversations", "completions", "interactions"])
def test_each_chain_is_a_reference(chain):
    assert next(references.of_path(f"/v1/{chain}/r")) == references.Reference("reference", "r")


@pytest.mark.parametrize(
    ("path", "found"),
    [
        (f"/up?upload_id={TOKEN}", [("address", f"/up?upload_id={TOKEN}"), ("file", TOKEN)]),
        (f"/up?upload_id={TOKEN.replace('Z', '%5A')}", [("address", f"/up?upload_id={TOKEN.replace('Z', '%5A')}"),
                                                       ("file", TOKEN)]),
        ("/up?upload_id=1", [("address", "/up?upload_id=1")]),
        (f"/up?other={TOKEN}", [("address", f"/up?other={TOKEN}")]),
        ("/up", [("address", "/up")]),
    ],
)  # fmt: skip
def test_an_address_names_itself_and_the_ids_in_its_query(path, found):
    assert [(each.place, each.value) for each in references.of_address(path)] == found


@pytest.mark.parametrize(("segments", "one"), [(31, True), (32, False)])
def test_32_segments_of_an_address_are_read(segments, one):
    assert references.names_one("/x" * segments + "/file-1") == one


@pytest.mark.parametrize("member", ["cachedContent", "cached_content"])
@pytest.mark.parametrize("value", [7, "", None, ["x"], {"id": "x"}])
def test_a_cache_is_named_by_a_text(member, value):
    assert list(references.owning(request(GEMINI, {member: value}))) == []


@pytest.mark.parametrize("value", [7, {"id": 7}, [], {}, None, ""])
def test_an_id_is_a_text(value):
    names = ("previous_response_id", "conversation", "container", "batch_id", "input_file_id", "file_id")
    assert list(references.owning(request(RESPONSES, dict.fromkeys(names, value)))) == []


def test_the_places_that_a_conversation_can_go_on_without():
    assert sorted(references.SPARED) == ["reasoning", "state"]


def test_lists_in_lists_are_not_entered():
    assert list(references.of_message([[{"tool_use_id": "a"}], {"tool_use_id": "b"}, "c"])) == [
        references.Reference("tool", "b")
    ]


@pytest.mark.parametrize(
    ("body", "may"),
    [
        ({"input": [{"id": "x"}]}, True),
        ({"other": [{"id": "x"}]}, False),
        ({"input": [{"role": "user", "content": "hi"}]}, False),
        ({"tools": [{"vector_store_ids": []}]}, True),
        ({"other": [{"vector_store_ids": []}]}, False),
        ({"messages": [{"role": "user", "content": "hi"}]}, False),
        ({"messages": [{"file_id": "x"}]}, True),
    ],
)
def test_a_history_without_a_mark_is_not_decoded(body, may):
    assert references._may_own(request(RESPONSES, body).body) == may


def test_512_references_of_a_history_are_yielded_and_no_more():
    body = {"input": [{"type": "item_reference", "id": f"msg_{number}"} for number in range(600)]}

    assert len(list(references.owning(request(RESPONSES, body)))) == 512


@pytest.mark.parametrize(("parts", "is_read"), [(4_095, True), (4_096, False)])
def test_4096_nodes_of_a_message_are_read(parts, is_read):
    message = [{"tool_use_id": "a"}, *({} for _ in range(parts - 1))]  # the last part is read first

    assert bool(list(references.of_message(message))) == is_read
