"""Conversations with what only one account can read, and what becomes of them when that account is out."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anthropic
import httpx
import openai
import pytest
from websockets.sync.client import connect

from ..simulator import Simulator
from .conftest import KEYS
from .harness import Proxy, generic_config, proxy

NAMES = {name: key for key, name in KEYS.items()}
CLIENT = "the-client-s-own"


@contextmanager
def through(folder: Path, simulator: Simulator, owner: str = "", account: str = "") -> Iterator[Proxy]:
    simulator.reset()
    more = f"failover: {{encrypted_reasoning: {owner}}}" if owner else ""
    config = generic_config(folder, NAMES, more=more, account=account)
    with proxy(folder, config, "-q", mode=f"reverse:{simulator.url}") as running:
        yield running


def out(simulator: Simulator) -> str:
    """Let the account that answered last refuse everything from now on; return its name."""
    account = simulator.truth.last().account
    simulator.fault("status", {"status": 401, "kind": "auth"}, account=account)
    simulator.truth.clear()
    return account


def items(answer: Any) -> list[Any]:
    return [item.model_dump(exclude_none=True, exclude={"id", "status"}) for item in answer.output]


def begin(sdk: openai.OpenAI) -> list[Any]:
    """Return the history of a conversation of one turn, with its sealed reasoning."""
    asked: list[Any] = [{"role": "user", "content": "remember the turbine"}]
    answer = sdk.responses.create(model="sim-large", input=asked, store=False, include=["reasoning.encrypted_content"])
    history = [*asked, *items(answer), {"role": "user", "content": "go on"}]
    assert any(item.get("encrypted_content") for item in history)
    return history


@pytest.mark.parametrize("stream", [False, True])
def test_a_conversation_goes_on_without_its_old_reasoning(tmp_path: Path, simulator: Simulator, stream: bool) -> None:
    """A3: by default the client sees an answer and no error, now and in the turns that follow."""
    with through(tmp_path, simulator) as running:
        sdk = openai.OpenAI(api_key=CLIENT, base_url=running.url + "/v1", max_retries=0)
        history, include = begin(sdk), ["reasoning.encrypted_content"]
        home = out(simulator)
        for turn in range(3):
            more: Any = {"input": history, "store": False, "include": include}
            if stream:
                with sdk.responses.stream(model="sim-large", **more) as events:
                    answer: Any = events.get_final_response()
            else:
                answer = sdk.responses.create(model="sim-large", **more)
            history = [*history, *items(answer), {"role": "user", "content": f"and turn {turn}?"}]

    statuses = [record.status for record in simulator.truth.requests]
    assert statuses == [401, 400, 200, 200, 200]  # the old account, the new one, and then without what the old one made
    assert len({record.account for record in simulator.truth.requests} - {home}) == 1
    sent = json.loads(simulator.truth.last().body)["input"]
    assert sum("encrypted_content" in item for item in sent) == 2  # what the new account made is sent


def test_it_may_be_refused_instead(tmp_path: Path, simulator: Simulator) -> None:
    """A3: `failover.encrypted_reasoning: refuse`, and the refusal says what to do."""
    with through(tmp_path, simulator, "refuse") as running:
        sdk = openai.OpenAI(api_key=CLIENT, base_url=running.url + "/v1", max_retries=0)
        history = begin(sdk)
        home = out(simulator)
        for _ in range(2):
            with pytest.raises(openai.APIStatusError) as refused:
                sdk.responses.create(model="sim-large", input=history, store=False)

    assert {record.account for record in simulator.truth.requests} == {home}
    told = str(refused.value)
    assert f"Account {home} owns this conversation's encrypted reasoning" in told
    assert "set failover.encrypted_reasoning" in told


def test_another_account_may_try_it_as_it_is(tmp_path: Path, simulator: Simulator) -> None:
    """A3: `failover.encrypted_reasoning: try`."""
    with through(tmp_path, simulator, "try") as running:
        sdk = openai.OpenAI(api_key=CLIENT, base_url=running.url + "/v1", max_retries=0)
        history = begin(sdk)
        out(simulator)
        with pytest.raises(openai.BadRequestError) as refused:
            sdk.responses.create(model="sim-large", input=history, store=False)

    assert refused.value.code == "invalid_encrypted_content"
    assert [record.status for record in simulator.truth.requests] == [401, 400]


def test_on_a_websocket_it_goes_without_at_once(tmp_path: Path, simulator: Simulator) -> None:
    """A3: a socket sends nothing twice."""
    with through(tmp_path, simulator, account="websockets: true") as running:
        sdk = openai.OpenAI(api_key=CLIENT, base_url=running.url + "/v1", max_retries=0)
        history = begin(sdk)
        out(simulator)
        sdk.responses.create(model="sim-large", input="who is there?", extra_headers={"x-session-id": "other"})
        simulator.truth.clear()
        url = f"ws://127.0.0.1:{running.port}/v1/responses"
        headers = {"Authorization": f"Bearer {CLIENT}", "x-session-id": "other"}
        with connect(url, additional_headers=headers, proxy=None, open_timeout=30) as socket:
            socket.send(json.dumps({"type": "response.create", "model": "sim-large", "input": history, "store": False}))
            while (event := json.loads(socket.recv(timeout=30)))["type"] not in ("response.completed", "error"):
                pass

    assert event["type"] == "response.completed", event


SIGNED = {"type": "thinking", "thinking": "hm", "signature": "ErUBCkYIBBgCIkAsignature0123456789"}
LOOP: list[Any] = [
    {"role": "user", "content": "what?"},
    {"role": "assistant", "content": [SIGNED, {"type": "tool_use", "id": "toolu_1", "name": "n", "input": {}}]},
    {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_1", "content": "ok"}]},
]
MISSES = "messages.1.content.0.type: Expected `thinking` or `redacted_thinking`, but found `tool_use`"


def test_a_tool_loop_goes_on_at_another_account_and_comes_home(tmp_path: Path, simulator: Simulator) -> None:
    """A3: in a tool loop thinking is refused without what was signed, so it is switched off there, and only there."""
    managed = {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]}
    asked = {"model": "sim-large", "max_tokens": 2000, "thinking": {"type": "enabled", "budget_tokens": 1024}}
    with (
        through(tmp_path, simulator) as running,
        httpx.Client(base_url=running.url, trust_env=False, headers={"x-api-key": CLIENT}, timeout=30) as client,
    ):

        def turn(refused: str, session: str, but: str = "") -> tuple[int, Any]:
            simulator.truth.clear()
            at = {"status": 400, "message": refused}
            simulator.fault("status", at, times=1, when=lambda record: record.account != but)
            body = asked | {"messages": LOOP, "context_management": managed}
            answer = client.post("/v1/messages", json=body, headers={"x-session-id": session})
            return answer.status_code, json.loads(simulator.truth.last().body)

        status, sent = turn("messages.1.content.0: Invalid `signature` in `thinking` block", "tool-loop-1")
        assert (status, sent["thinking"], sent["context_management"]) == (200, {"type": "disabled"}, {"edits": []})
        home = simulator.truth.last().account
        simulator.fault("status", {"status": 401, "kind": "auth"}, account=home)  # and on it goes elsewhere
        status, sent = turn(MISSES, "tool-loop-1", but=home)
        assert (status, sent["thinking"]) == (200, {"type": "disabled"})
        status, sent = turn(MISSES, "tool-loop-2")  # has never moved: its client's own mistake
        assert (status, sent["thinking"]["type"]) == (400, "enabled")


def test_signed_thinking_that_is_refused_is_left_out(tmp_path: Path, simulator: Simulator) -> None:
    """A3: "Invalid `signature` in `thinking` block" at another account is never seen."""
    with through(tmp_path, simulator) as running:
        message = "messages.1.content.0: Invalid `signature` in `thinking` block"
        simulator.fault("status", {"status": 400, "message": message}, times=1)
        thinking = {"type": "thinking", "thinking": "hm", "signature": "ErUBCkYIBBgCIkAsignature0123456789"}
        said = {"role": "assistant", "content": [thinking, {"type": "text", "text": "a turbine"}]}
        asked: Any = [{"role": "user", "content": "what?"}, said, {"role": "user", "content": "go on"}]
        sdk = anthropic.Anthropic(api_key=CLIENT, base_url=running.url, max_retries=0)
        assert sdk.messages.create(model="sim-large", max_tokens=99, messages=asked).content

    assert [record.status for record in simulator.truth.requests] == [400, 200]
    assert b"thinking" not in simulator.truth.last().body


def test_a_thread_whose_account_is_out_begins_anew_elsewhere(tmp_path: Path, simulator: Simulator) -> None:
    """P8, A3: the SDK hears `thread_not_found`, sends the whole conversation, and its user sees nothing of it."""
    with through(tmp_path, simulator) as running:
        sdk = anthropic.Anthropic(api_key=CLIENT, base_url=running.url, max_retries=0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            thread = sdk.beta.messages.thread(model="sim-large", max_tokens=99)
            thread.send({"role": "user", "content": "remember the turbine"})
            home = out(simulator)
            for turn in range(3):
                thread.send({"role": "user", "content": f"turn {turn}"})

    served = [record for record in simulator.truth.requests if record.status == 200]
    assert len(served) == 3
    assert len({record.account for record in served} - {home}) == 1
    assert len(json.loads(served[0].body)["messages"]) == 3  # all that was said


def test_ids_of_the_old_account_do_not_travel(tmp_path: Path, simulator: Simulator) -> None:
    """P9: a diagnosis is asked of the account that can make it; at home not a byte changes."""
    with (
        through(tmp_path, simulator) as running,
        httpx.Client(base_url=running.url, trust_env=False, timeout=30) as client,
    ):
        client.headers.update({"x-api-key": CLIENT, "anthropic-version": "2023-06-01", "x-session-id": "diagnosed"})

        def ask(text: str, previous: str | None) -> tuple[bytes, str]:
            body: dict[str, Any] = {
                "model": "sim-large",
                "max_tokens": 9,
                "messages": [{"role": "user", "content": text}],
            }
            raw = json.dumps(body | {"diagnostics": {"previous_message_id": previous}, "workspace_id": "wrkspc_1"})
            answer = client.post("/v1/messages", content=raw, headers={"content-type": "application/json"})
            assert answer.status_code == 200, answer.text
            return raw.encode(), str(answer.json()["id"])

        _, first = ask("one", None)
        raw, second = ask("two", first)
        assert simulator.truth.last().body == raw
        out(simulator)
        raw, third = ask("three", second)
        sent = simulator.truth.last().body
        assert sent == raw.replace(b'"' + second.encode() + b'"', b"null").replace(b', "workspace_id": "wrkspc_1"', b"")
        ask("four", third)
        assert json.loads(simulator.truth.last().body)["diagnostics"] == {"previous_message_id": third}
