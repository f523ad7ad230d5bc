"""What an exchange held is given back soon, although it hangs in circles."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

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
    monkeypatch.setattr(memory_trim, "IDLE_CHECK_EVERY", 0.01)
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
    monkeypatch.setattr(memory_trim, "BUSY_LIMIT", 0.02)
    assert is_gone_after([LARGE], old=True, busy=1, seconds=30)


class Clockwork(asyncio.SelectorEventLoop):
    """A loop that notes what is due, and when, in place of waiting for it."""

    def __init__(self) -> None:
        super().__init__()
        self.due: list[tuple[float, Callable[..., object]]] = []

    def call_later(self, delay: float, callback: Any, *args: Any, context: Any = None) -> Any:
        self.due.append((delay, callback))
        return super().call_later(3600, callback)


def test_the_steps_of_a_trim_and_their_times(monkeypatch: pytest.MonkeyPatch) -> None:
    """R24: the young after a second, the old once the proxy is idle, or 30 seconds later."""
    monkeypatch.undo()
    done: list[object] = []
    monkeypatch.setattr(gc, "collect", lambda generation=2: done.append(generation))
    monkeypatch.setattr(memory_trim, "give_back", lambda: done.append("back"))
    busy = 1
    loop = Clockwork()

    async def run() -> None:
        nonlocal busy
        trim = MemoryTrim(lambda: busy)
        for _ in range(2):
            trim.exchange_ended(LARGE)
            trim.exchange_ended(LARGE)
            (seconds, young), *more = loop.due
            assert (seconds, more, done) == (1.0, [], [])
            young()
            assert done == [1]
            for checks in range(1, 7):
                assert [seconds for seconds, _ in loop.due] == [1.0] + [5.0] * checks
                loop.due[-1][1]()
            assert done == [1, 2, "back"] and len(loop.due) == 7
            loop.due.clear()
            done.clear()
        trim.exchange_ended(LARGE - 1)
        assert loop.due == []
        trim.exchange_ended(1)
        loop.due[-1][1]()
        busy = 0
        loop.due[-1][1]()
        assert done == [1, 2, "back"], "an idle proxy does it at the first check"
        trim.exchange_ended(LARGE)
        trim.stop()
        assert trim._timer is not None and trim._timer.cancelled()

    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.run(run())
    MemoryTrim(lambda: 0).stop()


def test_bodies_of_eight_mebibytes_are_large() -> None:
    assert LARGE == 8_388_608


@pytest.mark.parametrize(
    ("platform", "library", "given"), [("linux", True, [0]), ("linux", False, []), ("win32", True, [])]
)
def test_free_memory_is_given_back_where_the_c_library_can(
    monkeypatch: pytest.MonkeyPatch, platform: str, library: bool, given: list[int]
) -> None:
    trimmed: list[int] = []
    loaded = SimpleNamespace(malloc_trim=trimmed.append) if library else SimpleNamespace()
    monkeypatch.setattr(memory_trim, "ctypes", SimpleNamespace(CDLL=lambda name: loaded))
    monkeypatch.setattr(memory_trim, "sys", SimpleNamespace(platform=platform))
    memory_trim.give_back()

    assert trimmed == given
