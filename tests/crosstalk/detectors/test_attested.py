"""What a provider says one turn later: whose request an answer was given to."""

from __future__ import annotations

from typing import Any

import pytest

from patchbay.crosstalk.host_habits import RUN_AFTER_BREAK
from patchbay.crosstalk.judgement import LateReport
from patchbay.crosstalk.sent_prefixes import BESIDE
from patchbay.frozen import replace
from patchbay.ledger import Entry
from patchbay.values.answer import Fact
from patchbay.values.decision import Verdict

from ..world import Line, World

SYSTEM = [{"type": "text", "text": "You are a helper.", "cache_control": {"type": "ephemeral"}}]


def user(text: str, *, marked: bool = False) -> dict[str, Any]:
    mark = {"cache_control": {"type": "ephemeral"}} if marked else {}
    return {"role": "user", "content": [{"type": "text", "text": text, **mark}]}


def asked(world: World, name: str, *turns: dict[str, Any], previous: str | None = None, **more: Any) -> Line:
    messages = [user(f"first of {name}"), *turns]
    return world.send(messages=messages, system=SYSTEM, diagnostics={"previous_message_id": previous}, **more)


def answered(world: World, line: Line, answer: str, *facts: Fact) -> Verdict:
    for fact in (Fact("id", answer, "body id"), *facts):
        line.watch.see(fact, 200, world.now)
    line.watch.end(world.now)
    line.watch.judgement.told = line.verdict()
    return line.verdict()


def said(*turns: str) -> list[dict[str, Any]]:
    return [{"role": "assistant", "content": [{"type": "text", "text": turns[0]}]}, user("go on", marked=True)]


def known(answers: int = 8, stream: bool = False) -> World:
    """Return a world whose host compared so many turns, and found no difference."""
    world = World("none", "anthropic", stream, 1)
    for number in range(answers):
        first = asked(world, f"warm {number}")
        answered(world, first, f"msg_{number:020}")
        second = asked(world, f"warm {number}", *said("yes"), previous=f"msg_{number:020}")
        answered(world, second, f"msg_x{number:020}", Fact("compared", "unchanged", "body diagnostics"))
    return world


def pair(world: World) -> tuple[Line, Line]:
    """Return two first turns that were under way at once, each with the answer of the other."""
    one, two = asked(world, "one"), asked(world, "two")
    answered(world, one, "msg_of_two_00000000")
    answered(world, two, "msg_of_one_00000000")
    return one, two


def test_an_answer_whose_request_the_next_turn_extends_is_ours() -> None:
    world = known(0)
    first = asked(world, "one")
    before = answered(world, first, "msg_of_one_00000000")
    later = asked(world, "one", *said("yes"), previous="msg_of_one_00000000")
    answered(world, later, "msg_next_0000000000", Fact("compared", "unchanged", "body diagnostics"))

    assert before.kind == "unverifiable"
    assert (first.verdict().kind, first.verdict().echo) == ("clean", "attested")
    (change,) = world.memory.late.amendments(f"x{later.number}")
    assert (change.exchange, change.was, change.verdict) == (f"x{first.number}", "unverifiable", "clean")
    assert world.memory.late.amendments(f"x{later.number}") == []


def test_where_the_provider_has_the_earlier_turns_no_difference_says_nothing() -> None:
    """It goes on with the other's conversation, so that nothing differs after a swap either."""
    world = known(0)
    one, _ = pair(world)
    later = world.send(
        messages=said("yes")[1:], system=SYSTEM, diagnostics={"previous_message_id": "msg_of_two_00000000"},
        thread={"type": "continue", "previous_message_id": "msg_of_two_00000000"},
    )  # fmt: skip
    answered(world, later, "msg_next_0000000000", Fact("compared", "unchanged", "body diagnostics"))

    assert one.verdict().kind == "unverifiable"


@pytest.mark.parametrize("what", ["messages", "system", "tools", "model"])
def test_a_difference_in_what_is_the_same_says_that_the_answer_was_another_s(what: str) -> None:
    world = known()
    one, two = pair(world)
    later = asked(world, "one", *said("yes"), previous="msg_of_two_00000000")
    answered(world, later, "msg_next_0000000000", Fact("compared", what, "body diagnostics"))

    assert one.verdict().kind == "suspect"
    assert one.verdict().victim == f"x{two.number}"
    assert later.verdict().kind == two.verdict().kind == "unverifiable"


