"""
Runs the released clients through a real mitmdump with Patchbay to a simulated provider, and prints what held.

Each client asks twice in one conversation and once in another, in reverse mode, as a regular proxy with the CA, through
a regular proxy that only looks, and by `patchbay run`, inside a network namespace that has only loopback. They are
installed from the npm registry into a cache folder first.
"""

from __future__ import annotations

import argparse
import contextlib
import ipaddress
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from secrets import token_hex

import msgspec
from cryptography import x509
from mitmproxy.certs import CertStore

from patchbay.values import header_names
from patchbay.values.decision import Decision
from scripts import clients_errors, clients_look, clients_run
from scripts.clients_recipes import KEY, RECIPES, Recipe
from tests.end_to_end.harness import Proxy, generic_config, proxy
from tests.simulator import Simulator, simulator_thread
from tests.simulator.truth import Record

ROOT = Path(__file__).parent.parent
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "patchbay" / "clients"
NAMES = ("amber", "birch", "cedar", "dune")
OFFICIAL = {
    "anthropic": "https://api.anthropic.com",
    "openai": "https://api.openai.com",
    "gemini": "https://generativelanguage.googleapis.com",
}
HOSTS = tuple(url.removeprefix("https://") for url in OFFICIAL.values())
INSTALL_SECONDS, TURN_SECONDS, ALL_SECONDS, ERRORS_SECONDS = 240, 120, 1500, 3000
NOT_RUN = 0  # the exit code where there is nothing to run with: it says so, and fails nobody


@dataclass
class Talk:
    """One conversation of a client: the mark in its questions, and what the client printed for each of them."""

    mark: str = field(default_factory=lambda: f"MARK-{token_hex(16)}")
    printed: list[str] = field(default_factory=list)
    failed: str = ""


@dataclass
class Cell:
    """What came out of one client in one mode. *checks* are named; *note* says what did not hold, or what it was."""

    client: str
    version: str
    mode: str
    transport: str = "-"
    tier: str = "-"
    checks: dict[str, bool] = field(default_factory=dict)
    note: str = ""

    @property
    def holds(self) -> bool:
        return bool(self.checks) and all(self.checks.values())


@dataclass(frozen=True, slots=True)
class Room:
    """Where clients run: a proxy in one mode, the simulator behind it, the CA the proxy signs with."""

    mode: str
    proxy: Proxy
    simulator: Simulator
    folder: Path

    @property
    def ca(self) -> Path:
        return self.folder / "mitmproxy" / "mitmproxy-ca-cert.pem"

    def url(self, recipe: Recipe) -> str:
        return self.proxy.url if self.mode == "reverse" else OFFICIAL[recipe.provider]


MODES = ("reverse", "regular", "look", "run", "run-look")
CHECKS = ("together", "apart", "stream", "keys")


def main() -> int:
    """Install outside, run inside; return 1 when a cell does not hold."""
    asked = _arguments()
    if asked.inside:
        return _inside(asked)
    if missing := [tool for tool in ("npm", "node", "unshare", "ip") if not shutil.which(tool)]:
        print(f"clients: not run ({', '.join(missing)} not there)")
        return NOT_RUN
    enter = namespace()
    if not enter:
        print("clients: not run (unshare may not make a network namespace here)")
        return NOT_RUN
    wanted = _wanted(asked)
    versions = {recipe.name: installed(recipe, latest=asked.latest) for recipe in wanted}
    if not any(versions.values()):
        print("clients: not run (the npm registry does not answer, and nothing is in the cache)")
        return NOT_RUN
    inner = [sys.executable, "-m", "scripts.clients", "--inside", "--versions", json.dumps(versions), *sys.argv[1:]]
    return bounded([*enter, *inner], ERRORS_SECONDS if asked.errors else ALL_SECONDS)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/clients", description=__doc__)
    parser.add_argument("--latest", action="store_true", help="the newest release of each, not the one known to work")
    parser.add_argument("--only", default="", help="programs, separated by commas: claude,codex,gemini,qwen,opencode")
    parser.add_argument("--mode", choices=MODES, help="this mode alone")
    parser.add_argument(
        "--errors",
        nargs="?",
        const="all",
        help="record what each shows when Patchbay cannot serve, for"
        " all situations or those named (separated by semicolons), and write it into docs/clients.md",
    )
    parser.add_argument("--keep", type=Path, help="leave logs, flows and homes in this folder")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--versions", type=json.loads, default={}, help=argparse.SUPPRESS)
    return parser.parse_args()


def _wanted(asked: argparse.Namespace) -> list[Recipe]:
    only = set(filter(None, asked.only.split(",")))
    return [recipe for recipe in RECIPES if not only or recipe.program in only]


