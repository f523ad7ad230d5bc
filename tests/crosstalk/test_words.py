"""The words of a request's end and of an answer, and which request an answer fits better."""

from __future__ import annotations

import json

import pytest

from patchbay.crosstalk import words
from patchbay.crosstalk.words import better, fitting, of_json, of_text


@pytest.mark.parametrize(
    ("text", "count"),
    [("four", 1), ("one two", 0), ("Words words WORDS", 1), ("snake_case9", 1), ("漢字仮", 1), ("漢字仮名", 2),
     ("漢字", 0), ("한국어입니다", 4), ("カタカナ", 2), ("wordは漢字仮", 3), ("", 0), ("Straße", 1)],
)  # fmt: skip
def test_words_have_four_letters_and_scripts_without_spaces_three(text: str, count: int) -> None:
    assert len(of_text(text)) == count


@pytest.mark.parametrize(
    "text", ["hello\nworld\tagain", 'she said "hello there"', "größer Straße", "漢字仮名交じり文", "naïve café"]
)
@pytest.mark.parametrize("ascii_only", [True, False])
def test_words_are_the_same_in_json_however_it_is_escaped(text: str, ascii_only: bool) -> None:
    assert of_json(json.dumps(text, ensure_ascii=ascii_only).encode()) == of_text(text)


@pytest.mark.parametrize("ascii_only", [True, False])
def test_the_end_may_begin_within_an_escape(monkeypatch: pytest.MonkeyPatch, ascii_only: bool) -> None:
    text = json.dumps("größer\nStraße 漢字仮名 \U0001f600 hello", ensure_ascii=ascii_only).encode()
    for size in range(len(text) + 2):
        monkeypatch.setattr(words, "TAIL", max(1, size))
        if size > 5:
            assert of_text("hello") <= of_json(text)


def test_only_the_end_of_a_request_and_the_beginning_of_an_answer_are_read() -> None:
    assert of_json(b"early " + b" " * words.TAIL + b"later") == of_text("later")
    assert of_text("early " + " " * words.ANSWER + "later") == of_text("early")


def test_words_count_that_one_request_alone_shares_with_the_answer_and_all_that_it_shares() -> None:
    requests = {"a": of_text("alpha common"), "b": of_text("bravo charlie common"), "c": of_text("delta")}

    counts = fitting(of_text("alpha bravo charlie common nobody"), requests)
    assert counts == {"a": (1, 2), "b": (2, 3), "c": (0, 0)}


@pytest.mark.parametrize(
    ("own", "other", "fits"),
    [
        ((0, 0), (4, 99), False), ((0, 0), (5, 5), True), ((1, 1), (5, 5), True), ((2, 2), (5, 99), False),
        ((2, 2), (6, 6), True), ((0, 10), (6, 17), False), ((0, 10), (6, 18), True),
    ],
)  # fmt: skip
def test_another_request_fits_better_by_words_of_its_own_and_by_all_words(
    own: tuple[int, int], other: tuple[int, int], fits: bool
) -> None:
    assert better("a", {"a": own, "b": other}) == ({"b": 1 / other[0]} if fits else {})


def test_its_own_request_is_no_other() -> None:
    assert better("a", {"a": (100, 100)}) == {}


def test_runs_share_the_three_characters_that_both_have() -> None:
    assert len(of_text("漢字仮名交") & of_text("又字仮名")) == 1
