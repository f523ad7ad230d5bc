"""One cooldown: how long it lasts, when it may be verified and probed, and how a penalty is taken back."""

from __future__ import annotations

import pytest

from patchbay.accounts import cooldown
from patchbay.accounts.cooldown import (
    LONGEST,
    NEVER,
    PENALTIES,
    SKEW,
    TRANSIENT,
    Cooldown,
    Penalty,
    SharedCooldown,
    applied,
    to_share,
)
from patchbay.values.decision import Outcome

M, H = 60.0, 3600.0
RATE = Penalty("cooling", 5.0, 2.0, 900.0)
TWICE = Penalty("cooling", 10.0, 2.0, 120.0, failures=2, within=30.0, spacing=5.0)


def cooling(until=100.0, *, now=0.0, kind="rate", **more):
    fields = {"hinted": False, "strict": False, "doubtful": False} | more
    found = Cooldown(kind)
    found.extend(until, Outcome(kind), now, **fields)
    return found


def test_a_cooldown_that_never_began_opens_at_once():
    assert Cooldown("rate").opens_at(0) == NEVER


@pytest.mark.parametrize(
    ("until", "verified"),
    [(899.0, float("inf")), (900.0, float("inf")), (901.0, 900.0), (5 * H, 900.0)],
)
def test_a_hint_is_verified_after_a_quarter_of_an_hour(until, verified):
    found = cooling(until, hinted=True)

    assert found.verify_at == verified
    assert found.opens_at(0) == min(until, verified)


@pytest.mark.parametrize("fields", [{"hinted": False}, {"hinted": True, "strict": True}])
def test_only_a_hint_that_is_not_trusted_to_its_end_is_verified(fields):
    assert cooling(5 * H, **fields).opens_at(0) == 5 * H


def test_each_verification_that_fails_doubles_the_delay_up_to_an_hour():
    found, delays = cooling(100 * H, hinted=True), []
    for _ in range(5):
        delays.append(found.verify_delay())
        found.probe_failed(0.0)

    assert delays == [15 * M, 30 * M, H, H, H]


def test_a_probe_keeps_others_out_until_its_lease_ends():
    found = cooling(100.0)
    found.probe, found.probe_until = 7, 130.0

    assert found.is_probed(129.0)
    assert found.opens_at(129.0) == 130.0
    assert not found.is_probed(130.0)
    assert found.opens_at(130.0) == 100.0


@pytest.mark.parametrize(
    ("kind", "doubtful", "unaffected", "probes", "at"),
    [
        ("rate", False, False, 0, 30.0),
        ("rate", True, False, 0, 30.0),
        ("rate", False, True, 0, 30.0),
        ("rate", True, True, 0, 0.1),
        ("rate", True, True, 1, 3.0),
        ("permission", True, True, 5, 2.0),
        ("auth", True, True, 5, 2.0),
        ("server", True, True, 3, 2.0),
        ("server", True, True, 4, 3.0),
        ("rate", False, False, 1, 32.0),
    ],
)
def test_early_probes_come_sooner_for_conversations_that_did_not_meet_a_doubtful_fault(
    kind, doubtful, unaffected, probes, at
):
    found = cooling(9 * H, kind=kind, doubtful=doubtful)
    if probes:
        found.probes, found.probed_at = probes, 2.0

    assert found.early_probe_at(unaffected=unaffected) == pytest.approx(at)


@pytest.mark.parametrize(("since", "spacing"), [(0.0, 30.0), (-120.0, 30.0), (-400.0, 100.0), (-9 * H, 600.0)])
def test_early_probes_that_fail_are_spaced_by_a_quarter_of_the_time_since_the_start(since, spacing):
    found = cooling(9 * H)
    found.since, found.probed_at = since, 0.0

    assert found.early_probe_at() == spacing


def test_a_hint_that_is_trusted_is_never_probed_early():
    assert cooling(9 * H, hinted=True, strict=True).early_probe_at(unaffected=True) == 9 * H
    assert cooling(9 * H, strict=True).early_probe_at() == 30.0


