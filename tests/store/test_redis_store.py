"""The Redis store against a server in memory: what it sends and reads, whose clock counts, what a failure costs."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import Any

import pytest
import redis

from patchbay.store.protocol import StoreError
from patchbay.store.redis_store import RedisStore
from patchbay.values.record import Record

NOW = 1_790_000_000.0
HOUR, DAY = 3600.0, 86_400.0


class Server:
    """Hashes and a stream of changes; each call can be refused. Times are those of `clock`."""

    def __init__(self) -> None:
        self.hashes: dict[str, dict[str, str]] = {}
        self.changes: list[tuple[str, dict[str, str]]] = []
        self.clock = NOW
        self.asked_time = 0
        self.error: Exception | None = None
        self.time_error: Exception | None = None
        self.close_error: Exception | None = None
        self.closed = 0
        self.merged: list[tuple[list[str], list[object]]] = []
        self.scans: list[tuple[str, int]] = []
        self.reads: list[str] = []
        self.between = lambda: None  # runs while everything is read
        self.url, self.options = "", dict[str, object]()

    def from_url(self, url: str, **options: object) -> Server:
        self.url, self.options = url, options
        return self

    def _check(self) -> None:
        if self.error:
            raise self.error

    def register_script(self, _: str) -> Any:
        return self._merge

    def _merge(self, keys: list[str], args: list[Any]) -> None:
        self._check()
        self.merged.append((keys, args))
        writer, values = args[0], args[2:]
        assert len(values) == 5 * (len(keys) - 1)
        for index, key in enumerate(keys[1:]):
            kind, name, value, rank, expires = values[5 * index : 5 * index + 5]
            row = {"kind": kind, "key": name, "value": value, "rank": rank, "expires": expires}
            held = self.hashes.get(key)
            if held is None or _order(held) < _order(row):
                self.hashes[key] = row
                self.changes.append((f"{len(self.changes) + 1}-0", {"writer": writer, **row}))

    def time(self) -> tuple[int, int]:
        self._check()
        self.asked_time += 1
        if self.time_error:
            raise self.time_error
        return int(self.clock), int(self.clock % 1 * 1e6)

    def xrevrange(self, _: str, count: int) -> list[tuple[str, dict[str, str]]]:
        self._check()
        return self.changes[::-1][:count]

    def xread(self, streams: dict[str, str], count: int) -> list[object]:
        self._check()
        [(name, seen)] = streams.items()
        self.reads.append(seen)
        rows = [row for row in self.changes if int(row[0].split("-")[0]) > int(seen.split("-")[0])]
        return [[name, rows[:count]]] if rows else []

    def scan_iter(self, match: str, count: int) -> Iterator[str]:
        self.scans.append((match, count))
        names = [*self.hashes, *(keys[0] for keys, _ in self.merged)]
        yield from (key for key in names if fnmatchcase(key, match))
        self.between()

    def pipeline(self, transaction: bool) -> Pipeline:
        assert not transaction
        return Pipeline(self)

    def close(self) -> None:
        self.closed += 1
        if self.close_error:
            raise self.close_error


class Pipeline:
    """Reads of several hashes that are sent together."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._keys: list[str] = []

    def hgetall(self, key: str) -> None:
        assert not key.endswith("}:changes"), "the stream is no hash: reading it so is an error"
        self._keys.append(key)

    def execute(self) -> list[dict[str, str]]:
        return [self._server.hashes.get(key, {}) for key in self._keys]


def _order(row: dict[str, str]) -> tuple[float, float, str]:
    return float(row["rank"]), float(row["expires"]), row["value"]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Server:
    made = Server()
    monkeypatch.setattr(redis.Redis, "from_url", made.from_url)
    return made


def opened(space: str = "team") -> RedisStore:
    return RedisStore("redis://:hush@far.example:6380/2", space)


def record(
    key: str = "k", value: str = "v", rank: float = 1.5, expires: float = NOW + 100, kind: str = "binding"
) -> Record:
    return Record(kind, key, value, rank, expires)


def news(store: RedisStore, now: float = NOW) -> list[Record]:
    return store.news(now)


