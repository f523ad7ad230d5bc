"""Times in an answer: how far they may be off before they are a sign."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any

import pytest

from patchbay.crosstalk.detector_context import DetectorContext
from patchbay.crosstalk.detectors.time import _seconds
from patchbay.crosstalk.host_habits import BY_OUR_CLOCK, Standing
from patchbay.values.answer import Fact

from ..world import World
from .contexts import AT as SENT, broken, context, found, kept, request
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


@pytest.mark.parametrize("value", [1, 0.5, 99_999_999_999, "1", "0.5", "99999999999"])
def test_a_time_is_below_the_year_5138(value: object) -> None:
    assert _seconds(value) == float(str(value))


# -- by the standing of the rule ---------------------------------------------------------------------------------------

BY_DATE = "created by-date"
KNOWN = {rule: kept(8) for rule in (BY_OUR_CLOCK, BY_DATE, "took", "age")}
LATE = {"created": SENT - 60, "date": SENT - 60, "took": 90.0, "age": 90}
DETECTORS = {"created": "created", "date": "created", "took": "took", "age": "age"}


def timed(ctx: DetectorContext, kind: str, value: object, now: float = SENT + 1) -> list[tuple[str, str, str]]:
    findings = found(ctx, DETECTORS[kind], Fact(kind, value, "header"), now)
    return [(each.detector, each.strength, each.expected) for each in findings]


@pytest.mark.parametrize("kind", LATE)
@pytest.mark.parametrize(
    ("standing", "strength"),
    [(kept(7), "weak"), (kept(8), "strong"), (kept(8, doubted=True), "weak"), (kept(8, demoted=True), "")],
)
def test_a_time_is_worth_what_the_host_kept_before(kind: str, standing: Standing, strength: str) -> None:
    rule = BY_OUR_CLOCK if DETECTORS[kind] == "created" else kind
    ctx = context(request(), habits={rule: standing})
    expected = {"took": "at most 1.000 s", "age": "a fresh answer"}.get(kind, "after the request (60 s too early)")

    assert timed(ctx, kind, LATE[kind]) == ([(DETECTORS[kind], strength, expected)] if strength else [])
    assert broken(ctx, rule) == (1, 1.0)
    assert not ctx.kept


@pytest.mark.parametrize("kind", LATE)
@pytest.mark.parametrize(
    ("change", "finds"),
    [({"status": 399}, True), ({"status": 400}, False), ({"generation": False}, False), ({"memory": False}, False)],
)
def test_times_of_errors_and_fetched_answers_are_not_compared(kind: str, change: dict[str, Any], finds: bool) -> None:
    ctx = context(request(), habits=KNOWN, **change)

    assert bool(timed(ctx, kind, LATE[kind])) is finds
    assert bool(ctx.broken) is finds


@pytest.mark.parametrize("kind", LATE)
def test_times_from_a_cache_and_by_a_clock_that_was_set_are_not_compared(kind: str) -> None:
    cached, was_set = context(request(), habits=KNOWN), context(request(), habits=KNOWN)
    assert found(cached, "age", Fact("kept", 600, "header x-cache")) == []
    was_set.clock = 1

    assert cached.cached
    assert timed(cached, kind, LATE[kind]) == timed(was_set, kind, LATE[kind]) == []


@pytest.mark.parametrize(("kind", "value"), [("created", SENT), ("date", SENT), ("took", 0.5), ("took", 1), ("age", 0)])
def test_a_time_that_fits_keeps_its_rule_alone(kind: str, value: object) -> None:
    ctx = context(request(), habits=KNOWN)

    assert timed(ctx, kind, value) == []
    assert ctx.kept == {BY_OUR_CLOCK if DETECTORS[kind] == "created" else kind}
    assert not ctx.broken


@pytest.mark.parametrize(("kind", "fits", "strange"), [("took", 0.2, 0.3), ("age", 3, 4)])
def test_an_answer_before_its_request_by_our_clock_came_at_once(kind: str, fits: object, strange: object) -> None:
    assert timed(context(request(), habits=KNOWN), kind, fits, SENT - 2) == []
    assert len(timed(context(request(), habits=KNOWN), kind, strange, SENT - 2)) == 1


@pytest.mark.parametrize("head_at", [None, SENT - 1, SENT + 5])
@pytest.mark.parametrize("excess", [3.0, 3.1])
def test_an_answer_is_not_older_by_its_own_date_than_the_wait_for_its_head(
    head_at: float | None, excess: float
) -> None:
    """The host's clock is a day ahead of ours."""
    date, now = SENT + 86_400, SENT + 10
    waited = {None: 10.0, SENT - 1: 0.0, SENT + 5: 5.0}[head_at]
    ctx = context(request(), habits=KNOWN)
    ctx.date, ctx.head_at = date, head_at

    findings = timed(ctx, "created", date - waited - excess, now)

    assert findings == ([("created", "strong", "after the request (3 s too early)")] if excess > 3 else [])
    assert ctx.broken == ({BY_DATE} if excess > 3 else set())
    assert ctx.kept == ({BY_OUR_CLOCK} if excess > 3 else {BY_OUR_CLOCK, BY_DATE})


@pytest.mark.parametrize("value", ["0", "1960-01-01T00:00:00Z", "x", None])
def test_a_creation_before_1970_says_nothing(value: object) -> None:
    ctx = context(request(), habits=KNOWN)

    assert timed(ctx, "created", value) == []
    assert not ctx.broken | ctx.kept


@pytest.mark.parametrize("value", [None, "x"])
def test_a_date_that_is_unreadable_is_none(value: object) -> None:
    ctx = context(request(), habits=KNOWN)

    assert timed(ctx, "date", value) == []
    assert ctx.date is None
    assert not ctx.broken | ctx.kept


def test_a_date_is_noted_in_answers_from_a_cache_too() -> None:
    ctx = context(request())
    ctx.cached = True
    timed(ctx, "date", str(int(SENT)))

    assert ctx.date == SENT
