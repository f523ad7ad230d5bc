"""
Hosts with a habit in some of their answers, with habits that change twice, or with little traffic: all are right.

As in `honest_hosts`, but a run is longer, since what is rare has to be seen several times.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Any
from weakref import WeakKeyDictionary

import pytest

from patchbay.crosstalk.recent import RecentExchanges

from ..simulator.reply import Echoed, mint
from . import honest_hosts as habits, test_owners as owners
from .honest_habit import Change, Right, headed, members
from .routed import Policy, Routed
from .serving import AT_ONCE, WORKERS, ordinary
from .world import PREFIXES, Line, Wire

Ask = Callable[[int], Mapping[str, Any]]
Share = Callable[[Sequence[Any], int], Sequence[Any]]
FEW_A_DAY = 17_280.0  # seconds between five requests a day


@dataclass(frozen=True, slots=True)
class Host:
    """
    A host that has a habit in the answers of whose number *when* says so.

    *pause* are the seconds between requests that come one at a time; 0: several are under way. *restart*: Patchbay is
    started anew after so many answers. *proofs* and *suspects* are how many may be said of it.
    """

    name: str
    change: Change
    when: Callable[[int], bool] = lambda n: True
    dialect: str = "openai_chat"
    stream: bool = False
    depth: str = "none"
    ask: Ask = lambda n: {}
    answers: int = 300
    pause: float = 0.0
    restart: int = 0
    proofs: int = 0
    suspects: int = 1

    def __str__(self) -> str:
        return self.name


def one_in(k: int) -> Callable[[int], bool]:
    return lambda n: n % k == k - 1


def in_a_row(on: int, of: int) -> Callable[[int], bool]:
    return lambda n: n % of < on


def deployed(*spans: tuple[int, int]) -> Callable[[int], bool]:
    return lambda n: any(begin <= n < end for begin, end in spans)


def serve(host: Host) -> tuple[int, int, str]:
    """Return how many answers of *host* were called another's, how many were suspected, and the first such verdict."""
    world = Routed(host.depth, host.dialect, host.stream, 1, "block")
    random, running, kinds, first = Random(str(host)), list[tuple[Line, Iterator[None]]](), list[str](), ""
    asked = 0
    while asked < host.answers or running:
        if asked < host.answers and len(running) < (1 if host.pause else AT_ONCE):
            if host.restart and asked % host.restart == 0:
                _restart(world)
            world.now += host.pause
            asks = dict(host.ask(asked) or ordinary(asked, host.dialect))
            line = world.send(session=f"conversation-{asked % 16}", **asks)
            right = Right(world, line, random.randrange(WORKERS), asked)
            running.append((line, world.delivering(line, host.change(right) if host.when(asked) else line.own)))
            asked += 1
            continue
        at = random.randrange(len(running))
        line, delivery = running[at]
        if not all(next(delivery, _OVER) is not _OVER for _ in range(random.randrange(1, 12))):
            del running[at]
            verdict = world.verdict(line)
            kinds.append(verdict.kind)
            first = first or (f"{len(kinds)}: {verdict}" if verdict.kind in ("crosstalk", "suspect") else "")
    return kinds.count("crosstalk"), kinds.count("suspect"), first


def _restart(world: Routed) -> None:
    before, world.router.memory = world.router.memory, RecentExchanges()
    for told in before.habits.all():
        world.router.memory.habits.adopt(told)


_OVER = object()


# -- habits ------------------------------------------------------------------------------------------------------------


def kept_for_the_same_words(of: Right) -> Wire:
    """LiteLLM: what is not a part of the prompt is not a part of the cache's key."""
    kept = _KEPT.setdefault(of.world, {})
    words = json.dumps(of.line.document.get("messages") or of.line.document.get("input"))
    return replace(kept.setdefault(words, of.own), of=of.line.number)


_KEPT: WeakKeyDictionary[Routed, dict[str, Wire]] = WeakKeyDictionary()  # by the host's world, what it has kept


def report(name: str, **more: object) -> Ask:
    """Ask for the same report twice, each time with another value of the setting *name*."""

    def ask(n: int) -> Mapping[str, Any]:
        turn = [{"role": "user", "content": f"report {n // 60} WORDS-30"}]
        value: object = {"user_id": f"user-{n}"} if name == "metadata" else f"user-{n}"
        place = "messages" if more else "input"
        return {place: turn, name: value, **more} if n >= 20 and n % 30 == 0 else {}

    return ask


