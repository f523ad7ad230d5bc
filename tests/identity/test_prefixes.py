"""Histories that were served."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from patchbay.body import Body
from patchbay.identity.history import conversation_of
from patchbay.identity.prefixes import Prefixes, prefixes, prefixes_of, with_prefixes
from patchbay.identity.seeds import Seeds
from patchbay.identity.turns import Conversation, answer_turns
from patchbay.ledger import Entry

from .traffic import chat


def talk(*texts: str) -> Conversation:
    return conversation_of(Body(json.dumps(chat(*texts)).encode()))


def made(limit: int = 1000) -> Prefixes:
    return Prefixes(Seeds(b"k" * 32), limit, 60)


ENTRY = Entry("", account="a", affinity="x", thread="t")


def test_a_prefix_stands_for_everything_up_to_it():
    long, short = prefixes(talk("a", "b", "c").turns), prefixes(talk("a", "b").turns)

    assert long[:2] == short
    assert prefixes(talk("z", "b", "c").turns)[2] != long[2]


def test_what_grows_out_of_a_served_history_is_known():
    chain = made()
    chain.note(b"", talk("a", "b", "c"), ENTRY, 0)

    assert chain.find(b"", talk("a", "b", "c", "d", "e"), 1) == ENTRY


def test_a_branch_is_known_by_what_it_shares():
    chain = made()
    chain.note(b"", talk("a", "b", "c", "d", "e"), ENTRY, 0)

    assert chain.find(b"", talk("a", "b", "other"), 1) == ENTRY
    assert chain.find(b"", talk("a", "other", "c"), 1) is None


def test_an_opening_alone_is_nobodys_history():
    chain = made()
    chain.note(b"", talk("hi"), ENTRY, 0)

    assert chain.find(b"", talk("hi"), 1) is None
    assert chain.find(b"", talk("hi", "hello", "go"), 1) is None


def test_an_answer_of_text_is_known_before_it_is_quoted():
    chain = made()
    chain.note(b"", talk("hi"), ENTRY, 0, answer_turns("Hello!", (), apart=False))

    assert chain.find(b"", talk("hi", "Hello!", "go"), 1) == ENTRY


def test_another_client_and_a_later_day_know_nothing():
    chain = made()
    chain.note(b"ann", talk("a", "b", "c"), ENTRY, 0)

    assert chain.find(b"bob", talk("a", "b", "c"), 1) is None
    assert chain.find(b"ann", talk("a", "b", "c"), 61) is None


def test_only_what_follows_a_served_request_is_an_answer_of_ours():
    chain = made()
    chain.note(b"", talk("a", "example", "b"), ENTRY, 0)

    assert [turn.index for turn in chain.answers(b"", talk("a", "example", "b", "ours", "c", "theirs"), 1)] == [3]


def test_the_memory_is_bounded():
    chain = made(limit=50)
    for number in range(100):
        chain.note(b"", talk(*map(str, range(number, number + 20))), ENTRY, 0)

    assert len(chain) == 50


def test_among_many_each_history_that_is_kept_is_found():
    chain = made(limit=40)
    for number in range(30):
        chain.note(b"", talk(f"a{number}", "b", "c"), ENTRY, 0)

    found = [number for number in range(30) if chain.find(b"", talk(f"a{number}", "b", "c", "d", "e"), 1)]

    kept = 40 // 3  # two prefixes, and that it was served
    assert found == list(range(30 - kept, 30))


OTHER = Entry("", account="b", affinity="y", thread="u")


def test_a_prefix_of_two_conversations_names_neither():
    chain = made()
    chain.note(b"", talk("a", "b", "c"), ENTRY, 0)
    chain.note(b"", talk("a", "b", "d"), OTHER, 0)

    assert chain.find(b"", talk("a", "b", "e"), 1).affinity == ""
    assert chain.find(b"", talk("a", "b", "c", "e", "f"), 1).affinity == ""  # the other may ask it too


def test_with_its_answer_each_of_two_conversations_is_told_again():
    chain = made()
    chain.note(b"", talk("a", "b", "c"), ENTRY, 0, answer_turns("for x", (), apart=False))
    chain.note(b"", talk("a", "b", "c"), OTHER, 0, answer_turns("for y", (), apart=False))

    assert chain.find(b"", talk("a", "b", "c", "for x", "go"), 1).affinity == "x"
    assert chain.find(b"", talk("a", "b", "c", "for y", "go"), 1).affinity == "y"


def test_the_first_entry_under_a_seed_stays():
    chain = made()

    assert chain.first("p", b"", "s", ENTRY, 0) == ENTRY
    assert chain.first("p", b"", "s", OTHER, 59) == ENTRY
    assert chain.first("q", b"", "s", OTHER, 0) == OTHER
    assert chain.first("p", b"ann", "s", OTHER, 0) == OTHER
    assert chain.first("p", b"", "s", OTHER, 60) == OTHER


def test_a_first_turn_with_its_answer_is_given_a_thread():
    chain = made()
    chain.name(b"", "s", ENTRY, 0)

    assert chain.named(b"", "s", 59) == ENTRY
    assert chain.named(b"", "s", 60) is None
    assert chain.named(b"ann", "s", 1) is None
    assert chain.named(b"", "t", 1) is None


def test_a_stored_thread_never_changes():
    conversation = conversation_of(Body(json.dumps(chat("a", "b", "c", system="S")).encode()))

    assert made().thread_seed(b"ann", conversation) == made().thread_seed(b"ann", talk_of("a", "b", "other"))
    assert made().thread_seed(b"ann", conversation) == "b1bc691700c0fec3026baa2f5b45e5ee"


def talk_of(*texts: str) -> Conversation:
    return conversation_of(Body(json.dumps(chat(*texts, system="S")).encode()))


@pytest.mark.parametrize(("turns", "found"), [(1023, True), (1024, False)])
def test_so_many_turns_after_a_known_prefix_are_probed(turns: int, found: bool):
    chain = made()
    chain.note(b"", talk("a", "b"), ENTRY, 0)
    long = talk("a", "b", *(str(number) for number in range(turns)))

    assert (chain.find(b"", long, 1) == ENTRY) == found


@pytest.mark.parametrize(("turns", "found"), [(63, True), (64, False)])
def test_so_many_prefixes_of_a_request_are_kept(turns: int, found: bool):
    chain = made()
    texts = ["a", "b", *(str(number) for number in range(turns))]
    chain.note(b"", talk(*texts), ENTRY, 0)

    assert (chain.find(b"", talk("a", "b", "other"), 1) == ENTRY) == found


def test_a_first_turn_in_use_stays_in_memory():
    chain = made(limit=6)
    chain.note(b"", talk("a", "b", "c"), ENTRY, 0)
    for number in range(4):
        assert chain.find(b"", talk("a", "b", "c", "d", "e"), 1) == ENTRY
        chain.note(b"", talk(f"x{number}"), OTHER, 0)


def test_a_new_limit_and_a_new_life_hold_from_the_next_prefix_on():
    chain = made(limit=50)
    chain.resize(2, 600)
    chain.note(b"", talk("a", "b", "c"), ENTRY, 0)

    assert len(chain) == 2
    assert chain.find(b"", talk("a", "b", "c"), 599) == ENTRY


def test_only_turns_after_a_served_request_name_a_conversation_once_its_answer_was_seen():
    """Many conversations may begin with the same examples."""
    chain = made()
    chain.note(b"", talk("a", "example", "b"), ENTRY, 0, answer_turns("ours", (), apart=False), seen=True)
    assert chain.find(b"", talk("a", "example", "c"), 1) is None
    assert chain.find(b"", talk("a", "example", "b", "ours", "c"), 1) == ENTRY

    chain.note(b"", talk("a", "example", "b", "ours", "c"), ENTRY, 1, seen=True)
    assert chain.find(b"", talk("a", "example", "b", "ours", "d"), 2) == ENTRY
    assert chain.find(b"", talk("a", "example", "c"), 2) is None


def test_another_conversation_may_begin_with_all_of_a_first_request():
    chain = made()
    chain.note(b"", talk("a", "example", "b"), ENTRY, 0, answer_turns("ours", (), apart=False), begins=True)

    assert chain.find(b"", talk("a", "example", "b"), 1) == ENTRY  # by its example, since no answer was seen
    assert chain.find(b"", talk("a", "example", "b", "ours", "c"), 1) == ENTRY


def test_the_first_turns_of_a_served_request_are_left_out():
    chain = made()
    chain.note(b"", talk("a"), ENTRY, 0)
    whole = talk("a", "one", "b", "two", "c")

    assert [turn.index for turn in chain.answers(b"", whole, 1)] == [1]
    assert [turn.index for turn in chain.answers(b"", whole, 1, served=3)] == [3]
    assert [turn.index for turn in chain.answers(b"", whole, 1, served=1)] == [1]


def test_a_history_of_nothing_is_not_remembered():
    chain = made()
    chain.note(b"", Conversation(), ENTRY, 0)

    assert len(chain) == 0


def test_turns_before_the_first_question_belong_to_the_first_turn():
    """A history that begins with an answer is found by its question, not by that answer alone."""
    chain = made()
    led = conversation_of(Body(json.dumps({"messages": [LED, *chat("a", "b", "c")["messages"]]}).encode()))
    other = conversation_of(Body(json.dumps({"messages": [LED, *chat("z", "b", "c")["messages"]]}).encode()))
    chain.note(b"", led, ENTRY, 0)

    assert len(chain._first_turns) == 1
    assert chain._knows_first_turn(b"", led)
    assert not chain._knows_first_turn(b"", other)


LED = {"role": "assistant", "content": "Hello, what can I do?"}


def test_a_first_request_with_examples_shares_all_of_them():
    chain = made()
    chain.note(b"", talk("a", "example", "b"), ENTRY, 0, begins=True)
    chain.note(b"", talk("a", "example", "b"), OTHER, 0, begins=True)

    assert chain.find(b"", talk("a", "example", "b", "ours", "c"), 1).affinity == ""
    assert ("prefix", prefixes(talk("a", "example", "b").turns)[-1]) not in chain._entries


def test_shorter_prefixes_are_not_written_again():
    chain = made()
    chain.note(b"", talk("a", "b", "c"), ENTRY, 0)
    chain.note(b"", talk("a", "b", "c", "d", "e"), ENTRY, 30)

    assert chain.find(b"", talk("a", "b", "c", "d", "e"), 89) == ENTRY
    assert chain.find(b"", talk("a", "b", "other"), 61) is None


def test_a_request_served_before_is_looked_for_just_before_the_first_answer():
    chain = made()
    chain.note(b"", talk("a"), ENTRY, 0, seen=True)
    chain.note(b"", talk("a", "ours", "b", "two", "c"), ENTRY, 1, seen=True)

    assert chain.find(b"", talk("a", "ours", "b", "two", "other"), 2) == ENTRY
    assert chain.find(b"", talk("a", "ours", "other"), 2) == ENTRY


def test_prefixes_go_on_from_those_that_are_known():
    conversation = talk("a", "b", "c", "d")
    before = with_prefixes(talk("a", "b", "c"))

    assert prefixes_of(replace(conversation, prefixes=before.prefixes)) == prefixes(conversation.turns)
