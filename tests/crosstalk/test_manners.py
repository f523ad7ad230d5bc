"""
Providers whose answers are right, and that lie about them or are sloppy: what is said of right answers, and of wrong
ones all the same. Each mode of the simulator is met here.
"""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from typing import get_args

import pytest

from ..simulator.diagnosis import Binds, Care, Diagnoses, Threads as ThreadManners
from ..simulator.errors import error as error_of
from ..simulator.manners import Counts, Manners, Repeats
from .talks import Talks, Told, run
from .world import Line, Wire, World

AT_ONCE, ROUNDS, KNOWN = 4, 44, 12
FOUND = ("suspect", "crosstalk")


def talks(stream: bool, *, care: str = "", binds: str = "", counts: str = "right", repeats: str = "") -> Talks:
    """Return conversations at a provider of these manners; what is not named, it does not do."""
    dialect = "openai_responses" if repeats else "anthropic"
    world = Talks(dialect, stream, 1, depth="metadata" if repeats else "none")
    if care or binds:
        world.diagnoses = Diagnoses(care or "late", binds or "missing")  # type: ignore[arg-type]
    world.thinks = bool(binds)
    world.manners = Manners(counts, repeats or "right")  # type: ignore[arg-type]
    return world


@cache
def told(stream: bool, swaps: bool, **manners: str) -> tuple[Talks, list[Told]]:
    world = talks(stream, **manners)
    mixed = run(world, ROUNDS, AT_ONCE, lambda number: "swap" if swaps and number >= KNOWN and number % 5 == 0 else "")
    return world, list(mixed)


def modes(kind: str, names: object) -> list[object]:
    return [pytest.param({kind: name}, at % 2 == 0, id=f"{kind}, {name}") for at, name in enumerate(get_args(names))]


# metadata of another's request are a part of another's answer: see below
OWN = [each for each in modes("repeats", Repeats) if each.values[0]["repeats"] not in ("another's", "at times")]  # type: ignore[attr-defined]
ALL = [*modes("counts", Counts), *modes("care", Care), *modes("binds", Binds), *OWN]


@pytest.mark.slow(every=6)
@pytest.mark.parametrize(("manners", "stream"), ALL)
def test_right_answers_are_proved_to_be_nobody_else_s(manners: dict[str, str], stream: bool) -> None:
    _, said = told(stream, False, **manners)
    late, at_once = [each.later.kind for each in said], [each.at_once.kind for each in said]

    assert "crosstalk" not in (*late, *at_once)
    assert late.count("suspect") <= 3
    assert len(said) == AT_ONCE * ROUNDS


@pytest.mark.slow(every=6)
@pytest.mark.parametrize(("manners", "stream"), ALL)
def test_exchanged_answers_are_found_and_no_right_one_is_proved(manners: dict[str, str], stream: bool) -> None:
    """What one thing is lied about, others tell; but where all counts are another's, nothing is left at Anthropic's."""
    _, said = told(stream, True, **manners)
    wrong = [each for each in said if each.of is not None and each.continued]
    found = [each for each in wrong if each.later.kind in FOUND]
    least = {"another's": 0.0, "at times": 0.3}.get(manners.get("counts", ""), 0.75)

    assert len(wrong) >= 8
    assert len(found) >= least * len(wrong)
    assert not [each for each in said if each.of is None and each.later.kind == "crosstalk"]


def detectors(said: list[Told]) -> set[str]:
    return {one.detector for each in said if each.of for one in each.later.findings if one.strength == "strong"}


@pytest.mark.slow
def test_what_is_said_rightly_is_used_and_what_is_a_habit_is_not() -> None:
    shown = {(kind, name): detectors(told(stream, True, **{kind: name})[1]) for kind, name, stream in (
        ("care", "right", True), ("care", "wrong", True), ("binds", "right", True), ("binds", "wrong", True),
        ("binds", "missing", False), ("counts", "right", True), ("counts", "another's", False),
    )}  # fmt: skip

    assert "next-turn" in shown["care", "right"] - shown["care", "wrong"]
    assert "binding" in shown["binds", "right"] - shown["binds", "wrong"] - shown["binds", "missing"]
    assert "prompt-length" in shown["counts", "right"] - shown["counts", "another's"]


@pytest.mark.slow
def test_a_provider_that_finds_a_difference_at_each_eighth_turn_is_known_for_it() -> None:
    """What is told of one answer is taken back when all others that were under way are known to be their own."""
    world = talks(False, care="sloppy")
    kinds = [each.later.kind for each in list(run(world, 150, AT_ONCE, lambda number: ""))]

    assert world.memory.habits.standing("http://host", "next-turn").demoted
    assert "crosstalk" not in kinds
    assert kinds.count("suspect") <= 3


