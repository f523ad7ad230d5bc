"""
`patchbay doctor`: what is wrong on this machine, one line each, with the command or the line that mends it.

A check is a function from the machine to findings, and a row of CHECKS. None of them uses the network; what asks the
providers stands in `doctor_ask`. No line holds a key.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from shlex import quote
from typing import Literal

from .. import secret_patterns
from ..launch import unwritten
from ..proxy import control_socket, environment
from ..proxy.control_socket import ControlFailed
from ..settings import reader
from ..visible_text import visible
from . import doctor_accounts, doctor_ask, doctor_machine, doctor_tools
from .examined import DEFAULT_ADDRESS, ExaminedMachine, MachineFault, RunningAddresses
from .inputs import EXIT_FOUND

_STATE = re.compile(rb"^state:[ \t]*[\"']?([^\"'#\r\n]+)", re.MULTILINE)  # in settings that cannot be read
Check = Callable[[ExaminedMachine], Iterator[MachineFault]]


def settings(machine: ExaminedMachine) -> Iterator[MachineFault]:
    """The settings file, its mistakes and its warnings."""
    if machine.unwritten:
        yield MachineFault("note", machine.unwritten, "patchbay init")
    elif machine.settings is None and not machine.mistakes:
        runs = "; the running proxy has its accounts from the environment in which it was started"
        level: Literal["note", "problem"] = "note" if machine.running else "problem"
        yield MachineFault(
            level, f"there are no settings at {machine.file}{runs * bool(machine.running)}", "patchbay init"
        )
    for mistake in machine.mistakes:
        yield MachineFault("problem", mistake, _mend(machine.file))
    for running in machine.running if machine.mistakes else ():
        told = f"the proxy of pid {running.pid} keeps its last good settings"
        yield MachineFault("note", told, "")
    for warning in machine.settings.warnings if machine.settings else ():
        if "environment variable" not in warning:  # `keys` tells of those
            yield MachineFault("warning", warning, _mend(machine.file))


def _mend(file: Path) -> str:
    """Return what mends the settings at *file*."""
    name = quote(str(file))
    if file.is_dir():
        return f"mv {name} {quote(f'{file}.old')}; patchbay init {name}"
    if not file.exists():
        return f"patchbay init {name}"
    if not os.access(file, os.R_OK):
        return f"chmod u+r {name}"
    return f"correct that line, then: patchbay check {name}"


CHECKS: tuple[tuple[str, Check], ...] = (
    ("settings", settings),
    ("keys", doctor_accounts.keys),
    ("duplicate keys", doctor_accounts.duplicates),
    ("accounts", doctor_accounts.accounts),
    ("mode", doctor_accounts.mode),
    ("permissions", doctor_machine.permissions),
    ("state folder", doctor_machine.state_folder),
    ("store and cooldowns", doctor_accounts.store),
    ("port", doctor_machine.port),
    ("mitmproxy", doctor_machine.packages),
    ("certificates", doctor_machine.certificates),
    ("clock", doctor_machine.clock),
    ("TLS key log", doctor_machine.key_log),
    ("base URLs of tools", doctor_tools.base_urls),
    ("settings of tools", doctor_tools.settings),
    ("proxy variables", doctor_tools.proxy_variables),
    ("switches of tools", doctor_tools.switches),
)


def doctor(arguments: argparse.Namespace) -> int:
    """Look for what is wrong on this machine; with --ask, also send each account's provider one cheap request."""
    machine = look(arguments.config, Path.home(), Path.cwd())
    checks = (*CHECKS, ("providers", doctor_ask.providers)) if arguments.ask else CHECKS
    found = examined(machine, checks)
    if arguments.json:
        print(json.dumps({"checks": [name for name, _ in checks], "findings": [_plain(each) for each in found]}))
    else:
        for each in found:
            print(line(each))
        print(_summary(machine, found, len(checks)))
    return EXIT_FOUND if any(each.level != "note" for each in found) else 0


def look(named: str | None, home: Path, folder: Path) -> ExaminedMachine:
    """Return this machine with the settings file that is *named*, or else found."""
    file = environment.settings_file(named)
    machine = ExaminedMachine(dict(os.environ), home, folder, file, now=time.time())
    if made := unwritten.in_place_of(file, named, machine.env):
        found = reader.load(made.text, str(file), env=machine.env)
        machine = replace(machine, settings=found, unwritten=made.told())
        return replace(machine, running=_running(machine))
    try:
        text = environment.text_of(file)
    except OSError as e:
        missing = isinstance(e, FileNotFoundError) and named is None
        mistakes = () if missing else (_unreadable(e, file),)
        return replace(machine, mistakes=mistakes, running=_running(machine))
    try:
        machine = replace(machine, settings=reader.load(text, str(file), env=machine.env))
    except reader.ConfigError as e:
        state = _STATE.search(text)
        machine = replace(
            machine, mistakes=tuple(str(e).splitlines()), named_state=os.fsdecode(state[1]).strip() if state else ""
        )
    return replace(machine, running=_running(machine))


def _unreadable(e: OSError, file: Path) -> str:
    return f"no file {file}" if isinstance(e, FileNotFoundError) else f"{file}: {e.strerror or e}"


def _running(machine: ExaminedMachine) -> tuple[RunningAddresses, ...]:
    told = []
    for proxy in control_socket.running(machine.state(), machine.env):
        try:
            status = control_socket.ask(proxy.path, "status", patience=2.0)
            trusted = [status.get(name, "") for name in ("trusted_ca", "trusted_confdir")]
            told.append(RunningAddresses(tuple(status["addresses"]), tuple(status["kinds"]), status["pid"], *trusted))
        except (ControlFailed, LookupError, TypeError):
            continue
    return tuple(told)


def examined(machine: ExaminedMachine, checks: tuple[tuple[str, Check], ...] = CHECKS) -> list[MachineFault]:
    """Return what *checks* find, the problems first. A check that fails is a finding too."""
    found: list[MachineFault] = []
    for name, check in checks:
        try:
            found += check(machine)
        except Exception as e:  # the others are still worth their lines
            found.append(MachineFault("note", f"{name} could not be looked at: {type(e).__name__}", ""))
    return sorted(found, key=lambda each: ("problem", "warning", "note").index(each.level))


def line(found: MachineFault) -> str:
    """Return the line of *found*."""
    text = f"{found.level}: {found.what}" + (f"  →  {found.mend}" if found.mend else "")
    return secret_patterns.covered(visible(text))


def _plain(found: MachineFault) -> dict[str, str]:
    return {name: secret_patterns.covered(visible(text)) for name, text in asdict(found).items()}


def _summary(machine: ExaminedMachine, found: list[MachineFault], checks: int) -> str:
    wrong = sum(each.level != "note" for each in found)
    where = f"{machine.file}; " if machine.settings and not machine.unwritten else ""
    proxies = ", ".join(address for each in machine.running for address in each.addresses)
    runs = f"a proxy runs at {proxies}" if proxies else f"no proxy runs (it would at {DEFAULT_ADDRESS})"
    return secret_patterns.covered(f"{where}{runs}; looked at {checks} things, wrong: {wrong}")
