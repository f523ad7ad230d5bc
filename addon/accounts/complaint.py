"""What an error body says, whatever its shape: code words, a message, and the objects in which hints may stand."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import msgspec

from ..body import Body

_CODE_KEYS = ("type", "code", "status", "reason", "error_code", "error_type", "limit_source", "quotaId")
_TEXT_KEYS = ("message", "msg", "detail", "error", "error_description")
_MAX_TEXT = 600  # characters of one message; the words that matter come first, quoted input later
_MAX_CODE = 96
_MAX_PARTS = 24
_MAX_DEPTH = 6
_HINTS = ("details", "metadata", "resets_at", "resets_in_seconds", "retry_after", "reset_seconds", "retryDelay")
_ANSWER = frozenset({"object", "choices", "candidates"})  # members of an answer, which may have failed in part


@dataclass(frozen=True, slots=True)
class Complaint:
    """
    One error, read.

    *codes* and *message* are lower case. *status* is a numeric code of HTTP's range, else 0. *parts* are the objects of
    the error, outermost first. Nothing here may be logged: a message can quote what was sent.
    """

    codes: frozenset[str] = frozenset()
    message: str = field(default="", repr=False)
    status: int = 0
    parts: tuple[Mapping[str, object], ...] = field(default=(), repr=False)

    def __bool__(self) -> bool:
        return bool(self.codes or self.message or self.parts)


def read(body: Body | None) -> Complaint:
    """Read the error in *body*; one without anything in it when there is no body or no error to be found."""
    document = _document(body)
    if document is None:
        return Complaint(message=_plain_text(body))
    parts = tuple(_parts(document))
    codes = frozenset(code for part in parts for code in _codes(part))
    message = " ".join(text for part in parts for text in _texts(part))
    return Complaint(codes, message[: 2 * _MAX_TEXT].lower(), _status(codes), parts)


def spoken(code: str, message: str) -> Complaint:
    """Make a complaint from the *code* and *message* of an error inside a stream."""
    codes = frozenset({code[:_MAX_CODE].lower()} if code else ())
    return Complaint(codes, message[:_MAX_TEXT].lower(), _status(codes))


def is_error(body: Body | None) -> bool:
    """Say whether a body that came with a good status is an error all the same, and nothing else."""
    document = _document(body)
    return document is not None and bool(document.get("error")) and not _ANSWER & set(document)


def _document(body: Body | None) -> Mapping[str, object] | None:
    if body is None or not body.raw:
        return None
    if body.is_object:
        names = (*_CODE_KEYS, *_TEXT_KEYS, *_ANSWER, *_HINTS)
        return {name: body.get(name) for name in names if name in body}
    return _first_of_array(body.raw)


def _first_of_array(raw: bytes) -> Mapping[str, object] | None:
    """Gemini answers a stream that is not SSE with an array; its error is the first element."""
    if raw.lstrip()[:1] != b"[":
        return None
    try:
        found = msgspec.json.decode(raw)
    except (ValueError, RecursionError):
        return None
    return found[0] if found and isinstance(found[0], dict) else None


def _parts(document: Mapping[str, object]) -> Iterator[Mapping[str, object]]:
    """Walk from the outside in, breadth first, and stop early: an error is small, an attack is not."""
    queue: list[tuple[int, object]] = [(0, document)]
    found = 0
    for depth, value in queue:
        if isinstance(value, dict):
            found += 1
            yield value
            inner: list[object] = list(value.values())
        else:
            inner = list(value) if isinstance(value, list) else []
        if depth < _MAX_DEPTH and len(queue) < _MAX_PARTS * 4:
            queue += [(depth + 1, each) for each in inner[:_MAX_PARTS] if isinstance(each, dict | list)]
        if found >= _MAX_PARTS:
            return


def _codes(part: Mapping[str, object]) -> Iterator[str]:
    for key in _CODE_KEYS:
        value = part.get(key)
        if isinstance(value, str | int) and not isinstance(value, bool) and value != "":
            yield str(value)[:_MAX_CODE].lower() if isinstance(value, str) else _number(value)
    if "flagged_input" in part:
        yield "flagged_input"


def _number(value: int) -> str:
    return str(value) if abs(value) < 100_000 else ""  # str() of a huge int can raise


def _texts(part: Mapping[str, object]) -> Iterator[str]:
    for key in _TEXT_KEYS:
        value = part.get(key)
        if isinstance(value, str):
            yield value[:_MAX_TEXT]


def _status(codes: frozenset[str]) -> int:
    numbers = [int(code) for code in codes if len(code) == 3 and code.isascii() and code.isdigit()]
    return next((number for number in sorted(numbers) if 400 <= number < 600), 0)


def _plain_text(body: Body | None) -> str:
    raw = (body.raw if body else None) or b""
    if len(raw) > 2048 or raw.lstrip()[:1] in (b"<", b"{", b"["):  # a page of a web server tells us nothing
        return ""
    return raw.decode("utf-8", "replace")[:_MAX_TEXT].lower()
