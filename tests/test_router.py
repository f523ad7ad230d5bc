"""The story of one exchange, with plain values: no proxy, no clock, no sockets."""

from __future__ import annotations

import json
from collections.abc import Container
from dataclasses import replace
from itertools import count
from random import Random
from typing import Any

import pytest

from patchbay import dialects
from patchbay.body import Body
from patchbay.router import Exchange, Router
from patchbay.settings.presets import PRESETS
from patchbay.settings.settings import Config, Failover, Sessions
from patchbay.values.account import Account, Models, Secret
from patchbay.values.answer import AnswerEvent, Chunk, End, Failure, Head, Overdue, Reaction
from patchbay.values.decision import Refusal, Route, Wait
from patchbay.values.http import Client, Headers, Origin, Request

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


def routed(of: Router, exchange: Exchange, now: float = 0.0) -> Route:
    route = of.next(exchange, now)
    assert isinstance(route, Route), route
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
    assert second.attempt == 2


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
    of = router(failover=Failover(hold=False))
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
    of = router(*(account(name) for name in "abcd"), failover=Failover(attempts=2, seconds=5))
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
    assert isinstance(of.next(unsent, 0), Route)


def test_an_account_that_is_not_let_in_is_our_trouble_and_not_the_client_s() -> None:
    of = router(account("only"))
    exchange = opened(of, request())
    routed(of, exchange)
    answer(of, exchange, *bad(401, code="invalid_api_key"))

    instead = of.instead(exchange)
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
    told = of.instead(exchange) if ends else refusal
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
    of.unsent(exchange, "env:MY_KEY: is not set", 0)
    refusal = of.next(exchange, 0)

    assert isinstance(refusal, Refusal)
    assert (refusal.status, refusal.code, refusal.final) == (503, "upstream_credentials_exhausted", True)
    assert "a: no key (env:MY_KEY: is not set)" in refusal.message


def test_a_bound_is_told_with_every_account_s_reason() -> None:
    """A5: what was tried, and what rests."""
    of = router(*(account(name) for name in "abc"), failover=Failover(attempts=2))
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
    """R13: `failover.seconds` holds as before."""
    of = router(*(account(f"a{n}") for n in range(12)))
    exchange = opened(of, request())
    routed(of, exchange)
    answer(of, exchange, *bad(500))
    refusal = of.next(exchange, 31)

    assert isinstance(refusal, Refusal)
    assert refusal.code == "time_exhausted"


def test_the_model_is_renamed_in_place_and_nothing_else_changes() -> None:
    of = router(account("a", models=Models(aliases={"m": "real"}, names={"real": "theirs"})))
    asked = request()
    route = routed(of, opened(of, asked))

    assert asked.body.raw is not None
    assert route.body == asked.body.raw.replace(b'"m"', b'"theirs"')


def test_the_model_in_a_path_is_renamed_there() -> None:
    of = router(account("a", models=Models(names={"g": "theirs"})))
    asked = request({"contents": []}, "/v1beta/models/g:generateContent?alt=sse")
    route = routed(of, opened(of, asked))

    assert route.edit.path == "/v1beta/models/theirs:generateContent?alt=sse"
    assert route.body is None


def test_a_body_that_is_ambiguous_where_it_must_change_is_refused() -> None:
    of = router(account("a", models=Models(names={"m": "theirs"})))
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

    verdicts = [of.close(exchange, "", 1, status=200).verdict for exchange in (one, two)]

    assert [verdict.kind for verdict in verdicts] == ["crosstalk", "crosstalk"]
    assert [verdict.victim for verdict in verdicts] == [two.id, one.id]


