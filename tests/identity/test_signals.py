"""Where ids stand, and what is none."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, strategies as st

from patchbay.identity import signals
from patchbay.settings.settings import TIERS

from ..each_row import each_row
from .traffic import CHAT, MESSAGES, RESPONSES, request

UUID = "ac980658-63bd-4fb3-97ba-8da64cb1e344"
OLD_USER = f"user_{'a1' * 32}_account__session_{UUID}"


def found(path, body=None, headers=()):
    return [(item.tier, item.value) for item in signals.find(request(path, body, headers))[0]]


@each_row(
    "value",
    [
        "", "  ", "undefined", "NULL", "None", "nil", "true", "False", "0", "000", "[object Object]", "a\nb", "a\x00b",
        "a" * 257, "\ud83d", "00000000-0000-0000-0000-000000000000", "${SESSION}", "{{session}}", "<session-id>",
        "$SESSION_ID", "%SESSION%", 7, None, True, ["a"], {"a": 1}, 1.5,
    ],
)  # fmt: skip
def test_what_is_no_id(value):
    assert signals.usable(value) == ""


@pytest.mark.parametrize("value", ["a", "a" * 256, " padded\t", "ses_1", UUID, "-3750763034362895579", "Zürich", "10"])
def test_what_is_an_id(value):
    assert signals.usable(value) == value.strip()


@each_row(
    "value",
    [
        "tenant\n", "tenant\r\n", "\ntenant", "ten\tant", "a\u200bb", "\ufeff", "-1", "default", "Default", "TEST",
        "unknown", "session_id", "your-session-id", "[object Array]", "chat-[object Object]", "session-undefined",
        "user:null", "sid=None", "(null)", "<nil>", "{session_id}", "{{ session }}", "chat-{{id}}", "${SID}-1",
        "$(uuidgen)", "#{id}", "<%= id %>", "$env:SESSION", "__SESSION_ID__", "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx",
        "ffffffff-ffff-ffff-ffff-ffffffffffff", "--", "...",
    ],
)  # fmt: skip
def test_what_nobody_filled_in_or_cleaned_is_no_id(value):
    """I5: a value with a control character, and what stands where an id was to be filled in, names nothing."""
    assert signals.usable(value) == ""


@pytest.mark.parametrize(
    "value",
    [
        "dev", "main", "x", "test-7", "my default", "nullable", "banana", "ab-none", "undefined-behaviour",
        "{550e8400-e29b-41d4-a716-446655440000}", "00000000-0000-0000-0000-000000000001", "a.b:c/d", "s_0",
    ],
)  # fmt: skip
def test_what_only_looks_like_it_is_an_id(value):
    """I5: words that somebody may have chosen stay ids."""
    assert signals.usable(value) == value


@pytest.mark.parametrize(
    ("tier", "value"),
    [
        ("user", "user-4711-8f2e"), ("user", "3f2b8a52-1b8e-4d0e-9c59-2d8f9f3f4c11"), ("cache_key", "support-bot-v2"),
        ("generic_header", "default"), ("body_session", "main"), ("generic_header", "Default-Session"),
        ("harness", "dev"),
    ],
)  # fmt: skip
def test_what_may_be_the_id_of_a_whole_application(tier, value):
    assert signals.is_common(tier, value)


@pytest.mark.parametrize(
    ("tier", "value"),
    [
        ("cache_key", "3f2b8a52-1b8e-4d0e-9c59-2d8f9f3f4c11"), ("generic_header", "s1"), ("generic_header", "alice"),
        ("generic_header", "session-1"), ("body_session", "refactor auth"), ("generic_header", "session"),
        ("claude_session", "default"), ("own", "default"), ("codex", "main"), ("conversation", "default"),
    ],
)  # fmt: skip
def test_what_names_one_conversation(tier, value):
    assert not signals.is_common(tier, value)


@given(st.text(max_size=40))
def test_an_id_is_printable_and_stays_one(text):
    """I5: what is taken is printable, has no outer blanks, and is taken as it is the next time."""
    taken = signals.usable(text)

    assert taken.isprintable()
    assert taken == taken.strip()
    assert signals.usable(taken) == taken


@given(st.text(st.characters(categories=["Cc", "Cf", "Zl", "Zp"]), min_size=1, max_size=3), st.integers(0, 6))
def test_a_control_character_anywhere_makes_an_id_none(control, place):
    """I5: a control character is not taken off: what came with it is not what was meant."""
    text = "tenant"[:place] + control + "tenant"[place:]

    assert signals.usable(text) == ("tenant" if place in (0, 6) and control.strip("\t") == "" else "")


def test_a_cache_key_with_a_line_end_names_nothing():
    """I5: `tenant` with a line end is not the key `tenant`."""
    assert found(RESPONSES, {"prompt_cache_key": "tenant\n"}) == []
    assert found(RESPONSES, {"prompt_cache_key": "tenant"}) == [("cache_key", "tenant")]


@pytest.mark.parametrize("prefix", ["t" * 200, "tenant-7 / user@example.org", "ü" * 300, "", f"{OLD_USER}"])
def test_a_session_at_the_end_of_a_user_id_is_claude_codes(prefix):
    """I5: gateways put what they like before `_session_` and its uuid."""
    user = f"{prefix}_session_{UUID}"

    assert found(MESSAGES, {"metadata": {"user_id": user}}) == [("claude_session", UUID)]


@pytest.mark.parametrize("user", [f"session_{UUID}", f"a_session_{UUID}x", "a_session_7", f"a_session_{UUID} x"])
def test_a_session_that_is_none_leaves_a_user(user):
    """I5: without the marker, or with something behind the uuid, it is no session of Claude Code."""
    assert found(MESSAGES, {"metadata": {"user_id": user}}) == [("user", user)]


def test_a_session_with_a_line_end_leaves_nothing():
    assert found(MESSAGES, {"metadata": {"user_id": f"a_session_{UUID}\n"}}) == []


def test_the_json_of_a_user_id_may_be_long_and_stand_between_blanks():
    """I5: only the session inside is bounded."""
    user = json.dumps({"device_id": "d" * 600, "account_uuid": "", "session_id": UUID}, indent=1)

    assert found(MESSAGES, {"metadata": {"user_id": f"\n{user}\n"}}) == [("claude_session", UUID)]


@pytest.mark.parametrize("name", ["main", "Main", "root", "default", "null", "", "0"])
def test_the_main_agent_is_no_sub_agent(name):
    """I5: `main` is what a client may call the agent that is no sub-agent."""
    inside = {"metadata": {"user_id": json.dumps({"session_id": "s", "agent_id": name})}}

    assert signals.agent(request(MESSAGES, {}, {"X-Claude-Code-Agent-Id": name})) == ""
    assert signals.agent(request(MESSAGES, inside)) == ""


def test_the_tiers_of_the_table_are_in_the_order_of_the_settings():
    tiers = list(dict.fromkeys(signal.tier for signal in signals.SIGNALS))

    assert tiers == [tier for tier in TIERS if tier in tiers]


@each_row("word", sorted(signals._PLACEHOLDERS))
def test_each_placeholder_names_nothing(word):
    assert signals.usable(word) == signals.usable(word.upper()) == ""
    assert signals.usable(f"{word}-4f") != ""


@each_row("word", sorted(signals._CONSTANTS))
def test_each_constant_may_be_common(word):
    assert signals.is_common("body_session", word)
    assert all(signals.is_common("generic_header", f"{word}-{noun}") for noun in signals._NOUNS)
    assert not signals.is_common("body_session", f"{word}-7")


@pytest.mark.parametrize("name", sorted(signals._MAIN_AGENTS))
def test_each_name_of_the_main_agent(name):
    assert signals.agent(request(MESSAGES, {}, {"x-claude-code-agent-id": name})) == ""
    assert signals.agent(request(MESSAGES, {}, {"x-claude-code-agent-id": f"{name}2"})) == f"{name}2"


def _request_with(where: str):
    """Return a request whose id `s` stands *where* a signal says."""
    kind, _, place = where.partition(" ")
    if where == "header x-client-request-id":
        return request(CHAT, {}, {"x-client-request-id": "s", "user-agent": "pi/1"})
    if kind == "header":
        return request(CHAT, {}, {place: "s"})
    if kind == "turn":
        return request(CHAT, {}, {"x-codex-turn-metadata": json.dumps({place.split()[1]: "s"})})
    if where == "body metadata.user_id":
        return request(CHAT, {"metadata": {"user_id": f"user_a1_account__session_{UUID}"}})
    if place.startswith("metadata.user_id "):
        return request(CHAT, {"metadata": {"user_id": json.dumps({place.split()[1]: "s"})}})
    outer, _, inner = place.partition(".")
    return request(CHAT, {outer: {inner: "s"} if inner else "s"})


@each_row("signal", [each for each in signals.SIGNALS if each.tier != "user"])
def test_each_signal_is_found_where_it_says(signal):
    items, unusable = signals.find(_request_with(signal.where))

    assert [(each.tier, each.where, each.value) for each in items] in (
        [(signal.tier, signal.where, "s")],
        [(signal.tier, signal.where, UUID)],
    )
    assert unusable == ()


@pytest.mark.parametrize("size", [255, 256, 257, 1024, 1025])
def test_an_id_has_256_characters_at_most(size):
    assert (signals.usable("a" * size) != "") == (size <= 256)
    assert (signals.usable(f" {'a' * (size - 2)} ") != "") == (size - 2 <= 256)


def test_no_place_is_named_twice():
    places = [(signal.tier, signal.where) for signal in signals.SIGNALS]

    assert len(places) == len(set(places))


@pytest.mark.parametrize(
    ("headers", "tier"),
    [
        ({"X-Patchbay-Session-Id": "s"}, "own"),
        ({"x-parent-session-id": "s"}, "parent"),
        ({"X-Claude-Code-Session-Id": "s"}, "claude_session"),
        ({"session-id": "s"}, "codex"),
        ({"session_id": "s"}, "codex"),
        ({"conversation_id": "s"}, "codex"),
        ({"thread-id": "s"}, "codex"),
        ({"x-codex-turn-metadata": '{"session_id":"s"}'}, "codex"),
        ({"x-session-affinity": "s"}, "harness"),
        ({"X-Opencode-Session": "s"}, "harness"),
        ({"X-Amp-Thread-Id": "s"}, "harness"),
        ({"X-Task-ID": "s"}, "harness"),
        ({"X-Qwen-Code-Session-Id": "s"}, "harness"),
        ({"X-Client-Request-Id": "s", "User-Agent": "codex_exec/0.169.0 (x)"}, "harness"),
        ({"X-Client-Request-Id": "s", "User-Agent": "pi/0.70"}, "harness"),
        ({"X-Session-ID": "s"}, "generic_header"),
        ({"X_Session_ID": "s"}, "generic_header"),
        ({"chat_id": "s"}, "generic_header"),
    ],
)
def test_each_header_has_its_tier(headers, tier):
    assert found(CHAT, {}, headers) == [(tier, "s")]


@pytest.mark.parametrize(
    ("body", "tier"),
    [
        ({"session_id": "s"}, "body_session"),
        ({"sessionId": "s"}, "body_session"),
        ({"sessionID": "s"}, "body_session"),
        ({"request": {"session_id": "s"}}, "body_session"),
        ({"metadata": {"session_id": "s"}}, "body_session"),
        ({"conversation_id": "s"}, "body_session"),
        ({"chat_id": "s"}, "body_session"),
        ({"conversation": "s"}, "conversation"),
        ({"conversation": {"id": "s"}}, "conversation"),
        ({"previous_response_id": "s"}, "conversation"),
        ({"prompt_cache_key": "s"}, "cache_key"),
        ({"metadata": {"user_id": "s"}}, "user"),
        ({"client_metadata": {"session_id": "s"}}, "codex"),
        ({"client_metadata": {"x-codex-turn-metadata": '{"session_id":"s"}'}}, "codex"),
        ({"parent_session_id": "s"}, "parent"),
    ],
)
def test_each_member_of_a_body_has_its_tier(body, tier):
    assert found(CHAT, body) == [(tier, "s")]


@pytest.mark.parametrize(
    "headers",
    [
        {"mcp-session-id": "s"}, {"Idempotency-Key": "s"}, {"x-request-id": "s"}, {"traceparent": "s"},
        {"x-codex-window-id": "s"}, {"x-codex-installation-id": "s"}, {"x-opencode-request": "s"},
        {"x-amp-message-id": "s"}, {"X-Interaction-Id": "s"}, {"VScode-SessionId": "s"}, {"X-KiloCode-ProjectId": "s"},
        {"X-Client-Request-Id": "s"}, {"X-Client-Request-Id": "s", "User-Agent": "claude-cli/2.1.197"},
        {"X-Client-Request-Id": "s", "User-Agent": "pixel/1.0"}, {"X-Client-Request-Id": "s", "User-Agent": "pip/24"},
    ],
)  # fmt: skip
def test_ids_of_requests_devices_and_windows_are_no_sessions(headers):
    assert found(CHAT, {"user": "u", "safety_identifier": "u", "user_prompt_id": "u"}, headers) == []


@pytest.mark.parametrize("user_id", [OLD_USER, json.dumps({"device_id": "d", "session_id": UUID}, indent=2)])
def test_both_forms_of_claudes_user_id_name_the_session(user_id):
    assert found(MESSAGES, {"metadata": {"user_id": user_id}}) == [("claude_session", UUID)]


@pytest.mark.parametrize("user_id", ["{", '{"device_id":"x"}', "{}", '{"session_id":7}', "[" * 5000, "{" * 5000, 7])
def test_a_broken_user_id_names_nothing(user_id):
    assert found(MESSAGES, {"metadata": {"user_id": user_id}}) == []


def test_an_opening_bracket_alone_is_a_user():
    assert found(MESSAGES, {"metadata": {"user_id": "[x"}}) == [("user", "[x")]


def test_the_first_usable_value_of_a_repeated_header_counts():
    assert found(CHAT, {}, [("x-session-id", "undefined"), ("X-Session-Id", "real")]) == [("generic_header", "real")]


def test_the_second_spelling_is_asked_when_the_first_holds_nothing_usable():
    assert found(CHAT, {}, [("session-id", ""), ("session_id", "real")]) == [("codex", "real")]


def test_an_unusable_id_is_evidence():
    _, unusable = signals.find(request(CHAT, {}, {"x-session-id": "null"}))

    assert [(each.tier, each.used) for each in unusable] == [("generic_header", False)]


def test_codex_names_its_thread_beside_its_session():
    asked = request(RESPONSES, {}, {"session-id": "root", "x-codex-turn-metadata": '{"thread_id":"child"}'})

    assert signals.codex_thread(asked) == "child"


def test_a_sub_agent_is_named_by_header_or_inside_the_user_id():
    inside = {"metadata": {"user_id": '{"session_id":"s","agent_id":"a"}'}}

    assert signals.agent(request(MESSAGES, {}, {"X-Claude-Code-Agent-Id": "a"})) == "a"
    assert signals.agent(request(MESSAGES, inside)) == "a"
    assert signals.agent(request(MESSAGES, {})) == ""


def test_the_words_in_the_place_of_an_id_are_these():
    """Written out, so that none of them is lost."""
    assert set(PLACEHOLDERS.split()) == signals._PLACEHOLDERS
    assert set(CONSTANTS.split()) == signals._CONSTANTS
    assert set("session conversation chat thread id user".split()) == signals._NOUNS
    assert set("main root primary default".split()) == signals._MAIN_AGENTS


PLACEHOLDERS = """
undefined null none nil nan true false string n/a na -1 empty unknown unset default test example placeholder changeme
change-me todo tbd dummy sample anonymous session session_id session-id sessionid conversation_id conversation-id
conversationid thread_id thread-id threadid chat_id chat-id chatid your_session_id your-session-id uuid id
"""
CONSTANTS = """
default main global common app application prod production dev development staging local localhost anonymous anon
unknown guest public system client service server
"""


@pytest.mark.parametrize("body", [{"conversation": None}, {"conversation": {}}, {"session_id": None}, {"metadata": {}}])
def test_an_absent_value_is_no_evidence(body):
    assert signals.find(request(CHAT, body)) == ((), ())


@pytest.mark.parametrize(
    ("tier", "value", "one"),
    [("user", "u-1", False), ("generic_header", "dev", False), ("generic_header", "dev-7", True),
     ("harness", "main session", False), ("codex", "main", True), ("codex", "", False),
     ("generic_header", "null", False), ("cache_key", "app", False),
     ("cache_key", UUID, True), ("session", "user", True)],
)  # fmt: skip
def test_an_id_names_one_conversation_if_it_is_usable_and_not_common(tier, value, one):
    assert signals.names_one(tier, value) == one


def test_all_constants_and_nouns_together_are_common_too():
    assert signals.is_common("generic_header", " ".join(signals._CONSTANTS | signals._NOUNS))
    assert not signals.is_common("generic_header", " ".join(signals._NOUNS))


def test_turn_metadata_without_the_member_names_nothing():
    inner = json.dumps({"other": "s"})

    assert signals.find(request(CHAT, {"client_metadata": {"x-codex-turn-metadata": inner}})) == ((), ())
    assert signals.find(request(CHAT, {}, {"x-codex-turn-metadata": inner})) == ((), ())


# -- signals of a user ------------------------------------------------------------------------------------------------

MINE = signals.SignalTable(signals.custom(("x-acme-chat",), ("chat.id", "deep.er.still")))


def mine(body=None, headers=()):
    return [(item.tier, item.where, item.value) for item in signals.find(request(CHAT, body, headers), MINE)[0]]


@each_row(
    "sent",
    [
        ({}, {"X-Acme-Chat": "a"}, ("custom_header", "header x-acme-chat", "a")),
        ({}, {"x_acme_chat": "a"}, ("custom_header", "header x_acme_chat", "a")),
        ({"chat": {"id": "a"}}, {}, ("custom_body", "body chat.id", "a")),
        ({"chat": {"id": 4711}}, {}, ("custom_body", "body chat.id", "4711")),
        ({"deep": {"er": {"still": "a"}}}, {}, ("custom_body", "body deep.er.still", "a")),
    ],
)  # fmt: skip
def test_a_place_of_the_user_names_the_conversation(sent):
    body, headers, expected = sent

    assert mine(body, headers) == [expected]
    assert found(CHAT, body, headers) == []


@each_row(
    "body",
    [
        {"chat": {"id": True}}, {"chat": {"id": 0}}, {"chat": {"id": 1.5}}, {"chat": {"id": ["a"]}}, {"chat": "a"},
        {"chat": ["id"]}, {"chat": None}, {"deep": {"er": "still"}}, {"chat": {"id": "undefined"}}, {"chat.id": "a"},
    ],
)  # fmt: skip
def test_what_is_no_id_in_a_place_of_the_user_names_nothing(body):
    assert mine(body) == []


def test_places_of_the_user_come_before_the_known_ones_of_their_kind():
    both = {"X-Acme-Chat": "a", "X-Session-ID": "b", "X-Claude-Code-Session-Id": "c", "X-Patchbay-Session-Id": "d"}

    assert [tier for tier, _, _ in mine({"chat": {"id": "e"}}, both)] == [
        "custom_header", "custom_body", "own", "claude_session", "generic_header"
    ]  # fmt: skip


@each_row("tier", ["custom_header", "custom_body"])
def test_a_word_of_the_user_that_all_conversations_may_have_is_common(tier):
    assert signals.is_common(tier, "main")
    assert not signals.is_common(tier, "chat-7")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["id", "er", "still"]), inner),
)


@given(JSON)
def test_no_body_makes_a_place_of_the_user_raise(value):
    for _, _, found in mine({"chat": value, "deep": value}):
        assert signals.usable(found) == found
