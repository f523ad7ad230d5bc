"""What is kept of an answer that belonged to another request: one JSON file each, and a command that may be run."""

from __future__ import annotations

import logging
import os
import queue
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from ..settings.settings import Crosstalk

logger = logging.getLogger(__name__)
FOLDER = "incidents"
_WAITING = 1000  # incidents that are not written yet; more than that are lost, and said to be
_SECONDS = 60.0  # a command may take


class IncidentFiles:
    """
    Files of mode 0600 in the state folder, written by a thread of their own, of which the newest are kept.

    `write` returns at once. The command gets the name of the file as its last argument, at most once in `every`; what
    it prints is thrown away. *environment* gives what the command inherits.
    """

    def __init__(
        self, folder: Path, settings: Crosstalk, environment: Callable[[], Mapping[str, str]] = lambda: os.environ
    ) -> None:
        self._folder = folder / FOLDER
        self._settings = settings
        self._environment = environment
        self._waiting: queue.Queue[tuple[str, dict[str, Any]] | None] = queue.Queue(_WAITING)
        self._thread: threading.Thread | None = None
        self._ran: float | None = None

    def change(self, settings: Crosstalk) -> None:
        """Let *settings* hold from the next incident on."""
        self._settings = settings

    def write(self, name: str, bundle: dict[str, Any]) -> None:
        """Keep *bundle* under *name*, soon."""
        if self._settings.incidents <= 0:
            return
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="patchbay-incidents", daemon=True)
            self._thread.start()
        try:
            self._waiting.put_nowait((name, bundle))
        except queue.Full:
            logger.warning("%s: there are too many incidents at once; this one is not kept", name)

    def close(self) -> None:
        """Write what is left."""
        if self._thread is not None:
            self._waiting.put(None)
            self._thread.join(timeout=10)
            self._thread = None

    def _work(self) -> None:
        while (found := self._waiting.get()) is not None:
            try:
                self._run(self._kept(*found))
            except (OSError, ValueError, TypeError) as e:
                logger.warning("%s: the incident could not be kept: %s", found[0], type(e).__name__)

    def _kept(self, name: str, bundle: dict[str, Any]) -> Path:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime(bundle.get("time") or 0))
        path = self._folder / f"{stamp}-{name}.json"
        text = msgspec.json.format(msgspec.json.encode(bundle), indent=2)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(text + b"\n")
        for old in sorted(self._folder.glob("*.json"))[: -self._settings.incidents]:
            old.unlink(missing_ok=True)
        return path

    def _run(self, path: Path) -> None:
        command, now = self._settings.on_incident, time.monotonic()
        if not command or (self._ran is not None and now - self._ran < self._settings.every):
            return
        self._ran = now
        try:
            subprocess.run(  # noqa: S603 - the command is the user's own, from the settings
                [*command, str(path)],
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                timeout=_SECONDS,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as e:
            logger.warning("crosstalk.on_incident: %s", type(e).__name__)
