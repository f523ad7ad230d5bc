"""In what order accounts come into question."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from random import Random
from typing import get_args

import pytest

from patchbay.accounts import selection
from patchbay.accounts.selection import STRATEGIES, Cursors, SelectionState
from patchbay.settings.presets import PRESETS
from patchbay.settings.settings import StrategyName
from patchbay.values.account import Account, Secret


def account(name, **fields):
    return Account(name, PRESETS["openai"], Secret("literal", "k"), **fields)


def accounts(names, **fields):
    return [account(name, **fields) for name in names]


def state(secret=b"secret", seed=1, **fields):
    return SelectionState(selection.derive_key(secret), Cursors(Random(seed)), **fields)


def ids(order):
    return [each.id for each in order]


def firsts(strategy, candidates, at, times):
    return "".join(STRATEGIES[strategy].order("seed", candidates, at)[0].id for _ in range(times))


def test_two_instances_with_one_key_order_every_seed_alike():
    here, there = state(seed=1, in_flight=lambda _: 3), state(seed=2, errors=lambda _: 9.0, round=("other",))
    pool = [account(f"a{n}", weight=1 + n % 3) for n in range(5)]
    order = STRATEGIES["rendezvous"].order

    same = sum(order(str(n), pool, here) == order(str(n), pool[::-1], there) for n in range(1000))
    assert same == 1000
    other_key = sum(order(str(n), pool, here) == order(str(n), pool, state(b"other")) for n in range(1000))
    assert other_key < 100


def test_the_order_does_not_change_for_the_rest_when_an_account_leaves():
    pool = accounts("abcde")
    for n in range(200):
        whole = ids(STRATEGIES["rendezvous"].order(str(n), pool, state()))
        rest = ids(STRATEGIES["rendezvous"].order(str(n), [each for each in pool if each.id != "c"], state()))
        assert rest == [name for name in whole if name != "c"]


def test_weights_are_kept_in_proportion():
    pool = [account("small"), account("big", weight=3)]
    first = Counter(STRATEGIES["rendezvous"].order(str(n), pool, state())[0].id for n in range(4000))

    assert first["big"] / first["small"] == pytest.approx(3, rel=0.15)


@pytest.mark.parametrize("digest", [b"\x00" * 8, b"\xff" * 8])
def test_no_hash_gives_a_score_that_cannot_be_computed(digest):
    assert 0 < selection._score(1.0, digest) < float("inf")


def test_an_account_without_weight_comes_last():
    pool = [account("none", weight=0), account("some")]
    assert all(STRATEGIES["rendezvous"].order(str(n), pool, state())[0].id == "some" for n in range(50))


def test_without_a_seed_the_least_loaded_for_its_weight_is_first():
    load = {"a": 2, "b": 3, "c": 1}
    errors = {"a": 1.0}
    pool = [account("a"), account("b", weight=4), account("c")]

    assert ids(STRATEGIES["rendezvous"].order("", pool, state(in_flight=load.get))) == ["b", "c", "a"]
    tied = state(errors=lambda name: errors.get(name, 0.0))
    assert ids(STRATEGIES["least_busy"].order("s", pool, tied)) == ["b", "c", "a"]


def test_row_d1_round_robin_takes_turns_by_id():
    assert firsts("round_robin", accounts("cab"), state(), 7) == "abcabca"


def test_row_d1_round_robin_has_a_cursor_per_pool_and_model():
    one = state(round=("openai", "m"))
    two = replace(one, round=("openai", "n"))

    assert firsts("round_robin", accounts("ab"), one, 1) == "a"
    assert firsts("round_robin", accounts("ab"), two, 1) == "a"
    assert firsts("round_robin", accounts("ab"), one, 1) == "b"


def test_row_d1_an_account_that_rests_does_not_cost_another_its_turn():
    at = state()
    assert firsts("round_robin", accounts("abc"), at, 1) == "a"
    assert firsts("round_robin", accounts("ac"), at, 1) == "c"
    assert firsts("round_robin", accounts("abc"), at, 3) == "abc"


def test_row_d1_round_robin_goes_over_groups_first_when_all_have_one():
    pool = [account("a1", group="a"), account("a2", group="a"), account("a3", group="a"), account("b1", group="b")]
    at = state()
    turns = [STRATEGIES["round_robin"].order("", pool, at)[0].id for _ in range(6)]

    groups = [turn[0] for turn in turns]
    assert groups in (list("ababab"), list("bababa"))
    assert [turn for turn in turns if turn[0] == "a"] == ["a1", "a2", "a3"]


def test_row_d1_the_group_cursor_starts_at_random():
    pool = [account("a1", group="a"), account("b1", group="b"), account("c1", group="c")]
    starts = {STRATEGIES["round_robin"].order("", pool, state(seed=n))[0].id for n in range(30)}
    assert starts == {"a1", "b1", "c1"}


def test_row_d1_one_group_or_an_account_without_is_a_plain_round():
    assert firsts("round_robin", accounts("ab", group="g"), state(seed=3), 4) == "abab"
    mixed = [account("a", group="g"), account("b", group="h"), account("c")]
    assert firsts("round_robin", mixed, state(seed=3), 4) == "abca"


def test_row_d1_cursors_are_bounded():
    cursors = Cursors(Random(1))
    for n in range(5000):
        cursors.turn((str(n),), ["a", "b"])
    assert len(cursors) == 4096
    assert cursors.turn(("4999",), ["a", "b"])[0] == "b"
    assert cursors.turn(("0",), ["a", "b"])[0] == "a"


def test_row_d1_fill_first_is_the_order_of_the_file():
    assert firsts("fill_first", accounts("cab"), state(), 3) == "ccc"


def test_row_d1_the_highest_priority_that_is_there_counts():
    pool = [account("low"), account("high", priority=5), account("higher", priority=9)]
    assert ids(selection.best_tier(pool)) == ["higher"]
    assert ids(selection.best_tier(pool[:2])) == ["high"]
    assert selection.best_tier([]) == []


def test_row_d1_accounts_that_take_websockets_come_first_for_one_and_all_when_none_is_marked():
    pool = [account("a"), account("ws", websockets=True)]
    assert ids(selection.able(pool, websocket=True)) == ["ws"]
    assert ids(selection.able(pool, websocket=False)) == ["a", "ws"]
    assert ids(selection.able(pool[:1], websocket=True)) == ["a"]


@pytest.mark.parametrize("strategy", sorted(STRATEGIES))
def test_every_strategy_returns_each_candidate_once(strategy):
    pool = [account(f"a{n}", group="xy"[n % 2]) for n in range(6)]
    assert sorted(ids(STRATEGIES[strategy].order("seed", pool, state()))) == sorted(ids(pool))
    assert STRATEGIES[strategy].order("seed", [], state()) == []


def test_admission_passes_over_an_account_that_has_its_share():
    a, b = accounts("ab")
    assert selection.admit([a, b], {"a": 1, "b": 0}.get) is a
    assert selection.admit([a, b], {"a": 2, "b": 0}.get) is b


def test_admission_counts_the_share_by_weight():
    a, b = account("a", weight=3), account("b")
    assert selection.admit([a, b], {"a": 3, "b": 0}.get) is a
    assert selection.admit([b, a], {"a": 3, "b": 2}.get) is a


def test_admission_spreads_sessions_within_the_bound():
    pool, sessions, at = accounts("abcde"), Counter(), state()
    for n in range(300):
        sessions[selection.admit(STRATEGIES["rendezvous"].order(str(n), pool, at), sessions.__getitem__).id] += 1
    assert max(sessions.values()) <= 1.25 * 60 + 1


def test_each_strategy_of_the_settings_has_its_function() -> None:
    assert {*get_args(StrategyName)} == STRATEGIES.keys()


def test_the_order_of_a_key_and_a_seed_is_the_same_in_every_version():
    assert "".join(ids(STRATEGIES["rendezvous"].order("seed", accounts("abcdef"), state()))) == "feabdc"


def test_by_load_an_account_without_weight_comes_last():
    pool = [account("none", weight=0), account("some", weight=0.5)]
    assert ids(STRATEGIES["least_busy"].order("", pool, state(in_flight=lambda _: 9))) == ["some", "none"]


@pytest.mark.parametrize(("weights", "fits"), [((0.5, 0.5), "b"), ((0.9, 0.1), "a"), ((0, 0), "a"), ((0, 1), "b")])
def test_admission_counts_shares_of_the_sum_of_the_weights(weights, fits):
    pool = [account(name, weight=weight) for name, weight in zip("ab", weights, strict=True)]
    assert selection.admit(pool, {"a": 4, "b": 0}.get).id == fits


@pytest.mark.parametrize(
    ("own", "others", "room"),
    [(4, 0, True), (5, 0, False), (11, 4, True), (12, 4, False), (1, 60, True)],
)
def test_an_account_has_room_for_a_session_that_began_alike(own, others, room):
    a, b = accounts("ab")
    assert selection.has_room(a, [a, b], {"a": own, "b": others}.get) is room
