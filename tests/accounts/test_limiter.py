"""What is taken is given back once, bounds hold, and nobody passes who came later."""

from __future__ import annotations

import os

import pytest
from hypothesis import given, settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from patchbay.accounts.limiter import Limit, Limiter, _Queue


def at_once(most, scope="a"):
    return (Limit((scope,), most, "busy"),)


def minute(most, amount=1):
    return (Limit(("rpm", "a"), most, "limit", amount=amount, window=60),)


def model(name):
    return (Limit(("model",), 1, "other model", tenant=name),)


def numbered(most):
    return (Limit(("slot",), most, "sessions", numbered=True),)


@pytest.fixture
def limiter():
    return Limiter(limit=10)


class Caller:
    """Somebody who waits, and counts how often it was called."""

    def __init__(self, limiter, name, what):
        self.limiter, self.name, self.what, self.calls = limiter, name, what, 0
        self.waits()

    def waits(self):
        wanted = [(claim.scope, claim.tenant) for claim in self.what]
        return self.limiter.wait(self.name, self.called, wanted)

    def called(self):
        self.calls += 1

    def may(self, now=0):
        return self.limiter.obstacle(self.what, now, self.name) is None

    def goes(self, ticket, now=0):
        assert self.may(now)
        self.limiter.acquire(ticket, self.what, now)
        self.limiter.leave(self.name)


# --- taking and giving back


def test_a_bound_holds_and_what_is_given_back_is_free(limiter):
    for ticket in (1, 2):
        assert limiter.obstacle(at_once(2), 0) is None
        limiter.acquire(ticket, at_once(2), 0)
    assert limiter.obstacle(at_once(2), 0).why == "busy"
    assert limiter.release(1)
    assert limiter.obstacle(at_once(2), 0) is None


def test_a_ticket_gives_back_once(limiter):
    limiter.acquire(1, at_once(2), 0)
    limiter.acquire(2, at_once(2), 0)
    assert limiter.release(1)
    assert not limiter.release(1)
    assert limiter.used(("a",)) == 1
    limiter.release(2)
    assert not limiter._usage


def test_each_has_a_number_of_its_own_the_wanted_one_if_it_is_free(limiter):
    first = limiter.acquire(1, numbered(3), 0, wanted=1_000_000_007)
    assert first.number == 1_000_000_007 % 3
    others = {limiter.acquire(ticket, numbered(3), 0, wanted=1_000_000_007).number for ticket in (2, 3)}
    assert {first.number} | others == {0, 1, 2}
    assert limiter.obstacle(numbered(3), 0) is not None

    limiter.release(1)
    assert limiter.acquire(4, numbered(3), 0, wanted=5).number == first.number


def test_models_share_the_scope_with_their_like_only(limiter):
    limiter.acquire(1, model("m"), 0)
    limiter.acquire(2, model("m"), 0)
    assert limiter.obstacle(model("n"), 0) is not None
    limiter.release(1)
    assert limiter.obstacle(model("n"), 0) is not None
    limiter.release(2)
    assert limiter.obstacle(model("n"), 0) is None


# --- by the minute


def test_a_minutes_bound_is_not_given_back_but_passes(limiter):
    for ticket in (1, 2):
        limiter.acquire(ticket, minute(2), 10.5)
        limiter.release(ticket)
    assert limiter.obstacle(minute(2), 70.9) is not None
    assert limiter.free_at(minute(2)[0], 20) == 71
    assert limiter.obstacle(minute(2), 71) is None


def test_it_says_when_enough_has_passed_for_what_is_asked(limiter):
    for second in range(5):
        limiter.acquire(second, minute(100, 20), second)
    assert limiter.free_at(minute(100, 15)[0], 10) == 61
    assert limiter.free_at(minute(100, 50)[0], 10) == 63
    assert limiter.free_at(at_once(1)[0], 10) is None


def test_what_is_larger_than_the_whole_bound_passes_alone(limiter):
    assert limiter.obstacle(minute(10, 50), 0) is None
    limiter.acquire(1, minute(10, 50), 0)
    assert limiter.obstacle(minute(10, 1), 0) is not None


