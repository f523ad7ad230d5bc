"""The stories of the pool: who serves, who stays, who stands in, and what is said when nobody can."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import replace
from random import Random
from typing import get_args

import pytest
from hypothesis import settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from patchbay.accounts.cooldown import TRANSIENT
from patchbay.accounts.eligibility import probe_scope
from patchbay.accounts.lease import Ask, Lease
from patchbay.accounts.pool import LEAVES_HOME, Accounts
from patchbay.settings.presets import PRESETS
from patchbay.settings.settings import Config, QueueSettings, SessionSettings
from patchbay.values.account import Account, Models, OutcomeKind, Secret
from patchbay.values.answer import Head
from patchbay.values.decision import Identity, Outcome, Placement, Refusal, Wait
from patchbay.values.http import Client, Headers, Origin, PriorServing

HERE = Origin("https", "api.openai.com", 443)
THERE = Origin("https", "llm.example", 443)
KEY = b"k" * 32


def account(name, provider="openai", origin=HERE, **fields):
    return Account(name, PRESETS[provider], Secret("literal", "sk-hidden"), origin=origin, **fields)


def pool(*accounts, **settings_):
    return Accounts(Config(accounts, **settings_), KEY, Random(7))


def three(**settings_):
    return pool(*(account(name) for name in "abc"), **settings_)


def ask(session="s", model="m", **fields):
    identity = fields.pop("identity", None) or Identity(affinity=session)
    defaults = {"family": "openai", "destination": HERE, "reverse": None, "client": Client()}
    return Ask(model=model, identity=identity, **{**defaults, **fields})


def serve(accounts, request, now=0.0, kind="ok", until=None, scope="lane"):
    """Let one attempt go through to its end; return the choice."""
    choice = accounts.choose(request, now)
    assert isinstance(choice, Lease), choice
    if kind == "ok":
        accounts.first_success(choice, now)
    accounts.record_outcome(choice, Outcome(kind, until, scope), now)
    accounts.release(choice)
    return choice


def drop_homes(accounts, account_id):
    for told in accounts.bindings.all(0):
        if told.home == account_id:
            accounts.bindings.drop(told.key)


def served_by(accounts, request, now=0.0, **outcome):
    return serve(accounts, request, now, **outcome).account.id


def reasons(choice):
    return {each.account: each.reason for each in choice.candidates}


# --- sticky, not stubborn


def test_row_b1_a_session_stays_with_the_account_of_its_first_success():
    accounts = three()
    first = serve(accounts, ask())
    again = serve(accounts, ask(), now=3599)

    assert (first.binding, again.binding) == ("new", "hit")
    assert again.account.id == first.account.id
    assert serve(accounts, ask(), now=3599 + 3600).binding == "new"


def test_row_b1_a_pinned_account_wins_over_the_binding_and_does_not_change_it():
    accounts = three()
    home = served_by(accounts, ask())
    other = next(name for name in "abc" if name != home)
    pinned = serve(accounts, ask(pin=other))

    assert (pinned.account.id, pinned.binding) == (other, "none")
    assert served_by(accounts, ask()) == home


def test_a_pin_alone_never_binds():
    accounts = three()
    serve(accounts, ask(pin="a"))
    assert all(status.sessions == 0 for status in accounts.status(0))


@pytest.mark.parametrize("kind", ["rate", "overload", "server"])
def test_a_passing_fault_keeps_the_home_and_the_same_one_stands_in(kind):
    accounts = three()
    home = served_by(accounts, ask())
    serve(accounts, ask(), kind=kind, until=60)
    if kind == "server":
        serve(accounts, ask(), kind=kind, until=60)

    stand_ins = [serve(accounts, ask(), now=1 + n) for n in range(5)]
    assert {choice.binding for choice in stand_ins} == {"reselected"}
    assert len({choice.account.id for choice in stand_ins}) == 1
    assert stand_ins[0].account.id != home

    back = serve(accounts, ask(), now=70)
    assert (back.account.id, back.binding) == (home, "hit")


@pytest.mark.parametrize("strategy", ["rendezvous", "round_robin", "fill_first", "least_busy"])
def test_the_one_who_stands_in_is_the_same_each_time_under_every_strategy(strategy):
    accounts = three(strategy=strategy)
    home = served_by(accounts, ask())
    serve(accounts, ask(), kind="rate", until=600)
    stand_ins = {served_by(accounts, ask(), now=1 + n) for n in range(6)}
    assert len(stand_ins) == 1
    assert home not in stand_ins


@pytest.mark.parametrize(("kind", "scope"), [("auth", "account"), ("quota", "account"), ("permission", "lane")])
def test_a_fault_for_good_unbinds_and_the_next_success_is_the_new_home(kind, scope):
    accounts = three()
    home = served_by(accounts, ask())
    serve(accounts, ask(), kind=kind, scope=scope)
    following = serve(accounts, ask(tried=frozenset({home})), now=1)

    assert following.account.id != home
    later = serve(accounts, ask(), now=3000)  # the first home may serve again, but it is home no more
    assert (later.account.id, later.binding) == (following.account.id, "hit")


def test_each_outcome_takes_the_home_away_or_is_waited_out_or_concerns_no_account():
    """LEAVES_HOME says when a conversation moves for good, TRANSIENT when it may wait at home and try again."""
    of_account = {kind for kind in get_args(OutcomeKind) if home_is_lost(kind)}

    assert of_account == LEAVES_HOME
    assert set(TRANSIENT) == {"rate", "overload", "server"}
    assert {*get_args(OutcomeKind)} - LEAVES_HOME - {*TRANSIENT} == {"ok", "model", "request", "cancelled"}


def home_is_lost(kind):
    accounts = three()
    serve(accounts, ask())
    serve(accounts, ask(), kind=kind, scope="account")
    return not accounts.bindings.home(ask().key, 1)


def test_row_b2_on_error_clear_unbinds_on_a_passing_fault_too():
    accounts = three(sessions=SessionSettings(on_error="clear"))
    home = served_by(accounts, ask())
    serve(accounts, ask(), kind="rate", until=30)
    fallback = serve(accounts, ask(), now=1)

    assert fallback.account.id != home
    assert serve(accounts, ask(), now=100).account.id == fallback.account.id


@pytest.mark.parametrize("kind", ["request", "cancelled"])
def test_a_requests_own_fault_changes_nothing(kind):
    accounts = three()
    home = served_by(accounts, ask())
    for _ in range(5):
        serve(accounts, ask(), kind=kind)
    assert serve(accounts, ask()).binding == "hit"
    assert served_by(accounts, ask()) == home


def test_row_b4_a_stream_that_never_started_binds_nothing():
    accounts = three()
    serve(accounts, ask(), kind="server")
    assert accounts.choose(ask(), 1).binding == "new"


def test_row_b4_a_stale_binding_of_another_provider_falls_back():
    accounts = pool(account("o"), account("g", "gemini", origin=THERE))
    assert serve(accounts, ask()).account.id == "o"
    elsewhere = serve(accounts, ask(family="gemini", destination=THERE))

    assert (elsewhere.account.id, elsewhere.binding) == ("g", "new")
    assert serve(accounts, ask()).binding == "hit"


def test_row_b4_a_model_the_home_lacks_selects_normally_and_the_home_stays():
    accounts = pool(account("big", models=Models(allow=("m",))), account("mini", models=Models(deny=("m",))))
    assert serve(accounts, ask()).account.id == "big"
    title = serve(accounts, ask(model="title"))

    assert (title.account.id, title.binding) == ("mini", "reselected")
    assert serve(accounts, ask(model="title")).binding == "hit"
    assert serve(accounts, ask()).account.id == "big"


def test_a_model_that_the_home_turned_out_not_to_have_moves_only_that_model():
    accounts = three()
    home = served_by(accounts, ask())
    serve(accounts, ask(model="rare"), kind="model")
    other = serve(accounts, ask(model="rare", tried=frozenset({home})))

    assert other.account.id != home
    again = serve(accounts, ask(model="rare"), now=1)
    assert (again.account.id, again.binding) == (other.account.id, "hit")
    assert served_by(accounts, ask(), now=1) == home


def test_a_model_kept_aside_is_still_known_when_the_home_itself_is_forgotten():
    accounts = pool(account("big", models=Models(allow=("m",))), account("x", models=Models(deny=("m",))),
                    account("y", models=Models(deny=("m",))))  # fmt: skip
    serve(accounts, ask())
    aside = served_by(accounts, ask(model="t"), now=3000)
    late = serve(accounts, ask(model="t"), now=5000)
    assert (late.account.id, late.binding) == (aside, "hit")


def test_row_b5_without_a_session_nothing_sticks():
    accounts = three(strategy="round_robin")
    assert [served_by(accounts, ask(session="")) for _ in range(4)] == ["a", "b", "c", "a"]
    assert serve(accounts, ask(session="")).binding == "none"


def test_a_side_call_follows_a_home_and_never_makes_one():
    accounts = three()
    side = ask(identity=Identity(affinity="s", binds=False))
    assert serve(accounts, side).binding == "none"
    assert accounts.choose(ask(), 0).binding == "new"

    home = served_by(accounts, ask())
    assert (serve(accounts, side).account.id, serve(accounts, side).binding) == (home, "hit")


def test_a_burst_of_a_new_session_goes_to_one_account():
    accounts = three(strategy="round_robin")
    burst = [accounts.choose(ask(), 0) for _ in range(10)]

    assert len({choice.account.id for choice in burst}) == 1
    assert [choice.binding for choice in burst] == ["new"] + ["inherited"] * 9


def test_a_late_success_after_the_home_was_dropped_does_not_bind():
    accounts = three()
    home = served_by(accounts, ask())
    slow = accounts.choose(ask(), 1)
    drop_homes(accounts, home)

    accounts.first_success(slow, 2)
    accounts.record_outcome(slow, Outcome("ok"), 2)
    accounts.release(slow)
    assert accounts.status(2)[0].sessions == 0
    assert accounts.choose(ask(), 3).binding == "new"


def test_a_late_failure_of_an_old_generation_does_not_unbind():
    accounts = three()
    home = served_by(accounts, ask())
    slow = accounts.choose(ask(), 1)
    drop_homes(accounts, home)
    assert served_by(accounts, ask(), now=2) == home

    accounts.record_outcome(slow, Outcome("permission"), 3)
    accounts.release(slow)
    assert accounts.choose(ask(model="other"), 4).binding == "hit"


def test_clients_do_not_share_homes():
    accounts = three()
    serve(accounts, ask())
    assert accounts.choose(ask(client=Client(scope=b"x")), 0).binding == "new"


def test_a_dead_home_is_left_even_when_another_session_found_out():
    accounts = three()
    home = served_by(accounts, ask())
    serve(accounts, ask("other", pin=home), kind="auth", scope="account")
    moved = serve(accounts, ask(), now=1)

    assert moved.account.id != home
    assert moved.binding == "reselected"
    accounts.credential_changed(home)
    assert served_by(accounts, ask(), now=2) == moved.account.id


# --- who comes into question


def test_row_d1_the_highest_priority_with_an_eligible_account_is_used():
    accounts = pool(account("low"), account("high", priority=1))
    assert served_by(accounts, ask("1"), kind="rate", until=60) == "high"
    assert served_by(accounts, ask("1"), now=1) == "low"
    assert reasons(serve(accounts, ask("2"), now=100)) == {"low": "lower priority", "high": ""}


def test_row_d1_affinity_wraps_every_strategy():
    for strategy in ("round_robin", "fill_first", "least_busy"):
        accounts = three(strategy=strategy)
        assert len({served_by(accounts, ask("x")) for _ in range(5)}) == 1


def test_row_d1_a_websocket_goes_to_an_account_that_takes_it():
    accounts = pool(account("plain", priority=1), account("ws", websockets=True))
    assert served_by(accounts, ask()) == "plain"
    upgrade = serve(accounts, ask(websocket=True))

    assert upgrade.account.id == "ws"
    assert serve(accounts, ask(websocket=True)).binding == "hit"
    assert served_by(accounts, ask()) == "plain"


def test_row_d2_what_blocks_an_account_is_told():
    accounts = pool(
        account("off", enabled=False),
        account("narrow", models=Models(allow=("x",))),
        account("tired"),
        account("full", max_concurrent=1),
        account("tried"),
        account("good"),
    )
    serve(accounts, ask("1", pin="tired"), kind="overload")
    accounts.choose(ask("2", pin="full"), 0)

    choice = accounts.choose(ask("3", tried=frozenset({"tried"})), 1)
    assert reasons(choice) == {
        "off": "disabled",
        "narrow": "does not serve the model",
        "tired": "overloaded",
        "full": "busy (1 at once)",
        "tried": "tried in this exchange",
        "good": "",
    }


def test_row_d2_an_effort_shares_the_lane_of_its_model():
    accounts = pool(account("a"), account("b"))
    serve(accounts, ask(model="m(high)", pin="a"), kind="rate", until=60)
    assert accounts.choose(ask("x", model="m"), 1).account.id == "b"


def test_models_that_share_a_quota_rest_together():
    accounts = pool(account("a", quota_group="org"), account("c", quota_group="org"), account("b", priority=-1))
    serve(accounts, ask(), kind="rate", until=60)
    assert accounts.choose(ask("x", model="other"), 1).account.id == "b"


def test_a_model_that_one_of_a_quota_lacks_is_its_own_matter():
    accounts = pool(account("a", quota_group="org"), account("c", quota_group="org"))
    serve(accounts, ask(pin="a"), kind="model")
    assert accounts.choose(ask("x"), 1).account.id == "c"
    assert accounts.choose(ask("y", model="other", pin="a"), 1).account.id == "a"


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, {"here", "any"}),
        ({"family": "gemini"}, {"any"}),
        ({"family": ""}, {"here", "any"}),
        ({"destination": THERE}, {"there"}),
        ({"destination": None}, {"here", "any", "there"}),
        ({"destination": None, "reverse": THERE}, {"here", "any", "there", "reverse"}),
        ({"destination": THERE, "reverse": THERE}, {"there", "reverse"}),
        ({"destination": HERE, "reverse": THERE}, {"here", "any"}),
    ],
)
def test_a_pool_is_a_family_at_a_destination(fields, expected):
    accounts = pool(
        account("here"),
        account("any", "generic"),
        account("there", origin=THERE),
        account("reverse", "generic", origin=None),
        account("claude", "anthropic", origin=Origin("https", "api.anthropic.com", 443)),
    )
    choice = accounts.choose(ask(**fields), 0)
    assert {each.account for each in choice.candidates} - {"claude"} == expected


def test_an_account_without_an_origin_never_goes_where_a_client_points():
    accounts = pool(account("reverse", "generic", origin=None))
    assert accounts.choose(ask(destination=THERE), 0).code == "auth_not_found"
    assert accounts.choose(ask(destination=HERE, reverse=THERE), 0).code == "auth_not_found"
    assert accounts.choose(ask(destination=None, reverse=THERE), 0).origin == THERE


def test_a_choice_names_pool_origin_and_the_providers_model():
    accounts = pool(account("a", models=Models(aliases={"fast": "m"}, upstream_names={"m": "deploy"})))
    choice = accounts.choose(ask(model="fast(high)"), 0)

    assert (choice.pool, choice.origin, choice.model, choice.lane) == (
        "openai@https://api.openai.com:443", HERE, "deploy(high)", "m",
    )  # fmt: skip
    assert accounts.choose(ask(family="", destination=None), 0).pool == "any@any"


def test_an_owner_constrains_the_account():
    accounts = three()
    for name in "abc":
        owned = ask(f"s{name}", identity=Identity(affinity=f"s{name}", owner=frozenset({name})))
        assert served_by(accounts, owned) == name


def test_an_owner_does_not_move_the_home():
    accounts = three()
    home = served_by(accounts, ask())
    other = next(name for name in "abc" if name != home)
    serve(accounts, ask(identity=Identity(affinity="s", owner=frozenset({other}))))
    assert served_by(accounts, ask()) == home


def test_new_sessions_are_admitted_under_the_bound_and_warm_ones_stay():
    accounts = pool(*(account(name) for name in "abcde"))
    homes = {n: served_by(accounts, ask(str(n))) for n in range(20)}
    counts = Counter(homes.values())

    assert max(counts.values()) <= 1.25 * 20 / 5
    assert all(served_by(accounts, ask(str(n))) == home for n, home in homes.items())


def test_no_bound_holds_for_a_strategy_that_fills_one_account_first():
    accounts = pool(*(account(name) for name in "abcde"), strategy="fill_first")

    assert {served_by(accounts, ask(str(n))) for n in range(50)} == {"a"}


def test_two_instances_choose_alike():
    here, there = three(), Accounts(three()._config, KEY, Random(99))
    assert all(here.choose(ask(str(n)), 0).account == there.choose(ask(str(n)), 0).account for n in range(100))


def test_a_full_account_is_left_for_now_and_the_session_returns():
    accounts = pool(account("a", max_concurrent=1), account("b", max_concurrent=5))
    home = next(n for n in range(50) if served_by(accounts, ask(str(n))) == "a")
    running = accounts.choose(ask(str(home)), 1)
    beside = serve(accounts, ask(str(home)), now=1)
    assert (running.account.id, beside.account.id, beside.binding) == ("a", "b", "reselected")

    accounts.release(running)
    assert served_by(accounts, ask(str(home)), now=2) == "a"


# --- coming back


def queued(name, preferred_until=0.0, **fields):
    """Ask under a name of one's own, as everybody does who may have to wait."""
    called = []
    request = replace(
        ask(name, **fields), waiter=name, recheck=lambda: called.append(name), preferred_until=preferred_until
    )
    return request, called


