"""Many requests for few places: all are answered, none beside one it must not be beside, nobody waits for a clock."""

from __future__ import annotations

import itertools
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median

import httpx
import pytest

from ..simulator import Record, Simulator, simulator_thread
from .harness import Proxy, eventually, proxy
from .holding import held

KEYS = {f"sk-slots-{name}-0123456789abcdef": name for name in ("one", "two")}
CLIENTS = {"ann": "client-key-ann-0123456789", "bob": "client-key-bob-0123456789"}
# Tokens in and out of twelve calls that once failed from the third one on.
TWELVE = (
    (664, 2), (2280, 55), (3737, 321), (1371, 89), (1517, 45), (4161, 88),
    (1966, 28), (1290, 258), (1639, 124), (2408, 67), (2031, 38), (714, 51),
)  # fmt: skip


@pytest.fixture(scope="module")
def upstream() -> Iterator[Simulator]:
    with simulator_thread(KEYS, echo="both") as running:
        yield running


@pytest.fixture
def simulator(upstream: Simulator) -> Simulator:
    upstream.reset()
    return upstream


def settings(folder: Path, account: str, *, accounts: int = 1, more: str = "") -> str:
    clients = "\n".join(f"  - {{name: {name}, key: {key}}}" for name, key in CLIENTS.items())
    pool = "\n".join(
        f"  - {{id: {name}, provider: morpheus, base_url: reverse, key: {key}, {account}}}"
        for key, name in list(KEYS.items())[:accounts]
    )
    return f"state: {folder / 'state'}\n{more}\nclients:\n{clients}\naccounts:\n{pool}\n"


def ask(
    client: httpx.Client, who: str, said: str, *, model: str = "sim-1", session: str = "", stream: bool = False
) -> httpx.Response:
    headers = {"authorization": f"Bearer {CLIENTS[who]}", "x-told": who} | (
        {"x-session-id": session} if session else {}
    )
    asked = {"model": model, "stream": stream, "messages": [{"role": "user", "content": said}]}
    return client.post("/v1/chat/completions", json=asked, headers=headers)


def at_once(running: Proxy, calls: list[Callable[[httpx.Client], httpx.Response]]) -> list[httpx.Response]:
    limits = httpx.Limits(max_connections=len(calls))
    with (
        httpx.Client(base_url=running.url, timeout=40, trust_env=False, limits=limits) as client,
        ThreadPoolExecutor(len(calls)) as threads,
    ):
        return list(threads.map(lambda call: call(client), calls))


def overlapping(records: list[Record]) -> Iterator[tuple[Record, Record]]:
    """Yield the pairs of which one came before the other was finished, by the provider's own clock."""
    for one, other in itertools.combinations(sorted(records, key=lambda record: record.arrived), 2):
        if one.finished is None or other.arrived < one.finished:
            yield one, other


def twelve_calls(running: Proxy, who: str) -> list[tuple[int, float]]:
    with httpx.Client(base_url=running.url, timeout=40, trust_env=False) as client:
        found = []
        for number, (prompt, completion) in enumerate(TWELVE):
            began = time.monotonic()
            said = f"call {number} of {who}, WORDS-{completion}: " + "word " * prompt
            answer = ask(client, who, said, stream=number % 2 == 1)
            found.append((answer.status_code, time.monotonic() - began))
        return found


@pytest.mark.parametrize("beside", [(), ("bob",)], ids=["alone", "beside a second client"])
def test_row_e_twelve_calls_in_a_row_are_all_answered(
    tmp_path: Path, simulator: Simulator, beside: tuple[str, ...]
) -> None:
    """The provider closes its connections in between, without having said so."""
    simulator.fault("close_after", every=2)
    with (
        proxy(tmp_path, settings(tmp_path, "max_concurrent: 1"), mode=f"reverse:{simulator.url}") as running,
        ThreadPoolExecutor(2) as threads,
    ):
        callers = list(threads.map(lambda who: twelve_calls(running, who), ("ann", *beside)))

    for calls in callers:
        assert [status for status, _ in calls] == [200] * len(TWELVE)
        assert max(seconds for _, seconds in calls) < 30
    assert {record.ended for record in simulator.truth} == {"complete"}
    assert not list(overlapping(simulator.truth.requests))


def test_a_full_account_serves_one_after_the_other_and_nobody_waits_for_a_clock(
    tmp_path: Path, simulator: Simulator
) -> None:
    simulator.fault("slow", {"seconds": 0.02})
    with proxy(tmp_path, settings(tmp_path, "max_concurrent: 1"), mode=f"reverse:{simulator.url}") as running:
        at_once(running, [lambda client: ask(client, "ann", "warm up")])
        calls = [lambda client, n=n: ask(client, "ann", f"hello {n}") for n in range(16)]
        answers = at_once(running, calls)

    assert {answer.status_code for answer in answers} == {200}
    assert not list(overlapping(simulator.truth.requests))
    records = sorted(simulator.truth.requests[1:], key=lambda record: record.arrived)
    between = [other.arrived - (one.finished or 0.0) for one, other in itertools.pairwise(records)]
    assert median(between) < 0.5, "whoever waits is called when it is its turn"


