"""Files that are kept of incidents, a command that is told, and the flow of the other side."""

from __future__ import annotations

import json
from pathlib import Path
from subprocess import DEVNULL, TimeoutExpired
from types import SimpleNamespace
from typing import Any

import pytest

from patchbay.proxy import incident_files
from patchbay.proxy.incident_files import IncidentFiles
from patchbay.settings.settings import CrosstalkSettings


def kept(folder: Path) -> list[Path]:
    return sorted((folder / "incidents").glob("*"))


def test_an_incident_is_a_file_that_only_its_owner_reads(tmp_path: Path) -> None:
    incidents = IncidentFiles(tmp_path, CrosstalkSettings())
    incidents.write("pb1-x", {"time": 0.0, "id": "pb1-x"})
    incidents.close()

    (file,) = kept(tmp_path)
    assert file.name == "19700101T000000-pb1-x.json"
    assert json.loads(file.read_text()) == {"time": 0.0, "id": "pb1-x"}
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.parent.stat().st_mode & 0o777 == 0o700


def test_the_oldest_leave(tmp_path: Path) -> None:
    incidents = IncidentFiles(tmp_path, CrosstalkSettings(incidents=3))
    for number in range(9):
        incidents.write(f"n{number}", {"time": float(number)})
    incidents.close()

    assert [file.name[16:] for file in kept(tmp_path)] == ["n6.json", "n7.json", "n8.json"]


def test_none_are_kept_where_none_are_wanted(tmp_path: Path) -> None:
    incidents = IncidentFiles(tmp_path, CrosstalkSettings(incidents=0))
    incidents.write("n", {"time": 0.0})
    incidents.close()

    assert kept(tmp_path) == []


@pytest.mark.usefixtures("processes")
def test_the_command_is_told_the_file_and_not_too_often(tmp_path: Path) -> None:
    script = tmp_path / "told"
    script.write_text(f'#!/bin/sh\necho "$1 $2" >> {tmp_path}/calls\n')
    script.chmod(0o700)
    incidents = IncidentFiles(
        tmp_path, CrosstalkSettings(on_incident=(str(script), "a word"), on_incident_interval=600.0)
    )
    for number in range(5):
        incidents.write(f"n{number}", {"time": 0.0})
    incidents.close()

    assert (tmp_path / "calls").read_text() == f"a word {tmp_path}/incidents/19700101T000000-n0.json\n"


@pytest.mark.usefixtures("processes")
def test_the_command_inherits_what_it_is_given(tmp_path: Path) -> None:
    """R17"""
    command = ("/bin/sh", "-c", f'echo "$MINE$KEY" > {tmp_path}/inherited')
    incidents = IncidentFiles(tmp_path, CrosstalkSettings(on_incident=command), lambda: {"MINE": "mine"})
    incidents.write("a", {"time": 0.0})
    incidents.close()

    assert (tmp_path / "inherited").read_text() == "mine\n"


@pytest.mark.parametrize("command", [("/no/such/program",), ("false",)])
@pytest.mark.usefixtures("processes")
def test_a_command_that_fails_hurts_nothing(tmp_path: Path, command: tuple[str, ...]) -> None:
    incidents = IncidentFiles(tmp_path, CrosstalkSettings(on_incident=command, on_incident_interval=0.0))
    incidents.write("a", {"time": 0.0})
    incidents.write("b", {"time": 1.0})
    incidents.close()

    assert len(kept(tmp_path)) == 2


def test_a_folder_that_cannot_be_written_hurts_nothing(tmp_path: Path) -> None:
    (tmp_path / "incidents").write_text("a file")
    incidents = IncidentFiles(tmp_path, CrosstalkSettings())
    incidents.write("a", {"time": 0.0})
    incidents.close()


# -- without a process ------------------------------------------------------------------------------------------------


