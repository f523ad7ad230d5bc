"""
`dataclass`, whose `frozen` mypy holds and Python does not, and its `replace`, which asks once what fields there are.

A frozen dataclass of the standard library is made with a call for each field, and a request makes three hundred of
them: 7 % of its processor time. It is compared and hashed alike.
"""

from __future__ import annotations

import dataclasses
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dataclasses import dataclass as dataclass, replace as replace
else:

    def replace(one: Any, /, **changes: Any) -> Any:
        return type(one)(**{name: getattr(one, name) for name in _names(type(one))} | changes)

    @cache
    def _names(kind: type) -> tuple[str, ...]:
        return tuple(field.name for field in dataclasses.fields(kind))

    def dataclass(kind: type | None = None, /, *, frozen: bool = False, eq: bool = True, **options: Any) -> Any:
        return dataclasses.dataclass(kind, eq=eq, unsafe_hash=frozen and eq, **options)
