"""Stories of conversations: who is recognised, by what, and who is kept apart."""

from __future__ import annotations

import json
import random

import pytest

from patchbay.identity.identify import Identifier
from patchbay.settings.settings import TIERS, SessionSettings
from patchbay.values.answer import Fact
from patchbay.values.decision import Identity

from .traffic import CHAT, GEMINI, MESSAGES, RESPONSES, Teller, answered, chat, request

LONG = "A long unique answer about turbines, gearboxes and rotor blades number {}"
TOOL = "toolu_01Hk2mP8sYt4WzQe7RvNc3Jd"


def tool_call(token: str = TOOL) -> dict[str, object]:
    return {"role": "assistant", "content": [{"type": "tool_use", "id": token, "name": "ls", "input": {}}]}


def tool_answer(token: str = TOOL) -> dict[str, object]:
    return {
        "id": "msg_01",
        "type": "message",
        "content": [{"type": "tool_use", "id": token, "name": "ls", "input": {}}],
    }


# -- explicit ids --------------------------------------------------------------------------------------------------


def test_one_id_in_two_places_is_one_conversation():
    teller = Teller()
    places = [
        teller.ask(CHAT, chat("a"), {"session_id": "abc"}),
        teller.ask(CHAT, chat("b"), {"X-Session-ID": "abc"}),
        teller.ask(CHAT, chat("c"), {"x-session-affinity": "abc"}),
        teller.ask(RESPONSES, {"input": "d", "prompt_cache_key": "abc"}),
    ]

    assert len({identity.affinity for identity in places}) == 1


def test_a_user_is_not_a_session_of_the_same_name():
    teller = Teller()

    user = teller.ask(MESSAGES, chat("a", metadata={"user_id": "abc"}))

    assert user.tier == "user"
    assert user.affinity != teller.ask(MESSAGES, chat("a"), {"X-Session-ID": "abc"}).affinity


def test_the_chats_of_one_user_are_threads_of_their_own():
    teller = Teller()
    one, other = (teller.ask(MESSAGES, chat(text, metadata={"user_id": "u"})) for text in ("a", "b"))

    assert one.affinity == other.affinity
    assert one.thread != other.thread


def test_the_chats_of_one_cache_key_are_threads_of_their_own():
    teller = Teller()
    one, other = (teller.ask(CHAT, chat(text, prompt_cache_key="k")) for text in ("a", "b"))

    assert (one.tier, one.strength) == ("cache_key", "derived")
    assert one.affinity == other.affinity
    assert one.thread != other.thread


def test_a_cache_key_of_all_chats_of_an_application_names_none_of_them():
    teller = Teller()
    openings = [f"question {number}" for number in range(30)]
    first = [teller.serve(CHAT, chat(text, prompt_cache_key="app")) for text in openings]
    fresh = [identity for identity in first if identity.tier == "content"]

    assert {identity.tier for identity in first[:8]} == {"cache_key"}
    assert len({identity.affinity for identity in first[:8]}) == 1
    assert len(fresh) == len({identity.affinity for identity in fresh}) == 22
    assert any("many conversations" in item.why for item in fresh[0].evidence)


def test_a_cache_key_in_plain_words_names_the_first_history_that_began_under_it():
    """I1: `app` is what an application calls itself, and no conversation."""
    teller = Teller()
    openings = [f"question {number}" for number in range(30)]
    served = [teller.serve(CHAT, chat(text, prompt_cache_key="app"), answer=answered("Yes.")) for text in openings]

    assert [identity.tier for identity in served] == ["cache_key"] + 29 * ["content"]
    assert len({identity.affinity for identity in served}) == 30
    assert any("began under it" in item.why for item in served[1].evidence)


def test_what_began_under_a_cache_key_stays_where_it_is_when_that_is_found_to_be_shared():
    teller = Teller()
    first = teller.serve(CHAT, chat("mine", prompt_cache_key="app"), answer=answered(LONG.format(1)))
    for number in range(20):
        teller.serve(CHAT, chat(f"question {number}", prompt_cache_key="app"))
    later = teller.ask(CHAT, chat("mine", LONG.format(1), "and?", prompt_cache_key="app"))

    assert (first.tier, later.affinity) == ("cache_key", first.affinity)


def test_a_cache_key_of_one_long_talk_with_its_side_calls_goes_on_naming_it():
    teller = Teller()
    turns, main = ["hello"], set()
    for number in range(30):
        main.add(teller.serve(CHAT, chat(*turns, prompt_cache_key="one")).affinity)
        turns += [f"short {number}", f"next {number}"]
        side = teller.ask(CHAT, chat(f"side {number % 4}", prompt_cache_key="one"))
        assert (side.tier, {side.affinity}) == ("cache_key", main)


def test_two_clients_with_one_session_id_are_kept_apart():
    teller = Teller()
    ann, bob = (teller.ask(CHAT, chat("a"), {"X-Session-ID": "s", "x-api-key": key}) for key in ("ann", "bob"))

    assert ann.affinity != bob.affinity
    assert ann.thread != bob.thread


def test_nothing_to_hold_on_to_is_an_answer_too():
    identity = Teller().ask("/v1/models", None, method="GET")

    assert (identity.affinity, identity.thread, identity.tier, identity.owner) == ("", "", "", None)


