"""The detector of words: an answer that has more words of another request than of its own."""

from __future__ import annotations

from collections.abc import Iterator

from ...values.answer import Fact
from ...values.decision import Finding
from .. import words
from ..detector_context import DetectorContext
from ..mixups import Misfit, nearest
from ..recent import LiveAttempt
from .finding import FindingStrength, finding

FAMILY = "words"
_SAID = 64  # texts and calls of one answer


def foreign(ctx: DetectorContext, fact: Fact, now: float) -> Iterator[Finding]:
    """
    An answer with words of another request under way, which received an answer with words of ours, or of a third one.

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
    better = words.better(mine, counts := words.fitting(answer, requests))
    if not better:
        memory.words.fits(mine)
        if counts[mine][0]:
            ctx.kept.add("words")
        return
    standing = ctx.broke("words", now, explained=True, misdelivery=True)
    most = max(counts[name][0] for name in better)
    told = Misfit(mine, nearest(better), f"more than {counts[mine][0]} of its own", f"{most} words of another request")
    strength: FindingStrength = "weak" if standing.void else "strong"
    for each, receiver, owner in ctx.mixed_up(memory.words, told):
        found = finding("words", FAMILY, strength, Fact("over", each.received, "body text"), each.expected, owner)
        if each is told:
            yield found
        else:
            ctx.late(receiver, found, now)


def _said(fact: Fact) -> list[str]:
    if isinstance(fact.value, str):
        return [fact.value]
    calls = fact.value if isinstance(fact.value, tuple) else ()
    return [text for name, arguments in calls for text in (name, arguments)]


def _others(ctx: DetectorContext) -> dict[str, LiveAttempt]:
    """Return the concurrent attempts to compare with; none where the answer is proved to be another's already."""
    if ctx.status >= 400 or not ctx.record.generation or ctx.cached or ctx.misdelivered or not ctx.said:
        return {}
    return {live.entry.exchange: live for live in ctx.concurrent() if not ctx.asked_alike(live.entry)}