@pytest.mark.parametrize(("what", "changed"), [
    ("messages", {"messages": [user("first of one, edited"), *said("yes")]}),
    ("messages", {"messages": [user("first of one")]}),
    ("messages", {"system": [{"type": "text", "text": "You are another."}]}),
    ("system", {"system": [{"type": "text", "text": "You are another."}]}),
    ("tools", {"tools": ("shell",)}),
    ("model", {"model": "sim-small"}),
])  # fmt: skip
def test_what_the_client_changed_itself_is_no_finding(what: str, changed: dict[str, Any]) -> None:
    world = known()
    one, _ = pair(world)
    asks = {"messages": [user("first of one"), *said("yes")], "system": SYSTEM,
            "diagnostics": {"previous_message_id": "msg_of_two_00000000"}} | changed  # fmt: skip
    later = world.send(**asks)
    answered(world, later, "msg_next_0000000000", Fact("compared", what, "body diagnostics"))

    assert one.verdict().findings == ()


def test_marks_of_a_cache_and_the_form_of_a_text_are_no_difference() -> None:
    world = known()
    one, two = asked(world, "one", {"role": "user", "content": "plain"}), asked(world, "two")
    answered(world, one, "msg_of_two_00000000")
    answered(world, two, "msg_of_one_00000000")
    later = asked(world, "one", user("plain", marked=True), *said("yes"), previous="msg_of_two_00000000")
    answered(world, later, "msg_next_0000000000", Fact("compared", "messages", "body diagnostics"))

    assert one.verdict().kind == "suspect"


def test_both_of_a_swap_are_found_though_the_first_breaks_the_rule() -> None:
    world = known()
    one, two = pair(world)
    for name, answer in (("one", "msg_of_two_00000000"), ("two", "msg_of_one_00000000")):
        later = asked(world, name, *said("yes"), previous=answer)
        answered(world, later, f"msg_next_{name}_00000", Fact("compared", "messages", "body diagnostics"))

    assert (one.verdict().kind, one.verdict().victim) == ("suspect", f"x{two.number}")
    assert (two.verdict().kind, two.verdict().victim) == ("suspect", f"x{one.number}")


def test_of_several_under_way_those_that_received_their_own_are_no_victims() -> None:
    world = known(16)
    lines = {name: asked(world, name) for name in ("one", "two", "three", "four")}
    got = {"one": "two", "two": "one", "three": "three", "four": "four"}
    for name, line in lines.items():
        answered(world, line, f"msg_of_{got[name]}_0000000")
    victims = []
    for name in ("one", "two", "three", "four"):
        later = asked(world, name, *said("yes"), previous=f"msg_of_{got[name]}_0000000")
        what = "unchanged" if got[name] == name else "messages"
        answered(world, later, f"msg_next_{name}_00000", Fact("compared", what, "body diagnostics"))
        victims.append([lines[each].verdict().victim for each in ("one", "two")])

    ids = [f"x{lines[each].number}" for each in ("two", "one")]
    assert [lines[each].verdict().kind for each in ("one", "two")] == ["suspect", "suspect"]
    assert victims == [["unknown", ""], ["unknown", "unknown"], ["unknown", "unknown"], ids]


def test_at_another_account_nothing_is_compared() -> None:
    world = known()
    one, _ = pair(world)
    later = asked(world, "one", *said("yes"), previous="msg_of_two_00000000")
    later.watch._ctx.entry = later.watch._ctx.entry.__class__("other", account="b")
    answered(world, later, "msg_next_0000000000", Fact("compared", "messages", "body diagnostics"))

    assert one.verdict().findings == ()


def test_a_host_that_finds_differences_everywhere_is_suspected_once() -> None:
    world = known()
    kinds = []
    for number in range(30):
        first, other = asked(world, f"n {number}"), asked(world, f"m {number}")
        answered(world, first, f"msg_a{number:019}")
        answered(world, other, f"msg_b{number:019}")
        later = asked(world, f"n {number}", *said("yes"), previous=f"msg_a{number:019}")
        answered(world, later, f"msg_c{number:019}", Fact("compared", "messages", "body diagnostics"))
        kinds.append(first.verdict().kind)

    assert kinds.count("suspect") == 1
    assert "crosstalk" not in kinds


