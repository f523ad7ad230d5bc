"""Conversations that are judged again from what a dump keeps get the verdicts of the time, those of later turns too."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from patchbay.crosstalk.reverify import Judged, StoredExchange, judge
from patchbay.values.decision import Amendment, Verdict

from ..simulator.diagnosis import Care
from .talks import Talk, Talks, run
from .world import Line

CARES: tuple[Care | None, ...] = (None, "right", "sloppy", "wrong", "late")
MIXES = ("", "", "swap", "rotate", "twice", "again")


@dataclass
class History:
    """What was said live: the verdict at each end, and the verdicts that each answer changed."""

    world: Talks
    said: dict[int, Verdict] = field(default_factory=dict)
    changes: dict[int, list[Amendment]] = field(default_factory=dict)

    def ended(self, line: Line) -> None:
        """Make the decision on *line*, as the router does when an exchange is closed."""
        self.said[line.number] = line.watch.judgement.told = line.verdict()
        self.changes[line.number] = self.world.memory.late.amendments(f"x{line.number}")

    def round(self, talks: list[Talk], mix: str, *, together: bool) -> None:
        """Let each of *talks* have a turn."""
        random, lines = self.world.random, [self.world.asked(talk) for talk in talks]
        given = list(lines)
        if mix == "swap":
            given[0], given[1] = given[1], given[0]
        elif mix == "rotate":
            given = [*given[1:], given[0]]
        elif mix == "twice":
            given[0] = given[1]
        elif mix == "again" and len(self.world.lines) > len(lines):
            given[0] = self.world.lines[random.randrange(len(self.world.lines) - len(lines))]
        running = [(line, self.world.delivering(line, other.own)) for line, other in zip(lines, given, strict=True)]
        random.shuffle(running)
        while running:
            at = random.randrange(len(running)) if together else 0
            line, delivery = running[at]
            if next(delivery, "over") == "over":
                self.ended(line)
                del running[at]
        for talk, other in zip(talks, given, strict=True):
            self.world.heard(talk, other)

    def stored(self) -> list[StoredExchange]:
        """Return every exchange as its flow keeps it."""
        return [
            replace(
                stored, recorded=self.said[line.number].kind, victim=self.said[line.number].victim,
                amends=tuple(change.encoded() for change in self.changes[line.number]),
            )
            for line, stored in zip(self.world.lines, self.world.stored(), strict=True)
        ]  # fmt: skip

    def last(self) -> dict[str, Amendment]:
        """Return the last change of each exchange's verdict."""
        every = sorted((change for each in self.changes.values() for change in each), key=lambda change: change.time)
        return {change.exchange: change for change in every}


def history(dialect: str, stream: bool, care: Care | None, story: list[str], at_once: int, seed: int) -> History:
    told = History(Talks(dialect, stream, seed, care))
    talks = [told.world.talk() for _ in range(at_once)]
    for number, mix in enumerate(story):
        told.round(talks, mix, together=number % 2 == 1)
        if number % 4 == 3:
            talks[number % at_once] = told.world.talk()
    return told


def differing(judged: list[Judged], told: History) -> list[tuple[Any, ...]]:
    """Return what was said otherwise than live."""
    last, lines = told.last(), {f"x{line.number}": line for line in told.world.lines}
    found: list[tuple[Any, ...]] = []
    for each in judged:
        live = lines[each.stored.exchange].verdict()
        if (each.verdict, each.change) != (live, last.get(each.stored.exchange)) or not each.agrees:
            found.append((each.stored.exchange, each.verdict, live, each.change, last.get(each.stored.exchange)))
    return found


@settings(max_examples=12, deadline=None)
@given(
    st.sampled_from(["anthropic", "openai_responses", "openai_chat", "gemini"]),
    st.booleans(),
    st.sampled_from(CARES),
    st.lists(st.sampled_from(MIXES), min_size=2, max_size=5),
    st.integers(2, 4),
    st.integers(0, 1000),
)
def test_every_verdict_is_as_it_was_told_with_the_same_changes(
    dialect: str, stream: bool, care: Care | None, story: list[str], at_once: int, seed: int
) -> None:
    told = history(dialect, stream, care, ["", "", "", *story], at_once, seed)
    stored = told.stored()
    assert not differing(judge(stored, told.world.mint), told)

    Random(seed).shuffle(stored)
    assert not differing(judge(stored, told.world.mint), told)


