"""
Detectors of what a provider says one turn later about the answer before: whose request it was given to.

Their findings are about that earlier answer, and late.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from ...frozen import replace
from ...ledger import Entry
from ...values.answer import Fact
from ...values.decision import Finding
from ..attempt_record import IdOwner
from ..detector_context import DetectorContext
from ..host_habits import RUN_STRONG, detector_of
from ..judgement import ATTESTED
from ..request_summary import RequestSummary
from ..sent_prefixes import BESIDE, Answered, Prefix, SentPrefixes, prefix_of, repeats, resends
from .finding import finding

FAMILY = "attestation"
_WITH_IT = 2  # answers that were exchanged with one
_MORE = Entry("unknown")  # stands for the exchanges beside one that are not kept
_SEALS = 64  # signatures of one answer
_LONGEST = 512  # characters of an answer's id
_THREAD = "next-turn thread"  # a rule
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
    if fact.kind == "error":
        _other_thread(ctx, request, fact, now)
    elif fact.kind == "id":
        nameable = len(value) <= _LONGEST and value.isprintable()  # later requests, and records, hold it
        ctx.answer_id = ctx.answer_id or (value if nameable else "")
    elif fact.kind == "over":
        prefix = _prefix(ctx, request) if ctx.answer_id and 0 < ctx.status < 400 else None
        if prefix is not None:
            beside = {live.entry.exchange: live.entry for live in ctx.concurrent() if not ctx.asked_alike(live.entry)}
            told = Answered(ctx.entry, prefix, now, tuple(beside.values())[:BESIDE], tuple(ctx.seals))
            memory.sent.note(ctx.record.host, ctx.answer_id, told)
            memory.elsewhere.answered(ctx.entry, now, ours=True)
    elif prior := _turn_before(ctx, memory.sent.compared(ctx.record.host, ctx.compared_id or "")):
        if value == UNCHANGED:
            ctx.kept.add("next-turn")
            if request.adds:
                return
            memory.late.attested(prior.entry.exchange, ctx.entry.exchange, now)
            _attested(ctx, prior.entry, now)
        elif repeats(request, prior.prefix, "" if value == request.history_name else value, ctx.mint.keyed):
            _about(ctx, prior, Fact(fact.kind, f"another {value}", fact.where), "next-turn", now)
    yield from ()


def _other_thread(ctx: DetectorContext, request: RequestSummary, fact: Fact, now: float) -> None:
    """Report where the provider's conversation of the named answer has other members, and ours are those we sent."""
    names = request.differing(fact.value) if isinstance(fact.value, dict) else ()
    prior = _continued(ctx) if names else None
    if prior is None or set(names) & {*ctx.record.body, "metadata", "diagnostics"}:
        return
    if all(resends(request, prior.prefix, name, ctx.mint.keyed) for name in names):
        told = Fact(fact.kind, f"another {', '.join(names)}", f"{fact.where} details")
        _about(ctx, prior, told, _THREAD, now)


def _prefix(ctx: DetectorContext, request: RequestSummary) -> Prefix | None:
    """Return what was sent, where a later request may name its answer."""
    named = ctx.compared_id is not None or request.continued_id is not None
    if ctx.memory is None or not (named or ctx.memory.sent.is_compared_at(ctx.record.host)):
        return None
    if before := _continued(ctx):
        ctx.kept.add(_THREAD)
    return prefix_of(request, ctx.mint.keyed, before.prefix if before else None)


def _continued(ctx: DetectorContext) -> Answered | None:
    """Return the turn before ours, where the provider keeps the conversation."""
    named = ctx.request.continued_id if ctx.request else None
    return _turn_before(ctx, ctx.memory.sent.compared(ctx.record.host, named)) if named and ctx.memory else None


def _turn_before(ctx: DetectorContext, received: Iterable[Answered]) -> Answered | None:
    """Return which of those that *received* the named answer is the turn before ours."""
    for prior in received:
        other, mine = prior.entry, ctx.entry
        if other.account != mine.account or other.exchange == mine.exchange or ctx.request is None:
            continue
        if ctx.is_earlier_turn(other) or repeats(ctx.request, prior.prefix, "", ctx.mint.keyed):
            return prior
    return None


def bound(ctx: DetectorContext, fact: Fact, now: float) -> Iterator[Finding]:
    """
    The provider says that reasoning in the history was made in another conversation, and ours has not changed.

    A host keeps the rule where it answers to reasoning of its own and says nothing of the kind.
    """
    memory, request = ctx.memory, ctx.request
    if memory is None or request is None or not ctx.record.generation:
        return
    if fact.kind == "token":
        if fact.where == "signature" and ctx.status < 400 and ctx.compared_id is not None and len(ctx.seals) < _SEALS:
            ctx.seals.append(_seal(ctx, str(fact.value)))
        return
    if fact.kind == "over":
        if ctx.compared_id and 0 < ctx.status < 400 and memory.sent.sealed(_seal(ctx, request.last_signature)):
            ctx.kept.add("binding")
        return
    for message, signature in request.signatures(fact.value):
        prior = memory.sent.sealed(_seal(ctx, signature))
        if prior is None or prior.entry.exchange in memory.sent.bound_elsewhere:
            continue  # a block stays in the history, and is told of again at each turn
        if repeats(request, prior.prefix, "", ctx.mint.keyed, messages=message):
            memory.sent.bound_elsewhere[prior.entry.exchange] = None
            _about(ctx, prior, Fact(fact.kind, "reasoning of another conversation", fact.where), "binding", now)
    ctx.broken.add("binding")  # not kept either, where our own history has changed
    yield from ()


