"""Facts the dialects share: what a provider minted in an answer, and small readers of JSON that may be anything."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..body import encoded
from ..values.answer import Fact

_LISTED = 100  # entries of a listing that are worth remembering
_RESOURCES = {
    "file": "file", "batch": "batch", "message_batch": "batch", "conversation": "conversation",
    "container": "container", "vector_store": "file",
}  # fmt: skip
_PREFIXES = (("msgbatch_", "batch"), ("file-", "file"), ("file_", "file"), ("conv_", "conversation"))


def token(value: object, where: str) -> Iterator[Fact]:
    """Yield a `token` fact when *value* is a usable id."""
    if isinstance(value, str) and value:
        yield Fact("token", value, where)


def signature(value: object) -> Iterator[Fact]:
    """Yield a `token` fact with a signature or encrypted content: many kilobytes at times, so keep a digest of it."""
    yield from token(value, "signature")


def text(kind: str, data: dict[str, Any], *names: str) -> Iterator[Fact]:
    """Yield *kind* for the first of *names* that holds something in *data*."""
    for name in names:
        value = data.get(name)
        if isinstance(value, str | int | float) and not isinstance(value, bool) and value:
            yield Fact(kind, value, f"body {name}")
            return


def reference(value: object, where: str) -> Iterator[Fact]:
    """Yield the id of a thing that is given as an object or by its id."""
    yield from token(value.get("id") if isinstance(value, dict) else value, where)


def call(where: object, name: object, arguments: object) -> Iterator[Fact]:
    """Yield `called` and `arguments` (JSON text) of a tool call, or a piece; *where* is its place in the answer."""
    if isinstance(name, str) and name:
        yield Fact("called", name, str(where))
    if isinstance(arguments, dict) and arguments:
        arguments = encoded(arguments).decode()
    if isinstance(arguments, str) and arguments:
        yield Fact("arguments", arguments, str(where))


def resource(data: dict[str, Any]) -> Iterator[Fact]:
    """Yield the ids of stored things: a file, a batch, a conversation, a container, or a listing of them."""
    name = data.get("id")
    where = _RESOURCES.get(str(data.get("object") or data.get("type") or ""))
    if not where and isinstance(name, str):
        where = next((kind for prefix, kind in _PREFIXES if name.startswith(prefix)), "")
    if where:
        yield from token(name, where)
    if where == "batch":
        for member in ("output_file_id", "error_file_id"):
            yield from token(data.get(member), "file")
    for entry in dicts(data.get("data"))[:_LISTED]:
        yield from resource(entry)


def dicts(value: object) -> list[dict[str, Any]]:
    """Return the objects of a JSON array, and nothing for anything else."""
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []


def member(data: dict[str, Any], name: str) -> dict[str, Any]:
    """Return the object *name* of *data*, or an empty one."""
    value = data.get(name)
    return value if isinstance(value, dict) else {}


def count(data: dict[str, Any], *names: str) -> int:
    """Return the first of *names* that is a sensible number of tokens, or 0."""
    for name in names:
        value = data.get(name)
        if isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < 1e15:
            return int(value)
    return 0
