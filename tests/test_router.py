"""The story of one exchange, with plain values: no proxy, no clock, no sockets."""

from __future__ import annotations

import json
from collections.abc import Container
from dataclasses import replace
from itertools import count, pairwise
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest

from patchbay import dialects, failover
from patchbay.accounts.lease import Lease
from patchbay.body import Body
from patchbay.exchange import Exchange
from patchbay.replacement import replacement
from patchbay.router import Router
from patchbay.settings.presets import PRESETS
from patchbay.settings.settings import (
    ClientKey,
    Config,
    CrosstalkSettings,
    FailoverSettings,
    QueueSettings,
    SessionSettings,
)
from patchbay.values.account import Account, Models, Secret
from patchbay.values.answer import AnswerEvent, Chunk, End, Fact, Failure, FailureKind, Head, Message, Overdue, Reaction
from patchbay.values.decision import Finding, Refusal, Wait
from patchbay.values.http import Client, Headers, Origin, PriorServing, Request

UPSTREAM = Origin("http", "127.0.0.1", 9)
JSON = Headers([("content-type", "application/json")])
SSE = Headers([("content-type", "text/event-stream")])


def account(name: str, preset: str = "generic", **more: Any) -> Account:
    return Account(name, PRESETS[preset], Secret("literal", f"key-{name}"), **more)


def router(*accounts: Account, **more: Any) -> Router:
    numbers = count()

    def random_bytes(size: int) -> bytes:
        return next(numbers).to_bytes(size)

    return Router(Config(accounts or (account("a"), account("b")), **more), bytes(32), Random(1), random_bytes)


def request(body: dict[str, Any] | None = None, path: str = "/v1/chat/completions", **headers: str) -> Request:
    asked = {"model": "m", "messages": [{"role": "user", "content": "hello"}]} if body is None else body
    return Request(
        method="POST",
        path=path,
        headers=Headers((name.replace("_", "-"), value) for name, value in headers.items()),
        body=Body(json.dumps(asked).encode()),
        endpoint=dialects.endpoint("POST", path.partition("?")[0]),
        destination=UPSTREAM,
        client=Client(may_pin=True),
    )


def opened(of: Router, asked: Request, now: float = 0.0) -> Exchange:
    exchange = of.open(asked, now, reverse=UPSTREAM)
    assert isinstance(exchange, Exchange)
    return exchange


def routed(of: Router, exchange: Exchange, now: float = 0.0) -> Lease:
    route = of.next(exchange, now)
    assert isinstance(route, Lease), route
    return route


def answer(of: Router, exchange: Exchange, *what: AnswerEvent, now: float = 0.0) -> list[Reaction]:
    return [of.answered(exchange, each, now) for each in what]


def good(text: str = "hi", **more: Any) -> tuple[Head, Chunk, End]:
    said = {"id": "chatcmpl-1", "object": "chat.completion", "choices": [{"message": {"content": text}}], **more}
    return Head(200, JSON), Chunk(json.dumps(said).encode()), End()


def bad(status: int, **error: Any) -> tuple[Head, Chunk, End]:
    return Head(status, JSON), Chunk(json.dumps({"error": {"message": "no", **error}}).encode()), End()


def events(*data: dict[str, Any]) -> tuple[AnswerEvent, ...]:
    return tuple(Chunk(b"data: " + json.dumps(each).encode() + b"\n\n") for each in data)


def delta(text: str) -> dict[str, Any]:
    return {"id": "chatcmpl-1", "object": "chat.completion.chunk", "choices": [{"delta": {"content": text}}]}


def test_a_request_is_stamped_and_goes_to_one_account() -> None:
    of = router()
    route = routed(of, opened(of, request(x_session_id="s")))

    stamped = dict(route.edit.headers)
    assert stamped["X-Request-ID"] == stamped["X-Patchbay-Request-Id"] == route.request_id
    assert len(route.request_id) == 52
    assert route.edit.path == "/v1/chat/completions"
    assert route.body is None  # not a byte of the body changes
    assert route.binding == "new"


def test_a_conversation_stays_after_its_first_success() -> None:
    of = router()
    first = opened(of, request(x_session_id="s"))
    home = routed(of, first).account.id
    answer(of, first, *good())
    of.close(first, "", now=1, status=200)

    later = [routed(of, opened(of, request(x_session_id="s"), now), now) for now in (2.0, 3.0)]

    assert {route.account.id for route in later} == {home}
    assert {route.binding for route in later} == {"hit"}


def test_every_attempt_has_an_id_of_its_own() -> None:
    of = router()
    exchange = opened(of, request())
    first = routed(of, exchange)
    assert answer(of, exchange, *bad(503)) == ["hold", "hold", "next"]

    second = routed(of, exchange)

    assert second.request_id != first.request_id
    assert second.account.id != first.account.id
    assert len(exchange.attempts) == 2


@pytest.mark.parametrize("status", [400, 404, 413, 422])
def test_a_request_s_own_fault_is_delivered(status: int) -> None:
    of = router()
    exchange = opened(of, request())
    routed(of, exchange)

    assert answer(of, exchange, *bad(status)) == ["hold", "hold", "deliver"]


def test_a_stream_is_held_until_its_first_content() -> None:
    of = router()
    exchange = opened(of, request())
    routed(of, exchange)
    role = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "choices": [{"delta": {"role": "assistant"}}]}

    reactions = answer(of, exchange, Head(200, SSE), *events(role, delta("hi"), delta("there")))

    assert reactions == ["hold", "hold", "deliver", "deliver"]


def test_an_error_before_content_moves_and_one_after_does_not() -> None:
    error = {"error": {"message": "busy", "type": "server_error", "code": "server_is_overloaded"}}
    of = router()
    early, late = opened(of, request()), opened(of, request())
    routed(of, early)
    routed(of, late)

    assert answer(of, early, Head(200, SSE), *events(error))[-1] == "next"
    assert answer(of, late, Head(200, SSE), *events(delta("hi"), error))[-1] == "deliver"


def test_a_stream_that_says_nothing_moves() -> None:
    of = router()
    exchange = opened(of, request())
    routed(of, exchange)

    assert answer(of, exchange, Head(200, SSE), Chunk(b"data: [DONE]\n\n"), End())[-1] == "next"


def test_what_is_held_too_long_is_delivered_and_an_error_is_one_without_its_body() -> None:
    of = router()
    slow, failed = opened(of, request()), opened(of, request())
    routed(of, slow)
    routed(of, failed)

    assert answer(of, slow, Head(200, SSE), Overdue()) == ["hold", "deliver"]
    assert answer(of, failed, Head(503, JSON), Overdue()) == ["hold", "next"]


def test_without_holding_streams_pass_at_once() -> None:
    of = router(failover=FailoverSettings(hold_until_content=False))
    exchange = opened(of, request())
    routed(of, exchange)

    assert answer(of, exchange, Head(200, SSE), *events(delta("hi"))) == ["deliver", "deliver"]


def test_a_failed_stream_binds_nothing() -> None:
    of = router()
    for now, ending in enumerate((Failure("reset", "gone"), End())):
        exchange = opened(of, request(x_session_id="s"), now)
        routed(of, exchange, now)
        answer(of, exchange, Head(200, SSE), ending, now=now)
        of.close(exchange, "gone", now)

    assert routed(of, opened(of, request(x_session_id="s"), 3), 3).binding == "new"


def test_attempts_and_time_are_bounded_and_the_bound_is_named() -> None:
    of = router(*(account(name) for name in "abcd"), failover=FailoverSettings(attempts=2, timeout=5))
    exchange, slow = opened(of, request()), opened(of, request())
    for _ in range(2):
        routed(of, exchange)
        answer(of, exchange, *bad(503))
    routed(of, slow)
    answer(of, slow, *bad(503))

    many, late = of.next(exchange, 0), of.next(slow, 6)
    assert isinstance(many, Refusal)
    assert isinstance(late, Refusal)
    assert (many.code, late.code) == ("attempts_exhausted", "time_exhausted")
    assert of.close(exchange, "", 1, status=503).error == "attempts_exhausted"


def test_what_may_have_been_done_is_repeated_only_when_nothing_was_sent() -> None:
    of = router(*(account(name) for name in "abcd"))
    done, unsent = (opened(of, request({"input_file_id": "f"}, "/v1/batches")) for _ in range(2))
    routed(of, done)
    routed(of, unsent)
    answer(of, done, *bad(503))
    answer(of, unsent, Failure("connect", "refused"))

    refused = of.next(done, 0)
    assert isinstance(refused, Refusal)
    assert refused.code == "not_repeatable"
    assert isinstance(of.next(unsent, 0), Lease)


