"""The family of state: a stream that cannot be one answer, because its events do not follow from one another."""

from __future__ import annotations

from collections.abc import Iterator

from ...values import Fact, Finding
from ..sent import Sent
from .found import Strength, found

FAMILY = "state"
# Two answers in one stream, whoever sends it. Everything else is a rule that a host keeps, or does not.
_PROOFS = frozenset({"two-starts", "alternates"})
_WEAK = frozenset({"role-again", "sequence-gap"})
RULES = (
    "switch", "another-end", "sequence-back", "after-end", "after-finish", "opened-twice", "unopened", "alternates",
    "two-starts", "role-again", "sequence-gap", "wrong-delta", "no-call", "another-prompt",
)  # fmt: skip
_KEPT = frozenset(f"order {what}" for what in RULES)


def disorder(sent: Sent, fact: Fact, now: float) -> Iterator[Finding]:
    """
    An event that does not belong where it stands.

    What some gateways do to every stream is a strong sign only at a host that has kept the rule before.
    """
    if not sent.generation or sent.status >= 400:
        return
    if fact.kind == "over":
        if sent.asked is None or sent.asked.stream:  # an answer in one piece keeps no order
            sent.held |= _KEPT - sent.broken
        return
    if fact.kind != "disorder" or sent.void(rule := f"order {fact.where}"):
        return
    sent.broken.add(rule)
    yield found("disorder", FAMILY, _worth(sent, fact.where, rule), fact, "one answer in one stream")


def _worth(sent: Sent, what: str, rule: str) -> Strength:
    if what in _PROOFS:
        return "proof"
    return "strong" if what not in _WEAK and sent.proven(rule) else "weak"
