"""
Which client was given a stored resource: a response, a file, a batch, a conversation. No other client may use it.

Providers keep resources for an account, and clients share accounts. An unknown id is allowed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from urllib.parse import unquote

from .. import form_data
from ..dialects import spelling
from ..ledger import Entry, Ledger
from ..media_types import FORM
from ..values.answer import Fact
from ..values.http import Request
from . import references
from .seeds import Seeds

KIND = "held"
_MAX_ID = 512  # characters
_BEHIND = re.compile(r"[?#;]")  # the end of a name
_MAX_NODES = 20_000  # of one member
_HELD = frozenset({"file", "batch", "conversation", "container", "cache", "item"})  # where a token must stand
_NAMED = frozenset({"reference", "file", "container", "cache"})
_CLIENT_TEXT = frozenset(
    {"messages", "input", "contents", "content", "system", "instructions", "metadata", "prompt", "tools", "text"}
)
_ITEMS = frozenset({"messages", "input", "contents", "tools"})
_IS_REFERENCE = re.compile(r"id|(?!.*call_?id$|tool_use_id$).*(?:_id|Id)").fullmatch
# Members with content: the id of an item that has one is a label.
_SAYS = frozenset(
    {"content", "text", "output", "summary", "arguments", "encrypted_content", "name", "input", "result", "code"}
)
_BRIEF = ("content", "system", "instructions")  # members with content beside a history, or alone


class ClientResources:
    """Ids in the ledger by keyed digest, each with the scope of the client that was given it."""

    def __init__(self, seeds: Seeds, ledger: Ledger) -> None:
        self._seeds = seeds
        self._ledger = ledger

    def note(self, request: Request, fact: Fact, now: float, ttl: float) -> None:
        """Remember that the client of *request* was given the resource that *fact* names, if it names one."""
        stored = fact.kind == "id" or (fact.kind == "token" and fact.where in _HELD)
        if not (stored and request.client.key and isinstance(fact.value, str) and 0 < len(fact.value) <= _MAX_ID):
            return
        if _is_in_path(request.path, fact.value):  # the client knew it, and need not have made it
            return
        seed, holder = self._seed(fact.value), request.client.scope.hex()
        before = self._ledger.find(KIND, seed, now)
        if before and before.affinity != holder:
            holder = ""  # a server that gives all clients the same id
        self._ledger.note(KIND, seed, Entry("", affinity=holder, at=now), now, ttl)

    def foreign_id(self, request: Request, now: float) -> str:
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
    return last in path and any(reference.value in (value, _short(value)) for reference in references.of_path(path))


def _short(name: str) -> str:
    """Return the last two parts of a name such as `projects/p/locations/l/cachedContents/1:verb`, without the verb."""
    if "/" not in name:
        return name
    plain = _BEHIND.split(unquote(references.resource_name(name)), maxsplit=1)[0]
    outer, slash, last = "/".join(plain.rstrip("/").rsplit("/", 2)[-2:]).rpartition("/")
    return outer + slash + last.partition(":")[0]


def _named(request: Request) -> Iterator[str]:
    path, _, query = request.path.partition("?")
    if request.endpoint.kind != "generation":
        for read in dict.fromkeys((path, spelling.loosest(path))):
            yield from (reference.value for reference in references.of_path(read))
    if query:
        yield from _values(form_data.urlencoded(query))
    yield from (reference.value for reference in references.owning(request) if reference.place in _NAMED)
    yield from _fields(request)
    for name in request.body.names():
        value = request.body.get(name)
        if name in _ITEMS and isinstance(value, list):
            yield from _references(value)
        if name not in _CLIENT_TEXT or (name == "prompt" and isinstance(value, dict)):
            yield from _strings(value)
        elif name in _BRIEF and isinstance(value, list | dict):
            items = value if isinstance(value, list) else [value]
            yield from (reference.value for item in items for reference in _references_in(item))


def _references(items: list[Any]) -> Iterator[str]:
    """Yield the ids of stored resources; an item with content is no reference, ids of calls are the model's own."""
    for node in _bounded_walk(items, lambda node: (value for value in node.values() if isinstance(value, dict | list))):
        for name, value in node.items() if isinstance(node, dict) else ():
            if isinstance(value, str) and _IS_REFERENCE(name) and (name != "id" or _SAYS.isdisjoint(node)):
                yield value


def _fields(request: Request) -> Iterator[str]:
    """Yield the values of a form. A malformed multipart body is searched too: an id is a word between its lines."""
    kind, raw = request.headers.get("content-type").strip().lower(), request.body.raw
    if not raw:
        return
    if kind.startswith("multipart/"):
        yield from form_data.words(raw)
    elif kind.startswith(FORM):
        yield from _values(form_data.urlencoded(raw.decode("utf-8", "replace")))


def _values(fields: tuple[form_data.Field, ...]) -> Iterator[str]:
    for _, value in fields:
        yield value
        if "%" in value:
            yield unquote(value)


def _strings(value: Any) -> Iterator[str]:
    for node in _bounded_walk([value], _beside_content):
        if isinstance(node, str):
            yield node
        for name, inner in node.items() if isinstance(node, dict) else ():
            if name in _CLIENT_TEXT and isinstance(inner, list):
                yield from (reference.value for item in inner for reference in _references_in(item))


def _beside_content(node: dict[str, Any]) -> Iterator[Any]:
    return (value for name, value in node.items() if name not in _CLIENT_TEXT)


def _bounded_walk(values: list[Any], children: Callable[[dict[str, Any]], Iterable[Any]]) -> Iterator[Any]:
    pending = list(reversed(values))
    for _ in range(_MAX_NODES):
        if not pending:
            return
        node = pending.pop()
        yield node
        if isinstance(node, list):
            pending.extend(node)
        elif isinstance(node, dict):
            pending.extend(children(node))


def _references_in(message: Any) -> Iterator[references.Reference]:
    yield from (reference for reference in references.of_message(message, texts=False) if reference.place in _NAMED)
