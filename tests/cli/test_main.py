from __future__ import annotations

from pathlib import Path

import pytest

from patchbay.cli import main as cli
from patchbay.cli.main import config_file, main

ROOT = Path(__file__).parent.parent.parent
GOOD = """\
accounts:
  - {id: one, provider: generic, base_url: reverse, key: example-one}
  - {id: two, provider: generic, base_url: reverse, key: example-two, enabled: false}
"""


def test_path_prints_the_file_for_mitmproxy(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["path"]) == 0
    assert capsys.readouterr().out == f"{ROOT / 'addon' / 'main.py'}\n"


def test_version_names_what_a_bug_report_needs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["version"]) == 0

    said = capsys.readouterr().out
    assert said.startswith("patchbay 0.")
    assert "mitmproxy 12." in said
    assert "Python 3." in said


def test_an_unknown_distribution_is_no_failure() -> None:
    assert cli._installed("patchbay-of-nowhere") == "unknown"


def test_good_settings_are_summed_up(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(GOOD)

    assert main(["check", str(file)]) == 0
    assert capsys.readouterr().out == f"{file}: no mistakes; 2 accounts, 1 of them enabled\n"


def test_every_mistake_is_printed_with_its_place(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(GOOD.replace("id: one", "idd: one").replace("enabled: false", "enabled: maybe"))

    assert main(["check", str(file)]) == 1
    said = capsys.readouterr()
    assert f"{file}:2:" in said.err
    assert f"{file}:3:" in said.err
    assert said.out == ""


def test_a_warning_is_no_mistake(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(GOOD.replace("example-one", "sk-a-real-one"))

    assert main(["check", str(file)]) == 0
    said = capsys.readouterr().err
    assert said.startswith("warning: ")
    assert "sk-a-real-one" not in said


def test_a_missing_file_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(tmp_path / "none.yaml")]) == 2
    assert capsys.readouterr().err == f"{tmp_path / 'none.yaml'}: No such file or directory\n"


def test_a_file_that_is_no_text_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "config.yaml"
    file.write_bytes(b"accounts: \xff")

    assert main(["check", str(file)]) == 1
    assert str(file) in capsys.readouterr().err


def test_the_file_is_the_one_named_then_the_variable_then_the_one_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PATCHBAY_CONFIG", raising=False)
    assert config_file(None) == Path("config.yaml")

    monkeypatch.setenv("PATCHBAY_CONFIG", "/etc/patchbay.yaml")
    assert config_file(None) == Path("/etc/patchbay.yaml")
    assert config_file("mine.yaml") == Path("mine.yaml")


def test_without_a_command_the_help_lists_them(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2

    said = capsys.readouterr().out
    assert all(command.name in said and command.help in said for command in cli.COMMANDS)


def test_an_unknown_command_is_a_usage_mistake(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as e:
        main(["pathh"])

    assert e.value.code == 2
    assert "pathh" in capsys.readouterr().err