@pytest.mark.parametrize(
    ("times", "counted"),
    [((0, 6), 2), ((0, 4.9), 1), ((0, 5), 2), ((0, 30), 2), ((0, 30.1), 1), ((0, 6, 12), 2)],
)
def test_failures_count_within_a_time_and_at_a_distance(times, counted):
    found = Cooldown("server")
    for now in times:
        last = found.count_failure(TWICE, "server", now)

    assert last == counted


def test_failures_of_another_kind_do_not_count():
    found = Cooldown("server")
    found.count_failure(TWICE, "server", 0)

    assert found.count_failure(TWICE, "overload", 10) == 1


def test_a_level_rises_once_for_a_burst_and_falls_by_one_in_ten_quiet_minutes():
    found, until = Cooldown("rate"), []
    for now in (0.0, 1.0, 6.0, 16.0):
        until.append(found.backoff(RATE, "rate", now))
        found.until = now + until[-1]
    assert until == [5, 5, 10, 20]

    assert found.copy().backoff(RATE, "rate", found.until + 599) == 40
    assert found.copy().backoff(RATE, "rate", found.until + 600) == 20
    assert found.copy().backoff(RATE, "rate", found.until + 9 * H) == 5


def test_the_first_failure_of_a_kind_begins_at_its_first_level_while_another_kind_cools_down():
    found = cooling(50.0)
    assert [found.backoff(RATE, "rate", 10) for _ in range(2)] == [5, 5]
    assert found.levels == {"rate": 1}


def test_doubt_ends_with_the_first_failure_that_leaves_none():
    found = cooling(50.0, doubtful=True)
    found.extend(80.0, Outcome("rate"), 10, hinted=False, strict=False, doubtful=True)
    assert found.doubtful
    found.extend(90.0, Outcome("rate"), 20, hinted=False, strict=False, doubtful=False)
    assert not found.doubtful
    found.extend(99.0, Outcome("rate"), 30, hinted=False, strict=False, doubtful=True)
    assert not found.doubtful
    assert found.since == 0.0


def shared(**fields):
    told = {"until": 500.0, "verify_at": 400.0, "at": 100.0} | fields
    return SharedCooldown("a", "m", "cooling", "rate", **told)


def test_what_another_instance_found_out_ends_by_its_own_time_if_that_is_past():
    assert shared().by_our_clock(100.0) == shared()
    assert shared(until=9e9).by_our_clock(200.0).until == 100.0 + LONGEST
    assert shared(until=9e9).by_our_clock(100.5).until == 100.0 + LONGEST


@pytest.mark.parametrize(("ahead", "length"), [(SKEW, 400.0), (SKEW + 1, 30.0)])
def test_what_a_clock_ahead_of_ours_found_out_counts_from_now(ahead, length):
    told = shared().by_our_clock(100.0 - ahead)

    assert (told.at, told.until - told.at) == (100.0 - ahead, length)
    assert told.verify_at == min(400.0 - ahead, told.until)


def test_only_what_a_provider_limits_is_told_and_only_while_it_lasts():
    found = {"cooling": cooling(50.0), "auth-failed": cooling(50.0, kind="auth"), "billing-blocked": cooling(10.0)}

    assert [each.state for each in to_share("a", "m", found, 10.0)] == ["cooling"]


def test_a_penalty_that_is_taken_back_leaves_nothing():
    found = {}
    undo = applied(lambda: found, RATE, Outcome("rate"), 0.0, None, strict=False, doubtful=False)
    assert found["cooling"].until == 5.0
    assert undo()
    assert found == {}


def test_a_penalty_that_another_one_followed_is_not_taken_back():
    found = {}
    first = applied(lambda: found, RATE, Outcome("rate"), 0.0, None, strict=False, doubtful=False)
    second = applied(lambda: found, RATE, Outcome("rate"), 5.0, None, strict=False, doubtful=False)
    assert not first()
    assert found["cooling"].until == 15.0
    assert second()
    assert found["cooling"].until == 5.0
    assert first()


def test_a_probe_that_runs_is_not_touched_by_taking_back():
    found = {}
    applied(lambda: found, RATE, Outcome("rate"), 0.0, None, strict=False, doubtful=False)
    undo = applied(lambda: found, RATE, Outcome("rate"), 5.0, None, strict=False, doubtful=False)
    found["cooling"].probe, found["cooling"].probe_until = 3, 30.0
    assert undo()
    assert found["cooling"].is_probed(6.0)


