"""The detector of settings: an answer (Responses API) repeats settings that its request did not send."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from ...ledger import Entry
from ...values.answer import Fact
from ...values.decision import Finding
from ..detector_context import DetectorContext
from ..host_habits import KNOWN, NEVER, PROVED, Standing
from ..recent import RecentExchanges
from .finding import finding

FAMILY = "settings"
# Settings whose values a server cannot guess. It may set numbers itself.
_DISTINCT = ("previous_response_id", "prompt_cache_key", "safety_identifier", "user", "instructions", "metadata.")
_NAMES = frozenset({"user", "safety_identifier", "prompt_cache_key"})  # in which a gateway may write its tenant
_TELLING, _LETTERS = 8, 4  # characters of a value, and different ones, from which on it is no chance


def echo(sent: DetectorContext, fact: Fact, now: float) -> Iterator[Finding]:
    """
    Settings other than ours: proof where exactly one other exchange sent them.

    One setting is a proof at a host that repeats it; otherwise it takes two, of an exchange that still waits, because
    gateways write their tenant's name into every answer. A value that came in several answers has no owner. Only
    settings that we sent are compared. A difference alone is strong where the host has always repeated the setting, and
    no sign where it rewrites it habitually.
    """
    if fact.kind != "settings" or not isinstance(fact.value, Mapping) or sent.asked is None:
        return
    if not sent.record.generation or sent.status >= 400:
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
    One setting that differs. *sender*: the only exchange that sent this value.

    *owner*: the sender, if it waits for its answer and a server cannot guess the value. *telling*: the value is too
    long and varied for chance. *common*: the host writes it into several answers, or derived it from ours.
    """

    name: str
    mine: str
    theirs: str
    sender: Entry | None
    owner: Entry | None
    telling: bool
    waits: bool
    common: bool


def _compared(sent: DetectorContext, memory: RecentExchanges, name: str, mine: str, theirs: str) -> _Differs:
    other = memory.sender(sent.record.host, name, theirs)
    if other is not None and (other.exchange == sent.entry.exchange or sent.asked_alike(other)):
        other = None
    waiting = {live.entry.exchange: live.entry for live in sent.beside()} if other is not None else {}
    owner = waiting.get(other.exchange) if other is not None else None
    distinct = name.startswith(_DISTINCT)
    common = _rewritten(mine, theirs) or (distinct and _is_common(sent, memory, name, theirs))
    told = owner if distinct and not common else None
    telling = len(theirs) >= _TELLING and len(set(theirs)) >= _LETTERS
    return _Differs(name, mine, theirs, other, told, telling, owner is not None, common)


def _judged(sent: DetectorContext, it: _Differs, alike: int, now: float) -> Iterator[Finding]:
    rule = _rule(it.name)
    if it.owner is not None and (it.telling or alike > 1):  # a misdelivered answer shows no habit of the host
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
        yield finding("settings", FAMILY, "proof", place, it.mine, it.sender)
    elif not it.common and (_seldom(sent, it, rule) or sent.suspects(rule, KNOWN)):
        yield finding("settings", FAMILY, "strong", place, it.mine, it.sender)
    else:
        yield finding("settings", FAMILY, "weak", place, it.mine)


def _seldom(sent: DetectorContext, it: _Differs, rule: str) -> bool:
    if it.owner is not None:
        stood = sent.standing(rule)  # a gateway with its tenant's name in every answer has never repeated ours
        named = it.name in _NAMES and not stood.kept
        return sent.swapped(rule, it.owner) or not (stood.broken or named)
    return it.waits and it.name == "tools" and sent.explained(rule)


def _rewritten(mine: str, theirs: str) -> bool:
    """Whether a host may have derived *theirs* from *mine*: other case or white space, a part, or an addition."""
    ours, got = ("".join(value.casefold().split()) for value in (mine, theirs))
    shorter = min(len(ours), len(got))
    return ours == got or (shorter >= _TELLING and (ours in got or got in ours))


def _rule(name: str) -> str:
    return f"settings {name.partition('.')[0]}"


def _is_common(sent: DetectorContext, memory: RecentExchanges, name: str, value: str) -> bool:
    """Whether another exchange received *value* without having sent it; the record keeps the result."""
    common = memory.received(sent.record.host, name, value, sent.entry.exchange)
    return sent.judged.setdefault(f"settings {name} of several", Standing(broken=int(common))).broken > 0
