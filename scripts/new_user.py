"""
Walks from an empty home to a running Claude Code, as the README says it, and asks what a user asks then.

By pip, uv, pipx and in a checkout: an installation if there is one, then `patchbay run -- claude`, with a key in the
environment and no settings. While it runs, another terminal asks which account serves and why; at the end it is said
what was used. The provider is simulated, behind its own name and TLS, in a network namespace with loopback
alone. Fails where an answer is missing, more than two commands are needed, or the key is written anywhere.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from scripts import clients
from scripts.clients_recipes import RECIPES
from tests.simulator import Simulator, simulator_thread
from tests.simulator.truth import Record

ROOT = clients.ROOT
CLAUDE = next(recipe for recipe in RECIPES if recipe.program == "claude")
KEY = "sk-ant-api03-of-the-new-user-0123456789abcdefghij"
# Claude Code without its screen, asked and answering in lines of JSON for as long as it runs.
SPOKEN_TO = "-p --input-format stream-json --output-format stream-json --verbose"
SECONDS = 300  # one step may take
MOST_COMMANDS = 2


@dataclass(frozen=True, slots=True)
class Way:
    """
    One way to Patchbay: the command that *installs* it (empty: none is needed) and the one that *runs* it.

    *programs* are the folders, from the home and the checkout, that it puts on the PATH; *tool* must be there for it.
    *first* is what the first start does with the network, done before there is none.
    """

    name: str
    installs: str
    runs: str = "patchbay run"
    asks: str = "patchbay"
    programs: tuple[str, ...] = ("home/.local/bin",)
    tool: str = ""
    first: str = ""


WAYS = (
    Way("pip", "pip install .", programs=("home/venv/bin",)),
    Way("uv", "uv tool install .", tool="uv"),
    Way("pipx", "pipx install .", tool="pipx"),
    Way("checkout", "", "scripts/run", "scripts/patchbay", programs=(), first="scripts/patchbay version"),
)


@dataclass
class Walk:
    """What came out of one way: the commands that were typed, what they took, and what was missing."""

    name: str
    commands: list[str] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    note: str = ""

    def typed(self, command: str, seconds: float) -> None:
        self.commands.append(command)
        self.seconds.append(seconds)

    def holds(self, what: str, held: object) -> None:
        if not held:
            self.missing.append(what)


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/new_user", description=__doc__)
    parser.add_argument("--only", action="append", choices=[way.name for way in WAYS], help="may be repeated")
    parser.add_argument("--inside", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    ways = [way for way in WAYS if way.name in (asked.only or [way.name])]
    if asked.inside:
        return _inside(asked.inside, ways)
    if why := _not_possible():
        print(f"scripts/new_user: not run ({why})")
        return 0
    with tempfile.TemporaryDirectory(prefix="patchbay-new-user-") as name:
        return _walked(Path(name), ways)


def _not_possible() -> str:
    if missing := [tool for tool in ("npm", "node", "git", "unshare", "ip") if not shutil.which(tool)]:
        return f"{', '.join(missing)} not there"
    if not clients.namespace():
        return "unshare may not make a network namespace here"
    if not clients.installed(CLAUDE, latest=False):
        return "the npm registry does not answer, and nothing is in the cache"
    return ""


# -- outside: what needs the network --------------------------------------------------------------------------------


def _walked(folder: Path, ways: Sequence[Way]) -> int:
    ready = []
    for way in ways:
        if way.tool and not shutil.which(way.tool):
            print(f"{way.name}: not run (there is no {way.tool})")
        elif failed := _installed(way, folder / way.name):
            print(f"{way.name}: {failed}")
            return 1
        else:
            ready.append(way)
    only = [word for way in ready for word in ("--only", way.name)]
    inner = [sys.executable, "-m", "scripts.new_user", "--inside", str(folder), *only]
    return subprocess.run([*clients.namespace(), *inner], cwd=ROOT, timeout=SECONDS * len(WAYS)).returncode


def _installed(way: Way, folder: Path) -> str:
    """Make a home and a checkout in *folder*, and install as *way* says; return what went wrong."""
    home, checkout = folder / "home", folder / "patchbay"
    home.mkdir(parents=True)
    _copied(checkout)
    if way.name == "pip":  # the environment in which a user of pip is
        subprocess.run([sys.executable, "-m", "venv", str(home / "venv")], check=True)
    began = time.monotonic()
    if command := way.installs or way.first:
        done = _typed(command, _environment(way, folder), checkout)
        if done.returncode:
            return f"`{command}` ended with {done.returncode}:\n{done.stdout[-3000:]}"
    (folder / "installed").write_text(str(time.monotonic() - began))
    return ""


def _copied(checkout: Path) -> None:
    """Copy what git knows of this checkout."""
    known = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    for name in subprocess.run(known, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0"):
        if name and (ROOT / name).is_file():
            (checkout / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, checkout / name)


def _environment(way: Way, folder: Path) -> dict[str, str]:
    """Return what a shell of a new user has: nothing of this one's Python, no settings."""
    names = ("LANG", "TERM", "PIP_INDEX_URL", "PIP_CONFIG_FILE", "UV_DEFAULT_INDEX", "UV_INDEX_URL", "SSL_CERT_FILE")
    kept = {name: os.environ[name] for name in names if name in os.environ}
    tools = {str(Path(found).parent) for tool in ("node", "git", way.tool) if tool and (found := shutil.which(tool))}
    python = str(Path(sys.executable).resolve().parent)
    own = [str(folder / place) for place in way.programs]
    path = [*own, str(clients.program(CLAUDE, CLAUDE.version).parent), *tools, python, "/usr/bin", "/bin"]
    if way.name == "checkout":
        path.remove(python)
        path.insert(0, python)
    python_of_tools = dict.fromkeys(("UV_PYTHON", "PIPX_DEFAULT_PYTHON"), sys.executable)
    return {**kept, "HOME": str(folder / "home"), "PATH": ":".join(path), **python_of_tools}


