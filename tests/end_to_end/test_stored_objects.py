"""What a provider stores holds the ids of the requests that made it: nothing that is done with it is accused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from ..simulator import simulator_thread
from .conftest import KEYS
from .dialogue import body, credential, path
from .harness import eventually, generic_config, proxy
from .test_verify import patchbay

NAMES = {name: key for key, name in KEYS.items()}
RESPONSE = {"model": "sim-1", "input": "hello"}
CONTENTS = [{"role": "user", "parts": [{"text": "hello"}]}]
GET, CANCEL, DELETE = ("GET", ""), ("POST", "/cancel"), ("DELETE", "")
BATCH = {"input_file_id": None, "endpoint": "/v1/chat/completions", "completion_window": "24h"}
MESSAGES = {"requests": [{"custom_id": "0", "params": body("anthropic", ["hello"])}]}
# dialect, the path that makes the thing, its body, and what is asked of the thing after that
STORED: dict[str, tuple[str, str, dict[str, Any], tuple[tuple[str, str], ...]]] = {
    "response": ("openai_responses", "/v1/responses", RESPONSE, (GET, ("GET", "/input_items"), CANCEL, GET, DELETE)),
    "interaction": (
        "gemini", "/v1beta/interactions", {"model": "gemini-sim", "input": "hello"}, (GET, ("POST", "/cancel"), DELETE),
    ),
    "file": ("openai_chat", "/v1/files", {}, (GET, ("GET", "/content"), DELETE)),
    "batch": ("openai_chat", "/v1/batches", BATCH, (GET, CANCEL, GET)),
    "container": ("openai_chat", "/v1/containers", {"name": "c"}, (GET, DELETE)),
    "conversation": ("openai_responses", "/v1/conversations", {}, (GET, ("GET", "/items"), DELETE)),
    "vector store": ("openai_chat", "/v1/vector_stores", {}, (GET, DELETE)),
    "batch of messages": ("anthropic", "/v1/messages/batches", MESSAGES, (GET, ("GET", "/results"), CANCEL, DELETE)),
    "cache": (
        "gemini", "/v1beta/cachedContents", {"model": "models/gemini-sim", "contents": CONTENTS}, (GET, DELETE),
    ),
}  # fmt: skip
# members of a generation that name a thing which an earlier request made
REFERRING = {
    "response": ("openai_responses", "previous_response_id"),
    "conversation": ("openai_responses", "conversation"),
    "container": ("openai_responses", "container"),
}


def use_all(client: httpx.Client) -> None:
    """Make each thing twice, use it, and then ask everything of it, in between with generations."""
    for name, (dialect, at, made_by, uses) in STORED.items():
        headers = credential(dialect, "sk-client")
        for _ in range(2):
            made = client.post(at, json=made_by, headers=headers)
            assert made.status_code == 200, (name, made.text)
            thing = str(made.json().get("id") or made.json()["name"])
            assert "pb1-" in thing, name  # else nothing is tried here
            if name in REFERRING:
                asked, member = REFERRING[name]
                question = {**body(asked, [f"about {thing}"]), member: thing}
                assert client.post(path(asked), json=question, headers=headers).status_code == 200, name
            where = f"/v1beta/{thing}" if "/" in thing else f"{at}/{thing}"
            for method, action in uses:
                answer = client.request(method, where + action, headers=headers)
                assert answer.status_code == 200, (name, method, action, answer.text)
            for stream in (False, True):
                asked = "openai_chat" if name != "cache" else "gemini"
                question = body(asked, ["a further question"], stream=stream)
                client.post(path(asked, stream=stream), json=question, headers=credential(asked, "sk-client"))


@pytest.mark.parametrize("reaction", ["observe", "block"])
def test_no_use_of_a_stored_thing_is_accused(tmp_path: Path, reaction: str) -> None:
    config = generic_config(tmp_path, NAMES, more=f"crosstalk: {{reaction: {reaction}}}")
    dump = str(tmp_path / "day.mitm")
    count = sum(2 * (3 + (name in REFERRING) + len(row[3])) for name, row in STORED.items())
    with (
        simulator_thread(KEYS, echo="both+vllm") as provider,
        proxy(tmp_path, config, "-w", dump, mode=f"reverse:{provider.url}") as running,
    ):
        with httpx.Client(base_url=running.url, timeout=30, trust_env=False) as client:
            use_all(client)
        assert eventually(lambda: running.journal.count("\n") == count)
        lines = [json.loads(line) for line in running.journal.splitlines()]
        assert "crosstalk_detected" not in running.log

    accused = [(line["path"], line["findings"]) for line in lines if line["findings"]]
    assert not accused
    assert {line["verdict"] for line in lines} == {"clean", "unverifiable"}
    again = patchbay("verify", "--all", "--state", str(tmp_path / "state"), dump)
    told = dict(line.split()[:2] for line in again.stdout.splitlines() if line.startswith("pb1-"))
    assert told == {line["request_id"]: line["verdict"] for line in lines}
