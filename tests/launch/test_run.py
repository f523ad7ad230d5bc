"""`patchbay run`: the settings that are used, the proxy that is started, what is told."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from patchbay.launch import run as launch_run, taken_ports
from patchbay.launch.command_line import CommandLine, LaunchError
from patchbay.launch.listeners import MODE
from patchbay.launch.proxy_process import AddressInUse
from patchbay.launch.proxy_variables import OuterProxy
from patchbay.launch.run import RunSettings, read_settings, run, settings_file

GOOD = "state: {state}\naccounts:\n  - {{id: one, provider: openai, key: example-one}}\n"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory, and a home folder beside it."""
    monkeypatch.delenv("PATCHBAY_CONFIG", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(taken_ports, "is_free", lambda host, port: True)  # other programs may use 8080
    monkeypatch.setattr(launch_run, "ADDON", tmp_path / "checkout" / "addon")
    for name in ("here", "home/patchbay", "checkout"):
        (tmp_path / name).mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path


def settings(path: Path) -> Path:
    path.write_text(GOOD.format(state=path.parent / "state"))
    return path


def test_the_settings_are_the_option_the_variable_those_here_those_at_home_then_the_checkouts(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def used(*options: str, config: str = "", **env: str) -> Path | None:
        monkeypatch.delenv("PATCHBAY_CONFIG", raising=False)
        for name, value in env.items():
            monkeypatch.setenv(name, value)
        return settings_file(CommandLine(options=options, config=config), dict(os.environ))

    own = settings(here / "checkout" / "config.yaml")
    assert used() == own
    home = settings(here / "home" / "patchbay" / "config.yaml")
    assert used() == home
    in_folder = settings(here / "here" / "config.yaml")
    assert used() == in_folder
    assert used(PATCHBAY_CONFIG=str(own)) == own
    assert used(config="config.yaml", PATCHBAY_CONFIG=str(own)) == in_folder
    assert used("--set", "patchbay_config=mine.yaml", config="config.yaml") == here / "here" / "mine.yaml"
    assert settings_file(CommandLine(look=True), {}) is None


KEY = "sk-ant-0123456789abcdef"


@pytest.mark.parametrize("words", [[], ["--", "sh", "two words"]])
def test_without_settings_and_keys_it_says_how_to_make_them_and_how_to_do_without(
    here: Path, capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    assert run(words, {"PATH": os.environ["PATH"], "OPENAI_API_KEY": "short"}) == 2
    told = capsys.readouterr().err
    wanted = here / "home" / "patchbay" / "config.yaml"
    assert told.startswith(
        f"patchbay: there is no config.yaml here, no {wanted}, and no key in the environment; make one:  "
    )
    assert f"init {wanted}; without an account, to only look:  " in told
    assert f"run --look{' -- sh ' if words else ''}" in told and ("'two words'" in told) == bool(words)
    assert "left out: OPENAI_API_KEY: too short for a key" in told
    with pytest.raises(LaunchError, match=r"there is no other\.yaml; make it:  .* init other\.yaml"):
        settings_file(CommandLine(config="other.yaml"), {})


@pytest.mark.parametrize("quiet", [False, True])
def test_without_settings_the_keys_of_the_environment_are_the_accounts_and_that_is_said(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], quiet: bool
) -> None:
    monkeypatch.setenv("HOME", str(here))
    told = "no config.yaml: uses ANTHROPIC_API_KEY as account anthropic; `patchbay init` writes it down"
    _, env = alone(monkeypatch, "-q" if quiet else "", ANTHROPIC_API_KEY=KEY)

    file = Path(env["PATCHBAY_CONFIG"])
    assert capsys.readouterr().err == ("" if quiet else f"patchbay: {told}\n")
    assert file.parent == here / ".local/state/patchbay" and file.stat().st_mode & 0o777 == 0o600
    assert KEY not in file.read_text() and "key: env:ANTHROPIC_API_KEY" in file.read_text()
    assert read_settings(file, CommandLine()).hosts == ("api.anthropic.com",)

    own = settings(here / "here" / "config.yaml")
    _, env = alone(monkeypatch, "", ANTHROPIC_API_KEY=KEY)
    assert (env["PATCHBAY_CONFIG"], capsys.readouterr().err) == (str(own), "")


def test_a_run_takes_folder_and_hosts_from_the_settings(here: Path) -> None:
    file = settings(here / "here" / "config.yaml")

    assert read_settings(file, CommandLine()) == RunSettings(
        file, here / "here" / "state", ("api.openai.com",), own_keys=False
    )
    file.write_text(f"mode: shadow\n{file.read_text()}")
    assert read_settings(file, CommandLine()).own_keys
    looked = read_settings(None, CommandLine(look=True))
    assert looked.own_keys and "api.anthropic.com" in looked.hosts
    file.write_text("accounts: none")
    with pytest.raises(LaunchError, match="accounts: must be a list"):
        read_settings(file, CommandLine())
    with pytest.raises(LaunchError, match="no file "):
        read_settings(here / "none.yaml", CommandLine())


def test_a_folder_that_cannot_be_used_is_named_with_what_it_is_for_and_another(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = settings(here / "here" / "config.yaml")
    (here / "file").write_text("")
    file.write_text(file.read_text().replace(str(here / "here" / "state"), str(here / "file" / "state")))

    assert run(["--", "true"], {"PATH": os.environ["PATH"]}) == 2
    told = capsys.readouterr().err
    assert "its log and its state" in told and f"{here / 'file'} is no folder" in told
    assert told.count("\n") == 1 and told.endswith("state: /other/folder\n")

    monkeypatch.setenv("HOME", str(here / "file"))
    assert run(["--look", "--", "true"], {"PATH": os.environ["PATH"]}) == 2
    assert "HOME=/other/folder" in capsys.readouterr().err

    settings(file)
    assert run(["--", "true"], {"PATH": os.environ["PATH"]}) == 2
    assert "mitmproxy keeps its certificates" in (told := capsys.readouterr().err)
    assert "--set confdir=/other/folder" in told and not (here / "here" / "state").exists()


def alone(monkeypatch: pytest.MonkeyPatch, words: str, **env: str) -> tuple[list[str], dict[str, str]]:
    """Return what takes the place of this process."""
    started: list[Any] = []

    def execve(program: str, command: list[str], environment: dict[str, str]) -> None:
        started.extend((command, environment))
        raise SystemExit

    monkeypatch.setattr(os, "execve", execve)
    with pytest.raises(SystemExit):
        run(words.split(), env)
    command, environment = started
    return command, environment


@pytest.mark.parametrize(
    ("words", "tool", "options"),
    [
        ("", "mitmdump", []),
        ("dump -v", "mitmdump", ["-v"]),
        ("web --no-web-open-browser", "mitmweb", ["--no-web-open-browser"]),
        ("console", "mitmproxy", []),
        ("-q", "mitmdump", ["-q", "--set", "patchbay_quiet=true"]),
        ("--log-format json", "mitmdump", ["--set", "patchbay_log_format=json"]),
    ],
)
def test_alone_the_tool_takes_the_place_of_the_command(
    here: Path, monkeypatch: pytest.MonkeyPatch, words: str, tool: str, options: list[str]
) -> None:
    file = settings(here / "here" / "config.yaml")
    command, env = alone(monkeypatch, words, X="1")

    assert command[1:4] == ["-P", "-m", "patchbay.launch.host"]
    assert command[4:7] == [tool, "-", "-s"]
    assert command[8:] == ["--mode", MODE, "--listen-host", "127.0.0.1", *options]
    assert env == {"X": "1", "PATCHBAY_STORE": "sqlite", "PATCHBAY_CONFIG": str(file)}


def test_a_store_of_the_users_own_stays_and_who_looks_has_none(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings(here / "here" / "config.yaml")
    assert alone(monkeypatch, "", PATCHBAY_STORE="")[1]["PATCHBAY_STORE"] == ""

    command, env = alone(monkeypatch, "--look")
    assert command[8:] == ["--mode", "regular", "--listen-host", "127.0.0.1", "--set", "patchbay_look=true"]
    assert env == {}


@pytest.mark.parametrize(
    ("words", "taken", "added"),
    [
        ("web", {8081}, ["--web-port", "8082"]),
        ("web -p 8081", set(), ["--web-port", "8082"]),
        ("web -p 8082", {8081}, ["--web-port", "8083"]),
        ("web", set(), []),
        ("web --web-port 9000", {8081}, []),
        ("dump", {8081}, []),
        ("dump -n", {8080}, []),
        ("--mode regular@8090", {8080}, []),
    ],
)
def test_mitmweb_gets_a_free_port_unless_one_is_named(
    here: Path, monkeypatch: pytest.MonkeyPatch, words: str, taken: set[int], added: list[str]
) -> None:
    settings(here / "here" / "config.yaml")
    monkeypatch.setattr(taken_ports, "is_free", lambda host, port: port not in taken)
    command, _ = alone(monkeypatch, words)
    assert not added or command[command.index("--web-port") + 1] == added[1]
    assert ("--web-port" in command) == bool(added or "--web-port" in words)


@pytest.mark.parametrize(
    ("words", "taken", "told"),
    [
        ("", {8080}, "port 8080 is in use by a-program; another port:  patchbay run -p 8082"),
        ("web -p 8070", {8070, 8071}, "port 8070 is in use by a-program; another port:  patchbay run web -p 8072"),
        ("--mode regular --mode reverse:http://x@8090", {8090}, "port 8090 is in use by a-program; another port:  "),
        ("web --web-port 9000", {9000}, "port 9000 is in use by a-program; another port:  patchbay run web --web-port"),
    ],
)
def test_a_taken_port_is_told_in_one_line_with_a_free_one(
    here: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: str,
    taken: set[int],
    told: str,
) -> None:
    settings(here / "here" / "config.yaml")
    monkeypatch.setattr(taken_ports, "is_free", lambda host, port: port not in taken)
    monkeypatch.setattr(taken_ports, "owner", lambda port: "a-program")
    assert run(words.split(), {}) == 1
    assert capsys.readouterr().err.startswith(f"patchbay: {told}")


def test_a_port_that_mitmproxys_own_settings_name_is_not_looked_at(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings(here / "here" / "config.yaml")
    (here / "config.yaml").write_text("listen_port: 9000\nweb_port: 9001\n")
    monkeypatch.setattr(taken_ports, "is_free", lambda host, port: False)
    assert "--web-port" not in alone(monkeypatch, f"web --set confdir={here}")[0]


class Started:
    """A proxy whose ports are taken some times."""

    def __init__(self, taken: int) -> None:
        self.taken, self.options = taken, list[tuple[str, ...]]()

    def start(self, tool: str, options: Sequence[str]) -> None:
        self.options.append(tuple(options))
        if len(self.options) <= self.taken:
            raise AddressInUse("address already in use")


def started(taken: int, words: str = "", *command: str, hosts: tuple[str, ...] = (), own_keys: bool = False) -> Started:
    proxy = Started(taken)
    line = CommandLine(options=tuple(words.split()), command=command or ("python",))
    launch_run._started(proxy, line, RunSettings(None, Path("/state"), hosts, own_keys), None)  # type: ignore[arg-type]
    return proxy


def test_a_port_that_is_taken_meanwhile_is_another_one_at_the_next_try() -> None:
    tried = started(2).options
    assert len({options[1] for options in tried}) == 3
    with pytest.raises(LaunchError, match="address already in use"):
        started(5)
    with pytest.raises(LaunchError, match="address already in use"):
        started(1, "-p 8080")


@pytest.mark.parametrize(
    ("command", "hosts", "own_keys", "modes"),
    [
        ("claude", (), False, [MODE]),
        ("gemini", ("generativelanguage.googleapis.com",), False, ["regular"]),
        ("python", (), False, [MODE, "regular"]),
        ("claude", (), True, ["regular"]),
    ],
)
def test_the_proxy_listens_in_the_ways_that_the_command_needs(
    command: str, hosts: tuple[str, ...], own_keys: bool, modes: list[str]
) -> None:
    (options,) = started(0, "", command, hosts=hosts, own_keys=own_keys).options

    assert [word.partition("@")[0] for word in options[3::2] if word != "127.0.0.1"] == modes


def test_a_proxy_of_the_network_is_used_and_told(capsys: pytest.CaptureFixture[str]) -> None:
    found = RunSettings(None, Path("/state"), ("api.openai.com",), own_keys=False)
    line = CommandLine(command=("claude",))
    outer = launch_run._outer(line, found, {"HTTPS_PROXY": "http://me:secret@corp:3128"})

    assert outer == OuterProxy("http://corp:3128", "HTTPS_PROXY", "me:secret")
    told = capsys.readouterr().err
    assert "requests leave through http://corp:3128 (HTTPS_PROXY)" in told and "secret" not in told
    assert launch_run._modes(line, found, outer) == ("regular",)
    assert launch_run._with_auth({}, outer) == {"PATCHBAY_UPSTREAM_AUTH": "me:secret"}
    with pytest.raises(LaunchError, match="env -u ALL_PROXY patchbay run …"):
        launch_run._outer(line, found, {"ALL_PROXY": "socks5://corp:1080"})


def test_a_signal_is_an_exit_code_and_an_interrupted_run_is_seen_as_such(monkeypatch: pytest.MonkeyPatch) -> None:
    killed: list[tuple[int, int]] = []
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    monkeypatch.setattr(os, "kill", lambda *how: killed.append(how))

    assert [launch_run._passed_on(code) for code in (0, 7, -signal.SIGTERM, -signal.SIGKILL)] == [0, 7, 143, 137]
    assert killed == []
    assert launch_run._passed_on(-signal.SIGINT) == 130
    assert killed == [(os.getpid(), signal.SIGINT)]


def test_help_and_mistakes_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--help"], {}) == 0
    assert capsys.readouterr().out == launch_run.RUN_HELP
    assert run(["webb"], {}) == 2
    assert capsys.readouterr().err == "patchbay: 'webb' is none of dump, web, console; did you mean web?\n"
