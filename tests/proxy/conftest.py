"""Fixtures of the tests that drive the stream."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from .rig import Clock, patched


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return patched(monkeypatch)


@pytest.fixture
def nothing_fails_inside(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    yield
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


@pytest.fixture(autouse=True)
def _asyncio_logs() -> Iterator[None]:
    """A start that was refused silences asyncio, for the rest of its process: not for the next test."""
    yield
    logging.getLogger("asyncio").disabled = False
