"""What of a request is compared with its answer: shape, tools, sampling, turns, results, fallbacks and quotes."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from blake3 import blake3

from patchbay.body import Body
from patchbay.crosstalk import words
from patchbay.crosstalk.request_summary import RequestSummary
from patchbay.values.http import Endpoint

from .detectors.contexts import request

HISTORY = {
    "openai_chat": "messages", "openai_responses": "input", "anthropic": "messages", "gemini": "contents",
}  # fmt: skip


def summary(dialect: str = "openai_chat", suffix: str = "/chat/completions", **members: Any) -> RequestSummary:
    return RequestSummary(Endpoint(dialect, suffix=suffix), Body(msgspec.json.encode(members)))


def test_a_request_is_known_by_its_endpoint_its_model_and_its_size() -> None:
    asked = RequestSummary(Endpoint("openai_chat", suffix="/embeddings"), Body(b'{"a": 1}'), "large", True)

    assert (asked.dialect, asked.suffix, asked.model, asked.stream) == ("openai_chat", "/embeddings", "large", True)
    assert (asked.shape, asked.size) == ("embedding", 8)
    assert (summary().shape, summary().model, summary().stream) == ("openai_chat", "", False)
    assert RequestSummary(Endpoint("openai_chat"), Body(None)).size == 0


def test_settings_are_read_once_in_the_way_of_the_dialect() -> None:
    asked = summary("openai_responses", "/responses", user="ann", temperature=0.5, unknown="x")

    assert asked.settings == {"user": "ann", "temperature": "0.5"}
    assert asked.settings is asked.settings
    assert summary(user="ann").settings == {}


@pytest.mark.parametrize(
    ("tools", "names"),
    [
        (None, set()),
        ("text", set()),
        ([], set()),
        (
            [{"type": "function", "function": {"name": "a"}}, {"function": {"name": "b"}}],
            {"a", "b"},
        ),
        ([{"type": "function", "name": "a"}], {"a"}),
        ([{"type": "custom", "name": "a"}], {"a"}),
        ([{"name": "a", "input_schema": {}}], {"a"}),
        ([{"functionDeclarations": [{"name": "a"}, {"name": "b"}]}, {"name": "c"}], {"a", "b", "c"}),
        ([{"function_declarations": [{"name": "a"}]}], {"a"}),
        ([{"functionDeclarations": "x", "name": "a"}], {"a"}),
        ([{"function": "x", "name": "a"}], {"a"}),
        ([{"type": "web_search_20250305", "name": "web_search"}], None),
        ([{"type": None, "name": "a"}], None),
        ([{"googleSearch": {}}], None),
        ([{"name": 7}], None),
        ([{"functionDeclarations": ["x"]}], None),
        ([{"name": "a"}, "text"], None),
    ],
)
def test_the_offered_tools_are_named_unless_the_provider_adds_its_own(tools: Any, names: set[str] | None) -> None:
    asked = summary(tools=tools)

    assert asked.tools == names
    assert asked.tools is asked.tools  # read once


def test_at_most_4096_tools_are_named() -> None:
    for count in (4096, 4097):
        assert len(summary(tools=[{"name": str(each)} for each in range(count)]).tools or ()) == 4096


@pytest.mark.parametrize(
    ("members", "is_sampled"),
    [
        ({}, True),
        ({"temperature": 0.1}, True),
        ({"temperature": 0}, False),
        ({"temperature": 0.0}, False),
        ({"seed": 1}, False),
        ({"seed": None}, False),
        ({"generationConfig": {"temperature": 0}}, False),
        ({"generationConfig": {"temperature": 1}}, True),
        ({"generationConfig": {"seed": 5}}, False),
        ({"generationConfig": "seed"}, True),
        ({"temperature": 1, "generationConfig": {"temperature": 0}}, True),
    ],
)
def test_two_answers_differ_unless_the_temperature_is_0_or_a_seed_is_given(
    members: dict[str, Any], is_sampled: bool
) -> None:
    assert summary(**members).sampled is is_sampled


@pytest.mark.parametrize(("dialect", "name"), HISTORY.items())
def test_the_history_is_all_turns_and_the_last_turn_is_the_last(dialect: str, name: str) -> None:
    one, two = {"role": "user", "content": "one"}, {"role": "user", "content": "two"}
    asked = summary(dialect, **{name: [one, two]})

    assert bytes(asked.history) == msgspec.json.encode([one, two])
    assert asked.last_turn == blake3(msgspec.json.encode(two)).digest(16)
    assert asked.history == summary(dialect, temperature=1, **{name: [one, two]}).history
    assert (summary(dialect).history, summary(dialect).last_turn) == (b"", b"")
    assert summary(dialect, **{name: []}).last_turn == b""


SHORT, LONG = "short " * 4, "long " * 1000
ENDS = [
    ([{"role": "user", "content": LONG}, {"role": "user", "content": SHORT}], 52),
    ([{"role": "user", "content": SHORT}, {"role": "user", "content": LONG}], 5028),
    ([{"content": LONG, "role": "user"}], 5030),
    ([{"content": LONG, "role": "user"}, {"content": SHORT, "role": "user"}], 68),
    ([{"role": "user", "content": [{"type": "text", "text": LONG, "cache_control": {"type": "ephemeral"}}]}], 5064),
    ([{"type": "function_call_output", "call_id": "c", "output": '{"role": "user", "type": "x"}' + LONG}], 5094),
    ([{"role": "user", "content": "x" * 100_000}], 65_536),
    ([], 2),
]


@pytest.mark.parametrize(("turns", "size"), ENDS)
def test_the_end_of_a_history_lies_behind_the_beginning_of_its_last_turn_or_part(turns: list[Any], size: int) -> None:
    assert summary("openai_chat", messages=turns).end_size == size


def test_histories_with_one_end_have_one_digest_of_it() -> None:
    one, two = ([{"role": "user", "content": text + LONG}] for text in ("one", "two"))

    assert summary("openai_chat", messages=one).end == summary("openai_chat", messages=two).end
    assert summary("openai_chat", messages=one).end != summary("openai_chat", messages=[*one, *two, SHORT]).end
    assert len(summary("openai_chat").end) == 16


def test_a_text_as_history_is_its_own_last_turn() -> None:
    asked = summary("openai_responses", "/responses", input="one")

    assert asked.last_turn == blake3(b'"one"').digest(16)


def chat(*ids: str) -> list[Any]:
    return [{"role": "tool", "tool_call_id": each, "content": "x"} for each in ids]


@pytest.mark.parametrize(
    ("dialect", "turns", "ids"),
    [
        ("openai_chat", [*chat("z"), {"role": "assistant"}, *chat("a", "b")], ("b", "a")),
        ("openai_chat", [*chat("a"), {"role": "user", "content": "well"}], ()),
        ("openai_chat", [{"role": "user", "tool_call_id": "a"}], ()),
        ("openai_chat", [{"role": "tool", "tool_call_id": ""}], ()),
        ("openai_chat", ["text", *chat("a")], ("a",)),
        ("openai_chat", [*chat("z"), "text", *chat("a")], ("a", "z")),
        ("openai_responses", [{"type": "function_call_output", "call_id": "a"}], ("a",)),
        ("openai_responses", [{"type": "custom_tool_call_output", "call_id": "a"}], ("a",)),
        ("openai_responses", [{"type": "function_call", "call_id": "a"}], ()),
        ("anthropic", [{"role": "user", "content": [{"tool_use_id": "a"}, "x", {"tool_use_id": "b"}]}], ("a", "b")),
        ("anthropic", [{"role": "user", "content": [{"type": "text"}]}], ()),
        ("anthropic", [{"role": "user", "content": {"tool_use_id": "a"}}], ()),
        ("gemini", [{"parts": [{"functionResponse": {"id": "a"}}, {"functionResponse": "b"}]}], ("a",)),
        ("gemini", [{"parts": [{"functionResponse": {"name": "a"}}]}], ()),
    ],
)
def test_results_are_those_that_end_the_request(dialect: str, turns: list[Any], ids: tuple[str, ...]) -> None:
    assert summary(dialect, **{HISTORY[dialect]: turns}).results == ids


def test_results_are_looked_for_in_the_last_64_turns() -> None:
    assert len(summary(messages=chat(*map(str, range(70)))).results) == 64


def test_at_most_4096_results_are_returned() -> None:
    blocks = [{"tool_use_id": str(each)} for each in range(4097)]

    assert len(summary("anthropic", messages=[{"content": blocks}]).results) == 4096


@pytest.mark.parametrize("raw", [b'{"messages": [1, ', b'{"messages": {"a": 1}}', b'{"messages": "x"}', b"", b"\xff"])
def test_a_history_that_is_no_list_holds_no_results(raw: bytes) -> None:
    assert RequestSummary(Endpoint("openai_chat", suffix="/chat/completions"), Body(raw)).results == ()


NAMES = ("fallbacks", "fallback", "models", "fallback_models", "fallback_model", "context_window_fallbacks")


@pytest.mark.parametrize("name", NAMES)
def test_each_member_of_a_gateway_may_name_fallbacks(name: str) -> None:
    assert summary(**{name: ["a", {"model": "b"}, {"c": ["d"]}, 7]}).fallbacks == ("a", "model", "b", "c", "d")
    assert summary(**{name: "a"}).fallbacks == ("a",)


def test_fallbacks_are_read_in_order_to_a_depth_of_four_and_up_to_64() -> None:
    assert summary(models=["c"], fallbacks=["a"], fallback="b").fallbacks == ("a", "b", "c")
    assert summary().fallbacks == ()
    assert summary(models=[[[["deep"]]]]).fallbacks == ("deep",)
    assert summary(models=[[[[["too deep"]]]]]).fallbacks == ()
    assert len(summary(models=[str(each) for each in range(70)]).fallbacks) == 64


def test_a_text_is_quoted_if_its_first_80_characters_are_in_the_request() -> None:
    asked = summary(messages=[{"content": 'say "hello" ' + "x" * 80}])

    assert asked.quotes('say "hello"')
    assert asked.quotes('ay "hello')
    assert asked.quotes('say "hello" ' + "x" * 68 + " and more")
    assert not asked.quotes('say "hello" ' + "x" * 67 + " and more")
    assert not asked.quotes("good day")
    assert not RequestSummary(Endpoint("openai_chat"), Body(None)).quotes("x")


def test_half_a_surrogate_in_a_history_or_an_answer_can_be_compared() -> None:
    body = Body(b'{"messages": [{"role": "user", "content": "half \\ud83d of it"}]}')
    asked = RequestSummary(Endpoint("openai_chat", suffix="/chat/completions"), body)

    assert len(asked.last_turn) == 16
    assert asked.quotes("half \ud83d")
    assert not asked.quotes("half \ud83e")


@pytest.mark.parametrize(
    ("dialect", "members", "named"),
    [
        ("anthropic", {}, None),
        ("anthropic", {"diagnostics": {"previous_message_id": "msg_1"}}, "msg_1"),
        ("anthropic", {"diagnostics": {"previous_message_id": None}}, ""),
        ("anthropic", {"diagnostics": {}}, ""),
        ("anthropic", {"diagnostics": "msg_1"}, None),
        ("openai_responses", {}, None),
        ("openai_responses", {"prompt_cache_options": {"comparison_response_id": "resp_1"}}, "resp_1"),
        ("openai_responses", {"prompt_cache_options": {"comparison_response_id": 7}}, ""),
        ("openai_responses", {"prompt_cache_options": {"mode": "explicit"}}, ""),
        ("openai_responses", {"prompt_cache_options": "resp_1"}, None),
        ("openai_chat", {"diagnostics": {"previous_message_id": "msg_1"}}, None),
    ],
)
def test_the_answer_that_it_is_compared_with_is_named(dialect: str, members: dict[str, Any], named: str | None) -> None:
    assert summary(dialect, **members).compared_id == named


@pytest.mark.parametrize(
    ("dialect", "names"),
    [("anthropic", ["system", "tools"]), ("openai_responses", ["instructions", "tools"]), ("openai_chat", [])],
)
def test_the_parts_that_a_provider_compares_are_the_model_that_went_up_and_the_members_as_they_stand(
    dialect: str, names: list[str]
) -> None:
    raw = b'{"model": "asked", "tools":  [ {"name": "a"} ], "system": "s", "instructions" : "i", "messages": []}'
    asked = RequestSummary(Endpoint(dialect), Body(raw), "sent\udc80")
    members = {"tools": b'[ {"name": "a"} ]', "system": b'"s"', "instructions": b'"i"'}

    assert list(asked.parts()) == [("model", b"sent\xed\xb2\x80"), *((name, members[name]) for name in names)]
    assert dict(summary(dialect).parts()) == {"model": b"", **dict.fromkeys(names, b"")}
    assert asked.history_name == HISTORY[dialect]


def test_signatures_are_read_at_the_places_that_are_named() -> None:
    thinking = [
        {"type": "text", "text": "no signature"}, {"type": "thinking", "signature": "sealed"},
        {"type": "redacted_thinking", "data": "hidden"}, {"type": "thinking", "signature": 7},
    ]  # fmt: skip
    asked = summary("anthropic", messages=[{"role": "user", "content": "text"}, {"content": thinking}, "text"])
    everywhere = tuple((message, block) for message in range(4) for block in range(5))

    assert list(asked.signatures(everywhere)) == [(1, "sealed"), (1, "hidden")]
    assert list(asked.signatures(((1, 1),))) == [(1, "sealed")]
    assert [list(asked.signatures(places)) for places in ([(1, 1)], None, "text", ())] == [[]] * 4
    assert list(summary("anthropic").signatures(((0, 0),))) == []


@pytest.mark.parametrize(
    ("mark", "has_media"),
    [
        ({"type": "base64"}, True), ({"inlineData": {}}, True), ({"inline_data": {}}, True),
        ({"input_audio": {}}, True), ({"file_id": "f"}, True), ({"fileUri": "f"}, True), ({"image_url": "u"}, True),
        ({"file_url": "u"}, True), ({"text": "a picture"}, False),
    ],
)  # fmt: skip
def test_media_are_known_by_their_members(mark: dict[str, Any], has_media: bool) -> None:
    assert summary(messages=[{"role": "user", "content": [mark]}]).has_media is has_media
    assert not RequestSummary(Endpoint("openai_chat"), Body(None)).has_media


@pytest.mark.parametrize(
    ("dialect", "members", "adds"),
    [
        ("anthropic", {"thread": {"type": "continue", "previous_message_id": "msg_1"}}, True),
        ("anthropic", {"thread": {"type": "create"}}, False),
        ("anthropic", {"thread": "msg_1"}, False),
        ("openai_responses", {"previous_response_id": "resp_1"}, True),
        ("openai_responses", {"conversation": "conv_1"}, True),
        ("openai_responses", {"previous_response_id": None}, False),
        ("gemini", {"previous_interaction_id": "i"}, True),
        ("openai_chat", {"previous_response_id": "resp_1"}, False),
    ],
)
def test_whether_it_holds_new_turns_alone(dialect: str, members: dict[str, Any], adds: bool) -> None:
    assert summary(dialect, **members).adds is adds


def test_the_words_of_the_end_outlive_the_body() -> None:
    texts = [{"role": "user", "content": "umbrella"}, {"role": "user", "content": "porcelain"}]
    kept, other = summary(messages=texts), summary(messages=texts, user="saxophone")
    told = words.of_text("role user content umbrella porcelain")
    assert kept.tail == told
    assert kept.tail is kept.tail  # read once

    kept.forget_body()
    other.forget_body()
    assert (kept.tail, other.tail) == (told, told)
    assert (kept.size, kept.history, kept.quotes("umbrella")) == (0, b"", False)


@pytest.mark.parametrize(("content", "signature"), [
    ([{"type": "thinking", "thinking": "t", "signature": "one"}], "one"),
    ([{"type": "thinking", "signature": "one"}, {"type": "thinking", "signature": "two"}], "two"),
    ([{"type": "text", "text": '"signature":"quoted"'}], ""),
    ("plain", ""),
])  # fmt: skip
def test_the_last_signature_is_found_and_no_quoted_one(content: Any, signature: str) -> None:
    messages = [{"role": "assistant", "content": content}, {"role": "user", "content": "go on"}]

    assert request("anthropic", "m", messages=messages).last_signature == signature
    assert request("anthropic", "m").last_signature == ""


def test_of_a_kept_conversation_64_members_with_plain_names_are_known_whatever_the_model_is() -> None:
    more = b",".join(b'"m%d":%d' % (number, number) for number in range(70))
    raw = (
        b'{"thread":{"type":"create"},"messages":[],"model":"\\ud800","\\ud800":1,"' + b"n" * 65 + b'":1,' + more + b"}"
    )
    found = dict(RequestSummary(Endpoint("anthropic"), Body(raw), "\ud800", False).fields())

    assert list(found) == ["model", *(f"m{number}" for number in range(59))]
    assert (found["model"], found["m0"]) == (b"\xed\xa0\x80", b"0")
    assert dict(RequestSummary(Endpoint("anthropic"), Body(b'{"messages":[],"a":1}'), "m", False).fields()) == {}