def test_off_switches_affinity_off_but_not_the_owner():
    teller = Teller()
    teller.serve(RESPONSES, {"input": "a"}, answer={"id": "resp_1", "object": "response"}, account="b")

    identity = teller.ask(RESPONSES, {"input": "b", "previous_response_id": "resp_1"}, {"X-Patchbay-Session-Id": "OFF"})

    assert (identity.affinity, identity.thread, identity.binds) == ("", "", False)
    assert identity.owner == {"b"}


# -- settings ------------------------------------------------------------------------------------------------------


def test_a_tier_that_is_not_in_the_order_is_off():
    teller = Teller(order=("generic_header",))

    left = teller.ask(CHAT, chat("a"), {"session-id": "c"})

    assert left.affinity == ""
    assert [(each.tier, each.used) for each in left.evidence] == [("codex", False)]
    assert teller.ask(CHAT, chat("a"), {"session-id": "c", "X-Session-ID": "s"}).value == "s"


def test_the_order_is_the_users():
    body = chat("a", conversation_id="c", metadata={"user_id": "u"})

    assert Teller().ask(CHAT, body).tier == "body_session"
    assert Teller(order=("user", "body_session")).ask(CHAT, body).tier == "user"


def test_every_signal_that_was_not_used_says_why():
    identity = Teller().ask(
        CHAT, chat("a", prompt_cache_key="k", session_id="null"), {"session-id": "c", "X-Session-ID": "s"}
    )

    assert [(each.tier, each.used) for each in identity.evidence] == [
        ("body_session", False), ("codex", True), ("generic_header", False), ("cache_key", False)
    ]  # fmt: skip
    assert all(each.why for each in identity.evidence if not each.used)
    assert "'s'" not in repr(identity)


# -- trees ---------------------------------------------------------------------------------------------------------


def test_sub_agents_share_an_account_and_not_a_thread():
    teller = Teller()
    main = teller.ask(MESSAGES, chat("a"), {"X-Claude-Code-Session-Id": "s"})
    child = teller.ask(MESSAGES, chat("b"), {"X-Claude-Code-Session-Id": "s", "X-Claude-Code-Agent-Id": "x"})

    assert main.affinity == child.affinity
    assert main.thread != child.thread


def test_isolated_sub_agents_share_neither():
    teller = Teller(subagents="isolate")
    pairs = [
        ({"X-Claude-Code-Session-Id": "s"}, {"X-Claude-Code-Session-Id": "s", "X-Claude-Code-Agent-Id": "x"}),
        ({"session-id": "r", "thread-id": "r"}, {"session-id": "r", "thread-id": "c", "x-codex-parent-thread-id": "r"}),
        ({"x-session-affinity": "ses_1"}, {"x-session-affinity": "ses_2", "x-parent-session-id": "ses_1"}),
    ]
    for main, child in pairs:
        body = chat("a", prompt_cache_key="r")
        assert teller.ask(RESPONSES, body, main).affinity != teller.ask(RESPONSES, body, child).affinity


def test_a_grandchild_finds_the_root_through_its_parent():
    teller = Teller()
    root = teller.ask(CHAT, chat("a"), {"x-session-affinity": "root"})
    teller.ask(CHAT, chat("b"), {"x-session-affinity": "child", "x-parent-session-id": "root"})
    grandchild = teller.ask(CHAT, chat("c"), {"x-session-affinity": "grandchild", "x-parent-session-id": "child"})

    assert grandchild.affinity == root.affinity
    assert (grandchild.tier, grandchild.value) == ("parent", "child")
    assert teller.ask(CHAT, chat("c"), {"x-session-affinity": "grandchild"}).affinity == root.affinity


def test_a_session_that_names_itself_as_parent_is_what_it_is():
    identity = Teller().ask(CHAT, chat("a", parent_session_id="s"), {"X-Session-ID": "s"})

    assert (identity.tier, identity.value) == ("generic_header", "s")


def test_a_parent_that_is_another_name_of_the_session_is_none():
    both = {"x-session-affinity": "a", "X-Session-ID": "b", "x-parent-session-id": "b"}

    assert Teller().ask(CHAT, chat("q"), both).tier == "harness"


def test_two_that_name_each_other_as_parent_end_somewhere():
    teller = Teller()
    one = teller.ask(CHAT, chat("a"), {"x-session-affinity": "a", "x-parent-session-id": "b"})
    other = teller.ask(CHAT, chat("b"), {"x-session-affinity": "b", "x-parent-session-id": "a"})

    assert one.affinity == other.affinity


def test_codex_names_the_root_of_its_tree_better_than_an_unknown_parent():
    headers = {"session-id": "root", "thread-id": "grandchild", "x-codex-parent-thread-id": "child"}
    root = Teller().ask(RESPONSES, {"input": "a"}, {"session-id": "root", "thread-id": "root"})

    assert Teller().ask(RESPONSES, {"input": "b"}, headers).affinity == root.affinity


def test_a_fork_of_codex_stays_with_what_it_was_forked_from():
    teller = Teller()
    metadata = json.dumps({"session_id": "new", "thread_id": "new", "forked_from_thread_id": "old"})
    before = teller.serve(RESPONSES, {"input": "a"}, {"session-id": "old", "thread-id": "old"})
    fork = teller.ask(RESPONSES, {"input": "b"}, {"session-id": "new", "x-codex-turn-metadata": metadata})

    assert fork.affinity == before.affinity
    assert fork.thread != before.thread


