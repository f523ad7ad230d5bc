"""The begin of the command: where a package is missing, and what it loads."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent


def test_an_environment_that_lacks_a_package_is_told_in_one_line(tmp_path: Path) -> None:
    """T1: whatever imports it: the sub-commands read the settings, and those need more than Python."""
    (tmp_path / "yaml.py").write_text("raise ImportError('of another Python')")
    (tmp_path / "patchbay").symlink_to(ROOT / "addon")
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); from patchbay.cli.entry import main; sys.exit(main())"
    done = subprocess.run([sys.executable, "-c", code, "version"], capture_output=True, text=True, timeout=60)

    assert done.returncode == 1
    assert done.stderr.startswith("patchbay does not run in this mitmproxy ")
    assert "pyyaml is installed, and cannot be imported; to fix it, run:  " in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "words",
    [
        "status",
        "accounts",
        "sessions",
        "wake a",
        "env",
        "env claude",
        "path",
        "version",
        "check",
        "check --help",
        "doctor",
    ],
)
def test_a_command_that_does_not_need_mitmproxy_does_not_load_it(words: str, tmp_path: Path) -> None:
    """Its modules take longer to load than such a command runs."""
    (tmp_path / "config.yaml").write_text(
        f"state: {tmp_path / 'state'}\naccounts: [{{id: a, provider: openai, key: env:PATCHBAY_TEST_A}}]\n"
    )
    code = (
        "import sys\nfrom patchbay.cli.entry import main\ntry: main()\nexcept SystemExit: pass\n"
        "sys.exit('mitmproxy' in sys.modules and 99)"
    )
    env = {**os.environ, "HOME": str(tmp_path), "PATCHBAY_TEST_A": "a-key-0123456789", "PATCHBAY_STORE": "sqlite"}
    for name in ("PATCHBAY_CONTROL", "PATCHBAY_CONFIG"):
        env.pop(name, None)
    done = subprocess.run(
        [sys.executable, "-P", "-c", code, *words.split()], cwd=tmp_path, env=env, capture_output=True, timeout=60
    )

    assert done.returncode == 0, done.stderr.decode()
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize("closed", ["0<&-", "1>&-", "2>&-", "0<&- 1>&- 2>&-"])
def test_closed_streams_are_opened_on_nothing_for_it_and_for_the_commands_that_it_starts(
    closed: str, tmp_path: Path
) -> None:
    code = (
        "import os, subprocess, sys\nfrom patchbay.cli import entry\nentry._open_streams()\n"
        "assert min(os.pipe()) > 2\nprint('x', flush=True)\nprint('x', file=sys.stderr, flush=True)\n"
        "subprocess.run(['sh', '-c', 'echo x; echo x >&2'], check=True, close_fds=False)\n"
        "open('done', 'w').close()"
    )
    subprocess.run(
        ["/bin/sh", "-c", f'exec "$0" -P -c "$1" {closed}', sys.executable, code], cwd=tmp_path, timeout=60, check=True
    )
    assert (tmp_path / "done").exists()


@pytest.mark.parametrize("stage", ["import", "run"])
def test_ctrl_c_ends_it_by_that_signal_and_without_a_traceback(stage: str, tmp_path: Path) -> None:
    code = (
        "import os, signal, sys\nfrom patchbay.cli import entry\n"
        "class Found:\n"
        "    def interrupt(*_): os.kill(os.getpid(), signal.SIGINT)\n"
        "    main = interrupt\n"
        "def load(name):\n"
        f"    if {stage!r} == 'import': Found.interrupt()\n"
        "    return Found()\n"
        "entry.importlib.import_module = load\nentry.main()"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], cwd=tmp_path, capture_output=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (-signal.SIGINT, b"")