def test_an_answer_is_not_suspected_for_the_sake_of_one_that_is_so_itself() -> None:
    """Else a host that begins to find differences sets off a chain, as far as answers were under way at once."""
    world = known(16)
    one, two = asked(world, "one"), asked(world, "two")
    answered(world, one, "msg_of_one_00000000")
    three = asked(world, "three")
    answered(world, two, "msg_of_two_00000000")
    answered(world, three, "msg_of_three_000000")
    for name, answer in (("one", "of_one_00000000"), ("two", "of_two_00000000"), ("three", "of_three_000000")):
        later = asked(world, name, *said("yes"), previous=f"msg_{answer}")
        answered(world, later, f"msg_next_{name}_00000", Fact("compared", "messages", "body diagnostics"))

    assert [line.verdict().kind for line in (one, two, three)] == ["suspect", "suspect", "unverifiable"]


def test_reasoning_that_is_bound_to_another_conversation_says_so_too() -> None:
    world = known()
    one, two = asked(world, "one"), asked(world, "two")
    answered(world, one, "msg_of_two_00000000", Fact("token", "sealed-by-two", "signature"))
    answered(world, two, "msg_of_one_00000000", Fact("token", "sealed-by-one", "signature"))
    thought = {"role": "assistant", "content": [{"type": "thinking", "thinking": "", "signature": "sealed-by-two"}]}
    later = asked(world, "one", thought, user("go on"), previous="msg_of_two_00000000")
    for _ in range(8):
        later.watch._ctx.memory.habits.kept("http://host", "binding", world.now)  # type: ignore[union-attr]
    answered(world, later, "msg_next_0000000000", Fact("bound", ((1, 0),), "body input_transformations"))

    assert (one.verdict().kind, one.verdict().victim) == ("suspect", f"x{two.number}")


@pytest.mark.parametrize(
    ("account", "after", "victim"), [("", 0.0, "x-other"), ("another", 0.0, "unknown"), ("", 60.0, "unknown")]
)
def test_a_request_of_another_instance_that_was_under_way_may_be_the_victim(
    account: str, after: float, victim: str
) -> None:
    world = known(24)
    mine = asked(world, "one")
    entry = mine.watch._ctx.entry
    answered(world, mine, "msg_of_other_000000")
    other = Entry("x-other", "pb1-other", account or entry.account, at=world.now + after)
    world.memory.elsewhere.asked(other)
    later = asked(world, "one", *said("yes"), previous="msg_of_other_000000")
    answered(world, later, "msg_next_0000000000", Fact("compared", "messages", "body diagnostics"))

    assert (mine.verdict().kind, mine.verdict().victim) == ("suspect", victim)
    assert [each.exchange for each in later.watch.record.elsewhere] == ["x-other"] * (victim == "x-other")


def test_who_asked_alike_at_another_instance_is_no_victim() -> None:
    world = known(24)
    mine = asked(world, "one")
    answered(world, mine, "msg_of_other_000000")
    world.memory.elsewhere.asked(replace(mine.watch._ctx.entry, exchange="x-other"))
    later = asked(world, "one", *said("yes"), previous="msg_of_other_000000")
    answered(world, later, "msg_next_0000000000", Fact("compared", "messages", "body diagnostics"))

    assert mine.verdict().victim == "unknown"


def test_an_attestation_of_another_instance_excludes_nobody_since_verify_cannot_know_of_it() -> None:
    world = known(24)
    lines = {name: asked(world, name) for name in ("one", "two", "three")}
    for name, got in (("one", "two"), ("two", "one"), ("three", "three")):
        answered(world, lines[name], f"msg_of_{got}_0000000")
    world.memory.late.adopt(LateReport(f"x{lines['three'].number}", "x-elsewhere", None, world.now))
    later = asked(world, "one", *said("yes"), previous="msg_of_two_0000000")
    answered(world, later, "msg_next_0000000000", Fact("compared", "messages", "body diagnostics"))

    assert lines["three"].verdict().kind == "clean"
    assert (lines["one"].verdict().kind, lines["one"].verdict().victim) == ("suspect", "unknown")