# -- stronger ids that come later -----------------------------------------------------------------------------------


def test_a_session_that_gets_an_id_later_stays_where_it_is():
    teller = Teller()
    first = teller.serve(CHAT, chat("a", prompt_cache_key="k"))
    named = teller.serve(CHAT, chat("a", "b", "c", prompt_cache_key="k"), {"X-Session-ID": "s"})

    assert named.affinity == first.affinity
    assert teller.ask(CHAT, chat("z"), {"X-Session-ID": "s"}).affinity == first.affinity


def test_a_shared_cache_key_does_not_glue_two_named_sessions_together():
    teller = Teller()
    teller.serve(CHAT, chat("a", prompt_cache_key="bucket"))
    one = teller.ask(CHAT, chat("a", prompt_cache_key="bucket"), {"X-Session-ID": "one"})
    two = teller.ask(CHAT, chat("a", prompt_cache_key="bucket"), {"X-Session-ID": "two"})

    assert one.affinity != two.affinity


def test_a_constant_in_a_header_list_does_not_glue_two_sessions_together():
    teller = Teller()
    one, two = (
        teller.ask(MESSAGES, chat("a"), {"X-Claude-Code-Session-Id": session, "X-Session-ID": "dev"})
        for session in ("one", "two")
    )

    assert one.affinity != two.affinity


def test_a_compaction_that_changes_the_id_is_followed_by_what_it_keeps():
    teller = Teller()
    before = teller.serve(MESSAGES, chat("a"), {"X-Claude-Code-Session-Id": "old"}, tool_answer())
    kept = {"messages": [{"role": "user", "content": "summary"}, tool_call(), {"role": "user", "content": "go on"}]}

    assert teller.ask(MESSAGES, kept, {"X-Claude-Code-Session-Id": "new"}).affinity == before.affinity


def test_responses_we_did_not_see_do_not_use_up_their_cache_key():
    teller = Teller()
    first = teller.serve(RESPONSES, {"input": "a", "prompt_cache_key": "k"})
    for number in range(3):
        body = {"input": "b", "prompt_cache_key": "k", "previous_response_id": f"resp_{number}"}
        assert teller.serve(RESPONSES, body).affinity == first.affinity


def test_our_own_id_borrows_nothing():
    teller = Teller()
    before = teller.serve(MESSAGES, chat("a"), {"X-Claude-Code-Session-Id": "c"})
    both = {"X-Claude-Code-Session-Id": "c", "X-Patchbay-Session-Id": "mine"}

    assert teller.ask(MESSAGES, chat("a"), both).affinity != before.affinity


# -- what is said ---------------------------------------------------------------------------------------------------


def test_the_first_user_turn_is_the_root_and_instructions_are_not():
    teller = Teller()
    one = teller.ask(CHAT, {"messages": [{"role": "system", "content": "A"}, *chat("q")["messages"]]})
    other = teller.ask(CHAT, {"messages": [{"role": "system", "content": "B"}, *chat("q")["messages"]]})

    assert one.affinity == other.affinity
    assert one.thread != other.thread
    assert (one.tier, one.strength) == ("content", "guess")


@pytest.mark.parametrize("answer", ["Hello!", LONG.format(1)])
def test_equal_openings_are_told_apart_by_their_answers(answer):
    """A hundred chats that all begin with `hi`, each answered otherwise, each served by another account."""
    teller = Teller()
    answers = [f"{answer} ({number})" for number in range(100)]
    for number, text in enumerate(answers):
        teller.serve(CHAT, chat("hi"), answer=answered(text), account=f"account-{number % 7}")
    second = [teller.serve(CHAT, chat("hi", text, "go")) for text in answers]
    third = [teller.ask(CHAT, chat("hi", text, "go", "gone", "on")) for text in answers]

    assert [identity.home for identity in second] == [f"account-{number % 7}" for number in range(100)]
    assert len({identity.thread for identity in second}) == 100
    assert len({identity.affinity for identity in second}) == 100
    assert [identity.thread for identity in second] == [identity.thread for identity in third]
    assert [identity.affinity for identity in second] == [identity.affinity for identity in third]


@pytest.mark.parametrize("answer", ["Hello!", LONG.format(1)])
def test_a_first_turn_and_the_one_that_quotes_its_answer_are_one_thread(answer):
    teller = Teller()
    first = teller.serve(CHAT, chat("hi"), answer=answered(answer))

    assert teller.ask(CHAT, chat("hi", answer, "go")).thread == first.thread


def test_a_regenerated_opening_stays_where_it_was():
    teller = Teller()
    first = teller.serve(CHAT, chat("hi"), answer=answered("Hello!"), account="b")

    assert teller.serve(CHAT, chat("hi"), answer=answered("Hey!"), account="b").near == "b"
    assert teller.ask(CHAT, chat("hi", "Hello!", "go")).affinity == first.affinity
    assert teller.ask(CHAT, chat("hi", "Hey!", "go")).home == "b"


