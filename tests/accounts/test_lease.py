"""What an ask says of itself: its pool, its keys, its conversation, and the party it waits with."""

from __future__ import annotations

from dataclasses import replace

import pytest

from patchbay.accounts.bindings import Key
from patchbay.accounts.lease import PARTIES
from patchbay.values.decision import Identity
from patchbay.values.http import Client

from .test_pool import HERE, ask


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({}, f"openai@{HERE}"),
        ({"family": ""}, f"any@{HERE}"),
        ({"destination": None}, "openai@any"),
    ],
)
def test_a_pool_is_named_by_family_and_destination(fields, name):
    assert ask(**fields).pool == name


def test_the_key_of_a_conversation_names_no_model_and_that_of_a_model_its_base():
    asked = ask(model="m(high)", client=Client(scope=b"x"))

    assert asked.key == Key(asked.pool, b"x", "s")
    assert asked.model_key == Key(asked.pool, b"x", "s", "m")
    assert ask(model="").model_key.model == "-"
    assert len(ask(model="m" * 300).model_key.model) == 256


def test_a_conversation_is_that_of_its_client_and_one_without_affinity_has_no_name():
    assert ask(client=Client(scope=b"x")).conversation == "78 s"
    assert ask(identity=Identity()).conversation == ""


def test_clients_of_the_settings_are_parties_and_other_conversations_are_spread_over_a_few():
    named = Client(b"k", "ann", key=b"a")
    assert {ask(str(number), client=named).party for number in range(9)} == {b"k"}

    parties = {ask(str(number), client=Client(scope=b"k")).party for number in range(500)}
    assert len(parties) == PARTIES == 16
    assert ask("1").party == replace(ask("1"), model="other").party


def test_an_attempt_that_says_no_more_costs_no_tokens_and_waits_for_no_better_account():
    asked = ask()
    assert (asked.tokens, asked.preferred_until, asked.tried, asked.avoided, asked.recheck()) == (
        0,
        0.0,
        frozenset(),
        {},
        None,
    )
