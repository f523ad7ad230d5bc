"""A proof of crosstalk is logged and recorded once, after other instances were asked for the victim."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

import pytest
from mitmproxy.test import tflow

from patchbay.proxy import alarms, persistence
from patchbay.proxy.alarms import Alarms
from patchbay.state import Leak
from patchbay.values.decision import Amendment, Finding

from .addon import in_loop


def finding(
    victim: str = "unknown", strength: str = "proof", disputed: bool = False, where: str = "body id"
) -> Finding:
    session = "" if victim == "unknown" else f"session-of-{victim}"
    return Finding("tag", "ids", cast("Any", strength), where, "mine", "theirs", victim, disputed, session)


@dataclass
class World:
    """Stands for the router, the store and the recorder of incidents."""

    shared: bool = True
    named: list[Sequence[Finding]] = field(default_factory=list)  # what each look for owners finds
    here: set[str] = field(default_factory=set)  # victims whose flows are at this instance
    nameless: bool = True
    recorded: list[Finding] = field(default_factory=list)
    leaks: list[Leak] = field(default_factory=list)
    asked: list[float] = field(default_factory=list)
    told: int = 0
    state: Any = None

    def __post_init__(self) -> None:
        self.state = SimpleNamespace(leak=lambda leak, now: self.leaks.append(leak))
        self.flow = tflow.tflow()
        self.driver = SimpleNamespace(victim_lookups=set())
        lease = SimpleNamespace(request_id="pb1-x", account=SimpleNamespace(id="one"))
        self.exchange: Any = SimpleNamespace(
            attempts=[SimpleNamespace(lease=None), SimpleNamespace(lease=lease, alarmed=set())],
            identity=SimpleNamespace(affinity="e718a2c40b1d"),
            verdict=SimpleNamespace(findings=[]),
        )
        self.exchange.is_nameless = self.nameless

    async def caught_up(self, seconds: float) -> float:
        self.asked.append(seconds)
        return seconds / 2

    def soon(self) -> None:
        self.told += 1

    def settle(self, exchange: Any, now: float) -> list[Finding]:
        found = list(self.named.pop(0)) if self.named else []
        exchange.is_nameless = self.nameless and not found
        return found

    def alarmed(self, flow: Any, found: Finding, leak: Leak, now: float) -> None:
        assert (flow, leak) == (self.flow, Leak(found.victim, "pb1-x", found.disputed, "e718a2c4"))
        self.recorded.append(found)

    def flow_of(self, victim: str) -> object | None:
        return victim if victim in self.here else None

    async def alarm(self, monkeypatch: pytest.MonkeyPatch, *found: Finding) -> None:
        monkeypatch.setattr(alarms, "driver_of", lambda flow: self.driver)
        monkeypatch.setattr(persistence, "NEW", 0.0)
        raised = Alarms(cast("Any", self), cast("Any", self), cast("Any", self))
        for each in found:  # each event of the answer asks again
            self.exchange.verdict.findings.append(each)
            raised.raise_for(self.flow, self.exchange)
        for task in self.driver.victim_lookups:
            await task


@in_loop
@pytest.mark.parametrize(
    ("world", "victim", "session"),
    [
        (World(shared=False), "unknown", "unknown"),
        (World(), "b", "session-"),
        (World(nameless=False), "unknown", "unknown"),
    ],
)
async def test_where_there_is_nothing_to_ask_it_is_recorded_at_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, world: World, victim: str, session: str
) -> None:
    await world.alarm(monkeypatch, finding(victim))

    assert world.recorded == [finding(victim)]
    assert not world.driver.victim_lookups and not world.asked
    assert caplog.messages == [
        "pb1-x event_type=crosstalk expected=mine received=theirs where=body id session=e718a2c4 account=one"
        f" victim={victim} victim_session={session}"
    ]


@in_loop
async def test_other_instances_name_the_victim(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once at once, and once more for what they told a moment later."""
    world = World(named=[(), (finding("b"), finding("c", "weak"))])
    await world.alarm(monkeypatch, finding())

    assert world.recorded == [finding("b")]  # only proofs are alarms
    assert world.asked == [persistence.CATCH_UP, persistence.CATCH_UP / 2]
    assert world.leaks == [Leak("b", "pb1-x", False, "e718a2c4")]
    assert world.told == 1


@in_loop
async def test_between_two_questions_is_the_time_in_which_news_arrive(monkeypatch: pytest.MonkeyPatch) -> None:
    world, paused = World(named=[(), ()]), []

    async def sleep(seconds: float) -> None:
        paused.append((seconds, len(world.asked)))

    monkeypatch.setattr(alarms, "asyncio", SimpleNamespace(sleep=sleep))
    monkeypatch.setattr(persistence, "NEW", 0.02)
    await Alarms(cast("Any", world), cast("Any", world), cast("Any", world))._named(cast("Any", world.exchange))

    assert paused == [(0.02, 1)]


