"""
The wire protocols we read. Each is one file: its paths, how its answers are read, how its errors look.

Registration is the tuple below; the first dialect that knows a path has it.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Protocol
from urllib.parse import unquote

from ..upstream_url import plain as plain_path
from ..values.answer import Fact
from ..values.decision import Refusal
from ..values.http import Endpoint
from . import anthropic, gemini, openai_chat, openai_responses, plain


class Dialect(Protocol):
    """What a dialect module offers. Paths come without their query."""

    NAME: str
    FAMILY: str

    def endpoint(self, method: str, path: str) -> Endpoint | None:
        """Say what *path* means here, or None when this dialect does not know it."""

    def error(self, refusal: Refusal, request_id: str) -> bytes:
        """Return the body of an error answer that a client of this dialect understands."""

    def error_event(self, refusal: Refusal, request_id: str) -> bytes:
        """Return the server-sent event(s) that end a stream of this dialect with an error."""

    def read(self, name: str, data: dict[str, Any]) -> Iterator[Fact]:
        """Yield the facts of one event of a stream (*name* is never empty), or of a whole body (*name* is empty)."""

    TERMINAL: frozenset[str]  # values of `end` facts, one of which ends a complete stream; "finish": so does that fact

    def is_text(self, suffix: str) -> bool:
        """Whether a generation at *suffix* is always answered in this dialect's JSON or events (audio is not)."""

    def holds_answer(self, suffix: str, data: dict[str, Any]) -> bool:
        """Whether *data*, the whole body of a good answer to a generation at *suffix*, answers it."""


DIALECTS: tuple[Dialect, ...] = (openai_responses, openai_chat, anthropic, gemini)
_SHORT = 256  # characters of a path whose meaning is remembered
_ENCODINGS = 4  # how often a path may be encoded, the last of them being none
_DOTS = re.compile(r"\.+")
_CUTS = re.compile(r"[;?#]")  # what some take for the end of a segment, once it is decoded
_BLANK = "\0 \t\r\n\v\f"
_MALFORMED = re.compile(r"%(?![0-9A-Fa-f]{2})")
_VERSION = re.compile(r"v\d+(?:alpha|beta)?\d*|v1internal")
# Every word of a path that some dialect knows, by its lower case.
_SPELLED = {
    word.casefold(): word
    for word in (
        *"chat completions embeddings moderations rerank images generations edits variations audio speech".split(),
        *"transcriptions translations models files batches uploads vector_stores containers fine_tuning".split(),
        *"responses compact input_tokens input_items cancel pause conversations messages complete count_tokens".split(),
        *"skills projects publishers anthropic tunedModels endpoints dynamic cachedContents operations".split(),
        *"fileSearchStores corpora interactions upload openai deployments codex rawPredict streamRawPredict".split(),
        *gemini.VERBS,
    )
}
BY_NAME = MappingProxyType({dialect.NAME: dialect for dialect in DIALECTS})


def endpoint(method: str, path: str) -> Endpoint:
    """
    Say what *path* (without its query) means; a path of no dialect gives an Endpoint without one.

    Two spellings of one path (RFC 3986) mean the same.
    """
    return _known(method, path) if len(path) <= _SHORT else _endpoint(method, path)


def _endpoint(method: str, path: str) -> Endpoint:
    read = plain_path(path)
    for dialect in DIALECTS:
        found = dialect.endpoint(method, read)
        if found is not None:
            return found
    return Endpoint(suffix=path)


_known = lru_cache(1024)(_endpoint)  # tools ask the same few paths again and again


def is_ambiguous(method: str, path: str) -> bool:
    """
    Whether a server that is less strict than RFC 3986 could take *path* (without its query) for another one.

    Such servers decode twice, or before they split at slashes, drop empty segments, parameters and trailing dots, or
    take no notice of case. A path that cannot be decoded at all, or climbs once it is, is ambiguous too.
    """
    return _known_ambiguous(method, path) if len(path) <= _SHORT else _is_ambiguous(method, path)


def _is_ambiguous(method: str, path: str) -> bool:
    try:
        loose = _decoded(path)
    except ValueError:
        return True
    if "." in loose and any(_climbs(segment) for segment in loose.split("/")):
        return True
    loose = "/" + "/".join(filter(None, map(_plainly, loose.partition("?")[0].split("/"))))
    return _meaning(_endpoint(method, path)) != _meaning(_endpoint(method, loose))


_known_ambiguous = lru_cache(1024)(_is_ambiguous)


def _meaning(found: Endpoint) -> tuple[str, str, str, str]:
    return found.dialect, found.kind, found.asks, unquote(found.model)


def _decoded(path: str) -> str:
    """Return *path* decoded as often as it can be. Raises ValueError where there is no end to its encodings."""
    for _ in range(_ENCODINGS):
        if _MALFORMED.search(path):
            raise ValueError("a percent sign that encodes nothing")
        path, before = unquote(path, errors="strict"), path
        if path == before:
            break
    else:
        raise ValueError("encoded too often")
    return unicodedata.normalize("NFKC", path).replace("\\", "/")


def loosest(path: str) -> str:
    """Return *path* (without its query) as the least strict server reads it; where nobody can, as it is."""
    if "%" not in path and ";" not in path and path.isascii():
        return path.rstrip(". ")
    try:
        path = _decoded(path)
    except ValueError:
        return path
    return "/".join(_CUTS.split(segment, maxsplit=1)[0].strip(_BLANK).rstrip(". ") for segment in path.split("/"))


def _climbs(segment: str) -> bool:
    return bool(_DOTS.fullmatch(_CUTS.split(segment, maxsplit=1)[0].strip(_BLANK)))


def _plainly(segment: str) -> str:
    segment = segment.partition(";")[0].strip().rstrip(". ")
    return ":".join(_word(part) for part in segment.split(":"))


def _word(part: str) -> str:
    folded = part.casefold()
    return folded if _VERSION.fullmatch(folded) else _SPELLED.get(folded, part)


def of(name: str) -> Dialect:
    """Return the dialect *name*; for paths of no dialect, the plain one, whose errors are OpenAI's shape."""
    return BY_NAME.get(name, plain)