def test_a_decision_tells_what_happened_once() -> None:
    of = router(sessions=Sessions(ttl=10))
    exchange = opened(of, request(x_session_id="s", x_request_id="mine"), now=100)
    routed(of, exchange, 100)
    answer(of, exchange, *good(usage={"prompt_tokens": 5, "completion_tokens": 2}), now=101)
    decision = of.close(exchange, "", 102, status=200)

    assert of.close(exchange, "again", 103) is decision
    assert decision.event_type == "chat_completion_success"
    assert decision.client_request_id == "mine"
    assert (decision.duration, decision.status, decision.in_flight) == (2, 200, 1)
    assert decision.usage is not None
    assert (decision.usage.prompt, decision.usage.completion) == (5, 2)
    assert decision.identity.tier == "generic_header"


def test_a_client_that_leaves_harms_no_account_and_frees_its_place() -> None:
    of = router()
    exchange = opened(of, request(x_session_id="s"))
    route = routed(of, exchange)
    decision = of.close(exchange, "Client disconnected.", 1)

    assert decision.attempts[0].outcome == "cancelled"
    assert of.accounts.in_flight(route.account.id) == 0
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


def test_without_patience_or_a_home_another_account_answers_at_once() -> None:
    for of in (router(failover=Failover(patience=0)), router(sessions=Sessions(on_error="clear"))):
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


def test_slow_attempts_leave_the_patience_for_one_that_comes_back_soon() -> None:
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
    assert 10 < waiting.until <= 11
    assert routed(of, slow, waiting.until).account.id == other


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("words", ["invalid api key", "model x does not exist", "insufficient balance"])
def test_words_of_one_request_rest_no_account_for_the_next(words: str, streamed: bool) -> None:
    """R1: the provider quotes a role without any marks, as an answer or as an event; the next client is served."""
    of = router(*(account(name) for name in "abcd"))
    attack = opened(of, request({"model": "m", "messages": [{"role": words, "content": "hi"}], "stream": streamed}))
    tried = []
    while isinstance(route := of.next(attack, 0), Route):
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
        if isinstance(of.next(attack, 0), Route):
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
        while isinstance(route := of.next(exchange, float(now)), Route):
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
        of.left(first, 0.0)
        first = opened(of, upgrade("s"))
        seen.add(routed(of, first).account.id)
    assert seen == {"a", "b", "c"}

    last = first.attempts[-1].route.account.id
    of.left(first, 2.0)
    again = routed(of, opened(of, upgrade("s")), 3.0).account.id
    assert again != last  # all were left: the one whose fault is oldest comes first
    alone = router(account("a"))
    left = opened(alone, upgrade("s"))
    routed(alone, left)
    alone.left(left, 0.0)
    assert routed(alone, opened(alone, upgrade("s"))).account.id == "a"


def test_what_is_remembered_of_sockets_is_bounded() -> None:
    of = router(sessions=Sessions(limit=10))
    for number in range(50):
        exchange = opened(of, upgrade(f"s{number}"))
        routed(of, exchange)
        of.left(exchange, 0.0)
        of.close(exchange, "", 0.0)

    assert len(of._left) <= 10


# -- what belongs to one account ---------------------------------------------------------------------------------------


def responses(*items: Any, **more: Any) -> Request:
    asked = {"model": "m", "input": [{"role": "user", "content": "hello"}, *items], "store": False, **more}
    return request(asked, "/v1/responses", x_session_id="s")


def reasoned(sealed: str, number: int = 1) -> tuple[Head, Chunk, End]:
    reasoning = {"id": f"rs_{number}", "type": "reasoning", "summary": [], "encrypted_content": sealed}
    message = {"type": "message", "content": [{"type": "output_text", "text": "hi"}]}
    said = {"id": f"resp_{number}", "object": "response", "status": "completed", "output": [reasoning, message]}
    return Head(200, JSON), Chunk(json.dumps(said).encode()), End()


def sealed_item(sealed: str) -> dict[str, Any]:
    return {"type": "reasoning", "summary": [], "encrypted_content": sealed}


def served(of: Router, asked: Request, now: float, *what: AnswerEvent) -> Route:
    exchange = opened(of, asked, now)
    route = routed(of, exchange, now)
    answer(of, exchange, *what, now=now)
    of.close(exchange, "", now)
    return route


