"""The parser of error bodies of any shape: code words, a message, and the objects that may hold hints."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import field

import msgspec

from ..body import Body
from ..frozen import dataclass
from . import quoted_text

_CODE_KEYS = ("type", "code", "status", "reason", "error_code", "error_type", "limit_source", "quotaId", "@type")
_TEXT_KEYS = ("message", "msg", "detail", "error", "error_description", "errors", "faultstring")
_MAX_TEXT = 600  # characters of one message; what matters comes first, quoted input later
_MAX_CODE = 96
_MAX_INNER = 4096  # characters of a message that contains another error
# A gateway puts its provider's error into its own message, as JSON or as Python's repr:
# `AnthropicException - {"type": "error", "error": {"message": "…"}}`. An aggregator has a member for it.
_BEFORE_INNER = re.compile(r"\A(\d{3}: )?\Z|(?:exception|error)\b[^{]*\Z", re.IGNORECASE)
_INNER = re.compile(r"[\"'](message|error)\\*[\"']\s*:\s*\\*(?P<mark>[\"'])(?P<text>(?:\\[^\"']|(?!(?P=mark))[^\\])*)")
_ESCAPE = re.compile(r"\\+u([0-9A-Fa-f]{4})")
_RAW = "raw"
_MAX_PARTS = 24
_MAX_DEPTH = 6
# Members that say when to retry, the most direct first.
TIMES = (
    "retryDelay", "resets_in_seconds", "resets_at", "quotaResetDelay", "quotaResetTimeStamp", "retry_after_ms",
    "retry_after", "retry_after_seconds", "retryAfter", "retryAfterSeconds", "reset_seconds", "reset_at", "resetAt",
    "resetsAt", "reset_in_seconds",
)  # fmt: skip
_HINTS = ("details", "metadata", *TIMES)
# Members whose objects are the provider's own. Others (`input`, `ctx`, `body`, `instance`) repeat the request.
_INSIDE = frozenset({
    "error", "errors", "detail", "details", "fault", "message", "metadata", "violations", "fieldViolations",
    "innererror",
})  # fmt: skip
_PLACES = ("param", "loc", "field")  # these name the faulty place in the request
# How a `loc` begins, and words for no place.
_NO_PLACES = frozenset({"body", "query", "path", "header", "null", "none"})
_ANSWER = frozenset({"object", "choices", "candidates"})  # members of an answer, which may be partial


@dataclass(frozen=True, slots=True)
class ErrorBody:
    """
    A parsed error.

    *codes* and *message* are lower case. *own* is the message with quotations blanked, of equal length. *place*
    is the part of the request that the error names as wrong. *status* is a numeric code of HTTP's range, or 0. *parts*
    are the objects of the error, outermost first. Never log it: a message can quote the request.
    """

    codes: frozenset[str] = frozenset()
    message: str = field(default="", repr=False)
    status: int = 0
    parts: tuple[Mapping[str, object], ...] = field(default=(), repr=False)
    own: str = field(default="", repr=False)
    place: str = field(default="", repr=False)

    def __bool__(self) -> bool:
        return bool(self.codes or self.message or self.parts)


def read(body: Body | None) -> ErrorBody:
    """Parse the error in *body*; empty if there is none."""
    document = _document(body)
    if document is None:
        return _error((), [_plain_text(body)], ())
    parts = tuple(_parts(document))
    return _error(
        (code for part in parts for code in _codes(part)), (text for part in parts for text in _texts(part)), parts
    )


def of_event(code: str, message: str, part: Mapping[str, object] | None = None) -> ErrorBody:
    """Return the error inside a stream that has this *code* and *message*; *part* is its object."""
    parts = tuple(_parts(part)) if part else ()
    codes = {code[:_MAX_CODE].lower()} - {""} | {each for one in parts for each in _codes(one)}
    return _error(codes, [message[:_MAX_TEXT]], parts)


def is_error(body: Body | None) -> bool:
    """Whether the body of a good status is an error and nothing else."""
    document = _document(body)
    return document is not None and bool(document.get("error")) and not _ANSWER & set(document)


def _error(codes: Iterable[str], texts: Iterable[str], parts: tuple[Mapping[str, object], ...]) -> ErrorBody:
    words = frozenset(codes)
    messages = [html.unescape(text).lower() for text in texts]
    message, own = " ".join(messages), " ".join(map(quoted_text.own_words, messages))
    bound = 2 * _MAX_TEXT
    return ErrorBody(words, message[:bound], _status(words), parts, own[:bound], _place(parts))


def _document(body: Body | None) -> Mapping[str, object] | None:
    if body is None or not body.raw:
        return None
    if body.is_object:
        names = (*_CODE_KEYS, *_TEXT_KEYS, *_ANSWER, *_HINTS, *_PLACES, "fault")
        return {name: body.get(name) for name in names if name in body}
    return _first_of_array(body.raw)


def _first_of_array(raw: bytes) -> Mapping[str, object] | None:
    """Return the first element: Gemini answers a stream that is not SSE with an array."""
    if raw.lstrip()[:1] != b"[":
        return None
    try:
        found = msgspec.json.decode(raw)
    except (ValueError, RecursionError):
        return None
    return found[0] if found and isinstance(found[0], dict) else None


def _parts(document: Mapping[str, object]) -> Iterator[Mapping[str, object]]:
    """Walk the objects breadth first, bounded: an error is small, an attack is not."""
    queue: list[tuple[int, object]] = [(0, document)]
    found = 0
    for depth, value in queue:
        if isinstance(value, dict):
            found += 1
            yield value
            inner: list[object] = [each for name, each in value.items() if name in _INSIDE]
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
        for text in value[:_MAX_PARTS] if isinstance(value, list) else (value,):
            if isinstance(text, str):
                yield text[:_MAX_TEXT]
                yield from _inner(text)
    if isinstance(raw := part.get(_RAW), str):
        yield from _inner(raw)


def _inner(text: str) -> Iterator[str]:
    begins = text.find("{", 0, _MAX_INNER)
    if begins < 0 or not _BEFORE_INNER.search(text[max(0, begins - 100) : begins]):
        return
    if found := _INNER.search(text[begins:_MAX_INNER]):
        yield _ESCAPE.sub(lambda one: chr(int(one[1], 16)), found["text"])[:_MAX_TEXT]


def _place(parts: Iterable[Mapping[str, object]]) -> str:
    """Return the first place in the request that *parts* name: `messages[0].role`, `messages.0.role`."""
    for part in parts:
        for key in _PLACES:
            value = part.get(key)
            steps = value[:8] if isinstance(value, list) else [value] if isinstance(value, str) else []
            named = [step[:_MAX_CODE].lower() for step in steps if isinstance(step, str)]
            if place := ".".join(step for step in named if step and step not in _NO_PLACES):
                return place
    return ""


def _status(codes: frozenset[str]) -> int:
    numbers = [int(code) for code in codes if len(code) == 3 and code.isascii() and code.isdigit()]
    return next((number for number in sorted(numbers) if 400 <= number < 600), 0)


def _plain_text(body: Body | None) -> str:
    raw = (body.raw if body else None) or b""
    if len(raw) > 2048 or raw.lstrip()[:1] in (b"<", b"{", b"["):  # the page of a web server
        return ""
    try:
        text = msgspec.json.decode(raw, type=str)  # a message alone, as JSON
    except (ValueError, RecursionError):
        text = raw.decode("utf-8", "replace")
    return text[:_MAX_TEXT]
