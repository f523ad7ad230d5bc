from __future__ import annotations

from argparse import Namespace
from pathlib import Path

import pytest

from patchbay.cli import inputs
from patchbay.cli.inputs import CommandError
from patchbay.settings.settings import Config
from patchbay.store import master_key


def arguments(folder: Path, *, state: str | None = None) -> Namespace:
    return Namespace(config=str(folder / "config.yaml"), state=state)


def test_without_a_file_the_settings_are_the_defaults(tmp_path: Path) -> None:
    assert inputs.settings(arguments(tmp_path)) == Config(())
    assert inputs.settings(arguments(tmp_path, state="/s")).state == "/s"


def test_the_argument_goes_before_the_setting(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("mode: shadow\nstate: /one\n")

    assert inputs.state_folder(inputs.settings(arguments(tmp_path))) == Path("/one")
    assert inputs.state_folder(inputs.settings(arguments(tmp_path, state="~/two"))) == Path.home() / "two"


def test_a_key_is_read_and_none_is_made(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match=r"no key in .*--state"):
        inputs.existing_key(tmp_path / "state")
    assert not (tmp_path / "state").exists()

    key = master_key(tmp_path / "state")
    assert inputs.existing_key(tmp_path / "state") == key


def test_a_file_that_is_no_key_is_named(tmp_path: Path) -> None:
    (tmp_path / "master.key").write_bytes(b"short")
    (tmp_path / "master.key").chmod(0o600)
    with pytest.raises(CommandError, match=r"master\.key must hold 32 bytes, has 5") as caught:
        inputs.existing_key(tmp_path)

    assert caught.value.code == 2


def test_a_store_is_opened_and_closed(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(f"mode: shadow\nstore: sqlite\nstate: {tmp_path / 'state'}\n")
    master_key(tmp_path / "state")
    with inputs.store(arguments(tmp_path), "patchbay.wake") as (found, store):
        assert found.store == "sqlite"
        assert store.news(0.0) == []


def test_a_store_that_cannot_be_used_is_a_usage_error(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(f"mode: shadow\nstore: sqlite\nstate: {tmp_path / 'state'}\n")
    master_key(tmp_path / "state")
    (tmp_path / "state" / "state.db").mkdir()
    with pytest.raises(CommandError, match=r"state\.db"), inputs.store(arguments(tmp_path), "x") as (_, store):
        store.news(0.0)


def test_exit_codes_tell_an_answer_from_no_answer() -> None:
    assert (inputs.EXIT_FOUND, inputs.EXIT_USAGE, CommandError("x").code) == (1, 2, 2)


def test_without_a_store_the_command_in_mitmproxy_is_named(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(f"mode: shadow\nstate: {tmp_path / 'state'}\n")
    master_key(tmp_path / "state")
    with (
        pytest.raises(CommandError, match=r"no store is configured .*: use patchbay\.wake in mitmproxy") as caught,
        inputs.store(arguments(tmp_path), "patchbay.wake"),
    ):
        pass

    assert caught.value.code == 2
