"""Who is at home where, for how long, and whose word still counts."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from patchbay.accounts.bindings import Binding, Bindings, Key


def key(name="s", pool="p", model="", scope=b""):
    return Key(pool, scope, name, model)


def settle(bindings, at, account, now=0.0):
    """Let one request go through: held, successful, released."""
    generation = bindings.hold(at, account, now)
    bindings.bind(at, account, generation, now)
    bindings.release(at, account)
    return generation


@pytest.fixture
def bindings():
    return Bindings(ttl=100, limit=3)


def test_row_b1_a_session_stays_for_its_time_which_slides(bindings):
    settle(bindings, key(), "a")
    assert bindings.home(key(), 99) == "a"
    settle(bindings, key(), "a", now=99)
    assert bindings.home(key(), 198) == "a"
    assert bindings.home(key(), 199) == ""


def test_row_b3_when_full_the_longest_idle_leaves_first(bindings):
    for name in "xyz":
        settle(bindings, key(name), "a")
    settle(bindings, key("x"), "a", now=1)
    settle(bindings, key("new"), "a", now=2)

    assert len(bindings) == 3
    assert bindings.home(key("y"), 2) == ""
    assert bindings.home(key("x"), 2) == "a"
    assert bindings.sessions("a") == 3


def test_row_b3_what_is_old_goes_in_small_portions():
    many = Bindings(ttl=10, limit=1000)
    for n in range(1000):
        settle(many, key(str(n)), "a")
    settle(many, key("new"), "a", now=20)
    assert len(many) == 1000 - 64 + 1


def test_row_b4_pool_client_and_model_are_parts_of_the_key(bindings):
    settle(bindings, key(), "a")
    for other in (key(pool="q"), key(scope=b"c"), key(model="m"), key("t")):
        assert bindings.home(other, 0) == ""


def test_nothing_is_bound_before_the_first_success(bindings):
    bindings.hold(key(), "a", 0)
    assert bindings.home(key(), 0) == ""
    assert bindings.pending(key()) == ("a",)
    assert bindings.sessions("a") == 1

    bindings.release(key(), "a")
    assert bindings.pending(key()) == ()
    assert bindings.sessions("a") == 0
    assert not bindings._entries


def test_a_burst_of_one_session_counts_as_one(bindings):
    generations = {bindings.hold(key(), "a", 0) for _ in range(20)}
    assert bindings.sessions("a") == 1
    assert len(generations) == 1
    bindings.bind(key(), "a", generations.pop(), 0)
    assert bindings.sessions("a") == 1
    for _ in range(20):
        bindings.release(key(), "a")
    assert bindings.sessions("a") == 1


def test_the_first_success_makes_the_home_and_a_slower_one_does_not_take_it(bindings):
    slow = bindings.hold(key(), "a", 0)
    fast = bindings.hold(key(), "b", 0)
    assert bindings.bind(key(), "b", fast, 0)
    assert not bindings.bind(key(), "a", slow, 0)
    assert bindings.home(key(), 0) == "b"
    assert (bindings.sessions("a"), bindings.sessions("b")) == (0, 1)


def test_a_late_result_of_an_old_generation_can_neither_bind_nor_unbind(bindings):
    settle(bindings, key(), "a")
    late = bindings.hold(key(), "a", 0)
    bindings.drop(key())
    assert not bindings.bind(key(), "a", late, 1)

    settle(bindings, key(), "a", now=2)
    assert not bindings.unbind(key(), "a", late)
    assert bindings.home(key(), 2) == "a"


def test_a_late_result_does_not_bind_even_when_the_key_was_empty_both_times(bindings):
    late = bindings.hold(key(), "a", 0)
    settle(bindings, key(), "b")
    bindings.drop(key())

    assert bindings.home(key(), 0) == ""
    assert not bindings.bind(key(), "a", late, 0)


def test_only_the_home_itself_can_be_unbound(bindings):
    generation = settle(bindings, key(), "a")
    assert not bindings.unbind(key(), "b", generation)
    assert bindings.unbind(key(), "a", generation)
    assert not bindings.unbind(key(), "a", generation)


def test_the_busiest_seed_of_an_account_is_named_with_its_share(bindings):
    for _ in range(3):
        settle(bindings, key("x"), "a")
    settle(bindings, key("y"), "a")

    settle(bindings, key("z"), "b")
    assert bindings.busiest() == {"a": ("x", 0.75), "b": ("z", 1.0)}


def test_releasing_what_is_not_held_does_nothing(bindings):
    bindings.release(key(), "a")
    settle(bindings, key(), "a")
    bindings.release(key(), "a")
    assert bindings.sessions("a") == 1


def test_a_home_is_cold_when_it_has_not_served_for_so_long(bindings):
    assert not bindings.is_cold(key(), 0, 10)
    settle(bindings, key(), "a", now=5)
    assert not bindings.is_cold(key(), 14, 10)
    assert bindings.is_cold(key(), 15, 10)

    bindings.hold(key(), "a", 20)
    assert bindings.is_cold(key(), 20, 10), "it has been asked, and has not served"


def test_who_stood_in_is_remembered_until_the_home_serves_again(bindings):
    settle(bindings, key(), "a")
    settle(bindings, key(), "b", now=5)
    assert bindings.fallback(key(), 14, 10) == "b"
    assert bindings.fallback(key(), 15, 10) == ""
    settle(bindings, key(), "a", now=6)
    assert bindings.fallback(key(), 7, 10) == ""


def test_a_home_that_is_moved_is_another_stretch_of_history(bindings):
    old = settle(bindings, key(), "a")
    bindings.hold(key(), "a", 0)
    bindings.move(key(), "b", 1)
    assert (bindings.home(key(), 1), bindings.sessions("a"), bindings.sessions("b")) == ("b", 0, 1)
    assert not bindings.unbind(key(), "b", old)
    assert not bindings.bind(key(), "a", old, 2)
    assert bindings.fallback(key(), 2, 10) == ""
    assert not bindings.is_cold(key(), 2, 10)
    bindings.move(key("nobody"), "b", 1)
    assert bindings.home(key("nobody"), 1) == ""


class Sessions(RuleBasedStateMachine):
    """Whatever happens, the counts are those one would get by counting, and nothing is left behind."""

    def __init__(self):
        super().__init__()
        self.bindings = Bindings(ttl=10, limit=2)
        self.held = []
        self.now = 0.0

    @rule(name=st.sampled_from("xyz"), account=st.sampled_from("ab"))
    def hold(self, name, account):
        self.held.append((key(name), account, self.bindings.hold(key(name), account, self.now)))

    @rule(which=st.integers(0, 5))
    def bind(self, which):
        if which < len(self.held):
            at, account, generation = self.held[which]
            self.bindings.bind(at, account, generation, self.now)

    @rule(which=st.integers(0, 5))
    def unbind(self, which):
        if which < len(self.held):
            self.bindings.unbind(*self.held[which])

    @rule(which=st.integers(0, 5))
    def release(self, which):
        if which < len(self.held):
            at, account, _ = self.held.pop(which)
            self.bindings.release(at, account)

    @rule(name=st.sampled_from("xyz"), account=st.sampled_from("ab"))
    def move(self, name, account):
        self.bindings.move(key(name), account, self.now)

    @rule(name=st.sampled_from("xyz"))
    def drop(self, name):
        self.bindings.drop(key(name))

    @rule(seconds=st.floats(0, 15), name=st.sampled_from("xyz"))
    def wait(self, seconds, name):
        self.now += seconds
        self.bindings.home(key(name), self.now)

    @invariant()
    def counts_are_right(self):
        count = Counter()
        for entry in self.bindings._entries.values():
            count.update([entry.home] if entry.home else list(entry.held))
        assert count == self.bindings._sessions
        held = Counter((at, account) for at, account, _ in self.held)
        assert held == {
            (at, account): n for at, entry in self.bindings._entries.items() for account, n in entry.held.items()
        }
        assert {at for at, entry in self.bindings._entries.items() if entry.home} == set(self.bindings._bound)
        assert len(self.bindings) <= 2


TestSessions = Sessions.TestCase
TestSessions.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


# --- what instances tell one another


def taken(bindings, now=0.0):
    return [(each.key.affinity, each.home) for each in bindings.changes(now)]


def test_changes_are_told_from_the_first_watch_on(bindings):
    settle(bindings, key("before"), "a")
    assert bindings.changes(0) == []
    bindings.watch()
    settle(bindings, key("x"), "a")
    assert bindings.changes(5) == [Binding(key("x"), "a", 0, 100)]
    assert taken(bindings) == []
    generation = bindings.hold(key("x"), "a", 7)
    assert bindings.changes(7) == [Binding(key("x"), "a", 0, 107)], "a use moves the end"
    assert bindings.unbind(key("x"), "a", generation)
    assert bindings.changes(8) == [Binding(key("x"), "", 8, 108)]
    bindings.drop(key("before"))
    bindings.drop(key("never"))
    assert taken(bindings) == [("before", "")]


def test_every_home_is_told_the_longest_idle_first(bindings):
    for number, name in enumerate("xyx"):
        settle(bindings, key(name), "a", now=number)
    assert bindings.all(0) == [Binding(key("y"), "a", 1, 101), Binding(key("x"), "a", 0, 102)]


@pytest.mark.parametrize(
    ("home", "since", "expires", "kept"),
    [
        ("b", 11.0, 50.0, "b"),
        ("b", 9.0, 500.0, "a"),
        ("b", 10.0, 111.0, "b"),
        ("b", 10.0, 110.0, "a"),
        ("b", 11.0, 20.0, "a"),
        ("b", 11.0, 20.1, "b"),
        ("", 11.0, 50.0, ""),
        ("", 9.0, 500.0, "a"),
        ("a", 11.0, 500.0, "a"),
    ],
)
def test_of_two_instances_the_newer_home_and_the_later_end_win(bindings, home, since, expires, kept):
    settle(bindings, key(), "a", now=10)
    bindings.adopt(Binding(key(), home, since, expires), 20.0)
    assert bindings.home(key(), 20.0) == kept
    assert {each: bindings.sessions(each) for each in "ab"} == {each: int(each == kept) for each in "ab"}
    if kept == home and home:
        assert bindings.all(20.0) == [Binding(key(), home, since, expires)]


def test_a_home_that_is_told_is_new_here_and_its_end_is_kept(bindings):
    bindings.adopt(Binding(key(), "", 1.0, 50.0), 2.0)
    assert bindings.hold(key(), "c", 2.0) == 1, "the loss of a home that is not known leaves nothing"
    bindings.release(key(), "c")
    bindings.adopt(Binding(key(), "b", 1.0, 50.0), 2.0)
    assert (bindings.home(key(), 49.9), bindings.sessions("b"), len(bindings)) == ("b", 1, 1)
    assert bindings.home(key(), 50.0) == ""


def test_a_home_that_is_told_goes_to_the_end_of_the_line_and_the_limit_holds(bindings):
    for name in "xyz":
        settle(bindings, key(name), "a")
    bindings.adopt(Binding(key("x"), "a", 1.0, 500.0), 0.0)
    bindings.adopt(Binding(key("new"), "a", 1.0, 500.0), 0.0)
    assert [each.key.affinity for each in bindings.all(0)] == ["z", "x", "new"]


def test_a_home_that_was_removed_here_is_not_restored_before_others_know(bindings):
    bindings.watch()
    generation = settle(bindings, key(), "a")
    bindings.unbind(key(), "a", generation)
    bindings.adopt(Binding(key(), "a", 5.0, 500.0), 1.0)
    assert bindings.home(key(), 1.0) == ""
    bindings.changes(1.0)
    bindings.adopt(Binding(key(), "a", 5.0, 500.0), 1.0)
    assert bindings.home(key(), 1.0) == "a"


def test_a_home_that_is_told_while_requests_are_under_way_counts_once(bindings):
    generation = bindings.hold(key(), "a", 0)
    bindings.adopt(Binding(key(), "b", 1.0, 500.0), 0.0)
    assert (bindings.sessions("a"), bindings.sessions("b"), bindings.pending(key())) == (0, 1, ())
    assert not bindings.bind(key(), "a", generation, 1.0)
    bindings.adopt(Binding(key(), "", 2.0, 500.0), 0.0)
    assert (bindings.sessions("a"), bindings.sessions("b"), bindings.pending(key())) == (1, 0, ("a",))
    bindings.release(key(), "a")
    assert bindings._entries == {} and not bindings._sessions


def test_a_home_that_is_told_has_an_unknown_warmth_and_no_fallback(bindings):
    settle(bindings, key(), "a", now=10)
    bindings.bind(key(), "c", bindings.hold(key(), "c", 10), 10)
    bindings.adopt(Binding(key(), "a", 20.0, 150.0), 20.0)
    assert bindings.fallback(key(), 20.0, 100) == ""
    assert bindings.is_cold(key(), 60.0, 10) and not bindings.is_cold(key(), 59.9, 10), "last used at 50"


def test_a_moved_home_is_warm_told_and_has_no_fallback(bindings):
    settle(bindings, key(), "a")
    bindings.bind(key(), "b", bindings.hold(key(), "b", 10), 10)
    bindings.watch()
    bindings.move(key(), "b", 50.0)
    assert bindings.changes(50) == [Binding(key(), "b", 50.0, 150.0)]
    assert bindings.fallback(key(), 50.0, 100) == "" and not bindings.is_cold(key(), 59.9, 10)
    bindings.move(key("never"), "b", 50.0)
    assert (len(bindings), bindings.sessions("a"), bindings.sessions("b")) == (1, 0, 1)


def test_a_use_at_home_counts_and_one_elsewhere_does_not(bindings):
    settle(bindings, key("x"), "a")
    settle(bindings, key("y"), "a")
    bindings.hold(key("x"), "a", 1)
    bindings.hold(key("y"), "b", 1)
    assert bindings.busiest() == {"a": ("x", 2 / 3)}


def test_a_smaller_limit_holds_at_once_and_a_time_to_live_from_the_next_use_on(bindings):
    for number, name in enumerate("xyz"):
        settle(bindings, key(name), "a", now=number)
    bindings.resize(10, 2)
    assert [(each.key.affinity, each.expires) for each in bindings.all(0)] == [("y", 101), ("z", 102)]
    settle(bindings, key("y"), "a", now=5)
    assert [(each.key.affinity, each.expires) for each in bindings.all(0)] == [("z", 102), ("y", 15)]


def test_a_home_that_is_over_is_gone_with_the_first_look_at_it(bindings):
    settle(bindings, key(), "a")
    assert (bindings.home(key(), 100), bindings.sessions("a"), len(bindings)) == ("", 0, 0)
    bindings.hold(key(), "b", 100)
    assert (bindings.pending(key()), bindings.all(100)) == (("b",), [])


def test_an_account_whose_homes_were_told_and_not_used_yet_has_no_busiest_conversation(bindings):
    bindings.adopt(Binding(key(), "a", 1.0, 500.0), 0.0)
    assert bindings.busiest() == {}
    bindings.hold(key(), "a", 1.0)
    assert bindings.busiest() == {"a": ("s", 1.0)}


def test_what_nothing_holds_is_bound_to_nothing(bindings):
    assert not bindings.bind(key(), "a", 1, 0.0)
    assert bindings.home(key(), 0.0) == ""


def test_a_removal_that_is_told_leaves_a_conversation_under_way_without_a_home(bindings):
    settle(bindings, key(), "a", now=1.0)
    generation = bindings.hold(key(), "a", 2.0)
    bindings.adopt(Binding(key(), "", 5.0, 500.0), 3.0)

    assert (bindings.home(key(), 3.0), bindings.pending(key()), len(bindings)) == ("", ("a",), 0)
    assert not bindings.bind(key(), "a", generation, 4.0)
    bindings.release(key(), "a")
    assert bindings.pending(key()) == ()
