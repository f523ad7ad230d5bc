"""Files that are kept of incidents, a command that is told, and the flow of the other side."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from mitmproxy.test import taddons, tflow

from patchbay.proxy.incident_files import IncidentFiles
from patchbay.proxy.incident_recorder import IncidentRecorder
from patchbay.settings.settings import Crosstalk
from patchbay.state import Leak
from patchbay.values.decision import Finding


def kept(folder: Path) -> list[Path]:
    return sorted((folder / "incidents").glob("*"))


def test_an_incident_is_a_file_that_only_its_owner_reads(tmp_path: Path) -> None:
    incidents = IncidentFiles(tmp_path, Crosstalk())
    incidents.write("pb1-x", {"time": 0.0, "id": "pb1-x"})
    incidents.close()

    (file,) = kept(tmp_path)
    assert file.name == "19700101T000000-pb1-x.json"
    assert json.loads(file.read_text()) == {"time": 0.0, "id": "pb1-x"}
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.parent.stat().st_mode & 0o777 == 0o700


def test_the_oldest_leave(tmp_path: Path) -> None:
    incidents = IncidentFiles(tmp_path, Crosstalk(incidents=3))
    for number in range(9):
        incidents.write(f"n{number}", {"time": float(number)})
    incidents.close()

    assert [file.name[16:] for file in kept(tmp_path)] == ["n6.json", "n7.json", "n8.json"]


def test_none_are_kept_where_none_are_wanted(tmp_path: Path) -> None:
    incidents = IncidentFiles(tmp_path, Crosstalk(incidents=0))
    incidents.write("n", {"time": 0.0})
    incidents.close()

    assert kept(tmp_path) == []


@pytest.mark.usefixtures("processes")
def test_the_command_is_told_the_file_and_not_too_often(tmp_path: Path) -> None:
    script = tmp_path / "told"
    script.write_text(f'#!/bin/sh\necho "$1 $2" >> {tmp_path}/calls\n')
    script.chmod(0o700)
    incidents = IncidentFiles(tmp_path, Crosstalk(on_incident=(str(script), "a word"), every=600.0))
    for number in range(5):
        incidents.write(f"n{number}", {"time": 0.0})
    incidents.close()

    assert (tmp_path / "calls").read_text() == f"a word {tmp_path}/incidents/19700101T000000-n0.json\n"


@pytest.mark.usefixtures("processes")
def test_the_command_inherits_what_it_is_given(tmp_path: Path) -> None:
    """R17"""
    command = ("/bin/sh", "-c", f'echo "$MINE$KEY" > {tmp_path}/inherited')
    incidents = IncidentFiles(tmp_path, Crosstalk(on_incident=command), lambda: {"MINE": "mine"})
    incidents.write("a", {"time": 0.0})
    incidents.close()

    assert (tmp_path / "inherited").read_text() == "mine\n"


@pytest.mark.parametrize("command", [("/no/such/program",), ("false",)])
@pytest.mark.usefixtures("processes")
def test_a_command_that_fails_hurts_nothing(tmp_path: Path, command: tuple[str, ...]) -> None:
    incidents = IncidentFiles(tmp_path, Crosstalk(on_incident=command, every=0.0))
    incidents.write("a", {"time": 0.0})
    incidents.write("b", {"time": 1.0})
    incidents.close()

    assert len(kept(tmp_path)) == 2


def test_a_folder_that_cannot_be_written_hurts_nothing(tmp_path: Path) -> None:
    (tmp_path / "incidents").write_text("a file")
    incidents = IncidentFiles(tmp_path, Crosstalk())
    incidents.write("a", {"time": 0.0})
    incidents.close()


def finding(victim: str) -> Finding:
    return Finding("tag", "ids", "proof", "body request_id", "mine", "theirs", victim)


def test_the_flow_whose_answer_it_was_is_marked_too(tmp_path: Path) -> None:
    aftermath = IncidentRecorder(tmp_path, Crosstalk())
    mine, theirs = tflow.tflow(), tflow.tflow()
    mine.patchbay = SimpleNamespace(streaming=True, copy=b"12345")  # type: ignore[attr-defined]
    theirs.comment = "clean"
    aftermath.opened(mine, "a")
    aftermath.opened(theirs, "b")
    with taddons.context():
        aftermath.alarmed(mine, finding("b"), "pb1-mine", 7.0)
        aftermath.alarmed(mine, finding("b"), "pb1-mine", 8.0)

    assert theirs.metadata["patchbay.leaked_to"] == "pb1-mine"
    assert (theirs.comment, theirs.marked) == ("clean · its answer went to pb1-mine", ":warning:")
    assert mine.metadata["patchbay.noticed"]["released_bytes"] == 5
    assert mine.metadata["patchbay.noticed"]["at"] == 7.0


def test_a_victim_that_nobody_knows_is_left_alone(tmp_path: Path) -> None:
    aftermath = IncidentRecorder(tmp_path, Crosstalk())
    flow = tflow.tflow()
    with taddons.context():
        aftermath.alarmed(flow, finding("unknown"), "pb1-mine", 7.0)

    assert "patchbay.leaked_to" not in flow.metadata


def test_flows_are_not_kept_alive(tmp_path: Path) -> None:
    aftermath = IncidentRecorder(tmp_path, Crosstalk())
    aftermath.opened(tflow.tflow(), "gone")
    flow = tflow.tflow()
    with taddons.context():
        aftermath.alarmed(flow, finding("gone"), "pb1-mine", 7.0)

    assert len(aftermath._lately) == 1


def test_the_flow_whose_answer_came_to_another_instance_is_marked_and_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """R15: the instance of the victim hears of it by the store."""
    aftermath = IncidentRecorder(tmp_path, Crosstalk())
    theirs = tflow.tflow()
    aftermath.opened(theirs, "b")
    with taddons.context():
        for _ in range(2):
            aftermath.leaked(Leak("b", "pb1-elsewhere"))
        aftermath.leaked(Leak("of a third instance", "pb1-elsewhere"))

    assert theirs.metadata["patchbay.leaked_to"] == "pb1-elsewhere"
    assert (theirs.comment, theirs.marked) == ("its answer went to pb1-elsewhere", ":warning:")
    assert [line.getMessage() for line in caplog.records] == [
        "exchange b event_type=crosstalk: its answer went to pb1-elsewhere at another instance"
    ]