def test_an_account_that_is_not_let_in_is_our_trouble_and_not_the_client_s() -> None:
    of = router(account("only"))
    exchange = opened(of, request())
    routed(of, exchange)
    answer(of, exchange, *bad(401, code="invalid_api_key"))

    instead = replacement(exchange)
    assert instead is not None
    assert (instead.status, instead.code) == (502, "upstream_credentials_exhausted")


def through(of: Router, now: float, *ends: AnswerEvent | list[AnswerEvent]) -> Refusal:
    """Let an exchange fail as *ends* say, one attempt each; return what its client gets."""
    exchange = opened(of, request(), now)
    for end in ends:
        routed(of, exchange, now)
        answer(of, exchange, *(end if isinstance(end, list) else [end]), now=now)
    refusal = of.next(exchange, now)
    assert isinstance(refusal, Refusal)
    told = replacement(exchange) if ends else refusal
    of.close(exchange, "", now)
    assert told is not None
    return told


REFUSED = Failure("connect", "[Errno 111] Connect call failed ('127.0.0.1', 9)")


def test_an_upstream_that_cannot_be_reached_is_told_with_every_account_s_reason() -> None:
    """A5: the last reason of each, and in the same words while they rest for it."""
    of = router(account("a"), account("b"))
    now = through(of, 0, REFUSED, Failure("connect", "[Errno -2] Name or service not known"))
    assert (now.status, now.code) == (502, "upstream_unreachable")
    assert "not reachable (connection refused)" in now.message
    assert "not reachable (name not resolved)" in now.message
    assert not now.final


def test_an_upstream_that_stays_away_is_final_after_a_while() -> None:
    """A5: clients that ask again by themselves would go on for minutes."""
    of = router(account("a"), account("b"))
    told = [through(of, now, REFUSED, REFUSED).final for now in (0, 5, 11)]
    later = through(of, 100, REFUSED, REFUSED).final  # in between nobody looked

    assert told == [False, False, True]
    assert not later

    exchange = opened(of, request(), 101)
    routed(of, exchange, 101)
    answer(of, exchange, *bad(400), now=101)
    of.close(exchange, "", 101)
    assert not through(of, 112, REFUSED, REFUSED).final, "it was there meanwhile"


def test_where_the_reasons_are_mixed_each_account_has_its_own() -> None:
    """A5: a rate limit here and an upstream that is away there are neither alone."""
    of = router(account("a"), account("b"))
    limited = [Head(429, Headers([*JSON.fields, ("retry-after", "30")])), Chunk(b"{}"), End()]
    exchange = opened(of, request(), 0)
    first = routed(of, exchange).account.id
    answer(of, exchange, *limited)
    second = routed(of, exchange).account.id
    answer(of, exchange, REFUSED)
    refusal = of.next(exchange, 0)

    assert isinstance(refusal, Refusal)
    assert (refusal.status, refusal.code) == (503, "auth_unavailable")
    assert f"{first}: rate limited (429) until 00:00:3" in refusal.message
    assert f"{second}: not reachable (connection refused)" in refusal.message


def test_a_key_that_cannot_be_had_is_told_as_that() -> None:
    """A5: no provider refused it."""
    of = router(account("a"))
    exchange = opened(of, request())
    routed(of, exchange)
    of.key_missing(exchange, "env:MY_KEY: is not set", 0)
    refusal = of.next(exchange, 0)

    assert isinstance(refusal, Refusal)
    assert (refusal.status, refusal.code, refusal.final) == (503, "upstream_credentials_exhausted", True)
    assert "a: no key (env:MY_KEY: is not set)" in refusal.message


def test_a_bound_is_told_with_every_account_s_reason() -> None:
    """A5: what was tried, and what rests."""
    of = router(*(account(name) for name in "abc"), failover=FailoverSettings(attempts=2))
    told = through(of, 0, REFUSED, REFUSED)

    assert (told.status, told.code) == (502, "upstream_unreachable")
    assert told.fields["gave_up"] == "attempts_exhausted"
    assert "failover.attempts" in told.message
    assert told.message.count("not reachable (connection refused)") == 2


def test_a_client_learns_of_no_account_that_it_may_not_use() -> None:
    """A5: to it there is no such account."""
    of = router(account("mine", "openai", origin=UPSTREAM), account("theirs", "openrouter", origin=UPSTREAM))
    exchange = of.open(replace(request(), client=Client(providers=("openai",))), 0)
    assert isinstance(exchange, Exchange)
    routed(of, exchange)
    answer(of, exchange, REFUSED)
    refusal = of.next(exchange, 0)

    assert isinstance(refusal, Refusal)
    assert "mine: " in refusal.message
    assert "theirs" not in refusal.message


@pytest.mark.parametrize("raw", [b'{"model": "m", ', b"hello", b"[1, 2]", b"\xff\xfe"])
def test_a_body_that_is_no_json_is_the_client_s_mistake(raw: bytes) -> None:
    """A6: though every account serves some models only, nothing is forbidden."""
    of = router(account("a", models=Models(allow=("m",))))
    refusal = of.open(replace(request(), body=Body(raw)), 0, reverse=UPSTREAM)

    assert isinstance(refusal, Refusal)
    assert (refusal.status, refusal.code) == (400, "body_unusable")


@pytest.mark.parametrize("count_", [1, 4, 12])
def test_every_account_of_the_pool_is_asked_once(count_: int) -> None:
    """R13: the last one that is well answers."""
    of = router(*(account(f"a{n}") for n in range(count_)))
    exchange, asked = opened(of, request()), []
    for _ in range(count_):
        asked.append(routed(of, exchange).account.id)
        answer(of, exchange, *bad(500))

    assert sorted(asked) == sorted(f"a{n}" for n in range(count_))
    assert isinstance(of.next(exchange, 0), Refusal)


def test_attempts_end_with_the_time_however_large_the_pool_is() -> None:
    """R13: `failover.timeout` holds as before."""
    of = router(*(account(f"a{n}") for n in range(12)))
    exchange = opened(of, request())
    routed(of, exchange)
    answer(of, exchange, *bad(500))
    refusal = of.next(exchange, 31)

    assert isinstance(refusal, Refusal)
    assert refusal.code == "time_exhausted"


def test_the_model_is_renamed_in_place_and_nothing_else_changes() -> None:
    of = router(account("a", models=Models(aliases={"m": "real"}, upstream_names={"real": "theirs"})))
    asked = request()
    route = routed(of, opened(of, asked))

    assert asked.body.raw is not None
    assert route.body == asked.body.raw.replace(b'"m"', b'"theirs"')


def test_the_model_in_a_path_is_renamed_there() -> None:
    of = router(account("a", models=Models(upstream_names={"g": "theirs"})))
    asked = request({"contents": []}, "/v1beta/models/g:generateContent?alt=sse")
    route = routed(of, opened(of, asked))

    assert route.edit.path == "/v1beta/models/theirs:generateContent?alt=sse"
    assert route.body is None


def test_a_body_that_is_ambiguous_where_it_must_change_is_refused() -> None:
    of = router(account("a", models=Models(upstream_names={"m": "theirs"})))
    doubled = Request("POST", "/v1/chat/completions", Headers(), Body(b'{"model":"m","model":"m"}'),
                      dialects.endpoint("POST", "/v1/chat/completions"), UPSTREAM)  # fmt: skip

    refused = of.next(opened(of, doubled), 0)

    assert isinstance(refused, Refusal)
    assert refused.status == 400


def test_row_b1_a_pinned_account_wins_and_only_who_may_can_pin() -> None:
    of = router()
    assert {routed(of, opened(of, request(x_patchbay_account=name))).account.id for name in "ab"} == {"a", "b"}

    stranger = request(x_patchbay_account="a")
    refused = of.open(Request(**{**_fields(stranger), "client": Client()}), 0, reverse=UPSTREAM)

    assert isinstance(refused, Refusal)
    assert refused.code == "pin_not_allowed"


def test_row_d6_an_idempotency_key_goes_up_only_when_the_client_sent_one() -> None:
    of = router()
    route = routed(of, opened(of, request()))

    assert not any(name.lower() == "idempotency-key" for name, _ in route.edit.headers)


def test_two_exchanges_whose_answers_are_exchanged_name_each_other() -> None:
    of = router()
    one, two = opened(of, request(x_session_id="1")), opened(of, request({"model": "m", "messages": []}))
    ids = [routed(of, exchange).request_id for exchange in (one, two)]
    answer(of, one, *good(request_id=ids[1]))
    answer(of, two, *good(request_id=ids[0]))

    decisions = [of.close(exchange, "", 1, status=200) for exchange in (one, two)]

    assert [decision.verdict for decision in decisions] == ["crosstalk", "crosstalk"]
    assert [decision.victim for decision in decisions] == [two.id, one.id]


