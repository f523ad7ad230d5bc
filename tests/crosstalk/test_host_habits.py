"""What is learned of a host: when a rule stands, when it is demoted, and what ends that."""

from __future__ import annotations

from random import Random

import pytest
from msgspec import to_builtins

from patchbay.crosstalk.host_habits import (
    GROWTH_AFTER_BREAK,
    RUN_AFTER_BREAK,
    RUN_AFTER_BREAK_MAX,
    RUN_REINSTATED,
    RUN_STRONG,
    Demotion,
    HostHabits,
    Standing,
)
from patchbay.crosstalk.recent import RecentExchanges
from patchbay.crosstalk.reverify import judge
from patchbay.values.answer import Fact

from . import modes
from .routed import Routed
from .world import DEPTHS, NAMES, Line, Wire, World

HOST = "http://host"
OWN = "gateway-8f3a1c9b7d2e4f60"


def habits(*, kept: int = 0, broken: int = 0, rule: str = "age", misdelivery: bool = False) -> HostHabits:
    found = HostHabits()
    for _ in range(kept):
        found.kept(HOST, rule, 1.0)
    for _ in range(broken):
        found.broke(HOST, rule, 2.0, misdelivery=misdelivery)
    return found


def named(line: Line, value: str) -> Wire:
    """Return the answer to *line* with *value* in the header where our id should be, and nowhere else."""
    head = tuple((name, value if name == "X-Request-ID" else told) for name, told in line.own.headers)
    return Wire(head, line.own.pieces, line.number)


def verdicts(world: World, *values: str) -> list[str]:
    """Let answers pass with *values* in the promised header, `ours` being our own id."""
    found = []
    for value in values:
        line = world.send()
        found.append(world.deliver(line, line.own if value == "ours" else named(line, value)).kind)
    return found


# -- a rule ------------------------------------------------------------------------------------------------------------


def test_a_rule_stands_at_a_host_that_kept_it_in_answers_in_a_row() -> None:
    assert not habits(kept=RUN_STRONG - 1).standing(HOST, "age").stands(RUN_STRONG)
    assert habits(kept=RUN_STRONG).standing(HOST, "age").stands(RUN_STRONG)


def test_once_broken_it_takes_longer_until_it_stands_again() -> None:
    """H8: one odd worker of eight breaks it again before that."""
    found = habits(kept=20, broken=1)
    for _ in range(RUN_AFTER_BREAK - 1):
        found.kept(HOST, "age", 3.0)
    assert not found.standing(HOST, "age").stands(RUN_STRONG)
    found.kept(HOST, "age", 3.0)
    assert found.standing(HOST, "age").stands(RUN_STRONG)


@pytest.mark.parametrize(("kept", "needed"), [(60, GROWTH_AFTER_BREAK * 60), (10_000, RUN_AFTER_BREAK_MAX)])
def test_what_comes_back_every_so_often_is_accused_once(kept: int, needed: int) -> None:
    """H1: after a break, a rule must be kept in more answers than before it, RUN_AFTER_BREAK_MAX at most."""
    found = habits(kept=kept, broken=1)
    for _ in range(needed - 1):
        found.kept(HOST, "age", 3.0)
    assert not found.standing(HOST, "age").stands(RUN_STRONG)
    found.kept(HOST, "age", 3.0)
    assert found.standing(HOST, "age").stands(RUN_STRONG)


def test_what_goes_astray_again_is_found_again_after_the_usual_number_of_answers() -> None:
    """H1: a misdelivery may come back at any interval."""
    found = habits(kept=60, broken=1, misdelivery=True)
    for _ in range(RUN_AFTER_BREAK):
        found.kept(HOST, "age", 3.0)
    assert found.standing(HOST, "age").stands(RUN_STRONG)


def test_a_suspicion_puts_the_other_rules_of_its_detector_in_doubt_for_a_while() -> None:
    """H1: a new version of a server breaks several rules at once, and is suspected once."""
    found = habits(kept=RUN_STRONG, rule="disorder unopened")
    found.suspected(HOST, "disorder", "answer 1")

    assert found.standing(HOST, "disorder unopened", "answer 1").suspects(RUN_STRONG)
    assert not found.standing(HOST, "disorder unopened", "answer 2").suspects(RUN_STRONG)
    assert found.standing(HOST, "disorder unopened", "answer 2").stands(RUN_STRONG)
    assert not found.standing(HOST, "age", "answer 2").doubted
    for _ in range(RUN_AFTER_BREAK):
        found.answered(HOST)
    assert found.standing(HOST, "disorder unopened", "answer 2").suspects(RUN_STRONG)


def test_a_rule_that_is_broken_three_times_in_a_row_is_demoted_and_said_once() -> None:
    """H1: a rule that a host breaks k times in a row, by one detector, is no rule there."""
    found = habits(kept=12, broken=3)

    assert found.news() == [Demotion(HOST, "age", 2.0)]
    assert found.standing(HOST, "age").void
    found.broke(HOST, "age", 3.0)
    assert not found.has_news


