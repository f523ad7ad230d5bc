"""
Every way to run it: reverse, one port, regular and upstream, with HTTP/1 and HTTP/2 on both sides, in four dialects.

In each of them a conversation of two turns is held, the first by the official SDK, the second byte by byte, buffered
and streamed: credential, stickiness, stamps, verdict, and what arrives must be right.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
import socket
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anthropic
import httpx
import httpx2
import openai
import pytest
import trustme
from google import genai
from google.genai import types

from ..ports import free_port
from ..simulator import Record, Simulator, simulator_thread
from ..simulator.play import Play
from ..simulator.steps import Data, body_of
from .dialogue import DIALECTS, body, credential, path
from .harness import Proxy, eventually, proxy
from .holding import held_inside
from .tunnel import Tunnels, bystander, listener, read_head, tunnels

MODES = ("reverse", "one port", "regular", "upstream")
# What the two sides speak, and what the client offers for it. On one port it gets its first offer, and all of them are
# offered to the upstream.
SIDES = {
    ("HTTP/1.1", "HTTP/1.1"): ("http/1.1",),
    ("HTTP/1.1", "HTTP/2"): ("http/1.1", "h2"),
    ("HTTP/2", "HTTP/1.1"): ("h2",),
    ("HTTP/2", "HTTP/2"): ("h2",),
}
KEYS = {name: f"sk-real-{name}-{'fedcba98' * 4}" for name in ("old-a", "old-b", "new-a", "new-b")}
BAD_KEY = "sk-real-bad-that-nobody-may-hear"
OWN = "sk-client-key-that-stays-here"


@dataclass
class House:
    """The proxy in all its modes at once, the two providers behind it, and who else is there."""

    running: Proxy
    ports: dict[str, int]
    upstreams: dict[str, Simulator]  # by what they speak
    sent: dict[str, dict[int, bytes]]  # the bodies of their answers as they left, by the number of the request
    through: Tunnels
    neighbour: int
    impostor: int  # has an account, and a certificate that nobody trusts
    heard: list[str]  # the heads of the requests to these two
    folder: Path

    def line(self, request_id: str) -> dict[str, Any]:
        """Return the journal's line of the exchange."""
        found: list[dict[str, Any]] = []

        def written() -> bool:
            lines = [json.loads(each) for each in self.running.journal.splitlines() if request_id in each]
            found[:] = [line for line in lines if line["request_id"] == request_id]
            return bool(found)

        assert eventually(written), self.running.log
        return found[0]


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    folder = tmp_path_factory.mktemp("modes")
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "providers.pem")
    authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(folder / "server.pem")
    strange = trustme.CA()
    strange.cert_pem.write_to_path(folder / "strange.pem")
    strange.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(folder / "neighbour.pem")
    accounts = {key: name for name, key in KEYS.items()}
    with contextlib.ExitStack() as stack:
        upstreams = {
            version: stack.enter_context(
                simulator_thread(accounts, tls=folder / "server.pem", http2=version == "HTTP/2", echo="both")
            )
            for version in ("HTTP/1.1", "HTTP/2")
        }
        through = stack.enter_context(tunnels())
        heard: list[str] = []
        neighbour, impostor = (stack.enter_context(bystander(folder / "neighbour.pem", heard)) for _ in range(2))
        ports = {name: free_port() for name in ("reverse HTTP/2", "one port", "regular", "upstream", "socks5")}
        modes = [
            f"reverse:https://localhost:{upstreams['HTTP/2'].port}@{ports['reverse HTTP/2']}",
            f"reverse:http://patchbay.invalid@{ports['one port']}",
            f"regular@{ports['regular']}",
            f"upstream:http://127.0.0.1:{through.port}@{ports['upstream']}",
            f"socks5@{ports['socks5']}",
        ]
        running = stack.enter_context(
            proxy(
                folder,
                settings(folder, upstreams, impostor),
                *(word for mode in modes for word in ("--mode", mode)),
                *("--set", f"ssl_verify_upstream_trusted_ca={folder / 'providers.pem'}"),
                mode=f"reverse:https://localhost:{upstreams['HTTP/1.1'].port}",
            )
        )
        ports["reverse HTTP/1.1"] = running.port
        assert eventually(lambda: all(map(_listening, ports.values()))), running.log
        sent = {version: dict[int, bytes]() for version in upstreams}
        for version, upstream in upstreams.items():
            upstream.fault(_remember, {"book": sent[version]})
        yield House(running, ports, upstreams, sent, through, neighbour, impostor, heard, folder)


