"""Text and calls are put together from their pieces, up to the limit."""

from __future__ import annotations

import pytest

from patchbay.answer.answer_text import AnswerText
from patchbay.values.answer import Fact


def test_pieces_make_one_text_once() -> None:
    text = AnswerText(100)
    text.add("Hello")
    text.add(" there")

    assert list(text.facts()) == [Fact("text", "Hello there")]
    assert list(text.facts()) == []
    text.add("more")
    assert list(text.facts()) == []


def test_a_whole_text_at_the_end_counts_only_where_no_delta_came() -> None:
    streamed, whole = AnswerText(100), AnswerText(100)
    streamed.add("Hello")
    for each in (streamed, whole):
        each.add("Hello", whole=True)
        each.add(" there", whole=True)

    assert list(streamed.facts()) == [Fact("text", "Hello")]
    assert list(whole.facts()) == [Fact("text", "Hello there")]


def test_pieces_of_arguments_go_to_the_last_call_at_their_place() -> None:
    text = AnswerText(100)
    text.add_arguments("0", "lost")
    text.begin_call("0", "read")
    text.begin_call("1", "grep")
    text.add_arguments("0", '{"path"')
    text.add_arguments("1", "{}")
    text.add_arguments("0", ': "a"}')
    text.begin_call("0", "list")
    text.add_arguments("0", "[]")

    calls = (("read", '{"path": "a"}'), ("grep", "{}"), ("list", "[]"))
    assert list(text.facts()) == [Fact("calls", calls)]


@pytest.mark.parametrize(("size", "kinds"), [(10, ["calls", "text"]), (11, ["calls"])])
def test_text_of_exactly_the_limit_is_told(size: int, kinds: list[str]) -> None:
    text = AnswerText(10)
    text.begin_call("0", "read")
    text.add("x" * size)

    assert [fact.kind for fact in text.facts()] == kinds


@pytest.mark.parametrize(("size", "kinds"), [(9, ["calls", "text"]), (10, ["text"])])
def test_arguments_count_towards_the_limit_too(size: int, kinds: list[str]) -> None:
    text = AnswerText(10)
    text.add("x")
    text.begin_call("0", "read")
    text.add_arguments("0", "y" * size)

    assert [fact.kind for fact in text.facts()] == kinds


def test_of_a_text_that_grows_too_long_nothing_is_told() -> None:
    text = AnswerText(10)
    for piece in ("x" * 6, "y" * 5, ""):
        text.add(piece)

    assert list(text.facts()) == []


def test_calls_that_come_after_too_many_arguments_or_after_the_end_are_not_told() -> None:
    text = AnswerText(10)
    text.begin_call("0", "read")
    text.add_arguments("0", "y" * 11)
    text.begin_call("0", "list")
    text.add_arguments("0", "z")
    assert list(text.facts()) == []

    text.begin_call("0", "late")
    assert list(text.facts()) == []
