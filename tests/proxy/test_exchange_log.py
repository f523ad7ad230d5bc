"""An exchange that ends is written on its flow, in the journal, and as an incident."""

from __future__ import annotations

import json
import logging
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from mitmproxy.http import HTTPFlow
from mitmproxy.test import tflow

from patchbay.accounts.changes import AccountChange, Rest
from patchbay.exchange import Exchange
from patchbay.journal import Journal
from patchbay.proxy import exchange_log
from patchbay.proxy.exchange_log import ExchangeLog
from patchbay.proxy.incident_recorder import IncidentRecorder
from patchbay.proxy.session_list import SessionList
from patchbay.router import Router
from patchbay.settings.settings import CrosstalkSettings, JournalSettings
from patchbay.values.decision import Amendment, Decision, Finding, Outcome
from patchbay.values.http import Headers

from ..test_router import answer, bad, good, opened, request, routed, router

KEY = bytes(32)


class Bench:
    def __init__(self, folder: Path) -> None:
        self.router: Router = router()
        self.failures = 0
        self.incidents = IncidentRecorder(folder, CrosstalkSettings())
        self.sessions = SessionList()
        self.shown: list[Decision] = []
        self.log = ExchangeLog(self.router, KEY, self.incidents, self.sessions, self.shown.append, self._failed)
        self.flow: HTTPFlow = tflow.tflow(resp=True)

    def _failed(self) -> None:
        self.failures += 1

    def exchange(self) -> Exchange:
        made = opened(self.router, request(x_session_id="s"))
        routed(self.router, made)
        answer(self.router, made, *good())
        return made

    def close(self, exchange: Exchange, error: str = "", **more: Any) -> None:
        members = {"exchange": exchange, "streamed_copy": b"12345", "copy_is_partial": False, "own_answer": False,
                   "shadow": False, "body_limit": 1 << 20, "request_headers": Headers}  # fmt: skip
        driver: Any = SimpleNamespace(**members | more)
        self.log.closed(self.flow, driver, error)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_an_exchange_is_written_on_its_flow(bench: Bench) -> None:
    exchange = bench.exchange()
    bench.close(exchange, "the client left")
    found = bench.flow.metadata
    assert bench.sessions.totals().exchanges == 1

    assert found["patchbay.error"] == "the client left"
    assert found["patchbay.status"] == bench.flow.response.status_code  # type: ignore[union-attr]
    assert found["patchbay.served"]["account"] == found["patchbay.account"]
    assert [record["request_id"] for record in found["patchbay.sent"]] == [found["patchbay.request_id"]]
    assert "patchbay.kept_bytes" not in found and "patchbay.own_answer" not in found
    assert "the client left" in bench.flow.comment
    assert bench.failures == 0


def test_the_status_is_the_one_that_the_client_got(bench: Bench) -> None:
    assert bench.flow.response
    bench.flow.response.status_code = 418
    bench.close(bench.exchange())
    assert bench.flow.metadata["patchbay.status"] == 418

    bench.flow.response = None
    bench.close(bench.exchange())
    assert bench.flow.metadata["patchbay.status"] == 200  # of the attempt, where the client got none


def test_how_much_of_a_longer_answer_is_kept_is_said(bench: Bench) -> None:
    bench.close(bench.exchange(), copy_is_partial=True, own_answer=True)

    assert bench.flow.metadata["patchbay.kept_bytes"] == 5
    assert bench.flow.metadata["patchbay.own_answer"] is True
    assert bench.flow.comment.endswith("only the first 5 bytes of the answer are kept")


