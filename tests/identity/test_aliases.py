"""Ids that lead to one affinity."""

from __future__ import annotations

from patchbay.identity.aliases import Alias, Aliases


def test_an_unknown_id_leads_to_itself():
    assert Aliases(10, 60).resolve("a", 0) == "a"


def test_an_id_leads_to_the_end_of_what_it_was_led_to():
    aliases = Aliases(10, 60)
    aliases.lead("b", "a", 0)

    assert aliases.lead("c", "b", 0) == "a"
    assert aliases.resolve("c", 0) == "a"


def test_a_loop_is_refused():
    aliases = Aliases(10, 60)
    aliases.lead("a", "b", 0)

    assert aliases.lead("b", "a", 0) == "b"
    assert aliases.resolve("a", 0) == aliases.resolve("b", 0) == "b"


def test_an_id_that_is_not_seen_for_the_ttl_is_forgotten():
    aliases = Aliases(10, 60)
    aliases.lead("a", "b", 0)
    aliases.lead("a", "a", 50)

    assert aliases.resolve("a", 109) == "b"
    assert aliases.resolve("a", 110) == "a"


def test_the_longest_unseen_leaves_first():
    aliases = Aliases(2, 60)
    for seed in ("a", "b", "a", "c"):
        aliases.lead(seed, "root", 0)

    assert len(aliases) == 2
    assert aliases.find("b", 0) is None


def test_who_claims_an_id_first_keeps_it():
    aliases = Aliases(10, 60)
    aliases.lead("a", "root", 0, claimed="one")
    aliases.lead("a", "root", 1, claimed="two")

    assert aliases.find("a", 2).claimed == "one"


def test_changes_and_ids_are_told_to_others():
    aliases = Aliases(10, 60)
    aliases.lead("early", "x", 0)
    aliases.watch()
    assert aliases.changes() == []
    aliases.lead("b", "a", 1, claimed="c")
    aliases.lead("b", "a", 2)

    told = ("b", 62, Alias("a", "c"))
    assert aliases.changes() == [told]
    assert aliases.changes() == []
    assert aliases.all() == [("early", 60, Alias("x")), told]


def test_an_id_of_another_instance_counts_when_it_lives_longer():
    aliases = Aliases(10, 60)
    aliases.watch()
    aliases.lead("b", "ours", 0)
    aliases.changes()
    aliases.adopt("b", 60, Alias("theirs"), 1)
    assert aliases.find("b", 1) == Alias("ours")

    aliases.adopt("b", 61, Alias("theirs"), 1)
    assert aliases.find("b", 60) == Alias("theirs")
    aliases.adopt("c", 5, Alias("theirs"), 5)
    aliases.adopt("d", 6, Alias("theirs"), 5)
    assert [seed for seed, _, _ in aliases.all()] == ["b", "d"]
    assert aliases.changes() == []


def test_so_many_hops_are_followed():
    aliases = Aliases(20, 60)
    for number in range(10):
        aliases.adopt(str(number), 60, Alias(str(number + 1)), 0)

    assert aliases.resolve("0", 1) == "8"
    assert aliases.resolve("2", 1) == "10"


def test_a_new_limit_holds_at_once_and_a_new_life_from_the_next_use_on():
    aliases = Aliases(10, 60)
    for seed in "abc":
        aliases.lead(seed, seed, 0)
    aliases.resize(2, 600)
    aliases.lead("d", "d", 0)

    assert [(seed, expires) for seed, expires, _ in aliases.all()] == [("c", 60), ("d", 600)]


def test_of_changed_ids_those_that_left_meanwhile_are_not_told():
    aliases = Aliases(1, 60)
    aliases.watch()
    for seed in "ab":
        aliases.lead(seed, seed, 0)

    assert [seed for seed, _, _ in aliases.changes()] == ["b"]
