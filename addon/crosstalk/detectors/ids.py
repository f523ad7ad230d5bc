"""Detectors of ids: an id in an answer that belongs to another exchange, is missing, or comes twice."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise

from ...answer.reader import ERROR_ID
from ...correlation import PREFIX
from ...values.account import METADATA
from ...values.answer import Fact
from ...values.decision import Finding
from ..detector_context import DetectorContext
from ..host_habits import CONTRACT, KEPT_PER_BREAK, RUN_EXPLAINED, RUN_REINSTATED, RUN_STRONG, RUN_UNIQUE_ID
from .finding import FindingStrength, finding

FAMILY = "ids"
_DIGITS = re.compile(r"\d.*[A-Za-z]|[A-Za-z].*\d")  # a word alone is a name, digits alone are a count
_ID_HEAD = re.compile(r"^[a-z]+(?:[-_.][a-z]+)*[-_.]")  # `chatcmpl-`, `chat.id.`, `msg_bdrk_`
_NUMBERED = re.compile(r":\d+$|^functions\.")  # `functions.search:0`: the tool's name and a number
_STORED = frozenset({"batch", "cache", "container", "conversation", "file"})  # places of ids that an answer refers to
_METADATA = f"body {METADATA}"
_CASE_CHANGES = 0.4  # in random letters, at least this share differ in case from the one before; in names fewer do


def contract(ctx: DetectorContext, fact: Fact, now: float) -> Iterator[Finding]:
    """
    Where the provider promises an echo, any other value belongs to another request.

    Absent and blank values and error answers are exempt: gateways write those. A header in which answers in a row bring
    foreign ids is the host's own, until an id of ours comes back there; a member of the body never is.
    """
    expected = ctx.record.expected.get(fact.where, "")
    if not ctx.record.promised or not expected or ctx.status >= 400:
        return
    returned = ctx.returned(str(fact.value), now)
    if returned.kind == "blank":
        return
    ours = returned.kind in ("match", "client", "earlier")
    if not ours:
        ctx.broken.add(echoed(fact.where))  # a wrong value is not a missing one
    never_ours = returned.kind in ("foreign", "mangled")
    if fact.where.startswith("header ") and ctx.memory is not None:
        rule = f"{CONTRACT} {fact.where}"
        if not never_ours:
            ctx.memory.habits.kept(ctx.record.host, rule, now)
        else:
            ctx.broke(rule, now)
            if ctx.standing(rule).demoted:
                return
    if ours or (returned.entry and ctx.repeats(returned.entry)):
        return
    yield finding(CONTRACT, FAMILY, "proof", fact, expected, returned.entry)


def tag(ctx: DetectorContext, fact: Fact, now: float) -> Iterator[Finding]:
    """
    An id that we minted for another exchange is a proof: it cannot be forged, so no promise is needed.

    Strong only in an error, since error pages quote. Exempt are stored things, and calls and items of the request.
    """
    value = fact.value
    if not isinstance(value, str) or len(value) > 256 or not (PREFIX in value.lower() or ctx.mint.recognise(value)):
        return
    returned = ctx.returned(value, now)
    quoted = returned.kind != "match" and fact.kind == "token" and ctx.request and ctx.request.quotes(value)
    if quoted or fact.where in _STORED:
        return
    rule = f"tag {fact.where}"
    match returned.kind:
        case "match":
            ctx.kept.add(rule)
        case "other" if returned.entry and fact.where == _METADATA and ctx.is_earlier_turn(returned.entry):
            # gateways keep the metadata of a conversation's first answer, and give them back with every other
            ctx.broke(rule, now)
            doubtful: FindingStrength = "strong" if ctx.suspects(rule, RUN_STRONG) else "weak"
            if not ctx.void(rule):
                yield finding("tag", FAMILY, doubtful, fact, ctx.entry.request_id, returned.entry)
        case "other" if returned.entry and not ctx.repeats(returned.entry):
            proof: FindingStrength = "proof" if ctx.status < 400 else "strong"
            yield finding("tag", FAMILY, proof, fact, ctx.entry.request_id, returned.entry)
        case "unknown":
            # Another instance's id. If it is newer than our request, it may be that of an instance upstream of us.
            made = ctx.mint.time_of(returned.value) or 0.0
            told = _unminted_strength(ctx, rule, now) if made < ctx.entry.at else "weak"
            yield finding("unknown-tag", FAMILY, told, fact, ctx.entry.request_id)
        case "mangled":
            yield finding("mangled-tag", FAMILY, _unminted_strength(ctx, rule, now), fact, ctx.entry.request_id)


def _unminted_strength(ctx: DetectorContext, rule: str, now: float) -> FindingStrength:
    """Return the strength of an id in our form that we did not mint: some hosts cut ids, or replay recordings."""
    if ctx.status < 400:
        ctx.broke(rule, now)
    return "strong" if ctx.is_first_break(rule, RUN_STRONG) else "weak"


def duplicate(ctx: DetectorContext, fact: Fact, now: float) -> Iterator[Finding]:
    """
    One provider id on two exchanges with different requests: one of the two answers is misdelivered.

    Until both have ended, either may be, so the finding is disputed. An answer with the same id but another beginning
    is another answer: some hosts reuse ids. Only the first id of an answer is noted for later answers: a second may
    belong to an answer mixed into this one. Ids that repeat by nature and fetched answers are exempt.
    """
    value = fact.value
    if fact.kind == "born":
        ctx.born = ctx.born or str(value)
        return
    if not isinstance(value, str) or ctx.status >= 400:
        return
    if not ctx.record.generation or not is_distinctive(value) or ctx.returned(value, now).kind != "foreign":
        return
    if fact.where == ERROR_ID:
        return
    other = ctx.ledger.find("answer", value, now)
    rule = "duplicate body" if fact.kind == "id" else f"duplicate {fact.where}"
    if other is None:
        # ids in a misdelivered answer belong to its owner, which may still receive it
        if not ctx.misdelivered and ctx.first_ids.setdefault(fact.where, value) == value:
            ctx.note("answer", value, ctx.entry, now)
            ctx.kept.add(rule)
    elif other.exchange != ctx.entry.exchange and ctx.asked_alike(other):
        ctx.cached = True
    elif other.exchange != ctx.entry.exchange:
        ctx.broke(rule, now, misdelivery=True)
        if ctx.void(rule):
            return
        first = ctx.first_ids.setdefault(fact.where, value) == value
        same = not (first and ctx.born and other.born) or ctx.born == other.born or fact.kind != "id"
        # A later id is that of an answer mixed into this one. An id that came twice, and no third time, is that of an
        # answer that two exchanges received while both waited.
        again = ctx.ledger.note("twice", value, ctx.entry, now) is not None
        twice = ctx.born and other.seen > ctx.entry.at and ctx.standing(rule).kept >= RUN_STRONG and not again
        # An embedding or a moderation holds no words and may be equal for different requests. Gateways cache heads,
        # write trace ids into them, and cache answers across similar requests.
        spoken = ctx.request is None or ctx.request.shape not in ("", "embedding")
        worth: FindingStrength = "proof" if fact.kind == "id" and spoken and not ctx.cached else "strong"
        unique = ctx.stands_unique(rule, other, later=RUN_UNIQUE_ID)
        counts = unique or ((twice or not first) and ctx.stands_explained(rule))
        if same and counts and (worth == "proof" or not ctx.standing(rule).doubted):
            asked_before = ctx.memory is not None and ctx.memory.asked_before(ctx.entry)
            disputed = first and (other.seen >= ctx.entry.at or asked_before)
            yield finding("duplicate", FAMILY, worth, fact, "an id of its own", other, disputed=disputed)
        else:
            yield finding("duplicate", FAMILY, "weak", fact, "an id of its own")


def tool_call(ctx: DetectorContext, fact: Fact, now: float) -> Iterator[Finding]:
    """A tool call's id that another exchange has received already. Ids that count are exempt."""
    value = fact.value
    if fact.where != "tool" or not isinstance(value, str) or ctx.status >= 400:
        return
    if not ctx.record.generation or not is_distinctive(value) or _NUMBERED.search(value) or not _random(value):
        return
    other = ctx.ledger.find("call", value, now)
    if other is None:
        ctx.note("call", value, ctx.entry, now)
        ctx.kept.add("tool-call")
    elif other.exchange != ctx.entry.exchange and not ctx.asked_alike(other):
        ctx.broke("tool-call", now)
        if ctx.stands_unique("tool-call", other) and not (ctx.cached or ctx.standing("tool-call").doubted):
            yield finding("tool-call", FAMILY, "strong", fact, "an id of its own", other)
        else:
            yield finding("tool-call", FAMILY, "weak", fact, "an id of its own")


