"""Our refusals in each protocol, and the providers' errors, as we read them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from patchbay import dialects
from patchbay.answer.reader import AnswerReader
from patchbay.dialects import errors
from patchbay.values.answer import Head
from patchbay.values.decision import Refusal
from patchbay.values.http import Headers

from ..each_row import each_row

COOLDOWN = Refusal(
    429, "model_cooldown", "All credentials for model m are cooling down via provider p", 12.0,
    {"model": "m", "provider": "p", "reset_time": "12s", "reset_seconds": 12},
)  # fmt: skip
CROSSTALK = Refusal(502, "crosstalk_detected", "The answer belongs to another request")


@pytest.mark.parametrize("dialect", ["openai_chat", "openai_responses", "anthropic", "gemini", ""])
def test_we_read_our_own_refusals(dialect: str) -> None:
    answer = AnswerReader(dialect or "openai_chat")
    answer.head(Head(200, Headers([("content-type", "text/event-stream")])))
    told = [fact for fact in answer.feed(dialects.of(dialect).error_event(CROSSTALK, "pb1-x")) if fact.kind == "error"]

    assert isinstance(told[0].value, dict)
    assert told[0].value["message"] == CROSSTALK.message


def test_codex_waits_for_a_failed_response() -> None:
    """It passes over `error` events and would report a stream that broke off."""
    last = dialects.of("openai_responses").error_event(CROSSTALK, "pb1-x").split(b"\n\n")[-2]
    data = json.loads(last.partition(b"data: ")[2])

    assert last.startswith(b"event: response.failed\n")
    assert (data["type"], data["response"]["error"]["code"]) == ("response.failed", "crosstalk_detected")


def test_a_field_cannot_take_the_place_of_what_a_client_relies_on() -> None:
    refusal = Refusal(429, "c", "m", fields={"message": "x", "type": "y", "code": "z", "status": "w"})

    for name in ("openai_chat", "openai_responses", "anthropic", "gemini", ""):
        error = json.loads(dialects.of(name).error(refusal, "id"))["error"]
        assert error["message"] == "m"
        assert error["code"] in ("c", 429)


def test_google_is_told_when_to_come_back() -> None:
    details = json.loads(dialects.of("gemini").error(COOLDOWN, ""))["error"]["details"]

    assert [detail.get("retryDelay") for detail in details] == [None, "12s"]
    assert details[0]["reason"] == "model_cooldown"


@pytest.mark.parametrize(
    ("body", "code", "kind", "message"),
    [
        ({"error": {"message": "m", "type": "t", "code": "c"}}, "c", "t", "m"),
        ({"type": "error", "error": {"type": "overloaded_error", "message": "m"}}, "", "overloaded_error", "m"),
        ({"error": {"code": 429, "message": "m", "status": "RESOURCE_EXHAUSTED"}}, "429", "RESOURCE_EXHAUSTED", "m"),
        ({"object": "error", "message": "m", "type": "t", "code": 1}, "1", "t", "m"),
        ({"error": "m"}, "", "", "m"),
        ({"code": "c", "error": "m"}, "c", "", "m"),
        ({"type": "error", "code": "c", "message": "m"}, "c", "error", "m"),
    ],
)
def test_an_error_of_any_shape_is_read(body: dict[str, Any], code: str, kind: str, message: str) -> None:
    found = errors.read(body, "body")

    assert found is not None
    assert isinstance(found.value, dict)
    assert [found.value[name] for name in ("code", "type", "message")] == [code, kind, message]


@pytest.mark.parametrize("body", [{}, {"error": None}, {"error": {}}, {"error": ""}, {"id": "x"}, {"error": False}])
def test_what_is_no_error_is_none(body: dict[str, Any]) -> None:
    assert errors.read(body, "body") is None


@pytest.mark.parametrize(
    ("wait", "header"), [(None, None), (0.0, "1"), (0.2, "1"), (1.0, "1"), (1.2, "2"), (60.0, "60"), (90.5, "91")]
)
def test_retry_after_is_in_whole_seconds_and_at_least_one(wait: float | None, header: str | None) -> None:
    assert dict(errors.headers(Refusal(429, "x", "y", wait))).get("retry-after") == header


@each_row("status", [*range(400, 430), 499, 500, 502, 503, 529])
@each_row(
    ("wait", "final", "hopeless"),
    [(None, False, False), (60.0, False, False), (60.1, False, True), (None, True, True), (1.0, True, True)],
)
def test_a_hopeless_refusal_is_not_retried_where_clients_retry(
    status: int, wait: float | None, final: bool, hopeless: bool
) -> None:
    refusal = Refusal(status, "x", "y", wait, final=final)
    retried = status >= 500 or status in (408, 409, 429)

    assert errors.is_hopeless(refusal) is hopeless
    assert ("x-should-retry" in dict(errors.headers(refusal))) is (hopeless and retried)
    assert not errors.is_limit(refusal)


@pytest.mark.parametrize(
    ("body", "message", "kind", "code"),
    [
        ({"error": {"message": "m", "type": "t", "code": 7}}, "m", "t", "7"),
        ({"error": {"message": "m", "type": "t", "status": "S", "code": True}}, "m", "S", ""),
        ({"error": "flat", "code": "c"}, "flat", "", "c"),
        ({"message": "m"}, "m", "", ""),
        ({"detail": "d", "type": "t"}, "d", "t", ""),
        ({"object": "error", "message": "m"}, "m", "", ""),
        ({}, "", "", ""),
    ],
)
def test_a_refused_body_is_an_error_in_any_shape(body: dict[str, Any], message: str, kind: str, code: str) -> None:
    fact = errors.read_refused(body)

    assert (fact.kind, fact.where) == ("error", "body")
    assert isinstance(fact.value, dict)
    raw = body["error"] if isinstance(body.get("error"), dict) else body
    assert fact.value == {"code": code, "type": kind, "message": message, "raw": raw}


@pytest.mark.parametrize(
    ("refusal", "limit"),
    [
        (Refusal(429, "x", "y", 61.0, {"resets_at": 7}), True), (Refusal(429, "x", "y", 60.0, {"resets_at": 7}), False),
        (Refusal(503, "x", "y", 61.0, {"resets_at": 7}), False), (Refusal(429, "x", "y", 61.0), False),
    ],
)  # fmt: skip
def test_a_limit_lasts_longer_than_clients_wait(refusal: Refusal, limit: bool) -> None:
    assert errors.is_limit(refusal) is limit


@pytest.mark.parametrize(
    ("value", "code"), [("a", "a"), (7, "7"), (None, ""), (True, ""), ({}, ""), ([], ""), ("", "")]
)
def test_a_code_is_a_text_or_a_number(value: object, code: str) -> None:
    found = errors.read({"error": {"code": value, "message": "m"}}, "event")

    assert found is not None and isinstance(found.value, dict)
    assert (found.value["code"], found.where) == (code, "event")
