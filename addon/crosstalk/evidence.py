"""A verdict written down: as plain types for log, journal and metadata, and as one line for people."""

from __future__ import annotations

from ..values import Finding, Verdict

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


def finding(found: Finding) -> dict[str, str]:
    """Return *found* as plain types: ids and places, never contents."""
    return {
        "detector": found.detector,
        "family": found.family,
        "strength": found.strength,
        "where": found.where,
        "expected": found.expected,
        "received": found.received,
        "victim": found.victim,
    }


def comment(found: Verdict) -> str:
    """Return one line that says what is known of an answer."""
    if found.kind in ("crosstalk", "suspect") and found.findings:
        worst = min(found.findings, key=lambda each: _STRONGEST[each.strength])
        name = "CROSSTALK" if found.kind == "crosstalk" else "suspect"
        line = f"{name}: expected {worst.expected}, received {worst.received}, victim {found.victim or 'unknown'}"
    else:
        line = f"echo matched ({found.echo})" if found.echo else "no echo"
    return f"{line}; {found.note}" if found.note else line