def settings(folder: Path, upstreams: dict[str, Simulator], impostor: int) -> str:
    """Return a configuration in which models named `old-…` are served over HTTP/1 and `new-…` over HTTP/2."""
    rows = "\n".join(
        f"  - {{id: {name}, provider: generic, key: {key}, models: ['{name[:3]}-*'],"
        f" base_url: 'https://localhost:{upstreams['HTTP/1.1' if name.startswith('old') else 'HTTP/2'].port}'}}"
        for name, key in KEYS.items()
    )
    rows += f"\n  - {{id: bad, provider: generic, key: {BAD_KEY}, models: ['bad-*'], base_url: 'https://localhost:{impostor}'}}"
    return f"state: {folder / 'state'}\njournal: {{path: {folder / 'journal.jsonl'}}}\naccounts:\n{rows}\n"


async def _remember(play: Play, book: dict[int, bytes]) -> None:
    book[play.record.seq] = b"".join(step.data for step in body_of(play.script) if isinstance(step, Data))


def _listening(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 5).close()
    except OSError:
        return False
    return True


class Offering(ssl.SSLContext):
    """A context that offers what it is told to; httpx always offers HTTP/1.1 first."""

    offers: list[str]

    def set_alpn_protocols(self, alpn_protocols: object) -> None:
        super().set_alpn_protocols(self.offers)


@dataclass
class Cell:
    """One place of the matrix, and how a client gets there."""

    house: House
    mode: str
    client: str
    upstream: str
    offers: tuple[str, ...] = ()  # instead of those in SIDES

    @property
    def base(self) -> str:
        """Return the base URL that is given to a client."""
        if self.mode in ("regular", "upstream"):
            return f"https://localhost:{self.house.upstreams[self.upstream].port}"
        port = self.house.ports["one port" if self.mode == "one port" else f"reverse {self.upstream}"]
        plain = (self.client, self.upstream) == ("HTTP/1.1", "HTTP/1.1")
        return f"{'http' if plain else 'https'}://localhost:{port}"

    @property
    def gets(self) -> str:
        """Return what a client is given: HTTP/2 if it offers that, before an upstream that speaks it."""
        both = len(SIDES[self.client, self.upstream]) > 1
        return "HTTP/2" if both and self.mode != "one port" else self.client  # on one port there are many upstreams

    @property
    def model(self) -> str:
        return "old-model" if self.upstream == "HTTP/1.1" else "new-model"

    @property
    def transport(self) -> dict[str, Any]:
        """Return what `httpx.Client` is to be told."""
        offers = self.offers or SIDES[self.client, self.upstream]
        trusted = Offering(ssl.PROTOCOL_TLS_CLIENT)
        trusted.offers = list(offers)
        trusted.load_verify_locations(self.house.folder / "mitmproxy" / "mitmproxy-ca-cert.pem")
        way: dict[str, Any] = {"verify": trusted, "trust_env": False, "timeout": 20}
        if self.mode in ("regular", "upstream"):
            way["proxy"] = f"http://127.0.0.1:{self.house.ports[self.mode]}"
        return {**way, "http1": "http/1.1" in offers, "http2": "h2" in offers}

    def record(self, mark: str) -> Record:
        """Return what the provider saw of the request with *mark* in it; the other provider saw nothing of it."""
        found = {version: each.truth.marked(mark) for version, each in self.house.upstreams.items()}
        assert {version for version, records in found.items() if records} == {self.upstream}
        [record] = found[self.upstream]
        return record


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize(("client", "upstream"), SIDES, ids=lambda version: version.replace("HTTP/", "h"))
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("stream", [False, True], ids=["buffered", "streamed"])
def test_a_conversation(house: House, mode: str, client: str, upstream: str, dialect: str, stream: bool) -> None:
    cell = Cell(house, mode, client, upstream)
    marks = [f"MARK-{secrets.token_hex(16)}" for _ in range(2)]
    asked = len(house.through.asked)

    turns = [f"{marks[0]} what is it?"]
    said = by_sdk(cell, dialect, turns[0], stream)
    first = cell.record(marks[0])
    turns += [said, f"{marks[1]} and then?"]
    answer, arrived = by_hand(cell, dialect, turns, stream)
    second = cell.record(marks[1])

    assert said == first.text
    assert arrived == house.sent[upstream][second.seq]
    assert (answer.status_code, answer.http_version, second.http) == (200, cell.gets, upstream.removeprefix("HTTP/"))
    assert first.account == second.account in accounts_of(upstream)
    for record in (first, second):
        assert OWN not in repr(record.headers) + record.query
        assert record.header("x-request-id").startswith("pb1-")
        assert len(record.header("x-session-id")) == 32
        line = house.line(record.header("x-request-id"))
        assert (line["verdict"], line["account"]) == ("clean", record.account), line
        assert line["status"] == 200
    assert answer.headers["x-patchbay-request-id"] == second.header("x-request-id")
    assert stream or answer.headers["x-patchbay-verdict"] == "clean"
    new = house.through.asked[asked:]
    assert all(head.startswith(f"CONNECT localhost:{house.upstreams[upstream].port} ") for head in new)
    assert bool(new) == (mode == "upstream")


