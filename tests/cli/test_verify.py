from __future__ import annotations

from pathlib import Path

import pytest
from mitmproxy.io import FlowWriter
from mitmproxy.test import tflow

from patchbay.cli.main import main
from patchbay.store import master_key


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    master_key(tmp_path / "state")
    return tmp_path / "state"


def run(state: Path, content: bytes | None = None) -> int:
    file = Path("flows")
    if content is None:
        with file.open("wb") as out:
            FlowWriter(out).add(tflow.tflow(resp=True))
    else:
        file.write_bytes(content)
    return main(["verify", "flows", "--state", str(state)])


def test_a_flow_without_a_record_is_not_judged(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(state) == 0
    assert capsys.readouterr().out == "flows: no exchange of Patchbay\n"


def test_a_file_of_another_kind_is_a_usage_error(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(state, b"no flows") == 2

    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith("flows: ")


def test_without_a_key_nothing_can_be_recognised(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (state / "master.key").unlink()

    assert run(state) == 2
    assert "name the folder with --state" in capsys.readouterr().err
    assert not (state / "master.key").exists()