# -- outside: what needs the network --------------------------------------------------------------------------------


def namespace() -> list[str]:
    """Return the command that enters a namespace of its own for network and mounts, or nothing where that fails."""
    for flags in (["-n", "-m"], ["-r", "-n", "-m"]):
        command = ["unshare", *flags, "--"]
        if subprocess.run([*command, "true"], capture_output=True).returncode == 0:
            return command
    return []


def installed(recipe: Recipe, *, latest: bool) -> str:
    """Install *recipe* once; return its version, or nothing where that does not work."""
    version = (_npm("view", recipe.package, "version").strip() if latest else "") or recipe.version
    folder = CACHE / f"{recipe.program}-{version}"
    if not (folder / "done").exists():
        print(f"clients: installing {recipe.package}@{version}", flush=True)
        folder.mkdir(parents=True, exist_ok=True)
        _npm("install", "--prefix", str(folder), "--no-audit", "--no-fund", f"{recipe.package}@{version}")
        if not program(recipe, version).exists():
            return ""
        (folder / "done").touch()
    return version


def _npm(*arguments: str) -> str:
    with contextlib.suppress(subprocess.TimeoutExpired):
        command = ["npm", *arguments, "--loglevel=error"]
        run = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_SECONDS)
        return run.stdout if run.returncode == 0 else ""
    return ""


def program(recipe: Recipe, version: str) -> Path:
    return CACHE / f"{recipe.program}-{version}" / "node_modules" / ".bin" / recipe.program


def bounded(command: Sequence[str], seconds: float) -> int:
    """Run *command* with all it starts for *seconds* at most."""
    process = subprocess.Popen(command, cwd=ROOT, start_new_session=True)
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        print(f"clients: given up after {seconds:g} seconds")
        return 1


# -- inside: only loopback ------------------------------------------------------------------------------------------


def _inside(asked: argparse.Namespace) -> int:
    run_tool("ip", "link", "set", "lo", "up")
    if asked.errors:
        return _record_errors(asked)
    cells: list[Cell] = []
    with tempfile.TemporaryDirectory(prefix="patchbay-clients-") as temporary:
        folder = asked.keep.absolute() if asked.keep else Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        name_hosts(folder)
        for mode in MODES if asked.mode is None else (asked.mode,):
            cells += _in_mode(mode, _wanted(asked), asked.versions, folder / mode)
    _show(cells)
    return 0 if all(cell.holds for cell in cells) else 1


def _record_errors(asked: argparse.Namespace) -> int:
    with tempfile.TemporaryDirectory(prefix="patchbay-clients-") as temporary:
        folder = asked.keep.absolute() if asked.keep else Path(temporary)
        only = () if asked.errors == "all" else asked.errors.split(";")
        for shown in clients_errors.record(asked.versions, program, folder, only):
            clients_errors.write(shown, ROOT / "docs" / "clients.md")
    return 0


def name_hosts(folder: Path) -> None:
    """Let the providers' names mean this machine, in this mount namespace alone."""
    hosts = folder / "hosts"
    hosts.write_text("127.0.0.1 localhost\n" + "".join(f"127.0.0.1 {host}\n" for host in HOSTS))
    run_tool("mount", "--bind", str(hosts), "/etc/hosts")


def run_tool(name: str, *arguments: str) -> None:
    subprocess.run([shutil.which(name) or name, *arguments], check=True)


def _in_mode(mode: str, recipes: Sequence[Recipe], versions: Mapping[str, str], folder: Path) -> list[Cell]:
    there = [recipe for recipe in recipes if mode in recipe.modes]
    absent = [Cell(recipe.name, "-", mode, note="not installed") for recipe in there if not versions.get(recipe.name)]
    talks: dict[str, tuple[Talk, Talk]] = {}
    with _room(mode, folder) as room:
        for recipe in there:
            if version := versions.get(recipe.name):
                talks[recipe.name] = _run(recipe, program(recipe, version), room)
                if not mode.startswith("run") and room.proxy.process.poll() is not None:
                    raise RuntimeError(f"the proxy ended:\n{room.proxy.log}")
    ran = [recipe for recipe in there if recipe.name in talks]
    cells = [_judged(recipe, versions[recipe.name], room, talks[recipe.name]) for recipe in ran]
    return [*cells, *absent]


