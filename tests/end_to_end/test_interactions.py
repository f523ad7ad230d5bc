"""Gemini's interactions: made by one account, they are continued, read, cancelled and deleted there."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from google import genai
from google.genai import types

from ..simulator import Simulator
from .conftest import KEYS
from .harness import Proxy, eventually, generic_config, proxy

NAMES = {name: key for key, name in KEYS.items()}
WHERE = "/v1beta/interactions"


@pytest.fixture(scope="module")
def through(tmp_path_factory: pytest.TempPathFactory, simulator: Simulator) -> Iterator[Proxy]:
    folder = tmp_path_factory.mktemp("interactions")
    with proxy(folder, generic_config(folder, NAMES), "-q", mode=f"reverse:{simulator.url}") as running:
        yield running


@pytest.fixture
def client(through: Proxy, simulator: Simulator) -> Iterator[httpx.Client]:
    simulator.truth.clear()
    headers = {"x-goog-api-key": "the-client-s-own"}
    with httpx.Client(base_url=through.url, timeout=30, trust_env=False, headers=headers) as made:
        yield made


def accounts(simulator: Simulator) -> list[str]:
    return [record.account for record in simulator.truth.requests]


def asked(text: str, **more: Any) -> dict[str, Any]:
    return {"model": "sim-large", "input": text, **more}


def named(stream: str) -> str:
    """Return the id that a stream gives its interaction."""
    events = [json.loads(line[6:]) for line in stream.splitlines() if line.startswith("data: {")]
    return str(events[0]["interaction"]["id"])


@pytest.mark.parametrize(
    "more", [{}, {"stream": True}, {"background": True}], ids=["whole", "streamed", "in the background"]
)
def test_an_interaction_is_continued_read_cancelled_and_deleted_where_it_was_made(client, simulator, more):
    made = [
        client.post(WHERE, json=asked(f"question {n}", **more), headers={"x-session-id": f"{more} {n}"})
        for n in range(8)
    ]
    owners = accounts(simulator)
    assert len(set(owners)) > 1
    simulator.truth.clear()
    for answer in made:
        name = named(answer.text) if "stream" in more else answer.json()["id"]
        follow = asked("and?", previous_interaction_id=name)
        assert client.post(WHERE, json=follow).status_code == 200
        assert client.post(WHERE, json={**follow, "stream": True}).status_code == 200
        assert client.get(f"{WHERE}/{name}").json()["id"] == name
        assert client.post(f"{WHERE}/{name}/cancel").json()["status"] == "cancelled"
        assert client.delete(f"{WHERE}/{name}").status_code == 200
        assert client.get(f"{WHERE}/{name}").status_code == 404

    assert accounts(simulator) == [owner for owner in owners for _ in range(6)]


def test_a_chain_of_interactions_has_one_affinity(client, simulator, through):
    ids: list[str] = []
    for n in range(4):
        name = ""
        for _ in range(4):
            more = {"previous_interaction_id": name} if name else {}
            answer = client.post(WHERE, json=asked(f"chain {n}", **more))
            ids.append(answer.headers["x-patchbay-request-id"])
            name = answer.json()["id"]

    assert eventually(lambda: all(each in through.journal for each in ids))
    told = {line["request_id"]: line for line in map(json.loads, through.journal.splitlines())}
    lines = [told[each] for each in ids]
    assert {line["dialect"] for line in lines} == {"gemini"}
    for chain in (lines[at : at + 4] for at in range(0, 16, 4)):
        assert len({line["account"] for line in chain}) == 1
        assert len({line["session"] for line in chain[1:]}) == 1


def test_the_official_sdk_holds_conversations_by_interactions(through, simulator):
    simulator.truth.clear()
    sdk = genai.Client(api_key="the-client-s-own", http_options=types.HttpOptions(base_url=through.url))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it says that all of this is experimental
        interactions = sdk.interactions
    for n in range(6):
        first = interactions.create(model="sim-large", input=f"by the SDK {n}")
        events = interactions.create(model="sim-large", input="go on", previous_interaction_id=first.id, stream=True)
        kinds = [event.event_type for event in events]
        assert (kinds[0], kinds[-1]) == ("interaction.created", "interaction.completed")
        assert interactions.get(first.id).id == first.id
        assert interactions.cancel(first.id).status == "cancelled"
        interactions.delete(first.id)

    found = accounts(simulator)
    assert [found[at : at + 5] for at in range(0, 30, 5)] == [[found[at]] * 5 for at in range(0, 30, 5)]
    assert len(set(found)) > 1
    assert all(record.credential in NAMES.values() for record in simulator.truth.requests)


@pytest.mark.parametrize("fault", [("status", {"status": 429}), ("stream_error", {}), ("empty", {})])
def test_an_interaction_that_fails_before_it_says_anything_is_served_by_another(client, simulator, fault):
    name, settings = fault
    simulator.fault(name, settings, times=1)
    try:
        answer = client.post(WHERE, json=asked(f"fails with {name}", stream=True))
    finally:
        simulator.mend()
    made = named(answer.text)

    assert answer.text.count("interaction.created") == 2, "one event, with its line and its type"
    assert client.get(f"{WHERE}/{made}").status_code == 200
    tried = accounts(simulator)
    assert len(tried) == 3
    assert tried[0] != tried[1] == tried[2]


def test_what_runs_in_the_background_is_not_begun_twice(client, simulator):
    simulator.fault("reset_head", {}, times=1)
    try:
        for path, request in ((WHERE, asked("far away", background=True)),
                              ("/v1/responses", asked("far away", background=True))):  # fmt: skip
            simulator.truth.clear()
            answer = client.post(path, json=request)
            assert len(simulator.truth.requests) == 1, path
            assert answer.status_code >= 500
            simulator.fault("reset_head", {}, times=1)
    finally:
        simulator.mend()


def test_an_interaction_whose_account_is_gone_is_said_to_be_lost(client, simulator):
    made = client.post(WHERE, json=asked("kept")).json()["id"]
    owner = accounts(simulator)[0]
    simulator.fault("status", {"status": 429, "retry_after": 60}, account=owner)
    try:
        client.post(WHERE, json=asked("and?", previous_interaction_id=made))
        refused = client.post(WHERE, json=asked("and?", previous_interaction_id=made))
    finally:
        simulator.mend()

    assert refused.status_code in (429, 503)
    assert set(accounts(simulator)) == {owner}