class Command:
    """The command of `crosstalk.on_incident`, and the clock of the time between two runs."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, failure: Exception | None = None) -> None:
        self.ran: list[tuple[list[str], dict[str, Any]]] = []
        self.now = 0.0
        self.failure = failure
        monkeypatch.setattr(incident_files.subprocess, "run", self.run)
        monkeypatch.setattr(incident_files.time, "monotonic", lambda: self.now)

    def run(self, arguments: list[str], **more: Any) -> None:
        self.ran.append((arguments, more))
        if self.failure:
            raise self.failure


TOLD = CrosstalkSettings(on_incident=("tell", "me"), on_incident_interval=10.0)


def test_the_command_is_run_without_a_shell_or_output_for_a_minute_at_most(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = Command(monkeypatch)
    IncidentFiles(tmp_path, TOLD, lambda: {"MINE": "mine"})._run(tmp_path / "n.json")

    nowhere = {"stdin": DEVNULL, "stdout": DEVNULL, "stderr": DEVNULL}
    expected = {"env": {"MINE": "mine"}, "timeout": 60.0, "check": False, **nowhere}
    assert command.ran == [(["tell", "me", str(tmp_path / "n.json")], expected)]


def test_between_two_runs_of_the_command_is_its_interval(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command = Command(monkeypatch)
    incidents = IncidentFiles(tmp_path, TOLD)
    for command.now in (0.0, 9.9, 10.0, 10.1, 19.9, 20.0):
        incidents._run(tmp_path / f"at {command.now}")

    assert [arguments[-1].rpartition(" ")[2] for arguments, _ in command.ran] == ["0.0", "10.0", "20.0"]


def test_without_a_command_none_is_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command = Command(monkeypatch)
    IncidentFiles(tmp_path, CrosstalkSettings())._run(tmp_path / "n.json")

    assert command.ran == []


@pytest.mark.parametrize("failure", [PermissionError("no"), TimeoutExpired(["tell"], 60.0)])
def test_a_failure_of_the_command_is_logged_without_its_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, failure: Exception
) -> None:
    Command(monkeypatch, failure)
    IncidentFiles(tmp_path, TOLD)._run(tmp_path / "n.json")

    assert caplog.messages == [f"crosstalk.on_incident: {type(failure).__name__}"]


def test_other_settings_hold_from_the_next_incident_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command = Command(monkeypatch)
    incidents = IncidentFiles(tmp_path, CrosstalkSettings(incidents=0))
    incidents.write("a", {"time": 0.0})
    incidents.change(TOLD)
    incidents.write("b", {})
    incidents.close()
    incidents.write("c", {"time": 1.0})  # it is open again
    incidents.close()
    incidents.close()

    assert [file.name for file in kept(tmp_path)] == ["19700101T000000-b.json", "19700101T000001-c.json"]
    assert kept(tmp_path)[1].read_text() == '{\n  "time": 1.0\n}\n'
    assert len(command.ran) == 1


def test_too_many_incidents_at_once_are_not_kept_and_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    begun: list[dict[str, Any]] = []
    joined: list[float] = []
    thread = SimpleNamespace(start=lambda: None, join=lambda timeout: joined.append(timeout))
    monkeypatch.setattr(incident_files.threading, "Thread", lambda **made: begun.append(made) or thread)
    incidents = IncidentFiles(tmp_path, TOLD)
    for number in range(1001):
        incidents.write(f"n{number}", {})

    assert [(made["name"], made["daemon"]) for made in begun] == [("patchbay-incidents", True)]
    assert caplog.messages == ["n1000: there are too many incidents at once; this one is not kept"]
    incidents._waiting.get_nowait()  # room for the last
    incidents.close()
    assert joined == [10]


@pytest.mark.parametrize("bundle", [{"time": "now"}, {"odd": object()}])
def test_an_incident_that_cannot_be_written_is_said_and_the_next_is_kept(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, bundle: dict[str, Any]
) -> None:
    incidents = IncidentFiles(tmp_path, CrosstalkSettings())
    incidents.write("bad", bundle)
    incidents.write("good", {"time": 0.0})
    incidents.close()

    assert [file.name for file in kept(tmp_path)] == ["19700101T000000-good.json"]
    assert [line.rpartition(":")[0] for line in caplog.messages] == ["bad: the incident could not be kept"]
