"""Conversations that nobody names: where one without a home is warm."""

from __future__ import annotations

from patchbay.values.decision import Identity

from .test_pool import ask, serve, served_by, three


def test_a_conversation_without_a_home_goes_where_its_last_answer_came_from():
    for name in "abc":
        chosen = serve(three(), ask(identity=Identity(affinity="s", home=name)))

        assert (chosen.account.id, chosen.binding) == (name, "inherited")


def test_there_it_is_at_home_from_then_on():
    accounts = three()
    away = served_by(accounts, ask(identity=Identity(affinity="s")))
    others = [name for name in "abc" if name != away]

    assert served_by(accounts, ask(identity=Identity(affinity="s", home=others[0]))) == away


def test_a_side_call_goes_there_too_and_binds_nothing():
    accounts = three()
    beside = Identity(affinity="s", home="c", binds=False)

    assert served_by(accounts, ask(identity=beside)) == "c"
    assert served_by(accounts, ask(identity=Identity(affinity="s", home="b"))) == "b"


def test_an_account_that_cannot_serve_is_no_place_to_go_back_to():
    accounts = three()
    serve(accounts, ask(session="else", pin="c"), kind="rate", until=90)

    assert served_by(accounts, ask(identity=Identity(affinity="s", home="c")), now=1) != "c"


def test_a_conversation_that_begins_like_another_goes_to_its_account_while_that_has_room():
    """I1: a first answer asked for again stays where it was; a fleet does not."""
    accounts = three()
    alike = [Identity(affinity=f"s{number}", near="a", opening_marks=("hi",)) for number in range(30)]
    where = [served_by(accounts, ask(identity=identity)) for identity in alike]

    assert where[:5] == ["a"] * 5
    assert where.count("a") <= 15


def test_without_an_answer_of_its_own_it_may_go_elsewhere_and_with_one_it_may_not():
    accounts = three()
    for number in range(9):
        assert served_by(accounts, ask(identity=Identity(affinity=f"s{number}", home="a"))) == "a"
    assert served_by(accounts, ask(identity=Identity(affinity="new", near="a", opening_marks=("hi",)))) != "a"


def test_what_quotes_an_answer_goes_to_its_account_whatever_the_load():
    """I2: only what merely began alike has to find room."""
    accounts = three()
    quoting = [
        Identity(affinity=f"s{number}", home="a", near="b", opening_marks=(f"s{number}",)) for number in range(30)
    ]

    assert {served_by(accounts, ask(identity=identity)) for identity in quoting} == {"a"}