def test_what_a_host_did_from_the_first_answer_on_is_void_and_needs_no_word() -> None:
    found = habits(broken=5)

    assert found.standing(HOST, "age").void
    assert not found.has_news


def test_a_demoted_rule_that_is_kept_for_long_stands_again() -> None:
    found = habits(kept=12, broken=3)
    found.news()
    for _ in range(RUN_REINSTATED):
        found.kept(HOST, "age", 4.0)

    assert found.news() == [Demotion(HOST, "age", 4.0, over=True)]
    assert not found.standing(HOST, "age").demoted


def test_one_odd_worker_of_eight_is_a_habit_in_the_end() -> None:
    """H8: no three in a row, and a habit all the same."""
    found = habits(kept=16)
    for number in range(400):
        (found.broke if number % 8 == 3 else found.kept)(HOST, "age", float(number))

    assert [each.rule for each in found.news()] == ["age"]


@pytest.mark.parametrize("share", [0.01, 0.03, 0.05])
def test_wrong_deliveries_now_and_then_demote_nothing(share: float) -> None:
    """H1: two at a time, for each of which another exchange waits."""
    for seed in range(20):
        random, found = Random(seed), habits(kept=16)
        for number in range(1000):
            if random.random() < share / 2:
                for _ in range(2):
                    found.broke(HOST, "age", float(number), explained=True)
            found.kept(HOST, "age", float(number))
        assert not found.has_news


def test_a_reset_forgets_a_host_or_what_one_detector_knows_of_it() -> None:
    found = habits(kept=12, broken=3)
    found.watch()
    found.kept(HOST, "framing", 1.0)

    assert found.reset(HOST, "age", 9.0) == 1
    assert found.changes() == [Demotion(HOST, "age", 9.0, over=True)]
    assert not found.standing(HOST, "age").demoted
    assert found.standing(HOST, "framing").kept == 1
    assert found.reset(HOST, "", 10.0) == 2
    assert found.reset("http://other", "", 10.0) == 0


def test_what_others_found_out_counts_and_the_later_word_holds() -> None:
    found = HostHabits()
    demoted, over = Demotion(HOST, "age", 5.0), Demotion(HOST, "age", 6.0, over=True)
    for told in (demoted, over, demoted):
        found.adopt(told)

    assert not found.standing(HOST, "age").demoted
    found.adopt(Demotion(HOST, "age", 7.0))
    assert found.standing(HOST, "age").demoted


def test_hosts_and_rules_are_bounded() -> None:
    found = HostHabits()
    for number in range(30_000):
        found.broke(f"http://{number}", f"model {number}", 1.0)

    assert len(found.shown()) <= 20_000


# -- a promised header -------------------------------------------------------------------------------------------------


def test_a_promised_header_with_three_ids_in_a_row_that_were_never_ours_is_the_host_s_own() -> None:
    """H6: the mismatch is flagged from the very first answer; three show whose the header is; said once."""
    world = World("handler", "openai_chat", False, 1)

    found = verdicts(world, *(f"{OWN}{number}" for number in range(8)))

    assert found == ["crosstalk"] * 3 + ["unverifiable"] * 5
    assert [(told.host, told.detector) for told in world.memory.habits.news()] == [(HOST, "contract")]


def test_the_first_id_of_ours_puts_the_promise_back_in_force() -> None:
    """H6: flagged again from the first answer that does give ours back."""
    world = World("handler", "openai_chat", False, 1)
    verdicts(world, f"{OWN}1", f"{OWN}2", f"{OWN}3")

    assert verdicts(world, f"{OWN}4", "ours", f"{OWN}5") == ["unverifiable", "unverifiable", "crosstalk"]


def test_a_demoted_header_that_brings_another_s_id_is_proof() -> None:
    """H6: our own id of another exchange is no habit."""
    world = World("handler", "openai_chat", False, 1)
    verdicts(world, f"{OWN}1", f"{OWN}2", f"{OWN}3", f"{OWN}4")
    other, line = world.send(), world.send()

    assert world.deliver(line, named(line, other.request_id)).kind == "crosstalk"
    assert line.verdict().victim == f"x{other.number}"


def test_a_member_of_the_body_is_held_to_the_promise_always() -> None:
    """H6: a foreign id in the body is flagged, however often it comes."""
    world = World("body", "openai_chat", False, 1)
    for number in range(8):
        (truth,) = modes.unknown_id(world)
        assert truth.line.verdict().kind == "crosstalk", number


def test_two_in_a_row_between_ids_of_ours_demote_nothing() -> None:
    """H6: only three in a row do."""
    world = World("handler", "openai_chat", False, 1)

    found = verdicts(world, *("ours", f"{OWN}1", f"{OWN}2") * 5)

    assert found == ["unverifiable", "crosstalk", "crosstalk"] * 5


