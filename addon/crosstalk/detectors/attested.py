"""
Detectors of what a provider says one turn later about the answer before: whose request it was given to.

Their findings are about that earlier answer, and late.
"""

from __future__ import annotations

from collections.abc import Iterator

from blake3 import blake3

from ...ledger import Entry
from ...values.answer import Fact
from ...values.decision import Finding
from .. import sent_prefixes
from ..detector_context import DetectorContext
from ..host_habits import RUN_STRONG
from ..judgement import ATTESTED
from ..sent_prefixes import Answered
from .finding import UNKNOWN, FindingStrength, finding

FAMILY = "attestation"
SAME = "same"  # the value of a fact `compared`: the provider found no difference; else the part that differs


def compared(ctx: DetectorContext, fact: Fact, now: float) -> Iterator[Finding]:
    """
    The provider compared the request with the one that it gave the named answer to.

    Without a difference, that answer was ours. With one in a part that ours repeats unchanged, it was another's.
    """
    memory, request, value = ctx.memory, ctx.request, str(fact.value)
    if memory is None or request is None or not ctx.record.generation or ctx.compared_id is None:
        return
    if fact.kind == "id":
        ctx.answer_id = ctx.answer_id or value
    elif fact.kind == "over":
        if ctx.answer_id and 0 < ctx.status < 400:
            beside = {live.entry.exchange: live.entry for live in ctx.concurrent() if not ctx.asked_alike(live.entry)}
            memory.sent.note(ctx.record.host, ctx.answer_id, ctx.entry, request, list(beside.values()))
    elif prior := memory.sent.of_answer(ctx.record.host, ctx.compared_id):
        if prior.entry.account != ctx.entry.account or prior.entry.exchange == ctx.entry.exchange:
            return
        if value == SAME:
            ctx.kept.add("next-turn")
            memory.late.attested(prior.entry.exchange, ctx.entry.exchange, now)
        elif sent_prefixes.repeats(request, prior.prefix, "" if value == request.history_name else value):
            _about(ctx, prior, Fact(fact.kind, f"another {value}", fact.where), "next-turn", now)
    yield from ()


def bound(ctx: DetectorContext, fact: Fact, now: float) -> Iterator[Finding]:
    """The provider says that reasoning in the history was made in another conversation, and ours has not changed."""
    memory, request = ctx.memory, ctx.request
    if memory is None or request is None or not ctx.record.generation:
        return
    if fact.kind == "token":
        if fact.where == "signature" and ctx.status < 400 and ctx.compared_id is not None:
            ctx.note("signature", _sealed(str(fact.value)), ctx.entry, now)
        return
    for message, signature in request.signatures(fact.value):
        entry = ctx.ledger.find("signature", _sealed(signature), now)
        prior = memory.sent.of_exchange(entry.exchange) if entry else None
        if prior is not None and sent_prefixes.repeats(request, prior.prefix, "", messages=message):
            _about(ctx, prior, Fact(fact.kind, "reasoning of another conversation", fact.where), "binding", now)
    yield from ()


def _sealed(signature: str) -> str:
    return blake3(signature.encode("utf-8", "surrogatepass")).hexdigest(16)


def _about(ctx: DetectorContext, prior: Answered, fact: Fact, detector: str, now: float) -> None:
    """Report about the answer to *prior* that the provider gave it to another request."""
    mine = prior.entry
    victim, paired = _victim(ctx, prior, detector)
    found = f"{mine.request_id} → {victim.request_id}" if victim else ""
    standing = ctx.broke(detector, now, found=found, explained=victim is not None, misdelivery=True)
    if standing.void:
        return
    explained = victim is not None and standing.seldom_broken and not standing.doubted
    counts = paired or explained or standing.suspects(RUN_STRONG)
    strength: FindingStrength = "strong" if counts else "weak"
    ctx.late(mine, finding(detector, FAMILY, strength, fact, "the answer to our request", victim), now)
    if victim is not None and paired:
        _name(ctx, victim, mine, detector, now)


def _victim(ctx: DetectorContext, prior: Answered, detector: str) -> tuple[Entry | None, bool]:
    """
    Return the exchange whose answer *prior* received, one that was under way with it, and whether the two are a pair.

    Those that are known to have received their own are none. Of a pair, the other is suspected for the same reason.
    """
    left: list[Entry] = []
    paired: list[Entry] = []
    for each in prior.beside:
        judgement = ctx.memory.late.of(each.exchange) if ctx.memory else None
        if judgement is None or ATTESTED not in judgement.matched:
            left.append(each)
            told = judgement.findings.values() if judgement else ()
            if any(_points_at(finding, prior.entry, detector) for finding in told):
                paired.append(each)
    likely = paired or left
    return (likely[0], bool(paired)) if len(likely) == 1 else (None, False)


def _points_at(told: Finding, entry: Entry, detector: str) -> bool:
    return (told.detector, told.strength) == (detector, "strong") and told.victim in (UNKNOWN, entry.exchange)


def _name(ctx: DetectorContext, receiver: Entry, owner: Entry, detector: str, now: float) -> None:
    """Name *owner* as the victim of what was found about the answer to *receiver*, where none is named yet."""
    judgement = ctx.memory.late.of(receiver.exchange) if ctx.memory else None
    for key, told in list(judgement.findings.items()) if judgement else ():
        if key[0] == detector and told.victim == UNKNOWN:
            place = Fact("", told.received, told.where)
            ctx.late(receiver, finding(detector, FAMILY, told.strength, place, told.expected, owner), now)