def _typed(command: str, env: Mapping[str, str], folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        shlex.split(command), cwd=folder, env=dict(env), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, errors="replace", timeout=SECONDS,
    )  # fmt: skip


# -- inside: only loopback ------------------------------------------------------------------------------------------


def _inside(folder: Path, ways: Sequence[Way]) -> int:
    clients.run_tool("ip", "link", "set", "lo", "up")
    clients.name_hosts(folder)
    certificate, ca = clients.certificate(folder / "provider-ca")
    with simulator_thread({KEY: "the new user's"}, tls=certificate, port=443) as simulator:
        walks = [_walk(way, folder / way.name, ca, simulator) for way in ways]
    _show(walks)
    return 1 if any(walk.missing for walk in walks) else 0


def _walk(way: Way, folder: Path, ca: Path, simulator: Simulator) -> Walk:
    """Start Claude Code as the README says, ask it twice, and between that ask from another terminal."""
    walk = Walk(way.name)
    installed = float((folder / "installed").read_text())
    if way.installs:
        walk.typed(way.installs, installed)
    else:
        walk.note = f", whose first start makes .venv ({installed:.0f} s)"
    env = {
        **_environment(way, folder), "ANTHROPIC_API_KEY": KEY, "SSL_CERT_FILE": str(ca),
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1", "DISABLE_AUTOUPDATER": "1",
    }  # fmt: skip
    simulator.reset()
    checkout, command = folder / "patchbay", f"{way.runs} -- claude"
    began = time.monotonic()
    with (folder / "err.txt").open("w") as err:
        claude = subprocess.Popen(
            shlex.split(f"{command} {SPOKEN_TO}"), cwd=checkout, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=err, text=True, errors="replace", start_new_session=True,
        )  # fmt: skip
        try:
            answers = [_answer(claude, "What is a patch bay?")]
            walk.typed(command, time.monotonic() - began)
            beside = _asked_beside(way, env, checkout)
            answers.append(_answer(claude, "And what is crosstalk?"))
            assert claude.stdin
            claude.stdin.close()
            code = claude.wait(SECONDS)
        finally:
            if claude.poll() is None:
                os.killpg(claude.pid, signal.SIGKILL)
    ended = (folder / "err.txt").read_text(errors="replace")
    walk.said = [*answers, *beside, ended]
    judge(walk, answers, beside, ended, list(simulator.truth))
    walk.holds("exit code 0", code == 0)
    walk.holds("the key is written nowhere", not _with_key(folder / "home", checkout, walk.said))
    return walk


