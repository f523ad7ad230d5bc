"""An answer with more words of another request than of its own."""

from __future__ import annotations

from hypothesis import given, strategies as st

from patchbay.crosstalk import words
from patchbay.crosstalk.mixups import Misfit, Mixups
from patchbay.crosstalk.words import better, of_json, of_text
from patchbay.values.answer import Fact
from patchbay.values.decision import Verdict

from ..world import Line, World

TOPICS = {
    "cooking": "saffron risotto simmer parmesan shallot ladle broth carnaroli skillet garnish",
    "sailing": "mainsail halyard spinnaker leeward rudder jibsheet starboard bowline anchorage keelboat",
    "banking": "ledger overdraft mortgage escrow dividend treasury collateral liquidity actuary underwriter",
}


def asked(world: World, topic: str) -> Line:
    return world.send(messages=[{"role": "user", "content": f"Please tell me about {TOPICS[topic]}"}])


def answered(world: World, line: Line, topic: str) -> Verdict:
    said = f"It all begins with {TOPICS[topic]}, and then some more."
    line.watch.see(Fact("text", said), 200, world.now)
    line.watch.end(world.now)
    line.watch.judgement.told = line.verdict()
    return line.verdict()


def world_of(*topics: str) -> tuple[World, list[Line]]:
    world = World("none", "openai_chat", False, 1)
    return world, [asked(world, topic) for topic in topics]


def test_two_answers_that_were_swapped_are_both_suspected_once_both_have_come() -> None:
    world, (one, two) = world_of("cooking", "sailing")

    assert answered(world, one, "sailing").kind == "unverifiable"
    assert (answered(world, two, "cooking").kind, two.verdict().victim) == ("suspect", f"x{one.number}")
    assert (one.verdict().kind, one.verdict().victim) == ("suspect", f"x{two.number}")
    assert [change.exchange for change in world.memory.late.amendments(f"x{two.number}")] == [f"x{one.number}"]


def test_three_answers_that_went_round_are_all_suspected() -> None:
    world, lines = world_of("cooking", "sailing", "banking")
    for line, topic in zip(lines, ("sailing", "banking", "cooking"), strict=True):
        answered(world, line, topic)

    names = [f"x{line.number}" for line in lines]
    assert [(line.verdict().kind, line.verdict().victim) for line in lines] == [
        ("suspect", names[1]), ("suspect", names[2]), ("suspect", names[0]),
    ]  # fmt: skip


def test_an_answer_that_quotes_another_request_is_not_suspected_while_that_has_its_own() -> None:
    world, (one, two) = world_of("cooking", "sailing")

    answered(world, two, "sailing")
    assert answered(world, one, "sailing").findings == ()


def test_alone_nothing_is_compared() -> None:
    world, (one,) = world_of("cooking")

    assert answered(world, one, "sailing").findings == ()


def test_words_are_numbers_of_no_use_elsewhere() -> None:
    world, (one, two) = world_of("cooking", "sailing")
    answered(world, one, "sailing")
    answered(world, two, "cooking")

    shown = repr((one.verdict(), two.verdict(), one.watch.record.encoded(), world.memory.words._misfits))
    assert not any(word in shown for topic in TOPICS.values() for word in topic.split())
    assert all(isinstance(word, int) for word in of_text("saffron risotto"))


def test_text_and_its_json_have_the_same_words() -> None:
    said = 'first\nline "saffron"\tgrößer élève 一二三四五 end'
    plain = of_text(said)

    assert plain == of_json(
        b'"' + said.encode().replace(b"\n", b"\\n").replace(b"\t", b"\\t").replace(b'"', b'\\"') + b'"'
    )
    assert plain == of_json(("".join(c if c.isascii() else f"\\u{ord(c):04x}" for c in said)).encode())
    assert len(of_text("一二三四五")) == 3
    assert of_text("a an the") == frozenset()


@given(st.binary(max_size=200))
def test_any_bytes_are_read(data: bytes) -> None:
    of_json(data)


def test_the_end_of_a_history_is_read_alone() -> None:
    assert of_text("saffron").isdisjoint(of_json(b"saffron " + b"x" * words.TAIL))


def test_a_word_that_several_requests_have_says_nothing() -> None:
    a, b, c = (of_text(text) for text in ("saffron shallot", "saffron halyard", "mainsail"))
    counts = words.fitting(of_text("saffron shallot mainsail"), {"a": a, "b": b, "c": c})

    assert counts == {"a": (1, 2), "b": (0, 1), "c": (1, 1)}


def test_an_answer_fits_another_request_better_with_words_enough() -> None:
    assert better("a", {"a": (1, 1), "b": (5, 5)}) == {"b": 1 / 5}
    assert better("a", {"a": (1, 1), "b": (4, 4)}) == {}
    assert better("a", {"a": (2, 2), "b": (5, 5)}) == {}
    assert better("a", {"a": (2, 2), "b": (6, 6), "c": (12, 12)}) == {"b": 1 / 6, "c": 1 / 12}
    assert better("a", {"a": (0, 0), "b": (4, 4)}) == {}
    assert better("a", {"a": (30, 30)}) == {}


def test_an_answer_with_many_words_of_its_own_request_fits_no_other_better() -> None:
    """Two conversations about one thing: what others have too may be meant by either."""
    assert better("a", {"a": (0, 10), "b": (8, 17)}) == {}
    assert better("a", {"a": (0, 10), "b": (8, 18)}) == {"b": 1 / 8}


def misfit(exchange: str, **others: float) -> Misfit:
    return Misfit(exchange, others, "", "")


def told(mixups: Mixups, each: Misfit) -> list[tuple[str, str]]:
    return [(found.exchange, owner) for found, owner in mixups.note(each)]


def test_an_answer_waits_for_those_that_make_a_ring_with_it() -> None:
    mixups = Mixups()

    assert told(mixups, misfit("a", b=0.1)) == []
    assert told(mixups, misfit("c", b=0.1)) == []
    assert told(mixups, misfit("b", a=0.1)) == [("a", "b"), ("b", "a")]


def test_an_answer_that_fits_its_own_request_is_in_no_ring() -> None:
    mixups = Mixups()
    mixups.note(misfit("a", b=0.1))
    mixups.fits("a")

    assert told(mixups, misfit("b", a=0.1)) == []
