"""How accounts and lanes stand, as a display shows it."""

from __future__ import annotations

from typing import get_args

from patchbay.accounts.bindings import Binding
from patchbay.accounts.cooldown import Blocked
from patchbay.accounts.status import STATE_WORDS
from patchbay.settings.settings import Config, SessionSettings
from patchbay.values.decision import Identity, Outcome

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
    assert (c.state, c.reason) == ("cooling", "rate limited on m")
    assert c.until == 90
    assert (c.deadline, c.waiting, c.minute, c.tokens) == (c.until, 0, 0, 0)
    (lane,) = c.lanes
    assert (lane.lane, lane.state, lane.reason, lane.until) == ("m", "cooling", "rate limited", c.until)


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

    assert a.reason == "rate limited on n"
    assert [lane.lane for lane in a.lanes] == ["m", "n"]
    assert a.until == max(lane.until for lane in a.lanes)


def test_what_is_wrong_with_a_whole_account_names_no_lane():
    accounts = pool(account("a"))
    serve(accounts, ask(), kind="auth", scope="account")
    (a,) = accounts.status(1)

    assert (a.state, a.reason, a.deadline) == ("auth-failed", "key refused", 600)


def test_without_homes_no_conversation_is_the_busiest_and_an_account_that_is_off_has_no_reason():
    accounts = pool(account("a", enabled=False))
    accounts.health.record_outcome("a", "m", Outcome("rate", until=90.0), 0)
    (a,) = accounts.status(1)

    assert (a.state, a.reason, a.provider) == ("disabled", "", "openai")
    assert (a.sessions, a.busiest, a.share, a.in_flight) == (0, "", 0.0, 0)


def test_a_home_that_expired_is_no_longer_counted():
    accounts = pool(account("a"), sessions=SessionSettings(ttl=60))
    serve(accounts, ask())
    assert [each.sessions for now in (59, 60) for each in accounts.status(now)] == [1, 0]


def test_of_a_hint_the_next_verification_and_the_end_are_told():
    accounts = pool(account("a", rpm=5, tpm=100))
    serve(accounts, ask(tokens=40), kind="rate", until=5000)
    (a,) = accounts.status(1)
    (lane,) = a.lanes

    assert (a.until, a.deadline, a.minute, a.tokens) == (900, 5000, 1, 40)
    assert (lane.until, lane.deadline) == (900, 5000)


def test_an_account_that_is_gone_is_draining_while_it_answers():
    accounts = pool(account("a"), account("b"))
    held = accounts.choose(ask(pin="b"), 0)
    accounts.reload(Config((account("a"),)))
    assert [(each.account, each.state, each.in_flight) for each in accounts.status(0)] == [
        ("a", "healthy", 0), ("b", "draining", 1),
    ]  # fmt: skip
    accounts.release(held)
    assert [each.account for each in accounts.status(0)] == ["a"]


def test_the_status_is_told_after_a_restart_before_any_request_came():
    accounts = pool(account("a"))
    accounts.bindings.adopt(Binding(ask().key, "a", 1.0, 500.0), 1.0)
    (a,) = accounts.status(1)
    assert (a.sessions, a.busiest, a.share) == (1, "", 0.0)


def test_every_state_has_a_word() -> None:
    assert {*STATE_WORDS} == {*get_args(Blocked), "healthy", "throttled", "half-open"}
    assert {*STATE_WORDS.values()} == {"ready", "rests"}
