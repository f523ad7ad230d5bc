"""Our refusals, as the official SDKs understand them."""

from __future__ import annotations

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
from patchbay.values.decision import Refusal

from .test_errors import COOLDOWN, CROSSTALK

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
