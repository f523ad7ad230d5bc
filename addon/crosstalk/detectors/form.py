"""The family of form: an answer in another dialect, of another kind, or with another answer's head inside it."""

from __future__ import annotations

from collections.abc import Iterator

from ...ledger import Entry
from ...values import Fact, Finding
from ..sent import Sent
from .found import Strength, found

FAMILY = "form"


def shape(sent: Sent, fact: Fact, now: float) -> Iterator[Finding]:
    """
    An answer that looks like another dialect's: proof at a host that is known to answer in the right one.

    Errors are exempt: gateways write them as they like.
    """
    asked = sent.asked
    if asked is None or not asked.shape or sent.status >= 400 or not sent.generation:
        return
    rule = f"shape {asked.shape}"
    if fact.kind == "over" and sent.status and rule not in sent.broken:
        sent.held.add(rule)
    if fact.kind != "shape" or fact.value == asked.shape or sent.void(rule):
        return
    strength: Strength = "proof" if sent.proven(rule) else "weak"
    sent.broken.add(rule)
    other = _only(sent, str(fact.value))
    yield found("shape", FAMILY, strength, fact, asked.shape, other)


def framing(sent: Sent, fact: Fact, now: float) -> Iterator[Finding]:
    """A stream of events where a whole answer was asked for."""
    asked = sent.asked
    if fact.kind != "framing" or asked is None or asked.stream or sent.status >= 400 or not sent.generation:
        return
    if fact.value != "events":
        sent.held.add("framing")
        return
    sent.broken.add("framing")
    if not sent.void("framing"):
        yield found("framing", FAMILY, "strong" if sent.proven("framing") else "weak", fact, "one whole answer")


def stray(sent: Sent, fact: Fact, now: float) -> Iterator[Finding]:
    """The head of another HTTP answer in the middle of this one's body."""
    if fact.kind == "stray" and sent.status < 400:
        yield found("stray-head", FAMILY, "proof", fact, "the body of one answer")


def _only(sent: Sent, looks: str) -> Entry | None:
    if sent.memory is None:
        return None
    others = {live.entry.exchange: live.entry for live in sent.memory.others(sent.entry, sent.host)
              if live.asked.shape == looks}  # fmt: skip
    return next(iter(others.values())) if len(others) == 1 else None