def test_a_decision_tells_what_happened_once() -> None:
    of = router(sessions=SessionSettings(ttl=10))
    exchange = opened(of, request(x_session_id="s", x_request_id="mine"), now=100)
    routed(of, exchange, 100)
    answer(of, exchange, *good(usage={"prompt_tokens": 5, "completion_tokens": 2}), now=101)
    decision = of.close(exchange, "", 102, status=200)

    assert of.close(exchange, "again", 103) is decision
    assert decision.event_type == "chat_completion_success"
    assert decision.client_request_id == "mine"
    assert (decision.duration_seconds, decision.status, decision.in_flight) == (2, 200, 1)
    assert decision.tokens is not None
    assert (decision.tokens.prompt, decision.tokens.completion) == (5, 2)
    assert decision.tier == "generic_header"


def test_a_client_that_leaves_harms_no_account_and_frees_its_place() -> None:
    of = router()
    exchange = opened(of, request(x_session_id="s"))
    route = routed(of, exchange)
    decision = of.close(exchange, "Client disconnected.", 1)

    assert decision.attempts[0].outcome == "cancelled"
    assert {each.in_flight for each in of.accounts.status(0)} == {0}
    assert routed(of, opened(of, request(x_session_id="s"), 2), 2).account.id == route.account.id


def _fields(of: Request) -> dict[str, Any]:
    return {name: getattr(of, name) for name in Request.__slots__}


def at_home(of: Router, now: float = 0.0) -> str:
    exchange = opened(of, request(x_session_id="s"), now)
    home = routed(of, exchange, now).account.id
    answer(of, exchange, *good(), now=now)
    of.close(exchange, "", now, status=200)
    return home


@pytest.mark.parametrize("status", [429, 500, 503, 529])
def test_a_conversation_waits_for_its_home_once_when_the_fault_may_pass(status: int) -> None:
    of = router()
    home = at_home(of)
    exchange = opened(of, request(x_session_id="s"), 1)
    routed(of, exchange, 1)
    answer(of, exchange, *bad(status), now=1)

    waiting = of.next(exchange, 1)
    assert isinstance(waiting, Wait)
    assert 1 < waiting.until <= 4
    assert routed(of, exchange, waiting.until).account.id == home
    answer(of, exchange, *bad(status), now=waiting.until)

    assert routed(of, exchange, waiting.until).account.id != home


def test_a_conversation_does_not_wait_for_what_takes_long_or_was_never_there() -> None:
    hinted = Head(429, Headers([("content-type", "application/json"), ("retry-after", "60")]))
    for what in ((hinted, *bad(429)[1:]), bad(401), (Failure("connect", "refused"),)):
        of = router()
        home = at_home(of)
        exchange = opened(of, request(x_session_id="s"), 1)
        routed(of, exchange, 1)
        answer(of, exchange, *what, now=1)

        assert routed(of, exchange, 1).account.id != home


def test_without_a_sticky_wait_or_a_home_another_account_answers_at_once() -> None:
    for of in (router(failover=FailoverSettings(sticky_wait=0)), router(sessions=SessionSettings(on_error="clear"))):
        home = at_home(of)
        exchange = opened(of, request(x_session_id="s"), 1)
        routed(of, exchange, 1)
        answer(of, exchange, *bad(529), now=1)
        assert routed(of, exchange, 1).account.id != home

    of = router()
    exchange = opened(of, request())
    first = routed(of, exchange).account.id
    answer(of, exchange, *bad(529))
    assert routed(of, exchange).account.id != first


def test_what_lost_its_connection_asks_the_same_account_again_at_once() -> None:
    """R32: also in its first turn, and where there is no other account; the second time it is left."""
    of = router(account("a"), account("b"))
    exchange = opened(of, request(x_session_id="s"))
    first = routed(of, exchange).account.id
    assert answer(of, exchange, Head(200, SSE), Failure("lost", "gone")) == ["hold", "next"]
    assert routed(of, exchange).account.id == first
    answer(of, exchange, Failure("lost", "gone"))

    assert routed(of, exchange).account.id != first


def test_the_end_of_a_connection_counts_once_for_all_that_were_on_it() -> None:
    """R32: two faults in a row rest an account; six streams on one connection are one."""
    for counted, rests in ((True, False), (False, True)):
        of = router(account("a"))
        many = [opened(of, request(x_session_id=str(number))) for number in range(6)]
        for exchange in many:
            routed(of, exchange)
        for number, exchange in enumerate(many):
            answer(of, exchange, Failure("reset", "gone", counted=counted and number > 0))
            of.close(exchange, "gone", 0.0)

        assert (of.accounts.status(0.1)[0].state == "cooling") == rests


def test_slow_attempts_leave_the_sticky_wait_for_one_that_comes_back_soon() -> None:
    of = router()
    limited = Head(429, Headers([("content-type", "application/json"), ("retry-after", "1")]))
    slow = opened(of, request(), 5.0)
    other = {"a": "b", "b": "a"}[routed(of, slow, 5.0).account.id]
    rests = opened(of, request(x_patchbay_account=other), 9.0)
    routed(of, rests, 9.0)
    answer(of, rests, limited, *bad(429)[1:], now=9.0)
    of.close(rests, "", 9.0, status=429)

    answer(of, slow, Failure("reset", "the connection broke"), now=9.0)
    waiting = of.next(slow, 9.0)
    assert isinstance(waiting, Wait)
    assert waiting.until == 10.0
    assert routed(of, slow, waiting.until).account.id == other


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("words", ["invalid api key", "model x does not exist", "insufficient balance"])
def test_words_of_one_request_rest_no_account_for_the_next(words: str, streamed: bool) -> None:
    """R1: the provider quotes a role without any marks, as an answer or as an event; the next client is served."""
    of = router(*(account(name) for name in "abcd"))
    attack = opened(of, request({"model": "m", "messages": [{"role": words, "content": "hi"}], "stream": streamed}))
    tried = []
    while isinstance(route := of.next(attack, 0), Lease):
        tried.append(route.account.id)
        if streamed:
            told = {"error": {"message": f"Unknown role {words}", "code": 400}}
            answer(of, attack, Head(200, SSE), *events(told), End())
        else:
            answer(of, attack, *bad(400, message=f"Unknown role {words}"))

    assert 1 <= len(set(tried)) == len(tried) <= of.config.failover.attempts
    assert {status.state for status in of.accounts.status(1)} == {"healthy"}
    other = opened(of, request(), 1)
    routed(of, other, 1)
    assert answer(of, other, *good(), now=1)[-1] == "deliver"


@pytest.mark.parametrize(
    "stored", [{"previous_response_id": "resp_1"}, {"conversation": {"id": "conv_1"}}, {"prompt": {"id": "pmpt_1"}}]
)
def test_words_that_a_provider_has_stored_are_not_known_here(stored: dict[str, Any]) -> None:
    """R1: of an answer, a conversation or a prompt that nobody here remembers."""
    of = router(*(account(name) for name in "abcd"))
    attack = opened(of, request({"model": "m", "input": "go on", **stored}, "/v1/responses"))
    for _ in range(4):
        if isinstance(of.next(attack, 0), Lease):
            answer(of, attack, *bad(400, message="This cannot go on: invalid api key"))
    assert {status.state for status in of.accounts.status(1)} == {"healthy"}


def test_a_model_that_is_looked_up_in_vain_is_no_lane_of_an_account() -> None:
    """R1: `GET /v1/models/x` asks for no model, so what asks for none rests for nothing."""
    of = router(account("a"), account("b"))
    endpoint = dialects.endpoint("GET", "/v1/models/nope")
    exchange = opened(of, replace(request({}, "/v1/models/nope"), method="GET", endpoint=endpoint))
    routed(of, exchange)
    told = json.dumps({"type": "error", "error": {"type": "not_found_error", "message": "model: nope"}}).encode()
    assert answer(of, exchange, Head(404, JSON), Chunk(told), End())[-1] == "deliver"
    assert {status.state for status in of.accounts.status(1)} == {"healthy"}