def test_the_background_thread_waits_a_second_for_an_answer_at_most(server: Server) -> None:
    assert opened().shared
    assert server.url == "redis://:hush@far.example:6380/2"
    assert server.options == {"decode_responses": True, "socket_timeout": 1.0, "socket_connect_timeout": 1.0}


def test_a_record_is_a_hash_of_its_space_and_its_numbers_come_back_exact(server: Server) -> None:
    written = record("a/b", rank=0.1 + 0.2, expires=NOW + 1 / 3)
    opened().write([written], NOW)

    assert list(server.hashes) == ["patchbay:{team}:binding:a/b"]
    [(keys, args)] = server.merged
    assert keys[0] == "patchbay:{team}:changes"
    assert args[1] == 50_000
    assert news(opened()) == [written]
    assert server.scans == [("patchbay:{team}:*:*", 1000)]
    assert news(opened("other")) == []


def test_writers_have_names_of_their_own(server: Server) -> None:
    one, two = opened(), opened()
    one.write([record("a")], NOW)
    two.write([record("b")], NOW)

    assert len({args[0] for _, args in server.merged}) == 2
    assert {len(str(args[0])) for _, args in server.merged} == {16}


@pytest.mark.parametrize(("count", "calls"), [(1, [1]), (500, [500]), (501, [500, 1]), (1100, [500, 500, 100])])
def test_records_are_written_in_batches(server: Server, count: int, calls: list[int]) -> None:
    opened().write([record(str(number)) for number in range(count)], NOW)

    assert [len(keys) - 1 for keys, _ in server.merged] == calls
    assert len(news(opened())) == count


def test_expired_records_are_neither_written_nor_told(server: Server) -> None:
    store = opened()
    store.write([record("over", expires=NOW), record("soon", expires=NOW + 1)], NOW)

    assert list(server.hashes) == ["patchbay:{team}:binding:soon"]
    assert news(opened(), NOW + 0.5) == [record("soon", expires=NOW + 1)]
    assert news(opened(), NOW + 1) == []


def test_the_first_read_tells_everything_by_expiry_and_later_ones_the_changes_of_others(server: Server) -> None:
    one, two = opened(), opened()
    one.write([record("late", expires=NOW + 9), record("soon", expires=NOW + 3), record("mid", expires=NOW + 6)], NOW)
    assert [each.key for each in news(two)] == ["soon", "mid", "late"]
    assert len(news(one)) == 3  # the first read tells its own, too

    one.write([record("more"), record("over", value="")], NOW)
    two.write([record("theirs")], NOW)
    assert [each.key for each in news(two)] == ["more", "over"]
    assert [each.key for each in news(one)] == ["over", "theirs"]  # of its own, only what has ended
    assert news(one) == news(two) == []
    assert server.reads[-2:] == ["6-0", "6-0"]


def test_a_change_during_the_first_read_is_told_by_the_second(server: Server) -> None:
    reader, writer = opened(), opened()
    server.between = lambda: writer.write([record("meanwhile")], NOW)

    assert news(reader) == []
    server.between = lambda: None
    assert [each.key for each in news(reader)] == ["meanwhile"]
    assert server.reads == ["0-0"]


def test_more_than_a_thousand_records_are_read_in_several_steps(server: Server) -> None:
    opened().write([record(str(number)) for number in range(1001)], NOW)

    assert len(news(opened())) == 1001


@pytest.mark.parametrize(
    "row", [{}, {"kind": "binding", "key": "k"}, {"kind": "b", "key": "k", "value": "v", "rank": "x", "expires": "9e9"}]
)
def test_a_hash_that_is_no_record_is_passed_over(server: Server, row: dict[str, str]) -> None:
    opened().write([record("good")], NOW)
    server.hashes = {"patchbay:{team}:a:b": row, **server.hashes}

    assert [each.key for each in news(opened())] == ["good"]


# --- clocks: stored times are by the server's


