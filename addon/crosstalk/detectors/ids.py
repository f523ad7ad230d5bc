"""Detectors of ids: an id in an answer that belongs to another exchange, is missing, or comes twice."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise

from ...values.answer import Fact
from ...values.decision import Finding
from ..detector_context import DetectorContext
from ..host_habits import FORGOTTEN, ID_TWICE, KNOWN, PROVEN, SELDOM
from .finding import Strength, finding

FAMILY = "ids"
_PLACES = ("echo", "id", "provider_id", "token")
_DIGITS = re.compile(r"\d.*[A-Za-z]|[A-Za-z].*\d")  # a word alone is a name, digits alone are a count
_ID_HEAD = re.compile(r"^[a-z]+(?:[-_.][a-z]+)*[-_.]")  # `chatcmpl-`, `chat.id.`, `msg_bdrk_`
_COUNTED = re.compile(r":\d+$|^functions\.")  # `functions.search:0`: the tool's name and a count
_CHANGES = 0.4  # of the letters of a random word have another case than the one before; a name has fewer humps


def contract(sent: DetectorContext, fact: Fact, now: float) -> Iterator[Finding]:
    """
    Where the provider promises an echo, any other value belongs to another request.

    Absent and blank values and error answers are exempt: gateways write those. A header in which answers in a row bring
    foreign ids is the host's own, until an id of ours comes back there; a member of the body never is.
    """
    expected = sent.record.expected.get(fact.where, "")
    if fact.kind != "echo" or not sent.record.promised or not expected or sent.status >= 400:
        return
    returned = sent.returned(str(fact.value), now)
    if returned.kind == "blank":
        return
    ours = returned.kind in ("mine", "own", "earlier")
    if not ours:
        sent.broken.add(f"stripped {fact.where}")  # a wrong value is not a missing one
    never_ours = returned.kind in ("foreign", "mangled")
    if fact.where.startswith("header ") and sent.memory is not None:
        rule = f"contract {fact.where}"
        if not never_ours:
            sent.memory.habits.kept(sent.record.host, rule, now)
        else:
            sent.broke(rule, now)
            if sent.standing(rule).demoted:
                return
    if ours or (returned.entry and sent.repeats(returned.entry)):
        return
    yield finding("contract", FAMILY, "proof", fact, expected, returned.entry)


def tag(sent: DetectorContext, fact: Fact, now: float) -> Iterator[Finding]:
    """
    An id that we minted for another exchange is a proof, in every structured place.

    It cannot be forged, so no promise is needed. In an error answer it is strong only: error pages quote.
    """
    value = fact.value
    if fact.kind not in _PLACES or not isinstance(value, str) or len(value) > 256:
        return
    if "pb1-" not in value.lower() and not (len(value) == 36 and sent.mint.recognise(value)):
        return
    returned = sent.returned(value, now)
    rule = f"tag {fact.where}"
    match returned.kind:
        case "mine":
            sent.held.add(rule)
        case "another" if returned.entry and not sent.repeats(returned.entry):
            proof: Strength = "proof" if sent.status < 400 else "strong"
            yield finding("tag", FAMILY, proof, fact, sent.entry.request_id, returned.entry)
        case "ours":
            # Another instance's id. If it is newer than our request, it may be that of an instance upstream of us.
            made = sent.mint.time_of(returned.value) or 0.0
            told = _odd(sent, rule, now) if made < sent.entry.at else "weak"
            yield finding("unknown-tag", FAMILY, told, fact, sent.entry.request_id)
        case "mangled":
            yield finding("mangled-tag", FAMILY, _odd(sent, rule, now), fact, sent.entry.request_id)


def _odd(sent: DetectorContext, rule: str, now: float) -> Strength:
    """Return the strength of an id in our form that we did not mint: some hosts cut ids, or replay recordings."""
    if sent.status < 400:
        sent.broke(rule, now)
    return "strong" if sent.is_new(rule, KNOWN) else "weak"


def duplicate(sent: DetectorContext, fact: Fact, now: float) -> Iterator[Finding]:
    """
    One provider id on two exchanges with different requests: one of the two answers is misdelivered.

    Until both have ended, either may be, so the finding is disputed. An answer with the same id but another beginning
    is another answer: some hosts reuse ids. Only the first id of an answer is noted for later answers: a second may
    belong to an answer mixed into this one. Ids that repeat by nature and fetched answers are exempt.
    """
    value = fact.value
    if fact.kind == "born":
        sent.born = sent.born or str(value)
        return
    if fact.kind not in ("id", "provider_id") or not isinstance(value, str) or sent.status >= 400:
        return
    if not sent.record.generation or not telling(value) or sent.returned(value, now).kind != "foreign":
        return
    other = sent.ledger.find("answer", value, now)
    rule = "duplicate body" if fact.kind == "id" else f"duplicate {fact.where}"
    if other is None:
        # ids in a misdelivered answer belong to its owner, which may still receive it
        if not sent.foreign and sent.names.setdefault(fact.where, value) == value:
            sent.note("answer", value, sent.entry, now)
            sent.held.add(rule)
    elif other.exchange != sent.entry.exchange and sent.asked_alike(other):
        sent.kept = True
    elif other.exchange != sent.entry.exchange:
        sent.broke(rule, now)
        if sent.void(rule):
            return
        first = sent.names.setdefault(fact.where, value) == value
        same = not (first and sent.born and other.born) or sent.born == other.born or fact.kind != "id"
        # A later id is that of an answer mixed into this one. An id on its second appearance only is that of an answer
        # that two exchanges received while both waited.
        again = sent.ledger.note("twice", value, sent.entry, now) is not None
        twice = sent.born and other.seen > sent.entry.at and sent.standing(rule).kept >= KNOWN and not again
        # An embedding or a moderation holds no words and may be equal for different requests. Gateways cache heads,
        # write trace ids into them, and cache answers across similar requests.
        spoken = sent.asked is None or sent.asked.shape not in ("", "embedding")
        worth: Strength = "proof" if fact.kind == "id" and spoken and not sent.kept else "strong"
        counts = sent.repeated(rule, other, later=ID_TWICE) or ((twice or not first) and sent.explained(rule))
        if same and counts and (worth == "proof" or not sent.standing(rule).doubted):
            asked_before = sent.memory is not None and sent.memory.asked_before(sent.entry)
            disputed = first and (other.seen >= sent.entry.at or asked_before)
            yield finding("duplicate", FAMILY, worth, fact, "an id of its own", other, disputed=disputed)
        else:
            yield finding("duplicate", FAMILY, "weak", fact, "an id of its own")


def tool_call(sent: DetectorContext, fact: Fact, now: float) -> Iterator[Finding]:
    """A tool call's id that another exchange has received already. Ids that count are exempt."""
    value = fact.value
    if fact.kind != "token" or fact.where != "tool" or not isinstance(value, str) or sent.status >= 400:
        return
    if not sent.record.generation or not telling(value) or _COUNTED.search(value) or not _random(value):
        return
    other = sent.ledger.find("call", value, now)
    if other is None:
        sent.note("call", value, sent.entry, now)
        sent.held.add("tool-call")
    elif other.exchange != sent.entry.exchange and not sent.asked_alike(other):
        sent.broke("tool-call", now)
        if sent.repeated("tool-call", other) and not (sent.kept or sent.standing("tool-call").doubted):
            yield finding("tool-call", FAMILY, "strong", fact, "an id of its own", other)
        else:
            yield finding("tool-call", FAMILY, "weak", fact, "an id of its own")


