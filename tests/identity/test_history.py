"""What a history says, whichever way it is written down."""

from __future__ import annotations

import json
from typing import Any

import pytest

from patchbay.body import Body
from patchbay.identity import history, turns
from patchbay.identity.turns import Conversation

from ..each_row import each_row
from .traffic import chat


def read(body: object) -> Conversation:
    return history.conversation_of(Body(body if isinstance(body, bytes) else json.dumps(body).encode()))


def roles(body: object) -> list[str]:
    return [turn.role for turn in read(body).turns]


def user(*content: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": list(content)}]}


def same(one: object, other: object) -> bool:
    return [turn.digest for turn in read(one).turns] == [turn.digest for turn in read(other).turns]


IN_EVERY_DIALECT = {
    "chat": {
        "messages": [
            {"role": "system", "content": "S"},
            {"role": "user", "content": "list files"},
            {"role": "assistant", "content": None, "tool_calls": [
                {"id": "call_1", "type": "function", "function": {"name": "ls", "arguments": '{"p": "a"}'}}]},
            {"role": "tool", "tool_call_id": "call_1", "content": "a.txt"},
            {"role": "assistant", "content": "one file"},
        ]
    },
    "responses": {
        "instructions": "S",
        "input": [
            {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "list files"}]},
            {"type": "reasoning", "id": "rs_1", "encrypted_content": "x"},
            {"type": "function_call", "call_id": "call_1", "name": "ls", "arguments": '{"p":"a"}'},
            {"type": "function_call_output", "call_id": "call_1", "output": "a.txt"},
            {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "one file"}]},
        ],
    },
    "anthropic": {
        "system": [{"type": "text", "text": "S", "cache_control": {"type": "ephemeral"}}],
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "list files"}]},
            {"role": "assistant", "content": [
                {"type": "thinking", "thinking": "…", "signature": "x"},
                {"type": "tool_use", "id": "toolu_1", "name": "ls", "input": {"p": "a"}}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_1", "content": "a.txt"}]},
            {"role": "assistant", "content": [{"type": "text", "text": "one file"}]},
        ],
    },
    "gemini": {
        "systemInstruction": {"parts": [{"text": "S"}]},
        "contents": [
            {"role": "user", "parts": [{"text": "list files"}]},
            {"role": "model", "parts": [
                {"text": "hm", "thought": True}, {"functionCall": {"name": "ls", "args": {"p": "a"}}}]},
            {"role": "user", "parts": [{"functionResponse": {"name": "ls", "response": {"output": "a.txt"}}}]},
            {"role": "model", "parts": [{"text": "one file"}]},
        ],
    },
}  # fmt: skip


@pytest.mark.parametrize("dialect", IN_EVERY_DIALECT)
def test_every_dialect_has_the_same_turns(dialect):
    assert roles(IN_EVERY_DIALECT[dialect]) == ["user", "assistant", "tool", "assistant"]
    assert read(IN_EVERY_DIALECT[dialect]).system


def test_chat_responses_and_anthropic_say_the_same_in_the_same_form():
    one, *others = (read(IN_EVERY_DIALECT[name]) for name in ("chat", "responses", "anthropic"))

    for other in others:
        assert [turn.digest for turn in one.turns] == [turn.digest for turn in other.turns]
        assert one.system == other.system


NOISE = {
    "string and block": (chat("hi"), user({"type": "text", "text": "hi"})),
    "cache marker": (user({"type": "text", "text": "hi", "cache_control": {"type": "ephemeral"}}), chat("hi")),
    "outer blanks": (chat(" hi\n"), chat("hi")),
    "line ends": (chat("a\r\nb\rc"), chat("a\nb\nc")),
    "normal form": (chat("cafe\u0301"), chat("caf\u00e9")),
    "tools and sampling": (chat("hi", tools=[{"name": "x"}], model="m", temperature=1), chat("hi", model="n")),
    "think tags": (chat("hi", "<think>a\nb</think>yes"), chat("hi", "yes")),
    "an answer in two blocks": (
        {"messages": [chat("hi")["messages"][0], {"role": "assistant", "content": [{"text": "a "}, {"text": "b"}]}]},
        chat("hi", "a b"),
    ),
    "an answer of thinking only": (
        {"messages": [chat("hi")["messages"][0], {"role": "assistant", "content": [{"type": "thinking"}]}]},
        chat("hi"),
    ),
    "a string and an item": ({"input": "hi"}, {"input": [{"role": "user", "content": "hi"}]}),
    "camel and snake": (
        {"contents": [{"role": "user", "parts": [{"inlineData": {"mimeType": "image/png", "data": "AA"}}]}]},
        {"contents": [{"parts": [{"inline_data": {"mime_type": "image/png", "data": "AA"}}]}]},
    ),
    "around a request": (
        {"request": {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]}},
        {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]},
    ),
    "later instructions": (
        {"messages": [*chat("hi")["messages"], {"role": "system", "content": "be brief"}]},
        chat("hi"),
    ),
    "empty content": ({"messages": [{"role": "user", "content": None}, {"role": "user", "content": "hi"}]}, chat("hi")),
    "renamed tool calls": (
        json.loads(json.dumps(IN_EVERY_DIALECT["anthropic"]).replace("toolu_1", "toolu_2")),
        IN_EVERY_DIALECT["anthropic"],
    ),
}


