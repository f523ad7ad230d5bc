"""The findings about one answer, and what a later answer says about it: told once, at the answer that showed it."""

from __future__ import annotations

from typing import Any, cast

import pytest

from patchbay.crosstalk import judgement as judging
from patchbay.crosstalk.judgement import FINDINGS, Judgement, LateFindings
from patchbay.ledger import Entry
from patchbay.values.decision import Finding, Verdict

ENTRY = Entry("mine", "pb1-mine", "account", "session")


def finding(received: str = "theirs", strength: str = "strong", victim: str = "unknown") -> Finding:
    return Finding("next-turn", "attestation", cast("Any", strength), "where", "mine", received, victim, False, "")


def ended(late: LateFindings, exchange: str = "mine") -> Judgement:
    judged = Judgement(Entry(exchange, f"pb1-{exchange}", "account", "session"))
    late.note(judged)
    judged.told = judged.verdict()
    return judged


@pytest.mark.parametrize(
    ("before", "after", "is_news"),
    [
        (finding(), finding(), False),
        (finding(), finding("other"), True),
        (finding(), finding(victim="x"), True),
        (finding(victim="x"), finding(victim="y"), True),
        (finding(strength="weak"), finding(), True),
        (finding(), finding(strength="weak"), False),
        (finding(strength="weak", victim="x"), finding(strength="weak", victim="x"), False),
    ],
)
def test_the_same_finding_is_news_where_it_is_stronger_or_names_another(
    before: Finding, after: Finding, is_news: bool
) -> None:
    judged = Judgement(ENTRY)
    assert judged.add(before)
    judged.verdict()

    assert judged.add(after) is is_news
    assert (after if is_news else before) in judged.verdict().findings


def test_the_findings_of_one_answer_are_bounded_and_a_known_one_may_still_change() -> None:
    judged = Judgement(ENTRY)
    assert all(judged.add(finding(str(number))) for number in range(FINDINGS))

    assert not judged.add(finding("one more"))
    assert judged.add(finding("0", victim="x"))
    assert len(judged.verdict().findings) == FINDINGS


def test_what_is_found_later_changes_the_verdict_and_is_told_once() -> None:
    late = LateFindings()
    judged = ended(late)

    assert late.found("mine", finding(victim="other"), "next", 7.0)

    (change,) = late.amendments("next")
    assert (change.time, change.exchange, change.request_id, change.session) == (7.0, "mine", "pb1-mine", "session")
    assert (change.account, change.was, change.verdict, change.victim) == (
        "account",
        "unverifiable",
        "suspect",
        "other",
    )
    assert (change.findings, change.by) == ([finding(victim="other")], "next")
    assert judged.told == judged.verdict()
    assert late.amendments("next") == []


def test_nothing_is_told_where_verdict_and_victim_stay() -> None:
    late = LateFindings()
    ended(late)
    late.found("mine", finding(), "next", 1.0)

    assert late.found("mine", finding("another"), "later", 2.0)
    assert not late.found("mine", finding("another"), "later", 2.0)
    assert late.amendments("later") == []
    assert len(late.amendments("next")) == 1


def test_before_the_decision_a_finding_belongs_to_that() -> None:
    late = LateFindings()
    judged = Judgement(ENTRY)
    late.note(judged)

    assert late.found("mine", finding(), "next", 1.0)
    assert judged.verdict().kind == "suspect"
    assert late.amendments("next") == []


def test_one_answer_may_change_several_verdicts_and_one_verdict_may_change_twice() -> None:
    late = LateFindings()
    for name in ("mine", "other"):
        ended(late, name)
    late.found("mine", finding(), "next", 1.0)
    late.found("other", finding(), "next", 1.0)
    late.found("mine", finding(victim="other"), "next", 2.0)

    told = [(change.exchange, change.victim) for change in late.amendments("next")]
    assert told == [("mine", "unknown"), ("other", "unknown"), ("mine", "other")]


def test_an_attested_answer_is_clean_though_its_stream_was_loose() -> None:
    late = LateFindings()
    judged = ended(late)
    judged.loose = True

    late.attested("mine", "next", 3.0)
    late.attested("mine", "after it", 4.0)

    assert (judged.verdict().kind, judged.loose) == ("clean", False)
    (change,) = late.amendments("next")
    assert (change.was, change.verdict, change.time) == ("unverifiable", "clean", 3.0)
    assert late.amendments("after it") == []


def test_of_an_unknown_exchange_nothing_is_found() -> None:
    late = LateFindings()

    assert not late.found("gone", finding(), "next", 1.0)
    late.attested("gone", "next", 1.0)
    assert late.of("gone") is None
    assert late.amendments("next") == []


def test_a_later_attempt_takes_the_place_of_an_earlier_one() -> None:
    late = LateFindings()
    first, second = ended(late), ended(late)

    late.found("mine", finding(), "next", 1.0)
    assert (first.verdict().kind, second.verdict().kind) == ("unverifiable", "suspect")


def test_only_recent_answers_and_changes_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judging, "_JUDGED", 2)
    monkeypatch.setattr(judging, "_AMENDED", 1)
    late = LateFindings()
    for name in ("a", "b", "c"):
        ended(late, name)
    assert [late.of(name) is not None for name in ("a", "b", "c")] == [False, True, True]

    late.found("b", finding(), "first", 1.0)
    late.found("c", finding(), "second", 1.0)
    assert (late.amendments("first"), len(late.amendments("second"))) == ([], 1)


def test_a_remark_counts_from_the_next_weighing() -> None:
    judged = Judgement(ENTRY)
    before: Verdict = judged.verdict()
    judged.notes["late attempt"] = None
    assert judged.verdict() is before

    judged.changed()
    assert judged.verdict().note == "late attempt"
