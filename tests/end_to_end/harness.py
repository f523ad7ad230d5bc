"""A real mitmdump (or mitmweb) with Patchbay in it, started and ended by its id, and what it wrote."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any
from urllib.request import ProxyHandler, build_opener

import trustme

from ..ports import free_port
from .warm import Forked

ROOT = Path(__file__).parent.parent.parent
# The programs of another environment, in which Patchbay is installed; else those of the tests, with the checkout.
INSTALLED = os.environ.get("PATCHBAY_BIN", "")
BIN = Path(INSTALLED or Path(sys.executable).parent)
Process = subprocess.Popen[bytes] | Forked
warm = False  # whether programs are forked from a process that has imported everything (set by the tests' conftest)
LONG_ENOUGH = 30.0  # seconds for what must happen, also on a machine that has much else to do


def main_script() -> str:
    """Return the file for mitmproxy's `-s`: what is installed in BIN, or the checkout's."""
    if not INSTALLED:
        return str(ROOT / "addon" / "main.py")
    command = [str(BIN / "patchbay"), "path"]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout.strip()


def own_copy(folder: Path) -> Path:
    """Copy the addon to *folder* and return its script: touching it there reloads no other test's proxy."""
    return Path(shutil.copytree(ROOT / "addon", folder / "addon")) / "main.py"


def generic_config(folder: Path, keys: Mapping[str, str], *, more: str = "", account: str = "") -> str:
    """Return a configuration of `generic` accounts on the reverse upstream; *account* is added to each of them."""
    accounts = "\n".join(
        f"  - {{id: {name}, provider: generic, base_url: reverse, key: {key}{', ' + account if account else ''}}}"
        for name, key in keys.items()
    )
    more = (
        more if "grace_period:" in more else f"grace_period: 1s\n{more}"
    )  # what a test leaves behind is not waited for
    return f"state: {folder / 'state'}\njournal: {{path: {folder / 'journal.jsonl'}}}\n{more}\naccounts:\n{accounts}\n"


@cache
def _authority() -> trustme.CA:
    return trustme.CA(organization_name="mitmproxy")


def certificates(folder: Path) -> Path:
    """
    Return mitmproxy's own folder in *folder*, with an authority in it that all proxies share.

    Its key is on a curve: mitmproxy would make and check an RSA key, which is more than half of a warm start.
    """
    own = folder / "mitmproxy"
    own.mkdir(exist_ok=True)
    if not (key := own / "mitmproxy-ca.pem").exists():
        key.write_bytes(_authority().private_key_pem.bytes() + _authority().cert_pem.bytes())
        key.chmod(0o600)
        _authority().cert_pem.write_to_path(own / "mitmproxy-ca-cert.pem")
    return own


@dataclass
class Proxy:
    """A running proxy."""

    port: int
    folder: Path
    process: Process
    log_file: Path
    web_port: int = 0
    more: dict[str, str] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> str:
        return self.log_file.read_text(errors="replace")

    @property
    def journal(self) -> str:
        """Its whole lines about exchanges: one may be on its way."""
        return "".join(line for line in self._journal() if not _is_change(line))

    @property
    def account_changes(self) -> list[dict[str, Any]]:
        """The lines of its journal about accounts."""
        return [json.loads(line) for line in self._journal() if _is_account_change(line)]

    def _journal(self) -> list[str]:
        path = self.folder / "journal.jsonl"
        text = path.read_text() if path.exists() else ""
        return text[: text.rfind("\n") + 1].splitlines(keepends=True)

    def interrupt(self, timeout: float = 60) -> None:
        """Ctrl-C, and wait for the end."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            try:
                self.process.wait(timeout)
            except subprocess.TimeoutExpired as e:
                self.process.send_signal(signal.SIGUSR2)  # mitmproxy then says where everything stands
                time.sleep(0.5)  # there is no telling when it has said so
                self.process.kill()
                self.process.wait(30)
                raise RuntimeError(f"the proxy does not end:\n{self.log[-6000:]}") from e


@contextlib.contextmanager
def proxy(
    folder: Path,
    config: str,
    *arguments: str,
    mode: str,
    program: str = "mitmdump",
    script: str = "",
    scripts: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
    port: int = 0,
    at_home: bool = False,
) -> Iterator[Proxy]:
    """
    Run *program* with *config* in *folder* until the block ends, on *port* or on one that is free.

    mitmproxy's own folder is named on the command line, unless it is *at_home*: in a new home folder, as usual.
    """
    folder.mkdir(parents=True, exist_ok=True)
    settings = folder / "config.yaml"
    settings.write_text(config)
    settings.chmod(0o600)
    port, log_file = port or free_port(), folder / "log.txt"
    command = [
        str(BIN / program), "-s", script or main_script(), *(f"-s{more}" for more in scripts),
        "--set", f"patchbay_config={settings}",
        *(() if at_home else ("--set", f"confdir={certificates(folder)}")),
        "--mode", mode, "--listen-port", str(port), *arguments,
    ]  # fmt: skip
    web_port = 0
    if program == "mitmweb":
        web_port = free_port()
        command += ["--no-web-open-browser", "--web-port", str(web_port), "--set", "web_password=look"]
    env = {**os.environ, "PYTHONUNBUFFERED": "1", **(environment or {})}
    if at_home:
        env["HOME"] = str(folder)
    env.pop("PYTEST_CURRENT_TEST", None)  # mitmproxy behaves otherwise when it sees it
    forked = warm and not (INSTALLED or script or environment or at_home)
    running = Proxy(port, folder, _started(command, log_file, env, forked=forked), log_file, web_port)
    try:
        _wait_until_listening(running)
        yield running
    finally:
        running.interrupt()


def ended(
    folder: Path, *arguments: str, environment: Mapping[str, str] | None = None, timeout: float = 60
) -> tuple[int, str]:
    """Run mitmdump with *arguments*, in *folder*, until it ends by itself; return its exit code and what it printed."""
    log_file, env = folder / "printed.txt", {**(os.environ if environment is None else environment)}
    env.pop("PYTEST_CURRENT_TEST", None)
    process = _started([str(BIN / "mitmdump"), *arguments], log_file, env, forked=warm and not INSTALLED)
    try:
        return process.wait(timeout), log_file.read_text(errors="replace")
    finally:
        if process.poll() is None:
            process.kill()
            process.wait(30)


def _is_account_change(line: str) -> bool:
    return '"event_type":"account_change"' in line


def _is_change(line: str) -> bool:
    return _is_account_change(line) or '"event_type":"verdict_change"' in line


def _started(command: list[str], log_file: Path, env: dict[str, str], *, forked: bool) -> Process:
    with log_file.open("wb") as log:
        if forked:
            return Forked(command, log_file, env, log_file.parent)
        return subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=env, cwd=log_file.parent)


def _wait_until_listening(running: Proxy) -> None:
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        if running.process.poll() is not None:
            raise RuntimeError(f"the proxy ended at once:\n{running.log}")
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", running.port), 5):
            return
        time.sleep(0.05)  # a process is starting; there is nothing to be told by
    raise RuntimeError(f"the proxy does not listen:\n{running.log}")


def eventually(condition: object, seconds: float = LONG_ENOUGH) -> bool:
    """Ask *condition* (a callable) until it holds; what another process writes arrives when it arrives."""
    assert callable(condition)
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.02)
    return bool(condition())


DIRECT = build_opener(ProxyHandler({}))
