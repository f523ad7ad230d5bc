"""What a client is told when nobody can serve: true, of every account, in its own protocol, over HTTP and WebSocket."""

from __future__ import annotations

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from ..ports import free_port
from ..simulator import Simulator
from .conftest import KEYS
from .dialogue import DIALECTS, body, credential, path
from .harness import Proxy, eventually, generic_config, proxy

NAMES = {name: key for key, name in KEYS.items()}
PAIR = {name: NAMES[name] for name in ("one", "two")}
WINDOW = {"error": {"type": "usage_limit_reached", "message": "The usage limit has been reached", "plan_type": "plus",
                    "resets_in_seconds": 7500}}  # fmt: skip


def ask(running: Proxy, dialect: str, model: str = "m", key: str = "sk-client", raw: bytes | None = None) -> Any:
    where = path(dialect).replace("gemini-sim", model)
    content = raw if raw is not None else json.dumps(body(dialect, [f"is {model} there?"], model=model)).encode()
    headers = {**credential(dialect, key), "content-type": "application/json"}
    return httpx.post(running.url + where, content=content, headers=headers, timeout=30, trust_env=False)


def test_every_way_of_not_being_there_is_told_and_none_is_a_rate_limit(tmp_path: Path, simulator: Simulator) -> None:
    """A5: DNS, a refused connection, TLS and silence; at once, and while the account rests for it."""
    simulator.reset()
    simulator.fault("hang", {}, model="silent")
    plain = simulator.url.removeprefix("http://")
    ways = {
        "dns": ("https://nowhere.invalid", "not reachable (name not resolved)"),
        "refused": (f"http://127.0.0.1:{free_port()}", "not reachable (connection refused)"),
        "tls": (f"https://{plain}", "not reachable (TLS handshake failed)"),
        "silent": (simulator.url, "no whole answer (timed out)"),
    }
    accounts = "".join(
        f"  - {{id: on-{name}, provider: quick, base_url: '{url}', key: {NAMES['one']}, models: [{name}]}}\n"
        for name, (url, _) in ways.items()
    )
    more = f"state: {tmp_path / 'state'}\ngrace_period: 1s\nfailover: {{sticky_wait: 0s, repeat_slow: all}}\n"
    more += "providers:\n  quick: {preset: generic, timeouts: {first_byte: 1s}}\n"
    with proxy(tmp_path, f"{more}accounts:\n{accounts}", mode="reverse:http://patchbay.invalid") as running:
        for name, (_, said) in ways.items():
            answers = [ask(running, "anthropic", name) for _ in range(4)]

            for answer in answers:
                assert answer.status_code in (502, 503), (name, answer.text)
                assert answer.json()["error"]["code"] == "upstream_unreachable", (name, answer.text)
                assert answer.json()["error"]["type"] == "api_error"
                assert f"on-{name}: {said}" in answer.text, (name, answer.text)
            assert answers[-1].status_code == 503
            assert "next try at" in answers[-1].text
            assert int(answers[-1].headers["retry-after"]) <= 60


def test_a_used_up_window_is_told_in_the_words_of_the_tool(tmp_path: Path, simulator: Simulator) -> None:
    """A7: in every dialect, with the reset; a WebSocket that is open is closed."""
    simulator.reset()
    with proxy(tmp_path, generic_config(tmp_path, PAIR), mode=f"reverse:{simulator.url}") as running:
        headers = {"Authorization": "Bearer sk-client"}
        with connect(f"ws://127.0.0.1:{running.port}/v1/responses", additional_headers=headers, proxy=None) as socket:
            simulator.fault("status", {"status": 429, "body": WINDOW})
            for _ in range(2):
                ask(running, "openai_responses")
            answers = {dialect: ask(running, dialect) for dialect in DIALECTS}
            with pytest.raises(ConnectionClosed) as closed:
                socket.recv(timeout=30)

    for dialect, answer in answers.items():
        assert answer.status_code == 429, dialect
        assert answer.headers["x-should-retry"] == "false"
        assert "one: usage limit reached (429) until" in answer.text, answer.text
        error = answer.json()["error"]
        assert 7400 < error["resets_in_seconds"] <= 7510
        assert abs(error["resets_at"] - time.time() - error["resets_in_seconds"]) < 60
    for dialect in ("openai_chat", "openai_responses"):
        assert answers[dialect].json()["error"]["type"] == "usage_limit_reached"
    assert answers["anthropic"].json()["error"]["type"] == "rate_limit_error"
    assert answers["anthropic"].headers["anthropic-ratelimit-unified-status"] == "rejected"
    assert answers["gemini"].json()["error"]["status"] == "RESOURCE_EXHAUSTED"
    assert closed.value.rcvd is not None and closed.value.rcvd.code == 1013  # its upgrade would get the same answer


