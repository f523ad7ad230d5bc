"""Notices that the settings, or files with keys in them, have changed, and has them taken over whole or not at all."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from .. import secret_patterns
from ..clients import Known
from ..router import Router
from ..settings import reader
from ..settings.reader import ConfigError
from ..settings.settings import ClientKey, Config
from ..values.account import Secret
from . import environment
from .credentials import Credentials, KeyUnavailable

logger = logging.getLogger(__name__)

EVERY = 0.5  # seconds between two looks
CALM = 0.2  # seconds in which a file must not change before it is read: who writes it may not be done
FIXED = ("state", "store", "mode")  # what only holds from the next start on

_Stamps = dict[Path, tuple[int, int, int] | None]


class Unfinished(ValueError):
    """A file is empty or not there, as while an editor saves it."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What a file of settings says, with the keys of clients at hand."""

    config: Config
    clients: tuple[Known, ...]


class Reload:
    """
    Watch the settings at *path* and every file they name a key in.

    *apply* takes over settings that are good, on the loop; what it raises as OSError makes them bad.
    """

    def __init__(self, path: Path, router: Router, keys: Credentials, apply: Callable[[Settings], None]) -> None:
        self._path = path
        self._router = router
        self._keys = keys
        self._apply = apply
        self._seen = _stamps(self._files())
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Go on by itself from now on; to be called in the loop."""
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run(), name="patchbay-reload")

    def stop(self) -> bool:
        """Watch no longer; return whether it did until now."""
        task, self._task = self._task, None
        return task is not None and task.cancel()

    async def look(self, calm: float = CALM) -> bool:
        """Look once; return whether anything had changed that is calm by now."""
        found = await asyncio.to_thread(_stamps, self._files())
        changed = {path for path, stamp in found.items() if stamp != self._seen.get(path, stamp)}
        if changed:
            await asyncio.sleep(calm)
            if found != await asyncio.to_thread(_stamps, found):
                return False  # somebody is at it; the next look sees what came of it
        self._seen = found
        if self._path in changed:
            await self._settings()
        await self._secrets(changed)
        return bool(changed)

    def _files(self) -> list[Path]:
        settings = self._router.config
        secrets = [secret for account in settings.accounts for secret in account.secrets]
        secrets += [client.secret for client in settings.clients]
        return [self._path, *(_file(secret) for secret in secrets if secret.source == "file")]

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(EVERY)
            try:
                await self.look()
            except Exception as e:  # whatever a file holds, the next version of it is looked at
                logger.warning("patchbay: the settings could not be read again: %s", type(e).__name__)

    async def _settings(self) -> None:
        before = self._router.config
        try:
            found = await asyncio.to_thread(read, self._path)
            known = tuple([await _known(client, self._keys) for client in found.clients])
            self._apply(fixed(before, Settings(found, known)))
        except ConfigError as e:
            logger.warning("patchbay: %s holds mistakes, so nothing changes:\n%s", _called(self._path), e)
        except (OSError, ValueError, KeyUnavailable) as e:
            told = secret_patterns.covered(str(e))  # it may quote a path of the settings
            logger.warning("patchbay: %s cannot be used, so nothing changes: %s", _called(self._path), told)
        else:
            _say(self._path, before, found)

    async def _secrets(self, changed: set[Path]) -> None:
        """Read keys again whose files changed: what was wrong with the accounts that had the old ones is over."""
        settings = self._router.config
        for account in settings.accounts:
            renewed = [await self._keys.refresh(one) for one in account.secrets if _file(one) in changed]
            if any(renewed):
                self._router.accounts.cleared(account.id)
                logger.info("patchbay: account %s has another key now", account.id)
        if any(_file(client.secret) in changed for client in settings.clients):
            await self._settings()


def fixed(before: Config, found: Settings) -> Settings:
    """Return *found* with what only holds from the next start on as it was *before*."""
    kept = {name: getattr(before, name) for name in FIXED}
    return replace(found, config=replace(found.config, **kept))


def read(path: Path) -> Config:
    """Read the settings at *path*. Raises ConfigError, OSError, or Unfinished where there is nothing yet."""
    text = environment.text_of(path)
    if not text.strip():
        raise Unfinished("it is empty")
    return environment.looked_at(reader.load(text, path.name, env=os.environ), os.environ)


async def _known(client: ClientKey, keys: Credentials) -> Known:
    await keys.ready(client.secret)
    return Known(client, keys.value(client.secret).encode())


def _say(path: Path, before: Config, found: Config) -> None:
    for warning in found.warnings:
        if warning not in before.warnings:
            logger.warning("patchbay: %s", warning)
    for name in FIXED:
        if getattr(before, name) != getattr(found, name):
            logger.warning("patchbay: another %s holds from the next start on", name)
    enabled = sum(account.enabled for account in found.accounts)
    logger.info("patchbay: %s taken over: %d accounts (%d enabled)", _called(path), len(found.accounts), enabled)


def _called(path: Path) -> str:
    return secret_patterns.covered(path.name)


def _file(secret: Secret) -> Path:
    return Path(secret.value).expanduser() if secret.source == "file" else Path()


def _stamps(paths: Iterable[Path]) -> _Stamps:
    return {path: _stamp(path) for path in paths}


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except (OSError, ValueError, RuntimeError):
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
