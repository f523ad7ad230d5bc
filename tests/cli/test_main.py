from __future__ import annotations

import contextlib
import io
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from patchbay.cli import doctor, inputs, main as cli
from patchbay.cli.main import main
from patchbay.proxy import environment
from patchbay.store import master_key

from .fake_proxy import fake_proxy

RUNS = {
    "run": ["--help"],
    "env": ["claude"],
    "init": ["new.yaml", "--force"],
    "path": [],
    "check": ["config.yaml"],
    "explain": ["request.txt", "--upstream", "https://up.example"],
    "verify": ["flows"],
    "incidents": [],
    "habits": [],
    "status": [],
    "accounts": [],
    "sessions": [],
    "wake": ["one"],
    "cool": ["one"],
    "disable": ["one"],
    "enable": ["one"],
    "unbind": ["abcd1234"],
    "reload": [],
    "doctor": [],
    "version": [],
}
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


def test_what_the_settings_name_is_checked_once_the_file_has_no_mistake(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "config.yaml"
    unusable = GOOD.replace("example-one", f"file:{tmp_path}")
    for text, said, unsaid in (
        (f"{unusable}strategy: foo\n", "strategy:", "accounts[0]"),
        (unusable, "accounts[0]", "strategy:"),
    ):
        file.write_text(text)
        assert main(["check", str(file)]) == 1
        told = capsys.readouterr().err
        assert said in told and unsaid not in told


def test_good_settings_are_summed_up(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(GOOD)

    assert main(["check", str(file)]) == 0
    assert capsys.readouterr().out == f"{file}: no mistakes; accounts: 2 (1 enabled)\n"


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


def test_a_former_name_of_a_setting_is_a_warning(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(f"grace: 3s\n{GOOD}")

    assert main(["check", str(file)]) == 0
    assert capsys.readouterr().err == f"warning: {file}:1:1: grace: is now called 'grace_period'\n"


def test_a_missing_file_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(tmp_path / "none.yaml")]) == 2
    assert main(["check", "--config", str(tmp_path / "none.yaml")]) == 2
    assert capsys.readouterr().err.startswith(f"no file {tmp_path / 'none.yaml'}; name the settings (")


def test_check_without_a_file_says_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PATCHBAY_CONFIG", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert main(["check"]) == 2
    assert capsys.readouterr().err.startswith("no file config.yaml; ")


def test_a_file_that_is_no_text_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "config.yaml"
    file.write_bytes(b"accounts: \xff")

    assert main(["check", str(file)]) == 1
    assert str(file) in capsys.readouterr().err


def test_without_a_command_the_help_lists_them(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2

    said = capsys.readouterr().out
    assert all(command.name in said and command.help in said for command in cli.COMMANDS)


def test_an_unknown_command_is_a_usage_mistake(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as e:
        main(["pathh"])

    assert e.value.code == 2
    assert "pathh" in capsys.readouterr().err


_SECRET = "Zq8wNfT2vXb7RkLm4HcJdP9sGyU1eA0oIi"
_KEY = f"sk-ant-api03-{_SECRET}"


@pytest.mark.parametrize(
    "arguments",
    [
        [_KEY], ["check", "config.yaml", _KEY], ["check", _KEY], ["check", "--key", _KEY], ["check", f"--key={_KEY}"],
        ["explain", f"--json={_KEY}"], ["explain", "--flow", _KEY, "x"], ["explain", "--upstream", _KEY, "x"],
        ["explain", f"/none/{_KEY}"], ["verify", f"--all={_KEY}", "x"], ["verify", "--state", _KEY, "x"],
        ["incidents", "--export", f"/none/{_KEY}"], ["incidents", "--state", _KEY, _SECRET], ["habits", _KEY],
        ["incidents", "--state", f"/none/{_KEY}"], ["habits", "--state", _KEY], ["habits", "--reset", _KEY],
        ["habits", "--config", f"/none/{_KEY}", "--state", _KEY], ["path", _KEY], ["version", _KEY],
    ],
)  # fmt: skip
def test_a_key_among_the_arguments_is_not_told(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """T6: by no sub-command, nor by the parser of the arguments."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "config.yaml").write_text("accounts: [{id: a, provider: openai, key: example-x}]\nstate: state\n")
    with contextlib.suppress(SystemExit):
        main(arguments)

    told = capsys.readouterr()
    assert told.out + told.err
    assert not any(_SECRET[at : at + 8] in told.out + told.err for at in range(len(_SECRET) - 7))


def test_the_version_is_an_option_too(capsys: pytest.CaptureFixture[str]) -> None:
    """A11: `patchbay --version` says what every other tool says there."""
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith("patchbay 0.")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with all that the sub-commands read, as the working directory, and a proxy that they ask."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.yaml").write_text(f"state: {tmp_path / 'state'}\nstore: sqlite\n{GOOD}")
    (tmp_path / "request.txt").write_text("POST /v1/chat/completions\n\n{}")
    (tmp_path / "flows").write_bytes(b"")
    master_key(tmp_path / "state")
    monkeypatch.setattr(doctor, "CHECKS", (("settings", doctor.settings),))  # what else is wrong is the machine's
    with fake_proxy(tmp_path / "state"):
        yield tmp_path


@pytest.mark.parametrize("name", [command.name for command in cli.COMMANDS])
@pytest.mark.parametrize("more", [None, ["--help"]])
def test_a_reader_that_closes_the_pipe_ends_every_command_quietly(
    name: str, more: list[str] | None, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`patchbay … | head`: no traceback, neither from the command nor when Python flushes stdout at its end."""
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "w") as closed:
        monkeypatch.setattr("sys.stdout", closed)
        assert main([name, *(RUNS[name] if more is None else more)]) == 128 + signal.SIGPIPE

    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("name", [command.name for command in cli.COMMANDS])
def test_every_command_runs_on_what_it_reads(name: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([name, *RUNS[name]]) == 0

    told = capsys.readouterr()
    assert told.out
    assert told.err == ""


def test_a_file_that_is_not_there_is_named_by_every_command(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("check", "explain", "verify"):
        assert main([name, "nowhere"]) == 2
        told = capsys.readouterr().err
        assert (
            told.startswith("no file nowhere; ") if name == "check" else told == "nowhere: No such file or directory\n"
        )


def test_errors_in_the_settings_are_what_check_finds_and_other_commands_cannot_read(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "config.yaml").write_text("accounts: none")
    codes = {name: main([name, *RUNS[name]]) for name in RUNS if name not in ("run", "init", "path", "version")}

    assert codes == {name: 1 if name in ("check", "doctor") else 2 for name in codes}
    told = capsys.readouterr()
    assert (told.err + told.out).count("config.yaml:1:11: accounts: must be a list, is 'none'") == len(codes)


# What each sub-command finds or refuses; `path` and `version` do neither. Its dump with crosstalk is in test_verify.
FINDS = {
    "env": ["claud"],
    "check": ["mistakes.yaml"],
    "init": ["config.yaml"],
    "explain": ["refused.txt"],
    "incidents": ["pb1-of-nowhere"],
    "habits": ["--reset", "nowhere"],
    "status": ["--pid", "1"],
    "accounts": ["--pid", "1"],
    "sessions": ["of-nowhere"],
    "wake": ["of-nowhere"],
    "cool": ["of-nowhere"],
    "disable": ["of-nowhere"],
    "enable": ["of-nowhere"],
    "unbind": ["of-nowhere"],
    "reload": ["--pid", "1"],
    "doctor": ["--config", "mistakes.yaml"],
}


@pytest.mark.parametrize("name", [command.name for command in cli.COMMANDS])
def test_the_exit_codes_of_every_command_are_alike(name: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "mistakes.yaml").write_text("accounts: none")
    (folder / "refused.txt").write_text("POST /v1/chat/completions\nx-patchbay-account: nowhere\n\n{}")

    assert main([name, *RUNS[name]]) == 0
    if name in FINDS:
        assert main([name, *FINDS[name]]) == 1
    if name != "run":  # what it does not know is an option of mitmproxy
        assert _exit_code([name, "--no-such-option"]) == 2
    assert set(FINDS) == {command.name for command in cli.COMMANDS} - {"run", "path", "version", "verify"}


def _exit_code(words: list[str]) -> int:
    try:
        return main(words)
    except SystemExit as e:
        return int(str(e.code))


def test_the_help_and_the_readme_say_the_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    main([])

    assert inputs.EXIT_CODES in capsys.readouterr().out
    assert "exits with 0" in (ROOT / "README.md").read_text(encoding="utf-8")


def test_what_a_command_raises_is_told_as_such(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def ends(error: BaseException) -> tuple[int, str]:
        def run(_: object) -> int:
            raise error

        monkeypatch.setattr(cli, "COMMANDS", (cli.Command("path", "help", run),))
        return main(["path"]), capsys.readouterr().err

    assert ends(OSError(2, "No such file", "here")) == (2, "here: No such file\n")
    assert ends(OSError("of a library")) == (2, "of a library\n")
    assert ends(inputs.CommandError("not so")) == (2, "not so\n")
    assert ends(inputs.CommandError("not so", 1)) == (1, "not so\n")
    monkeypatch.setattr(os, "dup2", lambda *_: None)  # pytest's own stdout stays open
    with open(os.devnull, "w") as stdout:
        monkeypatch.setattr("sys.stdout", stdout)
        assert ends(BrokenPipeError())[0] == 141


@dataclass(frozen=True)
class Problem:
    kind: str
    text: str


@pytest.mark.parametrize(
    ("found", "code", "told"),
    [
        ([], 0, ""),
        ([Problem("absent", "not there yet")], 0, "warning: not there yet\n"),
        (
            [Problem("wrong", "one"), Problem("absent", "two"), Problem("wrong", "three")],
            1,
            "warning: two\none\nthree\n",
        ),
    ],
)
def test_what_is_absent_is_a_warning_and_what_is_wrong_a_mistake(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    found: list[Problem],
    code: int,
    told: str,
) -> None:
    monkeypatch.setattr(environment, "problems", lambda *_: found)
    (tmp_path / "config.yaml").write_text(GOOD)

    assert main(["check", str(tmp_path / "config.yaml")]) == code
    said = capsys.readouterr()
    assert said.err == told
    assert ("no mistakes" in said.out) is (code == 0)


@pytest.mark.parametrize(
    ("name", "usage"),
    [
        ("run", "patchbay run [dump|web|console] [OPTION …] [-- COMMAND …]"),
        ("env", "patchbay env [CLIENT] [--shell sh|fish] [--url URL] [--config FILE]"),
        ("check", "patchbay check [-h] [--config CONFIG] [config]"),
        (
            "explain",
            "patchbay explain [-h] [--flow N] [--config CONFIG] [--upstream URL] [--pid N] [--state STATE]"
            " [--json] [file]",
        ),
        ("verify", "patchbay verify [-h] [--all] [--state STATE] [--config CONFIG] file"),
        ("incidents", "patchbay incidents [-h] [--export FILE] [--state STATE] [--config CONFIG] [id]"),
        ("habits", "patchbay habits [-h] [--reset HOST [DETECTOR ...]] [--state STATE] [--config CONFIG]"),
        ("wake", "patchbay wake [-h] [--pid N] [--state STATE] [--config CONFIG] account"),
        ("path", "patchbay path [-h]"),
        ("version", "patchbay version [-h]"),
    ],
)
def test_the_usage_of_each_command(
    name: str, usage: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    _exit_code([name, "--help"])

    said = capsys.readouterr().out
    assert said.splitlines()[0] == f"usage: {usage}"
    assert all(argument.options["help"] in said for each in cli.COMMANDS for argument in each.arguments
               if each.name == name and "%" not in str(argument.options["help"]))  # fmt: skip


def test_a_covered_stream_writes_at_once_and_hides_keys() -> None:
    out = io.StringIO()
    flushed: list[bool] = []
    out.flush = lambda: flushed.append(True)  # type: ignore[method-assign]
    covered = cli._Covered(out)

    assert covered.write(f"x {_KEY} y") == len(f"x {_KEY} y")
    covered.flush()
    assert (flushed, _SECRET in out.getvalue(), out.getvalue()[:2]) == ([True], False, "x ")


def test_stderr_shows_what_a_terminal_would_obey_as_escapes() -> None:
    out = io.StringIO()
    print("a\x1b[2Jb\u202e\x9b\r\udcff\nsecond", file=cli._Covered(out))

    assert out.getvalue() == "a\\x1b[2Jb\\u202e\\x9b\\r\\udcff\nsecond\n"


def test_a_command_of_mitmproxy_says_where_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["curl", "abcd"]) == 2
    assert "is a command of mitmproxy's command bar: select the flow" in capsys.readouterr().err


def test_a_program_in_the_place_of_a_command_is_told_how_it_runs(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["sh", "-c", "a b"]) == 2
    told = "'sh' is no command of patchbay; to run it behind Patchbay:  patchbay run -- sh -c 'a b'\n"
    assert capsys.readouterr().err == told
    assert _exit_code(["no-such-program"]) == 2