def test_one_too_many_in_line_is_refused_and_told_when_to_come_back(tmp_path: Path, simulator: Simulator) -> None:
    go_on, told = threading.Event(), list[httpx.Response]()
    simulator.fault(held, {"until": go_on})
    config = settings(tmp_path, "max_concurrent: 1", more="queue: {limit: 1}")

    def call(client: httpx.Client, number: int) -> httpx.Response:
        told.append(ask(client, "ann", f"hello {number}"))
        if len(told) == 3:
            go_on.set()
        return told[-1]

    with proxy(tmp_path, config, mode=f"reverse:{simulator.url}") as running:
        answers = at_once(running, [lambda client, n=n: call(client, n) for n in range(5)])

    refused = [answer for answer in answers if answer.status_code != 200]
    assert len(refused) == 3
    assert {(answer.status_code, answer.json()["error"]["code"]) for answer in refused} == {(503, "queue_full")}
    assert all(int(answer.headers["retry-after"]) >= 1 for answer in refused)


def test_one_who_waits_too_long_is_told_which_bound_it_was(tmp_path: Path, simulator: Simulator) -> None:
    go_on = threading.Event()
    simulator.fault(held, {"until": go_on})
    config = settings(tmp_path, "max_concurrent: 1", more="queue: {timeout: 500ms}")

    def call(client: httpx.Client, number: int) -> httpx.Response:
        answer = ask(client, "ann", f"hello {number}")
        go_on.set()  # the first one is told before the other one can be answered
        return answer

    with proxy(tmp_path, config, mode=f"reverse:{simulator.url}") as running:
        answers = at_once(running, [lambda client, n=n: call(client, n) for n in range(2)])

    assert sorted(answer.status_code for answer in answers) == [200, 503]
    (refused,) = [answer for answer in answers if answer.status_code == 503]
    assert refused.json()["error"]["code"] == "queue_exhausted"


def test_one_who_leaves_the_line_takes_nobodys_turn(tmp_path: Path, simulator: Simulator) -> None:
    go_on = threading.Event()
    simulator.fault(held, {"until": go_on})
    config = settings(tmp_path, "max_concurrent: 1", more="queue: {timeout: 100s}")
    with (
        proxy(tmp_path, config, mode=f"reverse:{simulator.url}") as running,
        ThreadPoolExecutor(3) as threads,
        httpx.Client(base_url=running.url, timeout=30, trust_env=False) as client,
        httpx.Client(base_url=running.url, timeout=0.5, trust_env=False) as hurried,
    ):
        first = threads.submit(ask, client, "ann", "first")
        assert eventually(lambda: len(simulator.truth) == 1)
        with pytest.raises(httpx.ReadTimeout):
            ask(hurried, "ann", "gone before its turn")
        last = threads.submit(ask, client, "ann", "last")
        go_on.set()
        assert (first.result().status_code, last.result().status_code) == (200, 200)  # no client waits for 100 s

    assert len(simulator.truth) == 2, "who left was never sent"


def test_no_two_clients_and_no_two_requests_at_once_have_one_session_upstream(
    tmp_path: Path, simulator: Simulator
) -> None:
    simulator.fault("slow", {"seconds": 0.05})
    with proxy(tmp_path, settings(tmp_path, "slots: 2", accounts=2), mode=f"reverse:{simulator.url}") as running:
        calls = [
            lambda client, n=n, who=who: ask(client, who, f"hello {n}", session="the same", model=f"sim-{n % 2}")
            for n, who in itertools.product(range(12), CLIENTS)
        ]
        answers = at_once(running, calls)

    assert {answer.status_code for answer in answers} == {200}
    sessions: dict[str, set[str]] = defaultdict(set)
    for record in simulator.truth:
        assert record.header("x-session-id") == record.header("session_id") != ""
        sessions[record.header("x-told")].add(record.header("x-session-id"))
    assert sessions["ann"] & sessions["bob"] == set()
    assert all(1 < len(ids) <= 2 * 2 * 2 for ids in sessions.values()), "two for each model and account"
    shared = [
        pair for pair in overlapping(simulator.truth.requests) if len({r.header("x-session-id") for r in pair}) == 1
    ]
    assert shared == []


def test_a_conversation_finds_the_session_upstream_that_it_had(tmp_path: Path, simulator: Simulator) -> None:
    with proxy(tmp_path, settings(tmp_path, "slots: 5"), mode=f"reverse:{simulator.url}") as running:
        for _ in range(4):
            at_once(running, [lambda client: ask(client, "ann", "hello", session="mine")])

    assert len({record.header("x-session-id") for record in simulator.truth}) == 1


@pytest.mark.parametrize("stream", [False, True], ids=["buffered", "streamed"])
def test_row_a4_no_answer_of_one_model_starts_once_a_request_for_another_was_sent(
    tmp_path: Path, simulator: Simulator, stream: bool
) -> None:
    simulator.fault("slow", {"seconds": 0.03})
    config = settings(tmp_path, "serialize: model_switch, slots: 3")
    with proxy(tmp_path, config, mode=f"reverse:{simulator.url}") as running:
        calls = [
            lambda client, n=n, who=who: ask(client, who, f"hello {n}", model=f"sim-{n % 3 // 2}", stream=stream)
            for n, who in itertools.product(range(15), CLIENTS)
        ]
        answers = at_once(running, calls)

    assert {answer.status_code for answer in answers} == {200}
    records = simulator.truth.requests
    assert {record.model for record in records} == {"sim-0", "sim-1"}
    for who in CLIENTS:
        of_one = [record for record in records if record.header("x-told") == who]
        assert len(of_one) == 15
        assert [(a.seq, b.seq) for a, b in overlapping(of_one) if a.model != b.model] == []
    assert any(a.model == b.model for a, b in overlapping(records)), "one model's requests run together"
