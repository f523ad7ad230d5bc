"""`patchbay init`: which keys it finds, what it writes, and what it says."""

from __future__ import annotations

import argparse
import json
import stat
from collections.abc import Mapping
from pathlib import Path

import pytest

from patchbay.cli import init
from patchbay.cli.init import Machine
from patchbay.cli.inputs import CommandError
from patchbay.cli.main import main
from patchbay.launch import found_keys
from patchbay.settings import reader

KEYS = {number: f"sk-proj-{number}-0123456789abcdef" for number in range(9)}


def written(
    folder: Path,
    env: Mapping[str, str],
    *,
    answers: bool | None = None,
    tools: tuple[str, ...] = ("claude",),
    force: bool = False,
    logins: bool = False,
) -> tuple[str, list[str]]:
    """Return what `init` wrote and said, with *env* and the home *folder*; *answers* is what it was told, if asked."""
    machine = Machine(
        env, folder, lambda name: name if name in tools else None, None if answers is None else lambda _: answers
    )
    file = folder / "config.yaml"
    told = list(init.written(file, machine, argparse.Namespace(force=force, logins=logins)))
    return file.read_text(), told


def accounts(text: str, env: Mapping[str, str]) -> dict[str, tuple[str, str, str]]:
    config = reader.load(text, "config.yaml", env=env)
    assert config.warnings == ()
    return {
        each.id: (each.provider.name, each.secret.value, each.origin.host if each.origin else "")
        for each in config.accounts
    }


def test_every_key_of_the_environment_is_an_account_and_none_is_written(tmp_path: Path) -> None:
    env = {
        "OPENAI_API_KEY": KEYS[0],
        "OPENAI_API_KEY_2": KEYS[1],
        "OPENAI_API_KEY_WORK": KEYS[2],
        "OPENAI_B": KEYS[3],
        "ANTHROPIC_API_KEY": KEYS[4],
        "GOOGLE_API_KEY": KEYS[5],
        "OPENROUTER_API_KEY": KEYS[6],
        "GROK_API_KEY": KEYS[7],
    }
    text, told = written(tmp_path, env)

    assert accounts(text, env) == {
        "anthropic": ("anthropic", "ANTHROPIC_API_KEY", "api.anthropic.com"),
        "openai": ("openai", "OPENAI_API_KEY", "api.openai.com"),
        "openai-2": ("openai", "OPENAI_API_KEY_2", "api.openai.com"),
        "openai-work": ("openai", "OPENAI_API_KEY_WORK", "api.openai.com"),
        "openai-b": ("openai", "OPENAI_B", "api.openai.com"),
        "gemini": ("gemini", "GOOGLE_API_KEY", "generativelanguage.googleapis.com"),
        "openrouter": ("openrouter", "OPENROUTER_API_KEY", "openrouter.ai"),
        "xai": ("xai", "GROK_API_KEY", "api.x.ai"),
    }
    assert told[-1] == f"next: patchbay run --config {tmp_path / 'config.yaml'} -- claude"
    assert not any(key in text + "".join(told) for key in KEYS.values())
    assert stat.S_IMODE((tmp_path / "config.yaml").stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("env", "why"),
    [
        ({"OPENAI_API_KEY": "dummy"}, "OPENAI_API_KEY: too short for a key"),
        ({"OPENAI_API_KEY": ""}, "OPENAI_API_KEY: is empty"),
        ({"OPENAI_API_KEY": '"sk-proj-0123456789abcdef"'}, "OPENAI_API_KEY: stands in quotes"),
        ({"OPENAI_API_KEY": KEYS[0], "OPENAI_KEY": KEYS[0]}, "OPENAI_KEY: the same key as OPENAI_API_KEY"),
        ({"AZURE_OPENAI_API_KEY": KEYS[0]}, "AZURE_OPENAI_API_KEY: AZURE_OPENAI_ENDPOINT is not set"),
        ({"OPENAI_API_KEY": KEYS[0], "OPENAI_BASE_URL": "http://box.lan"}, "OPENAI_BASE_URL is no plain https address"),
        ({"OPENAI_API_KEY": KEYS[0], "OPENAI_BASE_URL": "https://me:secret-word@box"}, "is no plain https address"),
    ],
)
def test_what_is_left_out_is_told(tmp_path: Path, env: dict[str, str], why: str) -> None:
    _, told = written(tmp_path, env)

    [line] = [line for line in told if line.startswith("left out")]
    assert why in line
    assert not any(value in line for value in env.values() if len(value) > 8)


