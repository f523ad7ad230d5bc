"""What one exchange says of itself, and the decision made of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec
import pytest

from patchbay import dialects, given_text
from patchbay.body import Body
from patchbay.correlation import Stamps
from patchbay.exchange import Exchange, continued_thread, decide, record_of
from patchbay.identity.signals import SIGNALS
from patchbay.values.answer import Fact, Head, Usage
from patchbay.values.decision import Outcome, Refusal, Verdict
from patchbay.values.http import Headers

from .test_router import JSON, opened, request, routed, router


def begun(path: str = "/v1/chat/completions", method: str = "POST", now: float = 100.0, **more: Any) -> Exchange:
    body = more.pop("body", None)
    of = router()
    asked = replace(request(body, path, **more), method=method, endpoint=dialects.endpoint(method, path))
    exchange = opened(of, asked, now)
    routed(of, exchange, now)
    return exchange


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "PUT", "DELETE", "POST"])
def test_a_resource_may_be_asked_twice_where_its_method_is_safe(method: str) -> None:
    exchange = begun("/v1/files/file-1", method)

    assert exchange.is_safe == exchange.repeatable == (method in ("GET", "HEAD", "OPTIONS"))


def test_a_model_may_be_asked_twice_unless_it_works_in_the_background_or_the_body_is_gone() -> None:
    assert begun().repeatable
    assert begun(body={"model": "m", "background": False}).repeatable
    assert not begun(body={"model": "m", "background": True}).repeatable
    exchange = begun()
    exchange.request = replace(exchange.request, body=Body(None))
    assert not exchange.repeatable


def test_a_generation_is_posted_and_no_message_of_a_socket() -> None:
    exchange = begun()
    assert exchange.is_generation and not exchange.is_upgrade
    exchange.socket_lease = exchange.attempts[0].lease
    assert not exchange.is_generation

    upgrade = begun("/v1/responses", "GET", upgrade="WebSocket")
    assert upgrade.is_upgrade and not upgrade.is_generation
    assert not begun("/v1/files", "POST").is_generation


@pytest.mark.parametrize("status", [0, 200, 399, 400, 599])
def test_an_attempt_is_good_or_failed_by_its_status(status: int) -> None:
    attempt = begun().attempts[0]
    attempt.head = Head(status, JSON) if status else None

    assert (attempt.status, attempt.is_error, attempt.is_good) == (status, status >= 400, 0 < status < 400)


def _nested(path: str) -> dict[str, Any]:
    name, _, rest = path.partition(".")
    return {name: _nested(rest) if rest else "id"}


# Each member that names a stored conversation, or an answer of it, and a stored prompt.
STORED = [_nested(each.where.removeprefix("body ")) for each in SIGNALS if each.tier == "conversation"]


@pytest.mark.parametrize("body", [*STORED, {"prompt": {"id": "p"}}], ids=str)
def test_words_that_are_stored_at_an_account_are_not_known(body: dict[str, Any]) -> None:
    text = "quoted words of the client, long enough"
    known = begun(body={"model": "m", "messages": [text]})
    unknown = begun(body={"model": "m", "messages": [text], **body})

    assert known.client_text is known.client_text
    assert known.client_text._raw == known.request.body.raw and unknown.client_text._raw is None


@pytest.mark.parametrize(
    ("thread", "previous"),
    [({"previous_message_id": "m"}, "m"), ({"previous_message_id": 1}, ""), ("m", ""), (None, "")],
)
def test_a_thread_is_continued_by_the_id_of_its_last_message(thread: object, previous: str) -> None:
    assert continued_thread(Body(b"{}") if thread is None else _body(thread)) == previous


def _body(thread: object) -> Body:
    return request({"thread": thread}).body


# -- the decision ------------------------------------------------------------------------------------------------------


def test_a_decision_before_any_attempt_names_no_account() -> None:
    exchange = opened(router(), request(), 100.0)
    exchange.refusal = Refusal(503, "none_left", "no account")

    found = decide(exchange, "", 101.5, status=503, mode="serve")

    assert (found.account, found.provider, found.request_id, found.session_id, found.pool) == ("", "", "", "", "")
    assert (found.binding, found.error, found.event_type) == ("none", "none_left", "chat_completion_error")
    assert (found.verdict, found.attempts, found.tokens, found.status) == ("unverifiable", [], None, 503)
    assert exchange.verdict == Verdict("unverifiable", note="nothing was sent") and exchange.candidates == ()
    assert not exchange.is_nameless and exchange.records() == []


def test_a_decision_has_the_ids_the_times_and_the_counts() -> None:
    exchange = begun(x_session_id="s", x_request_id="mine", user_agent="curl/8.5.0")
    attempt = exchange.attempts[0]
    attempt.head, attempt.outcome, attempt.finished = Head(200, JSON), Outcome("ok"), 100.25
    attempt.usage, exchange.first_byte = Usage(5, 2), 100.12345

    found = decide(exchange, "", 101.23456, status=None, mode="shadow")

    lease = attempt.lease
    assert (found.account, found.request_id, found.session_id) == (lease.account.id, lease.request_id, lease.session_id)
    assert (found.pool, found.binding, found.provider) == (lease.pool, "new", "generic")
    assert (found.session, found.tier) == (exchange.identity.affinity, "generic_header")
    assert (found.time, found.duration_seconds, found.first_byte_seconds) == (100.0, 1.2346, 0.1235)
    assert found.tool == "curl"
    assert (found.status, found.tokens, found.mode, found.client_request_id) == (200, Usage(5, 2), "shadow", "mine")
    assert found.encoded()["attempts"] == [
        {"account": lease.account.id, "request_id": lease.request_id, "status": 200, "outcome": "ok", "seconds": 0.25}
    ]
    assert exchange.candidates == lease.candidates


@pytest.mark.parametrize("name", ["\ud83d", "a\nb\x1b[31m\u202ec", "m" * 2_000_000, "sk-own"])
def test_names_of_the_client_are_bounded_printable_and_without_its_key(name: str) -> None:
    """They stand in the journal, in flows, and in memory as long as the conversation; routing uses the name itself."""
    exchange = begun(
        path="/v1/chat/completions/" + name.replace("\ud83d", "\udcff"), body={"model": name}, user_agent=name
    )
    exchange.shown = lambda text: given_text.fit(text, lambda found: found.replace("sk-own", "covered"))
    record = record_of(exchange, exchange.attempts[0].lease, Stamps(), 100.0)

    found = decide(exchange, "", 101.0, status=200, mode="serve")

    assert exchange.model == name
    for text in (found.model, found.path, found.method, found.tool, record.model, record.suffix):
        assert len(text) <= 256 and text.isprintable() and "sk-own" not in text
    assert msgspec.json.encode(found)


def test_what_the_client_got_goes_before_what_the_upstream_said() -> None:
    exchange = begun()
    attempt = exchange.attempts[0]
    attempt.head, attempt.error, exchange.refusal = Head(500, JSON), "upstream", Refusal(503, "ours", "")

    assert decide(exchange, "theirs", 101.0, status=499, mode="serve").status == 499
    assert [decide(exchange, error, 101.0, status=None, mode="serve").error for error in ("theirs", "")] == [
        "theirs", "upstream",
    ]  # fmt: skip
    attempt.error = ""
    assert decide(exchange, "", 101.0, status=None, mode="serve").error == "ours"


@pytest.mark.parametrize(
    ("path", "name"),
    [("/v1/chat/completions", "chat_completion"), ("/v1/messages", "anthropic"), ("/v1/responses", "openai_responses")],
)
def test_an_event_is_a_success_or_an_error_of_its_dialect(path: str, name: str) -> None:
    exchange = begun(path)
    exchange.attempts[0].outcome = Outcome("ok")

    def event(error: str = "", status: int | None = 200) -> str:
        return decide(exchange, error, 101.0, status=status, mode="serve").event_type

    assert (event(), event(status=None), event(status=399)) == (f"{name}_success",) * 3
    assert (event("client_left"), event(status=400)) == (f"{name}_error",) * 2
    exchange.attempts[0].outcome = Outcome("rate")
    assert event() == f"{name}_error"
    exchange.attempts[0].outcome, exchange.refusal = Outcome("ok"), Refusal(429, "late", "")
    assert event() == f"{name}_error"


@pytest.mark.parametrize(
    ("headers", "found"),
    [({"x_request_id": "a", "x_client_request_id": "b"}, "a"), ({"x_client_request_id": "b"}, "b"), ({}, ""),
     ({"x_request_id": "x" * 200}, "x" * 128), ({"x_request_id": "a\x07"}, "")],
)  # fmt: skip
def test_the_client_s_own_id_is_kept_printable_and_short(headers: dict[str, str], found: str) -> None:
    assert decide(begun(**headers), "", 101.0, status=200, mode="serve").client_request_id == found


def test_an_exchange_speaks_for_its_last_attempt() -> None:
    exchange = begun()
    of = router()
    other = opened(of, request(x_session_id="t"))
    routed(of, other)
    exchange.attempts = [exchange.attempts[0], other.attempts[0], begun(path="/v1/responses").attempts[0]]
    exchange.attempts[1].watch = exchange.attempts[0].watch
    last = exchange.attempts[2]
    found = last.watch.record

    assert (exchange.attempt, exchange.candidates) == (last, last.lease.candidates)
    assert exchange.attempts[0].lease.candidates is not last.lease.candidates
    assert exchange.candidates is last.lease.candidates
    assert [each["request_id"] for each in exchange.records()][-1] == found.request_id
    last.watch.see(Fact("echo", last.lease.request_id, "header x-request-id", "edge"), 200, 101.0)
    assert exchange.verdict == last.watch.verdict() != exchange.attempts[0].watch.verdict()


def test_a_stranger_s_id_in_the_last_answer_makes_an_exchange_nameless() -> None:
    of = router()
    exchange, lost = opened(of, request(), 100.0), opened(router(), request(x_session_id="t"), 100.0)
    routed(of, exchange, 100.0)
    exchange.attempts *= 2
    foreign = of._mint.new(1.0, bytes)
    exchange.attempts[-1].watch.see(Fact("echo", foreign, "header x-request-id", "edge"), 200, 101.0)

    assert exchange.is_nameless
    assert not lost.is_nameless


def test_a_crosstalk_is_an_event_of_its_own() -> None:
    of = router()
    one, two = (opened(of, request({"model": "m", "messages": [text]}), 100.0) for text in ("one", "two"))
    routed(of, one, 100.0)
    routed(of, two, 100.0)
    foreign = one.attempts[0].lease.request_id
    of.answered(two, Head(200, Headers([("x-request-id", foreign)])), 101.0)
    found = decide(two, "", 102.0, status=200, mode="serve")

    assert (found.event_type, found.verdict, found.victim) == ("crosstalk", "crosstalk", one.id)
    assert {each.received for each in found.findings} == {foreign}


def test_a_path_of_no_dialect_is_an_event_too() -> None:
    found = decide(begun("/v1/nothing", "GET"), "", 101.0, status=200, mode="serve")

    assert (found.event_type, found.method, found.path) == ("request_success", "GET", "/v1/nothing")


@pytest.mark.parametrize(("length", "kept"), [(127, 127), (128, 128), (129, 128)])
def test_a_client_s_id_is_kept_to_128_characters(length: int, kept: int) -> None:
    found = decide(begun(x_request_id="x" * length), "", 101.0, status=200, mode="serve")

    assert len(found.client_request_id) == kept


def test_the_owner_of_a_conversation_knows_words_that_are_not_known_here() -> None:
    exchange = begun()
    exchange.identity = replace(exchange.identity, owner=frozenset({"a"}))
    text = exchange.client_text

    assert text._raw is None
    assert begun().attempts[0].held_bytes == 0


def test_an_attempt_under_way_has_lasted_until_now() -> None:
    exchange = begun()
    (tried,) = decide(exchange, "", 100.5, status=None, mode="serve").attempts

    assert (tried.status, tried.outcome, tried.seconds) == (None, "", 0.5)