@contextlib.contextmanager
def _room(mode: str, folder: Path) -> Iterator[Room]:
    """Run simulator and proxy in *mode*; both are ended, and all is written, when the block is left."""
    folder.mkdir(parents=True, exist_ok=True)
    flows: tuple[str, ...] = ("-w", str(folder / "flows.mitm"))
    if mode == "reverse":
        with simulator_thread(_keys("any"), echo="both") as simulator:
            config = generic_config(folder, {name: key for key, name in _keys("any").items()})
            with proxy(folder, config, *flows, mode=f"reverse:{simulator.url}") as started:
                yield Room(mode, started, simulator, folder)
        return
    keys = {key: name for provider in OFFICIAL for key, name in _keys(provider).items()}
    pem, ca = certificate(folder / "provider-ca")
    trust = ("--set", f"ssl_verify_upstream_trusted_ca={ca}")
    if mode.endswith("look"):
        keys, flows = {KEY: "the client's own"}, clients_look.options(folder)
    if mode.startswith("run"):  # each command has a proxy of its own
        with simulator_thread(keys, tls=pem, port=443) as simulator:
            yield Room(mode, clients_run.placeholder(folder, _official_config(folder)), simulator, folder)
        return
    with (
        simulator_thread(keys, tls=pem, port=443) as simulator,
        proxy(folder, _official_config(folder), *flows, *trust, mode="regular") as started,
    ):
        yield Room(mode, started, simulator, folder)


def _keys(provider: str) -> dict[str, str]:
    return {f"sk-real-{provider}-{name}-0123456789abcdef": f"{provider}-{name}" for name in NAMES}


def _official_config(folder: Path) -> str:
    accounts = [
        f"  - {{id: {name}, provider: {provider}, key: {key}}}"
        for provider in OFFICIAL
        for key, name in _keys(provider).items()
    ]
    journal = f"state: {folder / 'state'}\njournal: {{path: {folder / 'journal.jsonl'}}}\n"
    return journal + "accounts:\n" + "\n".join(accounts) + "\n"


def certificate(folder: Path) -> tuple[Path, Path]:
    """Make a CA and a certificate of it for the providers' names; return key with certificate, and the CA."""
    folder.mkdir(parents=True, exist_ok=True)
    store = CertStore.from_store(folder, "provider", 2048)
    names = [x509.DNSName(host) for host in HOSTS] + [x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    entry = store.get_cert(HOSTS[0], names)
    pem = folder / "leaf.pem"
    key = (folder / "provider-ca.pem").read_bytes().partition(b"-----BEGIN CERTIFICATE")[0]
    pem.write_bytes(key + entry.cert.to_pem())
    return pem, folder / "provider-ca-cert.pem"


def _run(recipe: Recipe, program: Path, room: Room) -> tuple[Talk, Talk]:
    """Ask twice in one conversation and once in another, each in a folder of its own."""
    home = room.folder / "homes" / recipe.name
    first, other = Talk(), Talk()
    environment = _environment(recipe, home, room)
    words = (*clients_run.command(room.folder, room.mode), str(program))
    _ask(words, recipe.first(_question(first, "What is a patch bay?")), environment, home / "one", first)
    _ask(words, recipe.next(_question(first, "And what is crosstalk?")), environment, home / "one", first)
    _ask(words, recipe.first(_question(other, "What is a patch bay?")), environment, home / "two", other)
    return first, other


def _question(talk: Talk, text: str) -> str:
    return f"{text} Please answer with {talk.mark} and WORDS-40 more"


def _environment(recipe: Recipe, home: Path, room: Room) -> dict[str, str]:
    home.mkdir(parents=True, exist_ok=True)
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "TERM") if name in os.environ}
    own = {"HOME": str(home), "XDG_CONFIG_HOME": str(home / ".config"), "XDG_DATA_HOME": str(home / ".local" / "share"),
           "XDG_CACHE_HOME": str(home / ".cache"), "XDG_STATE_HOME": str(home / ".local" / "state"), "NO_COLOR": "1",
           "CI": "1", "DISABLE_TELEMETRY": "1", "DISABLE_AUTOUPDATER": "1"}  # fmt: skip
    if room.mode == "run":
        return {**kept, **own, **clients_run.ENVIRONMENT}
    if room.mode in ("regular", "look"):
        address = room.proxy.url
        own |= dict.fromkeys(("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy"), address)
        names = ("NODE_EXTRA_CA_CERTS", "SSL_CERT_FILE", "CODEX_CA_CERTIFICATE", "REQUESTS_CA_BUNDLE")
        own |= {name: str(room.ca) for name in names}
    return {**kept, **own, **recipe.home(home, room.url(recipe))}


