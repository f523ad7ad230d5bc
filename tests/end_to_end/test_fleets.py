"""Thirty conversations that begin alike, through a real mitmdump: told apart, spread, and at home; over a restart."""

from __future__ import annotations

import asyncio
import json
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from ..identity.talks import CHAT, MESSAGES, Call, History, Reply
from ..simulator import Simulator, simulator_thread
from .harness import generic_config, proxy

KEYS = {f"sk-real-{name}-{'fedcba9876543210' * 2}": name for name in "abcdefgh"}
CONVERSATIONS, TURNS = 30, 4
ASKED = ("fix the failing test USE_TOOL", "explain this module USE_TOOL")  # the call's arguments are never the same
CHAT_TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}
TOOL = {"name": "look", "input_schema": {"type": "object"}}


@dataclass(frozen=True)
class Fleet:
    """What all its conversations have in common. *rewrites*: calls come back under ids of the client's own."""

    path: str
    more: Mapping[str, Any]
    headers: Mapping[str, str] = field(default_factory=dict)
    examples: int = 0
    rewrites: bool = False


FLEETS = {
    "an SDK loop": Fleet(CHAT, {"tools": [CHAT_TOOL], "stream": True}, rewrites=True),
    "one user id": Fleet(MESSAGES, {"tools": [TOOL], "metadata": {"user_id": "svc-backend"}}),
    "one session id": Fleet(CHAT, {"tools": [CHAT_TOOL]}, {"x-session-id": "default"}),
    "examples": Fleet(MESSAGES, {"tools": [TOOL]}, examples=3, rewrites=True),
}


class Chat:
    """One conversation: `x-told` tells the test whose turn it was, and nobody else."""

    def __init__(self, fleet: Fleet, number: int) -> None:
        self.fleet, self.number = fleet, number
        self.history = History(fleet.path, "You are an agent.", **fleet.more)
        for place in range(fleet.examples):
            self.history.example(f"example {place}", "done")
        self.history.say(ASKED[number % 2])

    async def go_on(self, client: httpx.AsyncClient) -> None:
        """Hold one more turn."""
        headers = {"x-api-key": "sk-client", "x-told": str(self.number), **self.fleet.headers}
        answer = await client.post(self.fleet.path, json=self.history.body(), headers=headers)
        assert answer.status_code == 200, answer.text
        reply = _read(self.fleet, answer.text)
        ids = ["mine_1"] * len(reply.calls) if self.fleet.rewrites else ()
        self.history.hear(reply, ids)
        self.history.result(reply, "nothing there", ids)
        self.history.say(f"and then, {self.number} {len(self.history.messages)}?")


def _read(fleet: Fleet, text: str) -> Reply:
    if fleet.path == MESSAGES:
        content = json.loads(text)["content"]
        calls = [Call(block["id"], block["name"], block["input"]) for block in content if block["type"] == "tool_use"]
        return Reply("".join(block.get("text", "") for block in content), tuple(calls))
    if not fleet.more.get("stream"):
        messages = [json.loads(text)["choices"][0]["message"]]
    else:
        events = [json.loads(line[6:]) for line in text.splitlines() if line.startswith("data: {")]
        messages = [event["choices"][0]["delta"] for event in events if event["choices"]]
    said = "".join(message.get("content") or "" for message in messages)
    pieces = [call for message in messages for call in message.get("tool_calls") or ()]
    if not pieces:
        return Reply(said)
    arguments = "".join(piece["function"].get("arguments") or "" for piece in pieces)
    return Reply(said, (Call(pieces[0]["id"], pieces[0]["function"]["name"], json.loads(arguments)),))


async def _hold(url: str, chats: list[Chat], turns: int) -> None:
    limits = httpx.Limits(max_connections=CONVERSATIONS)
    async with httpx.AsyncClient(base_url=url, timeout=60, trust_env=False, limits=limits) as client:

        async def converse(chat: Chat) -> None:
            for _ in range(turns):
                await chat.go_on(client)

        await asyncio.gather(*map(converse, chats))


@pytest.mark.parametrize("fleet", FLEETS.values(), ids=FLEETS)
def test_a_fleet_is_told_apart_and_spread(tmp_path: Path, fleet: Fleet) -> None:
    """I1: all at once, and again after a restart in the middle."""
    chats = [Chat(fleet, number) for number in range(CONVERSATIONS)]
    simulator: Simulator
    with simulator_thread(KEYS, echo="both") as simulator:
        config = generic_config(tmp_path, {name: key for key, name in KEYS.items()}, more="store: sqlite")
        for _ in range(2):
            with proxy(tmp_path, config, "-q", mode=f"reverse:{simulator.url}") as running:
                asyncio.run(_hold(running.url, chats, TURNS // 2))
        records = list(simulator.truth.requests)

    accounts, users = defaultdict(list), defaultdict(set)
    for record in records:
        accounts[record.header("x-told")].append(record.account)
        users[record.header("x-session-id")].add(record.header("x-told"))
    homes = Counter(where[0] for where in accounts.values())
    strayed = sum(account != where[0] for where in accounts.values() for account in where)
    assert len(records) == CONVERSATIONS * TURNS
    assert max(homes.values()) <= 1.5 * CONVERSATIONS / len(KEYS), homes
    assert strayed <= 0.01 * CONVERSATIONS * (TURNS - 1)
    assert {session: told for session, told in users.items() if len(told) > 1} == {}
