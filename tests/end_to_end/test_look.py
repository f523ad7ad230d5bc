"""`patchbay_look`: no settings and no account; what passes is recorded, and no credential of a client is kept."""

from __future__ import annotations

import contextlib
import json
import signal
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import anthropic
import httpx
import pytest
import trustme
from mitmproxy import http, io
from websockets.sync.client import connect

from ..simulator import Simulator, simulator_thread
from .conftest import KEYS
from .dialogue import DIALECTS, body, credential, path
from .harness import Proxy, certificates, eventually, proxy
from .login import ASKS, Ask, login

CLIENT = next(iter(KEYS))  # the client's own, which the provider knows
LOOK = ("--set", "patchbay_look=true")
UNREAD = "these are: no settings"  # with look, no file is read


def flows(dump: Path) -> list[http.HTTPFlow]:
    with dump.open("rb") as file:
        return [flow for flow in io.FlowReader(file).stream() if isinstance(flow, http.HTTPFlow)]


def files(folder: Path) -> bytes:
    return b"".join(p.read_bytes() for p in folder.rglob("*") if p.is_file())


@pytest.fixture
def look(tmp_path: Path, simulator: Simulator) -> Iterator[Proxy]:
    simulator.reset()
    dump = ("-w", str(tmp_path / "all.mitm"))
    with proxy(tmp_path, UNREAD, *LOOK, *dump, "-v", mode=f"reverse:{simulator.url}") as running:
        yield running


def test_what_passes_is_recorded_without_an_account(look: Proxy, simulator: Simulator) -> None:
    with httpx.Client(base_url=look.url, trust_env=False, timeout=30) as client:
        for dialect in DIALECTS:
            for stream in (False, True):
                asked = body(dialect, ["hi"], stream=stream)
                answer = client.post(path(dialect, stream=stream), json=asked, headers=credential(dialect, CLIENT))
                assert answer.status_code == 200
                assert "x-patchbay" not in repr(answer.headers).lower()
    look.interrupt()

    kept = flows(look.folder / "all.mitm")
    told = [
        {name: flow.metadata[f"patchbay.{name}"] for name in ("mode", "account", "error", "verdict")} for flow in kept
    ]
    assert told == [{"mode": "shadow", "account": "", "error": "", "verdict": "unverifiable"}] * 8
    counted = [flow.metadata["patchbay.tokens"] is not None for flow in kept]
    assert counted == [True, False, *[True] * 6]  # a chat stream counts only for a client that asks it to
    assert all(flow.metadata["patchbay.session"] and flow.metadata["patchbay.model"] for flow in kept)
    assert {record.credential for record in simulator.truth.requests} == {CLIENT}
    assert CLIENT.encode() not in files(look.folder)
    assert "refused" not in look.log and "would_wait" not in look.log


def test_nothing_but_the_dump_is_written(look: Proxy) -> None:
    httpx.post(look.url + path("openai_chat"), json=body("openai_chat", ["hi"]), trust_env=False, timeout=30)
    look.interrupt()

    names = {file.name for file in look.folder.iterdir()}
    assert names == {"all.mitm", "config.yaml", "log.txt", "mitmproxy"}


def test_a_tunnel_to_any_host_is_read(tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "provider.pem")
    authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(tmp_path / "server.pem")
    options = ("--set", f"ssl_verify_upstream_trusted_ca={tmp_path / 'provider.pem'}", "-w", str(tmp_path / "all.mitm"))
    with (
        simulator_thread(KEYS, tls=tmp_path / "server.pem") as upstream,
        proxy(tmp_path, UNREAD, *LOOK, *options, mode="regular") as running,
        httpx.Client(
            proxy=running.url,
            verify=ssl.create_default_context(cafile=certificates(tmp_path) / "mitmproxy-ca-cert.pem"),
            trust_env=False,
            timeout=30,
        ) as client,
    ):
        url = f"https://localhost:{upstream.port}{path('anthropic')}"
        answer = client.post(url, json=body("anthropic", ["hi"]), headers=credential("anthropic", CLIENT))
        assert answer.status_code == 200
        running.interrupt()
        sent = [record.credential for record in upstream.truth.requests]

    [kept] = [flow for flow in flows(tmp_path / "all.mitm") if flow.request.method == "POST"]
    assert kept.metadata["patchbay.provider"] == "localhost" and kept.metadata["patchbay.tokens"]
    assert kept.request.headers["x-api-key"] == "patchbay"
    assert sent == [CLIENT]


