"""The detector of order: a stream whose events cannot belong to one answer."""

from __future__ import annotations

from collections.abc import Iterator

from ...values.answer import Fact
from ...values.decision import Finding
from ..detector_context import DetectorContext
from ..host_habits import KNOWN, PROVED
from .finding import Strength, finding

FAMILY = "state"
_PROOFS = frozenset({"two-starts", "alternates"})  # two answers in one stream
_MUTUAL = frozenset({"switch", "another-end", "another-prompt"})  # of two answers that switch into each other
_WEAK = frozenset({"role-again", "sequence-gap"})
RULES = (
    "switch", "another-end", "sequence-back", "after-end", "after-finish", "opened-twice", "unopened", "alternates",
    "two-starts", "role-again", "sequence-gap", "wrong-delta", "no-call", "another-prompt",
)  # fmt: skip
_KEPT = frozenset(f"disorder {what}" for what in RULES)


def disorder(sent: DetectorContext, fact: Fact, now: float) -> Iterator[Finding]:
    """An event out of order: a sign only at a host that has kept the rule, since some gateways break every stream."""
    if not sent.record.generation or sent.status >= 400:
        return
    if fact.kind == "over":
        if sent.asked is None or sent.asked.stream:  # a whole answer shows no order
            sent.held |= _KEPT
        return
    if fact.kind != "disorder":
        return
    rule = f"disorder {fact.where}"
    sent.broke(rule, now, found=str(fact.value))
    if not sent.void(rule):
        yield finding("disorder", FAMILY, _worth(sent, fact, rule), fact, "one answer in one stream")


def _worth(sent: DetectorContext, fact: Fact, rule: str) -> Strength:
    if sent.memory is None:
        return "proof" if fact.where in _PROOFS else "weak"
    if fact.where in _WEAK:
        return "weak"
    if fact.where not in _PROOFS:
        if fact.where not in _MUTUAL:
            return "strong" if sent.suspects(rule, KNOWN) else "weak"
        mirrored = sent.standing(rule).mirrors(KNOWN, str(fact.value), sent.entry.at)
        return "strong" if mirrored or sent.stands(rule, KNOWN) else "weak"
    if sent.stands(rule, PROVED):
        return "proof"
    beside = any(sent.asked and live.asked.dialect == sent.asked.dialect for live in sent.beside())
    stood = sent.standing(rule)
    return "strong" if sent.suspects(rule, KNOWN) or (beside and stood.rare and not stood.doubted) else "weak"
