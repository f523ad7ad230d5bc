"""The detector of models: an answer by another model. Aliases and snapshots are learned per host."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ...ledger import Entry
from ...values.answer import Fact
from ...values.decision import Finding
from ..detector_context import DetectorContext
from ..host_habits import RUN_EXPLAINED
from .finding import FindingStrength, finding

FAMILY = "model"
_DATED = re.compile(
    r"(?:[-@]\d{4}-\d{2}-\d{2}|[-@]\d{8}|[-@]\d{6}|-\d{3,4}|-latest|-preview|-exp|:[\w.-]+|-v\d+(?::\d+)?)+$"
)
_ROUTERS = re.compile(r"(?:^|[/-])(?:auto|router|default|best|fast)(?:$|[/-])")


def other_model(ctx: DetectorContext, fact: Fact, now: float) -> Iterator[Finding]:
    """
    A model other than the requested one and the request's fallbacks.

    Weak, since hosts rename models. Strong where exactly one concurrent exchange requested it, at a host that has
    answered our model under its own name.
    """
    request, memory = ctx.request, ctx.memory
    if request is None or memory is None or not request.model or not ctx.record.generation:
        return
    if ctx.status >= 400 or not isinstance(fact.value, str):
        return
    rule = f"model {ctx.record.model[:128]}"  # the name as it may be kept and shown
    if fact.value == request.model or alike(plain(request.model), got := plain(fact.value)):
        ctx.kept.add(rule)
        return
    if _ROUTERS.search(request.model.lower()) or any(alike(plain(name), got) for name in request.fallbacks):
        return
    if memory.has_answered(ctx.record.host, request.model, got):
        return
    ctx.models.append(got)
    ctx.broke(rule, now)
    other = _requested_by(ctx, fact.value)
    counts = other is not None and ctx.stands(rule, RUN_EXPLAINED) and ctx.suspects_pair(rule, other)
    strength: FindingStrength = "strong" if counts else "weak"
    yield finding("model", FAMILY, strength, fact, ctx.record.model, other)


def plain(name: str) -> str:
    """Return *name* without its vendor, folder, date and tag."""
    return _DATED.sub("", name.lower().rpartition("/")[2])


def alike(wanted: str, got: str) -> bool:
    """Whether two plain names may be one model."""
    return wanted.startswith(got) or got.startswith(wanted)


def _requested_by(ctx: DetectorContext, got: str) -> Entry | None:
    others = {live.entry.exchange: live.entry for live in ctx.concurrent() if plain(live.request.model) == plain(got)}
    return next(iter(others.values())) if len(others) == 1 else None