def _answer(claude: subprocess.Popen[str], question: str) -> str:
    """Ask the Claude Code that runs, and return its answer; empty where it ends without one."""
    assert claude.stdin and claude.stdout
    content = f"{question} Please answer with WORDS-40 more"
    said = {"type": "user", "message": {"role": "user", "content": content}}
    claude.stdin.write(json.dumps(said) + "\n")
    claude.stdin.flush()
    for line in claude.stdout:
        with contextlib.suppress(ValueError):
            if (told := json.loads(line)).get("type") == "result":
                return str(told.get("result") or "")
    return ""


def _asked_beside(way: Way, env: Mapping[str, str], checkout: Path) -> list[str]:
    """Return what another terminal shows of the sessions, of the one of them, and of the accounts."""
    sessions = _typed(f"{way.asks} sessions", env, checkout).stdout
    name = next(iter(re.findall(r"^[0-9a-f]{8}\b", sessions, re.MULTILINE)), "none")
    return [
        sessions,
        *(_typed(f"{way.asks} {words}", env, checkout).stdout for words in (f"explain {name}", "accounts")),
    ]


def judge(walk: Walk, answers: Sequence[str], beside: Sequence[str], ended: str, truth: Sequence[Record]) -> None:
    sessions, explained, accounts = beside
    said = [record.text for record in truth if record.text]
    calls = sum(bool(record.account) for record in truth)
    walk.holds("two answers", all(answer and answer in said for answer in answers) and len(set(answers)) == 2)
    walk.holds("the key on the wire", {record.credential for record in truth} == {KEY})
    walk.holds("what is an account", "uses ANTHROPIC_API_KEY as account anthropic" in ended)
    row = next((line for line in sessions.splitlines() if "claude-code" in line), "")
    walk.holds("the session: its account and tokens", "anthropic" in row and re.search(r"\d(\.\d)?k? in", row))
    walk.holds("why this account", re.search(r"^account +anthropic · new\b", explained, re.MULTILINE))
    walk.holds("why this session", re.search(r"^session .* by claude_session", explained, re.MULTILINE))
    walk.holds("the state of the account", re.search(r"^anthropic +ready", accounts, re.MULTILINE))
    walk.holds("what went through", f"{calls} calls, none failed" in ended)
    walk.holds("what it cost", re.search(r"tokens: [\d.]+k? in \(\d+% from cache\), \d+ out", ended))
    walk.holds("who served it", f"accounts: anthropic {calls}; nothing flagged" in ended)
    walk.holds(f"{MOST_COMMANDS} commands at most", len(walk.commands) <= MOST_COMMANDS)


def _with_key(home: Path, checkout: Path, said: Sequence[str]) -> list[Path | str]:
    """Return what holds the key: files under *home* and *checkout*, and texts that were *said*."""
    files = (path for folder in (home, checkout) for path in folder.rglob("*") if path.is_file())
    written = [path for path in files if path.name != "new_user.py" and KEY.encode() in path.read_bytes()]
    return [*written, *(text for text in said if KEY in text)]


def _show(walks: Sequence[Walk]) -> None:
    for walk in walks:
        count = len(walk.commands)
        print(f"{walk.name}: {count} {'command' if count == 1 else 'commands'}{walk.note}")
        for command, seconds in zip(walk.commands, walk.seconds, strict=True):
            print(f"  {seconds:5.1f} s  {command}")
        for missing in walk.missing:
            print(f"  MISSING: {missing}")
        if walk.missing:
            print("\n".join(walk.said))
    print(f"{sum(not walk.missing for walk in walks)} of {len(walks)} ways hold")


if __name__ == "__main__":
    sys.exit(main())
