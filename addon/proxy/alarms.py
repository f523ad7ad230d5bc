"""Proofs of crosstalk: their victim is looked up, at other instances too; then they are logged, and recorded."""

from __future__ import annotations

import asyncio
import logging
import time

from mitmproxy import http

from ..exchange import Exchange
from ..router import Router
from ..state import Leak
from ..values.decision import Amendment, Finding, session_name
from . import persistence
from .in_flight import driver_of
from .incident_recorder import IncidentRecorder
from .persistence import Persistence

logger = logging.getLogger(__name__)

UNKNOWN = "unknown"  # the victim of a finding that names none


class Alarms:
    """Raises the alarm for a proof, once it is known whose answer came."""

    def __init__(self, router: Router, store: Persistence, incidents: IncidentRecorder) -> None:
        self._router = router
        self._store = store
        self._incidents = incidents

    def raise_for(self, flow: http.HTTPFlow, exchange: Exchange) -> None:
        """
        Log and record the proofs in the present answer to *exchange*; first ask the store for an unknown victim.

        An answer is told once, by its first proof, and again only where a further one names another victim.
        """
        for finding in exchange.verdict.findings:
            if finding.strength == "proof" and _is_news(exchange, finding):
                self._raise(flow, exchange, finding)

    def amended(self, change: Amendment) -> None:
        """Record a verdict that a later answer changed; log it where it is crosstalk now."""
        self._incidents.amended(change)
        if change.verdict != "crosstalk":
            return
        session = session_name(change.session)
        logger.critical(
            "%s event_type=crosstalk late=%s session=%s account=%s victim=%s",
            change.request_id,
            change.by,
            session or "none",
            change.account,
            change.victim or UNKNOWN,
        )
        if change.victim not in ("", UNKNOWN):
            leak = Leak(change.victim, change.request_id, session=session)
            self._incidents.mark(leak, self._incidents.flow_of(change.exchange))
            self._tell(leak, change.time)

    def _raise(self, flow: http.HTTPFlow, exchange: Exchange, finding: Finding) -> None:
        driver = driver_of(flow)
        if driver and self._store.shared and finding.victim == UNKNOWN and exchange.is_nameless:
            driver.victim_lookups.add(asyncio.get_running_loop().create_task(self._name(flow, exchange, finding)))
        else:
            self._record(flow, exchange, finding)

    async def _name(self, flow: http.HTTPFlow, exchange: Exchange, finding: Finding) -> None:
        """Ask the other instances whose id *finding* is about, then record what was found."""
        found = [finding]
        try:
            found = await self._named(exchange) or [finding] * exchange.is_nameless
        except Exception as e:  # an alarm must not be lost
            logger.error("a victim could not be named: %s", type(e).__name__)
        exchange.attempts[-1].alarmed.discard(UNKNOWN)
        for each in found:
            if each.strength == "proof" and _is_news(exchange, each):
                self._record(flow, exchange, each)

    async def _named(self, exchange: Exchange) -> list[Finding]:
        """Return what is found in the answer to *exchange* once the other instances have said whose ids are in it."""
        left = persistence.CATCH_UP
        for pause in (0.0, persistence.NEW):
            if pause:
                await asyncio.sleep(pause)
            left = await self._store.caught_up(left)
            named = self._router.settle(exchange, time.time())
            if named or not exchange.is_nameless:
                return named
        return []

    def _record(self, flow: http.HTTPFlow, exchange: Exchange, finding: Finding) -> None:
        lease, now = exchange.attempts[-1].lease, time.time()
        session = session_name(exchange.identity.affinity)
        logger.critical(
            "%s event_type=crosstalk expected=%s received=%s where=%s session=%s account=%s"
            " victim=%s victim_session=%s",
            lease.request_id,
            finding.expected,
            finding.received,
            finding.where,
            session or "none",
            lease.account.id,
            finding.victim,
            session_name(finding.victim_session) or "unknown",
        )
        leak = Leak(finding.victim, lease.request_id, finding.disputed, session)
        self._incidents.alarmed(flow, finding, leak, now)
        if finding.victim != UNKNOWN:
            self._tell(leak, now)

    def _tell(self, leak: Leak, now: float) -> None:
        """Tell the other instances of *leak*, if the victim's flow is not here."""
        if self._incidents.flow_of(leak.victim) is None:
            self._router.state.leak(leak, now)
            self._store.soon()


def _is_news(exchange: Exchange, finding: Finding) -> bool:
    """Whether the alarms for the present answer to *exchange* have not told of *finding* yet; from now on they have."""
    told = exchange.attempts[-1].alarmed
    if finding.victim in told or (told and finding.victim == UNKNOWN):
        return False
    told.add(finding.victim)
    return True
