"""Records in an SQLite file, for one instance, or a few on one machine."""

from __future__ import annotations

import contextlib
import os
import secrets
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path

from ..values.record import Record
from .protocol import StoreError

_BUSY = 1.0  # seconds to wait for another process that writes
_BROKEN = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_SWEEP = 10.0  # seconds between two deletions of expired records

# `user_version` counts the writes, so that a reader sees cheaply whether there is anything new.
_SCHEMA = """
PRAGMA journal_mode = WAL;
PRAGMA synchronous = NORMAL;
CREATE TABLE IF NOT EXISTS records (
    kind TEXT NOT NULL, key TEXT NOT NULL, value TEXT NOT NULL, rank REAL NOT NULL, expires REAL NOT NULL,
    writer TEXT NOT NULL, number INTEGER NOT NULL, PRIMARY KEY (kind, key)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS records_by_number ON records (number);
CREATE INDEX IF NOT EXISTS records_by_expires ON records (expires);
"""
_MERGE = """
INSERT INTO records (kind, key, value, rank, expires, writer, number) VALUES (?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (kind, key) DO UPDATE SET
    value = excluded.value, rank = excluded.rank, expires = excluded.expires,
    writer = excluded.writer, number = excluded.number
WHERE (excluded.rank, excluded.expires, excluded.value) > (rank, expires, value)
"""
_NEWS = """
SELECT kind, key, value, rank, expires FROM records
WHERE number > ? AND expires > ? AND (writer <> ? OR value = '' OR ? < 0) ORDER BY expires
"""


class SqliteStore:
    """
    A store in the file *path*, readable by its owner only; the file and its folder are created if missing.

    A file that is removed, replaced, emptied or broken while open is an error once, and is created again.
    """

    shared = False  # usually of one instance

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection: sqlite3.Connection | None = None
        self._writer = secrets.token_hex(8)
        self._seen = -1
        self._swept = 0.0
        self._opened_as: tuple[int, int] | None = None

    def write(self, records: Sequence[Record], now: float) -> None:
        with self._transaction() as file:
            number = _number(file) + 1
            file.executemany(_MERGE, [(*_row(record), self._writer, number) for record in records])
            file.execute(f"PRAGMA user_version = {number:d}")
            if now - self._swept >= _SWEEP:
                self._swept = now
                file.execute("DELETE FROM records WHERE expires <= ?", (now,))

    def news(self, now: float) -> list[Record]:
        with self._transaction("DEFERRED") as file:
            number, seen = _number(file), self._seen
            if number == seen:
                return []
            found = [Record(*row) for row in file.execute(_NEWS, (seen, now, self._writer, seen))]
        self._seen = number
        return found

    def close(self) -> None:
        if self._connection is not None:
            with contextlib.suppress(sqlite3.Error):
                self._connection.close()
        self._connection, self._seen = None, -1

    @contextlib.contextmanager
    def _transaction(self, kind: str = "IMMEDIATE") -> Iterator[sqlite3.Connection]:
        try:
            file = self._opened()
            file.execute(f"BEGIN {kind}")
            with file:  # commits, or rolls back
                yield file
        except (sqlite3.Error, OSError) as e:
            self.close()
            if getattr(e, "sqlite_errorcode", None) in _BROKEN:
                was_store = self._opened_as is not None  # only then it is ours to rename
                what = self._set_aside() if was_store else "move it away, and it is made anew"
                raise StoreError(f"{self._path}: {e}; {what}") from e
            raise StoreError(f"{self._path}: {e}") from e

    def _opened(self) -> sqlite3.Connection:
        if self._connection is not None and self._stamp() != self._opened_as:
            raise FileNotFoundError("the file was removed or replaced while it was open; it is created again")
        if self._connection is None:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            self._connection = sqlite3.connect(self._path, timeout=_BUSY, isolation_level=None, check_same_thread=False)
            self._connection.executescript(_SCHEMA)
            self._opened_as = self._stamp()
        return self._connection

    def _stamp(self) -> tuple[int, int] | None:
        """Return the identity of the file at the path; None without a file, or for an empty one."""
        try:
            found = self._path.stat()
        except OSError:
            return None
        return (found.st_dev, found.st_ino) if found.st_size else None

    def _set_aside(self) -> str:
        """Rename a broken file and say so; the next call creates a new one."""
        aside = self._path.with_name(f"{self._path.name}.broken")
        try:
            self._path.replace(aside)
            for more in ("-wal", "-shm"):
                self._path.with_name(self._path.name + more).unlink(missing_ok=True)
        except OSError as e:
            return f"it cannot be renamed: {e.strerror}"
        return f"it is kept as {aside.name}, and created again"


def _number(file: sqlite3.Connection) -> int:
    return int(file.execute("PRAGMA user_version").fetchone()[0])


def _row(record: Record) -> tuple[str, str, str, float, float]:
    return record.kind, record.key, record.value, record.rank, record.expires