# -- no key anywhere --------------------------------------------------------------------------------------------------


def raw_answer(url: str, asked: Ask, through: str | None) -> tuple[bytes, dict[str, str]]:
    """Return the body of the answer to *asked* as it came, and its headers."""
    with (
        httpx.Client(proxy=through, trust_env=False, timeout=30) as client,
        client.stream("POST", url + asked.path, content=asked.body, headers=dict(asked.headers)) as answer,
    ):
        return b"".join(answer.iter_raw()), dict(answer.headers)


@pytest.mark.parametrize("mode", ["reverse", "regular"])
def test_a_login_passes_as_it_came_and_leaves_no_secret(tmp_path: Path, mode: str) -> None:
    har, dump = tmp_path / "all.har", tmp_path / "all.mitm"
    kept = ("-v", "--set", "flow_detail=4", "--set", f"hardump={har}", "-w", str(dump))
    with login() as server:
        url = f"http://127.0.0.1:{server.port}"
        with proxy(
            tmp_path, UNREAD, *LOOK, *kept, mode=f"reverse:{url}" if mode == "reverse" else "regular"
        ) as running:
            to, through = (running.url, None) if mode == "reverse" else (url, running.url)
            for asked in ASKS:
                answer, headers = raw_answer(to, asked, through)
                assert answer == asked.answer
                assert {**headers, **asked.given} == headers
            running.interrupt()

    assert [(path, body) for path, _, body in server.arrived] == [(asked.path, asked.body) for asked in ASKS]
    for (_, headers_there, _), asked in zip(server.arrived, ASKS, strict=True):
        assert all(value in headers_there for value in asked.headers.values())
    everything = files(tmp_path)
    found = [value for asked in ASKS for value in asked.secrets if value.encode() in everything]
    assert found == []
    bodies = [
        (flow.request.get_text() or "") + ((flow.response and flow.response.get_text()) or "") for flow in flows(dump)
    ]
    for harmless in ("refresh_token", '"max_tokens": 128000', '"key": "theme"', "expires_in", '"token_type": "Bearer"'):
        assert any(harmless in body for body in bodies)
    assert len(json.loads(har.read_text())["log"]["entries"]) == len(ASKS)


def test_a_key_of_no_known_format_that_the_provider_quotes_is_kept_nowhere(
    tmp_path: Path, simulator: Simulator
) -> None:
    own = "my-companys-own-0123456789-token"
    simulator.reset()
    with proxy(
        tmp_path, UNREAD, *LOOK, "-v", "--set", "flow_detail=4", "-w", str(tmp_path / "all.mitm"),
        mode=f"reverse:{simulator.url}",
    ) as running, httpx.Client(base_url=running.url, trust_env=False, timeout=30) as client:  # fmt: skip
        for dialect in DIALECTS:
            simulator.fault("quote_credential", {"status": 401}, times=1)
            tools = [{"type": "mcp", "authorization": "an-own-token-of-a-tools-server"}]
            asked = {**body(dialect, [f"what is {own}?"]), "tools": tools}
            answer = client.post(path(dialect), json=asked, headers=credential(dialect, own))
            assert own in answer.text and own in repr(answer.headers.raw)
            simulator.mend()
        running.interrupt()

    assert {record.credential for record in simulator.truth.requests} == {own}
    assert all(own.encode() in record.body for record in simulator.truth.requests)
    assert own.encode() not in files(tmp_path)
    assert b"an-own-token-of-a-tools-server" not in files(tmp_path)


def test_a_socket_is_recorded_and_its_secrets_are_not_kept(tmp_path: Path, simulator: Simulator) -> None:
    simulator.reset()
    tools = [{"type": "mcp", "server_label": "s", "authorization": "an-own-token-of-a-tools-server"}]
    asked = {"type": "response.create", "model": "sim-large", "input": f"say {CLIENT}", "tools": tools}
    dump = tmp_path / "all.mitm"
    options = ("-v", "--set", "flow_detail=4", "-w", str(dump))
    with proxy(tmp_path, UNREAD, *LOOK, *options, mode=f"reverse:{simulator.url}") as running:
        url = f"ws://127.0.0.1:{running.port}/v1/responses"
        with connect(url, additional_headers={"Authorization": f"Bearer {CLIENT}"}, proxy=None) as opened:
            opened.send(json.dumps(asked))
            while json.loads(opened.recv(timeout=30))["type"] != "response.completed":
                pass
        running.interrupt()

    assert any(b"an-own-token-of-a-tools-server" in record.body for record in simulator.truth.requests)
    everything = files(tmp_path)
    assert CLIENT.encode() not in everything and b"an-own-token-of-a-tools-server" not in everything
    [flow] = flows(dump)
    [line] = flow.metadata["patchbay.exchanges"]
    assert (line["account"], line["error"], line["status"]) == ("", "", 200) and line["tokens"]


