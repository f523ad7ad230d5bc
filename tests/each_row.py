"""Tests of long tables."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from functools import wraps
from typing import Any

import pytest

_SHOWN = 300  # characters of a row that fails


def each_row(
    names: str | tuple[str, ...], table: Iterable[Any]
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """
    Run a test with each row of *table* as the arguments *names*, and show every row that fails.

    For many quick rows, in place of `pytest.mark.parametrize`: to collect, start and report a test takes longer than
    such a row. Fixtures are made once for all rows.
    """
    single = isinstance(names, str)
    rows = [{names: row} if single else dict(zip(names, row, strict=True)) for row in table]
    if not rows:
        raise ValueError("a table without rows tests nothing")

    def decorate(test: Callable[..., None]) -> Callable[..., None]:
        @wraps(test)
        def with_each(**fixtures: Any) -> None:
            failed: list[BaseException] = []
            for row in rows:
                try:
                    test(**fixtures, **row)
                except (Exception, pytest.fail.Exception) as e:
                    e.add_note(f"row: {row!r}"[:_SHOWN])
                    failed.append(e)
            if failed:
                raise BaseExceptionGroup(f"{len(failed)} of {len(rows)} rows fail", failed)

        signature = inspect.signature(test)
        fixtures = [each for name, each in signature.parameters.items() if name not in rows[0]]
        with_each.__signature__ = signature.replace(parameters=fixtures)  # type: ignore[attr-defined]
        return with_each

    return decorate