def served_after(
    of: Router, dead: Container[str], tries: int, told: tuple[AnswerEvent, ...]
) -> tuple[list[str], list[int]]:
    """Let one conversation try again and again; return which account served each time, and how many were asked."""
    served, asked = [], []
    for now in range(0, 2 * tries, 2):
        exchange, by = opened(of, request(x_session_id="one"), float(now)), ""
        while isinstance(route := of.next(exchange, float(now)), Lease):
            is_dead = route.account.id in dead
            if answer(of, exchange, *(told if is_dead else good()), now=float(now))[-1] == "deliver":
                by = "" if is_dead else route.account.id
                break
        served.append(by)
        asked.append(len(exchange.attempts))
        of.close(exchange, "", float(now), status=200 if by else 401)
    return served, asked


@pytest.mark.parametrize("told", [(401, "Incorrect API key", 12), (400, "Your credit balance is too low", 24)])
def test_one_conversation_alone_whose_accounts_are_all_dead_asks_them_a_bounded_number_of_times(
    told: tuple[int, str, int],
) -> None:
    """
    R1, R8: what it meets everywhere is its own fault until it has met it again and again; words count half. Nobody asks
    again in the half minute after that.
    """
    status, message, most = told
    served, asked = served_after(router(*map(account, "abcd")), "abcd", 16, bad(status, message=message))
    assert (set(served), sum(asked) <= most, asked[-5:]) == ({""}, True, [0] * 5)


@pytest.mark.parametrize("status", [401, 403])
def test_one_conversation_alone_comes_to_the_one_account_that_is_well(status: int) -> None:
    """R1: though three attempts meet the same fault elsewhere each time, and it counts as its own."""
    for well in "abcd":
        served, asked = served_after(router(*map(account, "abcd")), set("abcd") - {well}, 8, bad(status))
        assert served[1:] == [well] * 7, well
        assert sum(asked) <= 15


def test_an_account_that_is_dead_rests_as_before_where_another_serves() -> None:
    """R1: one of four; its conversation moves at once, and for good."""
    for dead in "abcd":
        served, asked = served_after(router(*map(account, "abcd")), dead, 8, bad(401))
        assert len(set(served)) == 1
        assert sum(asked) <= 9


def upgrade(session: str) -> Request:
    asked = request({}, "/v1/responses", upgrade="websocket", session_id=session)
    return replace(asked, method="GET", body=Body(b""), endpoint=dialects.endpoint("GET", "/v1/responses"))


@pytest.mark.parametrize("status", [200, 204, 302])
def test_an_upgrade_that_is_granted_without_a_websocket_is_asked_elsewhere(status: int) -> None:
    """R35: it is an answer that is none, and the client has seen nothing of it."""
    of = router()
    exchange = opened(of, upgrade("s"))
    first = routed(of, exchange)

    assert answer(of, exchange, Head(status, JSON)) == ["next"]
    assert routed(of, exchange).account != first.account
    assert answer(of, exchange, Head(101, Headers())) == ["deliver"]


def test_the_next_socket_avoids_an_account_that_was_left_while_another_is_well() -> None:
    """R35: for half a minute; a conversation whose only account it is gets it all the same."""
    of = router(account("a"), account("b"), account("c"))
    first = opened(of, upgrade("s"))
    seen = {routed(of, first).account.id}
    for _ in range(2):
        of.avoid_account(first, 0.0)
        first = opened(of, upgrade("s"))
        seen.add(routed(of, first).account.id)
    assert seen == {"a", "b", "c"}

    last = first.attempts[-1].lease.account.id
    of.avoid_account(first, 2.0)
    again = routed(of, opened(of, upgrade("s")), 3.0).account.id
    assert again != last  # all were left: the one whose fault is oldest comes first
    alone = router(account("a"))
    left = opened(alone, upgrade("s"))
    routed(alone, left)
    alone.avoid_account(left, 0.0)
    assert routed(alone, opened(alone, upgrade("s"))).account.id == "a"


def test_what_is_remembered_of_sockets_is_bounded() -> None:
    of = router(sessions=SessionSettings(limit=10))
    for number in range(50):
        exchange = opened(of, upgrade(f"s{number}"))
        routed(of, exchange)
        of.avoid_account(exchange, 0.0)
        of.close(exchange, "", 0.0)

    assert len(of.websockets._avoided) <= 10


def test_an_attempt_that_was_not_sent_may_be_followed_by_another_of_any_request() -> None:
    of = router()
    exchange = opened(of, request({"model": "m", "background": True}))
    routed(of, exchange)

    of.key_missing(exchange, "no key", 0.0)

    assert not exchange.attempts[0].reached
    assert isinstance(of.next(exchange, 0.0), Lease)


@pytest.mark.parametrize("more", [0, 1])
def test_ids_of_an_answer_are_learned_up_to_a_bound(more: int) -> None:
    of = router()
    exchange = opened(of, request(stream_of_tools()))
    routed(of, exchange)
    attempt = exchange.attempts[0]
    answer(of, exchange, Head(200, SSE))
    attempt.learned += [Fact("id", str(number)) for number in range(1024 - len(attempt.learned) - 1 + more)]

    of._read(exchange, attempt, [Fact("id", "the last one")], 0.0)

    assert (attempt.learned[-1].value == "the last one") == (more == 0)
    assert len(attempt.learned) == 1024


def stream_of_tools() -> dict[str, Any]:
    return {"model": "m", "messages": [{"role": "user", "content": "hello"}], "stream": True}


@pytest.mark.parametrize(("data", "over"), [('{"type":"response.completed","response":{}}', True),
                                            ('{"type":"error","status":500,"error":{"message":"x"}}', True),
                                            ('{"type":"response.created","response":{}}', False)])  # fmt: skip
def test_an_exchange_on_a_socket_ends_with_its_last_event(data: str, over: bool) -> None:
    of = router()
    upgraded = opened(of, upgrade("s"))
    socket = routed(of, upgraded)
    exchange = of.open(
        request({"model": "m", "input": []}, "/v1/responses"), 0.0, reverse=UPSTREAM, socket_lease=socket
    )
    assert isinstance(exchange, Exchange)
    routed(of, exchange)
    answer(of, exchange, Head(200, Headers()))

    answer(of, exchange, Message(data.encode()))

    assert exchange.attempts[0].ended == over


def test_what_is_held_counts_and_what_is_delivered_does_not() -> None:
    of = router()
    exchange = opened(of, request(stream_of_tools()))
    routed(of, exchange)
    answer(of, exchange, Head(200, SSE), Chunk(b": wait\n\n"))
    assert exchange.attempts[0].held_bytes == 8
    answer(of, exchange, *events(delta("hi")))
    counted = exchange.attempts[0].held_bytes

    answer(of, exchange, *events(delta("more")))

    assert exchange.attempts[0].held_bytes == counted > 8


def test_a_replay_teaches_nothing() -> None:
    of = router()
    asked = replace(request(x_session_id="s"), replay=PriorServing("a"))
    exchange = opened(of, asked)
    routed(of, exchange)
    answer(of, exchange, *good())
    of.close(exchange, "", 0.0, status=200)

    attempt = exchange.attempts[0]
    assert (attempt.learned_from, attempt.content_began) == (False, False)


def test_a_request_is_estimated_at_four_bytes_a_token() -> None:
    of = router()
    exchange = opened(of, request())

    assert routed(of, exchange).ask.tokens == len(exchange.request.body.raw or b"") // 4


def test_our_ids_are_known_and_no_other() -> None:
    of = router()

    assert of.is_own_id(routed(of, opened(of, request())).request_id)
    assert not of.is_own_id("pb1-" + "0" * 48)


def test_without_an_attempt_there_is_nothing_to_settle_or_to_leave_unsent() -> None:
    of = router()
    exchange = opened(of, request())

    of.key_missing(exchange, "no key", 0.0)

    assert of.settle(exchange, 0.0) == [] and exchange.attempts == []


@pytest.mark.parametrize(("last", "whole"), [((), True), ((Failure("reset", "gone"),), False)])
def test_a_host_is_learned_from_answers_that_came_whole(last: tuple[AnswerEvent, ...], whole: bool) -> None:
    of = router()
    exchange = opened(of, request())
    routed(of, exchange)

    answer(of, exchange, *(good() if whole else (*good()[:2], *last)))

    assert exchange.attempts[0].watch.record.whole == whole


@pytest.mark.parametrize("status", [200, 500])
def test_a_conversation_is_learned_from_good_answers_alone(status: int) -> None:
    of = router()
    exchange = opened(of, request())
    routed(of, exchange)
    answer(of, exchange, *(good() if status == 200 else bad(status)))

    of.close(exchange, "", 0.0, status=status)

    assert exchange.attempts[0].learned_from == (status == 200)


# -- what an exchange is opened with, and what its attempts ask for ----------------------------------------------------


