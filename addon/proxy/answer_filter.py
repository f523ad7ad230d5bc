"""An upstream's answer before router, flow, log and client see it: decoded within bounds, every known key covered."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from mitmproxy import http
from mitmproxy.net.http import validate

from ..content_coding import CodingError, Decoder, TooLarge, codings
from .credentials import Credentials
from .log_redaction import discreet
from .redaction import RedactedStream

_FREE = 2 * 1024 * 1024  # bytes that an answer may decode to, whatever its size
_FREE_OF_AN_ERROR = 256 * 1024  # no more of an error is read
_RATIO = 50  # above that, it may decode to so many times its size
_NOT_CODINGS = ("chunked", "identity", "")


class UnaskedProtocol(CodingError):
    """The upstream switches to a protocol in which keys could not be covered."""


class AnswerFilter:
    """
    One answer: `head`, then `plain` or `feed` for every chunk, then `rest`.

    *limit* bounds the decoded bytes of an encoded answer that is kept whole. `head`, `feed`, `rest` raise CodingError
    for an answer that cannot be decoded; of an error answer (400 and above) the undecodable part is left out instead.
    """

    is_encoded = False  # the answer is encoded: `feed` decodes it

    def __init__(self, keys: Credentials, limit: int) -> None:
        self._keys = keys
        self._limit = limit
        self._covered = RedactedStream(keys.cover)
        self._decoder: Decoder | None = None
        self._lenient = False
        self._unreadable = False

    def head(self, response: http.Response, request: http.Request, *, has_body: bool) -> None:
        """
        Cover the keys in *response*, and let it announce its body as it is from here on.

        Raises CodingError for a head that is ambiguous; mitmproxy checks later, and answers with a page.
        """
        try:
            validate.validate_headers(response)
        except ValueError as e:
            raise CodingError(f"its head cannot be trusted: {discreet(str(e))}") from None
        if response.status_code == 101 and not (_is_websocket(request) and _is_websocket(response)):
            raise UnaskedProtocol("it switches protocols, which was not asked for")
        cover = self._keys.cover()
        response.data.reason = cover.scrub(response.data.reason)
        response.headers.fields = cover.fields(response.headers.fields)
        if response.status_code == 101:  # it was not offered one
            response.headers.pop("sec-websocket-extensions", None)
        self._lenient = response.status_code >= 400
        value = _body_codings(response.headers)
        if value and has_body:
            self.is_encoded = True
            _announce_plain(response.headers)
            with self._leniently():
                self._decoder = Decoder(value, free=_FREE_OF_AN_ERROR if self._lenient else _FREE, ratio=_RATIO)

    def plain(self, data: bytes) -> bytes:
        """Return what passes with *data*, a chunk of an answer that is not encoded."""
        return self._covered.feed(data)

    def feed(self, data: bytes, *, kept: bool) -> Iterator[bytes]:
        """Yield the pieces that pass with *data*, a chunk of an encoded answer. *kept*: the answer is kept whole."""
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
        """Cover the keys in *trailers*."""
        trailers.fields = self._keys.cover().fields(trailers.fields)

    def bytes(self, data: bytes) -> bytes:
        """Return *data*, which is complete, with every key covered."""
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
    """The filter of shadow, which changes nothing."""

    def head(self, response: http.Response, request: http.Request, *, has_body: bool) -> None:
        pass

    def plain(self, data: bytes) -> bytes:
        return data

    def trailers(self, trailers: http.Headers) -> None:
        pass


def _is_websocket(message: http.Message) -> bool:
    return bool(message.headers.get("upgrade", "").lower() == "websocket")


def _body_codings(headers: http.Headers) -> str:
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