def test_a_stated_end_counts_when_the_penalty_falls_due_and_never_shortens():
    found = {}
    for now in (0.0, 10.0):
        assert not found or found["cooling"].until < now
        applied(lambda: found, TWICE, Outcome("server"), now, 40.0, strict=False, doubtful=False)
    assert (found["cooling"].until, found["cooling"].hinted) == (40.0, True)
    applied(lambda: found, TWICE, Outcome("server"), 20.0, 30.0, strict=False, doubtful=False)
    assert found["cooling"].until == 40.0


@pytest.mark.parametrize(
    ("fields", "together"), [({}, True), ({"now": 60.0}, True), ({"now": 60.1}, False), ({"kind": "quota"}, False)]
)
def test_cooldowns_for_one_fault_begin_together_within_a_minute(fields, together):
    assert cooling(500.0, **fields).began_with(cooling(900.0)) == together


def test_cooldowns_at_two_upstreams_do_not_begin_together():
    one, other = cooling(), cooling()
    other.upstream = "u"
    assert not one.began_with(other)


def test_when_the_clock_is_set_all_times_move_and_infinite_ones_stay():
    found = cooling(100.0)
    found.failures = {"rate": (1.0,)}
    found.shift(-50.0)

    assert (found.until, found.since, found.set_at, found.failures) == (50.0, -50.0, -50.0, {"rate": (-49.0,)})
    assert (found.verify_at, found.probe_until) == (float("inf"), NEVER)
    assert found.changes == 1


def test_a_cooldown_for_load_is_transient_and_one_for_rights_or_money_is_not():
    assert {kind: penalty.first for kind, penalty in TRANSIENT.items()} == {"rate": 5, "overload": 5, "server": 10}


def test_every_penalty_starts_below_its_cap_and_grows():
    rows = [row for row in PENALTIES.values() if isinstance(row, Penalty)]
    assert len(rows) == 7
    assert all(0 < row.first <= row.cap and row.factor >= 1 for row in rows)


def test_a_probe_of_a_penalty_that_was_taken_back_keeps_no_request_out():
    found = {}
    undo = applied(lambda: found, TWICE, Outcome("server"), 0.0, None, strict=False, doubtful=False)
    cooldown = found["cooling"]
    cooldown.probe, cooldown.probe_until = 3, 30.0
    assert cooldown.opens_at(1.0) == NEVER
    assert undo()


def test_a_cooldown_that_follows_another_one_begins_anew():
    found = cooling(50.0)
    found.probes, found.probed_at = 3, 20.0
    found.extend(90.0, Outcome("rate"), 50.0, hinted=False, strict=False, doubtful=True)

    assert (found.since, found.probes, found.probed_at, found.doubtful) == (50.0, 0, 50.0, True)


def test_a_penalty_stands_once_another_instance_told_of_one():
    found = {}
    undo = applied(lambda: found, RATE, Outcome("rate"), 0.0, None, strict=False, doubtful=False)
    found["cooling"].adopt(shared(), 1.0)

    assert not undo()
    assert (found["cooling"].until, found["cooling"].verify_at, found["cooling"].hinted) == (500.0, 400.0, True)


def test_when_the_clock_is_set_a_verification_and_a_probe_move_too():
    found = cooling(5 * H, hinted=True)
    found.probe_until, found.level_at, found.probed_at = 20.0, 7.0, 8.0
    found.shift(-5.0)
    assert (found.verify_at, found.probe_until, found.level_at, found.probed_at) == (895.0, 15.0, 2.0, 3.0)


def test_an_equal_end_leaves_the_cooldown_as_it_was():
    found = {}
    applied(lambda: found, RATE, Outcome("rate"), 0.0, 40.0, strict=False, doubtful=False)
    applied(lambda: found, RATE, Outcome("overload"), 1.0, 40.0, strict=True, doubtful=False)
    assert (found["cooling"].kind, found["cooling"].strict, found["cooling"].set_at) == ("rate", False, 0.0)