def test_after_a_rest_one_looks_and_the_others_go_elsewhere_or_wait_for_it():
    accounts = pool(account("a"))
    rest(accounts, "a", until=10)
    look = accounts.choose(ask("1"), 20)
    request, called = queued("2")
    waits = accounts.choose(request, 20)
    assert (look.account.id, type(waits)) == ("a", Wait)

    accounts.first_success(look, 21)
    assert called == ["2"]
    assert accounts.choose(request, 21).account.id == "a"


def test_a_look_that_fails_lets_those_who_wait_for_it_be_told():
    accounts = pool(account("a"))
    rest(accounts, "a", until=10)
    look = accounts.choose(ask("1"), 20)
    request, called = queued("2")
    accounts.choose(request, 20)
    accounts.record_outcome(look, Outcome("rate", 500), 21)
    accounts.release(look)
    assert called
    assert accounts.choose(request, 21).code == "model_cooldown"
    assert len(accounts._limiter._waiting) == 0


def test_a_look_whose_client_leaves_is_the_next_ones():
    accounts = pool(account("a"))
    rest(accounts, "a", until=10)
    look = accounts.choose(ask("1"), 20)
    accounts.record_outcome(look, Outcome("cancelled"), 20)
    accounts.release(look)
    assert accounts.choose(ask("2"), 20).account.id == "a"


