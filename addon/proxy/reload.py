"""Loads the settings: at the start, and again when their file, or one with a key in it, changes: all or nothing."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

from .. import secret_patterns
from ..clients import Known
from ..frozen import dataclass
from ..router import Router
from ..settings import reader
from ..settings.reader import ConfigError
from ..settings.settings import Config, CrosstalkSettings
from ..values.account import Secret
from . import environment, persistence
from .credentials import Credentials, FileStamp, KeyUnavailable, stamp_of, unusable

logger = logging.getLogger(__name__)

LOOK_EVERY = 0.5  # seconds between two looks at the files
UNCHANGED_FOR = 0.2  # seconds for which a file must not change before it is read: its writer may not be done
FIXED = ("state", "store", "mode")  # settings whose changes take effect at the next start

_Stamps = dict[Path, FileStamp | None]


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of a file, with the keys of their clients at hand."""

    config: Config
    clients: tuple[Known, ...]


# What `patchbay_look` goes by in place of a file: nothing is kept beyond the process, and nothing is written.
MOST_LEARNED = 64  # secrets of accounts that are read before their first use
LOOKING = Settings(
    Config(accounts=(), store="memory", mode="shadow", crosstalk=CrosstalkSettings(incidents=0)), clients=()
)


async def load(path: Path, keys: Credentials, before: Config | None = None) -> Settings:
    """
    Read the settings at *path* and the keys of their clients; FIXED settings stay as they were *before*.

    Raises ConfigError, OSError, ValueError for what stops a start, and KeyUnavailable.
    """
    config = await asyncio.to_thread(read, path)
    _withhold(config, keys)
    keys.carried_by(config.credential_headers)
    for client in config.clients:
        await keys.ready(client.secret)
    await _learn(config, keys)
    known = tuple(Known(client, keys.value(client.secret).encode()) for client in config.clients)
    names: dict[bytes, str] = {}
    for one in known:
        if (first := names.setdefault(one.value, one.key.name)) != one.key.name:
            raise ValueError(f"the clients {first} and {one.key.name} have the same key")
    return Settings(config if before is None else _with_fixed(before, config), known)


def read(path: Path) -> Config:
    """Read the settings at *path*, with what is odd around them among the warnings. Raises as `load`."""
    return environment.looked_at(reader.load(environment.text_of(path), path.name, env=os.environ), os.environ)


def warn(found: Config, before: Config | None = None, *, at_start: bool = False) -> None:
    """
    Log the warnings of *found* that the settings *before* did not have.

    *at_start* not those of keys that cannot be had: the line of the account says so.
    """
    amiss = [f"{setting}: " for setting, *_ in environment.keys_amiss(found, os.environ)] if at_start else []
    for warning in found.warnings:
        if (before is None or warning not in before.warnings) and not any(each in warning for each in amiss):
            logger.warning("patchbay: %s", warning)


class NothingChanges(Exception):
    """Settings that were to be read again cannot be used. The message is a sentence for people, and is logged."""


