"""One JSON line per exchange: ids, seeds, times and counts; never contents, never keys."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import threading
from collections import deque
from pathlib import Path
from typing import Any

import msgspec

from .crosstalk import report
from .settings.settings import JournalSettings
from .values.decision import Decision

logger = logging.getLogger(__name__)

MOMENT = 0.05  # seconds in which lines gather
WAITING = 100_000  # lines that may wait for the disk


def line(decision: Decision) -> dict[str, Any]:
    """Return what the journal says about *decision*."""
    usage, verdict = decision.usage, decision.verdict
    return {
        "time": round(decision.time, 3),
        "event_type": decision.event_type,
        "request_id": decision.request_id,
        "exchange": decision.exchange,
        "client": decision.client,
        "client_request_id": decision.client_request_id,
        "account": decision.account,
        "provider": decision.provider,
        "pool": decision.pool,
        "dialect": decision.dialect,
        "method": decision.method,
        "path": decision.path,
        "model": decision.model,
        "stream": decision.stream,
        "status": decision.status,
        "error": decision.error,
        "duration_seconds": round(decision.duration, 4),
        "first_byte_seconds": None if decision.first_byte is None else round(decision.first_byte, 4),
        "tokens": None
        if usage is None
        else {
            "prompt": usage.prompt,
            "completion": usage.completion,
            "cached": usage.cached,
            "cache_write": usage.cache_write,
        },
        "session": decision.identity.affinity,
        "thread": decision.identity.thread,
        "tier": decision.identity.tier,
        "session_id": decision.session_id,
        "binding": decision.binding,
        "in_flight": decision.in_flight,
        "attempts": [
            {"account": t.account, "request_id": t.request_id, "status": t.status, "outcome": t.outcome,
             "seconds": round(t.seconds, 4)}
            for t in decision.attempts
        ],
        "verdict": verdict.kind,
        "echo": verdict.echo,
        "victim": verdict.victim,
        "findings": [report.finding(found) for found in verdict.findings],
        "mode": decision.mode,
    }  # fmt: skip


class Journal:
    """
    Lines in a file of mode 0600, written by a thread of its own so that no request waits for a disk.

    What comes within a moment is written together: to wake the thread for each line costs more than the line. At
    *max_bytes* the file is renamed to `….1`, and so on up to *keep* old ones. Raises OSError when it cannot be opened.
    """

    def __init__(self, settings: JournalSettings) -> None:
        self._settings = settings
        self._path = Path(settings.path).expanduser()
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self._open()
        self._lines: deque[dict[str, Any]] = deque()
        self._lost = 0
        self._some = threading.Event()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._work, name="patchbay-journal", daemon=True)
        self._thread.start()

    def write(self, told: dict[str, Any]) -> None:
        """Add *told*, a `line`, soon. When the disk has not kept up for a long time it is lost, and the log says so."""
        if len(self._lines) >= WAITING:
            self._lost += 1
            return
        self._lines.append(told)
        if not self._some.is_set():
            self._some.set()

    def close(self) -> None:
        """Write what is left and close the file."""
        self._closed.set()
        self._some.set()
        self._thread.join(timeout=10)
        os.close(self._file)

    def _open(self) -> int:
        return os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def _work(self) -> None:
        while not self._closed.is_set() or self._lines:
            self._some.wait()
            self._closed.wait(MOMENT)
            self._some.clear()
            try:
                self._write()
            except OSError as e:
                logger.warning("the journal could not be written: %s", e.strerror)
            if self._lost:
                logger.warning("the journal lost %d lines: the disk does not keep up", self._lost)
                self._lost = 0

    def _write(self) -> None:
        self._follow()
        size, text = os.fstat(self._file).st_size, bytearray()
        while self._lines:
            text += _encoded(self._lines.popleft()) + b"\n"
            if size + len(text) >= self._settings.max_bytes:
                os.write(self._file, text)
                self._rotate()
                size, text = 0, bytearray()
        if text:
            os.write(self._file, text)

    def _follow(self) -> None:
        """Open the file anew when another, or none, stands where it was: it was deleted, or rotated by a program."""
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(self._file), self._path.stat()):
                return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        before, self._file = self._file, self._open()
        os.close(before)

    def _rotate(self) -> None:
        os.close(self._file)
        for number in range(self._settings.keep - 1, 0, -1):
            old = self._numbered(number)
            if old.exists():
                old.replace(self._numbered(number + 1))
        if self._settings.keep:
            self._path.replace(self._numbered(1))
        else:
            self._path.unlink()
        self._file = self._open()

    def _numbered(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{number}")


def _encoded(told: dict[str, Any]) -> bytes:
    try:
        return msgspec.json.encode(told)
    except ValueError:  # a path with bytes that are no UTF-8
        return json.dumps(told).encode()
