"""The detector of tools that the request did not offer: which answers it judges, and how strong the finding is."""

from __future__ import annotations

import pytest

from patchbay.body import Body
from patchbay.crosstalk.request_summary import RequestSummary
from patchbay.values.answer import Fact
from patchbay.values.http import Endpoint

from ..world import World
from .test_habits import over, strengths


def known(answers: int = 3) -> World:
    """Return a world whose host called an offered tool in so many *answers*."""
    world = World("none", "openai_chat", False, 1)
    for _ in range(answers):
        over(world, world.send(tools=("shell",)), Fact("tool", "shell"))
    return world


@pytest.mark.parametrize(("answers", "beside", "strength", "victims"), [
    (3, 1, "strong", 1), (2, 1, "weak", 1), (3, 0, "weak", 0), (3, 2, "weak", 0), (0, 0, "weak", 0),
])  # fmt: skip
def test_an_unoffered_tool_is_strong_where_one_exchange_beside_offered_it(
    answers: int, beside: int, strength: str, victims: int
) -> None:
    world = known(answers)
    others = [world.send(tools=("read",)) for _ in range(beside)]
    found = over(world, world.send(tools=("shell",)), Fact("tool", "read"))

    assert strengths(found) == [("tool-name", strength)]
    assert found[0].victim == (f"x{others[0].number}" if victims else "unknown")
    assert found[0].expected == "one of the 1 tools offered"


@pytest.mark.parametrize("status", [399, 400, 500])
@pytest.mark.parametrize("generation", [True, False])
@pytest.mark.parametrize("kind", ["tool", "text"])
def test_only_a_tool_of_a_made_answer_without_error_is_judged(kind: str, generation: bool, status: int) -> None:
    line = World("none", "openai_chat", False, 1).send(tools=("shell",))
    line.watch.record.generation = generation

    found = line.watch.see(Fact(kind, "read"), status, 1.0)

    assert bool(found) is (kind == "tool" and generation and status < 400)


def test_where_the_provider_adds_tools_no_tool_is_unoffered() -> None:
    line = World("none", "gemini", False, 1).send()
    line.watch._ctx.request = RequestSummary(Endpoint("gemini"), Body(b'{"tools": [{"googleSearch": {}}]}'))

    assert line.watch.see(Fact("tool", "read"), 200, 1.0) == []


def test_without_a_request_no_tool_is_judged() -> None:
    line = World("none", "openai_chat", False, 1).send()
    line.watch._ctx.request = None

    assert line.watch.see(Fact("tool", "read"), 200, 1.0) == []


def test_a_break_is_counted_for_the_host_with_the_swap_it_may_be() -> None:
    world = known()
    other = world.send(tools=("read",))
    line = world.send(tools=("shell",))
    over(world, line, Fact("tool", "read"))

    standing = world.memory.habits.standing("http://host", "tool-name")
    assert (standing.broken, standing.last) == (1, f"{line.request_id} → {other.request_id}")
