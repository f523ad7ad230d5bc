"""
Whether the unit tests notice small changes of the code: a sample of mutants of each module, and how many are killed.

A mutant is run against the tests that run its line: those of the module's own test file first, then those of its wing,
then all unit tests (all but tests/end_to_end), the quickest first. It is killed when a test fails, or takes far too
long. No test may start a process: one that does is left out. Nothing is written in the checkout but .mutation/, which
keeps the lines that each test runs until the code or the test changes, and the survivors of the last stage that ended
(survivors.txt). Survivors that change no behaviour belong into tests/equivalent_mutants.txt. Exit code 1: less than
92 % are killed, or less than 85 % of a module outside cli/.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import shutil
import signal
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path

from .mutants import Mutant, mutants, sample
from .mutation_tests import ROOT, Job, Recorded, fails, record, run_jobs, warm

EQUIVALENT = "tests/equivalent_mutants.txt"
TOTAL, CORE = 92.0, 85.0  # per cent that must be killed: of all, and of each module of the core
STAGES = ("own", "wing", "all")  # the test file of a module, the tests of its wing, all unit tests
FILE_SECONDS = 600.0  # one test file may take without a mutant
SLOWER, START = 5.0, 5.0  # a test with a mutant may take so many times as long as without, and so many seconds more
LOAD = 60.0  # seconds to load the tests
FEW = 4  # test files that a first run is kept to: loading all of them takes longer than most tests

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
        results = [drawn(tree, each, options.count, options.seed, equivalents) for each in modules]
        kill(results, Tests(tree, options.jobs), STAGES[: STAGES.index(options.within) + 1], options.budget)
        print("\n".join(report(results)))
        for entry in unmatched(tree, equivalents):
            print(f"{EQUIVALENT}: like no mutant, or like several: {entry}")
    print(f"seed {options.seed}, {time.monotonic() - begun:.0f} s")
    return 0 if holds(results) else 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("modules", nargs="*", metavar="MODULE", help="such as accounts/limits or proxy; all if none")
    parser.add_argument("--seed", type=int, default=1, help="which mutants are drawn")
    parser.add_argument("--count", type=int, default=25, help="mutants of a module at most")
    parser.add_argument("-n", "--jobs", type=int, default=2, help="runs at the same time")
    parser.add_argument("--within", choices=STAGES, default=STAGES[-1], help="the tests that may kill: the last stage")
    parser.add_argument("--budget", type=float, default=20, help="seconds of tests outside its wing for one mutant")
    return parser.parse_args()


def copied(tree: Path) -> Path:
    """Copy the checkout to *tree*, and return it."""
    left = shutil.ignore_patterns(".git", ".venv", ".mutation", "__pycache__", ".*_cache", ".hypothesis", "*.mitm")
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


def drawn(tree: Path, module: str, count: int, seed: int, equivalents: set[tuple[str, str]]) -> Result:
    """Draw the mutants of one module, and set the equivalent ones apart."""
    source = (tree / "addon" / module).read_text(encoding="utf-8")
    result = Result(module, sample(mutants(module, source), source, count, seed))
    for mutant in result.mutants:
        known = (module, mutant.change) in equivalents
        (result.equivalent if known else result.survivors).append(mutant)
    return result


class Tests:
    """The unit tests of a tree and the lines that they run, recorded when they are asked for."""

    def __init__(self, tree: Path, jobs: int, kept: Path = ROOT / ".mutation") -> None:
        self.tree = tree
        self.jobs = jobs
        self.files = [
            path.relative_to(tree).as_posix()
            for path in sorted((tree / "tests").rglob("test_*.py"))
            if "end_to_end" not in path.parts
        ]
        self._recorded: dict[str, Recorded] = {}
        self._kept = kept
        self._code = _digest(
            path
            for part in ("addon", "tests")
            for path in (tree / part).rglob("*.py")
            if not path.name.startswith("test_")
        )

    def recorded(self, files: Sequence[str]) -> dict[str, Recorded]:
        """Return what each of *files* runs."""
        missing = [file for file in files if file not in self._recorded and not self._load(file)]
        jobs = (Job(file, partial(record, self.tree, file), FILE_SECONDS) for file in missing)
        for done, (file, found) in enumerate(run_jobs(jobs, self.jobs), 1):
            _say(f"tests recorded: {done} of {len(missing)} files")
            self._recorded[file] = found or Recorded()  # one that hangs without a mutant is left out
            warm(self._recorded[file].packages)
            self._save(file)
        return {file: self._recorded[file] for file in files}

    def keep_survivors(self, results: Iterable[Result]) -> None:
        """Write the survivors as they are after a stage, so that they can be read while the next one runs."""
        self._kept.mkdir(exist_ok=True)
        lines = [line + "\n" for result in results for line in survivors(result)]
        (self._kept / "survivors.txt").write_text("".join(lines), encoding="utf-8")

    def _path(self, file: str) -> Path:
        return self._kept / f"{file.replace('/', '.')}-{_digest([self.tree / file])}-{self._code}.json"

    def _load(self, file: str) -> bool:
        path = self._path(file)
        if path.exists():
            self._recorded[file] = Recorded(**json.loads(path.read_text()))
            warm(self._recorded[file].packages)
        return path.exists()

    def _save(self, file: str) -> None:
        self._kept.mkdir(exist_ok=True)
        for old in self._kept.glob(f"{file.replace('/', '.')}-*.json"):
            old.unlink(missing_ok=True)
        self._path(file).write_text(json.dumps(asdict(self._recorded[file])))


def kill(results: Sequence[Result], tests: Tests, stages: Sequence[str], budget: float) -> None:
    """Take from the survivors of *results* those that a test notices."""
    tried: dict[int, set[str]] = {}
    for stage in stages:
        files = {result.module: _files(tests.files, result.module, stage) for result in results if result.survivors}
        tests.recorded(list(dict.fromkeys(file for each in files.values() for file in each)))
        for few in (True, False):
            jobs = []
            for result in results:
                for mutant in result.survivors:
                    known = tried.setdefault(id(mutant), set())
                    found = tests.recorded(files[result.module])
                    wanted = [name for name in noticing(mutant, found) if name not in known]
                    wanted = _first(wanted, found, FEW if few else len(found), budget if stage == "all" else 1e9)
                    known |= set(wanted)
                    if wanted:
                        jobs.append(_job(tests, result, mutant, wanted, found))
            for done, ((result, mutant), failed) in enumerate(run_jobs(jobs, tests.jobs), 1):
                _say(f"{stage} tests: {done} of {len(jobs)} mutants")
                if failed is None or failed:
                    result.survivors.remove(mutant)
        tests.keep_survivors(results)


def _job(
    tests: Tests, result: Result, mutant: Mutant, wanted: list[str], found: Mapping[str, Recorded]
) -> Job[tuple[Result, Mutant]]:
    allowed = {test: START + SLOWER * _seconds(found, test) for test in wanted}
    run = partial(fails, tests.tree, mutant.module, mutant.source, allowed)
    return Job((result, mutant), run, LOAD + SLOWER * sum(_seconds(found, test) for test in wanted))


def _files(files: Sequence[str], module: str, stage: str) -> list[str]:
    """Return the test files of a module itself, of its wing, or all."""
    *wing, name = module.removesuffix(".py").split("/")
    if stage == "own":
        return [file for file in files if file == "/".join(["tests", *wing, f"test_{name}.py"])]
    if stage == "wing" and wing:
        return [file for file in files if file.startswith(f"tests/{wing[0]}/")]
    return list(files) if stage == "all" else [file for file in files if file.count("/") == 1]


def noticing(mutant: Mutant, found: Mapping[str, Recorded]) -> list[str]:
    """Return the tests that may notice *mutant*, the likeliest and quickest first."""
    first, last = mutant.statement
    mask = (1 << last + 1) - (1 << first)
    ranked: list[tuple[int, float, str]] = []
    for recorded in found.values():
        shared = bool(recorded.shared.get(mutant.module, 0) & mask)
        for test, seconds in recorded.seconds.items():
            lines = recorded.lines[test].get(mutant.module, 0)
            if lines & mask or shared:
                ranked.append((0 if lines & mask else 1 if lines else 2, seconds, test))
    return [test for _, _, test in sorted(ranked)]


def _first(wanted: Sequence[str], found: Mapping[str, Recorded], most: int, budget: float) -> list[str]:
    """Return those of *wanted* that stand in its *most* first files and take *budget* seconds together."""
    files = list(dict.fromkeys(_file(test) for test in wanted))[:most]
    kept = []
    for test in wanted:
        if _file(test) in files and (budget := budget - _seconds(found, test)) > 0:
            kept.append(test)
    return kept


def _file(test: str) -> str:
    return test.split("::")[0]


def _seconds(found: Mapping[str, Recorded], test: str) -> float:
    return found[_file(test)].seconds[test]


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


def _digest(paths: Iterable[Path]) -> str:
    state = hashlib.blake2b(digest_size=8)
    for path in sorted(paths):
        state.update(hashlib.blake2b(path.read_bytes()).digest())
        state.update(path.name.encode())
    return state.hexdigest()


def _say(text: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
