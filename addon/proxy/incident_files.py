"""Writes the evidence of each incident to a JSON file, and runs the command of crosstalk.on_incident."""

from __future__ import annotations

import contextlib
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

from ..settings.settings import CrosstalkSettings
from ..values.decision import session_name

logger = logging.getLogger(__name__)
FOLDER = "incidents"
_WAITING = 1000  # incidents that are not written yet; further ones are lost, with a warning
_SECONDS = 60.0  # a command may take


def newest(folder: Path, most: int = 100) -> list[dict[str, Any]]:
    """Return the *most* newest incidents in *folder*, the newest last; files that cannot be read are left out."""
    found = []
    for file in sorted(folder.glob("*.json"))[-most:]:
        with contextlib.suppress(OSError, msgspec.DecodeError):
            found.append(msgspec.json.decode(file.read_bytes(), type=dict[str, Any]))
    return found


def line(incident: Mapping[str, Any]) -> str:
    """Return what a list shows of *incident*."""
    at = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(float(incident.get("time") or 0)))
    proofs = {finding.get("detector", "") for finding in incident.get("findings", []) if isinstance(finding, dict)}
    where = f"{incident.get('provider', '')} {incident.get('account', '')}".strip()
    victim = incident.get("victim") or "unknown"
    whose = victim_session(incident)
    of = f" of session {session_name(whose)}" if whose else ""
    session = f"session {session_name(str(incident.get('session') or '')) or 'none'}"
    return f"{at}  {incident.get('id', '')}  {session}  {where}  victim {victim}{of}  {', '.join(sorted(proofs))}"


def victim_session(incident: Mapping[str, Any]) -> str:
    """Return the session of the victim of *incident*, empty where it is not known."""
    findings = [each for each in incident.get("findings", []) if isinstance(each, dict)]
    named = (each.get("victim_session") for each in findings if each.get("victim") == incident.get("victim"))
    return next((str(each) for each in named if each), "")


class IncidentFiles:
    """
    Files of mode 0600 in the state folder, written by a thread of their own; only the newest stay.

    The command gets the name of the file as its last argument, at most once in `every`; its output is discarded.
    *environment* gives what the command inherits.
    """

    def __init__(
        self,
        folder: Path,
        settings: CrosstalkSettings,
        environment: Callable[[], Mapping[str, str]] = lambda: os.environ,
    ) -> None:
        self._folder = folder / FOLDER
        self._settings = settings
        self._environment = environment
        self._waiting: queue.Queue[tuple[str, dict[str, Any]] | None] = queue.Queue(_WAITING)
        self._thread: threading.Thread | None = None
        self._ran: float | None = None

    def change(self, settings: CrosstalkSettings) -> None:
        """Use *settings* from the next incident on."""
        self._settings = settings

    def write(self, name: str, bundle: dict[str, Any]) -> None:
        """Have *bundle* written under *name*; returns at once."""
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
        if not command or (self._ran is not None and now - self._ran < self._settings.on_incident_interval):
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
