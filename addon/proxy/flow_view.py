"""A decision as mitmproxy shows it: the flow's metadata (plain types only), comment and mark."""

from __future__ import annotations

from typing import Any

from mitmproxy import http

from ..crosstalk import report
from ..values.decision import Decision

_MESSAGES = 50  # exchanges of one WebSocket that are kept with its flow
_MARKS = {"crosstalk": ":rotating_light:", "suspect": ":warning:"}


def on_flow(flow: http.HTTPFlow, decision: Decision, line: dict[str, Any]) -> None:
    """Write *decision*, and the journal's *line* of it, on *flow*. Only plain types: with others no flow is saved."""
    for name, value in line.items():
        flow.metadata[f"patchbay.{name}"] = value
    flow.metadata["patchbay.candidates"] = {c.account: c.reason for c in decision.candidates}
    flow.metadata["patchbay.evidence"] = [
        {"tier": e.tier, "where": e.where, "used": e.used, "why": e.why} for e in decision.identity.evidence
    ]
    flow.comment = comment(decision)
    flow.marked = _MARKS.get(decision.verdict.kind, flow.marked)


def on_socket(flow: http.HTTPFlow, decision: Decision, line: dict[str, Any]) -> None:
    """Write on *flow* what was decided about one message of its WebSocket, beside what is there about the upgrade."""
    lines = flow.metadata.get("patchbay.exchanges", [])
    flow.metadata["patchbay.exchanges"] = [*lines, line][-_MESSAGES:]
    flow.comment = comment(decision)
    flow.marked = _MARKS.get(decision.verdict.kind, flow.marked)


def comment(decision: Decision) -> str:
    """Return one line: who served it, how the session was named, and what is known of the answer."""
    parts = ["shadow"] if decision.mode == "shadow" else []
    parts.append(report.comment(decision.verdict))
    if decision.account:
        parts.append(f"{decision.account} ({decision.binding})")
    if decision.identity.tier:
        parts.append(f"{decision.identity.tier} {decision.identity.affinity[:8]}")
    if len(decision.attempts) > 1:
        parts.append("after " + ", ".join(f"{t.account}: {t.outcome}" for t in decision.attempts[:-1]))
    if decision.error:
        parts.append(decision.error)
    return " · ".join(parts)