def test_an_estimate_is_put_right_in_every_limit_that_counts_tokens(limiter):
    minute, day = (Limit((kind, "a"), 100, "limit", 90, seconds, counts_tokens=True)
                   for kind, seconds in (("tpm", 60), ("tpd", 86_400)))  # fmt: skip
    requests, at_once = Limit(("rpm", "a"), 100, "limit", window=60), Limit(("account", "a"), 100, "limit")
    limiter.acquire(1, (requests, minute, at_once, day), 0)
    limiter.correct(1, 10, 5)
    assert [limiter.used(limit.scope) for limit in (requests, minute, at_once, day)] == [1, 10, 1, 10]
    limiter.correct(2, 10, 5)
    assert limiter.obstacle((Limit(("tpm", "a"), 100, "limit", amount=90, window=60),), 6) is None


def test_a_minute_is_remembered_in_bounds(limiter):
    for n in range(10_000):
        limiter.acquire(n, minute(1e9), n / 100)
        limiter.release(n)
    assert len(limiter._usage["rpm", "a"].spent) <= 62


# --- the line


def test_who_is_next_is_called_and_a_newcomer_does_not_pass(limiter):
    limiter.acquire(1, at_once(1), 0)
    first, second = Caller(limiter, "first", at_once(1)), Caller(limiter, "second", at_once(1))
    limiter.release(1)
    assert (first.calls, second.calls) == (1, 0)
    assert limiter.obstacle(at_once(1), 0, "newcomer") is not None
    assert not second.may()

    first.goes(2)
    limiter.release(2)
    second.goes(3)
    assert len(limiter._waiting) == 0


def test_who_keeps_waiting_keeps_its_place(limiter):
    limiter.acquire(1, at_once(1), 0)
    first, second = Caller(limiter, "first", at_once(1)), Caller(limiter, "second", at_once(1))
    assert first.waits()
    limiter.release(1)
    assert first.may()
    assert not second.may()


def test_two_that_are_freed_at_once_go_to_the_first_two(limiter):
    limiter.acquire(1, at_once(2), 0)
    limiter.acquire(2, at_once(2), 0)
    line = [Caller(limiter, str(n), at_once(2)) for n in range(3)]
    limiter.release(1)
    limiter.release(2)
    line[0].goes(3)
    assert line[1].calls >= 1
    line[1].goes(4)
    assert not line[2].may()


def test_who_leaves_gives_its_turn_to_the_next(limiter):
    limiter.acquire(1, at_once(1), 0)
    Caller(limiter, "first", at_once(1))
    second = Caller(limiter, "second", at_once(1))
    limiter.release(1)
    limiter.leave("first")
    assert second.calls == 1
    assert second.may()
    limiter.leave("never here")


def test_who_turns_to_something_else_gives_its_turn_to_the_next(limiter):
    limiter.acquire(1, at_once(1), 0)
    first = Caller(limiter, "first", at_once(1))
    second = Caller(limiter, "second", at_once(1))
    limiter.release(1)
    first.what = at_once(1, "other")
    first.waits()
    assert second.calls == 1


def test_one_in_line_for_either_takes_one_and_frees_the_other(limiter):
    limiter.acquire(1, at_once(1, "a"), 0)
    limiter.acquire(2, at_once(1, "b"), 0)
    first = Caller(limiter, "first", at_once(1, "a") + at_once(1, "b"))
    second = Caller(limiter, "second", at_once(1, "b"))
    limiter.release(1)
    assert first.calls == 1
    limiter.acquire(3, at_once(1, "a"), 0)
    limiter.leave("first")
    limiter.release(2)
    assert second.may()


def test_a_model_whose_turn_it_is_is_not_starved_by_the_one_that_runs(limiter):
    limiter.acquire(1, model("m"), 0)
    other = Caller(limiter, "other", model("n"))
    assert limiter.obstacle(model("m"), 0, "late") is not None, "it would run on for ever"
    late = Caller(limiter, "late", model("m"))

    limiter.release(1)
    assert (other.calls, late.calls) == (1, 0)
    other.goes(2)
    assert not late.may()
    limiter.release(2)
    assert late.calls >= 1
    assert late.may()


