"""Keyed digests keep their parts and purposes apart, and stored values stay recognisable."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from patchbay import correlation, keyed
from patchbay.accounts import selection
from patchbay.identity.seeds import Seeds

KEY = bytes(range(32))

# Values of the first releases. Bindings, journals, session ids at providers and stores hold such values.
DERIVED = {
    "patchbay 2026 accounts": "09e17a2b69aa09cef8be2cc849af72434f55854900ed06aa9e5458111948e63b",
    "patchbay accounts: rendezvous order v1": "a234d98269172d0c714f1496e6e23eff0f460d8f85da5fc8243f0916f098086d",
    "patchbay 2026 correlation tag": "20124f65a12bf405072d974e8385d8f739c200877f9e1f754d129a02a25faad2",
    "patchbay 2026 headers of a flow": "8cfbf3abc65ec54911ec07658a32ea36edf7bd2009cac05ce9e66475f50f66e9",
}


@pytest.mark.parametrize(("purpose", "value"), DERIVED.items())
def test_a_derived_key_never_changes(purpose: str, value: str) -> None:
    assert keyed.derive(KEY, purpose).hex() == value


def test_stored_digests_never_change() -> None:
    assert keyed.derive(KEY, "patchbay 2026 store").hex()[:16] == "8a9771b9ac4040a6"
    assert keyed.tag(KEY, b"v", 32).hex() == "9ade9a180c06e8aba05e2ff05a5c4cca5870a766706c1267b41d913e4dc02bdd"
    assert keyed.tag(KEY, b"key:x\x80").hex() == "4af6d8f6bbc18df71bd664b38b7ad1dc"
    assert keyed.fingerprint(b"a", b"bc").hex() == "978f49b785cd02fa9b61553b99e34cf7"


def test_stored_ids_and_seeds_never_change() -> None:
    mint = correlation.Mint(KEY)
    request_id = mint.new(1e9, bytes)

    assert request_id == "pb1-00000000000000000008s5pr8mr926tfcw5339g4za6twq76"
    assert mint.guid(request_id) == "ed58022a-f695-89ee-804e-8f809c92eeb2"
    assert correlation.session_id(KEY, "aff", "acc") == "7e4312b8609f798a6fc47b36875de2b4"
    assert selection.derive_key(KEY) == keyed.derive(KEY, "patchbay accounts: rendezvous order v1")
    assert Seeds(KEY).derive("id", b"ann", "abc", "\ud83d") == "741071546e26ee25ad6df768ace566b2"


PARTS = st.lists(st.binary(max_size=4), max_size=4)


@given(PARTS, PARTS)
def test_no_byte_moves_from_one_part_to_the_next(some: list[bytes], others: list[bytes]) -> None:
    assert (keyed.digest(KEY, *some) == keyed.digest(KEY, *others)) == (some == others)
    assert (keyed.fingerprint(*some) == keyed.fingerprint(*others)) == (some == others)


def test_each_function_under_each_key_gives_another_digest() -> None:
    keys = KEY, bytes(32)
    found = {keyed.fingerprint(b"a")} | {make(key, b"a") for key in keys for make in (keyed.digest, keyed.tag)}

    assert len(found) == 5
    assert {len(each) for each in found} == {keyed.SIZE}


@pytest.mark.parametrize("make", [keyed.digest, keyed.tag])
def test_a_shorter_digest_is_the_beginning_of_a_longer(make) -> None:
    assert make(KEY, b"a", size=64)[:8] == make(KEY, b"a", size=8)


@given(st.binary(max_size=4), PARTS)
def test_digests_with_a_common_part_are_those_of_each(first: bytes, seconds: list[bytes]) -> None:
    assert [*keyed.digests(KEY, first, seconds, size=8)] == [keyed.digest(KEY, first, each, size=8) for each in seconds]


def test_a_digest_of_long_parts_is_that_of_the_same_bytes_put_together() -> None:
    key, parts = bytes(32), (b"a" * 500_000, b"", b"b" * 70_000)
    together = b"".join(len(part).to_bytes(8) + part for part in parts)
    assert keyed.digest(key, *parts) == keyed.tag(key, together)
    assert keyed.digest(None, *parts) == keyed.fingerprint(*parts) != keyed.fingerprint(*parts[:2], parts[2] + b"b")
