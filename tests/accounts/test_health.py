"""What follows from an outcome: the table row by row, deadlines, hints and who heals what."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from patchbay.accounts.health import MAX_LANES, TRANSITIONS, Health
from patchbay.values import Outcome

M, H = 60.0, 3600.0


@pytest.fixture
def health():
    return Health(Random(1))


def ends(health, kind, times, scope="lane"):
    """Let an outcome come again just after each deadline; return how long each rest was."""
    now, rests = 0.0, []
    for _ in range(times):
        health.note("a", "m", Outcome(kind, scope=scope), now)
        until = health.until("a", "m", now)
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
        ("permission", "unsupported", [10 * M, 10 * M, 10 * M]),
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
    assert set(TRANSITIONS) == {
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
        ("permission", "account", True),
        ("model", "account", True),
    ],
)
def test_a_lane_rests_alone_unless_it_is_the_accounts_matter(health, kind, scope, elsewhere):
    health.note("a", "m", Outcome(kind, scope=scope), 0)

    assert not health.available("a", "m", 1)
    assert health.available("a", "other", 1) is elsewhere
    assert health.available("b", "m", 1)


def test_a_burst_of_equal_answers_raises_the_level_once(health):
    for _ in range(50):
        health.note("a", "m", Outcome("rate"), 0)
    assert health.until("a", "m", 0) == 5

    health.note("a", "m", Outcome("rate"), 5)
    assert health.until("a", "m", 5) == 15


def test_two_server_faults_must_follow_each_other(health):
    for kind in ("server", "ok", "server", "ok", "server"):
        health.note("a", "m", Outcome(kind), 0)
    assert health.available("a", "m", 0)
    assert health.state("a", "m", 0) == "healthy"

    health.note("a", "m", Outcome("server"), 0)
    assert not health.available("a", "m", 0)


def test_strikes_do_not_outlive_a_success_even_while_something_else_rests(health):
    health.note("a", "m", Outcome("rate", until=60), 0)
    health.note("a", "m", Outcome("server"), 1)
    health.note("a", "m", Outcome("ok"), 2)
    health.note("a", "m", Outcome("server"), 100)
    assert health.available("a", "m", 100)


def test_a_hint_is_kept_with_a_little_spread_and_a_floor(health):
    health.note("a", "m", Outcome("rate", until=100), 0)
    health.note("b", "m", Outcome("rate", until=0.01), 0)
    health.note("c", "m", Outcome("rate", until=10 * M), 0)

    assert 100 < health.until("a", "m", 0) <= 105
    assert 1 <= health.until("b", "m", 0) <= 1.1
    assert 10 * M < health.until("c", "m", 0) <= 10 * M + 5


def test_a_shorter_deadline_never_replaces_a_longer_one(health):
    health.note("a", "m", Outcome("rate", until=800), 0)
    long = health.until("a", "m", 0)
    health.note("a", "m", Outcome("rate", until=30), 1)
    health.note("a", "m", Outcome("overload"), 1)

    assert health.until("a", "m", 1) == long


def test_a_long_hint_is_believed_a_quarter_of_an_hour_then_one_request_may_see(health):
    days = 18 * 86400.0
    health.note("a", "m", Outcome("rate", until=days), 0)
    assert health.until("a", "m", 0) == 15 * M
    assert health.deadline("a", "m", 0) >= days
    assert not health.available("a", "m", 15 * M - 1)

    assert health.available("a", "m", 15 * M)
    health.taken("a", "m", 15 * M)
    assert not health.available("a", "m", 15 * M + 1), "only one may pass"

    health.note("a", "m", Outcome("ok"), 15 * M + 2)
    assert health.available("a", "m", 15 * M + 2)
    assert health.state("a", "m", 15 * M + 2) == "healthy"


def test_a_hint_that_still_holds_is_verified_ever_more_seldom(health):
    until, now, waits = 18 * 86400.0, 0.0, []
    health.note("a", "m", Outcome("rate", until=until), now)
    for _ in range(4):
        waits.append(health.until("a", "m", now) - now)
        now += waits[-1]
        health.taken("a", "m", now)
        health.note("a", "m", Outcome("rate", until=until), now)

    assert waits == [15 * M, 30 * M, 60 * M, 60 * M]


def test_a_longer_hint_does_not_bring_a_check_before_what_was_promised(health):
    health.note("a", "m", Outcome("quota"), 0)
    health.note("a", "m", Outcome("quota", until=7 * 86400.0), 1)
    assert health.until("a", "m", 1) == 30 * M


def test_a_verifying_request_that_was_broken_off_lets_the_next_one_try_after_its_lease(health):
    health.note("a", "m", Outcome("rate", until=86400), 0)
    health.taken("a", "m", 15 * M)
    health.note("a", "m", Outcome("cancelled"), 15 * M + 1)

    assert not health.available("a", "m", 15 * M + 59)
    assert health.available("a", "m", 15 * M + 60)


def test_a_late_success_from_before_the_trouble_does_not_end_a_cooldown(health):
    health.note("a", "m", Outcome("rate", until=60), 0)
    health.note("a", "m", Outcome("ok"), 1)

    assert not health.available("a", "m", 2)


def test_success_after_the_deadline_heals_and_resets_the_level(health):
    ends(health, "rate", 4)
    assert health.state("a", "m", 1000) == "half-open"
    health.note("a", "m", Outcome("ok"), 1000)

    assert health.state("a", "m", 1000) == "healthy"
    health.note("a", "m", Outcome("rate"), 1001)
    assert health.until("a", "m", 1001) == 1006


def test_a_new_secret_clears_what_was_wrong_with_the_old_one_and_nothing_else(health):
    health.note("a", "m", Outcome("auth"), 0)
    health.note("a", "m", Outcome("quota", scope="account"), 0)
    health.note("a", "n", Outcome("rate", until=100), 0)
    assert health.is_dead("a", 1)

    health.cleared("a")
    assert not health.is_dead("a", 1)
    assert health.available("a", "m", 1)
    assert not health.available("a", "n", 1)


def test_the_reason_names_state_and_outcome(health):
    assert health.reason("a", "m", 0) == ""
    health.note("a", "m", Outcome("overload"), 0)
    assert health.reason("a", "m", 1) == "cooling (overload)"
    assert health.reason("a", "m", 6) == ""


def test_row_d2_a_recovery_time_of_the_quota_replaces_the_retry_time(health):
    health.note("a", "m", Outcome("rate", until=10), 0)
    health.note("a", "m", Outcome("quota", until=600, scope="account"), 0)

    assert 600 < health.until("a", "m", 1) <= 605


def test_row_d2_a_single_fault_without_a_time_does_not_block(health):
    health.note("a", "m", Outcome("server"), 0)
    assert health.available("a", "m", 0)


def test_errors_fade(health):
    health.note("a", "m", Outcome("rate"), 0)
    assert health.errors("a", 0) == 1
    assert health.errors("a", 60) == pytest.approx(0.5)
    assert health.errors("b", 0) == 0


def test_any_number_of_models_is_remembered_in_bounds(health):
    for number in range(MAX_LANES + 50):
        health.note("a", f"m{number}", Outcome("rate"), 0)

    assert len(health._lanes) == MAX_LANES
    assert not health.available("a", f"m{MAX_LANES + 49}", 1)


class Deadlines(RuleBasedStateMachine):
    """Whatever comes in whatever order: while a lane is blocked and nothing proved otherwise, it stays so."""

    def __init__(self):
        super().__init__()
        self.health = Health(Random(1))
        self.now = 0.0
        self.promised = 0.0

    @rule(
        kind=st.sampled_from(sorted(TRANSITIONS)),
        hint=st.none() | st.floats(-10, 2_000_000),
        scope=st.sampled_from(["lane", "account"]),
    )
    def note(self, kind, hint, scope):
        if kind == "ok" and any(mark.leased for _, mark in self.health._marks("a", "m")):
            self.promised = 0.0  # a verifying request has proved the deadline wrong
        self.health.note("a", "m", Outcome(kind, None if hint is None else self.now + hint, scope), self.now)

    @rule(seconds=st.floats(0, 2000))
    def wait(self, seconds):
        self.now += seconds

    @rule()
    def ask(self):
        if self.health.available("a", "m", self.now):
            self.health.taken("a", "m", self.now)

    @invariant()
    def no_deadline_moves_earlier(self):
        until = self.health.until("a", "m", self.now) or 0.0
        assert until >= self.promised or self.promised <= self.now
        self.promised = until
        assert (until == 0.0) is self.health.available("a", "m", self.now)
        assert (until == 0.0) or self.health.deadline("a", "m", self.now) >= until


TestDeadlines = Deadlines.TestCase
TestDeadlines.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
