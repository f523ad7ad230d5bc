"""What is found of answers that were mixed up, at every depth of echo, and what must stay silent."""

from __future__ import annotations

from dataclasses import replace

import pytest

from . import modes
from .world import NAMES, Wire, World, dialects_of

ALARMS = ("crosstalk", "suspect")
ECHOED = [modes.swap, modes.rotate, modes.late, modes.stale, modes.duplicate, modes.splice, modes.interleave,
          modes.body_only, modes.wrong_dialect, modes.other_model, modes.settings, modes.tool_name]  # fmt: skip
# Without any echo, what is still found, and the least that is said of it.
BLIND = {
    modes.duplicate: "crosstalk", modes.duplicate_new_id: "suspect", modes.stale: "suspect",
    modes.interleave: "crosstalk", modes.wrong_dialect: "crosstalk", modes.other_model: "suspect",
    modes.settings: "crosstalk", modes.tool_name: "suspect", modes.tool_id: "suspect", modes.stray_head: "crosstalk",
}  # fmt: skip
# … and what cannot be: the words are all there is, and nothing in them says whose they are.
UNSEEN = [modes.swap, modes.rotate, modes.late, modes.head_only, modes.body_only, modes.words_only]


def worlds(mode: modes.Mode, depth: str) -> list[World]:
    return [
        World(depth, dialect, stream, 1)
        for dialect in modes.DIALECTS_ONLY.get(mode.__name__, tuple(NAMES))
        if dialect in dialects_of(depth)
        for stream in (False, True)
        if stream or mode.__name__ not in modes.STREAMS_ONLY
    ]


@pytest.mark.slow(every=4)
@pytest.mark.parametrize("depth", ["body", "engine", "metadata"])
@pytest.mark.parametrize("mode", ECHOED, ids=lambda mode: mode.__name__)
def test_with_an_echo_in_the_answer_every_wrong_answer_is_proved_and_its_owner_named(
    mode: modes.Mode, depth: str
) -> None:
    for world in worlds(mode, depth):
        if mode is modes.splice and depth == "engine" and world.dialect == "anthropic":
            continue  # after its first event, an Anthropic stream says nothing about whose it is
        world.warm()
        for truth in mode(world):
            verdict = truth.line.verdict()
            if truth.of is None:
                assert verdict.kind == ("clean" if modes.reaches_the_end(world) else "unverifiable")
            else:
                assert (verdict.kind, verdict.victim) == ("crosstalk", f"x{truth.of.number}"), world.dialect


@pytest.mark.slow(every=4)
@pytest.mark.parametrize("mode", BLIND, ids=lambda mode: mode.__name__)
def test_without_any_echo_much_is_found_all_the_same(mode: modes.Mode) -> None:
    for world in worlds(mode, "none"):
        world.warm(15)
        for truth in mode(world):
            verdict = truth.line.verdict()
            if truth.of is None:
                assert verdict.kind == "unverifiable"
            else:
                assert verdict.kind in ALARMS[: 1 + ALARMS.index(BLIND[mode])], (world.dialect, verdict.findings)
                assert verdict.victim in (f"x{truth.of.number}", "unknown")


@pytest.mark.parametrize("mode", UNSEEN, ids=lambda mode: mode.__name__)
def test_what_cannot_be_known_is_unverifiable_and_never_clean(mode: modes.Mode) -> None:
    for world in worlds(mode, "none"):
        world.warm()
        assert {truth.line.verdict().kind for truth in mode(world)} == {"unverifiable"}


@pytest.mark.slow(every=4)
@pytest.mark.parametrize("depth", ["none", "body"])
@pytest.mark.parametrize("mode", modes.SILENCE, ids=lambda mode: mode.__name__)
def test_what_only_looks_strange_raises_no_alarm(mode: modes.Mode, depth: str) -> None:
    for dialect in ("openai_chat",) if mode.__name__ in modes.CHAT_ONLY else tuple(NAMES):
        for stream in (True,) if mode.__name__ in modes.STREAM_ONLY_SILENCE else (False, True):
            world = World(depth, dialect, stream, 2)
            for _ in range(4):
                for truth in mode(world):
                    found = truth.line.verdict()
                    assert found.kind not in ALARMS, (dialect, stream, found.findings)