def test_while_one_looks_a_home_is_stood_in_for():
    accounts = three()
    home = served_by(accounts, ask())
    rest(accounts, home, until=10)
    accounts.choose(ask("other", pin=home), 20)
    beside = serve(accounts, ask(), now=20)
    assert (beside.binding, beside.account.id != home) == ("reselected", True)


def test_of_those_who_waited_for_their_home_one_looks_and_the_others_are_served_elsewhere():
    accounts = three()
    home = served_by(accounts, ask())
    serve(accounts, ask(), now=1, kind="overload")
    again = ask(retry_home=home, tried=frozenset({home}))
    look, beside = accounts.choose(again, 2), accounts.choose(again, 2)
    assert (look.account.id, look.binding) == (home, "hit")
    assert (beside.account.id != home, beside.binding) == (True, "reselected")
    assert reasons(beside)[home] == "overloaded"

    accounts.record_outcome(look, Outcome("overload"), 3)
    accounts.release(look)
    assert accounts.choose(again, 3).account.id != home, "it has just been seen to last"


def test_a_home_whose_credential_failed_meanwhile_is_not_looked_at():
    accounts = three()
    home = served_by(accounts, ask())
    serve(accounts, ask(), now=1, kind="overload")
    serve(accounts, ask("other", pin=home), now=20, kind="auth")
    assert accounts.choose(ask(retry_home=home, tried=frozenset({home})), 21).account.id != home


def test_when_all_rest_each_is_tried_once_in_half_a_minute_the_first_to_come_back_first():
    """R8: each by itself, since one may be well again while the others are not."""
    accounts = three()
    rest(accounts, "a", until=800)
    rest(accounts, "b", until=300)
    rest(accounts, "c", until=500)
    assert isinstance(accounts.choose(ask(), 29), Refusal)

    chance = accounts.choose(ask(), 30)
    assert chance.account.id == "b"
    assert isinstance(accounts.choose(queued("2")[0], 30), Wait), "it may be told at once"
    accounts.record_outcome(chance, Outcome("rate", 900), 31)
    accounts.release(chance)
    for second, name in ((32, "c"), (34, "a")):
        chance = accounts.choose(ask("3"), second)
        assert chance.account.id == name
        accounts.record_outcome(chance, Outcome("rate", 900), second + 1)
        accounts.release(chance)
    assert isinstance(accounts.choose(ask("3"), 59), Refusal)
    assert accounts.choose(ask("3"), 61).account.id == "b"


def test_no_last_chance_where_another_is_well_or_only_busy():
    accounts = pool(account("a"), account("b", max_concurrent=1))
    rest(accounts, "a", until=800)
    accounts.choose(ask("1"), 40)
    assert isinstance(accounts.choose(ask("2"), 40), Wait)


def test_a_rest_that_is_over_in_a_moment_is_waited_for():
    accounts = pool(account("a"))
    rest(accounts, "a", until=1)
    waits = accounts.choose(queued("1", preferred_until=2)[0], 0)
    assert isinstance(waits, Wait)
    assert waits.until <= 2
    assert accounts.choose(queued("1", preferred_until=2)[0], waits.until).account.id == "a"

    longer = pool(account("a"))
    rest(longer, "a", until=100)
    assert isinstance(longer.choose(queued("2", preferred_until=2)[0], 0), Refusal)


def test_the_same_fault_of_two_in_one_exchange_is_held_against_neither():
    accounts = three()
    for name in "ab":
        request = replace(ask("s", pin=name), waiter="one exchange")
        for _ in range(2):
            serve(accounts, request, kind="server")
    assert [status.state for status in accounts.status(1)] == ["healthy"] * 3


def test_where_little_is_left_no_new_conversation_begins_and_old_ones_go_on():
    accounts = pool(account("a"), account("b"))
    old = next(str(n) for n in range(50) if served_by(accounts, ask(str(n))) == "a")
    full = Headers((("x-ratelimit-limit-requests", "100"), ("x-ratelimit-remaining-requests", "3"),
                    ("x-ratelimit-reset-requests", "60s")))  # fmt: skip
    accounts.record_head(accounts.choose(ask(old), 1), Head(200, full), 1)

    assert {served_by(accounts, ask(f"new {n}"), now=2) for n in range(20)} == {"b"}
    assert served_by(accounts, ask(old), now=2) == "a"
    assert accounts.status(2)[0].state == "throttled"
    assert "a" in {served_by(accounts, ask(f"later {n}"), now=100) for n in range(20)}


def test_where_little_is_left_everywhere_new_conversations_begin_all_the_same():
    accounts = pool(account("a"))
    fields = (("x-ratelimit-limit-requests", "100"), ("x-ratelimit-remaining-requests", "0"),
              ("x-ratelimit-reset-requests", "60s"))  # fmt: skip
    accounts.record_head(accounts.choose(ask(), 1), Head(200, Headers(fields)), 1)
    assert served_by(accounts, ask("new"), now=2) == "a"


def test_a_reset_that_is_trusted_is_not_verified():
    accounts = pool(account("a", trust_reset="strict"))
    rest(accounts, "a", until=86400)
    assert accounts.choose(ask(), 20 * 60).retry_after > 80_000


# --- where the cache is warm


def away(accounts, session, home, now, until):
    serve(accounts, ask(session, pin=home), now, kind="rate", until=until)


def test_a_home_that_was_away_for_longer_than_its_cache_is_given_up_for_the_one_that_stood_in():
    accounts = three()
    home = served_by(accounts, ask())
    away(accounts, "s", home, 10, until=500)
    stood_in = {served_by(accounts, ask(), now=now) for now in (20, 200, 400)}
    (warm,) = stood_in
    back = serve(accounts, ask(), now=600)
    assert (back.account.id, back.binding) == (warm, "hit")
    assert warm != home


def test_a_home_that_was_away_for_less_is_gone_back_to():
    accounts = three()
    home = served_by(accounts, ask(), now=0)
    away(accounts, "s", home, 10, until=100)
    assert served_by(accounts, ask(), now=20) != home
    assert served_by(accounts, ask(), now=200) == home


def test_a_home_is_gone_back_to_when_nobody_is_warm():
    accounts = three()
    home = served_by(accounts, ask(), now=0)
    away(accounts, "s", home, 10, until=100)
    assert served_by(accounts, ask(), now=20) != home
    assert served_by(accounts, ask(), now=900) == home