def accounts_of(upstream: str) -> tuple[str, str]:
    kind = "old" if upstream == "HTTP/1.1" else "new"
    return f"{kind}-a", f"{kind}-b"


def by_sdk(cell: Cell, dialect: str, text: str, stream: bool) -> str:
    """Ask with the official SDK and return what was said."""
    if dialect == "gemini":
        with httpx.Client(**cell.transport) as transport:
            options = types.HttpOptions(base_url=cell.base, httpx_client=transport)
            models = genai.Client(api_key=OWN, http_options=options).models
            if not stream:
                return models.generate_content(model=cell.model, contents=text).text or ""
            return "".join(c.text or "" for c in models.generate_content_stream(model=cell.model, contents=text))
    with httpx2.Client(**cell.transport) as transport:
        if dialect == "anthropic":
            return _anthropic(
                anthropic.Anthropic(api_key=OWN, base_url=cell.base, http_client=transport), cell.model, text, stream
            )
        sdk = openai.OpenAI(api_key=OWN, base_url=f"{cell.base}/v1", http_client=transport, max_retries=0)
        return (_chat if dialect == "openai_chat" else _responses)(sdk, cell.model, text, stream)


def _anthropic(sdk: anthropic.Anthropic, model: str, text: str, stream: bool) -> str:
    asked: Any = {"model": model, "max_tokens": 64, "messages": [{"role": "user", "content": text}]}
    if not stream:
        return "".join(block.text for block in sdk.messages.create(**asked).content if block.type == "text")
    with sdk.messages.stream(**asked) as answer:
        return "".join(answer.text_stream)


def _chat(sdk: openai.OpenAI, model: str, text: str, stream: bool) -> str:
    messages: Any = [{"role": "user", "content": text}]
    if not stream:
        return sdk.chat.completions.create(model=model, messages=messages).choices[0].message.content or ""
    chunks = sdk.chat.completions.create(model=model, messages=messages, stream=True)
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)


def _responses(sdk: openai.OpenAI, model: str, text: str, stream: bool) -> str:
    if not stream:
        return sdk.responses.create(model=model, input=text, store=False).output_text
    events = list(sdk.responses.create(model=model, input=text, store=False, stream=True))
    numbers = [event.sequence_number for event in events]
    assert numbers == sorted(numbers)
    return "".join(event.delta for event in events if event.type == "response.output_text.delta")


