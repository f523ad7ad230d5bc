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

from .settings.settings import JournalSettings

logger = logging.getLogger(__name__)

MOMENT = 0.05  # seconds in which lines gather
WAITING = 100_000  # lines that may wait for the disk


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
        """Queue *told*, an encoded decision. When the disk has not kept up for long it is lost, and the log says so."""
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
                logger.warning("the journal lost lines, since the disk does not keep up: %d", self._lost)
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
