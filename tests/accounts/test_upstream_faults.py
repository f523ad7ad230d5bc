"""Whose fault it was: what two show at once, and what a third says about it."""

from __future__ import annotations

import pytest

from patchbay.accounts.upstream_faults import MAX_PLACES, MEMORY, WINDOW, OutcomeContext, UpstreamFaults
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
        faults.serve("c")
        faults.show("a", now=WINDOW + late)
        faults.show("b", now=WINDOW + late)
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
    ("kind", "place", "cleared"), [("auth", THERE, True), ("model", THERE, False), ("model", HERE, True)]
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