def test_a_late_result_of_the_old_home_does_not_undo_the_move():
    accounts = three()
    home = served_by(accounts, ask())
    slow = accounts.choose(ask(), 5)
    away(accounts, "s", home, 10, until=400)
    warm = served_by(accounts, ask(), now=300)
    assert served_by(accounts, ask(), now=500) == warm
    accounts.record_outcome(slow, Outcome("permission"), 501)
    accounts.release(slow)
    assert served_by(accounts, ask(), now=502) == warm


@pytest.mark.parametrize(
    ("failback", "idle", "back"), [("idle", 400, "high"), ("idle", 200, "low"), ("never", 400, "low")]
)
def test_a_conversation_goes_back_to_a_better_account_when_its_cache_is_cold(failback, idle, back):
    accounts = pool(account("low"), account("high", priority=1), sessions=SessionSettings(failback=failback))
    rest(accounts, "high", until=10)
    assert served_by(accounts, ask(), now=1) == "low"
    assert served_by(accounts, ask(), now=50) == "low"
    assert served_by(accounts, ask(), now=50 + idle) == back
    accounts.reload(Config((account("low", priority=1), account("high"))))
    assert served_by(accounts, ask(), now=51 + idle) == back, "it is its home now"


# --- waiting


def test_nobody_passes_who_came_later_and_the_next_is_called():
    accounts = pool(account("a", max_concurrent=1))
    running = accounts.choose(ask("0"), 0)
    (first, calls), (second, _) = queued("1"), queued("2")
    assert isinstance(accounts.choose(first, 0), Wait)
    assert isinstance(accounts.choose(second, 0), Wait)
    accounts.release(running)

    assert calls == ["1"]
    assert isinstance(accounts.choose(ask("late"), 0), Wait)
    assert isinstance(accounts.choose(second, 0), Wait)
    served = accounts.choose(first, 0)
    assert served.account.id == "a"
    accounts.release(served)
    assert accounts.choose(second, 0).account.id == "a"
    assert len(accounts._limiter._waiting) == 0


def test_one_conversation_s_flood_holds_up_no_other_one_of_the_same_client():
    """R12: without `clients:` the tools of one user have one key; each conversation has its turn, and its place."""
    accounts = pool(account("a", max_concurrent=1), queue=QueueSettings(limit=20))
    assert len({ask(name, client=Client(scope=b"k")).party for name in ("flood", "one", "other")}) == 3
    assert {ask(name, client=Client(b"k", "ann", key=b"a")).party for name in ("flood", "one", "other")} == {b"k"}
    running = accounts.choose(ask("0"), 0)
    for number in range(20):
        request = replace(queued(f"flood {number}")[0], identity=Identity(affinity="flood"))
        assert isinstance(accounts.choose(request, 0), Wait)
    one, called = queued("one")
    other, _ = queued("other")
    assert isinstance(accounts.choose(one, 0), Wait), "it gets in although the line is full"
    assert isinstance(accounts.choose(other, 0), Wait)
    for number in range(2):  # one of the flood came first, then it is the turn of the others
        accounts.release(running)
        flood = replace(queued(f"flood {number}")[0], identity=Identity(affinity="flood"))
        running = accounts.choose(one if called else flood, 0)
        assert isinstance(running, Lease), number

    assert called
    assert isinstance(accounts.choose(other, 0), Wait)
    accounts.release(running)
    assert isinstance(accounts.choose(other, 0), Lease)


def test_a_full_line_is_a_refusal_that_says_so():
    accounts = pool(account("a", max_concurrent=1), queue=QueueSettings(limit=1))
    accounts.choose(ask("0"), 0)
    accounts.choose(queued("1")[0], 0)
    refusal = accounts.choose(queued("2")[0], 0)
    assert (refusal.status, refusal.code, refusal.retry_after) == (503, "queue_full", 1)
    accounts.leave_queue("1")
    assert isinstance(accounts.choose(queued("2")[0], 0), Wait)


def test_a_better_account_that_is_busy_is_waited_for_a_moment():
    accounts = pool(account("high", priority=1, max_concurrent=1), account("low"))
    running = accounts.choose(ask("0"), 0)
    request, called = queued("1", preferred_until=2)
    assert accounts.choose(request, 0) == Wait(2, "every account that could serve this is busy")
    assert accounts.choose(queued("2", preferred_until=2)[0], 2).account.id == "low"
    accounts.release(running)
    assert called == ["1"]
    assert accounts.choose(request, 1).account.id == "high"


def test_a_better_account_that_rests_is_not_waited_for():
    accounts = pool(account("high", priority=1), account("low"))
    rest(accounts, "high")
    assert accounts.choose(queued("1", preferred_until=2)[0], 0).account.id == "low"


def test_a_minutes_limit_sends_to_the_next_account_and_says_when_it_is_over():
    accounts = pool(account("a", rpm=1, priority=1), account("b", rpm=1))
    assert [served_by(accounts, ask(str(n)), now=5) for n in range(2)] == ["a", "b"]
    waits = accounts.choose(queued("x")[0], 63)
    assert waits.until == 66
    assert accounts.choose(queued("x")[0], 66).account.id == "a"
    assert reasons(accounts.choose(ask("y"), 66))["a"] == "at its limit (1 requests a minute)"


def test_tokens_are_counted_when_the_answer_is_there():
    accounts = pool(account("a", tpm=1000))
    choice = accounts.choose(ask("1", tokens=900), 0)
    assert isinstance(accounts.choose(ask("2", tokens=900), 0), Wait)
    accounts.record_outcome(choice, Outcome("ok"), 1, tokens=50)
    accounts.release(choice)
    assert accounts.choose(ask("2", tokens=900), 1).account.id == "a"
    assert accounts.status(1)[0].tokens == 950


def test_each_request_at_once_has_a_session_upstream_of_its_own():
    accounts = pool(account("a", slots=3))
    choices = [accounts.choose(ask("s"), 0) for _ in range(3)]
    assert {choice.slot for choice in choices} == {0, 1, 2}
    assert isinstance(accounts.choose(ask("s"), 0), Wait)
    assert accounts.choose(ask("s", model="n"), 0).slot is not None
    assert accounts.choose(ask("s", client=Client(scope=b"y")), 0).slot is not None
    accounts.release(choices[1])
    assert accounts.choose(ask("s"), 0).slot == choices[1].slot
    assert pool(account("a")).choose(ask("s"), 0).slot is None


def test_another_model_waits_until_those_of_the_first_are_through():
    accounts = pool(account("a", serialize="model_switch"))
    running = [accounts.choose(ask("1"), 0), accounts.choose(ask("2", model="m(high)"), 0)]
    other, called = queued("3", model="n")
    assert isinstance(accounts.choose(other, 0), Wait)
    accounts.choose(ask("4", model="n", client=Client(scope=b"y")), 0)
    accounts.release(running[0])
    assert isinstance(accounts.choose(other, 0), Wait)
    accounts.release(running[1])
    assert called
    assert accounts.choose(other, 0).model == "n"


def test_one_thread_waits_for_itself_whichever_account_is_free():
    accounts = pool(account("a", serialize="thread"), account("b", serialize="thread"))
    one, two = (ask(identity=Identity(affinity="s", thread=thread)) for thread in ("t", "u"))
    running = accounts.choose(one, 0)
    assert isinstance(accounts.choose(one, 0), Wait)
    assert isinstance(accounts.choose(two, 0), Lease)
    accounts.release(running)
    assert isinstance(accounts.choose(one, 0), Lease)


def test_a_websocket_that_stays_open_holds_nothing_that_its_messages_need():
    accounts = pool(account("a", max_concurrent=1, websockets=True))
    accounts.choose(ask(websocket=True, opens=True), 0)
    assert accounts.choose(ask(pin="a"), 0).account.id == "a"


# --- nobody


def test_when_all_are_busy_one_waits():
    accounts = pool(account("a", max_concurrent=1), account("b"))
    held = accounts.choose(ask("1", pin="a"), 0)
    serve(accounts, ask("2", pin="b"), kind="rate", until=100)

    assert accounts.choose(ask("3"), 1) == Wait(6.0, "every account that could serve this is busy")
    accounts.release(held)
    assert accounts.choose(ask("3"), 1).account.id == "a"


def rest(accounts, *names, kind="rate", until=90, scope="lane"):
    for name in names:
        serve(accounts, ask(f"by {name}", pin=name), kind=kind, until=until, scope=scope)