def test_mitmweb_shows_no_key_of_an_sdk(tmp_path: Path, simulator: Simulator) -> None:
    simulator.reset()
    with proxy(tmp_path, UNREAD, *LOOK, mode=f"reverse:{simulator.url}", program="mitmweb") as running:
        client = anthropic.Anthropic(base_url=running.url, api_key=CLIENT, max_retries=0)
        said = client.messages.create(model="sim-1", max_tokens=64, messages=[{"role": "user", "content": "hi"}])
        web = f"http://127.0.0.1:{running.web_port}"
        with httpx.Client(trust_env=False, headers={"Authorization": "Bearer look"}, timeout=30) as looking:
            [flow] = looking.get(f"{web}/flows").json()
            shown = [f"{web}/flows/{flow['id']}/{part}/content.data" for part in ("request", "response")]
            everything = b"".join(looking.get(url).content for url in (f"{web}/flows", f"{web}/flows/dump", *shown))

    assert said.content and flow["comment"]
    assert b"patchbay" in everything and CLIENT.encode() not in everything


def test_a_request_whose_body_lost_a_secret_is_not_replayed(tmp_path: Path) -> None:
    asked, dump = ASKS[0], tmp_path / "all.mitm"
    with login() as server:
        mode = f"reverse:http://127.0.0.1:{server.port}"
        with proxy(tmp_path, UNREAD, *LOOK, "-w", str(dump), mode=mode) as running:
            raw_answer(running.url, asked, None)
            running.interrupt()
        again = tmp_path / "again.mitm"
        with proxy(tmp_path / "again", UNREAD, *LOOK, "-C", str(dump), "-w", str(again), mode=mode):
            assert eventually(lambda: again.exists() and again.stat().st_size > 0)

    assert [body for _, _, body in server.arrived] == [asked.body]
    assert [flow.response and flow.response.status_code for flow in flows(again)] == [400]


def test_behind_another_proxy_a_login_passes_alike(tmp_path: Path) -> None:
    password = "bWU6dGhlLXBhc3N3b3JkLW9mLXRoZS1wcm94eQ=="
    options = ("-v", "--set", "flow_detail=4", "-w", "all.mitm", "--set", "upstream_auth=me:the-password-of-the-proxy")
    with (
        login() as server,
        proxy(tmp_path / "far", UNREAD, *LOOK, "-w", "far.mitm", mode="regular") as far,
        proxy(tmp_path / "near", UNREAD, *LOOK, *options, mode=f"upstream:{far.url}") as near,
    ):
        for asked in ASKS:
            answer, _ = raw_answer(f"http://127.0.0.1:{server.port}", asked, near.url)
            assert answer == asked.answer
        near.interrupt()
        far.interrupt()

    assert [(path, body) for path, _, body in server.arrived] == [(asked.path, asked.body) for asked in ASKS]
    everything = files(tmp_path)
    assert [value for asked in ASKS for value in (*asked.secrets, password) if value.encode() in everything] == []
    assert len(flows(tmp_path / "near" / "all.mitm")) == len(flows(tmp_path / "far" / "far.mitm")) == len(ASKS)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_however_it_ends_with_a_request_under_way_no_key_is_kept(
    look: Proxy, simulator: Simulator, number: signal.Signals
) -> None:
    simulator.fault("delay_head", {"seconds": 3}, times=1)
    asked = {**body("openai_chat", ["hi"]), "api_key": CLIENT}
    headers = {**credential("openai_chat", CLIENT), "x-custom": f"see {CLIENT}"}

    def hang() -> None:
        with contextlib.suppress(httpx.HTTPError):
            httpx.post(look.url + path("openai_chat"), json=asked, headers=headers, trust_env=False, timeout=60)

    waiting = threading.Thread(target=hang)
    waiting.start()
    assert eventually(lambda: len(simulator.truth.requests) == 1)
    look.process.send_signal(number)
    look.process.wait(60)
    waiting.join(60)

    assert simulator.truth.requests[0].credential == CLIENT
    assert CLIENT.encode() not in files(look.folder)