def test_what_happens_to_an_account_is_a_line_of_the_journal(bench: Bench, tmp_path: Path) -> None:
    rest = Rest(("m",), "rate", "rate limited (429)", 10.0, 610.0, 600.0)
    bench.log.account_changed(AccountChange("one", "rests", rest), 10.0)  # without a journal
    bench.log.journal = Journal(JournalSettings(str(tmp_path / "journal")))
    bench.log.account_changed(AccountChange("one", "rests", rest, conversations=3, move=True), 10.0)
    bench.log.account_changed(AccountChange("one", "back", rest, because="woken by a user"), 50.0)
    bench.log.account_changed(AccountChange("two", "disabled", because="by the settings"), 51.0)
    bench.log.journal.close()
    rests, back, disabled = [json.loads(line) for line in (tmp_path / "journal").read_text().splitlines()]
    why = {"models": ["m"], "cause": "rate", "reason": "rate limited (429)", "until": 610.0, "retry_after": 600.0}
    kind = {"event_type": "account_change", "account": "one"}
    assert list(rests)[:3] == ["time", "event_type", "change"]
    assert rests == kind | why | {"time": 10.0, "change": "rests", "conversations": 3, "move": True}
    assert back == kind | why | {"time": 50.0, "change": "back", "rested_seconds": 40.0, "because": "woken by a user"}
    assert disabled == kind | {"time": 51.0, "account": "two", "change": "disabled", "because": "by the settings"}

    page = (Path(__file__).parents[2] / "docs" / "settings.md").read_text(encoding="utf-8")
    table = page.partition("\n| member | value |\n")[2].partition("\n\n")[0]
    rows = "".join(line.split("|")[1] for line in table.splitlines()[1:])
    assert set(re.findall(r"`(\w+)`", rows)) | {"event_type"} == {*rests, *back, *disabled}


def test_it_is_a_line_of_the_journal(bench: Bench, tmp_path: Path) -> None:
    bench.log.journal = Journal(JournalSettings(str(tmp_path / "journal")))
    exchange, message = bench.exchange(), bench.exchange()
    bench.close(exchange)
    bench.log.message_closed(bench.flow, message, bench.router.close(message, "", 1.0, status=200))
    bench.log.journal.close()
    lines = [json.loads(line) for line in (tmp_path / "journal").read_text().splitlines()]

    assert [line["exchange"] for line in lines] == [exchange.id, message.id]
    assert bench.flow.metadata["patchbay.exchange"] == exchange.id  # a message leaves the line of the upgrade
    assert [line["exchange"] for line in bench.flow.metadata["patchbay.exchanges"]] == [message.id]


@pytest.mark.parametrize(
    ("kind", "failures"), [("ok", 0), ("request", 0), ("cancelled", 0), ("rate", 1), ("auth", 1), ("server", 1)]
)
def test_the_failure_of_an_account_is_told(bench: Bench, kind: Any, failures: int) -> None:
    exchange = bench.exchange()
    exchange.attempts[-1].outcome = Outcome(kind)
    bench.close(exchange)

    assert bench.failures == failures