def unreached(times):
    """Say of requests at *times* whether each refusal is final, where no upstream can be reached."""
    accounts, found = pool(account("a")), []
    for now in times:
        request = ask(str(now))
        choice = accounts.choose(request, now)
        while isinstance(choice, Lease):
            failed = Outcome("server", detail="connect", failure="connection refused")
            accounts.record_outcome(choice, failed, now)
            accounts.release(choice)
            request = replace(request, tried=frozenset("a"), ended={"a": failed})
            choice = accounts.choose(request, now)
        found.append(choice.final)
    return found


@pytest.mark.parametrize(
    ("times", "final"),
    [
        ((0.0, 9.9, 10.0), [False, False, True]),
        ((0.0, 59.9), [False, True]),
        ((0.0, 60.0), [False, False]),
        ((0.0, 10.0, 70.0), [False, True, False]),
    ],
)
def test_where_nothing_is_reached_for_ten_seconds_the_refusal_is_final_until_a_minute_without_requests(times, final):
    assert unreached(times) == final


def test_row_d3_when_all_are_cooling_it_says_until_when():
    accounts = three()
    rest(accounts, *"abc")
    refusal = accounts.choose(ask(), 0)

    assert (refusal.status, refusal.code) == (429, "model_cooldown")
    assert refusal.message.startswith("All credentials for model m are cooling down via provider openai: ")
    assert refusal.fields["model"] == "m"
    assert refusal.fields["provider"] == "openai"
    assert refusal.retry_after == 90
    assert (refusal.fields["reset_seconds"], refusal.fields["reset_time"]) == (90, "1m30s")


def test_row_d3_a_mixed_provider_is_left_out():
    accounts = pool(account("a"), account("b", "generic"))
    rest(accounts, "a", "b")
    refusal = accounts.choose(ask(), 0)

    assert refusal.message.startswith("All credentials for model m are cooling down: ")
    assert "provider" not in refusal.fields


def test_row_d3_the_first_to_return_counts_and_a_check_may_be_nearer():
    accounts = pool(account("a"), account("b"))
    rest(accounts, "a", until=7200)
    rest(accounts, "b", until=86400)
    refusal = accounts.choose(ask(), 0)

    assert refusal.fields["reset_seconds"] == 7200
    assert refusal.retry_after == 900


def test_row_d3_mixed_causes_are_unavailable():
    accounts = pool(account("a"), account("b"))
    rest(accounts, "a")
    rest(accounts, "b", kind="auth", scope="account")
    refusal = accounts.choose(ask(), 0)

    assert (refusal.status, refusal.code) == (503, "auth_unavailable")
    assert refusal.retry_after == 90


def test_row_d3_no_candidates_are_not_found():
    assert pool().choose(ask(), 0).code == "auth_not_found"
    assert three().choose(ask(destination=THERE), 0).status == 404


def test_a_model_that_no_account_serves_is_final():
    """A6: it is a 404, which no client asks again."""
    narrow = pool(account("a", models=Models(allow=("x",))))
    refusal = narrow.choose(ask(), 0)

    assert (refusal.status, refusal.code, refusal.retry_after) == (404, "model_not_found", None)
    assert refusal.final
    assert refusal.message == "No account here serves model m. Served: x"


def test_row_d3_disabled_accounts_are_unavailable_and_do_not_hide_a_cooldown():
    off = account("off", enabled=False)
    assert pool(off).choose(ask(), 0).code == "auth_unavailable"
    accounts = pool(off, account("a"))
    rest(accounts, "a")
    assert accounts.choose(ask(), 0).code == "model_cooldown"


def test_an_exchange_that_has_been_everywhere_is_refused():
    refusal = three().choose(ask(tried=frozenset("abc")), 0)
    assert (refusal.status, refusal.code, refusal.retry_after) == (503, "auth_unavailable", None)


def test_a_pin_to_nobody_is_the_clients_mistake():
    refusal = three().choose(ask(pin="zoe"), 0)
    assert (refusal.status, refusal.code) == (400, "account_unknown")
    assert pool(account("g", "gemini")).choose(ask(pin="g"), 0).code == "account_unknown"


def test_a_pin_to_one_that_rests_is_refused_like_a_pool_of_one():
    accounts = three()
    rest(accounts, "a")
    assert accounts.choose(ask(pin="a"), 0).code == "model_cooldown"


def test_an_owner_that_cannot_serve_is_named_as_the_cause():
    accounts = three()
    rest(accounts, "a")
    away = accounts.choose(ask(identity=Identity(affinity="s", owner=frozenset({"a"}))), 0)
    gone = accounts.choose(ask(identity=Identity(affinity="s", owner=frozenset({"zoe"}))), 0)

    assert (away.status, away.code) == (503, "owner_unavailable")
    assert away.retry_after == 90
    assert (gone.code, gone.retry_after) == ("owner_unavailable", None)


@pytest.mark.parametrize("kind", ["auth", "quota", "model"])
def test_trouble_with_our_credentials_never_looks_like_trouble_with_the_clients(kind):
    accounts = three()
    rest(accounts, *"abc", kind=kind, until=None)
    refusal = accounts.choose(ask(), 0)
    assert isinstance(refusal, Refusal)
    assert refusal.status == {"auth": 503, "quota": 429, "model": 404}[kind]
    assert refusal.final


# --- bookkeeping


def test_a_choice_is_released_once():
    accounts = pool(account("a"))
    one, two = accounts.choose(ask(), 0), accounts.choose(ask(), 0)
    assert accounts.status(0)[0].in_flight == 2
    for choice in (one, one, one):
        accounts.release(choice)
    assert accounts.status(0)[0].in_flight == 1
    accounts.release(replace(two))
    assert accounts.status(0)[0].in_flight == 0


def test_row_d6_the_time_to_live_is_a_setting():
    accounts = three(sessions=SessionSettings(ttl=90))
    serve(accounts, ask())
    assert accounts.choose(ask(), 89).binding == "hit"
    assert three(sessions=SessionSettings(ttl=90)).choose(ask(), 91).binding == "new"


def test_an_account_that_is_gone_drains_until_its_last_answer_is_there():
    accounts = pool(account("a", enabled=False), account("b"))
    answering = accounts.choose(ask(), 0)
    accounts.reload(Config((account("a"),)))
    accounts.reload(Config((account("a"), account("c"))))
    assert [(one.account, one.state, one.in_flight) for one in accounts.status(1)] == [
        ("a", "healthy", 0), ("c", "healthy", 0), ("b", "draining", 1),
    ]  # fmt: skip
    assert served_by(accounts, ask(), now=1) in ("a", "c")

    accounts.record_outcome(answering, Outcome("ok"), 2)
    accounts.release(answering)
    assert [one.account for one in accounts.status(2)] == ["a", "c"]


def test_an_account_that_comes_back_while_it_drains_is_as_it_was():
    accounts = pool(account("a"), account("b"))
    accounts.choose(ask(pin="b"), 0)
    accounts.reload(Config((account("a"),)))
    accounts.reload(Config((account("a"), account("b"))))
    assert [(one.account, one.state, one.in_flight) for one in accounts.status(1)] == [
        ("a", "healthy", 0), ("b", "healthy", 1),
    ]  # fmt: skip


def test_no_secret_shows_in_a_lease():
    assert "sk-hidden" not in repr(three().choose(ask(), 0))


