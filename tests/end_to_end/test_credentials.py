"""Credentials of any name stand in no flow, whatever the mode, and go to no provider they are not for; so do hops."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest
from websockets.sync.client import connect

from ..simulator import Simulator, simulator_thread
from .conftest import KEYS
from .dialogue import DIALECTS, body, credential, path
from .harness import eventually, generic_config, proxy
from .test_no_key_anywhere import client_of
from .test_replay import Web
from .tunnel import listener, read_head

NAMES = {name: key for key, name in KEYS.items()}
CHAT = path("openai_chat")
SECRET = "s3cr3t-0f-th3-t00l"
SHAPED = "sk-ant-api03-Zq8wNfT2vXb7RkLm4HcJdP9sGyU1eA0oIi"
# by name, with a value that looks like nothing …
NAMED = [
    "x-litellm-api-key", "x-bf-vk", "x-portkey-api-key", "cf-aig-authorization", "X-Auth-Token", "helicone-auth",
    "x-goog-iam-authorization-token", "x-amz-security-token", "ocp-apim-subscription-key", "X-Session-Token",
    "cf-access-client-secret", "X-Acme-Token", "private-token", "x-functions-key", "X-Password", "Cookie",
    "x-ms-token-aad-access-token", "proxy-authorization",
]  # fmt: skip
# … and by value, under a name that says nothing.
UNNAMED = ["X-Acme", "X-Portkey-Config", "Baggage"]
# … and by what a value says of itself.
SAYING = {
    "Referer": f"https://host.example/chat?model=m&api_key={SECRET}-s1", "X-Original-Uri": f"/v1/x?key={SECRET}-s2",
    "X-Provider-Config": f'{{"provider": "openai", "api_key": "{SECRET}-s3"}}', "X-Proxy": f"http://me:{SECRET}-s4@host",
    "X-Upstream": f"Bearer {SECRET}-s5",
}  # fmt: skip
HARMLESS = {
    "idempotency-key": "one-request", "x-request-token-count": "17", "x-session-id": "mine", "prompt-cache-key": "warm",
    "x-author": "ann", "authority": "none", "anthropic-beta": "token-efficient-tools-2025-02-19",
}  # fmt: skip
QUERY = f"?api_key={SECRET}-q1&alt=sse&access_token={SECRET}-q2&pageToken=next&apiKey={SECRET}-q3&x={SHAPED}"


def carried() -> dict[str, str]:
    named = {name: f"{SECRET}-{number:02}" for number, name in enumerate(NAMED)}
    return named | dict.fromkeys(UNNAMED, f"a={SHAPED}") | SAYING | HARMLESS


def kept(folder: Path) -> bytes:
    """Return all that a proxy wrote, but for its settings and the certificates."""
    files = [p for p in folder.rglob("*") if p.is_file() and p.name != "config.yaml"]
    return b"".join(p.read_bytes() for p in files if "mitmproxy" not in p.parts[-2:-1])


def leaks(text: bytes) -> list[str]:
    return [secret for secret in (SECRET, SHAPED[13:], *KEYS) if secret.encode() in text]


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_no_credential_of_another_name_goes_up_or_stands_in_a_flow(
    tmp_path: Path, simulator: Simulator, stream: bool
) -> None:
    """T7: taken off by what a name or a value looks like; what only sounds like one goes up."""
    simulator.reset()
    settings = generic_config(tmp_path, NAMES)
    with proxy(tmp_path, settings, "-w", str(tmp_path / "all.mitm"), mode=f"reverse:{simulator.url}") as running:
        for dialect in DIALECTS:
            where = path(dialect, stream=stream).partition("?")[0] + QUERY
            asked = body(dialect, ["hi"], stream=stream)
            answer = httpx.post(
                running.url + where,
                json=asked,
                headers=carried() | credential(dialect, SHAPED),
                trust_env=False,
                timeout=30,
            )
            assert answer.status_code == 200, answer.text
        running.interrupt()

    sent = simulator.truth.requests
    assert len(sent) == len(DIALECTS)
    for record in sent:
        headers = {name.lower(): value for name, value in record.headers}
        told = " ".join([*headers.values(), record.query, record.path])
        assert record.credential in KEYS
        assert SECRET not in told and SHAPED not in told and "patchbay" not in record.query
        assert {name.lower() for name in (*NAMED, *UNNAMED, *SAYING)}.isdisjoint(headers)
        assert {name: headers.get(name) for name in HARMLESS} == HARMLESS
        assert record.query == "alt=sse&pageToken=next"
    assert leaks(kept(tmp_path)) == []


def test_a_provider_lets_named_ones_pass(tmp_path: Path, simulator: Simulator) -> None:
    """T7: `pass_headers` and `pass_query`; the flow shows them covered all the same, and no key of ours passes so."""
    simulator.reset()
    ours = next(iter(KEYS))
    more = "providers: {generic: {pass_headers: [X-Acme-Token, cookie, X-Auth-Token], pass_query: [api_key]}}"
    with proxy(
        tmp_path, generic_config(tmp_path, NAMES, more=more), "-w", str(tmp_path / "all.mitm"),
        mode=f"reverse:{simulator.url}",
    ) as running:  # fmt: skip
        headers = carried() | {"X-Auth-Token": ours, "X-Patchbay-Account": KEYS[ours], "Authorization": "Bearer x"}
        answer = httpx.post(
            running.url + CHAT + QUERY, json=body("openai_chat", ["hi"]), headers=headers, trust_env=False, timeout=30
        )
        assert answer.status_code == 200
        running.interrupt()

    [record] = simulator.truth.requests
    sent = {name.lower(): value for name, value in record.headers}
    assert sent["x-acme-token"] == carried()["X-Acme-Token"]
    assert sent["cookie"] == carried()["Cookie"]
    assert "x-auth-token" not in sent and "x-bf-vk" not in sent
    assert record.query == f"api_key={SECRET}-q1&alt=sse&pageToken=next"
    assert leaks(kept(tmp_path)) == []


def test_an_accounts_own_headers_are_read_like_its_key(tmp_path: Path, simulator: Simulator) -> None:
    """T9: env:, file: and a command, with a scheme; on the wire and nowhere else, also where the provider quotes it."""
    simulator.reset()
    secret = tmp_path / "kept" / "token"
    secret.parent.mkdir()
    secret.write_text(f"{SECRET}-file\n")
    secret.chmod(0o600)
    own = (
        f'headers: {{X-Acme-Token: "env:ACME", X-Other: "Bearer file:{secret}", '
        f"X-Printed: {{cmd: [printf, {SECRET}-cmd]}}, X-Acme-Key: {SECRET}-literal, OpenAI-Organization: org-x}}"
    )
    settings = generic_config(tmp_path, NAMES, account=own)
    folder = tmp_path / "run"
    with proxy(
        folder, settings, "-w", str(folder / "all.mitm"), mode=f"reverse:{simulator.url}",
        environment={"ACME": f"{SECRET}-env"},
    ) as running:  # fmt: skip
        answer = httpx.post(running.url + CHAT, json=body("openai_chat", ["hi"]), trust_env=False, timeout=30)
        assert answer.status_code == 200
        secret.write_text(f"{SECRET}-anew\n")
        assert eventually(lambda: "was read again and can be used" in running.log)
        httpx.post(running.url + CHAT, json=body("openai_chat", ["hi"]), trust_env=False, timeout=30)
        running.interrupt()

    first, second = ({name.lower(): value for name, value in record.headers} for record in simulator.truth.requests)
    assert first["x-acme-token"] == f"{SECRET}-env"
    assert first["x-other"] == f"Bearer {SECRET}-file"
    assert first["x-printed"] == f"{SECRET}-cmd"
    assert first["x-acme-key"] == f"{SECRET}-literal"
    assert first["openai-organization"] == "org-x"
    assert second["x-other"] == f"Bearer {SECRET}-anew"
    assert leaks(kept(folder)) == []


# -- what passes untouched ---------------------------------------------------------------------------------------------


@dataclass
class Raw:
    """A server that keeps the heads it gets, and answers each with the same bytes."""

    answer: bytes
    port: int = 0
    heads: list[str] = field(default_factory=list)

    def serve(self, client: socket.socket) -> None:
        head = read_head(client)
        self.heads.append(head)
        length = next((int(n.split(":")[1]) for n in head.splitlines() if n.lower().startswith("content-length")), 0)
        while length > 0 and (data := client.recv(length)):
            length -= len(data)
        client.sendall(self.answer)


@contextmanager
def raw(answer: bytes) -> Iterator[Raw]:
    running = Raw(answer)
    with listener(running.serve) as port:
        running.port = port
        yield running


SAID = b'{"object":"chat.completion","choices":[{"index":0,"message":{"role":"assistant","content":"x"}}]}'
ANSWER = (
    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nSet-Cookie: a=%s; Path=/\r\nset-cookie: b=%s\r\n"
    b"X-Auth-Token: %s\r\nX-Plain: 1\r\ncontent-length: %d\r\n\r\n%s"
) % (SECRET.encode(), SECRET.encode(), SHAPED.encode(), len(SAID), SAID)


def send(port: int, head: list[str], content: bytes = b"") -> bytes:
    """Send a request as raw bytes and return all that comes back."""
    lines = [*head, f"Content-Length: {len(content)}", "Connection: close", "", ""]
    with socket.create_connection(("127.0.0.1", port), 30) as opened:
        opened.sendall("\r\n".join(lines).encode() + content)
        opened.settimeout(30)
        return b"".join(iter(lambda: opened.recv(65536), b""))


def odd_head(target: str, host: str) -> list[str]:
    named = [f"{name}: {SECRET}-{number:02}" for number, name in enumerate(NAMED)]
    return [
        f"POST {target}{QUERY} HTTP/1.1", f"Host: {host}", f"AUTHORIZATION: Bearer {SHAPED}", f"x_api_key: {SHAPED}",
        f"x-api-key: {SHAPED}", f"X-Api-Key: {SHAPED}-2", *named, f"X-Acme: {SHAPED}", "X-Odd: one", "x-odd: two",
        *(f"{name}: {value}" for name, value in SAYING.items()),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "accounts", ["accounts: []", "", "accounts: [{id: a, provider: openai, key: example-x, enabled: false}]"]
)
@pytest.mark.parametrize("where", [CHAT, "/v1/whatever", "/admin"])
def test_looking_needs_no_account_and_shows_no_key(tmp_path: Path, accounts: str, where: str) -> None:
    """T8: byte for byte to the provider and back, while the flow holds placeholders."""
    dump = tmp_path / "all.mitm"
    settings = (
        f"mode: shadow\nstate: {tmp_path}/state\njournal: {{path: {tmp_path}/journal.jsonl}}\ngrace_period: 1s\n"
        f"{accounts}\n"
    )
    content = json.dumps(body("openai_chat", ["hi"])).encode()
    with (
        raw(ANSWER) as upstream,
        proxy(tmp_path, settings, "-w", str(dump), mode=f"reverse:http://127.0.0.1:{upstream.port}") as running,
    ):
        head = odd_head(where, f"127.0.0.1:{upstream.port}")
        answer = send(running.port, head, content)
        if where == CHAT:
            assert eventually(lambda: running.journal.count("\n") == 1)
        running.interrupt()

    [sent] = upstream.heads
    assert sent.splitlines()[:-1] == [*head, f"Content-Length: {len(content)}", "Connection: close"]
    assert answer == ANSWER
    assert "every request will be refused" not in running.log
    assert dump.stat().st_size > 0
    assert leaks(kept(tmp_path)) == []


def test_other_traffic_in_regular_mode_passes_whole_and_shows_no_key(tmp_path: Path, simulator: Simulator) -> None:
    """T8: what is none of our business goes out as it came; its credentials stand in no flow."""
    settings = generic_config(tmp_path, {"one": "sk-real-one-0123456789"}).replace("reverse", simulator.url)
    with (
        raw(ANSWER) as upstream,
        proxy(tmp_path, settings, "-w", str(tmp_path / "all.mitm"), mode="regular") as running,
    ):
        host = f"127.0.0.1:{upstream.port}"
        for target in ("/whatever", CHAT):
            answer = send(running.port, odd_head(f"http://{host}{target}", host))
            assert answer == ANSWER
        running.interrupt()

    for target, sent in zip(("/whatever", CHAT), upstream.heads, strict=True):
        assert sent.splitlines()[:-1] == [*odd_head(target, host), "Content-Length: 0", "Connection: close"]
    assert leaks(kept(tmp_path)) == []


@pytest.mark.parametrize("mode", ["regular", "reverse"])
def test_a_head_that_mitmproxy_refuses_shows_no_key(tmp_path: Path, mode: str) -> None:
    """T7: a name and a password before a host, a line that is no header, a length or a chunk that is none."""
    settings = generic_config(tmp_path, {"one": "example-one"}).replace("reverse", "http://127.0.0.1:9")
    with raw(ANSWER) as upstream:
        where = f"127.0.0.1:{upstream.port}"
        listens = mode if mode == "regular" else f"reverse:http://{where}"
        with proxy(tmp_path, settings, "-w", str(tmp_path / "all.mitm"), mode=listens) as running:
            for user in (f"me:{SECRET}", SHAPED):
                send(running.port, [f"POST http://{user}@{where}{CHAT} HTTP/1.1", f"Host: {user}@{where}"])
            send(running.port, [f"POST {CHAT} HTTP/1.1", f"Host: {where}", f"X-Api-Key {SECRET}"])
            send(running.port, [f"POST {CHAT} HTTP/1.1", f"Host: me:{SECRET}@{where}", f"Content-Length: {SHAPED}"])
            chunked = [f"POST {CHAT} HTTP/1.1", f"Host: {where}", "Transfer-Encoding: chunked", "", SECRET, ""]
            with socket.create_connection(("127.0.0.1", running.port), 30) as opened:
                opened.sendall("\r\n".join(chunked).encode())
                opened.settimeout(30)
                opened.recv(65536)
            running.interrupt()

    assert "Bad HTTP request line" in running.log
    assert upstream.heads == []
    assert leaks(kept(tmp_path)) == []


def test_what_had_a_credential_cannot_be_replayed_without_it(tmp_path: Path, simulator: Simulator) -> None:
    """T8: a replay of a flow of shadow is answered with what is missing, and nothing goes out."""
    simulator.reset()
    settings = f"mode: shadow\nstate: {tmp_path}/state\naccounts: []\ngrace_period: 1s\n"
    with proxy(tmp_path, settings, mode=f"reverse:{simulator.url}", program="mitmweb") as running:
        page = Web(running)
        for where in (CHAT, "/v1/whatever"):
            headers = {"authorization": f"Bearer {next(iter(KEYS))}"}
            httpx.post(
                running.url + where, json=body("openai_chat", ["hi"]), headers=headers, trust_env=False, timeout=30
            )
        assert eventually(lambda: len(page.flows()) == 2)
        before = len(simulator.truth.requests)
        for flow in page.flows():
            page.post(f"/flows/{flow['id']}/replay")
        assert eventually(lambda: page.everything().count(b"credential_not_kept") >= 2)
        assert len(simulator.truth.requests) == before
        assert leaks(page.everything()) == []
        for flow in page.flows():  # the user puts a credential on it
            headers = [
                [k, f"Bearer {next(iter(KEYS))}" if k == "authorization" else v] for k, v in flow["request"]["headers"]
            ]
            page.put(flow["id"], request={"headers": headers})
            page.post(f"/flows/{flow['id']}/replay")
        assert eventually(lambda: len(simulator.truth.requests) == before + 2)
        assert leaks(page.everything()) == []


def test_a_socket_without_an_account_passes_with_its_key(tmp_path: Path) -> None:
    """T8: an upgrade, with a key among its protocols."""
    key = next(iter(KEYS))
    settings = f"mode: shadow\nstate: {tmp_path}/state\naccounts: []\ngrace_period: 1s\n"
    with (
        simulator_thread(KEYS) as simulator,
        proxy(tmp_path, settings, "-w", str(tmp_path / "all.mitm"), mode=f"reverse:{simulator.url}") as running,
    ):
        headers = {"Authorization": f"Bearer {key}", "X-Bf-Vk": SECRET}
        with connect(f"ws://127.0.0.1:{running.port}/v1/responses", additional_headers=headers, proxy=None) as opened:
            opened.send(json.dumps({"type": "response.create", "model": "sim-large", "input": "hi"}))
            while json.loads(opened.recv(timeout=30))["type"] != "response.completed":
                pass
        assert simulator.truth.requests[0].credential == key
        running.interrupt()

    assert leaks(kept(tmp_path)) == []


def test_a_stream_over_http2_passes_with_its_key(tmp_path: Path) -> None:
    """T8: without an account, to a path that asks a model and to one that does not."""
    key = next(iter(KEYS))
    settings = f"mode: shadow\nstate: {tmp_path}/state\njournal: {{path: {tmp_path}/journal.jsonl}}\ngrace_period: 1s\n"
    with (
        simulator_thread(KEYS) as simulator,
        proxy(tmp_path, settings, "-w", str(tmp_path / "all.mitm"), mode=f"reverse:{simulator.url}") as running,
        client_of(running, http2=True) as client,
    ):
        headers = {"Authorization": f"Bearer {key}", "X-Bf-Vk": SECRET, "Cookie": f"a={SECRET}"}
        asked = body("openai_chat", ["hi"], stream=True)
        with client.stream("POST", CHAT, json=asked, headers=headers) as answer:
            assert answer.http_version == "HTTP/2"
            assert b"[DONE]" in answer.read()
        client.get("/v1/models", headers=headers)
        client.get("/whatever", headers=headers)
        assert eventually(lambda: len(simulator.truth.requests) >= 2)
        running.interrupt()

    for record in simulator.truth.requests:
        sent = {name.lower(): value for name, value in record.headers}
        assert (record.credential, sent["x-bf-vk"], sent["cookie"]) == (key, SECRET, f"a={SECRET}")
        assert sent["host"] == f"127.0.0.1:{simulator.port}"
    assert leaks(kept(tmp_path)) == []


def test_a_key_for_a_session_id_names_no_conversation(tmp_path: Path, simulator: Simulator) -> None:
    """T7: a placeholder is no id: two conversations under two keys are two."""
    simulator.reset()
    with proxy(tmp_path, generic_config(tmp_path, NAMES), mode=f"reverse:{simulator.url}") as running:
        for number in "12":
            headers = {"X-Session-ID": f"{SHAPED}{number}"}
            asked = body("openai_chat", [f"a conversation of its own {number}"])
            httpx.post(running.url + CHAT, json=asked, headers=headers, trust_env=False, timeout=30)
        assert eventually(lambda: running.journal.count("\n") == 2)

    first, second = (json.loads(line) for line in running.journal.splitlines())
    assert first["session"] != second["session"]


# -- hops --------------------------------------------------------------------------------------------------------------

HOPS = ["TE: trailers", "Keep-Alive: timeout=30", "Proxy-Connection: keep-alive", "HTTP2-Settings: AAMAAABk",
        "Trailer: X-After", "X-Listed: 1", "Upgrade: foo/2",
        "Connection: keep-alive, X-Listed, authorization, Content-Length, host, HTTP2-Settings, Upgrade"]  # fmt: skip
HOPPING = (
    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nKeep-Alive: timeout=30\r\nProxy-Connection: close\r\n"
    b"Trailer: x\r\nUpgrade: h2c\r\nX-Listed: 1\r\nTE: trailers\r\nX-Kept: 1\r\n"
    b"Connection: close, x-listed, x-patchbay-account, content-type, content-length\r\ncontent-length: %d\r\n\r\n%s"
) % (len(SAID), SAID)


def test_what_concerns_one_connection_stays_on_it(tmp_path: Path) -> None:
    """R6: hop-by-hop fields, and what `Connection` lists, in both directions; never what a message needs."""
    with raw(HOPPING) as upstream:
        settings = generic_config(tmp_path, NAMES)
        with proxy(tmp_path, settings, mode=f"reverse:http://127.0.0.1:{upstream.port}") as running:
            content = json.dumps(body("openai_chat", ["hi"])).encode()
            head = [f"POST {CHAT} HTTP/1.1", "Host: localhost", "Authorization: Bearer mine", "X-End: 1", *HOPS]
            answer = send(running.port, head, content).decode()

    [sent] = upstream.heads
    names = [line.partition(":")[0].lower() for line in sent.splitlines()[1:]]
    hops = {line.partition(":")[0].lower() for line in HOPS}
    assert (hops - {"connection"}).isdisjoint(names)
    assert [line.lower() for line in sent.splitlines() if line.lower().startswith("connection")] == [
        "connection: keep-alive"
    ]
    assert {"host", "authorization", "content-length", "x-end"} <= set(names)
    assert any(f"Bearer {key}" in sent for key in KEYS)
    told = [line.partition(":")[0].lower() for line in answer.partition("\r\n\r\n")[0].splitlines()[1:]]
    assert (hops | {"te"}).isdisjoint(told)
    assert {"x-kept", "content-type", "content-length", "x-patchbay-account"} <= set(told)
