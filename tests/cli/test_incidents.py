from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from patchbay.cli.main import main

FINDING = {"detector": "tag"}
INCIDENTS = [
    {
        "id": "pb1-one",
        "time": 1.0,
        "provider": "p",
        "account": "a",
        "victim": "x2",
        "session": "e718a2c40b1d4f6e",
        "findings": [FINDING, FINDING, {"detector": "tag", "victim": "x2", "victim_session": "1d31dd26ffff"}],
    },
    {"id": "pb1-two", "time": 2.0, "provider": "p", "account": "b", "findings": [{"detector": "contract"}]},
]


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "incidents"
    folder.mkdir()
    for number, incident in enumerate(INCIDENTS):
        (folder / f"{number}.json").write_text(json.dumps(incident))
    (folder / "9.json").write_text("{")
    return tmp_path


def run(state: Path, *arguments: str) -> int:
    return main(["incidents", "--state", str(state), *arguments])


def test_they_are_listed_and_an_unreadable_file_is_named(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(state) == 2

    told = capsys.readouterr()
    one, two, sum_ = told.out.splitlines()
    assert one.endswith("pb1-one  session e718a2c4  p a  victim x2 of session 1d31dd26  tag")
    assert two.endswith("pb1-two  session none  p b  victim unknown  contract")
    assert sum_ == f"incidents in {state / 'incidents'}: 2"
    assert told.err == f"{state / 'incidents/9.json'}: unreadable\n"


def test_the_beginning_of_an_id_shows_one(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(state, "pb1-t") == 0
    assert json.loads(capsys.readouterr().out) == INCIDENTS[1]


@pytest.mark.parametrize("name", ["e718a2c4", "x2", "1d31dd26", "1d31dd26ffff"])
def test_a_session_and_a_victim_show_their_incident(state: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    assert run(state, name) == 0
    assert json.loads(capsys.readouterr().out) == INCIDENTS[0]


def test_an_unknown_id_is_exit_code_1(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(state, "pb1-three") == 1
    assert "no incident pb1-three in" in capsys.readouterr().err


def test_a_state_folder_that_is_not_there_is_said_to_be_missing(
    state: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(state / "typo") == 2
    assert capsys.readouterr() == ("", f"there is no folder {state / 'typo'}\n")


def test_they_are_exported_to_a_file_and_to_stdout(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(state, "--export", "ticket.json") == 2
    assert capsys.readouterr().out == "incidents written to ticket.json: 2\n"
    assert run(state, "--export", "-") == 2
    assert (state / "ticket.json").read_text() == capsys.readouterr().out
    assert json.loads((state / "ticket.json").read_text()) == {"incidents": INCIDENTS}


def test_a_file_that_cannot_be_written_is_a_usage_error(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(state, "--export", "none/ticket.json") == 2
    assert "none/ticket.json: No such file or directory\n" in capsys.readouterr().err


def test_an_incident_with_members_of_other_types_is_listed_all_the_same(
    state: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for file in (state / "incidents").iterdir():
        file.unlink()
    (state / "incidents" / "1.json").write_text("[]")
    (state / "incidents" / "2.json").write_text('{"time": null, "findings": [1, {}, {"detector": "b"}]}')
    (state / "incidents" / "3.json").write_text('{"id": 7, "time": 86400.5, "account": "a"}')
    assert run(state) == 2  # one of them cannot be read

    told = capsys.readouterr()
    times = [time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at)) for at in (0.0, 86400.5)]
    assert told.err == f"{state / 'incidents/1.json'}: unreadable\n"
    assert told.out.splitlines() == [
        f"{times[0]}    session none    victim unknown  , b",
        f"{times[1]}  7  session none  a  victim unknown  ",
        f"incidents in {state / 'incidents'}: 2",
    ]
    assert run(state, "7") == 0
    assert capsys.readouterr().out == '{\n  "id": 7,\n  "time": 86400.5,\n  "account": "a"\n}\n'
    assert run(state, "7", "--export", "-") == 0
    assert capsys.readouterr().out.startswith('{\n  "incidents": [\n    {\n      "id": 7,\n')


def test_a_list_that_could_be_read_whole_is_exit_code_0(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(state) == 2
    (state / "incidents" / "9.json").unlink()

    assert run(state) == 0