def strange_id(ctx: DetectorContext, fact: Fact, now: float) -> Iterator[Finding]:
    """
    An id that is not made from ours, at a host whose ids were always made from ours.

    Our engine did not make this answer, or a gateway before it sent another id.
    """
    request, value = ctx.request, fact.value
    if request is None or ctx.status >= 400 or not isinstance(value, str) or not ctx.record.generation:
        return
    rule = f"strange-id {request.dialect} {request.suffix[:64]}"
    returned = ctx.returned(value, now)
    if returned.kind in ("match", "client"):
        ctx.kept.add(rule)
    if returned.kind != "foreign" or ctx.cached:
        return
    standing = ctx.broke(rule, now)
    run = RUN_REINSTATED if standing.broken else RUN_STRONG  # some gateways ask another engine now and then
    if standing.suspects(run):
        yield finding("strange-id", FAMILY, "strong", fact, ctx.entry.request_id)


def echoed(place: str) -> str:
    """Return the rule that our id comes back at *place*."""
    return f"stripped {place}"


def stripped(ctx: DetectorContext, fact: Fact, now: float) -> Iterator[Finding]:
    """Our id is missing in a place where this host has returned it."""
    if not ctx.record.generation or ctx.status >= 400:
        return
    for place in ctx.record.expected:
        rule = echoed(place)
        if rule not in ctx.kept and rule not in ctx.broken:
            standing = ctx.broke(rule, now)
            usual = standing.kept >= RUN_EXPLAINED and standing.kept > KEPT_PER_BREAK * standing.broken
            if usual and not standing.demoted:
                yield finding("stripped", FAMILY, "weak", Fact("echo", "nothing", place), ctx.record.expected[place])


def _random(value: str) -> bool:
    """Whether *value* looks random: letters among digits, or capitals at random places."""
    if _DIGITS.search(value):
        return True
    word = value.rpartition("_")[2]
    return sum(a.isupper() != b.isupper() for a, b in pairwise(word)) > _CASE_CHANGES * len(word)


def is_distinctive(value: str) -> bool:
    """Whether *value* is random enough to identify one answer: no counter, no `chatcmpl-417`, not blank."""
    rest = _ID_HEAD.sub("", value.lower())
    return len(rest) >= 12 and len(value) <= 256 and len(set(rest)) >= 6
