"""What OpenAI's Responses says one turn later amends the verdict on the answer before, on a WebSocket too."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import pytest

from ..simulator import Simulator, simulator_thread
from .conftest import KEYS
from .harness import Proxy, eventually, proxy
from .test_late_verdicts import lines, told
from .test_verify import patchbay
from .test_websockets import ask, socket

NAMES = {name: key for key, name in KEYS.items()}
WARM = 9  # conversations that the provider compares rightly, before anything goes wrong


@pytest.fixture(scope="module")
def silent() -> Iterator[Simulator]:
    with simulator_thread(KEYS, echo="none") as running:
        yield running


@contextmanager
def running_before(upstream: Simulator, folder: Path, more: str = "") -> Iterator[Proxy]:
    settings = (
        f"state: {folder / 'state'}\njournal: {{path: {folder / 'journal.jsonl'}}}\ngrace_period: 1s\n"
        f"providers: {{openai: {{base_url: '{upstream.url}/v1'{more}}}}}\n"
        f"accounts:\n  - {{id: one, provider: openai, key: {NAMES['one']}, websockets: true}}\n"
    )
    upstream.reset()
    mode = "reverse:http://patchbay.invalid"
    with proxy(folder, settings, "-w", str(folder / "flows.mitm"), mode=mode) as running:
        yield running


Send = Callable[[dict[str, Any]], dict[str, Any]]


def over_http(running: Proxy) -> Send:
    def send(body: dict[str, Any]) -> dict[str, Any]:
        headers = {"authorization": "Bearer sk-client-of-talks", "x-told": body["input"][-1]["content"]}
        answer = httpx.post(f"{running.url}/v1/responses", json=body, headers=headers, timeout=60, trust_env=False)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    return send


class Talk:
    """One conversation; *asks*: each turn names the answer before."""

    def __init__(self, name: str, send: Send, *, asks: bool = True) -> None:
        self._name, self._send, self._asks = name, send, asks
        self._turns: list[dict[str, Any]] = []
        self.previous = ""

    def turn(self, text: str) -> dict[str, Any]:
        self._turns.append({"role": "user", "content": text if text == "swapped" else f"{self._name}: {text}"})
        body: dict[str, Any] = {"model": "sim-large", "input": self._turns, "prompt_cache_key": self._name}
        if self._asks and self.previous:
            body["prompt_cache_options"] = {"comparison_response_id": self.previous}
        answer = self._send(body)
        said = answer["output"][-1]["content"][0]["text"]
        self.previous = answer["id"]
        self._turns.append({"role": "assistant", "content": said})
        return answer


def judged_again(folder: Path) -> str:
    return patchbay("verify", "--all", "--state", str(folder / "state"), str(folder / "flows.mitm")).stdout


def test_attest_asks_for_the_comparison_where_the_client_does_not(tmp_path: Path, silent: Simulator) -> None:
    with running_before(silent, tmp_path, ", attest: true") as running:
        talk = Talk("mine", over_http(running), asks=False)
        for text in ("first", "second", "third"):
            talk.turn(text)
        assert eventually(lambda: len(told(running, "verdict_change")) == 2)

    asked = [json.loads(record.body).get("prompt_cache_options") for record in silent.truth.requests]
    answers = [record.answer_id for record in silent.truth.requests]
    assert asked == [None, *({"comparison_response_id": each} for each in answers[:2])]
    assert {change["verdict"] for change in told(running, "verdict_change")} == {"clean"}
    again = judged_again(tmp_path)
    assert "2 clean, 1 unverifiable" in again
    assert "judged live" not in again


def test_what_the_client_asks_itself_is_left_alone(tmp_path: Path, silent: Simulator) -> None:
    with running_before(silent, tmp_path, ", attest: true") as running:
        talk = Talk("mine", over_http(running))
        answers = [talk.turn(text) for text in ("first", "second")]
        assert eventually(lambda: len(told(running, "verdict_change")) == 1)

    asked = [json.loads(record.body).get("prompt_cache_options") for record in silent.truth.requests]
    assert asked == [None, {"comparison_response_id": answers[0]["id"]}]


def test_an_upstream_that_refuses_to_compare_is_asked_no_more(tmp_path: Path, silent: Simulator) -> None:
    refused = {"error": {"message": "Unknown parameter: 'prompt_cache_options'.", "type": "invalid_request_error"}}
    with running_before(silent, tmp_path, ", attest: true") as running:
        silent.fault(
            "status", {"status": 400, "body": refused}, when=lambda record: b'"prompt_cache_options"' in record.body
        )
        talk = Talk("mine", over_http(running), asks=False)
        for text in ("first", "second", "third"):
            talk.turn(text)
        assert eventually(lambda: len(lines(running)) == 3)
        assert running.log.count("refuses `prompt_cache_options`") == 1

    assert [len(line["attempts"]) for line in lines(running)] == [1, 2, 1]


def test_a_swap_is_suspected_a_turn_later_and_both_are_named(tmp_path: Path, silent: Simulator) -> None:
    with running_before(silent, tmp_path) as running:
        send = over_http(running)
        for number in range(WARM):
            talk = Talk(f"warm {number}", send)
            talk.turn("first")
            talk.turn("second")
        silent.fault("swap", {"timeout": 20}, when=lambda record: record.header("x-told") == "swapped")
        one, two = Talk("one", send), Talk("two", send)
        one.turn("before"), two.turn("before")
        with ThreadPoolExecutor(2) as both:
            list(both.map(lambda each: each.turn("swapped"), (one, two)))
        one.turn("after"), two.turn("after")
        assert eventually(lambda: len([each for each in told(running, "verdict_change") if of_swap(each)]) >= 2)

        swapped = {each["exchange"] for each in lines(running)[2 * WARM + 2 : 2 * WARM + 4]}
    last = {each["exchange"]: each for each in told(running, "verdict_change") if of_swap(each)}
    assert set(last) == swapped
    assert {each["victim"] for each in last.values()} == swapped
    assert all(each["victim"] != name for name, each in last.items())
    assert "judged live" not in judged_again(tmp_path)


def of_swap(change: dict[str, Any]) -> bool:
    return change["verdict"] in ("suspect", "crosstalk")


def test_on_a_websocket_the_next_turn_says_it_too(tmp_path: Path, silent: Simulator) -> None:
    with running_before(silent, tmp_path) as running, socket(running, "0d0e1981-7f5a-4716-9257-4b6015da25d0") as opened:

        def send(body: dict[str, Any]) -> dict[str, Any]:
            *turns, last = body.pop("input")
            events = ask(opened, last["content"], **body, input=[*turns, last])
            found: dict[str, Any] = events[-1]["response"]
            return found

        talk = Talk("mine", send)
        for text in ("first", "second", "third", "fourth"):
            talk.turn(text)
        assert eventually(lambda: len(told(running, "verdict_change")) == 2)
        exchanges = [line["exchange"] for line in lines(running) if line["status"] == 200]

    changes = told(running, "verdict_change")
    # the first turn passed before this host was known to compare
    assert [(each["exchange"], each["by"]) for each in changes] == list(pairwise(exchanges))[1:]
    assert {(each["was"], each["verdict"]) for each in changes} == {("unverifiable", "clean")}
    again = judged_again(tmp_path)
    assert "2 clean" in again
    assert "judged live" not in again
