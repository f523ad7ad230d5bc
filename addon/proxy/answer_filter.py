"""
What an upstream sends, as everything behind may see it: decoded within bounds, and with every known key covered.

The one way in: router, flow, log and client get an answer after it was here.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from mitmproxy import http

from ..content_coding import CodingError, Decoder, TooLarge, codings
from .credentials import Credentials
from .redaction import RedactedStream

_FREE = 2 * 1024 * 1024  # bytes that an answer may decode to, however few it came in
_FREE_OF_AN_ERROR = 256 * 1024  # no more of one is read
_RATIO = 50  # and more only up to so many times what came in
_NOT_CODINGS = ("chunked", "identity", "")


class UnaskedProtocol(CodingError):
    """What follows is no answer, and no protocol in which anybody could look for keys."""


class AnswerFilter:
    """
    One answer of an upstream: `head`, then `feed` for every chunk, then `rest`.

    *limit* is how many bytes of a packed answer are decoded where all of them are kept. All raise CodingError for an
    answer that cannot be read. An error answer (400 and above) never raises: what cannot be read of it is left out.
    """

    packed = False  # whether `feed` decodes

    def __init__(self, keys: Credentials, limit: int) -> None:
        self._keys = keys
        self._limit = limit
        self._covered = RedactedStream(keys.cover)
        self._decoder: Decoder | None = None
        self._lenient = False
        self._unreadable = False

    def head(self, response: http.Response, request: http.Request, *, has_body: bool) -> None:
        """Cover what *response* quotes, and let it say of its body what it is from here on."""
        if response.status_code == 101 and not (_is_websocket(request) and _is_websocket(response)):
            raise UnaskedProtocol("it switches protocols, which was not asked for")
        cover = self._keys.cover()
        response.data.reason = cover.scrub(response.data.reason)
        response.headers.fields = cover.fields(response.headers.fields)
        if response.status_code == 101:  # it was not offered one
            response.headers.pop("sec-websocket-extensions", None)
        self._lenient = response.status_code >= 400
        value = _codings_of(response.headers)
        if value and has_body:
            self.packed = True
            _announce_plain(response.headers)
            with self._leniently():
                self._decoder = Decoder(value, free=_FREE_OF_AN_ERROR if self._lenient else _FREE, ratio=_RATIO)

    def plain(self, data: bytes) -> bytes:
        """Return what may go on with *data* of an answer that is not packed."""
        return self._covered.feed(data)

    def feed(self, data: bytes, *, kept: bool) -> Iterator[bytes]:
        """Yield what may go on with *data* of a packed answer, in small pieces. *kept*: they are kept to the end."""
        if self._decoder is None or self._unreadable:
            return
        with self._leniently():
            for piece in self._decoder.feed(data):
                if kept and self._decoder.decoded > self._limit:
                    raise TooLarge(f"the answer decodes to more than {self._limit} bytes")
                yield self._covered.feed(piece)

    def rest(self) -> bytes:
        """Return what was kept back, at the end."""
        if self._decoder is not None and not self._unreadable:
            with self._leniently():
                self._decoder.end()
        return self._covered.rest()

    def trailers(self, trailers: http.Headers) -> None:
        """Cover what *trailers* quote."""
        trailers.fields = self._keys.cover().fields(trailers.fields)

    def bytes(self, data: bytes) -> bytes:
        """Return *data*, all of it, with every key covered."""
        return self._keys.scrub(data)

    def text(self, text: str) -> str:
        """Return *text*, in which an upstream may be quoted, with every key covered."""
        return self._keys.scrub_text(text)

    @contextmanager
    def _leniently(self) -> Iterator[None]:
        try:
            yield
        except CodingError:
            self._unreadable = True
            if not self._lenient:
                raise


class Unchanged(AnswerFilter):
    """In shadow, nothing is changed."""

    def head(self, response: http.Response, request: http.Request, *, has_body: bool) -> None:
        pass

    def plain(self, data: bytes) -> bytes:
        return data

    def trailers(self, trailers: http.Headers) -> None:
        pass


def _is_websocket(message: http.Message) -> bool:
    return bool(message.headers.get("upgrade", "").lower() == "websocket")


def _codings_of(headers: http.Headers) -> str:
    """Return what is to be taken off a body: its content codings, and those that it is transferred in."""
    if "content-encoding" not in headers and "transfer-encoding" not in headers:
        return ""
    named = (*headers.get_all("content-encoding"), *_transferred(headers))
    return ", ".join(named) if codings(", ".join(named)) else ""


def _transferred(headers: http.Headers) -> list[str]:
    names = ",".join(headers.get_all("transfer-encoding")).split(",")
    return [name for name in names if name.strip().lower() not in _NOT_CODINGS]


def _announce_plain(headers: http.Headers) -> None:
    if _transferred(headers):
        headers["transfer-encoding"] = "chunked"
    for name in ("content-encoding", "content-length"):
        headers.pop(name, None)
