"""Detectors of content: text or tool calls of one conversation that appear in another."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from blake3 import blake3

from ...ledger import Entry
from ...values.answer import Fact
from ...values.decision import Finding
from ..detector_context import DetectorContext
from ..host_habits import RUN_STRONG
from .finding import FindingStrength, finding

FAMILY = "content"
_LENGTH, _WORDS = 200, 20  # characters and distinct words below which texts are alike by chance
_COMMON = Entry("")


def same_text(ctx: DetectorContext, fact: Fact, now: float) -> Iterator[Finding]:
    """
    One long text in answer to two requests with different last turns.

    Repeatable requests (seed, temperature 0) and texts that the request quotes are exempt. A text that was found twice
    counts as boilerplate from then on.
    """
    request, text = ctx.request, fact.value
    if fact.kind == "over" and ctx.record.generation and 0 < ctx.status < 400:
        ctx.kept.add("same-text")
    if request is None or not isinstance(text, str) or len(text) < _LENGTH:
        return
    if not ctx.record.generation or ctx.status >= 400 or not request.sampled or not _is_varied(text):
        return
    if ctx.misdelivered:
        return  # the text belongs to another exchange, which may still receive it
    token = blake3(text.encode("utf-8", "surrogatepass")).hexdigest(16)
    last = request.last_turn
    other = ctx.ledger.find("text", token, now)
    if other is None:
        ctx.note("text", token, replace(ctx.entry, digest=last), now)
    elif other.exchange and other.exchange != ctx.entry.exchange and other.digest != last and not request.quotes(text):
        ctx.ledger.note("text", token, _COMMON, now)
        ctx.broke("same-text", now, misdelivery=True)
        told = f"{len(text)} characters"
        if ctx.stands_unique("same-text", other, RUN_STRONG) and not (ctx.cached or ctx.standing("same-text").doubted):
            yield finding("same-text", FAMILY, "strong", fact, "a text of its own", other, received=told)
        else:
            yield finding("same-text", FAMILY, "weak", fact, "a text of its own", received=told)


def _is_varied(text: str) -> bool:
    words = text.split(None, 3 * _WORDS)  # of nearly every text, its beginning is varied enough
    rest = words.pop() if words else ""
    return len(set(words)) >= _WORDS or len({*words, *rest.split()}) >= _WORDS


def results(ctx: DetectorContext, fact: Fact, now: float) -> Iterator[Finding]:
    """
    Parallel tool results in one request whose calls came in answers to two conversations.

    One answer makes all calls whose results are sent together. A copied history (fork, sub-agent) belongs to another
    conversation throughout, and is no sign.
    """
    if ctx.request is None or not ctx.record.generation or not ctx.ledger.holds("call"):
        return
    owners: dict[str, Entry] = {}
    for call in ctx.request.results:
        if entry := ctx.ledger.find("call", call, now):
            owners[entry.affinity or entry.exchange] = entry
    if len(owners) < 2:
        if owners:
            ctx.kept.add("results")
        return
    ctx.broke("results", now)
    others = [entry for affinity, entry in owners.items() if affinity != ctx.entry.affinity]
    victim = others[0] if len(others) == 1 else None
    place = Fact(fact.kind, fact.value, "request tool results", fact.depth)
    told = f"{len(owners)} conversations"
    new = ctx.is_first_break("results", RUN_STRONG)  # some clients mix them habitually
    strength: FindingStrength = "strong" if new else "weak"
    yield finding("results", FAMILY, strength, place, "the calls of one answer", victim, received=told)
