"""Whose fault it was: what two show at once, and what a third says about it."""

from __future__ import annotations

from typing import get_args

import pytest

from patchbay.accounts.upstream_faults import (
    CONNECT_FAILED,
    MAX_FAULTS,
    MAX_PLACES,
    MAX_REFUSED,
    MAX_SERVED,
    MEMORY,
    WINDOW,
    OutcomeContext,
    UpstreamFaults,
    is_doubtful,
)
from patchbay.values.account import OutcomeKind
from patchbay.values.decision import Outcome

HERE, THERE = ("https://u", "m"), ("https://u", "n")


class Faults:
    """Faults noted in order, and whose penalties were taken back."""

    def __init__(self):
        self.shared, self.undone = UpstreamFaults(), []

    def show(
        self, account, place=HERE, now=0.0, exchange="", kind="server", detail="500", conversation="", certain=False
    ):
        outcome = Outcome(kind, detail=detail, certain=certain)
        context = OutcomeContext(place[0], exchange, conversation)
        self.shared.fault(account, place[1], outcome, context, now, lambda: self.undo(account))

    def serve(self, account, place=HERE, now=0.0, exchange=""):
        self.shared.success(account, place[1], OutcomeContext(place[0], exchange), now)

    def undo(self, account):
        self.undone.append(account)
        return True


def test_one_account_alone_is_to_blame_however_often():
    faults = Faults()
    for _ in range(5):
        faults.show("a")
    assert faults.undone == []


def test_all_penalties_for_one_fault_are_taken_back_the_latest_first():
    faults = Faults()
    for account in ("a", "a", "b"):
        faults.show(account)
    assert faults.undone == ["b", "a", "a"]


def test_another_lane_is_another_place():
    faults = Faults()
    faults.show("a")
    faults.show("b", THERE)
    assert faults.undone == []


def test_after_the_window_only_one_exchange_holds_them_together():
    apart, together = Faults(), Faults()
    for faults, exchange in ((apart, ""), (together, "x")):
        faults.show("a", exchange=exchange)
        faults.show("b", now=WINDOW + 1, exchange=exchange)
    assert (apart.undone, together.undone) == ([], ["b", "a"])


def test_a_success_of_the_guilty_says_nothing_and_that_of_a_third_much():
    faults = Faults()
    faults.serve("a")
    faults.show("a")
    faults.show("b", now=1)
    assert faults.undone == ["b", "a"]

    faults = Faults()
    faults.serve("c")
    faults.show("a")
    faults.show("b", now=1)
    assert faults.undone == []

    faults = Faults()
    faults.serve("c")
    faults.show("a", now=WINDOW)
    faults.show("b", now=WINDOW + 1)
    assert faults.undone == ["b", "a"], "that was long ago"


def test_a_success_of_a_third_counts_for_ten_seconds():
    assert WINDOW == 10
    for late, undone in ((0, []), (0.1, ["b", "a"])):
        faults = Faults()
        faults.serve("c", now=100)
        faults.show("a", now=100 + WINDOW + late)
        faults.show("b", now=100 + WINDOW + late)
        assert faults.undone == undone


def test_what_a_conversation_met_counts_for_ten_minutes():
    faults = Faults()
    everywhere(faults, "x", kind="permission")
    assert faults.shared.own_faults("c", 600.0) == {"a", "b"}
    assert faults.shared.own_faults("c", 600.1) == set()


def test_any_number_of_places_is_remembered_in_bounds():
    shared = UpstreamFaults()
    for number in range(MAX_PLACES + 10):
        shared.success("a", str(number), OutcomeContext("u"), 0)
    assert len(shared._succeeded) == MAX_PLACES


def everywhere(faults, exchange, now=0.0, accounts="ab", **more):
    for account in accounts:
        faults.show(account, now=now, exchange=exchange, conversation="c", **more)


@pytest.mark.parametrize(("certain", "times"), [(True, 3), (False, 6)])
def test_what_one_conversation_meets_again_and_again_is_the_accounts(certain, times):
    """R1: what a code or a status says counts twice as much as words."""
    for kind in ("auth", "quota", "model", "permission"):
        faults = Faults()
        for number in range(times):
            assert len(faults.undone) == 2 * number
            everywhere(faults, f"x{number}", now=30.0 * number, kind=kind, certain=certain)
        assert len(faults.undone) == 2 * (times - 1)


