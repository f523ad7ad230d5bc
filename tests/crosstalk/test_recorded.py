"""Conversations of recorded clients in a week: nothing is said of right answers, at once or from a dump."""

from __future__ import annotations

from pathlib import Path

import pytest

from . import recorded
from .recorded import Said, week

DAY = Path(__file__).parent.parent / "data" / "day-2026-11.mitm.gz"


@pytest.mark.slow
def test_nothing_is_said_of_a_recorded_week_at_random_speeds() -> None:
    said = week(recorded.recorded(DAY), seed=1, answers=300)

    assert said == Said(answers=said.answers, beside=said.beside)
    assert said.answers >= 300
    assert said.beside >= said.answers // 8


def test_the_generations_of_every_dialect_are_read() -> None:
    found = recorded.recorded(DAY)

    assert {(each.dialect, each.stream) for each in found} == {
        (dialect, stream)
        for dialect in ("openai_chat", "openai_responses", "anthropic", "gemini")
        for stream in (False, True)
    }
    assert all(each.document for each in found)
