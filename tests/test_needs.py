"""What the package needs: declared, present, new enough, or said in one line with the command that brings it."""

from __future__ import annotations

import ast
import asyncio
import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from patchbay import needs
from patchbay.needs import NEEDS, Need, Python
from patchbay.store.redis_store import NO_REDIS

ROOT = Path(__file__).parent.parent
ADDON = ROOT / "addon"
OPTIONAL = {
    "fast": "uvloop",
    "redis": "redis",
}  # extras of pyproject.toml, whose only users ask for the package by name
NEWER = {"compression"}  # the standard library of Python 3.14
MSGSPEC, HOST = (next(need for need in NEEDS if need.distribution == name) for name in ("msgspec", "mitmproxy"))
UV = "home = /x\nuv = 0.9\n"
WITH = " ".join(f"--with '{need.requirement}'" for need in NEEDS[1:])
NEW = (
    "python3.12 -m venv ~/patchbay-env && ~/patchbay-env/bin/pip install "
    + " ".join(f"'{need.requirement}'" for need in NEEDS)
    + "  and run its mitmdump"
)


def test_what_is_needed_is_what_is_declared() -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

    assert sorted(map(written, NEEDS)) == sorted(declared["dependencies"])
    assert declared["requires-python"] == ">={}.{}".format(*needs.PYTHON)
    assert declared["optional-dependencies"].keys() == OPTIONAL.keys()


def written(need: Need) -> str:
    until = "" if need.until > (90,) else "; python_version < '{}.{}'".format(*need.until)
    return need.requirement + until


def test_no_command_installs_a_package_by_the_name_of_this_project() -> None:
    """On the public index that name is another project's; the commands name what is needed."""
    (server,) = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]["redis"]
    assert f"pip install '{server}'" in NO_REDIS
    assert f"pip install '{server}'" in (ROOT / "docs/settings.md").read_text()

    installs = re.compile(r"\b(?:install|uvx|pipx run|--with|uv add|uv pip \w+)\b[^\n`;&|]*?[ '\"]patchbay\b(?!/)")
    texts = (*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("addon/**/*.py"), *ROOT.glob("scripts/*"))
    assert installs.search("uv tool install -q 'patchbay[redis]'") and not installs.search("pip install .; patchbay")
    assert [path.name for path in texts if path.is_file() and installs.search(path.read_text("utf-8"))] == []


def test_every_import_of_the_package_is_declared() -> None:
    """T1: an environment that holds what is declared, and no more, holds all that is imported."""
    known = {need.module for need in NEEDS}
    undeclared = {
        f"{file.relative_to(ROOT)}: {name}"
        for file in ADDON.rglob("*.py")
        for name in imported(file)
        if not any(name == module or name.startswith(f"{module}.") for module in known)
        and name.partition(".")[0] not in sys.stdlib_module_names | {*OPTIONAL.values()} | NEWER | {"patchbay"}
    }

    assert not undeclared


