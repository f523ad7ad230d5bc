"""A key in the wrong place of the settings: no piece of it is told by a real start, at a reload, or by the command."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from patchbay.cli import main as cli

from ..ports import free_port
from ..slips import Slip, slips
from .harness import certificates, ended, eventually, generic_config, main_script, proxy
from .test_shadow import CHAT

SLIPS = tuple(slips())
SAMPLE = SLIPS[:: len(SLIPS) // 24]


def told(folder: Path) -> str:
    """Return all that stands in *folder*, but for the settings themselves."""
    files = [p for p in folder.rglob("*") if p.is_file() and p.name != "config.yaml" and p.parent.name != "mitmproxy"]
    return b"".join(p.read_bytes() for p in files).decode(errors="replace")


def test_no_piece_of_a_key_is_told_at_a_reload(tmp_path: Path) -> None:
    """T6: a slip while it runs."""
    good = generic_config(tmp_path, {"one": "example-one"})
    with proxy(tmp_path, good, "-w", str(tmp_path / "all.mitm"), "-v", mode="reverse:http://127.0.0.1:9") as running:
        for count, slip in enumerate(SAMPLE, 1):
            (tmp_path / "config.yaml").write_text(f"# {count}\n{slip.text}", encoding="utf-8")
            assert eventually(lambda count=count: _looked(running.log) == count, 20), slip.name
        httpx.post(running.url + CHAT, json={"model": "m", "messages": []}, trust_env=False, timeout=30)
        running.interrupt()
    text = told(tmp_path)

    assert "nothing changes" in text
    assert [(slip.name, leak) for slip in SAMPLE if (leak := slip.leaks(text))] == []


def _looked(log: str) -> int:
    return log.count("so nothing changes") + log.count("config.yaml is applied")


@pytest.mark.parametrize("slip", SAMPLE[::9], ids=lambda slip: slip.name)
def test_no_piece_of_a_key_is_told_at_the_start(tmp_path: Path, slip: Slip) -> None:
    """T6: a slip at the start."""
    with pytest.raises(RuntimeError) as refused, proxy(tmp_path, slip.text, mode="reverse:http://127.0.0.1:9"):
        pass

    assert "config.yaml:" in str(refused.value)
    assert slip.leaks(told(tmp_path)) == ""


@pytest.mark.parametrize("command", ["check", "explain", "verify", "incidents"])
def test_no_piece_of_a_key_is_told_by_the_command(
    tmp_path: Path, command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """T6: each sub-command that reads the settings; and a key where the file's name belongs."""
    slip = SAMPLE[3]
    monkeypatch.setenv("HOME", str(tmp_path))
    file, key = tmp_path / "config.yaml", f"sk-ant-api03-{slip.secret}"
    file.write_text(slip.text, encoding="utf-8")
    for settings in (str(file), key):
        arguments = {
            "check": [settings],
            "explain": ["--config", settings, key],
            "verify": ["--config", settings, key],
            "incidents": ["--config", settings, key],
        }[command]
        assert cli.main([command, *arguments]) != 0
        told = capsys.readouterr()
        assert told.err
        assert slip.leaks(told.out + told.err) == ""


def test_a_file_of_settings_that_is_called_like_a_key_is_not_named(tmp_path: Path) -> None:
    """T6: the name given with `--set patchbay_config=`."""
    slip = SAMPLE[3]
    missing = tmp_path / f"sk-ant-api03-{slip.secret}"
    _, printed = ended(
        tmp_path, "-s", main_script(), "--set", f"patchbay_config={missing}",
        "--set", f"confdir={certificates(tmp_path)}", "--listen-port", str(free_port()),
    )  # fmt: skip

    assert "no file" in printed
    assert slip.leaks(printed) == ""
