"""`attest: true`: what we ask the provider to compare stays with the account whose answer it names."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from ..simulator import Record, Simulator, simulator_thread
from .conftest import KEYS
from .harness import Proxy, eventually, proxy
from .test_late_verdicts import lines
from .test_websockets import ask, socket

NAMES = {name: key for key, name in KEYS.items()}
SESSION = "0d0e1981-7f5a-4716-9257-4b6015da25d0"
PATHS = {"anthropic": "/v1/messages", "openai": "/v1/responses"}
MODE = "reverse:http://patchbay.invalid"


@pytest.fixture(scope="module")
def silent() -> Iterator[Simulator]:
    with simulator_thread(KEYS, echo="none") as running:
        yield running


@contextmanager
def attesting(upstream: Simulator, folder: Path, provider: str) -> Iterator[Proxy]:
    """Run a proxy before two accounts of *provider*, which is asked to compare."""
    base = upstream.url + ("/v1" if provider == "openai" else "")
    rows = "".join(
        f"  - {{id: {name}, provider: {provider}, key: {NAMES[name]}, websockets: true}}\n" for name in ("one", "two")
    )
    settings = (
        f"state: {folder / 'state'}\njournal: {{path: {folder / 'journal.jsonl'}}}\ngrace_period: 1s\n"
        f"providers: {{{provider}: {{base_url: '{base}', attest: true}}}}\naccounts:\n{rows}"
    )
    upstream.reset()
    with proxy(folder, settings, mode=MODE) as running:
        yield running


class Talk:
    """One conversation whose client asks for no comparison."""

    def __init__(self, running: Proxy, provider: str) -> None:
        self._url, self._provider = running.url + PATHS[provider], provider
        self._turns: list[dict[str, Any]] = []

    def turn(self, text: str) -> None:
        self._turns.append({"role": "user", "content": text})
        history = "messages" if self._provider == "anthropic" else "input"
        body = {"model": "sim-large", history: self._turns, **({"max_tokens": 64} if history == "messages" else {})}
        answer = post(self._url, json.dumps(body).encode())
        said = answer.json()
        blocks = said["content"] if self._provider == "anthropic" else said["output"][-1]["content"]
        self._turns.append({"role": "assistant", "content": blocks[0]["text"]})


def post(url: str, body: bytes) -> httpx.Response:
    headers = {
        "authorization": "Bearer sk-client-of-attest", "anthropic-version": "2023-06-01", "session-id": SESSION,
        "x-claude-code-session-id": SESSION, "content-type": "application/json",
    }  # fmt: skip
    answer = httpx.post(url, content=body, headers=headers, timeout=60, trust_env=False)
    assert answer.status_code == 200, answer.text
    return answer


def named(record: Record) -> str | None:
    """Return the id of the answer that the request of *record* is to be compared with."""
    document = json.loads(record.body)
    asked = document.get("diagnostics") or document.get("prompt_cache_options") or {}
    found = asked.get("previous_message_id", asked.get("comparison_response_id"))
    return None if found is None else str(found)


def generations(upstream: Simulator) -> list[Record]:
    return [record for record in upstream.truth.requests if record.method == "POST"]


@pytest.mark.parametrize("provider", PATHS)
def test_an_exchange_that_moves_names_no_answer_of_the_former_account(
    tmp_path: Path, silent: Simulator, provider: str
) -> None:
    """In the exchange that moves, and in the turns after it, which name the new account's own answers."""
    with attesting(silent, tmp_path, provider) as running:
        talk = Talk(running, provider)
        talk.turn("first")
        talk.turn("second")
        home = generations(silent)[0].account
        silent.fault("status", {"status": 429, "retry_after": 3600}, account=home)
        talk.turn("third")
        talk.turn("fourth")
        assert eventually(lambda: len(lines(running)) == 4)

    first, second, refused, moved, after = generations(silent)
    assert [len(line["attempts"]) for line in lines(running)] == [1, 1, 2, 1]
    assert {record.account for record in (first, second, refused)} == {home}
    assert moved.account == after.account != home
    assert [named(record) for record in (first, second, refused)] == [None, first.answer_id, second.answer_id]
    assert (named(moved), named(after)) == (None, moved.answer_id)
    theirs = [record.answer_id.encode() for record in (first, second)]
    assert not any(name in record.body for name in theirs for record in (moved, after))
    assert [line["verdict"] for line in lines(running)] == ["unverifiable"] * 4


def test_a_conversation_that_moves_to_another_socket_names_no_answer_of_the_former_account(
    tmp_path: Path, silent: Simulator
) -> None:
    with attesting(silent, tmp_path, "openai") as running:
        for text in ("first", "second"):
            with socket(running, SESSION) as opened:
                assert ask(opened, text)[-1]["type"] == "response.completed"
        home = generations(silent)[0].account
        silent.fault("status", {"status": 429, "retry_after": 3600}, account=home)
        for text in ("third", "fourth"):
            with socket(running, SESSION) as opened:
                assert ask(opened, text)[-1]["type"] == "response.completed"

    first, second, moved, after = generations(silent)
    assert first.account == second.account == home
    assert moved.account == after.account != home
    assert (named(first), named(second)) == (None, first.answer_id)
    assert (named(moved), named(after)) == (None, moved.answer_id)


