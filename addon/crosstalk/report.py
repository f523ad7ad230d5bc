"""A verdict written down: as plain types for log, journal and metadata, and as one line for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..values.decision import Decision, Finding, Verdict
from .host_habits import CONTRACT, IN_A_ROW, Demotion

_STRONGEST = {"proof": 0, "strong": 1, "weak": 2}


def verdict(found: Verdict) -> dict[str, object]:
    """Return *found* as plain types."""
    return {
        "verdict": found.kind,
        "echo": found.echo,
        "victim": found.victim,
        "note": found.note,
        "findings": [finding(each) for each in found.findings],
    }


def finding(found: Finding) -> dict[str, object]:
    """Return *found* as plain types: ids and places, never contents."""
    told: dict[str, object] = {
        "detector": found.detector,
        "family": found.family,
        "strength": found.strength,
        "where": found.where,
        "expected": found.expected,
        "received": found.received,
        "victim": found.victim,
    }
    return told | {"disputed": True} if found.disputed else told


def bundle(decision: Decision, sent: Sequence[Mapping[str, Any]], around: Mapping[str, object]) -> dict[str, object]:
    """
    Return an incident as plain types: what a provider needs to find it in its own logs, and what we saw.

    Ids, times, sizes and the values that were compared; of the request and the answer nothing else. *around* says what
    is known of the connection and of what the client had been given when the first proof was found.
    """
    found = decision.verdict
    return {
        "id": decision.request_id,
        "time": decision.time,
        "exchange": decision.exchange,
        "provider": decision.provider,
        "account": decision.account,
        "client": decision.client,
        "session": decision.identity.affinity,
        "thread": decision.identity.thread,
        "dialect": decision.dialect,
        "method": decision.method,
        "path": decision.path,
        "model": decision.model,
        "stream": decision.stream,
        "status": decision.status,
        "duration_seconds": round(decision.duration, 4),
        "first_byte_seconds": decision.first_byte,
        **verdict(found),
        "attempts": [
            {name: record[name] for name in ("request_id", "host", "digest", "earlier", "at", "seen")}
            for record in sent
        ],
        "around": dict(around),
    }


def demotion(told: Demotion) -> str:
    """Return one line that says what is no longer held against a host, or is again, and what can be done about it."""
    what = f"{told.host}: {told.detector} ({told.rule.partition(' ')[2] or 'any'})"
    if told.over:
        return f"{what} is kept again, and counts again"
    reset = f"to forget it: patchbay habits --reset {told.host} {told.detector}"
    if told.detector == CONTRACT:
        name = told.rule.rpartition(" ")[2]
        return (
            f"{what}: {IN_A_ROW} answers in a row brought ids in {name} that were never ours; it is taken for the"
            f" host's own and not held against it until an id of ours comes back there. If it never does: set"
            f" `echo: {{headers: {{}}}}` for this provider; {reset}"
        )
    return (
        f"{what}: its answers break this rule again and again, so that it is no longer held against them."
        f" If that is as it should be: `silent: [{told.detector}]` for this provider; {reset}"
    )


def comment(found: Verdict) -> str:
    """Return one line that says what is known of an answer."""
    if found.kind in ("crosstalk", "suspect") and found.findings:
        worst = min(found.findings, key=lambda each: _STRONGEST[each.strength])
        name = "CROSSTALK" if found.kind == "crosstalk" else "suspect"
        line = f"{name}: expected {worst.expected}, received {worst.received}, victim {found.victim or 'unknown'}"
    else:
        line = f"echo matched ({found.echo})" if found.echo else "no echo"
        if found.echo and found.kind != "clean":
            line += ", which says nothing about " + ("the body" if found.echo == "header" else "what follows it")
    return f"{line}; {found.note}" if found.note else line
