"""Detectors of form: an answer in another dialect, in another framing, or with another answer's head inside."""

from __future__ import annotations

from collections.abc import Iterator

from ...values.answer import Fact
from ...values.decision import Finding
from ..detector_context import DetectorContext
from ..host_habits import RUN_FORM_PROOF, RUN_PROOF, RUN_STRONG
from .finding import FindingStrength, finding

FAMILY = "form"


def shape(ctx: DetectorContext, fact: Fact, now: float) -> Iterator[Finding]:
    """An answer in another dialect: proof at a host that has kept the right one. Gateways' errors are exempt."""
    request = ctx.request
    if request is None or not request.shape or ctx.status >= 400 or not ctx.record.generation:
        return
    rule = f"shape {request.shape}"
    if fact.kind == "over":
        if ctx.status:
            ctx.kept.add(rule)
        return
    if fact.value == request.shape:
        return
    others = {live.entry.exchange: live.entry for live in ctx.concurrent() if live.request.shape == fact.value}
    ctx.broke(rule, now, explained=bool(others))
    if ctx.void(rule):
        return
    stands = ctx.stands_explained(rule) if others else ctx.stands(rule, RUN_FORM_PROOF)
    strength: FindingStrength = "proof" if stands else "strong" if ctx.suspects(rule, RUN_STRONG) else "weak"
    victim = next(iter(others.values())) if len(others) == 1 else None
    yield finding("shape", FAMILY, strength, fact, request.shape, victim)


def framing(ctx: DetectorContext, fact: Fact, now: float) -> Iterator[Finding]:
    """A stream of events in answer to a request for a whole answer."""
    request = ctx.request
    if request is None or request.stream or ctx.status >= 400 or not ctx.record.generation:
        return
    if fact.value != "events":
        ctx.kept.add("framing")
        return
    standing = ctx.broke("framing", now)
    if not standing.void:
        strength: FindingStrength = "strong" if standing.suspects(RUN_STRONG) else "weak"
        yield finding("framing", FAMILY, strength, fact, "one whole answer")


def stray_head(ctx: DetectorContext, fact: Fact, now: float) -> Iterator[Finding]:
    """The head of another HTTP answer in the middle of this one's body."""
    if not ctx.record.generation or ctx.status >= 400:
        return
    if fact.kind == "over":
        ctx.kept.add("stray-head")
        return
    ctx.broke("stray-head", now, misdelivery=True)
    if not ctx.void("stray-head"):
        strength: FindingStrength = "proof" if ctx.memory is None or ctx.stands("stray-head", RUN_PROOF) else "weak"
        yield finding("stray-head", FAMILY, strength, fact, "the body of one answer")
