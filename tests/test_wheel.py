"""What a wheel holds: the whole package, under its import name. Built offline, without touching the checkout."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    pytest.importorskip("hatchling")
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)],
        cwd=ROOT,
        check=True,
        capture_output=True,
        timeout=300,
    )
    (file,) = folder.glob("patchbay-*.whl")
    return zipfile.ZipFile(file)


def test_the_wheel_holds_every_module_under_the_import_name(wheel: zipfile.ZipFile) -> None:
    modules = {f"patchbay/{file.relative_to(ROOT / 'addon')}" for file in (ROOT / "addon").rglob("*.py")}

    assert {name for name in wheel.namelist() if name.endswith(".py")} == modules


def test_the_wheel_holds_the_types_and_the_example_settings(wheel: zipfile.ZipFile) -> None:
    assert {"patchbay/py.typed", "patchbay/config.example.yaml"} <= set(wheel.namelist())


def test_the_wheel_offers_the_command(wheel: zipfile.ZipFile) -> None:
    (points,) = (name for name in wheel.namelist() if name.endswith("entry_points.txt"))

    assert "patchbay = patchbay.cli.entry:main" in wheel.read(points).decode()
