"""A refusal becomes an answer in the protocol of the client."""

from __future__ import annotations

import json

import pytest

from patchbay.proxy import own_responses
from patchbay.values.decision import Refusal

REFUSAL = Refusal(429, "too_many", "Too many requests", 2.0)


@pytest.mark.parametrize("dialect", ["openai_chat", "openai_responses", "anthropic", "gemini", ""])
def test_it_has_the_status_and_says_why(dialect: str) -> None:
    response = own_responses.error_response(dialect, REFUSAL, "pb1-x")

    assert response.status_code == 429
    assert response.headers["content-type"] == "application/json"
    assert response.headers["cache-control"] == "no-store"
    assert response.headers["x-patchbay-request-id"] == "pb1-x"
    assert response.headers["retry-after"] == "2"
    assert "Too many requests" in json.dumps(json.loads(response.content or b""))


def test_the_bodies_are_those_of_the_protocols() -> None:
    body = json.loads(own_responses.error_response("anthropic", REFUSAL, "").content or b"")
    assert (body["type"], body["error"]["message"].startswith("Too many")) == ("error", True)
    assert "error" in json.loads(own_responses.error_response("openai_chat", REFUSAL, "").content or b"")


def test_what_was_never_sent_has_no_id() -> None:
    assert "x-patchbay-request-id" not in own_responses.error_response("openai_chat", REFUSAL, "").headers


def test_an_error_names_its_session_where_it_has_one() -> None:
    named = own_responses.error_response("openai_chat", REFUSAL, "pb1-x", "e718a2c4")
    assert named.headers["x-patchbay-session"] == "e718a2c4"
    assert "x-patchbay-session" not in own_responses.error_response("openai_chat", REFUSAL, "pb1-x").headers
