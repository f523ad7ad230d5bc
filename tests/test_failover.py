"""Deliver, hold, next or cut: each rule by itself, each bound from both sides."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

import pytest
from msgspec import structs

from patchbay import dialects, failover
from patchbay.answer.reader import BODY_BYTES
from patchbay.body import Body
from patchbay.exchange import Attempt, Exchange
from patchbay.failover import DELIVER, HELD_BYTES, HELD_STREAM_BYTES, HOLD, MOVABLE, Step
from patchbay.settings.settings import CrosstalkSettings, FailoverSettings
from patchbay.values.account import ErrorRule
from patchbay.values.answer import Fact, Failure, Head
from patchbay.values.decision import Outcome
from patchbay.values.http import Headers

from .test_router import JSON, SSE, account, opened, request, routed, router

BOUNDS = FailoverSettings()
GET = ("/v1/files", "GET")


def begun(path: str = "/v1/chat/completions", method: str = "POST", **more: Any) -> tuple[Exchange, Attempt]:
    """Return an exchange with its first attempt; *more* is the body, or headers."""
    headers = {name: more.pop(name) for name in tuple(more) if name in ("upgrade", "x_session_id")}
    asked = request({"model": "m", "messages": [], **more}, path, **headers)
    endpoint = dialects.endpoint(method, path.partition("?")[0])
    of = router(account("a", error_rules=(ErrorRule(contains="my own words", outcome="quota"),)))
    exchange = opened(of, replace(asked, method=method, endpoint=endpoint))
    routed(of, exchange)
    return exchange, exchange.attempts[0]


def held(head: Head | None, data: bytes = b"", **more: Any) -> tuple[Exchange, Attempt]:
    """Return an exchange whose answer is held back, with *data* read of it."""
    exchange, attempt = begun(**more)
    attempt.head, attempt.held, attempt.held_bytes = head, True, len(data)
    if head is not None:
        attempt.reader.head(head)
        attempt.reader.feed(data)
    return exchange, attempt


# -- a head ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [200, 201, 299])
def test_a_good_head_of_a_generation_waits_for_its_content(status: int) -> None:
    exchange, _ = begun()

    assert failover.after_head(exchange, Head(status, JSON), BOUNDS) is HOLD
    assert failover.after_head(exchange, Head(status, JSON), FailoverSettings(hold_until_content=False)) is DELIVER


@pytest.mark.parametrize("status", [100, 199, 204, 205, 300, 302, 399])
def test_a_head_that_no_answer_of_a_model_can_follow_is_given_up(status: int) -> None:
    step = failover.after_head(begun()[0], Head(status, JSON), BOUNDS)

    assert step == Step("next", Outcome("server", detail=f"its status is {status}"), f"its status is {status}")


@pytest.mark.parametrize("status", [400, 429, 599])
@pytest.mark.parametrize("hold", [True, False])
def test_an_error_is_held_until_it_can_be_read(status: int, hold: bool) -> None:
    for exchange in (begun()[0], begun(*GET)[0]):
        assert failover.after_head(exchange, Head(status, JSON), FailoverSettings(hold_until_content=hold)) is HOLD


@pytest.mark.parametrize("status", [200, 204, 302])
def test_a_resource_is_delivered_as_it_comes(status: int) -> None:
    assert failover.after_head(begun(*GET)[0], Head(status, JSON), BOUNDS) is DELIVER


def test_an_upgrade_is_answered_by_101_alone() -> None:
    exchange, _ = begun("/v1/responses", "GET", upgrade="websocket")

    assert failover.after_head(exchange, Head(101, Headers()), BOUNDS) is DELIVER
    assert failover.after_head(exchange, Head(200, JSON), BOUNDS).reaction == "next"
    assert failover.after_head(exchange, Head(426, JSON), BOUNDS) is HOLD


# -- a chunk -----------------------------------------------------------------------------------------------------------


def test_what_follows_a_delivered_head_is_delivered() -> None:
    exchange, attempt = begun()
    attempt.head = Head(500, JSON)

    assert failover.after_chunk(exchange, attempt) is DELIVER


def test_an_error_is_read_up_to_its_bound_and_counts_as_ended_then() -> None:
    exchange, attempt = held(Head(500, JSON))
    attempt.held_bytes = HELD_BYTES - 1
    assert failover.after_chunk(exchange, attempt) is HOLD

    attempt.held_bytes = HELD_BYTES
    assert failover.after_chunk(exchange, attempt) is None


def test_an_error_event_before_any_content_ends_the_answer() -> None:
    exchange, attempt = held(Head(200, SSE), stream=True)
    attempt.outcome = Outcome("overload")
    assert failover.after_chunk(exchange, attempt) is None

    attempt.content_began = True
    assert failover.after_chunk(exchange, attempt) is DELIVER


@pytest.mark.parametrize(
    ("head", "data", "bound"),
    [(SSE, b": wait\n\n", HELD_STREAM_BYTES), (JSON, b"   ", HELD_BYTES), (JSON, b'{"id": "x"', BODY_BYTES)],
    ids=["a stream without content", "blanks", "half an object"],
)
def test_a_good_answer_without_content_is_held_up_to_its_bound(head: Headers, data: bytes, bound: int) -> None:
    exchange, attempt = held(Head(200, head), data, stream=head is SSE)
    attempt.held_bytes = bound - 1
    assert failover.after_chunk(exchange, attempt) is HOLD
    attempt.held_bytes = bound
    assert failover.after_chunk(exchange, attempt) == DELIVER


# -- the time is up ----------------------------------------------------------------------------------------------------


def test_an_error_whose_body_does_not_come_is_an_error_all_the_same() -> None:
    assert failover.when_overdue(*held(Head(429, JSON))) is None


@pytest.mark.parametrize(
    ("kind", "stream", "step"),
    [("application/json", False, HOLD), ("Application/JSON; charset=utf-8", False, HOLD), ("text/json", False, HOLD),
     ("application/problem+json", False, HOLD), ("text/plain", True, DELIVER),
     ("application/json", True, DELIVER), ("text/event-stream", True, DELIVER), ("text/plain", False, DELIVER)],
)  # fmt: skip
def test_json_that_is_collected_anyway_is_not_released_early(kind: str, stream: bool, step: Step) -> None:
    exchange, attempt = held(Head(200, Headers([("content-type", kind)])), stream=stream)

    assert failover.when_overdue(exchange, attempt) is step


def test_an_error_is_held_for_five_seconds_and_a_good_answer_as_the_settings_say() -> None:
    bounds = FailoverSettings(hold_timeout=7.0)

    assert failover.hold_seconds(held(Head(400, JSON))[0], bounds) == 5.0
    assert failover.hold_seconds(held(Head(399, JSON))[0], bounds) == 7.0
    assert failover.hold_seconds(opened(router(), request()), bounds) == 7.0


# -- the end -----------------------------------------------------------------------------------------------------------


def ended(head: Head, data: bytes = b"", **more: Any) -> tuple[Outcome, str]:
    exchange, attempt = held(head, data, **more)
    attempt.reader.end()
    if head.status >= 400:
        attempt.body += data
    return failover.after_end(exchange, attempt, head, 0.0)


def test_an_answer_is_good_an_error_is_classified_and_nothing_is_no_answer() -> None:
    good = b'{"id": "x", "object": "chat.completion", "choices": [{"message": {"content": "hi"}}]}'

    assert ended(Head(200, JSON), good) == (Outcome("ok"), "")
    assert ended(Head(429, JSON), b'{"error": {"message": "slow down"}}')[0].kind == "rate"
    assert ended(Head(400, JSON), b'{"error": {"message": "my own words"}}')[0].kind == "quota"
    outcome, lacks = ended(Head(200, JSON), b'{"choices": []}')
    assert (outcome.kind, outcome.detail) == ("server", lacks) and lacks


@pytest.mark.parametrize("name", ["input", "documents", "requests", "instances", "texts", "inputs"])
def test_a_request_about_nothing_may_get_nothing(name: str) -> None:
    assert ended(Head(200, JSON), b'{"choices": []}', **{name: []}) == (Outcome("ok"), "")
    assert ended(Head(200, JSON), b'{"choices": []}', **{name: ["x"]})[1]


def test_a_deferred_answer_is_fetched_later() -> None:
    assert ended(Head(200, JSON), b'{"request_id": "x"}', deferred=True) == (Outcome("ok"), "")


@pytest.mark.parametrize("status", [300, 304, 399])
def test_a_redirect_of_a_resource_is_good(status: int) -> None:
    exchange, attempt = begun(*GET)
    attempt.head = Head(status, Headers())

    assert failover.after_end(exchange, attempt, attempt.head, 0.0) == (Outcome("ok"), "")


def test_a_socket_that_ends_was_good() -> None:
    exchange, attempt = begun("/v1/responses", "GET", upgrade="websocket")

    assert failover.after_end(exchange, attempt, Head(101, Headers()), 0.0) == (Outcome("ok"), "")


def test_an_unknown_model_in_a_path_is_about_the_request() -> None:
    exchange, attempt = begun("/v1/models/x", "GET")
    exchange.model = ""
    attempt.body += b'{"error": {"code": "model_not_found", "message": "The model x does not exist"}}'

    outcome, _ = failover.after_end(exchange, attempt, Head(404, JSON), 0.0)

    assert (outcome.kind, outcome.scope) == ("request", "exchange")


# -- no answer ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["connect", "reset", "lost"])
def test_a_failure_moves_on_while_the_client_has_seen_nothing(kind: str) -> None:
    exchange, attempt = begun()
    step = failover.after_failure(exchange, attempt, Failure(kind, "gone"), BOUNDS)
    assert step.reaction == "next" and step.outcome and step.outcome.kind == "server" and step.outcome.failure

    attempt.head = Head(200, SSE)
    assert failover.after_failure(exchange, attempt, Failure(kind, "gone"), BOUNDS).reaction == "deliver"
    attempt.held = True
    assert failover.after_failure(exchange, attempt, Failure(kind, "gone"), BOUNDS).reaction == "next"


def test_a_failure_that_was_counted_before_says_nothing_about_the_lane() -> None:
    for counted, scope in ((False, "lane"), (True, "exchange")):
        step = failover.after_failure(*begun(), Failure("lost", "gone", counted=counted), BOUNDS)
        assert step.outcome and step.outcome.scope == scope


@pytest.mark.parametrize(
    ("repeats", "stream", "slow"),
    [("never", False, True), ("never", True, True), ("streams", False, True), ("streams", True, False),
     ("all", False, False), ("all", True, False)],
)  # fmt: skip
def test_a_slow_request_is_repeated_only_where_the_settings_say_so(
    repeats: Literal["streams", "all", "never"], stream: bool, slow: bool
) -> None:
    exchange, attempt = begun(stream=stream)
    bounds = FailoverSettings(repeat_slow=repeats)

    step = failover.after_failure(exchange, attempt, Failure("timeout", "late"), bounds)

    assert step.outcome and (step.outcome.detail == failover.SLOW) == slow
    attempt.head = Head(200, SSE)  # it has begun, so it is not slow
    later = failover.after_failure(exchange, attempt, Failure("timeout", "late"), bounds)
    assert later.outcome and later.outcome.kind == "server"


def test_a_slow_safe_request_may_be_repeated() -> None:
    step = failover.after_failure(*begun(*GET), Failure("timeout", "late"), FailoverSettings(repeat_slow="never"))

    assert step.outcome and step.outcome.kind == "server"


# -- another's answer --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reaction", "unseen", "earlier", "what"),
    [("retry", True, False, "next"), ("retry", False, False, "cut"), ("retry", True, True, "cut"),
     ("block", True, False, "cut")],
)  # fmt: skip
def test_another_s_answer_is_asked_for_again_once_while_it_is_unseen(
    reaction: Literal["retry", "block"], unseen: bool, earlier: bool, what: str
) -> None:
    exchange, attempt = begun()
    if earlier:
        exchange.attempts.insert(0, replace(attempt, proof=True))

    assert failover.after_proof(exchange, unseen, CrosstalkSettings(reaction=reaction)) == what


def test_what_must_not_be_repeated_is_cut() -> None:
    exchange, _ = begun(background=True)

    assert failover.after_proof(exchange, True, CrosstalkSettings(reaction="retry")) == "cut"


# -- the next attempt --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("retry_home", "unsealed", "allowed"), [("", 0, 2), ("a", 0, 3), ("", 1, 3), ("a", 1, 4)])
def test_attempts_are_bounded_but_for_a_second_one_at_home_and_one_without_seals(
    retry_home: str, unsealed: int, allowed: int
) -> None:
    exchange, attempt = begun()
    exchange.retry_home, exchange.unsealed = retry_home, {"a"} if unsealed else set()
    bounds = FailoverSettings(attempts=2)

    exchange.attempts = [attempt] * (allowed - 1)
    assert failover.exhausted(exchange, bounds, 0.0) is None
    exchange.attempts = [attempt] * allowed
    assert (failover.exhausted(exchange, bounds, 0.0) or ("",))[0] == "attempts_exhausted"


@pytest.mark.parametrize(("now", "code"), [(30.0, None), (30.1, "time_exhausted")])
def test_time_is_bounded(now: float, code: str | None) -> None:
    found = failover.exhausted(begun()[0], FailoverSettings(timeout=30.0), now)

    assert (found[0] if found else None) == code


def test_what_may_have_been_carried_out_is_not_sent_twice() -> None:
    exchange, attempt = begun(background=True)
    assert (failover.exhausted(exchange, BOUNDS, 0.0) or ("",))[0] == "not_repeatable"
    attempt.reached = False
    assert failover.exhausted(exchange, BOUNDS, 0.0) is None
    attempt.slow = True
    assert (failover.exhausted(exchange, BOUNDS, 0.0) or ("",))[0] == "upstream_slow"
    assert failover.exhausted(opened(router(), request()), BOUNDS, 1e9) is None


def at_home(kind: Any = "rate", until: float | None = None) -> tuple[Exchange, Attempt]:
    exchange, attempt = begun(x_session_id="s")
    attempt.lease, attempt.outcome = replace(attempt.lease, binding="hit"), Outcome(kind, until)
    return exchange, attempt


@pytest.mark.parametrize("kind", ["rate", "overload", "server"])
def test_a_transient_fault_at_home_is_waited_out_for_a_second(kind: str) -> None:
    assert failover.retry_home_at(at_home(kind)[0], BOUNDS, 10.0) == 11.0


@pytest.mark.parametrize("kind", ["quota", "auth", "permission", "model", "request", "cancelled", "ok"])
def test_no_other_fault_is(kind: str) -> None:
    assert failover.retry_home_at(at_home(kind)[0], BOUNDS, 10.0) is None


@pytest.mark.parametrize(("until", "at"), [(10.2, 11.0), (12.0, 12.0), (13.0, 13.0), (13.1, None)])
def test_the_home_says_when_and_sticky_wait_says_how_long(until: float, at: float | None) -> None:
    assert failover.retry_home_at(at_home(until=until)[0], BOUNDS, 10.0) == at  # three seconds of sticky_wait


def test_a_lost_connection_is_made_again_at_once() -> None:
    exchange, attempt = at_home("server")
    attempt.lost, attempt.lease = True, replace(attempt.lease, binding="new")

    assert failover.retry_home_at(exchange, BOUNDS, 10.0) == 10.0


def test_only_the_first_attempt_at_a_home_that_was_reached_is_repeated() -> None:
    for spoil in (
        lambda exchange, attempt: setattr(attempt, "lease", replace(attempt.lease, binding="new")),
        lambda exchange, attempt: setattr(attempt, "reached", False),
        lambda exchange, attempt: setattr(exchange, "retry_home", "a"),
        lambda exchange, attempt: exchange.attempts.append(attempt),
        lambda exchange, attempt: setattr(attempt, "outcome", None),
        lambda exchange, attempt: setattr(exchange, "request", replace(exchange.request, body=Body(None))),
    ):
        exchange, attempt = at_home()
        spoil(exchange, attempt)
        assert failover.retry_home_at(exchange, BOUNDS, 10.0) is None


# -- errors in events --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "status"),
    [({"status": 400}, 400), ({"status": 599}, 599), ({"status": 399}, None), ({"status": 600}, None),
     ({"status": "429"}, None), ({}, None), ("text", None)],
)  # fmt: skip
def test_an_error_event_may_have_a_head_of_its_own(value: object, status: int | None) -> None:
    found = failover.error_head(Fact("error", value))

    assert (found.status if found else None) == status


def test_the_headers_of_an_error_event_are_its_texts() -> None:
    found = failover.error_head(Fact("error", {"status": 429, "headers": {"retry-after": "7", "x": 1}}))

    assert found is not None and found.headers.fields == (("retry-after", "7"),)


def test_an_error_event_is_classified_by_its_code_by_its_head_and_by_the_account_s_own_rules() -> None:
    exchange, attempt = begun(stream=True)

    def kind(**error: Any) -> str:
        fact = Fact("error", error)
        attempt.error_head = failover.error_head(fact)
        return failover.outcome_of_event(exchange, attempt, fact, 0.0).kind

    assert kind(code="rate_limit_exceeded", message="slow down") == "rate"
    assert kind(type="insufficient_quota") == "quota"
    assert kind(status=429, message="slow down") == "rate"
    assert kind(status=401, message="x", raw={"code": "invalid_api_key", "message": "x"}) == "auth"
    assert kind(code="strange", message="my own words") == "quota"


@pytest.mark.parametrize(
    "kind", ["ok", "rate", "quota", "overload", "auth", "permission", "model", "server", "request", "cancelled"]
)
def test_an_answer_has_failed_where_another_account_may_help(kind: Any) -> None:
    exchange, attempt = begun()
    assert not failover.has_failed(exchange)

    attempt.outcome = Outcome(kind)

    assert failover.has_failed(exchange) == (kind in MOVABLE) == (kind not in ("ok", "request", "cancelled"))


def test_an_exchange_without_attempts_has_not_failed() -> None:
    assert not failover.has_failed(opened(router(), request()))


# -- the edges of the rules --------------------------------------------------------------------------------------------


def test_two_steps_need_no_outcome() -> None:
    assert (Step("deliver"), Step("hold")) == (DELIVER, HOLD)


def test_only_an_error_is_held_where_nothing_waits_for_content() -> None:
    exchange = begun(*GET)[0]

    assert failover.after_head(exchange, Head(399, JSON), BOUNDS) is DELIVER
    assert failover.after_head(exchange, Head(400, JSON), BOUNDS) is HOLD


def test_a_page_that_is_held_is_no_answer_as_soon_as_it_begins() -> None:
    exchange, attempt = held(Head(200, Headers([("content-type", "text/html")])), b"<html>")
    step = failover.after_chunk(exchange, attempt)

    assert step is not None and (step.reaction, bool(step.lacks)) == ("next", True)
    assert step.outcome == Outcome("server", detail=step.lacks)


@pytest.mark.parametrize(("status", "kind"), [(299, "ok"), (300, "ok"), (399, "ok"), (400, "request")])
def test_a_redirect_of_a_safe_method_is_an_answer(status: int, kind: str) -> None:
    exchange, attempt = held(Head(status, JSON), path="/v1/files/file-1", method="GET")

    assert failover.after_end(exchange, attempt, Head(status, JSON), 0.0)[0].kind == kind


def test_an_error_of_a_path_of_no_dialect_is_read_by_a_family_of_its_account() -> None:
    exchange, attempt = begun("/v1/nothing", "GET")
    assert exchange.request.endpoint.family == ""
    attempt.body += b'{"error": {"code": "insufficient_quota", "message": "no"}}'
    attempt.head = Head(429, JSON)

    assert failover.after_end(exchange, attempt, attempt.head, 0.0)[0].kind == "quota"


@pytest.mark.parametrize("value", ["text", 7, None, [1]])
def test_an_error_event_that_is_no_object_says_nothing(value: object) -> None:
    exchange, attempt = begun()
    fact = Fact("error", value)
    attempt.error_head = failover.error_head(fact)

    assert attempt.error_head is None
    assert failover.outcome_of_event(exchange, attempt, fact, 0.0).kind in ("server", "request")


def test_an_error_event_with_a_status_is_read_as_the_body_that_it_would_have_had() -> None:
    exchange, attempt = begun()
    raw = {"type": "usage_limit_reached", "message": "no", "resets_in_seconds": 600}
    fact = Fact("error", {"status": 429, "code": "x", "message": "no", "raw": raw})
    attempt.error_head = failover.error_head(fact)
    assert attempt.error_head is not None
    found = failover.outcome_of_event(exchange, attempt, fact, 100.0)
    assert (found.kind, found.until) == ("quota", 700.0)
    plain = structs.replace(fact, value={"status": 429, "code": "insufficient_quota", "message": "no"})

    assert failover.outcome_of_event(exchange, attempt, plain, 100.0).kind == "quota"
    half = structs.replace(fact, value={"status": 429, "code": "insufficient_quota", "message": "half \ud83d"})
    assert failover.outcome_of_event(exchange, attempt, half, 100.0).kind == "quota"