@pytest.mark.parametrize("noise", NOISE)
def test_what_does_not_count(noise):
    assert same(*NOISE[noise])
    assert read(NOISE[noise][0]).turns


IMAGE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}}
MEANING = {
    "part boundaries": (
        user({"type": "text", "text": "a b"}, {"type": "text", "text": "c"}),
        user({"type": "text", "text": "a"}, {"type": "text", "text": "b c"}),
    ),
    "roles": (chat("a", "b"), {"messages": [{"role": "user", "content": "a"}, {"role": "user", "content": "b"}]}),
    "order": (chat("a", "x", "b"), chat("b", "x", "a")),
    "a long common beginning": (chat("x" * 10_000 + "a"), chat("x" * 10_000 + "b")),
    "a picture": (user(IMAGE), user({**IMAGE, "source": {**IMAGE["source"], "data": "AAAB"}})),
    "an address": (
        user({"type": "image_url", "image_url": {"url": "https://x/a"}}),
        user({"type": "image_url", "image_url": {"url": "https://x/b"}}),
    ),
    "a file": (
        user({"type": "file", "file": {"file_id": "file-a"}}),
        user({"type": "file", "file": {"file_id": "file-b"}}),
    ),
    "a tool's arguments": (
        {"input": [{"type": "function_call", "name": "ls", "arguments": '{"a":1}'}]},
        {"input": [{"type": "function_call", "name": "ls", "arguments": '{"a":2}'}]},
    ),
    "a tool's result": (
        {"input": [{"type": "function_call_output", "output": "a"}]},
        {"input": [{"type": "function_call_output", "output": "b"}]},
    ),
    "blanks inside a question": (chat("a b"), chat("ab")),
    "dates in a question": (chat("at 2026-08-22T10:00:00Z"), chat("at 2026-09-01T10:00:00Z")),
}


@pytest.mark.parametrize("meaning", MEANING)
def test_what_counts(meaning):
    assert not same(*MEANING[meaning])


def system(text: str) -> bytes:
    return read(chat("hi", system=text)).system


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("run 0b0e7d52-6a6a-4d0e-9a7c-3d3c8a1f2b11", "run 7f0e7d52-6a6a-4d0e-9a7c-3d3c8a1f2b99"),
        ("at 2026-08-22T10:11:12Z.", "at 2026-08-23T00:00:00Z."),
        ("on 2026-08-22", "on 2027-01-01"),
        ("Today's date: Friday, Aug 22", "Today's date: Monday, Sep 1"),
        ("on Friday, August 22, 2026", "on Monday, September 1, 2026"),
        ("it is 22 Aug 2026 at 10:11 pm", "it is 1 Sep 2026 at 9:00 am"),
        ("Working directory: /home/ann", "Working directory: /home/bob"),
        ("S\ngitStatus: M a.py\nM b.py\n\nRules", "S\ngitStatus: clean\n\nRules"),
        ("used 12,345 / 200,000 tokens", "used 13,000 / 200,000 tokens"),
    ],
)
def test_what_changes_by_itself_in_instructions_is_masked(one, other):
    assert system(one) == system(other) != b""


def test_other_instructions_are_others():
    assert system("You are A.") != system("You are B.")
    assert system("x" * 5000 + "A") != system("x" * 5000 + "B")


def test_instructions_that_come_later_do_not_count():
    later = {"role": "system", "content": "be brief"}

    assert read({"messages": [*chat("hi")["messages"], later]}) == read(chat("hi"))


def test_the_billing_line_of_claude_code_is_no_instruction():
    line = {"type": "text", "text": "x-anthropic-billing-header: cc_version=2.1.197.ab1; cc_entrypoint=cli; cch=1f2e3;"}
    rules = {"type": "text", "text": "Rules"}

    assert read(chat("hi", system=[line, rules])).system == read(chat("hi", system=[rules])).system


