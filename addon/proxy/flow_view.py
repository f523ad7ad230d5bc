"""What users see of a decision on its flow, in the list of mitmweb and the console: the comment and the mark."""

from __future__ import annotations

from mitmproxy import http

from ..crosstalk import report
from ..exchange import Exchange
from ..values.decision import Decision

_MARKS = {"crosstalk": ":rotating_light:", "suspect": ":warning:"}


def show(flow: http.HTTPFlow, exchange: Exchange, decision: Decision) -> None:
    """Put the comment and the mark of *decision* on *flow*."""
    flow.comment = comment(exchange, decision)
    flow.marked = _MARKS.get(decision.verdict, flow.marked)


def comment(exchange: Exchange, decision: Decision) -> str:
    """Return one line: the verdict, the account, how the session was named, and the attempts before."""
    parts = ["shadow"] if decision.mode == "shadow" else []
    parts.append(report.summary(exchange.verdict))
    if decision.account:
        parts.append(f"{decision.account} ({decision.binding})")
    if decision.tier:
        parts.append(f"{decision.tier} {decision.session[:8]}")
    if len(decision.attempts) > 1:
        parts.append("after " + ", ".join(f"{t.account}: {t.outcome}" for t in decision.attempts[:-1]))
    if decision.error:
        parts.append(decision.error)
    return " · ".join(parts)
