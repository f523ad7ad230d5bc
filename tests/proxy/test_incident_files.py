"""Files that are kept of incidents, a command that is told, and the flow of the other side."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

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