def strange(sent: DetectorContext, fact: Fact, now: float) -> Iterator[Finding]:
    """
    An id that is not made from ours, at a host whose ids were always made from ours.

    Our engine did not make this answer, or a gateway before it sent another id.
    """
    asked, value = sent.asked, fact.value
    if fact.kind != "id" or asked is None or sent.status >= 400 or not isinstance(value, str):
        return
    if not sent.record.generation:
        return
    rule = f"strange-id {asked.dialect} {asked.suffix[:64]}"
    returned = sent.returned(value, now)
    if returned.kind in ("mine", "own"):
        sent.held.add(rule)
    if returned.kind != "foreign" or sent.kept:
        return
    sent.broke(rule, now)
    if sent.suspects(rule, FORGOTTEN if sent.standing(rule).broken else KNOWN):  # some ask elsewhere now and then
        yield finding("strange-id", FAMILY, "strong", fact, sent.entry.request_id)


def stripped(sent: DetectorContext, fact: Fact, now: float) -> Iterator[Finding]:
    """Our id is missing in a place where this host has returned it."""
    if fact.kind != "over" or not sent.record.generation or sent.status >= 400:
        return
    for place in sent.record.expected:
        rule = f"stripped {place}"
        if rule not in sent.held and rule not in sent.broken:
            sent.broke(rule, now)
            stood = sent.standing(rule)
            if stood.kept >= PROVEN and not stood.demoted and stood.kept > SELDOM * stood.broken:
                yield finding("stripped", FAMILY, "weak", Fact("echo", "nothing", place), sent.record.expected[place])


def _random(value: str) -> bool:
    """Whether *value* looks random: letters among digits, or capitals at random places."""
    if _DIGITS.search(value):
        return True
    word = value.rpartition("_")[2]
    return sum(a.isupper() != b.isupper() for a, b in pairwise(word)) > _CHANGES * len(word)


def telling(value: str) -> bool:
    """Whether *value* is random enough to identify one answer: no counter, no `chatcmpl-417`, not blank."""
    rest = _ID_HEAD.sub("", value.lower(), count=1)
    return len(rest) >= 12 and len(value) <= 256 and len(set(rest)) >= 6