@pytest.mark.parametrize(
    "name",
    [
        "OPENAI_API_KEY_FILE",
        "OPENAI_API_KEY_PATH",
        "OPENAI_ORG_ID",
        "OPENAI_API_KEYS_URL",
        "MY_OPENAI_API_KEY",
        "OPENAI_X",
        "PATH",
    ],
)
def test_other_variables_are_no_keys(name: str) -> None:
    assert found_keys.in_environment({name: "/a/plain/value/of/something"}) == ((), ())


def test_a_key_for_another_server_goes_to_that_server(tmp_path: Path) -> None:
    env = {
        "OPENAI_API_KEY": KEYS[0],
        "OPENAI_BASE_URL": "https://llm.example.com/v1",
        "ANTHROPIC_API_KEY": KEYS[1],
        "ANTHROPIC_BASE_URL": "http://127.0.0.1:8080",  # Patchbay itself, most likely
        "AZURE_OPENAI_API_KEY": KEYS[2],
        "AZURE_OPENAI_ENDPOINT": "https://me.openai.azure.com/",
    }
    text, _ = written(tmp_path, env)

    assert accounts(text, env) == {
        "anthropic": ("anthropic", "ANTHROPIC_API_KEY", "api.anthropic.com"),
        "openai": ("openai_compatible", "OPENAI_API_KEY", "llm.example.com"),
        "azure": ("azure", "AZURE_OPENAI_API_KEY", "me.openai.azure.com"),
    }


def test_the_next_command_starts_a_tool_that_is_there(tmp_path: Path) -> None:
    _, told = written(tmp_path, {"OPENAI_API_KEY": KEYS[0]}, tools=("claude", "qwen"))
    assert told[-1].endswith(" -- qwen")

    _, told = written(tmp_path, {"OPENAI_API_KEY": KEYS[0]}, tools=(), force=True)
    assert told[-1] == f"next: patchbay run --config {tmp_path / 'config.yaml'}"


def test_without_a_key_one_line_is_left_to_fill_in(tmp_path: Path) -> None:
    text, told = written(tmp_path, {})

    [said] = [line for line in told if "fill in line" in line]
    line = text.splitlines()[int(said.rpartition(" ")[2]) - 1]
    assert "key: env:OPENAI_API_KEY" in line
    assert len(reader.load(text, "c").accounts) == 1


def test_a_file_that_is_there_stays(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("mine")
    with pytest.raises(CommandError, match="nothing is changed"):
        written(tmp_path, {"OPENAI_API_KEY": KEYS[0]})
    assert (tmp_path / "config.yaml").read_text() == "mine"

    text, _ = written(tmp_path, {"OPENAI_API_KEY": KEYS[0]}, force=True)
    assert "OPENAI_API_KEY" in text
    assert [each.name for each in tmp_path.iterdir()] == ["config.yaml"]


@pytest.fixture
def login(tmp_path: Path) -> Path:
    file = tmp_path / ".codex" / "auth.json"
    file.parent.mkdir()
    file.write_text(json.dumps({"OPENAI_API_KEY": KEYS[0]}))
    file.chmod(0o600)
    return file


@pytest.mark.parametrize(
    ("answers", "wanted", "named"),
    [(True, False, True), (False, False, False), (None, False, False), (None, True, True)],
)
def test_a_login_is_named_only_where_its_user_agrees(
    tmp_path: Path, login: Path, answers: bool | None, wanted: bool, named: bool
) -> None:
    text, told = written(tmp_path, {}, answers=answers, logins=wanted)

    assert ("~/.codex/auth.json" in text) is named
    assert any(line.startswith("left out: ~/.codex/auth.json") for line in told) is not named
    assert KEYS[0] not in text + "".join(told)


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"OPENAI_API_KEY": null}', '{"OPENAI_API_KEY": ""}', "[" * 100_000]
)
def test_a_file_without_a_login_is_none(tmp_path: Path, login: Path, content: str) -> None:
    login.write_text(content)

    assert list(found_keys.logins({}, tmp_path)) == []


