"""What follows an alarm: the other flow is marked, evidence is kept; and stored flows that are judged once more."""

from __future__ import annotations

import logging
import os
import weakref
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from mitmproxy import ctx, http
from mitmproxy.hooks import UpdateHook

from ..correlation import Mint
from ..crosstalk import report
from ..crosstalk.recent import RecentExchanges
from ..crosstalk.reverify import StoredExchange, judge
from ..settings.settings import Crosstalk
from ..state import Leak
from ..values.decision import Decision, Finding
from . import stored_flows
from .incident_files import IncidentFiles

logger = logging.getLogger(__name__)
_LATELY = 5000  # exchanges whose flows are found again


class IncidentRecorder:
    """Knows the flows of the last exchanges, weakly, and where incidents are kept."""

    def __init__(
        self, folder: Path, settings: Crosstalk, environment: Callable[[], Mapping[str, str]] = lambda: os.environ
    ) -> None:
        self._incidents = IncidentFiles(folder, settings, environment)
        self._lately: OrderedDict[str, weakref.ref[http.HTTPFlow]] = OrderedDict()

    def change(self, settings: Crosstalk) -> None:
        """Let *settings* hold from now on."""
        self._incidents.change(settings)

    def close(self) -> None:
        """Write what is left to be written."""
        self._incidents.close()

    def opened(self, flow: http.HTTPFlow, exchange: str) -> None:
        """Remember that *flow* carries *exchange*."""
        if flow.is_replay == "request":  # what is noted there is about the exchange before
            for name in ("patchbay.leaked_to", "patchbay.disputed", "patchbay.noticed"):
                flow.metadata.pop(name, None)
        self._lately[exchange] = weakref.ref(flow)
        while len(self._lately) > _LATELY:
            self._lately.popitem(last=False)

    def alarmed(self, flow: http.HTTPFlow, finding: Finding, request_id: str, now: float) -> None:
        """Note how far the first proof came, and mark the flow whose answer this is."""
        cord = getattr(flow, "patchbay", None)
        released = len(cord.copy) if cord is not None and cord.streaming else 0
        noticed = {"at": now, "detector": finding.detector, "where": finding.where, "released_bytes": released}
        flow.metadata.setdefault("patchbay.noticed", noticed)
        victim = self.flow_of(finding.victim)
        if victim is not None and victim is not flow:
            _mark(victim, Leak(finding.victim, request_id, finding.disputed))

    def flow_of(self, exchange: str) -> http.HTTPFlow | None:
        """Return the flow of *exchange*, if it was here lately."""
        found = self._lately.get(exchange)
        return found() if found else None

    def leaked(self, leak: Leak) -> None:
        """Mark the flow of a victim whose answer came to a request of another instance."""
        victim = self.flow_of(leak.victim)
        if victim is not None and _mark(victim, leak):
            logger.critical(
                "exchange %s event_type=crosstalk: its answer went to %s at another instance",
                leak.victim,
                leak.receiver,
            )

    def closed(self, flow: http.HTTPFlow, decision: Decision, sent: list[dict[str, Any]]) -> None:
        """Say on *flow* whom its answer went to, and keep evidence of an incident."""
        if flow.metadata.get("patchbay.leaked_to"):
            flow.comment += f" · {_leaked(flow)}"
            flow.marked = flow.marked or ":warning:"
        self.keep(flow, decision, sent)

    def keep(self, flow: http.HTTPFlow, decision: Decision, sent: list[dict[str, Any]]) -> None:
        """Keep evidence of an incident, if *decision* is about one."""
        if decision.verdict.kind == "crosstalk":
            self._incidents.write(decision.request_id, report.bundle(decision, sent, _around(flow)))


def _mark(victim: http.HTTPFlow, leak: Leak) -> bool:
    """Say on the flow of *victim* to whom its answer went; return whether that is news."""
    said = victim.metadata.get("patchbay.leaked_to") == leak.receiver
    victim.metadata["patchbay.leaked_to"] = leak.receiver
    if leak.disputed:
        victim.metadata["patchbay.disputed"] = True
    if not said:
        victim.comment = f"{victim.comment} · {_leaked(victim)}" if victim.comment else _leaked(victim)
    victim.marked = victim.marked or ":warning:"
    ctx.master.addons.trigger(UpdateHook([victim]))
    return not said


def _leaked(flow: http.HTTPFlow) -> str:
    to = flow.metadata["patchbay.leaked_to"]
    if flow.metadata.get("patchbay.disputed"):
        return f"it got the same answer as {to}: one of the two is another's"
    return f"its answer went to {to}"


class Again:
    """Stored flows that mitmproxy reads in (`-r`): judged at the end, in the order of then, and left as they are."""

    def __init__(self, mint: Mint) -> None:
        self._mint = mint
        self._stored: list[StoredExchange] = []

    def take(self, flow: http.HTTPFlow) -> None:
        """Remember *flow* if it was read from a file and is one of ours."""
        if flow.live or not ctx.options.rfile or len(self._stored) >= stored_flows.LIMIT:
            return
        self._stored += stored_flows.stored(flow, self._mint)

    def tell(self) -> None:
        """Log the verdict on every flow that was taken."""
        stored, self._stored = self._stored, []
        for each in judge(stored, self._mint):
            level = logging.CRITICAL if each.verdict.kind == "crosstalk" else logging.INFO
            differs = "" if each.agrees else f" (said then: {each.stored.said})"
            told = report.comment(each.verdict)
            logger.log(level, "%s %s: %s%s", each.stored.request_id, each.verdict.kind, told, differs)


def habits(memory: RecentExchanges) -> list[str]:
    """Return a line for every rule of every host: `host rule: kept 12, broken 0`, and whether it is demoted."""
    return [
        f"{host} {rule}: kept {each.kept}, broken {each.broken}" + (", demoted" if each.demoted else "")
        for host, rules in sorted(memory.habits.shown().items())
        for rule, each in sorted(rules.items())
    ]


def tell_habits(memory: RecentExchanges) -> None:
    """Log, once, what was demoted since the last call, and what stands again."""
    if memory.habits.has_news:
        for told in memory.habits.news():
            logger.log(logging.INFO if told.over else logging.WARNING, "patchbay: %s", report.demotion(told))


def _around(flow: http.HTTPFlow) -> dict[str, Any]:
    server, response = flow.server_conn, flow.response
    return {
        "noticed": flow.metadata.get("patchbay.noticed"),
        "upstream": None if server.address is None else f"{server.address[0]}:{server.address[1]}",
        "upstream_connection": server.id,
        "upstream_connected_at": server.timestamp_tcp_setup,
        "tls": server.tls_version,
        "http": flow.request.http_version,
        "request_bytes": len(flow.request.raw_content or b""),
        "request_sent_at": flow.request.timestamp_end,
        "answer_began_at": response.timestamp_start if response else None,
        "answer_ended_at": response.timestamp_end if response else None,
        "answer_bytes": len(response.raw_content or b"") if response else 0,
    }
