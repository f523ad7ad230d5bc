"""What a stranger sees: the shipped example configuration, one command, and a server of thirty lines behind it."""

from __future__ import annotations

import json
import threading
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from .harness import DIRECT, ROOT, Proxy, eventually, proxy

CLIENT_KEY = "client-key-that-must-not-leave"


class Upstream(BaseHTTPRequestHandler):
    """Thirty lines that remember what they got and answer as they are told to."""

    protocol_version = "HTTP/1.1"
    seen: list[dict[str, Any]] = []  # noqa: RUF012 - one server a module
    answer_header = answer_body = ""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        self.seen.append({"headers": {n.title(): v for n, v in self.headers.items()}, "path": self.path, "body": body})
        choices = [{"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}]
        answer: dict[str, Any] = {"id": "chatcmpl-own", "object": "chat.completion", "choices": choices}
        sent = self.headers.get("X-Request-ID", "")
        if self.answer_body:
            answer["request_id"] = self.answer_body.replace("SENT", sent)
        text = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(text)))
        if self.answer_header:
            self.send_header("X-Request-ID", self.answer_header.replace("SENT", sent))
        self.end_headers()
        self.wfile.write(text)

    do_GET = do_DELETE = do_PUT = do_HEAD = do_POST

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def upstream() -> Iterator[type[Upstream]]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Upstream)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    Upstream.server_port = server.server_address[1]  # type: ignore[attr-defined]
    yield Upstream
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def running(upstream: type[Upstream], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    folder = tmp_path_factory.mktemp("black-box")
    example = (ROOT / "config.example.yaml").read_text()
    port = upstream.server_port  # type: ignore[attr-defined]
    home = {"HOME": str(folder), "XDG_STATE_HOME": str(folder / "xdg")}
    with proxy(folder, example, mode=f"reverse:http://127.0.0.1:{port}", environment=home) as started:
        yield started


@pytest.fixture(autouse=True)
def _fresh(upstream: type[Upstream]) -> None:
    upstream.seen.clear()
    upstream.answer_header = upstream.answer_body = ""


def ask(
    running: Proxy, session: str = "", path: str = "/v1/chat/completions", method: str = "POST", **headers: str
) -> tuple[dict[str, str], dict[str, Any]]:
    sent = {"Authorization": f"Bearer {CLIENT_KEY}", "Content-Type": "application/json"}
    sent |= {"X-Session-ID": session} if session else {}
    sent |= {name.replace("_", "-"): value for name, value in headers.items()}
    body = json.dumps({"model": "m", "messages": [{"role": "user", "content": "hello"}]}).encode()
    request = urllib.request.Request(running.url + path, body, sent, method=method)  # noqa: S310
    with DIRECT.open(request, timeout=30) as answer:
        text = answer.read()
        return {n.lower(): v for n, v in answer.headers.items()}, json.loads(text) if text else {}


def test_the_pool_s_credential_goes_up_and_the_client_s_does_not(running: Proxy, upstream: type[Upstream]) -> None:
    ask(running)

    [seen] = upstream.seen
    assert seen["headers"]["Authorization"] in ("Bearer example-key-one", "Bearer example-key-two")
    assert CLIENT_KEY not in json.dumps(seen["headers"]) + seen["path"]


def test_one_session_one_account_over_twenty_requests_and_two_interleaved(
    running: Proxy, upstream: type[Upstream]
) -> None:
    for _ in range(20):
        ask(running, "session-one")
        ask(running, "session-two")

    keys = [seen["headers"]["Authorization"] for seen in upstream.seen]
    assert len(set(keys[0::2])) == 1
    assert len(set(keys[1::2])) == 1


def test_many_sessions_use_both_accounts(running: Proxy, upstream: type[Upstream]) -> None:
    for number in range(24):
        ask(running, f"spread-{number}")

    assert len({seen["headers"]["Authorization"] for seen in upstream.seen}) == 2


def test_both_ids_go_up_and_the_request_id_is_new_each_time(running: Proxy, upstream: type[Upstream]) -> None:
    ask(running, "ids")
    ask(running, "ids")
    ask(running)

    ids = [seen["headers"]["X-Request-Id"] for seen in upstream.seen]
    assert len(set(ids)) == 3
    assert upstream.seen[0]["headers"]["X-Session-Id"] == "ids"
    assert upstream.seen[2]["headers"]["X-Session-Id"]


def test_a_client_s_own_request_id_is_left_alone(running: Proxy, upstream: type[Upstream]) -> None:
    upstream.answer_header = upstream.answer_body = "SENT"
    headers, _ = ask(running, X_Request_ID="mine-1")

    assert upstream.seen[0]["headers"]["X-Request-Id"] == "mine-1"
    assert headers["x-request-id"] == "mine-1"
    assert headers["x-patchbay-verdict"] == "clean"


@pytest.mark.parametrize(("where", "value"), [("answer_header", "someone-else"), ("answer_body", "someone-else")])
def test_a_wrong_id_in_the_answer_is_flagged(running: Proxy, upstream: type[Upstream], where: str, value: str) -> None:
    setattr(upstream, where, value)
    headers, _ = ask(running, "flagged")

    assert headers["x-patchbay-verdict"] == "crosstalk"
    sent = upstream.seen[0]["headers"]["X-Request-Id"]
    assert eventually(lambda: f"event_type=crosstalk expected={sent} received={value}" in running.log)


@pytest.mark.parametrize(("where", "verdict"), [("answer_header", "unverifiable"), ("answer_body", "clean")])
def test_the_right_id_in_the_answer_is_not_flagged(
    running: Proxy, upstream: type[Upstream], where: str, verdict: str
) -> None:
    """In the head it proves nothing about the body, but is no sign of anything wrong either."""
    setattr(upstream, where, "SENT")
    headers, _ = ask(running, "unflagged")

    assert headers["x-patchbay-verdict"] == verdict
    assert upstream.seen[0]["headers"]["X-Request-Id"] not in running.log


def test_no_id_in_the_answer_is_no_alarm(running: Proxy) -> None:
    headers, _ = ask(running, "silent")

    assert headers["x-patchbay-verdict"] == "unverifiable"


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/v1/models"), ("HEAD", "/"), ("POST", "/v1/messages/count_tokens"), ("PUT", "/no/dialect/at/all"),
     ("DELETE", "/v1/files/file-1"), ("POST", "/api/v1/chat/completions")],
)  # fmt: skip
def test_every_path_and_method_gets_the_credential_and_the_stamps(
    running: Proxy, upstream: type[Upstream], method: str, path: str
) -> None:
    ask(running, "any", path, method)

    [seen] = upstream.seen
    assert "example-key-" in json.dumps(seen["headers"])
    assert CLIENT_KEY not in json.dumps(seen["headers"])
    assert seen["headers"]["X-Request-Id"]
    assert seen["path"] == path


def test_it_listens_on_this_machine_only(running: Proxy) -> None:
    listening = Path("/proc/net/tcp").read_text()
    assert f"0100007F:{running.port:04X}" in listening
    assert f"00000000:{running.port:04X}" not in listening
