"""The detector of models: an answer by another model. Aliases and snapshots are learned per host."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ...ledger import Entry
from ...values.answer import Fact
from ...values.decision import Finding
from ..detector_context import DetectorContext
from ..host_habits import PROVEN
from .finding import Strength, finding

FAMILY = "model"
_DATED = re.compile(
    r"(?:[-@]\d{4}-\d{2}-\d{2}|[-@]\d{8}|[-@]\d{6}|-\d{3,4}|-latest|-preview|-exp|:[\w.-]+|-v\d+(?::\d+)?)+$"
)
_ROUTERS = re.compile(r"(?:^|[/-])(?:auto|router|default|best|fast)(?:$|[/-])")


def answered(sent: DetectorContext, fact: Fact, now: float) -> Iterator[Finding]:
    """
    A model other than the requested one and the request's fallbacks.

    Weak, since hosts rename models. Strong where exactly one concurrent exchange requested it, at a host that has
    answered our model under its own name.
    """
    asked, memory = sent.asked, sent.memory
    if fact.kind != "model" or asked is None or memory is None or not asked.model or not sent.record.generation:
        return
    if sent.status >= 400 or not isinstance(fact.value, str):
        return
    wanted, got = plain(asked.model), plain(fact.value)
    rule = f"model {asked.model[:128]}"
    if alike(wanted, got):
        sent.held.add(rule)
        return
    if _ROUTERS.search(asked.model.lower()) or any(alike(plain(name), got) for name in asked.fallbacks):
        return
    if memory.has_answered(sent.record.host, asked.model, got):
        return
    sent.models.append(got)
    sent.broke(rule, now)
    other = _asked_by(sent, fact.value)
    strength: Strength = "strong" if other is not None and sent.stands(rule, PROVEN) else "weak"
    yield finding("model", FAMILY, strength, fact, asked.model, other)


def plain(name: str) -> str:
    """Return *name* without its vendor, folder, date and tag."""
    return _DATED.sub("", name.lower().rpartition("/")[2])


def alike(wanted: str, got: str) -> bool:
    """Whether two plain names may be one model."""
    return wanted == got or wanted.startswith(got) or got.startswith(wanted)


def _asked_by(sent: DetectorContext, got: str) -> Entry | None:
    others = {
        live.entry.exchange: live.entry
        for live in sent.beside()
        if live.asked.model and plain(live.asked.model) == plain(got)
    }
    return next(iter(others.values())) if len(others) == 1 else None