def test_all_of_a_model_whose_turn_it_is_are_called(limiter):
    limiter.acquire(1, model("m"), 0)
    line = [Caller(limiter, str(n), model(name)) for n, name in enumerate("nnmn")]
    limiter.release(1)
    assert [caller.calls for caller in line] == [1, 1, 0, 0]


def test_the_line_is_bounded():
    limiter = Limiter(limit=2)
    assert [limiter.wait(name, lambda: None, []) for name in ("x", "y", "x", "z")] == [True, True, True, False]
    assert len(limiter._waiting) == 2


def test_every_waiter_can_be_called(limiter):
    line = [Caller(limiter, str(n), at_once(1)) for n in range(3)]
    limiter.call_all(("a",))
    limiter.call_all(("nobody",))
    assert [caller.calls for caller in line] == [1, 1, 1]


# --- a line that is fair


class Clients:
    """Requests of several clients for one bound, by name: `a0`, `a1`, …; each holds its place until it is told."""

    def __init__(self, limit=10, most=1):
        self.limiter, self.what = Limiter(limit), at_once(most)
        self.waiting, self.running, self.told, self.count = [], [], [], 0

    def comes(self, client):
        """Return `served`, `waits` or `refused`."""
        name = f"{client}{self.count}"
        self.count += 1
        return name, self.again(name)

    def again(self, name):
        client = name[0].encode()
        if self.limiter.obstacle(self.what, 0, name, client) is None:
            self.limiter.acquire(int(name[1:]), self.what, 0, waiter=name)
            self.limiter.leave(name)
            self.running.append(name)
            return "served"
        wanted = [(claim.scope, claim.tenant) for claim in self.what]
        if self.limiter.wait(name, lambda: self.told.append(name), wanted, client):
            self.waiting = [*(each for each in self.waiting if each != name), name]
            return "waits"
        return "refused"

    def one_ends(self):
        """Return who was served because of it, and who was refused."""
        self.limiter.release(int(self.running.pop(0)[1:]))
        return self.look()

    def look(self):
        heard = []
        while self.told:
            name = self.told.pop(0)
            self.waiting.remove(name)
            heard.append((name, self.again(name)))
        return heard


def test_who_looks_again_in_vain_keeps_its_turn():
    """R12: every waiter looks by itself now and then, also when nobody called it."""
    line = Clients(limit=1000)
    for _ in range(10):
        line.comes("a")
    ann = line.comes("b")[0]
    line.one_ends()
    assert [line.again(ann) for _ in range(3)] == ["waits"] * 3
    assert [name for name, said in line.one_ends() if said == "served"] == [ann]


def test_a_client_s_one_request_waits_for_one_of_every_other_client():
    """R12: however many requests of another client came before."""
    line = Clients(limit=1000)
    for _ in range(100):
        line.comes("a")
    ann = line.comes("b")[0]
    cy = line.comes("c")[0]
    served = [name for _ in range(4) for name, said in line.one_ends() if said == "served"]

    assert served == ["a1", ann, cy, "a2"]


def test_a_client_that_comes_again_and_again_starves_nobody():
    """R12: who had a turn waits for the others'."""
    line = Clients(limit=1000)
    for _ in range(20):
        line.comes("a")
    turns = []
    for _ in range(10):
        line.comes("b")
        turns += [name[0] for name, said in line.one_ends() if said == "served"]

    assert "".join(turns) == "ab" * 5


def test_a_full_line_makes_room_for_a_client_with_fewer_in_it():
    """R12: the newest request of the client with the most leaves, and hears so."""
    line = Clients(limit=5)
    flood = [line.comes("a")[0] for _ in range(6)]
    assert line.comes("a")[1] == "refused"

    ann, said = line.comes("b")
    assert said == "waits"
    assert [name for name, said in line.look() if said == "refused"] == [flood[-1]]
    assert len(line.limiter._waiting) == 5
    assert [name for name, _ in line.one_ends()] == [flood[1]]
    assert line.one_ends() == [(ann, "served")]


def test_clients_that_have_equally_many_in_a_full_line_do_not_drive_each_other_out():
    line = Clients(limit=4)
    for client in "aabab":
        line.comes(client)
    assert [line.comes(client)[1] for client in "ab"] == ["refused", "refused"]
    assert line.look() == []