def identifier_folded(of: Right) -> Wire:
    """A gateway that writes names of users in lower case."""
    return members(of.own, safety_identifier=of.line.document["safety_identifier"].lower())


def named(n: int) -> Mapping[str, Any]:
    """Ask under names that are each request's own, but for two that differ in case."""
    return {"safety_identifier": f"{'Anna' if n % 10 == 9 else 'anna'}{n - 1 if n % 10 == 9 else n}"}


def turn_counted(of: Right) -> Wire:
    """A gateway that counts one further what the client counts."""
    return members(of.own, metadata={"turn": str(int(of.line.document["metadata"]["turn"]) + 1)})


def counting(n: int) -> Mapping[str, Any]:
    return {"metadata": {"turn": str(n)}}


def head(form: str) -> Change:
    """Return a change by which our id comes back in the promised header as *form* says, beside an *own* one."""

    def change(of: Right) -> Wire:
        own = mint("", f"{of.line.number} own", 32)
        value = form.format(own=own, ours=of.line.request_id)
        return of.but(echoed=Echoed((("X-Request-ID", value),), of.line.reply.echoed.body))

    return change


def gateway_ids_and_late(of: Right) -> Wire:
    """Two habits at once: ids of a gateway that are the same in all answers, and an `Age`."""
    return headed(habits.constant_gateway_ids(of), ("Age", "30"))


def constant_and_canned(of: Right) -> Wire:
    """Two habits at once: one id, and one of five texts."""
    return of.but(answer_id=PREFIXES[of.dialect] + habits.ID, text=habits.CANNED.format(code=of.n % 5), tool=None)


responses = "openai_responses"
DAYS = in_a_row(30, 100)
TWICE = deployed((80, 120), (200, 240))

FINE: tuple[Host, ...] = (
    Host("one id, every second", habits.constant_id, one_in(2)),
    Host("one id, 10 %", habits.constant_id, one_in(10)),
    Host("one id, 2 %", habits.constant_id, one_in(50)),
    Host("one id, by night", habits.constant_id, DAYS, "anthropic", stream=True),
    Host("one id, deployed twice", habits.constant_id, TWICE),
    Host("one id, by connection, 10 %", habits.id_of_the_connection, one_in(10)),
    Host("one id and canned texts", constant_and_canned),
    Host("canned texts, every second", habits.several_canned, one_in(2)),
    Host("ids of a gateway, 10 %", habits.constant_gateway_ids, one_in(10)),
    Host("ids of a gateway and an age, by night", gateway_ids_and_late, DAYS),
    Host("an age, 2 %", habits.age, one_in(50)),
    Host("a late clock, 10 %", habits.clock_late, one_in(10)),
    Host("the fallback, 10 %", habits.model_of_the_fallback, one_in(10)),
    Host("a shared cache key, 10 %", habits.cache_key_shared, one_in(10), responses, ask=habits.settled),
    Host("a template, by night", habits.instructions_of_a_template, DAYS, responses, ask=habits.settled),
    Host("a tenant, by night", habits.tenant_as_user, DAYS, responses, ask=habits.settled),
    Host("constant items, by night", habits.constant_items, DAYS, responses, stream=True),
    Host("a page, deployed twice", habits.page_in_a_good_answer, TWICE),
    Host("five a day, one id", habits.constant_id, pause=FEW_A_DAY, restart=5, answers=100),
    Host("five a day, canned", habits.canned, pause=FEW_A_DAY, restart=5, answers=100),
    Host("five a day, a late clock", habits.clock_late, pause=FEW_A_DAY, answers=100),
    Host("ours before its own", head("{ours}, {own}"), depth="handler"),
    Host("ours in capitals, own in some", habits.folded_echo, one_in(3), depth="body"),
)

