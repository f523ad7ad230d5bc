from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from mitmproxy.test import tflow

from patchbay.proxy import client_connections, graceful_shutdown
from patchbay.proxy.graceful_shutdown import GracefulShutdown, handle_directly

from .addon import in_loop

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


# -- the shutdown -----------------------------------------------------------------------------------------------------


class Host:
    """mitmproxy's master, with its listeners and connections."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.told: list[str] = []
        self.under_way = 0
        self.connections: dict[str, Any] = {}
        self.servers: list[Any] = []
        addons = SimpleNamespace(get={"proxyserver": self}.get)
        loop = asyncio.get_running_loop()
        self.master: Any = SimpleNamespace(addons=addons, event_loop=loop, shutdown=self.theirs)
        for module in (graceful_shutdown, client_connections):
            monkeypatch.setattr(module, "ctx", SimpleNamespace(master=self.master))
        self.direct: list[int] = []
        self.undone: list[int] = []
        monkeypatch.setattr(graceful_shutdown, "handle_directly", self.handle_directly)
        monkeypatch.setattr(graceful_shutdown, "_ignore_interrupts", lambda: self.told.append("no interrupts"))
        monkeypatch.setattr(graceful_shutdown, "_GLANCE", 0.0)
        self.shutdown = GracefulShutdown(lambda: 60.0, lambda: self.under_way, lambda: self.told.append("cut"))

    def theirs(self) -> None:
        self.told.append("ended")

    def handle_directly(self, loop: asyncio.AbstractEventLoop, number: int) -> Callable[[], None]:
        assert loop is self.master.event_loop
        self.direct.append(number)
        return lambda: self.undone.append(number)

    def connect(self, *, buffered: int = 0, closing: bool = False) -> Any:
        client = tflow.tclient_conn()
        transport = SimpleNamespace(is_closing=lambda: closing, get_write_buffer_size=lambda: buffered)

        def cancel(why: str) -> None:
            self.told.append(why)
            del self.connections[client.id]

        io = SimpleNamespace(writer=SimpleNamespace(transport=transport), handler=SimpleNamespace(cancel=cancel))
        self.connections[client.id] = SimpleNamespace(client=client, transports={client: io})
        return io

    def listen(self, *, runs: bool = True, fails: bool = False) -> None:
        async def stop() -> None:
            self.told.append("listener closed")
            if fails:
                raise OSError("busy")

        self.servers.append(SimpleNamespace(is_running=runs, stop=stop))

    async def until(self, told: str) -> None:
        async with asyncio.timeout(10):
            while told not in self.told:
                await asyncio.sleep(0)


ENDED = ["no interrupts", "cut", "ended"]


@in_loop
async def test_with_nothing_under_way_it_ends_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    host = Host(monkeypatch)
    host.listen()
    host.shutdown.install()
    host.shutdown.install()  # once is enough
    host.master.shutdown()
    await host.until("ended")

    assert host.told == ENDED
    assert not host.shutdown.begun


@in_loop
@pytest.mark.parametrize("buffered", [True, False])
async def test_it_waits_for_answers_and_for_their_last_bytes(monkeypatch: pytest.MonkeyPatch, buffered: bool) -> None:
    host = Host(monkeypatch)
    host.listen(fails=True)
    host.listen(runs=False)
    host.under_way = 0 if buffered else 1
    io = host.connect(buffered=1) if buffered else None
    host.shutdown.install()
    host.master.shutdown()
    await host.until("listener closed")
    for _ in range(5):
        await asyncio.sleep(0)
    assert host.shutdown.begun
    assert host.told == ["listener closed"]
    host.under_way = 0
    if io:
        io.writer.transport.get_write_buffer_size = lambda: 0
    await host.until("ended")

    assert host.told == ["listener closed", "no interrupts", "cut", *(["the proxy ends"] if io else []), "ended"]


@in_loop
async def test_bytes_for_a_connection_that_closes_are_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    host = Host(monkeypatch)
    host.connect(buffered=1, closing=True)
    host.shutdown.install()
    host.master.shutdown()
    await host.until("ended")

    assert host.told == ["no interrupts", "cut", "the proxy ends", "ended"]


@in_loop
async def test_a_second_request_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    host = Host(monkeypatch)
    host.under_way = 1
    host.shutdown.install()
    host.master.shutdown()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert host.shutdown.begun and host.told == []
    host.master.shutdown()
    await host.until("ended")

    assert host.told == ENDED


@in_loop
async def test_it_ends_when_the_grace_period_is_over(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    host = Host(monkeypatch)
    host.under_way, host.shutdown._grace = 2, lambda: 0.0
    host.shutdown.install()
    host.master.shutdown()
    await host.until("ended")

    assert host.told == ENDED
    assert "answers under way: 2, at most 0 s for them" in caplog.text


@in_loop
async def test_a_connection_that_does_not_close_holds_it_up_for_a_moment_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graceful_shutdown, "_CLOSING", 0.0)
    host = Host(monkeypatch)
    host.connect().handler = None
    host.shutdown.install()
    host.master.shutdown()
    await host.until("ended")

    assert len(host.connections) == 1


@in_loop
async def test_removed_it_gives_the_shutdown_back(monkeypatch: pytest.MonkeyPatch) -> None:
    host = Host(monkeypatch)
    host.shutdown.install()
    assert host.master.shutdown == host.shutdown.request_shutdown
    assert host.direct == [signal.SIGINT, signal.SIGTERM] and host.undone == []
    host.shutdown.remove()
    assert host.master.shutdown == host.theirs
    assert sorted(host.undone) == sorted(host.direct)
    host.shutdown.remove()
    assert len(host.undone) == 2 and host.told == []

    host.shutdown.install()
    other = host.master.shutdown = lambda: None
    host.shutdown.remove()
    assert host.master.shutdown is other  # another program's


@in_loop
async def test_removed_while_it_waits_it_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    host = Host(monkeypatch)
    host.under_way = 1
    host.shutdown.install()
    host.master.shutdown()
    while not host.shutdown.begun:
        await asyncio.sleep(0)
    host.shutdown.remove()
    await host.until("ended")

    assert host.told == ENDED
    assert host.master.shutdown == host.shutdown.request_shutdown and host.undone == []  # to the end it is ours


@in_loop
async def test_what_was_never_installed_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    host = Host(monkeypatch)
    host.shutdown._end()
    host.shutdown.remove()
    await asyncio.sleep(0)

    assert host.told == [] and host.master.shutdown == host.theirs


@in_loop
async def test_connections_have_a_second_to_close(monkeypatch: pytest.MonkeyPatch) -> None:
    host = Host(monkeypatch)
    host.connect().handler = None
    times = iter([100.0, 100.0, 100.9, 101.0, 101.1])
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    monkeypatch.setattr(graceful_shutdown, "time", SimpleNamespace(monotonic=lambda: next(times)))
    monkeypatch.setattr(graceful_shutdown, "_GLANCE", 0.02)
    monkeypatch.setattr(graceful_shutdown, "asyncio", SimpleNamespace(sleep=sleep))
    await graceful_shutdown._close_clients(host.theirs)

    assert waits == [0.02, 0.02]
    assert host.told == ["ended"]


@in_loop
async def test_closed_connections_are_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    host = Host(monkeypatch)
    host.connect()
    monkeypatch.setattr(graceful_shutdown, "_GLANCE", 3600.0)
    await graceful_shutdown._close_clients(host.theirs)

    assert host.told == ["the proxy ends", "ended"]


@in_loop
@pytest.mark.parametrize(
    ("buffered", "closing", "unsent"), [(0, False, False), (1, False, True), (1, True, False), (9, False, True)]
)
async def test_only_bytes_that_still_go_out_are_unsent(
    monkeypatch: pytest.MonkeyPatch, buffered: int, closing: bool, unsent: bool
) -> None:
    host = Host(monkeypatch)
    assert not graceful_shutdown._unsent()
    host.connect(buffered=buffered, closing=closing)
    assert graceful_shutdown._unsent() is unsent


@in_loop
@pytest.mark.parametrize("io", [None, SimpleNamespace(writer=None), SimpleNamespace(writer=SimpleNamespace())])
async def test_a_connection_without_a_writer_has_nothing_unsent(monkeypatch: pytest.MonkeyPatch, io: Any) -> None:
    """It is not open yet, or closed, or of a kind that has no transport."""
    host = Host(monkeypatch)
    host.connect(buffered=1)
    (handler,) = host.connections.values()
    handler.transports = {handler.client: io} if io else {}

    assert not graceful_shutdown._unsent()


@pytest.mark.parametrize("failure", [None, NotImplementedError(), RuntimeError(), ValueError()])
def test_ctrl_c_is_ignored_once_it_ends(monkeypatch: pytest.MonkeyPatch, failure: Exception | None) -> None:
    told: list[tuple[object, ...]] = []

    def tell(*given: object) -> None:
        told.append(given)
        if failure:
            raise failure

    loop = SimpleNamespace(remove_signal_handler=tell)
    monkeypatch.setattr(graceful_shutdown, "asyncio", SimpleNamespace(get_running_loop=lambda: loop))
    monkeypatch.setattr(signal, "signal", tell)
    graceful_shutdown._ignore_interrupts()
    monkeypatch.undo()

    assert told == [(signal.SIGINT,), *([] if failure else [(signal.SIGINT, signal.SIG_IGN)])]


@pytest.mark.parametrize("failure", [RuntimeError(), ValueError()])
def test_outside_the_main_thread_signals_are_let_be(failure: Exception) -> None:
    def fails(*_: object) -> None:
        raise failure

    handle = SimpleNamespace(_run=lambda: None)
    loop: Any = SimpleNamespace(_signal_handlers={signal.SIGTERM: handle}, add_signal_handler=fails)
    before = signal.getsignal(signal.SIGTERM)
    handle_directly(loop, signal.SIGTERM)()

    assert signal.getsignal(signal.SIGTERM) is before
