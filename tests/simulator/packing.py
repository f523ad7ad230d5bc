"""Content codings, the way out: bodies packed piece by piece, so that each piece can be read when it comes."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Any

import brotli  # type: ignore[import-untyped]

try:
    from compression import zstd  # type: ignore[import-not-found, unused-ignore]  # Python 3.14 and later
except ImportError:
    from backports import zstd


def packer(coding: str) -> tuple[Callable[[bytes], bytes], Callable[[], bytes]]:
    """Return what packs one piece with *coding* (gzip, br or zstd), and what ends the body."""
    packing: Any
    match coding:
        case "gzip":
            packing = zlib.compressobj(wbits=31)
            return lambda data: packing.compress(data) + packing.flush(zlib.Z_SYNC_FLUSH), packing.flush
        case "br":
            packing = brotli.Compressor()
            return lambda data: packing.process(data) + packing.flush(), packing.finish
        case "zstd":
            packing = zstd.ZstdCompressor()
            return lambda data: packing.compress(data, packing.FLUSH_BLOCK), packing.flush
    raise ValueError(coding)


def packed(data: bytes, coding: str) -> bytes:
    """Return *data* as one body packed with *coding*."""
    pack, finish = packer(coding)
    return pack(data) + finish()
