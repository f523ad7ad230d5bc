"""What an answered request teaches."""

from __future__ import annotations

from typing import Any

import pytest

from patchbay.identity.learn import _FACTS
from patchbay.values.answer import Fact

from .traffic import CHAT, GEMINI, MESSAGES, RESPONSES, Teller, chat

TOKEN = "toolu_Zk3v9QxWm2TnB7cL"


def quoting(token: str = TOKEN) -> dict[str, Any]:
    call = {"role": "assistant", "content": [{"type": "tool_use", "id": token, "name": "ls", "input": {}}]}
    return {"messages": [{"role": "user", "content": "another"}, call]}


@pytest.mark.parametrize(("before", "is_known"), [(_FACTS - 1, True), (_FACTS, False)])
def test_so_many_facts_of_an_answer_are_learned(before: int, is_known: bool):
    teller = Teller()
    facts = [*(Fact("model", "m") for _ in range(before)), Fact("token", TOKEN, "tool")]
    first = teller.serve(MESSAGES, chat("hi"), {"x-session-id": "s"}, facts)

    assert (teller.ask(MESSAGES, quoting()).affinity == first.affinity) == is_known


@pytest.mark.parametrize(
    ("kind", "began"),
    [("id", True), ("token", True), ("text", True), ("calls", True), ("model", False), ("usage", False)],
)
def test_a_first_turn_began_once_something_was_answered(kind: str, began: bool):
    """Without it the next equal opening is a retry."""
    teller = Teller()
    value = {"calls": (("ls", "{}"),)}.get(kind, "a text of some length")
    first = teller.serve(CHAT, chat("hi"), {}, [Fact(kind, value)])

    assert (teller.ask(CHAT, chat("hi")).affinity != first.affinity) == began


@pytest.mark.parametrize(
    ("token", "where", "is_known"),
    [
        (TOKEN, "tool", True),
        ("call_0", "tool", False),
        ("sig_1", "signature", False),
        ("resp_1", "reference", True),
    ],
)
def test_a_counter_of_a_gateway_is_no_token(token: str, where: str, is_known: bool):
    teller = Teller()
    teller.serve(RESPONSES, {"input": "hi"}, {"x-session-id": "s"}, [Fact("token", token, where)])

    asked = {"input": "b", "previous_response_id": token}
    assert (
        teller.ask(RESPONSES, asked).affinity == teller.ask(RESPONSES, {}, {"x-session-id": "s"}).affinity
    ) == is_known


SEALED = {"input": [{"type": "reasoning", "id": "rs_1", "encrypted_content": "gAAAAABoZk3v9QxWm2TnB7cL"}]}


@pytest.mark.parametrize(
    ("path", "fact", "ties"),
    [
        (RESPONSES, Fact("id", "resp_1"), True),
        (CHAT, Fact("id", "chatcmpl-1"), False),
        (f"{MESSAGES}/batches", Fact("id", "msgbatch_1"), True),
        (MESSAGES, Fact("token", "sig_Zk3v9QxWm2TnB7cL", "signature"), False),
        (RESPONSES, Fact("token", "sig_Zk3v9QxWm2TnB7cL", "signature"), True),
        (CHAT, Fact("token", TOKEN, "tool"), False),
        (CHAT, Fact("token", "credit_Zk3v9QxWm2TnB7cL", "credit"), False),
        (CHAT, Fact("token", "file-1", "file"), True),
        (GEMINI, Fact("token", "cachedContents/1", "cache"), True),
    ],
)
def test_some_answers_tie_a_history_to_an_account(path: str, fact: Fact, ties: bool):
    teller = Teller()
    teller.serve(path, {}, {"x-session-id": "s"}, [fact])

    assert teller.identifier._lineage.ties(b"", teller.now) == ties


def test_the_id_of_a_model_is_learned_nowhere():
    teller = Teller()
    teller.serve("/v1/models/gpt-5", None, {}, [Fact("id", "gpt-5-Zk3v9QxWm2TnB7cL")], method="GET")

    assert teller.identifier._lineage.is_empty()


def test_the_last_text_of_an_answer_counts():
    teller = Teller()
    texts = [f"The {name} answer is long enough that it names its conversation." for name in ("first", "second")]
    first = teller.serve(CHAT, chat("hi"), {"x-session-id": "s"}, [Fact("text", text) for text in texts])

    assert teller.ask(CHAT, chat("other", texts[1], "go")).affinity == first.affinity
    assert teller.ask(CHAT, chat("other", texts[0], "go")).affinity != first.affinity


@pytest.mark.parametrize(("characters", "is_known"), [(39, False), (40, True)])
def test_a_text_of_40_characters_names_its_conversation(characters: int, is_known: bool):
    teller = Teller()
    text = ("abcdefghij" * 4)[:characters]
    first = teller.serve(CHAT, chat("hi"), {"x-session-id": "s"}, [Fact("text", f" {text} ")])

    assert (teller.ask(CHAT, chat("other", text, "go")).affinity == first.affinity) == is_known


def test_an_account_is_no_owner_of_what_a_history_quotes_of_unseen_answers():
    teller = Teller()
    teller.serve(MESSAGES, chat("hi"), {"x-session-id": "s"}, account="a")
    body = {"messages": [*chat("hi")["messages"], quoting()["messages"][1]]}
    first = teller.serve(MESSAGES, chat("q"), {}, [], account="a")
    teller.serve(MESSAGES, {"messages": [*chat("q")["messages"], body["messages"][1]]}, {}, [], account="a")
    linked = teller.ask(MESSAGES, quoting())

    assert (linked.tier, linked.affinity, linked.home) == ("token", first.affinity, "")