@settings(max_examples=8, deadline=None)
@given(
    st.sampled_from(["anthropic", "openai_responses"]),
    st.booleans(),
    st.sampled_from([None, "right", "late"]),
    st.integers(2, 4),
    st.randoms(use_true_random=False),
)
def test_a_part_of_a_dump_of_right_answers_suspects_nobody(
    dialect: str, stream: bool, care: Care | None, at_once: int, random: Random
) -> None:
    told = history(dialect, stream, care, [""] * 6, at_once, random.randrange(1000))
    some = [each for each in told.stored() if random.random() < 0.6]

    assert {each.verdict.kind for each in judge(some, told.world.mint)} <= {"clean", "unverifiable"}


@settings(max_examples=25, deadline=None)
@given(
    st.sampled_from(["anthropic", "openai_responses", "openai_chat", "gemini"]),
    st.booleans(),
    st.sampled_from(CARES),
    st.lists(st.sampled_from(MIXES), min_size=2, max_size=6),
    st.integers(2, 4),
    st.randoms(use_true_random=False),
)
def test_of_a_part_of_a_dump_no_verdict_is_called_another(
    dialect: str, stream: bool, care: Care | None, story: list[str], at_once: int, random: Random
) -> None:
    told = history(dialect, stream, care, ["", "", "", *story], at_once, random.randrange(1000))
    some = [each for each in told.stored() if random.random() < 0.6]

    differ = [each for each in judge(some, told.world.mint) if not each.agrees]
    assert not [(each.recorded, each.verdict, each.told) for each in differ]


def attested() -> History:
    """Two conversations of which the provider says at each turn that the one before was theirs."""
    told = history("anthropic", False, "right", ["", "", "", ""], 2, 7)
    assert {change.verdict for change in told.last().values()} == {"clean"}
    return told


def test_an_answer_that_was_kept_in_part_has_the_verdict_that_a_later_turn_gave_it() -> None:
    told = attested()
    cut = [replace(each, answer=each.answer[:20], cut=True) for each in told.stored()]

    judged = judge(cut, told.world.mint)
    assert all(each.agrees for each in judged), [(each.verdict, each.recorded) for each in judged]
    assert [each.verdict.kind for each in judged] == ["clean"] * 6 + ["unverifiable"] * 2


@pytest.mark.parametrize("kept", [[0], [2, 0]])
def test_a_verdict_is_not_compared_where_what_changed_it_is_not_stored(kept: list[int]) -> None:
    told = attested()
    stored = told.stored()
    flows = [replace(stored[at], amended=(told.last()[stored[at].exchange].encoded(),)) for at in kept]

    judged = judge(flows, told.world.mint)
    by = {each.exchange for each in flows}
    for each in judged:
        change = told.last()[each.stored.exchange]
        assert each.recorded == (("clean", "") if change.by in by else ("", ""))
        assert each.agrees


@pytest.mark.parametrize("way", ["an answer of ours instead", "another attempt's answer"])
def test_what_an_answer_said_that_no_client_got_stays_said(way: str) -> None:
    told = attested()
    stored = told.stored()
    at = next(at for at, each in enumerate(stored) if each.amends)
    if way == "an answer of ours instead":
        stored[at] = replace(stored[at], ours=True)
    else:
        again = {**stored[at].attempts[-1], "request_id": "again", "seen": []}
        stored[at] = replace(stored[at], attempts=(*stored[at].attempts, again), answer=b"", head=None)

    judged = {each.stored.exchange: each for each in judge(stored, told.world.mint)}
    found = judged[str(stored[at].amends[0]["exchange"])]
    assert found.agrees
    assert (found.verdict.kind, found.change) == ("clean", None)


def test_where_another_that_was_under_way_is_not_stored_the_recorded_verdict_stands() -> None:
    world = Talks("anthropic", False, 5)
    mixed = [told.line for told in run(world, 24, 3, lambda number: "swap" if number == 22 else "") if told.of]
    stored = world.stored()
    one, two = (f"x{line.number}" for line in mixed)
    assert {each.stored.exchange: each.verdict.kind for each in judge(stored, world.mint)}[one] == "suspect"

    part = judge([each for each in stored if each.exchange != two], world.mint)
    (found,) = (each for each in part if each.stored.exchange == one)
    assert (found.verdict.kind, found.verdict.note, found.agrees) == ("suspect", "the recorded verdict", True)
    whole = judge([each for each in stored if each.exchange not in (one, two)], world.mint)
    assert {each.verdict.kind for each in whole} == {"unverifiable"}
