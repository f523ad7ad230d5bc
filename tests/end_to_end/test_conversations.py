"""Whose conversation it is, end to end: what an account stored goes back to it, and no client steers another's."""

from __future__ import annotations

import asyncio
import base64
import json
import random
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import httpx
import pytest

from ..simulator import Simulator
from ..simulator.play import Play
from .conftest import KEYS
from .dialogue import body, credential, path, text_of
from .harness import Proxy, generic_config, proxy

NAMES = {name: key for key, name in KEYS.items()}
TWO_CLIENTS = "clients:\n  - {name: ann, key: ck-ann}\n  - {name: ben, key: ck-ben}\n"
TURN_STATE = "x-codex-turn-state"


@pytest.fixture(scope="module")
def through(tmp_path_factory: pytest.TempPathFactory, simulator: Simulator) -> Iterator[Proxy]:
    folder = tmp_path_factory.mktemp("conversations")
    with proxy(folder, generic_config(folder, NAMES), "-q", mode=f"reverse:{simulator.url}") as running:
        yield running


@pytest.fixture
def client(through: Proxy, simulator: Simulator) -> Iterator[httpx.Client]:
    """A client without a name: a proxy that remembers nothing would send each of its requests anywhere."""
    simulator.truth.clear()
    with httpx.Client(base_url=through.url, timeout=30, trust_env=False, headers={"x-api-key": "ck"}) as made:
        yield made


def _accounts(simulator: Simulator) -> list[str]:
    return [record.account for record in simulator.truth.requests]


def _many(client: httpx.Client, path_: str, request: dict[str, Any], headers: dict[str, str]) -> list[dict[str, Any]]:
    """Make several things, under conversations of their own, so that several accounts have some."""
    made = [client.post(path_, json=request, headers={"x-session-id": f"maker {n}", **headers}) for n in range(8)]
    assert {answer.status_code for answer in made} == {200}
    return [answer.json() for answer in made]


STORED = [
    ("/v1/files", {}, "id", {}),
    ("/v1/batches", {"input_file_id": None}, "id", {}),
    ("/v1/containers", {"name": "c"}, "id", {}),
    ("/v1/conversations", {}, "id", {}),
    ("/v1/vector_stores", {}, "id", {}),
    ("/v1/messages/batches", {"requests": []}, "id", {"anthropic-version": "2023-06-01"}),
    ("/v1/files", {}, "id", {"anthropic-version": "2023-06-01", "anthropic-beta": "files-api-2025-04-14"}),
    ("/v1beta/cachedContents", {"model": "models/gemini-sim"}, "name", {}),
]


@pytest.mark.parametrize(("where", "request_", "name", "headers"), STORED, ids=lambda each: str(each)[:30])
def test_what_was_made_is_read_and_deleted_where_it_was_made(client, simulator, where, request_, name, headers):
    made = _many(client, where, request_, headers)
    owners = _accounts(simulator)
    assert len(set(owners)) > 1
    simulator.truth.clear()
    for thing in made:
        at = f"/v1beta/{thing[name]}" if name == "name" else f"{where}/{thing[name]}"
        assert client.get(at, headers=headers).status_code == 200
        assert client.delete(at, headers=headers).status_code == 200

    assert _accounts(simulator) == [owner for owner in owners for _ in range(2)]


def _user(text: object) -> list[dict[str, Any]]:
    return [{"role": "user", "content": text}]


def _uses(kind: str, name: str) -> tuple[str, dict[str, Any]]:
    """Return a generation that needs the stored thing *name*."""
    match kind:
        case "file":
            part = {"type": "input_file", "file_id": name}
            return "/v1/responses", {"model": "m", "store": False, "input": _user([part])}
        case "container":
            tool = {"type": "code_interpreter", "container": name}
            return "/v1/responses", {"model": "m", "store": False, "input": "go", "tools": [tool]}
        case "conversation":
            return "/v1/responses", {"model": "m", "input": "go", "conversation": name}
        case "batch":
            return "/v1/batches", {"input_file_id": name}
        case _:
            contents = [{"role": "user", "parts": [{"text": "go"}]}]
            return "/v1beta/models/gemini-sim:generateContent", {"contents": contents, "cachedContent": name}


