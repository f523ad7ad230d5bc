"""`patchbay env`: the lines for a shell."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from patchbay.launch import proxy_variables, shell_env
from patchbay.launch.command_line import LaunchError
from patchbay.launch.shell_env import ENV_HELP, EnvLine, env, parse
from patchbay.proxy.control_answers import ProxyStatus
from patchbay.tool_recipes import RECIPES, SDKS

BASE, PROXY = "http://127.0.0.1:7001", "http://127.0.0.1:7002"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder with settings, and mitmproxy's certificate in it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("PATCHBAY_CONFIG", raising=False)
    (tmp_path / "config.yaml").write_text(
        f"state: {tmp_path / 'state'}\naccounts: [{{id: a, provider: openai, key: x}}]"
    )
    (tmp_path / ".mitmproxy").mkdir()
    (tmp_path / ".mitmproxy" / "mitmproxy-ca-cert.pem").touch()
    return tmp_path


def told(capsys: pytest.CaptureFixture[str], words: str, **environment: str) -> list[str]:
    assert env(words.split(), environment) == 0
    return capsys.readouterr().out.splitlines()


def running(monkeypatch: pytest.MonkeyPatch, status: ProxyStatus) -> None:
    monkeypatch.setattr(shell_env, "_running", lambda *_: status)


def test_the_lines_set_what_the_tool_reads(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert told(capsys, "claude", CLAUDE_CODE_USE_VERTEX="1") == [
        "unset CLAUDE_CODE_USE_VERTEX",
        "export ANTHROPIC_BASE_URL=http://127.0.0.1:8080",
        "export ANTHROPIC_AUTH_TOKEN=patchbay",
    ]
    assert told(capsys, "claude --shell fish --url http://127.0.0.1:9/", CLAUDE_CODE_USE_VERTEX="1") == [
        "set -e CLAUDE_CODE_USE_VERTEX",
        "set -gx ANTHROPIC_BASE_URL 'http://127.0.0.1:9'",
        "set -gx ANTHROPIC_AUTH_TOKEN 'patchbay'",
    ]


def test_options_of_a_tool_are_a_function_of_its_name(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = told(capsys, "qwen")
    assert lines[-1] == 'qwen() { command qwen --auth-type openai "$@"; }'
    assert told(capsys, "qwen --shell=fish")[-1] == ("function qwen; command qwen '--auth-type' 'openai' $argv; end")
    codex = told(capsys, "codex")
    assert '#   base_url = "http://127.0.0.1:8080/v1"' in codex
    script = "\n".join([*codex, "command() { shift; printf '%s|' \"$@\"; }", "codex exec 'two words'"])
    shell = shutil.which("sh") or "sh"
    done = subprocess.run([shell, "-c", script], capture_output=True, text=True, timeout=30)
    assert done.stdout.endswith("|exec|two words|") and '|model_providers.patchbay={name="Patchbay",' in done.stdout


def test_the_running_proxy_says_how_it_is_reached(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    running(monkeypatch, ProxyStatus(addresses=[PROXY, BASE], kinds=["proxy", "base"]))
    lines = told(capsys, "")
    assert f"export OPENAI_BASE_URL={BASE}/v1" in lines and f"export HTTPS_PROXY={PROXY}" in lines
    assert f"export SSL_CERT_FILE={home / 'state' / 'ca-bundle.pem'}" in lines
    assert told(capsys, "claude")[0] == f"export ANTHROPIC_BASE_URL={BASE}"

    for mode in ("shadow", "look"):
        running(monkeypatch, ProxyStatus(addresses=[PROXY], kinds=["proxy"], mode=mode))
        lines = told(capsys, "claude")
        assert f"export HTTPS_PROXY={PROXY}" in lines and "ANTHROPIC" not in str(lines)
        running(monkeypatch, ProxyStatus(addresses=[BASE], kinds=["base"], mode=mode))
        assert told(capsys, "claude") == [f"export ANTHROPIC_BASE_URL={BASE}"]

    running(monkeypatch, ProxyStatus(addresses=["http://127.0.0.1:1"], kinds=[""]))
    assert env(["claude"], {}) == 2
    assert capsys.readouterr().err.startswith("patchbay: the running proxy has no listener for tools")


HOSTILE = (
    "x\ntouch {mark} #", "$(touch {mark})", "`touch {mark}`", "'; touch {mark}; '", '"; touch {mark}; "',
    "\\'; touch {mark} #", "x\r\x0b\x0c\x1c\x85\u2028touch {mark}", "\x1b[31m\x07\u202e\x9b", "\udcff; touch {mark}",
)  # fmt: skip


@pytest.mark.parametrize("client", ["", *(each.program for each in RECIPES)])
@pytest.mark.parametrize("mode", ["serve", "look"])
def test_no_text_of_a_file_or_a_variable_is_run_by_the_shell(
    home: Path, capfdbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch, client: str, mode: str
) -> None:
    running(monkeypatch, ProxyStatus(addresses=[PROXY, BASE], kinds=["proxy", "base"], mode=mode))
    mark = home / "mark"
    for each in HOSTILE:
        variables = filled_with(each.format(mark=mark), home)
        assert env([client] if client else [], variables) == 0
        del variables["PATCHBAY_KEY"]
        assert env([client] if client else [], variables) == 0
    script = capfdbinary.readouterr().out
    comments = [line for line in script.decode(errors="surrogateescape").split("\n") if line.startswith("#")]

    assert all(line.isprintable() for line in comments)
    for shell in filter(None, map(shutil.which, ("dash", "bash", "zsh"))):
        done = subprocess.run([shell], input=script, capture_output=True, timeout=30)
        assert (done.returncode, done.stdout, done.stderr, mark.exists()) == (0, b"", b"", False)


def filled_with(text: str, home: Path) -> dict[str, str]:
    """Write *text* to every place in files that tools have here, and return variables that all have it."""
    named = dict.fromkeys(("ANTHROPIC_BASE_URL", "CLAUDE_CODE_USE_VERTEX", text), text)
    settings = {"security": {"auth": {"selectedType": text}}, "env": named, text: text}
    for folder in (".gemini", ".claude"):
        (home / folder).mkdir(exist_ok=True)
        (home / folder / "settings.json").write_text(json.dumps(settings))
    names = [name for sdk in SDKS for name in (*sdk.bases, sdk.key)]
    names += ["OPENAI_MODEL", "NO_PROXY", "PATCHBAY_KEY", "GOOGLE_API_KEY", *proxy_variables.PROXIES, "ALL_PROXY"]
    content = json.dumps({text: text, "theme": text})
    return dict.fromkeys(names, text) | {"OPENCODE_CONFIG_CONTENT": content, "HOME": str(home)}


@given(st.text(st.characters(exclude_characters="\0")))
def test_fish_reads_a_quoted_text_as_it_is(text: str) -> None:
    quoted = shell_env._fish(text)

    assert quoted[0] == quoted[-1] == "'"
    # Within single quotes fish knows two escapes, and every other backslash stands for itself.
    pieces = re.fullmatch(r"((?:[^'\\]|\\['\\])*)", quoted[1:-1])
    assert pieces and re.sub(r"\\(['\\])", r"\1", pieces[1]) == text


def test_the_users_key_is_copied_and_not_printed(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    key = "sk-proj-" + "R4al" * 10

    assert 'export PATCHBAY_KEY="$OPENAI_API_KEY"' in told(capsys, "codex", OPENAI_API_KEY=key)
    assert 'set -gx PATCHBAY_KEY "$OPENAI_API_KEY"' in told(capsys, "codex --shell fish", OPENAI_API_KEY=key)
    assert "PATCHBAY_KEY=" not in str(told(capsys, "codex", PATCHBAY_KEY=key))  # it has it already
    for client in ("", *(each.program for each in RECIPES)):
        names = [sdk.key for sdk in SDKS] + ["ANTHROPIC_AUTH_TOKEN", "GOOGLE_API_KEY", "PATCHBAY_KEY"]
        for without in names:
            given = {name: key for name in names if name != without}
            assert key not in str(told(capsys, client, **given))


@pytest.mark.parametrize("member", [{"apiKey": "short-one"}, {"x": "sk-proj-" + "R4al" * 10}])
def test_settings_in_a_variable_with_a_key_in_them_are_not_printed(
    home: Path, capsys: pytest.CaptureFixture[str], member: dict[str, str]
) -> None:
    own = {"provider": {"mine": {"options": member}}}

    assert env(["opencode"], {"OPENCODE_CONFIG_CONTENT": json.dumps(own)}) == 1
    assert capsys.readouterr() == (
        "",
        "patchbay: OPENCODE_CONFIG_CONTENT holds a key of yours, which is not printed: use  patchbay run -- …  or take"
        " the key out of it\n",
    )
    own = {"provider": {"mine": {"options": {"apiKey": "{env:MY_KEY}"}}}}
    assert "{env:MY_KEY}" in str(told(capsys, "opencode", OPENCODE_CONFIG_CONTENT=json.dumps(own)))


def test_settings_are_not_needed_but_where_they_are_named(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (home / "config.yaml").unlink()
    monkeypatch.setattr(shell_env, "settings_file", _missing)

    assert told(capsys, "claude")[0] == "export ANTHROPIC_BASE_URL=http://127.0.0.1:8080"
    assert env(["claude", "--config", "none.yaml"], {}) == 2


def _missing(*_: object) -> Path:
    raise LaunchError("there is no file")


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        ("claud", 1, "'claud' is none of claude, codex, gemini, qwen, opencode; did you mean claude?"),
        ("--shell zsh", 2, "--shell: 'zsh' is none of sh, fish; bash and zsh are sh"),
        ("--shell", 2, "--shell needs a value"),
        ("--nope", 2, "'--nope' is no option of patchbay env: --shell, --url, --config"),
        ("claude codex", 2, "'codex' is no option of patchbay env: --shell, --url, --config"),
    ],
)
def test_a_mistake_is_named(words: str, code: int, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert env(words.split(), {}) == code
    assert capsys.readouterr().err == f"patchbay: {message}\n"


def test_help_tells_it_all(capsys: pytest.CaptureFixture[str]) -> None:
    assert env(["-h"], {}) == 0
    assert capsys.readouterr().out == ENV_HELP
    assert parse(["aider"]) == EnvLine("aider")
