"""What is known is handed to the store soon, taken over at the start, and handed over again when a store forgot it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from patchbay import keyed
from patchbay.accounts.bindings import Key
from patchbay.proxy import persistence
from patchbay.proxy.persistence import Persistence
from patchbay.router import Router
from patchbay.settings.reader import load
from patchbay.settings.settings import Config
from patchbay.store import StoreError
from patchbay.store.sqlite_store import SqliteStore
from patchbay.values.record import Record

LONG = 30.0  # seconds; only a failing test takes them
KEY = bytes(32)
BOUND = Key("openai@any", b"", "aff")


@pytest.fixture(autouse=True)
def _patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(persistence, "FIRST_READ_WAIT", LONG)


class Stopped(asyncio.SelectorEventLoop):
    """A loop whose time goes on only where a test says so."""

    now = 100.0

    def time(self) -> float:
        return self.now


def settings(folder: Path, store: str = "sqlite") -> Config:
    text = f"state: {folder}\nstore: '{store}'\naccounts: [{{id: a, provider: openai, key: example-one}}]\n"
    return load(text if store else text.replace("store: ''\n", ""), "c")


def router(config: Config) -> Router:
    return Router(config, KEY, Random(0), lambda count: bytes(count))


def bind(at: Router, key: Key = BOUND) -> None:
    now = time.time()
    at.accounts.bindings.bind(key, "a", at.accounts.bindings.hold(key, "a", now), now)


def home(at: Router, key: Key = BOUND) -> str:
    return at.accounts.bindings.home(key, time.time())


def kept(folder: Path) -> str:
    """Return the home that another process finds in the store of *folder*."""
    config = settings(folder)
    other = router(config)
    Persistence(config, KEY, other.state).end()
    return home(other)


def test_what_one_process_knew_the_next_one_begins_with(tmp_path: Path) -> None:
    config = settings(tmp_path)
    first = router(config)
    persistence = Persistence(config, KEY, first.state)
    bind(first)
    persistence.end()
    persistence.end()  # a second time does nothing

    assert kept(tmp_path) == "a"


def test_it_is_handed_over_while_the_process_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(persistence, "HAND_ON_EVERY", 0.01)
    config = settings(tmp_path)
    first = router(config)
    way = Persistence(config, KEY, first.state)

    async def run() -> bool:
        way.start()
        bind(first)
        end = time.monotonic() + LONG
        while await asyncio.to_thread(kept, tmp_path) != "a":
            if time.monotonic() > end:
                return False
            await asyncio.sleep(0.01)
        return True

    assert asyncio.run(run())
    way.end()


@pytest.mark.parametrize(
    ("store", "variable", "file"), [("", "sqlite", True), ("memory", "sqlite", False), ("", "", False)]
)
def test_the_variable_holds_where_the_settings_say_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, store: str, variable: str, file: bool
) -> None:
    monkeypatch.setenv("PATCHBAY_STORE", variable)
    config = settings(tmp_path, store)
    Persistence(config, KEY, router(config).state).end()

    assert (tmp_path / "state.db").exists() == file


def test_a_store_can_stand_in_a_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = settings(tmp_path, "env:PATCHBAY_TEST_STORE")
    with pytest.raises(StoreError, match="PATCHBAY_TEST_STORE is not set"):
        Persistence(config, KEY, router(config).state)

    monkeypatch.setenv("PATCHBAY_TEST_STORE", f"sqlite:///{tmp_path}/mine.db")
    Persistence(config, KEY, router(config).state).end()
    assert (tmp_path / "mine.db").exists()


class Recorder:
    """Stands where `Behind` does, and keeps what was put."""

    shared = False

    def __init__(self) -> None:
        self.puts: list[list[Record]] = []
        self.back = False

    def put(self, records: Iterable[Record]) -> None:
        self.puts.append(list(records))

    def take(self, most: int) -> Sequence[Record]:
        return []

    def recovered(self) -> bool:
        back, self.back = self.back, False
        return back

    def close(self) -> None:
        pass


def test_a_store_that_came_back_is_told_everything_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(persistence, "RECORDS_AT_ONCE", 2)
    config = settings(tmp_path, "memory")
    known, behind = router(config), Recorder()
    way = Persistence(config, KEY, known.state)
    keys = [Key("p", b"", f"aff-{number}") for number in range(5)]
    for key in keys:
        bind(known, key)
    way.look(behind, time.time())  # type: ignore[arg-type]
    assert behind.puts == []  # nobody watched

    behind.back = True
    for _ in range(5):
        way.look(behind, time.time())  # type: ignore[arg-type]

    assert [len(put) for put in behind.puts] == [2, 2, 1]
    assert len({record.key for put in behind.puts for record in put}) == 5


def test_a_store_that_came_back_just_before_the_end_is_told_everything_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R19: no look comes after it."""
    monkeypatch.setattr(persistence, "RECORDS_AT_ONCE", 2)
    config = settings(tmp_path, "memory")
    known, behind = router(config), Recorder()
    way = Persistence(config, KEY, known.state)
    way._behind = behind  # type: ignore[assignment]
    for number in range(5):
        bind(known, Key("p", b"", f"aff-{number}"))

    behind.back = True
    way.end()

    assert [len(put) for put in behind.puts] == [5]


