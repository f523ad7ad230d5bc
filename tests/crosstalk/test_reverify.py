"""A stored exchange gets the verdict that it got when it passed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings, strategies as st

from patchbay.body import Body
from patchbay.correlation import Mint, Stamps
from patchbay.crosstalk import reverify
from patchbay.crosstalk.attempt_record import BROKEN, LATER, AttemptRecord, IdOwner, Moment
from patchbay.crosstalk.host_habits import Standing
from patchbay.crosstalk.recent import RecentExchanges
from patchbay.crosstalk.reverify import Judged, StoredExchange, _facts, _HabitsOfBefore, _Run, _timed, judge
from patchbay.ledger import Entry, Ledger
from patchbay.values.account import Echo
from patchbay.values.answer import Fact, Head
from patchbay.values.decision import Verdict
from patchbay.values.http import Headers

from . import modes
from .records import record
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
        assert judged.verdict.note != "the recorded verdict"


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


# -- a stored exchange -------------------------------------------------------------------------------------------------


def test_an_exchange_has_the_id_of_its_last_attempt() -> None:
    attempts = ({"request_id": "a"}, {"request_id": "b"})

    assert StoredExchange(attempts, Body(None)).request_id == "b"
    assert StoredExchange(({"request_id": 7},), Body(None)).request_id == "7"
    assert StoredExchange(({},), Body(None)).request_id == StoredExchange((), Body(None)).request_id == ""


@pytest.mark.parametrize(
    ("recorded", "victim", "agrees"),
    [("crosstalk", "b", True), ("crosstalk", "c", False), ("suspect", "b", False), ("", "c", True)],
)
def test_a_verdict_agrees_with_the_recorded_one_in_kind_and_victim(recorded: str, victim: str, agrees: bool) -> None:
    stored = StoredExchange((), Body(None), recorded=recorded, victim=victim)

    assert Judged(stored, Verdict("crosstalk", victim="b")).agrees is agrees


def swapped() -> tuple[World, StoredExchange]:
    world = World("body", "openai_chat", True, 1)
    modes.swap(world)
    return world, world.stored()[0]


def changed(stored: StoredExchange, **members: Any) -> StoredExchange:
    return replace(stored, attempts=tuple({**each, **members} for each in stored.attempts))


@pytest.mark.parametrize(
    ("change", "record", "judged"),
    [
        ({}, {}, ("crosstalk", "x2", "")),
        ({"ours": True}, {}, ("clean", "v", "the recorded verdict")),
        ({"head": None}, {}, ("clean", "v", "the recorded verdict")),
        ({}, {"version": 9}, ("clean", "v", "the recorded verdict")),
        ({}, {"own": 7}, ("clean", "v", "the recorded verdict")),
        ({"recorded": ""}, {"version": 9}, ("unverifiable", "", LATER)),
        ({"recorded": "unheard of"}, {"own": 7}, ("unverifiable", "", BROKEN)),
        ({"recorded": "unheard of", "ours": True}, {}, ("unverifiable", "", "")),
        ({"attempts": ()}, {}, ("unverifiable", "", "nothing was sent")),
    ],
)
def test_the_recorded_verdict_holds_where_the_facts_or_the_record_are_missing(
    change: dict[str, Any], record: dict[str, Any], judged: tuple[str, str, str]
) -> None:
    world, mine = swapped()
    other = world.stored()[1]
    stored = replace(changed(mine, **record), **({"recorded": "clean", "victim": "v"} | change))

    verdict = judge([stored, other], world.mint)[0].verdict

    assert (verdict.kind, verdict.victim, verdict.note) == judged
    assert bool(verdict.findings) is (judged[0] == "crosstalk")


@pytest.mark.parametrize(("missing", "partial"), [(0, False), (1, True)])
def test_an_exchange_is_partial_from_the_first_fact_that_is_missing(missing: int, partial: bool) -> None:
    """The end of a complete answer has a time and is no fact of the stored answer."""
    world, mine = swapped()
    seen = mine.attempts[0]["seen"]
    for whole in (True, False):
        times = (seen if whole else seen[:-1]) + [seen[-1]] * missing
        stored = replace(changed(mine, seen=times, whole=whole), recorded="clean")
        verdict = judge([stored, world.stored()[1]], world.mint)[0].verdict
        assert (verdict.note == "the recorded verdict") is partial


# -- its steps ---------------------------------------------------------------------------------------------------------


def told(**more: Any) -> AttemptRecord:
    plain: dict[str, Any] = {"host": "http://host", "dialect": "openai_chat", "suffix": "/chat/completions"}
    return record(Echo(), Stamps(), request_id="pb1-a", exchange="a", digest=b"d", **(plain | more))


def at(*numbers: int) -> list[Moment]:
    return [Moment(number, float(number)) for number in numbers]


ONE, TWO, THREE, OVER = Fact("id", 1), Fact("id", 2), Fact("id", 3), Fact("over")


@pytest.mark.parametrize(
    ("record", "facts", "timed"),
    [
        ({"seen": at(1, 2, 3), "whole": True}, [ONE, TWO], [(1, ONE), (2, TWO), (3, OVER)]),
        ({"seen": at(1, 2, 3), "whole": True}, [ONE, TWO, THREE], [(1, ONE), (2, TWO), (3, OVER)]),
        ({"seen": at(1, 2, 3), "whole": True}, [ONE], [(1, ONE), (2, OVER)]),
        ({"seen": at(1, 2)}, [ONE, TWO, THREE], [(1, ONE), (2, TWO)]),
        ({"seen": at(1, 2, 3), "ended": [9, 9.0]}, [ONE, TWO], [(1, ONE), (2, TWO)]),
        ({"seen": at(1, 2, 3, 4), "whole": True, "ended": [9, 9.0]}, [ONE, TWO, THREE],
         [(1, ONE), (2, TWO), (3, THREE), (4, OVER)]),
        ({"seen": at(1, 2, 3, 4), "whole": True, "ended": [9, 9.0]}, [ONE, TWO, THREE, ONE, TWO],
         [(1, ONE), (2, TWO), (3, THREE), (4, ONE), (9, TWO), (9, OVER)]),
        ({"seen": at(1, 2, 3, 4), "whole": True}, [ONE, TWO, THREE, ONE],
         [(1, ONE), (2, TWO), (3, THREE), (4, ONE), (4, OVER)]),
        ({"seen": at(1, 2, 3, 4), "ended": [9, 9.0]}, [ONE, TWO, THREE, ONE, TWO],
         [(1, ONE), (2, TWO), (3, THREE), (4, ONE), (9, TWO)]),
    ],
)  # fmt: skip
def test_facts_beyond_the_times_that_are_kept_came_with_the_end(
    monkeypatch: pytest.MonkeyPatch, record: dict[str, Any], facts: list[Fact], timed: list[tuple[int, Fact]]
) -> None:
    monkeypatch.setattr(reverify, "SEEN", 4)

    assert [(moment.number, fact) for moment, fact in _timed(told(**record), facts)] == timed


def run(*records: AttemptRecord, answer: bytes = b"", **more: Any) -> tuple[_Run, RecentExchanges, Ledger]:
    memory, ledger = RecentExchanges(), Ledger()
    head = Head(200, Headers([("content-type", "application/json")]))
    stored = StoredExchange(tuple(each.encoded() for each in records), Body(b"{}"), head, answer, **more)
    return _Run(stored, Mint(b"k" * 32), ledger, memory), memory, ledger


ANSWER = b'{"id": "chatcmpl-1", "model": "m", "object": "chat.completion", "choices": []}'
KINDS = ["id", "model"]


def test_the_steps_are_each_sending_each_end_without_an_answer_and_the_facts_of_the_last() -> None:
    first = told(at=Moment(1, 1.0), ended=[4, 4.0], seen=at(2, 3), kinds=KINDS)
    last = told(at=Moment(5, 5.0), ended=[9, 9.0], seen=at(6, 7, 8), kinds=KINDS, whole=True)

    steps = list(run(first, last, answer=ANSWER)[0].steps(7))

    assert [(*when, fact.kind if fact else "") for *when, fact in steps] == [
        (1.0, 1, 7, 0, ""), (4.0, 4, 7, 0, "given up"), (5.0, 5, 7, 1, ""),
        (6.0, 6, 7, 1, "id"), (7.0, 7, 7, 1, "model"), (8.0, 8, 7, 1, "over"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("whole", "ours", "kinds"),
    [(True, False, ["", "id", "model", "over"]), (False, False, ["", "given up", "id", "model"]),
     (True, True, ["", "given up"]), (False, True, ["", "given up"])],
)  # fmt: skip
def test_an_answer_that_was_broken_off_or_is_our_own_is_given_up(whole: bool, ours: bool, kinds: list[str]) -> None:
    last = told(at=Moment(1, 1.0), ended=[9, 9.0], seen=at(6, 7, 8), kinds=KINDS, whole=whole)
    steps = list(run(last, answer=ANSWER, ours=ours)[0].steps(0))

    assert [fact.kind if fact else "" for *_, fact in steps] == kinds


def test_an_exchange_with_a_record_that_cannot_be_read_is_not_replayed() -> None:
    good = told(at=Moment(1, 1.0), ended=[4, 4.0])
    for attempts in ((good.encoded(), {}), ({}, good.encoded())):
        stored = StoredExchange(attempts, Body(b"{}"))
        assert list(_Run(stored, Mint(b"k" * 32), Ledger(), RecentExchanges()).steps(0)) == []


@pytest.mark.parametrize(("habits", "kind"), [(None, "crosstalk"), ({"settings user": Standing()}, "unverifiable")])
def test_a_record_without_standings_is_judged_as_its_release_did(habits: dict[str, Standing] | None, kind: str) -> None:
    """At an unknown host, a setting of another exchange was proof."""
    head = Head(200, Headers([("content-type", "application/json")]))
    answer = b'{"id": "resp_1", "object": "response", "user": "person-of-theirs"}'
    plain: dict[str, Any] = {"dialect": "openai_responses", "suffix": "/responses", "kinds": ["settings"]}
    theirs = msgspec.structs.replace(told(at=Moment(1, 1.0), **plain), request_id="pb1-b", exchange="b", digest="bb")
    mine = told(at=Moment(2, 2.0), seen=at(3), habits=habits, **plain)
    stored = [
        StoredExchange((mine.encoded(),), Body(b'{"user": "person-of-mine"}'), head, answer),
        StoredExchange((theirs.encoded(),), Body(b'{"user": "person-of-theirs"}')),
    ]

    assert judge(stored, Mint(b"k" * 32))[0].verdict.kind == kind


def test_events_of_one_moment_are_replayed_in_their_order() -> None:
    """Of two exchanges with one answer, the second receiver is accused, whichever is stored first."""
    head = Head(200, Headers([("content-type", "application/json")]))
    answer = b'{"id": "chatcmpl-B9MBs8CjcvOU2jLn4n570S5qMJKcT", "object": "chat.completion", "choices": []}'
    plain: dict[str, Any] = {"kinds": ["id"], "habits": {"duplicate body": Standing(kept=24, run=24)}}
    second = told(at=Moment(2, 1.0), seen=[Moment(4, 1.0)], **plain)
    first = msgspec.structs.replace(second, at=Moment(1, 1.0), seen=[Moment(3, 1.0)], exchange="b", digest="bb")
    stored = [StoredExchange((each.encoded(),), Body(b"{}"), head, answer) for each in (second, first)]

    for order in (stored, stored[::-1]):
        kinds = {each.stored.attempts[0]["exchange"]: each.verdict.kind for each in judge(order, Mint(b"k" * 32))}
        assert kinds == {"a": "crosstalk", "b": "unverifiable"}


def beside(memory: RecentExchanges) -> list[str]:
    return [live.entry.request_id for live in memory.others(Entry("z", at=99.0), "http://host")]


def test_a_second_attempt_ends_the_first_and_an_end_ends_its_own() -> None:
    first, second = told(), msgspec.structs.replace(told(), request_id="pb1-b")
    replayed, memory, _ = run(first, second)

    replayed.step(0, None, 1.0)
    assert beside(memory) == ["pb1-a"]
    replayed.step(1, None, 2.0)
    assert beside(memory) == ["pb1-b"]
    replayed.step(1, Fact("loose", True), 3.0)
    assert beside(memory) == ["pb1-b"]
    replayed.step(1, reverify._GIVEN_UP, 3.0)
    assert beside(memory) == []
    assert memory.habits.standing("http://host", "same-text").kept == 0


def test_the_end_of_a_complete_answer_shows_what_the_host_kept() -> None:
    replayed, memory, _ = run(told(stream=False))
    replayed.step(0, None, 1.0)
    replayed.step(0, Fact("framing", "whole", "body"), 2.0)
    replayed.step(0, Fact("over"), 3.0)

    assert beside(memory) == []
    assert memory.habits.standing("http://host", "framing").kept == 1
    assert memory.habits.standing("http://host", "shape openai_chat").kept == 1


def test_an_exchange_is_judged_as_of_its_sending() -> None:
    """Its answer's facts, its end and its owners are found again; the standings of the host are the recorded ones."""
    of_then = told(
        seen=at(2), ended=[3, 3.0], early=True, whole=True, habits={"framing": Standing(kept=8, run=8)}, model="m",
        owners={"pb1-theirs": IdOwner("b", "pb1-theirs", 4.0, "ff"), "pb1-known": IdOwner("c", "pb1-known", 4.0, "ff")},
    )  # fmt: skip
    replayed, memory, ledger = run(of_then)
    ledger.note("request", "pb1-known", Entry("known"), 1.0)
    replayed.step(0, None, 1.0)
    replayed.step(0, Fact("framing", "events", "body"), 2.0)

    assert replayed.verdict({}).kind == "suspect"
    (live,) = memory.others(Entry("z"), "http://host")
    assert (live.request.model, live.request.dialect, live.request.suffix) == ("m", "openai_chat", "/chat/completions")
    theirs, known = (ledger.find("request", each, 1.0) for each in ("pb1-theirs", "pb1-known"))
    assert theirs == Entry("b", "pb1-theirs", digest=b"\xff", at=4.0)
    assert known == Entry("known")