@pytest.mark.parametrize(
    ("kind", "place", "cleared"),
    [("auth", THERE, True), ("quota", THERE, True), ("model", THERE, False), ("model", HERE, True)],
)
def test_where_somebody_is_served_meanwhile_one_conversation_confirms_nothing(kind, place, cleared):
    """R1: nothing that is said of an account, whatever the model; nothing that is said of a model, with that."""
    faults = Faults()
    for number in range(4):
        everywhere(faults, f"x{number}", now=number, kind=kind, certain=True)
        faults.serve("a", place, number + 0.5, "another")
    assert [faults.undone.count(account) for account in "ab"] == ([4, 4] if cleared else [2, 2])


def test_accounts_that_a_conversation_met_something_on_are_known_while_it_counts_as_its_fault():
    """R1: that conversation asks others first; a passing fault moves it nowhere, nor does what another met."""
    faults = Faults()
    everywhere(faults, "x", kind="permission")
    everywhere(faults, "y", kind="overload", accounts="de")
    assert faults.shared.own_faults("c", 1.0) == {"a", "b"}
    assert faults.shared.own_faults("another", 1.0) == faults.shared.own_faults("", 1.0) == set()
    faults.serve("a", HERE, 2.0, "another")
    assert faults.shared.own_faults("c", 2.0) == {"b"}
    assert faults.shared.own_faults("c", MEMORY + 1.0) == set()


def test_a_request_without_a_conversation_asks_by_itself():
    assert OutcomeContext("u", "x", "c").asker == "c"
    assert OutcomeContext("u", "x").asker == "x"
    assert OutcomeContext().asker == ""


KINDS = get_args(OutcomeKind)
DOUBTED = {"model", "permission", "rate", "overload", "server"}


def doubted(shared, outcome, conversation, now=0.0, account="a", place=HERE, exchange=""):
    return shared.doubts(account, place[1], outcome, OutcomeContext(place[0], exchange, conversation), now)


def served(shared, account, now, conversation="", place=HERE, exchange=""):
    shared.success(account, place[1], OutcomeContext(place[0], exchange, conversation), now)


@pytest.mark.parametrize("kind", KINDS)
def test_the_kinds_of_fault_that_may_be_about_the_request(kind):
    assert is_doubtful(Outcome(kind)) is (kind in DOUBTED)
    assert is_doubtful(Outcome(kind, status_only=True))
    assert not is_doubtful(Outcome(kind, until=9.0, status_only=True))
    assert not is_doubtful(Outcome(kind, detail=CONNECT_FAILED, status_only=True))


@pytest.mark.parametrize("kind", KINDS)
def test_a_lane_that_served_another_conversation_is_doubted_until_a_second_conversation_meets_the_fault(kind):
    shared, outcome = UpstreamFaults(), Outcome(kind)
    assert not doubted(shared, outcome, "c"), "the lane served no conversation yet"
    served(shared, "a", 0, "c")
    assert not doubted(shared, outcome, "c"), "the lane served this conversation alone"
    served(shared, "a", 0, "other")
    assert doubted(shared, outcome, "c") is (kind in DOUBTED)
    assert doubted(shared, outcome, "c") is (kind in DOUBTED), "the same conversation again"
    assert not doubted(shared, outcome, "d")


@pytest.mark.parametrize(("at", "doubts"), [(0.0, True), (-0.1, False)])
def test_a_lane_is_doubted_for_ten_minutes_after_it_served_another_conversation(at, doubts):
    shared = UpstreamFaults()
    served(shared, "a", at, "other")
    assert doubted(shared, Outcome("server"), "c", now=600.0) is doubts


@pytest.mark.parametrize(
    ("second", "doubts"),
    [
        ({"now": 600.0}, False),
        ({"now": 600.1}, True),
        ({"account": "b"}, True),
        ({"place": THERE}, True),
        ({"place": ("https://v", "m")}, False),
    ],
)
def test_a_second_conversation_confirms_a_fault_of_the_same_account_and_lane_within_ten_minutes(second, doubts):
    shared = UpstreamFaults()
    for account in "ab":
        for place in (HERE, THERE):
            served(shared, account, 1.0, "other", place)
    assert doubted(shared, Outcome("server"), "c")
    assert doubted(shared, Outcome("server"), "d", **second) is doubts


