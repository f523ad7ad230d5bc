"""A fault of one account is not seen by the client while another can answer, streaming or not."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from ..ports import free_port
from ..simulator import Simulator, simulator_thread
from .dialogue import DIALECTS, body, credential, path
from .harness import Proxy, eventually, generic_config, proxy

# some faults take an account out of service for long; there are enough for all of them
NAMES = {f"account-{n}": f"sk-failover-{n:02}-0123456789" for n in range(40)}
# The account that is asked first has little time, all others have enough of it.
QUICK = "providers: {quick: {preset: generic, timeouts: {connect: 1s, first_byte: 1s, idle: 1s}}}\n"
QUICK += "failover: {repeat_slow: all}\n"
MARK = "MARK-" + "0123456789abcdef" * 2


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    with simulator_thread({key: name for name, key in NAMES.items()}, echo="both") as running:
        yield running


@pytest.fixture
def running(request: pytest.FixtureRequest, tmp_path: Path, simulator: Simulator) -> Iterator[Proxy]:
    simulator.reset()
    settings = generic_config(tmp_path, NAMES, more=QUICK)
    if "slow head" in request.node.name:
        settings = settings.replace("provider: generic, base_url", "provider: quick, priority: 9, base_url", 1)
    with proxy(tmp_path, settings, mode=f"reverse:{simulator.url}") as started:
        yield started


def ask(running: Proxy, dialect: str, model: str, *, stream: bool, **headers: str) -> httpx.Response:
    return httpx.post(
        running.url + path(dialect, stream=stream),
        # words of its own, so that it is no conversation that has a home to wait for
        json=body(dialect, [f"say {MARK} in {dialect}, {model}, {stream}"], stream=stream, model=model),
        headers=credential(dialect, "sk-client") | headers,
        timeout=30,
        trust_env=False,
    )


def account(name: str, url: str, key: str, priority: int = 0, provider: str = "generic") -> str:
    return f"  - {{id: {name}, provider: {provider}, base_url: '{url}', key: {key}, priority: {priority}}}\n"


def journal(running: Proxy, count: int) -> list[dict[str, Any]]:
    assert eventually(lambda: running.journal.count("\n") >= count)
    return [json.loads(line) for line in running.journal.splitlines()]


BEFORE_CONTENT: dict[str, tuple[str, dict[str, Any], tuple[bool, ...]]] = {
    "429": ("status", {"status": 429, "retry_after": 7}, (False, True)),
    "429 without a hint": ("status", {"status": 429}, (False, True)),
    "402": ("status", {"status": 402}, (False, True)),
    "401": ("status", {"status": 401}, (False, True)),
    "500": ("status", {"status": 500}, (False, True)),
    "529": ("status", {"status": 529}, (False, True)),
    "400 of a dead key, in an array": ("status", {"status": 400, "body": [{"error": {
        "code": 400, "message": "API key expired. Please renew the API key.", "status": "INVALID_ARGUMENT",
        "details": [{"reason": "API_KEY_INVALID"}]}}]}, (False, True)),
    "400 of a model that is not served": ("status", {"status": 400, "body": {"error": {
        "message": "Model Not Exist", "type": "invalid_request_error"}}}, (False,)),
    "reset before the head": ("reset_head", {}, (False, True)),
    "closed before the head": ("close_head", {}, (False, True)),
    "slow head": ("delay_head", {"seconds": 30}, (False, True)),
    "empty stream": ("empty", {}, (True,)),
    "error in the stream": ("stream_error", {}, (False, True)),
}  # fmt: skip


@pytest.mark.parametrize("fault", BEFORE_CONTENT)
def test_the_next_account_answers_and_the_client_sees_one_answer(
    running: Proxy, simulator: Simulator, fault: str
) -> None:
    name, settings, streams = BEFORE_CONTENT[fault]
    asked = [(dialect, stream) for dialect in DIALECTS for stream in streams]
    for number, (dialect, stream) in enumerate(asked):
        rule = simulator.fault(name, settings, times=1)
        answer = ask(running, dialect, f"model-{number}", stream=stream)
        simulator.mend()

        assert rule.struck == 1
        assert answer.status_code == 200, answer.text
        assert MARK in answer.text
        assert '"error":{' not in answer.text.replace(" ", "")
        assert "x-patchbay-gave-up" not in answer.headers
    lines = journal(running, len(asked))
    assert len(lines) == len(asked)
    for line in lines:
        assert len(line["attempts"]) == 2
        first, second = line["attempts"]
        assert first["account"] != second["account"]
        assert first["request_id"] != second["request_id"]
        assert line["account"] == second["account"]
        assert line["verdict"] == "clean"


def test_a_refused_connection_moves_on(tmp_path: Path, simulator: Simulator) -> None:
    simulator.reset()
    dead = (
        f"  - {{id: dead, provider: generic, base_url: 'http://127.0.0.1:{free_port()}', key: k-dead, priority: 9}}\n"
    )
    alive = account("alive", simulator.url, NAMES["account-0"])
    settings = f"state: {tmp_path}/state\njournal: {{path: {tmp_path}/journal.jsonl}}\naccounts:\n{dead}{alive}"
    with proxy(tmp_path, settings, mode="reverse:http://patchbay.invalid") as running:
        answers = [ask(running, dialect, "m", stream=stream) for dialect in DIALECTS for stream in (False, True)]

    assert all(answer.status_code == 200 and MARK in answer.text for answer in answers)
    assert {answer.headers["x-patchbay-account"] for answer in answers} == {"alive"}


def test_an_upstream_that_accepts_and_stays_silent_is_given_up(tmp_path: Path, simulator: Simulator) -> None:
    import socket

    simulator.reset()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        mute = account("mute", f"https://127.0.0.1:{silent.getsockname()[1]}", "k-mute", priority=9, provider="quick")
        alive = account("alive", simulator.url, NAMES["account-0"])
        settings = f"state: {tmp_path}/state\n{QUICK}accounts:\n{mute}{alive}"
        with proxy(tmp_path, settings, mode="reverse:http://patchbay.invalid") as running:
            answer = ask(running, "openai_chat", "m", stream=True)

    assert answer.status_code == 200
    assert answer.headers["x-patchbay-account"] == "alive"


def test_when_all_fail_the_client_gets_the_last_real_answer_and_why(running: Proxy, simulator: Simulator) -> None:
    """R13: a large pool is asked up to the bound of `failover.attempts`."""
    simulator.fault("status", {"status": 429, "retry_after": 7, "message": "slow down please"})
    answer = ask(running, "openai_chat", "m", stream=True)

    assert answer.status_code == 429
    assert "slow down please" in answer.text
    assert answer.headers["x-patchbay-gave-up"] == "attempts_exhausted"
    assert len(simulator.truth.requests) == 24


def test_the_last_real_answer_is_kept_when_the_next_account_is_not_there(tmp_path: Path, simulator: Simulator) -> None:
    simulator.reset()
    simulator.fault("status", {"status": 503, "message": "the real answer"})
    alive = (
        f"  - {{id: alive, provider: generic, base_url: '{simulator.url}', key: {NAMES['account-0']}, priority: 9}}\n"
    )
    dead = account("dead", f"http://127.0.0.1:{free_port()}", "k-dead")
    settings = f"state: {tmp_path}/state\naccounts:\n{dead}{alive}"
    with proxy(tmp_path, settings, mode="reverse:http://patchbay.invalid") as running:
        answer = ask(running, "anthropic", "m", stream=False)

    assert answer.status_code == 503
    assert "the real answer" in answer.text
    assert answer.headers["x-patchbay-account"] == "alive"


@pytest.mark.parametrize("status", [401, 403])
def test_our_own_credential_trouble_never_logs_the_client_out(
    running: Proxy, simulator: Simulator, status: int
) -> None:
    simulator.fault("status", {"status": status, "kind": "auth"})
    answer = ask(running, "anthropic", "m", stream=False)

    assert answer.status_code == 502
    assert answer.json()["type"] == "error"
    assert "upstream_credentials_exhausted" in answer.text


def test_a_request_s_own_fault_is_delivered_at_once(running: Proxy, simulator: Simulator) -> None:
    simulator.fault("status", {"status": 400, "message": "no such thing"})
    answer = ask(running, "gemini", "m", stream=False)

    assert answer.status_code == 400
    assert "no such thing" in answer.text
    assert len(simulator.truth.requests) == 1


def test_after_the_first_content_nothing_is_repeated(running: Proxy, simulator: Simulator) -> None:
    simulator.fault("stream_error", {"after": 4})
    answer = ask(running, "openai_chat", "m", stream=True)

    assert answer.status_code == 200
    assert "error" in answer.text
    assert len(simulator.truth.requests) == 1


def test_what_may_have_been_carried_out_is_not_sent_twice(running: Proxy, simulator: Simulator) -> None:
    simulator.fault("status", {"status": 503})
    answer = httpx.post(
        running.url + "/v1/batches",
        json={"input_file_id": "f"},
        headers=credential("openai_chat", "k"),
        trust_env=False,
        timeout=30,
    )

    assert answer.status_code == 503
    assert answer.headers["x-patchbay-gave-up"] == "not_repeatable"
    assert len(simulator.truth.requests) == 1


def test_a_conversation_goes_home_after_a_passing_fault(running: Proxy, simulator: Simulator) -> None:
    home = ask(running, "openai_chat", "m", stream=False, **{"x-session-id": "s"}).headers["x-patchbay-account"]
    simulator.fault("status", {"status": 529}, times=2)  # the second time it had waited for its home
    away = ask(running, "openai_chat", "m", stream=False, **{"x-session-id": "s"}).headers["x-patchbay-account"]
    simulator.mend()
    other_model = ask(running, "openai_chat", "n", stream=False, **{"x-session-id": "s"}).headers["x-patchbay-account"]

    assert away != home
    assert other_model == home


def test_a_conversation_waits_a_moment_for_its_warm_home(running: Proxy, simulator: Simulator) -> None:
    home = ask(running, "anthropic", "m", stream=True, **{"x-session-id": "w"}).headers["x-patchbay-account"]
    simulator.fault("status", {"status": 529}, times=1)
    again = ask(running, "anthropic", "m", stream=True, **{"x-session-id": "w"})

    assert again.status_code == 200
    assert again.headers["x-patchbay-account"] == home
    assert [attempt["account"] for attempt in journal(running, 2)[-1]["attempts"]] == [home, home]
