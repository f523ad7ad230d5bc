"""The SQLite store: what its file keeps, how long it waits for another process, and what a broken file becomes."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from patchbay.store import sqlite_store
from patchbay.store.protocol import StoreError
from patchbay.store.sqlite_store import SqliteStore
from patchbay.values.record import Record

NOW = 1_790_000_000.0


def record(key: str, expires: float = NOW + 100) -> Record:
    return Record("binding", key, "v", 1.0, expires)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "state.db"


@pytest.fixture
def store(file: Path) -> Iterator[SqliteStore]:
    made = SqliteStore(file)
    yield made
    made.close()


def kept(file: Path) -> set[str]:
    with contextlib.closing(sqlite3.connect(file)) as reading:
        return {key for (key,) in reading.execute("SELECT key FROM records")}


def test_the_first_read_tells_what_the_store_itself_wrote_and_an_empty_file_has_no_news(store: SqliteStore) -> None:
    assert not store.shared
    store.write([record("a")], NOW)

    assert store.news(NOW) == [record("a")]
    assert store.news(NOW) == []
    store.close()
    assert store.news(NOW) == [record("a")]


def test_the_first_read_of_a_new_file_is_empty_and_the_second_sees_what_came_between(file: Path) -> None:
    one, two = SqliteStore(file), SqliteStore(file)
    assert one.news(NOW) == two.news(NOW) == []
    one.write([record("b", NOW + 9), record("a", NOW + 5)], NOW)

    assert [each.key for each in two.news(NOW)] == ["a", "b"]  # by expiry
    assert one.news(NOW) == []
    one.close(), two.close()


def test_expired_records_are_deleted_every_ten_seconds(store: SqliteStore, file: Path) -> None:
    store.write([record("a", NOW + 1), record("b", NOW + 10), record("c", NOW + 11)], NOW)
    store.write([], NOW + 9.5)
    assert kept(file) == {"a", "b", "c"}
    store.write([], NOW + 10)
    assert kept(file) == {"c"}
    store.write([], NOW + 19.5)
    assert kept(file) == {"c"}
    store.write([], NOW + 20)
    assert kept(file) == set()


def test_a_failed_write_leaves_nothing_behind(store: SqliteStore, file: Path) -> None:
    store.write([record("a")], NOW)
    with pytest.raises(StoreError):
        store.write([record("b"), Record("binding", "c", None, 1.0, 2.0)], NOW)  # type: ignore[arg-type]

    assert kept(file) == {"a"}


def test_another_process_that_writes_is_waited_for_a_second(
    store: SqliteStore, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect, waits = sqlite3.connect, []

    def without_wait(path: Path, timeout: float, **options: Any) -> sqlite3.Connection:
        waits.append(timeout)
        return connect(path, timeout=0.0, **options)

    store.write([record("a")], NOW)
    store.close()
    monkeypatch.setattr(sqlite_store.sqlite3, "connect", without_wait)
    with contextlib.closing(connect(file, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert store.news(NOW) == [record("a")]  # a reader does not wait
        with pytest.raises(StoreError, match=r"state\.db: database is locked\Z"):
            store.write([record("b")], NOW)

    assert set(waits) == {1.0}
    assert not file.with_name("state.db.broken").exists()
    assert store.news(NOW) == [record("a")]


def overwrite(file: Path) -> None:
    for name in ("state.db", "state.db-wal", "state.db-shm"):
        file.with_name(name).write_bytes(b"no database" * 1000)


def test_a_file_that_broke_is_set_aside_with_its_journal_removed(store: SqliteStore, file: Path) -> None:
    store.write([record("a")], NOW)
    store.close()
    overwrite(file)
    with pytest.raises(StoreError, match=r"it is kept as state\.db\.broken, and created again\Z"):
        store.news(NOW)

    assert [path.name for path in file.parent.iterdir()] == ["state.db.broken"]
    store.write([record("b")], NOW)
    assert store.news(NOW) == [record("b")]


def test_a_journal_that_another_process_has_open_goes_with_the_broken_file(store: SqliteStore, file: Path) -> None:
    """Otherwise its pages would be put into the new file."""
    store.write([record("a")], NOW)
    store.close()
    with contextlib.closing(sqlite3.connect(file)) as other:
        other.execute("PRAGMA user_version").fetchone()
        other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        file.write_bytes(b"no database" * 1000)
        with pytest.raises(StoreError, match="created again"):
            store.news(NOW)

        assert [path.name for path in file.parent.iterdir()] == ["state.db.broken"]


def test_a_file_that_was_never_a_store_is_left_alone(store: SqliteStore, file: Path) -> None:
    overwrite(file)
    with pytest.raises(StoreError, match=r"file is not a database; move it away, and it is made anew\Z"):
        store.news(NOW)

    assert file.read_bytes().startswith(b"no database")


def test_a_broken_file_that_cannot_be_renamed_is_said(store: SqliteStore, file: Path) -> None:
    store.write([record("a")], NOW)
    store.close()
    overwrite(file)
    (file.with_name("state.db.broken") / "in the way").mkdir(parents=True)

    with pytest.raises(StoreError, match="it cannot be renamed: Is a directory"):
        store.news(NOW)


@pytest.mark.parametrize("harm", ["removed", "emptied", "replaced"])
def test_a_file_that_goes_while_it_is_open_is_an_error_once_and_created_again(
    store: SqliteStore, file: Path, harm: str
) -> None:
    store.write([record("a")], NOW)
    if harm == "emptied":
        file.write_bytes(b"")
    else:
        file.rename(file.with_name("moved"))
    if harm == "replaced":
        other = SqliteStore(file)
        other.write([record("other")], NOW)
        other.close()
    with pytest.raises(StoreError, match="removed or replaced while it was open; it is created again"):
        store.write([record("b")], NOW)

    store.write([record("b")], NOW)
    back = {"emptied": {"a"}, "replaced": {"other"}}.get(harm, set())  # an emptied file has its journal still
    assert {each.key for each in store.news(NOW)} == {"b"} | back
