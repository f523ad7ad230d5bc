"""The arithmetic of findings."""

from __future__ import annotations

import pytest

from patchbay.crosstalk.verdict import weigh
from patchbay.values.account import Depth
from patchbay.values.decision import Finding


def found(text: str) -> tuple[Finding, ...]:
    """`strong ids b` is a strong finding of the family of ids that names exchange b."""
    return tuple(
        Finding("d", family, strength, "w", "e", "r", victim)  # type: ignore[arg-type]
        for strength, family, victim in (each.split() for each in text.split(", ") if each)
    )


@pytest.mark.parametrize(
    ("findings", "kind", "victim"),
    [
        ("", "unverifiable", ""),
        ("proof ids b", "crosstalk", "b"),
        ("proof ids unknown", "crosstalk", "unknown"),
        ("proof ids b, proof state c", "crosstalk", "unknown"),
        ("proof ids b, weak model c", "crosstalk", "b"),
        ("proof ids unknown, strong time c", "crosstalk", "c"),
        ("strong ids b, strong time b", "crosstalk", "b"),
        ("strong ids b, strong ids b", "suspect", "b"),
        ("strong ids b, strong time c", "suspect", "unknown"),
        ("strong ids unknown, strong time unknown", "suspect", "unknown"),
        ("strong ids unknown", "suspect", "unknown"),
        ("weak model b", "unverifiable", ""),
        ("weak model b, weak tools b, weak usage b", "suspect", "b"),
        ("weak model b, weak tools b, weak usage c", "unverifiable", ""),
        ("weak model unknown, weak tools unknown, weak usage unknown", "unverifiable", ""),
    ],
)
def test_findings_amount_to(findings: str, kind: str, victim: str) -> None:
    verdict = weigh(found(findings), {}, "a note")

    assert (verdict.kind, verdict.victim) == (kind, victim)
    assert (verdict.findings, verdict.echo, verdict.note) == (found(findings), "", "a note")


@pytest.mark.parametrize(
    ("findings", "depth", "kind"),
    [
        ("", "edge", "unverifiable"),
        ("", "handler", "unverifiable"),
        ("", "body", "clean"),
        ("", "engine", "clean"),
        ("weak model b", "handler", "unverifiable"),
        ("weak model b", "body", "clean"),
        ("strong ids b", "engine", "suspect"),
        ("proof ids b", "engine", "crosstalk"),
    ],
)
def test_an_echo_clears_as_far_as_it_is_deep(findings: str, depth: Depth, kind: str) -> None:
    assert weigh(found(findings), {"body id": depth}).kind == kind


def test_an_echo_that_does_not_reach_the_end_of_a_stream_clears_nothing() -> None:
    assert weigh((), {"body id": "engine"}, loose=True).kind == "unverifiable"
    assert weigh(found("proof ids b"), {"body id": "engine"}, loose=True).kind == "crosstalk"


def test_the_deepest_echo_is_named() -> None:
    assert weigh((), {"header x-request-id": "handler", "body request_id": "body"}).echo == "body"
    assert weigh((), {"header x-request-id": "handler"}).echo == "header"
    assert weigh((), {}).echo == ""
