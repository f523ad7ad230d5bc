"""Texts and tool calls of another conversation: which are compared, and what they are worth."""

from __future__ import annotations

from typing import Any

import pytest
from blake3 import blake3

from patchbay.crosstalk.detector_context import DetectorContext
from patchbay.crosstalk.host_habits import Standing
from patchbay.ledger import Entry
from patchbay.values.answer import Fact

from .contexts import AT, broken, context, found, kept, request, told

OVER = Fact("over")
TEXT = " ".join(f"word{number:05}" for number in range(20)) + "."  # 200 characters


def asking(text: str = "mine", **members: Any) -> Any:
    return request(messages=[{"role": "user", "content": text}], **members)


def received(ctx: DetectorContext, text: object = TEXT, now: float = AT + 1) -> list[tuple[str, str]]:
    return told(found(ctx, "same-text", Fact("text", text), now))


def after(text: str = TEXT, seen: float = AT, asked: Any = None, **more: Any) -> DetectorContext:
    """Return the context of an exchange after another (`b`) received *text* at *seen*."""
    ctx = context(asked or asking(), **more)
    first = context(asking("theirs"))
    first.ledger, first.entry = ctx.ledger, Entry("b", "id-b", digest=b"b", at=AT)
    assert received(first, text, seen) == []
    return ctx


# -- same text ---------------------------------------------------------------------------------------------------------


def test_a_text_that_another_exchange_received_is_a_sign_once() -> None:
    ctx = after(habits={"same-text": kept(16)})

    (finding,) = found(ctx, "same-text", Fact("text", TEXT))

    assert (finding.strength, finding.victim, finding.expected, finding.received) == (
        "strong", "b", "a text of its own", "200 characters",
    )  # fmt: skip
    assert broken(ctx, "same-text") == (1, 1.0)
    assert received(ctx) == []  # boilerplate from now on


@pytest.mark.parametrize(
    ("seen", "standing", "strength"),
    [
        (AT, kept(15), "weak"),
        (AT, kept(16), "strong"),
        (AT + 0.1, kept(7), "weak"),
        (AT + 0.1, kept(8), "strong"),
        (AT, kept(16, doubted=True), "weak"),
    ],
)
def test_it_takes_fewer_answers_where_the_other_exchange_received_it_during_ours(
    seen: float, standing: Standing, strength: str
) -> None:
    ctx = after(seen=seen, habits={"same-text": standing})

    assert received(ctx) == [(strength, "b" if strength == "strong" else "unknown")]


def test_a_text_from_a_cache_is_weak() -> None:
    ctx = after(habits={"same-text": kept(16)})
    ctx.cached = True

    (finding,) = found(ctx, "same-text", Fact("text", TEXT))

    assert (finding.strength, finding.received) == ("weak", "200 characters")


@pytest.mark.parametrize(
    ("text", "finds"),
    [
        (TEXT, True),
        (TEXT[:-1], False),
        (TEXT.replace("word00000", "word00001"), False),  # 19 words
        (TEXT.replace("word00000", "\ud800ord00000"), True),
    ],
)
def test_a_text_is_compared_from_200_characters_and_20_words_on(text: str, finds: bool) -> None:
    assert bool(received(after(text), text)) is finds


@pytest.mark.parametrize(
    ("status", "generation", "finds"), [(0, True, True), (399, True, True), (400, True, False), (200, False, False)]
)
def test_texts_of_errors_and_fetched_answers_are_not_compared(status: int, generation: bool, finds: bool) -> None:
    assert bool(received(after(status=status, generation=generation))) is finds


def test_the_same_text_again_is_no_sign_for_repeatable_requests_equal_last_turns_and_quotes() -> None:
    assert received(after(asked=asking(seed=7))) == []
    assert received(after(asked=asking("theirs"))) == []
    assert received(after(asked=asking(TEXT))) == []
    assert received(context()) == received(context(asking()), None) == []