def test_the_thread_is_final_from_the_second_turn_even_if_no_answer_was_seen():
    teller = Teller()
    turns = ["hi", "Hello!", "a", "b", "c", "d", "e"]
    threads = {teller.serve(CHAT, chat(*turns[:length])).thread for length in (3, 5, 7)}

    assert len(threads) == 1


def test_two_chats_with_one_context_block_are_told_apart_by_their_questions():
    context = {"role": "user", "parts": [{"text": "<session_context>\nToday is Friday\n</session_context>"}]}
    teller = Teller()
    one, other = (
        teller.ask(GEMINI, {"contents": [context, {"role": "user", "parts": [{"text": text}]}]}) for text in ("a", "b")
    )

    assert one.affinity != other.affinity


def test_a_window_that_slid_past_the_root_is_known_by_our_answer():
    teller = Teller()
    first = teller.serve(CHAT, chat("w1"), answer=answered(LONG.format(1)))
    teller.serve(CHAT, chat("w1", LONG.format(1), "w2"), answer=answered(LONG.format(2)))

    slid = teller.ask(CHAT, chat("w2", LONG.format(2), "w3"))

    assert (slid.affinity, slid.tier, slid.home) == (first.affinity, "token", "a")


def test_examples_an_application_puts_first_link_nobody():
    teller = Teller()
    example = ["example question", LONG.format("of an example")]
    one = teller.serve(CHAT, chat(*example, "real question"))
    other = teller.ask(CHAT, chat("another example", example[1], "other question"))

    assert one.affinity != other.affinity


def test_an_answer_that_two_conversations_got_links_neither():
    teller = Teller()
    refusal = "I am sorry, but I cannot help with that request as it is stated here."
    for text in ("a", "b"):
        teller.serve(CHAT, chat(text), answer=answered(refusal))
    fresh = teller.ask(CHAT, chat("c", refusal, "why?"))

    assert fresh.tier == "content"
    assert fresh.affinity not in {teller.ask(CHAT, chat(text)).affinity for text in ("a", "b")}


@pytest.mark.parametrize("token", ["call_0", "functions.ls:0"])
def test_a_weak_token_links_nobody(token):
    teller = Teller()
    teller.serve(MESSAGES, chat("a"), answer=tool_answer(token))
    body = {"messages": [{"role": "user", "content": "b"}, tool_call(token)]}

    assert teller.ask(MESSAGES, body).tier == "content"
    assert len(teller.ledger) == 4  # the id of the answer, the opening, the name and the history of its conversation


def test_nobody_finds_the_answers_of_another_client():
    teller = Teller()
    ann = teller.serve(MESSAGES, chat("a"), {"x-api-key": "ann"}, tool_answer())
    body = {"messages": [{"role": "user", "content": "b"}, tool_call()]}

    assert teller.ask(MESSAGES, body, {"x-api-key": "bob"}).affinity != ann.affinity
    assert teller.ask(MESSAGES, body, {"x-api-key": "ann"}).affinity == ann.affinity


def test_after_the_ttl_nothing_is_known_and_nothing_breaks():
    teller = Teller(ttl=60.0)
    teller.serve(CHAT, chat("a", prompt_cache_key="k"))
    teller.now += 100

    assert teller.ask(CHAT, chat("a"), {"X-Session-ID": "s"}).affinity


# -- owners --------------------------------------------------------------------------------------------------------


def test_a_response_is_continued_where_it_is_stored():
    teller = Teller()
    answer = {"id": "resp_1", "object": "response", "output": []}
    first = teller.serve(RESPONSES, {"input": "a"}, answer=answer, account="b")
    second = teller.ask(RESPONSES, {"input": "c", "previous_response_id": "resp_1"})

    assert (second.owner, second.affinity, second.tier) == ({"b"}, first.affinity, "conversation")
    assert teller.ask("/v1/responses/resp_1", None, method="GET").owner == {"b"}
    assert not teller.ask("/v1/responses/resp_1/cancel", {}).binds


def test_encrypted_reasoning_goes_back_where_it_can_be_read():
    teller = Teller()
    secret = "gAAAAABo" + "Zk3v9QxWm2TnB7cL" * 40
    item = {"type": "reasoning", "id": "rs_1", "encrypted_content": secret, "summary": []}
    answer = {"id": "resp_1", "object": "response", "output": [item]}
    teller.serve(RESPONSES, {"input": "a"}, {"session-id": "s"}, answer, account="b")

    again = teller.ask(RESPONSES, {"input": [{"role": "user", "content": "a"}, item]}, {"session-id": "s"})

    assert again.owner == {"b"}
    assert again.tier == "codex"


def test_a_file_constrains_and_merges_nobody():
    teller = Teller()
    upload = {"id": "file-abc123def456", "object": "file"}
    teller.serve("/v1/files", b"--multipart--", answer=upload, account="b")
    chats = [
        teller.serve(
            CHAT, {"messages": [{"role": "user", "content": [{"file": {"file_id": "file-abc123def456"}}, text]}]}
        )
        for text in ("sum it up", "translate it")
    ]

    assert all(identity.owner == {"b"} for identity in chats)
    assert chats[0].affinity != chats[1].affinity


