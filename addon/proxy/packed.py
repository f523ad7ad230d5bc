"""Bodies that come packed: a few bytes may unpack to more than there is memory, so they are measured first."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from io import BytesIO
from typing import Any

import brotli  # type: ignore[import-untyped]  # both belong to mitmproxy
import zstandard
from mitmproxy import http

from .. import guards
from ..values import Refusal

_STEP = 256 * 1024  # bytes unpacked at a time
_UNKNOWN = Refusal(415, "content_encoding", "The Content-Encoding of this body is none of gzip, deflate, br, zstd")


def unpacked(request: http.Request, limit: int) -> bytes | Refusal:
    """Return the body of *request* as it is meant, unless that is above *limit* bytes, or packed in a strange way."""
    kind = request.headers.get("content-encoding", "").strip().lower()
    raw = request.raw_content or b""
    if kind in ("", "identity"):
        return raw
    way = _WAYS.get(kind)
    if way is None:
        return _UNKNOWN
    if not _fits(way, raw, limit):
        return guards.body_too_large(limit)
    return request.get_content(strict=False) or b""


def _fits(way: Callable[[bytes], Iterator[bytes]], raw: bytes, limit: int) -> bool:
    size = 0
    try:
        for piece in way(raw):
            size += len(piece)
            if size > limit:
                return False
    except (zlib.error, brotli.error, zstandard.ZstdError):
        pass  # it is broken; whoever reads it will say so, and it was not large until then
    return True


def _inflate(bits: int) -> Callable[[bytes], Iterator[bytes]]:
    def pieces(raw: bytes) -> Iterator[bytes]:
        while raw:
            member = zlib.decompressobj(bits)
            piece = member.decompress(raw, _STEP)
            while piece:
                yield piece
                piece = member.decompress(member.unconsumed_tail, _STEP)
            raw = member.unused_data

    return pieces


def _deflate(raw: bytes) -> Iterator[bytes]:
    try:
        yield from _inflate(zlib.MAX_WBITS)(raw)
    except zlib.error:
        yield from _inflate(-zlib.MAX_WBITS)(raw)


def _brotli(raw: bytes) -> Iterator[bytes]:
    unpacker: Any = brotli.Decompressor()
    piece = unpacker.process(raw, output_buffer_limit=_STEP)
    while piece:
        yield piece
        piece = unpacker.process(b"", output_buffer_limit=_STEP)


def _zstd(raw: bytes) -> Iterator[bytes]:
    with zstandard.ZstdDecompressor().stream_reader(BytesIO(raw), read_across_frames=True) as reader:
        while piece := reader.read(_STEP):
            yield piece


_WAYS: dict[str, Callable[[bytes], Iterator[bytes]]] = {
    "gzip": _inflate(zlib.MAX_WBITS | 32),
    "deflate": _deflate,
    "deflateraw": _inflate(-zlib.MAX_WBITS),
    "br": _brotli,
    "zstd": _zstd,
}
