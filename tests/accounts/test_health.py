"""What follows from an outcome: the table row by row, deadlines, hints and who heals what."""

from __future__ import annotations

import os
from typing import get_args

import pytest
from hypothesis import settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from patchbay.accounts.cooldown import PENALTIES, PROBE_LEASE, LaneState, SharedCooldown
from patchbay.accounts.health import MAX_LANES, Health
from patchbay.accounts.stated_limits import Bucket
from patchbay.accounts.upstream_faults import OutcomeContext
from patchbay.values.decision import Outcome

from ..each_row import each_row

M, H = 60.0, 3600.0
AT_U = OutcomeContext("u")


@pytest.fixture
def health():
    return Health()


def ends(health, kind, times, scope="lane"):
    """Let an outcome come again just after each deadline; return how long each rest was."""
    now, rests = 0.0, []
    for _ in range(times):
        health.record_outcome("a", "m", Outcome(kind, scope=scope), now)
        until = health.usable_at("a", "m", now)
        rests.append(until - now if until else 0)
        now = until or now
    return rests


@pytest.mark.parametrize(
    ("kind", "state", "rests"),
    [
        ("rate", "cooling", [5, 10, 20, 40, 80, 160, 320, 640, 15 * M, 15 * M]),
        ("overload", "cooling", [5, 10, 20, 40, 60, 60]),
        ("server", "cooling", [0, 10, 20, 40, 80, 120, 120]),
        ("auth", "auth-failed", [10 * M, 30 * M, 90 * M, 270 * M, 6 * H, 6 * H]),
        ("quota", "billing-blocked", [30 * M, H, 2 * H, 4 * H, 6 * H, 6 * H]),
        ("permission", "forbidden", [10 * M, 10 * M]),
        ("permission", "auth-failed", [10 * M, 10 * M, 10 * M, 30 * M, 90 * M, 270 * M, 6 * H, 6 * H]),
        ("model", "unsupported", [10 * M, H, 6 * H, 12 * H, 12 * H]),
        ("request", "healthy", [0, 0, 0]),
        ("cancelled", "healthy", [0, 0, 0]),
        ("ok", "healthy", [0, 0, 0]),
    ],
)
def test_the_table_row_by_row(health, kind, state, rests):
    assert ends(health, kind, len(rests)) == pytest.approx(rests)
    assert health.state("a", "m", -1) == state


def test_the_table_knows_every_outcome():
    assert set(PENALTIES) == {
        "ok", "rate", "quota", "overload", "auth", "permission", "model", "server", "request", "cancelled",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "scope", "elsewhere"),
    [
        ("rate", "lane", True),
        ("rate", "account", False),
        ("auth", "lane", False),
        ("quota", "account", False),
        ("quota", "lane", True),
        ("permission", "lane", True),
        ("permission", "account", False),
        ("model", "account", True),
    ],
)
def test_a_lane_rests_alone_unless_it_is_the_accounts_matter(health, kind, scope, elsewhere):
    health.record_outcome("a", "m", Outcome(kind, scope=scope), 0)

    assert not health.available("a", "m", 1)
    assert health.available("a", "other", 1) is elsewhere
    assert health.available("b", "m", 1)


def denied(health, *times, lane="m", scope="lane"):
    for at in times:
        health.record_outcome("a", lane, Outcome("permission", scope=scope, detail="403"), at)
    return health.is_dead("a", times[-1]), health.available("a", "other", times[-1])


def test_who_is_denied_three_times_in_three_hours_is_let_in_nowhere(health):
    assert denied(health, 0, 11 * M) == (False, True)
    assert denied(health, 3 * H - 1) == (True, False)
    assert health.reason("a", "other", 3 * H) == "access denied (403)"


@pytest.mark.parametrize("times", [(0, 11 * M, 3 * H + 1), (0, 1, 2), (0, 9 * M, 18 * M)])
def test_denials_long_apart_or_in_one_burst_are_the_models_matter(health, times):
    assert denied(health, *times) == (False, True)
    assert not health.available("a", "m", times[-1])


def test_denials_of_several_models_count_together_and_one_success_ends_the_count(health):
    denied(health, 0, lane="one")
    denied(health, 11 * M, lane="two")
    assert denied(health, 22 * M, lane="three")[0]

    health = Health()
    denied(health, 0, 11 * M)
    health.record_outcome("a", "other", Outcome("ok"), 12 * M)
    assert denied(health, 22 * M) == (False, True)


def test_where_the_whole_account_is_shut_out_once_is_enough(health):
    assert denied(health, 0, scope="account") == (True, False)
    health.credential_changed("a")
    assert denied(health, 1)[0] is False


def test_a_look_that_is_denied_again_after_a_long_rest_lengthens_it(health):
    denied(health, 0, scope="account")
    for rest in (30 * M, 90 * M, 270 * M, 6 * H, 6 * H):
        now = health.usable_at("a", "m", 0)
        health.acquire("a", "other", now, 7)
        health.record_outcome("a", "other", Outcome("permission", scope="account"), now, 7)
        assert health.usable_at("a", "m", now) - now == pytest.approx(rest)


def test_a_denial_of_two_accounts_at_once_is_no_strike_either(health):
    for at in (0, 11 * M, 22 * M):
        denied(health, at)
        health.record_outcome("b", "m", Outcome("permission", detail="403"), at + 1)
    assert open_(health, "a", "b", now=23 * M) == [True, True]
    assert not health.is_dead("a", 23 * M)


