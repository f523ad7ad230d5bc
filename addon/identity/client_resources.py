"""
To which client a stored thing was handed: a response, a file, a batch, a conversation. No other client gets at it.

Providers keep such things for an account, and accounts are shared. An id that nobody here was handed says nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote

from .. import form_data
from ..dialects import spelling
from ..ledger import Entry, Ledger
from ..values.answer import Fact
from ..values.http import Request
from . import references
from .seeds import Seeds

KIND = "held"
_MAX_ID = 512  # characters
_BEHIND = re.compile(r"[?#;]")  # the end of a name
_MAX_NODES = 20_000  # of what stands beside a history
_HELD = frozenset({"file", "batch", "conversation", "container", "cache", "item"})  # where a token must stand
_NAMED = frozenset({"reference", "file", "container", "cache"})
_SAID = frozenset(
    {"messages", "input", "contents", "content", "system", "instructions", "metadata", "prompt", "tools", "text"}
)
_ITEMS = frozenset({"messages", "input", "contents", "tools"})
_IS_REFERENCE = re.compile(r"id|(?!.*call_?id$|tool_use_id$).*(?:_id|Id)").fullmatch
# Members in which an item says something by itself, so that its id is a label.
_SAYS = frozenset(
    {"content", "text", "output", "summary", "arguments", "encrypted_content", "name", "input", "result", "code"}
)
_BRIEF = ("content", "system", "instructions")  # what is said beside a history, or alone


class ClientResources:
    """Ids in the ledger by keyed digest, each with the scope of the client that got it."""

    def __init__(self, seeds: Seeds, ledger: Ledger) -> None:
        self._seeds = seeds
        self._ledger = ledger

    def note(self, request: Request, fact: Fact, now: float, ttl: float) -> None:
        """Remember that the client of *request* was handed what *fact* names, if it is a stored thing."""
        stored = fact.kind == "id" or (fact.kind == "token" and fact.where in _HELD)
        if not (stored and request.client.key and isinstance(fact.value, str) and 0 < len(fact.value) <= _MAX_ID):
            return
        if _is_in_path(request.path, fact.value):  # it was known to the client, who need not have made it
            return
        seed, holder = self._seed(fact.value), request.client.scope.hex()
        before = self._ledger.find(KIND, seed, now)
        if before and before.affinity != holder:
            holder = ""  # a server that gives the same id to everybody: it tells nothing
        self._ledger.note(KIND, seed, Entry("", affinity=holder, at=now), now, ttl)

    def foreign(self, request: Request, now: float) -> str:
        """Return an id in *request* that is known to be another client's, or the empty string."""
        if not request.client.key or not self._ledger.holds(KIND):
            return ""
        mine = request.client.scope.hex()
        for named in _named(request):
            if not 0 < len(named) <= _MAX_ID:
                continue
            entry = self._ledger.find(KIND, self._seed(named), now)
            if entry and entry.affinity not in ("", mine):
                return named
        return ""

    def _seed(self, token: str) -> str:
        return self._seeds.derive("held", b"", _short(token.strip()))


def _is_in_path(path: str, value: str) -> bool:
    last = value.rpartition("/")[2]
    return last in path and any(quote.value in (value, _short(value)) for quote in references.of_path(path))


def _short(name: str) -> str:
    """Return the last two parts of a name such as `projects/p/locations/l/cachedContents/1`, without what is done."""
    if "/" not in name:
        return name
    plain = _BEHIND.split(unquote(references.resource_name(name)), maxsplit=1)[0]
    outer, slash, last = "/".join(plain.rstrip("/").rsplit("/", 2)[-2:]).rpartition("/")
    return outer + slash + last.partition(":")[0]


def _named(request: Request) -> Iterator[str]:
    """Yield what *request* may name a stored thing by."""
    path, _, query = request.path.partition("?")
    if request.endpoint.kind != "generation":
        for read in dict.fromkeys((path, spelling.loosest(path))):
            yield from (quote.value for quote in references.of_path(read))
    if query:
        yield from _values(form_data.urlencoded(query))
    yield from (quote.value for quote in references.owning(request) if quote.place in _NAMED)
    yield from _fields(request)
    for name in request.body.names():
        value = request.body.get(name)
        if name in _ITEMS and isinstance(value, list):
            yield from _references(value)
        if name not in _SAID or (name == "prompt" and isinstance(value, dict)):
            yield from _strings(value)
        elif name in _BRIEF and isinstance(value, list | dict):
            yield from (quote.value for item in _listed(value) for quote in _quoted(item))


def _references(items: list[Any]) -> Iterator[str]:
    """
    Yield the ids by which *items* of a history, or tools, refer to what is stored, whatever their type says.

    An item that says something itself is no reference, whatever id it has; ids of calls are the model's own.
    """
    pending, seen = list(reversed(items)), 0
    while pending and seen < _MAX_NODES:
        node = pending.pop()
        seen += 1
        if isinstance(node, list):
            pending.extend(node)
        if not isinstance(node, dict):
            continue
        for name, value in node.items():
            if isinstance(value, dict | list):
                pending.append(value)
            elif isinstance(value, str) and _IS_REFERENCE(name) and (name != "id" or _SAYS.isdisjoint(node)):
                yield value


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _fields(request: Request) -> Iterator[str]:
    """Yield the values of a form, also of one that is not written by the book: an id is one word between its lines."""
    kind, raw = request.headers.get("content-type").strip().lower(), request.body.raw
    if not raw:
        return
    if kind.startswith("multipart/"):
        yield from form_data.words(raw)
    elif kind.startswith("application/x-www-form-urlencoded"):
        yield from _values(form_data.urlencoded(raw.decode("utf-8", "replace")))


def _values(fields: tuple[form_data.Field, ...]) -> Iterator[str]:
    for _, value in fields:
        yield value
        if "%" in value:
            yield unquote(value)


def _strings(value: Any) -> Iterator[str]:
    """Yield the strings of *value*, without what is said in it."""
    pending, seen = [value], 0
    while pending and seen < _MAX_NODES:
        node = pending.pop()
        seen += 1
        if isinstance(node, str):
            yield node
        elif isinstance(node, list):
            pending.extend(node)
        elif isinstance(node, dict):
            for name, inner in node.items():
                if name in _SAID and isinstance(inner, list):
                    yield from (quote.value for item in inner for quote in _quoted(item))
                elif name not in _SAID:
                    pending.append(inner)


def _quoted(message: Any) -> Iterator[references.Reference]:
    yield from (quote for quote in references.of_message(message, texts=False) if quote.place in _NAMED)
