"""Examples of every type that an SDK knows: each member of a union once, each text and number of its own."""

from __future__ import annotations

import itertools
import types
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from enum import Enum
from typing import (
    Annotated,
    Any,
    Literal,
    NotRequired,
    Required,
    TypeAliasType,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

from pydantic import BaseModel
from typing_extensions import is_typeddict

BASE64 = "QUJD" * 100
CONTENTS = frozenset({"data", "b64_json", "file_data", "result", "partial_image_b64"})
DEPTH = 9  # levels; a schema that holds itself ends here


class Examples:
    """Makes JSON values of types; *by_alias*: members have their names on the wire."""

    def __init__(self, *, by_alias: bool = False) -> None:
        self._numbers = itertools.count(1001)
        self._by_alias = by_alias

    def of(self, kind: Any, name: str = "", depth: int = 0) -> list[Any]:
        """Return one example of each form that a value of the type *kind* has."""
        kind, origin = _bare(kind), get_origin(_bare(kind))
        if origin in (Union, types.UnionType):
            return [
                each for member in get_args(kind) if member is not type(None) for each in self.of(member, name, depth)
            ]
        if origin is Literal:
            return [get_args(kind)[0]]
        if is_typeddict(kind) or (isinstance(kind, type) and issubclass(kind, BaseModel)):
            return [*self._objects(kind, depth)]
        if origin is not None and isinstance(origin, type) and issubclass(origin, Mapping):
            return [{f"k{next(self._numbers)}": self._one(get_args(kind)[1], name, depth + 1)}]
        if origin is not None and isinstance(origin, type) and issubclass(origin, Iterable):
            entries = self.of(get_args(kind)[0], name, depth + 1) if depth < DEPTH else []
            return [entries] if entries else []
        return self._scalar(kind, name)

    def _one(self, kind: Any, name: str, depth: int) -> Any:
        return next(iter(self.of(kind, name, depth)), None)

    def _objects(self, kind: Any, depth: int) -> Iterator[dict[str, Any]]:
        """Yield objects with all members, until each form of each member was in one of them."""
        if depth >= DEPTH:
            return
        members = {name: self.of(hint, name, depth + 1) for name, hint in self._hints(kind).items()}
        longest = max(map(len, members.values()), default=0) if depth < 3 else 1
        for at in range(max(longest, 1)):
            yield {name: forms[at % len(forms)] for name, forms in members.items() if forms}

    def _hints(self, kind: Any) -> dict[str, Any]:
        if is_typeddict(kind):
            return get_type_hints(kind, include_extras=True)
        fields = kind.model_fields.items()
        return {(field.alias or name) if self._by_alias else name: field.annotation for name, field in fields}

    def _scalar(self, kind: Any, name: str) -> list[Any]:
        number = next(self._numbers)
        if kind is bool:
            return [True]
        if kind is int:
            return [number]
        if kind is float:
            return [number + 0.5]
        if isinstance(kind, type) and issubclass(kind, Enum):
            return [each.value for each in kind][:1]
        if kind is bytes or name in CONTENTS:
            return [BASE64]
        if kind is datetime:
            return [f"2026-01-01T00:00:{number}Z"]
        return [f"words {number} é\n🙂"]


def _bare(kind: Any) -> Any:
    while True:
        if get_origin(kind) in (Annotated, Required, NotRequired) or str(get_origin(kind)).endswith("Required"):
            kind = get_args(kind)[0]
        elif isinstance(kind, TypeAliasType):
            kind = kind.__value__
        else:
            return kind