def test_of_so_many_under_way_that_not_all_are_known_none_is_named() -> None:
    world = known(24)
    lines = [asked(world, f"n {number}") for number in range(BESIDE + 2)]
    for number, line in enumerate(lines):
        answered(world, line, f"msg_{number ^ 1:020}")
    for number in range(2, BESIDE + 2):
        world.memory.late.attested(f"x{lines[number].number}", "x-later", world.now)
    later = asked(world, "n 0", *said("yes"), previous=f"msg_{1:020}")
    answered(world, later, "msg_next_0000000000", Fact("compared", "messages", "body diagnostics"))

    assert (lines[0].verdict().kind, lines[0].verdict().victim) == ("suspect", "unknown")


@pytest.mark.parametrize("last", ["one", "two"])
@pytest.mark.parametrize("compared", ["unchanged", "messages", "system"])
def test_where_two_received_one_answer_each_next_turn_tells_of_its_own(last: str, compared: str) -> None:
    world = known(24)
    one, two = asked(world, "one"), asked(world, "two")
    for line in (two, one) if last == "one" else (one, two):
        answered(world, line, "msg_of_two_00000000")
    later = asked(world, "two", *said("yes"), previous="msg_of_two_00000000")
    answered(world, later, "msg_next_0000000000", Fact("compared", compared, "body diagnostics"))

    told = {finding.detector for finding in two.verdict().findings}
    assert "next-turn" not in {finding.detector for finding in one.verdict().findings}
    assert ("attested" in two.watch.judgement.matched, "next-turn" in told) == (
        compared == "unchanged",
        compared != "unchanged",
    )
    assert "attested" not in one.watch.judgement.matched


def test_a_turn_follows_one_of_its_thread_though_its_history_is_another() -> None:
    world = known(24)
    world.thread = "thread"
    first = asked(world, "one")
    answered(world, first, "msg_of_one_00000000")
    world.now += 1
    later = world.send(
        messages=[user("go on")], system=SYSTEM, diagnostics={"previous_message_id": "msg_of_one_00000000"}
    )
    answered(world, later, "msg_next_0000000000", Fact("compared", "unchanged", "body diagnostics"))

    assert first.verdict().kind == "clean"


def thought(seal: str) -> list[dict[str, Any]]:
    block = {"type": "thinking", "thinking": "", "signature": seal}
    return [{"role": "assistant", "content": [block]}, user("go on")]


def sealed(world: World, name: str, seal: str, answer: str) -> Line:
    line = asked(world, name)
    answered(world, line, answer, Fact("token", seal, "signature"))
    return line


BOUND = Fact("bound", ((1, 0),), "body input_transformations")


def test_a_host_keeps_the_rule_where_it_is_given_reasoning_of_its_own_and_says_nothing_of_it() -> None:
    world = known(0)
    for number, seal in enumerate(["seal-0", "seal-1", "never-seen", ""]):
        if number < 2:
            sealed(world, f"n {number}", seal, f"msg_a{number:019}")
        turns = thought(seal) if seal else said("yes")
        later = asked(world, f"n {number}", *turns, previous=f"msg_a{number:019}")
        answered(world, later, f"msg_b{number:019}")

    standing = world.memory.habits.standing("http://host", "binding")
    assert (standing.kept, standing.broken) == (2, 0)


def test_a_block_that_stays_in_the_history_breaks_the_rule_once() -> None:
    world = known(0)
    for number in range(9):
        sealed(world, f"n {number}", f"seal-{number}", f"msg_a{number:019}")
        answered(
            world, asked(world, f"n {number}", *thought(f"seal-{number}"), previous=f"msg_a{number:019}"), f"m{number}"
        )
    one = sealed(world, "one", "sealed-by-two", "msg_of_two_00000000")
    for number in range(4):
        later = asked(world, "one", *thought("sealed-by-two"), *said("yes") * number, previous="msg_of_two_00000000")
        answered(world, later, f"msg_c{number:019}", BOUND)

    standing = world.memory.habits.standing("http://host", "binding")
    assert (standing.kept, standing.broken) == (9, 1)
    assert one.verdict().kind == "suspect"


