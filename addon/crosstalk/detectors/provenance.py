"""Detectors of content: text or tool calls of one conversation that appear in another."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from blake3 import blake3

from ...ledger import Entry
from ...values.answer import Fact
from ...values.decision import Finding
from ..detector_context import DetectorContext
from ..host_habits import KNOWN
from .finding import Strength, finding

FAMILY = "content"
_LENGTH, _WORDS = 200, 20  # characters and distinct words below which texts are alike by chance
_COMMON = Entry("")


def same_text(sent: DetectorContext, fact: Fact, now: float) -> Iterator[Finding]:
    """
    One long text in answer to two requests with different last turns.

    Repeatable requests (seed, temperature 0) and texts that the request quotes are exempt. A text that was found twice
    counts as boilerplate from then on.
    """
    asked, text = sent.asked, fact.value
    if fact.kind == "over":
        if sent.record.generation and 0 < sent.status < 400:
            sent.held.add("same-text")
        return
    if fact.kind != "text" or asked is None or not isinstance(text, str) or len(text) < _LENGTH:
        return
    if not sent.record.generation or sent.status >= 400 or not asked.sampled or len(set(text.split())) < _WORDS:
        return
    if sent.foreign:
        return  # the text belongs to another exchange, which may still receive it
    token = blake3(text.encode("utf-8", "surrogatepass")).hexdigest(16)
    last = asked.last_turn
    other = sent.ledger.find("text", token, now)
    if other is None:
        sent.note("text", token, replace(sent.entry, digest=last), now)
    elif other.exchange and other.exchange != sent.entry.exchange and other.digest != last and not asked.quotes(text):
        sent.ledger.note("text", token, _COMMON, now)
        sent.broke("same-text", now)
        told = f"{len(text)} characters"
        if sent.repeated("same-text", other, KNOWN) and not (sent.kept or sent.standing("same-text").doubted):
            yield finding("same-text", FAMILY, "strong", fact, "a text of its own", other, received=told)
        else:
            yield finding("same-text", FAMILY, "weak", fact, "a text of its own", received=told)


def results(sent: DetectorContext, fact: Fact, now: float) -> Iterator[Finding]:
    """
    Parallel tool results in one request whose calls came in answers to two conversations.

    One answer makes all calls whose results are sent together. A copied history (fork, sub-agent) belongs to another
    conversation throughout, and is no sign.
    """
    if fact.kind != "over" or sent.asked is None or not sent.record.generation or not sent.ledger.holds("call"):
        return
    owners: dict[str, Entry] = {}
    for call in sent.asked.results:
        if entry := sent.ledger.find("call", call, now):
            owners[entry.affinity or entry.exchange] = entry
    if len(owners) < 2:
        if owners:
            sent.held.add("results")
        return
    sent.broke("results", now)
    others = [entry for affinity, entry in owners.items() if affinity != sent.entry.affinity]
    victim = others[0] if len(others) == 1 else None
    place = Fact("request", "", "request tool results")
    told = f"{len(owners)} conversations"
    strength: Strength = "strong" if sent.is_new("results", KNOWN) else "weak"  # some clients mix them as a rule
    yield finding("results", FAMILY, strength, place, "the calls of one answer", victim, received=told)