def test_a_burst_of_equal_answers_raises_the_level_once(health):
    for _ in range(50):
        health.record_outcome("a", "m", Outcome("rate"), 0)
    assert health.usable_at("a", "m", 0) == 5

    health.record_outcome("a", "m", Outcome("rate"), 5)
    assert health.usable_at("a", "m", 5) == 15


def test_two_server_faults_must_follow_each_other(health):
    for kind in ("server", "ok", "server", "ok", "server"):
        health.record_outcome("a", "m", Outcome(kind), 0)
    assert health.available("a", "m", 0)
    assert health.state("a", "m", 0) == "healthy"

    health.record_outcome("a", "m", Outcome("server"), 0)
    assert not health.available("a", "m", 0)


def test_strikes_do_not_outlive_a_success_even_while_something_else_rests(health):
    health.record_outcome("a", "m", Outcome("rate", until=60), 0)
    health.record_outcome("a", "m", Outcome("server"), 1)
    health.record_outcome("a", "m", Outcome("ok"), 2)
    health.record_outcome("a", "m", Outcome("server"), 100)
    assert health.available("a", "m", 100)


def test_a_hint_is_kept_to_the_second_and_has_a_floor(health):
    health.record_outcome("a", "m", Outcome("rate", until=100), 0)
    health.record_outcome("b", "m", Outcome("rate", until=0.01), 0)
    health.record_outcome("c", "m", Outcome("rate", until=10 * M), 0)

    assert [health.usable_at(name, "m", 0) for name in "abc"] == [100, 1, 10 * M]


def test_a_shorter_deadline_never_replaces_a_longer_one(health):
    health.record_outcome("a", "m", Outcome("rate", until=800), 0)
    long = health.usable_at("a", "m", 0)
    health.record_outcome("a", "m", Outcome("rate", until=30), 1)
    health.record_outcome("a", "m", Outcome("overload"), 1)

    assert health.usable_at("a", "m", 1) == long


def test_a_long_hint_is_believed_a_quarter_of_an_hour_then_one_request_may_see(health):
    days = 18 * 86400.0
    health.record_outcome("a", "m", Outcome("rate", until=days), 0)
    assert health.usable_at("a", "m", 0) == 15 * M
    assert health.deadline("a", "m", 0) >= days
    assert not health.available("a", "m", 15 * M - 1)

    assert health.available("a", "m", 15 * M)
    health.acquire("a", "m", 15 * M)
    assert not health.available("a", "m", 15 * M + 1), "only one may pass"

    health.record_outcome("a", "m", Outcome("ok"), 15 * M + 2)
    assert health.available("a", "m", 15 * M + 2)
    assert health.state("a", "m", 15 * M + 2) == "healthy"


def test_a_hint_that_still_holds_is_verified_ever_more_seldom(health):
    until, now, waits = 18 * 86400.0, 0.0, []
    health.record_outcome("a", "m", Outcome("rate", until=until), now)
    for _ in range(4):
        waits.append(health.usable_at("a", "m", now) - now)
        now += waits[-1]
        health.acquire("a", "m", now)
        health.record_outcome("a", "m", Outcome("rate", until=until), now)

    assert waits == [15 * M, 30 * M, 60 * M, 60 * M]


def test_a_longer_hint_does_not_bring_a_check_before_what_was_promised(health):
    health.record_outcome("a", "m", Outcome("quota"), 0)
    health.record_outcome("a", "m", Outcome("quota", until=7 * 86400.0), 1)
    assert health.usable_at("a", "m", 1) == 30 * M


@pytest.mark.parametrize("kind", ["cancelled", "request"])
def test_a_verifying_request_that_found_nothing_out_lets_the_next_one_try_at_once(health, kind):
    health.record_outcome("a", "m", Outcome("rate", until=86400), 0)
    health.acquire("a", "m", 15 * M, ticket=7)
    health.record_outcome("a", "m", Outcome(kind), 15 * M + 1, ticket=8)
    assert not health.available("a", "m", 15 * M + 1), "that was another request"

    health.record_outcome("a", "m", Outcome(kind), 15 * M + 1, ticket=7)
    assert health.available("a", "m", 15 * M + 1)


def test_a_verifying_request_of_which_nothing_is_heard_has_its_time(health):
    health.record_outcome("a", "m", Outcome("rate", until=86400), 0)
    health.acquire("a", "m", 15 * M, ticket=7)

    assert not health.available("a", "m", 15 * M + PROBE_LEASE - 1)
    assert health.reason("a", "m", 15 * M + 1) == "rate limited, another request is probing it"
    assert health.available("a", "m", 15 * M + PROBE_LEASE)
    assert health.release("a", "m", 7)
    assert not health.release("a", "m", 7)


def test_after_a_deadline_one_request_looks_and_the_others_wait_for_it(health):
    health.record_outcome("a", "m", Outcome("overload"), 0)
    assert (health.available("a", "m", 5), health.state("a", "m", 5)) == (True, "half-open")
    health.acquire("a", "m", 5, ticket=1)
    assert not any(health.available("a", "m", 5) for _ in range(100))
    assert health.is_probed("a", "m", 5)

    health.first_success("a", "m", 6, ticket=1)
    assert health.available("a", "m", 6)
    assert health.state("a", "m", 6) == "healthy"


def test_a_success_from_before_the_trouble_does_not_end_the_look_of_another(health):
    health.record_outcome("a", "m", Outcome("overload"), 0)
    health.acquire("a", "m", 5, ticket=2)
    health.record_outcome("a", "m", Outcome("ok"), 6, ticket=1)
    assert not health.available("a", "m", 6)


def test_a_success_that_only_began_does_not_forgive_a_strike(health):
    for _ in range(2):
        health.first_success("a", "m", 0, ticket=1)
        health.record_outcome("a", "m", Outcome("server"), 1, ticket=1)
    assert not health.available("a", "m", 1)


