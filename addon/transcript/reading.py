"""Bytes → `Transcript`, for bodies of any dialect and of none. Never raises: what is not read stands in `other`."""

from __future__ import annotations

from collections.abc import Iterable

from ..values.transcript import Detail, Transcript


def of_request(body: bytes, dialect: str = "", suffix: str = "", content_type: str = "") -> Transcript:
    """
    Return the request *body*, without its content coding, as a transcript.

    *dialect* and *suffix* are those of its `Endpoint`. A `response.create` message of a WebSocket is a request too.
    """
    return Transcript(other=_raw(body))


def of_answer(body: bytes, dialect: str = "", suffix: str = "", content_type: str = "") -> Transcript:
    """Return the answer *body*, without its content coding, as a transcript: one JSON text, or a whole stream."""
    return Transcript(other=_raw(body))


def of_messages(messages: Iterable[bytes], dialect: str = "", suffix: str = "") -> Transcript:
    """Return an answer of which each event is one message of a WebSocket."""
    return Transcript(other=_raw(b"\n".join(messages)))


def _raw(body: bytes) -> tuple[Detail, ...]:
    return (Detail("body", body.decode("utf-8", "replace")),) if body.strip() else ()
