"""The line of text and the plain types of a verdict, and the line about a rule that is demoted."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec import structs

from patchbay.crosstalk import report
from patchbay.crosstalk.host_habits import Demotion
from patchbay.values.decision import Amendment, Decision, Finding, Verdict


def finding(strength: str, received: str) -> Finding:
    return Finding("d", "ids", strength, "body id", "ours", received, "b")  # type: ignore[arg-type]


SAYS_NOTHING = "which says nothing about"
WEAK, STRONG, PROOF = finding("weak", "w"), finding("strong", "s"), finding("proof", "p")


@pytest.mark.parametrize(
    ("verdict", "line"),
    [
        (Verdict("crosstalk", (WEAK, STRONG, PROOF), victim="b"), "CROSSTALK: expected ours, received p, victim b"),
        (Verdict("crosstalk", (PROOF, WEAK)), "CROSSTALK: expected ours, received p, victim unknown"),
        (Verdict("suspect", (WEAK, STRONG), note="n"), "suspect: expected ours, received s, victim unknown; n"),
        (Verdict("clean", (WEAK,), "body"), "clean: echo matched (body)"),
        (Verdict("unverifiable"), "unverifiable"),
        (Verdict("unverifiable", note="n"), "unverifiable: n"),
        (
            Verdict("unverifiable", (), "header"),
            "unverifiable: echo matched (header), which says nothing about the body",
        ),
        (
            Verdict("unverifiable", (), "body"),
            "unverifiable: echo matched (body), which says nothing about what follows it",
        ),
    ],
)
def test_a_comment_names_the_strongest_finding_or_the_echo(verdict: Verdict, line: str) -> None:
    assert report.summary(verdict) == line


def test_a_line_names_the_session_of_the_victim_where_it_is_known() -> None:
    known = structs.replace(PROOF, victim_session="ffeeddccbbaa9988")
    line = report.summary(Verdict("crosstalk", (structs.replace(WEAK, victim="c"), known), victim="b"))
    assert line == "CROSSTALK: expected ours, received p, victim b of session ffeeddcc"


def test_a_verdict_has_plain_types() -> None:
    plain = {"detector": "d", "family": "ids", "strength": "proof", "where": "body id", "expected": "ours",
             "received": "p", "victim": "b"}  # fmt: skip
    assert report.verdict(Verdict("crosstalk", (PROOF,), "body", "b", "n")) == {
        "verdict": "crosstalk", "echo": "body", "victim": "b", "note": "n", "findings": [plain],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("told", "begins", "ends"),
    [
        (Demotion("h", "model swap", 1.0), "h: model (swap): its answers break",
         "`disabled_detectors: [model]` for this provider; to forget it: patchbay habits --reset h model"),
        (Demotion("h", "model", 1.0), "h: model (any): its answers", "patchbay habits --reset h model"),
        (Demotion("h", "model swap", 1.0, True), "h: model (swap) is kept", "kept again and counts again"),
        (Demotion("h", "contract x-id", 1.0), "h: contract (x-id): 3 answers in a row brought ids in x-id",
         "to forget it: patchbay habits --reset h contract"),
    ],
)  # fmt: skip
def test_a_demoted_rule_is_said_with_its_remedy(told: Demotion, begins: str, ends: str) -> None:
    line = report.demotion(told)
    assert line.startswith(begins)
    assert line.endswith(ends)


def test_an_incident_has_the_ids_times_and_compared_values_and_no_content() -> None:
    decision = Decision(
        1.0, "request", "r", "x", "local", "", "a", "p", "pool", "openai_chat", "POST", "/v1", "m", True, 200, "", 2.0,
        0.5, None, "s", "t", "tier", "sid", "hit", 1, [], "crosstalk", "body", "b", [PROOF],
    )  # fmt: skip
    told = {"request_id": "r", "host": "h", "digest": "ff", "earlier": ["q"], "at": [1, 2.0], "seen": [[2, 3.0]]}
    around = {"connection": 7}

    bundle = report.bundle(decision, "n", [told | {"own": ["client"], "habits": {}}, told], around)

    assert bundle == {**decision.encoded(), "id": "r", "note": "n", "attempts": [told, told], "around": around}
    assert bundle["around"] is not around


@pytest.mark.parametrize(
    ("verdict", "findings", "line"),
    [
        ("clean", [], "clean since exchange next (before: unverifiable)"),
        ("clean", [PROOF], "clean since exchange next (before: unverifiable)"),
        ("suspect", [], "suspect since exchange next (before: unverifiable)"),
    ],
)
def test_a_verdict_that_changed_later_is_said_with_what_it_was(verdict: Any, findings: Any, line: str) -> None:
    change = Amendment(1.0, "x", "r", "s", "one", verdict, "unverifiable", "b", findings, "next")

    assert report.amendment(change) == line


def test_a_later_proof_is_said_and_its_incident_is_the_change() -> None:
    change = Amendment(1.0, "x", "r", "s", "one", "crosstalk", "unverifiable", "b", [PROOF], "next")

    assert report.amendment(change).startswith("crosstalk since exchange next: ")
    assert PROOF.received in report.amendment(change)
    assert report.amended_bundle(change) == {"id": "r", "event_type": "crosstalk", **change.encoded()}