UNREADABLE = bad(400, code="invalid_encrypted_content", type="invalid_request_error")
OUT = bad(429, code="insufficient_quota", type="insufficient_quota")
SEAL = "gAAAAABsealed0123456789abcdefXYZ"


def begun(owner: str) -> tuple[Router, str]:
    """Return a router at which an answer with sealed reasoning was given, and the account that gave it."""
    of = router(account("a"), account("b"), account("c"), failover=Failover(owner=owner))  # type: ignore[arg-type]
    return of, served(of, responses(), 0, *reasoned(SEAL)).account.id


def test_sealed_reasoning_stays_home_while_its_account_is_well() -> None:
    of, home = begun("strip")
    route = served(of, responses(sealed_item(SEAL)), 1, *reasoned("gAAAAABother9876543210zyx", 2))

    assert (route.account.id, route.body) == (home, None)


def test_by_refuse_a_conversation_whose_account_is_out_hears_what_to_do() -> None:
    """A3: the refusal names the account, what it owns, how long it is out, and the setting."""
    of, home = begun("refuse")
    exchange = opened(of, responses(sealed_item(SEAL)), 1)
    routed(of, exchange, 1)
    answer(of, exchange, *OUT, now=1)
    refused = of.next(exchange, 1)

    assert isinstance(refused, Refusal)
    assert (refused.status, refused.code) == (503, "owner_unavailable")
    assert refused.message.startswith(f"Account {home} owns this conversation's encrypted reasoning and is out for ")
    assert refused.message.endswith("start a new conversation, or set failover.owner to strip")


def test_by_try_another_account_gets_it_as_it_is() -> None:
    """A3: and what it says to that is the answer."""
    of, home = begun("try")
    exchange = opened(of, responses(sealed_item(SEAL)), 1)
    routed(of, exchange, 1)
    answer(of, exchange, *OUT, now=1)
    route = routed(of, exchange, 1)

    assert (route.account.id != home, route.body) == (True, None)
    assert answer(of, exchange, *UNREADABLE, now=1)[-1] == "deliver"


def test_by_strip_it_goes_on_without_what_another_account_sealed() -> None:
    """A3: within one exchange, at the account that refused it, once; and the next turn goes there so at once."""
    of, home = begun("strip")
    exchange = opened(of, responses(sealed_item(SEAL)), 1)
    assert routed(of, exchange, 1).account.id == home
    assert answer(of, exchange, *OUT, now=1)[-1] == "next"
    tried = routed(of, exchange, 1)
    assert tried.body is None
    assert answer(of, exchange, *UNREADABLE, now=1)[-1] == "next"
    stripped = routed(of, exchange, 1)
    assert stripped.account.id == tried.account.id != home
    assert [item.get("type") for item in json.loads(stripped.body or b"")["input"]] == [None]
    theirs = "gAAAAABtheirs9876543210zyxwvu"
    answer(of, exchange, *reasoned(theirs, 2), now=1)
    of.close(exchange, "", 1)

    route = served(of, responses(sealed_item(SEAL), sealed_item(theirs)), 2, *reasoned("gAAAAABthird0123456789abc", 3))
    assert route.account.id == tried.account.id
    assert [item.get("encrypted_content") for item in json.loads(route.body or b"")["input"]] == [None, theirs]


def test_what_is_refused_without_what_was_sealed_is_refused() -> None:
    """A3: no second time, and not where there is nothing to take out."""
    of, _ = begun("strip")
    exchange = opened(of, responses(sealed_item(SEAL)), 1)
    routed(of, exchange, 1)
    assert answer(of, exchange, *UNREADABLE, now=1)[-1] == "next"
    routed(of, exchange, 1)
    assert answer(of, exchange, *UNREADABLE, now=1)[-1] == "deliver"
    plain = opened(of, responses(), 2)
    routed(of, plain, 2)
    assert answer(of, plain, *UNREADABLE, now=2)[-1] == "deliver"


