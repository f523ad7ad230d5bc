"""Times in an answer: how far they may be off before they are a sign."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import format_datetime

import pytest

from patchbay.crosstalk.detectors.time import _seconds
from patchbay.values.answer import Fact

from ..world import World
from .test_habits import over, strengths


def known(kind: str) -> World:
    """Return a world whose host has been right by *kind* in eight answers."""
    world = World("none", "openai_chat", False, 1)
    for _ in range(8):
        line = world.send()
        over(world, line, Fact(kind, 0.0 if kind == "took" else int(world.now) if kind == "created" else 0, "header"))
    return world


def waited(world: World, kind: str, value: object, seconds: float) -> list[tuple[str, str]]:
    """Return what is found in an answer that says *value* after so many *seconds*."""
    line = world.send()
    world.now += seconds
    return strengths(over(world, line, Fact(kind, value, "header")))


@pytest.mark.parametrize(
    ("value", "seconds", "strange"),
    [(1.24, 1.0, False), (1.26, 1.0, True), (104.0, 100.0, False), (106.0, 100.0, True), (0.3, 0.0, True)],
)
def test_a_server_may_say_a_quarter_of_a_second_or_five_per_cent_more_than_we_waited(
    value: float, seconds: float, strange: bool
) -> None:
    assert waited(known("took"), "took", value, seconds) == ([("took", "strong")] if strange else [])


@pytest.mark.parametrize(("early", "strange"), [(3.0, False), (4.0, True)])
def test_a_head_may_be_dated_three_seconds_before_the_request(early: float, strange: bool) -> None:
    world = known("created")
    line = world.send()

    found = over(world, line, Fact("date", world.now - early, "header date"))

    assert strengths(found) == ([("created", "strong")] if strange else [])


@pytest.mark.parametrize("kind", ["took", "age", "created", "date"])
def test_an_answer_is_not_judged_by_a_clock_that_was_set_meanwhile(kind: str) -> None:
    world = known("took")
    line = world.send()
    world.memory.clock_was_set()

    assert over(world, line, Fact(kind, 1000, "header")) == ()


@pytest.mark.parametrize(("value", "strange"), [(3, False), (4, True)])
def test_an_age_of_an_answer_that_came_at_once_may_be_three_seconds(value: int, strange: bool) -> None:
    assert waited(known("age"), "age", value, 0.0) == ([("age", "strong")] if strange else [])


@pytest.mark.parametrize(("value", "strange"), [(5, False), (6, True)])
def test_an_age_may_be_three_seconds_more_than_we_waited(value: int, strange: bool) -> None:
    assert waited(known("age"), "age", value, 2.0) == ([("age", "strong")] if strange else [])


@pytest.mark.parametrize(("early", "strange"), [(2.9, False), (3.0, False), (3.1, True)])
def test_an_answer_may_be_made_three_seconds_before_it_was_asked_for(early: float, strange: bool) -> None:
    world = known("created")
    line = world.send()

    found = over(world, line, Fact("created", world.now - early, "body created"))

    assert strengths(found) == ([("created", "strong")] if strange else [])


AT = datetime(2026, 11, 26, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    "value", [AT.timestamp(), int(AT.timestamp()), str(int(AT.timestamp())), AT.isoformat(), format_datetime(AT, True)]
)
def test_a_time_is_read_in_every_form(value: object) -> None:
    assert _seconds(value) == AT.timestamp()


@pytest.mark.parametrize(
    "value", [True, None, "", "x", "yesterday", 1e11, 0, -1, "1e999", "9" * 30, "Thu, 99 Foo 2026 99:99:99 GMT",
              "2026-11-26T12:00:00", "100000000000", "٣٤", [], "12,5"],
)  # fmt: skip
def test_what_is_no_time_is_none(value: object) -> None:
    assert _seconds(value) is None


@pytest.mark.parametrize(("status", "finds"), [(199, False), (200, True), (299, True), (300, False), (400, False)])
def test_an_early_head_of_a_success_is_weak(status: int, finds: bool) -> None:
    line = World("none", "openai_chat", False, 1).send()

    found = line.watch.see(Fact("early", "", "head"), status, 1.0)

    assert strengths(tuple(found)) == ([("early", "weak")] if finds else [])


def test_a_host_that_habitually_answers_early_is_not_reported() -> None:
    world = World("none", "openai_chat", False, 1)
    found = [strengths(over(world, world.send(), Fact("early", "", "head"))) for _ in range(4)]

    assert found == [[("early", "weak")]] * 3 + [[]]
    for _ in range(13):
        over(world, world.send(), Fact("framing", "whole", "body"))
    assert world.memory.habits.standing("http://host", "early").kept == 13
    assert strengths(over(world, world.send(), Fact("early", "", "head"))) == []


def test_a_time_in_a_text_may_have_a_fraction() -> None:
    assert _seconds("1500.5") == 1500.5
