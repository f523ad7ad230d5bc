"""The family of settings: what an answer of the Responses API repeats of its request, before its first word."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from ...ledger import Entry
from ...values.answer import Fact
from ...values.decision import Finding
from ..attempt_record import AttemptRecord
from ..host_habits import KNOWN, NEVER, PROVED, Standing
from ..recent import RecentExchanges
from .finding import found

FAMILY = "settings"
# What no server could make up so that it equals what another request sent. Numbers it may well set itself.
_DISTINCT = ("previous_response_id", "prompt_cache_key", "safety_identifier", "user", "instructions", "metadata.")
_NAMES = frozenset({"user", "safety_identifier", "prompt_cache_key"})  # in which a gateway may write its tenant
_TELLING, _LETTERS = 8, 4  # characters of a value, and different ones, that nobody arrives at by chance


def echo(sent: AttemptRecord, fact: Fact, now: float) -> Iterator[Finding]:
    """
    Settings that are not those we sent: proof when one of them is what exactly one other exchange sent.

    One by itself proves it where this host is known to repeat it, two where that one still waits for its answer: a
    gateway writes its tenant into every answer, and some request may have sent that name. A value that came in several
    answers names nobody. Only what we sent is compared. A setting that this host has always repeated faithfully is a
    strong sign by itself; one that it rewrites as a matter of course is none.
    """
    if fact.kind != "settings" or not isinstance(fact.value, Mapping) or not sent.generation or sent.asked is None:
        return
    if sent.status >= 400:
        return
    differing: list[_Differs] = []
    for name, mine in sent.asked.settings.items():
        theirs = fact.value.get(name)
        if theirs is None:
            continue
        if theirs == mine:
            sent.held.add(_rule(name))
        elif sent.memory is not None:
            differing.append(_compared(sent, sent.memory, name, mine, str(theirs)))
    for each in differing:
        alike = {_rule(other.name) for other in differing if other.owner and other.owner is each.owner}
        yield from _judged(sent, each, len(alike), now)


@dataclass(frozen=True, slots=True)
class _Differs:
    """
    One setting that differs: *sender* is the one exchange that sent it so.

    *common*: the host writes it into several answers, or made it of ours. *owner* is the sender, if it waits for its
    answer and no server could make up what it sent; *telling*: not even by counting, or as a name that is short.
    """

    name: str
    mine: str
    theirs: str
    sender: Entry | None
    owner: Entry | None
    telling: bool
    waits: bool
    common: bool


def _compared(sent: AttemptRecord, memory: RecentExchanges, name: str, mine: str, theirs: str) -> _Differs:
    other = memory.sender(sent.host, name, theirs)
    if other is not None and (other.exchange == sent.entry.exchange or sent.asked_alike(other)):
        other = None
    waiting = {live.entry.exchange: live.entry for live in sent.beside()} if other is not None else {}
    owner = waiting.get(other.exchange) if other is not None else None
    distinct = name.startswith(_DISTINCT)
    common = _rewritten(mine, theirs) or (distinct and _is_common(sent, memory, name, theirs))
    told = owner if distinct and not common else None
    telling = len(theirs) >= _TELLING and len(set(theirs)) >= _LETTERS
    return _Differs(name, mine, theirs, other, told, telling, owner is not None, common)


def _judged(sent: AttemptRecord, it: _Differs, alike: int, now: float) -> Iterator[Finding]:
    rule = _rule(it.name)
    if it.owner is not None and (
        it.telling or alike > 1
    ):  # an answer of another's says nothing about what this host does with settings
        sent.standing(rule)
        sent.broken.add(rule)
    else:
        sent.broke(rule, now, found=sent.pair(it.owner), explained=it.owner is not None)
    if sent.void(rule):
        return
    place = Fact("settings", it.theirs, f"body {it.name}")
    known = it.sender is not None and it.telling and it.name.startswith(_DISTINCT) and sent.stands(rule, PROVED)
    repeats = sent.explained(rule) and sent.standing(rule).kept >= NEVER
    owned = it.owner is not None and (alike > 1 or (it.telling and repeats))
    if owned or (known and not it.common):
        yield found("settings", FAMILY, "proof", place, it.mine, it.sender)
    elif not it.common and (_seldom(sent, it, rule) or sent.suspects(rule, KNOWN)):
        yield found("settings", FAMILY, "strong", place, it.mine, it.sender)
    else:
        yield found("settings", FAMILY, "weak", place, it.mine)


def _seldom(sent: AttemptRecord, it: _Differs, rule: str) -> bool:
    if it.owner is not None:
        stood = sent.standing(rule)  # a gateway that writes its tenant into every answer has never repeated ours
        named = it.name in _NAMES and not stood.kept
        return sent.swapped(rule, it.owner) or not (stood.broken or named)
    return it.waits and it.name == "tools" and sent.explained(rule)


def _rewritten(mine: str, theirs: str) -> bool:
    """Whether *theirs* may be what a host makes of *mine*: other capitals or white space, cut, or with words around."""
    ours, got = ("".join(value.casefold().split()) for value in (mine, theirs))
    shorter = min(len(ours), len(got))
    return ours == got or (shorter >= _TELLING and (ours in got or got in ours))


def _rule(name: str) -> str:
    return f"settings {name.partition('.')[0]}"


def _is_common(sent: AttemptRecord, memory: RecentExchanges, name: str, value: str) -> bool:
    """Whether the host wrote *value* into the answer of another that had not sent it either; part of the record."""
    common = memory.received(sent.host, name, value, sent.entry.exchange)
    return sent.judged.setdefault(f"settings {name} of several", Standing(broken=int(common))).broken > 0
