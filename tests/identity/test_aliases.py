"""Ids that lead to one affinity."""

from __future__ import annotations

from patchbay.identity.aliases import Aliases


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
