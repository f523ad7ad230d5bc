"""The detector of tools: a call of a tool that the request did not offer."""

from __future__ import annotations

from collections.abc import Iterator

from ...values.answer import Fact
from ...values.decision import Finding
from ..detector_context import DetectorContext
from .finding import FindingStrength, finding

FAMILY = "tools"


def unoffered(ctx: DetectorContext, fact: Fact, now: float) -> Iterator[Finding]:
    """
    A tool that we did not offer: weak, since models invent names and gateways change them.

    Strong where exactly one concurrent exchange offered it, at a host that calls offered tools only.
    """
    request = ctx.request
    if request is None or not ctx.record.generation or ctx.status >= 400:
        return
    offered, name = request.tools, str(fact.value)
    if offered is None:
        return
    if name in offered:
        ctx.kept.add("tool-name")
        return
    other = ctx.other_offered(name)
    ctx.broke("tool-name", now, found=ctx.swap_note(other))
    strength: FindingStrength = "strong" if other is not None and ctx.swapped("tool-name", other) else "weak"
    yield finding("tool-name", FAMILY, strength, fact, f"one of the {len(offered)} tools offered", other)
