"""The detector of tools: a call of a tool that the request did not offer."""

from __future__ import annotations

from collections.abc import Iterator

from ...values.answer import Fact
from ...values.decision import Finding
from ..detector_context import DetectorContext
from .finding import Strength, finding

FAMILY = "tools"


def unoffered(sent: DetectorContext, fact: Fact, now: float) -> Iterator[Finding]:
    """
    A tool that we did not offer: weak, since models invent names and gateways change them.

    Strong where exactly one concurrent exchange offered it, at a host that calls offered tools only.
    """
    asked = sent.asked
    if fact.kind != "tool" or asked is None or not sent.record.generation or sent.status >= 400:
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
    yield finding("tool-name", FAMILY, strength, fact, f"one of the {len(offered)} tools offered", other)