def test_what_an_exchange_holds_of_its_request() -> None:
    of = router()
    first, second = opened(of, request(x_session_id="s"), 7.0), opened(of, request(x_session_id="s"), 8.0)
    other = opened(of, replace(request(x_session_id="s"), method="PUT"))

    assert (first.opened, first.model, first.pin, first.reverse, first.socket_lease) == (7.0, "m", "", UPSTREAM, None)
    assert len({first.id, second.id, other.id}) == 3 and {len(first.id), len(other.id)} == {16}
    assert first.digest == second.digest != other.digest
    assert first.digest != opened(of, request(None, "/v1/chat/completions?b", x_session_id="s")).digest
    assert first.digest != opened(of, request({"model": "n"}, x_session_id="s")).digest
    assert opened(of, request(x_patchbay_account=" a ")).pin == "a"


def test_bodies_that_stream_through_are_like_no_other() -> None:
    of = router()
    first, second = (opened(of, replace(request(), body=Body(None))) for _ in range(2))

    assert first.digest != second.digest
    assert (len(first.digest), len(first.id)) == (16, 16)
    assert routed(of, first).ask.tokens == 0


@pytest.mark.parametrize(
    ("asked", "streamed"),
    [
        (request({"model": "m", "stream": True}), True),
        (request({"model": "m", "stream": 1}), False),
        (request({"model": "m"}), False),
        (request({}, "/v1beta/models/g:streamGenerateContent"), True),
        (request({}, "/v1beta/models/g:generateContent"), False),
    ],
)
def test_a_stream_is_asked_for_by_the_body_or_the_path(asked: Request, streamed: bool) -> None:
    assert opened(router(), asked).stream is streamed


def test_exchanges_of_a_conversation_are_counted_while_they_are_in_flight() -> None:
    of = router()
    first, second = (opened(of, request(x_session_id="s")) for _ in range(2))
    assert (first.in_flight, second.in_flight, opened(of, request(x_session_id="t")).in_flight) == (1, 2, 1)
    of.identify_again(second, 0.0)
    assert second.in_flight == 2
    of.close(first, "", 0.0)
    of.close(first, "", 0.0)
    assert opened(of, request(x_session_id="s")).in_flight == 2
    of.close(second, "", 0.0)
    assert opened(of, request(x_session_id="s")).in_flight == 2
    assert set(of._in_flight.values()) == {1, 2}


def test_a_conversation_without_exchanges_in_flight_is_not_counted() -> None:
    of = router()
    exchange = opened(of, request(x_session_id="s"))
    of.close(exchange, "", 0.0)

    assert not of._in_flight


def test_a_conversation_is_new_until_it_was_served() -> None:
    of = router()
    assert of.is_new(opened(of, request(x_session_id="s")), 0.0)
    at_home(of)

    assert not of.is_new(opened(of, request(x_session_id="s")), 1.0)


def test_what_was_learned_meanwhile_identifies_an_exchange_again() -> None:
    of = router()
    told = {"role": "assistant", "content": "An answer that is long enough to be told from all others, I hope."}
    turns = [{"role": "user", "content": "hello"}, told, {"role": "user", "content": "go on"}]
    first, waits = opened(of, request()), opened(of, request({"model": "m", "messages": turns}))
    routed(of, first)
    answer(of, first, *good(told["content"]))
    of.close(first, "", 0.0)
    assert waits.identity.affinity != first.identity.affinity
    of.identify_again(waits, 0.0)

    assert waits.identity.affinity == first.identity.affinity


def test_what_an_attempt_asks_the_pool() -> None:
    of = router()
    exchange = opened(of, request(x_session_id="s"), 3.0)
    ask = routed(of, exchange, 4.0).ask

    assert (ask.family, ask.destination, ask.reverse, ask.model) == ("openai", UPSTREAM, UPSTREAM, "m")
    assert (ask.identity, ask.client, ask.pin, ask.path) == (exchange.identity, exchange.request.client, "", "")
    assert (ask.websocket, ask.opens, ask.tried, ask.ended, ask.avoided) == (False, False, frozenset(), {}, {})
    assert (ask.waiter, ask.preferred_until, ask.retry_home, ask.prior_serving) == (exchange.id, 6.0, "", None)
    assert (ask.others, ask.unreadable) == ((), "")


def test_a_later_attempt_asks_with_what_became_of_the_earlier_ones() -> None:
    of = router()
    exchange = opened(of, replace(request(x_session_id="s"), replay=PriorServing("a", digest="of then")))
    exchange.prior_serving = PriorServing("a")
    first = routed(of, exchange)
    answer(of, exchange, *bad(503))
    ask = routed(of, exchange).ask

    assert (first.ask.prior_serving, ask.prior_serving) == (PriorServing("a"), None)
    assert ask.tried == {first.account.id}
    assert {name: outcome.kind for name, outcome in ask.ended.items()} == {first.account.id: "overload"}


def test_an_account_with_a_new_secret_may_try_once_more() -> None:
    of = router(account("a"))
    exchange = opened(of, request())
    for tries in range(2):
        assert routed(of, exchange, float(tries)).account.id == "a"
        answer(of, exchange, *bad(401, code="invalid_api_key"), now=float(tries))
        of.secret_changed(exchange, "a")

    assert exchange.may_retry == {"a"}
    assert isinstance(of.next(exchange, 2.0), Refusal)


def test_an_upgrade_asks_for_a_socket_and_its_messages_for_its_account() -> None:
    of = router()
    upgraded = opened(of, upgrade("s"))
    lease = routed(of, upgraded)
    assert (lease.ask.websocket, lease.ask.opens) == (True, True)
    message = of.open(upgrade("s"), 0.0, reverse=UPSTREAM, socket_lease=lease)
    assert isinstance(message, Exchange)

    assert (message.pin, message.stream, message.socket_lease) == (lease.account.id, True, lease)
    ask = routed(of, message).ask
    assert (ask.websocket, ask.opens, ask.pin) == (True, False, lease.account.id)


def test_a_path_of_no_dialect_is_asked_for_by_itself() -> None:
    of = router()
    asked = replace(request({}, "/v1/unknown"), endpoint=dialects.endpoint("GET", "/v1/unknown"), method="GET")
    ask = routed(of, opened(of, asked)).ask

    assert (ask.family, ask.path) == ("", "/v1/unknown")


# -- waits -------------------------------------------------------------------------------------------------------------


def busy(**more: Any) -> tuple[Router, Exchange]:
    """Return a router whose only account is taken, and an exchange that waits for it."""
    of = router(account("a", max_concurrent=1), **more)
    routed(of, opened(of, request(x_session_id="s")))
    return of, opened(of, request(x_session_id="t"))


def test_a_wait_ends_with_the_time_of_the_queue() -> None:
    of, waits = busy(queue=QueueSettings(timeout=20))
    first = of.next(waits, 5.0)
    assert isinstance(first, Wait) and first.until <= 25.0
    last = of.next(waits, 24.9)
    assert isinstance(last, Wait) and last.until == 25.0
    refusal = of.next(waits, 25.0)

    assert isinstance(refusal, Refusal)
    assert refusal.code == "queue_exhausted"
    assert "no account was free within the 20 seconds of queue.timeout" in refusal.message
    assert waits.refusal is refusal
    assert waits.waits_since is None


def test_a_wait_ends_when_the_account_is_free_and_its_time_is_no_more_counted() -> None:
    of, waits = busy()
    assert isinstance(of.next(waits, 5.0), Wait) and waits.waits_since == 5.0
    of.reload(replace(of.config, accounts=(account("a", max_concurrent=2),)))

    assert routed(of, waits, 6.0).account.id == "a"
    assert waits.waits_since is None


# -- answers -----------------------------------------------------------------------------------------------------------


def begun(of: Router, asked: Request | None = None, now: float = 0.0) -> Exchange:
    """Return an exchange whose first attempt has been sent."""
    exchange = opened(of, request(x_session_id="s") if asked is None else asked, now)
    routed(of, exchange, now)
    return exchange


def proven(of: Router, **more: Any) -> tuple[Exchange, Reaction]:
    """Return an exchange that is given the answer to another one, not ended yet, and the reaction to its head."""
    other, exchange = begun(of), begun(of, request({"model": "m", "messages": [], **more}, x_session_id="t"))
    head = Headers([*(SSE if more else JSON).fields, ("x-request-id", other.attempts[0].lease.request_id)])
    return exchange, of.answered(exchange, Head(200, head), 1.0)


