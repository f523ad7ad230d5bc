"""Flows that mitmproxy loads from a file (`-r`): judged together at the end, and left as they are."""

from __future__ import annotations

import logging

from mitmproxy import ctx, http

from ..correlation import Mint
from ..crosstalk import report
from ..crosstalk.reverify import StoredExchange, judge
from . import stored_flows

logger = logging.getLogger(__name__)


class LoadedFlows:
    """The exchanges of loaded flows; *mint* recognises the request ids of this instance."""

    def __init__(self, mint: Mint) -> None:
        self._mint = mint
        self._exchanges: list[StoredExchange] = []

    def take(self, flow: http.HTTPFlow) -> None:
        """Keep the exchanges of *flow* if it was loaded from a file."""
        if not flow.live and ctx.options.rfile and len(self._exchanges) < stored_flows.LIMIT:
            self._exchanges += stored_flows.exchanges_of(flow, self._mint)

    def log_verdicts(self) -> None:
        """Log the verdict on every exchange that was taken, in the order in which they happened."""
        taken, self._exchanges = self._exchanges, []
        for each in judge(taken, self._mint):
            level = logging.CRITICAL if each.verdict.kind == "crosstalk" else logging.INFO
            differs = "" if each.agrees else f" (said then: {each.stored.recorded})"
            told = ": ".join(filter(None, (each.verdict.kind, report.evidence(each.verdict))))
            logger.log(level, "%s %s%s", each.stored.request_id, told, differs)
