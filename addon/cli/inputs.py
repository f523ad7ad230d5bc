"""What the arguments of a sub-command name (settings, state folder, key, store), and the one way to refuse them."""

from __future__ import annotations

import argparse
import contextlib
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from ..proxy import environment
from ..proxy.persistence import VARIABLE, store_of
from ..settings import reader
from ..settings.settings import Config
from ..store import Store, StoreError, file_of, master_key

EXIT_FOUND = 1  # what the command looks for was found, or what it was told is refused
EXIT_USAGE = 2  # usage error, as for argparse, or an input that cannot be read
EXIT_CODES = """\
exit codes: 0 all is well
            1 found: mistakes in the settings (check), what is wrong on this machine (doctor), a request that
              would be refused (explain; its notes say what it does not look at), crosstalk or another verdict
              than the live one (verify), settings that a running proxy cannot use (reload);
              or not found: the running proxy, the incident, the account, the session or the host that was named
            2 wrong usage, or an input that cannot be read: a file, the store, the settings (except for check
              and doctor)"""


class CommandError(Exception):
    """A sub-command ends with this message, on stderr, and exit code *code*."""

    def __init__(self, message: str, code: int = EXIT_USAGE) -> None:
        super().__init__(message)
        self.code = code


class NoStore(CommandError):
    """There is no store."""


def settings(arguments: argparse.Namespace) -> Config:
    """Return the settings that *arguments* name, or the defaults where there is no such file."""
    file = environment.settings_file(arguments.config)
    found = reader.load(file.read_bytes(), str(file)) if file.exists() else Config(())
    return replace(found, state=arguments.state) if arguments.state else found


def state_folder(found: Config) -> Path:
    """Return the folder with the key and the store of the settings *found*."""
    return Path(found.state).expanduser()


def existing_key(folder: Path) -> bytes:
    """Return the key in *folder*. A new key could recognise nothing, so none is made."""
    if not (folder / "master.key").exists():
        raise CommandError(
            f"there is no key in {folder}: no proxy has kept its state there; name it with --state or `state:`"
        )
    try:
        return master_key(folder)
    except ValueError as e:
        raise CommandError(str(e)) from e


@contextlib.contextmanager
def store(arguments: argparse.Namespace, command: str) -> Iterator[tuple[Config, Store]]:
    """Open the store that running proxies use, else the state folder's. Without one, *command* in mitmproxy does it."""
    found = settings(arguments)
    folder = state_folder(found)
    if not (found.store or os.environ.get(VARIABLE)) and (file := file_of("sqlite", folder)) and file.exists():
        found = replace(found, store="sqlite")
    try:
        opened = store_of(found, existing_key(folder))[1]
        if opened is None:
            raise NoStore(f"no store is configured to reach a running proxy by: use {command} in mitmproxy")
        with contextlib.closing(opened):
            yield found, opened
    except StoreError as e:
        raise CommandError(str(e)) from e
