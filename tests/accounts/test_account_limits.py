"""The limits that each setting of an account puts on a request."""

from __future__ import annotations

from dataclasses import fields
from typing import Literal, get_args, get_origin, get_type_hints

import pytest

from patchbay.accounts.account_limits import Demand, is_limited, limits_of
from patchbay.settings.presets import PRESETS
from patchbay.values.account import Account, Secret


def account(**fields):
    return Account("a", PRESETS["openai"], Secret("literal", "k"), **fields)


def demand(client=b"x", thread="t", lane="m", tokens=10, pool="p"):
    return Demand(pool, client, thread, lane, tokens)


def test_an_account_without_settings_has_no_limits():
    assert limits_of(account(), demand()) == ()
    assert not is_limited(account())


def test_every_setting_is_a_limit_in_a_scope_of_its_own():
    found = limits_of(account(max_concurrent=2, serialize="account", slots=5, rpm=10, tpm=100), demand())
    assert [(limit.scope[0], limit.most, limit.amount) for limit in found] == [
        ("account", 2, 1), ("serial", 1, 1), ("slot", 5, 1), ("rpm", 10, 1), ("tpm", 100, 10),
    ]  # fmt: skip


def test_a_session_slot_is_a_clients_own_for_a_model():
    scopes = {limits_of(account(slots=5), demand(client=c, lane=m))[0].scope for c in (b"x", b"y") for m in ("m", "n")}
    assert len(scopes) == 4


def test_threads_are_told_apart_by_client_and_pool_and_not_by_account():
    (one,) = limits_of(account(serialize="thread"), demand())
    others = [demand(thread="u"), demand(client=b"y"), demand(pool="q")]
    assert all(limits_of(account(serialize="thread"), other)[0].scope != one.scope for other in others)
    assert "a" not in one.scope
    assert limits_of(account(serialize="thread"), demand(thread="")) == ()


def test_a_model_switch_is_kept_by_client_and_account():
    (one,) = limits_of(account(serialize="model_switch"), demand())
    (other,) = limits_of(account(serialize="model_switch"), demand(lane="n"))
    (stranger,) = limits_of(account(serialize="model_switch"), demand(client=b"y"))
    assert (one.scope, one.tenant, other.scope, other.tenant) == (other.scope, "m", one.scope, "n")
    assert stranger.scope != one.scope


HINTS = get_type_hints(Account)
OTHERS = [
    {field.name: value}
    for field in fields(Account)
    for value in (get_args(HINTS[field.name]) if get_origin(HINTS[field.name]) is Literal else (1, 5))
    if field.name not in ("id", "provider", "secret")
]


@pytest.mark.parametrize("setting", OTHERS, ids=str)
def test_the_quick_answer_is_that_of_the_limits_for_every_field_of_an_account(setting):
    limits = limits_of(account(**setting), demand())
    assert is_limited(account(**setting)) is bool(limits)
    assert len(limits) <= 1


def test_a_limit_that_counts_tokens_is_marked():
    found = limits_of(account(max_concurrent=2, serialize="account", slots=5, rpm=10, tpm=100), demand())
    assert [limit.scope[0] for limit in found if limit.counts_tokens] == ["tpm"]
    assert {limit.counts_tokens for limit in found if limit.amount == 10} == {True}


def test_a_minute_is_the_window_of_rates_and_a_request_costs_a_token_at_least():
    requests, tokens = limits_of(account(rpm=3, tpm=3), demand(tokens=0))
    assert (requests.window, tokens.window, tokens.amount) == (60, 60, 1)


@pytest.mark.parametrize(
    ("setting", "most", "amount", "why"),
    [
        ({"max_concurrent": 2}, 2, 1, "busy (2 at once)"),
        ({"serialize": "account"}, 1, 1, "busy (one request at a time)"),
        ({"serialize": "thread"}, 1, 1, "busy with this thread"),
        ({"serialize": "model_switch"}, 1, 1, "busy with another model for this client"),
        ({"slots": 3}, 3, 1, "busy (3 sessions for this client and model)"),
        ({"rpm": 4}, 4, 1, "at its limit (4 requests a minute)"),
        ({"tpm": 5}, 5, 10, "at its limit (5 tokens a minute)"),
    ],
)
def test_each_limit_says_how_many_it_admits_what_a_request_takes_and_why_it_waits(setting, most, amount, why):
    (limit,) = limits_of(account(**setting), demand())
    assert (limit.most, limit.amount, limit.why, limit.numbered) == (most, amount, why, "slots" in setting)
    assert limit.window == (60 if setting.keys() & {"rpm", "tpm"} else 0)
    assert limit.tenant == ("m" if setting.get("serialize") == "model_switch" else None)
