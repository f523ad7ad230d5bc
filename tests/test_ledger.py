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