@pytest.mark.parametrize(
    ("rule", "story", "standing"),
    [
        ("age", "++", Standing(kept=2)),
        ("age", "+++", Standing(kept=64, run=64)),
        ("age", "++++-", Standing(kept=4, broken=1)),
        ("age", "+++++-", Standing(kept=64, run=64)),
        ("age", "+" * 65, Standing(kept=65, run=64)),
        *((rule, "--", Standing(kept=64, run=64)) for rule in ("disorder switch", "settings user", "stray-head")),
        ("stray-head", "---", Standing(broken=3)),
    ],
)
def test_in_records_without_standings_three_answers_sufficed(rule: str, story: str, standing: Standing) -> None:
    habits = _HabitsOfBefore()
    for each in story:
        (habits.kept if each == "+" else habits.broke)("h", rule, 1.0)

    assert habits.standing("h", rule, "answer") == standing


def test_messages_come_before_the_bytes_of_an_answer_and_a_head_may_be_early() -> None:
    head = Head(200, Headers([("x-request-id", "req_1")]))
    message = b'{"type": "response.created", "response": {"id": "resp_1", "object": "response"}}'
    stored = StoredExchange((), Body(None), head, messages=(message,))
    of = told(dialect="openai_responses", suffix="/responses", early=True, stream=True)

    facts = [fact.kind for fact in _facts(stored, of)]
    assert "early" in facts
    assert facts.index("early") < facts.index("id")
    assert "early" not in [fact.kind for fact in _facts(stored, told(dialect="openai_responses"))]
    assert _facts(replace(stored, head=None), of) == []
