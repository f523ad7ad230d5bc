"""What a Responses answer repeats of its request: which members prove, and which are no more than a sign."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from blake3 import blake3
from msgspec import structs

from patchbay.crosstalk.detector_context import DetectorContext
from patchbay.crosstalk.detectors import settings
from patchbay.crosstalk.host_habits import Standing
from patchbay.crosstalk.recent import LiveAttempt
from patchbay.crosstalk.request_summary import RequestSummary
from patchbay.ledger import Entry
from patchbay.values.answer import Fact

from ..world import World
from .contexts import AT, HOST, MINE as RECORDED, MINT, beside, broken, context, found, habits, kept, request, told
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


@pytest.mark.parametrize("name", ["instructions", "tools"])
def test_words_of_a_prompt_are_shown_as_digests_that_need_the_key(name: str) -> None:
    ctx = swapped(name, habits=rule_of(name, kept(12)))
    theirs = request("openai_responses", **THEIRS).settings[name]

    (told,) = found(ctx, "settings", Fact("settings", {name: theirs}, "body"))

    assert told.received == MINT.keyed(theirs.encode()).hex()
    assert told.expected == MINT.keyed(ctx.request.settings[name].encode()).hex()  # type: ignore[union-attr]


# -- by the standing of the rule ---------------------------------------------------------------------------------------

MINE: dict[str, Any] = {
    "user": "person-of-mine", "prompt_cache_key": "cache-of-mine", "previous_response_id": "resp_of_mine",
    "safety_identifier": "safe-of-mine", "instructions": "Answer as I want it", "temperature": 0.5,
    "tools": [{"type": "function", "name": "shell"}], "metadata": {"run": "run-of-mine", "job": "job-of-mine"},
}  # fmt: skip
THEIRS: dict[str, Any] = {
    "user": "person-of-theirs", "prompt_cache_key": "cache-of-theirs", "previous_response_id": "resp_of_theirs",
    "safety_identifier": "safe-of-theirs", "instructions": "Answer as they want it", "temperature": 0.123456,
    "tools": [{"type": "function", "name": "book"}], "metadata": {"run": "run-of-theirs", "job": "job-of-theirs"},
}  # fmt: skip
SHORT = {"user": "abc", "prompt_cache_key": "xyz"}


def asked(*names: str, of: dict[str, Any] = MINE) -> RequestSummary:
    return request("openai_responses", **{name: of[name] for name in names})


def swapped(*names: str, of: dict[str, Any] = THEIRS, waits: bool = True, **more: Any) -> DetectorContext:
    """Return the context of a request for *names*, after exchange `b` asked with others; *waits*: it still waits."""
    ctx = context(asked(*names), **more)
    beside(ctx, "b", asked(*names, of=of))
    if not waits:
        assert ctx.memory is not None
        ctx.memory.finish("id-b", AT - 1)
    return ctx


def repeated(ctx: DetectorContext, *names: str, of: dict[str, Any] = THEIRS) -> list[tuple[str, str]]:
    """Return what is found in an answer with *of*'s settings for *names*."""
    return told(found(ctx, "settings", Fact("settings", asked(*names, of=of).settings, "body response")))


def rule_of(name: str, standing: Standing) -> dict[str, Standing]:
    return {f"settings {name}": standing}


WEAK = [("weak", "unknown")]


@pytest.mark.parametrize(
    ("name", "standing", "strength"),
    [
        *((name, kept(12), "proof") for name in MINE if name not in ("temperature", "tools", "metadata")),
        ("user", kept(12, doubted=True), "proof"),
        ("user", Standing(kept=12, broken=2, row=1.0), "proof"),
        ("user", Standing(kept=12, row=2.0), "strong"),
        ("user", kept(11), "strong"),
        ("user", Standing(kept=1), "strong"),
        ("user", Standing(kept=1, broken=1), "weak"),
        ("user", Standing(), "weak"),
        ("prompt_cache_key", Standing(), "weak"),
        ("safety_identifier", Standing(), "weak"),
        ("previous_response_id", Standing(), "strong"),
        ("instructions", Standing(), "strong"),
        ("previous_response_id", Standing(broken=1), "weak"),
        ("user", kept(500, demoted=True), ""),
    ],
)
def test_a_setting_of_an_exchange_that_waits_is_worth_what_the_host_kept(
    name: str, standing: Standing, strength: str
) -> None:
    ctx = swapped(name, habits=rule_of(name, standing))

    expected = WEAK if strength == "weak" else [(strength, "b")] if strength else []
    assert repeated(ctx, name) == expected
    assert ctx.broken == {f"settings {name}"}
    assert broken(ctx, f"settings {name}") == (0, 0.0)  # a misdelivered answer shows no habit
    assert f"settings {name}" in ctx.standings


