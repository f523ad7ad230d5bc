from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator

import pytest

from patchbay.proxy.graceful_shutdown import handle_directly

BURST = 5000  # wake-ups, far more than the socket that wakes a loop has room for


@pytest.fixture(autouse=True)
def _handlers_as_before() -> Iterator[None]:
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


def times_handled(*, direct: int, burst: int, signals: int = 1) -> int:
    """
    How often the handler of a loop is called that gets *signals* while *burst* wake-ups are on their way.

    *direct*: how often `handle_directly` was called; before each further time, the last one is undone.
    """
    handled: list[int] = []

    async def story() -> None:
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, handled.append, 1)
        for number in range(direct):
            undo = handle_directly(loop, signal.SIGTERM)
            if number < direct - 1:
                undo()
        for _ in range(burst):
            loop.call_soon_threadsafe(lambda: None)  # as mitmproxy's log handler does for each line
        for _ in range(signals):
            signal.raise_signal(signal.SIGTERM)
        for _ in range(20):
            await asyncio.sleep(0)

    asyncio.run(story())
    return len(handled)


@pytest.mark.parametrize("burst", [0, 1, BURST])
@pytest.mark.parametrize("signals", [1, 2])
@pytest.mark.parametrize("direct", [1, 2, 3], ids=["once", "again", "and again"])  # as when the script is reloaded
def test_a_signal_is_handled_once_however_much_is_logged(direct: int, burst: int, signals: int) -> None:
    assert times_handled(direct=direct, burst=burst, signals=signals) == signals


def test_what_was_direct_is_handled_when_that_is_undone() -> None:
    handled: list[int] = []

    async def story() -> None:
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, handled.append, 1)
        handle_directly(loop, signal.SIGTERM)()
        signal.raise_signal(signal.SIGTERM)
        for _ in range(20):
            await asyncio.sleep(0)

    asyncio.run(story())
    assert handled == [1]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_loop_alone_loses_a_signal_in_a_burst() -> None:
    """Why `handle_directly` is there; when this fails, Python has mended it and `handle_directly` can go."""
    assert times_handled(direct=0, burst=BURST) == 0


def test_the_old_meaning_is_back_when_the_loop_is_closed() -> None:
    times_handled(direct=1, burst=0)
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_a_signal_without_a_handler_is_let_be() -> None:
    async def story() -> None:
        before = signal.getsignal(signal.SIGTERM)
        handle_directly(asyncio.get_running_loop(), signal.SIGTERM)
        assert signal.getsignal(signal.SIGTERM) is before

    asyncio.run(story())


def test_a_handler_that_was_set_since_stays() -> None:
    def another(*_: object) -> None: ...

    async def story() -> None:
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, print)
        undo = handle_directly(loop, signal.SIGTERM)
        signal.signal(signal.SIGTERM, another)
        undo()
        assert signal.getsignal(signal.SIGTERM) is another

    asyncio.run(story())
