"""
Make the folder `addon` importable as the package `patchbay`, as the wheel and the shim do; the option `--fast`.

`--fast` leaves out `end_to_end/`, and skips any other test as soon as it starts a process.
"""

from __future__ import annotations

import gc
import importlib.util
import subprocess
import sys
from collections.abc import Generator, Iterator
from pathlib import Path

import certifi
import pytest

ADDON = Path(__file__).parent.parent / "addon"

if "patchbay" not in sys.modules:
    spec = importlib.util.spec_from_file_location(
        "patchbay", ADDON / "__init__.py", submodule_search_locations=[str(ADDON)]
    )
    assert spec and spec.loader
    sys.modules["patchbay"] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--fast", action="store_true", help="only tests that start no process, in less than a minute")


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


@pytest.fixture
def processes(pytestconfig: pytest.Config) -> None:
    """For tests that start a process in a thread or wait for one: `--fast` skips them before."""
    if pytestconfig.getoption("--fast"):
        pytest.skip("it starts a process")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    left_out = config.getoption("--fast") and collection_path == Path(__file__).parent / "end_to_end"
    return True if left_out else None


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Collect without looking for garbage, which takes a quarter of the time: what is found here stays to the end."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()