def imported(file: Path) -> Iterator[str]:
    """Yield the full names of what *file* imports from elsewhere, also by a call with the name as text."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        match node:
            case ast.Import(names=names):
                yield from (alias.name for alias in names)
            case ast.ImportFrom(module=str(module), names=names, level=0):
                yield from (f"{module}.{alias.name}" for alias in names)
            case ast.Call(func=function, args=[ast.Constant(value=str(name)), *_]) if _imports(function):
                yield name


def _imports(function: ast.expr) -> bool:
    return ast.unparse(function) in ("import_module", "importlib.import_module", "__import__")


@pytest.mark.parametrize("name", ["main.py", "needs.py", "__init__.py"])
def test_what_is_read_first_can_be_read_by_an_older_python(name: str) -> None:
    """T2: else a SyntaxError would be all that is said."""
    ast.parse((ADDON / name).read_text(encoding="utf-8"), feature_version=(3, 8))


@pytest.mark.parametrize(
    ("files", "version", "told"),
    [
        ({}, (3, 13, 0), "{program} -m pip install 'msgspec>=0.20' 'mitmproxy>=12.2,<13'"),
        ({}, (3, 12, 0), "{program} -m pip install 'msgspec>=0.20' 'mitmproxy>=12.2,<13'"),
        ({"uv-receipt.toml": ""}, (3, 13, 0), f"uv tool install 'mitmproxy>=12.2,<13' {WITH}"),
        ({"uv-receipt.toml": ""}, (3, 11, 2), f"uv tool install --python 3.12 'mitmproxy>=12.2,<13' {WITH}"),
        (
            {"pipx_metadata.json": "{}"},
            (3, 13, 0),
            "pipx runpip 'my env' install 'msgspec>=0.20' 'mitmproxy>=12.2,<13'",
        ),
        ({"pipx_metadata.json": "{}"}, (3, 11, 2), "pipx reinstall --python python3.12 'my env'"),
        ({"pyvenv.cfg": UV}, (3, 13, 0), "uv pip install --python {program} 'msgspec>=0.20' 'mitmproxy>=12.2,<13'"),
        ({"pyvenv.cfg": UV}, (3, 11, 2), NEW),
        (
            {"pyvenv.cfg": UV, "bin/pip": ""},
            (3, 13, 0),
            "{program} -m pip install 'msgspec>=0.20' 'mitmproxy>=12.2,<13'",
        ),
        (
            {"pyvenv.cfg": "home = /uv = 9"},
            (3, 13, 0),
            "{program} -m pip install 'msgspec>=0.20' 'mitmproxy>=12.2,<13'",
        ),
        ({}, (3, 11, 2), NEW),
    ],
)
def test_the_command_is_that_of_the_tool_which_made_the_environment(
    tmp_path: Path, files: dict[str, str], version: tuple[int, ...], told: str
) -> None:
    """T2: pip, uv tool, pipx and uv's environments without pip are told apart."""
    prefix = tmp_path / "my env"
    (prefix / "bin").mkdir(parents=True)
    (prefix / "pyvenv.cfg").touch()
    for name, text in files.items():
        (prefix / name).write_text(text)
    here = Python(version, str(prefix / "bin" / "python"), prefix)

    assert needs.remedy([MSGSPEC, HOST], here) == told.format(program=shlex.quote(here.program))


@pytest.mark.parametrize("prefix", ["no environment", "a folder"])
def test_an_environment_is_uv_s_when_its_settings_say_so(tmp_path: Path, prefix: str) -> None:
    (tmp_path / "a folder").mkdir()
    assert not needs._is_uvs(tmp_path / prefix)


def test_a_standalone_mitmproxy_takes_no_packages() -> None:
    here = Python((3, 13, 0), "/opt/mitmproxy/mitmdump", Path("/opt/mitmproxy"), frozen=True)

    assert needs.remedy([MSGSPEC], here) == NEW


def test_the_mitmproxy_that_came_with_it_is_named(tmp_path: Path) -> None:
    """T2: `mitmdump -s "$(patchbay path)"` finds the first mitmdump on the PATH, which may be another's."""
    folder = tmp_path / "tool" / "lib" / "python3.12" / "site-packages" / "patchbay"
    folder.mkdir(parents=True)
    (tmp_path / "tool" / "bin").mkdir()
    (tmp_path / "tool" / "bin" / "mitmdump").touch()
    (tmp_path / "tool" / "pyvenv.cfg").touch()

    assert needs.own_program(folder, tmp_path / "other") == str(tmp_path / "tool" / "bin" / "mitmdump")
    assert needs.own_program(folder, tmp_path / "tool") == ""
    assert needs.own_program(ADDON, tmp_path) == ""
    (folder.parent / "pyvenv.cfg").touch()  # an environment without the program
    assert needs.own_program(folder, tmp_path / "other") == str(tmp_path / "tool" / "bin" / "mitmdump")
    (tmp_path / "pyvenv.cfg").touch()
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "mitmdump").touch()  # the innermost environment is the one
    assert needs.own_program(folder, tmp_path / "other") == str(tmp_path / "tool" / "bin" / "mitmdump")
    (tmp_path / "tool" / "pyvenv.cfg").unlink()
    assert needs.own_program(folder, tmp_path / "other") == str(tmp_path / "bin" / "mitmdump")