def test_a_cooldown_is_told_with_its_kind_and_all_its_times():
    found = cooling(5 * H, now=3.0, hinted=True)
    assert list(to_share("a", "m", {"cooling": found}, 3.0)) == [
        SharedCooldown("a", "m", "cooling", "rate", 5 * H, 903.0, 3.0)
    ]


def test_what_another_instance_found_out_is_probed_anew_from_now():
    found = cooling(5 * H, doubtful=True)
    found.probe, found.probe_until, found.probes = 3, 500.0, 2
    changes = found.changes
    found.adopt(shared(), 200.0)
    assert (found.until, found.verify_at, found.set_at, found.kind) == (500.0, 400.0, 100.0, "rate")
    assert (found.since, found.probed_at, found.probe, found.probes) == (200.0, 200.0, None, 0)
    assert (found.hinted, found.doubtful, found.outcome, found.changes) == (True, False, None, changes + 1)


def test_the_times_that_no_setting_has():
    assert set(TRANSIENT) == {"rate", "overload", "server"}
    assert {"cooling", "paused", "billing-blocked"} == cooldown.SHARED
    assert {"cooling", "paused"} == cooldown.KEEPS_HOME
    assert (cooldown.FLOOR, cooldown.VERIFY_AFTER, cooldown.VERIFY_CAP, cooldown.TOGETHER) == (1, 15 * M, H, 60)
    assert (cooldown.PROBE_LEASE, cooldown.LAST_CHANCE, cooldown.PROBE_SPACING, cooldown.PROBE_CAP) == (20, 30, 4, 600)
    assert (cooldown.FIRST_PROBE, cooldown.SECOND_PROBE, cooldown.FREE_PROBES) == (0.1, 1, 4)
    assert (cooldown.LEVEL_DECAY, SKEW, LONGEST, cooldown.MAX_LEVEL) == (600, 60, 31 * 86400 + 60, 32)


def test_what_was_told_at_this_very_moment_is_taken_as_it_is():
    assert shared(verify_at=600.0).by_our_clock(100.0) == shared(verify_at=600.0)


def test_a_probe_that_fails_counts_and_puts_the_next_verification_off():
    found = cooling(5 * H, hinted=True)
    assert found.verify_at == 900
    for number in range(1, 40):
        found.probe = number
        found.probe_failed(900.0)
        assert (found.probe, found.probes, found.probed_at) == (None, min(number, 32), 900.0)
        assert found.verifications == min(number, 32)
        assert found.verify_at == (2700.0 if number == 1 else 4500.0)
    found.probe_failed(1000.0)
    assert found.verify_at == 4600.0
    found.probe_failed(5 * H)
    assert (found.probes, found.verify_at) == (32, 4600.0), "it was over"


def test_a_verification_that_is_due_later_than_the_next_stays():
    found = cooling(5 * H, hinted=True)
    found.verify_at = 3 * H
    found.probe_failed(900.0)
    assert found.verify_at == 3 * H
    unhinted = cooling(1000.0)
    unhinted.probe_failed(900.0)
    assert unhinted.verify_at == 900 + 1800, "its end comes first"


@pytest.mark.parametrize(("now", "verified"), [(100.0, 1000.0), (5000.0, 5900.0), (17_999.0, 18_899.0)])
def test_a_later_hint_is_verified_no_earlier_than_the_one_before_it(now, verified):
    found = cooling(5 * H, hinted=True)
    found.extend(10 * H, Outcome("rate"), now, hinted=True, strict=False, doubtful=False)
    assert found.verify_at == verified
    found = cooling(2 * H)
    found.extend(10 * H, Outcome("rate"), 100.0, hinted=True, strict=False, doubtful=False)
    assert found.verify_at == 2 * H, "the end that nothing stated"
    found = cooling(200.0)
    found.extend(10 * H, Outcome("rate"), 200.0, hinted=True, strict=False, doubtful=False)
    assert (found.verify_at, found.since) == (1100.0, 200.0)


def test_a_new_cooldown_was_never_verified_probed_or_changed():
    found = Cooldown("rate")
    assert (found.verifications, found.probes, found.changes, found.probe) == (0, 0, 0, None)
    assert (found.probed_at, found.probe_until, found.level_at) == (NEVER, NEVER, NEVER)
