"""What tools are told as our address, and what upstreams are told as theirs."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import trustme
from websockets.sync.client import connect

from ..ports import free_port
from ..simulator import Simulator, simulator_thread
from .dialogue import body, credential
from .harness import Proxy, eventually, proxy

KEY = "sk-real-0123456789abcdef0123"
BEARER = {"authorization": "Bearer sk-client-own"}


@pytest.mark.parametrize("version", ["HTTP/1.1", "HTTP/2"])
def test_an_ipv6_address_is_named_in_brackets(tmp_path: Path, version: str) -> None:
    """P7: in Host, in :authority, and in the upgrade of a WebSocket."""
    tls = {}
    if version == "HTTP/2":
        authority = trustme.CA()
        authority.cert_pem.write_to_path(tmp_path / "ca.pem")
        authority.issue_cert("::1").private_key_and_cert_chain_pem.write_to_path(tmp_path / "server.pem")
        tls = {"tls": tmp_path / "server.pem"}
    with simulator_thread({KEY: "one"}, host="::1", **tls) as upstream:
        scheme, called = "https" if tls else "http", f"[::1]:{upstream.port}"
        config = (
            f"state: {tmp_path / 'state'}\njournal: {{path: {tmp_path / 'journal.jsonl'}}}\ngrace_period: 1s\n"
            f"accounts:\n  - {{id: one, provider: generic, base_url: '{scheme}://{called}/v1', key: {KEY}}}\n"
        )
        trusted = ("--set", f"ssl_verify_upstream_trusted_ca={tmp_path / 'ca.pem'}") if tls else ()
        with proxy(tmp_path, config, *trusted, mode="reverse:http://patchbay.invalid") as running:
            body = {"model": "m", "messages": [{"role": "user", "content": "x"}]}
            answer = httpx.post(
                f"{running.url}/v1/chat/completions", json=body, headers=BEARER, trust_env=False, timeout=30
            )
            assert answer.status_code == 200, answer.text
            if not tls:
                url = f"ws://127.0.0.1:{running.port}/v1/responses"
                with connect(url, additional_headers=BEARER, proxy=None) as opened:
                    opened.send(json.dumps({"type": "response.create", "model": "m", "input": "x"}))
                    assert json.loads(opened.recv(timeout=30))["type"] == "response.created"
        hosts = {record.header(":authority") or record.header("host") for record in upstream.truth.requests}

    assert hosts == {called}


@pytest.fixture(scope="module")
def upstream() -> Iterator[Simulator]:
    with simulator_thread({KEY: "one"}) as running:
        yield running


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory, upstream: Simulator) -> Iterator[tuple[Proxy, int]]:
    """A proxy with one listener for every provider, and one that is an HTTP proxy, on the port that is returned."""
    folder, port = tmp_path_factory.mktemp("addresses"), free_port()
    config = (
        f"state: {folder / 'state'}\njournal: {{path: {folder / 'journal.jsonl'}}}\ngrace_period: 1s\n"
        f"accounts:\n  - {{id: one, provider: generic, base_url: '{upstream.url}', key: {KEY}}}\n"
    )
    mode = "reverse:http://patchbay.invalid"
    with proxy(folder, config, "--mode", f"regular@{port}", mode=mode) as running:
        yield running, port


PATHS = {
    "//v1/messages": "anthropic",
    "/v1//messages": "anthropic",
    "/v1/messages/": "anthropic",
    "/v1/v1/messages": "anthropic",
    "/v1/v1/v1/messages": "anthropic",
    "/v1//chat/completions": "openai_chat",
    "/v1/%63hat/completions": "openai_chat",
    "/v1/v1/chat/completions": "openai_chat",
    "/openai/v1/v1/chat/completions": "openai_chat",
    "/v1beta/v1beta/models/gemini-sim:generateContent": "gemini",
    "/v1/v1beta/models/gemini-sim:generateContent": "gemini",
    "/v1beta//models/gemini-sim:generateContent": "gemini",
    "/v1beta/openai//chat/completions": "openai_chat",
    "/gate/v1//messages": "anthropic",
}


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("mode", ["reverse", "regular"])
def test_a_base_url_with_a_part_too_many(both: tuple[Proxy, int], upstream: Simulator, path: str, mode: str) -> None:
    """P4: it is served under the right path, or the answer and the log say what the base URL should be."""
    running, port = both
    dialect = PATHS[path]
    through = f"http://127.0.0.1:{port}" if mode == "regular" else None
    base = upstream.url if mode == "regular" else running.url
    upstream.reset()
    with httpx.Client(trust_env=False, timeout=30, proxy=through) as client:
        answer = client.post(base + path, json=body(dialect, ["x"]), headers=credential(dialect, "sk-client-own"))

    once = path.replace("/v1/v1", "/v1").replace("/v1/v1", "/v1").replace("/v1beta/v1beta", "/v1beta")
    if "//" in path or path.endswith("/"):
        assert answer.status_code == 400 and not upstream.truth.requests
        message = answer.json()["error"]["message"]
        right = base + path.partition("//")[0] if "//" in path else path.rstrip("/")
        assert "base URL" in message and f" {right} " in message
        assert eventually(lambda: message in running.log)
    else:
        assert answer.status_code == 200, answer.text
        assert upstream.truth.last().path == once.replace("/v1/v1beta", "/v1beta")
        assert once == path or eventually(lambda: "base URL ends in a version" in running.log)


def raw(port: int, head: str) -> tuple[int, dict[str, str], str]:
    with socket.create_connection(("127.0.0.1", port), 30) as client:
        client.sendall(head.replace("\n", "\r\n").encode())
        with client.makefile("rb") as file:
            status = int(file.readline().split()[1])
            fields = dict(line.decode().strip().lower().split(": ", 1) for line in iter(file.readline, b"\r\n"))
            return status, fields, file.read(int(fields["content-length"])).decode()


@pytest.mark.parametrize(
    "head",
    [
        "CONNECT api.openai.com:443 HTTP/1.1\nHost: api.openai.com:443\nProxy-Authorization: Basic {key}\n\n",
        "POST http://api.example/v1/messages HTTP/1.1\nHost: api.example\nX-Api-Key: {key}\nContent-Length: 0\n\n",
        "GET http://api.example/v1/models HTTP/1.1\nHost: api.example\nAuthorization: Bearer {key}\n\n",
    ],
)
def test_a_listener_that_is_no_proxy_says_so(both: tuple[Proxy, int], upstream: Simulator, head: str) -> None:
    """P5: in JSON, with the address to use and how; the client's key stands in no log."""
    running, _ = both
    upstream.reset()
    key = "c2stY2xpZW50LW93bi0wMTIzNDU2Nzg5YWJjZGVm"
    status, fields, text = raw(running.port, head.format(key=key))

    assert status in (403, 405) and fields["content-type"] == "application/json"
    message = json.loads(text)["error"]["message"]
    assert f"http://127.0.0.1:{running.port} " in message and "HTTPS_PROXY" in message and "--mode regular" in message
    assert eventually(lambda: "is no HTTP proxy" in running.log)
    assert not upstream.truth.requests and key not in running.log and "Traceback" not in running.log