@pytest.mark.parametrize(("reaction", "told"), [("observe", "hold"), ("block", "cut"), ("retry", "next")])
def test_an_answer_that_belongs_to_another_request_is_withheld_as_the_settings_say(reaction: Any, told: str) -> None:
    of = router(crosstalk=CrosstalkSettings(reaction=reaction))
    exchange, reacted = proven(of)
    attempt, acted = exchange.attempts[0], reaction != "observe"

    assert (reacted, attempt.alarm, attempt.proof, attempt.withheld) == (told, True, True, acted)
    assert (attempt.ended, attempt.error) == (acted, "crosstalk_detected" if acted else "")
    assert answer(of, exchange, *good()[1:], now=2.0)[-1] == "deliver"  # what comes behind it is not judged again
    assert attempt.outcome is not None
    assert (attempt.outcome.kind, attempt.learned_from) == ("cancelled" if acted else "ok", False)
    of.close(exchange, "", 3.0, status=200)
    assert not attempt.learned_from and not attempt.content_began


def test_only_what_the_client_has_not_seen_is_asked_again_after_a_proof() -> None:
    of = router(crosstalk=CrosstalkSettings(reaction="retry"))
    other, exchange = begun(of), begun(of, request({**stream_of_tools(), "user": "t"}, x_session_id="t"))
    answer(of, exchange, Head(200, SSE), *events(delta("hi")))
    foreign = {**delta("there"), "request_id": other.attempts[0].lease.request_id}

    assert answer(of, exchange, *events(foreign)) == ["cut"]
    assert of.close(exchange, "", 1.0, status=502).verdict == "crosstalk"


def test_an_answer_that_has_ended_is_not_followed() -> None:
    of = router()
    unsent, exchange = opened(of, request()), begun(of)
    answer(of, exchange, *good())
    ended = exchange.attempts[0].finished

    assert answer(of, unsent, *good()) == ["deliver"] * 3
    assert answer(of, exchange, Failure("reset", "gone"), now=9.0) == ["deliver"]
    assert exchange.attempts[0].finished == ended


def test_the_first_byte_is_that_of_the_first_piece_delivered() -> None:
    of = router()
    streamed, whole, failed = begun(of, request(stream_of_tools())), begun(of), begun(of)
    for now, event in enumerate((Head(200, SSE), *events(delta("hi"), delta("there")))):
        of.answered(streamed, event, float(now))
    for now, event in enumerate(good()):
        of.answered(whole, event, float(now))
    answer(of, failed, *bad(503))

    assert (streamed.first_byte, whole.first_byte, failed.first_byte) == (1.0, 2.0, None)
    assert (streamed.attempts[0].held, whole.attempts[0].held, failed.attempts[0].held) == (False, False, False)


def test_only_what_the_body_of_an_error_says_is_kept_and_up_to_a_bound() -> None:
    of = router()
    exchange, fine = begun(of), begun(of)
    size = failover.HELD_BYTES
    answer(of, exchange, Head(503, JSON), Chunk(b"a" * 10))
    assert (bytes(exchange.attempts[0].body), exchange.attempts[0].held_bytes) == (b"a" * 10, 10)
    answer(of, exchange, Chunk(b"b" * size))
    assert bytes(exchange.attempts[0].body) == b"a" * 10 + b"b" * (size - 10)
    answer(of, fine, *good())
    assert not fine.attempts[0].body


def test_a_turn_state_of_the_head_is_learned_and_goes_back_to_its_account_alone() -> None:
    of = router()
    exchange = begun(of)
    answer(of, exchange, Head(200, Headers([*JSON.fields, ("x-codex-turn-state", "state-1")])))

    assert Fact("token", "state-1", "state") in exchange.attempts[0].learned


def test_a_failed_connection_says_how_far_the_request_came() -> None:
    def failed(kind: FailureKind, *before: AnswerEvent) -> tuple[str, bool, bool, bool]:
        of = router()
        exchange = begun(of)
        answer(of, exchange, *before, Failure(kind, "gone"))
        attempt = exchange.attempts[0]
        assert (attempt.broken, attempt.held, attempt.ended) == (True, False, True)
        return attempt.error, attempt.reached, attempt.lost, attempt.slow

    assert failed("connect") == ("gone", False, False, False)
    assert failed("reset") == ("gone", True, False, False)
    assert failed("lost") == ("gone", True, True, False)
    assert failed("timeout") == ("gone", True, False, True)
    assert failed("timeout", Head(200, JSON)) == ("gone", True, False, False)


def test_an_answer_that_is_none_says_what_it_lacks() -> None:
    of = router()
    empty, page = begun(of), begun(of)
    assert answer(of, empty, Head(200, JSON), Chunk(b'{"choices": []}'), End())[-1] == "next"
    assert answer(of, page, Head(204, JSON)) == ["next"]

    for exchange in (empty, page):
        attempt = exchange.attempts[0]
        assert attempt.lacks and attempt.lacks == attempt.error
        assert (attempt.held, attempt.ended, attempt.content_began, attempt.learned_from) == (False, True, False, False)
    assert page.attempts[0].error == "its status is 204"


@pytest.mark.parametrize(("seen", "reaction"), [(False, "next"), (True, "deliver")])
def test_an_answer_that_was_seen_cannot_be_taken_back(seen: bool, reaction: str) -> None:
    of = router()
    exchange = begun(of, request(stream_of_tools()))
    answer(of, exchange, Head(200, SSE), *(events(delta("hi")) if seen else ()))

    assert answer(of, exchange, End()) == [reaction]


def test_what_an_error_says_is_kept_with_its_code() -> None:
    of = router()
    exchange = begun(of)
    answer(of, exchange, *bad(400, code="bad_thing"))

    assert exchange.attempts[0].complaint == "bad_thing no"


def test_an_error_event_stands_for_the_answer_of_its_status() -> None:
    of = router()
    exchange = begun(of, request(stream_of_tools()))
    answer(of, exchange, Head(200, SSE), *events({"error": {"message": "no", "code": "server_is_overloaded"}}))
    attempt = exchange.attempts[0]

    assert attempt.outcome is not None
    assert attempt.error == attempt.outcome.detail != ""
    assert of.close(exchange, "", 1.0).error == attempt.error


def test_an_error_in_a_stored_answer_is_no_fault_of_now() -> None:
    of = router()
    asked = replace(request({}, "/v1/responses/resp_1"), method="GET")
    exchange = begun(of, replace(asked, endpoint=dialects.endpoint("GET", "/v1/responses/resp_1")))
    said = {"id": "resp_1", "object": "response", "status": "failed", "error": {"code": "server_error", "message": "x"}}
    answer(of, exchange, Head(200, JSON), Chunk(json.dumps(said).encode()), End())

    outcome = exchange.attempts[0].outcome
    assert outcome is not None and outcome.kind == "ok"


def test_the_tokens_of_an_answer_are_counted_once_it_says_them() -> None:
    of = router(account("a", tpm=1000))
    exchange = begun(of)
    answer(of, exchange, *good(usage={"prompt_tokens": 900, "completion_tokens": 99}))
    usage = exchange.attempts[0].usage
    assert usage is not None and (usage.prompt, usage.completion) == (900, 99)
    of.close(exchange, "", 0.0, status=200)

    later = opened(of, request(x_session_id="t"), 1.0)
    assert isinstance(of.next(later, 1.0), Wait)
    assert isinstance(of.next(later, 31.0), Refusal)
    assert isinstance(of.next(later, 61.0), Lease)


def test_an_account_is_home_from_the_first_content_on() -> None:
    of = router()
    exchange = begun(of, request(stream_of_tools(), x_session_id="s"))
    attempt = exchange.attempts[0]
    answer(of, exchange, Head(200, SSE))
    assert (attempt.content_began, of.accounts.bindings.home(attempt.lease.ask.key, 0.0)) == (False, "")
    answer(of, exchange, *events(delta("hi")))

    assert (attempt.content_began, of.accounts.bindings.home(attempt.lease.ask.key, 0.0)) == (
        True,
        attempt.lease.account.id,
    )


def test_a_conversation_is_learned_from_the_last_event_before_the_last_byte() -> None:
    of = router()
    exchange = begun(of, request(stream_of_tools(), x_session_id="s"))
    done = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "choices": [{"delta": {}, "finish_reason": "stop"}]}
    answer(of, exchange, Head(200, SSE), *events(delta("hi")))
    assert not exchange.attempts[0].learned_from
    answer(of, exchange, *events(done), Chunk(b"data: [DONE]\n\n"))

    assert (exchange.attempts[0].learned_from, exchange.attempts[0].ended) == (True, False)


