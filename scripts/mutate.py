"""
Whether the unit tests notice small changes of the code: a sample of mutants of each module, and how many are killed.

A mutant is run against the tests that run its line: those of the module's own test file first, then those of its wing,
then other unit tests (all but tests/end_to_end), the quickest first. It is killed when a test fails, or takes far too
long. No test may start a process: one that does is left out. Nothing is written. Survivors that change no behaviour
belong into tests/equivalent_mutants.txt. Exit code 1: with a seed, less than 92 % are killed, or less than 85 % of a
module outside cli/.
"""

from __future__ import annotations

import argparse
import re
import shutil
import signal
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from .mutants import Mutant, mutants, sample
from .mutation_tests import (
    LOAD,
    ROOT,
    Collected,
    Job,
    Recorded,
    fails,
    in_fork,
    in_session,
    packages,
    run_jobs,
    say,
    warm,
)

EQUIVALENT = "tests/equivalent_mutants.txt"
TOTAL, CORE = 92.0, 85.0  # per cent that must be killed: of all, and of each module of the core
STAGES = ("own", "wing", "all")  # the test file of a module, the tests of its wing, all unit tests
FEW = 4  # test files that a first run which loads them anew is kept to: loading all takes longer than most tests

_ENTRY = re.compile(r"addon/(?P<module>\S+\.py)(?::\d+)?: (?P<change>.+)")


@dataclass(slots=True)
class Result:
    """What became of the mutants of one module."""

    module: str
    mutants: list[Mutant]
    equivalent: list[Mutant] = field(default_factory=list)
    survivors: list[Mutant] = field(default_factory=list)

    @property
    def counted(self) -> int:
        return len(self.mutants) - len(self.equivalent)

    @property
    def killed(self) -> int:
        return self.counted - len(self.survivors)


def main() -> int:
    options = _options()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="patchbay-mutate-") as name:
        tree = copied(Path(name).resolve() / "tree")
        try:
            modules = chosen(tree, options.modules)
            equivalents = read_equivalents((tree / EQUIVALENT).read_text(encoding="utf-8"))
        except ValueError as e:
            print(e, file=sys.stderr)
            return 2
        every = {module: mutants(module, read(tree, module)) for module in modules}
        results = {
            seed: [draw(tree, each, every[each], options.count, seed, equivalents) for each in modules]
            for seed in options.seed
        }
        possible = list(
            dict.fromkeys(each for found in results.values() for result in found for each in result.survivors)
        )
        alive = set(kill(tree, possible, options.within, options.jobs, options.budget))
        for entry in unmatched(tree, equivalents):
            print(f"{EQUIVALENT}: like no mutant, or like several: {entry}")
    for seed, found in results.items():
        for result in found:
            result.survivors = [each for each in result.survivors if each in alive]
        print("\n".join(report(found)))
        print(f"seed {seed}, {time.monotonic() - begun:.0f} s")
    return 0 if all(map(holds, results.values())) else 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "modules", nargs="*", metavar="MODULE", help="such as accounts/stated_limits or proxy; all if none"
    )
    parser.add_argument("--seed", type=int, nargs="+", default=[1], help="which mutants are drawn, for each a table")
    parser.add_argument("--count", type=int, default=25, help="mutants of a module at most")
    parser.add_argument("-n", "--jobs", type=int, default=2, help="runs at the same time")
    parser.add_argument("--within", choices=STAGES, default=STAGES[-1], help="the tests that may kill: the last stage")
    parser.add_argument("--budget", type=float, default=5, help="seconds of tests for one mutant")
    return parser.parse_args()


def copied(tree: Path) -> Path:
    """Copy the checkout to *tree*, and return it."""
    left = shutil.ignore_patterns(".git", ".venv", "__pycache__", ".*_cache", ".hypothesis", "*.mitm")
    shutil.copytree(ROOT, tree, ignore=left)
    return tree


def chosen(tree: Path, names: Sequence[str]) -> list[str]:
    """Return the modules that *names* stand for, by their paths below addon/; all without names."""
    every = [path.relative_to(tree / "addon").as_posix() for path in sorted((tree / "addon").rglob("*.py"))]
    found: dict[str, None] = {}
    for name in names or [""]:
        short = name.removeprefix("addon/").removesuffix(".py").rstrip("/")
        fitting = [each for each in every if not short or each == f"{short}.py" or each.startswith(f"{short}/")]
        if not fitting:
            raise ValueError(f"{name}: no module of addon/")
        found |= dict.fromkeys(fitting)
    return list(found)