@pytest.mark.parametrize(
    "context",
    [
        "<session_context>\nToday is Friday.\nFolder: /a\n</session_context>",
        "<system-reminder>rules</system-reminder>\n",
        "# AGENTS.md instructions for /a\n\n<INSTRUCTIONS>\nrules\n</INSTRUCTIONS>",
        "This is the Qwen Code. We are setting up the context for our chat.\nToday's date is Friday.",
    ],
)
def test_context_that_a_tool_puts_before_a_question_is_no_question(context):
    contents = [{"role": "user", "parts": [{"text": context}]}, {"role": "user", "parts": [{"text": "fix it"}]}]

    assert same({"contents": contents}, {"contents": contents[1:]})
    assert read({"contents": contents}).system


def test_a_question_about_a_tag_is_a_question():
    assert not same(
        chat("<system-reminder>a</system-reminder> why?"), chat("<system-reminder>b</system-reminder> why?")
    )


def test_context_alone_is_better_than_nothing():
    context = "<environment_context>a</environment_context>"

    assert read(chat(context)).root == 0


@each_row(
    "body",
    [
        b"", b"{", b"[]", b"null", b"7", b'"x"', b"\xff\xfe", b"{}", b'{"messages": 7}', b'{"messages": []}',
        b'{"messages": [null, 1, [], {}]}', b'{"messages": {"a": 1}}', b'{"messages": [{"role": 7, "content": 8}]}',
        b'{"input": [[1, 2], [3]]}', b'{"prompt": [1, 2, 3]}', b'{"messages": [{"role": "user", "content": "  "}]}',
        b'{"contents": [{"role": "user", "parts": "x"}]}', b'{"contents": [{"parts": {"text": 5}}]}',
        b'{"messages": [{"role": "tool"}]}', b'{"messages": [{"role": "assistant", "tool_calls": {"function": 3}}]}',
        b'{"messages":' + b"[" * 100_000, b'{"messages":' + b"[" * 900 + b"]" * 900 + b"}",
        b'{"messages":[{"role":"user","content":' + b'{"content":[' * 3000 + b"]}" * 3000 + b"}]}",
        b'{"messages":[{"role":"user","content":[{"type":"tool_result","content":'
        + b'[{"type":"tool_result","content":' * 200 + b'"x"' + b"}]" * 200 + b"}]}]}",
        b'{"messages":[{"role":"user","content":NaN}]}', b'{"messages":[{"role":"user","content":"\\ud83d"}]}',
        b'\xef\xbb\xbf{"messages":[{"role":"user","content":"bom"}]}',
    ],
)  # fmt: skip
def test_garbage_is_read_without_raising(body):
    assert isinstance(read(body), Conversation)


def test_numbers_beyond_reason_and_lone_surrogates_in_arguments_are_digested():
    for text in (b"1e999", b"NaN", b"9" * 400, b'"\\ud83d"'):
        part = b'{"type":"tool_use","name":"x","input":{"a":' + text + b"}}"
        assert read(b'{"messages":[{"role":"assistant","content":[' + part + b"]}]}").turns


def test_a_history_of_tags_or_blanks_takes_no_longer_than_its_length():
    for text in ("<think>" * 20_000, " \n" * 100_000, "1," * 50_000, "gitStatus:\n" * 10_000, "mon jan 1 " * 10_000):
        read(chat(text, text, system=text))


ODD = (
    "a",
    " a ",
    "a\r\nb",
    "<b>",
    "#1",
    "T",
    "é",
    "e\u0301",
    "a <think>b</think> c",
    "\u2003a\u2003b",
    "\ud800",
    "\x1fa",
)


@each_row("role", ["user", "assistant"])
@each_row("text", ODD)
def test_a_text_says_the_same_however_it_is_wrapped(role, text):
    plain = {"messages": [{"role": role, "content": text}]}
    block = {"messages": [{"role": role, "content": [{"type": "text", "text": text}]}]}
    marked = {"messages": [{"role": role, "content": [{"type": "text", "text": text, "cache_control": {}}]}]}
    gemini = {"contents": [{"role": {"assistant": "model"}.get(role, role), "parts": [{"text": text}]}]}

    assert read(plain) == read(block) == read(marked) == read(gemini)


@each_row(
    ("message", "role"),
    [
        ("hi", "user"), (7, ""), (None, ""), ([], ""), ({}, "user"), ({"role": 7}, "user"), ({"role": "odd"}, "user"),
        ({"role": "user"}, "user"), ({"role": "system"}, "system"), ({"role": "developer"}, "system"),
        ({"role": "assistant"}, "assistant"), ({"role": "model"}, "assistant"), ({"role": "tool"}, "tool"),
        ({"role": "function"}, "tool"), ({"type": "message"}, "user"), ({"type": "text"}, "user"),
        ({"type": "input_text"}, "user"), ({"type": "item_reference"}, ""), ({"type": "function_call"}, "assistant"),
        ({"type": "local_shell_call_output"}, "tool"), ({"type": "web_search_call"}, "assistant"),
        *(({"type": kind}, "") for kind in turns.THINKING), *(({"type": kind}, "tool") for kind in turns.RESULTS),
    ],
)  # fmt: skip
def test_each_kind_of_message_has_its_role(message, role):
    assert history.role_of(message) == role


