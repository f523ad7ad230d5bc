"""Nobody waits for a store, and a store that fails costs nothing but its news."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Sequence
from typing import ClassVar

import pytest

from patchbay.store import StoreError, write_behind
from patchbay.store.write_behind import WriteBehind
from patchbay.values.record import Record

LONG = 30.0  # seconds; only a failing test takes them
RETRY = write_behind.STORE_RETRY


class Fake:
    """A store in memory that can be made to fail or to hang, and says when it was written to."""

    shared = True

    def __init__(self) -> None:
        self.held: dict[str, Record] = {}
        self.telling: list[Record] = []
        self.writes: list[float] = []  # when
        self.broken: Exception | None = None
        self.broken_once: Exception | None = None
        self.gate = threading.Event()
        self.gate.set()
        self.written = threading.Semaphore(0)
        self.tried = threading.Semaphore(0)
        self.closed = False

    def write(self, records: Sequence[Record], now: float) -> None:
        self.gate.wait(LONG)
        self.writes.append(now)
        self.tried.release()
        once, self.broken_once = self.broken_once, None
        if once:
            raise once
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
    monkeypatch.setattr(write_behind, "STORE_RETRY", 0.01)
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
    assert running.wait_for_first_read(LONG)

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
    assert not running.wait_for_first_read(LONG)
    running.put([record("a")])
    for _ in range(3):
        assert fake.tried.acquire(timeout=LONG)
    assert not running.recovered()
    fake.broken = None
    assert fake.written.acquire(timeout=LONG)
    running.close(LONG)

    assert fake.held == {"a": record("a")}
    assert running.recovered()
    assert not running.recovered()
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
    assert running.wait_for_first_read(LONG)
    told = threading.Event()
    fake.telling = [record("a")]
    assert running.request_news(told.set)
    assert told.wait(LONG)
    assert running.take() == [record("a")]
    running.close(LONG)
    assert not running.request_news(told.set)


def test_nobody_waits_for_the_news_of_a_store_that_fails(fake: Fake) -> None:
    fake.broken = StoreError("down")
    running = started(fake)
    assert not running.wait_for_first_read(LONG)
    assert not running.request_news(lambda: None)
    running.close(LONG)


class Pauses(threading.Event):
    """An event whose waits by the store's thread are listed, and end only when it is set."""

    seconds: ClassVar[list[float | None]] = []

    def wait(self, timeout: float | None = None) -> bool:
        if threading.current_thread().name != "patchbay-store":
            return super().wait(timeout)
        self.seconds.append(timeout)
        return super().wait(LONG)


@pytest.fixture
def pauses(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> list[float | None]:
    monkeypatch.setattr(Pauses, "seconds", [])
    monkeypatch.setattr(write_behind.threading, "Event", Pauses)
    return Pauses.seconds


def test_a_store_is_read_five_times_a_second_and_at_once_when_there_is_something_to_write(
    fake: Fake, pauses: list[float | None]
) -> None:
    running = WriteBehind(fake, "fake", clock=lambda: 7.0)
    assert running.wait_for_first_read(LONG)
    running.put([record("a")])
    assert fake.written.acquire(timeout=LONG)
    told = threading.Event()
    assert running.request_news(told.set)
    assert told.wait(LONG)
    running.close(LONG)

    assert running.shared
    assert fake.closed
    assert pauses == [0.2, 0.2, 0.2]
    assert fake.writes == [7.0]  # nothing is written when nothing waits


def test_a_store_that_fails_is_tried_again_after_a_second_whatever_is_put(
    fake: Fake, monkeypatch: pytest.MonkeyPatch, pauses: list[float | None]
) -> None:
    monkeypatch.setattr(write_behind, "STORE_RETRY", RETRY)
    fake.broken = StoreError("down")
    running = WriteBehind(fake, "fake", clock=lambda: 7.0)
    assert not running.wait_for_first_read(LONG)
    running.put([record("a")])
    running.close(LONG)

    assert pauses == [1.0]
    assert fake.writes == [7.0, 7.0]  # at the end: once, and once more
    assert fake.held == {}
    assert fake.closed


def test_a_store_that_fails_once_at_the_end_is_written_by_the_second_try(fake: Fake) -> None:
    running = started(fake)
    assert running.wait_for_first_read(LONG)
    fake.gate.clear()
    running.put([record("a")])
    fake.broken_once = StoreError("removed")
    running.request_news(fake.gate.set)
    fake.gate.set()
    running.close(LONG)

    assert fake.held == {"a": record("a")}


@pytest.mark.parametrize(
    ("failure", "reason"),
    [
        (StoreError("redis at here: TimeoutError"), "redis at here: TimeoutError"),
        (StoreError("Bearer sk-ant-api03-0123456789abcdefghij"), "Bearer (not shown: it looks like a key)"),
        (ValueError("sk-secret"), "ValueError"),
    ],
)
def test_the_reason_of_a_failure_is_said_without_secrets(
    fake: Fake, caplog: pytest.LogCaptureFixture, failure: Exception, reason: str
) -> None:
    fake.broken = failure
    running = started(fake)
    assert not running.wait_for_first_read(LONG)
    running.close(LONG)

    assert running.fault == reason
    assert [line.getMessage() for line in caplog.records] == [
        f"the store (fake) is unavailable; continuing without it: {reason}"
    ]


def test_closing_waits_five_seconds_for_a_store_that_hangs(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    joined: list[float | None] = []
    running = started(fake)
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "join", lambda _, timeout=None: joined.append(timeout))
        running.close()
    running.close(LONG)

    assert joined == [5.0]


def test_two_hundred_thousand_records_wait_at_most_and_the_oldest_go_first(fake: Fake) -> None:
    fake.telling = [record(str(number)) for number in range(200_001)]
    running = started(fake)
    assert running.wait_for_first_read(LONG)
    running.close(LONG)

    found = running.take()
    assert (len(found), found[0].key) == (200_000, "1")
