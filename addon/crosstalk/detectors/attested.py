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
from ..sent_prefixes import Answered, SentPrefixes
from .finding import finding

FAMILY = "attestation"
_WITH_IT = 2  # answers that were exchanged with one
UNCHANGED = "unchanged"  # the value of a fact `compared`: the provider found no difference; else the part that differs


def compared(ctx: DetectorContext, fact: Fact, now: float) -> Iterator[Finding]:
    """
    The provider compared the request with the one that it gave the named answer to.

    Without a difference, that answer was ours, unless the provider has the earlier turns itself: it then finds no
    difference between them and themselves. With one in a part that ours repeats unchanged, it was another's.
    """
    memory, request, value = ctx.memory, ctx.request, str(fact.value)
    if memory is None or request is None or not ctx.record.generation:
        return
    if fact.kind == "id":
        ctx.answer_id = ctx.answer_id or value
    elif fact.kind == "over":
        may_be_named = ctx.compared_id is not None or memory.sent.is_compared_at(ctx.record.host)
        if may_be_named and ctx.answer_id and 0 < ctx.status < 400:
            beside = {live.entry.exchange: live.entry for live in ctx.concurrent() if not ctx.asked_alike(live.entry)}
            memory.sent.note(ctx.record.host, ctx.answer_id, ctx.entry, request, list(beside.values()))
    elif prior := memory.sent.compared(ctx.record.host, ctx.compared_id or ""):
        if prior.entry.account != ctx.entry.account or prior.entry.exchange == ctx.entry.exchange:
            return
        if value == UNCHANGED:
            ctx.kept.add("next-turn")
            if request.adds:
                return
            memory.late.attested(prior.entry.exchange, ctx.entry.exchange, now)
            _name_victims(ctx, prior.entry, now)
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
    mine, victim = prior.entry, _victim(ctx, prior)
    found = f"{mine.request_id} → {victim.request_id}" if victim else ""
    # of answers that were exchanged, the next turns come in a row, and break the rule together
    standing = ctx.broke(detector, now, found=found, explained=bool(prior.beside), misdelivery=True)
    if standing.void or ctx.memory is None:
        return
    sent = ctx.memory.sent
    explained = victim is not None and standing.seldom_broken and not standing.doubted
    if alone := explained or standing.suspects(RUN_STRONG):
        sent.first[mine.exchange, detector] = _WITH_IT
    counts = alone or _is_mixed_up_with_another(sent, prior, detector)
    told = finding(detector, FAMILY, "strong" if counts else "weak", fact, "the answer to our request", victim)
    ctx.late(mine, told, now)
    if victim is None and counts:
        sent.nameless[mine.exchange] = told


def _is_mixed_up_with_another(sent: SentPrefixes, prior: Answered, detector: str) -> bool:
    for each in prior.beside:
        if left := sent.first.get((each.exchange, detector), 0):
            sent.first[each.exchange, detector] = left - 1
            return True
    return False


def _name_victims(ctx: DetectorContext, owner: Entry, now: float) -> None:
    """Name the victims of what was reported before, now that *owner* is known to have received its own answer."""
    if ctx.memory is None:
        return
    sent = ctx.memory.sent
    for exchange, told in list(sent.nameless.items()):
        prior = sent.of_exchange(exchange)
        if prior is None or owner.exchange not in [each.exchange for each in prior.beside]:
            continue
        if (victim := _victim(ctx, prior)) is not None:
            place = Fact("", told.received, told.where)
            ctx.late(prior.entry, finding(told.detector, FAMILY, told.strength, place, told.expected, victim), now)
            sent.nameless.pop(exchange, None)


def _victim(ctx: DetectorContext, prior: Answered) -> Entry | None:
    """Return the one exchange under way with *prior* that is not known to have received its own answer."""
    left = [each for each in prior.beside if not _is_attested(ctx, each)]
    return left[0] if len(left) == 1 else None


def _is_attested(ctx: DetectorContext, entry: Entry) -> bool:
    judgement = ctx.memory.late.of(entry.exchange) if ctx.memory else None
    return judgement is not None and ATTESTED in judgement.matched
