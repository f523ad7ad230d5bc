"""One JSON line per exchange: ids, seeds, times and counts; never contents, never keys."""

from __future__ import annotations

import logging
import os
import queue
import threading
from pathlib import Path
from typing import Any

import msgspec

from . import config
from .crosstalk import evidence
from .values import Decision

logger = logging.getLogger(__name__)


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
        "findings": [evidence.finding(found) for found in verdict.findings],
        "mode": decision.mode,
    }  # fmt: skip


class Journal:
    """
    Lines in a file of mode 0600, written by a thread of its own so that no request waits for a disk.

    At *max_bytes* the file is renamed to `….1`, and so on up to *keep* old ones. Raises OSError when it cannot be
    opened.
    """

    def __init__(self, settings: config.Journal) -> None:
        self._settings = settings
        self._path = Path(settings.path).expanduser()
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self._open()
        self._lines: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="patchbay-journal", daemon=True)
        self._thread.start()

    def write(self, decision: Decision) -> None:
        """Add a line for *decision*, soon."""
        self._lines.put(msgspec.json.encode(line(decision)) + b"\n")

    def close(self) -> None:
        """Write what is left and close the file."""
        self._lines.put(None)
        self._thread.join(timeout=10)
        os.close(self._file)

    def _open(self) -> int:
        return os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def _work(self) -> None:
        while (text := self._lines.get()) is not None:
            try:
                os.write(self._file, text)
                if os.fstat(self._file).st_size >= self._settings.max_bytes:
                    self._rotate()
            except OSError as e:
                logger.warning("the journal could not be written: %s", e.strerror)

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