def test_one_that_turns_to_another_bound_keeps_what_its_client_waited(limiter):
    """R12: what was not given out is no turn taken."""
    limiter.acquire(1, at_once(1), 0)
    first, second = Caller(limiter, "first", at_once(1)), Caller(limiter, "second", at_once(1))
    limiter.leave("first")
    limiter.wait("other", lambda: None, [(("a",), None)], b"other")
    assert limiter.obstacle(at_once(2), 0, "second") is None
    assert second.calls == 1
    assert first.calls == 0


@given(
    st.lists(st.sampled_from(["a"] * 8 + ["b", "c", "d", "end", "end"]), max_size=120),
    st.integers(4, 8),
    st.integers(1, 3),
)
def test_no_client_keeps_another_one_out(steps, limit, most):
    """R12: with room for one of each client, whoever has nothing in line gets in, and waits a bounded time."""
    line, came = Clients(limit, most), {}
    for step in steps:
        if step == "end":
            for name, said in line.one_ends() if line.running else []:
                if said == "served":
                    came.pop(name, None)
                    came = {each: turns + 1 for each, turns in came.items()}
            assert all(turns <= 3 for name, turns in came.items() if alone(line, name)), (came, line.waiting)
            continue
        others = {name[0] for name in line.waiting} - {step}
        name, said = line.comes(step)
        assert said != "refused" or step in {each[0] for each in line.waiting}, (step, line.waiting, others)
        if said == "waits" and alone(line, name):
            came[name] = 0
        assert all(told != "served" for _, told in line.look())
        assert len(line.limiter._waiting) == len(line.waiting) <= limit


def alone(line, name):
    """Whether *name* is all that its client has in line."""
    return [each for each in line.waiting if each[0] == name[0]] == [name]


class Table(RuleBasedStateMachine):
    """Whatever happens: bounds hold, nothing is lost, the first in line can go when there is room, all ends empty."""

    KINDS = (at_once(2), numbered(2), model("m"), model("n"), at_once(2) + numbered(2), at_once(2) + model("m"))

    def __init__(self):
        super().__init__()
        self.limiter = Limiter(limit=5)
        self.open, self.line, self.tickets = {}, {}, 0

    def goes(self, what):
        self.tickets += 1
        self.open[self.tickets] = (what, self.limiter.acquire(self.tickets, what, 0).number)

    @rule(what=st.sampled_from(KINDS))
    def come(self, what):
        self.tickets += 1
        name = f"w{self.tickets}"
        claim = self.limiter.obstacle(what, 0, name)
        if claim is None:
            self.goes(what)
        elif self.limiter.wait(name, lambda: None, [(claim.scope, claim.tenant)]):
            self.line[name] = what

    @rule(which=st.integers(0, 4))
    def again(self, which):
        if which >= len(self.line):
            return
        name = list(self.line)[which]
        claim = self.limiter.obstacle(self.line[name], 0, name)
        if claim is None:
            self.goes(self.line.pop(name))
            self.limiter.leave(name)
        else:
            self.limiter.wait(name, lambda: None, [(claim.scope, claim.tenant)])

    @rule(which=st.integers(0, 4))
    def give_up(self, which):
        if which < len(self.line):
            name = list(self.line)[which]
            del self.line[name]
            self.limiter.leave(name)

    @rule(which=st.integers(0, 4), times=st.integers(1, 2))
    def end(self, which, times):
        if which < len(self.open):
            ticket = list(self.open)[which]
            del self.open[ticket]
            assert [self.limiter.release(ticket) for _ in range(times)] == [True, False][:times]

    @invariant()
    def bounds_hold(self):
        held = [(claim, number) for what, number in self.open.values() for claim in what]
        assert sum(claim.scope == ("a",) for claim, _ in held) <= 2
        numbers = [number for claim, number in held if claim.numbered]
        assert len(numbers) == len(set(numbers)) <= 2
        assert len({claim.tenant for claim, _ in held if claim.tenant}) <= 1
        assert self.limiter.used(("a",)) == sum(claim.scope == ("a",) for claim, _ in held)
        assert len(self.limiter._waiting) == len(self.line)

    @invariant()
    def the_first_in_line_can_go_when_nobody_holds_anything(self):
        if self.line and not self.open:
            first = next(iter(self.line))
            assert self.limiter.obstacle(self.line[first], 0, first) is None

    def teardown(self):
        for ticket in list(self.open):
            self.limiter.release(ticket)
        for name in list(self.line):
            self.limiter.leave(name)
        assert not self.limiter._usage
        assert not self.limiter._queues
        assert not self.limiter._holders


