"""`patchbay init`: write the settings for the keys that are found on this machine. It names keys, and writes none."""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from .. import tool_recipes
from ..frozen import dataclass
from ..launch import found_keys
from ..launch.found_keys import FoundKey
from ..proxy import environment
from ..settings import reader
from ..settings.presets import PRESETS
from ..visible_text import visible
from .inputs import EXIT_FOUND, CommandError

_HEAD = """\
# Patchbay's settings, written by `patchbay init`. No key stands here: `key` says where each one is.
# After a change: patchbay check. Every setting, with its default: docs/settings.md, config.example.yaml

"""
_NOTHING = """\
accounts:
  # The line to fill in: the variable that holds your key (env:NAME), or a file (file:PATH), and its provider:
  # {providers}
  - {{id: openai, provider: openai, key: env:OPENAI_API_KEY}}
"""
_PROVIDERS = tuple(
    preset.name for preset in PRESETS.values() if preset.base_url.startswith("https:") and not preset.login
)


@dataclass(frozen=True, slots=True)
class Machine:
    """What `init` looks at and asks. *ask* is None where there is no terminal to ask at."""

    env: Mapping[str, str]
    home: Path
    which: Callable[[str], str | None]
    ask: Callable[[str], bool] | None


def init(arguments: argparse.Namespace) -> int:
    """Write the settings for the keys that this machine has, by their names; no key is printed or copied."""
    ask = _asked if sys.stdin.isatty() and sys.stdout.isatty() and not arguments.yes else None
    machine = Machine(os.environ, Path.home(), shutil.which, ask)
    for line in written(environment.settings_file(arguments.config), machine, arguments):
        print(visible(line))
    return 0


def written(file: Path, machine: Machine, arguments: argparse.Namespace) -> Iterator[str]:
    """Write *file*, and yield what to tell. Raises CommandError where it is there already, or cannot be written."""
    if os.path.lexists(file) and not arguments.force:  # a link that leads nowhere is the user's too
        raise CommandError(f"{file} is there already; nothing is changed (--force writes it anew)", EXIT_FOUND)
    keys, left = found_keys.in_environment(machine.env)
    named, unnamed = _logins(machine, keys, wanted=arguments.logins)
    accounts = (*keys, *named)
    text = _HEAD + (found_keys.as_yaml(accounts) if accounts else _NOTHING.format(providers=", ".join(_PROVIDERS)))
    try:
        reader.load(text, str(file), env=machine.env)
    except reader.ConfigError as e:
        raise CommandError(f"what would be written has mistakes, so nothing is: {e}") from e
    _write(file, text)
    yield _told(file, accounts, text)
    yield from (f"left out: {each}" for each in left)
    yield from (f"left out: {each.where} (--logins names it)" for each in unnamed)
    yield f"{'next' if accounts else 'then'}: {_next(file, accounts, machine)}"


def _logins(
    machine: Machine, keys: Sequence[FoundKey], *, wanted: bool
) -> tuple[tuple[FoundKey, ...], tuple[FoundKey, ...]]:
    """Return the logins of tools that are to be named, and the others: without an answer none is."""
    named: list[FoundKey] = []
    unnamed: list[FoundKey] = []
    for login in found_keys.logins(machine.env, machine.home, (key.id for key in keys)):
        question = f"Use {login.where}, as an account? It is read where it is, and stays your own."
        agreed = wanted or (machine.ask is not None and machine.ask(question))
        (named if agreed else unnamed).append(login)
    return tuple(named), tuple(unnamed)


def _write(file: Path, text: str) -> None:
    """Write *text* to *file*, readable by its owner alone, all or nothing."""
    file.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")  # its mode is 0600
    try:
        with open(handle, "w", encoding="utf-8") as out:
            out.write(text)
        os.replace(name, file)
    except BaseException:
        os.unlink(name)
        raise


def _told(file: Path, accounts: Sequence[FoundKey], text: str) -> str:
    if accounts:
        each = ", ".join(f"{account.id} ({_source(account)})" for account in accounts)
        return f"{file}: {len(accounts)} {'account' if len(accounts) == 1 else 'accounts'}: {each}"
    line = next(at for at, each in enumerate(text.splitlines(), 1) if "key: env:" in each and "#" not in each)
    return f"{file}: no key was found; fill in line {line}"


def _source(account: FoundKey) -> str:
    return account.key.partition(":")[2] or str(account.more.get("login"))


def _next(file: Path, accounts: Sequence[FoundKey], machine: Machine) -> str:
    config = "" if file == environment.settings_file(None) else f" --config {shlex.quote(str(file))}"
    families = [family for account in accounts for family in sorted(PRESETS[account.preset].families)]
    tools = [tool.program for family in families for tool in tool_recipes.of_family(family)]
    tool = next(filter(machine.which, tools or [each.program for each in tool_recipes.RECIPES]), "")
    return f"patchbay run{config} -- {tool}" if tool else f"patchbay run{config}"


def _asked(question: str) -> bool:
    try:
        return input(f"{question} [y/N] ").strip().lower() in ("y", "yes")
    except EOFError:  # Ctrl-D
        return False