RARE: tuple[Host, ...] = (
    Host("kept for the same words, chat", kept_for_the_same_words, ask=report("user", temperature=1)),
    Host("kept for the same words, anthropic", kept_for_the_same_words, dialect="anthropic", stream=True,
         ask=report("metadata", max_tokens=4096)),
    Host("kept for the same words, responses", kept_for_the_same_words, dialect=responses,
         ask=report("prompt_cache_key")),
    Host("a name folded", identifier_folded, dialect=responses, ask=named),
    Host("a turn counted on, 10 %", turn_counted, one_in(10), responses, ask=counting),
    Host("a late clock, 2 %", habits.clock_late, one_in(50)),
    Host("streamed unasked, 2 %", habits.streamed_unasked, one_in(50)),
    Host("others' tools, 10 %", habits.tools_of_others, one_in(10), ask=habits._tools),
    Host("its own id, two a process", habits.own_request_id, depth="handler", pause=FEW_A_DAY, restart=2, answers=60,
         proofs=3),
    Host("ours behind its own", head("{own}, {ours}"), depth="handler"),
    Host("ours in quotes", head('"{ours}"'), depth="handler"),
    Host("ours behind a prefix", head("req_{ours}"), depth="handler"),
)  # fmt: skip


def holds(host: Host) -> None:
    proofs, suspects, first = serve(host)
    assert (proofs <= host.proofs, suspects <= host.suspects) == (True, True), f"{proofs}, {suspects}; {first}"


@pytest.mark.slow(every=5)
@pytest.mark.parametrize("host", FINE, ids=str)
def test_a_habit_that_comes_and_goes_accuses_nobody(host: Host) -> None:
    """H1: in every tenth answer, at night, after a deploy and back, with five answers a day."""
    holds(host)


@pytest.mark.parametrize("form", ["{ours}", "{ours}, {own}"])
def test_an_exchanged_id_is_found_behind_a_header_of_the_host_s_own(form: str) -> None:
    """H6: eight ids of the host's own, and then one of ours that is another's."""
    exchanged(form)


def exchanged(form: str) -> None:
    world = Routed("handler", "openai_chat", False, 3, "observe")
    for number in range(8):
        line = world.send()
        world.deliver(line, head("{own}")(Right(world, line, 0, number)))
    a, b = world.send(), world.send()
    theirs = {line.number: head(form)(Right(world, line, 0, 9)) for line in (a, b)}
    world.side_by_side((a, theirs[b.number]), (b, theirs[a.number]))
    assert [world.verdict(line).victim for line in (a, b)] == [world.name(b), world.name(a)]
    assert {world.verdict(line).kind for line in (a, b)} == {"crosstalk"}


@pytest.mark.parametrize("reaction", ["block", "retry"])
@pytest.mark.parametrize("habit", [habits.constant_id, habits.canned], ids=lambda habit: habit.__name__)
def test_no_owner_loses_its_answer_at_a_host_with_a_habit(habit: Change, reaction: Policy, share: Share) -> None:
    """H9: the habit is known, and then answers go astray in either order."""
    for depth in ("none", "body"):
        for case in share(owners.CASES, 5):
            found, world = owners.Outcome(), Routed(depth, "anthropic", True, 5, reaction)
            for number in range(8):
                line = world.send()
                world.deliver(line, habit(Right(world, line, number, number)))
            owners._hold(found, world, case(world), case.__name__)
            assert not found.lost


@pytest.mark.slow(every=5)
@pytest.mark.parametrize("host", RARE, ids=str)
def test_what_is_rare_or_of_a_part_of_a_host_accuses_nobody(host: Host) -> None:
    """H1: a cache, names in lower case, a gateway's count, one dialect of several, a list or a prefix in a header."""
    holds(host)


@pytest.mark.parametrize("form", ["{own}, {ours}", '"{ours}"', "req_{ours}", "Root=1-{ours}"])
def test_an_exchanged_id_is_found_beside_something_of_the_host_s_own(form: str) -> None:
    """H6: our id says whose answer it is wherever it stands in the header."""
    exchanged(form)


def test_two_identical_names_that_only_the_host_made_alike_prove_nothing() -> None:
    """H2: the smallest input: twelve names that are repeated faithfully, then two at once that differ in case."""
    world = Routed("none", responses, False, 3, "block")
    for number in range(12):
        line = world.send(safety_identifier=f"bert{number}")
        world.deliver(line, line.own)
    one, two = world.send(safety_identifier="anna"), world.send(safety_identifier="Anna")
    world.side_by_side((one, one.own), (two, identifier_folded(Right(world, two, 0, 0))))
    assert world.verdict(two).kind == "unverifiable"
    assert not world.blocked
