"""Which ids come back, and where."""

from __future__ import annotations

import json
import ssl
from typing import Any

import httpx
import pytest

from simulator import simulator_thread
from simulator.echo import answer_id
from simulator.exchange import Incoming

NOBODY = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # for plain HTTP: to read the roots takes longer than a test
SENT = {"X-Request-ID": "rid-1"}


def events(text: str) -> list[dict[str, Any]]:
    return [json.loads(line[6:]) for line in text.splitlines() if line.startswith("data: {")]


def answered(mode: str, question: Any, stream: bool = False, every: bool = True, **more: Any) -> httpx.Response:
    setup = simulator_thread({"sk-a": "a"}, echo=mode, every=every)
    with setup as sim, httpx.Client(verify=NOBODY, base_url=sim.url, timeout=30) as client:
        return question.ask(client, "hello", stream, headers=SENT, **more)


def test_both_gives_header_and_body(question):
    whole = answered("both", question)
    assert whole.headers["x-request-id"] == whole.json()["request_id"] == "rid-1"
    streamed = answered("both", question, stream=True)
    assert streamed.headers["x-request-id"] == "rid-1"
    assert {event.get("request_id") for event in events(streamed.text)} == {"rid-1"}


def test_the_body_may_say_it_in_the_first_event_only(question):
    said = [event.get("request_id") for event in events(answered("body", question, True, every=False).text)]
    assert said[0] == "rid-1"
    assert set(said[1:]) == {None}


@pytest.mark.parametrize(
    ("mode", "header", "body"), [("header", "rid-1", None), ("body", None, "rid-1"), ("none", None, None)]
)
def test_each_channel_works_alone(chat, mode, header, body):
    answer = answered(mode, chat)
    assert (answer.headers.get("x-request-id"), answer.json().get("request_id")) == (header, body)


def test_the_bodys_own_id_comes_back_in_the_body(chat):
    answer = answered("both", chat, request_id="in-body")
    assert (answer.headers["x-request-id"], answer.json()["request_id"]) == ("rid-1", "in-body")


def test_own_ids_stand_in_each_providers_own_header(question):
    headers = answered("own", question).headers
    name = {"anthropic": "request-id", "gemini": ""}.get(question.dialect, "x-request-id")
    found = {field: value for field, value in headers.items() if value.startswith("req_")}
    assert list(found) == ([name] if name else [])


def test_vllm_makes_the_answers_id_from_the_requests(chat):
    answer = answered("vllm", chat)
    assert answer.json()["id"] == "chatcmpl-rid-1"
    assert {event["id"] for event in events(answered("vllm", chat, True).text)} == {"chatcmpl-rid-1"}


@pytest.mark.parametrize(
    ("minted", "made"), [("chatcmpl-AbCd", "chatcmpl-rid-1"), ("msg_01AbC", "msg_rid-1"), ("AbCdEfG", "chatcmpl-rid-1")]
)
def test_an_id_keeps_the_prefix_that_it_has(minted, made):
    sent = Incoming("POST", "/", (("x-request-id", "rid-1"),), b"", "1.1", 1)

    assert answer_id("vllm", sent, {}, minted) == made


def test_an_error_gives_the_id_back_too(question):
    answer = answered("both", question, key="unknown")
    assert answer.status_code in (400, 401)
    assert answer.headers["x-request-id"] == answer.json()["request_id"] == "rid-1"


def test_what_was_not_sent_does_not_come_back(client, chat):
    answer = chat.ask(client, "hello")
    assert "x-request-id" not in answer.headers
    assert "request_id" not in answer.json()


def test_a_rule_changes_the_channel_for_one_request(sim, client, chat):
    sim.fault("echo", {"mode": "none"}, nth=2)
    came = ["x-request-id" in chat.ask(client, "hello", headers=SENT).headers for _ in range(3)]
    assert came == [True, False, True]


def test_an_unknown_mode_is_a_mistake():
    with pytest.raises(ValueError, match="'heder' is none of body, both"), simulator_thread({}, echo="heder"):
        pass
