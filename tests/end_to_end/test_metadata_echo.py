"""`echo: metadata`: a provider that repeats a request's metadata gives our id back there, and no client sees it."""

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
from .test_websockets import ask, socket

NAMES = {name: key for key, name in KEYS.items()}
TWO = ("one", "two")


@pytest.fixture(scope="module")
def silent() -> Iterator[Simulator]:
    """A provider that gives none of our ids back, but repeats metadata in Responses."""
    with simulator_thread(KEYS, echo="none") as running:
        yield running


def settings(folder: Path, upstream: Simulator, echo: str = "metadata") -> str:
    accounts = "\n".join(f"  - {{id: {name}, provider: openai, key: {NAMES[name]}}}" for name in TWO)
    return (
        f"state: {folder / 'state'}\njournal: {{path: {folder / 'journal.jsonl'}}}\ngrace_period: 1s\n"
        f"providers: {{openai: {{base_url: '{upstream.url}/v1', echo: {echo}}}}}\naccounts:\n{accounts}\n"
    )


@pytest.fixture
def running(tmp_path: Path, silent: Simulator) -> Iterator[Proxy]:
    silent.reset()
    with proxy(
        tmp_path, settings(tmp_path, silent), "-w", str(tmp_path / "flows.mitm"), mode="reverse:http://patchbay.invalid"
    ) as found:
        yield found


def post(running: Proxy, text: str, *, stream: bool = False, **more: Any) -> httpx.Response:
    body = {"model": "sim-1", "input": [{"role": "user", "content": text}], "stream": stream, **more}
    headers = {"authorization": "Bearer sk-client-of-metadata", "x-told": text}
    answer = httpx.post(f"{running.url}/v1/responses", json=body, headers=headers, timeout=60, trust_env=False)
    assert answer.status_code == 200, answer.text
    return answer


def lines(running: Proxy, count: int) -> list[dict[str, Any]]:
    assert eventually(lambda: running.journal.count("\n") >= count)
    return [json.loads(line) for line in running.journal.splitlines()]


def metadata_of(answer: httpx.Response) -> list[Any]:
    """Return the metadata of every response in *answer*."""
    if "event-stream" not in answer.headers["content-type"]:
        return [answer.json()["metadata"]]
    events = [json.loads(line[6:]) for line in answer.text.splitlines() if line.startswith("data: {")]
    return [event["response"]["metadata"] for event in events if "response" in event]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("given", [None, {}, {"ticket": "4711", "quoted": 'a "pb":"x" }, {b'}])
def test_the_id_goes_up_comes_back_and_is_taken_out(
    running: Proxy, silent: Simulator, given: dict[str, str] | None, stream: bool
) -> None:
    answer = post(running, "hello", stream=stream, **({} if given is None else {"metadata": given}))

    (line,) = lines(running, 1)
    assert (line["verdict"], line["echo"]) == ("clean", "body")
    (record,) = silent.truth.requests
    assert json.loads(record.body)["metadata"] == {**(given or {}), "pb": line["request_id"]}
    assert metadata_of(answer) == [given or {}] * len(metadata_of(answer))
    assert line["request_id"] not in answer.text
    if "content-length" in answer.headers:
        assert int(answer.headers["content-length"]) == len(answer.content)


@pytest.mark.parametrize("given", [
    {f"k{number}": "v" for number in range(16)}, {"pb": "mine"}, "no object", {"a": {"b": "1"}}, {"a": 1},
])  # fmt: skip
def test_metadata_without_room_stays_as_it_is(running: Proxy, silent: Simulator, given: Any) -> None:
    post(running, "hello", metadata=given)

    (line,) = lines(running, 1)
    assert line["verdict"] == "unverifiable"
    assert json.loads(silent.truth.requests[0].body)["metadata"] == given


@pytest.mark.parametrize("stream", [False, True])
def test_a_swap_is_proved_and_both_are_named(running: Proxy, silent: Simulator, stream: bool) -> None:
    silent.fault("swap", {"timeout": 20})
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda text: post(running, text, stream=stream), ("of one", "of another")))

    one, two = lines(running, 2)
    assert one["verdict"] == two["verdict"] == "crosstalk"
    assert (one["victim"], two["victim"]) == (two["exchange"], one["exchange"])


