"""A key in a command line opens the same conversation for an hour, and nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from patchbay import clients, stand_in_key
from patchbay.clients import Known
from patchbay.settings.settings import ClientKey
from patchbay.stand_in_key import EXPIRED, LIFETIME, client, issued
from patchbay.values.account import Secret
from patchbay.values.http import Client, Headers

KEY, SCOPE = b"k" * 32, b"s" * 16


def known(name: str, **rights: object) -> Known:
    return Known(ClientKey(name, Secret("literal", "key"), **rights), f"key of {name}".encode())  # type: ignore[arg-type]


def test_it_stands_for_the_client_and_scope_that_it_was_issued_for() -> None:
    key = issued("local", SCOPE, KEY, 100.0)
    assert client(["other", key], (), KEY, 100.0 + LIFETIME - 1) == Client(SCOPE, may_pin=True)
    assert client([issued("local", b"", KEY, 100.0)], (), KEY, 100.0) == Client(b"", may_pin=True)


def test_it_ends_after_an_hour_with_a_sentence() -> None:
    assert client([issued("local", SCOPE, KEY, 100.0)], (), KEY, 100.0 + LIFETIME) is EXPIRED


def test_where_clients_are_configured_it_has_the_rights_that_its_client_has_now() -> None:
    key = issued("ann", SCOPE, KEY, 100.0)
    found = client([key], (known("bob"), known("ann", pools=frozenset({"openai"}))), KEY, 100.0)
    assert isinstance(found, Client)
    assert (found.name, found.scope, found.may_pin, found.pools) == ("ann", SCOPE, True, frozenset({"openai"}))
    assert client([key], (known("bob"),), KEY, 100.0) is clients.GONE


@pytest.mark.parametrize("end", ["", ".", "x", "....", ".a.b.c"])
def test_what_only_begins_like_it_is_none(end: str) -> None:
    assert client([f"pbc1{end}", f"pbc1.{end}", "pbc1.1.2.3.4"], (), KEY, 0.0) is None


@given(st.integers(0, 200), st.characters(exclude_categories=["Cs"]))
def test_a_changed_character_makes_it_no_key(place: int, other: str) -> None:
    key = issued("ann", SCOPE, KEY, 100.0)
    place %= len(key)
    changed = key[:place] + other + key[place + 1 :]
    assert changed == key or client([changed], (), KEY, 100.0) is None


def test_another_instance_does_not_know_it_and_it_is_no_scope_of_its_own() -> None:
    key = issued("local", SCOPE, KEY, 100.0)
    assert client([key], (), b"o" * 32, 100.0) is None
    sent = clients.identify(Headers((("x-api-key", key),)), "/", (), KEY, loopback=True)
    assert isinstance(sent, Client) and sent.scope != SCOPE
    assert stand_in_key.LIFETIME == 3600
