"""
Runs unit tests in forks of one process that has collected them: to record which lines each runs, and with mutants.

A mutant is put into the modules that are loaded (mutation_patch.py), so a run costs a fork and its tests. One that was
not noticed and may have changed more than could be put there is run once more, in a fork of a process that has loaded
neither addon nor tests. Tests that start a process cannot see a mutant; they fail here, and are left out like all that
fail without one.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import importlib.machinery
import multiprocessing
import os
import resource
import signal
import sys
import time
import traceback
from collections import defaultdict
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from pathlib import Path
from types import CodeType
from typing import Any

import hypothesis
import pytest

from .mutants import Mutant
from .mutation_patch import Loaded, apply, loaded

ROOT = Path(__file__).parent.parent
TEST = 30.0  # seconds: a test that takes longer is left out, such as one that waits for a process it may not start
PART = 1800.0  # seconds: what a part of the tests has not run by then is left out
PARTS = 8  # that the tests are recorded in
MEMORY = 4 << 30  # bytes of address space for one run: a mutant may allocate without end
SLOWER, START = 5.0, 3.0  # a test with a mutant may take so many times as long as without, and so many seconds more
LOAD = 60.0  # seconds to load the tests
_FORK = multiprocessing.get_context("fork")
_TOOL = sys.monitoring.COVERAGE_ID
_OPTIONS = [
    "-qq",
    "--tb=no",
    "-p",
    "no:cacheprovider",
    "-p",
    "no:xdist",
    "--capture=sys",  # in memory: forks would share the file of fd
    "-W",
    "ignore::pytest.PytestAssertRewriteWarning",
]

# A failing example needs no smaller one: that a test fails is enough.
hypothesis.settings.register_profile(
    "mutation",
    parent=hypothesis.settings.get_profile("ci"),
    phases=(hypothesis.Phase.explicit, hypothesis.Phase.generate),
)


@dataclass(slots=True)
class Recorded:
    """What the tests run. A set of lines is a number: bit *n* stands for line *n*."""

    seconds: dict[str, float] = field(default_factory=dict)  # by test; only those that pass
    work: dict[str, float] = field(default_factory=dict)  # by test: seconds of a processor
    lines: dict[str, dict[str, int]] = field(default_factory=dict)  # by module and test
    shared: dict[str, int] = field(default_factory=dict)  # by module: run by an import

    def add(self, other: Recorded) -> None:
        """Add what another part of the tests runs."""
        self.seconds |= other.seconds
        self.work |= other.work
        for module, tests in other.lines.items():
            self.lines.setdefault(module, {}).update(tests)

    def keep(self, tests: Collection[str]) -> None:
        """Leave out all but *tests*."""
        self.seconds = {test: seconds for test, seconds in self.seconds.items() if test in tests}
        for module, found in self.lines.items():
            self.lines[module] = {test: lines for test, lines in found.items() if test in tests}


@dataclass(frozen=True, slots=True)
class Job[Key]:
    """Something to do in a fork, in so many seconds at most."""

    key: Key
    do: Callable[[], object]
    seconds: float


def run_jobs[Key](jobs: Iterable[Job[Key]], together: int) -> Iterator[tuple[Key, Any]]:
    """Yield the result of each job as it ends: None of one that took too long, or whose process ended without one."""
    waiting = iter(jobs)
    running: dict[Connection, tuple[Job[Key], multiprocessing.process.BaseProcess, float]] = {}
    try:
        while True:
            while len(running) < together and (job := next(waiting, None)):
                ours, theirs = _FORK.Pipe(duplex=False)
                process: multiprocessing.process.BaseProcess = _FORK.Process(target=_answer, args=(theirs, job.do))
                process.start()
                theirs.close()
                running[ours] = (job, process, time.monotonic() + job.seconds)
            if not running:
                return
            soonest = min(deadline for _, _, deadline in running.values())
            ended = wait(list(running), max(0.0, soonest - time.monotonic()))
            late = [each for each, (_, _, deadline) in running.items() if deadline <= time.monotonic()]
            for pipe in {*ended, *late}:
                assert isinstance(pipe, Connection)
                result = _received(pipe) if pipe in ended else None
                job, process, _ = running.pop(pipe)
                _end(process)
                pipe.close()
                yield job.key, result
    finally:
        for _, process, _ in running.values():
            _end(process)


class Collected:
    """The tests of a tree, collected in this process, to be run in forks of it."""

    def __init__(self, session: pytest.Session, tree: Path, jobs: int, shared: dict[str, int]) -> None:
        self._tree = tree
        self.jobs = jobs
        self._items = {item.nodeid: item for item in session.items}
        sources = {str(path): path.read_text(encoding="utf-8") for path in sorted((tree / "addon").rglob("*.py"))}
        self._loaded = {Path(path).relative_to(tree / "addon").as_posix(): of for path, of in loaded(sources).items()}
        self.recorded = Recorded(shared=shared)

    def record(self) -> None:
        """Run all tests twice, without a mutant: as they stand for their lines, and quickest first as with mutants."""
        tests = list(self._items)
        jobs = [Job(part, functools.partial(self._lines, part), PART) for part in _parts(tests)]
        for found in self._run(jobs, "recorded"):
            self.recorded.add(found)
        tests = sorted(self.recorded.work, key=self.recorded.work.__getitem__)
        again = [Job(part, functools.partial(self._passing, part), PART) for part in _parts(tests, every=True)]
        self.recorded.keep({test for found in self._run(again, "run again") for test in found})

    def _run(self, jobs: Sequence[Job[Any]], what: str) -> Iterator[Any]:
        for done, (_, result) in enumerate(run_jobs(jobs, self.jobs), 1):
            say(f"tests {what}: {done} of {len(jobs)} parts")
            if result is not None:
                yield result

    def _lines(self, tests: Sequence[str]) -> Recorded:
        recorder = _Recorder(self._tree / "addon")
        self._in_order(tests, recorder, dict.fromkeys(tests, TEST), stop=False)
        return recorder.found

    def _passing(self, tests: Sequence[str]) -> list[str]:
        watched = _Watched()
        signal.signal(signal.SIGALRM, _too_long)
        self._in_order(tests, watched, dict.fromkeys(tests, TEST), stop=False)
        return [test for test in tests if test not in watched.failed]

    def allowed(self, test: str) -> float:
        """Return the seconds that *test* may take with a mutant."""
        return START + SLOWER * self.recorded.seconds[test]

    def job(self, number: int, mutant: Mutant, tests: Sequence[str]) -> Job[int]:
        """Return how to run *tests* in this order with a mutant: (the first that fails, the change was made whole)."""
        allowed = {test: self.allowed(test) for test in tests}
        do = functools.partial(self._fails, mutant, self._loaded.get(mutant.module), allowed)
        return Job(number, do, START + sum(map(self.recorded.seconds.__getitem__, tests)) * SLOWER)

    def _fails(self, mutant: Mutant, target: Loaded | None, tests: Mapping[str, float]) -> tuple[str, bool]:
        if target is None:
            return "", False
        try:
            whole = apply(target, mutant.source)
        except Exception:  # it cannot be imported
            return "import", True
        watched = _Watched()
        if tests:
            self._in_order(list(tests), watched, tests, stop=True)
        return next(iter(watched.failed), ""), whole

    def _in_order(self, tests: Sequence[str], plugin: _Watched, seconds: Mapping[str, float], *, stop: bool) -> None:
        sys.addaudithook(_no_process)
        items = [self._items[test] for test in tests]
        items[0].config.pluginmanager.register(plugin)
        for item, following in zip(items, [*items[1:], None], strict=True):
            plugin.begin(item.nodeid, seconds[item.nodeid])
            try:
                item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
            finally:
                plugin.end(item.nodeid)
            if stop and plugin.failed:
                return


def _parts(tests: Sequence[str], *, every: bool = False) -> list[Sequence[str]]:
    """Return *tests* in parts: of neighbours, or (*every*) of each so manieth."""
    size = -(-len(tests) // PARTS)
    return [part for n in range(PARTS) if (part := tests[n::PARTS] if every else tests[n * size : (n + 1) * size])]


def in_session(tree: Path, files: Sequence[str], jobs: int, do: Callable[[Collected], object]) -> object:
    """Collect the tests in *files* of *tree*, and return what *do* does with them. For a fork: it loads the addon."""
    recorder = _Recorder(tree / "addon")

    class Plugin:
        result: object = None

        @pytest.hookimpl(tryfirst=True)
        def pytest_runtestloop(self, session: pytest.Session) -> bool:
            if session.testsfailed:
                return False
            try:
                self.result = do(Collected(session, tree, jobs, recorder.imported()))
            except Exception:
                self.result = RuntimeError(traceback.format_exc())
            return True

    plugin = Plugin()
    code = _pytest(tree, list(files), plugin)
    if plugin.result is None:
        raise RuntimeError(f"the tests cannot be collected: pytest ends with {code!r}")
    if isinstance(plugin.result, RuntimeError):
        raise plugin.result
    return plugin.result


def in_fork(do: Callable[[], Any]) -> Any:
    """Return the result of *do* in a fork, which may show how far it is and have forks of its own."""
    ours, theirs = _FORK.Pipe(duplex=False)
    process = _FORK.Process(target=_answer_aloud, args=(theirs, do))
    process.start()
    theirs.close()
    try:
        return _received(ours)
    finally:
        process.terminate()
        process.join()


def fails(tree: Path, module: str, source: str, tests: dict[str, float]) -> str:
    """
    Run *tests* of *tree*, in this order, with *source* as *module*; return the first that fails. For a fork.

    All is loaded anew. The fork ends at once when a test takes longer than the seconds it is given.
    """
    _import_as(tree / "addon" / module, source)
    sys.addaudithook(_no_process)
    chosen = _Chosen(tests)
    files = list(dict.fromkeys(test.split("::")[0] for test in tests))
    code = _pytest(tree, ["-x", *files], chosen)
    if code in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
        return ""
    return next(iter(chosen.failed), "collection")


def packages() -> list[str]:
    """Return the modules of other packages that are loaded."""
    every = list(sys.modules.items())
    return [name for name, module in every if "site-packages" in (getattr(module, "__file__", "") or "")]


def warm(packages: Iterable[str]) -> None:
    """Import what the forks would import, each by itself."""
    for name in packages:
        if name not in sys.modules:
            with contextlib.suppress(Exception):
                importlib.import_module(name)


class _Watched:
    """Gives each test its time, and keeps which of them fail."""

    def __init__(self) -> None:
        self.failed: dict[str, None] = {}

    def begin(self, test: str, seconds: float) -> None:
        signal.setitimer(signal.ITIMER_REAL, seconds)

    def end(self, test: str) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self.failed[report.nodeid] = None


class _Chosen(_Watched):
    """Runs some tests only, in the order in which they are named."""

    def __init__(self, tests: dict[str, float]) -> None:
        super().__init__()
        self._seconds = tests
        self._order = {test: index for index, test in enumerate(tests)}

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        found = [item for item in items if item.nodeid in self._order]
        items[:] = sorted(found, key=lambda item: self._order[item.nodeid])

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        self.begin(item.nodeid, self._seconds[item.nodeid])
        try:
            return (yield)
        finally:
            self.end(item.nodeid)


class _Recorder(_Watched):
    """
    Notes which lines of the addon an import or each test runs.

    What a fixture of several tests runs counts for the first of them, and for each one in its file.
    """

    def __init__(self, addon: Path) -> None:
        super().__init__()
        self.found = Recorded()
        self._addon = f"{addon}{os.sep}"
        self._lines: dict[str, int] = defaultdict(int)
        self._file, self._of_file = "", dict[str, int]()
        self._begun = 0.0, 0.0
        monitoring = sys.monitoring
        monitoring.use_tool_id(_TOOL, "mutate")
        monitoring.register_callback(_TOOL, monitoring.events.LINE, self._line)
        monitoring.set_events(_TOOL, monitoring.events.LINE)

    def imported(self) -> dict[str, int]:
        """Return the lines so far, and end."""
        sys.monitoring.set_events(_TOOL, 0)
        sys.monitoring.free_tool_id(_TOOL)
        return dict(self._lines)

    def begin(self, test: str, seconds: float) -> None:
        _clear_caches()
        if (file := test.split("::")[0]) != self._file:
            self._file, self._of_file = file, {}
        self._lines = defaultdict(int)
        sys.monitoring.restart_events()
        self._begun = time.perf_counter(), time.process_time()
        signal.signal(signal.SIGALRM, _too_long)
        signal.setitimer(signal.ITIMER_REAL, seconds, 1)  # its end may wait again

    def end(self, test: str) -> None:
        super().end(test)
        if test in self.failed:
            return
        self.found.seconds[test] = time.perf_counter() - self._begun[0]
        self.found.work[test] = time.process_time() - self._begun[1]
        for module in self._lines.keys() | self._of_file.keys():
            lines = self._lines.get(module, 0) | self._of_file.get(module, 0)
            self.found.lines.setdefault(module, {})[test] = lines

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef: pytest.FixtureDef[object]) -> Generator[None, object, object]:
        if fixturedef.scope == "function":
            return (yield)
        before, self._lines = self._lines, defaultdict(int)
        sys.monitoring.restart_events()
        try:
            return (yield)
        finally:
            for module, lines in self._lines.items():
                self._of_file[module] = self._of_file.get(module, 0) | lines
            self._lines = before
            sys.monitoring.restart_events()

    def _line(self, code: CodeType, line: int) -> object:
        if code.co_filename.startswith(self._addon):
            self._lines[code.co_filename[len(self._addon) :]] |= 1 << line
        return sys.monitoring.DISABLE  # until the next test


def say(text: str) -> None:
    """Show how far it is, on a terminal."""
    if (terminal := sys.__stderr__) and terminal.isatty():
        print(f"\r\033[K{text}", end="", file=terminal, flush=True)


def _too_long(*_: object) -> None:
    raise TimeoutError("the test takes too long")


def _clear_caches() -> None:
    """Empty the caches of functions: a line behind one is run by the first test only."""
    for name, module in list(sys.modules.items()):
        if name.split(".")[0] == "patchbay":
            for value in vars(module).values():
                if isinstance(value, functools._lru_cache_wrapper):
                    value.cache_clear()


def _import_as(path: Path, source: str) -> None:
    """Let imports find *source* in *path*."""
    code = compile(source, str(path), "exec", dont_inherit=True)
    loaded = importlib.machinery.SourceFileLoader.get_code

    def get_code(loader: importlib.machinery.SourceFileLoader, name: str) -> CodeType | None:
        return code if Path(loader.path) == path else loaded(loader, name)

    importlib.machinery.SourceFileLoader.get_code = get_code  # type: ignore[assignment, method-assign]


def _pytest(tree: Path, arguments: list[str], plugin: object) -> int:
    os.chdir(tree)
    others = [each for each in sys.path if each and ("site-packages" in each or not each.startswith(str(ROOT)))]
    sys.path[:] = [str(tree), *others]
    sys.modules.pop("scripts", None)  # the copy has its own
    return pytest.main([*_OPTIONS, "--hypothesis-profile=mutation", *arguments], plugins=[plugin])


def _no_process(event: str, _: object) -> None:
    if event in ("subprocess.Popen", "os.fork", "os.forkpty", "os.posix_spawn", "os.system"):
        raise PermissionError("no process is started here")


def _answer(pipe: Connection, do: Callable[[], object]) -> None:
    os.setsid()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM):
        signal.signal(number, signal.SIG_DFL)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    _silence(0, 1, 2)
    _send(pipe, do)


def _answer_aloud(pipe: Connection, do: Callable[[], object]) -> None:
    _silence(1)
    _send(pipe, do)


def _silence(*files: int) -> None:
    silent = os.open(os.devnull, os.O_RDWR)
    for each in files:
        os.dup2(silent, each)


def _send(pipe: Connection, do: Callable[[], object]) -> None:
    try:
        pipe.send(do())
    except Exception:
        pipe.send(RuntimeError(traceback.format_exc()))
    os._exit(0)  # threads that a test left behind do not hold it up


def _received(pipe: Connection) -> object:
    try:
        result: object = pipe.recv()
    except (EOFError, OSError):
        return None
    if isinstance(result, RuntimeError):
        raise result
    return result


def _end(process: multiprocessing.process.BaseProcess) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid or 0, signal.SIGKILL)
    process.kill()
    process.join()
