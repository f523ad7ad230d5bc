"""
The requirements of Patchbay, checked before any other import: another environment's mitmproxy may lack some.

Uses only the standard library, and only syntax of older Pythons. NEEDS equals the dependencies in pyproject.toml;
`tests/test_needs.py` compares the two, and every import of the package with them.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import os
import re
import shlex
import sys
import sysconfig
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

PYTHON = (3, 12)


class Need(NamedTuple):
    """A distribution, its module, its versions, and the Python that includes it."""

    distribution: str
    module: str
    least: str
    below: str = ""
    until: tuple[int, int] = (99, 0)

    @property
    def requirement(self) -> str:
        """The requirement as installers take it."""
        return f"{self.distribution}>={self.least}" + (f",<{self.below}" if self.below else "")


NEEDS = (
    Need("mitmproxy", "mitmproxy", "12.2", below="13"),
    Need("backports.zstd", "backports.zstd", "1.0", until=(3, 14)),
    Need("blake3", "blake3", "1.0"),
    Need("brotli", "brotli", "1.0"),
    Need("cryptography", "cryptography", "42.0"),
    Need("h11", "h11", "0.16"),
    Need("h2", "h2", "4.3"),
    Need("hpack", "hpack", "4.0"),
    Need("hyperframe", "hyperframe", "6.0"),
    Need("msgspec", "msgspec", "0.20"),
    Need("pyyaml", "yaml", "6.0.2"),
    Need("wsproto", "wsproto", "1.2"),
)


class Python(NamedTuple):
    """A Python interpreter and its environment."""

    version: tuple[int, ...]
    program: str
    prefix: Path
    frozen: bool = False


def check(folder: Path) -> None:
    """
    End the process with one line if the package in *folder* lacks a requirement or cannot be loaded.

    mitmproxy would show a traceback, and serve clients without the addon.
    """
    here = Python(sys.version_info[:3], sys.executable, Path(sys.prefix), bool(getattr(sys, "frozen", False)))
    wrong = {need: why for need in NEEDS if here.version < need.until and (why := _objection(need))}
    if wrong or here.version < PYTHON:
        print(said(wrong, here, folder), file=sys.stderr, flush=True)
        _end()
    try:
        importlib.import_module("patchbay.proxy.hooks")
    except Exception as e:
        print(broken(e, here), file=sys.stderr, flush=True)
        _end()


def broken(e: Exception, here: Python) -> str:
    """Return the line for *e*, raised while the package was loaded: its files or a requirement are damaged."""
    at = e.__traceback__
    while at is not None and at.tb_next is not None:
        at = at.tb_next
    where = f" ({at.tb_frame.f_code.co_filename}:{at.tb_lineno})" if at is not None else ""
    what = " ".join(f"{type(e).__name__}: {e}".split())
    return (
        f"patchbay cannot be loaded with Python {'.'.join(map(str, here.version))} ({here.program}): {what}{where}; "
        "a file of Patchbay or of a required package is missing or damaged: reinstall both in a new environment"
    )


def _end() -> None:
    # mitmproxy shows a traceback for an exception, and mitmproxy 11 ignores even SystemExit.
    with contextlib.suppress(RuntimeError):  # no running loop
        asyncio.get_running_loop().call_soon(sys.exit, 1)
    raise SystemExit(1)


def said(wrong: dict[Need, str], here: Python, folder: Path) -> str:
    """Return the line for what is *wrong* with a Python: its name, what is missing, and the command to fix it."""
    problems = [f"{need.distribution} {why}" for need, why in wrong.items()]
    if here.version < PYTHON:
        problems.append("Python is older than {}.{}".format(*PYTHON))
    version = ".".join(map(str, here.version))
    line = (
        f"patchbay does not run in this mitmproxy {_version('mitmproxy') or '(unknown version)'} with Python {version} "
        f"({here.program}): {', '.join(problems)}; to fix it, run:  {remedy(list(wrong), here)}"
    )
    own = own_program(folder, here.prefix)
    return f"{line}  (or run {own}, which was installed with it)" if own else line


def remedy(missing: list[Need], here: Python) -> str:
    """Return the command that installs what is *missing*, with the tool that made this environment."""
    old = here.version < PYTHON
    name = shlex.quote(here.prefix.name)
    wanted = " ".join(shlex.quote(need.requirement) for need in missing)
    if here.frozen or _is_the_systems(here):
        return _new_environment()
    if (here.prefix / "uv-receipt.toml").is_file():
        host, *others = [shlex.quote(need.requirement) for need in NEEDS]
        python = "--python {}.{} ".format(*PYTHON) if old else ""
        return f"uv tool install {python}{host} " + " ".join(f"--with {other}" for other in others)
    if (here.prefix / "pipx_metadata.json").is_file():
        return f"pipx reinstall --python python3.12 {name}" if old else f"pipx runpip {name} install {wanted}"
    if old:
        return _new_environment()
    if not (here.prefix / "bin" / "pip").exists() and _is_uvs(here.prefix):
        return f"uv pip install --python {shlex.quote(here.program)} {wanted}"
    return f"{shlex.quote(here.program)} -m pip install {wanted}"


def own_program(folder: Path, prefix: Path) -> str:
    """Return the mitmdump of the environment that *folder* is installed in, unless it is that of *prefix*."""
    for above in folder.parents:
        program = above / "bin" / "mitmdump"
        if (above / "pyvenv.cfg").is_file() and program.is_file():
            return "" if above == prefix else str(program)
    return ""


def _objection(need: Need) -> str:
    """Return what is wrong with the installation of *need*, or nothing."""
    try:
        importlib.import_module(need.module)
    except Exception:  # a damaged package may raise anything
        return "is missing" if not _version(need.distribution) else "is installed, and cannot be imported"
    version = _version(need.distribution)
    if version and _numbers(version) < _numbers(need.least):
        return f"{version} is older than {need.least}"
    if version and need.below and _numbers(version) >= _numbers(need.below):
        return f"{version} is newer than Patchbay knows (below {need.below})"
    return ""


def _version(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return ""


def _numbers(version: str) -> list[int]:
    """Return the release of *version* as numbers without trailing zeros, so that 12.2 is 12.2.0."""
    found = re.match(r"\d+(?:\.\d+)*", version)
    numbers = [int(part) for part in found[0].split(".")] if found else []
    while numbers and not numbers[-1]:
        numbers.pop()
    return numbers


def _new_environment() -> str:
    wanted = " ".join(shlex.quote(need.requirement) for need in NEEDS)
    return f"python3.12 -m venv ~/patchbay-env && ~/patchbay-env/bin/pip install {wanted}  and run its mitmdump"


def _is_the_systems(here: Python) -> bool:
    """Whether the operating system manages this Python, so that nothing may be installed into it (PEP 668)."""
    return not (here.prefix / "pyvenv.cfg").is_file() and os.path.exists(
        os.path.join(sysconfig.get_path("stdlib"), "EXTERNALLY-MANAGED")
    )


def _is_uvs(prefix: Path) -> bool:
    try:
        return bool(re.search(r"^uv *=", (prefix / "pyvenv.cfg").read_text(encoding="utf-8"), re.M))
    except OSError:
        return False
