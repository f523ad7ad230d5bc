"""The family of settings: what an answer of the Responses API repeats of its request, before its first word."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ...ledger import Entry
from ...values import Fact, Finding
from ..host_habits import KNOWN, PROVED, Standing
from ..sent import Sent
from .found import found

FAMILY = "settings"
# What no server could make up so that it equals what another request sent. Numbers it may well set itself.
_DISTINCT = ("previous_response_id", "prompt_cache_key", "safety_identifier", "user", "instructions", "metadata.")


def echo(sent: Sent, fact: Fact, now: float) -> Iterator[Finding]:
    """
    Settings that are not those we sent: proof when one of them is what exactly one other exchange sent.

    That one must still wait for its answer, or this host be known to repeat the setting: a gateway writes its tenant
    into every answer, and some request may have sent that name. Only what we sent is compared. A setting that this host
    has always repeated faithfully is a strong sign by itself; one that it rewrites as a matter of course is none.
    """
    if fact.kind != "settings" or not isinstance(fact.value, Mapping) or not sent.generation or sent.asked is None:
        return
    if sent.status >= 400:
        return
    for name, mine in sent.asked.settings.items():
        theirs = fact.value.get(name)
        rule = f"settings {name.partition('.')[0]}"
        if theirs is None:
            continue
        if theirs == mine:
            sent.held.add(rule)
            continue
        yield from _differs(sent, name, mine, str(theirs), now)


def _differs(sent: Sent, name: str, mine: str, theirs: str, now: float) -> Iterator[Finding]:
    if sent.memory is None:
        return
    rule = f"settings {name.partition('.')[0]}"
    other = sent.memory.sender(sent.host, name, theirs)
    if other is not None and (other.exchange == sent.entry.exchange or sent.repeats(other)):
        other = None
    names = other is not None and name.startswith(_DISTINCT)
    # another's answer, while that one still waits for it, says nothing about what this host does with settings
    waits = _waits(sent, other)
    if names and not _is_common(sent, name, theirs) and waits:
        sent.standing(rule)
        sent.broken.add(rule)
        proved = not sent.void(rule)
    else:
        sent.broke(rule, now)
        proved = names and sent.stands(rule, PROVED)
    if sent.void(rule):
        return
    place = Fact("settings", theirs, f"body {name}")
    if proved:
        yield found("settings", FAMILY, "proof", place, mine, other)
    elif sent.explained(rule) if waits else sent.stands(rule, KNOWN):
        yield found("settings", FAMILY, "strong", place, mine, other)
    else:
        yield found("settings", FAMILY, "weak", place, mine)


def _waits(sent: Sent, other: Entry | None) -> bool:
    return other is not None and any(live.entry.exchange == other.exchange for live in sent.beside())


def _is_common(sent: Sent, name: str, value: str) -> bool:
    """Whether the host wrote *value* into the answer of another that had not sent it either; part of the record."""
    if sent.memory is None:
        return False
    key = f"settings {name} of several"
    common = sent.memory.received(sent.host, name, value, sent.entry.exchange)
    return sent.judged.setdefault(key, Standing(broken=int(common))).broken > 0
