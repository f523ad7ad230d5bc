"""A client that writes a provider's words for trouble into its request troubles nobody but itself."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from .conftest import KEYS
from .harness import Proxy, eventually, generic_config, proxy

NAMES = {name: key for key, name in KEYS.items()}
WORDS = (
    "invalid api key", "model x does not exist", "insufficient balance", "exceeded your current quota",
    "organization has been disabled", "no access to this model", "location is not supported", "overloaded",
)  # fmt: skip
ANSWER = {"id": "c-1", "object": "chat.completion", "model": "m", "choices": [
    {"index": 0, "message": {"role": "assistant", "content": "well"}, "finish_reason": "stop"}]}  # fmt: skip


class Upstream:
    """A provider that quotes a role it does not know, in the shape the request names; *shut*: it lets nobody in."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.shut = False
        upstream = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                upstream.asked.append(self.headers["authorization"])
                status, kind, told = upstream.answer(body, self.headers.get("x-shape", ""))
                self.send_response(status)
                self.send_header("content-type", kind)
                self.send_header("content-length", str(len(told)))
                self.end_headers()
                self.wfile.write(told)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def answer(self, body: dict[str, Any], shape: str) -> tuple[int, str, bytes]:
        role = body["messages"][0]["role"]
        json_type = "application/json"
        if self.shut:
            return 401, json_type, b'{"error":{"message":"Incorrect API key","code":"invalid_api_key"}}'
        if role == "user":
            return 200, json_type, json.dumps(ANSWER).encode()
        if shape == "event":
            event = {"error": {"message": f"Unknown role {role}", "code": "bad", "type": "invalid_request_error"}}
            return 200, "text/event-stream", f"data: {json.dumps(event)}\n\n".encode()
        if shape == "text":
            return 400, "text/plain", f"Unknown role {role}".encode()
        status, error = SHAPES[shape]
        return status, json_type, json.dumps({"error": {"message": f"Invalid value: {role}", **error}}).encode()


SHAPES: dict[str, tuple[int, dict[str, Any]]] = {
    "param": (400, {"type": "invalid_request_error", "param": "messages[0].role", "code": "invalid_value"}),
    "type": (400, {"type": "invalid_request_error"}),
    "bare": (404, {}),
    "forbidden": (403, {}),
}


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    upstream = Upstream()
    thread = threading.Thread(target=upstream.server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield upstream
    finally:
        upstream.server.shutdown()
        upstream.server.server_close()
        thread.join()


def ask(running: Proxy, role: str, text: str, shape: str = "", *, stream: bool = False) -> httpx.Response:
    body = {"model": "m", "messages": [{"role": role, "content": text}], "stream": stream}
    headers = {"x-shape": shape} if shape else {}
    return httpx.post(f"{running.url}/v1/chat/completions", json=body, headers=headers, timeout=30, trust_env=False)


@pytest.mark.parametrize("shape", [*SHAPES, "text", "event"])
def test_another_client_is_served_at_once(tmp_path: Path, upstream: Upstream, shape: str) -> None:
    """R1: after each of the attacker's requests, by the account it would have had anyway, at the first attempt."""
    with proxy(tmp_path, generic_config(tmp_path, NAMES), mode=f"reverse:{upstream.url}") as running:
        homes = {text: ask(running, "user", text).headers["x-patchbay-account"] for text in ("one", "two", "three")}
        for words in WORDS:
            quoted = ask(running, words, "hello", shape, stream=shape == "event")
            assert words in quoted.text or (shape == "forbidden" and quoted.status_code == 502), quoted.text
            for text, home in homes.items():
                answer = ask(running, "user", text)
                assert (answer.status_code, answer.headers["x-patchbay-account"]) == (200, home), (words, answer.text)
        assert eventually(lambda: running.journal.count("\n") == 3 + 4 * len(WORDS))
    told = [json.loads(line) for line in running.journal.splitlines()]
    served = [line for line in told if line["status"] == 200 and line["stream"] is False]
    assert len(served) == 3 + 3 * len(WORDS)
    assert all(len(line["attempts"]) == 1 for line in served)


def test_accounts_that_are_all_revoked_end_in_a_clear_error_and_are_not_asked_for_ever(
    tmp_path: Path, upstream: Upstream
) -> None:
    """R1: that one exchange meets a fault everywhere clears the accounts only until others have met it too."""
    upstream.shut = True
    with proxy(tmp_path, generic_config(tmp_path, NAMES), mode=f"reverse:{upstream.url}") as running:
        first = ask(running, "user", "conversation 0")
        for number in range(1, 8):
            ask(running, "user", f"conversation {number}")
        before = len(upstream.asked)
        later = [ask(running, "user", f"conversation {number}") for number in range(8, 12)]
    assert (first.status_code, first.json()["error"]["code"]) == (502, "upstream_credentials_exhausted")
    assert len(upstream.asked) == before, "none of them is asked any more"
    assert {answer.status_code for answer in later} == {503}
    assert len(set(upstream.asked)) == 4