@in_loop
async def test_once_a_victim_is_named_no_instance_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where another id in the same answer stays unknown."""
    world = World(named=[(finding("b"),), (finding("c"),)])
    settle = world.settle

    def still_nameless(exchange: Any, now: float) -> list[Finding]:
        found = settle(exchange, now)
        exchange.is_nameless = True
        return found

    monkeypatch.setattr(world, "settle", still_nameless)
    await world.alarm(monkeypatch, finding())
    assert (world.recorded, len(world.asked)) == ([finding("b")], 1)


@in_loop
async def test_an_id_that_is_known_meanwhile_and_harmless_is_no_alarm(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()

    def settled(exchange: Any, now: float) -> list[Finding]:
        exchange.is_nameless = False
        return []

    monkeypatch.setattr(world, "settle", settled)
    await world.alarm(monkeypatch, finding())
    assert (world.recorded, len(world.asked)) == ([], 1)


@in_loop
async def test_a_victim_that_no_instance_knows_stays_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    await world.alarm(monkeypatch, finding())

    assert world.recorded == [finding()]
    assert len(world.asked) == 2
    assert world.leaks == []


@in_loop
async def test_an_alarm_is_not_lost_where_the_store_fails(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    world = World()
    monkeypatch.setattr(world, "settle", lambda exchange, now: 1 / 0)
    await world.alarm(monkeypatch, finding())

    assert world.recorded == [finding()]
    assert "a victim could not be named: ZeroDivisionError" in caplog.text


@in_loop
async def test_a_victim_at_this_instance_is_not_told_by_the_store(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(here={"b"})
    await world.alarm(monkeypatch, finding("b", disputed=True))
    assert (world.leaks, world.told) == ([], 0)

    elsewhere = World()
    await elsewhere.alarm(monkeypatch, finding("b", disputed=True))
    assert elsewhere.leaks == [Leak("b", "pb1-x", True, "e718a2c4")]
    await asyncio.sleep(0)


@in_loop
@pytest.mark.parametrize(
    ("found", "recorded"),
    [
        ([finding("b", where="header x"), finding("b")], ["header x"]),
        ([finding(where="header x"), finding()], ["header x"]),
        ([finding("b", where="header x"), finding()], ["header x"]),
        ([finding(where="header x"), finding("b")], ["header x", "body id"]),
        ([finding("b", where="header x"), finding("c")], ["header x", "body id"]),
        ([finding("b", "strong", where="header x"), finding("b")], ["body id"]),
    ],
)
async def test_an_answer_is_told_once_and_again_only_for_another_victim(
    monkeypatch: pytest.MonkeyPatch, found: list[Finding], recorded: list[str]
) -> None:
    world = World(shared=False)
    await world.alarm(monkeypatch, *found)
    assert [each.where for each in world.recorded] == recorded


@in_loop
async def test_a_victim_that_was_named_meanwhile_is_not_told_again(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(named=[(finding("b", where="header x"), finding("b"))])
    await world.alarm(monkeypatch, finding(where="header x"), finding("b"))
    assert world.recorded == [finding("b")]


@pytest.mark.parametrize(
    ("verdict", "victim", "here", "logged", "marked", "told"),
    [
        ("crosstalk", "b", {"a", "b"}, True, True, False),
        ("crosstalk", "b", {"a"}, True, True, True),
        ("crosstalk", "unknown", {"a"}, True, False, False),
        ("crosstalk", "", {"a"}, True, False, False),
        ("suspect", "b", {"a"}, False, False, False),
        ("clean", "", {"a"}, False, False, False),
    ],
)
def test_a_later_proof_is_logged_its_victim_marked_and_other_instances_told(
    caplog: pytest.LogCaptureFixture, verdict: Any, victim: str, here: set[str], logged: bool, marked: bool, told: bool
) -> None:
    world, amended, marks = World(here=here), list[Amendment](), list[tuple[Leak, object]]()
    incidents: Any = SimpleNamespace(
        amended=amended.append, mark=lambda leak, flow: marks.append((leak, flow)), flow_of=world.flow_of
    )
    change = Amendment(1.0, "a", "pb1-x", "e718a2c40b1d", "one", verdict, "clean", victim, [], "next")
    Alarms(cast("Any", world), cast("Any", world), incidents).amended(change)

    leak = Leak(victim, "pb1-x", session="e718a2c4")
    assert amended == [change]
    assert marks == ([(leak, "a")] if marked else [])
    assert (world.leaks, world.told) == (([leak], 1) if told else ([], 0))
    line = f"pb1-x event_type=crosstalk late=next session=e718a2c4 account=one victim={victim or 'unknown'}"
    assert caplog.messages == ([line] if logged else [])
