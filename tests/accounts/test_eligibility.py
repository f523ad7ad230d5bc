"""Which accounts could serve a request now, and what stands in the way of the others."""

from __future__ import annotations

from dataclasses import replace

import pytest

from patchbay.accounts.eligibility import MAX_POOLS, Eligibility
from patchbay.accounts.health import Health
from patchbay.accounts.limiter import Limiter
from patchbay.accounts.upstream_faults import OutcomeContext
from patchbay.values.account import Models
from patchbay.values.decision import Identity, Outcome
from patchbay.values.http import Client

from .test_pool import HERE, THERE, account, ask


def eligibility(*accounts):
    return Eligibility(accounts, Health(), Limiter())


def obstacles(found, request, now=0.0):
    return [option.obstacle for option in found.options(request, now)]


def test_an_account_without_obstacle_is_an_option_with_its_lane():
    (option,) = eligibility(account("a")).options(ask(model="m(low)"), 0)
    assert (option.obstacle, option.reason, option.limit, option.lane, option.origin) == ("", "", None, "m", HERE)


@pytest.mark.parametrize(
    ("fields", "request_", "obstacle"),
    [
        ({"enabled": False}, {}, "disabled"),
        ({"models": Models(allow=("n",))}, {}, "model"),
        ({"models": Models(deny=("x",))}, {"others": ("x",)}, "model"),
        ({"models": Models(deny=("x",))}, {"unreadable": "it is encrypted"}, "model"),
        ({}, {"unreadable": "it is encrypted"}, ""),
        ({"models": Models(deny=("x",))}, {}, ""),
        ({}, {"identity": Identity(owner=frozenset({"b"}))}, "owner"),
        ({}, {"identity": Identity(owner=frozenset({"a"}))}, ""),
        ({}, {"tried": frozenset({"a"})}, "tried"),
    ],
)
def test_each_obstacle(fields, request_, obstacle):
    (option,) = eligibility(account("a", **fields)).options(ask(**request_), 0)
    assert option.obstacle == obstacle
    assert bool(option.reason) == bool(obstacle)


def test_a_lane_that_cools_down_is_an_obstacle_and_so_is_its_probe_for_others():
    found = eligibility(account("a"))
    found._health.record_outcome("a", "m", Outcome("rate"), 0)
    assert obstacles(found, ask(), 1) == ["resting"]
    assert obstacles(found, ask(model="n"), 1) == [""]

    found._health.acquire("a", "m", 5, 1)
    assert obstacles(found, ask(), 6) == ["probed"]
    assert obstacles(found, ask(tried=frozenset("a")), 6) == ["resting"]


def test_a_home_that_was_waited_for_is_no_obstacle_though_it_cools_down():
    found = eligibility(account("a"))
    found._health.record_outcome("a", "m", Outcome("rate"), 0)
    assert obstacles(found, ask(retry_home="a", tried=frozenset("a")), 1) == [""]


def test_a_limit_that_is_reached_is_an_obstacle_to_wait_for():
    found = eligibility(account("a", max_concurrent=1))
    found._limiter.acquire(1, found.limits(ask(), found.accounts[0], "m"), 0)
    (option,) = found.options(ask(), 0)

    assert (option.obstacle, option.reason) == ("busy", "busy (1 at once)")
    assert option.awaited == (("account", "a"), None)
    assert found.free_at(option, 0) is None


def test_a_probe_is_waited_for_until_its_lane_may_be_used():
    found = eligibility(account("a"))
    found._health.record_outcome("a", "m", Outcome("rate"), 0)
    (option,) = found.options(ask(), 1)

    assert option.awaited == (("probe", "a"), None)
    assert found.free_at(option, 1) == 5


def test_an_upgrade_comes_under_no_limit():
    found = eligibility(account("a", max_concurrent=1))
    assert found.limits(ask(opens=True), found.accounts[0], "m") == ()


@pytest.mark.parametrize(
    ("origin", "request_", "found"),
    [
        (HERE, {}, HERE),
        (HERE, {"destination": None}, HERE),
        (HERE, {"destination": THERE}, None),
        (None, {}, None),
        (None, {"reverse": THERE, "destination": THERE}, THERE),
        (None, {"reverse": THERE}, None),
        (HERE, {"family": "anthropic"}, None),
        (HERE, {"family": ""}, HERE),
        (HERE, {"client": Client(providers=("gem*",))}, None),
        (HERE, {"client": Client(providers=("open*",))}, HERE),
    ],
)
def test_a_credential_goes_to_its_own_origin_only(origin, request_, found):
    one = account("a", origin=origin)
    assert eligibility(one).origin(ask(**request_), one) == found


@pytest.mark.parametrize(
    ("fields", "asked", "serves"),
    [
        ({}, ("openai", HERE, None), True),
        ({}, ("", None, None), True),
        ({}, ("gemini", HERE, None), False),
        ({}, ("openai", THERE, None), False),
        ({"enabled": False}, ("openai", HERE, None), False),
        ({"origin": None}, ("openai", None, None), False),
        ({"origin": None}, ("openai", THERE, THERE), True),
    ],
)
def test_what_any_enabled_account_serves(fields, asked, serves):
    assert eligibility(account("a", **fields)).serves(*asked) == serves


