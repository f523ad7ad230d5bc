"""Connections without a request leave when their time is over, or when there are too many."""

from __future__ import annotations

import asyncio

import pytest

from patchbay.proxy import http1, pending_connections
from patchbay.proxy.pending_connections import PendingConnections


def test_they_have_a_time_and_those_that_ask_keep_theirs(monkeypatch: pytest.MonkeyPatch) -> None:
    """R20: what never asks is closed; what has asked, or left, is let be."""
    monkeypatch.setattr(http1, "HEAD_SECONDS", 0.0)
    closed: list[str] = []

    async def story() -> None:
        of = PendingConnections(closed.append)
        for name in ("silent", "asks", "leaves"):
            of.add(name)
        of.remove("asks")
        of.remove("leaves")
        of.remove("leaves")
        while of:
            await asyncio.sleep(0)

    asyncio.run(story())
    assert closed == ["silent"]


def test_the_oldest_make_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """R20: their count is bounded."""
    monkeypatch.setattr(pending_connections, "MOST", 3)
    closed: list[str] = []

    async def story() -> int:
        of = PendingConnections(closed.append)
        for number in range(10):
            of.add(str(number))
        return len(of)

    assert asyncio.run(story()) == 3
    assert closed == [str(number) for number in range(7)]


def test_a_thousand_connections_may_be_silent_at_a_time() -> None:
    assert pending_connections.MOST == 1000
