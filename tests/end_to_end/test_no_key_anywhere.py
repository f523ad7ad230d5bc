"""A real key stands on the wire and nowhere else: not in a dump, a HAR, a log, the journal, mitmweb, or an answer."""

from __future__ import annotations

import base64
import json
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, unquote

import httpx
import pytest
from websockets.sync.client import connect

from ..simulator import Simulator, simulator_thread
from .dialogue import DIALECTS, body, credential, path
from .harness import Proxy, eventually, generic_config, proxy
from .holding import held

CLIENT = "sk-client-0123456789abcdef-its-own"
CHAT = path("openai_chat")
# failing exchanges take accounts out of service; there are enough for all of them
NAMES = {f"account-{n}": f"sk-real-{n:02}-0123456789abcdef0123" for n in range(60)}
KEYS = {key: name for name, key in NAMES.items()}


def secrets_in(text: bytes) -> list[str]:
    """Return which keys stand in *text*."""
    return [key for key in (*KEYS, CLIENT) if key.encode() in text]


def files(folder: Path) -> bytes:
    """Return all that a proxy wrote, but for its settings, which are where the keys come from."""
    return b"".join(p.read_bytes() for p in folder.rglob("*") if p.is_file() and p.name != "config.yaml")


@pytest.fixture(scope="module")
def quoting() -> Iterator[Simulator]:
    with simulator_thread(KEYS, echo="both") as running:
        yield running


class _OnlyHttp2(ssl.SSLContext):
    """httpx offers HTTP/1.1 first whatever one asks for, and mitmproxy takes the first."""

    def set_alpn_protocols(self, alpn_protocols: object) -> None:
        super().set_alpn_protocols(["h2"])


