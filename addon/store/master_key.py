"""The master key: a file of 32 random bytes that only its owner may read."""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path

KEY_BYTES = 32


def master_key(folder: Path) -> bytes:
    """
    Return the key in *folder*; the first call creates it.

    Raises OSError for an unusable folder, PermissionError if others may read the key, ValueError for a file of another
    size.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = folder / "master.key"
    if not path.exists():
        _make(path)
    return _read(path)


def _make(path: Path) -> None:
    # written to another name and linked, so that a second process that starts now finds the whole key or none
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    with os.fdopen(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(secrets.token_bytes(KEY_BYTES))
    try:
        with contextlib.suppress(FileExistsError):
            os.link(aside, path)
    finally:
        aside.unlink()


def _read(path: Path) -> bytes:
    if path.stat().st_mode & 0o077:
        raise PermissionError(f"{path} must be readable by its owner only: chmod 600 {path}")
    key = path.read_bytes()
    if len(key) != KEY_BYTES:
        raise ValueError(f"{path} must hold {KEY_BYTES} bytes, has {len(key)}")
    return key
