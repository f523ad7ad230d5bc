"""Records incidents of crosstalk: marks the flow whose answer went elsewhere, and has the evidence written down."""

from __future__ import annotations

import logging
import os
import weakref
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from mitmproxy import ctx, http
from mitmproxy.hooks import UpdateHook

from ..bounded import BoundedMap
from ..crosstalk import report
from ..exchange import Exchange
from ..settings.settings import CrosstalkSettings
from ..state import Leak
from ..values.decision import Decision, Finding
from . import flow_metadata as names
from .incident_files import IncidentFiles

logger = logging.getLogger(__name__)
_RECENT = 5000  # exchanges whose flows are found again


class IncidentRecorder:
    """Knows the flows of recent exchanges, weakly. Incidents go to files in *folder*, the state folder."""

    def __init__(
        self,
        folder: Path,
        settings: CrosstalkSettings,
        environment: Callable[[], Mapping[str, str]] = lambda: os.environ,
    ) -> None:
        self._files = IncidentFiles(folder, settings, environment)
        self._flows: BoundedMap[str, weakref.ref[http.HTTPFlow]] = BoundedMap(_RECENT)

    def change(self, settings: CrosstalkSettings) -> None:
        """Use *settings* from now on."""
        self._files.change(settings)

    def close(self) -> None:
        """Write what is left to be written."""
        self._files.close()

    def opened(self, flow: http.HTTPFlow, exchange: str) -> None:
        """Remember that *flow* carries *exchange*."""
        if flow.is_replay == "request":  # what stands there is about the exchange before
            for name in (names.LEAKED_TO, names.DISPUTED, names.NOTICED):
                flow.metadata.pop(name, None)
        self._flows[exchange] = weakref.ref(flow)

    def alarmed(self, flow: http.HTTPFlow, finding: Finding, request_id: str, now: float) -> None:
        """Write on *flow* what its client got before the first proof, and mark the flow whose answer this is."""
        driver = getattr(flow, "patchbay", None)
        released = len(driver.streamed_copy) if driver is not None and driver.streaming else 0
        noticed = {"at": now, "detector": finding.detector, "where": finding.where, "released_bytes": released}
        flow.metadata.setdefault(names.NOTICED, noticed)
        victim = self.flow_of(finding.victim)
        if victim is not None and victim is not flow:
            _mark(victim, Leak(finding.victim, request_id, finding.disputed))

    def flow_of(self, exchange: str) -> http.HTTPFlow | None:
        """Return the flow of *exchange*, if it was here recently and still exists."""
        found = self._flows.get(exchange)
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

    def closed(self, flow: http.HTTPFlow, exchange: Exchange, decision: Decision) -> None:
        """Say in the comment of *flow* where its answer went, and record an incident."""
        if flow.metadata.get(names.LEAKED_TO):
            flow.comment += f" · {_leaked(flow)}"
            flow.marked = flow.marked or ":warning:"
        self.record(flow, exchange, decision)

    def record(self, flow: http.HTTPFlow, exchange: Exchange, decision: Decision) -> None:
        """Have the evidence written, if *decision* is about an incident."""
        if decision.verdict == "crosstalk":
            told = report.bundle(decision, exchange.verdict.note, exchange.records(), _around(flow))
            self._files.write(decision.request_id, told)


def _mark(victim: http.HTTPFlow, leak: Leak) -> bool:
    """Say on the flow of *victim* where its answer went; return whether that is news."""
    is_known = victim.metadata.get(names.LEAKED_TO) == leak.receiver
    victim.metadata[names.LEAKED_TO] = leak.receiver
    if leak.disputed:
        victim.metadata[names.DISPUTED] = True
    if not is_known:
        victim.comment = f"{victim.comment} · {_leaked(victim)}" if victim.comment else _leaked(victim)
    victim.marked = victim.marked or ":warning:"
    ctx.master.addons.trigger(UpdateHook([victim]))
    return not is_known


def _leaked(flow: http.HTTPFlow) -> str:
    to = flow.metadata[names.LEAKED_TO]
    if flow.metadata.get(names.DISPUTED):
        return f"it got the same answer as {to}: one of the two is another's"
    return f"its answer went to {to}"


def _around(flow: http.HTTPFlow) -> dict[str, Any]:
    server, response = flow.server_conn, flow.response
    return {
        "noticed": flow.metadata.get(names.NOTICED),
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
