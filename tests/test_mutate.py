"""The mutants that scripts/mutate makes, and what it counts."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.mutants import Mutant, mutants, sample, valid
from scripts.mutate import (
    EQUIVALENT,
    Result,
    distance,
    holds,
    in_budget,
    noticing,
    rate,
    read_equivalents,
    unmatched,
)
from scripts.mutation_tests import ROOT, Recorded


def changes(source: str, kind: str) -> list[str]:
    return [mutant.after for mutant in mutants("m.py", source) if mutant.kind == kind and valid(mutant, source)]


@pytest.mark.parametrize(
    ("kind", "source", "expected"),
    [
        ("comparison", "x = a < b", ["x = a <= b", "x = a >= b"]),
        ("comparison", "x = a not in b", ["x = a in b"]),
        ("comparison", "x = a is not b", ["x = a is b"]),
        ("and/or", "x = a and b or c", ["x = ((a and b) and c)", "x = (a or b) or c"]),
        ("operand", "x = a and b", ["x = (b)", "x = (a)"]),
        ("not", "x = not a", ["x = (a)"]),
        ("constant", "x = 0", ["x = 1", "x = (-1)"]),
        ("arithmetic", "x = a + b", ["x = a - b"]),
        ("arithmetic", "x += a", ["x -= a"]),
        ("arithmetic", "x = a + 'text'", []),
        ("if", "if a: b()", ["if True: b()", "if False: b()"]),
        ("if", "if (a := b()): c(a)", ["if (((a := b())) or True): c(a)", "if (((a := b())) and False): c(a)"]),
        ("while", "while a: b()", ["while False: b()"]),
        ("statement", "a.b = c", ["pass"]),
        ("statement", "def f():\n    if a:\n        return b\n    return c", ["pass"]),
        ("filter", "x = [a for a in b if a]", ["x = [a for a in b if True]"]),
        ("entry", "X = {'a': 1, 'b': 2}", ["X = {'b': 2}", "X = {'a': 1}"]),
        ("entry", "X = 'one two'.split()", ["X = ' two'.split()", "X = 'one '.split()"]),
        ("entry", "def f():\n    return a in ('b', 'c')", ["return a in ('c',)", "return a in ('b',)"]),
        ("early return", 'def f():\n    """Text."""\n    return a', ["return None ⏎ return a"]),
        ("arguments", "f(a, b)", ["f(b, a)"]),
        ("arguments", "f(a, 1)", []),
        ("min/max", "x = min(a)", ["x = max(a)"]),
        ("any/all", "x = any(a)", ["x = all(a)"]),
    ],
)
def test_each_kind_of_change_is_made(kind: str, source: str, expected: list[str]) -> None:
    assert sorted(changes(source, kind)) == sorted(expected)


@pytest.mark.parametrize(
    "source",
    [
        '"""Text of 1 and 2."""',
        "import a",
        "logger.warning('%s of %s', a + 1, b)",
        "if TYPE_CHECKING:\n    import a",
        "x: Literal[1, 2]",
        "def f(x: Literal[1, 2]) -> Literal[1, 2]: ...",
        "x = f'{a + 1}'",
        "__all__ = ['a', 'b']",
        "@lru_cache(64)\nclass A:\n    pass",
    ],
)
def test_what_no_test_should_depend_on_stays(source: str) -> None:
    assert mutants("m.py", source) == []


def test_the_text_of_an_exception_stays_and_the_exception_is_dropped() -> None:
    assert [mutant.change for mutant in mutants("m.py", "raise A('text', 1 + 2)")] == ["raise A('text', 1 + 2) → pass"]


def test_a_change_is_told_by_its_line_and_leaves_the_rest_alone() -> None:
    source = "ä = 'ö'\ny = (\n    a\n    <\n    b\n)\n"
    mutant = next(mutant for mutant in mutants("m.py", source) if mutant.kind == "comparison")
    assert (mutant.line, mutant.change, mutant.statement) == (4, "< → <=", (2, 6))
    assert mutant.source == source.replace("<", "<=")


SOURCE = "X = {'a': 1, 'b': 2, 'c': 3}\n\n\ndef f(a, b):\n    if a < b:\n        return min(a, b)\n    return a + b\n"


def test_a_seed_draws_the_same_mutants_and_another_seed_others() -> None:
    drawn = [sample(mutants("m.py", SOURCE), SOURCE, 5, seed) for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert all(len(each) == 5 for each in drawn)


def test_each_statement_is_drawn_from_before_one_is_drawn_from_twice() -> None:
    statements = {mutant.statement for mutant in mutants("m.py", SOURCE)}
    drawn = sample(mutants("m.py", SOURCE), SOURCE, len(statements), 1)
    assert {mutant.statement for mutant in drawn} == statements


def test_drawn_mutants_are_python() -> None:
    for mutant in sample(mutants("m.py", SOURCE), SOURCE, 1000, 1):
        ast.parse(mutant.source)


MUTANT = Mutant("m.py", "constant", 3, "a", "b", "", (3, 4))


def test_tests_that_run_the_statement_are_tried_and_the_quickest_first() -> None:
    lines = {"t.py::slow": 1 << 3, "t.py::quick": 1 << 4, "t.py::other": 1 << 5, "tests/test_m.py::own": 1 << 3}
    work = {"t.py::slow": 2.0, "t.py::quick": 1.0, "t.py::other": 0.1, "tests/test_m.py::own": 3.0}
    tests = noticing(MUTANT, Recorded(work=work, lines={"m.py": lines}))
    assert tests == ["tests/test_m.py::own", "t.py::quick", "t.py::slow"]
    assert in_budget(tests, work, "m.py", 1.5) == ["tests/test_m.py::own", "t.py::quick"]


def test_a_statement_that_an_import_runs_concerns_every_test_and_those_of_the_module_first() -> None:
    recorded = Recorded(
        work={"t.py::a": 1.0, "t.py::b": 2.0}, lines={"m.py": {"t.py::b": 1 << 9}}, shared={"m.py": 1 << 3}
    )
    assert noticing(MUTANT, recorded) == ["t.py::b", "t.py::a"]


@pytest.mark.parametrize(
    ("file", "module", "expected"),
    [
        ("tests/accounts/test_stated_limits.py", "accounts/stated_limits.py", 0),
        ("tests/accounts/test_pool.py", "accounts/stated_limits.py", 1),
        ("tests/store/test_stated_limits.py", "accounts/stated_limits.py", 2),
        ("tests/test_router.py", "router.py", 0),
        ("tests/test_exchange.py", "router.py", 1),
        ("tests/store/test_router.py", "router.py", 2),
        ("tests/crosstalk/detectors/test_ids.py", "crosstalk/detectors/ids.py", 0),
        ("tests/crosstalk/test_each.py", "crosstalk/detectors/ids.py", 1),
    ],
)
def test_the_file_of_its_name_is_the_nearest_to_a_module_and_then_its_wing(
    file: str, module: str, expected: int
) -> None:
    assert distance(file, module) == expected


def test_equivalent_mutants_are_read_with_and_without_the_number_of_the_line() -> None:
    text = "# title\n\n# why\naddon/a/b.py:12: x < y → x <= y\naddon/m.py: a → b\n"
    assert read_equivalents(text) == {("a/b.py", "x < y → x <= y"), ("m.py", "a → b")}


@pytest.mark.parametrize("text", ["addon/m.py: a → b", "# why\n\naddon/m.py: a → b", "# why\nnonsense"])
def test_an_equivalent_mutant_without_a_reason_or_a_form_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match="equivalent_mutants"):
        read_equivalents(text)


def result(killed: int, survivors: int, equivalent: int = 0, module: str = "m.py") -> Result:
    every = [MUTANT] * (killed + survivors + equivalent)
    return Result(module, every, [MUTANT] * equivalent, [MUTANT] * survivors)


def test_equivalent_mutants_are_no_part_of_the_rate() -> None:
    assert rate(result(8, 2, 5)) == 80
    assert rate(result(0, 0, 5)) == 100


def test_the_total_and_each_module_of_the_core_must_be_good_enough() -> None:
    assert holds([result(92, 8)])
    assert not holds([result(91, 9)])
    assert holds([result(1000, 0), result(17, 3)])
    assert not holds([result(1000, 0), result(84, 16)])
    assert holds([result(1000, 0), result(84, 16, module="cli/main.py")])


def test_each_equivalent_mutant_that_is_listed_is_one_of_the_code() -> None:
    listed = read_equivalents((ROOT / EQUIVALENT).read_text(encoding="utf-8"))

    assert len(listed) > 100
    assert unmatched(ROOT, listed) == []


MODULE = '''
"""A module of a small tree."""

LIMIT = 3
DOUBLE = LIMIT * 2


def small(n):
    return n < LIMIT


def unseen(n):
    return n + 1
'''
TESTS = {
    "conftest.py": """
