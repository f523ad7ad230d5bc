"""The mutants that scripts/mutate makes, and what it counts."""

from __future__ import annotations

import ast

import pytest

from scripts.mutants import Mutant, mutants, sample, valid
from scripts.mutate import EQUIVALENT, Result, holds, noticing, rate, read_equivalents, unmatched
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
    lines = {"t.py::slow": {"m.py": 1 << 3}, "t.py::quick": {"m.py": 1 << 4}, "t.py::other": {"m.py": 1 << 5}}
    recorded = Recorded({"t.py::slow": 2.0, "t.py::quick": 1.0, "t.py::other": 0.1}, lines)
    assert noticing(MUTANT, {"t.py": recorded}) == ["t.py::quick", "t.py::slow"]


def test_a_statement_that_an_import_runs_concerns_every_test_of_the_file() -> None:
    recorded = Recorded({"t.py::a": 1.0}, {"t.py::a": {}}, {"m.py": 1 << 3})
    assert noticing(MUTANT, {"t.py": recorded}) == ["t.py::a"]


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