@pytest.mark.parametrize(
    ("status", "kind", "code", "said"),
    [
        (401, "auth", "upstream_credentials_exhausted", "key refused (401)"),
        (403, "permission", "upstream_credentials_exhausted", "access denied (403)"),
        (402, "quota", "insufficient_quota", "out of credit (402)"),
    ],
)
def test_our_accounts_trouble_is_named_and_looks_like_nobody_s_login(
    tmp_path: Path, simulator: Simulator, status: int, kind: str, code: str, said: str
) -> None:
    """A5: a tool starts a new login at a 401."""
    simulator.reset()
    simulator.fault("status", {"status": status, "kind": kind})
    with proxy(tmp_path, generic_config(tmp_path, PAIR), mode=f"reverse:{simulator.url}") as running:
        answers = [ask(running, "openai_chat") for _ in range(6)]

    told = [
        answer for answer in answers if "request_id" not in answer.json() and answer.json()["error"]["code"] == code
    ]
    assert told, [answer.text for answer in answers]
    for answer in told:
        assert answer.status_code not in (401, 403)
        assert f"one: {said}" in answer.text and f"two: {said}" in answer.text
        assert answer.headers["x-should-retry"] == "false"


def test_a_model_that_nobody_serves_and_a_body_that_is_none_are_the_client_s_to_mend(
    tmp_path: Path, simulator: Simulator
) -> None:
    """A6: neither is asked again by any SDK, and nothing goes up."""
    simulator.reset()
    config = generic_config(tmp_path, PAIR, account="models: [served]")
    with proxy(tmp_path, config, mode=f"reverse:{simulator.url}") as running:
        for dialect in DIALECTS:
            unserved, broken = ask(running, dialect, "other"), ask(running, dialect, "served", raw=b'{"model": "ser')

            assert unserved.status_code == 404, unserved.text
            assert "No account here serves model other" in unserved.text
            assert broken.status_code == 400, broken.text
            assert "body_unusable" in broken.text
    assert not simulator.truth.requests


def test_one_client_s_flood_keeps_no_other_client_out(tmp_path: Path, simulator: Simulator) -> None:
    """R12: the line is full of the one, and every single request of the other is served."""
    simulator.reset()
    simulator.fault("slow", {"seconds": 0.15})
    clients = "clients:\n  - {name: flood, key: client-key-flood-1234}\n  - {name: ann, key: client-key-ann-123456}\n"
    config = generic_config(
        tmp_path, PAIR, account="max_concurrent: 1", more=f"queue: {{limit: 4, timeout: 20s}}\n{clients}"
    )
    with proxy(tmp_path, config, mode=f"reverse:{simulator.url}") as running, ThreadPoolExecutor(12) as pool:
        ask(running, "openai_chat", "warm", "client-key-ann-123456")
        over, flooded = threading.Event(), list[int]()

        def flood(number: int) -> None:
            while not over.is_set():
                flooded.append(ask(running, "openai_chat", f"m{number}", "client-key-flood-1234").status_code)

        floods = [pool.submit(flood, number) for number in range(12)]
        try:
            assert eventually(lambda: 503 in flooded), "the line was never full"
            single = [ask(running, "openai_chat", "m", "client-key-ann-123456") for _ in range(8)]
        finally:
            over.set()
        for each in floods:
            each.result()

    assert {answer.status_code for answer in single} == {200}, [answer.text for answer in single]
