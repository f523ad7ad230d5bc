"""Starts: under load they hold, and one that cannot be ends mitmproxy with one line that says why."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from ..ports import free_port
from ..simulator import Simulator
from .harness import BIN, ROOT, certificates, ended, main_script
from .knocking import MODES, knocking, leaked, providers, start

GOOD = "accounts: [{id: one, provider: generic, base_url: reverse, key: example-one}]\n"


@pytest.fixture(scope="module")
def upstreams(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Simulator, Simulator, Path]]:
    with providers(tmp_path_factory.mktemp("providers")) as running:
        yield running


@pytest.mark.parametrize("mode", MODES)
def test_it_starts_while_clients_knock(tmp_path: Path, upstreams: tuple[Simulator, Simulator, Path], mode: str) -> None:
    """R3: clients that come before mitmproxy has started wait for it; see `scripts/starts`."""
    assert start(tmp_path, mode, *upstreams) == []
    assert leaked(upstreams[:2]) == []


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("accounts:\n- {id: one, provider: nope, key: x}\n", "config.yaml:2:23: accounts[0].provider: 'nope' is no"),
        (f"state: /proc/1/patchbay\n{GOOD}", "config.yaml:1:8: state: /proc/1/patchbay cannot be made"),
        (f"journal: {{path: /}}\n{GOOD}", "config.yaml:1:17: journal.path: / is no ordinary file"),
        (
            f"clients: [{{name: a, key: env:NOT_SET_HERE}}]\n{GOOD}",
            "config.yaml:1:26: clients[0].key: env:NOT_SET_HERE: is",
        ),
        ("accounts: []\nlimits: {body: soon}\n", "config.yaml:2:16: limits.body"),
        (None, "name the settings (in mitmproxy: --set patchbay_config=FILE), or set $PATCHBAY_CONFIG"),
    ],
    ids=["a provider", "a state folder", "a journal", "a client", "a setting", "no file"],
)
@pytest.mark.parametrize("quiet", [True, False])
def test_settings_that_cannot_be_used_end_it_with_one_line(
    tmp_path: Path, text: str | None, told: str, quiet: bool
) -> None:
    settings = tmp_path / "config.yaml"
    if text is not None:
        settings.write_text(text)
        settings.chmod(0o600)
    code, printed = ended(
        tmp_path, "-s", main_script(), "--set", f"patchbay_config={settings}", *(["-q"] if quiet else []),
        "--set", f"confdir={certificates(tmp_path)}", "--listen-port", str(free_port()),
    )  # fmt: skip

    assert code == 1
    assert printed.count(told) == 1, printed
    assert "Traceback" not in printed
    assert "listening" not in printed


@pytest.mark.parametrize("mode", ["regular", "reverse:https://127.0.0.1:9"])
def test_a_refused_start_says_its_reason_and_little_more(tmp_path: Path, mode: str) -> None:
    """R22: also while clients knock."""
    settings, port = tmp_path / "config.yaml", free_port()
    settings.write_text(f"state: /proc/1/patchbay\n{GOOD}")
    with knocking(mode.rpartition(":/")[0] or mode, port, "http://127.0.0.1:9"):
        code, told = ended(
            tmp_path, "-s", main_script(), "--set", f"patchbay_config={settings}",
            "--listen-host", "127.0.0.1", "--listen-port", str(port), "--mode", mode, "--set", "flow_detail=0",
            environment={**os.environ, "HOME": str(tmp_path)},
        )  # fmt: skip

    printed = told.splitlines()
    assert code == 1
    assert not any("Traceback" in line for line in printed), told
    assert len([line for line in printed if "] client " not in line and " client " not in line]) <= 5, printed


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        ("pipe", "is no ordinary file"),
        ("/dev/zero", "is no ordinary file"),
        ("folder", "is a folder, and the settings are a file"),
        ("UTF-16", "must be UTF-8"),
        ("under a file", "Not a directory"),
        ("a loop", "Too many levels of symbolic links"),
        ("state", "No such file or directory"),
    ],
)
def test_what_is_no_settings_file_ends_it_in_words(tmp_path: Path, kind: str, told: str) -> None:
    """T16: a pipe that nobody writes to held up the start for ever, and a state folder was called a settings file."""
    named, home = tmp_path / "settings", tmp_path
    match kind:
        case "pipe":
            os.mkfifo(named)
        case "folder":
            named.mkdir()
        case "UTF-16":
            named.write_text(GOOD, encoding="utf-16")
        case "under a file":
            named.write_text(GOOD)
            named /= "more"
        case "a loop":
            named.symlink_to(named)
        case "state":
            named.write_text(GOOD)
            home = Path("/proc")  # nothing can be made there, whatever its rights say
        case _:
            named = Path(kind)
    env = {name: value for name, value in os.environ.items() if not name.startswith("XDG_")}
    code, printed = ended(
        tmp_path, "-s", main_script(), "--set", f"patchbay_config={named}",
        "--set", f"confdir={certificates(tmp_path)}", "--listen-port", str(free_port()),
        environment={**env, "HOME": str(home)},
    )  # fmt: skip

    assert code == 1
    assert printed.count(told) == 1 or kind == "state", printed
    assert ("no file" not in printed) and "Traceback" not in printed, printed


@pytest.mark.parametrize(
    ("module", "text", "told"),
    [
        ("blake3", "import nothing_here_at_all", "blake3 is installed, and cannot be imported"),
        ("blake3", "raise ValueError('boom')", "blake3 is installed, and cannot be imported"),
        ("blake3", "import ctypes; ctypes.CDLL('libnope.so')", "blake3 is installed, and cannot be imported"),
        ("blake3", "def other(): pass", "ImportError: cannot import name 'blake3'"),
        ("msgspec", "json = None", "patchbay cannot be loaded"),
    ],
    ids=["an import in it", "any error in it", "a library", "a name", "a part"],
)
def test_a_damaged_package_ends_it_with_one_line(tmp_path: Path, module: str, text: str, told: str) -> None:
    """T2: whatever a package raises while it is loaded, there is no traceback, and nobody is served without us."""
    (tmp_path / f"{module}.py").write_text(text)
    settings = tmp_path / "config.yaml"
    settings.write_text(GOOD)
    command = [
        str(BIN / "mitmdump"), "-s", str(ROOT / "addon" / "main.py"), "--set", f"patchbay_config={settings}",
        "--set", f"confdir={certificates(tmp_path)}", "--listen-port", str(free_port()), "-q",
        "--mode", "reverse:http://127.0.0.1:9",
    ]  # fmt: skip
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=60, check=False,
        env={**os.environ, "HOME": str(tmp_path), "PYTHONPATH": str(tmp_path)},
    )  # fmt: skip

    printed = (done.stdout + done.stderr).strip()
    assert done.returncode == 1
    assert told in printed
    assert len(printed.splitlines()) == 1, printed


def test_a_mitmproxy_that_is_not_the_one_we_know_is_not_run_with(tmp_path: Path) -> None:
    """Without us, mitmproxy would hand on whatever key a client sends."""
    script, settings, port = tmp_path / "other.py", tmp_path / "config.yaml", free_port()
    script.write_text(
        f"import importlib.util\n"
        f"spec = importlib.util.spec_from_file_location('main', {str(ROOT / 'addon' / 'main.py')!r})\n"
        f"main = importlib.util.module_from_spec(spec)\n"
        f"spec.loader.exec_module(main)\n"
        f"from patchbay.proxy import compatibility\n"
        f"def check(): raise RuntimeError('an answer does not arrive')\n"
        f"compatibility.check = check\n"
        f"addons = main.addons\n"
    )
    settings.write_text("accounts:\n- {id: one, provider: generic, base_url: reverse, key: example}\n")
    settings.chmod(0o600)
    command = [
        str(BIN / "mitmdump"), "-s", str(script), "--set", f"patchbay_config={settings}",
        "--set", f"confdir={certificates(tmp_path)}", "--listen-port", str(port), "--mode", "reverse:http://127.0.0.1:9",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    printed = done.stdout + done.stderr
    assert done.returncode == 1
    assert "patchbay does not run on this mitmproxy: an answer does not arrive" in printed
    assert "Traceback" not in printed