def test_other_instances_are_told_of_each_change_before_their_next_request() -> None:
    of, told = router(), [0]

    def changed() -> None:
        told[0] += 1

    of.changed = changed
    exchange = opened(of, request(stream_of_tools(), x_session_id="s"))
    counts = [told[0]]
    routed(of, exchange)
    for event in (Head(200, SSE), *events(delta("hi"), delta("there")), End()):
        counts.append(told[0])
        of.answered(exchange, event, 0.0)
    counts.append(told[0])

    assert counts[0] == 0
    assert [after - before for before, after in pairwise(counts)] == [1, 0, 1, 0, 1]


def test_in_shadow_only_success_says_something_about_an_account() -> None:
    for mode, states in (("serve", {"auth-failed", "healthy"}), ("shadow", {"healthy"})):
        of = router(mode=mode)
        exchange = begun(of)
        answer(of, exchange, *bad(401, code="invalid_api_key"))
        of.close(exchange, "", 0.0, status=401)
        assert {each.state for each in of.accounts.status(1.0)} == states
        assert {each.in_flight for each in of.accounts.status(1.0)} == {0}


def test_a_key_that_cannot_be_had_is_no_matter_of_the_request() -> None:
    of = router(*(account(name) for name in "abcd"))
    exchange = opened(of, request())
    for _ in range(4):
        routed(of, exchange)
        attempt = exchange.attempts[-1]
        of.key_missing(exchange, "no key", 0.0)
        of.key_missing(exchange, "no key", 5.0)
        assert (attempt.ended, attempt.reached, attempt.finished) == (True, False, 0.0)

    assert [each.state for each in of.accounts.status(0.5)] == ["auth-failed"] * 4


def test_a_socket_may_go_on_while_its_account_can_serve() -> None:
    of = router()
    exchange = opened(of, upgrade("s"))
    assert of.may_continue(exchange, 0.0)
    lease = routed(of, exchange)
    assert of.may_continue(exchange, 0.0)
    other = begun(of, request(None, "/v1/responses", x_patchbay_account=lease.account.id))
    answer(of, other, *bad(401, code="invalid_api_key"))

    assert not of.may_continue(exchange, 0.0)


def test_a_message_that_leaves_its_socket_leaves_the_account_of_the_socket() -> None:
    of = router(account("a"), account("b"))
    lease = routed(of, opened(of, upgrade("s")))
    message = of.open(upgrade("s"), 0.0, reverse=UPSTREAM, socket_lease=lease)
    assert isinstance(message, Exchange)
    of.avoid_account(message, 0.0)

    assert routed(of, opened(of, upgrade("s"), 1.0), 1.0).account.id != lease.account.id


# -- what is written down of an attempt --------------------------------------------------------------------------------


def test_an_attempt_is_recorded_as_it_was_sent() -> None:
    of = router(account("a", "openai", origin=UPSTREAM), account("b", "openai", origin=UPSTREAM))
    exchange = begun(of, request({"model": "m", "messages": [], "stream": True}, x_session_id="s"), 3.0)
    first = exchange.attempts[0].lease
    answer(of, exchange, *bad(503), now=4.0)
    second = routed(of, exchange, 5.0)
    record = exchange.attempts[1].watch.record
    echo = second.account.provider.echo

    assert (record.request_id, record.exchange, record.account) == (second.request_id, exchange.id, second.account.id)
    assert (record.affinity, record.thread) == (exchange.identity.affinity, exchange.identity.thread)
    assert (record.digest, record.earlier) == (exchange.digest.hex(), [first.request_id])
    assert (record.headers, record.body, record.promised) == (dict(echo.headers), dict(echo.body), echo.promised)
    assert (record.host, record.dialect, record.suffix) == (str(UPSTREAM), "openai_chat", "/chat/completions")
    assert (record.model, record.stream, record.generation, record.at.clock) == ("m", True, True, 5.0)
    assert record.silent == sorted(second.account.provider.disabled_detectors)
    assert exchange.attempts[1].started == 5.0
    generic = begun(router()).attempts[0]
    assert generic.lease.request_id in generic.watch.record.expected.values()


@pytest.mark.parametrize(
    ("path", "generation"),
    [("/v1/responses", True), ("/v1/responses/compact", False), ("/v1/embeddings", True), ("/v1/files", False)],
)
def test_what_holds_an_earlier_answer_is_no_generation(path: str, generation: bool) -> None:
    exchange = begun(router(), request({"model": "m", "input": "x"}, path))

    assert exchange.attempts[0].watch.record.generation is generation


def test_a_get_of_the_path_of_a_websocket_is_no_generation_and_each_of_its_messages_is_one() -> None:
    """Some servers list their stored responses there."""
    of, path = router(), "/v1/responses"
    got = replace(request({}, path), method="GET", body=Body(b""), endpoint=dialects.endpoint("GET", path))
    listing = begun(of, got)
    asked = replace(got, body=Body(b'{"type": "response.create", "model": "m", "input": "x"}'))
    message = of.open(asked, 0.0, reverse=UPSTREAM, socket_lease=listing.attempts[0].lease)
    assert isinstance(message, Exchange)
    of.next(message, 0.0)

    assert [each.attempts[0].watch.record.generation for each in (listing, message)] == [False, True]


def test_the_provider_s_name_of_the_model_is_recorded() -> None:
    exchange = begun(router(account("a", models=Models(upstream_names={"m": "theirs"}))))

    assert exchange.attempts[0].watch.record.model == "theirs"


# -- replays -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "identity", "served"),
    [
        (None, "found", None),
        (PriorServing(), "found", None),
        (PriorServing("a", "x" * 32, "t", "content", digest="same"), "before", "kept"),
        (PriorServing("a", "x" * 32, "t", "content"), "before", "kept"),  # an unknown digest is no edit
        (PriorServing("", "x" * 32, "t", "content", digest="same"), "before", None),
        (PriorServing("a", "x" * 32, "t", "content", digest="other"), "found", None),
        (PriorServing("a", "x" * 32, "t", "content", digest="same", edited=True), "found", None),
        (
            PriorServing("a", "found", "t", "content", digest="other"),
            "found",
            "kept",
        ),  # an edit within its conversation
    ],
)
def test_a_replay_has_the_identity_it_had_unless_it_was_edited(
    before: PriorServing | None, identity: str, served: str | None
) -> None:
    plain = opened(router(), request(x_session_id="s"))
    if before is not None and before.digest == "same":
        before = replace(before, digest=plain.digest.hex())
    if before is not None and before.affinity == "found":
        before = replace(before, affinity=plain.identity.affinity)
    exchange = opened(router(), replace(request(x_session_id="s"), replay=before))
    found = (plain.identity.affinity, plain.identity.thread, plain.identity.tier)

    was = (exchange.identity.affinity, exchange.identity.thread, exchange.identity.tier)
    assert was == (("x" * 32, "t", "content") if identity == "before" else found)
    assert exchange.prior_serving == (before if served else None)
    assert exchange.identity.binds is not bool(served)


def test_reloaded_settings_reach_every_room() -> None:
    of = router(account("a"), account("b"))
    config = Config((account("c"),), sessions=SessionSettings(limit=7), failover=FailoverSettings(attempts=1))
    of.reload(config)
    exchange = opened(of, request(x_session_id="s"))

    assert routed(of, exchange).account.id == "c"
    assert of.config is of.destinations.config is config
    assert of.websockets._models.limit == of.editor._unsealed.limit == 7
    assert not of.destinations.has_account_at(UPSTREAM)
    answer(of, exchange, *bad(503))
    refusal = of.next(exchange, 0.0)
    assert isinstance(refusal, Refusal) and refusal.code == "attempts_exhausted"


def test_reloaded_clients_are_kept_apart() -> None:
    of = router()
    client = Client(scope=b"s" * 16, key=b"k" * 16, name="ann")
    listed = replace(request({}, "/v1/files"), method="GET", endpoint=dialects.endpoint("GET", "/v1/files"))
    opened(of, replace(listed, client=client))
    clients = tuple(ClientKey(name, Secret("literal", f"key-of-{name}")) for name in ("ann", "bob"))
    of.reload(replace(of.config, clients=clients))
    refusal = of.open(replace(listed, client=client), 0.0, reverse=UPSTREAM)

    assert isinstance(refusal, Refusal) and refusal.code == "list_not_allowed"


@pytest.mark.parametrize("how", ["closed", "too late"])
def test_an_exchange_that_waits_no_more_leaves_the_queue(how: str) -> None:
    of, first = busy(queue=QueueSettings(limit=1, timeout=20))
    second = opened(of, request(x_session_id="u"))
    assert isinstance(of.next(first, 0.0), Wait)
    assert isinstance(of.next(second, 1.0), Refusal)
    if how == "closed":
        of.close(first, "", 2.0)
    else:
        assert isinstance(of.next(first, 20.0), Refusal)

    assert isinstance(of.next(second, 20.0), Wait)


