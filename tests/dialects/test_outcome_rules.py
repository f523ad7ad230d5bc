"""Rows by which errors mean an outcome: how one is written, and what the shared ones are."""

from __future__ import annotations

import re
from typing import Any

import pytest

from patchbay.dialects import outcome_rules
from patchbay.dialects.outcome_rules import AT_ONCE, BUSY, FROM_HERE, NO_MODEL, PLAN, ZERO_LIMIT, OutcomeRule, rule_for

from ..each_row import each_row


@pytest.mark.parametrize(
    ("kind", "scope", "is_blameless"),
    [
        ("request", None, True), ("cancelled", None, True), ("ok", None, True), ("rate", None, False),
        ("rate", "exchange", True), ("rate", "account", False), ("ok", "account", True),
    ],
)  # fmt: skip
def test_nothing_follows_for_the_account_from_some_kinds_and_in_one_scope(
    kind: Any, scope: Any, is_blameless: bool
) -> None:
    assert rule_for(kind, scope=scope).is_blameless is is_blameless
    assert {"request", "cancelled", "ok"} == outcome_rules.BLAMELESS


def test_a_row_is_written_with_blanks_between_its_words() -> None:
    assert rule_for("rate") == OutcomeRule("rate")
    assert rule_for("rate", "a b", "x+", "400 429", "model", status_only=True, why="w") == OutcomeRule(
        "rate", frozenset({"a", "b"}), re.compile("x+"), frozenset({400, 429}), "model", True, "w"
    )


@pytest.mark.parametrize(
    ("rule", "kind", "statuses", "scope", "status_only", "why"),
    [
        (PLAN, "quota", {429}, None, True, ""),
        (BUSY, "overload", {400, 404, 409, 422, 424, 429, 498, 500, 502, 503, 529}, None, False, ""),
        (AT_ONCE, "rate", {400, 409, 422, 500, 503}, None, False, ""),
        (NO_MODEL, "model", {400, 401, 403, 404}, None, False, "model not allowed"),
        (FROM_HERE, "permission", {403}, "account", False, "region or network not supported"),
        (ZERO_LIMIT, "model", {429}, None, False, ""),
    ],
)
def test_each_shared_row(
    rule: OutcomeRule, kind: str, statuses: set[int], scope: object, status_only: bool, why: str
) -> None:
    assert (rule.kind, rule.statuses, rule.scope, rule.status_only, rule.why) == (
        kind,
        statuses,
        scope,
        status_only,
        why,
    )
    assert rule.codes == ({"unsupported_country_region_territory"} if rule is FROM_HERE else set())


@each_row(
    ("rule", "message", "matches"),
    [
        (PLAN, "not on your current plan", True), (PLAN, "upgrade your plan", True), (PLAN, "on plan", False),
        (BUSY, "high demand", True), (BUSY, "the server is currently busy", True), (BUSY, "at full capacity", True),
        (BUSY, "temporarily unavailable", True), (BUSY, "no capacity", True), (BUSY, "my capacity", False),
        (AT_ONCE, "too many concurrent requests", True), (AT_ONCE, "too many requests", False),
        (NO_MODEL, "does not have access to the requested model", True), (NO_MODEL, "no access", False),
        (NO_MODEL, "you don't have access to this model", True), (NO_MODEL, "team not allowed to use model", True),
        (NO_MODEL, "not activated the model", True), (NO_MODEL, "model access denied", True),
        (NO_MODEL, "not activated", False), (NO_MODEL, "without access to models", False),
        (FROM_HERE, "country not supported", True), (FROM_HERE, "behind firewall rules", True),
        (FROM_HERE, "public network access is disabled", True), (FROM_HERE, "country", False),
        (ZERO_LIMIT, "limit: 0", True), (ZERO_LIMIT, "limit: 0.5", False), (ZERO_LIMIT, "limit: 00", False),
    ],
)  # fmt: skip
def test_the_phrase_of_each_shared_row(rule: OutcomeRule, message: str, matches: bool) -> None:
    assert rule.phrase is not None
    assert (rule.phrase.search(message) is not None) is matches
