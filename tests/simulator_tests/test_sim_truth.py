"""The truth, in process and through the back door, and the command line."""

from __future__ import annotations

import asyncio
import json
import ssl
import subprocess
import sys
from pathlib import Path

import httpx

from simulator import Simulator, simulator_thread

NOBODY = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # for plain HTTP: to read the roots takes longer than a test
ROOT = Path(__file__).parents[2]


def test_a_record_says_who_asked_what_and_got_which_ids(sim, client, question):
    mark = "MARK-" + "cd" * 16
    answer = question.ask(client, mark, key="sk-b", headers={"X-Request-ID": "rid-1"})
    record = sim.truth.last()
    assert (record.account, record.credential_form, record.mark) == ("b", "bearer", mark)
    assert (record.dialect, record.received_id, record.status) == (question.dialect, "rid-1", 200)
    assert record.answer_id and record.answer_id in answer.text
    assert (record.head_of, record.body_of, record.is_victim) == (record.seq, record.seq, False)
    assert json.loads(record.body) == question.body(mark)
    assert sim.truth.marked(mark) == sim.truth.of("b") == [record]


def test_a_long_run_need_not_keep_everything(chat):
    setup = simulator_thread({"sk-a": "a"}, records=2, bodies=False)
    with setup as sim, httpx.Client(verify=NOBODY, base_url=sim.url, timeout=30) as client:
        for _ in range(3):
            chat.ask(client, "hello")
        assert [(record.seq, record.body) for record in sim.truth] == [(2, b""), (3, b"")]


def test_a_secret_does_not_show_when_a_record_does(sim, client, chat):
    chat.ask(client, "hello", key="sk-b")
    assert "credential=" not in repr(sim.truth.last())


def test_another_process_can_read_the_truth_and_set_faults(sim, client, chat):
    chat.ask(client, "hello")
    made = client.post(
        "/__sim/fault", json={"fault": "status", "settings": {"status": 529}, "account": "a", "times": 1}
    )
    assert made.json()["fault"] == "status"
    assert [chat.ask(client, "hello").status_code for _ in range(2)] == [529, 200]
    seen = client.get("/__sim/requests").json()["requests"]
    assert [request["status"] for request in seen] == [200, 529, 200]
    assert [request["seq"] for request in client.get("/__sim/requests?since=2&bodies=0").json()["requests"]] == [3]
    assert client.get("/__sim/faults").json()["faults"][0]["struck"] == 1
    assert client.get("/__sim/stats").json()["requests"] == 3


def test_the_echo_can_be_changed_from_outside_until_reset(sim, client, chat):
    client.post("/__sim/echo", json={"mode": "none"})
    assert "x-request-id" not in chat.ask(client, "hello", headers={"X-Request-ID": "r"}).headers
    client.post("/__sim/reset")
    assert len(sim.truth) == 0
    assert "x-request-id" in chat.ask(client, "hello", headers={"X-Request-ID": "r"}).headers


def test_a_mistake_at_the_back_door_is_explained(client):
    answer = client.post("/__sim/fault", json={"fault": "swop"})
    assert answer.status_code == 400
    assert "'swop' is none of" in answer.json()["error"]
    assert client.post("/__sim/fault", json={"fault": "swap", "whom": 1}).status_code == 400
    assert client.get("/__sim/nothing").status_code == 400


def test_without_required_keys_a_key_is_its_own_account():
    with (
        simulator_thread(require_key=False) as sim,
        httpx.Client(verify=NOBODY, base_url=sim.url, timeout=30) as client,
    ):
        assert client.get("/v1/models", headers={"api-key": "anything"}).status_code == 200
        assert sim.truth.last().account == "anything"
        assert client.get("/v1/models").status_code == 200


def test_it_runs_inside_the_event_loop_of_a_test():
    async def story() -> int:
        async with (
            Simulator({"sk-a": "a"}) as sim,
            httpx.AsyncClient(verify=NOBODY, base_url=sim.url, timeout=30) as client,
        ):
            await client.get("/v1/models", headers={"api-key": "sk-a"})
            return len(sim.truth)

    assert asyncio.run(story()) == 1


def test_it_runs_from_the_command_line():
    command = [sys.executable, "-m", "tests.simulator", "--key", "sk-a=a", "--echo", "header", "--seed", "1"]
    fault = ["--fault", json.dumps({"fault": "status", "settings": {"status": 529}, "nth": 2})]
    with subprocess.Popen([*command, *fault], cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            told = json.loads(process.stdout.readline())
            with httpx.Client(
                verify=NOBODY, base_url=told["url"], headers={"api-key": "sk-a", "x-request-id": "r"}, timeout=30
            ) as client:
                answers = [client.get("/v1/models") for _ in range(2)]
        finally:
            process.terminate()
    assert [answer.status_code for answer in answers] == [200, 529]
    assert answers[0].headers["x-request-id"] == "r"
