"""Interactions of the simulated provider: stored, continued by their ids, and nobody else's."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from ..simulator import simulator_thread

WHERE = "/v1beta/interactions"


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with simulator_thread({"sk-a": "a", "sk-b": "b"}) as simulator:
        yield simulator.url


def _call(url: str, method: str, path: str, body: object = None, key: str = "sk-a") -> tuple[int, dict[str, Any]]:
    with httpx.Client(base_url=url, headers={"x-goog-api-key": key}, trust_env=False, timeout=30) as client:
        answer = client.request(method, path, json=body)
    return answer.status_code, answer.json()


def _asked(text: object, **more: Any) -> dict[str, Any]:
    return {"model": "sim-large", "input": text, **more}


def test_an_interaction_is_there_for_the_account_that_made_it(url):
    _, made = _call(url, "POST", WHERE, _asked("hello"))
    path = f"{WHERE}/{made['id']}"

    assert (made["status"], made["steps"][0]["type"]) == ("completed", "model_output")
    assert _call(url, "GET", path)[1] == made
    assert _call(url, "GET", path, key="sk-b")[0] == 404
    assert _call(url, "POST", f"{path}/cancel")[1]["status"] == "cancelled"
    assert _call(url, "DELETE", path) == (200, {})
    assert _call(url, "GET", path)[0] == 404


def test_one_is_continued_by_its_id_and_only_under_its_own_account(url):
    _, made = _call(url, "POST", WHERE, _asked("hello"))
    follow = _asked([{"type": "user_input", "content": [{"type": "text", "text": "go on"}]}],
                    previous_interaction_id=made["id"])  # fmt: skip
    _, alone = _call(url, "POST", WHERE, _asked("go on"))
    status, next_ = _call(url, "POST", WHERE, follow)

    assert (status, next_["previous_interaction_id"]) == (200, made["id"])
    assert next_["usage"]["total_input_tokens"] > alone["usage"]["total_input_tokens"]
    assert _call(url, "POST", WHERE, follow, key="sk-b")[1]["error"]["code"] == "previous_interaction_not_found"
    assert _call(url, "POST", WHERE, _asked(""))[0] == 400


def test_one_in_the_background_has_no_steps_yet_and_one_that_is_not_stored_is_gone(url):
    _, begun = _call(url, "POST", WHERE, _asked("slowly", background=True))
    _, fleeting = _call(url, "POST", WHERE, _asked("quick", store=False))

    assert (begun["status"], begun["steps"]) == ("in_progress", [])
    assert _call(url, "GET", f"{WHERE}/{fleeting['id']}")[0] == 404


def test_a_stream_is_made_of_steps(url):
    with httpx.Client(base_url=url, headers={"x-goog-api-key": "sk-a"}, trust_env=False, timeout=30) as client:
        text = client.post(WHERE, json=_asked("hello", stream=True)).text
    events = [json.loads(line[6:]) for line in text.splitlines() if line.startswith("data: ")]
    kinds = [event["event_type"] for event in events]
    said = "".join(event["delta"]["text"] for event in events if event["event_type"] == "step.delta")

    assert kinds[:2] == ["interaction.created", "step.start"]
    assert kinds[-2:] == ["step.stop", "interaction.completed"]
    assert len(said.split()) == 12


def test_a_tool_that_is_asked_for_is_called(url):
    tools = [{"type": "function", "name": "look", "parameters": {}}]
    _, made = _call(url, "POST", WHERE, _asked("USE_TOOL", tools=tools))

    assert made["status"] == "requires_action"
    assert (made["steps"][0]["type"], made["steps"][0]["name"]) == ("function_call", "look")