def read_equivalents(text: str) -> set[tuple[str, str]]:
    """Return module and change of each entry; a ValueError tells of one without a reason above it."""
    entries: set[tuple[str, str]] = set()
    reason = False
    for number, line in enumerate(text.splitlines(), 1):
        if match := _ENTRY.fullmatch(line.strip()):
            if not reason:
                raise ValueError(f"{EQUIVALENT}:{number}: a line above must say why it is equivalent: # …")
            entries.add((match["module"], match["change"]))
        elif line.strip() and not line.startswith("#"):
            raise ValueError(f"{EQUIVALENT}:{number}: not like addon/MODULE.py: before → after")
        reason = line.startswith("#") or (reason and bool(line.strip()))
    return entries


def unmatched(tree: Path, equivalents: Iterable[tuple[str, str]]) -> list[str]:
    """Return the entries that are like no mutant of the code as it is, or like those of several lines."""
    lines: dict[tuple[str, str], set[int]] = defaultdict(set)
    for module in {module for module, _ in equivalents}:
        path = tree / "addon" / module
        for mutant in mutants(module, path.read_text(encoding="utf-8") if path.exists() else ""):
            lines[module, mutant.change].add(mutant.line)
    return [f"addon/{module}: {change}" for module, change in sorted(equivalents) if len(lines[module, change]) != 1]


def read(tree: Path, module: str) -> str:
    """Return the source of *module*."""
    return (tree / "addon" / module).read_text(encoding="utf-8")


def draw(
    tree: Path, module: str, found: list[Mutant], count: int, seed: int, equivalents: set[tuple[str, str]]
) -> Result:
    """Draw the mutants of one module, and set the equivalent ones apart."""
    result = Result(module, sample(found, read(tree, module), count, seed))
    for mutant in result.mutants:
        known = (module, mutant.change) in equivalents
        (result.equivalent if known else result.survivors).append(mutant)
    return result


def kill(tree: Path, possible: Sequence[Mutant], within: str, jobs: int, budget: float) -> list[Mutant]:
    """Return those of *possible* that no test notices, with so many seconds of tests for each."""
    modules = {mutant.module for mutant in possible}
    files = [
        path.relative_to(tree).as_posix()
        for path in sorted((tree / "tests").rglob("test_*.py"))
        if "end_to_end" not in path.parts
    ]
    nearest = {file: min((distance(file, module) for module in modules), default=3) for file in files}
    wanted = [file for file in files if nearest[file] <= STAGES.index(within)]
    if not wanted:
        return list(possible)
    do = partial(_first_run, possible, budget)
    alive, unsure, found = in_fork(partial(in_session, tree, wanted, jobs, do))
    warm(found)
    survived = _loaded_anew(tree, possible, unsure, jobs)
    return [possible[number] for number in sorted({*alive, *survived})]


def _first_run(
    possible: Sequence[Mutant], budget: float, tests: Collected
) -> tuple[list[int], dict[int, dict[str, float]], list[str]]:
    """Run the tests with each mutant put into the loaded modules: (survivors, those to run once more, packages)."""
    tests.record()
    chosen: dict[int, list[str]] = {}

    def queued() -> Iterator[Job[int]]:
        for number, mutant in enumerate(possible):
            chosen[number] = in_budget(
                noticing(mutant, tests.recorded), tests.recorded.work, possible[number].module, budget
            )
            yield tests.job(number, mutant, chosen[number])

    alive, unsure = list[int](), dict[int, dict[str, float]]()
    for done, (number, result) in enumerate(run_jobs(queued(), tests.jobs), 1):
        say(f"mutants: {done} of {len(possible)}")
        failed, whole = result or ("it takes too long", True)
        if not whole or at_import(possible[number], tests.recorded):
            first = [failed] if failed in tests.recorded.work else []
            unsure[number] = {test: tests.allowed(test) for test in [*first, *chosen[number]]}
        elif not failed:
            alive.append(number)
    return alive, unsure, packages()