def test_a_hint_that_is_trusted_is_not_verified(health):
    health.record_outcome("a", "m", Outcome("rate", until=86400), 0, strict=True)
    assert health.usable_at("a", "m", 0) >= 86400
    assert health.last_chance("a", "m", 3600) is None


# --- when nobody else is left


@pytest.mark.parametrize(
    ("outcome", "at", "chance"),
    [
        (Outcome("rate", until=300), 29, False),
        (Outcome("rate", until=300), 30, True),
        (Outcome("rate", until=50), 40, True),
        (Outcome("quota", until=300), 30, True),
        (Outcome("quota", until=300), 29, False),
        (Outcome("auth", scope="account"), 30, True),
        (Outcome("permission"), 30, True),
        (Outcome("model"), 30, True),
        (Outcome("ok"), 60, False),
    ],
)
def test_every_rest_is_tried_before_its_time_after_half_a_minute(health, outcome, at, chance):
    """R8: whatever its kind, and whatever the provider's hint."""
    health.record_outcome("a", "m", outcome, 0)
    assert (health.last_chance("a", "m", at) is not None) is chance


def test_a_last_chance_is_a_look_like_any_other(health):
    health.record_outcome("a", "m", Outcome("rate", until=300), 0)
    health.acquire("a", "m", 40, ticket=3, early=True)
    assert health.is_probed("a", "m", 41)
    health.record_outcome("a", "m", Outcome("ok"), 42, ticket=3)
    assert health.state("a", "m", 42) == "healthy"


def test_who_waited_for_a_passing_fault_looks_alone_and_not_where_it_was_seen_to_last(health):
    assert health.may_probe_after_wait("a", "m", 0)
    health.record_outcome("a", "m", Outcome("overload"), 0)
    assert health.may_probe_after_wait("a", "m", 1)
    health.acquire("a", "m", 1, ticket=4, early=True)
    assert not health.may_probe_after_wait("a", "m", 1), "another one looks"

    health.record_outcome("a", "m", Outcome("overload"), 2, ticket=4)
    assert not health.may_probe_after_wait("a", "m", 2), "it has just been seen to last"
    health.acquire("a", "m", 20, ticket=5)
    health.record_outcome("a", "m", Outcome("ok"), 21, ticket=5)
    health.record_outcome("a", "m", Outcome("overload"), 22)
    assert health.may_probe_after_wait("a", "m", 23)
    health.record_outcome("a", "m", Outcome("auth"), 23)
    assert not health.may_probe_after_wait("a", "m", 24)


# --- what is left of a limit


def test_little_left_is_a_state_until_there_is_enough_again_or_the_limit_is_full(health):
    health.record_headroom("a", "m", [Bucket(0.5, 100), Bucket(0.09, 60)], 0)
    assert (health.state("a", "m", 1), health.available("a", "m", 1)) == ("throttled", True)
    health.record_headroom("a", "m", [Bucket(0.15, 60)], 2)
    assert health.is_low("a", "m", 2), "not enough to speak of"
    assert not health.is_low("a", "other", 2)
    assert not health.is_low("a", "m", 60)

    health.record_headroom("a", "m", [Bucket(0.01, 100)], 61)
    health.record_headroom("a", "m", [Bucket(0.2, 100)], 62)
    assert health.state("a", "m", 62) == "healthy"


@pytest.mark.parametrize(("left", "low"), [(0.09, True), (0.1, False)])
def test_less_than_a_tenth_is_little(health, left, low):
    health.record_headroom("a", "m", [Bucket(left, 100)], 0)
    assert health.is_low("a", "m", 0) == low


def test_a_limit_that_is_full_in_a_moment_is_no_matter(health):
    health.record_headroom("a", "m", [Bucket(0.0, 4)], 0)
    assert not health.is_low("a", "m", 0)


def test_who_shares_an_allowance_shares_what_is_left_of_it(health):
    health.quotas = {"a": "org", "b": "org"}
    health.record_headroom("a", "m", [Bucket(0.0, 60)], 0)
    health.record_outcome("a", "m", Outcome("rate", until=50), 0)
    assert health.is_low("b", "other", 1)
    assert not health.available("b", "other", 1)
    assert health.available("c", "other", 1)

    health.record_outcome("a", "m", Outcome("overload"), 100)
    assert health.available("b", "m", 101), "that is no allowance"


# --- what recovers together


@pytest.mark.parametrize(
    ("fields", "open_at"),
    [({}, 40.0), ({"upstream": "v"}, 600.0), ({"kind": "model"}, 600.0), ({"now": 61.0}, 661.0)],
)
def test_where_one_account_recovers_early_those_that_failed_with_it_are_probed(health, fields, open_at):
    second = {"upstream": "u", "kind": "auth", "now": 0.0} | fields
    kind, now, context = second["kind"], second["now"], OutcomeContext(second["upstream"])
    health.record_outcome("a", "m", Outcome("auth"), 0, context=AT_U)
    health.record_outcome("b", "m", Outcome(kind), now, context=context)
    health.acquire("a", "m", 40, 1, early=True)
    health.record_outcome("a", "m", Outcome("ok"), 40, 1, context=AT_U)

    assert health.available("a", "m", 40)
    assert (health.usable_at("b", "m", 40 if now < 40 else 62) or 40.0) == open_at


