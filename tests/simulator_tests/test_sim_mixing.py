"""Answers that say something odd of themselves, and the truth in a file of its own."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

ROOT = Path(__file__).parent.parent.parent
MARKS = {
    "chat": '"object":"chat.completion"',
    "anthropic": '"type":"message"',
}


def test_an_answer_in_another_dialect(sim, client, question):
    sim.fault("other_dialect")
    other = "chat" if question.dialect == "anthropic" else "anthropic"

    assert MARKS[other] in question.ask(client, "hello").text
    assert question.ask(client, "hello", stream=True).status_code == 200


def test_an_id_for_every_chunk(sim, client, chat):
    sim.fault("per_chunk_ids")
    lines = [line for line in chat.ask(client, "hello", stream=True).text.splitlines() if line.startswith("data: {")]
    ids = [json.loads(line[6:])["id"] for line in lines]

    assert len(set(ids)) == len(ids) > 3


def test_an_answer_that_is_old(sim, client, chat):
    sim.fault("old", {"seconds": 7200})
    made = chat.ask(client, "hello").json()["created"]

    assert sim.truth.last().arrived - made >= 7190


def test_a_tool_that_was_not_offered_and_tokens_that_were_not_spent(sim, client, chat):
    sim.fault("other_tool", {"name": "pay"})
    sim.fault("other_usage", {"prompt": 1, "completion": 2})
    tools = [{"type": "function", "function": {"name": "read"}}]
    said = chat.ask(client, "USE_TOOL", tools=tools).json()

    assert said["choices"][0]["message"]["tool_calls"][0]["function"]["name"] == "pay"
    assert (said["usage"]["prompt_tokens"], said["usage"]["completion_tokens"]) == (1, 2)


def test_requests_of_one_session_get_each_other_s_answers(sim, chat):
    sim.fault("shared_session", {"timeout": 30})

    def ask(session: str) -> None:
        with httpx.Client(base_url=sim.url, timeout=30, trust_env=False) as client:
            chat.ask(client, "hello", headers={"X-Session-ID": session})

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(ask, ("one", "one")))
    assert len(sim.truth.victims()) == 2

    sim.reset()
    sim.fault("shared_session", {"timeout": 0.2})
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(ask, ("one", "two")))
    assert sim.truth.victims() == []


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_the_truth_goes_into_a_file(tmp_path, chat, ending):
    command = [sys.executable, "-m", "tests.simulator", "--any-key", "--truth", str(tmp_path / "truth.jsonl")]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            url = json.loads(process.stdout.readline())["url"]
            with httpx.Client(base_url=url, timeout=30, trust_env=False) as client:
                chat.ask(client, "hello")
            process.send_signal(ending)
            process.wait(30)
        finally:
            process.kill()

    (line,) = (tmp_path / "truth.jsonl").read_text().splitlines()
    assert (json.loads(line)["seq"], json.loads(line)["is_victim"]) == (1, False)
