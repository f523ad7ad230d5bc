"""Whole conversations stay on one account, in every dialect, whether their client names them or not."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from pathlib import Path

import httpx
import pytest

from ..simulator import Simulator
from .conftest import KEYS
from .dialogue import DIALECTS, body, credential, path, text_of
from .harness import Proxy, generic_config, proxy

NAMES = {name: key for key, name in KEYS.items()}
CONVERSATIONS, TURNS, AT_ONCE = 200, 5, 24


async def converse(client: httpx.AsyncClient, dialect: str, number: int, named: bool, gate: asyncio.Semaphore) -> None:
    """Hold one conversation of `TURNS` turns; `x-told` tells the test whose turn it was, and nobody else."""
    turns: list[str] = []
    headers = credential(dialect, "sk-client") | {"x-told": f"{dialect}/{number}"}
    if named:
        headers["x-session-id"] = f"{dialect}-{number}"
    for turn in range(TURNS):
        turns.append(f"{dialect} {number}, turn {turn}: what about topic {number * 7919 % 1000}?")
        async with gate:
            answer = await client.post(path(dialect), json=body(dialect, turns), headers=headers)
        assert answer.status_code == 200, answer.text
        turns.append(text_of(dialect, answer.content))


async def everybody(url: str, named: bool) -> None:
    gate = asyncio.Semaphore(AT_ONCE)
    limits = httpx.Limits(max_connections=AT_ONCE, max_keepalive_connections=AT_ONCE)
    async with httpx.AsyncClient(base_url=url, timeout=60, trust_env=False, limits=limits) as client:
        await asyncio.gather(*(converse(client, d, n, named, gate) for d in DIALECTS for n in range(CONVERSATIONS)))


@pytest.mark.parametrize("named", [True, False], ids=["with ids", "without ids"])
def test_every_turn_of_a_conversation_is_on_its_account(tmp_path: Path, simulator: Simulator, named: bool) -> None:
    simulator.reset()
    running: Proxy
    with proxy(tmp_path, generic_config(tmp_path, NAMES), "-q", mode=f"reverse:{simulator.url}") as running:
        asyncio.run(everybody(running.url, named))

    accounts: dict[str, set[str]] = defaultdict(set)
    for record in simulator.truth.requests:
        accounts[record.header("x-told")].add(record.account)
    assert len(accounts) == CONVERSATIONS * len(DIALECTS)
    assert len(simulator.truth.requests) == CONVERSATIONS * len(DIALECTS) * TURNS
    moved = {told: where for told, where in accounts.items() if len(where) > 1}
    assert moved == {}
    for dialect in DIALECTS:
        load = Counter(next(iter(where)) for told, where in accounts.items() if told.startswith(dialect + "/"))
        assert len(load) == len(NAMES)
        assert max(load.values()) <= 1.5 * CONVERSATIONS / len(NAMES), load