def test_a_hint_that_is_trusted_is_not_verified_because_another_account_recovered(health):
    for account in "ab":
        outcome = Outcome("quota", until=5000, scope="account")
        health.record_outcome(account, "m", outcome, 0, context=AT_U, strict=account == "b")
    health.acquire("a", "m", 40, 1, early=True)
    health.record_outcome("a", "m", Outcome("ok"), 40, 1, context=AT_U)

    assert health.usable_at("b", "m", 40) == 5000


# --- whose fault it was


def faults(health, *accounts, kind="server", detail="500", exchange="", gap=0.0, upstream="u"):
    for number, name in enumerate(accounts):
        health.record_outcome(
            name, "m", Outcome(kind, detail=detail), number * gap, context=OutcomeContext(upstream, exchange)
        )


def open_(health, *accounts, now=20.0):
    return [health.available(name, "m", now) for name in accounts]


def test_the_same_fault_from_a_second_account_takes_the_penalty_of_the_first_back(health):
    health.record_outcome("a", "m", Outcome("overload", until=100, detail="529"), 0, context=AT_U)
    assert open_(health, "a") == [False]
    health.record_outcome("b", "m", Outcome("overload", until=100, detail="529"), 9, context=AT_U)
    assert open_(health, "a", "b") == [True, True]


def test_later_it_counts_only_within_one_exchange(health):
    for exchange, free in (("", False), ("x", True)):
        health = Health()
        faults(health, "a", "b", kind="permission", exchange=exchange, gap=11)
        assert open_(health, "a", "b") == [free, free]


@pytest.mark.parametrize(
    ("second", "free"),
    [
        ({"detail": "503"}, False),
        ({"upstream": "v"}, False),
        ({"kind": "rate"}, False),
        ({}, True),
    ],
)
def test_another_fault_is_another_matter(health, second, free):
    faults(health, "a", kind="overload", detail="529")
    health.record_outcome("a", "m", Outcome("overload", until=500, detail="529"), 0, context=AT_U)
    faults(health, "b", **{"kind": "overload", "detail": "529"} | second)
    assert open_(health, "a") == [free]


@pytest.mark.parametrize("kind", ["rate", "auth", "quota", "model"])
def test_limits_credentials_and_money_are_an_accounts_own(health, kind):
    faults(health, "a", "b", kind=kind, exchange="x" if kind == "rate" else "")
    assert open_(health, "a", "b", now=1) == [False, False]


@pytest.mark.parametrize("kind", ["auth", "quota", "model", "permission", "server", "overload"])
def test_what_one_exchange_meets_on_two_accounts_is_no_accounts_fault(health, kind):
    """R1: whatever its kind, and though a third account serves others meanwhile."""
    health.record_outcome("c", "m", Outcome("ok"), 0, context=OutcomeContext("u", "other"))
    faults(health, "a", "a", "b", kind=kind, exchange="x")
    health.record_outcome("c", "m", Outcome("ok"), 1, context=OutcomeContext("u", "other"))
    assert open_(health, "a", "b", now=1) == [True, True]


def test_a_limit_that_says_until_when_is_the_accounts_also_where_one_exchange_meets_it_twice(health):
    for account in "ab":
        outcome, context = Outcome("quota", until=900, scope="account"), OutcomeContext("u", "x")
        health.record_outcome(account, "m", outcome, 0, context=context)
    assert open_(health, "a", "b") == [False, False]


@pytest.mark.parametrize("order", ["aabb", "abab", "abba"])
def test_exchanges_at_once_do_not_keep_each_others_penalties(order):
    """R1: two requests of one conversation, and of two, whichever answer comes first."""
    for conversation in ("c", ""):
        health = Health()
        seen = dict.fromkeys("ab", 0)
        for account in order:
            seen[account] += 1
            context = OutcomeContext("u", f"x{seen[account]}", conversation)
            health.record_outcome(account, "m", Outcome("auth", scope="account"), 0, context=context)
        assert open_(health, "a", "b", now=1) == [True, True]


def test_what_several_conversations_meet_is_the_accounts_unless_it_did_well_meanwhile(health):
    """R1: revoked accounts are not asked again and again."""

    def meet(conversation, now):
        for account in "ab":
            health.record_outcome(account, "m", Outcome("auth", scope="account"), now,
                                  context=OutcomeContext("u", f"x{now}", conversation))  # fmt: skip

    for now, conversation in enumerate(("c", "c", "c", "c", "d")):
        meet(conversation, now)
        assert open_(health, "a", "b", now=now) == [True, True]
    health.record_outcome("a", "m", Outcome("ok"), 5, context=OutcomeContext("u", "good"))
    meet("e", 6)
    assert open_(health, "a", "b", now=6) == [True, False]


def test_an_outcome_of_no_scope_changes_nothing(health):
    """R1: words that may be the client's move its request to another account, and no more."""
    for kind in ("rate", "auth", "quota", "model", "permission", "server", "overload"):
        for _ in range(5):
            health.record_outcome("a", "m", Outcome(kind, until=900, scope="exchange"), 0, context=AT_U)
    assert health.state("a", "m", 1) == "healthy"
    assert health.errors("a", 1) == 0


def test_where_a_third_does_well_it_is_the_accounts_fault_after_all(health):
    health.record_outcome("c", "m", Outcome("ok"), 0, context=AT_U)
    faults(health, "a", "a", "b", "b")
    assert open_(health, "a", "b", now=1) == [False, False]


def test_what_happened_since_is_not_taken_back(health):
    health.record_outcome("a", "m", Outcome("overload", until=50, detail="529"), 0, context=AT_U)
    health.record_outcome("a", "m", Outcome("rate", until=500), 1, context=AT_U)
    health.record_outcome("b", "m", Outcome("overload", until=50, detail="529"), 2, context=AT_U)
    assert open_(health, "a") == [False]


