"""A mutant is put into a module that is loaded, and into those that imported it."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from scripts.mutation_patch import apply, loaded

SOURCE = """
import enum
import re
from dataclasses import dataclass, field
from functools import lru_cache


class Colour(enum.Enum):
    RED = 1


@dataclass(frozen=True, slots=True)
class Row:
    name: str
    make: object
    colour: Colour = Colour.RED
    most: int = 5


class Plain:
    LIMIT = 7

    @property
    def twice(self):
        return self.LIMIT * 2

    @lru_cache(8)
    def far(self, n):
        return n + 1


def first(): return "first"
def second(): return "second"


LIMIT = 3
DERIVED = LIMIT * 10
NAMES = frozenset({"a", "b"})
PATTERN = re.compile("x+")
ROWS = {"one": Row("one", first), "two": Row("two", second)}
PAIR = (lambda: "left", lambda: "right")


def adder(n=1, *, more=2):
    def add(x):
        return x + n + more
    return add


ADD = adder()


def limit():
    return LIMIT
"""


@pytest.fixture
def modules(tmp_path: Path) -> Iterator[tuple[ModuleType, ModuleType]]:
    """A module, and one of the package that imported from it."""
    yield (
        _load("patchbay.sample", tmp_path / "sample.py", SOURCE),
        _load("patchbay.importer", tmp_path / "importer.py", "from patchbay.sample import *\n"),
    )
    del sys.modules["patchbay.sample"], sys.modules["patchbay.importer"]


def _load(name: str, path: Path, source: str) -> ModuleType:
    path.write_text(source)
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec and spec.loader
    sys.modules[name] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


CHANGES = [
    # what stands there, what the mutant has, an expression that shows it, before and after, whether all was changed
    ('return "first"', 'return "other"', "ROWS['one'].make()", "first", "other", True),
    ("self.LIMIT * 2", "self.LIMIT // 2", "Plain().twice", 14, 3, True),
    ("return n + 1", "return n - 1", "Plain().far(1)", 2, 0, True),
    ("x + n + more", "x + n - more", "ADD(10)", 13, 9, True),
    ("x + n + more", "x + n", "ADD(10)", 13, 13, False),  # other variables than the closure has
    ("x + n + more", "x + n", "adder()(10)", 13, 11, False),
    ('"right"', '"wrong"', "[each() for each in PAIR]", ["left", "right"], ["left", "wrong"], True),
    ("LIMIT = 3", "LIMIT = 4", "(limit(), LIMIT)", (3, 3), (4, 4), False),
    ("LIMIT = 3", "LIMIT = 4", "DERIVED", 30, 40, False),
    ('{"a", "b"}', '{"a"}', "sorted(NAMES)", ["a", "b"], ["a"], False),
    ('"x+"', '"x*"', "PATTERN.pattern", "x+", "x*", False),
    ('"two": Row("two", second)', '"two": Row("two", first)', "ROWS['two'].make()", "second", "first", False),
    ('Row("one", first)', 'Row("one", first, most=6)', "ROWS['one'].most", 5, 6, False),
    ('Row("one", first)', 'Row("one", first, most=6)', "type(ROWS['one']) is Row", True, True, False),
    ('Row("one", first)', 'Row("one", first, most=6)', "ROWS['one'].colour is Colour.RED", True, True, False),
    ("most: int = 5", "most: int = 6", "Row('x', first).most", 5, 6, False),
    ("    LIMIT = 7", "    LIMIT = 8", "Plain.LIMIT", 7, 8, False),
    ("n=1, *", "n=5, *", "adder()(0)", 3, 7, False),
    ("more=2", "more=5", "adder()(0)", 3, 6, False),
    ("PATTERN = re", "pass; re", "'PATTERN' in globals()", True, False, False),
]


@pytest.mark.parametrize(("before", "after", "shown", "old", "new", "whole"), CHANGES)
def test_a_change_is_seen_where_the_code_or_value_is_used(
    before: str, after: str, shown: str, old: object, new: object, whole: bool, modules: tuple[ModuleType, ModuleType]
) -> None:
    module, importer = modules
    assert SOURCE.count(before) == 1 or before == "LIMIT = 3"
    path = str(module.__file__)
    target = loaded({path: SOURCE})[path]
    show = compile(shown, "", "eval")
    assert eval(show, vars(module)) == eval(show, vars(importer)) == old  # noqa: S307
    assert apply(target, SOURCE.replace(before, after, 1)) is whole
    assert eval(show, vars(module)) == new  # noqa: S307
    if "globals" not in shown:
        assert eval(show, vars(importer)) == new  # noqa: S307


def test_what_does_not_change_keeps_its_identity(modules: tuple[ModuleType, ModuleType]) -> None:
    module, _ = modules
    path = str(module.__file__)
    before = {name: value for name, value in vars(module).items() if name.isupper() or name.istitle()}
    apply(loaded({path: SOURCE})[path], SOURCE.replace("LIMIT = 3", "LIMIT = 4", 1))
    changed = {name for name, value in before.items() if vars(module)[name] is not value}
    assert changed == {"LIMIT", "DERIVED"}


def test_a_mutant_that_cannot_be_imported_raises(modules: tuple[ModuleType, ModuleType]) -> None:
    path = str(modules[0].__file__)
    with pytest.raises(NameError):
        apply(loaded({path: SOURCE})[path], SOURCE.replace("LIMIT = 3", "LIMIT = missing", 1))
    assert sys.modules["patchbay.sample"] is modules[0]


def test_a_module_that_is_not_loaded_is_left_out() -> None:
    assert loaded({"/nowhere/else.py": "X = 1"}) == {}