@pytest.mark.parametrize(
    ("detector", "mode", "depth", "dialect", "stream"),
    [
        ("contract", modes.unknown_id, "body", "openai_chat", False),
        ("tag", modes.swap, "engine", "anthropic", True),
        ("duplicate", modes.duplicate, "none", "gemini", False),
        ("tool-call", modes.tool_id, "none", "anthropic", True),
        ("settings", modes.settings, "none", "openai_responses", True),
        ("shape", modes.wrong_dialect, "none", "anthropic", False),
        ("stray-head", modes.stray_head, "none", "openai_chat", False),
        ("created", modes.stale, "none", "openai_chat", False),
        ("model", modes.other_model, "none", "gemini", True),
        ("tool-name", modes.tool_name, "none", "openai_chat", False),
        ("same-text", modes.duplicate_new_id, "none", "openai_responses", False),
    ],
)
def test_each_detector_is_needed(detector: str, mode: modes.Mode, depth: str, dialect: str, stream: bool) -> None:
    def alarms(silent: frozenset[str]) -> int:
        world = World(depth, dialect, stream, 3)
        world.silent = silent
        world.warm(15)
        return sum(truth.line.verdict().kind in ALARMS for truth in mode(world))

    assert alarms(frozenset()) > 0
    assert alarms(frozenset({detector})) == 0


def test_an_answer_that_goes_over_into_another_is_found_by_its_order_alone() -> None:
    for dialect in ("openai_chat", "gemini"):
        world = World("none", dialect, True, 4)
        world.silent = frozenset({"duplicate"})
        world.warm(8)
        assert {truth.line.verdict().kind for truth in modes.splice(world)} == {"suspect"}


def test_two_answers_in_one_stream_are_proof_by_their_order_alone() -> None:
    for dialect in NAMES:
        world = World("none", dialect, True, 4)
        world.silent = frozenset({"duplicate"})
        world.warm(66)
        mixed, own = modes.interleave(world)
        assert (mixed.line.verdict().kind, own.line.verdict().kind) == ("crosstalk", "unverifiable")


@pytest.mark.parametrize("seed", range(6))
def test_what_follows_the_last_name_of_a_stream_is_never_clean(seed: int) -> None:
    """It shows by the length of the prompt, where that differs; else nothing is known of it."""
    world = World("engine", "anthropic", True, seed)
    world.warm(15)
    for truth in modes.splice(world):
        first, other = truth.line.reply.usage.prompt, truth.of.reply.usage.prompt  # type: ignore[union-attr]
        assert truth.line.verdict().kind == ("unverifiable" if first == other else "suspect")
    a, b = world.send(), world.send()
    b.reply = replace(b.reply, usage=replace(b.reply.usage, prompt=a.reply.usage.prompt))
    at = len(a.own.pieces) // 2
    world.deliver(a, Wire(a.own.headers, a.own.pieces[:at] + world.wire(b).pieces[at:], b.number))
    assert a.verdict().kind == "unverifiable"


@pytest.mark.parametrize("mode", [modes.body_only, modes.words_only], ids=lambda mode: mode.__name__)
def test_a_right_head_over_another_s_body_is_never_clean(mode: modes.Mode) -> None:
    for world in worlds(mode, "handler"):
        world.warm()
        assert {truth.line.verdict().kind for truth in mode(world)} == {"unverifiable"}


def test_an_answer_that_was_mixed_into_another_before_it_came_to_its_own_is_no_other_s() -> None:
    for dialect in ("openai_chat", "gemini", "openai_responses"):
        world = World("none", dialect, True, 4)
        world.warm(8)
        a, b = world.send(), world.send()
        mixed = tuple(piece for pair in zip(a.own.pieces, b.own.pieces, strict=False) for piece in pair)
        running = world.delivering(a, Wire(a.own.headers, mixed, b.number))
        for _ in range(4):
            next(running)

        world.deliver(b, b.own)
        assert list(running)

        assert (b.verdict().kind, a.verdict().kind) == ("unverifiable", "crosstalk"), dialect
        assert dialect == "openai_responses" or a.verdict().victim == f"x{b.number}"


def test_many_clean_exchanges_in_four_dialects_raise_no_alarm() -> None:
    for dialect in NAMES:
        for stream in (False, True):
            world = World("none", dialect, stream, 5)
            for number in range(100):
                for truth in (modes.clean, modes.clean_tools)[number % 2](world):
                    assert truth.line.verdict().findings == ()


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("dialect", NAMES)
@pytest.mark.parametrize("depth", ["body", "engine"])
def test_who_gets_its_own_answer_after_another_got_it_is_not_suspected(depth: str, dialect: str, stream: bool) -> None:
    world = World(depth, dialect, stream, 1)
    world.warm(15)
    owner, other = world.send(words=60), world.send(words=60)

    assert world.deliver(other, owner.own).kind == "crosstalk"
    assert world.deliver(owner, owner.own).kind not in ALARMS
