"""`mode: shadow`: everything is decided and written down, and nothing is changed on the way."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.sync.client import connect

from ..simulator import Record, Simulator
from .conftest import KEYS
from .dialogue import DIALECTS, body, credential, path
from .harness import Proxy, eventually, generic_config, proxy

POOL = {"pool-one": "sk-pool-one-0123456789abcdef", "pool-two": "sk-pool-two-0123456789abcdef"}
CLIENT = next(iter(KEYS))  # the client's own, which the provider knows
CHAT = path("openai_chat")


@pytest.fixture
def shadow(tmp_path: Path, simulator: Simulator) -> Iterator[Proxy]:
    simulator.reset()
    settings = generic_config(tmp_path, POOL, more="mode: shadow")
    dump = ("-w", str(tmp_path / "all.mitm"))
    with proxy(tmp_path, settings, *dump, mode=f"reverse:{simulator.url}") as running:
        yield running


def lines(running: Proxy) -> list[dict[str, Any]]:
    return [json.loads(line) for line in running.journal.splitlines()]


def raw(dialect: str, asked: dict[str, Any], *, stream: bool = False) -> bytes:
    """Return a request as odd as it may be: spelling, order, doubled fields, blanks in the body, our own namespace."""
    text = json.dumps(asked, indent=3).encode()
    fields = [
        *(f"{name}: {value}" for name, value in credential(dialect, CLIENT).items()),
        "X-Odd: one",
        "x-odd: two",
        "Accept-Encoding: gzip, br",
        "X-Request-ID: my-own-request-id-0123456789",
        "X-Patchbay-Note: left alone",
        "Cookie: mine=1",
        "Content-Type: application/json",
        f"Content-Length: {len(text)}",
    ]
    where = path(dialect, stream=stream) + ("&key=" + CLIENT if stream and dialect == "gemini" else "")
    return "\r\n".join([f"POST {where} HTTP/1.1", "Host: $HOST", *fields, "", ""]).encode() + text


def send(port: int, request: bytes, host: str) -> bytes:
    """Send *request* and return what comes back, to the end of the connection."""
    with socket.create_connection(("127.0.0.1", port), 30) as opened:
        opened.sendall(
            request.replace(b"$HOST", host.encode()).replace(b"\r\nX-Odd", b"\r\nConnection: close\r\nX-Odd", 1)
        )
        opened.settimeout(30)
        return b"".join(iter(lambda: opened.recv(65536), b""))


def seen(record: Record) -> tuple[Any, ...]:
    return (record.method, record.path, record.query, record.headers, record.body, record.credential)


@pytest.mark.parametrize("stream", [False, True], ids=["buffered", "streamed"])
def test_a_request_goes_out_as_it_came(shadow: Proxy, simulator: Simulator, stream: bool) -> None:
    host = f"127.0.0.1:{simulator.port}"
    for dialect in DIALECTS:
        request = raw(dialect, body(dialect, ["hi"], stream=stream), stream=stream)
        direct = send(simulator.port, request, host)
        answered = send(shadow.port, request, host)
        first, second = simulator.truth.requests[-2:]
        assert seen(second) == seen(first)
        assert answered.partition(b"\r\n\r\n")[0].count(b"\r\n") == direct.partition(b"\r\n\r\n")[0].count(b"\r\n")
        assert b"x-patchbay" not in answered.lower()


def test_what_would_have_been_is_written_down(shadow: Proxy, simulator: Simulator) -> None:
    for session in ("a", "b", "a", "b", "a"):
        asked = httpx.post(
            shadow.url + CHAT,
            json=body("openai_chat", [session]),
            headers={**credential("openai_chat", CLIENT), "X-Session-ID": session},
            trust_env=False,
            timeout=30,
        )
        assert asked.status_code == 200
    assert eventually(lambda: len(lines(shadow)) == 5)

    found = lines(shadow)
    assert all(line["mode"] == "shadow" and line["account"] in POOL for line in found)
    assert len({(line["session"], line["account"]) for line in found}) == 2
    assert [line["binding"] for line in found] == ["new", "new", "hit", "hit", "hit"]
    assert {record.credential for record in simulator.truth.requests} == {CLIENT}


def test_a_failure_is_delivered_and_says_nothing_about_an_account(shadow: Proxy, simulator: Simulator) -> None:
    headers = credential("openai_chat", CLIENT)
    simulator.fault("status", {"status": 429, "retry_after": 600}, times=1)
    answers = [
        httpx.post(shadow.url + CHAT, json=body("openai_chat", ["hi"]), headers=headers, trust_env=False, timeout=30)
        for _ in range(2)
    ]
    assert eventually(lambda: len(lines(shadow)) == 2)

    assert [answer.status_code for answer in answers] == [429, 200]
    assert len(simulator.truth.requests) == 2
    assert [len(line["attempts"]) for line in lines(shadow)] == [1, 1]
    assert len({line["account"] for line in lines(shadow)}) == 1


def test_where_no_account_would_do_the_request_passes(shadow: Proxy, simulator: Simulator) -> None:
    """What is refused when it is served: a pin to nobody, an unknown path, a request without a key."""
    headers = credential("openai_chat", CLIENT)
    pinned = {**headers, "X-Patchbay-Account": "nobody"}
    asked = [
        httpx.post(shadow.url + CHAT, json=body("openai_chat", ["hi"]), headers=pinned, trust_env=False, timeout=30),
        httpx.get(shadow.url + "/v1/whatever", headers=headers, trust_env=False, timeout=30),
        httpx.post(shadow.url + CHAT, json=body("openai_chat", ["hi"]), trust_env=False, timeout=30),
    ]

    assert [answer.status_code for answer in asked] == [200, 200, 401]
    assert asked[2].json()["error"]["code"] == "invalid_api_key"
    assert eventually(lambda: any(line["error"] == "account_unknown" for line in lines(shadow)))


def test_a_socket_passes_too(shadow: Proxy, simulator: Simulator) -> None:
    url = f"ws://127.0.0.1:{shadow.port}/v1/responses"
    with connect(
        url, additional_headers={"Authorization": f"Bearer {CLIENT}", "session-id": "s"}, proxy=None
    ) as opened:
        opened.send(json.dumps({"type": "response.create", "model": "sim-large", "input": "hi"}))
        while json.loads(opened.recv(timeout=30))["type"] != "response.completed":
            pass
    assert eventually(lambda: len(lines(shadow)) == 2)

    assert {record.credential for record in simulator.truth.requests} == {CLIENT}
    assert [line["mode"] for line in lines(shadow)] == ["shadow", "shadow"]


def test_the_clients_own_key_stands_in_no_flow(shadow: Proxy, simulator: Simulator) -> None:
    for dialect in DIALECTS:
        send(shadow.port, raw(dialect, body(dialect, ["hi"], stream=True), stream=True), "127.0.0.1")
    assert eventually(lambda: len(lines(shadow)) == 4)
    shadow.interrupt()

    kept = b"".join(p.read_bytes() for p in shadow.folder.rglob("*") if p.is_file() and p.name != "config.yaml")
    assert b"Bearer patchbay" in kept
    assert CLIENT.encode() not in kept
