"""The family of tools: a call of a tool that was not offered."""

from __future__ import annotations

from collections.abc import Iterator

from ...values.answer import Fact
from ...values.decision import Finding
from ..attempt_record import AttemptRecord
from .finding import Strength, found

FAMILY = "tools"


def unoffered(sent: AttemptRecord, fact: Fact, now: float) -> Iterator[Finding]:
    """
    A tool by a name that we did not offer: weak, since models invent names and gateways change them.

    Strong when exactly one other exchange under way offered it, and this host keeps to what it is offered.
    """
    asked = sent.asked
    if fact.kind != "tool" or asked is None or not sent.generation or sent.status >= 400:
        return
    offered, name = asked.tools, str(fact.value)
    if offered is None:
        return
    if name in offered:
        sent.held.add("tool-name")
        return
    other = sent.other_offered(name)
    sent.broke("tool-name", now, found=sent.pair(other))
    strength: Strength = "strong" if other is not None and sent.swapped("tool-name", other) else "weak"
    yield found("tool-name", FAMILY, strength, fact, f"one of the {len(offered)} tools offered", other)