def test_a_late_answer_is_proved(running: Proxy, silent: Simulator) -> None:
    silent.fault("stale")
    for text in ("first", "second", "third"):
        post(running, text)

    first, second, third = lines(running, 3)
    assert [each["verdict"] for each in (first, second, third)] == ["clean", "crosstalk", "crosstalk"]
    assert (second["victim"], third["victim"]) == (first["exchange"], second["exchange"])


def test_a_stream_that_goes_over_into_another_is_proved(running: Proxy, silent: Simulator) -> None:
    silent.fault("splice", {"timeout": 20})
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda text: post(running, f"{text} WORDS-40", stream=True), ("of one", "of another")))

    assert {line["verdict"] for line in lines(running, 2)} == {"crosstalk"}


def test_verify_says_the_same_of_the_dump(tmp_path: Path, running: Proxy, silent: Simulator) -> None:
    silent.fault("swap", {"timeout": 20}, when=lambda record: "of" in (record.header("x-told") or ""))
    post(running, "hello", stream=True)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda text: post(running, text), ("of one", "of another")))
    lines(running, 3)
    running.interrupt()
    told = patchbay("verify", "--state", str(tmp_path / "state"), str(tmp_path / "flows.mitm")).stdout

    assert "1 clean, 2 crosstalk" in told
    assert "judged live" not in told


def test_on_a_websocket_too(tmp_path: Path, silent: Simulator) -> None:
    silent.reset()
    more = settings(tmp_path, silent).replace(f"key: {NAMES['one']}", f"key: {NAMES['one']}, websockets: true")
    with proxy(tmp_path, more, mode="reverse:http://patchbay.invalid") as running, socket(running) as opened:
        events = ask(opened, "hello", metadata={"ticket": "4711"})

        assert eventually(lambda: '"status":200' in running.journal)
        found = [line for line in lines(running, 1) if line["status"] == 200]
    assert [event["response"]["metadata"] for event in events if "response" in event][-1] == {"ticket": "4711"}
    assert found[0]["verdict"] == "clean"


def test_other_endpoints_get_no_stamp(running: Proxy, silent: Simulator) -> None:
    body = {"model": "sim-1", "messages": [{"role": "user", "content": "hello"}]}
    headers = {"authorization": "Bearer sk-client-of-metadata"}
    answer = httpx.post(f"{running.url}/v1/chat/completions", json=body, headers=headers, timeout=60, trust_env=False)

    assert answer.status_code == 200
    assert json.loads(silent.truth.requests[0].body) == body


def test_an_upstream_that_refuses_metadata_is_asked_without_it_from_then_on(running: Proxy, silent: Simulator) -> None:
    refused = {"error": {"message": "Unsupported parameter: 'metadata'", "type": "invalid_request_error"}}
    silent.fault("status", {"status": 400, "body": refused}, when=lambda record: b'"metadata"' in record.body)
    for text in ("one", "two"):
        post(running, text)

    first, second = lines(running, 2)
    assert [each["outcome"] for each in first["attempts"]] == ["request", "ok"]
    assert [each["outcome"] for each in second["attempts"]] == ["ok"]
    assert {first["verdict"], second["verdict"]} == {"unverifiable"}
    assert running.log.count("refuses `metadata`") == 1


def test_metadata_of_a_client_that_are_refused_teach_nothing(running: Proxy, silent: Simulator) -> None:
    refused = {"error": {"message": "Invalid 'metadata': too long", "type": "invalid_request_error"}}
    silent.fault("status", {"status": 400, "body": refused}, when=lambda record: b'"too long"' in record.body)
    body = {"model": "sim-1", "input": "one", "metadata": {"theirs": "too long"}}
    headers = {"authorization": "Bearer sk-client-of-metadata"}
    answer = httpx.post(f"{running.url}/v1/responses", json=body, headers=headers, timeout=60, trust_env=False)
    post(running, "two")

    first, second = lines(running, 2)
    assert (answer.status_code, answer.json()) == (400, refused)
    assert [each["outcome"] for each in first["attempts"]] == ["request", "request"]
    assert second["verdict"] == "clean"
    assert "refuses" not in running.log
