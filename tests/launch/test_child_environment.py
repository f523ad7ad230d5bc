"""The environment of a command, and the settings of its tool that are looked at."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from patchbay.launch import child_environment
from patchbay.launch.child_environment import ChildSetup, changed, prepared
from patchbay.launch.command_line import LaunchError

BASE, PROXY = "http://127.0.0.1:7001", "http://127.0.0.1:7002"


@pytest.fixture
def confdir(tmp_path: Path) -> Path:
    text = "-----BEGIN CERTIFICATE-----\nown\n-----END CERTIFICATE-----\n"
    (tmp_path / "mitmproxy-ca-cert.pem").write_text(text)
    return tmp_path


def setup(folder: Path, base: str = BASE, proxy: str = PROXY, *, own_keys: bool = False) -> ChildSetup:
    return ChildSetup(base, proxy, folder, ("api.openai.com",), own_keys)


def test_a_known_tool_gets_its_own_way_and_nothing_else_changes(confdir: Path) -> None:
    env = {"HOME": str(confdir), "X": "1"}
    command, child, note = prepared(["env", "A=1", "codex", "exec", "hi"], setup(confdir), env, confdir)

    assert command[:3] == ["env", "A=1", "codex"] and command[-2:] == ["exec", "hi"]
    assert command[3:-2:2] == ["-c"] * 2
    assert child == {**env, "PATCHBAY_KEY": "patchbay"}
    assert note == ""


def test_another_program_gets_both_ways(confdir: Path) -> None:
    env = {"ALL_PROXY": "http://corp:1", "CLAUDE_CODE_USE_BEDROCK": "1"}
    command, child, _ = prepared(["python", "x.py"], setup(confdir), env, confdir)

    assert command == ["python", "x.py"]
    assert (child["OPENAI_BASE_URL"], child["HTTPS_PROXY"]) == (f"{BASE}/v1", PROXY)
    assert "ALL_PROXY" not in child and "CLAUDE_CODE_USE_BEDROCK" not in child
    assert "own" in Path(child["SSL_CERT_FILE"]).read_text()


def test_a_tool_that_is_given_an_address_asks_it_past_the_proxy_of_the_network(confdir: Path) -> None:
    env = {"HTTPS_PROXY": "http://corp:1", "NO_PROXY": "corp.example"}
    _, child, _ = prepared(["claude"], setup(confdir, proxy=""), env, confdir)

    assert child["HTTPS_PROXY"] == "http://corp:1"
    assert child["NO_PROXY"] == "corp.example,127.0.0.1,localhost,::1"


def test_who_only_looks_sees_a_tool_that_asks_this_machine(confdir: Path) -> None:
    looking = setup(confdir, base="", own_keys=True)
    for base, exceptions in (("http://127.0.0.1:9", ""), ("https://api.x", "127.0.0.1,localhost,::1"), ("", None)):
        env = {"OPENAI_BASE_URL": base}
        _, child, _ = prepared(["codex"], looking, env, confdir)
        assert child["OPENAI_BASE_URL"] == base
        assert child["NO_PROXY"] == (exceptions if exceptions is not None else "127.0.0.1,localhost,::1")


def test_the_settings_of_a_tool_are_found_where_it_looks_for_them(
    confdir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in ("home/.claude", "moved", ".claude"):
        (tmp_path / folder).mkdir(parents=True)
    other = json.dumps({"env": {"ANTHROPIC_BASE_URL": "http://elsewhere"}})

    def overruled(**env: str) -> bool:
        command, _, _ = prepared(["claude"], setup(confdir), {"HOME": str(tmp_path / "home"), **env}, confdir)
        return "--settings" in command

    assert not overruled()
    (tmp_path / "home/.claude/settings.json").write_text(other)
    assert overruled()
    assert not overruled(CLAUDE_CONFIG_DIR=str(tmp_path / "moved"))
    (tmp_path / ".claude/settings.local.json").write_text(other)
    assert overruled(CLAUDE_CONFIG_DIR=str(tmp_path / "moved"))
    (tmp_path / ".claude/settings.local.json").write_text("no JSON")
    assert not overruled(CLAUDE_CONFIG_DIR=str(tmp_path / "moved"))


def test_without_a_certificate_of_mitmproxy_no_program_is_run(tmp_path: Path) -> None:
    with pytest.raises(LaunchError, match="mitmproxy has made no certificate at "):
        prepared(["curl"], setup(tmp_path), {}, tmp_path)


def test_the_hosts_of_known_providers_are_names() -> None:
    assert {"api.openai.com", "api.anthropic.com"} <= set(child_environment.KNOWN_HOSTS)


DEEP, LARGE = '{"a":' * 900 + "1" + "}" * 900, '{"a": "' + "x" * (5 << 20) + '"}'


@pytest.mark.parametrize("content", ["[" * 200_000, DEEP, LARGE], ids=["broken", "deep", "large"])
def test_a_file_that_is_no_settings_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in (".claude", ".gemini"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "settings.json").write_text(content)
    given = setup(tmp_path, proxy="")

    for command in ("claude", "gemini"):
        found = prepared([command], given, {"HOME": str(tmp_path)}, tmp_path)
        (tmp_path / f".{command}" / "settings.json").unlink()
        assert found == prepared([command], given, {"HOME": str(tmp_path)}, tmp_path)


def test_a_pipe_in_the_place_of_settings_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".gemini").mkdir()
    os.mkfifo(tmp_path / ".gemini" / "settings.json")
    given = setup(tmp_path, proxy="")

    assert prepared(["gemini"], given, {"HOME": str(tmp_path)}, tmp_path)[0] == ["gemini"]


def test_the_key_of_codex_is_that_of_the_users_variable(tmp_path: Path) -> None:
    given = setup(tmp_path, proxy="")
    change, child = changed("codex", (), given, {"OPENAI_API_KEY": "the-users"}, tmp_path)

    assert child["PATCHBAY_KEY"] == "the-users" and "the-users" not in str(change)
