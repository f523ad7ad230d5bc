"""The flow whose answer went elsewhere is marked, and what is written down of an incident."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from mitmproxy.test import taddons, tflow
from msgspec import structs

from patchbay.proxy import incident_recorder
from patchbay.proxy.incident_recorder import IncidentRecorder
from patchbay.settings.settings import CrosstalkSettings
from patchbay.state import Leak
from patchbay.values.decision import Amendment, Finding

from ..test_router import answer, good, opened, request, routed, router


def finding(victim: str) -> Finding:
    return Finding("tag", "ids", "proof", "body request_id", "mine", "theirs", victim)


WENT = "event_type=crosstalk: its answer went to pb1-elsewhere of session unknown at another instance"
LEAK = Leak("b", "pb1-mine", session="e718a2c4")


def test_the_flow_whose_answer_it_was_is_marked_too(tmp_path: Path) -> None:
    recorder = IncidentRecorder(tmp_path, CrosstalkSettings())
    mine, theirs = tflow.tflow(), tflow.tflow()
    mine.patchbay = SimpleNamespace(streaming=True, streamed_copy=b"12345")  # type: ignore[attr-defined]
    theirs.comment = "clean"
    recorder.opened(mine, "a")
    recorder.opened(theirs, "b")
    with taddons.context():
        recorder.alarmed(mine, finding("b"), LEAK, 7.0)
        recorder.alarmed(mine, finding("b"), LEAK, 8.0)

    leaked = [{"exchange": "b", "to": "pb1-mine", "session": "e718a2c4", "disputed": False}]
    assert theirs.metadata["patchbay.leaked_to"] == leaked
    told = "VICTIM: clean · the answer of exchange b went to pb1-mine of session e718a2c4"
    assert (theirs.comment, theirs.marked) == (told, ":warning:")
    assert mine.metadata["patchbay.noticed"]["released_bytes"] == 5
    assert mine.metadata["patchbay.noticed"]["at"] == 7.0


def test_a_victim_that_nobody_knows_is_left_alone(tmp_path: Path) -> None:
    recorder = IncidentRecorder(tmp_path, CrosstalkSettings())
    flow = tflow.tflow()
    with taddons.context():
        recorder.alarmed(flow, finding("unknown"), Leak("unknown", "pb1-mine"), 7.0)

    assert "patchbay.leaked_to" not in flow.metadata


def test_flows_are_not_kept_alive(tmp_path: Path) -> None:
    recorder = IncidentRecorder(tmp_path, CrosstalkSettings())
    recorder.opened(tflow.tflow(), "gone")
    flow = tflow.tflow()
    with taddons.context():
        recorder.alarmed(flow, finding("gone"), Leak("gone", "pb1-mine"), 7.0)

    assert len(recorder._flows) == 1


def test_the_flow_whose_answer_came_to_another_instance_is_marked_and_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """R15: the instance of the victim hears of it by the store."""
    recorder = IncidentRecorder(tmp_path, CrosstalkSettings())
    theirs = tflow.tflow()
    recorder.opened(theirs, "b")
    with taddons.context():
        for _ in range(2):
            recorder.leaked(Leak("b", "pb1-elsewhere"))
        recorder.leaked(Leak("of a third instance", "pb1-elsewhere"))

    assert theirs.comment == "VICTIM: the answer of exchange b went to pb1-elsewhere"
    assert theirs.marked == ":warning:"
    assert [line.getMessage() for line in caplog.records] == [f"exchange b {WENT}"]


def test_a_victim_whose_flow_is_gone_is_said_too_and_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """mitmdump keeps no flows; the journal has the exchange."""
    recorder = IncidentRecorder(tmp_path, CrosstalkSettings())
    recorder.opened(tflow.tflow(), "gone")
    for _ in range(2):
        recorder.leaked(Leak("gone", "pb1-elsewhere"))

    assert [line.getMessage() for line in caplog.records] == [f"exchange gone {WENT}"]


def test_a_replay_forgets_the_incident_of_the_exchange_before(tmp_path: Path) -> None:
    recorder, flow = IncidentRecorder(tmp_path, CrosstalkSettings()), tflow.tflow()
    noted = {f"patchbay.{name}": 1 for name in ("leaked_to", "noticed")}
    flow.metadata |= noted | {"patchbay.account": "one"}
    recorder.opened(flow, "a")
    assert noted.keys() < flow.metadata.keys()
    flow.is_replay = "request"
    recorder.opened(flow, "b")

    assert flow.metadata == {"patchbay.account": "one"}


def test_only_recent_flows_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(incident_recorder, "_RECENT", 2)
    recorder, flows = IncidentRecorder(tmp_path, CrosstalkSettings()), [tflow.tflow() for _ in range(3)]
    for number, flow in enumerate(flows):
        recorder.opened(flow, str(number))

    assert [recorder.flow_of(str(number)) for number in range(4)] == [None, *flows[1:], None]


def closed(recorder: IncidentRecorder, flow: Any, verdict: str) -> None:
    of = router()
    exchange = opened(of, request())
    routed(of, exchange)
    answer(of, exchange, *good())
    decision = of.close(exchange, "", 1.0, status=200)
    recorder.record(
        flow,
        exchange,
        structs.replace(decision, verdict=verdict),
    )
    recorder.close()


@pytest.mark.parametrize(("verdict", "files"), [("crosstalk", 1), ("suspect", 0), ("clean", 0)])
def test_evidence_is_written_of_crosstalk_alone(tmp_path: Path, verdict: str, files: int) -> None:
    flow = tflow.tflow(resp=True)
    flow.metadata["patchbay.noticed"] = {"at": 1.0}
    closed(IncidentRecorder(tmp_path, CrosstalkSettings()), flow, verdict)

    written = list((tmp_path / "incidents").glob("*.json"))
    assert len(written) == files
    for file in written:
        text = file.read_text()
        assert '"noticed"' in text and json.loads(text)
        assert '"request_bytes": 7' in text and '"answer_bytes": 7' in text and '"address:22"' in text


def test_the_settings_of_files_are_changed(tmp_path: Path) -> None:
    recorder = IncidentRecorder(tmp_path, CrosstalkSettings())
    recorder.change(replace(CrosstalkSettings(), incidents=0))
    closed(recorder, tflow.tflow(resp=True), "crosstalk")

    assert not (tmp_path / "incidents").exists()


@pytest.mark.parametrize(("verdict", "files"), [("crosstalk", 1), ("suspect", 0), ("clean", 0)])
@pytest.mark.parametrize("is_here", [True, False])
def test_a_verdict_that_changes_later_stands_on_the_flow_and_evidence_is_written(
    tmp_path: Path, verdict: Any, files: int, is_here: bool
) -> None:
    recorder, flow = IncidentRecorder(tmp_path, CrosstalkSettings()), tflow.tflow()
    change = Amendment(1.0, "a", "pb1-a", "session", "one", verdict, "unverifiable", "b", [finding("b")], "c")
    with taddons.context():
        if is_here:
            recorder.opened(flow, "a")
        recorder.amended(change)
    recorder.close()

    assert flow.metadata.get("patchbay.amended") == ([change.encoded()] if is_here else None)
    written = [json.loads(file.read_text()) for file in (tmp_path / "incidents").glob("*.json")]
    assert len(written) == files
    assert all((each["id"], each["verdict"], each["by"]) == ("pb1-a", "crosstalk", "c") for each in written)


def test_a_socket_that_got_its_own_answer_elsewhere_is_not_marked(tmp_path: Path) -> None:
    recorder, flow = IncidentRecorder(tmp_path, CrosstalkSettings()), tflow.twebsocketflow()
    recorder.opened(flow, "b")
    with taddons.context():
        recorder.mark(LEAK, flow)
        assert "patchbay.leaked_to" not in flow.metadata
        recorder.mark(LEAK, None)
    assert "patchbay.leaked_to" in flow.metadata
