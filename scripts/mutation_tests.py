"""
Runs unit tests in forked processes: with a mutant in place of a module, or to record which lines each test runs.

The process that forks has imported what comes from other packages, so a run costs little more than its tests. It never
imports the addon: each fork does, from a copy of the tree, and a mutant exists only in the memory of its fork. Tests
that start a process cannot see a mutant; they fail here, and are left out like all that fail without one.
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
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from pathlib import Path
from types import CodeType
from typing import Any

import hypothesis
import pytest

ROOT = Path(__file__).parent.parent
TEST = 30.0  # seconds: a test that takes longer is left out, such as one that waits for a process it may not start
RECORD = 240.0  # seconds: what a test file has not run by then is left out
MEMORY = 4 << 30  # bytes of address space for one run: a mutant may allocate without end
_FORK = multiprocessing.get_context("fork")
_TOOL = sys.monitoring.COVERAGE_ID
_OPTIONS = [
    "-qq",
    "--tb=no",
    "-p",
    "no:cacheprovider",
    "-p",
    "no:xdist",
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
    """What one test file runs. A set of lines is a number: bit *n* stands for line *n*."""

    seconds: dict[str, float] = field(default_factory=dict)  # by test; only those that pass
    lines: dict[str, dict[str, int]] = field(default_factory=dict)  # by test and module
    shared: dict[str, int] = field(
        default_factory=dict
    )  # by module: run by an import, or by a fixture of several tests
    failed: int = 0
    packages: list[str] = field(default_factory=list)  # modules of other packages that it imports


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


def record(tree: Path, file: str) -> Recorded:
    """Run one test file of *tree* without a mutant. To be called in a fork."""
    recorder = _Recorder(tree)
    _pytest(tree, [file], recorder)
    return recorder.finished()


def fails(tree: Path, module: str, source: str, tests: dict[str, float]) -> str:
    """
    Run *tests* of *tree*, in this order, with *source* as *module*; return the first that fails. For a fork.

    The fork ends at once when a test takes longer than the seconds it is given.
    """
    _replace(tree / "addon" / module, source)
    chosen = _Chosen(tests)
    files = list(dict.fromkeys(test.split("::")[0] for test in tests))
    code = _pytest(tree, ["-x", *files], chosen)
    if code in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
        return ""
    return chosen.failed or "collection"


def warm(packages: Iterable[str]) -> None:
    """Import what the forks would import, each by itself."""
    for name in packages:
        if name not in sys.modules:
            with contextlib.suppress(Exception):
                importlib.import_module(name)


class _Chosen:
    """Runs some tests only, in the order in which they are named."""

    def __init__(self, tests: dict[str, float]) -> None:
        self.failed = ""
        self._seconds = tests
        self._order = {test: index for index, test in enumerate(tests)}

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        found = [item for item in items if item.nodeid in self._order]
        items[:] = sorted(found, key=lambda item: self._order[item.nodeid])

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        signal.setitimer(signal.ITIMER_REAL, self._seconds[item.nodeid])
        try:
            return (yield)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed and not self.failed:
            self.failed = report.nodeid


class _Recorder:
    """Notes which lines of the addon each test runs."""

    def __init__(self, tree: Path) -> None:
        self._addon = f"{tree / 'addon'}{os.sep}"
        self._found = Recorded()
        self._bad: set[str] = set()
        self._until = time.monotonic() + RECORD
        self._lines: dict[str, int] = defaultdict(int)
        monitoring = sys.monitoring
        monitoring.use_tool_id(_TOOL, "mutate")
        monitoring.register_callback(_TOOL, monitoring.events.LINE, self._line)
        monitoring.set_events(_TOOL, monitoring.events.LINE)

    def finished(self) -> Recorded:
        found = self._found
        for test in self._bad:
            found.seconds.pop(test, None)
            found.lines.pop(test, None)
        found.failed = len(self._bad)
        found.packages = [
            name
            for name, module in list(sys.modules.items())
            if "site-packages" in (getattr(module, "__file__", "") or "")
        ]
        return found

    def pytest_collection_finish(self) -> None:
        self._share()

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef: pytest.FixtureDef[object]) -> Generator[None, object, object]:
        if fixturedef.scope == "function":
            return (yield)
        test, self._lines = self._lines, defaultdict(int)
        sys.monitoring.restart_events()
        try:
            return (yield)
        finally:
            self._share()
            self._lines = test

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        _clear_caches()
        self._lines = defaultdict(int)
        sys.monitoring.restart_events()
        begun = time.perf_counter()
        signal.signal(signal.SIGALRM, _too_long)
        signal.setitimer(signal.ITIMER_REAL, TEST, 1)  # its end may wait again
        try:
            result = yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
        self._found.seconds[item.nodeid] = time.perf_counter() - begun
        self._found.lines[item.nodeid] = dict(self._lines)
        if time.monotonic() > self._until:
            item.session.shouldstop = "enough"
        return result

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self._bad.add(report.nodeid)

    def _share(self) -> None:
        for module, lines in self._lines.items():
            self._found.shared[module] = self._found.shared.get(module, 0) | lines
        self._lines = defaultdict(int)
        sys.monitoring.restart_events()

    def _line(self, code: CodeType, line: int) -> object:
        if code.co_filename.startswith(self._addon):
            self._lines[code.co_filename[len(self._addon) :]] |= 1 << line
        return sys.monitoring.DISABLE  # until the next test


def _too_long(*_: object) -> None:
    raise TimeoutError("the test takes too long")


def _clear_caches() -> None:
    """Empty the caches of functions: a line behind one is run by the first test only."""
    for name, module in list(sys.modules.items()):
        if name.split(".")[0] == "patchbay":
            for value in vars(module).values():
                if isinstance(value, functools._lru_cache_wrapper):
                    value.cache_clear()


def _replace(path: Path, source: str) -> None:
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
    sys.addaudithook(_no_process)
    return pytest.main([*_OPTIONS, "--hypothesis-profile=mutation", *arguments], plugins=[plugin])


def _no_process(event: str, _: object) -> None:
    if event in ("subprocess.Popen", "os.fork", "os.forkpty", "os.posix_spawn", "os.system"):
        raise PermissionError("no process is started here")


def _answer(pipe: Connection, do: Callable[[], object]) -> None:
    os.setsid()
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    silent = os.open(os.devnull, os.O_RDWR)
    for each in (0, 1, 2):
        os.dup2(silent, each)
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