def by_hand(
    cell: Cell, dialect: str, turns: list[str], stream: bool, *, model: str = "", base: str = ""
) -> tuple[httpx.Response, bytes]:
    """Ask without an SDK and return the answer's head, and its body as it came."""
    model = model or cell.model
    where = (base or cell.base) + path(dialect, stream=stream).replace("gemini-sim", model)
    document = body(dialect, turns, stream=stream, model=model)
    with (
        httpx.Client(**cell.transport) as client,
        client.stream("POST", where, json=document, headers=credential(dialect, OWN)) as answer,
    ):
        return answer, answer.read()


@pytest.mark.parametrize("stream", [False, True], ids=["buffered", "streamed"])
@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("mode", MODES)
def test_another_account_stands_in(house: House, mode: str, dialect: str, stream: bool) -> None:
    cell, mark = Cell(house, mode, "HTTP/2", "HTTP/2"), f"MARK-{secrets.token_hex(16)}"
    model = f"new-{secrets.token_hex(4)}"  # what rests afterwards is the account for this model alone
    upstream = house.upstreams["HTTP/2"]
    upstream.fault("status", {"status": 429, "retry_after": 30}, mark=mark, times=1)

    answer, arrived = by_hand(cell, dialect, [mark], stream, model=model)

    refused, served = upstream.truth.marked(mark)
    assert (answer.status_code, refused.status, served.status) == (200, 429, 200)
    assert {refused.account, served.account} == {"new-a", "new-b"}
    assert arrived == house.sent["HTTP/2"][served.seq]
    assert refused.header("x-request-id") != served.header("x-request-id")
    assert answer.headers["x-patchbay-account"] == served.account


@pytest.mark.parametrize("mode", ["one port", "regular", "upstream"])
@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_server_that_cannot_prove_its_name_gets_nothing(house: House, mode: str, dialect: str) -> None:
    cell = Cell(house, mode, "HTTP/1.1", "HTTP/1.1")
    base = cell.base if mode == "one port" else f"https://localhost:{house.impostor}"
    before = len(house.heard)

    answer, arrived = by_hand(cell, dialect, ["hello"], False, model=f"bad-{secrets.token_hex(4)}", base=base)

    assert answer.status_code in (502, 503)
    assert "error" in json.loads(arrived)
    assert BAD_KEY.encode() not in arrived
    assert house.heard[before:] == []


@pytest.mark.parametrize("mode", ["reverse", "regular", "upstream"])
def test_who_offers_both_gets_what_its_upstream_speaks(house: House, mode: str) -> None:
    """R21: as with mitmproxy alone; where the upstream speaks HTTP/1, from the second connection on."""
    given = {}
    for version in ("HTTP/1.1", "HTTP/2"):
        cell = Cell(house, mode, "HTTP/1.1", version)
        if mode == "reverse" and version == "HTTP/1.1":
            continue  # its listener is plain
        cell.offers = ("http/1.1", "h2")
        answers = [by_hand(cell, "openai_chat", ["hi"], False)[0] for _ in range(2)]
        assert [answer.status_code for answer in answers] == [200, 200]
        given[version] = answers[-1].http_version

    assert all(version == found for version, found in given.items())


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("mode", MODES)
def test_events_are_not_waited_for(house: House, mode: str, dialect: str) -> None:
    cell = Cell(house, mode, "HTTP/2", "HTTP/2")
    upstream = house.upstreams["HTTP/2"]
    go_on = threading.Event()
    upstream.fault(held_inside, {"until": go_on, "after": 6}, times=1)
    document = body(dialect, ["tell me"], stream=True, model=cell.model)
    where = cell.base + path(dialect, stream=True).replace("gemini-sim", cell.model)

    with (
        httpx.Client(**cell.transport) as client,
        client.stream("POST", where, json=document, headers=credential(dialect, OWN)) as answer,
    ):
        pieces = answer.iter_raw()
        first = next(pieces)  # while the upstream has not sent the others
        go_on.set()
        others = b"".join(pieces)

    assert first and others


