"""The master key is made once, whole, and for its owner only."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from patchbay.store.master_key import master_key

STORE = Path(__file__).parent.parent.parent / "addon" / "store" / "master_key.py"


def test_the_key_is_made_once_and_found_again(tmp_path: Path) -> None:
    key = master_key(tmp_path / "state")

    assert len(key) == 32
    assert master_key(tmp_path / "state") == key
    assert (tmp_path / "state" / "master.key").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "state").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("mode", [0o604, 0o602, 0o601, 0o640, 0o620, 0o610, 0o666])
def test_a_key_that_others_may_use_is_refused(tmp_path: Path, mode: int) -> None:
    master_key(tmp_path)
    (tmp_path / "master.key").chmod(mode)

    with pytest.raises(PermissionError, match="chmod 600"):
        master_key(tmp_path)


def test_what_is_no_key_is_refused(tmp_path: Path) -> None:
    (tmp_path / "master.key").write_bytes(b"short")
    (tmp_path / "master.key").chmod(0o600)

    with pytest.raises(ValueError, match="must hold 32 bytes"):
        master_key(tmp_path)


def test_a_process_that_made_the_key_meanwhile_wins_and_nothing_else_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = master_key(tmp_path)
    monkeypatch.setattr(Path, "exists", lambda _: False)

    assert master_key(tmp_path) == key
    assert [path.name for path in tmp_path.iterdir()] == ["master.key"]


def test_a_key_that_is_there_is_read_without_a_right_to_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key = master_key(tmp_path)
    monkeypatch.setattr(sys.modules[master_key.__module__], "_make", lambda _: pytest.fail("it writes"))

    assert master_key(tmp_path) == key


def test_many_that_start_together_share_one_key(tmp_path: Path) -> None:
    code = (
        "import importlib.util,sys,pathlib;"
        f"s=importlib.util.spec_from_file_location('store',{str(STORE)!r});"
        "m=importlib.util.module_from_spec(s);s.loader.exec_module(m);"
        f"print(m.master_key(pathlib.Path({str(tmp_path)!r})).hex())"
    )

    def run(_: int) -> str:
        return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout

    with ThreadPoolExecutor(4) as pool:
        assert len(set(pool.map(run, range(8)))) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["master.key"]
