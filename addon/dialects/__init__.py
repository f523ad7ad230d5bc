"""The wire protocols that Patchbay reads, one file each. The first of DIALECTS that knows a path has it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Any
from urllib.parse import unquote

from ..values.http import Endpoint
from . import anthropic, gemini, openai_chat, openai_responses, spelling
from .dialect import Dialect
from .openai import NO_DIALECT

DIALECTS: tuple[Dialect, ...] = tuple(file.DIALECT for file in (openai_responses, openai_chat, anthropic, gemini))

BY_NAME: Mapping[str, Dialect] = MappingProxyType({dialect.name: dialect for dialect in DIALECTS})
BY_FAMILY: Mapping[str, Dialect] = MappingProxyType({dialect.family: dialect for dialect in reversed(DIALECTS)})
FAMILIES = tuple(dict.fromkeys(dialect.family for dialect in DIALECTS))
SHAPES = MappingProxyType(
    {name: test for each in DIALECTS for name, test in {each.name: each.has_shape, **each.other_shapes}.items()}
)
HISTORIES = tuple(dict.fromkeys(("messages", *(dialect.history for dialect in DIALECTS))))  # the commonest first
_WORDS = {word.casefold(): word for dialect in DIALECTS for word in dialect.path_words}
_TOOL_PATHS = tuple(prefix for dialect in DIALECTS for prefix in dialect.tool_paths)
_SHORT = 256  # characters of a path whose meaning is cached


def of(name: str) -> Dialect:
    """Return the dialect *name*; for every other name, NO_DIALECT, whose errors have OpenAI's shape."""
    return BY_NAME.get(name, NO_DIALECT)


def of_family(family: str) -> Dialect:
    """Return a dialect of *family*, for what all of them have in common; NO_DIALECT for an unknown family."""
    return BY_FAMILY.get(family, NO_DIALECT)


def is_of_tool(path: str) -> bool:
    """Whether *path* is one by which a vendor's tool asks for its settings and the like, and for no model."""
    return path.startswith(_TOOL_PATHS)


def shape_of(data: dict[str, Any]) -> str:
    """Return the one shape that *data* has: a dialect's name, `embedding`; empty for several or none."""
    found = [name for name, has_shape in SHAPES.items() if has_shape(data)]
    return found[0] if len(found) == 1 else ""


def endpoint(method: str, path: str) -> Endpoint:
    """Return what *path* (without its query), in any spelling (RFC 3986), means; an unknown path has no dialect."""
    return _cached_endpoint(method, path) if len(path) <= _SHORT else _endpoint(method, path)


def _endpoint(method: str, path: str) -> Endpoint:
    read = spelling.plain(path)
    found = (dialect.endpoint(method, read) for dialect in DIALECTS)
    return next((each for each in found if each is not None), Endpoint(suffix=path))


_cached_endpoint = lru_cache(1024)(_endpoint)  # tools request the same few paths again and again


def is_ambiguous(method: str, path: str) -> bool:
    """
    Whether a server that is less strict than RFC 3986 could take *path* (without its query) for another path.

    Such servers decode twice, or before they split at slashes, drop empty segments, parameters and trailing dots, or
    ignore case. A path that cannot be decoded, or climbs once it is, is ambiguous too.
    """
    return _cached_ambiguous(method, path) if len(path) <= _SHORT else _is_ambiguous(method, path)


def _is_ambiguous(method: str, path: str) -> bool:
    try:
        loose = spelling.decoded(path)
    except ValueError:
        return True
    if spelling.climbs(loose):
        return True
    return _meaning(_endpoint(method, path)) != _meaning(_endpoint(method, spelling.simplest(loose, _WORDS)))


_cached_ambiguous = lru_cache(1024)(_is_ambiguous)


def _meaning(found: Endpoint) -> tuple[str, str, str, str]:
    return found.dialect, found.kind, found.model_source, unquote(found.model)


def owning_marks() -> dict[str, tuple[bytes, ...]]:
    """Return the byte marks of account-bound resources, by the member of a request that they may stand in."""
    found: dict[str, dict[bytes, None]] = {}
    for dialect in DIALECTS:
        for member, marks in dialect.owning_marks.items():
            found.setdefault(member, {}).update(dict.fromkeys(marks))
    return {member: tuple(marks) for member, marks in found.items()}
