"""Seeds: what may not collide, and what may not leak."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from patchbay.identity.seeds import Seeds

SEEDS = Seeds(b"k" * 32)


def test_a_seed_is_32_hexadecimal_characters():
    seed = SEEDS.derive("id", b"", "abc")

    assert len(seed) == 32
    assert set(seed) <= set("0123456789abcdef")


def test_purpose_scope_and_key_are_part_of_a_seed():
    seeds = {
        SEEDS.derive("id", b"", "abc"),
        SEEDS.derive("content", b"", "abc"),
        SEEDS.derive("id", b"ann", "abc"),
        Seeds(b"q" * 32).derive("id", b"", "abc"),
    }

    assert len(seeds) == 4


@given(st.lists(st.text(max_size=6), max_size=4), st.lists(st.text(max_size=6), max_size=4))
def test_no_byte_moves_from_one_part_to_the_next_unnoticed(some, others):
    assert (SEEDS.derive("id", b"", *some) == SEEDS.derive("id", b"", *others)) == (some == others)


def test_a_lone_surrogate_is_no_reason_to_fail():
    assert SEEDS.derive("id", b"", "\ud83d")


def test_a_key_of_another_length_is_our_mistake():
    with pytest.raises(ValueError, match="32"):
        Seeds(b"short")