def _ask(
    words: Sequence[str], arguments: Sequence[str], environment: Mapping[str, str], folder: Path, talk: Talk
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    process = subprocess.Popen(
        [*words, *arguments], cwd=folder, env=dict(environment), stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip
    try:
        out, err = process.communicate(timeout=TURN_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        out, err = process.communicate()
        talk.failed = talk.failed or f"no end within {TURN_SECONDS} s"
    talk.printed.append(out.decode(errors="replace"))
    (folder / f"turn-{len(talk.printed)}.txt").write_bytes(out + b"\n--- stderr\n" + err)
    if process.returncode and not talk.failed:
        last = err.decode(errors="replace").strip().splitlines()[-1:] or [""]
        talk.failed = f"exit {process.returncode}: {last[0][:80]}"


# -- what held -------------------------------------------------------------------------------------------------------


def _judged(recipe: Recipe, version: str, room: Room, talks: tuple[Talk, Talk]) -> Cell:
    cell = Cell(recipe.name, version, room.mode)
    cell.note = next((talk.failed for talk in talks if talk.failed), "")
    records = [[record for record in room.simulator.truth if talk.mark.encode() in record.body] for talk in talks]
    if not all(records):
        cell.note = cell.note or "no request came through"
        cell.checks = {"together": False}
        return cell
    if room.mode.endswith("look"):
        sent, marks = [record for each in records for record in each], [talk.mark for talk in talks]
        said = [[record.text for record in each if record.mark and record.streaming] for each in records]
        whole = not cell.note and all(_printed(*each) for each in zip(talks, said, strict=True))
        cell.checks = clients_look.checks(
            room.folder, room.proxy.log_file, marks, sent, printed=whole, each_apart=room.mode == "run-look"
        )
        return cell
    lines = [msgspec.json.decode(line, type=Decision) for line in room.proxy.journal.splitlines()]
    by_id = {line.request_id: line for line in lines}
    decided = [[by_id[record.header(header_names.REQUEST_ID)] for record in each] for each in records]
    main = [line for line in decided[0] if line.stream] or decided[0]
    cell.tier = "/".join(dict.fromkeys(line.tier for line in main))
    cell.transport = "/".join(sorted({_transport(record) for each in records for record in each}))
    said = [[record.text for record in each if record.mark and record.streaming] for each in records]
    cell.checks = {
        "together": len({line.account for line in main}) == 1 and len(main) >= 2,
        "apart": _apart(decided),
        "stream": not cell.note and all(_printed(*each) for each in zip(talks, said, strict=True)),
        "keys": _no_key_anywhere(room, recipe),
    }
    return cell


def _transport(record: Record) -> str:
    return f"{record.http} {'stream' if record.streaming else 'whole'}"


def _apart(decided: Sequence[Sequence[Decision]]) -> bool:
    one, other = ({line.session for line in lines if line.session} for lines in decided)
    return bool(one and other) and not one & other


def _printed(talk: Talk, said: Sequence[str]) -> bool:
    """Whether the client printed, for each question, a whole answer of those that were *said* to it."""
    return all(any(_words(answer) in _words(text) for answer in said) for text in talk.printed)


def _words(text: str) -> str:
    return " ".join(text.split())


def _no_key_anywhere(room: Room, recipe: Recipe) -> bool:
    """Whether no account's key is in flows, journal, log or the client's home, and the client's own never went up."""
    real = [record.credential.encode() for record in room.simulator.truth if record.account]
    files = [room.folder / "flows.mitm", room.folder / "journal.jsonl", room.proxy.log_file]
    files += [file for file in (room.folder / "homes" / recipe.name).rglob("*") if file.is_file()]
    written = all(not any(key in data for key in real) for data in map(Path.read_bytes, files))
    sent = all(KEY not in value for record in room.simulator.truth for _, value in record.headers)
    return written and sent


def _show(cells: Sequence[Cell]) -> None:
    titles = ("client", "version", "mode", "transport", "tier", *CHECKS, "")
    rows = [
        (cell.client, cell.version, cell.mode, cell.transport, cell.tier,
         *("yes" if cell.checks.get(check) else "NO" for check in CHECKS), cell.note)
        for cell in cells
    ]  # fmt: skip
    widths = [max(len(row[column]) for row in (titles, *rows)) for column in range(len(titles))]
    for row in (titles, *rows):
        print("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip())
    print(f"\n{sum(cell.holds for cell in cells)} of {len(cells)} hold")
    print("together: both turns of a conversation on one account; apart: the other conversation is told from it;")
    print("stream: every answer arrived whole; keys: no account's key is written anywhere, and no client's key went up")
    print("run: the same with `patchbay run -- TOOL`, for a tool without settings or a key of its own")
    print("run-look: by `patchbay run --look -- TOOL`, each turn alone, with a session")
    print("look: both turns in one session; the client's own key went up, and is written nowhere")


if __name__ == "__main__":
    started = time.monotonic()
    code = main()
    if "--inside" not in sys.argv:
        print(f"({time.monotonic() - started:.0f} s)")
    sys.exit(code)