def test_a_penalty_that_is_taken_back_leaves_the_one_before(health):
    health.record_outcome("a", "m", Outcome("rate", until=100), 0, context=AT_U)
    before = health.usable_at("a", "m", 1)
    health.record_outcome("a", "m", Outcome("overload", until=900, detail="529"), 1, context=AT_U)
    health.record_outcome("b", "m", Outcome("overload", until=900, detail="529"), 2, context=AT_U)
    assert health.usable_at("a", "m", 2) == before


def test_a_long_quiet_time_lowers_the_next_rest(health):
    ends(health, "rate", 4)
    last = 5 + 10 + 20 + 40
    health.record_outcome("a", "m", Outcome("rate"), last + 2 * 600)
    assert health.usable_at("a", "m", last + 1200) == last + 1200 + 20


def test_a_late_success_from_before_the_trouble_does_not_end_a_cooldown(health):
    health.record_outcome("a", "m", Outcome("rate", until=60), 0)
    health.record_outcome("a", "m", Outcome("ok"), 1)

    assert not health.available("a", "m", 2)


def test_success_after_the_deadline_heals_and_forgets_the_level(health):
    ends(health, "rate", 4)
    assert health.state("a", "m", 80) == "half-open"
    health.record_outcome("a", "m", Outcome("ok"), 80)

    assert health.state("a", "m", 80) == "healthy"
    health.record_outcome("a", "m", Outcome("rate"), 81)
    assert health.usable_at("a", "m", 81) == 81 + 5

    ends(health, "auth", 3)
    health.record_outcome("a", "m", Outcome("ok"), 1e6)
    assert ends(health, "auth", 1) == [600]


def test_a_new_secret_clears_what_was_wrong_with_the_old_one_and_nothing_else(health):
    health.record_outcome("a", "m", Outcome("auth"), 0)
    health.record_outcome("a", "m", Outcome("quota", scope="account"), 0)
    health.record_outcome("a", "n", Outcome("rate", until=100), 0)
    assert health.is_dead("a", 1)

    health.credential_changed("a")
    assert not health.is_dead("a", 1)
    assert health.available("a", "m", 1)
    assert not health.available("a", "n", 1)


def test_the_reason_names_state_and_outcome(health):
    assert health.reason("a", "m", 0) == ""
    health.record_outcome("a", "m", Outcome("overload"), 0)
    assert health.reason("a", "m", 1) == "overloaded"
    assert health.reason("a", "m", 6) == ""


def test_row_d2_a_recovery_time_of_the_quota_replaces_the_retry_time(health):
    health.record_outcome("a", "m", Outcome("rate", until=10), 0)
    health.record_outcome("a", "m", Outcome("quota", until=600, scope="account"), 0)

    assert health.usable_at("a", "m", 1) == 600


def test_row_d2_a_single_fault_without_a_time_does_not_block(health):
    health.record_outcome("a", "m", Outcome("server"), 0)
    assert health.available("a", "m", 0)


def test_errors_fade(health):
    health.record_outcome("a", "m", Outcome("rate"), 0)
    assert health.errors("a", 0) == 1
    assert health.errors("a", 60) == pytest.approx(0.5)
    assert health.errors("b", 0) == 0


def test_any_number_of_models_is_remembered_in_bounds(health):
    for number in range(MAX_LANES + 50):
        health.record_outcome("a", f"m{number}", Outcome("rate"), 0)

    assert len(health._lanes) == MAX_LANES
    assert not health.available("a", f"m{MAX_LANES + 49}", 1)


# --- the states of a lane, and what leads from one to another

PENALIZED = ("rate", "overload", "server", "auth", "quota", "permission", "model")
EVENTS = (*PENALIZED, "ok", "request", "cancelled", "passed", "low", "enough", "cleared", "paused")


def _brought(state):
    """Return a lane in *state*, the ticket of a request on it, and the time."""
    health, now = Health(), 100.0
    kinds = {"cooling": "overload", "unsupported": "model", "forbidden": "permission", "auth-failed": "auth",
             "billing-blocked": "quota"}  # fmt: skip
    if state == "throttled":
        health.record_headroom("a", "m", [Bucket(0.01, 1e9)], now)
    elif state == "half-open":
        health.record_outcome("a", "m", Outcome("overload"), now)
        now += 5
        health.acquire("a", "m", now, 1)
    elif state in kinds:
        health.record_outcome("a", "m", Outcome(kinds[state]), now)
    elif state == "paused":
        health.pause("a", now + 36_000, now)
    return health, now


def _led(state, event):
    health, now = _brought(state)
    if event in PENALTIES:
        for _ in range(2 if event == "server" else 1):
            health.record_outcome("a", "m", Outcome(event), now, ticket=1)
    elif event == "passed":
        now = health.usable_at("a", "m", now) or now
    elif event == "paused":
        health.pause("a", now + 36_000, now)
    elif event in ("low", "enough"):
        health.record_headroom("a", "m", [Bucket(0.01 if event == "low" else 0.9, now + 600)], now)
    else:
        health.credential_changed("a")
    return health.state("a", "m", now)


OF_PENALTIES = {"rate": "cooling", "overload": "cooling", "server": "cooling", "auth": "auth-failed",
                "quota": "billing-blocked", "permission": "forbidden", "model": "unsupported"}  # fmt: skip
