"""The detector of words: an answer that has more words of another request than of its own."""

from __future__ import annotations

from collections.abc import Iterator

from ...ledger import Entry
from ...values.answer import Fact
from ...values.decision import Finding
from .. import words
from ..detector_context import DetectorContext
from ..recent import LiveAttempt
from .finding import FindingStrength, finding

FAMILY = "words"
_SAID = 64  # texts and calls of one answer


def foreign(ctx: DetectorContext, fact: Fact, now: float) -> Iterator[Finding]:
    """
    An answer with words of another request under way, whose own answer has words of yet another one.

    Strong at most: no reading of words is a proof. Where the other answer ends later, the finding is late.
    """
    if fact.kind != "over":
        if len(ctx.said) < _SAID:
            ctx.said += _said(fact)
        return
    memory, others = ctx.memory, _others(ctx)
    if memory is None or ctx.request is None or not others:
        return
    mine, answer = ctx.entry.exchange, words.of_text(" ".join(ctx.said))
    requests = {name: live.request.tail for name, live in others.items()} | {mine: ctx.request.tail}
    found = words.preference(mine, words.fitting(answer, requests))
    if found is None:
        return
    if found.exchange == mine:
        ctx.kept.add("words")
    else:
        ctx.broke("words", now, explained=True, misdelivery=True)
    entries = {name: live.entry for name, live in others.items()} | {mine: ctx.entry}
    for exchange, what in memory.words.note(mine, found):
        told = _told(ctx, what, fact, entries.get(what.exchange))
        if exchange == mine:
            yield told
        elif exchange in entries:
            ctx.late(entries[exchange], told, now)


def _said(fact: Fact) -> list[str]:
    if isinstance(fact.value, str):
        return [fact.value]
    calls = fact.value if isinstance(fact.value, tuple) else ()
    return [text for name, arguments in calls for text in (name, arguments)]


def _others(ctx: DetectorContext) -> dict[str, LiveAttempt]:
    """Return the concurrent attempts to compare with; none where the answer is known to be somebody's already."""
    if ctx.status >= 400 or not ctx.record.generation or ctx.cached or ctx.misdelivered or not ctx.said:
        return {}
    return {live.entry.exchange: live for live in ctx.concurrent() if not ctx.asked_alike(live.entry)}


def _told(ctx: DetectorContext, what: words.Preference, fact: Fact, victim: Entry | None) -> Finding:
    strength: FindingStrength = "weak" if ctx.void("words") or ctx.standing("words").demoted else "strong"
    place = Fact(fact.kind, f"{what.theirs} words of another request", "body text")
    return finding("words", FAMILY, strength, place, f"more than {what.own} of its own", victim)