import importlib.util, sys
from pathlib import Path
path = Path(__file__).parent.parent / "addon"
spec = importlib.util.spec_from_file_location("patchbay", path / "__init__.py", submodule_search_locations=[str(path)])
sys.modules["patchbay"] = module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
""",
    "test_sample.py": """
import subprocess, sys
from patchbay.sample import DOUBLE, small, unseen
TWICE = DOUBLE * 2
def test_small(): assert small(2) and not small(3)
def test_twice(): assert TWICE == 12
def test_unseen_too(): assert unseen(1)
def test_process(): assert subprocess.run([sys.executable, "-c", "import time"]).returncode
def test_failing(): assert unseen(1) == 1
""",
}


def test_what_no_test_of_a_tree_notices_survives(tmp_path: Path, processes: None) -> None:
    for name, text in {"addon/__init__.py": "", "addon/sample.py": MODULE}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    for name, text in TESTS.items():
        (tmp_path / "tests").mkdir(exist_ok=True)
        (tmp_path / "tests" / name).write_text(text)
    (tmp_path / "pyproject.toml").write_text((ROOT / "pyproject.toml").read_text())
    (tmp_path / "scripts").symlink_to(ROOT / "scripts")  # a tree has its own
    run = (
        "from pathlib import Path\n"
        "from scripts.mutants import mutants, valid\n"
        "from scripts.mutate import kill\n"
        "source = Path('addon/sample.py').read_text()\n"
        "possible = [each for each in mutants('sample.py', source) if valid(each, source)]\n"
        "found = kill(Path.cwd(), possible, 'all', jobs=2, budget=5)\n"
        "print(len(possible), *(each.change for each in found), sep='\\n')"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", run], cwd=tmp_path, env=environment, capture_output=True, text=True)

    assert done.returncode == 0, done.stderr
    count, *alive = done.stdout.splitlines()
    assert int(count) > 10
    assert [line.partition(" → ")[2] for line in alive] == ["return n + 2", "return n + 0"]
