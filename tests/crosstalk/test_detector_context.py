"""What a detector asks of its context: whose id came back, which requests are equal, how the host's rules stand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec
import pytest

from patchbay.body import Body
from patchbay.correlation import Mint, Stamps
from patchbay.crosstalk.detector_context import DetectorContext
from patchbay.crosstalk.host_habits import Standing
from patchbay.crosstalk.recent import LiveAttempt, RecentExchanges
from patchbay.crosstalk.request_summary import RequestSummary
from patchbay.ledger import Entry, Ledger
from patchbay.values.account import Echo
from patchbay.values.http import Endpoint

from .records import record

MINT = Mint(b"k" * 32)
MINE = Entry("a", MINT.new(10.0, lambda size: b"a" * size), digest=b"d", at=10.0, words=b"w")
HOST = "http://host"


def context(*, memory: bool = True, **more: Any) -> DetectorContext:
    sent = record(
        Echo(), Stamps(), request_id=MINE.request_id, exchange="a", digest=b"d", host=HOST, earlier=["earlier-id-1"]
    )
    ids = frozenset({"client-id-1"})
    return DetectorContext(sent, MINE, MINT, Ledger(), {}, ids, memory=RecentExchanges() if memory else None, **more)


def kept(ctx: DetectorContext, rule: str, answers: int) -> None:
    assert ctx.memory is not None
    for _ in range(answers):
        ctx.memory.habits.kept(HOST, rule, 1.0)


def waits(ctx: DetectorContext, exchange: str, *tools: str, host: str = HOST) -> Entry:
    """Let another attempt that offers *tools* wait; return its entry."""
    assert ctx.memory is not None
    body = Body(msgspec.json.encode({"tools": [{"name": name} for name in tools]}))
    request = RequestSummary(Endpoint("openai_chat", suffix="/chat/completions"), body)
    live = LiveAttempt(Entry(exchange, f"id-{exchange}-{len(tools)}"), request, host)
    ctx.memory.begin(live)
    return live.entry


def test_at_first_no_head_has_come_and_no_clock_was_set() -> None:
    assert (context().status, context().clock, context().cached, context().misdelivered) == (0, 0, False, False)


def test_an_id_is_classified_for_this_attempt() -> None:
    ctx = context()
    ctx.ledger.note("request", "older-id-1", Entry("a", "older-id-1"), 10.0)
    ctx.ledger.note("request", "their-id-1", Entry("b", "their-id-1"), 10.0)
    values = (MINE.request_id, "client-id-1", "earlier-id-1", "older-id-1", "their-id-1", "foreign-id-1")

    kinds = [ctx.returned(value, 11.0).kind for value in values]

    assert kinds == ["match", "client", "earlier", "earlier", "other", "foreign"]


def test_an_id_is_classified_once_for_each_fact() -> None:
    ctx = context()
    first = ctx.returned("their-id-1", 11.0)
    ctx.ledger.note("request", "their-id-1", Entry("b"), 11.0)

    assert ctx.returned("their-id-1", 11.0) is first
    assert ctx.returned("their-id-1", 12.0).kind == "other"
    assert ctx.returned("x", 12.0).kind == "foreign"


@pytest.mark.parametrize(
    ("change", "repeats", "alike"),
    [
        ({}, True, True),
        ({"at": 9.0}, True, True),
        ({"at": 10.1}, False, True),
        ({"digest": b"x"}, False, True),
        ({"digest": b"x", "words": b"x"}, False, False),
        ({"words": b"x"}, True, True),
        ({"digest": b"", "words": b""}, False, False),
    ],
)
def test_another_exchange_repeats_a_request_or_asks_the_same_words(
    change: dict[str, Any], repeats: bool, alike: bool
) -> None:
    ctx, other = context(), replace(MINE, exchange="b", **change)

    assert (ctx.repeats(other), ctx.asked_alike(other)) == (repeats, alike)


def test_requests_without_digest_and_words_are_not_equal() -> None:
    ctx = context()
    ctx.entry = replace(MINE, digest=b"", words=b"")

    assert not ctx.repeats(ctx.entry)
    assert not ctx.asked_alike(ctx.entry)


def test_a_noted_token_is_this_attempts_until_it_is_disowned() -> None:
    ctx = context()
    ctx.born = "event"
    ctx.note("call", "call-1", ctx.entry, 12.0)
    ctx.note("answer", "answer-1", ctx.entry, 12.0)
    ctx.ledger.note("answer", "answer-2", ctx.entry, 12.0)
    assert ctx.ledger.find("call", "call-1", 12.0) == replace(MINE, seen=12.0, born="event")

    ctx.disown()

    tokens = (("call", "call-1"), ("answer", "answer-1"), ("answer", "answer-2"))
    assert [ctx.ledger.find(*token, 12.0) is None for token in tokens] == [True, True, False]
    ctx.ledger.note("call", "call-1", MINE, 12.0)
    ctx.disown()
    assert ctx.ledger.find("call", "call-1", 12.0) is not None


def test_a_break_is_counted_once_an_answer_and_leaves_the_standing_before_it() -> None:
    ctx = context()
    kept(ctx, "age", 8)

    ctx.broke("age", 2.0, found="a → b")
    ctx.broke("age", 2.0)

    assert (ctx.standing("age").broken, ctx.stands("age", 8), ctx.stands("age", 9)) == (0, True, False)
    assert ctx.broken == {"age"}
    assert ctx.memory is not None
    now = ctx.memory.habits.standing(HOST, "age")
    assert (now.broken, now.row, now.last, now.began) == (1, 1.0, "a → b", 2.0)


def test_an_explained_break_counts_half() -> None:
    ctx = context()
    ctx.broke("age", 2.0, explained=True)

    assert ctx.memory is not None
    assert ctx.memory.habits.standing(HOST, "age").row == 0.5


def test_without_memory_no_rule_has_a_standing_and_no_exchange_is_beside() -> None:
    ctx = context(memory=False)
    ctx.broke("age", 2.0)

    assert ctx.broken == {"age"}
    assert ctx.standing("age") == Standing()
    assert list(ctx.concurrent()) == []
    assert ctx.stands_unique("duplicate body", MINE)


def test_a_rule_is_in_doubt_where_another_answer_was_suspected_by_it() -> None:
    one, own = context(), context()
    for ctx, answer in ((one, "another answer"), (own, MINE.request_id)):
        kept(ctx, "age", 8)
        assert ctx.memory is not None
        ctx.memory.habits.suspected(HOST, "age", answer)

    assert (one.suspects("age", 8), one.stands("age", 8), one.is_first_break("age", 8)) == (False, True, False)
    assert (own.suspects("age", 8), own.suspects("age", 9), own.is_first_break("age", 9)) == (True, False, True)


@pytest.mark.parametrize(
    ("standing", "first", "void", "explained"),
    [
        (Standing(), True, False, False),
        (Standing(kept=9, run=9), True, False, True),
        (Standing(kept=9, broken=1, run=8), True, False, True),
        (Standing(kept=9, broken=1, run=7), False, False, True),
        (Standing(kept=2, run=2), True, False, False),
        (Standing(kept=8, broken=3, run=8), True, True, False),
        (Standing(kept=9, run=9, demoted=True), True, True, False),
    ],
)
def test_a_first_break_a_void_rule_and_an_explained_one(
    standing: Standing, first: bool, void: bool, explained: bool
) -> None:
    ctx = context()
    ctx.standings["age"] = standing

    assert ctx.is_first_break("age", 8) is first
    assert ctx.void("age") is void
    assert ctx.stands_explained("age") is explained


OTHER = Entry("b", "id-b", at=9.0)


@pytest.mark.parametrize(
    ("standing", "other", "swapped"),
    [
        (Standing(run=3), None, True),
        (Standing(run=2), None, False),
        (Standing(before=3, began=11.0, last=f"id-b → {MINE.request_id}"), OTHER, True),
        (Standing(before=3, began=11.0, last=f"id-b → {MINE.request_id}"), None, False),
        (Standing(before=3, began=11.0, last=f"id-c → {MINE.request_id}"), OTHER, False),
        (Standing(before=2, began=11.0, last=f"id-b → {MINE.request_id}"), OTHER, False),
        (Standing(before=3, began=10.0, last=f"id-b → {MINE.request_id}"), OTHER, False),
    ],
)
def test_a_rule_that_the_other_half_of_a_swap_broke_still_counts(
    standing: Standing, other: Entry | None, swapped: bool
) -> None:
    ctx = context()
    ctx.standings["tool-name"] = standing

    assert ctx.swapped("tool-name", other) is swapped
    assert ctx.swap_note(other) == (f"{MINE.request_id} → id-b" if other else "")


@pytest.mark.parametrize(("seen", "needed"), [(10.1, 3), (10.0, 16)])
def test_a_unique_value_takes_a_longer_run_where_the_other_had_its_answer_before_our_request(
    seen: float, needed: int
) -> None:
    other = replace(OTHER, seen=seen)
    for run, stands in ((needed, True), (needed - 1, False)):
        ctx = context()
        ctx.standings["tool-call"] = Standing(run=run)
        assert ctx.stands_unique("tool-call", other) is stands


def test_the_one_exchange_beside_that_offered_a_tool_is_found() -> None:
    ctx = context()
    waits(ctx, "a", "shell")
    waits(ctx, "b", "read")
    waits(ctx, "e", "shell", host="http://elsewhere")
    assert [live.entry.exchange for live in ctx.concurrent()] == ["b"]
    assert ctx.other_offered("shell") is None

    of = waits(ctx, "c", "shell")
    assert ctx.other_offered("shell") is of
    assert ctx.other_offered("never") is None
    assert ctx.memory is not None
    unknown = RequestSummary(Endpoint("openai_chat"), Body(b'{"tools": [{"googleSearch": {}}]}'))
    ctx.memory.begin(LiveAttempt(Entry("f", "id-f"), unknown, HOST))
    assert ctx.other_offered("shell") is of  # tools of a provider are not named
    again = waits(ctx, "c", "shell", "more")
    assert ctx.other_offered("shell") is again  # a further attempt of the exchange
    waits(ctx, "d", "shell")
    assert ctx.other_offered("shell") is None
