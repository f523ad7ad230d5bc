"""What `patchbay doctor` finds about the accounts of the settings: keys, cooldowns, the store, the mode."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import datetime
from shlex import quote

from .. import state
from ..proxy import credentials, environment
from ..proxy.persistence import VARIABLE, store_of
from ..settings.settings import Config
from ..store import StoreError, file_of
from ..values.account import Account, Secret
from ..values.http import is_loopback
from . import inputs
from .examined import ExaminedMachine, MachineFault, place
from .inputs import CommandError

_OF_ACCOUNT = re.compile(r"(?:.*: )?accounts\[\d+\]\.(?:key|login|headers)")


def keys(machine: ExaminedMachine) -> Iterator[MachineFault]:
    """Keys that are not there or cannot be used, and the other things around the settings."""
    if machine.settings is None:
        return
    for account in machine.settings.accounts:
        for secret, wrong in credentials.faults(account.secrets if account.enabled else (), machine.env):
            mend = _mend_around(str(wrong)) if "chmod" in str(wrong) else _mend(secret, account)
            yield MachineFault("problem", f"account {account.id}: {wrong}", mend)
    for problem in environment.problems(machine.settings, machine.env):
        if not _OF_ACCOUNT.match(problem.text):
            yield MachineFault(
                "warning" if problem.kind == "absent" else "problem", problem.text, _mend_around(problem.text)
            )


def _mend(secret: Secret, account: Account) -> str:
    match secret.source:
        case "env":
            return f"export {secret.value}=…"
        case "file" if secret.tool:
            return f"run `{secret.tool}` once, and log in there"
        case "file":
            return f"put the key into {secret.value}, or correct `key:` of {account.id}"
        case "cmd":
            return f"install {secret.argv[0]}, or correct `key:` of {account.id}"
        case "literal":
            return f"correct `key:` of {account.id} in the settings"


def _mend_around(text: str) -> str:
    if "chmod" in text:
        return text[text.index("chmod") :]
    if environment.OTHER_STATE in text:
        return "state: /other/folder in the settings"
    return "correct that line in the settings, or make what it names usable"


def duplicates(machine: ExaminedMachine) -> Iterator[MachineFault]:
    """Accounts of one provider with one key: a limit of one is a limit of the other."""
    same: dict[tuple[object, str], list[str]] = defaultdict(list)
    for account in _enabled(machine):
        if mark := credentials.mark_of(account.secret, machine.env):
            same[account.origin, mark].append(account.id)
    for names in same.values():
        if len(names) > 1:
            mend = f"remove one of them, or give it another key: {names[-1]}"
            yield MachineFault("warning", f"accounts {' and '.join(names)} have the same key", mend)


def accounts(machine: ExaminedMachine) -> Iterator[MachineFault]:
    """Settings by which no account can serve."""
    settings = machine.settings
    if settings is None or settings.looks:
        return
    if settings.accounts and not any(each.enabled for each in settings.accounts):
        yield MachineFault(
            "problem", "no account is enabled", f"enabled: true at {settings.accounts[0].id} in the settings"
        )
    for account in _enabled(machine) if machine.running else ():
        origin = account.origin
        if origin and is_loopback(origin.host) and origin.port in [place(each)[1] for each in machine.addresses()]:
            told = f"account {account.id}: its base_url is this proxy itself, port {origin.port}"
            yield MachineFault("problem", told, f"name its provider in `base_url` of {account.id}")


def store(machine: ExaminedMachine) -> Iterator[MachineFault]:
    """A store that cannot be read, and the accounts that rest by it."""
    try:
        resting = _resting(machine)
    except (StoreError, CommandError, OSError) as e:
        what = f"the store cannot be used: {str(e) or type(e).__name__}"
        yield MachineFault("problem", what, _mend_store(machine))
        return
    for name, until in resting.items():
        yield MachineFault("warning", f"account {name} rests until {_time(until)}", f"patchbay wake {name}")


def _store_url(machine: ExaminedMachine) -> str:
    """Return the URL of the store; `patchbay run` has a file in the state folder where none is named."""
    named = machine.settings.store if machine.settings else ""
    return named or machine.env.get(VARIABLE, "") or "sqlite"


def _mend_store(machine: ExaminedMachine) -> str:
    file = file_of(_store_url(machine), machine.state())
    if file is None:
        return "start its server, or correct `store:` in the settings"
    return f"mv {quote(str(file))} {quote(f'{file}.old')}  (which account a conversation has is then forgotten)"


def _resting(machine: ExaminedMachine) -> dict[str, float]:
    """Return until when each account rests, as the store has it. Raises what a store raises."""
    settings, folder, url = machine.settings, machine.state(), _store_url(machine)
    file = file_of(url, folder)
    unread = file and not file.exists()  # opening it would make the file
    if settings is None or unread or not (folder / "master.key").exists():
        return {}
    opened = store_of(replace(settings, store=url), inputs.existing_key(folder))[1]
    if opened is None:
        return {}
    until: dict[str, float] = {}
    with closing(opened):
        for record in opened.news(machine.now):
            for account in settings.accounts:
                if record.expires > machine.now and state.ended(record, account.id, machine.now):
                    until[account.id] = max(until.get(account.id, 0.0), record.expires)
    return until


def mode(machine: ExaminedMachine) -> Iterator[MachineFault]:
    """A mode that does nothing."""
    settings = machine.settings
    if settings and settings.mode == "shadow" and settings.accounts:
        told = "`mode: shadow`: nothing is carried out, and every tool goes on with its own key"
        yield MachineFault("warning", told, "mode: serve in the settings")


def _enabled(machine: ExaminedMachine) -> list[Account]:
    settings: Config = machine.settings or Config(())
    return [account for account in settings.accounts if account.enabled]


def _time(at: float) -> str:
    return datetime.fromtimestamp(at).astimezone().strftime("%Y-%m-%d %H:%M:%S %Z")