def test_a_cache_is_used_where_it_is_kept():
    teller = Teller()
    made = teller.ask("/v1beta/cachedContents", {})
    teller.identifier.learn(
        request("/v1beta/cachedContents", {}), made, "b", [Fact("token", "cachedContents/abc", "cache")], teller.now
    )
    body = {"cachedContent": "cachedContents/abc", "contents": [{"parts": [{"text": "a"}]}]}

    assert teller.ask(GEMINI, body).owner == {"b"}
    assert teller.ask("/v1beta/cachedContents/abc", None, method="GET").owner == {"b"}


@pytest.mark.parametrize("headers", [{}, {"X-Claude-Code-Session-Id": "a-session-of-its-own"}])
def test_a_message_thread_belongs_to_the_account_that_answered(headers):
    """P8: `thread.previous_message_id` is the id of an answer, which names its account and its conversation."""
    teller = Teller()
    answer = {"id": "msg_01Zk3v9QxWm2TnB7cLab", "type": "message", "content": [{"type": "text", "text": "hi"}]}
    created = chat("begin", thread={"type": "create"})
    first = teller.serve(MESSAGES, created, headers, answer=answer, account="b")
    previous = {"type": "continue", "previous_message_id": "msg_01Zk3v9QxWm2TnB7cLab"}
    then = teller.ask(MESSAGES, chat("go on", thread=previous), headers)

    assert then.owner == {"b"}
    assert then.affinity == first.affinity
    assert headers or (then.tier, then.home) == ("conversation", "b")


@pytest.mark.parametrize("thread", [None, "msg_1", 7, [], {}, {"type": "create"}, {"previous_message_id": 7}])
def test_a_thread_that_continues_nothing_belongs_to_nobody(thread):
    assert Teller().ask(MESSAGES, chat("begin", thread=thread)).owner is None


def test_of_two_owners_the_first_reference_counts():
    teller = Teller()
    for account in ("a", "b"):
        teller.serve(
            RESPONSES, {"input": account}, answer={"id": f"resp_{account}", "object": "response"}, account=account
        )
    body = {"previous_response_id": "resp_b", "input": [{"type": "item_reference", "id": "resp_a"}]}
    identity = teller.ask(RESPONSES, body)

    assert identity.owner == {"b"}
    assert any(each.tier == "owner" and not each.used for each in identity.evidence)


def test_the_name_of_a_model_is_not_a_resource_of_an_account():
    teller = Teller()
    teller.serve("/v1/models/gpt-5.4", None, method="GET", answer=[Fact("id", "gpt-5.4", "body id")], account="b")

    assert teller.ask("/v1/models/gpt-5.4", None, method="GET").owner is None


# -- side calls ----------------------------------------------------------------------------------------------------


def test_side_calls_follow_and_do_not_bind():
    teller = Teller()
    talk = teller.ask(MESSAGES, chat("a"))
    count = teller.ask("/v1/messages/count_tokens", chat("a"))
    warm = teller.ask(MESSAGES, chat("a", max_tokens=1))
    title = teller.ask(MESSAGES, chat("a", system="Write a short title for this conversation"))

    assert [each.binds for each in (talk, count, warm, title)] == [True, False, False, False]
    assert {each.affinity for each in (count, warm, title)} == {talk.affinity}


def test_a_side_call_on_another_account_moves_nothing():
    teller = Teller()
    teller.serve(CHAT, chat("a", max_tokens=1), answer=answered("x"), account="b")
    first = teller.serve(CHAT, chat("a"), answer=answered(LONG.format(1)), account="a")

    assert teller.ask(CHAT, chat("a", LONG.format(1), "go")).affinity == first.affinity


def test_what_was_said_is_not_in_the_evidence():
    teller = Teller()
    teller.serve(CHAT, chat("a"), answer=answered(LONG.format(1)))
    identity = teller.ask(CHAT, chat("a", LONG.format(1), "go"))

    assert identity.tier == "token"
    assert not any("turbines" in each.value for each in identity.evidence)


def test_a_title_call_with_a_session_of_its_own_right_binds():
    body = chat("a", system="Write a short title for this conversation")

    assert Teller().ask(CHAT, body, {"x-session-affinity": "ses_1"}).binds


# -- bounds and garbage --------------------------------------------------------------------------------------------


def test_headers_decide_without_the_history_being_decoded():
    teller = Teller()
    teller.serve(CHAT, chat("a"), {"X-Session-ID": "s"})
    body = b'{"messages": [{"role": "user", "content": "%s"}]}' % (b"x" * 1000)

    asked = request(CHAT, body, {"X-Session-ID": "s"})
    teller.identifier.identify(asked, 5)

    assert "messages" not in asked.body._values


def test_every_memory_is_bounded():
    teller = Teller(limit=20)
    for number in range(500):
        teller.serve(
            CHAT, chat(f"q{number}", "a", "b", prompt_cache_key=f"k{number}"), answer=answered(LONG.format(number))
        )
    identifier = teller.identifier

    assert max(len(identifier.aliases), len(identifier._prefixes), len(identifier._histories)) <= 80


