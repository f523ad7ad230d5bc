"""The detector of order: a stream whose events cannot belong to one answer."""

from __future__ import annotations

from collections.abc import Iterator

from ...values.answer import Fact
from ...values.decision import Finding
from ..detector_context import DetectorContext
from ..host_habits import RUN_FORM_PROOF, RUN_STRONG
from .finding import FindingStrength, finding, shown

FAMILY = "state"
_PROOFS = frozenset({"two-starts", "alternates"})  # two answers in one stream
_MUTUAL = frozenset({"switch", "another-end", "another-prompt"})  # of two answers that switch into each other
_WEAK = frozenset({"role-again", "sequence-gap"})
DISORDERS = (
    "switch", "another-end", "sequence-back", "after-end", "after-finish", "opened-twice", "unopened", "alternates",
    "two-starts", "role-again", "sequence-gap", "wrong-delta", "no-call", "another-prompt",
)  # fmt: skip
_KEPT = frozenset(f"disorder {what}" for what in DISORDERS)


def disorder(ctx: DetectorContext, fact: Fact, now: float) -> Iterator[Finding]:
    """An event out of order: a sign only at a host that has kept the rule, since some gateways break every stream."""
    if not ctx.record.generation or ctx.status >= 400:
        return
    if fact.kind == "over":
        if ctx.request is None or ctx.request.stream:  # a whole answer shows no order
            ctx.kept |= _KEPT
        return
    rule = f"disorder {fact.where}"
    ctx.broke(rule, now, found=shown(str(fact.value)), misdelivery=fact.where in _PROOFS | _MUTUAL)
    if not ctx.void(rule):
        yield finding("disorder", FAMILY, _strength(ctx, fact, rule), fact, "one answer in one stream")


def _strength(ctx: DetectorContext, fact: Fact, rule: str) -> FindingStrength:
    if ctx.memory is None:
        return "proof" if fact.where in _PROOFS else "weak"
    if fact.where in _WEAK:
        return "weak"
    if fact.where not in _PROOFS:
        if fact.where not in _MUTUAL:
            return "strong" if ctx.suspects(rule, RUN_STRONG) else "weak"
        mirrored = ctx.standing(rule).mirrors(RUN_STRONG, shown(str(fact.value)), ctx.entry.at)
        return "strong" if mirrored or ctx.suspects(rule, RUN_STRONG) else "weak"
    if ctx.stands(rule, RUN_FORM_PROOF):
        return "proof"
    beside = any(ctx.request and live.request.dialect == ctx.request.dialect for live in ctx.concurrent())
    standing = ctx.standing(rule)
    likely = beside and standing.rarely_broken and not standing.doubted
    return "strong" if likely or ctx.suspects(rule, RUN_STRONG) else "weak"
