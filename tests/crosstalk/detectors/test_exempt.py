"""Answers that no detector of contents judges: errors, answers fetched from a store, facts of another form."""

from __future__ import annotations

from typing import Any

from patchbay.crosstalk.detectors import DETECTORS
from patchbay.values.answer import Fact

from ...each_row import each_row
from ..world import Line, World

ID, CALL = "chatcmpl-B9MBs8CjcvOU2jLn4n570S5qMJKcT", "call_a81Kx02bQz77TyLm3"
# detector → a fact that it finds something in, where another exchange received the same before
FOUND = {
    "duplicate": Fact("id", ID, "body id"),
    "tool-call": Fact("token", CALL, "tool"),
    "settings": Fact("settings", {"user": "person-of-the-other"}, "body"),
    "created": Fact("created", 1_500_000_000, "body created"),
    "took": Fact("took", 90.0, "header openai-processing-ms"),
    "age": Fact("age", 600, "header age"),
    "disorder": Fact("disorder", "block 3", "unopened"),
    "strange-id": Fact("id", ID, "body id"),
}


def after_another(detector: str) -> tuple[World, Line]:
    """Return an exchange at a host that is known, after one that was answered with the same fact."""
    depth = "engine" if detector == "strange-id" else "none"
    world = World(depth, "openai_responses", True, 1)
    world.silent = frozenset(DETECTORS) - {detector}
    world.warm(9)
    other = world.send(user="person-of-mine")
    if detector in ("duplicate", "tool-call"):
        other.watch.see(FOUND[detector], 200, world.now)
    return world, world.send(user="person-of-mine")


@each_row(("status", "generation", "finds"), [
    (200, True, True), (399, True, True), (400, True, False), (500, True, False), (200, False, False),
])  # fmt: skip
@each_row("detector", FOUND)
def test_errors_and_fetched_answers_are_exempt(detector: str, status: int, generation: bool, finds: bool) -> None:
    world, line = after_another(detector)
    line.watch.record.generation = generation

    found = line.watch.see(FOUND[detector], status, world.now)

    assert [each.detector for each in found] == ([detector] if finds else [])


@each_row("value", [None, 7, ["x"], "", "words"])
@each_row("detector", [each for each in FOUND if each not in ("disorder", "strange-id")])
def test_a_fact_of_another_form_is_exempt(detector: str, value: Any) -> None:
    world, line = after_another(detector)
    fact = FOUND[detector]
    if detector in ("took", "age", "created") and value == 7:
        return  # a number is their form

    assert line.watch.see(Fact(fact.kind, value, fact.where), 200, world.now) == []
