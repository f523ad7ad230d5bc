"""The formats of a verdict: plain types for log, journal and metadata, and one line of text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import to_builtins

from ..values.decision import Amendment, Decision, Verdict, VerdictKind, session_name
from .host_habits import BREAKS_FOR_HABIT, CONTRACT, Demotion

_STRENGTHS = ("proof", "strong", "weak")


def verdict(found: Verdict) -> dict[str, object]:
    """Return *found* as plain types."""
    return {
        "verdict": found.kind,
        "echo": found.echo,
        "victim": found.victim,
        "note": found.note,
        "findings": [to_builtins(each) for each in found.findings],
    }


def bundle(
    decision: Decision, note: str, records: Sequence[Mapping[str, Any]], around: Mapping[str, object]
) -> dict[str, object]:
    """
    Return an incident as plain types: ids, times, sizes and compared values; no other content.

    *note* is the verdict's, *records* are those of the attempts. *around*: the connection, and how much the client had
    received at the first proof.
    """
    attempts = [
        {name: record[name] for name in ("request_id", "host", "digest", "earlier", "at", "seen")} for record in records
    ]
    return {"id": decision.request_id, **decision.encoded(), "note": note, "attempts": attempts, "around": dict(around)}


def amended_bundle(change: Amendment) -> dict[str, object]:
    """Return an incident that a later answer showed, as plain types; `bundle` wrote none when the answer came."""
    return {"id": change.request_id, "event_type": "crosstalk", **change.encoded()}


def amendment(change: Amendment) -> str:
    """Return one line about a verdict that changed after its exchange had ended."""
    found = Verdict(change.verdict, tuple(change.findings), "", change.victim)
    what = _compared(found) if change.verdict in ("crosstalk", "suspect") and change.findings else ""
    return f"{change.verdict} since exchange {change.by}" + (f": {what}" if what else f" (before: {change.was})")


def demotion(told: Demotion) -> str:
    """Return one line about a rule that is demoted at a host, or counts again, and the remedy."""
    what = f"{told.host}: {told.detector} ({told.rule.partition(' ')[2] or 'any'})"
    if told.over:
        return f"{what} is kept again and counts again"
    reset = f"to forget it: patchbay habits --reset {told.host} {told.detector}"
    if told.detector == CONTRACT:
        name = told.rule.rpartition(" ")[2]
        return (
            f"{what}: {BREAKS_FOR_HABIT} answers in a row brought ids in {name} that were never ours, so they count as"
            f" the host's own until an id of ours comes back there. If none ever does: set"
            f" `echo: {{headers: {{}}}}` for this provider; {reset}"
        )
    return (
        f"{what}: its answers break this rule habitually, so the rule no longer counts there."
        f" To switch the detector off: `disabled_detectors: [{told.detector}]` for this provider; {reset}"
    )


def summary(found: Verdict) -> str:
    """Return one line about an answer; it begins with the word of its verdict."""
    told = evidence(found)
    return f"{word(found.kind)}: {told}" if told else word(found.kind)


def word(kind: VerdictKind) -> str:
    """Return the word of a verdict of *kind*; one that needs attention at once stands in capitals."""
    return "CROSSTALK" if kind == "crosstalk" else kind


def evidence(found: Verdict) -> str:
    """Return what an answer was judged by: the strongest finding, or where our id came back (empty: nowhere)."""
    line = _compared(found) if found.kind in ("crosstalk", "suspect") and found.findings else _echo(found)
    return "; ".join(filter(None, (line, found.note)))


def _compared(found: Verdict) -> str:
    worst = min(found.findings, key=lambda each: _STRENGTHS.index(each.strength))
    session = next((each.victim_session for each in found.findings if each.victim == found.victim), "")
    of = f" of session {session_name(session)}" if session else ""
    return f"expected {worst.expected}, received {worst.received}, victim {found.victim or 'unknown'}{of}"


def _echo(found: Verdict) -> str:
    if not found.echo:
        return ""
    line = f"echo matched ({found.echo})"
    if found.kind == "clean":
        return line
    return f"{line}, which says nothing about " + ("the body" if found.echo == "header" else "what follows it")