# From longest to shortest rest: of two reasons the longer one is the state.
STAYS = {
    "healthy": {}, "throttled": {}, "half-open": {}, "cooling": {},
    "unsupported": {"rate", "overload", "server", "permission"},
    "forbidden": {"rate", "overload", "server", "model"},
    "auth-failed": {"rate", "overload", "server", "permission", "model"},
    "billing-blocked": {"rate", "overload", "server", "permission", "model", "auth"},
    "paused": PENALIZED,
}  # fmt: skip


def _expected(state, event):
    if event in PENALIZED:
        return state if event in STAYS[state] else OF_PENALTIES[event]
    blocked = state not in ("healthy", "throttled", "half-open")
    match event:
        case "passed":
            return "half-open" if blocked or state == "half-open" else state
        case "ok":
            return "healthy" if state == "half-open" else state
        case "low":
            return "throttled" if state == "healthy" else state
        case "enough":
            return "healthy" if state == "throttled" else state
        case "paused":
            return "paused"
        case "cleared":
            return "healthy" if state in ("auth-failed", "billing-blocked") else state
        case _:
            return state


@each_row("event", EVENTS)
@each_row("state", sorted(STAYS))
def test_every_event_in_every_state_leads_where_the_table_says(state, event):
    assert _led(state, event) == _expected(state, event)


def test_every_state_can_be_reached_and_left():
    assert set(get_args(get_args(LaneState)[0])) | set(get_args(get_args(LaneState)[1])) == set(STAYS)
    reached, new = {"healthy"}, {"healthy"}
    while new:
        new = {_expected(state, event) for state in new for event in EVENTS} - reached
        reached |= new
    assert reached == set(STAYS)
    for state in STAYS:
        assert {_expected(state, event) for event in EVENTS} - {state}


def test_a_pause_is_replaced_by_another_and_ended_by_a_user_alone():
    health = Health()
    health.pause("a", 700.0, 100.0)
    assert (health.reason("a", "m", 101), health.deadline("a", "m", 101)) == ("paused by a command", 700)
    assert (health.last_chance("a", "m", 690), health.is_dead("a", 101)) == (None, False)

    health.pause("a", 200.0, 100.0)
    assert (health.available("a", "m", 199), health.available("a", "m", 200)) == (False, True)
    health.wake("a")
    assert health.state("a", "m", 150) == "healthy"


def test_another_instance_does_not_probe_a_pause_either():
    one, two = Health(), Health()
    one.pause("a", 700.0, 100.0)
    for told in one.cooldowns(101.0):
        two.adopt(told, 101.0)
    assert (two.reason("a", "m", 101), two.deadline("a", "m", 101)) == ("paused by a command", 700)
    assert two.last_chance("a", "m", 690) is None


class Deadlines(RuleBasedStateMachine):
    """
    Whatever comes in whatever order, on two lanes of one account and with requests that end when they like.

    While a lane rests and no look proved otherwise, it stays so; one looks at a time; what is well is not refused.
    """

    def __init__(self):
        super().__init__()
        self.health = Health()
        self.now, self.tickets = 0.0, 0
        self.open, self.looks, self.promised = {}, {}, {}

    def marks(self, lane):
        return [mark for _, mark in self.health._of("a", lane)]

    @rule(lane=st.sampled_from("mn"), force=st.booleans())
    def ask(self, lane, force):
        last = self.health.last_chance("a", lane, self.now) is not None
        chance = force and (last or self.health.may_probe_after_wait("a", lane, self.now))
        if not chance and not self.health.available("a", lane, self.now):
            return
        self.tickets += 1
        looks = any(mark.until != float("-inf") for mark in self.marks(lane))
        self.health.acquire("a", lane, self.now, self.tickets, early=chance)
        self.open[self.tickets] = lane
        if looks:
            self.looks[self.tickets] = self.now + PROBE_LEASE
            assert not self.health.available("a", lane, self.now), "a second one could look"

    @rule(
        which=st.integers(0, 3),
        kind=st.sampled_from(sorted(PENALTIES)),
        hint=st.none() | st.floats(-10, 2_000_000),
        scope=st.sampled_from(["lane", "account"]),
        strict=st.booleans(),
        begins=st.booleans(),
    )
    def end(self, which, kind, hint, scope, strict, begins):
        if which >= len(self.open):
            return
        ticket = sorted(self.open)[which]
        lane = self.open.pop(ticket)
        outcome = Outcome(kind, None if hint is None else self.now + hint, scope)
        if ticket in self.looks and (begins or kind == "ok"):
            self.promised.clear()  # it proved that all is well
        if begins:
            self.health.first_success("a", lane, self.now, ticket)
        self.health.record_outcome("a", lane, outcome, self.now, ticket, strict=strict)
        self.health.release("a", lane, ticket)
        self.looks.pop(ticket, None)
        assert all(mark.probe != ticket for mark in self.marks(lane)), "a lease was not given back"

    @rule(seconds=st.floats(0, 2000))
    def wait(self, seconds):
        self.now += seconds

    @rule(left=st.floats(0, 1), lane=st.sampled_from("mn"))
    def hear(self, left, lane):
        self.health.record_headroom("a", lane, [Bucket(left, self.now + 60)], self.now)

    @invariant()
    def no_deadline_moves_earlier(self):
        for lane in "mn":
            deadline = self.health.deadline("a", lane, self.now) or 0.0
            rests = max((0.0, *(mark.until for mark in self.marks(lane))))  # a strike alone has no deadline
            assert rests >= self.promised.get(lane, 0.0) or self.promised[lane] <= self.now
            self.promised[lane] = rests
            until = self.health.usable_at("a", lane, self.now)
            assert (until is None) is self.health.available("a", lane, self.now)
            assert until is None or deadline >= until

    @invariant()
    def what_is_well_is_not_refused(self):
        for lane in "mn":
            looked_at = any(mark.probe is not None for mark in self.marks(lane))
            if all(mark.until <= self.now for mark in self.marks(lane)) and not looked_at:
                assert self.health.available("a", lane, self.now)
            if self.health.state("a", lane, self.now) in ("healthy", "throttled"):
                assert self.health.available("a", lane, self.now)