OWN = [
    '{"previous_message_id" :  null}', '{ "previous_message_id":"msg_of_the_client_itself_0001", "more": [1,  2.50] }',
    '{}', 'null', '"text"', '[ ]',
]  # fmt: skip


@pytest.mark.parametrize("own", OWN)
def test_a_client_s_own_diagnostics_is_left_byte_for_byte(tmp_path: Path, silent: Simulator, own: str) -> None:
    """At its second turn, too, where we know an answer to name; and nothing else of the body changes."""
    sent = (
        f'{{"model":"sim-large", "diagnostics" : {own} ,"max_tokens": 64,"messages":[{{"role":"user","content":"a"}}]}}'
    )
    with attesting(silent, tmp_path, "anthropic") as running:
        for _ in range(2):
            post(running.url + PATHS["anthropic"], sent.encode())

    assert [record.body for record in generations(silent)] == [sent.encode()] * 2


def test_beside_other_cache_options_of_the_client_s_ours_is_added_and_theirs_stay(
    tmp_path: Path, silent: Simulator
) -> None:
    body = {
        "model": "sim-large",
        "input": [{"role": "user", "content": "a"}],
        "prompt_cache_options": {"mode": "explicit"},
    }
    with attesting(silent, tmp_path, "openai") as running:
        for _ in range(2):
            post(running.url + PATHS["openai"], json.dumps(body).encode())

    first, second = generations(silent)
    assert first.body == json.dumps(body).encode()
    assert json.loads(second.body) == body | {
        "prompt_cache_options": {"mode": "explicit", "comparison_response_id": first.answer_id}
    }


class Chat:
    """One conversation in streams of OpenAI chat whose client asks for no count."""

    def __init__(self, running: Proxy, name: str) -> None:
        self._url, self.name = f"{running.url}/v1/chat/completions", name
        self._turns: list[dict[str, Any]] = []

    def turn(self, text: str, **more: Any) -> list[dict[str, Any]]:
        """Return the chunks of the answer to *text*."""
        self._turns.append({"role": "user", "content": text})
        body = {"model": "sim-large", "messages": self._turns, "stream": True, **more}
        headers = {"authorization": "Bearer sk-client-of-attest", "x-session-id": self.name, "x-told": text[:7]}
        answer = httpx.post(self._url, json=body, headers=headers, timeout=60, trust_env=False)
        data = [line[6:] for line in answer.text.splitlines() if line.startswith("data: ")]
        assert data.pop() == "[DONE]"
        chunks = [json.loads(each) for each in data]
        said = "".join(each["choices"][0]["delta"].get("content") or "" for each in chunks if each["choices"])
        self._turns.append({"role": "assistant", "content": said})
        return chunks


def test_the_count_of_a_streamed_chat_is_asked_for_and_only_who_asked_sees_it(
    tmp_path: Path, silent: Simulator
) -> None:
    with attesting(silent, tmp_path, "openai") as running:
        mine, theirs = Chat(running, "mine"), Chat(running, "theirs")
        assert all(chunk["choices"] for chunk in mine.turn("unasked"))
        assert [chunk["usage"]["total_tokens"] > 0 for chunk in theirs.turn(
            "asked", stream_options={"include_usage": True}
        ) if not chunk["choices"]] == [True]  # fmt: skip
        assert eventually(lambda: len(lines(running)) == 2)
        told = lines(running)

    assert all(line["tokens"] for line in told), told
    options = [json.loads(record.body).get("stream_options") for record in silent.truth.requests]
    assert options == [{"include_usage": True}] * 2


def test_exchanged_streams_of_a_chat_are_suspected_at_once_by_their_counts(tmp_path: Path, silent: Simulator) -> None:
    with attesting(silent, tmp_path, "openai") as running:
        for number in range(32):
            Chat(running, f"warm {number}").turn(f"a question of {number} " * (number + 1))
        silent.fault("swap", {"timeout": 20}, when=lambda record: record.header("x-told") == "swapped")
        with ThreadPoolExecutor(2) as pool:
            pair = [pool.submit(Chat(running, f"n {size}").turn, "swapped " + "and said " * size) for size in (10, 900)]
            assert all(chunk["choices"] for each in pair for chunk in each.result())
        assert eventually(lambda: len(lines(running)) == 34)
        found = {line["exchange"]: line for line in lines(running)[-2:]}

    assert all("prompt-length" in {each["detector"] for each in line["findings"]} for line in found.values()), found
    assert {line["victim"] for line in found.values()} == found.keys()


def test_a_chat_s_upstream_that_refuses_to_be_asked_is_asked_without_it(tmp_path: Path, silent: Simulator) -> None:
    with attesting(silent, tmp_path, "openai") as running:
        silent.fault(
            "status",
            {"status": 400, "message": "Unrecognized request argument supplied: stream_options"},
            when=lambda record: b"stream_options" in record.body,
        )
        chat = Chat(running, "mine")
        assert all(chunk["choices"] for text in ("first", "second") for chunk in chat.turn(text))

    asked = [b"stream_options" in record.body for record in silent.truth.requests]
    assert asked == [True, False, False]
