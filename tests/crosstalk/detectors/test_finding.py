"""A finding about one fact: its victim, its members, and how values from outside are shown."""

from __future__ import annotations

import pytest

from patchbay.crosstalk.detectors.finding import finding, shown
from patchbay.ledger import Entry
from patchbay.values.answer import Fact
from patchbay.values.decision import Finding

FACT = Fact("id", "got", "body id")


@pytest.mark.parametrize(("value", "text"), [
    ("plain", "plain"),
        ("ü\\", "ü\\"), ("a\r\n\x1b", "a\\r\\n\\x1b"), ("x" * 160, "x" * 160), ("x" * 161, "x" * 160 + "…"), ("", ""),
])  # fmt: skip
def test_a_value_is_shown_printable_and_cut_to_160_characters(value: str, text: str) -> None:
    assert shown(value) == text


def test_a_finding_names_what_was_expected_and_what_came() -> None:
    found = finding("tag", "ids", "proof", FACT, "wanted\n")

    assert found == Finding("tag", "ids", "proof", "body id", "wanted\\n", "got", "unknown", False)


def test_a_finding_may_have_a_victim_another_text_and_a_dispute() -> None:
    found = finding("tag", "ids", "proof", FACT, "wanted", Entry("b"), received="told\n", disputed=True)

    assert (found.received, found.victim, found.disputed) == ("told\\n", "b", True)