def test_the_first_of_two_answers_that_are_swapped_does_not_excuse_the_second() -> None:
    standing = Standing(kept=3, broken=1, before=3, began=AT + 1, last=f"id-b → {RECORDED}")

    for last, strength in ((f"id-b → {RECORDED}", [("strong", "b")]), (f"id-c → {RECORDED}", WEAK)):
        ctx = swapped("user", habits=rule_of("user", structs.replace(standing, last=last)))
        assert repeated(ctx, "user") == strength


def test_a_short_value_of_an_exchange_that_waits_is_no_proof_and_shows_a_habit() -> None:
    ctx = swapped("user", of=SHORT, habits=rule_of("user", kept(64)))

    assert repeated(ctx, "user", of=SHORT) == [("strong", "b")]
    assert broken(ctx, "settings user") == (1, 0.5)
    assert habits(ctx, "settings user").last == f"{RECORDED} → id-b"


def test_two_settings_of_one_exchange_that_waits_are_proof_at_an_unknown_host() -> None:
    for of in (SHORT, THEIRS):
        ctx = swapped("user", "prompt_cache_key", of=of)

        assert repeated(ctx, "user", "prompt_cache_key", of=of) == [("proof", "b")] * 2
        assert broken(ctx, "settings user") == (0, 0.0)


def test_two_members_of_the_metadata_are_one_setting_and_those_of_two_exchanges_are_two() -> None:
    one = swapped("metadata", habits=rule_of("metadata", Standing(broken=1)))
    assert repeated(one, "metadata") == WEAK * 2

    two = context(asked("user", "prompt_cache_key"))
    beside(two, "b", asked("user", of=THEIRS))
    beside(two, "c", asked("prompt_cache_key", of=THEIRS))
    assert repeated(two, "user", "prompt_cache_key") == WEAK * 2


@pytest.mark.parametrize(
    ("name", "of", "standing", "findings"),
    [
        ("user", THEIRS, kept(63), [("strong", "b")]),
        ("user", THEIRS, kept(64), [("proof", "b")]),
        ("user", THEIRS, kept(63, doubted=True), WEAK),
        ("user", THEIRS, kept(64, doubted=True), [("proof", "b")]),
        ("user", SHORT, kept(64), [("strong", "b")]),
        ("temperature", THEIRS, kept(64), [("strong", "b")]),
        ("tools", THEIRS, Standing(kept=3), WEAK),
        ("user", THEIRS, kept(7), WEAK),
        ("user", THEIRS, kept(8), [("strong", "b")]),
    ],
)
def test_a_setting_of_an_exchange_that_waits_no_longer_is_proof_after_sixty_four_answers(
    name: str, of: dict[str, Any], standing: Standing, findings: list[tuple[str, str]]
) -> None:
    ctx = swapped(name, of=of, waits=False, habits=rule_of(name, standing))

    assert repeated(ctx, name, of=of) == findings
    assert broken(ctx, f"settings {name}") == (1, 1.0)
    assert habits(ctx, f"settings {name}").last == ""


@pytest.mark.parametrize(
    ("standing", "strength"), [(kept(7), "weak"), (kept(8), "strong"), (kept(8, doubted=True), "weak"),
                               (kept(500), "strong")]
)  # fmt: skip
def test_a_setting_that_no_exchange_sent_is_strong_where_the_host_always_repeated_it(
    standing: Standing, strength: str
) -> None:
    ctx = context(asked("user"), habits=rule_of("user", standing))

    assert repeated(ctx, "user") == [(strength, "unknown")]


