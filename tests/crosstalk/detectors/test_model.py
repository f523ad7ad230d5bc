"""Which names are one model, and how strong the finding of another model is."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from patchbay.crosstalk.detectors.model import _ROUTERS, alike, plain
from patchbay.crosstalk.request_summary import RequestSummary
from patchbay.crosstalk.reverify import judge
from patchbay.values.answer import Fact

from ..world import World
from .contexts import beside, context, found, request
from .test_habits import over, strengths


@pytest.mark.parametrize(
    ("wanted", "got"),
    [("gpt-5", "gpt-5"), ("claude-sonnet-4", "claude-sonnet-4-5"), ("claude-sonnet-4-5", "claude-sonnet-4")],
)
def test_a_name_and_its_beginning_may_be_one_model(wanted: str, got: str) -> None:
    assert alike(wanted, got)


def test_two_names_of_which_neither_begins_the_other_are_two_models() -> None:
    assert not alike("gpt-5-mini", "gpt-5-nano")
    assert not alike("sonnet", "claude-sonnet")


@pytest.mark.parametrize(
    "name",
    ["gpt-5-2026-01-15", "gpt-5@2026-01-15", "gpt-5-20260115", "gpt-5@20260115", "gpt-5-240115", "gpt-5-0115",
     "gpt-5-115", "gpt-5-latest", "gpt-5-preview", "gpt-5-exp", "gpt-5:free", "gpt-5-v1", "gpt-5-v1:0",
     "openai/gpt-5", "models/openai/GPT-5", "gpt-5-preview-0115"],
)  # fmt: skip
def test_vendor_folder_date_and_tag_are_no_part_of_a_name(name: str) -> None:
    assert plain(name) == "gpt-5"


@pytest.mark.parametrize("name", ["gpt-5-mini", "gpt-50", "gpt-5-15"])
def test_what_tells_models_apart_is(name: str) -> None:
    assert plain(name) == name


@pytest.mark.parametrize("word", ["auto", "router", "default", "best", "fast"])
def test_a_name_that_lets_the_host_choose_is_answered_by_any_model(word: str) -> None:
    assert _ROUTERS.search(word) and _ROUTERS.search(f"openrouter/{word}") and _ROUTERS.search(f"{word}-chat")
    assert not _ROUTERS.search(f"x{word}") and not _ROUTERS.search(f"{word}er")


def answered(world: World, name: str, **asks: Any) -> list[tuple[str, str]]:
    return strengths(over(world, world.send(**asks), Fact("model", name, "body model")))


@pytest.mark.parametrize(("answers", "beside", "strength"), [
    (3, ("small",), "strong"), (2, ("small",), "weak"), (3, (), "weak"), (3, ("small", "small"), "weak"),
    (3, ("tiny",), "weak"),
])  # fmt: skip
def test_another_model_is_strong_where_one_exchange_beside_requested_it(
    answers: int, beside: tuple[str, ...], strength: str
) -> None:
    world = World("none", "openai_chat", False, 1)
    for _ in range(answers):
        assert answered(world, "large", model="large") == []
    others = [world.send(model=model) for model in beside]
    found = over(world, world.send(model="large"), Fact("model", "small", "body model"))

    assert strengths(found) == [("model", strength)]
    assert found[0].expected == "large"
    assert found[0].victim == (f"x{others[0].number}" if beside == ("small",) else "unknown")
    assert world.memory.habits.standing("http://host", "model large").broken == 1


@pytest.mark.parametrize("asks", [{"fallbacks": ["small"]}, {"model": "router/auto"}, {"model": "small-2026-01-01"}])
def test_a_fallback_a_router_and_a_dated_name_may_answer_as_another_model(asks: dict[str, Any]) -> None:
    assert answered(World("none", "openai_chat", False, 1), "small", **{"model": "large", **asks}) == []


def test_a_model_that_the_host_answers_as_is_no_finding_again() -> None:
    world = World("none", "openai_chat", False, 1)

    assert answered(world, "small", model="large") == [("model", "weak")]
    assert answered(world, "small", model="large") == []


@pytest.mark.parametrize("status", [399, 400])
@pytest.mark.parametrize("generation", [True, False])
@pytest.mark.parametrize("fact", [Fact("model", "small"), Fact("model", 7), Fact("text", "small")], ids=str)
def test_only_the_model_of_a_made_answer_without_error_is_judged(fact: Fact, generation: bool, status: int) -> None:
    line = World("none", "openai_chat", False, 1).send(model="large")
    line.watch.record.generation = generation

    found = line.watch.see(fact, status, 1.0)

    assert bool(found) is (fact == Fact("model", "small") and generation and status < 400)


@pytest.mark.parametrize("asked", [None, request()], ids=["no request", "no model"])
def test_a_request_that_names_no_model_is_answered_by_any(asked: RequestSummary | None) -> None:
    ctx = context(asked)

    assert found(ctx, "model", Fact("model", "another-7b", "body model")) == []
    assert not ctx.broken


@pytest.mark.parametrize("got", ["", "-latest", "vendor/"])
def test_a_name_of_nothing_but_a_tag_is_no_other_model(got: str) -> None:
    ctx = context(request(model="mine-7b"), model="mine-7b")
    beside(ctx, "b", request())

    assert found(ctx, "model", Fact("model", got, "body model")) == []
    assert ctx.kept == {"model mine-7b"}


def _swapped(world: World, mine: str, theirs: str) -> list[list[tuple[str, str]]]:
    """Let two requests for two models be answered as each other's; return what is found in each answer."""
    one, two = world.send(model=mine), world.send(model=theirs)
    return [strengths(over(world, line, Fact("model", name))) for line, name in ((one, theirs), (two, mine))]


def test_both_of_two_that_were_swapped_are_suspected_and_then_no_other_for_a_while() -> None:
    """A deploy after which workers answer as models of their own breaks the rule of each model."""
    world = World("none", "openai_chat", False, 1)
    models = ("sim-large", "sim-small", "sim-medium", "qwen3-8b")
    for name in models * 8:
        over(world, world.send(model=name), Fact("model", name))

    assert _swapped(world, *models[:2]) == [[("model", "strong")], [("model", "strong")]]
    assert _swapped(world, *models[2:]) == [[("model", "weak")], [("model", "weak")]]


def test_a_part_of_a_dump_is_judged_by_the_doubt_of_that_time() -> None:
    """The answers that were suspected before may be in another file."""
    world = World("none", "openai_chat", False, 1)
    models = ("sim-large", "sim-small", "sim-medium", "qwen3-8b")
    for name in models * 8:
        over(world, world.send(model=name), Fact("model", name))
    _swapped(world, *models[:2])
    one, two = world.send(model=models[2]), world.send(model=models[3])
    for line in (one, two):
        world.deliver(line, world.wire(line, replace(line.reply, model=models[3])))

    judged = judge(world.stored()[-2:], world.mint)

    assert strengths(one.verdict().findings) == [("model", "weak")]
    assert [strengths(each.verdict.findings) for each in judged] == [[("model", "weak")], []]
    assert all(each.agrees for each in judged)
