"""Seeds: short keyed digests that stand for an id or a text wherever something is remembered or logged."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

from blake3 import blake3

_CONTEXT = "patchbay 2026 identity seeds"
_IDS = 4096


def encode(text: str) -> bytes:
    """Return *text* as bytes; a lone surrogate, which JSON may carry, is no reason to fail."""
    return text.encode("utf-8", "surrogatepass")


def digest(parts: Iterable[bytes]) -> bytes:
    """Return 16 bytes that stand for *parts*, each with its length before it."""
    return blake3(_joined(parts)).digest(length=16)


class Seeds:
    """
    Seeds under a secret *key* of 32 bytes: 32 hexadecimal characters each.

    The purpose and the length of every part are inside the hash, so seeds of two purposes never meet and no byte can
    move from one part to the next unnoticed.
    """

    def __init__(self, key: bytes) -> None:
        if len(key) != 32:
            raise ValueError(f"key: {len(key)} bytes, must be 32")
        self._key = blake3(key, derive_key_context=_CONTEXT).digest()
        self.of_id = lru_cache(_IDS)(self.derive)  # for what is short and comes with each request of a session

    def derive(self, purpose: str, scope: bytes, *parts: str | bytes) -> str:
        """Derive the seed of *parts* for *purpose*, for the client *scope* alone."""
        told = [encode(part) if isinstance(part, str) else part for part in (purpose, scope, *parts)]
        return blake3(_joined(told), key=self._key).digest(length=16).hex()


def _joined(parts: Iterable[bytes]) -> bytes:
    # one call into the hash: for short parts the calls cost more than the copy
    return b"".join([piece for part in parts for piece in (len(part).to_bytes(8, "big"), part)])
