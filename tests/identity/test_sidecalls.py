"""Calls beside a conversation."""

from __future__ import annotations

import pytest

from patchbay.identity import sidecalls

from .traffic import CHAT, GEMINI, MESSAGES, RESPONSES, chat, request

TITLE = "You are a title generator. You output ONLY a thread title. Nothing else."


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/messages/count_tokens?beta=true", {}),
        ("/v1beta/models/gemini-2.5-pro:countTokens", {}),
        ("/v1/responses/input_tokens", {}),
        (MESSAGES, {"max_tokens": 1}),
        (CHAT, {"max_completion_tokens": 1}),
        (RESPONSES, {"max_output_tokens": 0}),
        (GEMINI, {"generationConfig": {"maxOutputTokens": 1}}),
    ],
)
def test_counting_and_warming_up_is_a_probe(path, body):
    assert sidecalls.is_probe(request(path, body))


@pytest.mark.parametrize("limit", [2, 4096, None, True, "1"])
def test_a_call_that_may_say_something_is_none(limit):
    assert not sidecalls.is_probe(request(MESSAGES, {"max_tokens": limit}))


def test_a_short_call_told_to_find_a_title_names_a_chat():
    told = {"role": "system", "content": TITLE}

    assert sidecalls.names_a_chat(request(CHAT, {"messages": [told, *chat("fix the parser")["messages"]]}))
    assert sidecalls.names_a_chat(request(MESSAGES, chat("hi", system="Write a short title for this conversation.")))


def test_a_call_with_tools_or_a_history_does_not():
    assert not sidecalls.names_a_chat(request(MESSAGES, chat("hi", system=TITLE, tools=[{"name": "read"}])))
    assert not sidecalls.names_a_chat(request(MESSAGES, chat("a", "b", "c", "d", "e", system=TITLE)))


def test_a_user_who_wants_a_title_has_a_conversation():
    assert not sidecalls.names_a_chat(request(CHAT, chat("Write a title for my essay")))