# -- real faults -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("depth", ["body", "engine"])
def test_a_host_that_exchanges_every_answer_demotes_none_of_its_proofs(depth: str) -> None:
    """H1: an id of ours that another exchange was given is proof, the hundredth time as well."""
    world = World(depth, "openai_chat", True, 1)
    for _ in range(100):
        for truth in modes.swap(world):
            assert truth.line.verdict().kind == "crosstalk"
            assert truth.of is not None
            assert truth.line.verdict().victim == f"x{truth.of.number}"


def test_a_broken_rule_is_never_proven() -> None:
    """H4: a server that answers in another dialect always is not accused after the 16th answer either."""
    world = World("none", "openai_responses", False, 1)
    for _ in range(60):
        line = world.send()
        line.watch.see(Fact("shape", "openai_chat", "body"), 200, world.now)
        line.watch.end(world.now)
        assert line.verdict().kind == "unverifiable"


# -- later -------------------------------------------------------------------------------------------------------------


def test_a_verdict_rests_on_what_was_known_of_the_host_then() -> None:
    """H1: a later look at one exchange, without those that taught it, comes to the same verdict."""
    world = World("handler", "openai_chat", False, 1)
    verdicts(world, f"{OWN}1", f"{OWN}2", f"{OWN}3", f"{OWN}4")
    last = world.stored()[-1]

    (judged,) = judge([last], world.mint)

    assert (last.recorded, judged.verdict.kind) == ("unverifiable", "unverifiable")


def test_a_habit_survives_the_process() -> None:
    """H1: what is demoted stays so in the next one, which says nothing of it again."""
    one, two = RecentExchanges(), RecentExchanges()
    one.habits.watch()
    for now in (1.0, 2.0, 3.0):
        one.habits.broke(HOST, "contract header x-request-id", now)
    for told in one.habits.changes():
        two.habits.adopt(told)

    assert two.habits.standing(HOST, "contract header x-request-id").void
    assert not two.habits.has_news


# -- whose it is -------------------------------------------------------------------------------------------------------


@pytest.mark.slow(every=4)
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("dialect", NAMES)
@pytest.mark.parametrize("depth", list(DEPTHS))
def test_blocking_takes_no_answer_from_its_owner(depth: str, dialect: str, stream: bool) -> None:
    """H9: one answer to two, in either order; both are named, and the owner gets what is its own."""
    world = Routed(depth, dialect, stream, 3, "block")
    world.warm(15)
    proved = 0
    for number in range(32):
        owner, other = world.send(), world.send()
        for line in (owner, other) if number % 2 else (other, owner):
            world.deliver(line, owner.own)
        assert owner.number not in world.blocked
        verdicts = [world.verdict(line) for line in (owner, other)]
        proved += any(verdict.kind == "crosstalk" for verdict in verdicts)
        named = {verdict.victim for verdict in verdicts} - {"", "unknown"}
        assert named <= {world.name(owner), world.name(other)}
    assert proved > 24 or depth == "none"


def test_who_gets_an_answer_that_came_before_it_asked_is_not_its_owner() -> None:
    """H9: there the earlier receiver is the right one, so the answer is kept back."""
    world = Routed("none", "openai_chat", False, 3, "block")
    world.warm(48)
    owner = world.send()
    world.deliver(owner, owner.own)
    later = world.send()
    world.deliver(later, owner.own)

    assert world.blocked == {later.number}
    assert world.verdict(later).victim == world.name(owner)


@pytest.mark.parametrize(("kept", "broken", "void"), [(12, 3, True), (13, 3, False), (0, 2, False), (40, 10, True)])
def test_a_rule_is_void_where_one_answer_in_five_breaks_it(kept: int, broken: int, void: bool) -> None:
    assert Standing(kept=kept, broken=broken).void == void
    assert Standing(kept=1000, demoted=True).void


@pytest.mark.parametrize(("kept", "broken", "seldom"), [(2, 0, False), (3, 0, True), (8, 2, False), (9, 2, True)])
def test_a_rule_is_seldom_broken_where_fewer_than_one_answer_in_five_does(kept: int, broken: int, seldom: bool) -> None:
    assert Standing(kept=kept, broken=broken).seldom_broken == seldom
    assert not Standing(kept=1000, row=2.0).seldom_broken


@pytest.mark.parametrize(("kept", "broken", "rare"), [(63, 0, False), (64, 0, True), (64, 4, False), (65, 4, True)])
def test_a_rule_is_rarely_broken_where_fewer_than_one_answer_in_seventeen_does(
    kept: int, broken: int, rare: bool
) -> None:
    assert Standing(kept=kept, broken=broken).rarely_broken == rare
    assert Standing(kept=64, row=1.0).rarely_broken and not Standing(kept=64, row=2.0).rarely_broken


@pytest.mark.parametrize("name", ["kept", "broken", "run", "row", "before", "began", "last", "needs", "demoted"])
def test_a_standing_is_stored_as_far_as_it_is_not_as_it_begins(name: str) -> None:
    odd = {"last": "a → b", "demoted": True}.get(name, 3)

    assert to_builtins(Standing(**{name: odd})) == {name: odd}
    assert to_builtins(Standing()) == {}