def test_accounts_that_refused_a_conversation_are_not_willing_but_for_a_home_waited_for():
    found = eligibility(*(account(name) for name in "abc"))
    met = OutcomeContext(conversation=ask().conversation)
    for name in "ab":
        found._health.record_outcome(name, "m", Outcome("quota", scope="exchange"), 0, context=met)

    def willing(request):
        return [one.id for one in found.willing(request, found.accounts, 1)]

    assert willing(ask()) == ["c"]
    assert willing(ask(retry_home="a")) == ["a", "c"]
    assert willing(ask(model="n")) == willing(ask("other")) == ["a", "b", "c"]


@pytest.mark.parametrize(("preferred_until", "soon"), [(4.9, False), (5.0, True)])
def test_a_cooldown_is_soon_over_within_the_preferred_wait(preferred_until, soon):
    found = eligibility(account("a"))
    found._health.record_outcome("a", "m", Outcome("rate"), 0)
    request = ask(preferred_until=preferred_until)
    (option,) = found.options(request, 1)

    assert found.is_soon(request, option, 1) == soon
    assert not found.is_soon(ask(preferred_until=9.0, tried=frozenset("a")), option, 1)


def test_a_lasting_fault_is_never_soon_over():
    found = eligibility(account("a"))
    found._health.record_outcome("a", "m", Outcome("model"), 0)
    (option,) = found.options(ask(), 1)
    assert not found.is_soon(ask(preferred_until=1e6), option, 1)


def test_why_an_account_is_absent_and_until_when():
    found = eligibility(account("a", max_concurrent=1), account("b"), account("c"), account("d", enabled=False))
    found._limiter.acquire(1, found.limits(ask(), found.accounts[0], "m"), 0)
    found._health.record_outcome("b", "m", Outcome("rate"), 0)
    found._health.record_outcome("c", "m", Outcome("quota", until=2000.0), 0)
    a, b, c = found.all_absent(ask(), 1)

    assert (a.cause, a.detail, a.chance) == ("busy", "busy (1 at once)", 1)
    assert (b.cause, b.hinted, b.chance, b.deadline) == ("rate", False, 5, 5)
    assert (c.cause, c.hinted, c.chance, c.deadline) == ("quota", True, 900, 2000)
    assert [each.account for each in found.all_absent(ask(pin="b"), 1)] == ["b"]


def test_without_a_stated_end_the_next_probe_is_the_next_chance():
    found = eligibility(account("a"))
    found._health.record_outcome("a", "m", Outcome("quota"), 0)
    (a,) = found.all_absent(ask(), 1)
    assert (a.chance, a.deadline) == (30, 1800)


@pytest.mark.parametrize(("kind", "chance"), [("overload", 7.0), ("auth", None)])
def test_an_account_that_was_tried_may_be_tried_again_at_once_after_a_transient_fault(kind, chance):
    found = eligibility(account("a"))
    (a,) = found.all_absent(ask(tried=frozenset("a"), ended={"a": Outcome(kind)}), 7.0)
    assert (a.cause, a.chance) == (kind, chance)


def test_without_refusals_the_same_accounts_come_back_unread():
    found = eligibility(account("a"), account("b"))
    assert found.willing(ask(), found.accounts, 1) is found.accounts


def test_why_an_account_is_absent_names_it_its_provider_and_the_cause_in_words():
    found = eligibility(account("a"), account("b"), account("c", enabled=False), account("d", max_concurrent=1))
    found._health.record_outcome("a", "m", Outcome("overload", detail="529 overloaded"), 0)
    found._limiter.acquire(1, found.limits(ask(), found.accounts[3], "m"), 0)
    asked = ask(tried=frozenset("b"), ended={"b": Outcome("auth", detail="401")})
    told = [found.absent(asked, option, 1) for option in found.options(asked, 1)]

    assert [(each.account, each.provider, each.cause, each.detail) for each in told] == [
        ("a", "openai", "overload", "529 overloaded"),
        ("b", "openai", "auth", "401"),
        ("c", "openai", "disabled", "disabled"),
        ("d", "openai", "busy", "busy (1 at once)"),
    ]


def test_an_account_that_was_refused_with_another_model_alone_is_willing_for_this_one():
    found = eligibility(*(account(name) for name in "ab"))
    met = OutcomeContext(conversation=ask().conversation)
    found._health.record_outcome("a", "n", Outcome("quota", scope="exchange"), 0, context=met)

    assert [one.id for one in found.willing(ask(model="n"), found.accounts, 1)] == ["b"]
    assert [one.id for one in found.willing(ask(), found.accounts, 1)] == ["a", "b"]


@pytest.mark.parametrize(
    ("endpoint", "has"),
    [("/responses", True), ("/responses/compact", True), ("/chat/completions", False), ("/files", False), ("", True)],
)
def test_an_account_gets_the_endpoints_that_its_provider_has(endpoint, has):
    found = account("a")
    some = replace(found, provider=replace(found.provider, endpoints=("/responses*",)))

    assert len(eligibility(some).options(ask(endpoint=endpoint), 0)) == has
    assert len(eligibility(found).options(ask(endpoint=endpoint), 0)) == 1


def test_a_pool_is_remembered_for_a_model_but_not_by_a_path_or_a_long_name():
    found = eligibility(account("a"))
    for model in ("m", "n", "m", "m" * 5000):
        assert len(found.options(ask(model=model), 0)) == 1
    found.options(ask(path="/v1/one"), 0)
    found.options(ask(others=("n" * 5000,)), 0)
    assert len(found._pools) == 2

    for number in range(2 * MAX_POOLS):
        found.options(ask(model=f"m-{number}"), 0)
    assert len(found._pools) == MAX_POOLS
