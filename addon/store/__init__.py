"""
What survives a restart: the master key, and a store of records that are written behind the memory.

The store is a file (SQLite), or a server (Redis) that several instances share. `opened` makes it from its URL.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

from .master_key import KEY_BYTES, master_key
from .protocol import Store, StoreError
from .write_behind import WriteBehind

__all__ = ["KEY_BYTES", "Store", "StoreError", "WriteBehind", "file_of", "master_key", "missing_package", "opened"]

DEFAULT_FILE = "state.db"


def opened(url: str, folder: Path, space: str) -> Store | None:
    """
    Return the store of *url*, not yet connected, or None for memory; `sqlite` is a file in *folder*.

    Instances share a Redis server within one *space*. Raises StoreError if its package is not installed.
    """
    if file := file_of(url, folder):
        from .sqlite_store import SqliteStore

        return SqliteStore(file)
    if url.partition(":")[0] in ("redis", "rediss"):
        from .redis_store import RedisStore

        return RedisStore(url, space)
    return None


def missing_package(url: str) -> str:
    """Return what the store of *url* needs and lacks, with the command that installs it; empty: nothing."""
    from .redis_store import NO_REDIS

    return NO_REDIS if url.partition(":")[0] in ("redis", "rediss") and not importlib.util.find_spec("redis") else ""


def file_of(url: str, folder: Path) -> Path | None:
    """Return the file of the store of *url*, as in `opened`; None where it writes none."""
    scheme, _, rest = url.partition("://")
    if scheme != "sqlite":
        return None
    return (
        Path(rest.removeprefix("/") if rest.startswith("/~") else rest).expanduser() if rest else folder / DEFAULT_FILE
    )
