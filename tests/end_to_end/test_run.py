"""`patchbay run -- COMMAND`: the command behaves as without it, reaches its models, and leaves no proxy behind."""

from __future__ import annotations

import json
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import trustme

from ..simulator import Simulator, simulator_thread
from .conftest import KEYS
from .harness import BIN, INSTALLED, certificates, eventually
from .tunnel import joined, listener

BASH = shutil.which("bash") or "bash"
OWN = "sk-own-key-of-the-tool-0123456789"
# The tool: asks each address of its environment, copies stdin, and says what it was given.
TOOL = """\
import json, os, sys, urllib.request
told = {"arguments": sys.argv[1:], "stdin": sys.stdin.read(), "env": dict(os.environ), "group": os.getpgrp()}
body = json.dumps({"model": "sim-large", "messages": [{"role": "user", "content": "hello"}]}).encode()
for base in (os.environ["OPENAI_BASE_URL"], os.environ["ANTHROPIC_BASE_URL"] + "/v1"):
    head = {"Content-Type": "application/json", "Authorization": "Bearer " + os.environ["OPENAI_API_KEY"]}
    request = urllib.request.Request(base + "/chat/completions", body, head)
    with urllib.request.urlopen(request, timeout=30) as answer:
        told["account"] = answer.headers["x-patchbay-account"]
print(json.dumps(told))
sys.exit(7)
"""
WAITS = """\
import os, signal, sys, time
def got(number, frame):
    os.write(1, f"got {signal.Signals(number).name}\\n".encode())
    if number == signal.SIGTERM:
        os._exit(3)
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
    signal.signal(number, got)
os.write(1, f"ready {os.getpid()}\\n".encode())
while True:
    time.sleep(0.05)
"""


@pytest.fixture
def home(tmp_path: Path, simulator: Simulator) -> Path:
    simulator.reset()
    accounts = "\n".join(f"  - {{id: {name}, provider: sim, key: {key}}}" for key, name in KEYS.items())
    (tmp_path / "config.yaml").write_text(
        f"state: {tmp_path / 'state'}\ngrace_period: 1s\n"
        f"providers: {{sim: {{preset: generic, base_url: '{simulator.url}'}}}}\naccounts:\n{accounts}\n"
    )
    (tmp_path / "tool.py").write_text(TOOL)
    (tmp_path / "waits.py").write_text(WAITS)
    certificates(tmp_path)
    return tmp_path


def words(folder: Path, *command: str) -> list[str]:
    patchbay = [str(BIN / "patchbay")] if INSTALLED else [sys.executable, "-P", "-m", "patchbay.cli"]
    return [*patchbay, "run", "--set", f"confdir={folder / 'mitmproxy'}", *command]


def environment(folder: Path, **more: str) -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "PYTHONPATH") if name in os.environ}
    return {**kept, "HOME": str(folder), "PATCHBAY_CONFIG": str(folder / "config.yaml"), **more}


def ran(folder: Path, *command: str, stdin: str = "", **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        words(folder, *command), cwd=folder, env=environment(folder, **more), input=stdin, capture_output=True,
        text=True, timeout=60, check=False,
    )  # fmt: skip


def proxies(folder: Path) -> list[int]:
    """Return the processes that run mitmproxy with the certificates in *folder*."""
    found = []
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = process.read_bytes()
        except OSError:
            continue
        if b"launch.host" in line and str(folder).encode() in line:
            found.append(int(process.parent.name))
    return found


needs_proc = pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="finds the processes in /proc")


def test_a_command_reaches_its_models_and_ends_as_without_patchbay(home: Path, simulator: Simulator) -> None:
    """T6: its own key goes to no provider; the accounts' keys come to no command."""
    done = ran(home, "--", sys.executable, "tool.py", "two words", stdin="piped\n", OPENAI_API_KEY=OWN)

    assert done.returncode == 7, done.stderr
    told = json.loads(done.stdout)
    assert (told["arguments"], told["stdin"]) == (["two words"], "piped\n")
    assert told["account"] in KEYS.values()
    assert {record.account for record in simulator.truth.requests} <= set(KEYS.values())
    assert all(OWN not in str(record.headers) for record in simulator.truth.requests)
    assert not any(key in done.stdout + done.stderr for key in KEYS)
    lines = done.stderr.splitlines()
    assert lines[0] == "patchbay: 2 calls, none failed"
    assert re.fullmatch(r"patchbay: tokens: \d+ in \(\d+% from cache\), \d+ out", lines[1])
    assert re.fullmatch(r"patchbay: accounts: [\w-]+ \d(, [\w-]+ \d)?; nothing flagged", lines[2])
    assert not proxies(home)
    assert not [*(home / "state").glob("run-*"), *(home / "state").glob("control-*")]
    _finds_proxy_and_certificates(home, told["env"])