def test_reasoning_that_the_client_s_own_edits_unbind_is_no_break_and_keeps_nothing() -> None:
    world = known(0)
    one = sealed(world, "one", "seal", "msg_of_one_00000000")
    later = world.send(
        messages=[user("edited"), *thought("seal")],
        system=SYSTEM,
        diagnostics={"previous_message_id": "msg_of_one_00000000"},
    )
    answered(world, later, "msg_next_0000000000", BOUND)

    standing = world.memory.habits.standing("http://host", "binding")
    assert (standing.kept, standing.broken, one.verdict().findings) == (0, 0, ())


def test_a_suspicion_is_withdrawn_where_all_that_were_under_way_received_their_own() -> None:
    world = known(12)
    asked(world, "doubted")
    one, two = asked(world, "one"), asked(world, "two")
    broken = world.lines[-3]
    for line, answer in ((broken, "0"), (one, "1"), (two, "2")):
        answered(world, line, f"msg_first_{answer}_000000")
    kinds = []
    # the first break counts by itself, since the host never found a difference before
    for name, answer, what in (
        ("doubted", "0", "messages"), ("one", "1", "unchanged"), ("two", "2", "unchanged"),
    ):  # fmt: skip
        later = asked(world, name, *said("yes"), previous=f"msg_first_{answer}_000000")
        answered(world, later, f"msg_next_{answer}_0000000", Fact("compared", what, "body diagnostics"))
        kinds.append((broken.verdict().kind, broken.verdict().victim))
    assert kinds == [("suspect", "unknown"), ("suspect", f"x{two.number}"), ("suspect", "unknown")]

    for number in range(RUN_AFTER_BREAK):  # until it is not in doubt, though not in the run that it needs
        line = asked(world, f"w {number}")
        answered(world, line, f"msg_w{number:019}")
    three, four = asked(world, "three"), asked(world, "four")
    answered(world, three, "msg_first_3_000000")
    answered(world, four, "msg_first_4_000000")
    kinds = []
    for name, answer, what in (("three", "3", "messages"), ("four", "4", "unchanged")):
        later = asked(world, name, *said("yes"), previous=f"msg_first_{answer}_000000")
        answered(world, later, f"msg_next_{answer}_0000000", Fact("compared", what, "body diagnostics"))
        kinds.append(three.verdict().kind)
    changes = world.memory.late.amendments(f"x{world.lines[-1].number}")

    assert kinds == ["suspect", "unverifiable"]
    assert [(each.exchange, each.was, each.verdict) for each in changes] == [
        (f"x{four.number}", "unverifiable", "clean"), (f"x{three.number}", "suspect", "unverifiable"),
    ]  # fmt: skip


@pytest.mark.parametrize(("answer", "kept"), [
    ("msg_" + "x" * 508, True), ("msg_" + "x" * 509, False), ("\ud800", False), ("a\nb", False),
])  # fmt: skip
def test_an_id_that_no_request_should_hold_names_no_answer(answer: str, kept: bool) -> None:
    world = known()
    world.thread = "thread"
    answered(world, asked(world, "one"), answer)

    assert world.memory.sent.last("a", "thread") == (answer if kept else "")


def mismatch(*names: str, code: str = "thread_fingerprint_mismatch") -> Fact:
    message = f"This thread cannot be continued: differing field(s): {', '.join(names)}. Send the stored values."
    raw = {"type": "invalid_request_error", "message": message, "details": {"error_code": code}}
    return Fact("error", {"code": "", "type": "invalid_request_error", "message": message, "raw": raw}, "body")


def begun(world: World, name: str, answer: str, **members: Any) -> Line:
    """Begin a message thread and let it have *answer*."""
    world.thread = name
    line = world.send(messages=[user(f"first of {name}")], thread={"type": "create"}, **members)
    answered(world, line, answer)
    return line


