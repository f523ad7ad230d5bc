"""What an exchange held is given back soon, although it hangs in circles."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Iterator

import pytest

from patchbay.proxy import memory_trim
from patchbay.proxy.memory_trim import LARGE, MemoryTrim


class Circle:
    """Something that holds itself, as a flow does."""

    def __init__(self) -> None:
        self.itself = self


@pytest.fixture(autouse=True)
def _no_other_look(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(memory_trim, "YOUNG", 0.0)
    monkeypatch.setattr(memory_trim, "IDLE", 0.01)
    gc.freeze()  # what other tests left is not looked through with every look
    gc.disable()
    yield
    gc.enable()
    gc.unfreeze()


def is_gone_after(sizes: list[int], *, old: bool = False, busy: int = 0, seconds: float = 0.3) -> bool:
    """Return whether a circle is gone some time after exchanges of *sizes* ended; an *old* one outlived a look."""
    circle = Circle()
    if old:
        gc.collect()
    seen = weakref.ref(circle)
    del circle

    async def run() -> None:
        found = MemoryTrim(lambda: busy)
        for size in sizes:
            found.exchange_ended(size)
        end = asyncio.get_running_loop().time() + seconds
        while seen() is not None and asyncio.get_running_loop().time() < end:
            await asyncio.sleep(0.005)
        found.stop()

    asyncio.run(run())
    return seen() is None


@pytest.mark.parametrize("old", [False, True])
def test_what_large_bodies_hung_in_is_free_soon_after_them(old: bool) -> None:
    """R24: whether it was there for long or not."""
    assert is_gone_after([LARGE], old=old, seconds=30)


def test_many_small_bodies_count_together() -> None:
    """R24: …"""
    assert is_gone_after([LARGE // 8] * 8, seconds=30)


def test_small_bodies_alone_cost_nothing() -> None:
    assert not is_gone_after([LARGE - 1])


def test_old_things_wait_for_a_quiet_moment_but_not_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not is_gone_after([LARGE], old=True, busy=1)
    monkeypatch.setattr(memory_trim, "PATIENCE", 0.02)
    assert is_gone_after([LARGE], old=True, busy=1, seconds=30)