@pytest.mark.parametrize("kind", ["auth", "server"])
def test_a_fault_by_its_status_alone_is_doubted_until_three_conversations_met_it(kind):
    shared, outcome = UpstreamFaults(), Outcome(kind, status_only=True)
    met = (("c", HERE), ("c", HERE), ("d", THERE), ("e", HERE))
    assert [doubted(shared, outcome, each, place=place) for each, place in met] == [True, True, True, False]


def test_a_doubted_fault_is_forgotten_when_its_account_serves_a_request_there():
    shared = UpstreamFaults()
    served(shared, "a", 0, "other")
    assert doubted(shared, Outcome("server"), "c")
    served(shared, "a", 1, "other")
    assert doubted(shared, Outcome("server"), "d")


def test_an_exchange_without_a_conversation_stands_for_itself():
    shared = UpstreamFaults()
    served(shared, "a", 0, exchange="x")
    assert shared.has_served("x", "a", "m", 0)
    outcome = Outcome("permission", status_only=True)
    assert [doubted(shared, outcome, "", exchange=each) for each in "xyz"] == [True, True, False]
    assert shared.refused_by("x", 1.0) == {("a", "m")}


@pytest.mark.parametrize(
    ("kind", "seconds"), [("rate", 5), ("overload", 5), ("server", 10), ("model", 600), ("permission", 600)]
)
def test_a_conversation_that_met_a_doubted_fault_asks_other_accounts_first_for_a_while(kind, seconds):
    shared = UpstreamFaults()
    assert doubted(shared, Outcome(kind, status_only=True), "c", now=7.0)
    for now, refused in ((7.0, True), (6.9 + seconds, True), (7.0 + seconds, False)):
        assert shared.has_refused("c", "a", "m", now) is refused
        assert shared.refused_by("c", now) == ({("a", "m")} if refused else set())
    assert not shared.has_refused("d", "a", "m", 7.0)
    assert not shared.has_refused("c", "a", "n", 7.0)


def test_a_success_ends_the_refusal_of_its_conversation_on_its_lane():
    shared = UpstreamFaults()
    for conversation, lane in (("c", "m"), ("c", "n"), ("d", "m")):
        shared.refuse("a", lane, conversation, 0)
    served(shared, "a", 1, "c", exchange="x")
    assert (shared.refused_by("c", 2), shared.refused_by("d", 2)) == ({("a", "n")}, {("a", "m")})
    served(shared, "a", 1, exchange="d")
    assert shared.refused_by("d", 2) == set(), "an exchange without a conversation"


def test_what_is_remembered_of_conversations_is_bounded():
    shared = UpstreamFaults()
    shared.refuse("a", "m", "", 0)
    assert len(shared._refused) == 0, "no conversation to remember"
    for number in range(MAX_FAULTS + 1):
        shared.refuse("a", str(number), "c", 0)
    lanes = {lane for _, lane in shared.refused_by("c", 1)}
    assert lanes == {str(number) for number in range(1, MAX_FAULTS + 1)}, "the oldest is forgotten"
    for number in range(MAX_REFUSED):
        shared.refuse("a", "m", f"c{number}", 0)
    assert not shared.has_refused("c", "a", "1", 1) and shared.has_refused("c0", "a", "m", 1)

    for number in range(MAX_SERVED + 1):
        served(shared, "a", 0, str(number))
    assert [shared.has_served(str(number), "a", "m", 0) for number in (0, 1, MAX_SERVED)] == [False, True, True]
    assert (MAX_SERVED, MAX_FAULTS, MAX_REFUSED, MAX_PLACES) == (64, 128, 4096, 1024)


def test_a_conversation_was_served_lately_for_ten_minutes():
    shared = UpstreamFaults()
    served(shared, "a", 5.0, "c")
    assert shared.has_served("c", "a", "m", 605.0) and not shared.has_served("c", "a", "m", 605.1)
    assert not any(shared.has_served(*where, 5.0) for where in (("d", "a", "m"), ("c", "b", "m"), ("c", "a", "n")))


def test_of_a_place_the_accounts_that_succeeded_within_the_window_are_kept():
    shared = UpstreamFaults()
    for account, now in (("a", 100.0), ("b", 100.1), ("c", 110.1)):
        served(shared, account, now)
    assert shared._succeeded[HERE] == {"b": 100.1, "c": 110.1}


