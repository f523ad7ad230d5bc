"""Hashing under a secret key: derived keys and keyed digests. BLAKE3 throughout; a key has 32 bytes."""

from __future__ import annotations

from collections.abc import Buffer, Iterable, Iterator
from functools import lru_cache, partial

from blake3 import blake3

SIZE = 16  # bytes of a digest
_COPIED = 1 << 14  # bytes that are put together before they are hashed


@lru_cache(64)
def derive(key: bytes, purpose: str) -> bytes:
    """
    Derive the key for *purpose* from *key*, so that digests of two purposes never meet.

    *purpose* is a constant that names the application, the year and the use, as in "patchbay 2026 accounts". Stored
    values depend on it: a changed purpose makes them unrecognisable.
    """
    return blake3(key, derive_key_context=purpose).digest()


def digest(key: bytes | None, *parts: bytes, size: int = SIZE) -> bytes:
    """Return the digest of *parts* under *key*. Parts are length-prefixed: no byte moves from one to the next."""
    # One call into the hash where the parts are short: the calls cost more than the copy.
    if sum(map(len, parts)) <= _COPIED:
        told = b"".join([len(part).to_bytes(8) + part for part in parts])
        return blake3(told, key=key).digest(size)  # type: ignore[arg-type]  # its stub forgets the default
    hashed = blake3(key=key)  # type: ignore[arg-type]
    for part in parts:
        hashed.update(len(part).to_bytes(8)).update(part)
    return hashed.digest(size)


def digests(key: bytes, first: bytes, seconds: Iterable[bytes], size: int = SIZE) -> Iterator[bytes]:
    """Yield `digest(key, first, second)` of each of *seconds*; the common part is hashed once."""
    begun = blake3(len(first).to_bytes(8) + first, key=key)
    for second in seconds:
        yield begun.copy().update(len(second).to_bytes(8) + second).digest(size)


fingerprint = partial(digest, None)  # without a key: for comparisons inside the process


def tag(key: bytes, data: Buffer, size: int = SIZE) -> bytes:
    """Return the digest of *data* alone under *key*, without a length before it."""
    return blake3(data, key=key).digest(size)
