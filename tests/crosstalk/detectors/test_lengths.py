"""Counts of tokens that a request, or the text of an answer, cannot have."""

from __future__ import annotations

from typing import Any

import pytest

from patchbay.crosstalk.prompt_lengths import Expected, Prompt, PromptLengths
from patchbay.values.answer import Fact, Usage
from patchbay.values.decision import Finding

from ..world import Line, World

PER_TOKEN = 4  # bytes


def sized(world: World, size: int, **more: Any) -> Line:
    """Send a request whose only turn has about *size* bytes."""
    text = "".join(f"w{number:04} " for number in range(size // 6))
    return world.send(messages=[{"role": "user", "content": text}], **more)


def tokens_of(line: Line) -> int:
    return line.watch._ctx.request.size // PER_TOKEN  # type: ignore[union-attr]


def counted(world: World, line: Line, prompt: int, cached: int = 0, completion: int = 10) -> tuple[Finding, ...]:
    world.now += 0.01
    line.watch.see(Fact("usage", Usage(prompt, completion, cached)), 200, world.now)
    line.watch.end(world.now)
    return line.verdict().findings


def known(answers: int = 32, cached: int = 0) -> World:
    world = World("none", "openai_chat", False, 1)
    for number in range(answers):
        line = sized(world, 2000 + 500 * number)
        counted(world, line, tokens_of(line), cached)
    return world


def test_a_prompt_of_another_request_s_length_is_strong_and_names_it() -> None:
    world = known()
    small, large = sized(world, 3000), sized(world, 40_000)

    (found,) = counted(world, small, tokens_of(large))
    assert (found.detector, found.strength, found.victim) == ("prompt-length", "strong", f"x{large.number}")
    (found,) = counted(world, large, tokens_of(small))
    assert (found.detector, found.strength, found.victim) == ("prompt-length", "strong", f"x{small.number}")


@pytest.mark.parametrize("beside", [(), (40_000, 41_000)])
def test_a_length_that_not_exactly_one_other_explains_is_weak(beside: tuple[int, ...]) -> None:
    world = known()
    small = sized(world, 3000)
    others = [sized(world, size) for size in beside]

    (found,) = counted(world, small, tokens_of(others[0]) if others else 10_000)
    assert (found.strength, found.victim) == ("weak", "unknown")


def test_a_host_whose_counts_have_seldom_been_as_predicted_is_not_suspected() -> None:
    world = known(20)
    small, large = sized(world, 3000), sized(world, 40_000)

    assert {found.strength for found in counted(world, small, tokens_of(large))} == {"weak"}
    assert {found.strength for found in counted(world, large, tokens_of(small))} == {"weak"}
    assert small.verdict().kind == "unverifiable"  # though each received what fits the other


def test_a_host_whose_counts_are_not_known_yet_is_not_judged() -> None:
    world = known(2)
    small, large = sized(world, 3000), sized(world, 40_000)

    assert counted(world, small, tokens_of(large)) == ()


PICTURE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}}


@pytest.mark.parametrize("more", [
    {"tools": [{"type": "web_search"}]},
    {"messages": [{"role": "user", "content": [PICTURE]}]},
])  # fmt: skip
def test_what_a_count_does_not_go_by_is_not_judged(more: dict[str, Any]) -> None:
    world = known()
    mine, _ = world.send(**more), sized(world, 40_000)

    assert counted(world, mine, 10_000) == ()


def test_the_next_turn_of_a_conversation_is_predicted_closely() -> None:
    lengths = PromptLengths()
    for number in range(3):
        lengths.learn(Prompt("h", "m", f"t{number}", 4000), 1000)
    lengths.learn(Prompt("h", "m", "t", 8000), 2400)  # more tokens than usual for its bytes

    assert lengths.expected(Prompt("h", "m", "t", 8400)) == Expected(
        pytest.approx(2400 + 400 * 0.27, abs=5), pytest.approx(80 + 400 * 0.27, abs=5), pytest.approx(0.068, abs=0.01)
    )
    assert lengths.expected(Prompt("h", "m", "t", 400, adds=True)).tokens == pytest.approx(2400 + 400 * 0.27, abs=5)
    assert lengths.expected(Prompt("h", "m", "new", 400, adds=True)).tolerance == 0
    lengths.forget(Prompt("h", "m", "t", 0))
    assert lengths.expected(Prompt("h", "m", "t", 8400)).tokens == pytest.approx(8400 * 0.27, rel=0.1)


def test_a_picture_teaches_nothing_about_text() -> None:
    lengths = PromptLengths()
    for number in range(3):
        lengths.learn(Prompt("h", "m", f"t{number}", 4000), 1000)
    before = lengths.expected(Prompt("h", "m", "", 4000))
    lengths.learn(Prompt("h", "m", "p", 1_000_000), 1500)
    lengths.learn(Prompt("h", "m", "t0", 1_004_000), 2500)

    assert lengths.expected(Prompt("h", "m", "", 4000)) == before


def test_tokens_of_a_cache_that_reach_into_a_new_turn_are_strong() -> None:
    world = known(16, cached=100)
    line = sized(world, 6100)

    (found,) = counted(world, line, tokens_of(line), cached=tokens_of(line))
    assert (found.detector, found.strength) == ("cached-tokens", "strong")


def test_a_turn_that_was_sent_before_may_be_in_the_cache() -> None:
    world = known(16)
    counted(world, first := sized(world, 6000), tokens_of(first))
    again = sized(world, 6000)

    assert counted(world, again, tokens_of(again), cached=tokens_of(again)) == ()


def said(world: World, words: int, tokens: int) -> tuple[Finding, ...]:
    line = world.send()
    line.watch.see(Fact("text", "word " * words), 200, world.now)
    return counted(world, line, 30, completion=tokens)


def test_more_text_than_its_tokens_can_be_is_strong() -> None:
    world = known(0)
    for _ in range(20):
        assert said(world, 80, 100) == ()

    (found,) = said(world, 2000, 100)
    assert (found.detector, found.strength) == ("answer-length", "strong")
    assert said(world, 2000, 1) == ()  # no count at all


def test_where_tokens_are_hidden_at_times_an_answer_without_them_is_not_too_long() -> None:
    world = known(0)
    for number in range(40):
        said(world, *((80, 8000) if number % 4 else (30, 40)))

    assert said(world, 400, 500) == ()


def test_a_host_that_is_suspected_of_one_count_is_not_suspected_of_another() -> None:
    world = known()
    for _ in range(20):
        said(world, 80, 100)
    (found,) = said(world, 2000, 100)
    small, large = sized(world, 3000), sized(world, 40_000)

    assert found.strength == "strong"
    assert {each.strength for each in counted(world, small, tokens_of(large))} == {"weak"}