@pytest.mark.parametrize(
    ("ahead", "counted"),
    [
        (0.0, 0.0),
        (1.5, 0.0),
        (-1.5, 0.0),
        (2.0, 2.0),
        (-2.0, -2.0),
        (2.75, 3.0),
        (HOUR, HOUR),
        (-HOUR, -HOUR),
        (90 * DAY, 90 * DAY),
        (90 * DAY + 1, 0.0),
        (-90 * DAY - 1, 0.0),
    ],
)
def test_times_are_stored_by_the_servers_clock(server: Server, ahead: float, counted: float) -> None:
    server.clock = NOW + ahead
    store = opened()
    store.write([record(rank=NOW, expires=NOW + 100)], NOW)
    [held] = server.hashes.values()

    assert (float(held["rank"]), float(held["expires"])) == (NOW + counted, NOW + 100 + counted)
    assert news(store) == [record(rank=NOW, expires=NOW + 100)]


def test_an_expiry_is_judged_by_the_clock_that_it_was_moved_to(server: Server) -> None:
    server.clock = NOW + HOUR
    store = opened()
    store.write([record("a", expires=NOW + 5)], NOW)

    for passed, told in ((4.0, ["a"]), (5.0, [])):
        server.clock = NOW + HOUR + passed
        assert [each.key for each in news(opened(), NOW + passed)] == told


def test_a_rank_of_zero_and_a_record_that_names_its_clock_are_not_moved(server: Server) -> None:
    server.clock = NOW + HOUR
    written = [record("none", rank=0.0), record("own", kind="rest", rank=NOW)]
    opened().write(written, NOW)

    held = {row["key"]: (float(row["rank"]), float(row["expires"]) - NOW) for row in server.hashes.values()}
    assert held == {"none": (0.0, 100 + HOUR), "own": (NOW, 100)}
    assert sorted(news(opened()), key=lambda each: each.key) == written


@pytest.mark.parametrize(("later", "measured"), [(0.0, 1), (29.9, 1), (30.0, 2), (-29.9, 1), (-30.0, 2), (HOUR, 2)])
def test_the_servers_clock_is_asked_again_after_half_a_minute(server: Server, later: float, measured: int) -> None:
    store = opened()
    store.write([], NOW)
    server.clock = NOW + later
    news(store, NOW + later)

    assert server.asked_time == measured


def test_a_user_without_the_right_to_ask_the_time_shares_records_all_the_same(server: Server) -> None:
    server.time_error = redis.ResponseError("NOPERM this user has no permissions to run the 'time' command")
    store = opened()
    store.write([record()], NOW)

    assert server.hashes["patchbay:{team}:binding:k"]["expires"] == repr(NOW + 100)
    assert news(opened()) == [record()]
    assert server.asked_time == 2  # by each of the two, and not at every call


# --- failures


@pytest.mark.parametrize("error", [redis.ConnectionError("at :hush@"), redis.TimeoutError("hush"), OSError("hush")])
def test_an_error_names_the_server_without_its_password_and_everything_is_read_again(
    server: Server, error: Exception
) -> None:
    store = opened()
    store.write([record("a")], NOW)
    news(store)
    server.error, server.close_error = error, error
    for use in (lambda: store.write([record("b")], NOW), lambda: news(store)):
        with pytest.raises(StoreError) as caught:
            use()
        assert str(caught.value) == f"redis at far.example: {type(error).__name__}"
    assert server.closed == 2

    server.error = None
    assert [each.key for each in news(store)] == ["a"]


def test_a_closed_store_reads_everything_again(server: Server) -> None:
    store = opened()
    store.write([record("a")], NOW)
    assert len(news(store)) == 1
    store.close()

    assert server.closed == 1
    assert len(news(store)) == 1


@pytest.mark.parametrize(("url", "where"), [("redis:///0", "localhost"), ("rediss://[2001:db8::1]:1", "2001:db8::1")])
def test_a_message_names_the_host_of_the_url(server: Server, url: str, where: str) -> None:
    server.error = redis.ConnectionError()

    with pytest.raises(StoreError, match=f"redis at {where}: ConnectionError"):
        RedisStore(url, "").news(NOW)


def test_a_missing_package_is_said_with_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "redis", None)

    with pytest.raises(StoreError, match=r"pip install 'redis>=5'$"):
        RedisStore("redis://far.example", "")
