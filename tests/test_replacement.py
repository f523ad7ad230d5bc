"""What a client gets in place of an upstream's answer, and which answers reach it as they are."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from patchbay.accounts.outcome import ALONE, NO_API
from patchbay.exchange import Exchange
from patchbay.identity import references
from patchbay.replacement import (
    _OWNED,
    CROSSTALK,
    OWNER_UNAVAILABLE,
    owner_unavailable,
    replacement,
    thread_not_found,
)
from patchbay.values.answer import Head
from patchbay.values.decision import Evidence, Outcome, Refusal

from .test_router import JSON, opened, request, routed, router

GONE = Refusal(503, "none_left", "No account is left", retry_after=5.0)
FAR = replace(GONE, status=429, code="usage_limit_reached", retry_after=3600.0)


def answered(
    status: int, kind: Any = "auth", scope: Any = "account", detail: str = "", refusal: Refusal | None = GONE,
    socket: bool = False,
) -> Exchange:  # fmt: skip
    """Return an exchange whose only answer had *status*, after which no other account was left."""
    of = router()
    exchange = opened(of, request())
    routed(of, exchange)
    attempt = exchange.attempts[0]
    attempt.head, attempt.outcome, exchange.refusal = Head(status, JSON), Outcome(kind, None, scope, detail), refusal
    exchange.socket_lease = attempt.lease if socket else None
    return exchange


@pytest.mark.parametrize("status", [401, 403, 407])
@pytest.mark.parametrize("kind", ["auth", "permission", "quota"])
def test_that_an_account_was_not_let_in_is_no_matter_of_the_client(status: int, kind: str) -> None:
    told = replacement(answered(status, kind))

    assert told is not None and told.status not in (401, 403, 407)


@pytest.mark.parametrize(
    ("status", "kind"),
    [(401, "rate"), (403, "request"), (402, "quota"), (400, "quota"), (500, "server"), (404, "model"), (408, "auth")],
)
def test_any_other_error_is_the_client_s_to_read(status: int, kind: str) -> None:
    assert replacement(answered(status, kind)) is None


def test_a_400_about_the_account_is_told_as_it_is_from_then_on() -> None:
    assert replacement(answered(400, "auth")) is not None
    assert replacement(answered(400, "permission")) is not None
    assert replacement(answered(400, "auth", scope="lane")) is None
    assert replacement(answered(400, "auth", refusal=None)) is None


@pytest.mark.parametrize("kind", ["auth", "permission"])
def test_on_a_socket_the_code_says_it(kind: str) -> None:
    told = replacement(answered(101, kind, socket=True))

    assert told is not None and (told.status, told.code) == (502, "upstream_credentials_exhausted")
    assert told.fields == {"tried": 1}
    assert replacement(answered(101, "quota", socket=True)) is None


def test_what_no_login_cures_reaches_the_client_in_the_provider_s_words() -> None:
    assert replacement(answered(403, "permission", detail=f"403 {ALONE}")) is None
    assert replacement(answered(401, "permission", detail=f"401 {ALONE}")) is not None


@pytest.mark.parametrize("status", [401, 403, 407])
def test_a_page_of_something_in_between_is_told_as_such(status: int) -> None:
    told = replacement(answered(status, "server", detail=f"{status} {NO_API}"))

    assert told is not None and told.status not in (401, 403, 407)
    assert replacement(answered(404, "server", detail=f"404 {NO_API}")) is None


def test_a_429_is_ours_where_the_reset_is_far() -> None:
    assert replacement(answered(429, "rate", refusal=FAR)) == FAR
    assert replacement(answered(429, "rate")) is None
    assert replacement(answered(429, "rate", refusal=FAR, socket=True)) is None


def test_a_403_about_a_model_says_which_accounts_lack_it() -> None:
    assert replacement(answered(403, "model", scope="lane")) == GONE
    assert replacement(answered(403, "model", scope="exchange")) is None
    assert replacement(answered(403, "model", refusal=None)) is None


def test_an_owner_that_is_out_is_named() -> None:
    owner = replace(GONE, code="owner_unavailable")

    assert replacement(answered(401, refusal=owner)) == owner


def test_another_s_answer_and_a_thread_that_is_gone_go_before_all_else() -> None:
    exchange = answered(200, "ok", refusal=None)
    assert replacement(exchange) is None
    exchange.refusal = replace(GONE, code="thread_not_found")
    assert replacement(exchange) == exchange.refusal
    exchange.attempts[0].withheld = True
    assert replacement(exchange) is CROSSTALK


def test_a_slow_upstream_and_one_that_answers_nothing_are_named() -> None:
    exchange = answered(200, "server", refusal=None)
    attempt = exchange.attempts[0]
    attempt.lacks = "it holds no answer"
    told = replacement(exchange)
    assert (
        told is not None and (told.status, told.code) == (502, "upstream_no_answer") and attempt.lacks in told.message
    )
    assert told.retry_after is None

    exchange.refusal = GONE
    told = replacement(exchange)
    assert told is not None and GONE.message in told.message
    assert (told.retry_after, told.fields) == (5.0, {"gave_up": "none_left"})

    attempt.slow = True
    told = replacement(exchange)
    assert told is not None and (told.status, told.code) == (504, "upstream_slow")


def test_where_no_answer_came_whole_the_last_reason_is_told() -> None:
    exchange = answered(500, "server")
    exchange.attempts[0].broken, exchange.attempts[0].head = True, None
    assert replacement(exchange) is not None
    exchange.attempts.insert(0, replace(exchange.attempts[0], head=Head(500, JSON), broken=False))
    assert replacement(exchange) is None  # an earlier attempt brought an error that the client can read
    exchange.attempts[0].broken = True
    assert replacement(exchange) is not None
    exchange.refusal = None
    assert replacement(exchange) is None


def test_without_attempts_there_is_nothing_to_replace() -> None:
    assert replacement(opened(router(), request())) is None


# -- the owner of a conversation is out --------------------------------------------------------------------------------

PLACES = {
    "reasoning": "encrypted reasoning", "state": "turn state", "sealed": "compacted history", "file": "file",
    "reference": "stored response", "container": "container", "cache": "cached content", "else": "stored data",
}  # fmt: skip


def owned(place: str, body: dict[str, Any] | None = None) -> Exchange:
    exchange = opened(router(), request(body))
    unused = Evidence("owner", "file", used=False)
    exchange.identity = replace(
        exchange.identity, owner=frozenset({"b", "a"}), evidence=(unused, Evidence("owner", place))
    )
    return exchange


@pytest.mark.parametrize("place", PLACES)
def test_the_message_says_what_the_owner_has_and_until_when(place: str) -> None:
    told = owner_unavailable(owned(place), GONE, "strip")

    assert (
        told.message
        == f"Account a, b owns this conversation's {PLACES[place]} and is out for 5 s; start a new conversation"
    )
    assert "cannot be used" in owner_unavailable(owned(place), replace(GONE, retry_after=None), "strip").message


@pytest.mark.parametrize("place", PLACES)
def test_it_offers_to_strip_what_can_be_spared(place: str) -> None:
    offers = "encrypted_reasoning to strip" in owner_unavailable(owned(place), GONE, "refuse").message

    assert offers == (place in ("reasoning", "state"))


def test_a_message_thread_is_sent_whole_instead() -> None:
    body = {"model": "m", "thread": {"previous_message_id": "m1"}}

    told = owner_unavailable(owned("reference", body), GONE, "strip")
    assert (told.status, told.code) == (404, "thread_not_found") and "message thread" in told.message
    assert owner_unavailable(owned("reference", body), GONE, "refuse").code == "none_left"


def test_each_refusal_of_ours_has_its_status_code_and_words() -> None:
    words = "The provider gave this request an answer that belongs to another one"
    assert Refusal(502, "crosstalk_detected", words) == CROSSTALK
    assert (OWNER_UNAVAILABLE, thread_not_found("x").code) == ("owner_unavailable", "thread_not_found")
    assert thread_not_found("x").fields == {"details": {"error_code": "thread_not_found"}}


def test_the_last_attempt_with_a_head_is_the_one_that_is_delivered_or_replaced() -> None:
    exchange = answered(401)
    exchange.attempts.append(replace(exchange.attempts[0], head=None, outcome=Outcome("server"), broken=True))
    told = replacement(exchange)

    assert told is not None and told.code == "upstream_credentials_exhausted"
    exchange.attempts[0].outcome = None
    assert replacement(exchange) is None


def test_on_a_socket_another_connection_finds_another_account() -> None:
    told = replacement(answered(401, socket=True, refusal=None))

    assert told is not None
    assert "connect again for another one" in told.message
    plain = replacement(answered(401, refusal=None))
    assert plain is not None and "connect again" not in plain.message


def test_what_an_account_owns_has_a_name_in_the_message() -> None:
    assert {*references.OWNS} - {"address"} == {*_OWNED}  # an address is stored data, as everything else