GARBAGE = [
    b"", b"{", b"[1]", b"null", b"\xff\xfe\x00", b'{"messages":' + b"[" * 50_000, b'{"a":1}{"messages":[]}',
    b'\xef\xbb\xbf{"messages":[{"role":"user","content":"bom"}]}', b'{"metadata":{"user_id":{"a":[]}}}',
    b'{"messages":[{"role":"user","content":"a"}],"messages":[{"role":"user","content":"b"}]}',
    b'{"conversation":[],"previous_response_id":{},"container":7,"cachedContent":[1],"client_metadata":"x"}',
    b'{"request":"x","generationConfig":7,"max_tokens":"1","tools":7,"system":7,"prompt_cache_key":{}}',
    b'{"messages":[{"role":"user","content":"\\ud83d"}],"session_id":"\\ud83d","prompt_cache_key":"\\udc00"}',
]  # fmt: skip


@pytest.mark.parametrize("path", [CHAT, RESPONSES, MESSAGES, GEMINI, "/v1/files", "/somewhere/else", "//%ff/%00:x", ""])
def test_garbage_never_raises(path):
    teller = Teller()
    for body in (*GARBAGE, None):
        identity = teller.serve(
            path, body, [("session-id", "\x00"), ("x-codex-turn-metadata", "{" * 9000), ("session-id", "\udcff")],
            [Fact("id", None), Fact("token", 7, "tool"), Fact("text", None), Fact("token", "\ud83d" * 40, "tool")],
        )  # fmt: skip
        assert isinstance(identity, Identity)


def test_bytes_out_of_the_blue_never_raise():
    teller, chance = Teller(), random.Random(7)
    base = json.dumps({**chat("hi", "there", "you"), "metadata": {"user_id": "u"}}).encode()
    for _ in range(300):
        body = bytearray(base)
        for _ in range(chance.randrange(1, 6)):
            body[chance.randrange(len(body))] = chance.randrange(256)
        teller.serve(chance.choice([CHAT, RESPONSES, MESSAGES, GEMINI]), bytes(body))


def test_the_default_order_asks_every_tier():
    assert Teller().identifier._sessions.order == TIERS


# -- each reason and each way, by itself ----------------------------------------------------------------------------

AFFINITY, PARENT = "x-session-affinity", "x-parent-session-id"
CLAUDE_AGENT = {"x-claude-code-session-id": "s", "x-claude-code-agent-id": "a"}


@pytest.mark.parametrize(
    ("before", "headers", "why"),
    [
        ([], {AFFINITY: "child", PARENT: "child"}, "names itself"),
        ([{AFFINITY: "b", PARENT: "child"}], {AFFINITY: "child", PARENT: "b"}, "is a child of this one"),
        ([{AFFINITY: "child"}], {AFFINITY: "child", PARENT: "b"}, "unknown, and the child is under way"),
        ([{AFFINITY: "b"}, {AFFINITY: "child"}], {AFFINITY: "child", PARENT: "b"}, ""),
        ([], {AFFINITY: "child", PARENT: "b"}, ""),
        ([], {"session-id": "r", "x-codex-parent-thread-id": "b"}, "unknown, inside a named session"),
        ([{AFFINITY: "b"}], {"session-id": "r", "x-codex-parent-thread-id": "b"}, ""),
        ([], {"x-codex-parent-thread-id": "b"}, ""),
    ],
)
def test_each_reason_to_pass_over_a_parent(before, headers, why):
    """tests.md 8: a running conversation stays where it is when its parent is unknown."""
    teller = Teller()
    first = [teller.ask(CHAT, chat("a"), each) for each in before]
    identity = teller.ask(CHAT, chat("q"), headers)

    assert [each.why for each in identity.evidence if each.tier == "parent"] == [why]
    assert (identity.tier == "parent") == (why == "")
    if why == "unknown, and the child is under way":
        assert identity.affinity == first[0].affinity


def test_a_linked_request_keeps_the_thread_it_is_linked_to():
    """tests.md 9: by `previous_response_id`, a path, or a token, whatever else the request says."""
    teller = Teller()
    token = {"id": "fc_1", "type": "function_call", "call_id": "call_Zk3v9QxWm2TnB7cL", "name": "ls", "arguments": "{}"}
    answer = {"id": "resp_Zk3v9QxWm2TnB7cL", "object": "response", "output": [token]}
    first = teller.serve(RESPONSES, {"input": "a"}, {"x-session-id": "s"}, answer)
    by_reference = teller.ask(RESPONSES, {"input": "c", "previous_response_id": answer["id"]})
    by_path = teller.ask(f"{RESPONSES}/{answer['id']}", None, method="GET")
    by_token = teller.ask(RESPONSES, {"input": [{"role": "user", "content": "c"}, token]})

    assert [each.tier for each in (by_reference, by_path, by_token)] == ["conversation", "conversation", "token"]
    assert {each.thread for each in (by_reference, by_path, by_token)} == {first.thread} != {""}
    assert {each.affinity for each in (by_reference, by_path, by_token)} == {first.affinity}


