"""What holds of every store."""

from __future__ import annotations

import itertools
import shutil
import sys
import time
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st
from redis_server import MISSING, PROGRAM, RedisServer, redis_server

from patchbay.settings import reader, syntax
from patchbay.store import Store, file_of, missing_package, opened, redis_store
from patchbay.store.protocol import StoreError
from patchbay.store.sqlite_store import SqliteStore
from patchbay.values.record import Record

Make = Callable[[], Store]
NOW = 4_000_000_000.0  # later than any clock this will run by: Redis forgets by its own
LATER = NOW + 100
FORMS = [form for form in syntax._STORES.replace(" or ", ", ").split(", ") if form not in ("memory", "env:NAME")]
URLS = {
    form: form.replace("PATH", "/f").replace("HOST:PORT/NUMBER", "h:1/0").replace("…", "h") for form in FORMS
}  # fmt: skip
STORES = list(dict.fromkeys(type(opened(url, Path("/folder"), "")) for url in URLS.values()))
ROOT = Path(__file__).parent.parent.parent
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    if not PROGRAM:
        pytest.skip(MISSING)
    with redis_server(tmp_path_factory.mktemp("redis")) as running, pytest.MonkeyPatch.context() as patched:
        patched.setattr(redis_store, "_TIMEOUT", 30.0)  # a server that is slow to answer is another matter
        yield running


_spaces = itertools.count()


@pytest.fixture(params=STORES, ids=lambda store: store.__name__)
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Make]:
    """Return what opens one more store on the same records."""
    url = "sqlite" if request.param is SqliteStore else request.getfixturevalue("server").url
    space, made = str(next(_spaces)), []

    def one() -> Store:
        store = opened(url, tmp_path, space)
        assert store is not None and type(store) is request.param
        made.append(store)
        return store

    yield one
    for store in made:
        store.close()


def record(
    key: str = "k", value: str = "v", rank: float = 1.5, expires: float = LATER, kind: str = "binding"
) -> Record:
    return Record(kind, key, value, rank, expires)


def told(store: Store, now: float = NOW) -> set[Record]:
    return set(store.news(now))


def test_what_was_written_is_told_to_whoever_opens_the_store_later(make: Make) -> None:
    written = {record("a"), record("b", 'ünï "code"\n', rank=-1.25), record("a", kind="owner")}
    make().write(list(written), NOW)

    assert told(make()) == written


def test_what_another_writes_is_news_once(make: Make) -> None:
    one, two = make(), make()
    assert told(one) == told(two) == set()

    one.write([record("a")], NOW)
    assert told(two) == {record("a")}
    assert told(two) == set()
    one.write([record("b")], NOW)
    two.write([record("c")], NOW)
    assert told(two) == {record("b")}
    assert told(one) == {record("c")}


def test_what_a_store_wrote_to_be_over_is_told_to_itself_too(make: Make) -> None:
    """Otherwise older news that is on its way could bring back what has just ended here."""
    store = make()
    told(store)

    store.write([record("a"), record("b", value="")], NOW)

    assert told(store) == {record("b", value="")}


@pytest.mark.parametrize(
    ("stays", "goes"),
    [
        (record(rank=2.0, expires=LATER), record(rank=1.0, expires=LATER + 9)),
        (record(expires=LATER + 0.001), record(expires=LATER)),
        (record(value="w"), record(value="v")),
        (record(value="", rank=2.0), record(value="v", rank=1.0)),
    ],
)
@pytest.mark.parametrize("turned", [False, True])
def test_of_two_the_one_of_the_greater_order_stays(make: Make, stays: Record, goes: Record, turned: bool) -> None:
    for one in (goes, stays) if turned else (stays, goes):
        make().write([one], NOW)

    assert told(make()) == {stays}


def test_what_changes_nothing_is_no_news(make: Make) -> None:
    one, two = make(), make()
    one.write([record(rank=2.0)], NOW)
    told(two)

    one.write([record(rank=1.0)], NOW)

    assert told(two) == set()


def test_what_is_past_its_time_is_not_told(make: Make) -> None:
    make().write([record("a", expires=NOW + 1), record("b", expires=NOW + 3)], NOW)

    assert told(make(), NOW + 2) == {record("b", expires=NOW + 3)}


def test_a_closed_store_can_be_used_again_and_tells_everything(make: Make) -> None:
    store = make()
    store.write([record("a")], NOW)
    store.close()
    store.write([record("b")], NOW)

    assert told(store) == {record("a"), record("b")}