@pytest.mark.parametrize(
    ("version", "objection"),
    [
        ("12.1.2", "12.1.2 is older than 12.2"),
        ("9.9", "9.9 is older than 12.2"),
        ("12.2", ""),
        ("12.2.0", ""),
        ("12.10.0.dev1", ""),
        ("13.0.0", "13.0.0 is newer than Patchbay knows (below 13)"),
        ("", ""),
        ("none", "none is older than 12.2"),
        ("12.2rc1", ""),
        ("13", "13 is newer than Patchbay knows (below 13)"),
        ("12.99", ""),
    ],
)
def test_versions_are_compared_as_numbers(monkeypatch: pytest.MonkeyPatch, version: str, objection: str) -> None:
    monkeypatch.setattr(needs, "_version", lambda _: version)

    assert needs._objection(HOST) == objection


def test_here_nothing_is_wrong(capsys: pytest.CaptureFixture[str]) -> None:
    needs.check(ADDON)
    assert capsys.readouterr() == ("", "")


PRESENT, TOO_NEW = Need("pyyaml", "yaml", "1.0"), Need("pyyaml", "yaml", "1.0", below="2")


@pytest.mark.parametrize(
    ("wanted", "least", "told"),
    [
        ((PRESENT, TOO_NEW), (3, 12), "(below 2); to fix it, run:  "),
        ((PRESENT, PRESENT._replace(least="99.0")), (3, 12), "is older than 99.0; to fix it, run:  "),
        ((PRESENT,), (99, 1), "): Python is older than 99.1; to fix it, run:  "),
        ((TOO_NEW._replace(until=(99, 0)),), (99, 1), "(below 2), Python is older than 99.1; to fix it, run:  "),
    ],
)
def test_what_is_wrong_ends_the_process_with_one_line(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    wanted: tuple[Need, ...],
    least: tuple[int, int],
    told: str,
) -> None:
    monkeypatch.setattr(needs, "NEEDS", wanted)
    monkeypatch.setattr(needs, "PYTHON", least)
    with pytest.raises(SystemExit) as ended:
        needs.check(ADDON)

    (line,) = capsys.readouterr().err.splitlines()
    assert ended.value.code == 1
    assert told in line
    assert f"with Python {'.'.join(map(str, sys.version_info[:3]))} ({sys.executable}): " in line


@pytest.mark.parametrize("until", [(3, 0), sys.version_info[:2]])
def test_what_this_python_includes_is_not_needed(monkeypatch: pytest.MonkeyPatch, until: tuple[int, int]) -> None:
    monkeypatch.setattr(needs, "NEEDS", (TOO_NEW._replace(until=until),))
    needs.check(ADDON)