def test_many_streams_of_one_http2_client_run_at_once(house: House) -> None:
    """mitmproxy lets five connections at a time through; towards HTTP/1 these would be five streams."""
    cell = Cell(house, "one port", "HTTP/2", "HTTP/1.1")
    upstream = house.upstreams["HTTP/1.1"]
    upstream.fault("swap", {"size": 12, "part": "head", "timeout": 30.0}, path="*/chat/completions", times=12)

    heads = _twelve_at_once(cell)

    struck = [record for record in upstream.truth.requests if "swap" in " ".join(record.faults)]
    assert heads == [200] * 12
    assert not [record for record in struck if "swap: nobody came" in record.faults]


def _twelve_at_once(cell: Cell) -> list[int]:
    async def one(client: httpx.AsyncClient, number: int) -> int:
        document = body("openai_chat", [f"number {number}"], model=cell.model)
        answer = await client.post(f"{cell.base}/v1/chat/completions", json=document, headers={"x-session-id": "one"})
        assert answer.http_version == "HTTP/2"
        return answer.status_code

    async def all_of_them() -> list[int]:
        async with httpx.AsyncClient(**cell.transport) as client:
            return list(await asyncio.gather(*(one(client, number) for number in range(12))))

    return asyncio.run(all_of_them())


# -- one port ---------------------------------------------------------------------------------------------------------


def ask_one_port(house: House, method: str, where: str, **more: Any) -> httpx.Response:
    with httpx.Client(trust_env=False, timeout=30) as client:
        return client.request(method, f"http://127.0.0.1:{house.ports['one port']}{where}", **more)


@pytest.mark.parametrize("model", ["old-small", "new-small"])
def test_the_model_alone_chooses_the_provider(house: House, model: str) -> None:
    mark = f"MARK-{secrets.token_hex(16)}"
    for number in range(6):
        document = body("openai_chat", [f"{mark} {number}"], model=model)
        answer = ask_one_port(house, "POST", "/v1/chat/completions", json=document)
        assert answer.headers["x-patchbay-account"].startswith(model[:3])

    found = [record for each in house.upstreams.values() for record in each.truth.marked(mark)]
    assert {record.model for record in found} == {model}
    assert {record.account for record in found} <= {f"{model[:3]}-a", f"{model[:3]}-b"}


def test_a_model_that_nobody_serves_goes_nowhere(house: House) -> None:
    mark = f"MARK-{secrets.token_hex(16)}"
    answer = ask_one_port(house, "POST", "/v1/chat/completions", json=body("openai_chat", [mark], model="other"))

    assert answer.status_code >= 400
    assert "error" in answer.json()
    assert not [record for each in house.upstreams.values() for record in each.truth.marked(mark)]


@pytest.mark.parametrize("where", ["/v1/models", "/v1beta/models"])
@pytest.mark.parametrize("version", ["", "2023-06-01"])
def test_a_list_of_models_is_that_of_the_first_pool(house: House, where: str, version: str) -> None:
    for _ in range(4):
        answer = ask_one_port(house, "GET", where, headers={"anthropic-version": version} if version else {})

        assert answer.status_code == 200
        assert answer.json()
        assert answer.headers["x-patchbay-account"].startswith("old-")


def test_whether_anybody_is_there_is_answered_here(house: House) -> None:
    before = sum(len(each.truth) for each in house.upstreams.values())

    assert ask_one_port(house, "HEAD", "/").status_code == 200
    assert ask_one_port(house, "GET", "/nothing/of/ours").status_code == 404
    assert sum(len(each.truth) for each in house.upstreams.values()) == before


# -- who else is there ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["regular", "upstream", "socks5"])
@pytest.mark.parametrize("name", ["localhost", "127.0.0.1"])
def test_an_unrelated_host_s_own_certificate_is_what_the_client_sees(house: House, mode: str, name: str) -> None:
    trusted = ssl.create_default_context(cafile=house.folder / "strange.pem")
    with (
        _through(house, mode, f"{name}:{house.neighbour}") as tunnel,
        trusted.wrap_socket(tunnel, server_hostname="localhost") as secured,
    ):
        theirs = secured.getpeercert(binary_form=True)
        secured.sendall(b"GET / HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer mine\r\n\r\n")
        answer = b"".join(iter(lambda: secured.recv(4096), b""))

    assert theirs is not None
    own = ssl.DER_cert_to_PEM_cert(theirs).strip()
    assert own in (house.folder / "neighbour.pem").read_text()
    assert answer.endswith(b"untouched")


