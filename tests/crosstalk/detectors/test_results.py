"""Results of tools that a client hands in: those of one answer, or mixed up on its side."""

from __future__ import annotations

from typing import Any

import pytest

from patchbay.body import Body
from patchbay.crosstalk.request_summary import RequestSummary
from patchbay.values.http import Endpoint

from ...simulator import render
from ..world import World

CALLS = {"openai_chat": "messages", "anthropic": "messages", "openai_responses": "input"}


def handed_in(dialect: str, ids: list[str]) -> list[dict[str, Any]]:
    match dialect:
        case "openai_chat":
            return [{"role": "tool", "tool_call_id": each, "content": "done"} for each in ids]
        case "anthropic":
            blocks = [{"type": "tool_result", "tool_use_id": each, "content": "done"} for each in ids]
            return [{"role": "user", "content": [*blocks, {"type": "text", "text": "go on"}]}]
        case _:
            return [{"type": "function_call_output", "call_id": each, "output": "done"} for each in ids]


def called(world: World) -> str:
    """Let a tool be called in a conversation of its own; return the id of the call."""
    line = world.send(tools=("shell",))
    world.deliver(line, line.own)
    assert line.reply.tool
    return line.reply.tool.call_id


@pytest.mark.parametrize("dialect", CALLS)
def test_results_for_two_conversations_are_mixed_up(dialect: str) -> None:
    world = World("none", dialect, False, 1)
    ids = [called(world), called(world)]

    line = world.send(**{CALLS[dialect]: handed_in(dialect, ids)})
    world.deliver(line, line.own)

    verdict = line.verdict()
    assert [finding.detector for finding in verdict.findings] == ["results"]
    assert verdict.kind == "suspect"


@pytest.mark.parametrize("dialect", CALLS)
def test_a_history_that_was_taken_over_is_not(dialect: str) -> None:
    world = World("none", dialect, False, 1)
    one, other = called(world), called(world)
    turns = [*handed_in(dialect, [one]), {"role": "assistant", "content": "well"}, *handed_in(dialect, [other])]

    line = world.send(**{CALLS[dialect]: turns})
    world.deliver(line, line.own)

    assert line.verdict().findings == ()


@pytest.mark.parametrize("turns", [None, [], "text", [1, "x"], [{"role": "tool"}], [{"content": [{"tool_use_id": 7}]}]])
def test_any_history_can_be_asked(turns: object) -> None:
    asked = RequestSummary(Endpoint("openai_chat", suffix="/chat/completions"), Body(render._json({"messages": turns})))

    assert asked.results == ()
