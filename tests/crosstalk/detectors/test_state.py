"""Events that cannot be one answer: each rule by itself, and how many answers it takes before it counts."""

from __future__ import annotations

import pytest

from patchbay.crosstalk.detectors import state
from patchbay.values.answer import Fact

from ..world import World
from .test_habits import over, strengths

RULES = (
    "switch another-end another-prompt sequence-back after-end after-finish opened-twice unopened wrong-delta no-call"
    " two-starts alternates role-again sequence-gap"
).split()
STRONG = [rule for rule in state.RULES if rule not in state._PROOFS | state._WEAK]


def found(rule: str, answers: int) -> list[tuple[str, str]]:
    world = World("none", "openai_chat", True, 1)
    for _ in range(answers):
        over(world, world.send(), Fact("framing", "whole", "body"))
    return strengths(over(world, world.send(), Fact("disorder", "an event", rule)))


def test_every_rule_has_one_worth() -> None:
    assert set(state.RULES) == set(RULES)
    assert set(state.RULES) >= state._PROOFS | state._WEAK | state._MUTUAL
    assert not state._PROOFS & (state._WEAK | state._MUTUAL)
    assert len(STRONG) == len(set(state.RULES)) - len(state._PROOFS) - len(state._WEAK)


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
