"""How accounts and lanes stand, as a display shows it."""

from __future__ import annotations

from patchbay.values.decision import Identity

from .test_pool import account, ask, pool, queued, rest, serve


def test_the_status_says_how_every_account_stands():
    accounts = pool(account("a"), account("b", enabled=False), account("c"))
    for _ in range(3):
        serve(accounts, ask("busy", identity=Identity(affinity="busy", owner=frozenset({"a"}))))
    serve(accounts, ask("calm", identity=Identity(affinity="calm", owner=frozenset({"a"}))))
    rest(accounts, "c")
    accounts.choose(ask(pin="a"), 0)
    a, b, c = accounts.status(1)

    assert (a.state, a.reason, a.until, a.in_flight, a.sessions) == ("healthy", "", None, 1, 2)
    assert (a.busiest, a.share) == ("busy", 0.75)
    assert (b.state, b.until) == ("disabled", None)
    assert (c.state, c.reason) == ("cooling", "cooling (rate) on m")
    assert c.until == 90
    assert (c.deadline, c.waiting, c.minute, c.tokens) == (c.until, 0, 0, 0)
    (lane,) = c.lanes
    assert (lane.lane, lane.state, lane.reason, lane.until) == ("m", "cooling", "cooling (rate)", c.until)


def test_the_status_says_who_waits_and_what_a_minute_has_left():
    accounts = pool(account("a", max_concurrent=1, rpm=5), account("b"))
    accounts.choose(ask(pin="a"), 0)
    accounts.choose(queued("1", pin="a")[0], 0)
    a, b = accounts.status(0)
    assert (a.waiting, a.minute, b.waiting) == (1, 1, 0)


def test_the_state_of_an_account_is_that_of_its_worst_lane():
    accounts = pool(account("a"))
    serve(accounts, ask(model="m"), kind="rate", until=50)
    serve(accounts, ask(model="n", session=""), kind="rate", until=90)
    (a,) = accounts.status(1)

    assert a.reason == "cooling (rate) on n"
    assert [lane.lane for lane in a.lanes] == ["m", "n"]
    assert a.until == max(lane.until for lane in a.lanes)


def test_what_is_wrong_with_a_whole_account_names_no_lane():
    accounts = pool(account("a"))
    serve(accounts, ask(), kind="auth", scope="account")
    (a,) = accounts.status(1)

    assert (a.state, a.reason, a.deadline) == ("auth-failed", "auth-failed (auth)", 600)