class Reload:
    """
    Watches the settings at *path*, and every file that holds one of their keys.

    `apply` takes over settings that are good, on the loop; they count as bad when it raises OSError or ValueError.
    """

    def __init__(self, path: Path, router: Router, keys: Credentials, apply: Callable[[Settings], None]) -> None:
        self._path = path
        self._router = router
        self._keys = keys
        self._apply = apply
        self._seen = _stamps(self._files())
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Look at the files from now on; to be called in the loop."""
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run(), name="patchbay-reload")

    def stop(self) -> bool:
        """Watch no longer; return whether the watch had been started."""
        task, self._task = self._task, None
        return task is not None and task.cancel()

    async def look(self, calm: float = UNCHANGED_FOR) -> bool:
        """Look at the files once; return whether a change was found that has been calm for *calm* seconds."""
        found = await asyncio.to_thread(_stamps, self._files())
        changed = {path for path, stamp in found.items() if stamp != self._seen.get(path, stamp)}
        if changed:
            await asyncio.sleep(calm)
            if found != await asyncio.to_thread(_stamps, found):
                return False  # still being written; the next look sees the result
        self._seen = found
        if self._path in changed:
            await self._settings()
        await self._secrets(changed)
        return bool(changed)

    async def now(self) -> str:
        """
        Read everything again, changed or not; return what came of it, as the log says it too.

        Raises NothingChanges where the settings cannot be used; the keys are read again even so.
        """
        files = self._files()
        self._seen = await asyncio.to_thread(_stamps, files)
        try:
            return await self._applied()
        finally:
            await self._secrets(set(files[1:]))

    def _files(self) -> list[Path]:
        settings = self._router.config
        return [self._path, *(_file(secret) for secret in _secrets(settings) if secret.source == "file")]

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(LOOK_EVERY)
            try:
                await self.look()
            except Exception as e:  # the next version of a file may be sound
                logger.warning("patchbay: the settings could not be read again: %s", type(e).__name__)

    async def _settings(self) -> None:
        with contextlib.suppress(NothingChanges):  # it is logged
            await self._applied()

    async def _applied(self) -> str:
        """Read the settings and apply them; return what is logged. Raises NothingChanges."""
        before, name = self._router.config, secret_patterns.covered(self._path.name)
        try:
            found = await load(self._path, self._keys, before)
            self._apply(found)
        except ConfigError as e:
            raise _unchanged(f"{name} has mistakes, so nothing changes:\n{e}") from None
        except (OSError, ValueError, KeyUnavailable) as e:
            why = secret_patterns.covered(environment.told(e, self._path))  # it may quote a path of the settings
            raise _unchanged(f"{name} cannot be used, so nothing changes: {why}") from None
        warn(found.config, before)
        accounts = found.config.accounts
        enabled = sum(account.enabled for account in accounts)
        told = f"{name} is applied; accounts: {len(accounts)} ({enabled} enabled)"
        logger.info("patchbay: %s", told)
        return told

    async def _secrets(self, changed: set[Path]) -> None:
        """Read the keys again whose files *changed*: what was wrong with the accounts of the old keys is over."""
        settings = self._router.config
        for account in settings.accounts:
            files = [one for one in account.secrets if _file(one) in changed]
            for one in files:
                if wrong := await asyncio.to_thread(unusable, one, {}):
                    logger.warning("patchbay: account %s: %s", account.id, wrong)
            if any([await self._keys.refresh(one) for one in files]):
                self._router.accounts.credential_changed(account.id)
                logger.info("patchbay: the key of account %s was read again and can be used", account.id)
        if any(_file(client.secret) in changed for client in settings.clients):
            await self._settings()


def _unchanged(told: str) -> NothingChanges:
    logger.warning("patchbay: %s", told)
    return NothingChanges(told)


def _with_fixed(before: Config, found: Config) -> Config:
    """Return *found* with the FIXED settings of *before*, and a warning for each that differs."""
    kept = {name: getattr(before, name) for name in FIXED}
    changed = [name for name in FIXED if kept[name] != getattr(found, name)]
    late = (f"the change of {name} takes effect at the next start" for name in changed)
    return replace(found, **kept, warnings=(*found.warnings, *late))


def _withhold(settings: Config, keys: Credentials) -> None:
    """Keep the secrets of *settings* from child processes, also the password in the address of a store."""
    store = {settings.store, os.environ.get(persistence.VARIABLE, "")}
    named = {url.removeprefix("env:") for url in store if url.startswith("env:")}
    keys.withhold(_secrets(settings), {*named, persistence.VARIABLE})


async def _learn(settings: Config, keys: Credentials) -> None:
    """
    Let the keys of enabled accounts be covered from the start, as far as no program must run for them.

    Each costs a search through what passes, so of many accounts a key is known from its first use on.
    """
    secrets = [secret for account in settings.accounts if account.enabled for secret in account.secrets]
    if len(secrets) > MOST_LEARNED:
        return
    for secret in secrets:
        if secret.source != "cmd":
            with contextlib.suppress(KeyUnavailable):  # it is said where the account is used
                await keys.ready(secret)


def _secrets(settings: Config) -> list[Secret]:
    secrets = [secret for account in settings.accounts for secret in account.secrets]
    return [*secrets, *(client.secret for client in settings.clients)]


def _file(secret: Secret) -> Path:
    return Path(secret.value).expanduser() if secret.source == "file" else Path()


def _stamps(paths: Iterable[Path]) -> _Stamps:
    return {path: stamp_of(path) for path in paths}