@pytest.mark.parametrize("mode", ["regular", "upstream", "socks5"])
def test_a_provider_s_host_is_looked_into(house: House, mode: str) -> None:
    trusted = ssl.create_default_context(cafile=house.folder / "mitmproxy" / "mitmproxy-ca-cert.pem")
    with (
        _through(house, mode, f"LOCALHOST:{house.upstreams['HTTP/1.1'].port}") as tunnel,
        trusted.wrap_socket(tunnel, server_hostname="localhost") as secured,
    ):
        assert "mitmproxy" in str(secured.getpeercert())


@pytest.mark.parametrize("mode", ["regular", "upstream"])
def test_another_port_of_a_provider_s_host_is_somebody_else_s(house: House, mode: str) -> None:
    """The neighbour is on the same host as the providers: what counts is the origin, not the name."""
    trusted = ssl.create_default_context(cafile=house.folder / "mitmproxy" / "mitmproxy-ca-cert.pem")
    with _through(house, mode, f"localhost:{house.neighbour}") as tunnel, pytest.raises(ssl.SSLError):
        trusted.wrap_socket(tunnel, server_hostname="localhost")


@pytest.mark.parametrize("mode", ["regular", "upstream"])
def test_plain_http_to_somebody_else_is_not_touched(house: House, mode: str) -> None:
    heads: list[str] = []

    def serve(client: socket.socket) -> None:
        heads.append(read_head(client))
        client.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nhi")

    with listener(serve) as port, socket.create_connection(("127.0.0.1", house.ports[mode]), 30) as client:
        where = f"127.0.0.1:{port}"
        if mode == "upstream":  # this one only knows CONNECT
            client.sendall(f"CONNECT {where} HTTP/1.1\r\nhost: {where}\r\n\r\n".encode())
            assert " 200 " in read_head(client)
        target = "/v1/models" if mode == "upstream" else f"http://{where}/v1/models"
        client.sendall(f"GET {target} HTTP/1.1\r\nHost: {where}\r\nAuthorization: Bearer {OWN}\r\n\r\n".encode())
        answer = b"".join(iter(lambda: client.recv(4096), b""))

    assert answer.endswith(b"hi")
    assert heads == [f"GET /v1/models HTTP/1.1\r\nHost: {where}\r\nAuthorization: Bearer {OWN}\r\n\r\n"]


def test_where_the_rest_is_refused_no_tunnel_is_made(tmp_path: Path) -> None:
    config = (
        f"state: {tmp_path / 'state'}\nother_traffic: refuse\naccounts: [{{id: a, provider: openai, key: example-a}}]\n"
    )
    password = "Basic bWU6aHVudGVyMg=="
    with proxy(tmp_path, config, "-w", str(tmp_path / "flows"), mode="regular") as running:
        with socket.create_connection(("127.0.0.1", running.port), 30) as client:
            client.sendall(f"CONNECT example.com:443 HTTP/1.1\r\nProxy-Authorization: {password}\r\n\r\n".encode())
            assert read_head(client).startswith("HTTP/1.1 403 ")
        running.interrupt()

    assert password not in (tmp_path / "flows").read_bytes().decode("latin-1") + running.log


def _through(house: House, mode: str, where: str) -> socket.socket:
    """Return a connection to *where* through the proxy in *mode*."""
    tunnel = socket.create_connection(("127.0.0.1", house.ports[mode]), 30)
    if mode == "socks5":
        name, _, port = where.rpartition(":")
        tunnel.sendall(b"\x05\x01\x00")
        assert tunnel.recv(2) == b"\x05\x00"
        tunnel.sendall(b"\x05\x01\x00\x03" + bytes([len(name)]) + name.encode() + int(port).to_bytes(2))
        assert tunnel.recv(10)[:2] == b"\x05\x00"
        return tunnel
    tunnel.sendall(f"CONNECT {where} HTTP/1.1\r\nhost: {where}\r\n\r\n".encode())
    head = read_head(tunnel)
    assert " 200 " in head, head
    return tunnel
