"""The length of a prompt is predicted from its bytes, and from the last count of its conversation."""

from __future__ import annotations

from dataclasses import replace

import pytest

from patchbay.crosstalk import prompt_lengths
from patchbay.crosstalk.prompt_lengths import Expected, Prompt, PromptLengths

FIRST = Prompt("h", "m", "", 4000)
KNOWN = Expected(tokens=1000, tolerance=200)


def learned(first: int = 1000, times: int = 3) -> PromptLengths:
    lengths = PromptLengths()
    for _ in range(times):
        lengths.learn(FIRST, first)
    return lengths


@pytest.mark.parametrize(("times", "tokens"), [(2, 0.0), (3, 2000.0)])
def test_a_first_prompt_is_predicted_from_its_bytes_after_three(times: int, tokens: float) -> None:
    told = learned(times=times).expected(replace(FIRST, size=8000))

    assert told.tokens == pytest.approx(tokens)
    assert told.tolerance == pytest.approx(1280.0 if tokens else 0.0)  # 0.6 of it, and 80
    assert told.per_byte == pytest.approx(0.0625 if tokens else 0.0)  # a quarter of the usual


@pytest.mark.parametrize("other", [replace(FIRST, host="x"), replace(FIRST, model="x")])
def test_hosts_and_models_are_kept_apart(other: Prompt) -> None:
    assert learned().expected(other) == Expected()


def test_a_later_turn_adds_to_the_last_count() -> None:
    lengths, talk = learned(), Prompt("h", "m", "t", 4000)
    lengths.learn(talk, 1500)

    told = lengths.expected(replace(talk, size=4400))
    assert (told.tokens, told.tolerance) == (
        pytest.approx(1500 + 400 * 4500 / 16000, rel=0.01),
        pytest.approx(192, rel=0.05),
    )
    shorter = lengths.expected(replace(talk, size=3600))
    assert shorter.tokens < 1500
    assert shorter.tolerance > 80
    assert lengths.expected(replace(talk, thread="other", size=4400)).tokens < 1500


def test_what_turns_add_has_a_ratio_of_its_own() -> None:
    lengths, talk = learned(), Prompt("h", "m", "t", 4000)
    lengths.learn(talk, 1000)
    lengths.learn(replace(talk, size=5000), 1500)

    assert lengths.expected(replace(talk, size=6000)).tokens == pytest.approx(2000)
    assert lengths.expected(FIRST).tokens == pytest.approx(1000)


def test_a_request_of_new_turns_alone_is_all_added_and_no_first_one() -> None:
    lengths, talk = learned(), Prompt("h", "m", "t", 400, adds=True)
    assert (lengths.expected(talk).tokens, lengths.expected(talk).tolerance) == (0.0, 0.0)

    lengths.learn(talk, 1000)
    assert lengths.expected(talk).tokens == pytest.approx(1100)
    assert lengths.expected(replace(FIRST, size=8000)).tokens == pytest.approx(2000)  # it taught no ratio


@pytest.mark.parametrize(("tokens", "is_text"), [(79, False), (80, True), (8000, True), (8001, False)])
def test_a_picture_or_a_count_of_something_else_teaches_no_ratio(tokens: int, is_text: bool) -> None:
    assert (learned(tokens).expected(FIRST).tokens > 0) is is_text


def test_a_picture_in_a_later_turn_moves_the_count_and_no_ratio() -> None:
    lengths, talk = learned(), Prompt("h", "m", "t", 4000)
    lengths.learn(talk, 1000)
    lengths.learn(replace(talk, size=1_004_000), 2500)

    assert lengths.expected(replace(talk, size=1_008_000)).tokens == pytest.approx(3500)


def test_a_conversation_is_forgotten() -> None:
    lengths, talk = learned(), Prompt("h", "m", "t", 4000)
    lengths.learn(talk, 3000)
    lengths.forget(talk)
    lengths.forget(replace(talk, thread="unknown"))

    assert lengths.expected(talk).tokens < 2000


def test_an_answer_has_four_times_the_usual_characters_at_most_after_eight() -> None:
    lengths = PromptLengths()
    for number in range(8):
        assert lengths.expected(FIRST).per_token == 0.0, number
        lengths.learn_answer("h", "m", 400, 100)

    assert lengths.expected(FIRST) == Expected(per_token=16.0)
    assert lengths.expected(replace(FIRST, model="x")).per_token == 0.0


def test_later_answers_weigh_more() -> None:
    lengths = learned()
    for _ in range(60):
        lengths.learn(FIRST, 2000)
    assert lengths.expected(FIRST).tokens > 1950


@pytest.mark.parametrize(
    ("tokens", "allowed", "fits"),
    [(1000, True, True), (1100, True, True), (1101, True, False), (900, True, True), (899, True, False),
     (1200, True, False), (1201, False, False), (800, True, False), (799, False, False)],
)  # fmt: skip
def test_a_count_is_allowed_within_the_tolerance_and_explained_within_half(
    tokens: int, allowed: bool, fits: bool
) -> None:
    assert (KNOWN.allows(tokens), KNOWN.fits(tokens)) == (allowed, fits)
    assert KNOWN.distance(tokens) == pytest.approx(abs(tokens - 1000) / 200)


def test_where_nothing_is_known_every_count_is_allowed_and_none_explained() -> None:
    assert (Expected().allows(10**9), Expected().fits(0)) == (True, False)


def test_the_oldest_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prompt_lengths, "_KNOWN", 1)
    lengths = learned()
    lengths.learn(replace(FIRST, host="x"), 1000)

    assert lengths.expected(FIRST) == Expected()


def test_requests_of_no_conversation_make_none_forgotten_and_are_none_themselves(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(prompt_lengths, "_KNOWN", 1)
    lengths, talk = learned(), Prompt("h", "m", "t", 4000)
    lengths.learn(talk, 3000)
    lengths.learn(FIRST, 1000)

    assert lengths.expected(talk).tokens == pytest.approx(3000)
    assert lengths.expected(FIRST).tolerance == pytest.approx(80 + 0.6 * lengths.expected(FIRST).tokens)
    lengths.learn(replace(FIRST, adds=True), 500)
    assert lengths.expected(replace(FIRST, adds=True)) == Expected(per_byte=lengths.expected(talk).per_byte)


def test_what_later_turns_added_weighs_more_too() -> None:
    lengths, talk = learned(), Prompt("h", "m", "t", 4000)
    for size, tokens in ((4000, 1000), (5000, 1500), (6000, 1600)):
        lengths.learn(replace(talk, size=size), tokens)

    ratio = (500 * 0.98 + 100) / (1000 * 0.98 + 1000)
    assert lengths.expected(replace(talk, size=7000)).tokens == pytest.approx(1600 + 1000 * ratio, rel=1e-9)


def test_an_answer_that_had_far_more_characters_for_each_token_allows_more() -> None:
    lengths = PromptLengths()
    for _ in range(8):
        lengths.learn_answer("h", "m", 400, 100)
    lengths.learn_answer("h", "m", 1200, 100)

    usual = (400 * sum(0.98**n for n in range(1, 9)) + 1200) / (100 * sum(0.98**n for n in range(9)))
    assert lengths.expected(FIRST).per_token == pytest.approx(12 * 12 / usual)
