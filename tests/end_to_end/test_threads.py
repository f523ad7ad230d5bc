"""Anthropic's message threads: the account that answered holds them, so it gets what continues them."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import anthropic
import httpx
import pytest

from ..ports import free_port
from ..simulator import Simulator
from .conftest import KEYS
from .harness import Proxy, generic_config, proxy

NAMES = {name: key for key, name in KEYS.items()}
WHERE = "/v1/messages"
ANN, BOB = "ann-0123456789abcdef", "bob-0123456789abcdef"


@pytest.fixture(scope="module")
def through(tmp_path_factory: pytest.TempPathFactory, simulator: Simulator) -> Iterator[Proxy]:
    folder = tmp_path_factory.mktemp("threads")
    with proxy(folder, generic_config(folder, NAMES), "-q", mode=f"reverse:{simulator.url}") as running:
        yield running


def ask(url: str, text: str, previous: str = "", **headers: str) -> httpx.Response:
    thread = {"type": "continue", "previous_message_id": previous} if previous else {"type": "create"}
    messages = [{"role": "user", "content": text}]
    body: dict[str, Any] = {"model": "sim-large", "max_tokens": 99, "messages": messages, "thread": thread}
    given = {"x-api-key": "the-client-s-own", "anthropic-version": "2023-06-01"} | headers
    return httpx.post(url + WHERE, json=body, headers=given, timeout=30, trust_env=False)


@pytest.mark.parametrize("named", [False, True], ids=["no header", "session header"])
def test_threads_are_continued_where_they_began(through, simulator, named):
    """P8: twelve conversations without a header continue their threads, each with the account that holds it."""
    simulator.truth.clear()
    headers = [{"x-claude-code-session-id": f"session-{n}-0123"} if named else {} for n in range(12)]
    previous = ["" for _ in range(12)]
    for turn in range(4):
        for n in range(12):
            answer = ask(through.url, f"chat {n} turn {turn} {named}", previous[n], **headers[n])
            assert answer.status_code == 200, answer.text
            previous[n] = answer.json()["id"]

    served = [record.account for record in simulator.truth.requests]
    assert len(served) == 48
    assert served[:12] * 4 == served
    assert len(set(served)) > 1


@pytest.mark.parametrize("stream", [False, True])
def test_the_official_sdk_continues_its_threads(through, simulator, stream):
    """P8: `client.beta.messages.thread()` loses no continuation."""
    simulator.truth.clear()
    sdk = anthropic.Anthropic(api_key="the-client-s-own", base_url=through.url, max_retries=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        threads = [sdk.beta.messages.thread(model="sim-large", max_tokens=99) for _ in range(8)]
        for turn in range(4):
            for n, thread in enumerate(threads):
                message: Any = {"role": "user", "content": f"sdk {n} turn {turn} {stream}"}
                if stream:
                    with thread.stream(message) as events:
                        events.until_done()
                else:
                    thread.send(message)

    records = simulator.truth.requests
    assert [record.status for record in records] == [200] * 32
    assert [record.account for record in records[:8]] * 4 == [record.account for record in records]


def test_a_thread_is_known_over_a_restart(tmp_path, simulator):
    """P8: the account that holds a thread is found again in the store."""
    port, config = free_port(), generic_config(tmp_path, NAMES, more="store: sqlite")
    simulator.truth.clear()
    with proxy(tmp_path, config, "-q", mode=f"reverse:{simulator.url}", port=port) as before:
        made = [ask(before.url, f"before the restart {n}").json()["id"] for n in range(8)]
    with proxy(tmp_path, config, "-q", mode=f"reverse:{simulator.url}", port=port) as after:
        statuses = [ask(after.url, f"after the restart {n}", name).status_code for n, name in enumerate(made)]

    served = [record.account for record in simulator.truth.requests]
    assert statuses == [200] * 8
    assert served[:8] == served[8:]


def test_a_thread_of_another_client_is_not_continued(tmp_path, simulator):
    """P8: a thread is there for the client it was made for, and for nobody else."""
    clients = f"clients:\n  - {{name: ann, key: {ANN}}}\n  - {{name: bob, key: {BOB}}}"
    with proxy(tmp_path, generic_config(tmp_path, NAMES, more=clients), mode=f"reverse:{simulator.url}") as running:
        made = ask(running.url, "a thread of ann's", **{"x-api-key": ANN}).json()["id"]
        simulator.truth.clear()
        refused = ask(running.url, "give it to me", made, **{"x-api-key": BOB})

    assert refused.status_code == 404
    assert refused.json()["error"]["details"] == {"error_code": "thread_not_found"}
    assert not simulator.truth.requests
