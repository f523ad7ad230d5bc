"""A stored exchange gets the verdict that it got when it passed."""

from __future__ import annotations

from dataclasses import replace

import msgspec
from hypothesis import given, settings, strategies as st

from patchbay.body import Body
from patchbay.correlation import Mint
from patchbay.crosstalk.reverify import StoredExchange, judge

from . import modes
from .world import NAMES, World

EVERY = (*modes.FAULTS, *modes.SILENCE)


def fits(mode: modes.Mode, world: World) -> bool:
    name = mode.__name__
    if name in modes.STREAMS_ONLY | modes.STREAM_ONLY_SILENCE and not world.stream:
        return False
    if name in modes.CHAT_ONLY and world.dialect != "openai_chat":
        return False
    return world.dialect in modes.DIALECTS_ONLY.get(name, (world.dialect,))


@settings(max_examples=40)
@given(
    st.sampled_from(["none", "handler", "body", "engine"]),
    st.sampled_from(list(NAMES)),
    st.booleans(),
    st.lists(st.sampled_from(EVERY), min_size=1, max_size=5),
    st.integers(0, 8),
    st.randoms(use_true_random=False),
)
def test_online_and_offline_say_the_same(depth: str, dialect: str, stream: bool, story, warm, random) -> None:  # type: ignore[no-untyped-def]
    world = World(depth, dialect, stream, 9)
    world.warm(warm)
    for mode in story:
        if fits(mode, world):
            mode(world)
    stored = world.stored()
    random.shuffle(stored)

    for judged in judge(stored, Mint(b"k" * 32)):
        assert judged.agrees, (judged.stored.recorded, judged.stored.victim, judged.verdict)
        assert judged.verdict.note != "the verdict of then"


def test_a_record_is_made_of_plain_types() -> None:
    world = World("body", "openai_responses", True, 1)
    modes.settings(world)

    for line in world.lines:
        record = line.watch.record.encoded()
        assert msgspec.json.decode(msgspec.json.encode(record)) == record


def test_another_key_knows_nothing_again() -> None:
    """Without the key an id of ours is noise; what was promised still holds."""
    world = World("engine", "openai_chat", False, 1)
    modes.swap(world)

    assert {judged.verdict.kind for judged in judge(world.stored(), Mint(b"x" * 32))} != {"clean"}


def test_an_exchange_without_an_answer_is_unverifiable() -> None:
    world = World("body", "anthropic", False, 1)
    world.send()

    (judged,) = judge(world.stored(), world.mint)
    assert judged.verdict.kind == "unverifiable"
    (nothing,) = judge([StoredExchange((), Body(None))], world.mint)
    assert nothing.verdict.kind == "unverifiable"


def test_what_was_said_of_an_answer_that_is_not_stored_stands() -> None:
    world = World("body", "openai_chat", True, 1)
    modes.swap(world)
    mine, other = world.stored()
    cut = replace(mine, answer=mine.answer[:20])
    ours = replace(other, head=None, answer=b"", ours=True)

    judged = judge([cut, ours], world.mint)

    assert [(each.verdict.kind, each.verdict.victim) for each in judged] == [("crosstalk", "x2"), ("crosstalk", "x1")]
    assert all(each.agrees for each in judged)


def test_who_was_given_up_is_not_beside_the_others_later_either() -> None:
    world = World("none", "openai_chat", False, 1)
    world.warm(15)
    gone = world.send(dialect="anthropic")
    gone.watch.end(world.now, whole=False)
    other, mine = world.send(dialect="anthropic"), world.send()
    world.deliver(mine, other.own)

    assert mine.verdict().victim == f"x{other.number}"
    assert all(judged.agrees for judged in judge(world.stored(), world.mint))
