"""Simulators and proxies for whole test files."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ..simulator import Simulator, simulator_thread
from . import harness, warm

harness.warm = warm.POSSIBLE
KEYS = {f"sk-real-{name}-{'0123456789abcdef' * 2}": name for name in ("one", "two", "three", "four")}


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    """A provider that knows four accounts and gives ids back in head and body."""
    with simulator_thread(KEYS, echo="both") as running:
        yield running