@pytest.mark.parametrize(
    ("item", "what"),
    [
        ({"type": "compaction", "encrypted_content": SEAL}, "compacted history"),
        ({"type": "item_reference", "id": "rs_1"}, "stored response"),
    ],
)
@pytest.mark.parametrize("owner", ["refuse", "try", "strip"])
def test_what_is_kept_for_one_account_does_not_move(item: dict[str, Any], what: str, owner: str) -> None:
    """A3: a compacted history is all there is of it, and a reference is nothing elsewhere."""
    of, home = begun(owner)
    exchange = opened(of, responses(item), 1)
    assert routed(of, exchange, 1).account.id == home
    answer(of, exchange, *OUT, now=1)
    refused = of.next(exchange, 1)

    assert isinstance(refused, Refusal)
    assert f"owns this conversation's {what}" in refused.message
    assert "failover.owner" not in refused.message


def test_the_owner_is_removed_from_the_settings() -> None:
    """A3: an account that is gone holds no conversation."""
    of, home = begun("strip")
    of.reload(replace(of.config, accounts=tuple(one for one in of.config.accounts if one.id != home)))

    assert routed(of, opened(of, responses(sealed_item(SEAL)), 1), 1).account.id != home


def messages(**more: Any) -> Request:
    asked = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}], **more}
    return request(asked, "/v1/messages", x_session_id="s")


def claude(number: str) -> tuple[Head, Chunk, End]:
    said = {"id": number, "type": "message", "content": [{"type": "text", "text": "hi"}], "stop_reason": "end_turn"}
    return Head(200, JSON), Chunk(json.dumps(said).encode()), End()


def test_what_belongs_to_the_old_account_does_not_travel() -> None:
    """P9: within the exchange that moves, and in later turns; at home not a byte changes."""
    of = router(account("a"), account("b"), account("c"))
    home = served(of, messages(workspace_id="wrkspc_1"), 0, *claude("msg_01abcdef0123456789abcd")).account.id
    again = messages(workspace_id="wrkspc_1", diagnostics={"previous_message_id": "msg_01abcdef0123456789abcd"})
    exchange = opened(of, again, 1)
    assert (routed(of, exchange, 1).account.id, exchange.attempts[-1].route.body) == (home, None)
    answer(of, exchange, *bad(401, type="authentication_error"), now=1)
    moved = routed(of, exchange, 9)
    assert moved.account.id != home
    assert json.loads(moved.body or b"") == {
        "model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}],
        "diagnostics": {"previous_message_id": None},
    }  # fmt: skip
    answer(of, exchange, *claude("msg_01zyxwvu9876543210zyxw"), now=9)
    of.close(exchange, "", 9)

    known = messages(diagnostics={"previous_message_id": "msg_01zyxwvu9876543210zyxw"})
    later = opened(of, known, 10)
    route = routed(of, later, 10)
    assert (route.account.id, route.body) == (moved.account.id, None)


def test_a_header_of_the_old_account_stays_behind() -> None:
    """P9: a workspace, chosen by a header."""
    of = router(account("a"), account("b"))
    asked = request(None, "/v1/messages", x_session_id="s", anthropic_workspace_id="wrkspc_1")
    exchange = opened(of, asked)
    first = routed(of, exchange)
    assert "anthropic-workspace-id" not in dict(first.edit.headers)
    answer(of, exchange, *bad(401, type="authentication_error"))

    assert dict(routed(of, exchange).edit.headers)["anthropic-workspace-id"] is None


def test_a_workspace_is_left_behind_by_the_conversation_that_moves_alone() -> None:
    """P9: another conversation that begins elsewhere keeps it: accounts of one organisation may share workspaces."""
    of = router(*(account(name) for name in "abcdef"))
    homes = set()
    for n in range(12):
        asked = replace(messages(workspace_id="wrkspc_1"), headers=Headers([("x-session-id", f"s{n}")]))
        for turn in range(2):
            route = served(of, asked, n, *claude(f"msg_{n}_{turn}_abcdef0123456789ab"))
            assert route.body is None
        homes.add(route.account.id)

    assert len(homes) > 1