def test_a_tool_says_where_its_folder_is(tmp_path: Path, login: Path) -> None:
    [found] = found_keys.logins({"CODEX_HOME": str(login.parent)}, Path("/nowhere"))

    assert found.key == f"file:{login}#/OPENAI_API_KEY"


def test_two_accounts_never_share_a_name() -> None:
    keys, _ = found_keys.in_environment({"OPENAI_API_KEY": KEYS[0], "OPENAI_KEY": KEYS[1], "OPENAI_API_KEY_2": KEYS[2]})

    assert (
        sorted(each.id for each in keys) == ["openai", "openai-2", "openai-3"] or len({each.id for each in keys}) == 3
    )


def test_what_it_writes_passes_the_check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("PATCHBAY_CONFIG", raising=False)
    monkeypatch.setenv("MISTRAL_API_KEY", KEYS[0])
    assert main(["init"]) == 0
    assert "mistral (MISTRAL_API_KEY)" in capsys.readouterr().out
    assert main(["check"]) == 0
    assert main(["init"]) == 1


@pytest.mark.parametrize(
    ("said", "agreed"), [("y", True), (" YES ", True), ("", False), ("n", False), (EOFError, False)]
)
def test_only_a_yes_is_one(monkeypatch: pytest.MonkeyPatch, said: str | type[Exception], agreed: bool) -> None:
    def answer(_: str) -> str:
        if isinstance(said, str):
            return said
        raise said

    monkeypatch.setattr("builtins.input", answer)
    assert init._asked("Use it?") is agreed


@pytest.mark.parametrize(
    ("file", "content", "preset"),
    [
        (".claude/.credentials.json", {"claudeAiOauth": {"accessToken": "tok-0123456789abcdef"}}, "claude_login"),
        (".codex/auth.json", {"tokens": {"access_token": "tok-0123456789abcdef"}}, "codex_login"),
    ],
)  # fmt: skip
def test_a_login_that_a_preset_reads_is_two_lines(tmp_path: Path, file: str, content: object, preset: str) -> None:
    kept = tmp_path / file
    kept.parent.mkdir(parents=True)
    kept.write_text(json.dumps(content))
    kept.chmod(0o600)
    text, told = written(tmp_path, {}, answers=None, logins=True)

    assert f"    provider: {preset}\n    login: ~/{file}\n" in text
    assert f"(~/{file})" in told[0]
    assert "tok-0123456789abcdef" not in text + "".join(told)


def test_a_link_that_leads_nowhere_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").symlink_to(tmp_path / "gone")

    with pytest.raises(CommandError, match="is there already"):
        written(tmp_path, {})
    assert (tmp_path / "config.yaml").is_symlink()


def test_a_place_that_a_variable_names_is_one_line_of_the_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    odd = tmp_path / "x\nmode: shadow\x1b[31m\u202e"
    odd.mkdir()
    (odd / "auth.json").write_text(json.dumps({"OPENAI_API_KEY": KEYS[0]}))
    monkeypatch.setenv("CODEX_HOME", str(odd))

    assert main(["init", str(tmp_path / "two.yaml"), "--yes"]) == 0
    told = capsys.readouterr().out.splitlines()
    assert "x\\nmode: shadow\\x1b[31m\\u202e/auth.json, a login of Codex" in str(told).replace("\\\\", "\\")
    assert all(line.isprintable() for line in told)
