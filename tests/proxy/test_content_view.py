"""The content view: which flows it takes, what it shows of them, and that it never raises."""

from __future__ import annotations

import gc
import json
from collections.abc import Iterator
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st
from mitmproxy import contentviews, ctx, http
from mitmproxy.test import taddons, tflow
from mitmproxy.websocket import WebSocketMessage
from wsproto.frame_protocol import Opcode

from patchbay.proxy import content_view, flow_metadata as names
from patchbay.proxy.content_view import VIEWS, ConversationView
from scripts.content_view import fuzz

from .driven import Driven
from .test_decision_card import LINE

ASKED = {"model": "m", "messages": [{"role": "user", "content": "the question"}]}
SERVED = {f"{names.PREFIX}{name}": value for name, value in LINE.items()}


@pytest.fixture(autouse=True, scope="module")
def _mitmproxy() -> Iterator[None]:
    with taddons.context() as around:
        around.options.add_option("web_port", int, 8081, "mitmweb's own")
        content_view.install()
        yield


def flow(
    path: str = "/v1/chat/completions", asked: Any = None, answered: bytes = b"", **metadata: Any
) -> http.HTTPFlow:
    found = tflow.tflow(resp=True)
    assert found.response
    found.request.method, found.request.path = "POST", path
    found.request.content = json.dumps(ASKED if asked is None else asked).encode()
    found.request.headers["content-type"] = found.response.headers["content-type"] = "application/json"
    found.response.content = answered
    found.metadata |= metadata
    return found


def shown(found: http.HTTPFlow, *, answer: bool = False, view: str = "auto") -> contentviews.ContentviewResult:
    message = found.response if answer else found.request
    assert message
    return contentviews.prettify_message(message, found, view)


def test_a_served_flow_is_a_conversation_with_its_decision_first() -> None:
    found = shown(flow(**SERVED))

    assert (found.view_name, found.syntax_highlight) == ("conversation", "none")
    assert found.text.startswith("account    home-1 · home")
    assert found.text.index("98%") < found.text.index("the question")


@pytest.mark.parametrize("answer", [True, False])
def test_the_answer_comes_before_the_question_on_both_pages(answer: bool) -> None:
    """mitmweb opens a flow at its request, and the answer should be no further click away."""
    found = shown(flow(answered=b'{"id": "an answer"}', **SERVED), answer=answer)

    assert found.text.index("account") < found.text.index("an answer") < found.text.index("the question")


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"<html><h1>too many <b>tools</b></h1>", "<h1>too many"),
        (b"x" * 3000, "xxx …"),
        (bytes(range(128, 255)), "no text"),
    ],
)
def test_an_answer_that_is_no_conversation_stands_on_the_request_s_page(body: bytes, said: str) -> None:
    found = flow(answered=body, **SERVED)
    assert found.response
    found.response.status_code, found.response.headers["content-type"] = 400, "text/html; charset=utf-8"
    text = shown(found).text

    assert said in text and f"400 · text/html · {len(body):,} bytes" in text
    assert text.index(said) < text.index("the question")


def test_mitmdump_prints_each_message_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(content_view, "_is_printed", lambda: True)
    served = flow(answered=b'{"id": "an answer"}', **SERVED)
    asked, answered = shown(served).text, shown(served, answer=True).text

    assert ("account" in asked, "the question" in asked, "an answer" in asked) == (True, True, False)
    assert ("account" in answered, "the question" in answered, "an answer" in answered) == (False, False, True)


def test_a_flow_of_a_file_is_known_by_its_path() -> None:
    found = shown(flow())

    assert found.view_name == "conversation"
    assert "account" not in found.text


@pytest.mark.parametrize(
    ("path", "asked"),
    [("/", ASKED), ("/v1/messages", {"text": "a chat of people"}), ("/v1/chat/completions", {}), ("/v1/models", ASKED)],
)
def test_no_other_flow_is_taken(path: str, asked: Any) -> None:
    assert shown(flow(path, asked)).view_name == "JSON"


def test_other_content_is_left_to_its_own_view() -> None:
    served = flow("/v1/images/generations", answered=b"\x89PNG\r\n\x1a\n...", **SERVED)
    assert served.response
    served.response.headers["content-type"] = "image/png"

    assert shown(served, answer=True).view_name != "conversation"


def test_a_request_without_a_body_still_has_its_decision() -> None:
    served = flow("/v1/models", **SERVED)
    served.request.content = b""

    assert shown(served).text.startswith("account    home-1")


def test_what_is_no_conversation_is_shown_as_it_is() -> None:
    found = shown(flow("/v1/models", answered=b'{"data": [{"id": "m-1"}]}', **SERVED), answer=True)

    assert '  "data": [' in found.text


def test_a_request_on_its_way_shows_its_account() -> None:
    driven = Driven()
    driven.open()
    driven.flow.patchbay = driven.driver  # type: ignore[attr-defined]
    found = shown(driven.flow)

    assert found.text.startswith("account    main")
    assert "under way" in found.text