class Slots(RuleBasedStateMachine):
    """
    Whatever happens between: what was taken is given back, no account is overfull, and nothing stays behind.

    No account that is well is refused, and nobody waits while there is room for the first in line.
    """

    def __init__(self):
        super().__init__()
        self.accounts = pool(
            account("a", max_concurrent=2, slots=2),
            account("b", max_concurrent=1, serialize="model_switch"),
            sessions=SessionSettings(limit=3),
            queue=QueueSettings(limit=4),
        )
        self.open: list[Lease] = []
        self.line: dict[str, Ask] = {}
        self.now, self.asked = 0.0, 0

    @rule(session=st.sampled_from(["", "x", "y", "z", "w"]), model=st.sampled_from(["m", "n"]), binds=st.booleans())
    def choose(self, session, model, binds):
        self.asked += 1
        identity = Identity(affinity=session, binds=binds)
        self.go(replace(ask(session, model, identity=identity), waiter=str(self.asked)))

    def go(self, request):
        room = len(self.line) < 4 or request.waiter in self.line
        choice = self.accounts.choose(request, self.now)
        self.line.pop(request.waiter, None)
        if not room and isinstance(choice, Wait):  # the conversation with the most in line made room
            gone = [name for name in self.line if name not in self.accounts._limiter._waiting]
            waiting = Counter(each.party for each in self.line.values())
            (party,) = [self.line.pop(name).party for name in gone]
            assert waiting[party] == max(waiting.values()) > 1  # of two that have the most, either
        match choice:
            case Lease():
                self.open.append(choice)
            case Wait():
                assert choice.until > self.now
                self.line[request.waiter] = request
            case Refusal(code="queue_full"):
                assert not room
            case Refusal():
                lane = request.model
                assert not any(self.accounts.health.available(name, lane, self.now) for name in "ab")

    @rule(which=st.integers(0, 3), gives_up=st.booleans())
    def again(self, which, gives_up):
        if which >= len(self.line):
            return
        name = list(self.line)[which]
        if gives_up:
            self.accounts.leave_queue(name)
            del self.line[name]
        else:
            self.go(self.line[name])

    @rule(
        which=st.integers(0, 3),
        kind=st.sampled_from(["ok", "rate", "auth", "quota", "model", "server", "overload", "cancelled", "request"]),
        started=st.booleans(),
        twice=st.booleans(),
    )
    def end(self, which, kind, started, twice):
        if which >= len(self.open):
            return
        choice = self.open.pop(which)
        if started:
            self.accounts.first_success(choice, self.now)
        self.accounts.record_outcome(choice, Outcome(kind), self.now)
        for _ in range(1 + twice):
            self.accounts.release(choice)

    @rule(seconds=st.floats(0, 5000), account=st.sampled_from("ab"))
    def pass_time(self, seconds, account):
        self.now += seconds
        drop_homes(self.accounts, account)

    @invariant()
    def slots_are_those_of_the_open_choices(self):
        open_ = Counter(choice.account.id for choice in self.open)
        assert open_ == self.accounts._in_flight
        assert open_["a"] <= 2
        assert open_["b"] <= 1
        numbers = [(choice.lane, choice.slot) for choice in self.open if choice.account.id == "a"]
        assert len(set(numbers)) == len(numbers)
        assert len({choice.lane for choice in self.open if choice.account.id == "b"}) <= 1
        assert len(self.accounts._limiter._waiting) == len(self.line)

    @invariant()
    def one_looks_at_a_time(self):
        for name in "ab":
            for lane in "mn":
                for _, mark in self.accounts.health._of(name, lane):
                    tickets = {choice.ticket for choice in self.open}
                    assert mark.probe is None or mark.probe in tickets, "the lease of one that is over"

    def teardown(self):
        for choice in self.open:
            self.accounts.release(choice)
        for name in list(self.line):
            self.accounts.leave_queue(name)
        for name in "ab":
            drop_homes(self.accounts, name)
        assert not self.accounts._in_flight
        assert not self.accounts._tickets
        assert not self.accounts.bindings._entries
        assert not self.accounts.bindings._sessions
        assert not self.accounts._limiter._usage
        assert not self.accounts._limiter._queues


TestSlots = Slots.TestCase
TestSlots.settings = settings(
    max_examples=int(os.environ.get("PATCHBAY_HISTORIES", "60")), stateful_step_count=30, deadline=None
)


# --- what may be about one conversation alone

BARE = Outcome("permission", detail="403", status_only=True)


def refused(accounts, request, now, outcome=BARE, kind="permission"):
    choice = accounts.choose(request, now)
    assert isinstance(choice, Lease), choice
    accounts.record_outcome(choice, outcome, now)
    accounts.release(choice)
    return choice.account.id


def test_an_account_that_is_enabled_again_is_awake():
    """A14: whatever it rested for, and only that account."""
    accounts = pool(account("a"), account("b"))
    rest(accounts, "a", "b", kind="auth", scope="account")
    for enabled in (False, True):
        accounts.reload(Config((account("a", enabled=enabled), account("b"))))
    assert [status.state for status in accounts.status(1)] == ["healthy", "auth-failed"]


def test_a_conversation_that_was_served_goes_on_though_others_met_a_bare_refusal():
    """A1: and finds out by itself; one that was not served stands in elsewhere."""
    accounts = three()
    home = served_by(accounts, ask())
    for number in range(3):
        refused(accounts, ask(f"other {number}", pin=home, waiter=f"x{number}"), 1.0 + number)
    assert served_by(accounts, ask("new", waiter="n"), now=5) != home

    assert refused(accounts, ask(waiter="own"), 6) == home
    assert served_by(accounts, ask(waiter="later"), now=7) != home
    assert served_by(accounts, ask(waiter="later"), now=3000) == home, "it is its home all the same"


def test_a_conversation_that_was_refused_asks_elsewhere_first():
    """A1: though nobody rests, and only for this model."""
    accounts = three()
    home = served_by(accounts, ask())
    refused(accounts, ask(waiter="x"), 1, Outcome("quota", scope="exchange"))
    assert {status.state for status in accounts.status(1)} == {"healthy"}
    assert served_by(accounts, ask(waiter="y"), now=2) != home
    assert served_by(accounts, ask(model="n", waiter="z"), now=2) == home
    assert served_by(accounts, ask(pin=home, waiter="p"), now=2) == home
    assert served_by(accounts, ask(waiter="q"), now=3) == home, "it was served here since"


def test_where_all_rest_the_refusal_says_when_one_of_them_is_looked_at():
    """R8: unless a provider said until when."""
    accounts = three()
    rest(accounts, *"abc", kind="auth", until=None, scope="account")
    refusal = accounts.choose(ask(), 10)
    assert "next try at 00:00:30 UTC (20 s)" in refusal.message
    assert (refusal.retry_after, refusal.lasts) == (20, 590)


@pytest.mark.parametrize("back", [60.0, 365 * 86400.0])
def test_a_clock_that_is_set_back_keeps_no_account_out(back):
    """R7: neither for a rest nor for a bound per minute."""
    accounts = pool(account("a", rpm=1))
    late = 1e9 + back
    served_by(accounts, ask("1"), now=late)
    assert isinstance(accounts.choose(ask("2"), late + 1), Wait)
    accounts.leave_queue("")
    accounts.health.record_outcome("a", "m", Outcome("quota", late + 100, "account"), late + 1)
    assert isinstance(accounts.choose(ask("2"), 1e9 + 1), Wait | Refusal)
    assert served_by(accounts, ask("2"), now=1e9 + 200) == "a"


def test_an_upgrade_avoids_an_account_that_rests_for_some_model():
    """A3: an upgrade names no model, so it goes to an account none of whose models rests, while there is one."""
    accounts = three()
    out = served_by(accounts, ask("s"), kind="rate", until=60.0)
    opened = {served_by(accounts, ask(f"n{n}", "", websocket=True, opens=True), 1.0) for n in range(15)}
    assert opened == {"a", "b", "c"} - {out}
    lease = accounts.choose(ask("n", "", websocket=True, opens=True), 1.0)
    assert reasons(lease)[out] == "one of its models is cooling down"


def test_an_upgrade_takes_a_resting_account_where_every_account_rests_for_some_model():
    """A3: an account that rests for one model may serve another one."""
    accounts = pool(account("a"))
    serve(accounts, ask("s"), kind="rate", until=60.0)
    assert served_by(accounts, ask("n", "", websocket=True, opens=True), 1.0) == "a"


@pytest.mark.parametrize(("kind", "status_only"), [("permission", True), ("auth", True), ("server", False)])
def test_a_conversation_that_was_not_denied_is_let_through_at_once(kind, status_only):
    """A1: what some conversations are denied on every account, each alone, keeps no other conversation out."""
    accounts = pool(account("a"), account("b"))
    for name in ("x", "y", "z", "w"):
        tried = frozenset()
        while isinstance(choice := accounts.choose(ask(name, tried=tried), 0.0), Lease):
            accounts.record_outcome(choice, Outcome(kind, None, "lane", "status", status_only=status_only), 0.0)
            accounts.release(choice)
            tried |= {choice.account.id}
    assert serve(accounts, ask("plain"), 0.0).account.id in ("a", "b")