@pytest.mark.parametrize("host", ["0.0.0.0", "[::1]", "LOCALHOST", "host.docker.internal", "box.lan"])  # noqa: S104
def test_a_proxy_that_is_asked_as_a_provider_by_another_name_says_so(both: tuple[Proxy, int], host: str) -> None:
    """P5: whatever this machine is called: a request for a path is for a server, and its port is the proxy's own."""
    port = both[1]
    status, _, text = raw(port, f"POST /v1/messages HTTP/1.1\nHost: {host}:{port}\nContent-Length: 0\n\n")

    assert status == 400
    assert f"HTTPS_PROXY=http://127.0.0.1:{port} " in json.loads(text)["error"]["message"]


@pytest.mark.parametrize("dialect", ["anthropic", "openai_chat", "gemini"])
@pytest.mark.parametrize("name", ["127.0.0.1", "localhost"])
def test_a_proxy_that_is_asked_as_a_provider_says_so(both: tuple[Proxy, int], dialect: str, name: str) -> None:
    """P5: in the words of the tool, with the line to use instead."""
    running, port = both
    path = {"anthropic": "/v1/messages", "openai_chat": "/v1/chat/completions"}.get(
        dialect, "/v1beta/models/gemini-sim:generateContent"
    )
    headers = credential(dialect, "sk-client-own")
    url = f"http://{name}:{port}{path}"
    answer = httpx.post(url, json=body(dialect, ["x"]), headers=headers, trust_env=False, timeout=30)

    assert answer.status_code == 400
    message = answer.json()["error"]["message"]
    assert f"HTTPS_PROXY=http://127.0.0.1:{port} " in message and "reverse:http://patchbay.invalid" in message
    assert ("status" in answer.json()["error"]) == (dialect == "gemini")
    assert eventually(lambda: "is an HTTP proxy" in running.log)
    assert "sk-client-own" not in running.log