@pytest.mark.parametrize("kind", KINDS)
def test_two_accounts_at_once_blame_the_upstream_for_faults_that_an_upstream_can_have(kind):
    faults = Faults()
    for account in "ab":
        faults.show(account, kind=kind)
    assert faults.undone == (["b", "a"] if kind in {"server", "overload", "permission"} else [])


@pytest.mark.parametrize(
    ("first", "second", "excused"),
    [
        ({"exchange": "x"}, {"exchange": "x"}, True),
        ({"exchange": "x"}, {"exchange": "y"}, False),
        ({"exchange": "x"}, {"exchange": "x", "kind": "model"}, False),
        ({"exchange": "x"}, {"exchange": "x", "detail": "other", "place": THERE, "now": WINDOW + 1}, True),
        ({"exchange": "x"}, {"exchange": "x", "detail": CONNECT_FAILED}, False),
        ({"exchange": "x", "detail": CONNECT_FAILED}, {"exchange": "x"}, False),
        ({"exchange": "x", "conversation": "c"}, {"exchange": "y", "conversation": "c", "now": WINDOW}, True),
        ({"exchange": "x", "conversation": "c"}, {"exchange": "y", "conversation": "c", "now": WINDOW + 0.1}, False),
        ({"conversation": "c"}, {"exchange": "y", "conversation": "c"}, True),
        ({"exchange": "x", "conversation": "c"}, {"conversation": "c"}, False),
        ({}, {}, False),
    ],
)
def test_a_request_is_to_blame_for_what_one_exchange_or_one_conversation_at_once_met_on_two_accounts(
    first, second, excused
):
    faults = Faults()
    faults.show("a", **{"kind": "auth", **first})
    faults.show("b", **{"kind": "auth", **second})
    assert faults.undone == (["b", "a"] if excused else [])


@pytest.mark.parametrize(
    ("outcome", "recorded"),
    [
        (Outcome("rate"), False),
        (Outcome("quota", until=9.0), False),
        (Outcome("quota"), True),
        (Outcome("server", until=9.0), True),
    ],
)
def test_a_rate_limit_and_a_limit_with_a_stated_end_are_the_accounts_own(outcome, recorded):
    faults = Faults()
    for account in "ab":
        faults.shared.fault(account, "m", outcome, OutcomeContext("u", "x"), 0.0, lambda: faults.undo("it"))
    assert faults.undone == (["it", "it"] if recorded else [])


def test_faults_of_one_conversation_on_an_account_count_together_for_ten_minutes():
    for late, undone in ((0.0, 4), (0.1, 6)):  # the third within ten minutes is the accounts' own
        faults = Faults()
        for number, now in enumerate((0.0, 300.0, MEMORY + late)):
            everywhere(faults, f"x{number}", now=now, kind="auth", certain=True, accounts="ba")
        assert len(faults.undone) == undone


def test_a_penalty_that_could_not_be_taken_back_is_tried_again():
    faults, answers = Faults(), [False, True]
    faults.shared.fault("a", "m", Outcome("server"), OutcomeContext(HERE[0]), 0.0, lambda: answers.pop(0))
    faults.show("b", detail="")
    assert answers == [True]
    faults.show("c", detail="")
    assert (answers, faults.undone) == ([], ["b", "c"])


def test_all_times_move_with_the_clock():
    shared, undone, context = UpstreamFaults(), [], OutcomeContext("u")
    served(shared, "c", 1000.0, "c")
    shared.refuse("a", "m", "c", 1000.0)
    shared.fault("a", "n", Outcome("server"), context, 1000.0, lambda: undone.append("a") is None)
    shared.shift(-900.0)
    assert shared._succeeded[HERE] == {"c": 100.0}
    assert shared.has_served("c", "c", "m", 700.0) and not shared.has_served("c", "c", "m", 700.1)
    assert shared.has_refused("c", "a", "m", 699.9) and not shared.has_refused("c", "a", "m", 700.0)
    shared.fault("b", "n", Outcome("server"), context, 100.0 + WINDOW + 0.1, lambda: True)
    assert undone == [], "the first fault was ten seconds before"
    shared.fault("b", "n", Outcome("server"), context, 110.0, lambda: True)
    assert undone == ["a"]
