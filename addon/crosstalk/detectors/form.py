"""The family of form: an answer in another dialect, of another kind, or with another answer's head inside it."""

from __future__ import annotations

from collections.abc import Iterator

from ...values.answer import Fact
from ...values.decision import Finding
from ..attempt_record import AttemptRecord
from ..host_habits import KNOWN, NEVER, PROVED
from .finding import Strength, found

FAMILY = "form"


def shape(sent: AttemptRecord, fact: Fact, now: float) -> Iterator[Finding]:
    """
    An answer that looks like another dialect's: proof at a host that is known to answer in the right one.

    Errors are exempt: gateways write them as they like.
    """
    asked = sent.asked
    if asked is None or not asked.shape or sent.status >= 400 or not sent.generation:
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
    yield found("shape", FAMILY, strength, fact, asked.shape, victim)


def framing(sent: AttemptRecord, fact: Fact, now: float) -> Iterator[Finding]:
    """A stream of events where a whole answer was asked for."""
    asked = sent.asked
    if fact.kind != "framing" or asked is None or asked.stream or sent.status >= 400 or not sent.generation:
        return
    if fact.value != "events":
        sent.held.add("framing")
        return
    sent.broke("framing", now)
    if not sent.void("framing"):
        yield found(
            "framing", FAMILY, "strong" if sent.suspects("framing", KNOWN) else "weak", fact, "one whole answer"
        )


def stray(sent: AttemptRecord, fact: Fact, now: float) -> Iterator[Finding]:
    """The head of another HTTP answer in the middle of this one's body."""
    if not sent.generation or sent.status >= 400:
        return
    if fact.kind == "over":
        sent.held.add("stray-head")
        return
    sent.broke("stray-head", now)
    if not sent.void("stray-head"):
        strength: Strength = "proof" if sent.memory is None or sent.stands("stray-head", NEVER) else "weak"
        yield found("stray-head", FAMILY, strength, fact, "the body of one answer")