@pytest.mark.parametrize(
    ("kind", "where"),
    [
        ("file", "/v1/files"), ("batch", "/v1/files"), ("container", "/v1/containers"),
        ("conversation", "/v1/conversations"), ("cache", "/v1beta/cachedContents"),
    ],
)  # fmt: skip
def test_what_needs_a_stored_thing_goes_to_the_account_that_has_it(client, simulator, kind, where):
    made = _many(client, where, {}, {})
    owners = _accounts(simulator)
    simulator.truth.clear()
    for thing in made:
        asked, request = _uses(kind, thing.get("id") or thing["name"])
        answer = client.post(asked, json=request)
        assert answer.status_code == 200, answer.text

    assert _accounts(simulator) == owners


def test_a_response_is_continued_read_cancelled_and_deleted_where_it_is_stored(client, simulator):
    first = [client.post("/v1/responses", json={"model": "m", "input": f"question {n}"}).json() for n in range(8)]
    owners = _accounts(simulator)
    simulator.truth.clear()
    for answer in first:
        name = answer["id"]
        follow = {"model": "m", "input": "and?", "previous_response_id": name}
        assert client.post("/v1/responses", json=follow).status_code == 200
        assert client.get(f"/v1/responses/{name}").status_code == 200
        assert client.get(f"/v1/responses/{name}/input_items").status_code == 200
        assert client.post(f"/v1/responses/{name}/cancel").status_code == 200
        assert client.delete(f"/v1/responses/{name}").status_code == 200

    assert len(set(owners)) > 1
    assert _accounts(simulator) == [owner for owner in owners for _ in range(5)]


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_encrypted_reasoning_goes_back_where_it_can_be_read(client, simulator, stream):
    for n in range(8):
        request = {"model": "m", "input": f"sealed {stream} {n}", "store": False, "stream": stream,
                   "include": ["reasoning.encrypted_content"]}  # fmt: skip
        answer = client.post("/v1/responses", json=request)
        output = _completed(answer.text)["output"] if stream else answer.json()["output"]
        # what an agent that compacted its history hands in: the reasoning, and a first turn nobody has seen
        again = {**request, "stream": False, "input": [*_user(f"in short {n}"), *output, *_user("go on")]}
        assert client.post("/v1/responses", json=again).status_code == 200

    accounts = _accounts(simulator)
    assert accounts[0::2] == accounts[1::2]
    assert len(set(accounts)) > 1


def _completed(stream: str) -> dict[str, Any]:
    events = [json.loads(line[6:]) for line in stream.splitlines() if line.startswith("data: {")]
    return dict(next(event["response"] for event in events if event["type"] == "response.completed"))


def test_a_turn_state_goes_back_to_the_account_that_made_it(client, simulator):
    simulator.fault("fields", {"headers": {TURN_STATE: "state-Zk3v9QxWm2TnB7cL"}}, times=1)
    try:
        first = client.post("/v1/responses", json={"model": "m", "input": "turn one", "store": False})
    finally:
        simulator.mend()
    for n in range(8):
        request = {"model": "m", "input": f"other words {n}", "store": False}
        client.post("/v1/responses", json=request, headers={TURN_STATE: first.headers[TURN_STATE]})

    assert len(set(_accounts(simulator))) == 1


def test_a_thing_whose_account_is_gone_fails_clearly(tmp_path, simulator):
    simulator.truth.clear()
    state, two = tmp_path / "state", dict(list(NAMES.items())[:2])
    off = "".join(
        f"  - {{id: {name}, provider: generic, base_url: reverse, key: {key}, models: [m]}}\n"
        for name, key in two.items()
    )
    config = f"state: {state}\naccounts:\n{off}"
    with (
        proxy(tmp_path, config, "-q", mode=f"reverse:{simulator.url}") as running,
        httpx.Client(base_url=running.url, timeout=30, trust_env=False) as client,
    ):
        made = client.post("/v1/responses", json={"model": "m", "input": "keep this"}).json()
        owner = _accounts(simulator)[0]
        simulator.fault("status", {"status": 401}, account=owner)
        try:
            follow = {"model": "m", "input": "and?", "previous_response_id": made["id"]}
            refused = client.post("/v1/responses", json=follow)
            again = client.post("/v1/responses", json=follow)
        finally:
            simulator.mend()

    assert {record.account for record in simulator.truth.requests} == {owner}
    assert refused.status_code >= 400
    assert again.status_code >= 400
    assert "account" in again.json()["error"]["message"].lower()


