"""
Make the folder `addon` importable as the package `patchbay`, as the wheel and the shim do; the option `--fast`.

`--fast` leaves out `end_to_end/` and the tests that load the official SDKs, skips any other test as soon as it starts a
process, tries fewer examples of each property, and takes a share of the cases of tests marked `slow`.
"""

from __future__ import annotations

import gc
import importlib.util
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any
from zlib import crc32

import certifi
import httpx
import httpx2  # of the SDKs of OpenAI and Anthropic
import hypothesis
import pytest

os.environ["TZ"] = "UTC"  # for times in messages, which are local
time.tzset()
for ignored in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):  # by what a shell starts in the background
    if signal.getsignal(ignored) is signal.SIG_IGN:
        signal.signal(ignored, signal.default_int_handler if ignored == signal.SIGINT else signal.SIG_DFL)
ADDON = Path(__file__).parent.parent / "addon"

if "patchbay" not in sys.modules:
    spec = importlib.util.spec_from_file_location(
        "patchbay", ADDON / "__init__.py", submodule_search_locations=[str(ADDON)]
    )
    assert spec and spec.loader
    sys.modules["patchbay"] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

# What `--fast` leaves out: what starts processes, and what loads the official SDKs, which takes seconds.
NOT_FAST = ("end_to_end", "simulator_tests", "dialects/test_errors_in_sdks.py", "transcript/test_sdk_types.py")
FAST_EXAMPLES = 20  # of each property with `--fast`; the full suite tries 100
hypothesis.settings.register_profile("fast", hypothesis.settings.get_profile("ci"), max_examples=FAST_EXAMPLES)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--fast", action="store_true", help="only tests that start no process, in less than a minute")


@pytest.hookimpl(trylast=True)  # after hypothesis has loaded the profile of pyproject.toml
def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--fast"):
        hypothesis.settings.load_profile("fast")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """
    With `--fast`, keep of the cases of a test marked `slow(every=N)` the first and one in N, and none without N.

    Without, spread the files of `end_to_end/` among the others: each worker begins with a stretch of the whole, and
    tests that wait and tests that compute then run at the same time.
    """
    if not config.getoption("--fast"):
        items[:] = spread(items, lambda item: "end_to_end" in item.path.parts)
        return
    kept, left_out, seen = list[pytest.Item](), list[pytest.Item](), set[str]()
    for item in items:
        slow = item.get_closest_marker("slow")
        test, every = item.nodeid.partition("[")[0], slow.kwargs.get("every", 0) if slow else 1
        stays = every and (test not in seen or crc32(item.nodeid.encode()) % every == 0)
        seen.add(test)
        (kept if stays else left_out).append(item)
    items[:] = kept
    config.hook.pytest_deselected(items=left_out)


def spread(items: Sequence[pytest.Item], waits: Callable[[pytest.Item], bool]) -> list[pytest.Item]:
    """Return *items* file by file, those that wait spread evenly among the others."""
    placed: list[tuple[float, list[pytest.Item]]] = []
    for kind in (True, False):
        chosen = [item for item in items if waits(item) is kind]
        count = 0
        for _, file in groupby(chosen, lambda item: item.path):
            placed.append((count / len(chosen), found := list(file)))
            count += len(found)
    return [item for _, file in sorted(placed, key=lambda each: each[0]) for item in file]


@pytest.fixture(scope="session")
def share(pytestconfig: pytest.Config) -> Callable[[Sequence[object], int], Sequence[object]]:
    """For tests with a loop over a long table: return the table; with `--fast`, one in so many of its entries."""
    return lambda table, every: table[::every] if pytestconfig.getoption("--fast") else table


@pytest.fixture(autouse=True, scope="session")
def _no_process(pytestconfig: pytest.Config) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patched:
        if pytestconfig.getoption("--fast"):
            patched.setattr(subprocess.Popen, "__init__", lambda *_, **__: pytest.skip("it starts a process"))
        yield


@pytest.fixture(autouse=True, scope="session")
def _one_root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A client loads one root certificate: with all that certifi has, each new client takes 30 ms of a processor."""
    end = "-----END CERTIFICATE-----\n"
    file = tmp_path_factory.mktemp("roots") / "one.pem"
    file.write_text(certifi.contents().partition(end)[0] + end)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(certifi, "where", lambda: str(file))
        yield


_opened: list[httpx.Client | httpx2.Client] = []  # by the test that runs


@pytest.fixture(autouse=True, scope="session")
def _clients_are_listed() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patched:
        for kind in (httpx.Client, httpx2.Client):

            def listed(self: httpx.Client | httpx2.Client, *args: Any, init: Any = kind.__init__, **more: Any) -> None:
                init(self, *args, **more)
                _opened.append(self)

            patched.setattr(kind, "__init__", listed)
        yield


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """
    Close the clients that the test made, those inside SDKs included.

    An SDK that is left open closes its client when it is collected, and the garbage collector may come upon the
    client's socket first: an unclosed socket, in the middle of some other test.
    """
    _opened.clear()
    try:
        return (yield)
    finally:
        for client in _opened:
            client.close()
        _opened.clear()


@pytest.fixture
def processes(pytestconfig: pytest.Config) -> None:
    """For tests that start a process in a thread or wait for one: `--fast` skips them before."""
    if pytestconfig.getoption("--fast"):
        pytest.skip("it starts a process")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    folder = Path(__file__).parent
    return True if config.getoption("--fast") and collection_path in [folder / each for each in NOT_FAST] else None


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Collect without looking for garbage, which takes a quarter of the time: what is found here stays to the end."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.fixture
def in_zone(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """A function that lets local time be that of a zone."""

    def set_to(zone: str) -> None:
        monkeypatch.setenv("TZ", zone)
        time.tzset()

    with monkeypatch.context():
        yield set_to
    monkeypatch.undo()
    time.tzset()
