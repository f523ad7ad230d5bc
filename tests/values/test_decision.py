"""The decisions about an exchange: what each says by default, what is compared and what is never shown."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

from patchbay.values.answer import Usage
from patchbay.values.decision import (
    AttemptSummary,
    Candidate,
    Decision,
    Edit,
    Evidence,
    Finding,
    Identity,
    Outcome,
    Refusal,
    Verdict,
    Wait,
    session_name,
)


def test_a_request_of_which_nothing_is_known_belongs_to_no_conversation_and_may_bind():
    identity = Identity()
    assert (identity.affinity, identity.thread, identity.tier, identity.home, identity.near) == ("",) * 5
    assert (identity.owner, identity.strength, identity.binds) == (None, "guess", True)
    assert (identity.evidence, identity.opening_marks, identity.value) == ((), (), "")
    evidence = Evidence("tier", "where")
    assert (evidence.used, evidence.why, evidence.value) == (True, "", "")


def test_raw_ids_are_not_shown():
    assert "raw-id" not in repr((Identity(value="raw-id"), Evidence("tier", "where", value="raw-id")))


def test_an_edit_a_wait_and_a_verdict_change_and_say_nothing_by_themselves():
    edit, verdict = Edit(), Verdict("clean")
    assert (edit.headers, edit.path, edit.body, Wait(1.0).reason, Candidate("a").reason) == ((), "", {}, "", "")
    assert (verdict.findings, verdict.echo, verdict.victim, verdict.note) == ((), "", "", "")


def test_a_refusal_may_be_tried_again_unless_it_is_final():
    refusal = Refusal(503, "code", "message")
    assert (refusal.retry_after, refusal.fields, refusal.final, refusal.lasts) == (None, {}, False, None)


def test_outcomes_are_compared_by_what_follows_from_them_and_not_by_their_evidence():
    outcome = Outcome("rate")
    assert (outcome.until, outcome.scope, outcome.detail) == (None, "lane", "")
    assert (outcome.certain, outcome.status_only, outcome.failure) == (False, False, "")
    assert outcome == Outcome("rate", certain=True, status_only=True, failure="x")
    assert len({Outcome("auth"), outcome, Outcome("rate", 1.0), Outcome("rate", scope="account")}) == 4
    assert outcome != Outcome("rate", detail="429")


def test_a_journal_line_has_the_members_of_its_decision_in_order():
    finding = Finding("ids", "id", "proof", "body id", "a", "b", "unknown")
    attempt = AttemptSummary("a", "r", 200, "ok", 1.5)
    decision = Decision(
        1.0, "request", "r", "x", "local", "", "a", "p", "pool", "openai_chat", "POST", "/v1", "m", True, 200, "", 2.0,
        0.5, Usage(1, 2), "s", "t", "tier", "sid", "hit", 1, [attempt], "clean", "body", "", [finding],
    )  # fmt: skip
    line = decision.encoded()
    assert list(line) == list(Decision.__struct_fields__)
    assert line["attempts"] == [{"account": "a", "request_id": "r", "status": 200, "outcome": "ok", "seconds": 1.5}]
    assert line["tokens"] == {"prompt": 1, "completion": 2, "cached": 0, "cache_write": 0}
    assert line["findings"] == [
        {"detector": "ids", "family": "id", "strength": "proof", "where": "body id", "expected": "a", "received": "b",
         "victim": "unknown"}
    ]  # fmt: skip
    assert line["mode"] == "serve" and not finding.disputed


def test_the_page_has_a_row_for_every_member_of_a_line_of_the_journal():
    page = (Path(__file__).parents[2] / "docs" / "settings.md").read_text(encoding="utf-8")
    table = page.partition("\n| member | meaning |\n|---|---|\n")[2].partition("\n\n")[0]
    rows = dict(re.findall(r"^\| ([^|]+) \| (.*) \|$", table, re.MULTILINE))

    assert sorted(re.findall(r"`(\w+)`", "".join(rows))) == sorted(Decision.__struct_fields__)
    assert re.findall(r"`(\w+)`", rows["`attempts`"]) == [*AttemptSummary.__struct_fields__]
    assert {field.name for field in fields(Usage)} == {*re.findall(r"`(\w+)`", rows["`tokens`"])} - {"null"}


def test_a_conversation_has_a_short_name_by_which_its_long_one_is_found():
    affinity = "e718a2c40b1d4f6e9a3c5d7f8b2e6a10"
    assert session_name(affinity) == "e718a2c4"
    assert affinity.startswith(session_name(affinity))
    assert session_name("") == ""