def _loaded_anew(tree: Path, possible: Sequence[Mutant], unsure: dict[int, dict[str, float]], jobs: int) -> set[int]:
    """Return those mutants, by their numbers, that survive with all modules loaded anew."""
    alive = set(unsure)
    for most in (1, FEW, None):
        queued = []
        for number in sorted(alive):
            files = list(dict.fromkeys(_file(test) for test in unsure[number]))[:most]
            tests = {test: seconds for test, seconds in unsure[number].items() if _file(test) in files}
            do = partial(fails, tree, possible[number].module, possible[number].source, tests)
            queued += [Job(number, do, LOAD + sum(tests.values()))] if tests else []
        for done, (number, failed) in enumerate(run_jobs(queued, jobs), 1):
            say(f"mutants loaded anew: {done} of {len(queued)}")
            if failed is None or failed:
                alive.discard(number)
    return alive


def distance(file: str, module: str) -> int:
    """Return how far a test file is from a module, as an index of STAGES."""
    *wing, name = module.removesuffix(".py").split("/")
    if file == "/".join(["tests", *wing, f"test_{name}.py"]):
        return 0
    near = file.startswith(f"tests/{wing[0]}/") if wing else file.count("/") == 1
    return 1 if near else 2


def at_import(mutant: Mutant, recorded: Recorded) -> bool:
    """Return whether an import runs the statement that changes."""
    return bool(recorded.shared.get(mutant.module, 0) & _mask(mutant))


def noticing(mutant: Mutant, recorded: Recorded) -> list[str]:
    """Return the tests that may notice *mutant*: those that run its statement, the nearest and quickest first."""
    mask = _mask(mutant)
    lines = recorded.lines.get(mutant.module, {})
    ranked: list[tuple[int, int, float, str]] = []
    for test in recorded.work if at_import(mutant, recorded) else lines:
        run = lines.get(test, 0)
        if run & mask or at_import(mutant, recorded):
            rank = 0 if run & mask else 1 if run else 2
            ranked.append((rank, distance(_file(test), mutant.module), recorded.work[test], test))
    return [test for *_, test in sorted(ranked)]


def _mask(mutant: Mutant) -> int:
    first, last = mutant.statement
    return (1 << last + 1) - (1 << first)


def in_budget(tests: Sequence[str], work: dict[str, float], module: str, budget: float) -> list[str]:
    """Return those of *tests* that are of the module's own file, and the first others that take *budget* together."""
    kept = []
    for test in tests:
        if distance(_file(test), module) == 0 or (budget := budget - work[test]) >= 0:
            kept.append(test)
    return kept


def _file(test: str) -> str:
    return test.split("::")[0]


def report(results: Sequence[Result]) -> Iterator[str]:
    """Yield a line for each survivor, and a table of the modules."""
    for result in results:
        yield from survivors(result)
    yield f"\n{'module':40} mutants  killed  equivalent  survived    rate"
    total = Result("all", [], [], [])
    for result in results:
        total.mutants += result.mutants
        total.equivalent += result.equivalent
        total.survivors += result.survivors
        yield _row(result) + ("" if _is_enough(result) else f"  below {CORE:.0f} %")
    yield _row(total) + ("" if rate(total) >= TOTAL else f"  below {TOTAL:.0f} %")


def survivors(result: Result) -> Iterator[str]:
    """Yield a line for each mutant that no test noticed."""
    for mutant in result.survivors:
        yield f"addon/{mutant.module}:{mutant.line}: {mutant.change}"


def _row(result: Result) -> str:
    numbers = f"{len(result.mutants):7} {result.killed:7} {len(result.equivalent):11} {len(result.survivors):9}"
    return f"{result.module:40} {numbers} {rate(result):6.1f}%"


def rate(result: Result) -> float:
    """Return the per cent that were killed of those that change behaviour."""
    return 100 * result.killed / result.counted if result.counted else 100.0


def holds(results: Sequence[Result]) -> bool:
    """Return whether enough was killed, of all and of each module of the core."""
    counted = sum(each.counted for each in results)
    killed = sum(each.killed for each in results)
    return 100 * killed >= TOTAL * counted and all(map(_is_enough, results))


def _is_enough(result: Result) -> bool:
    return rate(result) >= CORE or result.module.startswith("cli/") or result.module == "main.py"


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
