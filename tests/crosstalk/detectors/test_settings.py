"""What a Responses answer repeats of its request: which members prove, and which are no more than a sign."""

from __future__ import annotations

from typing import Any

import pytest
from blake3 import blake3

from patchbay.crosstalk.detectors import settings
from patchbay.values.answer import Fact

from ..world import World
from .test_habits import over, strengths

OTHERS: dict[str, Any] = {
    "previous_response_id": "resp_of_the_other",
    "prompt_cache_key": "cache-of-the-other",
    "safety_identifier": "person-of-the-other",
    "user": "user-of-the-other",
    "instructions": "Answer as the other one wants it",
    "metadata.": {"run": "run-of-the-other"},
}


def test_there_is_a_value_for_every_member_that_proves() -> None:
    assert set(OTHERS) == set(settings._DISTINCT)


@pytest.mark.parametrize("member", OTHERS)
def test_another_s_value_in_a_member_that_only_a_client_chooses_is_proof(member: str) -> None:
    name, theirs = member.rstrip("."), OTHERS[member]
    world = World("none", "openai_responses", False, 1)
    mine: Any = {"run": "run-of-mine"} if name == "metadata" else "a-value-of-mine"
    place = "metadata.run" if name == "metadata" else name
    for _ in range(12):
        over(world, world.send(**{name: mine}), Fact("settings", {place: _repeated(name, mine)}, "body"))
    world.send(**{name: theirs})
    line = world.send(**{name: mine})

    found = over(world, line, Fact("settings", {place: _repeated(name, theirs)}, "body"))

    assert strengths(found) == [("settings", "proof")]
    assert found[0].victim == f"x{line.number - 1}"


@pytest.mark.parametrize(("answers", "strength"), [(7, "weak"), (8, "strong")])
def test_a_number_that_differs_is_a_strong_sign_where_the_host_repeated_it_eight_times(
    answers: int, strength: str
) -> None:
    world = World("none", "openai_responses", False, 1)
    for _ in range(answers):
        over(world, world.send(temperature=0.5), Fact("settings", {"temperature": "0.5"}, "body"))

    found = over(world, world.send(temperature=0.5), Fact("settings", {"temperature": "0.9"}, "body"))

    assert strengths(found) == [("settings", strength)]


@pytest.mark.parametrize("theirs", ["A-VALUE-OF-MINE", "a value of mine", "a-value-of", "<a-value-of-mine>"])
def test_ours_in_other_capitals_cut_or_with_words_around_is_weak(theirs: str) -> None:
    world = World("none", "openai_responses", False, 1)
    mine = "a value of mine" if " " in theirs else "a-value-of-mine"
    for _ in range(12):
        over(world, world.send(user=mine), Fact("settings", {"user": mine}, "body"))
    world.send(user=theirs)

    found = over(world, world.send(user=mine), Fact("settings", {"user": theirs.replace(" ", "  ")}, "body"))

    assert strengths(found) == [("settings", "weak")]


@pytest.mark.parametrize(("theirs", "proves"), [("abcdabcd", True), ("abcabcab", False), ("abcdabc", False)])
def test_a_value_proves_from_8_characters_and_4_distinct_ones_on(theirs: str, proves: bool) -> None:
    world = World("none", "openai_responses", False, 1)
    for _ in range(12):
        over(world, world.send(user="mine-only"), Fact("settings", {"user": "mine-only"}, "body"))
    world.send(user=theirs)

    found = over(world, world.send(user="mine-only"), Fact("settings", {"user": theirs}, "body"))

    assert (found[0].strength == "proof") is proves


@pytest.mark.parametrize(
    ("mine", "theirs", "is_derived"),
    [
        ("abc", "A b\nC", True),
        ("abcdefgh", "xABCDEFGH", True),
        ("xabcdefgh", "abcdefgh", True),
        ("abcdefg", "xabcdefg", False),
        ("abcdefgh", "abcdefgx", False),
    ],
)
def test_a_host_may_derive_a_value_from_ours_by_case_space_a_part_or_an_addition(
    mine: str, theirs: str, is_derived: bool
) -> None:
    assert settings._rewritten(mine, theirs) is is_derived


def _repeated(name: str, value: Any) -> str:
    """Return *value* as a fact has it: of long texts, a digest."""
    if name == "instructions":
        return blake3(value.encode()).hexdigest(16)
    return str(value["run"] if isinstance(value, dict) else value)
