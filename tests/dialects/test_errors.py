"""Our refusals, as the official SDKs understand them, and the providers' errors, as we do."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import anthropic
import openai
import pytest
from google import genai
from google.genai import errors as google_errors

from patchbay import dialects
from patchbay.answer.reader import AnswerReader
from patchbay.dialects import errors
from patchbay.values.answer import Head
from patchbay.values.decision import Refusal
from patchbay.values.http import Headers

COOLDOWN = Refusal(
    429, "model_cooldown", "All credentials for model m are cooling down via provider p", 12.0,
    {"model": "m", "provider": "p", "reset_time": "12s", "reset_seconds": 12},
)  # fmt: skip
CROSSTALK = Refusal(502, "crosstalk_detected", "The answer belongs to another request")
BUSY = Refusal(503, "auth_unavailable", "No account can serve this now")


@contextmanager
def answering(status: int, content_type: str, body: bytes) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("content-length") or 0))
            self.send_response(status)
            self.send_header("content-type", content_type)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def refusing(dialect: str, refusal: Refusal) -> Iterator[str]:
    with answering(refusal.status, "application/json", dialects.of(dialect).error(refusal, "pb1-x")) as url:
        yield url


@contextmanager
def breaking(dialect: str, refusal: Refusal, before: bytes = b"") -> Iterator[str]:
    with answering(200, "text/event-stream", before + dialects.of(dialect).error_event(refusal, "pb1-x")) as url:
        yield url


OPENAI_ERRORS = [
    (COOLDOWN, openai.RateLimitError),
    (CROSSTALK, openai.InternalServerError),
    (BUSY, openai.InternalServerError),
    (Refusal(400, "account_unknown", "No"), openai.BadRequestError),
    (Refusal(403, "pin_not_allowed", "No"), openai.PermissionDeniedError),
]


@pytest.mark.parametrize(("refusal", "wanted"), OPENAI_ERRORS)
@pytest.mark.parametrize("dialect", ["openai_chat", "openai_responses"])
def test_openai_s_sdk_raises_its_own_exception(dialect: str, refusal: Refusal, wanted: type[Exception]) -> None:
    with refusing(dialect, refusal) as url, _openai(url) as client, pytest.raises(wanted) as raised:
        _ask_openai(client, dialect, stream=False)

    error: Any = raised.value
    assert error.code == refusal.code
    assert refusal.message in str(error)
    assert refusal.fields.items() <= error.body.items()


@pytest.mark.parametrize("dialect", ["openai_chat", "openai_responses"])
def test_openai_s_sdk_raises_in_mid_stream(dialect: str) -> None:
    with breaking(dialect, CROSSTALK) as url, _openai(url) as client, pytest.raises(openai.APIError) as raised:
        list(_ask_openai(client, dialect, stream=True))

    assert raised.value.message == CROSSTALK.message
    assert raised.value.code == "crosstalk_detected"


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


def _openai(url: str) -> openai.OpenAI:
    return openai.OpenAI(base_url=url, api_key="x", max_retries=0)


def _ask_openai(client: openai.OpenAI, dialect: str, *, stream: bool) -> Any:
    if dialect == "openai_chat":
        return client.chat.completions.create(model="m", messages=[{"role": "user", "content": "hi"}], stream=stream)
    return client.responses.create(model="m", input="hi", stream=stream)


@pytest.mark.parametrize(
    ("refusal", "wanted", "kind"),
    [
        (COOLDOWN, anthropic.RateLimitError, "rate_limit_error"),
        (CROSSTALK, anthropic.InternalServerError, "api_error"),
        (BUSY, anthropic.InternalServerError, "overloaded_error"),
        (Refusal(400, "account_unknown", "No"), anthropic.BadRequestError, "invalid_request_error"),
        (Refusal(413, "too_large", "No"), anthropic.APIStatusError, "request_too_large"),
    ],
)
def test_anthropic_s_sdk_raises_its_own_exception(refusal: Refusal, wanted: type[Exception], kind: str) -> None:
    with refusing("anthropic", refusal) as url, _anthropic(url) as client, pytest.raises(wanted) as raised:
        _ask_anthropic(client, stream=False)

    body: Any = getattr(raised.value, "body", None)
    assert (body["type"], body["error"]["type"], body["request_id"]) == ("error", kind, "pb1-x")
    assert body["error"]["code"] == refusal.code


def test_anthropic_s_sdk_raises_in_mid_stream() -> None:
    message = b'{"id":"msg_1","type":"message","role":"assistant","content":[],"model":"m","usage":{}}'
    start = b'event: message_start\ndata: {"type":"message_start","message":' + message + b"}\n\n"

    with breaking("anthropic", CROSSTALK, start) as url, _anthropic(url) as client:
        events = iter(_ask_anthropic(client, stream=True))
        assert next(events).type == "message_start"
        with pytest.raises(anthropic.APIStatusError, match="another request"):
            next(events)


def _anthropic(url: str) -> anthropic.Anthropic:
    return anthropic.Anthropic(base_url=url, api_key="x", max_retries=0)


def _ask_anthropic(client: anthropic.Anthropic, *, stream: bool) -> Any:
    return client.messages.create(model="m", max_tokens=9, messages=[{"role": "user", "content": "hi"}], stream=stream)


@pytest.mark.parametrize(
    ("refusal", "wanted", "status"),
    [
        (COOLDOWN, google_errors.ClientError, "RESOURCE_EXHAUSTED"),
        (BUSY, google_errors.ServerError, "UNAVAILABLE"),
        (CROSSTALK, google_errors.ServerError, "INTERNAL"),
    ],
)
def test_google_s_sdk_raises_its_own_exception(refusal: Refusal, wanted: type[Exception], status: str) -> None:
    with refusing("gemini", refusal) as url, _google(url) as client, pytest.raises(wanted) as raised:
        client.models.generate_content(model="m", contents="hi")

    error: Any = raised.value
    assert (error.code, error.status, error.message) == (refusal.status, status, refusal.message)


def test_google_s_sdk_raises_in_mid_stream() -> None:
    with (
        breaking("gemini", CROSSTALK) as url,
        _google(url) as client,
        pytest.raises(google_errors.ServerError) as raised,
    ):
        list(client.models.generate_content_stream(model="m", contents="hi"))

    assert raised.value.code == 502


def _google(url: str) -> genai.Client:
    return genai.Client(api_key="x", http_options={"base_url": url, "retry_options": {"attempts": 1}})


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


@pytest.mark.parametrize("status", [*range(400, 430), 500, 502, 503, 529])
@pytest.mark.parametrize(
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