def test_thousands_of_records_go_in_and_come_out(make: Make) -> None:
    many = {record(f"k{number}", rank=number) for number in range(3000)}
    make().write(list(many), NOW)

    assert told(make()) == many


RECORDS = st.lists(
    st.builds(
        Record,
        kind=st.just("binding"),
        key=st.sampled_from(["a", "b"]),
        value=st.sampled_from(["", "x", "y"]),
        rank=st.floats(0, 3, width=16),
        expires=st.floats(1, 3, width=16).map(lambda more: NOW + more),
    ),
    max_size=8,
)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(RECORDS, st.randoms(use_true_random=False))
def test_merging_does_not_depend_on_order_or_on_who_writes(
    server: RedisServer, tmp_path: Path, records: list[Record], random: object
) -> None:
    shuffled = sorted(records, key=lambda _: random.random())  # type: ignore[attr-defined]
    best: dict[str, Record] = {}
    for one in records:
        if one.key not in best or best[one.key].order < one.order:
            best[one.key] = one

    for url in ("sqlite", server.url):
        for order in (records, shuffled):
            space = str(next(_spaces))
            one, two = (opened(url, tmp_path / space, space) for _ in range(2))
            assert one and two
            for number, each in enumerate(order):
                (one, two)[number % 2].write([each], NOW)
            assert {(found.key, found.order) for found in one.news(NOW)} == {(k, r.order) for k, r in best.items()}
            one.close(), two.close()


def test_a_file_that_is_no_database_is_said_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "state.db").write_bytes(b"something else entirely" * 100)
    store = opened("sqlite", tmp_path, "")
    assert store

    with pytest.raises(StoreError, match=r"state\.db"):
        store.news(NOW)
    assert (tmp_path / "state.db").read_bytes().startswith(b"something else")


def _emptied(file: Path) -> None:
    file.write_bytes(b"")


def _cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:5000])


def _overwritten(file: Path) -> None:
    file.write_bytes(b"no database" * 1000)


def _replaced(file: Path) -> None:
    other = file.with_name("other")
    other.write_bytes(b"no database" * 1000)
    other.replace(file)


def _moved(file: Path) -> None:
    file.rename(file.with_name("moved"))


def _folder_deleted(file: Path) -> None:
    shutil.rmtree(file.parent)


@pytest.mark.parametrize("harm", [Path.unlink, _moved, _replaced, _emptied, _cut, _overwritten, _folder_deleted])
@pytest.mark.parametrize("checkpointed", [True, False])
def test_a_file_that_goes_while_it_is_used_is_said_once_and_made_anew(
    tmp_path: Path, harm: Callable[[Path], None], checkpointed: bool
) -> None:
    """R19: what is written later is there for whoever starts next."""
    file, other = tmp_path / "below" / "state.db", tmp_path / "reader"
    store = opened(f"sqlite:///{file}", tmp_path, "")
    assert store is not None
    store.write([record(f"early {n}") for n in range(500)], NOW)
    if checkpointed:
        store.close()
        store.news(NOW)
    harm(file)

    failures = 0
    for number in range(5):
        try:
            store.news(NOW)
            store.write([record(f"late {number}")], NOW)
        except StoreError as e:
            failures += 1
            assert str(file) in str(e)
    store.close()

    reader = opened(f"sqlite:///{file}", other, "")
    assert reader is not None
    assert failures <= 2  # a file that was replaced by another is set aside; one in whose journal all is, is no loss
    assert {each.key for each in reader.news(NOW)} >= {f"late {number}" for number in range(2, 5)}
    reader.close()


def test_a_new_file_is_for_its_owner_only(tmp_path: Path) -> None:
    store = opened("sqlite:///" + str(tmp_path / "new" / "here.db").lstrip("/"), tmp_path, "")
    assert store
    store.write([record()], NOW)

    made = tmp_path / "new" / "here.db"
    assert {file.stat().st_mode & 0o777 for file in made.parent.iterdir()} == {0o600}
    assert made.parent.stat().st_mode & 0o777 == 0o700
    store.close()


def test_a_server_that_is_gone_is_said_without_its_password(tmp_path: Path) -> None:
    store = opened("redis://:hush@127.0.0.1:1/0", tmp_path, "")
    assert store

    with pytest.raises(StoreError, match=r"redis at 127\.0\.0\.1: ConnectionError") as caught:
        store.write([record()], NOW)
    assert "hush" not in str(caught.value) + repr(store)


def test_teams_on_one_server_do_not_see_each_other(server: RedisServer, tmp_path: Path) -> None:
    ours, theirs = (opened(server.url, tmp_path, space) for space in ("ours", "theirs"))
    assert ours and theirs
    ours.write([record()], NOW)

    assert theirs.news(NOW) == []
    ours.close(), theirs.close()


