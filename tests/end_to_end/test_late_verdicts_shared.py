"""What a provider says a turn later counts wherever the turns went: to one instance, or to two that share a store."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest
from redis_server import RedisServer

from ..simulator import Simulator, simulator_thread
from .conftest import KEYS
from .harness import Proxy, eventually, proxy
from .test_late_verdicts import WARM, Talk, lines, settings, told
from .test_state import server
from .test_verify import patchbay

__all__ = ["server"]  # the fixture
MODE = "reverse:http://patchbay.invalid"
SIDES = ("left", "right")


@pytest.fixture(scope="module")
def silent() -> Iterator[Simulator]:
    with simulator_thread(KEYS, echo="none") as running:
        yield running


@pytest.fixture
def instances(tmp_path: Path, silent: Simulator, server: RedisServer) -> Iterator[tuple[Proxy, Proxy]]:
    silent.reset()
    left, right = (tmp_path / side for side in SIDES)
    texts = [f"store: {server.url}\n" + settings(folder, silent) for folder in (left, right)]
    with proxy(left, texts[0], "-w", str(left / "flows.mitm"), mode=MODE) as one:
        (right / "state").mkdir(parents=True, mode=0o700)
        os.link(left / "state" / "master.key", right / "state" / "master.key")
        with proxy(right, texts[1], "-w", str(right / "flows.mitm"), mode=MODE) as two:
            yield one, two


def talked(server: RedisServer, talk: Talk, through: Proxy, text: str) -> None:
    """Have a turn; return when the other instance can know of it."""
    known = server.count("answered")
    talk.through = through
    talk.turn(text)
    assert eventually(lambda: server.count("answered") > known)


def verified(instances: tuple[Proxy, Proxy], tmp_path: Path) -> list[str]:
    for running in instances:
        running.interrupt()
    return [
        patchbay(
            "verify", "--all", "--state", str(tmp_path / side / "state"), str(tmp_path / side / "flows.mitm")
        ).stdout
        for side in SIDES
    ]


def test_right_answers_are_clean_when_the_next_turn_goes_to_the_other_instance(
    tmp_path: Path, instances: tuple[Proxy, Proxy], server: RedisServer
) -> None:
    talk = Talk(instances[0], "mine")
    for number, running in zip(range(4), cycle(instances)):
        talked(server, talk, running, f"turn {number}")
    left, right = instances
    assert eventually(lambda: [len(told(each, "verdict_change")) for each in instances] == [2, 1])

    for here, there in ((left, right), (right, left)):
        for change, by in zip(told(here, "verdict_change"), lines(there)[here is right :], strict=True):
            assert (change["was"], change["verdict"], change["by"]) == ("unverifiable", "clean", by["exchange"])
    for said in verified(instances, tmp_path):
        assert "judged live" not in said


@pytest.mark.parametrize("apart", [False, True], ids=["at one instance", "at two"])
def test_exchanged_answers_are_suspected_when_the_next_turns_go_to_the_other_instance(
    tmp_path: Path, instances: tuple[Proxy, Proxy], server: RedisServer, silent: Simulator, apart: bool
) -> None:
    left, right = instances
    for number, (first, second) in zip(range(2 * WARM), cycle(((left, right), (right, left)))):
        talk = Talk(first, f"warm {number}")
        talked(server, talk, first, "first")
        talked(server, talk, second, "second")
    silent.fault("swap", {"timeout": 20}, when=lambda record: record.header("x-told") == "swapped")
    one, two = Talk(left, "one"), Talk(right if apart else left, "two")
    assert eventually(lambda: len(exchanges(instances)) == 4 * WARM)
    before = exchanges(instances)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda talk: talk.turn("swapped"), (one, two)))
    assert eventually(lambda: len(exchanges(instances) - before) == 2 and server.count("answered") == len(before) + 2)
    first, second = exchanges(instances) - before
    for talk in (one, two):
        talk.through = right if talk.through is left else left
        talk.turn("after it")

    def suspected() -> dict[str, dict[str, Any]]:
        changes = [change for each in instances for change in told(each, "verdict_change")]
        return {change["exchange"]: change for change in changes if change["verdict"] == "suspect"}

    victims = {first: second, second: first}
    assert eventually(lambda: {each: change["victim"] for each, change in suspected().items()} == victims), suspected()
    assert all(change["findings"][-1]["detector"] == "next-turn" for change in suspected().values())
    for said in verified(instances, tmp_path):
        assert "judged live" not in said


def exchanges(instances: tuple[Proxy, Proxy]) -> set[str]:
    return {line["exchange"] for each in instances for line in lines(each)}
