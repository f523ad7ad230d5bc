"""
Installs the wheel, without pins, into empty environments and runs end-to-end tests against what is there.

The environments hold the oldest and the newest mitmproxy that pyproject.toml allows, and what `uv tool install` and
`pipx install` make of the checkout, where those tools are there. Where the registry cannot be reached it says "not run"
and fails nobody.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from patchbay.needs import NEEDS, PYTHON

ROOT = Path(__file__).parent.parent
HOST = next(need for need in NEEDS if need.distribution == "mitmproxy")
# The addon in mitmdump, and `patchbay run`, which must find mitmproxy where none of its programs is on the PATH.
INSTALLED = tuple(f"tests/end_to_end/test_{name}.py" for name in ("installed", "run"))
# What stands on mitmproxy's insides the most: every mode, streams, sockets, and where keys must not be.
MORE = tuple(f"tests/end_to_end/test_{name}.py" for name in ("modes", "streaming", "websockets", "no_key_anywhere"))
SECONDS = 600  # one step may take
PROBE = 60  # seconds for the registry to answer


@dataclass(frozen=True, slots=True)
class Cell:
    """What came out of one environment: what is in it, and what was wrong (empty: nothing), or why it was not run."""

    name: str
    holds: str = ""
    wrong: str = ""
    not_run: str = ""
    seconds: float = 0.0

    def __str__(self) -> str:
        state = f"not run: {self.not_run}" if self.not_run else "FAILED" if self.wrong else "holds"
        return f"{self.name:16} {state:8} {self.holds:42} {self.seconds:6.1f} s"


class Failed(Exception):
    """A step went wrong; the message is what it printed."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", action="append", choices=["oldest", "newest", "uv", "pipx"], help="may be repeated")
    options = parser.parse_args()
    only = options.only or ["oldest", "newest", "uv", "pipx"]
    with tempfile.TemporaryDirectory(prefix="patchbay-wheel-") as name, ThreadPoolExecutor(2) as aside:
        folder = Path(name)
        if why := _unreachable() if pythons() else "there is no Python that can make environments":
            print(f"scripts/wheel: not run: {why}")
            return 0
        wheel = built(folder)
        ways = {
            "oldest": lambda: from_wheel(folder / "oldest", pythons()[0], wheel, f"mitmproxy=={HOST.least}", MORE),
            "newest": lambda: from_wheel(folder / "newest", pythons()[-1], wheel, "", MORE),
            "uv": lambda: by_uv(folder / "uv"),
            "pipx": lambda: by_pipx(folder / "pipx"),
        }
        cells = []
        for cell in aside.map(lambda way: tried(way, ways[way]), only):
            print(cell, flush=True)
            cells.append(cell)
    for cell in cells:
        if cell.wrong:
            print(f"\n{cell.name}:\n{cell.wrong}")
    return 1 if any(cell.wrong for cell in cells) else 0


def tried(name: str, way: Callable[[], Cell]) -> Cell:
    """Carry out *way* and measure it."""
    begun = time.monotonic()
    try:
        found = way()
    except Failed as e:
        found = Cell(name, wrong=str(e))
    return Cell(name, found.holds, found.wrong, found.not_run, time.monotonic() - begun)


def built(folder: Path) -> Path:
    """Build the wheel of the checkout into *folder*."""
    _ran(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder))
    (wheel,) = folder.glob("patchbay-*.whl")
    return wheel


def from_wheel(folder: Path, python: str, wheel: Path, with_host: str, more: Sequence[str]) -> Cell:
    """Install *wheel* into a new environment, with the mitmproxy that pip takes or with *with_host*; run the tests."""
    _ran(python, "-m", "venv", str(folder))
    pip = (str(folder / "bin" / "python"), "-m", "pip")
    _ran(*pip, "install", "-q", "--disable-pip-version-check", str(wheel), *([with_host] if with_host else []))
    _ran(*pip, "check")
    return _tested(folder / "bin", *INSTALLED, *more)