@pytest.mark.parametrize(
    ("tier", "headers", "body", "from_history"),
    [
        ("cache_key", {}, {"prompt_cache_key": "k"}, True),
        ("user", {}, {"metadata": {"user_id": "u"}}, True),
        ("content", {}, {}, True),
        ("generic_header", {"x-session-id": "s"}, {}, False),
    ],
)
def test_the_thread_of_some_tiers_is_that_of_the_history(tier, headers, body, from_history):
    found = [Teller().ask(CHAT, chat(text, **body), headers) for text in ("one", "other")]

    assert {each.tier for each in found} == {tier}
    assert (found[0].thread != found[1].thread) == from_history


def test_facts_after_the_text_do_not_hide_it():
    teller = Teller()
    text = "An answer that is long enough to name its conversation by itself."
    first = teller.serve(CHAT, chat("hi"), {"x-session-id": "s"}, [Fact("text", text), Fact("model", "m")])

    assert teller.ask(CHAT, chat("other", text, "go")).affinity == first.affinity


def test_equal_first_turns_are_told_apart_by_the_calls_of_their_answers():
    teller = Teller()
    tokens = ["call_Zk3v9QxWm2TnB7cL", "call_QxWm2TnB7cLZk3v9"]
    for token in tokens:
        teller.serve(CHAT, chat("hi", prompt_cache_key="k"), {}, [Fact("token", token, "tool")])
    calls = [{"messages": [{"role": "tool", "tool_call_id": token, "content": "x"}]} for token in tokens]
    threads = [teller.ask(CHAT, body).thread for body in calls]

    assert threads[0] != threads[1]
    assert all(threads)


STRONG_KEY = "3f2b8a52-1b8e-4d0e-9c59-2d8f9f3f4c11"


@pytest.mark.parametrize("kind", ["text", "call"])
def test_first_turns_under_one_key_have_threads_by_their_answers(kind: str):
    teller = Teller()
    answers = {
        "text": [
            Fact("text", f"The {name} answer, long enough to name its conversation.") for name in ("one", "other")
        ],
        "call": [Fact("token", f"call_{name}Wm2TnB7cLZk3v9", "tool") for name in ("Ab1", "Ab2")],
    }[kind]
    for fact in (*answers, answers[0]):
        teller.serve(CHAT, chat("hi", prompt_cache_key=STRONG_KEY), {}, [fact])
    quotes = [
        {"role": "assistant", "content": fact.value}
        if kind == "text"
        else {"role": "tool", "tool_call_id": fact.value, "content": "x"}
        for fact in answers
    ]
    found = [teller.ask(CHAT, {"messages": [quote, {"role": "user", "content": "go"}]}) for quote in quotes]

    assert found[0].affinity == found[1].affinity
    assert found[0].thread != found[1].thread
    assert found[0].thread == teller.ask(CHAT, chat("hi", prompt_cache_key=STRONG_KEY)).thread


CALL = Fact("token", "call_Zk3v9QxWm2TnB7cL", "tool")


@pytest.mark.parametrize(
    ("more", "is_told_apart"),
    [
        ([], True),
        ([Fact("token", "sig_Zk3v9QxWm2TnB7cL", "signature")], True),
        ([Fact("model", "m"), Fact("token", "file-1", "file")], True),
        ([CALL], False),
    ],
)
def test_equal_openings_are_told_apart_by_answers_whose_calls_are_known(more: list[Fact], is_told_apart: bool):
    teller = Teller()
    found = [teller.serve(CHAT, chat("hi"), {}, [*more, Fact("text", f"No {n}")]).affinity for n in range(2)]
    again = [teller.ask(CHAT, chat("hi", f"No {n}", "go")).affinity for n in range(2)]

    assert (again == found) == is_told_apart


def test_calls_are_read_wherever_they_stand_among_the_facts():
    teller = Teller()
    function = {"name": "ls", "arguments": "{}"}
    calls = {"role": "assistant", "content": None, "tool_calls": [{"type": "function", "function": function}]}
    facts = [Fact("model", "m"), CALL, Fact("calls", (("ls", "{}"),)), Fact("usage", None)]
    first, other = (teller.serve(CHAT, chat("hi"), {}, each) for each in (facts, [Fact("text", "No.")]))
    again = teller.ask(CHAT, {"messages": [*chat("hi")["messages"], calls, *chat("go")["messages"]]})

    assert again.affinity == first.affinity != other.affinity


def test_a_signature_makes_no_thread_of_its_own():
    teller = Teller()
    text = "An answer that is long enough to name its conversation by itself."
    for name in ("Ab1", "Ab2"):
        signed = Fact("token", f"sig_{name}Wm2TnB7cLZk3v9", "signature")
        teller.serve(CHAT, chat("hi", prompt_cache_key=STRONG_KEY), {}, [Fact("text", text), signed])

    opening = teller.ask(CHAT, chat("hi", prompt_cache_key=STRONG_KEY))
    assert teller.ask(CHAT, chat("other", text, "go")).thread == opening.thread
