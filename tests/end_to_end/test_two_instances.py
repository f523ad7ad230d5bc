"""Two instances of one team behind one Redis: what one of them did a moment ago, the other one knows."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from redis_server import RedisServer

from ..simulator import Simulator
from .dialogue import DIALECTS, body, credential, path
from .harness import Proxy, eventually
from .test_state import PATIENT, client, server, two_proxies
from .test_verify import patchbay

__all__ = ["server"]  # the fixture
CONVERSATIONS, TURNS = 16, 5  # 64 later turns


class Conversation:
    """One conversation whose turns go to the instances in turn, without a pause."""

    def __init__(self, name: str, *, named: bool) -> None:
        self._messages: list[dict[str, Any]] = [{"role": "system", "content": f"You are the assistant of {name}."}]
        self._headers = {"authorization": "Bearer sk-client"} | ({"x-session-id": name} if named else {})
        self.name = name
        self.accounts: list[str] = []

    async def turn(self, asking: httpx.AsyncClient) -> None:
        self._messages.append({"role": "user", "content": f"{self.name}, question {len(self.accounts)}"})
        asked = {"model": "sim-1", "messages": self._messages}
        answer = await asking.post("/v1/chat/completions", json=asked, headers=self._headers)
        assert answer.status_code == 200, answer.text
        self._messages.append(answer.json()["choices"][0]["message"])
        self.accounts.append(answer.headers["x-patchbay-account"])


async def quick_turns(instances: tuple[Proxy, Proxy], conversations: list[Conversation]) -> None:
    async with client(instances[0]) as left, client(instances[1]) as right:
        for each in conversations:
            # or both would choose alike by chance: neither knows of more than the other
            await Conversation(f"only on the left, {each.name}", named=True).turn(left)
            for number in range(TURNS):
                await each.turn((left, right)[number % 2])


@pytest.mark.parametrize("named", [True, False], ids=["a session id", "by content"])
@pytest.mark.parametrize("strategy", ["rendezvous", "round_robin", "fill_first", "least_busy"])
def test_turns_that_alternate_between_two_instances_without_a_pause_stay_at_home(
    tmp_path: Path, simulator: Simulator, server: RedisServer, strategy: str, named: bool
) -> None:
    """R14: tool loops are quicker than a store's news, so a request asks the store first."""
    simulator.reset()
    conversations = [Conversation(f"c-{number}", named=named) for number in range(CONVERSATIONS)]
    with two_proxies(tmp_path, simulator, server.url, f"strategy: {strategy}", *PATIENT) as instances:
        asyncio.run(quick_turns(instances, conversations))
    moved = sum(
        before != after
        for each in conversations
        for before, after in zip(each.accounts, each.accounts[1:], strict=False)
    )
    assert moved == 0, [each.accounts for each in conversations]


PAIRS = 10
MARKED = "event_type=crosstalk: its answer went to"


async def swapped_pairs(instances: tuple[Proxy, Proxy]) -> None:
    """Send pairs of requests that meet at the provider, which gives each the other's answer; one from each instance."""

    async def ask(asking: httpx.AsyncClient, pair: int, side: str) -> None:
        dialect, stream = DIALECTS[pair % 4], pair % 8 >= 4
        asked = body(dialect, [f"question {pair} from the {side}"], stream=stream)
        answer = await asking.post(
            path(dialect, stream=stream), json=asked, headers=credential(dialect, "sk-client") | {"x-swap": "1"}
        )
        assert answer.status_code == 200, answer.text

    async with client(instances[0]) as left, client(instances[1]) as right:
        for pair in range(PAIRS):
            await asyncio.gather(ask(left, pair, "left"), ask(right, pair, "right"))


def test_a_victim_is_named_and_marked_whichever_instance_served_it(
    tmp_path: Path, simulator: Simulator, server: RedisServer
) -> None:
    """R15: both sides of every pair name the other one's exchange, and each instance says where its answers went."""
    simulator.reset()
    simulator.fault("swap", {"timeout": 20}, when=lambda record: bool(record.header("x-swap")))
    folders = [tmp_path / side for side in ("left", "right")]
    with two_proxies(tmp_path, simulator, server.url, "", *PATIENT, "-w", "day.mitm") as instances:
        asyncio.run(swapped_pairs(instances))
        assert all(eventually(lambda running=running: running.journal.count("\n") == PAIRS) for running in instances)
        # the other side is marked when the store has told of it
        assert eventually(lambda: sum(running.log.count(MARKED) for running in instances) == 2 * PAIRS)
        lines = [json.loads(line) for running in instances for line in running.journal.splitlines()]
        logs = [running.log for running in instances]

    by_id = {line["request_id"]: line for line in lines}
    by_number = {record.seq: record for record in simulator.truth.requests}
    victims = [record for record in by_number.values() if record.is_victim]
    assert len(victims) == len(by_id) == 2 * PAIRS
    for record in victims:
        line, owner = by_id[record.received_id], by_id[by_number[record.body_of].received_id]
        assert line["verdict"] == "crosstalk"
        assert line["victim"] == owner["exchange"]
        assert sum(f"victim={owner['exchange']}" in log for log in logs) == 1
        assert sum(f"{owner['exchange']} event_type=crosstalk: its answer went to" in log for log in logs) == 1
    assert not any("victim=unknown" in log for log in logs)

    for folder in folders:  # each dump alone gives the verdicts of then
        told = patchbay("verify", "--all", "--state", str(folder / "state"), str(folder / "day.mitm")).stdout
        assert told.count(" victim ") == PAIRS
        assert "judged live" not in told, told