class Shared(SqliteStore):
    """A store in a file that says of itself that several instances use it."""

    shared = True


def test_what_another_instance_has_just_told_is_known_after_catching_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R14: with no look at the store by the clock."""
    monkeypatch.setattr(persistence, "HAND_ON_EVERY", 3600)
    monkeypatch.setattr(persistence, "CATCH_UP", LONG)
    monkeypatch.setattr(persistence, "opened", lambda url, folder, space: Shared(folder / "shared.db"))
    config = settings(tmp_path)
    one, other = router(config), router(config)
    ways = Persistence(config, KEY, one.state), Persistence(config, KEY, other.state)

    async def run() -> str:
        for way in ways:
            way.start()
        bind(one)
        ways[0].soon()
        ways[0].soon()
        await asyncio.sleep(0)  # it is handed on in the next round of the loop
        await ways[0].caught_up(LONG)  # and written now
        await ways[1].caught_up(LONG)
        return home(other)

    assert asyncio.run(run()) == "a"
    for way in ways:
        way.end()


def test_a_store_of_ones_own_is_never_asked_by_a_request(tmp_path: Path) -> None:
    config = settings(tmp_path)
    one = router(config)
    way = Persistence(config, KEY, one.state)

    async def run() -> None:
        assert not way.shared
        await way.caught_up()
        way.soon()
        assert not way._handing

    asyncio.run(run())
    way.end()


class Asked(Recorder):
    """A shared store that tells when it is let to; *asking* are those that wait for it."""

    def __init__(self) -> None:
        super().__init__()
        self.asking: list[Callable[[], None]] = []

    shared = True

    def request_news(self, told: Callable[[], None]) -> bool:
        self.asking.append(told)
        return True


def test_nobody_waits_for_a_store_that_was_too_slow_the_last_time(tmp_path: Path) -> None:
    """R14: a slow store costs one wait, and is waited for again once it has told in time."""
    config = settings(tmp_path, "memory")
    way, behind = Persistence(config, KEY, router(config).state), Asked()
    way._behind = behind  # type: ignore[assignment]
    loop = Stopped()

    async def waits() -> bool:
        asked = loop.create_task(way.caught_up())
        for _ in range(3):
            await asyncio.sleep(0)
        waiting = not asked.done()
        if waiting:
            loop.now += persistence.CATCH_UP + 0.01
            await asked
        return waiting

    async def run() -> list[bool]:
        found = [await waits(), await waits()]
        loop.now += persistence.CATCH_UP + 0.01
        for told in behind.asking:  # late
            await asyncio.to_thread(told)
        found.append(await waits())
        await asyncio.to_thread(behind.asking[-1])
        await asyncio.sleep(0)
        return [*found, await waits()]

    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        assert runner.run(run()) == [True, False, False, True]


def test_what_was_waited_for_the_store_is_not_waited_for_twice(tmp_path: Path) -> None:
    """R14: a request waits for a quarter of a second at most, however often it asks."""
    config = settings(tmp_path, "memory")
    way, behind = Persistence(config, KEY, router(config).state), Asked()
    way._behind = behind  # type: ignore[assignment]
    loop = Stopped()

    async def run() -> tuple[float, float]:
        asked = asyncio.create_task(way.caught_up())
        await asyncio.sleep(0)
        loop.now += 0.01
        behind.asking[0]()
        left = await asked
        return left, await way.caught_up(0.0)

    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        left, rest = runner.run(run())
    assert left == pytest.approx(persistence.CATCH_UP - 0.01)
    assert rest == 0


def test_how_often_records_are_handed_on_and_how_long_a_request_waits() -> None:
    """docs/settings.md and the reader of a measurement rely on them."""
    fixed = (persistence.HAND_ON_EVERY, persistence.RECORDS_AT_ONCE, persistence.CATCH_UP, persistence.NEW)
    assert fixed == (0.2, 2000, 0.25, 0.02)


def test_in_one_store_each_master_key_has_a_space_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The space is derived from the master key; an earlier release wrote under the same."""
    seen: list[tuple[str, Path, str]] = []

    def opened(url: str, folder: Path, space: str) -> None:
        seen.append((url, folder, space))

    monkeypatch.setattr(persistence, "opened", opened)
    monkeypatch.setenv("HOME", str(tmp_path))
    for key in (KEY, b"k" * 32):
        assert persistence.store_of(replace(settings(tmp_path), state="~/x"), key) == ("sqlite", None)

    assert [(url, folder) for url, folder, _ in seen] == [("sqlite", tmp_path / "x")] * 2
    assert [space for _, _, space in seen] == [
        keyed.derive(key, "patchbay 2026 store").hex()[:16] for key in (KEY, b"k" * 32)
    ]
    assert seen[0][2] != seen[1][2]


