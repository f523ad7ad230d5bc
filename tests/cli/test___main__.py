from __future__ import annotations

import runpy

import pytest


def test_python_m_runs_the_command_and_ends_with_its_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["patchbay", "path"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_module("patchbay.cli.__main__", run_name="__main__")

    assert ended.value.code == 0
    assert capsys.readouterr().out.endswith("main.py\n")
