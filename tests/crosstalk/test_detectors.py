"""The table of the detectors, and docs/crosstalk.md held to it."""

from __future__ import annotations

import ast
import re
from importlib import import_module
from pathlib import Path

import pytest

from patchbay.crosstalk import detectors
from patchbay.crosstalk.detectors import BY_KIND, DETECTORS, KINDS
from patchbay.crosstalk.host_habits import CONTRACT

from .test_each_detector import CASES

PAGE = (Path(__file__).parents[2] / "docs" / "crosstalk.md").read_text(encoding="utf-8")
ROWS = dict(re.findall(r"^\| `([\w-]+)` \| .* \| ([^|]*) \|$", PAGE, flags=re.MULTILINE))
FAMILIES = [
    import_module(f"{detectors.__name__}.{path.stem}").FAMILY
    for path in sorted(Path(detectors.__file__ or "").parent.glob("*.py"))
    if path.stem not in ("__init__", "finding")
]


def test_the_page_has_a_row_for_each_detector_in_their_order() -> None:
    assert list(ROWS) == list(DETECTORS)


def test_every_name_that_a_finding_can_have_stands_in_the_table() -> None:
    table = PAGE.partition("\n## The detectors\n")[2].partition("\n\n**")[0]
    files = sorted(Path(detectors.__file__ or "").parent.glob("*.py"))
    names = {name for file in files for name in re.findall(r'\bfinding\(\s*"([\w-]+)"', file.read_text("utf-8"))}

    assert names > {"tag", "unknown-tag", "mangled-tag"}
    assert {name for name in names | {*DETECTORS} if f"`{name}`" not in table} == set()


@pytest.mark.parametrize("name", DETECTORS)
def test_a_row_says_what_the_detector_is_worth(name: str) -> None:
    assert re.search(rf"\b{CASES[name].strength}\b", ROWS[name])


def test_the_page_names_each_family() -> None:
    named = re.search(r"different families \(([\w, \n]+)\)", PAGE)

    assert named is not None
    assert sorted(re.split(r",\s+", named[1])) == sorted(FAMILIES)


@pytest.mark.parametrize("name", DETECTORS)
def test_a_detector_looks_at_the_facts_of_its_kinds_only(name: str) -> None:
    detector = DETECTORS[name]

    assert detector.kinds
    assert {kind for kind in KINDS if (name, detector) in BY_KIND[kind]} == detector.kinds


@pytest.mark.parametrize("name", [name for name, detector in DETECTORS.items() if detector.doubts])
def test_detectors_that_one_change_sets_off_each_doubt_the_others(name: str) -> None:
    assert all(name in DETECTORS[other].doubts for other in DETECTORS[name].doubts)


def test_no_other_module_decides_by_the_name_of_a_detector() -> None:
    """What follows from its findings is in its row. Names that are also kinds of facts are not looked for."""
    package = Path(detectors.__file__ or "").parent.parent
    strings = {
        (file.name, node.value.split(" ")[0])
        for file in package.glob("*.py")
        for node in ast.walk(ast.parse(file.read_text("utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }

    assert {(file, word) for file, word in strings if word in DETECTORS.keys() - KINDS} == {
        ("host_habits.py", CONTRACT)
    }