@pytest.mark.parametrize(
    ("path", "right"),
    [
        ("/v1/chat/completions/chat/completions", "/v1"),
        ("/v1/messages/v1/messages", ""),
        ("/messages", "/v1"),
        ("/models/gemini-sim:generateContent", "/v1beta"),
    ],
)
def test_a_wrong_base_url_is_told_with_the_right_one(
    both: tuple[Proxy, int], upstream: Simulator, path: str, right: str
) -> None:
    running, _ = both
    upstream.reset()
    answer = httpx.post(f"{running.url}{path}", json={"model": "m"}, headers=BEARER, trust_env=False, timeout=30)

    assert answer.status_code in (400, 404) and not upstream.truth.requests
    message = answer.json()["error"]["message"]
    assert f"use {running.url}{right} as the base URL" in message
    assert eventually(lambda: message in running.log)
    httpx.post(f"{running.url}{path}", json={"model": "m"}, headers=BEARER, trust_env=False, timeout=30)
    assert running.log.count(message) == 1


def test_tls_to_a_plain_listener_is_told_in_the_log(both: tuple[Proxy, int]) -> None:
    running, _ = both
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"https://127.0.0.1:{running.port}/v1/models", trust_env=False, timeout=30)
    assert eventually(lambda: f"a tool speaks TLS to http://127.0.0.1:{running.port}" in running.log)


def test_a_browser_gets_a_page_and_a_tool_none(both: tuple[Proxy, int]) -> None:
    running, _ = both
    page = httpx.get(running.url, headers={"accept": "text/html,*/*"}, trust_env=False, timeout=30)
    assert page.status_code == 200 and f"ANTHROPIC_BASE_URL={running.url} " in page.text
    assert httpx.get(running.url, trust_env=False, timeout=30).text == ""
    icon = httpx.get(f"{running.url}/favicon.ico", trust_env=False, timeout=30)
    assert icon.status_code == 404


def test_a_tool_s_own_calls_are_no_rate_limit(tmp_path: Path, upstream: Simulator) -> None:
    """Claude Code asks for its settings at the same address, and goes on without."""
    upstream.reset()
    upstream.fault("status", {"status": 429, "retry_after": 300})
    config = (
        f"state: {tmp_path / 'state'}\ngrace_period: 1s\n"
        f"accounts:\n  - {{id: one, provider: anthropic, base_url: reverse, key: {KEY}}}\n"
        "providers: {anthropic: {preset: anthropic, paths: ['*']}}\n"
    )
    with proxy(tmp_path, config, mode=f"reverse:{upstream.url}") as running:
        asked = {"json": body("anthropic", ["x"]), "headers": credential("anthropic", "sk-client-own")}
        model = [httpx.post(f"{running.url}/v1/messages", **asked, trust_env=False, timeout=30) for _ in range(2)]
        settings = httpx.get(f"{running.url}/api/claude_code/settings", trust_env=False, timeout=30)
    upstream.reset()

    assert model[-1].status_code == 429
    assert (settings.status_code, settings.json()["error"]["code"]) == (404, "not_an_llm_path")
    assert "retry-after" not in settings.headers


def test_a_tool_of_another_provider_is_told_which_there_are(tmp_path: Path, upstream: Simulator) -> None:
    config = (
        f"state: {tmp_path / 'state'}\ngrace_period: 1s\n"
        f"accounts:\n  - {{id: one, provider: anthropic, base_url: '{upstream.url}', key: {KEY}}}\n"
    )
    with proxy(tmp_path, config, mode="reverse:http://patchbay.invalid") as running:
        answer = httpx.post(
            f"{running.url}/v1/chat/completions",
            json=body("openai_chat", ["x"]),
            headers=BEARER,
            trust_env=False,
            timeout=30,
        )
        assert answer.status_code == 404
        message = answer.json()["error"]["message"]
        assert message.startswith("There is no account here for OpenAI, only for Anthropic. ")
        assert eventually(lambda: message in running.log)
        doubled = httpx.post(
            f"{running.url}/v1/v1/chat/completions",
            json=body("openai_chat", ["x"]),
            headers=BEARER,
            trust_env=False,
            timeout=30,
        )
        assert f"use {running.url} as the base URL" in doubled.json()["error"]["message"]
