"""Tokens we gave away."""

from __future__ import annotations

from patchbay.identity.lineage import LINEAGES, Lineage
from patchbay.identity.seeds import Seeds
from patchbay.ledger import Entry, Ledger


def made() -> tuple[Lineage, Ledger]:
    ledger = Ledger()
    return Lineage(Seeds(b"k" * 32), ledger), ledger


def test_a_token_leads_to_whom_it_was_given():
    lineage, _ = made()
    lineage.note(b"", "toolu_1", Entry("", account="a", affinity="x", thread="t"), 0, 60)

    found = lineage.find(b"", "toolu_1", 1)

    assert (found.account, found.affinity, found.thread) == ("a", "x", "t")


def test_another_client_does_not_find_it():
    lineage, _ = made()
    lineage.note(b"ann", "toolu_1", Entry("", affinity="x"), 0, 60)

    assert lineage.find(b"bob", "toolu_1", 1) is None


def test_a_token_given_to_two_conversations_names_neither_any_more():
    lineage, _ = made()
    for affinity in ("x", "y", "x"):
        lineage.note(b"", "call_1", Entry("", account="a", affinity=affinity), 0, 60)

    assert lineage.find(b"", "call_1", 1).affinity == ""
    assert lineage.find(b"", "call_1", 1).account == "a"


def test_a_look_at_a_resource_does_not_take_it_from_its_conversation():
    lineage, _ = made()
    lineage.note(b"", "resp_1", Entry("", account="a", affinity="x", thread="t"), 0, 60)
    lineage.note(b"", "resp_1", Entry("", account="a"), 1, 60)

    assert lineage.find(b"", "resp_1", 2).affinity == "x"


def test_the_ledger_holds_no_token_as_it_is():
    lineage, ledger = made()
    lineage.note(b"", "a secret sentence", Entry(""), 0, 60)

    assert "secret" not in repr(vars(ledger))


def test_a_files_name_and_its_address_are_one():
    lineage, _ = made()
    lineage.note(b"", "files/abc", Entry("", account="a"), 0, 60)

    assert lineage.find(b"", "https://generativelanguage.googleapis.com/v1beta/files/abc", 1).account == "a"


def test_a_client_is_tied_as_long_as_the_last_thing_it_was_given():
    lineage, _ = made()
    assert lineage.is_empty()

    lineage.tie(b"ann", 0, 60)
    lineage.tie(b"ann", 30, 60)

    assert not lineage.is_empty()
    assert lineage.ties(b"ann", 80)
    assert not lineage.ties(b"bob", 80)
    assert not lineage.ties(b"ann", 90)


def test_what_others_may_say_in_the_same_words_is_kept_apart():
    """I2: a passage takes no token's place, and makes nobody believe that there are tokens."""
    ledger = Ledger()
    lineage, words = (Lineage(Seeds(b"k" * 32), ledger, kind) for kind in LINEAGES)
    for affinity in ("x", "y"):
        words.note(b"", "the same", Entry("", affinity=affinity), 0, 60)

    assert lineage.is_empty()
    lineage.note(b"", "the same", Entry("", affinity="z"), 0, 60)
    assert lineage.find(b"", "the same", 1).affinity == "z"
    assert words.find(b"", "the same", 1).affinity == ""


def test_a_token_without_a_conversation_is_given_one_later():
    ledger = Ledger()
    lineage = Lineage(Seeds(b"k" * 32), ledger)
    lineage.note(b"", "t", Entry("", account="a"), 0, 60)
    lineage.note(b"", "t", Entry("", account="a", affinity="x"), 0, 60)

    assert lineage.find(b"", "t", 1).affinity == "x"
    assert ledger.holds("lineage")


def test_a_token_that_is_forgotten_before_its_demotion_is_unknown():
    lineage, _ = made()
    for affinity, ttl in (("x", 60), ("y", 60), ("y", 10)):
        lineage.note(b"", "toolu_1", Entry("", affinity=affinity), 0, ttl)

    assert lineage.find(b"", "toolu_1", 20) is None