TestTable = Table.TestCase
TestTable.settings = settings(
    max_examples=int(os.environ.get("PATCHBAY_HISTORIES", "60")), stateful_step_count=30, deadline=None
)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("abc"), st.booleans()), max_size=24))
def test_the_count_of_those_ahead_is_the_place_in_the_order(steps):
    """The order is counted without a sort, and sorted for calls: both must be one order."""
    queue, waiting = _Queue(), {}
    for place, (party, is_served) in enumerate(steps):
        queue.add(party.encode(), place, f"{party}{place}")
        waiting[f"{party}{place}"] = (party.encode(), place)
        if is_served:
            first = waiting.pop(name := queue.in_order()[0])
            queue.remove(*first, name)
            if first[0] in queue.turns:
                queue.turns[first[0]] += 1
        assert [queue.ahead(*waiting[name]) for name in queue.in_order()] == list(range(len(waiting)))


def test_those_ahead_are_counted_with_what_is_used(limiter):
    two = at_once(3)
    limiter.acquire(1, two, 0)
    limiter.wait("first", lambda: None, [(two[0].scope, None)])
    assert limiter.obstacle(two, 0, "second") is None, "room for both"
    limiter.acquire(2, two, 0)
    assert limiter.obstacle(two, 0, "second") is two[0], "room for the first alone"
    assert limiter.obstacle(two, 0, "first") is None


def test_under_a_rate_a_newcomer_waits_behind_every_other_request(limiter):
    rate = minute(3)
    limiter.wait("first", lambda: None, [(rate[0].scope, None)])
    assert limiter.obstacle(rate, 0, "second") is rate[0]
    assert limiter.obstacle(rate, 0, "first") is None


def test_an_account_is_found_by_its_place_in_a_scope(limiter):
    limiter.wait("first", lambda: None, [(("rpm", "a"), None), (("tpm", "a"), None)])
    limiter.wait("second", lambda: None, [(("rpm", "b"), None)])
    assert [limiter.waiting_for(name) for name in ("a", "b", "rpm", "c")] == [1, 1, 0, 0]
    assert limiter.used(("rpm", "a")) == 0


def test_a_queue_that_is_empty_leaves_nothing_behind(limiter):
    what = at_once(1)
    for end in (lambda: limiter.leave("first"), lambda: limiter.acquire(1, what, 0, waiter="first")):
        limiter.wait("first", lambda: None, [(what[0].scope, None)], b"party")
        end()
        assert limiter._queues == {}
        limiter.leave("first")
        assert limiter._waiting == limiter._parties == {}
    assert limiter.release(1) and not limiter._usage and not limiter._holders


def test_a_number_is_the_first_free_one_from_zero_where_none_is_wanted(limiter):
    assert [limiter.acquire(ticket, numbered(3), 0).number for ticket in (1, 2, 3)] == [0, 1, 2]
    limiter.release(2)
    assert limiter.acquire(4, numbered(3), 0, wanted=2).number == 1
    assert limiter.acquire(5, at_once(1), 0).number is None


def test_a_party_that_was_served_goes_behind_one_request_of_each_other_party(limiter):
    what = at_once(1)
    for name, party in (("a1", b"a"), ("a2", b"a"), ("a3", b"a"), ("b1", b"b"), ("b2", b"b")):
        limiter.wait(name, lambda: None, [(what[0].scope, None)], party)
    order = []
    for ticket in range(5):
        order.append(limiter._in_order(what[0].scope)[0])
        limiter.acquire(ticket, what, 0, waiter=order[-1])
        limiter.leave(order[-1])
        limiter.release(ticket)
    assert order == ["a1", "b1", "a2", "b2", "a3"]