def test_an_answer_that_still_streams_shows_what_came_of_it() -> None:
    driven = Driven()
    driven.open()
    driven.flow.patchbay = driven.driver  # type: ignore[attr-defined]
    driven.flow.response = http.Response.make(200, b"", {"content-type": "text/event-stream"})
    driven.flow.response.data.content = None
    begun = b'data: {"choices": [{"index": 0, "delta": {"content": "the beginn"}}]}\n\n'
    driven.driver.streamed_copy += begun + b'data: {"choices": [{"in'
    text = shown(driven.flow).text

    assert "under way for " in text and "the beginn" in text and "(more is to come)" in text
    assert "ends here" not in text

    driven.driver.closed = True
    assert "the beginn" not in shown(driven.flow).text


def test_a_page_that_was_shown_under_way_is_made_anew_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """The console keeps pages by their bytes, and a request's bytes stay as they are."""
    changed: list[object] = []
    monkeypatch.setattr(contentviews.registry, "on_change", SimpleNamespace(send=changed.append))
    driven = Driven()
    driven.open()
    content_view.ended(driven.flow)
    assert changed == []

    driven.flow.patchbay = driven.driver  # type: ignore[attr-defined]
    shown(driven.flow)
    content_view.ended(driven.flow)
    content_view.ended(driven.flow)
    assert len(changed) == 1


def test_an_edited_request_says_what_differs() -> None:
    driven = Driven()
    driven.open()
    driven.flow.patchbay = driven.driver  # type: ignore[attr-defined]
    driven.flow.backup()
    driven.flow.request.content = b'{"model": "m", "messages": [], "top_p": 1}'
    driven.flow.request.headers["x-mine"] = "1"
    text = shown(driven.flow).text

    assert "edited" in text
    assert "members messages, top_p" in text
    assert "headers x-mine" in text
    assert "sk-" not in text


def test_the_full_view_is_one_choice_away() -> None:
    assert shown(flow(**SERVED), view="conversation-full").view_name == "conversation-full"


def test_a_socket_shows_the_answer_at_the_message_that_asked() -> None:
    upgraded = tflow.twebsocketflow()
    upgraded.request.method, upgraded.request.path = "GET", "/v1/responses"
    assert upgraded.websocket
    said = [
        (True, {"type": "response.create", "model": "m", "input": "the question"}),
        (False, {"type": "response.output_text.delta", "delta": "Hel"}),
        (False, {"type": "response.completed", "response": {"id": "the end"}}),
        (True, {"type": "response.create", "model": "m", "input": "another"}),
    ]
    upgraded.websocket.messages = [
        WebSocketMessage(Opcode.TEXT, from_client, json.dumps(event).encode()) for from_client, event in said
    ]
    upgraded.metadata |= SERVED
    pages = [contentviews.prettify_message(each, upgraded) for each in upgraded.websocket.messages]

    assert {page.view_name for page in pages} == {"conversation"}
    assert pages[0].text.startswith("account    home-1")
    assert "the end" in pages[0].text
    assert "another" not in pages[0].text
    assert [page.text for page in pages[1:3]] == ["response.output_text.delta Hel", "response.completed"]


def test_a_socket_of_others_is_left_alone() -> None:
    other = tflow.twebsocketflow()
    assert other.websocket

    assert contentviews.prettify_message(other.websocket.messages[0], other).view_name != "conversation"


@pytest.mark.parametrize("view", content_view.VIEWS)
@settings(max_examples=50)
@given(body=st.binary(max_size=300), answered=st.binary(max_size=300))
def test_no_body_is_too_strange(view: content_view.ConversationView, body: bytes, answered: bytes) -> None:
    found = flow("/v1/messages", answered=answered, **SERVED)
    found.request.content = body
    for message in (found.request, found.response):
        assert isinstance(
            view.prettify(message.content or b"", contentviews.Metadata(found, http_message=message)), str
        )


def test_damaged_bodies_of_every_dialect_are_shown_safely() -> None:
    """The sample of `scripts/content_view`."""
    assert fuzz(300, Random(1)) == 0


def test_a_failure_shows_the_text_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*anything: object) -> Any:
        raise RuntimeError

    monkeypatch.setattr(content_view.transcript, "of_request", fails)
    text = shown(flow(**SERVED)).text

    assert text.startswith("Patchbay could not read this")
    assert "the question" in text


def test_the_width_is_that_of_the_program(monkeypatch: pytest.MonkeyPatch) -> None:
    class Screen:
        def get_cols_rows(self) -> tuple[int, int]:
            return 64, 20

    monkeypatch.setattr(ctx.master, "ui", Screen(), raising=False)
    text = shown(flow(asked={**ASKED, "messages": [{"role": "user", "content": "word " * 100}]})).text

    assert max(map(len, text.split("\n"))) <= 64


@pytest.mark.parametrize("is_on", [True, False])
def test_a_page_is_made_without_the_garbage_collector_which_is_as_before_then(
    monkeypatch: pytest.MonkeyPatch, is_on: bool
) -> None:
    seen = []

    def page(self: ConversationView, data: bytes, metadata: object) -> str:
        seen.append(gc.isenabled())
        raise ValueError

    monkeypatch.setattr(ConversationView, "_page", page)
    was_on = gc.isenabled()
    try:
        gc.enable() if is_on else gc.disable()
        VIEWS[0].prettify(b"{}", contentviews.Metadata())
        assert seen == [False] and gc.isenabled() is is_on
    finally:
        gc.enable() if was_on else gc.disable()
