"""Compacted and windowed conversations without an id, through mitmdump: each stays at home."""

from __future__ import annotations

import asyncio
import base64
import json
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from random import Random

import httpx

from ..identity.shapes import GEMINI, MESSAGES, SHAPES, Asked, Speaker
from ..identity.test_auxiliary_calls import CHORES, LONG, SAID
from ..simulator import Simulator
from ..simulator.play import Play
from .conftest import KEYS
from .dialogue import credential
from .harness import generic_config, proxy

NAMES = {name: key for key, name in KEYS.items()}
KINDS = (
    "compaction of gemini", "compaction of qwen", "compaction of claude", "compaction of codex", "compaction of roo",
    "compaction of aider", "window of two", "window of two, responses", "window of two, gemini", "dated opening",
    "looked up beside the question",
)  # fmt: skip
EACH, TURNS, AT_ONCE = 4, 11, 12


@dataclass
class Talk:
    """One conversation as it goes; *streams*: its answers come as events."""

    name: str
    left: Iterator[Asked]
    streams: bool


async def _says_what_it_is_told(play: Play) -> None:
    said = play.record.header("x-say")
    if said and play.reply:
        play.reply = replace(play.reply, text=base64.b64decode(said).decode(), tool=None)


def _dialect(path: str) -> str:
    return "gemini" if "/v1beta/" in path else "anthropic" if path == MESSAGES else "openai_chat"


async def _ask(client: httpx.AsyncClient, talk: Talk, asked: Asked) -> None:
    headers = credential(_dialect(asked.path), "ck") | {
        "x-told": talk.name if asked.is_turn else f"{talk.name} beside",
        "x-say": base64.b64encode(asked.answer.encode()).decode(),
    }
    streams = talk.streams and asked.path != GEMINI
    answer = await client.post(asked.path, json=asked.body | ({"stream": True} if streams else {}), headers=headers)
    assert answer.status_code == 200, answer.text


async def _hold(url: str, talks: list[Talk], requests: int) -> None:
    """Send the next *requests* of each talk, each when the one before it was answered."""
    gate = asyncio.Semaphore(AT_ONCE)

    async def go_on(client: httpx.AsyncClient, talk: Talk) -> None:
        for asked in islice(talk.left, requests):
            async with gate:
                await _ask(client, talk, asked)

    async with httpx.AsyncClient(base_url=url, timeout=60, trust_env=False) as client:
        await asyncio.gather(*(go_on(client, talk) for talk in talks))


def test_compacted_and_windowed_conversations_stay_at_home(tmp_path: Path, simulator: Simulator) -> None:
    """I2, I3: six clients that compact and five kinds of windows, with a restart in the middle."""
    simulator.reset()
    simulator.fault(_says_what_it_is_told)
    talks = [
        Talk(f"{kind} {n}", SHAPES[kind](Speaker(Random(f"{kind} {n}"), asides=0), TURNS), streams=n % 2 == 1)
        for kind in KINDS
        for n in range(EACH)
    ]
    sessions = defaultdict(set)
    for part, requests in enumerate((7, 100)):
        config = generic_config(tmp_path, NAMES, more=f"store: sqlite:///{tmp_path}/state.db")
        with proxy(tmp_path, config, "-q", mode=f"reverse:{simulator.url}") as running:
            asyncio.run(_hold(running.url, talks, requests))
        assert part == 1 or running.journal
    session_of = {line["request_id"]: line["session"] for line in map(json.loads, running.journal.splitlines())}
    simulator.mend()

    accounts = defaultdict(set)
    for record in simulator.truth.requests:
        accounts[record.header("x-told")].add(record.account)
        sessions[record.header("x-told")].add(session_of[record.header("x-request-id")])
    turns = {told: where for told, where in accounts.items() if not told.endswith("beside")}
    assert len(turns) == len(KINDS) * EACH
    assert {told: where for told, where in turns.items() if len(where) > 1} == {}
    assert {len(sessions[told]) for told in turns} == {1}
    assert len({next(iter(sessions[told])) for told in turns}) == len(turns)
    assert {next(iter(where)) for where in turns.values()} == set(NAMES)


def test_calls_beside_a_chat_bind_nothing_and_go_where_it_is(tmp_path: Path, simulator: Simulator) -> None:
    """I4: what clients ask beside a chat, quoting it, is served by the account of the chat, and leaves no binding."""
    simulator.reset()
    simulator.fault(_says_what_it_is_told)
    quoting = {name: (path, body) for name, (path, body) in CHORES.items() if LONG in json.dumps(body)}
    with proxy(tmp_path, generic_config(tmp_path, NAMES), "-q", mode=f"reverse:{simulator.url}") as running:
        told = {"x-say": base64.b64encode(LONG.encode()).decode()} | credential("openai_chat", "ck")
        with httpx.Client(base_url=running.url, timeout=30, trust_env=False) as client:
            talk = {"model": "sim-1", "messages": [{"role": "user", "content": SAID}]}
            assert client.post("/v1/chat/completions", json=talk, headers=told).status_code == 200
            for path, body in quoting.values():
                assert client.post(path, json={"model": "sim-1"} | body, headers=told).status_code == 200
            other = [*CHORES["LobeChat, in Chinese"][1]["messages"][:1], {"role": "user", "content": "of another chat"}]
            title = {"model": "sim-1", "messages": other}
            for _ in range(3):
                client.post("/v1/chat/completions", json=title, headers=told)
    lines = [json.loads(line) for line in running.journal.splitlines()]
    simulator.mend()

    home = simulator.truth.requests[0].account
    assert len(quoting) >= 8
    assert {record.account for record in simulator.truth.requests[: 1 + len(quoting)]} == {home}
    assert [line["binding"] for line in lines[:1]] == ["new"]
    assert {line["binding"] for line in lines[1 + len(quoting) :]} == {"none"}
