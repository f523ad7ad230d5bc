"""The family of ids: what a value that came back proves about whose answer it stands in."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise

from ...values.answer import Fact
from ...values.decision import Finding
from ..attempt_record import AttemptRecord
from ..host_habits import FORGOTTEN, ID_TWICE, KNOWN, PROVEN, SELDOM
from .finding import Strength, found

FAMILY = "ids"
_PLACES = ("echo", "id", "provider_id", "token")
_DIGITS = re.compile(r"\d.*[A-Za-z]|[A-Za-z].*\d")  # a word alone is a name, digits alone are a count
_ID_HEAD = re.compile(r"^[a-z]+(?:[-_.][a-z]+)*[-_.]")  # `chatcmpl-`, `chat.id.`, `msg_bdrk_`
_COUNTED = re.compile(r":\d+$|^functions\.")  # `functions.search:0`: the tool's name and a count
_CHANGES = 0.4  # of the letters of a random word have another case than the one before; a name has fewer humps


def contract(sent: AttemptRecord, fact: Fact, now: float) -> Iterator[Finding]:
    """
    Where the provider promises an echo, any other value belongs to another request.

    Absence and blanks are no alarm, and neither is an error answer: gateways in between write those. A header in which
    answers in a row bring ids that were never ours is the host's own, until the first id of ours comes back there; a
    member of the body never is.
    """
    expected = sent.expected.get(fact.where, "")
    if fact.kind != "echo" or not sent.promised or not expected or sent.status >= 400:
        return
    returned = sent.returned(str(fact.value), now)
    if returned.kind == "blank":
        return
    ours = returned.kind in ("mine", "own", "earlier")
    if not ours:
        sent.broken.add(f"stripped {fact.where}")  # something came: it is not missing as well
    never_ours = returned.kind in ("foreign", "mangled")
    if fact.where.startswith("header ") and sent.memory is not None:
        rule = f"contract {fact.where}"
        if not never_ours:
            sent.memory.habits.kept(sent.host, rule, now)
        else:
            sent.broke(rule, now)
            if sent.standing(rule).demoted:
                return
    if ours or (returned.entry and sent.repeats(returned.entry)):
        return
    yield found("contract", FAMILY, "proof", fact, expected, returned.entry)


def tag(sent: AttemptRecord, fact: Fact, now: float) -> Iterator[Finding]:
    """
    An id of ours that we gave to another exchange proves itself, in every structured place.

    Nobody but us can make one, so no promise is needed. In an error answer it is worth less: error pages quote.
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
            yield found("tag", FAMILY, proof, fact, sent.entry.request_id, returned.entry)
        case "ours":
            # A neighbour's, which we never saw. Made after ours was sent, it may also be that of an instance upstream
            # of us, which asked in our name.
            made = sent.mint.time_of(returned.value) or 0.0
            told = _odd(sent, rule, now) if made < sent.entry.at else "weak"
            yield found("unknown-tag", FAMILY, told, fact, sent.entry.request_id)
        case "mangled":
            yield found("mangled-tag", FAMILY, _odd(sent, rule, now), fact, sent.entry.request_id)


def _odd(sent: AttemptRecord, rule: str, now: float) -> Strength:
    """Say what an id in our form is worth that we never gave out: some hosts cut ids, or answer from a recording."""
    if sent.status < 400:
        sent.broke(rule, now)
    return "strong" if sent.is_new(rule, KNOWN) else "weak"


