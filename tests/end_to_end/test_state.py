"""What is known of conversations and accounts survives a kill and is shared by instances, and nobody waits for it."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random
from statistics import median

import httpx
import pytest
from redis_server import MISSING, PROGRAM, RedisServer, redis_server

from ..simulator import Simulator
from .conftest import KEYS
from .dialogue import body, credential, path
from .harness import Proxy, eventually, generic_config, proxy

NAMES = {name: key for key, name in KEYS.items()}
CONVERSATIONS = 40
PROMISE = 1.0  # seconds, after which all is written
PATIENT = ("-s", str(Path(__file__).with_name("patient.py")))
LEEWAY = 3.0  # seconds that a process may be kept waiting by what else runs


def settings(folder: Path, store: str, *, more: str = "") -> str:
    return generic_config(folder, NAMES, more=f"store: {store}\n{more}")


times: list[float] = []  # seconds that each request took


async def ask(client: httpx.AsyncClient, conversation: str, turn: int) -> str:
    """Ask one thing in *conversation* and return the account that answered."""
    asked = body("openai_chat", [f"{conversation}, turn {turn}"])
    headers = credential("openai_chat", "sk-client") | {"x-session-id": conversation}
    began = time.monotonic()
    answer = await client.post(path("openai_chat"), json=asked, headers=headers)
    times.append(time.monotonic() - began)
    assert answer.status_code == 200, answer.text
    return answer.headers["x-patchbay-account"]


def client(running: Proxy) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=running.url, timeout=30, trust_env=False)


def homes(running: Proxy, conversations: list[str]) -> dict[str, str]:
    """Return the account of one more turn of each of *conversations*."""

    async def all_of_them() -> dict[str, str]:
        async with client(running) as asking:
            return {name: await ask(asking, name, 99) for name in conversations}

    return asyncio.run(all_of_them())


def test_no_binding_older_than_a_second_is_lost_by_a_kill(tmp_path: Path, simulator: Simulator) -> None:
    """Round robin forgets nothing by itself: only a binding can bring a conversation back to its account."""
    simulator.reset()
    text = settings(tmp_path, "sqlite", more="strategy: round_robin")
    bound: dict[str, tuple[str, float]] = {}

    async def load(running: Proxy) -> float:
        async with client(running) as asking:
            for number in itertools.count():
                name = f"c-{number}"
                try:
                    bound[name] = (await ask(asking, name, 0), time.time())
                except httpx.HTTPError:
                    return time.time()
                if number == CONVERSATIONS * 3:
                    kill = running.process.kill  # while the load goes on
                    asyncio.get_running_loop().call_later(PROMISE + LEEWAY, kill)
        raise AssertionError

    with contextlib.suppress(RuntimeError), proxy(tmp_path, text, mode=f"reverse:{simulator.url}") as running:
        killed = asyncio.run(load(running))
        running.process.wait(30)

    old = {name: account for name, (account, at) in bound.items() if at < killed - PROMISE - LEEWAY}
    assert len(old) >= CONVERSATIONS
    with proxy(tmp_path, text, mode=f"reverse:{simulator.url}") as running:
        found = homes(running, Random(0).sample(list(old), len(old)))  # in another order, or the turns would be equal
    assert {name: (old[name], found[name]) for name in old if found[name] != old[name]} == {}


def test_a_rest_survives_a_restart_and_no_key_is_in_the_file(tmp_path: Path, simulator: Simulator) -> None:
    simulator.reset()
    text = settings(tmp_path, "sqlite")
    simulator.fault("status", {"status": 429, "retry_after": 600}, account="one", times=1)
    with proxy(tmp_path, text, mode=f"reverse:{simulator.url}") as running:
        homes(running, [f"c-{number}" for number in range(CONVERSATIONS)])
    assert sum(record.account == "one" for record in simulator.truth.requests) == 1

    simulator.reset()
    with proxy(tmp_path, text, mode=f"reverse:{simulator.url}") as running:
        homes(running, [f"d-{number}" for number in range(CONVERSATIONS)])
    assert {record.account for record in simulator.truth.requests} == {"two", "three", "four"}

    with contextlib.closing(sqlite3.connect(tmp_path / "state" / "state.db")) as file:
        assert file.execute("SELECT count(*) FROM records").fetchone()[0] > CONVERSATIONS
    held = b"".join(file.read_bytes() for file in (tmp_path / "state").iterdir() if file.name.startswith("state.db"))
    for secret in (*KEYS, "d-7", "turn 99", "sk-client"):
        assert secret.encode() not in held


def test_a_file_that_is_deleted_meanwhile_is_made_anew_with_all_that_is_known(
    tmp_path: Path, simulator: Simulator
) -> None:
    """R19: and the log says so."""
    simulator.reset()
    text, names = settings(tmp_path, "sqlite"), [f"c-{number}" for number in range(8)]
    with proxy(tmp_path, text, mode=f"reverse:{simulator.url}") as running:
        before = homes(running, names)
        for file in (tmp_path / "state").glob("state.db*"):
            file.unlink()
        assert eventually((tmp_path / "state" / "state.db").exists)
        assert eventually(lambda: "the store (sqlite) is available again" in running.log)
        assert running.log.count("state.db: the file was removed or replaced while it was open") == 1

    with proxy(tmp_path, text, mode=f"reverse:{simulator.url}") as running:
        assert homes(running, Random(1).sample(names, len(names))) == before


def test_who_owns_an_answer_survives_a_kill(tmp_path: Path, simulator: Simulator) -> None:
    simulator.reset()
    text = settings(tmp_path, "sqlite", more="strategy: round_robin")

    def turn(running: Proxy, previous: str = "") -> httpx.Response:
        asked = {"model": "sim-1", "input": "hello", **({"previous_response_id": previous} if previous else {})}
        return httpx.post(running.url + "/v1/responses", json=asked, trust_env=False, timeout=30)

    with contextlib.suppress(RuntimeError), proxy(tmp_path, text, mode=f"reverse:{simulator.url}") as running:
        first = [turn(running) for _ in range(3)]
        time.sleep(PROMISE + LEEWAY)
        running.process.kill()
        running.process.wait(30)
    with proxy(tmp_path, text, mode=f"reverse:{simulator.url}") as running:
        second = [turn(running, answer.json()["id"]) for answer in first]

    assert [answer.status_code for answer in second] == [200] * 3
    assert [a.headers["x-patchbay-account"] for a in second] == [a.headers["x-patchbay-account"] for a in first]


def test_a_store_that_cannot_be_had_is_said_and_done_without(tmp_path: Path, simulator: Simulator) -> None:
    simulator.reset()
    with proxy(tmp_path, settings(tmp_path, "sqlite:///dev/null/none.db"), mode=f"reverse:{simulator.url}") as running:
        first = homes(running, ["x", "y", "z"])
        assert homes(running, ["x", "y", "z"]) == first
        assert eventually(lambda: "is unavailable; continuing without it" in running.log)
    assert running.log.count("is unavailable") == 1


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    if not PROGRAM:
        pytest.skip(MISSING)
    (tmp_path / "redis").mkdir()
    with redis_server(tmp_path / "redis") as running:
        yield running


@contextlib.contextmanager
def two_proxies(
    folder: Path, simulator: Simulator, store: str, more: str = "", *arguments: str
) -> Iterator[tuple[Proxy, Proxy]]:
    """Run two instances of one team, with one master key, in the folders `left` and `right`."""
    texts = [settings(folder / name, store, more=more) for name in ("left", "right")]
    with proxy(folder / "left", texts[0], *arguments, mode=f"reverse:{simulator.url}") as left:
        (folder / "right" / "state").mkdir(parents=True, mode=0o700)
        os.link(folder / "left" / "state" / "master.key", folder / "right" / "state" / "master.key")
        with proxy(folder / "right", texts[1], *arguments, mode=f"reverse:{simulator.url}") as right:
            yield left, right


def test_two_instances_know_each_others_homes_and_rests_within_a_second(
    tmp_path: Path, simulator: Simulator, server: RedisServer
) -> None:
    simulator.reset()
    names = [f"c-{number}" for number in range(CONVERSATIONS)]
    with two_proxies(tmp_path, simulator, server.url, "strategy: round_robin", *PATIENT) as (left, right):
        first = homes(left, names)
        assert eventually(lambda: server.count("binding") >= len(names))
        assert homes(right, names[::-1]) == first  # in another order, or the turns would be equal

        simulator.fault("status", {"status": 429, "retry_after": 600}, account="one", times=1)
        homes(left, [f"d-{number}" for number in range(4)])  # one of them meets it
        assert eventually(lambda: server.count("rest") >= 1)
        time.sleep(PROMISE)
        seen = len(simulator.truth.requests)
        homes(right, [f"e-{number}" for number in range(CONVERSATIONS)])
    assert {record.account for record in simulator.truth.requests[seen:]} == {"two", "three", "four"}


def test_both_go_on_when_redis_is_stopped_and_agree_again_when_it_is_back(
    tmp_path: Path, simulator: Simulator, server: RedisServer
) -> None:
    simulator.reset()
    names = [f"c-{number}" for number in range(10)]
    later = [f"d-{number}" for number in range(10)]
    with two_proxies(tmp_path, simulator, server.url, "strategy: round_robin") as (left, right):
        first = homes(left, names)
        assert eventually(lambda: server.count("binding") >= len(names))
        assert homes(right, names) == first  # what it was told, it knows
        server.stop()

        times.clear()
        assert homes(left, names) == homes(right, names[::-1]) == first
        meanwhile = homes(left, later)
        assert len(times) == 30 and median(times) < 0.5  # seconds; no request waits for a dead server
        for running in (left, right):
            assert eventually(lambda running=running: "is unavailable; continuing without it" in running.log)

        server.start()  # and it has forgotten everything
        for running in (left, right):
            assert eventually(lambda running=running: "available again" in running.log)
        assert eventually(lambda: server.count("binding") >= len(names) + len(later))
        assert homes(right, later[::-1]) == meanwhile
