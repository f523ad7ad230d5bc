"""The names that the breaker of the end-to-end tests replaces: strings, which no tool renames."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest

from .each_row import each_row

BREAKER = Path(__file__).parent / "end_to_end" / "breaker.py"


def _tables() -> dict[str, Any]:
    """Return the breaker's tables without its last lines, which replace what they name."""
    lines = ast.parse(BREAKER.read_text(encoding="utf-8")).body
    imports = [line for line in lines if isinstance(line, ast.ImportFrom)]
    tables = [line for line in lines if isinstance(line, ast.Assign | ast.AnnAssign) and ast.unparse(line)[0] in "PH"]
    found: dict[str, Any] = {}
    exec(compile(ast.Module([*imports, *tables], []), BREAKER, "exec"), found)  # noqa: S102
    return found


TABLES = _tables()


@each_row("point", TABLES["POINTS"])
def test_every_point_exists(point: str) -> None:
    owner, name = TABLES["POINTS"][point]

    assert callable(getattr(owner, name))


@pytest.mark.parametrize("name", TABLES["HOOKS"])
def test_every_hook_exists(name: str) -> None:
    assert callable(getattr(TABLES["hooks"].Patchbay, name))