def _trusting() -> ssl.SSLContext:
    context = _OnlyHttp2(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def client_of(running: Proxy, *, http2: bool) -> httpx.Client:
    scheme = "https" if http2 else "http"
    return httpx.Client(
        base_url=f"{scheme}://127.0.0.1:{running.port}",
        http1=not http2,
        http2=http2,
        verify=_trusting() if http2 else True,
        timeout=30,
        trust_env=False,
    )


def provoke(running: Proxy, simulator: Simulator, *, http2: bool) -> None:
    """Buffered, streamed, failed, quoted and abandoned exchanges in every dialect."""
    with client_of(running, http2=http2) as client:
        for dialect in DIALECTS:
            headers = credential(dialect, CLIENT)
            for stream in (False, True):
                asked = body(dialect, ["hi"], stream=stream)
                answer = client.post(path(dialect, stream=stream), json=asked, headers=headers)
                assert answer.status_code == 200, answer.text
                assert not secrets_in(answer.content + repr(answer.headers.raw).encode())
        key_in_query = client.post(f"/v1beta/models/g:generateContent?key={CLIENT}", json=body("gemini", ["q"]))
        assert key_in_query.status_code == 200
        with client.stream(
            "POST", CHAT, json=body("openai_chat", ["left"], stream=True), headers=credential("openai_chat", CLIENT)
        ) as left:
            next(left.iter_raw())
        for status, times in ((400, 24), (500, 24), (401, 24)):
            for dialect in DIALECTS:
                fail(client, simulator, dialect, status, times)


def fail(client: httpx.Client, simulator: Simulator, dialect: str, status: int, times: int) -> None:
    """Have an upstream answer *times* attempts with *status* and quote the credential it got."""
    rule = simulator.fault("quote_credential", {"status": status}, times=times)
    answer = client.post(path(dialect), json=body(dialect, [f"quote {status}"]), headers=credential(dialect, CLIENT))
    simulator.mend()
    assert rule.struck
    assert answer.status_code >= 400
    assert not secrets_in(answer.content + repr(answer.headers.raw).encode())


@pytest.mark.parametrize("http2", [False, True], ids=["http1", "http2"])
def test_no_key_in_dump_har_log_or_journal(tmp_path: Path, quoting: Simulator, http2: bool) -> None:
    quoting.reset()
    settings = generic_config(tmp_path, NAMES)
    har, dump = tmp_path / "all.har", tmp_path / "all.mitm"
    with proxy(
        tmp_path, settings, "-v", "--set", "flow_detail=4", "-w", str(dump), "--set", f"hardump={har}",
        mode=f"reverse:{quoting.url}",
    ) as running:  # fmt: skip
        provoke(running, quoting, http2=http2)
        running.interrupt()

    assert dump.stat().st_size > 10_000
    assert len(json.loads(har.read_text())["log"]["entries"]) > 20
    assert "patchbay:" in running.log  # the placeholder is what stands there instead
    assert running.journal.count("\n") > 20
    assert secrets_in(files(tmp_path)) == []
    sent = quoting.truth.requests
    assert {record.credential for record in sent} <= set(KEYS)
    assert not any(CLIENT in str(record.headers) + record.query for record in sent)
    if http2:
        assert eventually(lambda: "HTTP/2" in running.log)


def test_no_key_in_what_is_saved_when_interrupted_in_flight(tmp_path: Path, quoting: Simulator) -> None:
    quoting.reset()
    quoting.fault("delay_head", {"seconds": 30}, times=4)
    dump = tmp_path / "all.mitm"
    with proxy(tmp_path, generic_config(tmp_path, NAMES), "-w", str(dump), mode=f"reverse:{quoting.url}") as running:

        def hang() -> None:
            with pytest.raises(httpx.HTTPError), client_of(running, http2=False) as client:
                client.post(CHAT, json=body("openai_chat", ["hang"]), headers=credential("openai_chat", CLIENT))

        waiting = threading.Thread(target=hang)
        waiting.start()
        assert eventually(lambda: len(quoting.truth.requests) == 1)
        running.interrupt()
        waiting.join(30)

    assert dump.stat().st_size > 0
    assert secrets_in(files(tmp_path)) == []


def test_no_key_in_mitmweb_while_a_request_is_in_flight(tmp_path: Path, quoting: Simulator) -> None:
    quoting.reset()
    go_on = threading.Event()
    quoting.fault(held, {"until": go_on}, times=1)
    pushed: list[bytes] = []
    with proxy(tmp_path, generic_config(tmp_path, NAMES), mode=f"reverse:{quoting.url}", program="mitmweb") as running:
        web = f"http://127.0.0.1:{running.web_port}"
        assert eventually(lambda: _is_up(web))
        auth = {"Authorization": "Bearer look"}
        with connect(f"ws://127.0.0.1:{running.web_port}/updates", additional_headers=auth, proxy=None) as socket:
            asking = threading.Thread(target=_ask_once, args=(running,))
            asking.start()
            assert eventually(lambda: len(quoting.truth.requests) == 1)
            with httpx.Client(trust_env=False, headers=auth, timeout=30) as looking:
                flows = looking.get(f"{web}/flows")
                assert len(flows.json()) == 1
                pushed.append(flows.content)
                [flow] = flows.json()
                pushed.append(looking.get(f"{web}/flows/{flow['id']}/request/content.data").content)
                go_on.set()
                asking.join(30)
                pushed.append(looking.get(f"{web}/flows").content)
                pushed.append(looking.get(f"{web}/flows/dump").content)
            while True:
                try:
                    message = socket.recv(timeout=0.5 if len(pushed) > 5 else 30)
                except TimeoutError:
                    break
                pushed.append(message.encode() if isinstance(message, str) else message)

    everything = b"".join(pushed)
    assert b"patchbay:" in everything
    assert len(pushed) > 5
    assert secrets_in(everything) == []


def _ask_once(running: Proxy) -> None:
    with client_of(running, http2=False) as client:
        client.post(CHAT, json=body("openai_chat", ["look"]), headers=credential("openai_chat", CLIENT))


def _is_up(url: str) -> bool:
    try:
        return httpx.get(url, trust_env=False, timeout=30).status_code in (200, 403)
    except httpx.HTTPError:
        return False


@pytest.mark.parametrize("http2", [False, True], ids=["http1", "http2"])
def test_an_account_key_that_a_client_has_goes_to_no_upstream_and_stands_nowhere(tmp_path: Path, http2: bool) -> None:
    """In headers and parameters of ordinary names; a key of any form, read at the start or with its first request."""
    plain, printed = "the.first.of.our.keys", "the+second/of~our~keys"
    provider = {plain: "plain", printed: "printed"}
    (tmp_path / "print").write_text(f"#!/bin/sh\necho '{printed}'\n")
    (tmp_path / "print").chmod(0o700)
    settings = generic_config(tmp_path, {"plain": plain, "printed": f"{{cmd: [{tmp_path / 'print'}]}}"})
    dump = tmp_path / "all.mitm"
    with simulator_thread(provider) as simulator:
        with proxy(tmp_path, settings, "-v", "-w", str(dump), mode=f"reverse:{simulator.url}") as running:
            for account in ("printed", "plain", "printed"):
                with client_of(running, http2=http2) as client:
                    sent = {"x-custom": printed, "user-agent": f"tool/1 ({plain})", "x-patchbay-account": account}
                    encoded = base64.b64encode(f"me:{printed}".encode()).decode()
                    answer = client.post(
                        f"{CHAT}?note={quote(plain, safe='')}&other={quote(printed, safe='')}",
                        json=body("openai_chat", [account]),
                        headers={**credential("openai_chat", CLIENT), **sent, "x-again": encoded},
                    )
                    assert answer.status_code == 200, answer.text
            fields = {"Authorization": f"Bearer {CLIENT}", "x-custom": printed, "sec-websocket-protocol": plain}
            url = f"ws://127.0.0.1:{running.port}/v1/responses?note={plain}"
            with connect(url, additional_headers=fields, proxy=None, open_timeout=30) as socket:
                socket.send(json.dumps({"type": "response.create", "model": "sim-large", "input": "on a socket"}))
                while json.loads(socket.recv(timeout=30))["type"] != "response.completed":
                    pass
            running.interrupt()
        received = simulator.truth.requests

    assert [provider[record.credential] for record in received][:3] == ["printed", "plain", "printed"]
    assert len(received) == 5  # a WebSocket: its upgrade, and one request
    for record in received:
        said = unquote(str(record.headers) + record.query).replace(record.credential, "")
        assert not any(key in said for key in (plain, printed, encoded))
    written = unquote((files(tmp_path)).decode("latin-1"))
    assert plain not in written and encoded not in written
    assert printed not in written.replace(f"echo '{printed}'", "")
