"""Seeds: short keyed digests that stand for an id or a text wherever something is remembered or logged."""

from __future__ import annotations

from collections.abc import Iterable

from blake3 import blake3

_CONTEXT = "patchbay 2026 identity seeds"


def encode(text: str) -> bytes:
    """Return *text* as bytes; a lone surrogate, which JSON may carry, is no reason to fail."""
    return text.encode("utf-8", "surrogatepass")


def digest(parts: Iterable[bytes]) -> bytes:
    """Return 16 bytes that stand for *parts*, each with its length before it."""
    hasher = blake3()
    for part in parts:
        hasher.update(len(part).to_bytes(8, "big"))
        hasher.update(part)
    return hasher.digest(length=16)


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

    def derive(self, purpose: str, scope: bytes, *parts: str | bytes) -> str:
        """Derive the seed of *parts* for *purpose*, for the client *scope* alone."""
        hasher = blake3(key=self._key)
        for part in (purpose, scope, *parts):
            data = encode(part) if isinstance(part, str) else part
            hasher.update(len(data).to_bytes(8, "big"))
            hasher.update(data)
        return hasher.digest(length=16).hex()