def test_a_workspace_stays_behind_in_later_turns_too() -> None:
    """P9: after the move the client still sends it."""
    of = router(account("a"), account("b"))
    asked = messages(workspace_id="wrkspc_1")
    home = served(of, asked, 0, *claude("msg_1_abcdef0123456789abcd")).account.id
    served(of, asked, 1, *bad(401, type="authentication_error"))
    for turn in range(2, 4):
        route = served(of, asked, turn, *claude(f"msg_{turn}_abcdef0123456789abcd"))
        assert route.account.id != home
        assert "workspace_id" not in json.loads(route.body or b"")


def stream_failed(code: str) -> tuple[AnswerEvent, ...]:
    error = {"code": code, "message": "The encrypted content could not be verified."}
    failed = {"type": "response.failed", "response": {"id": "resp_9", "object": "response", "error": error}}
    return Head(200, SSE), *events(failed), End()


def test_a_stream_that_begins_with_the_refusal_is_taken_back_too() -> None:
    """A3: while the client has seen nothing of it."""
    of, home = begun("strip")
    exchange = opened(of, responses(sealed_item(SEAL), stream=True), 1)
    routed(of, exchange, 1)
    reactions = answer(of, exchange, *stream_failed("invalid_encrypted_content"), now=1)
    assert "next" in reactions
    route = routed(of, exchange, 1)

    assert route.account.id == home
    assert b"encrypted_content" not in (route.body or b"encrypted_content")


@pytest.mark.parametrize(
    ("path", "body", "error"),
    [
        ("/v1/messages",
         {"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": [
             {"type": "thinking", "thinking": "hm", "signature": SEAL}, {"type": "text", "text": "t"}]},
             {"role": "user", "content": "?"}]},
         {"type": "invalid_request_error", "message": "messages.1: Invalid `signature` in `thinking` block"}),
        ("/v1beta/models/m:generateContent",
         {"contents": [{"role": "user", "parts": [{"text": "hi"}]},
                       {"role": "model", "parts": [{"text": "t", "thoughtSignature": SEAL}]},
                       {"role": "user", "parts": [{"text": "?"}]}]},
         {"code": 400, "message": "Thought signature is not valid"}),
        ("/v1/responses",
         {"input": [{"role": "user", "content": "hi"}, sealed_item(SEAL),
                    {"role": "user", "content": "?"}]},
         {"code": "invalid_encrypted_content", "type": "invalid_request_error"}),
    ],
)  # fmt: skip
@pytest.mark.parametrize("owner", ["refuse", "try", "strip"])
def test_every_family_says_it_in_its_own_words(path: str, body: Any, error: dict[str, Any], owner: str) -> None:
    """A3: encrypted reasoning, signed thinking and thought signatures, of an account nobody here knows."""
    of = router(failover=Failover(owner=owner))  # type: ignore[arg-type]
    exchange = opened(of, request({"model": "m", **body}, path, x_session_id="s"))
    first = routed(of, exchange)
    reaction = answer(of, exchange, *bad(400, **error))[-1]
    assert (first.body, reaction) == (None, "next" if owner == "strip" else "deliver")
    if owner == "strip":
        again = routed(of, exchange)
        assert SEAL.encode() not in (again.body or SEAL.encode())
        assert again.account.id == first.account.id


def test_a_session_header_with_a_word_that_many_use_is_replaced_by_ours() -> None:
    """I1: `X-Session-ID: default` would be one session upstream for all of them; any other name stays the client's."""
    of = router(account("a"))
    ours = []
    words = ("default", "Main", "test", "undefined", "{{session}}")
    for name in (*words, "chat-17", "3f2b8a52-1b8e-4d0e-9c59-2d8f9f3f4c11"):
        exchange = opened(of, request(x_session_id=name))
        route = of.next(exchange, 0.0)
        assert isinstance(route, Route)
        went = dict(route.edit.headers).get("X-Session-ID")
        assert went in (None, route.session_id)
        ours.append(went is not None)

    assert ours == [True] * len(words) + [False, False]
