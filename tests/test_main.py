"""The shim, beside a package of two small files: what mitmproxy does with it, without mitmproxy."""

from __future__ import annotations

import shutil
import subprocess
import sys
from importlib import util
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

import patchbay
from patchbay import needs
from patchbay.proxy.hooks import Patchbay

SHIM = Path(__file__).parent.parent / "addon" / "main.py"
LOAD = """
import importlib.util, sys

def load(path):
    # as mitmproxy loads a script: under a name of its own, again and again
    spec = importlib.util.spec_from_file_location("__mitmproxy_script__.main", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
"""


@pytest.fixture
def shim(tmp_path: Path) -> Path:
    return make_package(tmp_path / "here" / "addon")


def make_package(folder: Path) -> Path:
    (folder / "proxy").mkdir(parents=True)
    (folder / "__init__.py").touch()
    (folder / "proxy" / "__init__.py").touch()
    (folder / "needs.py").write_text("def check(folder): pass\n")
    (folder / "proxy" / "hooks.py").write_text("from .. import __name__ as package\nclass Patchbay: home = __file__\n")
    return Path(shutil.copy(SHIM, folder))


def run(code: str, cwd: Path) -> str:
    command = [sys.executable, "-I", "-c", LOAD + code]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=120, check=False)
    return done.stdout.strip() or done.stderr.strip().splitlines()[-1]


def test_the_folder_becomes_the_package(shim: Path, tmp_path: Path) -> None:
    """Also ahead of a package of that name that is installed; and `sys.path` stays as it was."""
    installed = make_package(tmp_path / "installed" / "patchbay").parent.parent
    code = f"""
sys.path.insert(0, {str(installed)!r}); before = list(sys.path)
addon, = load({str(shim)!r}).addons
print(addon.home, sys.path == before)"""

    assert run(code, tmp_path) == f"{shim.parent / 'proxy' / 'hooks.py'} True"


def test_loading_it_again_gives_a_new_addon_of_the_same_package(shim: Path, tmp_path: Path) -> None:
    code = f"""
first, = load({str(shim)!r}).addons
package = sys.modules["patchbay"]
second, = load({str(shim)!r}).addons
print(first is second, type(first) is type(second), sys.modules["patchbay"] is package)"""

    assert run(code, tmp_path) == "False True True"


def test_a_link_to_the_folder_is_the_same_folder(shim: Path, tmp_path: Path) -> None:
    link = tmp_path / "patchbay"
    link.symlink_to(shim.parent, target_is_directory=True)
    code = f"""
sys.path.insert(0, {str(tmp_path)!r})
from patchbay.proxy.hooks import Patchbay
kinds = [type(load(path).addons[0]) for path in ({str(shim)!r}, {str(link / "main.py")!r})]
print(kinds == [Patchbay, Patchbay])"""

    assert run(code, tmp_path) == "True"


def test_a_second_patchbay_is_refused(shim: Path, tmp_path: Path) -> None:
    other = make_package(tmp_path / "other" / "addon")

    said = run(f"load({str(shim)!r}); load({str(other)!r})", tmp_path)

    assert said == f"ImportError: {other.parent} cannot be loaded: patchbay is already running from {shim.parent}"


# -- inside this process, where the package is loaded already ----------------------------------------------------------


def _loaded() -> ModuleType:
    spec = util.spec_from_file_location("__mitmproxy_script__.main", SHIM)
    assert spec and spec.loader
    module = util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_shim_checks_what_is_needed_and_hands_one_addon_over(monkeypatch: pytest.MonkeyPatch) -> None:
    checked: list[Path] = []
    monkeypatch.setattr(needs, "check", checked.append)
    package = sys.modules["patchbay"]
    found = _loaded()

    assert checked == [SHIM.resolve().parent]
    assert [type(addon) for addon in found.addons] == [Patchbay]
    assert sys.modules["patchbay"] is package is patchbay


@pytest.mark.parametrize("file", [None, "", "/elsewhere/patchbay/__init__.py"])
def test_a_package_that_runs_from_elsewhere_is_not_swapped(monkeypatch: pytest.MonkeyPatch, file: str | None) -> None:
    shim = _loaded()
    running = SimpleNamespace(__file__=file)
    monkeypatch.setitem(sys.modules, "patchbay", running)
    with pytest.raises(ImportError, match="patchbay is already running from "):
        shim._register(SHIM.resolve().parent)

    assert sys.modules["patchbay"] is running


def test_a_folder_is_made_the_package_where_none_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    shim = _loaded()
    folder = make_package(tmp_path / "here").parent
    (folder / "__init__.py").write_text("loaded = True\n")
    monkeypatch.delitem(sys.modules, "patchbay")
    shim._register(folder)
    made = sys.modules["patchbay"]

    assert made is not patchbay and made.loaded is True
    assert (made.__file__, list(made.__path__)) == (str(folder / "__init__.py"), [str(folder)])
    shim._register(folder)
    assert sys.modules["patchbay"] is made


@pytest.mark.parametrize("spec", [None, SimpleNamespace(loader=None)])
def test_a_folder_that_is_no_package_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, spec: object) -> None:
    shim = _loaded()
    monkeypatch.delitem(sys.modules, "patchbay")
    monkeypatch.setattr(util, "spec_from_file_location", lambda *_, **__: spec)
    with pytest.raises(ImportError, match="is not the folder of a package"):
        shim._register(tmp_path)

    assert "patchbay" not in sys.modules
