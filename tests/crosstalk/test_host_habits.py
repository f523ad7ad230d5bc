"""What is learned of a host: when a rule stands, when it is demoted, and what ends that."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
from msgspec import structs, to_builtins

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
from .world import DEPTHS, Line, Wire, World, dialects_of

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
@pytest.mark.parametrize(("depth", "dialect"), [(depth, each) for depth in DEPTHS for each in dialects_of(depth)])
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


# -- each number -------------------------------------------------------------------------------------------------------

PROMISE = "contract header x-id"


def told(habits: HostHabits, rule: str, story: str, now: float = 5.0, **more: Any) -> HostHabits:
    """Let answers keep (`+`) and break (`-`) *rule*, or break it as another exchange explains (`~`)."""
    for each in story:
        if each == "+":
            habits.kept(HOST, rule, now)
        else:
            habits.broke(HOST, rule, now, explained=each == "~", **more)
    return habits


def after(story: str, rule: str = "age", **more: Any) -> Standing:
    return told(HostHabits(), rule, story, **more).standing(HOST, rule)


@pytest.mark.parametrize(
    ("story", "standing"),
    [
        ("", Standing()),
        ("+", Standing(kept=1, run=1)),
        ("++-", Standing(kept=2, broken=1, row=1.0, before=2, began=5.0, last="a → b", needs=40)),
        ("++-~", Standing(kept=2, broken=2, row=1.5, before=0, began=5.0, last="a → b", needs=40)),
        ("++-+", Standing(kept=3, broken=1, run=1, before=2, began=5.0, last="a → b", needs=40)),
        ("+" * 20 + "-", Standing(kept=20, broken=1, row=1.0, before=20, began=5.0, last="a → b", needs=40)),
        ("+" * 21 + "-", Standing(kept=21, broken=1, row=1.0, before=21, began=5.0, last="a → b", needs=42)),
        ("+" * 21 + "-+-", Standing(kept=22, broken=2, row=1.0, before=1, began=5.0, last="a → b", needs=42)),
        ("+" * 300 + "-", Standing(kept=300, broken=1, row=1.0, before=300, began=5.0, last="a → b", needs=512)),
    ],
)
def test_a_standing_counts_what_was_kept_and_broken(story: str, standing: Standing) -> None:
    assert after(story, found="a → b") == standing


def test_the_evidence_of_a_break_is_bounded() -> None:
    assert after("-", found="x" * 201).last == "x" * 200


def test_a_misdelivery_needs_no_longer_run_than_any_break() -> None:
    assert after("+" * 300 + "-", misdelivery=True).needs == 40


@pytest.mark.parametrize(
    ("story", "demoted"),
    [
        ("+++++++---", False),  # it never stood
        ("++++++++--", False),
        ("++++++++---", True),
        ("++++++++-+---", True),  # it stood once
        ("++++++++~~~~~", False),
        ("++++++++~~~~~~", True),
        ("++++++++" + "-+" * 8, False),
        ("++++++++" + "-+" * 8 + "-", True),
        ("++++++++" + "-+" * 8 + "+++-", True),
        ("++++++++" + "-+" * 8 + "++++-", False),
    ],
)
def test_three_breaks_in_a_row_or_one_in_eight_for_long_demote_a_rule(story: str, demoted: bool) -> None:
    found = told(HostHabits(), "age", story)

    assert found.standing(HOST, "age").demoted is demoted
    assert found.news() == ([Demotion(HOST, "age", 5.0)] if demoted else [])


@pytest.mark.parametrize(("story", "demoted"), [("--", False), ("---", True), ("-+" * 30 + "-", False)])
def test_a_promise_is_demoted_by_three_breaks_in_a_row_alone(story: str, demoted: bool) -> None:
    assert after(story, PROMISE).demoted is demoted


@pytest.mark.parametrize(
    ("rule", "before", "answers"), [(PROMISE, "", 1), ("age", "+" * 8, 64), ("age", "+" * 100, 200)]
)
def test_a_demotion_ends_after_a_run(rule: str, before: str, answers: int) -> None:
    found = told(HostHabits(), rule, before + "---")
    told(found, rule, "+" * (answers - 1), 6.0)
    assert found.standing(HOST, rule).demoted
    assert found.standing(HOST, rule).run == answers - 1

    told(found, rule, "+", 4.0)

    assert found.news()[1:] == [Demotion(HOST, rule, 5.0, over=True)]  # our clock was set back
    assert not found.standing(HOST, rule).demoted
    assert found.standing(HOST, rule).run == 0


def test_a_rule_that_counts_again_is_demoted_by_new_breaks_only() -> None:
    found = told(HostHabits(), "age", "+" * 8 + "-+" * 8 + "-" + "+" * 64 + "-+-+-")

    assert not found.standing(HOST, "age").demoted
    assert told(found, "age", "--").standing(HOST, "age").demoted
    for story, demoted in (("-+" * 8, False), ("-+" * 8 + "-", True)):
        assert after("+" * 8 + "---" + "+" * 64 + story).demoted is demoted


def test_news_are_the_last_thousand() -> None:
    found = HostHabits()
    for number in range(1001):
        told(found, f"contract {number}", "---")

    news = found.news()
    assert (len(news), news[0].rule, found.has_news) == (1000, "contract 1", False)


@pytest.mark.parametrize(
    ("change", "mirrors"),
    [
        ({}, True),
        ({"began": 1.0}, False),
        ({"before": 7}, False),
        ({"last": "b tokens → a tokens"}, True),
        ({"last": "a → b"}, False),
        ({"last": "b"}, False),
        ({"last": "b → a → b"}, False),
    ],
)
def test_a_break_mirrors_another_that_came_during_the_wait(change: dict[str, Any], mirrors: bool) -> None:
    standing = structs.replace(Standing(before=8, began=1.1, last="b → a"), **change)

    assert standing.mirrors(8, "a → b", 1.0) is mirrors
    assert not standing.mirrors(8, standing.last, 1.0)


def test_evidence_of_one_part_mirrors_none() -> None:
    assert not Standing(before=8, began=1.1, last="a").mirrors(8, "a", 1.0)


@pytest.mark.parametrize(("row", "demoted", "stands"), [(1.5, False, True), (2.0, False, False), (0.0, True, False)])
def test_a_rule_that_the_next_break_demotes_does_not_stand(row: float, demoted: bool, stands: bool) -> None:
    standing = Standing(kept=99, run=50, row=row, demoted=demoted)

    assert (standing.stands(50), standing.suspects(50), standing.seldom_broken) == (stands, stands, stands)
    assert not standing.stands(51)


@pytest.mark.parametrize(("needs", "stands"), [(50, True), (51, False)])
def test_a_rule_that_was_broken_stands_after_the_run_it_needs(needs: int, stands: bool) -> None:
    assert Standing(run=50, needs=needs).stands(8) is stands


# -- doubts ------------------------------------------------------------------------------------------------------------


def test_a_doubt_lasts_forty_answers_of_its_host() -> None:
    found = HostHabits()
    found.suspected(HOST, "disorder", "1")
    found.kept(HOST, "disorder switch", 1.0)
    doubted = [Standing(kept=1, run=1, doubted=True), Standing(doubted=True), Standing()]

    for _ in range(40):
        rules = ("disorder switch", "disorder no-call", "age")
        assert [found.standing(HOST, rule, "2") for rule in rules] == doubted
        assert found.standing("http://other", "disorder", "2") == Standing()
        found.answered(HOST)
        found.answered("http://other")
    assert not found.standing(HOST, "disorder switch", "2").doubted


def test_doubts_of_two_detectors_end_each_by_itself() -> None:
    found = HostHabits()
    found.suspected(HOST, "age", "1")
    found.answered(HOST)
    found.suspected(HOST, "took", "2")
    for _ in range(39):
        found.answered(HOST)

    assert [found.standing(HOST, rule, "3").doubted for rule in ("age", "took")] == [False, True]
    found.answered(HOST)
    assert not found.standing(HOST, "took", "3").doubted


# -- what is shown, forgotten and shared -------------------------------------------------------------------------------


def several() -> HostHabits:
    """Return habits with a demoted rule, one that is kept, and a promise that was broken once."""
    found = HostHabits()
    found.watch()
    told(found, "age", "+" * 8 + "---")
    told(found, "took", "+")
    told(found, PROMISE, "-", 6.0)
    found.kept("http://other", "age", 1.0)
    return found


def test_all_standings_are_shown_by_host_and_rule() -> None:
    found = several()

    shown = found.shown()

    assert {host: set(rules) for host, rules in shown.items()} == {
        HOST: {"age", "took", PROMISE},
        "http://other": {"age"},
    }
    assert shown[HOST]["age"] == found.standing(HOST, "age")


def test_demotions_and_broken_promises_are_shared_once() -> None:
    found = several()
    shared = [Demotion(HOST, "age", 5.0), Demotion(HOST, PROMISE, 6.0, over=True, row=1)]

    assert found.changes() == list(found.all()) == shared
    assert found.changes() == []
    told(found, PROMISE, "+", 5.0)
    assert found.changes() == [Demotion(HOST, PROMISE, 6.0, over=True)]
    told(found, PROMISE, "--", 7.0)
    assert found.changes() == [Demotion(HOST, PROMISE, 7.0, over=True, row=2)]
    told(found, PROMISE, "-", 8.0)
    assert found.changes() == [Demotion(HOST, PROMISE, 8.0)]
    told(found, PROMISE, "-", 9.0)
    told(found, "took", "-", 9.0)
    assert found.changes() == []


def test_a_change_of_what_was_evicted_is_not_shared() -> None:
    found = several()
    for number in range(20_000):
        found.kept(HOST, f"model {number}", 1.0)

    assert found.changes() == list(found.all()) == []
    assert len(found.shown()[HOST]) == 20_000


@pytest.mark.parametrize(
    ("host", "detector", "forgotten", "changed"),
    [
        (HOST, "age", 1, [Demotion(HOST, "age", 9.0, over=True)]),
        (HOST, "took", 1, []),
        (HOST, "contract", 1, []),
        (HOST, "", 3, [Demotion(HOST, "age", 9.0, over=True)]),
        ("http://other", "", 1, []),
        ("http://other", "took", 0, []),
    ],
)
def test_a_reset_is_shared_where_a_rule_was_demoted(
    host: str, detector: str, forgotten: int, changed: list[Demotion]
) -> None:
    found = several()
    found.changes()
    found.suspected(host, "took", "1")

    assert found.reset(host, detector, 9.0) == forgotten
    assert found.changes() == changed
    assert not found.standing(host, "took", "2").doubted
    assert sum(each == Standing() for rules in found.shown().values() for each in rules.values()) == forgotten


def test_a_reset_counts_from_the_later_of_both_times() -> None:
    found = several()
    found.changes()
    found.reset(HOST, "age", 1.0)

    assert found.changes() == [Demotion(HOST, "age", 5.0, over=True)]


def test_a_rule_is_unlearned_at_all_hosts_where_it_is_not_demoted() -> None:
    found = several()
    found.unlearn("age")
    found.unlearn("took")

    assert {host: set(rules) for host, rules in found.shown().items()} == {HOST: {"age", PROMISE}}


@pytest.mark.parametrize(
    ("shared", "standing"),
    [
        (Demotion(HOST, "age", 4.9, over=True), Standing(kept=8, broken=3, row=3.0, began=5.0, needs=40, demoted=True)),
        (Demotion(HOST, "age", 5.0, over=True), Standing(kept=8, broken=3, row=3.0, began=5.0, needs=40, demoted=True)),
        (Demotion(HOST, "age", 5.1, over=True), Standing()),
        (Demotion(HOST, "took", 0.1), Standing(kept=1, demoted=True)),
        (Demotion(HOST, "took", 0.1, over=True, row=2), Standing(kept=1, run=1, row=2.0)),
        (Demotion(HOST, "took", 0.0), Standing(kept=1, run=1)),
    ],
)
def test_a_demotion_of_another_instance_holds_if_it_is_newer(shared: Demotion, standing: Standing) -> None:
    found = several()
    found.adopt(shared)

    assert found.standing(HOST, shared.rule) == standing


def test_what_was_adopted_is_not_older_than_it_was() -> None:
    found = several()
    found.adopt(Demotion(HOST, "age", 8.0, over=True))
    found.adopt(Demotion(HOST, "took", 8.0))

    shared = {each.rule: each for each in found.all()}
    assert shared["age"] == Demotion(HOST, "age", 8.0, over=True)
    assert shared["took"] == Demotion(HOST, "took", 8.0)
    assert Demotion(HOST, PROMISE, 1.0).detector == "contract"


def test_the_least_recently_used_rule_is_evicted() -> None:
    found = HostHabits()
    for number in range(20_000):
        found.kept(HOST, f"model {number}", 1.0)
    found.kept(HOST, "model 0", 1.0)
    found.kept(HOST, "age", 1.0)

    assert found.standing(HOST, "model 0").kept == 2
    assert found.standing(HOST, "model 1") == Standing()
    assert found.standing(HOST, "model 2").kept == 1


def test_breaks_that_nothing_explains_after_all_make_one_in_eight_a_habit() -> None:
    """Explained, the same breaks would never add up: the sum falls by more between them than they add."""
    shown = []
    for unexplained in (False, True):
        habits = HostHabits()
        for number in range(400):
            if number % 8 == 7:
                habits.broke(HOST, "next-turn", number, explained=True, misdelivery=True)
                if unexplained:
                    habits.unexplained(HOST, "next-turn", number)
            else:
                habits.kept(HOST, "next-turn", number)
        habits.broke(HOST, "next-turn", 400.0, explained=True, misdelivery=True)
        shown.append(habits.standing(HOST, "next-turn").demoted)

    assert shown == [False, True]
