"""What a provider says one turn later amends the verdict on the answer before, wherever it was written."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from ..simulator import Simulator, simulator_thread
from .conftest import KEYS
from .harness import Proxy, eventually, proxy
from .test_verify import patchbay

NAMES = {name: key for key, name in KEYS.items()}
WARM = 9  # conversations that the provider compares rightly, before anything goes wrong


@pytest.fixture(scope="module")
def silent() -> Iterator[Simulator]:
    with simulator_thread(KEYS, echo="none") as running:
        yield running


def settings(folder: Path, upstream: Simulator, more: str = "") -> str:
    return (
        f"state: {folder / 'state'}\njournal: {{path: {folder / 'journal.jsonl'}}}\ngrace_period: 1s\n"
        f"providers: {{anthropic: {{base_url: '{upstream.url}'{more}}}}}\n"
        f"accounts:\n  - {{id: one, provider: anthropic, key: {NAMES['one']}}}\n"
    )


@pytest.fixture
def running(tmp_path: Path, silent: Simulator) -> Iterator[Proxy]:
    silent.reset()
    with proxy(
        tmp_path, settings(tmp_path, silent), "-w", str(tmp_path / "flows.mitm"), mode="reverse:http://patchbay.invalid"
    ) as found:
        yield found


class Talk:
    """One conversation as Claude Code has it: each turn names the answer before."""

    def __init__(self, running: Proxy, name: str, *, stream: bool = False, asks: bool = True) -> None:
        self.through, self._name = running, name
        self._stream, self._asks = stream, asks
        self.messages: list[dict[str, Any]] = []
        self.previous: str | None = None

    def turn(self, text: str) -> None:
        self.messages.append({"role": "user", "content": [{"type": "text", "text": f"{self._name}: {text}"}]})
        asked = {"diagnostics": {"previous_message_id": self.previous}} if self._asks else {}
        body = {"model": "sim-large", "max_tokens": 64, "messages": self.messages, "stream": self._stream, **asked}
        headers = {
            "x-api-key": "sk-client-of-talks", "anthropic-version": "2023-06-01",
            "x-claude-code-session-id": f"00000000-0000-4000-8000-{abs(hash(self._name)) % 10**12:012}",
            "x-told": text,
        }  # fmt: skip
        answer = httpx.post(f"{self.through.url}/v1/messages", json=body, headers=headers, timeout=60, trust_env=False)
        assert answer.status_code == 200, answer.text
        self._take(answer)

    def _take(self, answer: httpx.Response) -> None:
        if not self._stream:
            message = answer.json()
            self.previous, content = message["id"], message["content"]
        else:
            events = [json.loads(line[6:]) for line in answer.text.splitlines() if line.startswith("data: ")]
            self.previous = events[0]["message"]["id"]
            words = [event["delta"]["text"] for event in events if event["type"] == "content_block_delta"]
            content = [{"type": "text", "text": "".join(words)}]
        self.messages.append({"role": "assistant", "content": content})


def told(running: Proxy, event: str) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (running.folder / "journal.jsonl").read_text().splitlines()]
    return [line for line in lines if line["event_type"] == event]


def lines(running: Proxy) -> list[dict[str, Any]]:
    return [json.loads(line) for line in running.journal.splitlines()]


def warm(running: Proxy, **more: Any) -> None:
    for number in range(WARM):
        talk = Talk(running, f"warm {number}", **more)
        talk.turn("first")
        talk.turn("second")


@pytest.mark.parametrize("stream", [False, True])
def test_right_answers_are_clean_a_turn_later(tmp_path: Path, running: Proxy, stream: bool) -> None:
    talk = Talk(running, "mine", stream=stream)
    for text in ("first", "second", "third"):
        talk.turn(text)
    assert eventually(lambda: len(lines(running)) == 3 and len(told(running, "verdict_change")) == 2)

    first, second, third = lines(running)
    assert {line["verdict"] for line in (first, second, third)} == {"unverifiable"}
    changes = told(running, "verdict_change")
    assert [(each["exchange"], each["by"]) for each in changes] == [
        (first["exchange"], second["exchange"]), (second["exchange"], third["exchange"]),
    ]  # fmt: skip
    assert {(each["was"], each["verdict"]) for each in changes} == {("unverifiable", "clean")}
    assert all(each["session"] == first["session"] and each["account"] == "one" for each in changes)

    running.interrupt()
    said = patchbay("verify", "--all", "--state", str(tmp_path / "state"), str(tmp_path / "flows.mitm")).stdout
    assert "2 clean, 1 unverifiable" in said
    assert said.count("unverifiable until") == 2
    assert "judged live" not in said


@pytest.mark.parametrize("stream", [False, True])
def test_a_swap_is_suspected_a_turn_later_and_both_are_named(
    tmp_path: Path, running: Proxy, silent: Simulator, stream: bool
) -> None:
    warm(running, stream=stream)
    rule = silent.fault("swap", {"timeout": 20}, when=lambda record: record.header("x-told") == "swapped")
    one, two = Talk(running, "one", stream=stream), Talk(running, "two", stream=stream)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda talk: talk.turn("swapped"), (one, two)))
    assert rule
    for talk in (one, two):
        talk.turn("after it")
    assert eventually(lambda: len(lines(running)) == 2 * WARM + 4 and len(told(running, "verdict_change")) >= WARM + 2)

    by_id = {line["exchange"]: line for line in lines(running)}
    swapped = lines(running)[2 * WARM : 2 * WARM + 2]
    suspects = [change for change in told(running, "verdict_change") if change["verdict"] == "suspect"]
    last = {change["exchange"]: change for change in suspects}
    assert last.keys() == {line["exchange"] for line in swapped}
    assert {change["victim"] for change in last.values()} == last.keys()
    assert all(change["victim"] != change["exchange"] for change in last.values())
    assert all(change["findings"][-1]["detector"] == "next-turn" for change in last.values())
    assert {by_id[change["by"]]["session"] for change in last.values()} == {line["session"] for line in swapped}

    running.interrupt()
    said = patchbay("verify", "--state", str(tmp_path / "state"), str(tmp_path / "flows.mitm")).stdout
    assert "2 suspect" in said
    assert "judged live" not in said


def test_what_the_client_edited_is_no_finding(running: Proxy) -> None:
    warm(running)
    talk = Talk(running, "edited")
    talk.turn("first")
    talk.turn("second")
    talk.messages[0]["content"][0]["text"] = "compacted by the client"
    talk.turn("third")
    assert eventually(lambda: len(lines(running)) == 2 * WARM + 3)

    assert not [each for each in told(running, "verdict_change") if each["verdict"] != "clean"]


@pytest.mark.parametrize("care", ["wrong", "sloppy", "late"])
def test_a_provider_that_compares_badly_proves_nothing(tmp_path: Path, care: str) -> None:
    with simulator_thread(KEYS, echo="none", care=care) as upstream:
        mode = "reverse:http://patchbay.invalid"
        with proxy(tmp_path, settings(tmp_path, upstream), mode=mode) as running:
            for number in range(12):
                talk = Talk(running, f"talk {number}")
                for text in ("first", "second", "third"):
                    talk.turn(text)
            assert eventually(lambda: len(lines(running)) == 36)
            changes = told(running, "verdict_change")

    assert {change["verdict"] for change in changes} <= {"clean", "suspect"}
    assert len([change for change in changes if change["verdict"] == "suspect"]) <= 1


def test_attest_asks_for_the_comparison_where_the_client_does_not(tmp_path: Path, silent: Simulator) -> None:
    silent.reset()
    mode = "reverse:http://patchbay.invalid"
    with proxy(
        tmp_path, settings(tmp_path, silent, ", attest: true"), "-w", str(tmp_path / "flows.mitm"), mode=mode
    ) as running:
        talk = Talk(running, "mine", asks=False)
        for text in ("first", "second", "third"):
            talk.turn(text)
        assert eventually(lambda: len(told(running, "verdict_change")) == 2)

    asked = [json.loads(record.body)["diagnostics"] for record in silent.truth.requests]
    answers = [record.answer_id for record in silent.truth.requests]
    assert asked == [{"previous_message_id": each} for each in (None, *answers[:2])]
    assert {change["verdict"] for change in told(running, "verdict_change")} == {"clean"}
    said = patchbay("verify", "--all", "--state", str(tmp_path / "state"), str(tmp_path / "flows.mitm")).stdout
    assert "2 clean, 1 unverifiable" in said
    assert "judged live" not in said


def test_an_upstream_that_refuses_to_compare_is_asked_no_more(tmp_path: Path, silent: Simulator) -> None:
    silent.reset()
    refused = {"type": "error", "error": {"type": "invalid_request_error", "message": "diagnostics: Extra inputs"}}
    silent.fault("status", {"status": 400, "body": refused}, when=lambda record: b'"diagnostics"' in record.body)
    mode = "reverse:http://patchbay.invalid"
    with proxy(tmp_path, settings(tmp_path, silent, ", attest: true"), mode=mode) as running:
        talk = Talk(running, "mine", asks=False)
        talk.turn("first")
        talk.turn("second")
        assert eventually(lambda: len(lines(running)) == 2)
        assert running.log.count("refuses `diagnostics`") == 1

    assert [len(line["attempts"]) for line in lines(running)] == [2, 1]


def thread_turn(running: Proxy, name: str, text: str, previous: str, model: str) -> httpx.Response:
    """Send a turn of a message thread, as the official SDK does: new messages alone once it has begun."""
    thread = {"type": "continue", "previous_message_id": previous} if previous else {"type": "create"}
    message = [{"role": "user", "content": f"{name}: {text}"}]
    body = {"model": model, "max_tokens": 64, "messages": message, "thread": thread}
    headers = {
        "x-api-key": "sk-client-of-talks", "anthropic-version": "2023-06-01", "x-told": text,
        "x-session-id": f"thread-session-of-{name}",
    }  # fmt: skip
    return httpx.post(f"{running.url}/v1/messages", json=body, headers=headers, timeout=60, trust_env=False)


def test_a_thread_that_is_refused_for_members_that_never_changed_shows_a_swap(
    tmp_path: Path, running: Proxy, silent: Simulator
) -> None:
    for number in range(WARM):
        first = thread_turn(running, f"warm {number}", "first", "", "sim-large").json()["id"]
        assert thread_turn(running, f"warm {number}", "second", first, "sim-large").status_code == 200
    silent.fault("swap", {"timeout": 20}, when=lambda record: record.header("x-told") == "swapped")
    models = {"one": "sim-large", "two": "sim-small"}
    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(lambda name: thread_turn(running, name, "swapped", "", models[name]), models))
    refused = thread_turn(running, "one", "after it", answers[0].json()["id"], "sim-large")
    assert refused.status_code == 400
    assert refused.json()["error"]["details"] == {"error_code": "thread_fingerprint_mismatch"}
    assert eventually(lambda: len(lines(running)) == 2 * WARM + 3)

    swapped = {line["model"]: line for line in lines(running)[2 * WARM : 2 * WARM + 2]}
    (change,) = [each for each in told(running, "verdict_change") if each["by"] == lines(running)[-1]["exchange"]]
    assert change["exchange"] == swapped["sim-large"]["exchange"]
    assert "next-turn" in {finding["detector"] for finding in change["findings"]}
    assert change["victim"] == swapped["sim-small"]["exchange"]

    running.interrupt()
    said = patchbay("verify", "--state", str(tmp_path / "state"), str(tmp_path / "flows.mitm")).stdout
    assert "judged live" not in said
