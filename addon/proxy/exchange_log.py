"""Writes down each exchange: on its flow, in the journal, and as an incident."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

from mitmproxy import http

from ..accounts.changes import AccountChange
from ..crosstalk import report
from ..exchange import Exchange
from ..journal import Journal
from ..router import Router
from ..values.decision import Amendment, Decision
from . import flow_record, flow_view, replay, terminal_json, wire_edits
from .exchange_driver import ExchangeDriver
from .incident_recorder import IncidentRecorder
from .session_list import SessionList

# The event types of the journal's lines that are no exchange.
ACCOUNT_CHANGE, VERDICT_CHANGE = "account_change", "verdict_change"
logger = logging.getLogger(__name__)


class ExchangeLog:
    """
    Where the ends of exchanges are written; *key* is the master key.

    *show* is called with each decision; *account_failed* after an exchange in which an account failed.
    """

    def __init__(
        self,
        router: Router,
        key: bytes,
        incidents: IncidentRecorder,
        sessions: SessionList,
        show: Callable[[Decision], None],
        account_failed: Callable[[], None],
    ) -> None:
        self._router = router
        self._key = key
        self._incidents = incidents
        self._sessions = sessions
        self._show = show
        self._account_failed = account_failed
        self.journal: Journal | None = None
        self.amended: Callable[[Amendment], None] = lambda _: None  # called with each verdict that has changed

    def opened(self, flow: http.HTTPFlow, exchange: Exchange) -> None:
        """Remember that *flow* carries *exchange*."""
        self._incidents.opened(flow, exchange.id)

    def closed(self, flow: http.HTTPFlow, driver: ExchangeDriver, error: str) -> None:
        """Close the exchange of *driver*, and write it down."""
        exchange = driver.exchange
        assert exchange is not None
        status = flow.response.status_code if flow.response else None
        decision = self._router.close(exchange, error, time.time(), status=status)
        line = self._written(exchange, decision)
        kept = len(driver.streamed_copy) if driver.copy_is_partial else None
        flow_record.write_decision(flow, exchange, line)
        flow_record.write_attempts(flow, exchange.records(), own_answer=driver.own_answer, kept_bytes=kept)
        flow_record.write_edits(flow, _edits(flow, driver))
        flow_record.write_served(flow, exchange, decision, self._key)
        flow_view.show(flow, exchange, decision)
        replay.remark(flow, exchange, decision)
        if kept is not None:
            flow.comment += f" · only the first {kept} bytes of the answer are kept"
        self._incidents.record(flow, exchange, decision)
        self.amend(exchange.id, flow)

    def message_closed(self, flow: http.HTTPFlow, exchange: Exchange, decision: Decision) -> None:
        """Write down *decision* about *exchange*, one of those on the WebSocket *flow*."""
        line = self._written(exchange, decision)
        flow_record.add_line(flow, line)
        flow_view.show_message(flow, exchange, decision)
        self._incidents.record(flow, exchange, decision)
        self.amend(exchange.id, flow)

    def account_changed(self, change: AccountChange, at: float) -> None:
        """Write down in the journal what happened to an account *at* that time."""
        if self.journal:
            told = terminal_json.account_changed(change, at)
            self.journal.write({"time": told.pop("time"), "event_type": ACCOUNT_CHANGE, "change": told.pop("change")}
                               | {name: value for name, value in told.items() if name != "event"})  # fmt: skip

    def amend(self, by: str, flow: http.HTTPFlow | None = None) -> None:
        """Write down the verdicts on earlier answers that the answer to the exchange *by*, on *flow*, has changed."""
        for change in self._router.memory.late.amendments(by):
            told = change.encoded()
            if flow is not None:  # a dump holds the earlier flow as it ended, so the flow that changed it says so too
                flow_record.add_amendment(flow, told)
            if self.journal:
                self.journal.write({"time": told.pop("time"), "event_type": VERDICT_CHANGE} | told)
            self.amended(change)

    def _written(self, exchange: Exchange, decision: Decision) -> dict[str, Any]:
        if self._router.memory.habits.has_news:
            for news in self._router.memory.habits.news():
                logger.log(logging.INFO if news.over else logging.WARNING, "patchbay: %s", report.demotion(news))
        self._sessions.record(exchange, decision)
        self._show(decision)
        line = decision.encoded()
        if self.journal:
            self.journal.write(line)
        if any(tried.outcome not in ("ok", "request", "cancelled") for tried in decision.attempts):
            self._account_failed()
        return line


def _edits(flow: http.HTTPFlow, driver: ExchangeDriver) -> dict[str, Any]:
    try:
        return wire_edits.of(flow, driver)
    except Exception as e:  # it is only shown, and the answer is already there
        logger.debug("the edits of a request cannot be shown: %s", type(e).__name__, exc_info=True)
        return {}
