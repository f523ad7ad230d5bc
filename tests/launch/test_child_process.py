"""A command in the foreground: found, started, waited for."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest

from patchbay.launch import child_process
from patchbay.launch.command_line import LaunchError


@pytest.mark.parametrize(
    ("word", "code", "message"),
    [
        ("no-such-program", 127, "there is no program no-such-program on the PATH"),
        ("./no-such", 127, "there is no program ./no-such"),
        ("./plain", 126, "./plain is not executable"),
        ("./folder", 126, "./folder is a folder"),
        ("", 2, "the command behind -- is an empty word: name a program there"),
    ],
)
def test_what_cannot_be_run_is_named_with_the_exit_code_of_a_shell(
    word: str, code: int, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "plain").touch()
    (tmp_path / "folder").mkdir()
    with pytest.raises(LaunchError) as failed:
        child_process.located(word, {"PATH": str(tmp_path)})

    assert (failed.value.code, str(failed.value)) == (code, message)


def test_a_program_is_looked_for_on_the_path_of_the_environment(tmp_path: Path) -> None:
    program = tmp_path / "tool"
    program.touch(mode=0o755)

    assert child_process.located("tool", {"PATH": str(tmp_path)}) == str(program)


def python(code: str) -> int:
    return child_process.run(sys.executable, ["python", "-c", code], dict(os.environ))


def test_the_exit_code_or_the_signal_of_a_command_is_returned() -> None:
    assert python("import sys; sys.exit(7)") == 7
    assert python("import os, signal; os.kill(os.getpid(), signal.SIGKILL)") == -signal.SIGKILL


def test_a_command_gets_the_signals_as_this_process_had_them() -> None:
    """A blocked SIGCHLD or an ignored SIGPIPE would change many a program."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, set())
    code = (
        "import signal, sys; blocked = signal.pthread_sigmask(signal.SIG_BLOCK, set());"
        f"sys.exit({len(before)} != len(blocked))"
    )
    assert python(code) == 0
    assert signal.pthread_sigmask(signal.SIG_BLOCK, set()) == before
    shell = ["sh", "-c", "kill -PIPE $$; exit 3"]
    assert child_process.run("/bin/sh", shell, dict(os.environ)) == -signal.SIGPIPE


def test_a_script_without_a_first_line_is_run_by_the_shell(tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text('[ "$1" = "two words" ] && exit 5\n')
    script.chmod(0o755)

    assert child_process.run(str(script), ["script", "two words"], dict(os.environ)) == 5


def test_a_program_of_another_kind_of_machine_is_not_executable(tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text("#!/no/such/interpreter\n")
    script.chmod(0o755)
    with pytest.raises(LaunchError, match="cannot be started: No such file or directory") as failed:
        child_process.run(str(script), ["script"], {})

    assert failed.value.code == 126
