"""Conversations that nobody names: where one without a home is warm, and what a crowd that begins alike does."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from patchbay.accounts.pool import CROWD, Choice
from patchbay.values import Identity

from .test_pool import ask, pool, serve, served_by, three

OPENING = Identity(affinity="hi", tier="content", strength="guess")


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


def test_a_few_first_turns_that_begin_alike_stay_together():
    accounts = three()

    assert len({served_by(accounts, ask(identity=OPENING)) for _ in range(CROWD)}) == 1


def test_a_crowd_that_begins_alike_is_spread_over_the_accounts():
    accounts = three()
    load = Counter(served_by(accounts, ask(identity=OPENING)) for _ in range(300))

    assert max(load.values()) <= 1.35 * 100


def test_a_crowd_that_comes_at_once_is_spread_too():
    accounts = three()
    under_way = [accounts.choose(ask(identity=OPENING), 0.0) for _ in range(300)]

    assert all(isinstance(choice, Choice) for choice in under_way)
    assert max(Counter(choice.account.id for choice in under_way).values()) <= 1.35 * 100


def test_who_grows_out_of_the_crowd_is_no_part_of_it():
    accounts = three()
    home = served_by(accounts, ask(identity=OPENING))
    for _ in range(50):
        serve(accounts, ask(identity=OPENING))

    assert served_by(accounts, ask(identity=replace(OPENING, strength="derived"))) == home


def test_one_account_alone_takes_the_whole_crowd():
    accounts = pool(*three()._config.accounts[:1])

    assert {served_by(accounts, ask(identity=OPENING)) for _ in range(40)} == {"a"}
