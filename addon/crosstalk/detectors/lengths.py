"""Detectors of lengths: counted tokens that the request, or the answer's text, cannot have."""

from __future__ import annotations

from collections.abc import Iterator

from ...ledger import Entry
from ...values.answer import Fact, Usage
from ...values.decision import Finding
from ..detector_context import DetectorContext
from ..host_habits import RUN_STRONG, Standing
from ..mixups import Misfit, nearest
from ..request_summary import UNSEEN
from .finding import FindingStrength, finding

FAMILY = "length"
_SHORT = 200  # characters more than its tokens can be that an answer may have
_LEAST = 16  # tokens of an answer that are a count: a smaller number stands for one that is not known
_KEPT_PER_BREAK = 16  # predictions that came true for each that did not: enough for a finding without a ring
_AS_PREDICTED = 24  # counts that were, before one that is not is held against a host


def prompt(ctx: DetectorContext, fact: Fact, now: float) -> Iterator[Finding]:
    """
    A prompt of another length than the request's, where concurrent ones explain it.

    Strong where one alone does, at a host that has not been suspected of late, or where requests got one another's.
    Tools that run at the provider add to the count, so that requests with them are not judged.
    """
    count, mine, memory = _count(ctx, fact), ctx.record.lengths, ctx.memory
    if not count or mine is None or memory is None:
        return
    ctx.prompt_tokens = count
    rule = f"prompt-length {ctx.record.model[:128]}"
    if mine.allows(count):
        memory.prompts.fits(ctx.entry.exchange)
        if mine.tolerance:
            ctx.kept.add(rule)
        return
    if ctx.cached or ctx.request is None or ctx.request.has_media or ctx.request.tools is None:
        return
    others = _explaining(ctx, count)
    other = others[0][1] if len(others) == 1 else None
    ctx.misfits = True
    standing = ctx.broke(rule, now, found=ctx.swap_note(other), explained=other is not None, misdelivery=True)
    if standing.void:
        ctx.misfits = False
        return
    near = nearest({entry.exchange: distance for distance, entry in others})
    told = Misfit(ctx.entry.exchange, near, f"about {mine.tokens:.0f} tokens", f"{count} tokens")
    known = standing.kept >= _AS_PREDICTED
    seldom = standing.kept > _KEPT_PER_BREAK * standing.broken  # a ring may be more frequent
    counts = known and seldom and other is not None and ctx.swapped_once(rule, other)
    yield _finding("strong" if counts else "weak", told, other)
    for each, receiver, owner in ctx.mixed_up(memory.prompts, told) if known else ():
        if each is told:
            yield _finding("strong", each, owner)
        else:
            ctx.late(receiver, _finding("strong", each, owner), now)


def _finding(strength: FindingStrength, told: Misfit, owner: Entry | None) -> Finding:
    return finding("prompt-length", FAMILY, strength, _shown(told.received), told.expected, owner)


def _count(ctx: DetectorContext, fact: Fact) -> int:
    """Return how long the prompt is by *fact*, 0 where it does not say so, or an earlier fact of the answer did."""
    usage = fact.value
    if not isinstance(usage, Usage) or ctx.prompt_tokens or ctx.status >= 400 or not ctx.record.generation:
        return 0
    return usage.prompt


def _explaining(ctx: DetectorContext, count: int) -> list[tuple[float, Entry]]:
    """Return the concurrent exchanges whose prompts may be *count* tokens long, each with its distance."""
    near: dict[str, tuple[float, Entry]] = {}
    for live in ctx.concurrent():
        if live.lengths and live.lengths.fits(count) and not ctx.asked_alike(live.entry):
            near[live.entry.exchange] = live.lengths.distance(count), live.entry
    return list(near.values())


def cached(ctx: DetectorContext, fact: Fact, now: float) -> Iterator[Finding]:
    """Tokens from a cache that reach into a last turn which was never sent before."""
    usage, request, lengths = fact.value, ctx.request, ctx.record.lengths
    if not isinstance(usage, Usage) or not usage.cached or request is None or lengths is None or ctx.memory is None:
        return
    if ctx.status >= 400 or not ctx.record.generation or ctx.cached or not lengths.per_byte:
        return
    if request.size < UNSEEN:
        return
    new, size = usage.prompt - usage.cached, request.end_size
    least = int(lengths.per_byte * size)
    if size < UNSEEN or new >= least:
        ctx.kept.add("cached-tokens")
        return
    if request.has_media or ctx.memory.sent_before(ctx.entry, request):
        return
    broke = ctx.broke("cached-tokens", now, misdelivery=True)
    yield from _judged(broke, "cached-tokens", f"{usage.cached} of {usage.prompt} tokens", f"{least} of them new")


def answer(ctx: DetectorContext, fact: Fact, now: float) -> Iterator[Finding]:
    """More text than the counted tokens can be: the count at the end of a stream is another answer's."""
    if isinstance(fact.value, Usage):
        ctx.answer_tokens = fact.value.completion
        return
    most = ctx.record.lengths.per_token if ctx.record.lengths else 0.0
    characters = sum(map(len, ctx.said))
    if fact.kind != "over" or ctx.answer_tokens < _LEAST or not most or not characters:
        return
    if ctx.status >= 400 or not ctx.record.generation or ctx.cached:
        return
    if characters <= most * ctx.answer_tokens + _SHORT:
        ctx.kept.add("answer-length")
        return
    broke = ctx.broke("answer-length", now)
    yield from _judged(broke, "answer-length", f"{ctx.answer_tokens} tokens", f"at least {characters / most:.0f}")


def _judged(standing: Standing, rule: str, told: str, expected: str) -> Iterator[Finding]:
    if not standing.void:
        strength: FindingStrength = "strong" if standing.suspects(RUN_STRONG) else "weak"
        yield finding(rule, FAMILY, strength, _shown(told), expected)


def _shown(told: str) -> Fact:
    return Fact("usage", told, "usage")
