"""Detectors of form: an answer in another dialect, in another framing, or with another answer's head inside."""

from __future__ import annotations

from collections.abc import Iterator

from ...values.answer import Fact
from ...values.decision import Finding
from ..detector_context import DetectorContext
from ..host_habits import KNOWN, NEVER, PROVED
from .finding import Strength, finding

FAMILY = "form"


def shape(sent: DetectorContext, fact: Fact, now: float) -> Iterator[Finding]:
    """An answer in another dialect: proof at a host that has kept the right one. Gateways' errors are exempt."""
    asked = sent.asked
    if asked is None or not asked.shape or sent.status >= 400 or not sent.record.generation:
        return
    rule = f"shape {asked.shape}"
    if fact.kind == "over":
        if sent.status:
            sent.held.add(rule)
        return
    if fact.kind != "shape" or fact.value == asked.shape:
        return
    others = {live.entry.exchange: live.entry for live in sent.beside() if live.asked.shape == fact.value}
    sent.broke(rule, now, explained=bool(others))
    if sent.void(rule):
        return
    stands = sent.explained(rule) if others else sent.stands(rule, PROVED)
    strength: Strength = "proof" if stands else "strong" if sent.suspects(rule, KNOWN) else "weak"
    victim = next(iter(others.values())) if len(others) == 1 else None
    yield finding("shape", FAMILY, strength, fact, asked.shape, victim)


def framing(sent: DetectorContext, fact: Fact, now: float) -> Iterator[Finding]:
    """A stream of events in answer to a request for a whole answer."""
    asked = sent.asked
    if fact.kind != "framing" or asked is None or asked.stream or sent.status >= 400 or not sent.record.generation:
        return
    if fact.value != "events":
        sent.held.add("framing")
        return
    sent.broke("framing", now)
    if not sent.void("framing"):
        strength: Strength = "strong" if sent.suspects("framing", KNOWN) else "weak"
        yield finding("framing", FAMILY, strength, fact, "one whole answer")


def stray(sent: DetectorContext, fact: Fact, now: float) -> Iterator[Finding]:
    """The head of another HTTP answer in the middle of this one's body."""
    if not sent.record.generation or sent.status >= 400:
        return
    if fact.kind == "over":
        sent.held.add("stray-head")
        return
    sent.broke("stray-head", now)
    if not sent.void("stray-head"):
        strength: Strength = "proof" if sent.memory is None or sent.stands("stray-head", NEVER) else "weak"
        yield finding("stray-head", FAMILY, strength, fact, "the body of one answer")
