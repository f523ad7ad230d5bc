"""Records of attempts are read as the release meant that wrote them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from patchbay.answer import reader
from patchbay.body import Body
from patchbay.crosstalk import attempt_record, detectors, watch
from patchbay.crosstalk.reverify import StoredExchange, judge
from patchbay.values.answer import Fact
from patchbay.values.decision import Finding

from . import modes
from .world import World


def _world() -> World:
    world = World("body", "openai_chat", True, 3)
    world.warm(6)
    modes.swap(world)
    return world


def _changed(stored: StoredExchange, **members: Any) -> StoredExchange:
    return replace(stored, attempts=tuple({**record, **members} for record in stored.attempts))


def _without(stored: StoredExchange, *names: str) -> StoredExchange:
    kept = [{name: value for name, value in record.items() if name not in names} for record in stored.attempts]
    return replace(stored, attempts=tuple(kept))


def _more_facts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the reader find facts of a new kind everywhere, and a detector look at them."""

    def novel(sent: object, fact: Fact, now: float) -> Iterator[Finding]:
        yield Finding("novel", "novel", "proof", fact.where, "nothing", "something", "unknown")

    monkeypatch.setitem(detectors.BY_KIND, "novel", (("novel", detectors.Detector(novel, frozenset({"novel"}))),))
    for name in ("head", "feed"):
        _also(monkeypatch, name)


def _also(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    plain = getattr(reader.AnswerReader, name)
    monkeypatch.setattr(reader.AnswerReader, name, lambda self, given: [Fact("novel", name), *plain(self, given)])


@pytest.mark.parametrize("before", [False, True], ids=["version 1", "version 0"])
def test_a_new_kind_of_fact_moves_nothing_in_older_records(monkeypatch: pytest.MonkeyPatch, before: bool) -> None:
    """T12: the facts are counted by the kinds that the record names, or by those of the time before it named any."""
    with monkeypatch.context() as then:
        if before:
            for kind in ("born", "bound", "calls", "compared", "usage"):  # newer than version 0
                then.delitem(detectors.BY_KIND, kind)
        world = _world()
    stored = [_without(each, "version", "kinds", "habits") if before else each for each in world.stored()]
    _more_facts(monkeypatch)

    judged = judge(stored, world.mint)

    assert {each.stored.recorded for each in judged} >= {"clean", "crosstalk"}
    assert all(each.agrees for each in judged)
    assert all(each.verdict.note != "the recorded verdict" for each in judged)


def test_a_kind_that_is_no_longer_found_leaves_what_was_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """T12: where the facts of a record cannot be found again, its verdict stands."""
    with monkeypatch.context() as later:
        _more_facts(later)
        world = _world()
        stored = world.stored()

    judged = judge(stored, world.mint)

    assert all(each.agrees for each in judged)


@settings(max_examples=15)
@given(st.dictionaries(st.text(min_size=30), st.integers() | st.text() | st.lists(st.integers())))
def test_members_that_nobody_knows_are_skipped(more: dict[str, Any]) -> None:
    """T12: a later release may add members to a record."""
    world = _world()

    judged = judge([_changed(each, **more) for each in world.stored()], world.mint)

    assert all(each.agrees and each.verdict.note != "the recorded verdict" for each in judged)


@pytest.mark.parametrize("version", [attempt_record.VERSION + 1, "2026-11", None])
def test_a_record_of_a_later_version_is_not_judged_again(version: object) -> None:
    """T12: what its members mean is not known here, so what was said stands."""
    world = _world()
    stored = [_without(_changed(each, version=version), "seen", "at") for each in world.stored()]

    judged = judge([*stored, replace(stored[0], recorded="", victim="")], world.mint)

    assert [each.verdict.kind for each in judged[:-1]] == [each.recorded for each in stored]
    assert judged[-1].verdict.note == "recorded by a later release of Patchbay"


def test_the_end_of_an_answer_of_many_facts_is_judged_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    """T12: the times of the first facts are kept; those that follow are counted all the same."""
    monkeypatch.setattr(watch, "SEEN", 4)
    monkeypatch.setattr("patchbay.crosstalk.reverify.SEEN", 4)
    world = _world()
    world.warm(3)

    assert {len(line.watch.record.encoded()["seen"]) for line in world.lines} == {4}  # type: ignore[arg-type]
    judged = judge(world.stored(), world.mint)
    assert all(each.agrees and each.verdict.note != "the recorded verdict" for each in judged)


def test_a_record_names_its_version_and_its_kinds() -> None:
    """T12: one place writes both."""
    world = _world()
    record = world.lines[0].watch.record.encoded()

    assert record["version"] == attempt_record.VERSION
    assert sorted(record["kinds"]) == sorted(detectors.KINDS)
    assert judge([StoredExchange((record,), Body(None))], world.mint)[0].verdict.kind == "unverifiable"


ODD: tuple[object, ...] = (None, True, -1, 1.5, "x", b"\xff", [], [1, None], [["a", 1]], {"a": 1}, [{}])


@pytest.mark.parametrize("before", [False, True], ids=["version 1", "version 0"])
def test_a_record_that_is_broken_spoils_no_other(before: bool) -> None:
    """T12: a dump may come from anywhere; each member gone, and each of another type."""
    world = _world()
    stored = [_without(each, "version", "kinds") if before else each for each in world.stored()]
    broken = [_without(stored[0], name) for name in stored[0].attempts[0]]
    broken += [_changed(stored[0], **{name: odd}) for name in stored[0].attempts[0] for odd in ODD]
    judged = judge([*broken, *stored[1:]], world.mint)

    assert all(each.verdict.kind == each.stored.recorded for each in judged[len(broken) :])
    assert len({each.verdict.note for each in judged[: len(broken)]}) > 1
    unsaid = [replace(each, recorded="", victim="") for each in broken]
    assert "its record is broken" in {each.verdict.note for each in judge(unsaid, world.mint)}