def test_evidence_of_an_incident_is_kept(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[tuple[HTTPFlow, str, str]] = []
    monkeypatch.setattr(
        bench.incidents, "record", lambda flow, exchange, decision: kept.append((flow, exchange.id, decision.exchange))
    )
    first, second = bench.exchange(), bench.exchange()
    bench.log.opened(bench.flow, first)
    assert bench.incidents.flow_of(first.id) is bench.flow
    bench.close(first)
    bench.log.message_closed(bench.flow, second, bench.router.close(second, "", 1.0))

    assert kept == [(bench.flow, each.id, each.id) for each in (first, second)]


def test_what_is_demoted_is_logged_with_the_next_exchange(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    news = [SimpleNamespace(over=over) for over in (False, True)]
    decision = bench.router.close(exchange := bench.exchange(), "", 1.0)
    bench.router.memory = SimpleNamespace(habits=SimpleNamespace(has_news=True, news=lambda: news))  # type: ignore[assignment]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(exchange_log.report, "demotion", lambda each: f"over: {each.over}")
        bench.log._written(exchange, decision)

        bench.router.memory.habits.has_news = False  # type: ignore[misc]
        bench.log._written(exchange, decision)

    levels = [(record.levelno, record.getMessage()) for record in caplog.records if "over" in record.getMessage()]
    assert levels == [(logging.WARNING, "patchbay: over: False"), (logging.INFO, "patchbay: over: True")]


def test_an_exchange_whose_edits_cannot_be_told_is_written_all_the_same(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(exchange_log.wire_edits, "of")
    bench.close(bench.exchange())

    assert bench.flow.metadata["patchbay.account"]
    assert "patchbay.edits" not in bench.flow.metadata


def amendment(of: str, by: str) -> Amendment:
    told = Finding("next-turn", "attestation", "strong", "body diagnostics", "mine", "another", "v1")
    return Amendment(7.0, of, "pb1-of", "s", "a", "suspect", "unverifiable", "v1", [told], by)


@pytest.mark.parametrize("is_message", [False, True])
def test_a_verdict_that_changed_is_told_by_the_exchange_that_changed_it(
    bench: Bench, tmp_path: Path, is_message: bool
) -> None:
    bench.log.journal = Journal(JournalSettings(str(tmp_path / "journal")))
    by, heard = bench.exchange(), list[Amendment]()
    changes = [amendment("earlier", by.id), amendment("yet earlier", by.id)]
    bench.log.amended = heard.append
    bench.router.memory.late._amended[by.id] = changes
    if is_message:
        bench.log.message_closed(bench.flow, by, bench.router.close(by, "", 1.0, status=200))
    else:
        bench.close(by)
    bench.log.journal.close()
    line, *told = [json.loads(line) for line in (tmp_path / "journal").read_text().splitlines()]

    assert line["exchange"] == by.id
    assert [list(each) for each in told] == [["time", "event_type", *list(changes[0].encoded())[1:]]] * 2
    assert told == [{"event_type": "verdict_change"} | each.encoded() for each in changes]
    assert bench.flow.metadata["patchbay.amends"] == [each.encoded() for each in changes]
    assert "patchbay.amended" not in bench.flow.metadata  # this exchange's own verdict stays
    assert heard == changes

    bench.close(bench.exchange())  # they are told once
    assert heard == changes


def test_without_a_journal_a_changed_verdict_is_on_the_flow_all_the_same(bench: Bench) -> None:
    by, heard = bench.exchange(), list[Amendment]()
    bench.log.amended = heard.append
    bench.router.memory.late._amended[by.id] = [amendment("earlier", by.id)]
    bench.close(by)

    assert bench.flow.metadata["patchbay.amends"] == [heard[0].encoded()]
    assert heard[0].encoded()["time"] == 7.0  # the line of a journal takes none of it away


def test_each_end_is_shown_and_counted(bench: Bench) -> None:
    exchange, message = bench.exchange(), bench.exchange()
    bench.close(exchange)
    decision = bench.router.close(message, "", 1.0, status=200)
    bench.log.message_closed(bench.flow, message, decision)

    assert [each.exchange for each in bench.shown] == [exchange.id, message.id]
    assert bench.sessions.totals().exchanges == 2
    assert decision.account in bench.flow.comment and message.identity.affinity[:8] in bench.flow.comment


def test_an_account_failed_though_another_served(bench: Bench) -> None:
    exchange = opened(bench.router, request(x_session_id="s"))
    routed(bench.router, exchange)
    answer(bench.router, exchange, *bad(503))
    routed(bench.router, exchange)
    answer(bench.router, exchange, *good())
    bench.close(exchange)

    assert [attempt.outcome and attempt.outcome.kind for attempt in exchange.attempts] == ["overload", "ok"]
    assert bench.failures == 1


def test_what_differed_on_the_wire_is_on_the_flow(bench: Bench) -> None:
    exchange = bench.exchange()
    bench.close(exchange, placed_fields=None)

    assert "X-Request-ID" in bench.flow.metadata["patchbay.edits"]["headers"]
