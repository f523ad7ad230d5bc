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
from ..values.decision import Amendment, Decision, Finding
from . import flow_metadata as names, flow_record, flow_view
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
        self._leaks: BoundedMap[Leak, bool] = BoundedMap(_RECENT)  # told of by other instances

    def change(self, settings: CrosstalkSettings) -> None:
        """Use *settings* from now on."""
        self._files.change(settings)

    def close(self) -> None:
        """Write what is left to be written."""
        self._files.close()

    def opened(self, flow: http.HTTPFlow, exchange: str) -> None:
        """Remember that *flow* carries *exchange*."""
        if flow.is_replay == "request":  # what stands there is about the exchange before
            for name in (names.LEAKED_TO, names.NOTICED):
                flow.metadata.pop(name, None)
        self._flows[exchange] = weakref.ref(flow)

    def alarmed(self, flow: http.HTTPFlow, finding: Finding, leak: Leak, now: float) -> None:
        """Write on *flow* what its client got before the first proof, and mark the flow whose answer this is."""
        driver = getattr(flow, "patchbay", None)
        released = len(driver.streamed_copy) if driver is not None and driver.streaming else 0
        noticed = {"at": now, "detector": finding.detector, "where": finding.where, "released_bytes": released}
        flow.metadata.setdefault(names.NOTICED, noticed)
        self.mark(leak, flow)

    def flow_of(self, exchange: str) -> http.HTTPFlow | None:
        """Return the flow of *exchange*, if it was here recently and still exists."""
        found = self._flows.get(exchange)
        return found() if found else None

    def leaks_of(self, exchange: str) -> list[dict[str, object]]:
        """Return where the answer of *exchange* went, as its flow says."""
        flow = self.flow_of(exchange)
        return names.records(flow.metadata.get(names.LEAKED_TO)) if flow else []

    def leaked(self, leak: Leak) -> None:
        """Mark the flow of a victim whose answer came to a request of another instance."""
        if leak.victim not in self._flows:  # another instance's
            return
        victim = self.flow_of(leak.victim)
        news = leak not in self._leaks if victim is None else _mark(victim, leak)
        self._leaks[leak] = True
        if news:
            logger.critical(
                "exchange %s event_type=crosstalk: its answer went to %s of session %s at another instance",
                leak.victim,
                leak.receiver,
                leak.session or "unknown",
            )

    def record(self, flow: http.HTTPFlow, exchange: Exchange, decision: Decision) -> None:
        """Have the evidence written, if *decision* is about an incident."""
        if decision.verdict == "crosstalk":
            told = report.bundle(decision, exchange.verdict.note, exchange.records(), _around(flow))
            self._files.write(decision.request_id, told)

    def amended(self, change: Amendment) -> None:
        """Write on the flow of an earlier exchange, if it still exists, that its verdict changed, and the evidence."""
        if change.verdict == "crosstalk":
            self._files.write(change.request_id, report.amended_bundle(change))
        flow = self.flow_of(change.exchange)
        if flow is not None:
            flow_record.amend(flow, change.encoded())
            flow_view.show_amendment(flow, change)
            ctx.master.addons.trigger(UpdateHook([flow]))

    def mark(self, leak: Leak, receiver: http.HTTPFlow | None) -> None:
        """Mark the flow of the victim of *leak*, unless it is the WebSocket on which *receiver* got the answer."""
        victim = self.flow_of(leak.victim)
        if victim is not None and victim is not receiver:
            _mark(victim, leak)


def _mark(victim: http.HTTPFlow, leak: Leak) -> bool:
    """Say on the flow of *victim* where its answer went; return whether that is news."""
    is_news = flow_view.show_leak(victim, leak)
    if is_news:
        ctx.master.addons.trigger(UpdateHook([victim]))
    return is_news


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