def goes_on(world: World, name: str, previous: str, *facts: Fact, status: int = 400, **members: Any) -> Line:
    world.thread = name
    line = world.send(messages=[user("go on")], thread={"type": "continue", "previous_message_id": previous}, **members)
    for fact in (Fact("id", f"msg_after_{line.number}", "body id"),) if status == 200 else facts:
        line.watch.see(fact, status, world.now)
    line.watch.end(world.now)
    line.watch.judgement.told = line.verdict()
    return line


def in_threads(conversations: int = 9) -> World:
    """Return a world whose host went on with so many threads."""
    world = World("none", "anthropic", False, 1)
    for number in range(conversations):
        begun(world, f"w {number}", f"msg_w{number:019}")
        goes_on(world, f"w {number}", f"msg_w{number:019}", status=200)
    return world


MEMBERS = {"system": SYSTEM, "output_config": {"effort": "high"}}


@pytest.mark.parametrize("turns", [0, 2])
@pytest.mark.parametrize(("names", "members", "kind"), [
    (["model"], {}, "suspect"),
    (["output_config"], {"output_config": {"effort": "high"}}, "suspect"),
    (["model", "output_config"], {"output_config": {"effort": "high"}}, "suspect"),
    (["model"], {"model": "sim-small"}, "unverifiable"),  # the client changed it itself
    (["output_config"], {"output_config": {"effort": "low"}}, "unverifiable"),
    (["model", "output_config"], {"output_config": {"effort": "low"}}, "unverifiable"),
    (["system"], {}, "unverifiable"),  # left to the thread
    (["betas"], {}, "unverifiable"),  # nothing that is sent
    (["metadata"], {"metadata": {"user_id": "u"}}, "unverifiable"),  # ours may be in it
])  # fmt: skip
def test_a_thread_with_other_members_than_ours_says_that_the_answer_was_another_s(
    turns: int, names: list[str], members: dict[str, Any], kind: str
) -> None:
    world = in_threads()
    line = begun(world, "one", "msg_of_two_00000000", **MEMBERS)
    for _ in range(turns):
        line = goes_on(world, "one", line.watch._ctx.answer_id, status=200)
    later = goes_on(world, "one", line.watch._ctx.answer_id, mismatch(*names), **members)

    assert line.verdict().kind == kind
    assert later.verdict().kind == "unverifiable"


@pytest.mark.parametrize(("fact", "previous"), [
    (mismatch("model", code="thread_already_continued"), "msg_of_two_00000000"),
    (mismatch(), "msg_of_two_00000000"),
    (mismatch("model"), "msg_of_nobody_here"),
    (Fact("error", {"code": "", "type": "", "message": "differing field(s): model", "raw": {}}, "body"),
     "msg_of_two_00000000"),
])  # fmt: skip
def test_other_errors_of_threads_and_unknown_ones_say_nothing(fact: Fact, previous: str) -> None:
    world = in_threads()
    line = begun(world, "one", "msg_of_two_00000000", **MEMBERS)
    goes_on(world, "one", previous, fact)

    assert line.verdict().findings == ()


def test_a_whole_history_after_a_thread_is_compared_with_all_that_the_thread_was_sent() -> None:
    for edited, kind in ((False, "suspect"), (True, "unverifiable")):
        world = known(16)
        first = begun(world, "one", "msg_of_one_00000000", system=SYSTEM)
        second = goes_on(world, "one", first.watch._ctx.answer_id, status=200)
        world.thread = "one"
        whole = [user("first of one"), *said("yes"), *said("then")]
        whole[2] = user("edited") if edited else whole[2]
        replayed = world.send(
            messages=whole, system=SYSTEM, thread={"type": "create"},
            diagnostics={"previous_message_id": second.watch._ctx.answer_id},
        )  # fmt: skip
        answered(world, replayed, "msg_next_0000000000", Fact("compared", "messages", "body diagnostics"))

        assert (second.verdict().kind, first.verdict().kind) == (kind, "unverifiable")


@pytest.mark.parametrize(("conversations", "kind"), [(9, "suspect"), (2, "unverifiable")])
def test_a_host_earns_its_standing_where_it_goes_on_with_threads(conversations: int, kind: str) -> None:
    world = in_threads(conversations)
    line = begun(world, "one", "msg_of_two_00000000")
    goes_on(world, "one", "msg_of_two_00000000", mismatch("model"))

    assert line.verdict().kind == kind