HISTORIES = int(os.environ.get("PATCHBAY_HISTORIES", "60"))
TestDeadlines = Deadlines.TestCase
TestDeadlines.settings = settings(max_examples=HISTORIES, stateful_step_count=30, deadline=None)


# --- what other instances are told, and tell


def told(state="cooling", lane="m", until=500.0, kind="rate", account="a", at=0.0, verify_at=400.0):
    return SharedCooldown(account, lane, state, kind, until, verify_at, at)


def test_the_cooldowns_of_accounts_and_lanes_are_told_while_they_last(health):
    health.record_outcome("a", "m", Outcome("rate", until=100.0), 0)
    health.record_outcome("b", "n", Outcome("quota", until=100.0, scope="account"), 0)
    health.record_outcome("c", "m", Outcome("auth"), 0)
    never = float("inf")
    assert list(health.cooldowns(99.9)) == [
        told("billing-blocked", None, 100.0, "quota", "b", verify_at=never), told(until=100.0, verify_at=never),
    ]  # fmt: skip
    assert list(health.cooldowns(100.0)) == []


@pytest.mark.parametrize(("lane", "lanes"), [("m", "m"), (None, "mn")])
def test_a_cooldown_that_another_instance_knows_is_ours_too_until_it_says_that_it_is_over(health, lane, lanes):
    health.adopt(told(lane=lane), 1.0)
    assert "".join(each for each in "mn" if not health.available("a", each, 1.0)) == lanes
    assert (health.usable_at("a", "m", 1.0), health.deadline("a", "m", 1.0), health.reason("a", "m", 1.0)) == (
        400.0, 500.0, "rate limited",
    )  # fmt: skip
    assert health.available("b", "m", 1.0)
    health.adopt(told(lane=lane, kind="ok", until=499.9), 1.0)
    assert not health.available("a", "m", 1.0), "a later cooldown than the one that is over"
    health.adopt(told(lane=lane, kind="ok", state="billing-blocked"), 1.0)
    health.adopt(told(lane=lane, kind="ok", account="b"), 1.0)
    health.adopt(told(lane="n" if lane else "m", kind="ok"), 1.0)
    assert not health.available("a", "m", 1.0), "another cooldown is over"
    health.adopt(told(lane=lane, kind="ok"), 1.0)
    assert health.available("a", "m", 1.0) and not health.lanes("a") and not health._accounts


def test_of_two_instances_the_longer_cooldown_counts_and_one_that_is_past_does_not(health):
    health.adopt(told(until=500.0), 500.0)
    assert not health.lanes("a"), "it is over"
    health.record_outcome("a", "m", Outcome("rate", until=600.0), 0)
    health.adopt(told(until=600.0, kind="overload"), 1.0)
    assert health.reason("a", "m", 1.0) == "rate limited"
    health.adopt(told(until=600.1, kind="overload"), 1.0)
    assert (health.reason("a", "m", 1.0), health.deadline("a", "m", 1.0)) == ("overloaded", 600.1)


@pytest.mark.parametrize("state", ["auth-failed", "forbidden", "unsupported"])
def test_what_may_differ_at_another_instance_is_not_adopted(health, state):
    health.adopt(told(state), 1.0)
    assert health.available("a", "m", 1.0)


# --- one account of several


def test_what_is_ended_on_one_account_stays_on_another(health):
    for account in "ab":
        health.record_outcome(account, "m", Outcome("model"), 0)
        health.record_outcome(account, "m", Outcome("auth"), 0)
    health.credential_changed("a")
    assert [(health.is_dead(each, 1), health.lacks(each, "m", 1)) for each in "ab"] == [(False, True), (True, True)]
    health.forget("a")
    assert [(health.lanes(each), health.errors(each, 0), health.is_well(each, 1)) for each in "ab"] == [
        ([], 0, True), (["m"], 2, False),
    ]  # fmt: skip
    assert health.state("a", "m", 1) == "healthy"


def test_a_quota_that_accounts_share_is_woken_and_forgiven_with_one_of_them():
    for end in (Health.wake, Health.credential_changed):
        health = Health({"a": "org", "b": "org"})
        health.record_outcome("a", "m", Outcome("quota", scope="account"), 0)
        assert not health.available("b", "n", 1)
        end(health, "a")
        assert health.available("b", "n", 1) and not health._accounts


def test_the_lanes_of_an_account_are_those_that_cooled_down_or_have_little_left(health):
    health.record_outcome("a", "n", Outcome("rate"), 0)
    health.record_outcome("b", "x", Outcome("rate"), 0)
    health.record_headroom("a", "m", [Bucket(0.0, 60)], 0)
    health.record_headroom("b", "y", [Bucket(0.0, 60)], 0)
    assert (health.lanes("a"), health.lanes("b"), health.lanes("c")) == (["m", "n"], ["x", "y"], [])
    assert [health.worst_lane("a", now) for now in (0, 5, 60)] == ["n", "m", ""]
    health.record_outcome("a", "n", Outcome("ok"), 6)
    assert health.lanes("a") == ["m"], "a lane that is well is forgotten"


