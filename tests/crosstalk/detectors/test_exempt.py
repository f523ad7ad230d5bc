"""Answers that no detector of contents judges: errors, answers fetched from a store, facts of another form."""

from __future__ import annotations

from typing import Any

from patchbay.crosstalk.detectors import DETECTORS
from patchbay.values.answer import Fact

from ...each_row import each_row
from ..world import Line, World

ID, CALL = "chatcmpl-B9MBs8CjcvOU2jLn4n570S5qMJKcT", "call_a81Kx02bQz77TyLm3"
# detector → a fact that it finds something in, where another exchange received the same before
FOUND = {
    "duplicate": Fact("id", ID, "body id"),
    "tool-call": Fact("token", CALL, "tool"),
    "settings": Fact("settings", {"user": "person-of-the-other"}, "body"),
    "created": Fact("created", 1_500_000_000, "body created"),
    "took": Fact("took", 90.0, "header openai-processing-ms"),
    "age": Fact("age", 600, "header age"),
    "disorder": Fact("disorder", "block 3", "unopened"),
    "strange-id": Fact("id", ID, "body id"),
}


def after_another(detector: str) -> tuple[World, Line]:
    """Return an exchange at a host that is known, after one that was answered with the same fact."""
    depth = "engine" if detector == "strange-id" else "none"
    world = World(depth, "openai_responses", True, 1)
    world.silent = frozenset(DETECTORS) - {detector}
    world.warm(9)
    other = world.send(user="person-of-mine")
    if detector in ("duplicate", "tool-call"):
        other.watch.see(FOUND[detector], 200, world.now)
    return world, world.send(user="person-of-mine")


@each_row(("status", "generation", "finds"), [
    (200, True, True), (399, True, True), (400, True, False), (500, True, False), (200, False, False),
])  # fmt: skip
@each_row("detector", FOUND)
def test_errors_and_fetched_answers_are_exempt(detector: str, status: int, generation: bool, finds: bool) -> None:
    world, line = after_another(detector)
    line.watch.record.generation = generation

    found = line.watch.see(FOUND[detector], status, world.now)

    assert [each.detector for each in found] == ([detector] if finds else [])


@each_row("value", [None, 7, ["x"], "", "words"])
@each_row("detector", [each for each in FOUND if each not in ("disorder", "strange-id")])
def test_a_fact_of_another_form_is_exempt(detector: str, value: Any) -> None:
    world, line = after_another(detector)
    fact = FOUND[detector]
    if detector in ("took", "age", "created") and value == 7:
        return  # a number is their form

    assert line.watch.see(Fact(fact.kind, value, fact.where), 200, world.now) == []


# -- ids of the requests that made what is stored ----------------------------------------------------------------------

ID_DETECTORS = {
    "tag": ("header x-request-id", "body id", "body request_id", "item", "tool"),
    "contract": ("header x-request-id", "body request_id"),
}


def fetching(detector: str, generation: bool, owner: str) -> tuple[World, Line, str]:
    """Return an exchange at a host that promises an echo, and the id of *owner*."""
    world = World("body", "openai_responses", True, 1)
    world.silent = frozenset(DETECTORS) - {detector}
    world.warm(9)
    ids = {
        "another": world.send().request_id,
        "unknown": world.mint.new(world.now - 9999, world.random.randbytes),
        "mangled": "pb1-" + 48 * "0",
        "foreign": "gateway-8f3a1c9b7d2e4f60",
    }
    line = world.send()
    line.watch.record.generation = generation
    return world, line, ids[owner]


def kind_of(where: str) -> str:
    return "id" if where == "body id" else "echo" if " " in where else "token"


@each_row("generation", [True, False])
def test_an_error_in_place_of_what_is_stored_may_name_its_maker(generation: bool) -> None:
    world, line, told = fetching("tag", generation, "another")

    found = line.watch.see(Fact("provider_id", told, "body request_id"), 404, world.now)

    assert [each.strength for each in found] == (["strong"] if generation else [])


@each_row("owner", ["another", "unknown", "mangled", "foreign"])
@each_row(("detector", "where"), [(name, where) for name, places in ID_DETECTORS.items() for where in places])
def test_a_body_that_is_no_generation_may_hold_any_id_and_a_header_may_not(
    detector: str, where: str, owner: str
) -> None:
    found = {}
    for generation in (True, False):
        world, line, told = fetching(detector, generation, owner)
        found[generation] = line.watch.see(Fact(kind_of(where), told, where), 200, world.now)
        line.watch.end(world.now)

    finds = owner != "foreign" or detector == "contract"
    assert bool(found[True]) is finds
    assert bool(found[False]) is (finds and where.startswith("header "))


def kept_and_broken(world: World) -> dict[str, tuple[int, int]]:
    """Return how often answers kept and broke each rule of the host, but for the order of head and request."""
    rules = world.memory.habits.shown()["http://host"]
    return {rule: (each.kept, each.broken) for rule, each in rules.items() if rule != "early"}


@each_row("place", ["body id", "item", "tool"])
def test_a_fetched_id_of_ours_stays_its_maker_s_and_teaches_nothing(place: str) -> None:
    """The maker's own answer, and an exchange that gets it by mistake, are judged as if nothing was fetched."""
    world = World("engine", "openai_responses", True, 1)
    world.warm(9)
    maker, fetch, other = world.send(), world.send(), world.send()
    fetch.watch.record.generation = False
    told = Fact(kind_of(place), f"resp_{maker.request_id}", place)
    before = kept_and_broken(world)
    assert fetch.watch.see(told, 200, world.now) == []
    fetch.watch.end(world.now)
    assert not fetch.watch.is_nameless
    assert fetch.verdict().kind == "unverifiable"
    assert kept_and_broken(world) == before

    assert maker.watch.see(told, 200, world.now) == []
    found = other.watch.see(told, 200, world.now)
    assert ("tag", "proof", maker.watch.record.exchange) in {(at.detector, at.strength, at.victim) for at in found}


@each_row("detector", ["tag"])
@each_row(("place", "finds"), [
    ("container", False), ("conversation", False), ("file", False), ("batch", False), ("cache", False),
    ("item", True), ("tool", True),
])  # fmt: skip
def test_a_generation_may_name_what_an_earlier_request_stored(detector: str, place: str, finds: bool) -> None:
    world, line, told = fetching(detector, True, "another")

    assert bool(line.watch.see(Fact("token", f"x_{told}", place), 200, world.now)) is finds


@each_row(("quoted", "finds"), [(True, False), (False, True)])
@each_row(("kind", "place"), [("token", "item"), ("token", "tool"), ("id", "body id")])
@each_row("owner", ["another", "unknown", "mangled"])
def test_a_generation_may_repeat_the_items_of_its_request_but_never_the_id_of_another_answer(
    owner: str, kind: str, place: str, quoted: bool, finds: bool
) -> None:
    world, _, told = fetching("tag", True, owner)
    line = world.send(previous_response_id=f"resp_{told}" if quoted else "resp_0")

    found = line.watch.see(Fact(kind, f"resp_{told}", place), 200, world.now)

    assert bool(found) is (finds or kind == "id")