@pytest.mark.parametrize(("repeats", "stream"), [("another's", False), ("at times", True)])
def test_metadata_of_another_s_request_are_proof_and_name_it(repeats: str, stream: bool) -> None:
    """They are a part of an answer that was another's, whatever stands beside them; right ones accuse nobody."""
    world, said = told(stream, False, repeats=repeats)
    before = {line.number: f"x{line.number - 1}" for line in world.lines}
    count = len(said) - 1 if repeats == "another's" else len(said) // 8

    proved = [each for each in said if each.later.kind == "crosstalk"]
    assert len(proved) == count
    assert all(each.later.victim == before[each.line.number] for each in proved)
    assert {each.later.kind for each in said if each not in proved} == {"clean"}


@pytest.mark.parametrize(("repeats", "stream"), [("right", True), ("first", False), ("capitals", True)])
def test_metadata_prove_each_exchange_whose_own_come_back_in_any_case(repeats: str, stream: bool) -> None:
    _, said = told(stream, True, repeats=repeats)
    wrong = [each for each in said if each.of is not None]

    assert {each.later.kind for each in wrong} == {"crosstalk"}
    if repeats != "first":
        assert all(each.of and each.later.victim == f"x{each.of.number}" for each in wrong)


class Threaded(World):
    """Conversations in message threads, two under way at once, with two models; a refused turn is sent again whole."""

    def __init__(self, threads: str) -> None:
        super().__init__("none", "anthropic", False, 1)
        self.diagnoses = Diagnoses("right", "missing", threads)  # type: ignore[arg-type]

    def turn(self, name: str, at: int, previous: str, model: str) -> Line:
        self.thread = name
        new: list[dict[str, str]] = [{"role": "user", "content": f"turn {at} of {name}"}]
        if not previous:
            return self._create(name, at, model)
        thread = {"type": "continue", "previous_message_id": previous}
        line = self.send(messages=new, thread=thread, model=model)
        names = self.diagnoses.differing(line.document, "a")
        if not names:
            return line
        said = f"This thread cannot be continued: differing field(s): {', '.join(names)}."
        error = error_of("anthropic", "request", said, code="thread_fingerprint_mismatch")
        self.deliver(line, Wire((("Content-Type", "application/json"),), (json.dumps(error).encode(),), 0), status=400)
        return self._create(name, at, model)

    def _create(self, name: str, at: int, model: str) -> Line:
        turns = [
            {"role": role, "content": f"turn {n} of {name}"} for n in range(at + 1) for role in ("user", "assistant")
        ]
        return self.send(messages=turns[:-1], thread={"type": "create"}, model=model)

    def end(self, line: Line, wire: Line) -> None:
        self.diagnoses.keep(line.reply.answer_id, "a", line.reply.asked)
        self.deliver(line, wire.own)
        line.watch.judgement.told = line.verdict()


def in_threads(threads: str, swap: bool, conversations: int = 24) -> tuple[Threaded, list[Line]]:
    """Let conversations have four turns each; return the lines that got one another's answers."""
    world, wrong = Threaded(threads), []
    for number in range(conversations):
        names, models = (f"{number} a", f"{number} b"), ("sim-large", "sim-small")
        previous = ["", ""]
        for at in range(4):
            lines = [world.turn(name, at, *each) for name, *each in zip(names, previous, models, strict=True)]
            for line in lines:
                line.reply = replace(line.reply, model="sim-large")  # else the model gives it away
                line.own = world.wire(line)
            mixed = swap and number % 8 == 7 and at == 1
            for line, other in zip(lines, reversed(lines) if mixed else lines, strict=True):
                world.end(line, other)
            wrong += lines if mixed else []
            previous = [each.reply.answer_id for each in (reversed(lines) if mixed else lines)]
    return world, wrong


@pytest.mark.parametrize("threads", get_args(ThreadManners))
def test_threads_that_are_refused_rightly_show_a_swap_and_those_that_are_not_prove_nothing(threads: str) -> None:
    world, _ = in_threads(threads, swap=False, conversations=48)
    kinds = [line.verdict().kind for line in world.lines]
    assert "crosstalk" not in kinds
    assert kinds.count("suspect") <= {"sloppy": 3}.get(threads, 0)
    assert "suspect" not in kinds[len(kinds) // 2 :]

    world, wrong = in_threads(threads, swap=True)
    found = [line for line in wrong if line.verdict().kind in FOUND]
    assert len(wrong) == 6
    assert len(found) == (6 if threads == "right" else 0)  # nothing else tells such short turns apart
    assert not [line for line in world.lines if line not in wrong and line.verdict().kind == "crosstalk"]
