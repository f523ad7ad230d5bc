"""What an exchange costs in the core, counted in calls: at home the same however many accounts there are."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import pytest

from patchbay.router import Router

from .test_router import account, answer, bad, good, opened, request, routed, router

TURNS = 3
MOST = 1.2  # times what two accounts cost
EACH = 22  # calls for each account of which nothing is known, where a conversation gets its home


def an_exchange(of: Router, now: float, history: str) -> str:
    exchange = opened(of, request(session_id="one", x_other=history), now)
    route = routed(of, exchange, now)
    answer(of, exchange, *good(f"said at {now}"), now=now)
    of.close(exchange, "", now, status=200)
    return route.account.id


def calls(what: Callable[[], object]) -> int:
    """Count the functions that *what* calls, those of C too."""
    counted = 0

    def count(frame: object, event: str, argument: object) -> None:
        nonlocal counted
        counted += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        what()
    finally:
        sys.setprofile(before)
    return counted


def at_home(accounts: int, strategy: str) -> int:
    of = router_of(accounts, strategy)
    home = an_exchange(of, 0.0, "")
    counted = calls(lambda: [an_exchange(of, 1.0 + turn, str(turn)) for turn in range(TURNS)])
    assert an_exchange(of, 9.0, "") == home
    return counted


def router_of(accounts: int, strategy: str) -> Router:
    return router(*(account(f"account-{number}") for number in range(accounts)), strategy=strategy)


@pytest.mark.parametrize("strategy", ["rendezvous", "round_robin", "fill_first", "least_busy"])
def test_a_turn_at_home_costs_the_same_with_a_thousand_accounts_as_with_two(strategy: str) -> None:
    """C1: a hit looks at its home and at no other account."""
    few, many = at_home(2, strategy), at_home(1000, strategy)
    assert many <= MOST * few, (few, many)


@pytest.mark.parametrize("limits", [{}, {"max_concurrent": 4, "rpm": 100, "serialize": "account"}])
def test_a_new_conversation_asks_after_no_account_of_which_nothing_is_known(limits: dict[str, Any]) -> None:
    """C1: what the settings say is remembered; what is left is to draw one of them."""
    counted = {}
    for accounts in (100, 200):
        of = router(*(account(f"account-{number}", **limits) for number in range(accounts)))
        an_exchange(of, 0.0, "")
        exchange = opened(of, request(session_id="two"), 1.0)
        counted[accounts] = calls(lambda of=of, exchange=exchange: routed(of, exchange, 1.0))
    assert counted[200] - counted[100] <= 100 * EACH, counted


def test_an_exchange_at_home_names_no_account_that_was_not_looked_at() -> None:
    """C1: the decision's candidates are what was looked at."""
    of = router_of(5, "rendezvous")
    an_exchange(of, 0.0, "")
    exchange = opened(of, request(session_id="one"), 1.0)
    home = routed(of, exchange, 1.0).account.id
    assert [each.account for each in exchange.candidates] == [home]


def test_a_home_that_cannot_serve_brings_the_others_in() -> None:
    """C1: home first does not mean home only."""
    of = router_of(3, "rendezvous")
    home = an_exchange(of, 0.0, "")
    exchange = opened(of, request(session_id="one"), 1.0)
    assert routed(of, exchange, 1.0).account.id == home
    answer(of, exchange, *bad(401, code="invalid_api_key"), now=1.0)
    other = routed(of, exchange, 1.0).account.id
    assert other != home
    assert {each.account for each in exchange.candidates} == {"account-0", "account-1", "account-2"}
