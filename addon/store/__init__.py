"""
What outlives a process: the master key, and a store of records behind the memory.

The store is a file (SQLite) or a server that several instances share (Redis), and is never waited for by a request.
"""

from __future__ import annotations

from pathlib import Path

from .master_key import KEY_BYTES, master_key
from .protocol import Store, StoreError
from .write_behind import WriteBehind

__all__ = ["KEY_BYTES", "Store", "StoreError", "WriteBehind", "master_key", "opened", "sqlite_path"]

DEFAULT_FILE = "state.db"


def opened(url: str, folder: Path, space: str) -> Store | None:
    """
    Return the store that *url* names, or None for memory alone; `sqlite` is a file in *folder*.

    Instances share a Redis only within one *space*. Nothing is connected yet. Raises StoreError when what it needs is
    not installed.
    """
    scheme, _, rest = url.partition("://")
    match scheme:
        case "sqlite":
            from .sqlite_store import SqliteStore

            return SqliteStore(sqlite_path(rest) if rest else folder / DEFAULT_FILE)
        case "redis" | "rediss":
            from .redis_store import RedisStore

            return RedisStore(url, space)
        case _:
            return None


def sqlite_path(rest: str) -> Path:
    """Return the file that `sqlite://` with *rest* behind it names."""
    return Path(rest.removeprefix("/") if rest.startswith("/~") else rest).expanduser()