@pytest.mark.parametrize("place", ["system", "instructions", "systemInstruction", "system_instruction"])
def test_each_place_of_instructions_is_read(place):
    for body in ({place: "Be brief."}, {"request": {place: {"parts": [{"text": "Be brief."}]}}}):
        assert list(history.instructions(Body(json.dumps(body).encode()))) == ["Be brief."]
        assert read({**body, **chat("hi")}).system != b""


@pytest.mark.parametrize("size", [9_999, 10_000, 10_001])
def test_so_many_messages_of_a_history_are_read(size):
    found = read({"messages": [{"role": "user", "content": "a"}] * size})

    assert len(found.turns) == found.messages == min(size, 10_000)


def test_a_history_is_extended_up_to_its_bound():
    before = read(chat("a", "b"))
    more = Body(json.dumps({"messages": [{"role": "user", "content": "c"}] * 10_000}).encode())

    assert len(history.extended(before, more, "messages").turns) == 10_000
    assert history.extended(before, Body(json.dumps(chat("c")).encode()), "messages").turns[2].index == 2


@pytest.mark.parametrize("body", [{"prompt": "hi"}, {"prompt": [{"role": "user", "content": "hi"}]}, {"input": "hi"}])
def test_a_prompt_is_a_history(body):
    assert same(body, chat("hi"))


@pytest.mark.parametrize("block", [{"type": "image"}, {"text": "b", "x": 1}, {"type": "odd", "text": "b"}])
def test_a_message_of_one_block_counts_all_of_it(block):
    assert not same(user(block), user({"type": "text", "text": "a"}))


@pytest.mark.parametrize(
    ("message", "texts"),
    [
        ("hi", ("hi",)), ({"content": "a"}, ("a",)), ({"role": "user", "content": ["a", {"text": "b"}]}, ("a", "b")),
        ({"role": "model", "parts": [{"text": "a"}, {"text": "b", "thought": True}]}, ("a",)),
        ({"role": "assistant", "content": [{"type": "thinking", "text": "t"}, {"type": "text", "text": "b"}]}, ("b",)),
        ({"role": "assistant", "content": None, "refusal": "no"}, ("no",)), ({"type": "text", "text": "a"}, ("a",)),
        ({"role": "assistant", "content": [{"refusal": "no"}]}, ("no",)), (7, ()), ({"role": "user", "content": 7}, ()),
        ({"role": "user", "content": [["a"], "b", 7]}, ("b",)),
    ],
)  # fmt: skip
def test_the_texts_of_a_message(message, texts):
    assert history.texts_of(message) == texts
    assert history.text_of(message) == "".join(texts)


@pytest.mark.parametrize("other", [{"messages": [7]}, {"messages": 7}, {"messages": []}, {"messages": {}}])
def test_a_list_without_messages_is_no_history(other):
    assert same({**other, "input": "hi"}, chat("hi"))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"role": "function", "content": "a.txt"}, {"role": "tool", "content": "a.txt"}),
        ({"role": "assistant", "content": [{"type": "text", "text": "hm", "thought": True}]},
         {"role": "assistant", "content": []}),
        ({"role": "assistant", "content": [["hm"], "yes", 7]}, {"role": "assistant", "content": "yes"}),
    ],
)  # fmt: skip
def test_each_way_to_write_a_message_says_the_same(one, other):
    assert same(*({"messages": [*chat("hi")["messages"], each]} for each in (one, other)))


@pytest.mark.parametrize("name", ["tool_calls", "function_call", "refusal", "parts"])
def test_each_member_of_a_message_counts(name):
    said = {"refusal": ["no", "never"], "parts": [[{"text": "a"}], [{"text": "b"}]]}.get(
        name, [{"name": "ls", "arguments": "{}"}, {"name": "rm", "arguments": "{}"}]
    )
    one, other = ({"messages": [*chat("hi")["messages"], {"role": "assistant", name: each}]} for each in said)

    assert not same(one, other)


def test_a_message_nested_beyond_reason_is_read_without_raising(monkeypatch):
    def gathered(*_: object) -> Conversation:
        raise RecursionError

    monkeypatch.setattr(history, "_gathered", gathered)

    assert read(chat("hi")) == Conversation()
    assert history.extended(Conversation(), Body(json.dumps(chat("hi")).encode()), "messages") == Conversation()
