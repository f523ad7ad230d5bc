"""Seeds: short keyed digests that stand for an id or a text wherever something is remembered or logged."""

from __future__ import annotations

from functools import lru_cache

from .. import keyed

_PURPOSE = "patchbay 2026 identity seeds"
_IDS = 4096


def encode(text: str) -> bytes:
    """Return *text* as bytes; lone surrogates, which JSON may carry, pass."""
    return text.encode("utf-8", "surrogatepass")


class Seeds:
    """Seeds under a secret *key* of 32 bytes: 32 hexadecimal characters each. Seeds of two purposes never meet."""

    def __init__(self, key: bytes) -> None:
        if len(key) != 32:
            raise ValueError(f"key: {len(key)} bytes, must be 32")
        self._key = keyed.derive(key, _PURPOSE)
        self.of_id = lru_cache(_IDS)(self.derive)  # for short parts that come with each request of a session

    def derive(self, purpose: str, scope: bytes, *parts: str | bytes) -> str:
        """Derive the seed of *parts* for *purpose*, for the client *scope* alone."""
        encoded = [encode(part) if isinstance(part, str) else part for part in (purpose, scope, *parts)]
        return keyed.digest(self._key, *encoded).hex()