def _finds_proxy_and_certificates(home: Path, env: Mapping[str, str]) -> None:
    assert env["HTTPS_PROXY"] == env["http_proxy"] != env["ANTHROPIC_BASE_URL"]
    assert env["NO_PROXY"] == "127.0.0.1,localhost,::1"
    own = (home / "mitmproxy" / "mitmproxy-ca-cert.pem").read_text().strip()
    bundle = Path(env["SSL_CERT_FILE"]).read_text()
    assert own in bundle
    assert env["PATH"] == os.environ["PATH"]
    assert "PATCHBAY_CONTROL" not in env and "PATCHBAY_STORE" not in env


@needs_proc
def test_signals_reach_the_command_and_no_proxy_outlives_a_run_that_is_killed(home: Path) -> None:
    run = subprocess.Popen(
        words(home, "--quiet", "--", sys.executable, "waits.py"), cwd=home, env=environment(home), text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip
    try:
        assert run.stdout
        tool = int(run.stdout.readline().split()[1])
        assert os.getpgid(tool) == os.getpgid(run.pid)  # the terminal's signals reach both
        (host,) = proxies(home)
        assert os.getsid(host) == host  # and not the proxy
        for number in (signal.SIGUSR1, signal.SIGINT):
            run.send_signal(number)
            assert run.stdout.readline() == f"got {number.name}\n"
        run.kill()
        assert eventually(lambda: not proxies(home))
    finally:
        os.killpg(run.pid, signal.SIGKILL)
        run.communicate(timeout=30)


@needs_proc
def test_the_exit_code_of_a_command_that_is_ended_is_passed_on(home: Path) -> None:
    run = subprocess.Popen(
        words(home, "--quiet", "--", sys.executable, "waits.py"), cwd=home, env=environment(home), text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert run.stdout
    run.stdout.readline()
    run.terminate()
    out, err = run.communicate(timeout=30)

    assert (run.returncode, out, err) == (3, "got SIGTERM\n", "")
    assert not proxies(home)


# A process that has no terminal gets the first one that it opens.
IN_TERMINAL = """\
import os, sys
os.setsid()
terminal = os.open(sys.argv[1], os.O_RDWR)
for number in range(3):
    os.dup2(terminal, number)
os.execv(sys.argv[2], sys.argv[2:])
"""


class Terminal:
    """A shell with job control in a terminal of its own."""

    def __init__(self, folder: Path) -> None:
        self.text = ""
        self._file, self._other = os.openpty()  # the other end stays open until the shell has it
        shell = [BASH, "--norc", "--noediting", "-i"]
        start = [sys.executable, "-c", IN_TERMINAL, os.ttyname(self._other), *shell]
        self._shell = subprocess.Popen(start, cwd=folder, env=environment(folder, PS1="$ "))

    def type(self, text: str) -> None:
        os.write(self._file, text.encode())

    def shows(self, pattern: str, seconds: float = 30.0) -> re.Match[str]:
        """Read until *pattern* is shown, behind what was found so far."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if found := re.search(pattern, self.text, re.DOTALL):
                self.text = self.text[found.end() :]
                return found
            if select.select([self._file], [], [], 0.1)[0]:
                self.text += os.read(self._file, 65536).decode(errors="replace")
        raise AssertionError(f"{pattern} is not shown; the rest is: {self.text}")

    def close(self) -> None:
        self._shell.kill()
        self._shell.wait()
        os.close(self._file)
        os.close(self._other)


@pytest.fixture
def terminal(home: Path) -> Iterator[Terminal]:
    opened = Terminal(home)
    yield opened
    opened.close()


@needs_proc
def test_in_a_terminal_a_command_is_interrupted_stopped_and_continued_as_without_patchbay(
    home: Path, terminal: Terminal
) -> None:
    line = " ".join(words(home, "--quiet", "--", sys.executable, "waits.py"))
    terminal.shows(r"\$ ")
    terminal.type(f"{line}\n")
    tool = int(terminal.shows(r"ready (\d+)\r")[1])
    terminal.type("\x03")
    terminal.shows("got SIGINT")
    (host,) = proxies(home)
    terminal.type("\x1a")
    terminal.shows(r"Stopped.*\$ ")
    assert _state(tool) == "T" and _state(host) != "T"
    terminal.type("fg\n")
    assert eventually(lambda: _state(tool) != "T")
    os.kill(tool, signal.SIGSTOP)  # as a program does that reads Ctrl-Z itself
    terminal.shows(r"Stopped.*\$ ")
    terminal.type("fg\n")
    assert eventually(lambda: _state(tool) != "T")
    os.kill(tool, signal.SIGTERM)
    terminal.shows(r"got SIGTERM\s+\$ ")
    terminal.type("echo code $?\n")
    terminal.shows("code 3")
    assert not proxies(home)


def _state(process: int) -> str:
    return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]


def test_a_proxy_that_does_not_start_says_why_and_the_command_is_not_run(home: Path) -> None:
    done = ran(home, "--mode", "nonsense", "--", "touch", str(home / "ran"))
    assert done.returncode != 0
    assert "nonsense" in done.stderr
    assert not (home / "ran").exists()

    (home / "config.yaml").write_text("accounts: none")
    done = ran(home, "--", "touch", str(home / "ran"))
    assert done.returncode == 2
    assert done.stderr.startswith(f"patchbay: {home / 'config.yaml'}:1:11: accounts: must be a list")
    assert not (home / "ran").exists()


def test_behind_the_ca_of_a_company_a_provider_is_reached_as_without_patchbay(home: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(home / "company.pem")
    authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(home / "server.pem")
    with simulator_thread(KEYS, host="localhost", tls=home / "server.pem") as secured:
        settings = home / "config.yaml"
        settings.write_text(re.sub(r"http://[\d.]+:\d+", f"https://localhost:{secured.port}", settings.read_text()))
        done = ran(
            home, "--", sys.executable, "tool.py", OPENAI_API_KEY=OWN, NODE_EXTRA_CA_CERTS=str(home / "company.pem")
        )

    assert done.returncode == 7, done.stderr
    assert {record.account for record in secured.truth.requests} <= set(KEYS.values())


def test_env_prints_for_a_shell_what_run_gives(home: Path) -> None:
    script = f"""
    eval "$({" ".join(words(home)[:-3])} env codex)"
    command() {{ shift; printf '%s\\n' "$@"; }}
    echo "$PATCHBAY_KEY"; codex exec hi
    """
    done = subprocess.run([BASH, "-c", script], env=environment(home), capture_output=True, text=True, timeout=60)

    assert done.stderr == ""
    lines = done.stdout.splitlines()
    assert lines[0] == "patchbay"
    assert 'base_url="http://127.0.0.1:8080/v1"' in lines[-3]
    assert lines[-2:] == ["exec", "hi"]


ASKS = """\
import json, os, subprocess, sys, urllib.request
body = json.dumps({"model": "claude-sonnet-4-5", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]})
head = {"Content-Type": "application/json", "anthropic-version": "2023-06-01", "x-api-key": "any"}
request = urllib.request.Request("https://api.anthropic.com/v1/messages", body.encode(), head)
with urllib.request.urlopen(request, timeout=30) as answer:
    print(answer.headers["x-patchbay-account"], flush=True)
subprocess.run([*sys.argv[1:], "accounts", "--json"], check=True)
"""


def test_without_settings_a_key_of_the_environment_is_enough(home: Path) -> None:
    """The provider is at the end of the outer proxy: its address is the real one."""
    (home / "config.yaml").unlink()
    (home / "asks.py").write_text(ASKS)
    authority = trustme.CA(key_type=trustme.KeyType.ECDSA)
    authority.cert_pem.write_to_path(home / "ca.pem")
    authority.issue_cert("api.anthropic.com").private_key_and_cert_chain_pem.write_to_path(home / "provider.pem")
    with (
        simulator_thread({OWN: "mine"}, tls=home / "provider.pem") as provider,
        listener(lambda client: joined(client, provider.port)) as outer,
    ):
        env = {**environment(home, HTTPS_PROXY=f"http://127.0.0.1:{outer}"), "ANTHROPIC_API_KEY": OWN}
        del env["PATCHBAY_CONFIG"]
        trusts = ("--set", "ssl_verify_upstream_trusted_ca=ca.pem")
        done = subprocess.run(
            words(home, *trusts, "--", sys.executable, "asks.py", *words(home)[:-3]), cwd=home, env=env,
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip

    assert done.returncode == 0, done.stderr
    told = "no config.yaml: uses ANTHROPIC_API_KEY as account anthropic; `patchbay init` writes it down"
    assert done.stderr.splitlines()[0] == f"patchbay: {told}"
    account, _, shown = done.stdout.partition("\n")
    assert account == "anthropic" == json.loads(shown)[0]["account"]
    assert [record.account for record in provider.truth.requests] == ["mine"]
    assert not any(OWN in file.read_text(errors="replace") for file in home.rglob("*") if file.is_file())
