"""The simulated days of scripts/day: what they count, and that each mechanism can still be switched off."""

from __future__ import annotations

import pytest

from scripts.ablations import MECHANISMS
from scripts.day import PAGE, defaults, penalties
from scripts.days import DAYS
from scripts.simulated_day import CACHE, Day, Fault, Sky, Talk, Tally, account, live

TWO = (account("a"), account("b"))
TALK = Talk(0, (10.0, 30.0, 30.0), "hello")


def day(sky: Sky, talks: tuple[Talk, ...] = (TALK,), accounts=TWO) -> Day:
    return Day("a day", "", accounts, lambda luck: list(talks), lambda luck: sky)


def down(*names: str, start: float = 0.0, end: float = 1e9) -> Sky:
    return Sky({name: [(start, end, Fault(503))] for name in names})


def test_a_day_without_faults_keeps_every_conversation_warm():
    assert live(day(Sky()), 1) == Tally(turns=2, waits=[0.0, 0.0, 0.0])


def test_a_pause_longer_than_the_cache_lives_costs_a_cold_turn():
    tally = live(day(Sky(), (Talk(0, (10.0, CACHE - 20, CACHE + 1), "hello"),)), 1)

    assert (tally.turns, tally.cold) == (2, 1)


def test_a_turn_at_another_account_is_cold_and_the_next_one_there_is_warm():
    homes = {name: live(day(down(name, start=45.0)), 1).cold for name in "ab"}

    assert sorted(homes.values()) == [0, 1]  # one of the two is not the home


def test_exchanges_fail_while_every_account_is_down_and_the_client_asks_again():
    tally = live(day(down("a", "b", end=35.0)), 1)

    assert (tally.failed, tally.turns) == (2, 2)
    assert max(tally.waits) >= 40.0  # two retries of the client's


def test_what_every_account_denies_counts_as_no_failure():
    tally = live(day(Sky(denied={0: Fault(403, message="not allowed")})), 1)

    assert (tally.failed, tally.turns, tally.waits) == (0, 0, [])


def test_attempts_at_an_account_that_is_known_to_be_down_are_wasted():
    first = live(day(down("a"), (Talk(0, (10.0,), "hello"),), TWO[:1]), 1)
    later = live(day(down("a"), (TALK,), TWO[:1]), 1)

    assert later.wasted > first.wasted


def test_the_first_failure_after_a_recovery_is_not_wasted():
    twice = Sky({"a": [(0.0, 20.0, Fault(503)), (50.0, 75.0, Fault(503))]})
    tally = live(day(twice, (Talk(0, (10.0, 25.0), "hello"),), TWO[:1]), 1)

    assert (tally.turns, tally.failed, tally.wasted) == (1, 2, 1), "the home is tried a second time at once"


def test_a_quota_is_renewed_after_its_period():
    tally = live(day(Sky(quota={"a": 1}, period=1000.0), (Talk(0, (10.0, 30.0), "hello"),), TWO[:1]), 1)

    assert (tally.turns, tally.failed) == (0, 4)
    late = Talk(0, (10.0, 1000.0), "hello")
    assert live(day(Sky(quota={"a": 1}, period=1000.0), (late,), TWO[:1]), 1).turns == 1


def test_turns_below_the_highest_priority_are_counted():
    ranked = (account("a", priority=1), account("b"))

    assert live(day(down("a"), accounts=ranked), 1).lower == 3
    assert live(day(Sky(), accounts=ranked), 1).lower == 0


@pytest.mark.parametrize("name", MECHANISMS)
def test_a_mechanism_can_be_switched_off_and_is_back_afterwards(name):
    before = live(day(down("a", end=60.0)), 1)
    with MECHANISMS[name]():
        live(day(down("a", end=60.0)), 1)

    assert live(day(down("a", end=60.0)), 1) == before


def test_days_differ_by_their_names():
    assert len({each.name for each in DAYS}) == len(DAYS) >= 7


@pytest.mark.parametrize("used", [penalties, defaults])
def test_the_page_was_measured_with_the_penalties_and_the_defaults_of_today(used):
    """Else `scripts/day --ablate --write` measures again what each mechanism is worth."""
    assert used() in PAGE.read_text(encoding="utf-8")