def test_a_package_that_cannot_be_loaded_is_named_with_its_place(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(needs, "NEEDS", ())
    monkeypatch.setitem(sys.modules, "patchbay.proxy.hooks", None)
    with pytest.raises(SystemExit) as ended:
        needs.check(ADDON)

    (line,) = capsys.readouterr().err.splitlines()
    assert ended.value.code == 1
    assert line.startswith(f"patchbay cannot be loaded with Python {'.'.join(map(str, sys.version_info[:3]))} (")


def test_a_damaged_file_is_told_by_the_innermost_place() -> None:
    here = Python((3, 12, 1), "/usr/bin/python", Path("/usr"))
    with pytest.raises(ZeroDivisionError) as caught:
        _broken()
    at = _broken.__code__.co_firstlineno + 1

    assert needs.broken(caught.value, here) == (
        "patchbay cannot be loaded with Python 3.12.1 (/usr/bin/python): ZeroDivisionError: division by zero "
        f"({__file__}:{at}); a file of Patchbay or of a required package is missing or damaged: "
        "reinstall both in a new environment"
    )
    assert "): ValueError: two lines; a file" in needs.broken(ValueError("two\n  lines"), here)


def _broken() -> float:
    return 1 / 0


def test_a_running_loop_is_ended_as_well() -> None:
    """mitmproxy catches what a script raises."""
    reached = []

    async def host() -> None:
        with pytest.raises(SystemExit):
            needs._end()
        await asyncio.sleep(0)
        reached.append("the loop runs on")

    with pytest.raises(SystemExit) as ended:
        asyncio.run(host())
    assert (ended.value.code, reached) == (1, [])


@pytest.mark.parametrize(
    ("files", "told"),
    [
        ({"blake3.py": "raise ImportError"}, "blake3 is installed, and cannot be imported"),
        ({"mitmproxy-11.1.3.dist-info/METADATA": "Version: 11.1.3\n"}, "mitmproxy 11.1.3 is older than 12.2"),
        ({"msgspec-0.18.dist-info/METADATA": "Version: 0.18\n"}, "msgspec 0.18 is older than 0.20"),
    ],
    ids=["broken", "old mitmproxy", "old package"],
)
@pytest.mark.parametrize("program", ["mitmdump", "mitmweb"])
def test_a_mitmproxy_that_lacks_something_ends_with_one_line(
    tmp_path: Path, files: dict[str, str], told: str, program: str
) -> None:
    """T2: no traceback, and mitmproxy does not go on without us."""
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    command = [str(Path(sys.executable).parent / program), "-q", "-s", str(ADDON / "main.py")]
    ended = subprocess.run(
        [*command, "--listen-port", "0", "--set", f"confdir={tmp_path / 'mitmproxy'}"],
        env={**os.environ, "PYTHONPATH": str(tmp_path)}, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip

    (line,) = (ended.stdout + ended.stderr).splitlines()
    assert ended.returncode == 1
    assert line.startswith("patchbay does not run in this mitmproxy 1")
    assert told in line
    assert f"{sys.executable} -m pip install" in line


@pytest.mark.parametrize(("version", "old"), [((3, 11, 9), True), ((3, 12, 0), False)])
def test_the_line_says_what_is_missing_and_how_to_fix_it(tmp_path: Path, version: tuple[int, ...], old: bool) -> None:
    (tmp_path / "pyvenv.cfg").touch()
    here = Python(version, "/usr/bin/python", tmp_path)
    line = needs.said({MSGSPEC: "is missing", HOST: "1 is older than 12.2"}, here, tmp_path)

    dotted = ".".join(map(str, version))
    assert f"with Python {dotted} (/usr/bin/python): msgspec is missing, mitmproxy 1 is older than 12.2" in line
    assert line.startswith(f"patchbay does not run in this mitmproxy {needs._version('mitmproxy')} with Python ")
    assert ("Python is older than 3.12" in line) == old
    assert line.endswith(needs.remedy([MSGSPEC, HOST], here))
    assert "\n" not in line


def test_the_program_that_was_installed_with_the_package_is_named(tmp_path: Path) -> None:
    own = tmp_path / "own"
    (own / "bin").mkdir(parents=True)
    (own / "pyvenv.cfg").touch()
    (own / "bin" / "mitmdump").touch()
    here = Python((3, 12, 0), "/usr/bin/python", tmp_path / "other")

    assert f"(or run {own / 'bin' / 'mitmdump'}," in needs.said({MSGSPEC: "is missing"}, here, own / "lib" / "patchbay")
    assert "(or run" not in needs.said({MSGSPEC: "is missing"}, here, tmp_path / "elsewhere")


@pytest.mark.parametrize(
    ("need", "why"),
    [
        (Need("pyyaml", "yaml", "1.0"), ""),
        (Need("pyyaml", "yaml", "99.0"), " is older than 99.0"),
        (Need("pyyaml", "yaml", "1.0", below="2"), " is newer than Patchbay knows (below 2)"),
        (Need("pyyaml", "no_such_module", "1.0"), "is installed, and cannot be imported"),
        (Need("no-such-distribution", "no_such_module", "1.0"), "is missing"),
    ],
)
def test_an_installation_fits_or_says_why_not(need: Need, why: str) -> None:
    found = needs._objection(need)

    assert found.endswith(why) if why else found == ""


@pytest.mark.parametrize(("own", "managed"), [(False, False), (False, True), (True, False), (True, True)])
def test_the_system_s_python_gets_no_packages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own: bool, managed: bool
) -> None:
    monkeypatch.setattr("sysconfig.get_path", lambda _: str(tmp_path))
    if own:
        (tmp_path / "pyvenv.cfg").touch()
    if managed:
        (tmp_path / "EXTERNALLY-MANAGED").touch()
    command = needs.remedy([MSGSPEC], Python((3, 12, 0), "/usr/bin/python", tmp_path))

    assert ("-m venv" in command) == (managed and not own)