def test_disabled_accounts_are_named_and_a_family_without_any_is_too():
    """A5: an account that is disabled is told as that, and never as a wrong path."""
    accounts = pool(account("a", enabled=False))
    off = accounts.unserved("openai", None, None, Client(), 0.0)
    assert off.status == 503
    assert off.message == (
        "Every account for this request is disabled: a: disabled in the settings."
        " Set `enabled: true` for one in the settings, such as a"
    )
    none = accounts.unserved("gemini", None, None, Client(), 0.0)
    assert (none.status, none.message) == (404, "There is no account here for Gemini")
    other = pool(account("a"), account("hidden", provider="anthropic")).unserved(
        "gemini", None, None, Client(providers=("openai",)), 0.0
    )
    assert other.message == (
        "There is no account here for Gemini, only for OpenAI."
        " Add an account for Gemini to the settings, or use a tool for OpenAI"
    )
    elsewhere = pool(account("a", origin=None)).unserved("openai", None, None, Client(), 0.0)
    assert (elsewhere.status, elsewhere.final, elsewhere.message) == (
        503, True, "No account for this request has an upstream: a: its `base_url: reverse` names none."
        " Start with `--mode reverse:URL`, or name a base_url in the settings",
    )  # fmt: skip
    assert accounts.unserved("", None, None, Client(), 0.0) is None


# --- what a single request says of itself


def test_a_conversation_is_new_until_a_request_of_it_is_under_way():
    accounts = pool(account("a"))
    assert accounts.is_new(ask(), 0)
    assert not accounts.is_new(ask(identity=Identity()), 0), "it is no conversation"
    lease = accounts.choose(ask(), 0)
    assert not accounts.is_new(ask(), 0), "it is under way"
    accounts.first_success(lease, 0)
    accounts.release(lease)
    assert not accounts.is_new(ask(), 0), "it has a home"
    assert accounts.is_new(ask(), 1e9)


def test_a_replayed_request_goes_to_the_account_that_served_it_if_that_can():
    served = PriorServing(account="b", slot=2)
    accounts = pool(account("a", priority=5, slots=4), account("b", slots=4), account("c", slots=4))
    lease = accounts.choose(ask(prior_serving=served), 0)
    assert (lease.account.id, lease.binding, lease.slot, lease.key) == ("b", "inherited", 2, ask().key)
    assert reasons(lease)["c"] == "another account served this before"
    accounts.release(lease)
    rest(accounts, "b")
    assert accounts.choose(ask(prior_serving=served), 1).account.id == "a"
    assert accounts.choose(ask("t", prior_serving=PriorServing(account="gone")), 1).account.id == "a"
    side = Identity(affinity="side", binds=False)
    assert accounts.choose(ask(prior_serving=PriorServing(account="c"), identity=side), 1).key is None


def test_a_replayed_request_waits_a_moment_for_the_account_that_served_it():
    accounts = pool(account("a", max_concurrent=1), account("b"))
    held = accounts.choose(ask(pin="a"), 0)
    request, called = queued("1", preferred_until=5.0, prior_serving=PriorServing(account="a"))
    assert accounts.choose(request, 0).until == 5.0
    assert accounts.choose(replace(request, waiter="2"), 5.0).account.id == "b"
    accounts.release(held)
    assert called == ["1"]
    assert accounts.choose(request, 1).account.id == "a"


def test_an_account_that_a_websocket_left_is_taken_after_all_others_the_longest_ago_first():
    accounts = three()
    lease = accounts.choose(ask(avoided={"a": 5.0, "b": 6.0}), 10)
    assert (lease.account.id, reasons(lease)["a"]) == ("c", "failed on an earlier WebSocket")
    assert accounts.choose(ask("t", avoided={"a": 5.0, "b": 4.0, "c": 6.0}), 10).account.id == "b"
    rest(accounts, "b")
    assert accounts.choose(ask("u", avoided={"a": 5.0, "b": 4.0, "c": 6.0}), 10).account.id == "a"
    assert reasons(accounts.choose(ask("v", avoided={"b": 4.0}), 10))["b"] == "rate limited"


def test_models_that_cannot_be_read_are_refused_where_every_account_serves_some_only():
    some = account("a", models=Models(allow=("x",)))
    refusal = pool(some).choose(ask(unreadable="it is encrypted"), 0)
    assert (refusal.code, "it is encrypted" in refusal.message) == ("model_not_allowed", True)
    assert pool(some).choose(ask(), 0).code == "model_not_found"
    assert pool(some, account("b")).choose(ask(unreadable="it is encrypted"), 0).account.id == "b"
    assert (pool(some).restricts, pool(account("b")).restricts) == (True, False)


def test_of_several_models_the_first_that_no_account_serves_is_named():
    accounts = pool(account("a", models=Models(allow=("m", "n"))))
    assert accounts.choose(ask(others=("n", "o")), 0).fields["model"] == "o"


@pytest.mark.parametrize(("priority", "waits"), [(1, True), (0, False), (-1, False)])
def test_only_an_account_of_a_higher_priority_that_is_busy_is_waited_for(priority, waits):
    accounts = pool(account("busy", priority=priority, max_concurrent=1), account("free"))
    accounts.choose(ask(pin="busy"), 0)
    request, _ = queued("1", preferred_until=5.0)
    assert isinstance(accounts.choose(request, 0), Wait) is waits
    assert accounts.choose(request, 5.0).account.id == "free"


# --- what ends, and who is called


def test_a_probe_that_is_given_back_without_an_outcome_calls_those_that_wait_for_it():
    accounts = pool(account("a"))
    rest(accounts, "a", until=10)
    probe = accounts.choose(ask("1"), 20)
    request, called = queued("2")
    assert isinstance(accounts.choose(request, 20), Wait)
    accounts.release(probe)
    assert called == ["2"]
    accounts.release(probe)
    assert called == ["2"], "it was given back once"


@pytest.mark.parametrize("end", [Accounts.wake, Accounts.credential_changed])
def test_an_account_that_a_user_mends_is_used_at_once_and_those_that_wait_are_called(end):
    accounts = pool(account("a"))
    rest(accounts, "a", kind="auth", until=None, scope="account")
    called = []
    accounts._limiter.wait("1", lambda: called.append("1"), [(probe_scope("a"), None)])
    end(accounts, "a")
    assert called == ["1"]
    assert accounts.choose(ask(), 1).account.id == "a"


def test_a_reload_applies_the_bounds_of_queue_and_homes_and_what_accounts_serve():
    accounts = pool(account("a", max_concurrent=1), account("b"))
    for name in "xyz":
        serve(accounts, ask(name))
    full = account("a", max_concurrent=1, models=Models(upstream_names={"m": "n"}, allow=("m",)))
    accounts.reload(Config((full,), queue=QueueSettings(limit=0), sessions=SessionSettings(limit=1)))
    assert (len(accounts.bindings), accounts.renames, accounts.restricts) == (1, True, True)
    accounts.choose(ask("1"), 0)
    assert accounts.choose(queued("2")[0], 0).code == "queue_full"


@pytest.mark.parametrize(
    ("changed", "well"),
    [
        ({}, False),
        ({"secret": Secret("literal", "other")}, True),
        ({"origin": THERE}, True),
        ({"base_path": "/v2"}, True),
        ({"weight": 2.0}, False),
    ],
)
def test_another_secret_or_upstream_ends_what_was_wrong_with_a_key(changed, well):
    accounts = pool(account("a"))
    rest(accounts, "a", kind="auth", until=None, scope="account")
    accounts.reload(Config((replace(account("a"), **changed),)))
    assert accounts.health.available("a", "m", 1) is well


def test_a_lease_may_be_used_again_while_its_lane_is_well():
    accounts = pool(account("a"))
    lease = accounts.choose(ask(), 0)
    assert accounts.may_serve(lease, 0)
    accounts.record_head(lease, Head(200, Headers()), 0)
    accounts.record_outcome(lease, Outcome("rate", 90.0), 0)
    assert not accounts.may_serve(lease, 89) and accounts.may_serve(lease, 90)


def test_the_last_account_that_cools_down_is_probed_without_a_binding():
    accounts = three()
    rest(accounts, "a", "b", "c", until=900)
    probe = accounts.choose(ask(), 31)
    assert (probe.binding, probe.key) == ("none", None)
    assert set(reasons(probe).values()) == {"", "rate limited"}


def test_conversations_that_began_alike_share_an_account_while_it_has_room():
    accounts = pool(account("a"), account("b"))
    near = [accounts.choose(ask(str(n), identity=Identity(affinity=str(n), near="b")), 0) for n in range(9)]
    assert [lease.account.id for lease in near[:5]] == ["b"] * 5
    assert near[0].binding == "inherited"
    assert reasons(near[0])["a"] == "conversations that began alike are elsewhere"
    assert "a" in {lease.account.id for lease in near}