def duplicate(sent: AttemptRecord, fact: Fact, now: float) -> Iterator[Finding]:
    """
    One id of the provider's on two exchanges that asked for different things: one of the two answers is misdelivered.

    Which of the two is open while both are under way, so that such a finding is disputed. An answer that has the id but
    begins otherwise is another one: some hosts give their ids out again. Notes the first id of an
    answer for those who come after: a second one may well be that of an answer which has been mixed into this one, and
    whose own exchange is still to see it. Void for ids that repeat by nature, and where a stored answer is fetched.
    """
    value = fact.value
    if fact.kind == "born":
        sent.born = sent.born or str(value)
        return
    if fact.kind not in ("id", "provider_id") or not isinstance(value, str) or sent.status >= 400:
        return
    if not sent.generation or not telling(value) or sent.returned(value, now).kind != "foreign":
        return
    other = sent.ledger.find("answer", value, now)
    rule = "duplicate body" if fact.kind == "id" else f"duplicate {fact.where}"
    if other is None:
        # what is in an answer of another's is its owner's, who may get it yet
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
        # an id in the middle is that of an answer which was mixed into this one, as this one may be into it
        # one that comes a second time only is that of an answer which two got, while both waited for theirs
        again = sent.ledger.note("twice", value, sent.entry, now) is not None
        twice = sent.born and other.seen > sent.entry.at and sent.standing(rule).kept >= KNOWN and not again
        # An embedding or a moderation holds no words, and may well be the same for different requests. Gateways cache
        # heads and write trace ids into them, and some keep answers for requests that are alike.
        spoken = sent.asked is None or sent.asked.shape not in ("", "embedding")
        worth: Strength = "proof" if fact.kind == "id" and spoken and not sent.kept else "strong"
        counts = sent.repeated(rule, other, later=ID_TWICE) or ((twice or not first) and sent.explained(rule))
        if same and counts and (worth == "proof" or not sent.standing(rule).doubted):
            asked_before = sent.memory is not None and sent.memory.asked_before(sent.entry)
            disputed = first and (other.seen >= sent.entry.at or asked_before)
            yield found("duplicate", FAMILY, worth, fact, "an id of its own", other, disputed=disputed)
        else:
            yield found("duplicate", FAMILY, "weak", fact, "an id of its own")


def tool_call(sent: AttemptRecord, fact: Fact, now: float) -> Iterator[Finding]:
    """The id of a tool call that another exchange was given already. Void for ids that count."""
    value = fact.value
    if fact.kind != "token" or fact.where != "tool" or not isinstance(value, str) or sent.status >= 400:
        return
    if not sent.generation or not telling(value) or _COUNTED.search(value) or not _random(value):
        return
    other = sent.ledger.find("call", value, now)
    if other is None:
        sent.note("call", value, sent.entry, now)
        sent.held.add("tool-call")
    elif other.exchange != sent.entry.exchange and not sent.asked_alike(other):
        sent.broke("tool-call", now)
        if sent.repeated("tool-call", other) and not (sent.kept or sent.standing("tool-call").doubted):
            yield found("tool-call", FAMILY, "strong", fact, "an id of its own", other)
        else:
            yield found("tool-call", FAMILY, "weak", fact, "an id of its own")


def strange(sent: AttemptRecord, fact: Fact, now: float) -> Iterator[Finding]:
    """
    An id that is not made of ours, at a host that has made the ids of all such answers of ours before.

    An engine that works under our id has not made this answer; or something in front of it has asked in another name.
    """
    asked, value = sent.asked, fact.value
    if fact.kind != "id" or asked is None or not sent.generation or sent.status >= 400 or not isinstance(value, str):
        return
    rule = f"strange-id {asked.dialect} {asked.suffix[:64]}"
    returned = sent.returned(value, now)
    if returned.kind in ("mine", "own"):
        sent.held.add(rule)
    if returned.kind != "foreign" or sent.kept:
        return
    sent.broke(rule, now)
    if sent.suspects(rule, FORGOTTEN if sent.standing(rule).broken else KNOWN):  # some ask elsewhere now and then
        yield found("strange-id", FAMILY, "strong", fact, sent.entry.request_id)


def stripped(sent: AttemptRecord, fact: Fact, now: float) -> Iterator[Finding]:
    """Our id is missing where this host has always given it back."""
    if fact.kind != "over" or not sent.generation or sent.status >= 400:
        return
    for place in sent.expected:
        rule = f"stripped {place}"
        if rule not in sent.held and rule not in sent.broken:
            sent.broke(rule, now)
            stood = sent.standing(rule)
            if stood.kept >= PROVEN and not stood.demoted and stood.kept > SELDOM * stood.broken:
                yield found("stripped", FAMILY, "weak", Fact("echo", "nothing", place), sent.expected[place])


def _random(value: str) -> bool:
    """Whether *value* looks drawn rather than named: letters among digits, or capitals strewn about."""
    if _DIGITS.search(value):
        return True
    word = value.rpartition("_")[2]
    return sum(a.isupper() != b.isupper() for a, b in pairwise(word)) > _CHANGES * len(word)


def telling(value: str) -> bool:
    """Whether *value* is random enough to be one answer's alone: no counter, no `chatcmpl-417`, nothing blank."""
    rest = _ID_HEAD.sub("", value.lower(), count=1)
    return len(rest) >= 12 and len(value) <= 256 and len(set(rest)) >= 6
