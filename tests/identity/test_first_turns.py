"""First turns: which conversations began alike, and what each is called."""

from __future__ import annotations

from dataclasses import replace

import pytest

from patchbay.body import Body
from patchbay.identity.first_turns import FirstTurns
from patchbay.identity.history import conversation_of
from patchbay.identity.lineage import Lineage
from patchbay.identity.seeds import Seeds
from patchbay.identity.turns import Conversation
from patchbay.ledger import Entry, Ledger

from .traffic import CHAT, MESSAGES, Teller, answered, chat, request

ENTRY = Entry("", account="a", affinity="x", thread="t", at=0.0)
LONG = "A long unique answer about turbines, gearboxes and rotor blades number {}"


def made(ttl: float = 60) -> FirstTurns:
    seeds = Seeds(b"k" * 32)
    return FirstTurns(seeds, Lineage(seeds, Ledger()), ttl)


def talk(*texts: str) -> Conversation:
    return conversation_of(Body(request(CHAT, chat(*texts)).body.raw))


def test_a_mark_is_taken_from_its_first_turn_on_and_free_again_if_that_was_not_answered():
    first_turns = made()
    first_turns.hold(["m"])
    assert first_turns.is_taken(b"", "m", 0)

    first_turns.release(["m"])
    assert not first_turns.is_taken(b"", "m", 0)


def test_a_mark_that_is_held_twice_is_free_after_both():
    first_turns = made()
    first_turns.hold(["m"])
    first_turns.hold(["m"])
    first_turns.release(["m"])
    assert first_turns.is_taken(b"", "m", 0)

    first_turns.release(["m"])
    assert not first_turns.is_taken(b"", "m", 0)


def test_a_mark_of_several_names_none_of_them_and_says_where_the_last_began():
    first_turns = made()
    first_turns.note(b"", ["m"], ENTRY, 0)
    assert first_turns.find(b"", "m", 1) == ENTRY

    first_turns.note(b"", ["m"], replace(ENTRY, affinity="y", account="b"), 1)
    found = first_turns.find(b"", "m", 2)
    assert found is not None
    assert (found.affinity, first_turns.account_near(b"", ["other", "m"], 2)) == ("", "b")


def test_the_name_of_a_conversation_under_way_is_kept():
    first_turns = made(ttl=60)
    first_turns.note(b"", ["x"], ENTRY, 0)
    for now in range(0, 300, 20):
        first_turns.renew(b"", ENTRY, now)

    assert first_turns.is_taken(b"", "x", 339)
    assert not first_turns.is_taken(b"", "x", 400)


def test_what_grows_out_of_an_opening_or_a_history_is_found_by_the_longer_one():
    first_turns = made()
    first_turns.note(b"", [first_turns.mark_of(b"", talk("a"))], ENTRY, 0)
    first_turns.note_history(b"", talk("a", "b"), replace(ENTRY, affinity="y"), 0)

    by_opening = first_turns.find_history(b"", talk("a", "else", "c"), 1)
    by_history = first_turns.find_history(b"", talk("a", "b", "c"), 1)
    assert (by_opening, by_history) == (replace(ENTRY, thread=""), replace(ENTRY, affinity="y"))
    assert first_turns.find_history(b"", talk("other", "b", "c"), 1) is None


def test_an_opening_is_no_growth_of_itself():
    first_turns = made()
    first_turns.note(b"", [first_turns.mark_of(b"", talk("a", "b", "c"))], ENTRY, 0)

    assert first_turns.find_history(b"", talk("a", "b", "c"), 1) is None


# -- as the identifier uses it ----------------------------------------------------------------------------------------


def test_a_first_turn_that_was_not_answered_is_asked_again_under_its_name():
    """I1: a retry is the same conversation."""
    identifier = Teller().identifier
    asked = request(CHAT, chat("hi"))
    first = identifier.identify(asked, 0, "one")
    identifier.close(first)

    assert identifier.identify(asked, 1, "two").affinity == first.affinity


def test_equal_first_turns_under_way_are_two_conversations():
    """I1: that of a hundred at once none has the name of another."""
    identifier = Teller().identifier
    found = [identifier.identify(request(CHAT, chat("hi")), 0, str(number)) for number in range(100)]

    assert len({identity.affinity for identity in found}) == 100
    assert len({identity.thread for identity in found}) == 100


def test_a_request_that_binds_nothing_takes_no_name():
    identifier = Teller().identifier
    counting = request(MESSAGES + "/count_tokens", chat("hi"))
    beside = identifier.identify(counting, 0, "one")

    assert not beside.binds
    assert identifier.identify(request(MESSAGES, chat("hi")), 0, "two").affinity == beside.affinity


def test_examples_before_the_first_question_are_no_history_of_anybody():
    """I1: a few-shot application."""
    teller = Teller()
    shots = ("ticket one", "bug", "ticket two", "feature")
    found = [
        teller.serve(CHAT, chat(*shots, f"ticket {number}"), answer=answered("question")) for number in range(10, 20)
    ]
    again = [
        teller.ask(CHAT, chat(*shots, f"ticket {number}", "question", "why?")).affinity for number in range(10, 20)
    ]

    assert len({identity.affinity for identity in found}) == 10
    assert again == [identity.affinity for identity in found]


