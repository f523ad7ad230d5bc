"""Nobody waits for a store, and a store that fails costs nothing but its news."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Sequence

import pytest

from patchbay.store import StoreError, write_behind
from patchbay.store.write_behind import WriteBehind
from patchbay.values.record import Record

LONG = 30.0  # seconds; only a failing test takes them


class Fake:
    """A store in memory that can be made to fail or to hang, and says when it was written to."""

    shared = True

    def __init__(self) -> None:
        self.held: dict[str, Record] = {}
        self.telling: list[Record] = []
        self.broken: Exception | None = None
        self.gate = threading.Event()
        self.gate.set()
        self.written = threading.Semaphore(0)
        self.tried = threading.Semaphore(0)
        self.closed = False

    def write(self, records: Sequence[Record], now: float) -> None:
        self.gate.wait(LONG)
        self.tried.release()
        if self.broken:
            raise self.broken
        self.held |= {record.key: record for record in records}
        self.written.release()

    def news(self, now: float) -> list[Record]:
        if self.broken:
            raise self.broken
        telling, self.telling = self.telling, []
        return telling

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[Fake]:
    monkeypatch.setattr(write_behind, "RETRY", 0.01)
    yield Fake()


def record(key: str, rank: float = 1.0) -> Record:
    return Record("binding", key, "home", rank, 9.0)


def started(store: Fake) -> WriteBehind:
    return WriteBehind(store, "fake", clock=lambda: 0.0, every=0.01)


def test_what_is_put_is_written_without_waiting(fake: Fake) -> None:
    fake.gate.clear()
    running = started(fake)
    running.put([record("a")])
    running.put([record("b")])  # this comes back although the store hangs
    fake.gate.set()
    running.close(LONG)

    assert set(fake.held) == {"a", "b"}
    assert fake.closed


def test_of_one_key_only_the_last_is_written(fake: Fake) -> None:
    fake.broken = StoreError("down")
    running = started(fake)
    running.put([record("a", 1.0)])
    assert fake.tried.acquire(timeout=LONG)
    running.put([record("a", 2.0), record("b")])
    fake.broken = None
    running.close(LONG)

    assert fake.held == {"a": record("a", 2.0), "b": record("b")}


def test_news_are_taken_in_pieces(fake: Fake) -> None:
    fake.telling = [record("a"), record("b"), record("c")]
    running = started(fake)
    assert running.looked(LONG)

    assert len(running.take(2)) == 2
    assert len(running.take(2)) == 1
    assert running.take(2) == []
    running.close(LONG)


@pytest.mark.parametrize("failure", [StoreError("redis at here: ConnectionError"), RuntimeError("a bug: sk-secret")])
def test_a_store_that_fails_is_said_once_and_asked_again(
    fake: Fake, caplog: pytest.LogCaptureFixture, failure: Exception
) -> None:
    caplog.set_level(logging.INFO, "patchbay.store.write_behind")
    fake.broken = failure
    running = started(fake)
    assert not running.looked(LONG)
    running.put([record("a")])
    for _ in range(3):
        assert fake.tried.acquire(timeout=LONG)
    assert not running.came_back()
    fake.broken = None
    assert fake.written.acquire(timeout=LONG)
    running.close(LONG)

    assert fake.held == {"a": record("a")}
    assert running.came_back()
    assert not running.came_back()
    assert [line.levelname for line in caplog.records] == ["WARNING", "INFO"]
    assert "sk-secret" not in caplog.text


def test_what_waits_is_bounded(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(write_behind, "MAX_WAITING", 10)
    fake.gate.clear()
    running = started(fake)
    running.put(record(f"k{number}") for number in range(5))
    running.put(record(f"m{number}") for number in range(100))
    fake.gate.set()
    running.close(LONG)

    assert len(fake.held) <= 20
    assert {f"m{number}" for number in range(90, 100)} <= set(fake.held)


def test_who_asks_is_told_when_the_news_of_that_moment_are_there(fake: Fake) -> None:
    running = started(fake)
    assert running.looked(LONG)
    told = threading.Event()
    fake.telling = [record("a")]
    assert running.ask(told.set)
    assert told.wait(LONG)
    assert running.take() == [record("a")]
    running.close(LONG)
    assert not running.ask(told.set)


def test_nobody_waits_for_the_news_of_a_store_that_fails(fake: Fake) -> None:
    fake.broken = StoreError("down")
    running = started(fake)
    assert not running.looked(LONG)
    assert not running.ask(lambda: None)
    running.close(LONG)
