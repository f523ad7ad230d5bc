"""Histories that were served."""

from __future__ import annotations

import json

from patchbay.body import Body
from patchbay.identity.history import Conversation, answer_turns, conversation_of
from patchbay.identity.prefixes import Prefixes, prefixes
from patchbay.identity.seeds import Seeds
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