def _counted(tmp_path: Path, behind: Recorder | None) -> Persistence:
    config = settings(tmp_path, "memory")
    way = Persistence(config, KEY, router(config).state)
    way._behind = behind  # type: ignore[assignment]
    return way


@pytest.mark.parametrize("behind", [None, Recorder(), Asked()], ids=["none", "alone", "shared"])
def test_only_a_shared_store_is_written_and_read_for_each_request(tmp_path: Path, behind: Recorder | None) -> None:
    way, shared = _counted(tmp_path, behind), isinstance(behind, Asked)
    handed: list[object] = []
    way._hand_on = lambda behind, now, most: handed.append(most)  # type: ignore[method-assign]

    async def run() -> float:
        way.soon()
        assert handed == [], "before the start nothing is written"
        way.start()
        way.start()
        way.soon()
        way.soon()
        await asyncio.sleep(0)
        assert handed == [persistence.RECORDS_AT_ONCE] * shared, "once in a round of the loop"
        assert way.shared is shared
        if isinstance(behind, Asked):
            asyncio.get_running_loop().call_soon(lambda: behind.asking[0]())
        left = await way.caught_up(LONG)
        assert len([task for task in asyncio.all_tasks() if task.get_name() == "patchbay-keeping"]) == bool(behind)
        way.end()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert len(asyncio.all_tasks()) == 1, "the exchange of records has ended"
        return left

    assert (asyncio.run(run()) < LONG) is shared
    assert handed == [persistence.RECORDS_AT_ONCE] * shared + [None] * bool(behind)


def test_at_the_end_what_is_left_is_written_and_the_store_closed_once(tmp_path: Path) -> None:
    behind = Recorder()
    closed: list[int] = []
    behind.close = lambda: closed.append(len(behind.puts))  # type: ignore[method-assign]
    way = _counted(tmp_path, behind)
    behind.back = True
    bind(router(settings(tmp_path, "memory")))
    way.end()
    way.end()

    assert len(closed) == 1
    assert way.shared is False


def test_a_request_without_time_left_asks_but_does_not_wait(tmp_path: Path) -> None:
    behind = Asked()
    way = _counted(tmp_path, behind)

    assert asyncio.run(way.caught_up(0.0)) == 0.0
    assert len(behind.asking) == 1
    behind.asking[0]()  # the loop has ended meanwhile


def test_a_look_that_fails_is_reported_and_the_next_one_follows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    behind, slept = Recorder(), []
    way = _counted(tmp_path, behind)

    def fails(most: int) -> Sequence[Record]:
        raise OSError("hush")

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 3:
            raise asyncio.CancelledError

    behind.take = fails  # type: ignore[method-assign]
    monkeypatch.setattr(persistence.asyncio, "sleep", sleep)
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(way._run(behind))  # type: ignore[arg-type]

    assert slept == [persistence.HAND_ON_EVERY] * 3
    assert caplog.messages == ["patchbay: state could not be handed on: OSError"] * 2


@pytest.mark.parametrize("answers", [False, True])
def test_the_start_waits_two_seconds_for_what_earlier_processes_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, answers: bool
) -> None:
    """A store that does not answer by then delays no start."""
    monkeypatch.undo()
    waited: list[float] = []
    behind = Recorder()
    behind.take = list  # type: ignore[assignment, method-assign]
    behind.wait_for_first_read = lambda seconds: waited.append(seconds) or answers  # type: ignore[attr-defined, func-returns-value]
    made: list[tuple[object, str]] = []
    monkeypatch.setattr(persistence, "WriteBehind", lambda store, name: made.append((store, name)) or behind)  # type: ignore[func-returns-value]
    monkeypatch.setattr(persistence, "opened", lambda url, folder, space: "the store")
    config = settings(tmp_path, "redis://:hush@example.com/0")
    with caplog.at_level(logging.DEBUG):
        Persistence(config, KEY, router(config).state)

    assert (waited, made) == ([2.0], [("the store", "redis")]), "the name holds no password"
    assert caplog.messages == ["patchbay: records read from the store: 0"] * answers