def test_an_exchange_that_receives_its_text_again_is_not_its_own_victim() -> None:
    ctx = context(asking(), habits={"same-text": kept(16)})

    assert received(ctx) == []
    ctx.request = asking("the next turn")
    assert received(ctx) == []
    assert broken(ctx, "same-text") == (0, 0.0)


def test_a_text_is_noted_as_a_digest_with_that_of_the_last_turn() -> None:
    ctx = context(asking())

    assert received(ctx) == []
    token = blake3(TEXT.encode()).hexdigest(16)
    noted = ctx.ledger.find("text", token, AT)
    assert noted is not None
    assert (noted.exchange, noted.digest, noted.seen) == ("a", asking().last_turn, AT + 1)
    assert ctx.noted == [("text", token)]


def test_a_text_in_a_misdelivered_answer_is_not_noted() -> None:
    ctx = context(asking())
    ctx.misdelivered = True

    assert received(ctx) == []
    assert not ctx.noted


@pytest.mark.parametrize(
    ("status", "generation", "keeps"), [(1, True, True), (399, True, True), (0, True, False), (400, True, False),
                                        (200, False, False)]
)  # fmt: skip
def test_a_complete_answer_keeps_the_rule_of_texts(status: int, generation: bool, keeps: bool) -> None:
    ctx = context(asking(), status=status, generation=generation)

    assert found(ctx, "same-text", OVER) == []
    assert ctx.kept == ({"same-text"} if keeps else set())


# -- results of tools --------------------------------------------------------------------------------------------------


def handing_in(*owners: Entry | None, **more: Any) -> DetectorContext:
    """Return the context of a request with a result for each of *owners*' calls."""
    turns = [{"role": "tool", "tool_call_id": f"call-{place}", "content": "x"} for place, _ in enumerate(owners)]
    ctx = context(request(messages=turns), **more)
    for place, owner in enumerate(owners):
        if owner is not None:
            ctx.ledger.note("call", f"call-{place}", owner, AT)
    return ctx


OURS, B, C = Entry("earlier", affinity="s-a"), Entry("b", affinity="s-b"), Entry("c")


@pytest.mark.parametrize(
    ("owners", "victim", "conversations"),
    [
        ((OURS, B), "b", 2),
        ((C, Entry("d")), "unknown", 2),
        ((OURS, C, None), "c", 2),
        ((B, C), "unknown", 2),
        ((OURS, B, C), "unknown", 3),
    ],
)
def test_results_of_two_conversations_are_mixed_up(
    owners: tuple[Entry | None, ...], victim: str, conversations: int
) -> None:
    ctx = handing_in(*owners)

    (finding,) = found(ctx, "results", OVER)

    assert (finding.strength, finding.victim, finding.where, finding.received) == (
        "strong", victim, "request tool results", f"{conversations} conversations",
    )  # fmt: skip
    assert not ctx.kept
    assert broken(ctx, "results") == (1, 1.0)


@pytest.mark.parametrize(
    ("standing", "strength"),
    [
        (Standing(doubted=True), "weak"),
        (Standing(broken=1, run=7), "weak"),
        (Standing(broken=1, run=8), "strong"),
    ],
)
def test_results_that_a_client_mixes_habitually_are_weak(standing: Standing, strength: str) -> None:
    assert told(found(handing_in(OURS, B, habits={"results": standing}), "results", OVER)) == [(strength, "b")]


@pytest.mark.parametrize(
    ("owners", "keeps"), [((B, Entry("d", affinity="s-b")), True), ((OURS, None), True), ((None, None), False)]
)
def test_results_of_one_conversation_keep_the_rule(owners: tuple[Entry | None, ...], keeps: bool) -> None:
    ctx = handing_in(*owners)
    ctx.ledger.note("call", "another", C, AT)

    assert found(ctx, "results", OVER) == []
    assert ctx.kept == ({"results"} if keeps else set())


def test_results_in_a_request_for_a_stored_answer_are_not_compared() -> None:
    assert found(handing_in(OURS, B, generation=False), "results", OVER) == []
    assert found(context(), "results", OVER) == []