def test_a_first_answer_edited_by_hand_is_still_that_of_the_one_conversation_that_began_so():
    teller = Teller()
    first = teller.serve(CHAT, chat("hi"), answer=answered("Hello!"))

    assert teller.ask(CHAT, chat("hi", "Good day.", "go")).affinity == first.affinity


def test_where_many_began_so_an_unknown_answer_names_none_of_them():
    """I1: an opening under which many histories begin names none of them."""
    teller = Teller()
    known = [
        teller.serve(CHAT, chat("hi"), answer=answered(f"Hello {number}!"), account="b").affinity for number in range(5)
    ]

    assert teller.ask(CHAT, chat("hi", "Good day.", "go")).affinity not in known


def test_equal_answers_to_equal_openings_are_told_apart_by_what_comes_next():
    """I1: two histories that are one so far may be either's, so each goes on under a name of its own."""
    teller = Teller()
    for _ in range(2):
        teller.serve(CHAT, chat("hi"), answer=answered("Hello!"))
    one, two = (teller.serve(CHAT, chat("hi", "Hello!", text), answer=answered(text)) for text in ("go", "stop"))

    assert one.affinity != two.affinity
    assert teller.ask(CHAT, chat("hi", "Hello!", "go", "go", "on")).affinity == one.affinity
    assert teller.ask(CHAT, chat("hi", "Hello!", "stop", "stop", "on")).affinity == two.affinity


@pytest.mark.parametrize(
    ("path", "headers", "more"),
    [
        (MESSAGES, {}, {"metadata": {"user_id": "u"}}), (CHAT, {"X-Session-ID": "dev"}, {}),
        (CHAT, {}, {"session_id": "main"}), (CHAT, {}, {"prompt_cache_key": "app"}),
    ],
)  # fmt: skip
def test_a_common_id_names_the_first_history_under_it_and_the_others_begin_near(path, headers, more):
    """I1: an id or a user under which many histories begin names none of them."""
    teller = Teller()
    first_turns = [f"question {number}" for number in range(5)]
    answer = {
        "type": "message", "id": "msg_1", "role": "assistant", "content": [{"type": "text", "text": "Yes."}],
        **answered("Yes."),
    }  # fmt: skip
    found = [teller.serve(path, chat(text, **more), headers, answer, account="b") for text in first_turns]
    again = [teller.ask(path, chat(text, "Yes.", "and?", **more), headers) for text in first_turns]

    assert len({identity.affinity for identity in found}) == 5
    assert [identity.near for identity in found[1:]] == ["b"] * 4
    assert [identity.affinity for identity in again] == [identity.affinity for identity in found]


def test_a_user_in_front_of_a_rewritten_history_names_the_one_conversation_it_has():
    teller = Teller()
    user = {"metadata": {"user_id": "u"}}
    first = teller.serve(MESSAGES, chat("a", **user), answer=[])
    assert teller.ask(MESSAGES, chat("b", "unknown", "c", **user)).affinity == first.affinity


def test_what_is_released_takes_no_memory():
    first_turns = made(ttl=60)
    first_turns.hold(["m", "m", "n"])
    first_turns.release(["m", "n"])
    assert first_turns.is_taken(b"", "m", 0)
    assert not first_turns.is_taken(b"", "n", 0)

    first_turns.release(["m"])
    assert not first_turns._held


def test_a_fresh_affinity_is_that_of_its_exchange():
    first_turns = made(ttl=60)
    fresh = [first_turns.fresh_affinity(b"", "n", exchange) for exchange in ("", "", "x", "x", "y")]

    assert len(set(fresh)) == 4
    assert fresh[2] == fresh[3]


# -- bounds, and what is stored ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("turns", "place", "is_found"),
    [(1, 1, False), (2, 1, True), (200, 64, True), (200, 65, False), (200, 135, False), (200, 136, True),
     (200, 199, True), (200, 200, False)],
)  # fmt: skip
def test_64_turns_at_either_end_may_be_the_last_of_a_known_history(turns: int, place: int, is_found: bool):
    first_turns = made()
    texts = [f"turn {number}" for number in range(turns)]
    first_turns.note_history(b"", talk(*texts[:place]), ENTRY, 0)

    assert (first_turns.find_history(b"", talk(*texts), 1) is not None) == is_found


@pytest.mark.parametrize(("now", "at"), [(14, 0), (15, 15)])
def test_a_name_is_renewed_after_a_quarter_of_its_life(now: float, at: float):
    first_turns = made(ttl=60)
    first_turns.note(b"", ["x"], ENTRY, 0)
    first_turns.renew(b"", ENTRY, now)

    found = first_turns.find(b"", "x", now)
    assert found is not None
    assert found.at == at


def test_a_name_that_nothing_began_under_is_not_renewed():
    first_turns = made()
    first_turns.renew(b"", ENTRY, 30)

    assert not first_turns.is_taken(b"", "x", 30)


def test_stored_marks_and_fresh_affinities_never_change():
    first_turns = made()

    assert first_turns.mark_of(b"scope", talk("hi"))[:16] == "771f04604021924e"
    assert first_turns.fresh_affinity(b"scope", "name", "exchange")[:16] == "12990a85291eb226"


def test_a_mark_that_has_expired_is_another_conversation_s_own():
    first_turns = made(ttl=60)
    first_turns.note(b"", ["m"], ENTRY, 1)
    first_turns.note(b"", ["m"], replace(ENTRY, affinity="y"), 100)

    found = first_turns.find(b"", "m", 101)
    assert found is not None
    assert found.affinity == "y"
