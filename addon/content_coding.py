"""Content codings (RFC 9110, 8.4.1), alone or stacked, decoded in pieces of bounded size; `_LAYERS` lists them."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import brotli  # type: ignore[import-untyped]

try:
    from compression import zstd  # type: ignore[import-not-found, unused-ignore]  # Python 3.14 and later
except ImportError:
    from backports import zstd

STEP = 4 * 1024  # bytes of a piece; a piece of br may be several times larger, and far more before its version 1.2
MAX_STACKED = 3  # codings of one body
_SLICE = 4096  # bytes of input at a time: a decompressor copies its unused input with every call
# Bytes that each gzip member and zstd frame but the first counts for: also empty ones take time.
_MEMBER, _FRAME = 1024, 16 * 1024
_WINDOW = 23  # log2 of the memory that a zstd frame may demand: RFC 9659 allows 8 MB
_BROTLI_HAS_A_LIMIT = "output_buffer_limit" in (brotli.Decompressor.process.__doc__ or "")


class CodingError(ValueError):
    """The body cannot be decoded."""


class UnknownCoding(CodingError):
    """The coding is not supported, or too many are stacked."""


class TooLarge(CodingError):
    """The decoded body is larger than the caller allows."""


def codings(value: str) -> tuple[str, ...]:
    """Return the codings of the Content-Encoding *value*, in the order in which they were applied."""
    listed = (name.strip().lower() for name in value.split(","))
    return tuple(name for name in listed if name not in ("", "identity", "none"))


class Decoder:
    """
    Decodes one body with the Content-Encoding *value* (or raises UnknownCoding): `feed` for every chunk, then `end`.

    At most *free* bytes, plus *ratio* times the bytes fed, may come out (zip bombs); without both there is no bound.
    """

    def __init__(self, value: str, free: int = 0, ratio: int = 0) -> None:
        names = codings(value)
        if len(names) > MAX_STACKED or any(name not in _LAYERS for name in names):
            raise UnknownCoding(f"content-encoding {value[:64]!r}")
        self._layers = tuple(_LAYERS[name]() for name in reversed(names))
        self._out = 0
        self._fed = 0
        self._bounded = bool(free or ratio)
        self._free = free
        self._ratio = ratio

    @property
    def decoded(self) -> int:
        """The bytes that all layers gave so far, and those that members count for."""
        return self._out + sum(layer.overhead for layer in self._layers)

    def feed(self, data: bytes) -> Iterator[bytes]:
        """
        Yield the decoded *data* in pieces of about STEP bytes at most; some may be empty.

        The iterator must be exhausted before the next `feed`. Raises CodingError, TooLarge beyond the bound.
        """
        self._fed += len(data)
        return self._through(0, data)

    def end(self) -> None:
        """Raise CodingError where the body is cut short."""
        if not all(layer.complete for layer in self._layers):
            raise CodingError("the body ends in the middle")

    def _through(self, at: int, data: bytes) -> Iterator[bytes]:
        if at == len(self._layers):
            yield data
            return
        try:
            for start in range(0, len(data), _SLICE):
                for piece in self._layers[at].feed(data[start : start + _SLICE]):
                    self._out += len(piece)
                    if self._bounded and self.decoded > self._free + self._ratio * self._fed:
                        raise TooLarge("the body decodes to more than its size allows")
                    yield from self._through(at + 1, piece)
        except _FAULTS as e:
            raise CodingError(f"the body does not have its content-encoding: {type(e).__name__}") from None


def decode(data: bytes, value: str, limit: int) -> bytes:
    """Return *data* without the codings of the Content-Encoding *value*. Raises CodingError, TooLarge above *limit*."""
    decoder = Decoder(value, free=max(limit, 1))
    out = bytearray()
    for piece in decoder.feed(data):
        out += piece
        if len(out) > limit:
            raise TooLarge(f"the body is larger than {limit} bytes")
    decoder.end()
    return bytes(out)


class _Layer(Protocol):
    @property
    def complete(self) -> bool: ...

    @property
    def overhead(self) -> int: ...

    def feed(self, data: bytes) -> Iterator[bytes]: ...


class _Zlib:
    """gzip, whose members may follow one another, and deflate."""

    def __init__(self, bits: int, members: bool = False) -> None:
        self._bits = bits
        self._members = members
        self._inflate: Any = None
        self.complete = True
        self.overhead = -_MEMBER  # the first is free

    def feed(self, data: bytes) -> Iterator[bytes]:
        while data:
            if self._inflate is None:
                self._inflate, self.complete = zlib.decompressobj(self._bits), False
                self.overhead += _MEMBER
            piece = self._inflate.decompress(data, STEP)
            data = self._inflate.unconsumed_tail
            yield piece
            while len(piece) == STEP and not data:  # there may be more of it inside
                piece = self._inflate.decompress(b"", STEP)
                yield piece
            if self._inflate.eof:
                data, self.complete = self._inflate.unused_data.lstrip(b"\0"), True  # some pad with zeros
                if self._members:
                    self._inflate = None
                elif data:
                    raise zlib.error("more behind the end")


class _Deflate:
    """zlib by RFC 9110, raw in practice: the first two bytes together decide."""

    overhead = 0

    def __init__(self) -> None:
        self._start = b""
        self._chosen: _Zlib | None = None

    @property
    def complete(self) -> bool:
        return self._chosen.complete if self._chosen else not self._start

    def feed(self, data: bytes) -> Iterator[bytes]:
        if self._chosen is None:
            data = self._start = self._start + data
            if len(data) < 2:
                return
            is_zlib = data[0] & 0x0F == 8 and int.from_bytes(data[:2]) % 31 == 0
            self._chosen = _Zlib(zlib.MAX_WBITS if is_zlib else -zlib.MAX_WBITS)
        yield from self._chosen.feed(data)


class _Brotli:
    overhead = 0

    def __init__(self) -> None:
        self._decompressor: Any = brotli.Decompressor()
        self._begun = False

    @property
    def complete(self) -> bool:
        return not self._begun or bool(self._decompressor.is_finished())

    def feed(self, data: bytes) -> Iterator[bytes]:
        self._begun = self._begun or bool(data)
        if not _BROTLI_HAS_A_LIMIT:  # one byte opens no more than one meta-block, of 16 MiB at most
            for at in range(len(data)):
                yield self._decompressor.process(data[at : at + 1])
            return
        while piece := self._decompressor.process(data, output_buffer_limit=STEP):
            yield piece
            data = b""  # it says that it can take more input while there is output left


class _Zstd:
    """Frames, which may follow one another."""

    def __init__(self) -> None:
        self._frame: Any = None
        self.complete = True
        self.overhead = -_FRAME  # the first is free

    def feed(self, data: bytes) -> Iterator[bytes]:
        while data:
            if self._frame is None:
                options = {zstd.DecompressionParameter.window_log_max: _WINDOW}
                self._frame, self.complete = zstd.ZstdDecompressor(options=options), False
                self.overhead += _FRAME
            yield self._frame.decompress(data, STEP)
            while not (self._frame.needs_input or self._frame.eof):
                yield self._frame.decompress(b"", STEP)
            data = b""
            if self._frame.eof:
                data, self.complete, self._frame = self._frame.unused_data, True, None


_LAYERS: dict[str, Callable[[], _Layer]] = {
    "gzip": lambda: _Zlib(zlib.MAX_WBITS | 32, members=True),
    "x-gzip": lambda: _Zlib(zlib.MAX_WBITS | 32, members=True),
    "deflate": _Deflate,
    "br": _Brotli,
    "zstd": _Zstd,
}
SUPPORTED = ", ".join(name for name in _LAYERS if not name.startswith("x-"))  # for messages
_FAULTS = (zlib.error, brotli.error, zstd.ZstdError, EOFError)  # what the layers raise for broken data
