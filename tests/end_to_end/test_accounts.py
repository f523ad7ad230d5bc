"""What accounts go through and clients do not see: a renewed key, a look after a rest, limits nearly used up."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from ..simulator import Simulator, simulator_thread
from .dialogue import body, credential, path
from .harness import Proxy, generic_config, proxy

OLD, NEW = "sk-accounts-old-0123456789abcdef", "sk-accounts-new-0123456789abcdef"
OTHER = "sk-accounts-other-0123456789abcdef"


@pytest.fixture(scope="module")
def upstream() -> Iterator[Simulator]:
    with simulator_thread({OLD: "one", NEW: "one", OTHER: "two"}, echo="both") as running:
        yield running


@pytest.fixture
def simulator(upstream: Simulator) -> Simulator:
    upstream.reset()
    return upstream


def ask(running: Proxy, said: str, session: str = "") -> httpx.Response:
    headers = credential("openai_chat", "sk-client") | ({"x-session-id": session} if session else {})
    url = running.url + path("openai_chat")
    return httpx.post(url, json=body("openai_chat", [said]), headers=headers, timeout=30, trust_env=False)


def test_a_key_that_was_renewed_meanwhile_is_read_again_and_the_same_account_answers(
    tmp_path: Path, simulator: Simulator
) -> None:
    """Its command ran a moment ago, and would not run again for five minutes."""
    key = tmp_path / "key"
    key.write_text(OLD)
    config = f"state: {tmp_path / 'state'}\naccounts:\n" + (
        f"  - {{id: one, provider: generic, base_url: reverse, key: {{cmd: [cat, '{key}'], ttl: 5m}}}}\n"
    )
    with proxy(tmp_path, config, mode=f"reverse:{simulator.url}") as running:
        assert ask(running, "hello").status_code == 200
        key.write_text(NEW)
        simulator.fault("status", {"status": 401}, credential=OLD)
        answer = ask(running, "hello again")
        assert (answer.status_code, answer.headers["x-patchbay-account"]) == (200, "one")
        assert ask(running, "and again").status_code == 200

    assert [record.credential for record in simulator.truth] == [OLD, OLD, NEW, NEW]


def test_a_key_that_is_refused_and_not_renewed_is_not_tried_twice(tmp_path: Path, simulator: Simulator) -> None:
    simulator.fault("status", {"status": 401})
    with proxy(tmp_path, generic_config(tmp_path, {"one": OLD}), mode=f"reverse:{simulator.url}") as running:
        assert ask(running, "hello").status_code == 502
        assert ask(running, "hello").status_code in (502, 503)
    assert len(simulator.truth) == 1


def test_after_a_rest_one_request_looks_and_the_rest_of_the_crowd_waits_for_it(
    tmp_path: Path, simulator: Simulator
) -> None:
    rule = simulator.fault("status", {"status": 429, "retry_after": 2}, times=1)
    with (
        proxy(tmp_path, generic_config(tmp_path, {"one": OLD}), mode=f"reverse:{simulator.url}") as running,
        ThreadPoolExecutor(12) as threads,
    ):
        assert ask(running, "too much").status_code == 429
        assert rule.struck == 1
        time.sleep(2.5)  # until the provider wants to be asked again
        simulator.fault("slow", {"seconds": 1}, nth=1)
        answers = list(threads.map(lambda n: ask(running, f"hello {n}"), range(12)))

    assert {answer.status_code for answer in answers} == {200}
    first, *others = sorted(simulator.truth.requests[1:], key=lambda record: record.arrived)
    assert len(others) == 11
    assert first.finished is not None
    assert min(record.arrived for record in others) >= first.finished - 0.05, "they went before the first had answered"


def test_when_a_look_fails_the_crowd_is_told_and_the_provider_is_not_asked(
    tmp_path: Path, simulator: Simulator
) -> None:
    simulator.fault("status", {"status": 429, "retry_after": 2}, nth=1)
    simulator.fault("status", {"status": 429, "retry_after": 600}, when=lambda record: len(simulator.truth) > 1)
    with (
        proxy(tmp_path, generic_config(tmp_path, {"one": OLD}), mode=f"reverse:{simulator.url}") as running,
        ThreadPoolExecutor(8) as threads,
    ):
        assert ask(running, "too much").status_code == 429
        time.sleep(2.5)  # until the provider wants to be asked again
        answers = list(threads.map(lambda n: ask(running, f"hello {n}"), range(8)))

    assert {answer.status_code for answer in answers} == {429}
    assert all(int(answer.headers["retry-after"]) > 500 for answer in answers)
    assert len(simulator.truth) == 2


def test_where_little_is_left_no_new_conversation_begins(tmp_path: Path, simulator: Simulator) -> None:
    left = {"x-ratelimit-limit-requests": "100", "x-ratelimit-remaining-requests": "2",
            "x-ratelimit-reset-requests": "60s"}  # fmt: skip
    simulator.fault("fields", {"headers": left}, account="one")
    names = {"one": OLD, "two": OTHER}
    with proxy(tmp_path, generic_config(tmp_path, names), mode=f"reverse:{simulator.url}") as running:
        old = next(
            f"old {n}" for n in range(50) if ask(running, "hi", f"old {n}").headers["x-patchbay-account"] == "one"
        )
        new = {ask(running, "hello", f"new {n}").headers["x-patchbay-account"] for n in range(12)}
        assert new == {"two"}
        assert ask(running, "go on", old).headers["x-patchbay-account"] == "one"


def test_error_rules_move_what_a_reseller_says_in_its_own_way(tmp_path: Path, simulator: Simulator) -> None:
    said = {"error": {"message": "channel exhausted, ask support", "type": "invalid_request_error"}}
    simulator.fault("status", {"status": 400, "body": said}, account="one")
    names = {"one": OLD, "two": OTHER}
    rule = "error_rules: [{status: 400, contains: Channel Exhausted, outcome: overload, cooldown: 1h}]"
    with proxy(tmp_path, generic_config(tmp_path, names, account=rule), mode=f"reverse:{simulator.url}") as running:
        answers = [ask(running, "hello", f"{n}") for n in range(8)]

    assert {(answer.status_code, answer.headers["x-patchbay-account"]) for answer in answers} == {(200, "two")}
    assert len(simulator.truth.of("one")) == 1