def _seal(ctx: DetectorContext, signature: str) -> bytes:
    return ctx.mint.keyed(signature.encode("utf-8", "surrogatepass"))


def _about(ctx: DetectorContext, prior: Answered, fact: Fact, rule: str, now: float) -> None:
    """Report about the answer to *prior* that the provider gave it to another request, by *rule*."""
    prior, detector = _with_others(ctx, prior), detector_of(rule)
    mine, left = prior.entry, _left(ctx, prior)
    victim = _only(left)
    found = f"{mine.request_id} → {victim.request_id}" if victim else ""
    # of answers that were exchanged, the next turns come in a row, and break the rule together
    later = rule != _THREAD  # later turns may show that the others received their own answers
    standing = ctx.broke(rule, now, found=found, explained=bool(left) and later, misdelivery=True)
    if standing.void or ctx.memory is None:
        return
    sent, firm = ctx.memory.sent, standing.suspects(RUN_STRONG)
    seldom = standing.seldom_broken and (later or not standing.broken or standing.rarely_broken)
    explained = victim is not None and seldom and not standing.doubted
    if alone := explained or firm:
        sent.first[mine.exchange, detector] = _WITH_IT
    counts = alone or _is_mixed_up_with_another(sent, prior, detector)
    told = finding(detector, FAMILY, "strong" if counts else "weak", fact, "the answer to our request", victim)
    ctx.late(mine, told, now)
    if left and later:
        sent.told[mine.exchange] = told, prior, firm


def _with_others(ctx: DetectorContext, prior: Answered) -> Answered:
    """Return *prior* with those beside it of whom only the store knows; what it knew is kept for `verify`."""
    known = {each.exchange: each for each in prior.beside}
    if ctx.memory is not None and not ctx.record.elsewhere:
        found = ctx.memory.elsewhere.during(prior.entry, prior.at, ours=not prior.ours)
        others = (each for each in found if each.exchange != prior.entry.exchange and not each.is_alike(prior.entry))
        ctx.record.elsewhere = [IdOwner.of(each) for each in others if each.exchange not in known][:BESIDE]
    known |= {each.exchange: each.entry for each in ctx.record.elsewhere}
    return replace(prior, beside=tuple(known.values())[:BESIDE])


def _is_mixed_up_with_another(sent: SentPrefixes, prior: Answered, detector: str) -> bool:
    for each in prior.beside:
        if left := sent.first.get((each.exchange, detector), 0):
            sent.first[each.exchange, detector] = left - 1
            return True
    return False


def _attested(ctx: DetectorContext, owner: Entry, now: float) -> None:
    """
    Name the victims of what was reported before, now that *owner* is known to have received its own answer.

    Where everybody did, nothing was exchanged: only a *firm* suspicion stays, which no other exchange explained.
    """
    if ctx.memory is None:
        return
    sent = ctx.memory.sent
    for exchange, (told, prior, firm) in list(sent.told.items()):
        if owner.exchange not in [each.exchange for each in prior.beside]:
            continue
        victim = _only(left := _left(ctx, prior))
        if told.strength == "strong" and (firm if not left else victim):
            place = Fact("", told.received, told.where)
            ctx.late(prior.entry, finding(told.detector, FAMILY, "strong", place, told.expected, victim), now)
        if not left:
            sent.told.pop(exchange, None)
            ctx.memory.habits.unexplained(ctx.record.host, told.detector, now)
            if not firm:
                ctx.memory.late.withdrawn(exchange, told, ctx.entry.exchange, now)


def _left(ctx: DetectorContext, prior: Answered) -> list[Entry]:
    """Return the exchanges under way with *prior* that are not known to have received their own answer."""
    more = [_MORE] if len(prior.beside) >= BESIDE else []
    return [each for each in prior.beside if not _is_attested(ctx, each)] + more


def _only(left: Sequence[Entry]) -> Entry | None:
    return left[0] if len(left) == 1 and left[0] is not _MORE else None


def _is_attested(ctx: DetectorContext, entry: Entry) -> bool:
    """Whether an answer that is stored here says so: `verify` has no other."""
    judgement = ctx.memory.late.of(entry.exchange) if ctx.memory else None
    return judgement is not None and ATTESTED in judgement.matched and not judgement.told_elsewhere