@pytest.mark.parametrize("same", [{"exchange": "a"}, {"digest": b"d"}, {"words": b"w"}])
def test_a_setting_of_an_equal_request_or_of_another_attempt_has_no_owner(same: dict[str, Any]) -> None:
    ctx = context(asked("user"), habits=rule_of("user", kept(64)))
    assert ctx.memory is not None
    entry = replace(Entry("b", "id-b", digest=b"b", words=b"b", at=AT), **same)
    ctx.memory.begin(LiveAttempt(entry, asked("user", of=THEIRS), HOST))

    assert repeated(ctx, "user") == [("strong", "unknown")]
    assert broken(ctx, "settings user") == (1, 1.0)


@pytest.mark.parametrize("waits", [True, False])
def test_a_value_that_came_in_answers_to_others_has_no_owner(waits: bool) -> None:
    ctx = swapped("user", waits=waits, habits=rule_of("user", kept(64)))
    assert ctx.memory is not None
    ctx.memory.received(HOST, "user", THEIRS["user"], "c")

    assert repeated(ctx, "user") == WEAK
    assert broken(ctx, "settings user") == (1, 1.0)
    assert ctx.standings["settings user of several"] == Standing(broken=1)


def test_whether_a_value_is_common_is_that_of_its_first_use() -> None:
    habit = rule_of("user", kept(64)) | {"settings user of several": Standing()}
    ctx = swapped("user", habits=habit)
    assert ctx.memory is not None
    ctx.memory.received(HOST, "user", THEIRS["user"], "c")

    assert repeated(ctx, "user") == [("proof", "b")]


def test_a_number_is_never_common() -> None:
    ctx = swapped("temperature", habits=rule_of("temperature", kept(8)))
    assert ctx.memory is not None
    ctx.memory.received(HOST, "temperature", "0.123456", "c")

    assert repeated(ctx, "temperature") == [("strong", "b")]


@pytest.mark.parametrize(
    ("name", "standing", "findings"),
    [
        ("tools", Standing(kept=3), [("strong", "b")]),
        ("tools", Standing(kept=3, doubted=True), [("strong", "b")]),
        ("tools", Standing(kept=2), WEAK),
        ("tools", kept(64), [("strong", "b")]),
        ("temperature", Standing(kept=3), WEAK),
    ],
)
def test_tools_of_an_exchange_that_waits_are_a_strong_sign_after_three_answers(
    name: str, standing: Standing, findings: list[tuple[str, str]]
) -> None:
    assert repeated(swapped(name, habits=rule_of(name, standing)), name) == findings


def test_a_value_made_from_ours_is_weak_whatever_the_host_kept() -> None:
    made = {"user": f"tenant/{MINE['user']}"}
    for waits in (True, False):
        ctx = swapped("user", of=made, waits=waits, habits=rule_of("user", kept(64)))
        assert repeated(ctx, "user", of=made) == WEAK


def test_settings_that_are_ours_are_kept_and_missing_ones_say_nothing() -> None:
    ctx = context(asked("user", "metadata", "temperature"))

    assert repeated(ctx, "user", "metadata", "prompt_cache_key", of=MINE) == []
    assert ctx.kept == {"settings user", "settings metadata"}
    assert not ctx.broken


@pytest.mark.parametrize(
    ("change", "finds"),
    [({"status": 399}, True), ({"status": 400}, False), ({"generation": False}, False), ({"memory": False}, False)],
)
def test_settings_of_errors_and_fetched_answers_are_not_compared(change: dict[str, Any], finds: bool) -> None:
    ctx = context(asked("user"), **change)

    assert bool(repeated(ctx, "user")) is finds
    assert bool(ctx.broken) is finds
    ctx.request = None
    assert repeated(ctx, "user") == []
    assert told(found(context(asked("user")), "settings", Fact("settings", ["user"]))) == []


def test_a_finding_names_the_member_and_both_values() -> None:
    (finding,) = found(swapped("user", habits=rule_of("user", kept(12))), "settings",
                       Fact("settings", {"user": THEIRS["user"]}, "body response"))  # fmt: skip

    assert (finding.where, finding.expected, finding.received) == ("body user", MINE["user"], THEIRS["user"])
