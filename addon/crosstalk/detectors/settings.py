"""The family of settings: what an answer of the Responses API repeats of its request, before its first word."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ...values import Fact, Finding
from ..sent import Sent
from .found import found

FAMILY = "settings"
# What no server could make up so that it equals what another request sent. Numbers it may well set itself.
_DISTINCT = ("previous_response_id", "prompt_cache_key", "safety_identifier", "user", "instructions", "metadata.")


def echo(sent: Sent, fact: Fact, now: float) -> Iterator[Finding]:
    """
    Settings that are not those we sent: proof when one of them is what exactly one other exchange sent.

    Only what we sent is compared. A setting that this host has always repeated faithfully is a strong sign by itself;
    one that it rewrites as a matter of course is none.
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
        yield from _differs(sent, name, mine, str(theirs), rule)


def _differs(sent: Sent, name: str, mine: str, theirs: str, rule: str) -> Iterator[Finding]:
    sent.broken.add(rule)
    if sent.memory is None or sent.void(rule):
        return
    other = sent.memory.sender(sent.host, name, theirs)
    if other is not None and other.exchange == sent.entry.exchange:
        other = None
    place = Fact("settings", theirs, f"body {name}")
    if name.startswith(_DISTINCT) and other is not None and not sent.repeats(other):
        yield found("settings", FAMILY, "proof", place, mine, other)
    else:
        yield found("settings", FAMILY, "strong" if sent.proven(rule) else "weak", place, mine, other)
