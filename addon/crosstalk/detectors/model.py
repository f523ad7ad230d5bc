"""The family of the model: an answer by a model that was not asked for. Aliases and snapshots are learned per host."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ...ledger import Entry
from ...values.answer import Fact
from ...values.decision import Finding
from ..attempt_record import AttemptRecord
from ..host_habits import PROVEN
from .finding import Strength, found

FAMILY = "model"
_DATED = re.compile(
    r"(?:[-@]\d{4}-\d{2}-\d{2}|[-@]\d{8}|[-@]\d{6}|-\d{3,4}|-latest|-preview|-exp|:[\w.-]+|-v\d+(?::\d+)?)+$"
)
_ROUTERS = re.compile(r"(?:^|[/-])(?:auto|router|default|best|fast)(?:$|[/-])")


def answered(sent: AttemptRecord, fact: Fact, now: float) -> Iterator[Finding]:
    """
    Another model than the one that was asked for, and than those the request itself names to fall back on.

    Weak by itself, since hosts rename models as they like. Strong when it is what exactly one other exchange under way
    asked for, at a host that has always answered our question under its own name.
    """
    asked, memory = sent.asked, sent.memory
    if fact.kind != "model" or asked is None or memory is None or not asked.model or not sent.generation:
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
    if memory.has_answered(sent.host, asked.model, got):
        return
    sent.models.append(got)
    sent.broke(rule, now)
    other = _asked_by(sent, fact.value)
    strength: Strength = "strong" if other is not None and sent.stands(rule, PROVEN) else "weak"
    yield found("model", FAMILY, strength, fact, asked.model, other)


def plain(name: str) -> str:
    """Return *name* without its vendor, folder, date and tag."""
    return _DATED.sub("", name.lower().rpartition("/")[2])


def alike(wanted: str, got: str) -> bool:
    """Whether two plain names may be one model."""
    return wanted == got or wanted.startswith(got) or got.startswith(wanted)


def _asked_by(sent: AttemptRecord, got: str) -> Entry | None:
    others = {
        live.entry.exchange: live.entry
        for live in sent.beside()
        if live.asked.model and plain(live.asked.model) == plain(got)
    }
    return next(iter(others.values())) if len(others) == 1 else None
