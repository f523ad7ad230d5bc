"""Detectors that depend on what a host usually does: silent at first, a sign once the host is known."""

from __future__ import annotations

import pytest

from patchbay.values.answer import Fact
from patchbay.values.decision import Finding

from ..world import Line, World


def over(world: World, line: Line, *facts: Fact) -> tuple[Finding, ...]:
    """Let *line* be answered with *facts* and nothing else; return what was found."""
    for fact in facts:
        line.watch.see(fact, 200, world.now)
    line.watch.end(world.now)
    return line.verdict().findings


def strengths(found: tuple[Finding, ...]) -> list[tuple[str, str]]:
    return [(each.detector, each.strength) for each in found]


STRANGE = {
    "framing": Fact("framing", "events", "body"),
    "took": Fact("took", 90.0, "header openai-processing-ms"),
    "age": Fact("age", 600, "header age"),
    "created": Fact("created", 1_500_000_000, "body created"),
    "tool-name": Fact("tool", "never_offered"),
    "disorder": Fact("disorder", "block 3", "unopened"),
}
USUAL = (
    Fact("framing", "whole", "body"),
    Fact("took", 0.0, "header openai-processing-ms"),
    Fact("age", 0, "header age"),
    Fact("tool", "shell"),
)


@pytest.mark.parametrize("name", ["framing", "took", "age", "created", "disorder"])
def test_a_host_that_is_not_known_is_not_suspected(name: str) -> None:
    world = World("none", "openai_chat", False, 1)

    for _ in range(8):
        line = world.send(tools=("shell",))
        assert "strong" not in dict(strengths(over(world, line, STRANGE[name]))).values()
        assert line.verdict().kind == "unverifiable"


@pytest.mark.parametrize("name", ["framing", "took", "age", "created", "disorder"])
def test_a_host_that_never_did_so_is(name: str) -> None:
    world = World("none", "openai_chat", name == "disorder", 1)  # only a stream has an order
    for _ in range(8):
        line = world.send(tools=("shell",))
        over(world, line, *USUAL, Fact("created", int(world.now), "body created"))

    line = world.send(tools=("shell",))

    assert strengths(over(world, line, STRANGE[name])) == [(name, "strong")]
    assert line.verdict().kind == "suspect"


@pytest.mark.parametrize("name", ["framing", "took", "age", "created", "disorder"])
def test_a_detector_that_is_silent_for_a_provider_says_nothing(name: str) -> None:
    world = World("none", "openai_chat", False, 1)
    for _ in range(8):
        line = world.send(tools=("shell",))
        over(world, line, *USUAL, Fact("created", int(world.now), "body created"))
    world.silent = frozenset({name})

    assert over(world, world.send(), STRANGE[name]) == ()


def test_an_echo_that_always_came_and_is_missing_is_a_weak_sign() -> None:
    world = World("body", "openai_chat", False, 1)
    world.warm()
    line = world.send()

    assert strengths(over(world, line, Fact("content", "text"))) == [("stripped", "weak"), ("stripped", "weak")]
    assert line.verdict().kind == "unverifiable"


def test_an_echo_that_is_another_s_is_not_missing_as_well() -> None:
    world = World("body", "openai_chat", False, 1)
    world.warm()
    line, other = world.send(), world.send()
    world.deliver(line, other.own)

    assert "stripped" not in dict(strengths(line.verdict().findings))


@pytest.mark.parametrize(
    "fact",
    [
        Fact("shape", "anthropic", "body"),
        Fact("stray", "HTTP/1.1 200", "body"),
        Fact("age", 600, "header age"),
        Fact("disorder", "a → b", "two-starts"),
        Fact("model", "another", "body model"),
    ],
)
def test_an_error_answer_is_never_held_against_anybody(fact: Fact) -> None:
    world = World("none", "openai_chat", True, 1)
    world.warm()
    line = world.send()
    line.watch.see(fact, 502, world.now)

    assert line.verdict().findings == ()


def test_an_answer_from_a_cache_may_be_old() -> None:
    world = World("none", "openai_chat", False, 1)
    world.warm()

    kept = Fact("kept", "hit", "header x-cache")
    assert over(world, world.send(), kept, STRANGE["age"], STRANGE["created"]) == ()


def test_a_host_whose_clock_is_wrong_is_believed_about_itself() -> None:
    """An hour behind: its answers are fresh by its own `Date`, and so says nobody that they are old."""
    world = World("none", "openai_chat", False, 1)
    for _ in range(8):
        line = world.send()
        behind = int(world.now) - 3600
        facts = (Fact("date", str(behind), "header date"), Fact("created", behind, "body created"))
        over(world, line, *facts)
        assert line.verdict().kind == "unverifiable"
    line = world.send()
    behind = int(world.now) - 3600
    over(world, line, Fact("date", str(behind), "header date"), Fact("created", behind - 60, "body created"))

    assert line.verdict().kind == "suspect"


def test_a_model_is_learned_as_the_answer_to_a_question() -> None:
    world = World("none", "openai_chat", False, 1)
    first = over(world, world.send(), Fact("model", "backend-7b", "body model"))
    second = over(world, world.send(), Fact("model", "backend-7b", "body model"))

    assert (strengths(first), second) == ([("model", "weak")], ())


@pytest.mark.parametrize(
    ("asked", "answered"),
    [
        ("gpt-4o", "gpt-4o-2024-08-06"),
        ("claude-sonnet-4-5", "claude-sonnet-4-5-20250929"),
        ("models/gemini-2.5-pro", "gemini-2.5-pro"),
        ("llama3", "llama3:latest"),
        ("acme/big", "big"),
        ("gpt-4o-latest", "gpt-4o-2024-11-20"),
    ],
)
def test_a_snapshot_or_a_vendor_s_name_is_the_same_model(asked: str, answered: str) -> None:
    world = World("none", "openai_chat", False, 1)

    assert over(world, world.send(model=asked), Fact("model", answered, "body model")) == ()


def test_an_answer_before_the_end_of_its_request_is_a_weak_sign_and_a_refusal_is_none() -> None:
    world = World("none", "openai_chat", False, 1)
    early = Fact("early", "the head", "head")
    refused = world.send()
    refused.watch.see(early, 413, world.now)

    assert strengths(over(world, world.send(), early)) == [("early", "weak")]
    assert refused.verdict().findings == ()


def test_an_id_that_is_not_made_of_ours_is_strange_where_it_always_was() -> None:
    world = World("engine", "openai_chat", False, 1)
    foreign = Fact("id", "chatcmpl-5f0c2d4e8a1b4c3d9e0f112233445566", "body id")
    assert over(world, world.send(), Fact("id", foreign.value[::-1], "body id")) == ()
    world.warm(64)  # some hosts ask elsewhere now and then

    line = world.send()

    assert strengths(over(world, line, foreign)) == [("strange-id", "strong")]
    assert line.verdict().kind == "suspect"