def test_an_account_that_is_gone_and_idle_does_not_drain():
    accounts = pool(account("a"), account("b"))
    accounts.reload(Config((account("a"),)))
    assert [each.account for each in accounts.status(0)] == ["a"]


def test_a_disabled_account_is_named_only_for_a_model_that_it_serves():
    off = account("off", enabled=False, models=Models(allow=("m",)))
    accounts = pool(off, account("b", models=Models(allow=("n",))))
    assert "off: disabled" in accounts.choose(ask(), 0).message
    assert accounts.choose(ask(model="x"), 0).code == "model_not_found"


def test_a_pool_serves_the_families_of_its_enabled_accounts():
    accounts = pool(account("a"), account("b", "gemini", THERE, enabled=False))
    assert accounts.serves("openai", HERE, None) and accounts.serves("", None, None)
    assert not accounts.serves("openai", THERE, None) and not accounts.serves("gemini", THERE, None)


def test_requests_without_a_conversation_take_turns_by_pool_and_model():
    accounts = three(strategy="round_robin")

    def first(model):
        return serve(accounts, ask(model=model, identity=Identity())).account.id

    assert [first("m"), first("n"), first("m(high)"), first("n")] == ["a", "a", "b", "b"]
    assert [first("x" * 256 + "1"), first("x" * 256 + "2")] == ["a", "b"], "a long name counts by its beginning"


@pytest.mark.parametrize(("affinity", "slot"), [("", 0), ("\x01" + "\0" * 7, 1), ("\0" * 7 + "\x02", 2)])
def test_the_slot_that_a_conversation_prefers_follows_from_the_end_of_its_affinity(affinity, slot):
    lease = pool(account("a", slots=255)).choose(ask(identity=Identity(affinity=affinity)), 0)
    assert lease.slot == slot


def test_a_turn_at_home_looks_at_no_other_account():
    accounts = three()
    home = served_by(accounts, ask())
    again = accounts.choose(ask(), 1)
    assert (again.binding, [each.account for each in again.candidates]) == ("hit", [home])


def test_a_replayed_request_of_a_conversation_with_a_home_has_that_home_s_key():
    accounts = three()
    home = served_by(accounts, ask())
    other = next(name for name in "abc" if name != home)
    lease = accounts.choose(ask(prior_serving=PriorServing(account=other)), 1)
    assert (lease.account.id, lease.key) == (other, ask().key)
    narrow = account(home, models=Models(deny=("n",)))
    accounts.reload(Config((*(account(name) for name in "abc" if name != home), narrow)))
    lease = accounts.choose(ask(model="n", prior_serving=PriorServing(account=other)), 2)
    assert (lease.account.id, lease.key) == (other, ask(model="n").model_key)


def test_the_last_account_is_not_probed_while_it_has_no_room():
    accounts = pool(account("a", max_concurrent=1))
    rest(accounts, "a", until=1000)
    held = accounts.choose(ask("t", model="n"), 1)
    assert not isinstance(accounts.choose(ask(), 30), Lease)
    accounts.release(held)
    assert isinstance(accounts.choose(ask(), 30), Lease)


@pytest.mark.parametrize(
    ("one", "two", "alike"), [("", "", False), ("org", "org", True), ("org", "", False), ("org", "other", False)]
)
def test_only_accounts_of_one_quota_rest_together(one, two, alike):
    accounts = pool(account("a", quota_group=one), account("b", quota_group=two))
    rest(accounts, "a", kind="quota", until=1000)
    assert accounts.health.available("b", "m", 1) is not alike


def test_a_lease_has_the_lane_that_its_own_account_gives_the_model():
    accounts = pool(account("a", enabled=False), account("b", models=Models(aliases={"m": "n"})))
    assert [each.lane for each in (accounts.choose(ask(), 0), accounts.choose(ask(pin="b"), 0))] == ["n", "n"]


def test_at_home_the_others_are_passed_over_since_they_are_not_the_home_whatever_their_priority():
    accounts = pool(account("a", priority=1), account("b"))
    lease = serve(accounts, ask())
    assert (lease.account.id, reasons(lease)["b"]) == ("a", "lower priority")
    again = accounts.choose(ask(websocket=True), 1)
    assert (again.binding, reasons(again)["b"]) == ("hit", "not the home of this conversation")


def test_a_home_that_is_given_up_for_its_fallback_is_another_one_from_then_on():
    accounts = pool(account("a"), account("b"))
    home = served_by(accounts, ask())
    rest(accounts, home, until=1000)
    other = served_by(accounts, ask(), now=1)
    assert other != home
    assert [served_by(accounts, ask(), now=now) for now in (250, 500, 750)] == [other] * 3
    assert serve(accounts, ask(), now=1001).binding == "hit"
    assert accounts.bindings.home(ask().key, 1001) == other


# --- from where a conversation moves, and why


def left(choice):
    return choice.left, choice.left_because


def test_who_stands_in_knows_the_home_and_why_it_does_not_serve():
    accounts = three()
    home = served_by(accounts, ask())
    assert left(serve(accounts, ask())) == ("", "")
    serve(accounts, ask(), kind="rate", until=600)

    assert left(serve(accounts, ask(), now=1)) == (home, "rate limited")
    assert left(serve(accounts, ask(), now=601)) == ("", "")


@pytest.mark.parametrize(
    ("kind", "why"), [("auth", "key refused"), ("quota", "out of credit"), ("permission", "access denied")]
)
def test_a_home_that_is_lost_is_named_with_its_fault(kind, why):
    accounts = three()
    home = served_by(accounts, ask())
    serve(accounts, ask("other", pin=home), kind=kind, scope="account")

    expected = (home, why) if kind != "permission" else ("", "")  # it says nothing of other conversations
    assert left(serve(accounts, ask(), now=1)) == expected


def test_a_home_that_is_gone_or_lacks_the_model_or_refused_the_conversation_is_named():
    accounts = pool(account("big", models=Models(allow=("m",))), account("mini", models=Models(deny=("m",))))
    serve(accounts, ask())
    assert left(serve(accounts, ask(model="title"))) == ("big", "does not serve the model")

    accounts = three()
    home = served_by(accounts, ask())
    serve(accounts, ask(), kind="permission", scope="exchange")
    assert left(serve(accounts, ask(), now=1)) == (home, "access denied")
    accounts.reload(Config(tuple(account(name) for name in "abc" if name != home)))
    assert left(serve(accounts, ask(), now=2)) == (home, "not in this pool any more")


def test_a_home_that_is_left_for_an_account_of_a_higher_priority_is_named():
    accounts = pool(account("low"), account("high", priority=1), sessions=SessionSettings(failback="idle"))
    serve(accounts, ask(pin="high"), kind="rate", until=50)
    assert served_by(accounts, ask(), now=1) == "low"

    back = serve(accounts, ask(), now=3000)
    assert (back.account.id, *left(back)) == ("high", "low", "an account of a higher priority is back")


def test_a_conversation_that_was_unbound_goes_elsewhere_where_it_can():
    accounts = pool(account("a"), account("b"))
    home = serve(accounts, ask()).account.id
    assert accounts.unbind("s") == {home}
    moved = serve(accounts, ask())
    assert moved.placement == Placement("reselected", home, "this conversation was unbound from it")
    assert {each.account: each.reason for each in moved.candidates}[home] == "this conversation was unbound from it"
    assert serve(accounts, ask()).account.id == moved.account.id
    assert not accounts._left, "it has a home again"
    assert accounts.unbind("unknown") == frozenset()


def test_a_conversation_that_no_other_account_can_serve_returns_when_it_was_unbound():
    accounts = pool(account("a"))
    serve(accounts, ask())
    accounts.unbind("s")
    assert serve(accounts, ask()).account.id == "a"
    rest(accounts, "a")
    assert accounts.status(1)[0].sessions == 1


def test_an_account_that_a_command_disabled_says_so():
    accounts = pool(account("a"), account("b"))
    accounts.reload(Config((account("a"), account("b"))).without({"a", "gone"}))
    assert [(each.state, each.reason) for each in accounts.status(0)] == [("disabled", "by a command"), ("healthy", "")]
    assert serve(accounts, ask()).account.id == "b"
    accounts.reload(Config((account("a"), account("b"))).without({"a", "b"}))
    refused = accounts.choose(ask(), 0)
    assert refused.message.endswith(
        " is disabled: a: disabled by a command; b: disabled by a command. To use one again: patchbay enable a"
    )
    assert refused.code == "auth_unavailable"