def test_one_client_cannot_steer_another_ones_session(tmp_path, simulator):
    simulator.truth.clear()
    with (
        proxy(
            tmp_path, generic_config(tmp_path, NAMES, more=TWO_CLIENTS), "-q", mode=f"reverse:{simulator.url}"
        ) as running,
        httpx.Client(base_url=running.url, timeout=30, trust_env=False) as client,
    ):
        for key in ("ck-ann", "ck-ben"):
            for n in range(12):
                headers = {"authorization": f"Bearer {key}", "x-session-id": f"s{n}"}
                answer = client.post("/v1/chat/completions", json=body("openai_chat", ["hi"]), headers=headers)
                assert answer.status_code == 200
        stored = client.post(
            "/v1/responses", json={"model": "m", "input": "mine"}, headers={"authorization": "Bearer ck-ann"}
        )
        theirs = [
            client.get(
                f"/v1/responses/{stored.json()['id']}",
                headers={"authorization": "Bearer ck-ben", "x-session-id": str(n)},
            )
            for n in range(6)
        ]
        stranger = client.post(
            "/v1/chat/completions", json=body("openai_chat", ["hi"]), headers={"authorization": "Bearer x"}
        )
    sessions = [json.loads(line)["session"] for line in running.journal.splitlines()]

    assert not set(sessions[:12]) & set(sessions[12:24])
    where = _accounts(simulator)
    assert where[:12] != where[12:24]
    assert stranger.status_code == 401
    assert {answer.status_code for answer in theirs} <= {200, 404}  # found by luck at most: nothing led there


def test_a_refreshed_token_moves_nothing(client, simulator):
    def token(number: int) -> str:
        claims = {"sub": "ann", "iat": number}
        parts = [
            base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in ({"alg": "x"}, claims)
        ]
        return f"{parts[0]}.{parts[1]}.signature{number}"

    for session in range(6):
        turns = [f"refreshed {session}"]
        for number in range(3):
            headers = {"authorization": f"Bearer {token(number)}", "x-told": str(session)}
            answer = client.post("/v1/chat/completions", json=body("openai_chat", turns), headers=headers)
            turns += [text_of("openai_chat", answer.content), "and?"]

    where = defaultdict(set)
    for record in simulator.truth.requests:
        where[record.header("x-told")].add(record.account)
    assert {len(accounts) for accounts in where.values()} == {1}


CONVERSATIONS, EQUAL, TURNS, AT_ONCE = 200, 20, 3, 24


def test_conversations_that_open_alike_are_told_apart(tmp_path, simulator):
    simulator.reset()
    simulator.fault(_in_other_words)
    with proxy(tmp_path, generic_config(tmp_path, NAMES), "-q", mode=f"reverse:{simulator.url}") as running:
        asyncio.run(_everybody(running.url))
    lines = [json.loads(line) for line in running.journal.splitlines()]
    simulator.mend()

    accounts, threads = defaultdict(set), defaultdict(set)
    thread_of = {line["request_id"]: line["thread"] for line in lines}
    for record in simulator.truth.requests:
        told, turn = record.header("x-told").split("/")
        accounts[told].add(record.account)
        if turn != "0":
            threads[told].add(thread_of[record.header("x-request-id")])
    assert {told: where for told, where in accounts.items() if len(where) > 1} == {}
    assert {len(found) for found in threads.values()} == {1}
    assert len({next(iter(found)) for found in threads.values()}) == CONVERSATIONS
    load = Counter(next(iter(where)) for where in accounts.values())
    assert max(load.values()) <= 1.5 * CONVERSATIONS / len(NAMES), load


async def _in_other_words(play: Play) -> None:
    """Let no two answers be alike, as a model that is asked twice does."""
    if play.reply:
        play.reply = replace(play.reply, text=f"Answer-{play.record.seq} {play.reply.text}")


async def _everybody(url: str) -> None:
    gate = asyncio.Semaphore(AT_ONCE)
    async with httpx.AsyncClient(base_url=url, timeout=60, trust_env=False) as client:
        order = random.Random(3).sample(range(CONVERSATIONS), CONVERSATIONS)
        await asyncio.gather(*(_converse(client, number, gate) for number in order))


async def _converse(client: httpx.AsyncClient, number: int, gate: asyncio.Semaphore) -> None:
    dialect = "openai_chat"
    turns = ["hi" if number < EQUAL else f"question {number}"]
    for turn in range(TURNS):
        headers = {**credential(dialect, "ck"), "x-told": f"{number}/{turn}"}
        async with gate:
            answer = await client.post(path(dialect), json=body(dialect, turns), headers=headers)
        assert answer.status_code == 200, answer.text
        turns += [text_of(dialect, answer.content), "and then?"]
