"""A replay goes to the account and the session that served the request before, while they can be had."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from patchbay.settings.presets import PRESETS
from patchbay.values.decision import Decision
from patchbay.values.http import Client, PriorServing, Request

from .test_router import account, answer, bad, good, opened, request, routed, router

ACCOUNTS = tuple(account(name) for name in "abcdefgh")


def served(asked: Request, **more: Any) -> tuple[PriorServing, Decision]:
    """Let *asked* be served by an instance, and return how it was."""
    of = router(*ACCOUNTS, **more)
    exchange = opened(of, asked)
    routed(of, exchange)
    answer(of, exchange, *good())
    decision = of.close(exchange, "", 1.0, status=200)
    before = PriorServing(
        decision.account, decision.session, decision.thread, decision.tier, decision.session_id,
        digest=exchange.digest.hex(),
    )  # fmt: skip
    return before, decision


def replayed(asked: Request, before: PriorServing, **more: Any) -> Decision:
    of = router(*more.pop("accounts", ACCOUNTS), **more)
    exchange = opened(of, replace(asked, replay=before))
    routed(of, exchange)
    answer(of, exchange, *good())
    return of.close(exchange, "", 1.0, status=200)


def what(decision: Decision) -> tuple[str, str, str]:
    return decision.account, decision.session_id, decision.session


@pytest.mark.parametrize("strategy", ["rendezvous", "round_robin", "least_busy"])
@pytest.mark.parametrize("headers", [{}, {"x_session_id": "s"}, {"x_patchbay_session_id": "off"}])
def test_it_is_the_account_and_session_of_then(strategy: str, headers: dict[str, str]) -> None:
    """T11: though the client's scope is not known any more."""
    asked = replace(request(**headers), client=Client(b"s" * 16, may_pin=True))
    before, decision = served(asked, strategy=strategy)

    assert what(replayed(request(**headers), before, strategy=strategy)) == what(decision)


def test_it_needs_not_be_the_same_instance() -> None:
    """T11: under another key nothing is known to be edited, and the session keeps the id that the provider knows."""
    asked = replace(request(), client=Client(b"s" * 16, may_pin=True))
    before, decision = served(asked)
    before = replace(before, digest="", session_id="0" * 32)

    assert what(replayed(request(), before)) == (decision.account, "0" * 32, decision.session)


def test_an_edit_of_what_is_said_in_a_named_conversation_stays_there() -> None:
    """T11: the conversation is the same."""
    before, decision = served(request(x_session_id="s"))
    edited = request({"model": "m", "messages": [{"role": "user", "content": "edited"}]}, x_session_id="s")

    assert what(replayed(edited, before)) == what(decision)


def test_an_edit_that_makes_another_conversation_goes_where_that_belongs() -> None:
    """T11: for an edit of the body and of the headers."""
    before, decision = served(request(x_session_id="s"))
    of_body = replayed(request({"model": "m", "messages": [{"role": "user", "content": "another"}]}), before)
    of_headers = replayed(request(x_session_id="t"), replace(before, edited=True))

    affinities = {each.session for each in (decision, of_body, of_headers)}
    assert len(affinities) == 3
    assert of_headers.binding == "new"


@pytest.mark.parametrize(
    "accounts",
    [ACCOUNTS[:2], tuple(replace(each, enabled=each.id in "ab") for each in ACCOUNTS)],
    ids=["gone", "disabled"],
)
def test_where_the_account_cannot_serve_another_one_does(accounts: tuple[Any, ...]) -> None:
    """T11: a replay is served all the same."""
    before, _ = served(request(x_session_id="s"))

    assert replayed(request(x_session_id="s"), replace(before, account="h"), accounts=accounts).account in "ab"


def test_an_account_that_rests_is_not_asked() -> None:
    """T11: it may not serve now."""
    of = router(*ACCOUNTS)
    first = opened(of, request(x_session_id="s"))
    route = routed(of, first)
    answer(of, first, *bad(401, code="invalid_api_key"))
    of.close(first, "", 0.0)
    before = PriorServing(route.account.id, first.identity.affinity, tier="generic_header")
    again = opened(of, replace(request(x_session_id="s"), replay=before))

    assert routed(of, again, 1.0).account.id != route.account.id


def test_when_it_fails_there_the_next_account_is_asked() -> None:
    """T11: a replay moves on like any request."""
    before, decision = served(request(x_session_id="s"))
    of = router(*ACCOUNTS)
    exchange = opened(of, replace(request(x_session_id="s"), replay=before))
    first = routed(of, exchange).account.id
    assert answer(of, exchange, *bad(429))[-1] == "next"

    assert first == decision.account != routed(of, exchange, 0.1).account.id


def test_of_the_upstream_sessions_it_gets_the_one_it_had() -> None:
    """T11: while that is free."""
    bounded = account("a", slots=4)
    for slot in range(4):
        of = router(bounded)
        before = PriorServing("a", opened(of, request(x_session_id="s")).identity.affinity, slot=slot)
        exchange = opened(of, replace(request(x_session_id="s"), replay=before))
        routed(of, exchange)
        assert exchange.attempts[-1].lease.slot == slot


def test_a_replay_binds_nobody_and_teaches_nothing() -> None:
    """T11: the next request of the conversation goes where it would have gone."""
    before, _ = served(request(x_session_id="s"))
    of = router(*ACCOUNTS)
    exchange = opened(of, replace(request(x_session_id="s"), replay=before))
    routed(of, exchange)
    answer(of, exchange, *good())
    of.close(exchange, "", 1.0, status=200)

    assert len(of.accounts.bindings) == 0
    assert routed(of, opened(of, request(x_session_id="s")), 2.0).binding == "new"


def test_a_model_without_an_entry_in_model_ids_is_told_of_once() -> None:
    """T14: once for each model of a provider that stamps its id."""
    provider = replace(PRESETS["morpheus"], model_ids={"known": "0x1"})
    of = router(replace(account("a", "morpheus"), provider=provider))
    told: list[tuple[str, str]] = []
    of.editor.unnamed = lambda name, model: told.append((name, model))
    for model in ("known", "known(high)", "new", "new(low)", "new", "other", "new"):
        exchange = opened(of, request({"model": model, "messages": []}))
        routed(of, exchange)
        of.close(exchange, "", 0.0)

    assert told == [("morpheus", "new"), ("morpheus", "other")]


def test_an_effort_is_no_part_of_the_name_of_which_the_id_is_stamped() -> None:
    """T14: `known(high)` is the model `known`."""
    provider = replace(PRESETS["morpheus"], model_ids={"known": "0x1"})
    of = router(replace(account("a", "morpheus"), provider=provider))
    route = routed(of, opened(of, request({"model": "known(high)", "messages": []})))

    assert dict(route.edit.headers)["model_id"] == "0x1"


@pytest.mark.parametrize("preset", ["generic", "openai"])
def test_nothing_is_told_where_no_model_id_is_stamped(preset: str) -> None:
    """T14: other providers want none."""
    of = router(account("a", preset))
    told: list[tuple[str, str]] = []
    of.editor.unnamed = lambda name, model: told.append((name, model))
    routed(of, opened(of, request({"model": "new", "messages": []})))

    assert told == []
