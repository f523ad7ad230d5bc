"""The ledger is bounded, forgets, and keeps kinds apart."""

from __future__ import annotations

from patchbay.ledger import Entry, Ledger, LedgerRow


def test_what_was_noted_is_found_until_it_is_too_old() -> None:
    ledger = Ledger(ttl=10)
    ledger.note("request", "id-1", Entry("x"), now=0)

    assert ledger.find("request", "id-1", now=9) == Entry("x")
    assert ledger.find("answer", "id-1", now=9) is None
    assert ledger.find("request", "id-1", now=10) is None


def test_noting_again_gives_back_what_stood_there() -> None:
    ledger = Ledger(ttl=10)

    assert ledger.note("answer", "a", Entry("x"), now=0) is None
    assert ledger.note("answer", "a", Entry("y"), now=5) == Entry("x")
    assert ledger.note("answer", "a", Entry("z"), now=20) is None


def test_the_longest_unused_leave_first() -> None:
    ledger = Ledger(limit=2)
    for token in ("a", "b"):
        ledger.note("k", token, Entry(token), now=0)
    ledger.find("k", "a", now=1)
    ledger.note("k", "c", Entry("c"), now=2)

    assert len(ledger) == 2
    assert ledger.find("k", "b", now=3) is None
    assert ledger.find("k", "a", now=3) == Entry("a")


def test_it_knows_which_kinds_it_holds():
    ledger = Ledger(limit=2, ttl=10)
    ledger.note("one", "a", Entry("x"), now=0)
    ledger.note("one", "a", Entry("y"), now=0)
    assert ledger.holds("one")
    assert not ledger.holds("other")

    ledger.note("two", "a", Entry("x"), now=0)
    ledger.adopt(LedgerRow("two", "b", 20, Entry("x", at=1)), now=0)
    assert not ledger.holds("one")  # pushed out

    ledger.find("two", "a", now=30)
    ledger.find("two", "b", now=30)
    assert not ledger.holds("two")  # too old


def test_a_token_is_dropped_by_its_own_exchange_alone() -> None:
    ledger = Ledger()
    ledger.note("answer", "a", Entry("x"), now=0)
    ledger.drop("answer", "a", "y")
    ledger.drop("answer", "unknown", "x")
    assert ledger.find("answer", "a", now=1) == Entry("x")

    ledger.drop("answer", "a", "x")
    assert ledger.find("answer", "a", now=1) is None
    assert not ledger.holds("answer")


def test_changes_and_rows_are_those_of_the_watched_kinds() -> None:
    ledger = Ledger(ttl=10)
    ledger.note("one", "early", Entry("x"), now=0)
    ledger.watch(["one"])
    ledger.note("one", "a", Entry("y"), now=1)
    ledger.note("one", "a", Entry("z"), now=2)
    ledger.note("two", "b", Entry("x"), now=2)
    ledger.note("one", "gone", Entry("x"), now=2)
    ledger.drop("one", "gone", "x")

    early, told = LedgerRow("one", "early", 10, Entry("x")), LedgerRow("one", "a", 12, Entry("z"))
    assert ledger.changes() == [told]
    assert ledger.changes() == []
    assert ledger.all() == [early, told]


def test_a_row_of_another_instance_counts_when_it_is_newer() -> None:
    ledger = Ledger(ttl=10)
    ledger.watch(["k"])
    ledger.note("k", "a", Entry("ours", at=5), now=5)
    ledger.changes()
    for told in (Entry("older", at=4), Entry("same", at=5)):
        ledger.adopt(LedgerRow("k", "a", 15, told), now=6)
    ledger.adopt(LedgerRow("k", "b", 6, Entry("expired", at=9)), now=6)
    assert [row.entry.exchange for row in ledger.all()] == ["ours"]

    ledger.adopt(LedgerRow("k", "a", 16, Entry("longer", at=5)), now=6)
    assert ledger.find("k", "a", now=15.9) == Entry("longer", at=5)
    ledger.adopt(LedgerRow("k", "a", 12, Entry("newer", at=6)), now=6)
    assert ledger.find("k", "a", now=11) == Entry("newer", at=6)
    assert ledger.changes() == []  # told by others, so not told to others


def test_an_adopted_row_is_counted_once() -> None:
    ledger = Ledger()
    for exchange in ("x", "y"):
        ledger.adopt(LedgerRow("k", "a", 10, Entry(exchange, at=len(exchange))), now=0)
    assert ledger.holds("k")

    ledger.drop("k", "a", "x")
    assert not ledger.holds("k")


def test_a_new_limit_holds_from_the_next_note_on() -> None:
    ledger = Ledger(limit=9, ttl=10)
    for token in "abc":
        ledger.note("k", token, Entry(token), now=0)
    ledger.resize(2)
    assert len(ledger) == 3

    ledger.note("k", "d", Entry("d"), now=0)
    assert len(ledger) == 2
    assert ledger.find("k", "d", now=9) == Entry("d")
    assert ledger.find("k", "d", now=10) is None
    assert ledger.note("k", "e", Entry("e"), now=0, ttl=5) is None
    assert ledger.find("k", "e", now=5) is None


def test_a_token_lives_an_hour_unless_told_otherwise() -> None:
    ledger = Ledger()
    ledger.note("k", "a", Entry("x"), now=0)

    assert ledger.find("k", "a", now=3599.9) == Entry("x", at=0.0, seen=0.0)
    assert ledger.find("k", "a", now=3600.0) is None
    assert ledger._entries.limit == 100_000


def test_a_kind_is_counted_once_for_each_token() -> None:
    ledger = Ledger()
    for at in (1.0, 2.0):
        ledger.adopt(LedgerRow("k", "a", 10 + at, Entry("x", at=at)), now=0)
    assert ledger._entries.counts == {"k": 1}
