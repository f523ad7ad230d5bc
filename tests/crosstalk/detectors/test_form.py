"""Answers of another form: in which answers it counts, and what it is worth by what the host kept."""

from __future__ import annotations

from typing import Any

import pytest

from patchbay.crosstalk.host_habits import Standing
from patchbay.values.answer import Fact

from .contexts import beside, broken, context, found, kept, request, told

SHAPE, OVER = Fact("shape", "anthropic", "body"), Fact("over")
EVENTS, STRAY = Fact("framing", "events", "body"), Fact("stray", "HTTP/1.1 200", "body")
RULE = "shape openai_chat"
FORMS = {"shape": SHAPE, "framing": EVENTS, "stray-head": STRAY}
RULES = {"shape": RULE, "framing": "framing", "stray-head": "stray-head"}
DEMOTED = Standing(kept=500, run=500, demoted=True)


@pytest.mark.parametrize("detector", FORMS)
@pytest.mark.parametrize(
    ("status", "generation", "finds"), [(0, True, True), (399, True, True), (400, True, False), (200, False, False)]
)
def test_errors_and_fetched_answers_have_any_form(detector: str, status: int, generation: bool, finds: bool) -> None:
    ctx = context(request(), status=status, generation=generation)

    assert bool(found(ctx, detector, FORMS[detector])) is finds
    assert broken(ctx, RULES[detector]) == ((1, 1.0) if finds else (0, 0.0))


@pytest.mark.parametrize("detector", FORMS)
def test_a_host_that_habitually_answers_in_another_form_is_not_accused(detector: str) -> None:
    ctx = context(request(), habits={RULES[detector]: DEMOTED})

    assert found(ctx, detector, FORMS[detector]) == []
    assert broken(ctx, RULES[detector]) == (1, 1.0)


@pytest.mark.parametrize(
    ("detector", "standing", "strength"),
    [
        ("shape", kept(7), "weak"),
        ("shape", kept(8), "strong"),
        ("shape", kept(63), "strong"),
        ("shape", kept(63, doubted=True), "weak"),
        ("shape", kept(64, doubted=True), "proof"),
        ("framing", kept(7), "weak"),
        ("framing", kept(8), "strong"),
        ("framing", kept(500), "strong"),
        ("framing", kept(500, doubted=True), "weak"),
        ("stray-head", kept(11), "weak"),
        ("stray-head", kept(12), "proof"),
    ],
)
def test_another_form_is_worth_what_the_host_kept_before(detector: str, standing: Standing, strength: str) -> None:
    ctx = context(request(), habits={RULES[detector]: standing})

    assert told(found(ctx, detector, FORMS[detector])) == [(strength, "unknown")]


@pytest.mark.parametrize(("answers", "strength"), [(2, "weak"), (3, "proof")])
def test_a_shape_that_another_exchange_waits_for_is_proof_after_three_answers(answers: int, strength: str) -> None:
    ctx = context(request(), habits={RULE: kept(answers)})
    beside(ctx, "same shape")
    beside(ctx, "elsewhere", request("anthropic"), "http://elsewhere")
    beside(ctx, "b", request("anthropic"))

    (finding,) = found(ctx, "shape", SHAPE)

    assert (finding.strength, finding.victim, finding.expected, finding.received) == (
        strength, "b", "openai_chat", "anthropic",
    )  # fmt: skip
    assert broken(ctx, RULE) == (1, 0.5)  # it says less about the host
    beside(ctx, "c", request("anthropic"))
    assert told(found(ctx, "shape", SHAPE)) == [(strength, "unknown")]


def test_a_shape_that_no_exchange_waits_for_is_no_proof_after_three_answers() -> None:
    ctx = context(request(), habits={RULE: kept(3)})
    beside(ctx, "b")

    assert told(found(ctx, "shape", SHAPE)) == [("weak", "unknown")]
    assert broken(ctx, RULE) == (1, 1.0)


@pytest.mark.parametrize("asked", [None, request("files")], ids=["no request", "no one shape"])
def test_a_request_without_a_shape_is_answered_in_any(asked: Any) -> None:
    ctx = context(asked)

    assert found(ctx, "shape", SHAPE) == found(ctx, "shape", OVER) == []
    assert not ctx.kept


@pytest.mark.parametrize("status", [0, 200])
def test_a_complete_answer_with_a_head_keeps_its_shape(status: int) -> None:
    ctx = context(request(), status=status)

    assert found(ctx, "shape", Fact("shape", "openai_chat", "body")) == found(ctx, "shape", OVER) == []
    assert ctx.kept == ({RULE} if status else set())
    assert broken(ctx, RULE) == (0, 0.0)


def test_a_whole_answer_keeps_the_framing_and_a_stream_was_asked_for_where_it_was() -> None:
    whole, streamed = context(request()), context(request(stream=True))

    assert found(whole, "framing", Fact("framing", "whole", "body")) == []
    assert (whole.kept, broken(whole, "framing")) == ({"framing"}, (0, 0.0))
    assert found(streamed, "framing", EVENTS) == found(context(), "framing", EVENTS) == []
    assert broken(streamed, "framing") == (0, 0.0)


def test_an_answer_without_a_stray_head_keeps_the_rule() -> None:
    ctx = context(request())

    assert found(ctx, "stray-head", OVER) == []
    assert (ctx.kept, broken(ctx, "stray-head")) == ({"stray-head"}, (0, 0.0))


def test_where_only_ids_are_compared_a_stray_head_is_proof() -> None:
    assert told(found(context(memory=False), "stray-head", STRAY)) == [("proof", "unknown")]
