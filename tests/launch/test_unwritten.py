"""The settings of a machine without a settings file: what is used, what is told, what is written."""

from __future__ import annotations

from pathlib import Path

import pytest

from patchbay.launch import unwritten
from patchbay.launch.command_line import LaunchError
from patchbay.settings import reader

KEYS = {number: f"sk-proj-{number}-0123456789abcdef" for number in range(3)}


def test_each_key_is_named_with_its_account_and_its_server() -> None:
    env = {
        "ANTHROPIC_API_KEY": KEYS[0],
        "ANTHROPIC_BASE_URL": "https://gateway.example",
        "OPENAI_API_KEY": KEYS[1],
        "OPENAI_API_KEY_2": KEYS[2],
    }
    made = unwritten.of(env)

    assert made.told() == (
        "no config.yaml: uses OPENAI_API_KEY as account openai, OPENAI_API_KEY_2 as openai-2,"
        " ANTHROPIC_API_KEY as anthropic at https://gateway.example; `patchbay init` writes them down"
    )
    accounts = reader.load(made.text, "none", env=env).accounts
    assert [(each.id, each.origin.host if each.origin else "") for each in accounts] == [
        ("openai", "api.openai.com"),
        ("openai-2", "api.openai.com"),
        ("anthropic", "gateway.example"),
    ]
    assert not any(key in made.text for key in KEYS.values())


def test_it_stands_in_only_where_no_file_is_there_or_named(tmp_path: Path) -> None:
    file, env = tmp_path / "config.yaml", {"OPENAI_API_KEY": KEYS[0]}

    assert unwritten.in_place_of(file, None, env) == unwritten.of(env)
    assert unwritten.in_place_of(file, str(file), env) is None
    assert unwritten.in_place_of(file, None, {**env, "PATCHBAY_CONFIG": str(file)}) is None
    assert unwritten.in_place_of(file, None, {}) is None
    file.touch()
    assert unwritten.in_place_of(file, None, env) is None


def test_other_keys_are_another_file_so_that_a_running_proxy_keeps_its_own(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    first, other = unwritten.of({"OPENAI_API_KEY": KEYS[0]}), unwritten.of({"OPENAI_API_KEY_2": KEYS[0]})
    file = unwritten.write(first, folder)

    assert unwritten.write(first, folder) == file != unwritten.write(other, folder)
    assert file.read_text() == first.text
    assert file.stat().st_mode & 0o777 == 0o600 and folder.stat().st_mode & 0o777 == 0o700
    assert len(list(folder.iterdir())) == 2


def test_a_folder_that_cannot_be_written_is_said_with_the_way_out(tmp_path: Path) -> None:
    (tmp_path / "state").touch()
    with pytest.raises(LaunchError, match=r"cannot be written to .*state: .*`state: /other/folder`"):
        unwritten.write(unwritten.of({"OPENAI_API_KEY": KEYS[0]}), tmp_path / "state")
