"""Events that cannot be one answer: each rule by itself, and how many answers it takes before it counts."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec import structs

from patchbay.crosstalk.detector_context import DetectorContext
from patchbay.crosstalk.detectors import state
from patchbay.crosstalk.host_habits import Standing
from patchbay.crosstalk.request_summary import RequestSummary
from patchbay.values.answer import Fact

from ..world import World
from .contexts import AT, HOST, beside, broken, context, found as found_in, request
from .test_habits import over, strengths

RULES = (
    "switch another-end another-prompt sequence-back after-end after-finish opened-twice unopened wrong-delta no-call"
    " two-starts alternates role-again sequence-gap"
).split()
STRONG = [rule for rule in state.DISORDERS if rule not in state._PROOFS | state._WEAK]


def found(rule: str, answers: int) -> list[tuple[str, str]]:
    world = World("none", "openai_chat", True, 1)
    for _ in range(answers):
        over(world, world.send(), Fact("framing", "whole", "body"))
    return strengths(over(world, world.send(), Fact("disorder", "an event", rule)))


def test_every_rule_has_one_worth() -> None:
    assert set(state.DISORDERS) == set(RULES)
    assert set(state.DISORDERS) >= state._PROOFS | state._WEAK | state._MUTUAL
    assert not state._PROOFS & (state._WEAK | state._MUTUAL)
    assert len(STRONG) == len(set(state.DISORDERS)) - len(state._PROOFS) - len(state._WEAK)


@pytest.mark.parametrize("rule", STRONG)
def test_a_rule_that_the_host_kept_in_eight_answers_is_a_strong_sign(rule: str) -> None:
    assert found(rule, 8) == [("disorder", "strong")]
    assert found(rule, 7) == [("disorder", "weak")]


@pytest.mark.parametrize("rule", sorted(state._PROOFS))
def test_two_answers_in_one_stream_are_proof_where_the_host_sent_sixty_four_single_ones(rule: str) -> None:
    assert found(rule, 64) == [("disorder", "proof")]
    assert found(rule, 63) == [("disorder", "strong")]


@pytest.mark.parametrize("rule", sorted(state._WEAK))
def test_what_gateways_do_to_streams_stays_weak(rule: str) -> None:
    assert found(rule, 64) == [("disorder", "weak")]


def test_an_answer_in_one_piece_keeps_no_order() -> None:
    world = World("none", "openai_chat", False, 1)
    for _ in range(64):
        over(world, world.send(), Fact("framing", "whole", "body"))

    assert strengths(over(world, world.send(), Fact("disorder", "an event", "after-end"))) == [("disorder", "weak")]


# -- by what the host kept ---------------------------------------------------------------------------------------------

STREAM = request(stream=True)
FORMER = Standing(kept=64, broken=1, run=0, before=8, began=AT + 1, last="b → a", needs=40)  # it switched into ours


def standing(rule: str, **more: Any) -> dict[str, Standing]:
    return {f"disorder {rule}": Standing(**more)}


def disorder(ctx: DetectorContext, rule: str, value: object = "a → b") -> list[str]:
    return [each.strength for each in found_in(ctx, "disorder", Fact("disorder", value, rule))]


@pytest.mark.parametrize("rule", RULES)
def test_without_habits_two_answers_in_one_stream_are_proof_and_no_other_rule_counts(rule: str) -> None:
    assert disorder(context(STREAM, memory=False), rule) == [
        "proof" if rule in ("two-starts", "alternates") else "weak"
    ]


@pytest.mark.parametrize("rule", RULES)
def test_a_rule_that_the_host_breaks_habitually_is_not_reported(rule: str) -> None:
    ctx = context(STREAM, habits=standing(rule, kept=500, run=500, demoted=True))

    assert disorder(ctx, rule) == []
    assert broken(ctx, f"disorder {rule}") == (1, 1.0)


@pytest.mark.parametrize("rule", RULES)
def test_a_detector_in_doubt_counts_by_itself_for_no_rule(rule: str) -> None:
    usual = standing(rule, kept=8, run=8, doubted=True)

    assert disorder(context(STREAM, habits=usual), rule) == ["weak"]


@pytest.mark.parametrize(
    ("change", "strength"),
    [
        ({}, "strong"),
        ({"last": "c → a"}, "weak"),
        ({"before": 7}, "weak"),
        ({"began": AT}, "weak"),
    ],
)
@pytest.mark.parametrize("rule", ["switch", "another-end", "another-prompt"])
def test_the_first_of_two_answers_that_switch_does_not_excuse_the_second(
    rule: str, change: dict[str, Any], strength: str
) -> None:
    ctx = context(STREAM, habits={f"disorder {rule}": structs.replace(FORMER, **change)})

    assert disorder(ctx, rule) == [strength]


@pytest.mark.parametrize(
    ("usual", "dialect", "strength"),
    [
        ({"kept": 64, "broken": 3}, "openai_chat", "strong"),
        ({"kept": 64, "broken": 3}, "anthropic", "weak"),
        ({"kept": 64, "broken": 3}, "", "weak"),
        ({"kept": 64, "broken": 3, "doubted": True}, "openai_chat", "weak"),
        ({"kept": 63, "broken": 3}, "openai_chat", "weak"),
    ],
)
def test_two_answers_in_one_stream_are_a_strong_sign_beside_an_exchange_of_the_same_dialect(
    usual: dict[str, Any], dialect: str, strength: str
) -> None:
    ctx = context(STREAM, habits=standing("two-starts", **usual))
    if dialect:
        beside(ctx, "b", request(dialect))

    assert disorder(ctx, "two-starts") == [strength]


@pytest.mark.parametrize("asked", [None, STREAM, request()], ids=["ids only", "stream", "whole"])
def test_a_complete_stream_keeps_every_rule_of_order(asked: RequestSummary | None) -> None:
    ctx = context(asked)
    ctx.kept.add("age")

    assert found_in(ctx, "disorder", Fact("over")) == []
    every = {f"disorder {rule}" for rule in RULES}
    assert ctx.kept == ({"age"} if asked and not asked.stream else {"age"} | every)
    assert not ctx.broken


@pytest.mark.parametrize(
    ("status", "generation", "finds"), [(399, True, True), (400, True, False), (200, False, False)]
)
def test_errors_and_fetched_answers_have_any_order(status: int, generation: bool, finds: bool) -> None:
    ctx = context(STREAM, status=status, generation=generation)

    assert disorder(ctx, "unopened") == (["weak"] if finds else [])
    found_in(ctx, "disorder", Fact("over"))
    assert bool(ctx.kept) is finds


def test_what_is_remembered_of_a_break_can_be_stored() -> None:
    ctx = context(STREAM)
    disorder(ctx, "unopened", "\ud800\x00")

    assert ctx.memory is not None
    assert ctx.memory.habits.standing(HOST, "disorder unopened").last == "\\ud800\\x00"