@pytest.mark.parametrize(
    ("buckets", "now", "low"),
    [
        ([Bucket(0.09, 5.1)], 0, True),
        ([Bucket(0.09, 5.0)], 0, False),
        ([Bucket(0.0, 100), Bucket(0.0, 50)], 99.9, True),
        ([Bucket(0.0, 100), Bucket(0.0, 50)], 100.0, False),
        ([Bucket(0.0, 5000)], 899.9, True),
        ([Bucket(0.0, 5000)], 900.0, False),
    ],
)
def test_little_left_counts_until_the_latest_reset_and_a_quarter_of_an_hour_at_most(health, buckets, now, low):
    health.record_headroom("a", "m", buckets, 0)
    assert health.is_low("a", "m", now) is low
    health.record_headroom("a", "m", [], 0)
    assert health.is_low("a", "m", now) is low, "nothing was said"
    health.record_headroom("a", "m", [Bucket(0.2, 50), Bucket(0.19, 50)], 0)
    assert health.is_low("a", "m", now) is low, "one of them has not enough"


# --- probes


def test_a_lane_is_probed_when_every_cooldown_that_closes_it_is(health):
    assert not health.is_probed("a", "m", 0)
    health.record_outcome("a", "m", Outcome("rate", until=10.0), 0)
    health.acquire("a", "m", 10.0, ticket=1)
    assert health.is_probed("a", "m", 10.0)
    assert health.reason("a", "m", 10.0) == "rate limited, another request is probing it"
    health.record_outcome("a", "m", Outcome("auth"), 11.0)
    assert not health.is_probed("a", "m", 11.0), "the credential cools down, and no request probes it"
    assert [health.release("a", "m", ticket) for ticket in (2, 1, 1)] == [False, True, False]


@pytest.mark.parametrize("outcome", [Outcome("rate", scope="exchange"), Outcome("request"), Outcome("cancelled")])
def test_a_probe_that_found_nothing_out_is_over(health, outcome):
    health.record_outcome("a", "m", Outcome("rate", until=10.0), 0)
    health.acquire("a", "m", 10.0, ticket=1)
    health.record_outcome("a", "m", outcome, 11.0, ticket=2)
    assert not health.available("a", "m", 11.0)
    health.record_outcome("a", "m", outcome, 11.0, ticket=1, context=OutcomeContext("u", "x", "c"))
    assert health.available("a", "m", 11.0)
    assert health.refused_by("c", 11.0) == ({("a", "m")} if outcome.kind == "rate" else set())


def test_a_doubted_fault_costs_nothing_unless_a_probe_meets_it(health):
    met, outcome = OutcomeContext("u", "x", "c"), Outcome("server")
    health.first_success("a", "m", 0, context=OutcomeContext("u", "y", "other"))
    health.record_outcome("a", "m", outcome, 1, context=met)
    assert (health.errors("a", 1), health.refused_by("c", 1)) == (0, {("a", "m")})
    assert not health.is_unaffected("c", "a", "m", 1) and health.is_unaffected("d", "a", "m", 1)
    assert not health.is_unaffected("", "a", "m", 1)
    health.record_outcome("a", "m", Outcome("rate", until=9.0), 1)
    health.acquire("a", "m", 9.0, ticket=1)
    health.record_outcome("a", "m", outcome, 10, ticket=1, context=met)
    assert health.errors("a", 10) > 1


@pytest.mark.parametrize(("back", "moved"), [(5.0, 0.0), (5.1, -5.1)])
def test_a_clock_that_goes_back_more_than_five_seconds_was_set(health, back, moved):
    assert health.clock(1000.0) == 0
    health.record_outcome("a", "m", Outcome("rate", until=1050.0), 1000.0)
    health.record_headroom("a", "m", [Bucket(0.0, 1060.0)], 1000.0)
    assert health.clock(1000.0 - back) == pytest.approx(moved)
    assert health.usable_at("a", "m", 1000.0) == pytest.approx(1050.0 + moved)
    assert health.is_low("a", "m", 1059.9 + moved) and not health.is_low("a", "m", 1060.1 + moved)
    assert health.errors("a", 1000.0 + moved) == pytest.approx(1.0)


def test_a_conversation_that_was_served_may_probe_a_lane_whose_fault_may_be_about_others(health):
    served, other = OutcomeContext("u", "x", "c"), OutcomeContext("u", "y", "d")
    health.record_outcome("a", "m", Outcome("ok"), 0, context=served)
    assert not health.may_probe_doubtful("c", "a", "m", 0), "the lane is open"
    for number in "123":
        outcome = Outcome("permission", status_only=True)
        health.record_outcome("a", "m", outcome, 1, context=OutcomeContext("u", number, number))
    assert health.may_probe_doubtful("c", "a", "m", 1)
    assert not health.may_probe_doubtful("d", "a", "m", 1), "it was not served there"
    assert not health.may_probe_doubtful("c", "a", "m", 601), "the lane is open again"
    assert (health.last_chance("a", "m", 1, "c"), health.last_chance("a", "m", 1)) == (601, None)
    health.acquire("a", "m", 1, 7, early=True)
    assert not health.may_probe_doubtful("c", "a", "m", 1), "another request probes it"
    health.release("a", "m", 7)
    health.record_outcome("a", "m", Outcome("rate", until=9.0), 1, context=other)
    assert not health.may_probe_doubtful("c", "a", "m", 1), "a rate limit is about every conversation"


def test_what_one_conversation_meets_on_two_accounts_is_its_own(health):
    for account in "ab":
        health.record_outcome(account, "m", Outcome("auth"), 0, context=OutcomeContext("u", "x", "c"))
    assert (health.own_faults("c", 1), health.own_faults("d", 1)) == ({"a", "b"}, set())
    assert all(health.available(account, "m", 1) for account in "ab")
