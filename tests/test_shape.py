"""Bounds of `addon/`: how long a file and a function may be, how long all of it, and that a name means one thing."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from statistics import median, quantiles

ADDON = Path(__file__).parent.parent / "addon"
FILES = sorted(ADDON.rglob("*.py"))
LINES = 46_950
FILE_LINES, FUNCTION_LINES = 600, 50

ROLES = {"logger", "DIALECT", "FAMILY", "TRANSCRIPT"}  # what every module of a kind has
# Modules whose constants are always named with their module, as `header_names.ACCOUNT`.
NAMESPACES = {"values/header_names.py", "proxy/flow_metadata.py", "settings/reader.py"}
PRIVATE = re.compile(r"_[A-Z0-9_]+")


def test_no_name_stands_for_two_things() -> None:
    """A class, a type alias and a public constant; a private constant is read in its module alone."""
    places: dict[str, dict[str, str]] = defaultdict(dict)
    for file, tree in _trees():
        for name, meaning in _named(tree, str(file.relative_to(ADDON))):
            places[name][f"{file.relative_to(ADDON)} {meaning[:40]}"] = meaning

    assert not {name: [*found] for name, found in places.items() if len({*found.values()}) > 1}


def test_files_are_short() -> None:
    assert not {file.name: lines for file in FILES if (lines := _lines(file)) > FILE_LINES}


def test_functions_are_short() -> None:
    functions = {
        f"{file.relative_to(ADDON)}:{node.name}": (node.end_lineno or 0) - node.lineno + 1
        for file, tree in _trees()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }

    assert not {name: lines for name, lines in functions.items() if lines > FUNCTION_LINES}
    assert median(functions.values()) <= 7
    assert quantiles(functions.values(), n=10)[-1] <= 20


def test_the_addon_does_not_grow() -> None:
    assert sum(_lines(file) for file in FILES) <= LINES


def _named(tree: ast.Module, file: str) -> Iterator[tuple[str, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            yield node.name, f"class {file}:{node.lineno}"
    for node in tree.body if file not in NAMESPACES else ():
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value:
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            for target, value in _pairs(targets[0], node.value):
                if isinstance(target, ast.Name) and target.id not in ROLES and not PRIVATE.fullmatch(target.id):
                    yield target.id, ast.unparse(value)


def _pairs(target: ast.expr, value: ast.expr) -> Iterable[tuple[ast.expr, ast.expr]]:
    if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
        return zip(target.elts, value.elts, strict=True)
    return [(target, value)]


def _lines(file: Path) -> int:
    return len(file.read_text(encoding="utf-8").splitlines())


@cache
def _trees() -> list[tuple[Path, ast.Module]]:
    return [(file, ast.parse(file.read_text(encoding="utf-8"))) for file in FILES]