@pytest.mark.parametrize(
    ("tier", "headers", "body", "strength", "binds"),
    [
        ("own", {"x-patchbay-session-id": "s"}, {}, "exact", True),
        ("claude_session", {"x-claude-code-session-id": "s"}, {}, "exact", True),
        ("codex", {"session-id": "s"}, {}, "exact", True),
        ("harness", {AFFINITY: "s"}, {}, "exact", True),
        ("generic_header", {"x-session-id": "s"}, {}, "exact", True),
        ("body_session", {}, {"session_id": "s"}, "exact", True),
        ("conversation", {}, {"conversation": "s"}, "exact", True),
        ("cache_key", {}, {"prompt_cache_key": "k"}, "derived", True),
        ("user", {}, {"metadata": {"user_id": "u"}}, "guess", True),
        ("content", {}, {}, "guess", True),
        ("content", {}, {"max_tokens": 1}, "guess", False),
        ("generic_header", {"x-session-id": "s"}, {"max_tokens": 1}, "exact", False),
    ],
)
def test_each_tier_has_its_strength(tier, headers, body, strength, binds):
    identity = Teller().ask(CHAT, chat("q", **body), headers)

    assert (identity.tier, identity.strength, identity.binds) == (tier, strength, binds)
    assert identity.affinity
    assert identity.thread


def test_signals_without_a_part_in_it_are_evidence():
    headers = {"x-session-id": "s", "x-session-affinity": "undefined", "session-id": "c"}
    identity = Teller(order=("generic_header", "content")).ask(CHAT, chat("q", prompt_cache_key="k"), headers)

    assert {(each.tier, each.why) for each in identity.evidence} == {
        ("generic_header", ""),
        ("harness", "not usable as an id"),
        ("codex", "not in sessions.order"),
        ("cache_key", "not in sessions.order"),
    }


@pytest.mark.parametrize(
    ("headers", "body", "subagents", "affinity", "thread"),
    [
        ({"x-patchbay-session-id": "s"}, {}, "inherit", "2c1936225e9cf61a", "94b53bbe97930b20"),
        ({"x-session-id": "s"}, {}, "inherit", "2c1936225e9cf61a", "94b53bbe97930b20"),
        ({}, {"prompt_cache_key": "k"}, "inherit", "df3a84c06e3ad400", "89beab2368936c25"),
        ({}, {"metadata": {"user_id": "u"}}, "inherit", "4a90185a22a0d168", "89beab2368936c25"),
        ({}, {}, "inherit", "3020c8d14cd64872", "89beab2368936c25"),
        (CLAUDE_AGENT, {}, "inherit", "2c1936225e9cf61a", "9b0ef6580f8d3d7d"),
        (CLAUDE_AGENT, {}, "isolate", "aec19ad5d500ead8", "9b0ef6580f8d3d7d"),
        ({"session-id": "s", "thread-id": "t"}, {}, "isolate", "7e0222654ea2d14c", "3967e9af7e13cb10"),
    ],
)
def test_stored_affinities_and_threads_never_change(headers, body, subagents, affinity, thread):
    """Stores, journals and dumps of earlier versions hold them."""
    teller = Teller(subagents=subagents)
    identity = teller.ask(CHAT, chat("q", **body), {**headers, "x-api-key": "key"})

    assert (identity.affinity[:16], identity.thread[:16]) == (affinity, thread)


@pytest.mark.parametrize("headers", [{}, {"x-session-id": "s"}])
def test_of_a_long_request_the_new_messages_alone_are_searched_for_ids(headers):
    teller = Teller()
    texts = [f"turn {number}: {'as much as one says ' * 100}" for number in range(21)]
    teller.serve(CHAT, chat(*texts), headers)
    again = request(CHAT, chat(*texts, "an answer", "and then?"), headers)
    outline = teller.identifier._outline(again, teller.now)

    assert outline is not None
    assert len(outline.body.get("messages")) == 2
    assert teller.identifier._outline(request(CHAT, chat(*texts[:3]), headers), teller.now) is None


def test_limit_and_life_of_what_is_learned_follow_the_settings():
    teller = Teller(limit=2, ttl=60)
    for limit, ttl in ((2, 60.0), (3, 90.0)):
        teller.identifier.reload(SessionSettings(limit=limit, ttl=ttl))
        for number in range(20):
            teller.ask(CHAT, chat("a"), {"x-session-id": f"{limit}-{number}"})
        made = teller.identifier
        assert len(made.aliases) == 4 * limit
        assert made._prefixes._entries.limit == 4 * limit
        assert {made._learner.ttl, made._truncated.ttl, made._first_turns.ttl} == {ttl}


@pytest.mark.parametrize("limit", [1, 3])
def test_four_ids_are_kept_for_each_session_of_the_limit(limit):
    teller = Teller(limit=limit)
    for number in range(20):
        teller.ask(CHAT, chat("a"), {"x-session-id": str(number)})

    assert len(teller.identifier.aliases) == 4 * limit
    assert teller.identifier._prefixes._entries.limit == 4 * limit


def test_another_order_of_tiers_holds_from_the_next_request_on():
    teller = Teller()
    teller.identifier.reload(SessionSettings(order=("body_session",)))

    assert teller.ask(CHAT, chat("a", session_id="b"), {"x-session-id": "s"}).tier == "body_session"


@pytest.mark.parametrize("body", [{"prompt_cache_key": "p"}, {"metadata": {"user_id": "p"}}])
def test_a_parent_is_not_what_a_user_or_a_cache_key_is_called(body):
    identity = Teller().ask(CHAT, chat("q", **body), {PARENT: "p"})

    assert identity.tier == "parent"


