"""The family of state: a stream that cannot be one answer, because its events do not follow from one another."""

from __future__ import annotations

from collections.abc import Iterator

from ...values.answer import Fact
from ...values.decision import Finding
from ..attempt_record import AttemptRecord
from ..host_habits import KNOWN, PROVED
from .finding import Strength, found

FAMILY = "state"
# Two answers in one stream, at a host that sends one otherwise.
_PROOFS = frozenset({"two-starts", "alternates"})
_MUTUAL = frozenset({"switch", "another-end", "another-prompt"})  # what two have that went over into one another
_WEAK = frozenset({"role-again", "sequence-gap"})
RULES = (
    "switch", "another-end", "sequence-back", "after-end", "after-finish", "opened-twice", "unopened", "alternates",
    "two-starts", "role-again", "sequence-gap", "wrong-delta", "no-call", "another-prompt",
)  # fmt: skip
_KEPT = frozenset(f"disorder {what}" for what in RULES)


def disorder(sent: AttemptRecord, fact: Fact, now: float) -> Iterator[Finding]:
    """
    An event that does not belong where it stands.

    What some gateways do to every stream is a sign only at a host that has kept the rule before.
    """
    if not sent.generation or sent.status >= 400:
        return
    if fact.kind == "over":
        if sent.asked is None or sent.asked.stream:  # an answer in one piece keeps no order
            sent.held |= _KEPT
        return
    if fact.kind != "disorder":
        return
    rule = f"disorder {fact.where}"
    sent.broke(rule, now, found=str(fact.value))
    if not sent.void(rule):
        yield found("disorder", FAMILY, _worth(sent, fact, rule), fact, "one answer in one stream")


def _worth(sent: AttemptRecord, fact: Fact, rule: str) -> Strength:
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
    return (
        "strong"
        if sent.suspects(rule, KNOWN) or (beside and sent.standing(rule).rare and not sent.standing(rule).doubted)
        else "weak"
    )