def test_an_exchange_that_is_served_after_all_was_not_refused() -> None:
    of = router(account("a"))
    exchange = begun(of)
    answer(of, exchange, *bad(401, code="invalid_api_key"))
    assert of.next(exchange, 0.0) is exchange.refusal
    of.secret_changed(exchange, "a")

    assert isinstance(of.next(exchange, 0.0), Lease)
    assert exchange.refusal is None


@pytest.mark.parametrize("setting", ["refuse", "try", "strip"])
@pytest.mark.parametrize("on_socket", [False, True])
def test_encrypted_reasoning_whose_account_is_gone_goes_on_as_the_settings_say(setting: Any, on_socket: bool) -> None:
    of = router(account("a"), account("b", enabled=False), failover=FailoverSettings(encrypted_reasoning=setting))
    socket = routed(of, opened(of, upgrade("s"))) if on_socket else None
    asked = request({"model": "m", "input": []}, "/v1/responses", session_id="s")
    exchange = of.open(asked, 0.0, reverse=UPSTREAM, socket_lease=socket)
    assert isinstance(exchange, Exchange)
    exchange.identity = replace(exchange.identity, owner=frozenset({"b"}))
    decided = of.next(exchange, 0.0)

    if setting == "refuse":
        assert isinstance(decided, Refusal) and decided.code == "owner_unavailable"
    else:
        assert isinstance(decided, Lease) and decided.account.id == "a"
        assert exchange.identity.owner is None
    assert exchange.unsealed == ({"a"} if on_socket and setting == "strip" else set())


def test_a_message_that_needs_what_its_account_stores_is_refused_and_loses_no_reasoning(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    of = router(account("a"), account("b", enabled=False), failover=FailoverSettings(encrypted_reasoning="strip"))
    socket = routed(of, opened(of, upgrade("s")))
    asked = request({"model": "m", "input": []}, "/v1/responses", session_id="s")
    exchange = of.open(asked, 0.0, reverse=UPSTREAM, socket_lease=socket)
    assert isinstance(exchange, Exchange)
    exchange.identity = replace(exchange.identity, owner=frozenset({"b"}))
    monkeypatch.setattr(type(of._resources), "stored_at", lambda *_: frozenset({"b"}))
    refusal = of.next(exchange, 0.0)

    assert isinstance(refusal, Refusal) and refusal.code == "owner_unavailable"
    assert (exchange.unsealed, exchange.identity.owner) == (set(), frozenset({"b"}))


@pytest.mark.parametrize(("status", "state"), [(200, "throttled"), (204, "healthy"), (400, "healthy")])
def test_what_is_left_of_a_limit_is_read_from_the_head_of_an_answer_that_is_one(status: int, state: str) -> None:
    of = router(account("a"))
    left = {"limit": "100", "remaining": "3", "reset": "60s"}
    fields = [(f"x-ratelimit-{name}-requests", value) for name, value in left.items()]
    answer(of, begun(of), Head(status, Headers([*JSON.fields, *fields])))

    assert of.accounts.status(1.0)[0].state == state


@pytest.mark.parametrize(
    ("disputed", "proof"), [((True,), False), ((False,), True), ((False, True), True), ((True, False), True)]
)
def test_a_proof_stays_one_whatever_disputed_finding_comes_after_it(disputed: tuple[bool, ...], proof: bool) -> None:
    of = router(crosstalk=CrosstalkSettings(reaction="observe"))
    exchange = begun(of)
    attempt = exchange.attempts[0]
    found = [Finding("our_id", "id", "proof", "body", "1", "2", "other", each) for each in disputed]
    attempt.watch = SimpleNamespace(see=lambda *_: found)  # type: ignore[assignment]
    of._read(exchange, attempt, [Fact("id", "2")], 0.0)

    assert (attempt.alarm, attempt.proof) == (True, proof)


@pytest.mark.parametrize(("kind", "home"), [(JSON, True), (SSE, False)])
def test_an_account_is_home_from_a_whole_answer_without_content_but_not_from_an_empty_stream(
    kind: Headers, home: bool
) -> None:
    of = router()
    exchange = begun(of, request({"purpose": "x"}, "/v1/files", x_session_id="s"))
    data = b'{"id": "file-1"}' if home else b'data: {"id": "file-1"}\n\n'
    answer(of, exchange, Head(200, kind), Chunk(data), End())
    attempt = exchange.attempts[0]

    assert attempt.outcome is not None and attempt.outcome.kind == "ok"
    assert (attempt.reader.streamed, attempt.content_began) == (not home, home)


@pytest.mark.parametrize(("before", "kept"), [("", "Client disconnected."), ("overloaded", "overloaded")])
def test_an_attempt_that_a_client_leaves_keeps_the_first_error(before: str, kept: str) -> None:
    of = router()
    exchange = begun(of)
    exchange.attempts[0].error = before
    of.close(exchange, "Client disconnected.", 1.0)

    assert exchange.attempts[0].error == kept


@pytest.mark.parametrize(("mode", "on_socket", "sent"), [("serve", True, b'{"model":"theirs"}'),
                                                         ("serve", False, b'{"model":"m"}'),
                                                         ("shadow", True, b'{"model":"m"}')])  # fmt: skip
def test_what_was_asked_is_what_the_client_sent_but_for_a_socket_s_messages(
    mode: Any, on_socket: bool, sent: bytes
) -> None:
    of = router(account("a"), mode=mode)
    exchange = begun(of, replace(request(), body=Body(b'{"model":"m"}')))
    lease = exchange.attempts[0].lease
    exchange.socket_lease = lease if on_socket else None

    assert of._summarised(exchange, replace(lease, body=b'{"model":"theirs"}')).raw == sent
    assert of._summarised(exchange, replace(lease, body=None)).raw == b'{"model":"m"}'


def test_a_proof_in_what_is_held_is_unseen() -> None:
    of = router(crosstalk=CrosstalkSettings(reaction="retry"))
    other, exchange = begun(of), begun(of, request({**stream_of_tools(), "user": "t"}, x_session_id="t"))
    foreign = {**delta("there"), "request_id": other.attempts[0].lease.request_id}

    assert answer(of, exchange, Head(200, SSE), *events(foreign)) == ["hold", "next"]


@pytest.mark.parametrize("stripped", [False, True])
def test_what_is_bound_to_an_account_is_noted_of_a_request_that_went_up_whole(
    stripped: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    of, noted = router(), []
    exchange = begun(of)
    exchange.attempts[0].stripped = stripped
    monkeypatch.setattr(type(of._resources), "note_bound", lambda self, *told: noted.append(told))
    answer(of, exchange, *good())
    of.close(exchange, "", 3.0)

    told = (exchange.request, exchange.identity.affinity, exchange.attempts[0].lease.account.id, 0.0)
    assert noted == ([] if stripped else [told])


def test_an_upgrade_asks_for_the_last_model_of_its_conversation() -> None:
    of = router()
    socket = routed(of, opened(of, upgrade("s")))
    message = of.open(
        request({"model": "m9"}, "/v1/responses", session_id="s"), 0.0, reverse=UPSTREAM, socket_lease=socket
    )
    assert isinstance(message, Exchange)

    assert opened(of, upgrade("s")).model == "m9"


def test_a_replay_that_is_identified_again_keeps_its_identity() -> None:
    plain = opened(router(), request(x_session_id="s"))
    of = router()
    before = PriorServing("a", "x" * 32, "t", "content", digest=plain.digest.hex())
    exchange = opened(of, replace(request(x_session_id="s"), replay=before))
    of.identify_again(exchange, 1.0)

    assert (exchange.identity.affinity, exchange.prior_serving) == ("x" * 32, before)


def test_what_a_command_disabled_holds_through_a_reload_until_the_settings_enable_it_anew() -> None:
    of = router()
    settings = of.config
    one, *_ = settings.accounts
    off = replace(settings, accounts=(replace(one, enabled=False), *settings.accounts[1:]))

    def enabled() -> bool:
        return next(account.enabled for account in of.config.accounts if account.id == one.id)

    of.state.switch(one.id, 1.0, on=False)
    assert not enabled()
    of.reload(replace(settings, grace_period=1.0))
    assert (enabled(), of.config.grace_period) == (False, 1.0)
    of.reload(off)
    of.state.switch(one.id, 2.0, on=True)
    assert not enabled(), "the settings have the last word"
    of.state.switch(one.id, 3.0, on=False)
    of.reload(settings)
    assert enabled()
    assert of.state.disabled() == frozenset()