def by_uv(folder: Path) -> Cell:
    """Install the checkout as a tool of uv, as `uv tool install .` does."""
    if not (uv := shutil.which("uv")):
        return Cell("uv", not_run="there is no uv")
    places = {"UV_TOOL_DIR": str(folder / "tools"), "UV_TOOL_BIN_DIR": str(folder / "bin")}
    _ran(uv, "tool", "install", "--quiet", "--python", pythons()[-1], ".", env=places)
    return _tested(folder / "tools" / "patchbay" / "bin", *INSTALLED, command=folder / "bin" / "patchbay")


def by_pipx(folder: Path) -> Cell:
    """Install the checkout with pipx, as `pipx install .` does."""
    if not (pipx := shutil.which("pipx")):
        return Cell("pipx", not_run="there is no pipx")
    places = {
        "PIPX_HOME": str(folder / "home"),
        "PIPX_BIN_DIR": str(folder / "bin"),
        "PIPX_MAN_DIR": str(folder / "man"),
    }
    _ran(pipx, "install", "--python", pythons()[-1], ".", env=places)
    return _tested(folder / "home" / "venvs" / "patchbay" / "bin", *INSTALLED, command=folder / "bin" / "patchbay")


def pythons() -> list[str]:
    """Return the Pythons of this machine that Patchbay runs on, one of each version, the oldest first."""
    known: dict[tuple[int, ...], str] = {}
    for program in _candidates():
        version = _version(program)
        if version >= PYTHON:
            known.setdefault(version[:2], program)
    return [known[version] for version in sorted(known)]


def _candidates() -> Iterator[str]:
    names = [f"python3.{minor}" for minor in range(PYTHON[1], 20)]
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions"
    installed = (str(path) for path in sorted(pyenv.glob("3.*/bin/python")))
    yield from chain([sys.executable], filter(None, map(shutil.which, names)), installed)


def _version(program: str) -> tuple[int, ...]:
    """Return the version of a Python that can make environments, or nothing."""
    code = "import sys, venv, ensurepip; print(*sys.version_info[:2])"
    done = subprocess.run([program, "-c", code], capture_output=True, text=True, timeout=30, check=False)
    return tuple(map(int, done.stdout.split())) if done.returncode == 0 else ()


def _unreachable() -> str:
    """Say why no package can be had from a registry, if that is so."""
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--dest"]
    with tempfile.TemporaryDirectory() as aside:
        try:
            done = subprocess.run(
                [*command, aside, "--disable-pip-version-check", HOST.requirement],
                capture_output=True, text=True, timeout=PROBE, check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            return "the registry does not answer"
    return "" if done.returncode == 0 else "the registry cannot be reached"


def _tested(programs: Path, *tests: str, command: Path | None = None) -> Cell:
    """Run *tests* with the mitmproxy and the Patchbay of *programs*; *command* is where a tool put the command."""
    said = _ran(str(command or programs / "patchbay"), "version")
    found = re.search(r"mitmproxy (\S+), Python (\S+),", said)
    holds = f"mitmproxy {found[1]}, Python {found[2]}" if found else said
    pytest = (sys.executable, "-m", "pytest", "-q", "--no-header", "-p", "no:cacheprovider")
    _ran(*pytest, *tests, env={"PATCHBAY_BIN": str(programs)})
    return Cell("", holds)


def _ran(*command: str, env: Mapping[str, str] | None = None) -> str:
    """Run *command* in the checkout and return what it printed. Raises Failed with all of that."""
    try:
        done = subprocess.run(
            command, cwd=ROOT, env={**os.environ, **(env or {})}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, timeout=SECONDS, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise Failed(f"{' '.join(command)}: took longer than {SECONDS} s") from None
    if done.returncode:
        raise Failed(f"{' '.join(command)}: exit code {done.returncode}\n{done.stdout[-6000:]}")
    return done.stdout


if __name__ == "__main__":
    sys.exit(main())
