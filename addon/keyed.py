"""Hashing under a secret key: derived keys and keyed digests. BLAKE3 throughout; a key has 32 bytes."""

from __future__ import annotations

from functools import lru_cache

from blake3 import blake3

SIZE = 16  # bytes of a digest


@lru_cache(64)
def derive(key: bytes, purpose: str) -> bytes:
    """
    Derive the key for *purpose* from *key*, so that digests of two purposes never meet.

    *purpose* is a constant that names the application, the year and the use, as in "patchbay 2026 accounts". Stored
    values depend on it: a changed purpose makes them unrecognisable.
    """
    return blake3(key, derive_key_context=purpose).digest()


def digest(key: bytes, *parts: bytes, size: int = SIZE) -> bytes:
    """Return the digest of *parts* under *key*. Parts are length-prefixed: no byte moves from one to the next."""
    return blake3(_joined(parts), key=key).digest(size)


def tag(key: bytes, data: bytes, size: int = SIZE) -> bytes:
    """Return the digest of *data* alone under *key*, without a length before it."""
    return blake3(data, key=key).digest(size)


def fingerprint(*parts: bytes) -> bytes:
    """Return an unkeyed digest of *parts*, length-prefixed; for comparisons inside the process."""
    return blake3(_joined(parts)).digest(SIZE)


def _joined(parts: tuple[bytes, ...]) -> bytes:
    # One call into the hash: for short parts the calls cost more than the copy.
    return b"".join([piece for part in parts for piece in (len(part).to_bytes(8), part)])