@pytest.mark.parametrize(
    ("path", "body", "headers", "order", "found"),
    [
        (CHAT, {"messages": []}, {}, TIERS, [("content", False, "the user says nothing")]),
        (CHAT, chat("q", prompt_cache_key="k"), {}, TIERS, [("cache_key", True, "")]),
        (CHAT, chat("q"), {}, TIERS, [("content", True, "")]),
        (CHAT, chat("q"), {"x-session-id": "s", "session-id": "c"}, TIERS,
         [("codex", True, ""), ("generic_header", False, "codex comes first")]),
        (CHAT, chat("q"), {PARENT: "p"}, ("conversation", "parent"), [("parent", True, "")]),
    ],
)  # fmt: skip
def test_each_way_to_an_identity_is_evidence(path, body, headers, order, found):
    identity = Teller(order=order).ask(path, body, headers)

    assert [(each.tier, each.used, each.why) for each in identity.evidence] == found


def test_a_parent_of_an_isolated_agent_is_not_used():
    identity = Teller(order=("parent",), subagents="isolate").ask(CHAT, chat("q"), {PARENT: "p"})

    assert [(each.tier, each.used, each.why) for each in identity.evidence] == [("parent", False, "not used")]


def test_the_answer_that_a_request_goes_on_from_is_evidence():
    teller = Teller()
    answer = {"id": "resp_Zk3v9QxWm2TnB7cL", "object": "response"}
    teller.serve(RESPONSES, {"input": "a"}, {"x-session-id": "s"}, answer)
    identity = teller.ask(RESPONSES, {"input": "b", "previous_response_id": answer["id"]})

    assert ("conversation", True, answer["id"]) in [(each.tier, each.used, each.value) for each in identity.evidence]


def test_a_first_turn_that_began_under_a_common_id_is_taken_without_the_id_too():
    teller = Teller()
    named = teller.serve(CHAT, chat("hi"), {"x-session-id": "dev"}, answered("Hello!"), account="b")
    identity = teller.ask(CHAT, chat("hi"))

    assert (named.tier, identity.tier, identity.near) == ("generic_header", "content", "b")
    assert any("another conversation began so" in each.why for each in identity.evidence)


@pytest.mark.parametrize(("order", "borrows"), [(TIERS, True), (("generic_header", "content"), False)])
def test_a_new_id_borrows_from_a_token_only_if_tokens_count(order, borrows):
    teller = Teller(order=order)
    before = teller.serve(MESSAGES, chat("a"), {"x-session-id": "old"}, tool_answer())
    kept = {"messages": [{"role": "user", "content": "summary"}, tool_call(), {"role": "user", "content": "go on"}]}

    assert (teller.ask(MESSAGES, kept, {"x-session-id": "new"}).affinity == before.affinity) == borrows


@pytest.mark.parametrize(("subagents", "lends"), [("inherit", True), ("isolate", False)])
def test_an_id_lends_its_affinity_to_new_weaker_ones_beside_it(subagents, lends):
    teller = Teller(subagents=subagents)
    both = teller.ask(CHAT, chat("a", prompt_cache_key="key"), {AFFINITY: "one", "x-session-id": "two"})
    alone = [teller.ask(CHAT, chat("b"), {"x-session-id": "two"}), teller.ask(CHAT, chat("c", prompt_cache_key="key"))]

    assert [each.affinity == both.affinity for each in alone] == [lends, lends]


def test_a_short_history_is_known_after_a_restart():
    teller = Teller()
    first = teller.serve(CHAT, chat("hi"), answer=answered("Hello!"))
    again = Teller()
    again.identifier = Identifier(b"k" * 32, SessionSettings(), teller.ledger)
    asked = again.identifier.identify(request(CHAT, chat("hi", "Hello!", "go")), 5)

    assert (asked.affinity, asked.strength) == (first.affinity, "derived")


def test_a_header_of_the_user_names_the_conversation_before_those_of_tools():
    teller = Teller(headers=("x-acme-chat",))
    first = teller.ask(CHAT, chat("a"), {"X-Acme-Chat": "chat-1", "X-Claude-Code-Session-Id": "tool"})
    other = teller.ask(CHAT, chat("a"), {"X-Acme-Chat": "chat-2", "X-Claude-Code-Session-Id": "tool"})

    assert (first.tier, first.value) == ("custom_header", "chat-1")
    assert first.affinity != other.affinity
    assert [(each.tier, each.why) for each in first.evidence if not each.used] == [
        ("claude_session", "custom_header comes first")
    ]


def test_a_member_of_the_user_names_the_conversation_whatever_its_messages_are():
    teller = Teller(body=("chat.id",))
    first = teller.ask(CHAT, chat("a", chat={"id": 7}))

    assert (first.tier, first.value) == ("custom_body", "7")
    assert teller.ask(CHAT, chat("entirely other", chat={"id": 7})).affinity == first.affinity


def test_places_of_the_user_hold_from_a_reload_on():
    teller = Teller()
    assert teller.ask(CHAT, chat("a"), {"X-Acme-Chat": "s"}).tier == "content"

    teller.identifier.reload(SessionSettings(headers=("x-acme-chat",)))
    assert teller.ask(CHAT, chat("a"), {"X-Acme-Chat": "s"}).tier == "custom_header"

    teller.identifier.reload(SessionSettings())
    assert teller.ask(CHAT, chat("a"), {"X-Acme-Chat": "s"}).tier == "content"
