"""
Bodies of what passes as it came: the wire gets their bytes, and the flow holds them without credentials.

A login writes tokens into bodies, a provider quotes the key that it refuses, and a tool may report its own settings.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from functools import partial

from mitmproxy import http
from mitmproxy.net import encoding
from mitmproxy.websocket import WebSocketMessage

from .. import content_coding
from . import message_content
from .passing_credentials import PassingCredentials
from .redaction import MARK

logger = logging.getLogger(__name__)

_LIMIT = 64 * 1024 * 1024  # bytes that a body may decode to
LARGEST_KEPT = 2 * 1024 * 1024  # bytes of an answer that streams through which the flow keeps
_UNREADABLE = MARK + b": a body that cannot be read"


class PassingBodies:
    """The bodies of one exchange: `hide_…` puts on the flow what it may hold, and `…_bytes` are for the wire."""

    __slots__ = ("_answer", "_known", "_message", "_request", "answer_copy")

    def __init__(self, known: PassingCredentials) -> None:
        self._known = known
        self._request: tuple[bytes, bytes] | None = None  # as it came, as it stands
        self._answer: tuple[bytes, bytes] | None = None
        self._message: tuple[bytes, bytes] | None = None
        self.answer_copy: bytearray | None = None  # of an answer that streams through

    def note(self, values: Iterable[bytes]) -> None:
        """Look for *values*, credentials of the client, in bodies from now on."""
        self._known.note(values)

    def hide_request(self, request: http.Request, *, conversation: bool) -> None:
        """Put on *request* the body that its flow may hold."""
        self._request = self._hidden(request, conversation=conversation, asked=True)

    def hide_answer(self, response: http.Response, *, conversation: bool) -> None:
        """Put on *response* the body that its flow may hold."""
        if self.answer_copy is not None:
            response.raw_content = bytes(self.answer_copy)
        self._answer = self._hidden(response, conversation=conversation, asked=False)

    def hide_message(self, message: WebSocketMessage, *, conversation: bool) -> None:
        """Put on *message*, the latest of a WebSocket, the content that its flow may hold."""
        came = message.content
        message.content = self._without(came, conversation=conversation)
        self._message = came, message.content

    def request_bytes(self, data: bytes) -> bytes:
        """Return what goes upstream in place of *data*, the body of the flow: an edited one stays."""
        return _as_it_came(self._request, data)

    def answer_bytes(self, data: bytes) -> bytes:
        """Return what the client gets in place of *data*, the body of the flow: an edited one stays."""
        return _as_it_came(self._answer, data)

    def message_bytes(self, data: bytes) -> bytes:
        """Return what is sent in place of *data*, which the flow holds of the latest message: an edited one stays."""
        return _as_it_came(self._message, data)

    def copy_stream(self, data: bytes) -> bytes:
        """Return *data*, a chunk of the answer, and keep the flow's copy of it."""
        if self.answer_copy is None:
            self.answer_copy = bytearray()
        self.answer_copy += data[: max(0, LARGEST_KEPT - len(self.answer_copy))]
        return data

    def _hidden(self, message: http.Message, *, conversation: bool, asked: bool) -> tuple[bytes, bytes] | None:
        came = message.raw_content
        if not came:
            return None
        try:
            cover = partial(self._known.without, conversation=conversation, asked=asked)
            stands = _encoded(came, message_content.coding_of(message), cover)
        except Exception as e:  # what cannot be read may hold anything
            logger.debug("a body cannot be read, so it is not kept: %s", type(e).__name__)
            stands = _UNREADABLE
        if stands == came:
            return None
        message.raw_content = stands
        return came, stands

    def _without(self, data: bytes, *, conversation: bool) -> bytes:
        try:
            return self._known.without(data, conversation=conversation)
        except Exception as e:
            logger.debug("a message cannot be read, so it is not kept: %s", type(e).__name__)
            return _UNREADABLE


def _encoded(came: bytes, coding: str, cover: Callable[[bytes], bytes]) -> bytes:
    """Return *came*, of a Content-Encoding, after *cover*; itself where nothing was covered."""
    if not coding:
        return cover(came)
    plain = _decoded(came, coding)
    stands = cover(plain)
    return came if stands == plain else bytes(encoding.encode(stands, coding))


def _decoded(data: bytes, coding: str) -> bytes:
    """Return *data* decoded as far as it goes, for it may be cut. Raises CodingError for an unknown coding."""
    decoder, out = content_coding.Decoder(coding), bytearray()
    try:
        for piece in decoder.feed(data):
            out += piece
            if len(out) > _LIMIT:
                break
    except content_coding.CodingError:
        return bytes(out)
    if len(out) > _LIMIT:
        raise content_coding.TooLarge(f"the body is larger than {_LIMIT} bytes")
    return bytes(out)


def _as_it_came(body: tuple[bytes, bytes] | None, data: bytes) -> bytes:
    return body[0] if body is not None and data == body[1] else data