@pytest.mark.parametrize(
    ("rest", "path"),
    [
        ("/var/lib/state.db", "/var/lib/state.db"),
        ("state.db", "state.db"),
        ("~/state.db", f"{Path.home()}/state.db"),
        ("/~/state.db", f"{Path.home()}/state.db"),
    ],
)
def test_the_file_of_a_url_may_be_absolute_or_in_the_home_folder(rest: str, path: str) -> None:
    assert file_of(f"sqlite://{rest}", Path("/folder")) == Path(path)


def test_the_file_of_sqlite_alone_is_in_the_folder_and_other_stores_have_none() -> None:
    assert file_of("sqlite", Path("/folder")) == Path("/folder/state.db")
    assert [file_of(url, Path("/folder")) for url in ("", "memory", "redis://h", "rediss://h")] == [None] * 4


def test_every_store_that_the_settings_name_can_be_opened(tmp_path: Path) -> None:
    """A store in a database of its own kind needs a form in the settings, and a case of `opened`."""
    assert len(URLS) == 4
    for url in URLS.values():
        text = f"store: {url}\naccounts: [{{id: a, provider: generic, base_url: reverse, key: example-key}}]"
        assert reader.load(text, "c").store == url
        assert opened(url, tmp_path, "") is not None


@pytest.mark.parametrize("form", FORMS)
def test_a_store_that_is_no_server_has_a_file_that_is_looked_at(form: str) -> None:
    is_server = "HOST" in form or form.endswith("://…")

    assert (file_of(URLS[form], Path("/folder")) is None) == is_server


@pytest.mark.parametrize("url", URLS.values())
@pytest.mark.parametrize("package", EXTRAS)
def test_a_package_that_a_store_lacks_is_said_before_it_is_opened(
    url: str, package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`patchbay check` says it in the words with which the start would end."""
    monkeypatch.setitem(sys.modules, package, None)
    said = ""
    try:
        opened(url, tmp_path, "")
    except StoreError as e:
        said = str(e)

    assert missing_package(url) == said


def test_memory_alone_needs_no_store(tmp_path: Path) -> None:
    assert opened("", tmp_path, "") is None
    assert opened("memory", tmp_path, "") is None


def stopped(store: Store, at: float) -> Store:
    """Let the server of *store* tell it the same time whenever it asks; that it tells the right one is looked at."""
    tell = store._server.time  # type: ignore[attr-defined]

    def time_of_server() -> tuple[int, int]:
        seconds, micros = tell()
        assert abs(seconds + micros / 1e6 - time.time()) < 60
        return int(at), int(at % 1 * 1e6)

    store._server.time = time_of_server  # type: ignore[attr-defined]
    return store


@pytest.mark.parametrize("ahead", [-86_400.0, -3600.0, -1.0, 0.0, 1.0, 3600.0, 30 * 86_400.0])
def test_instances_whose_clocks_differ_understand_each_other(server: RedisServer, tmp_path: Path, ahead: float) -> None:
    """R14: a home that lasts an hour is known to an instance whose clock is an hour ahead, by its own clock."""
    here, space = time.time(), str(next(_spaces))
    there = here + ahead
    made = [opened(server.url, tmp_path, space) for _ in range(3)]
    left, right, late = (stopped(store, here) for store in made if store)
    assert told(left, here) == told(right, there) == set()
    left.write([record("k", rank=here, expires=here + 600), record("none", rank=0.0, expires=here + 600)], here)
    for store in (right, late):
        found = {
            each.key: (each.rank - there if each.rank else 0.0, each.expires - there) for each in told(store, there)
        }
        assert found == {
            "k": (pytest.approx(0, abs=2), pytest.approx(600, abs=2)),
            "none": (0.0, pytest.approx(600, abs=2)),
        }

    right.write([record("k", "newer", rank=there + 2, expires=there + 600)], there + 2)
    assert [each.value for each in told(left, here + 2)] == ["newer"]
    for store in (left, right, late):
        store.close()


def test_a_rest_keeps_the_times_of_its_writer(server: RedisServer, tmp_path: Path) -> None:
    """R14: it says itself by which clock they are."""
    now, space = time.time(), str(next(_spaces))
    left, right = (opened(server.url, tmp_path, space) for _ in range(2))
    assert left and right
    written = record("k", rank=0.0, expires=now + 7200, kind="rest")
    left.write([written], now + 3600)

    assert told(right, now) == {written}
    left.close()
    right.close()
