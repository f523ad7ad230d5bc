"""The wire: versions of HTTP, framing, and what becomes of those who go away."""

from __future__ import annotations

import asyncio
import datetime
import gzip
import json
import socket
import ssl
import time
from collections.abc import Iterator
from pathlib import Path

import h2.connection
import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from h2.events import DataReceived, StreamEnded

from simulator import Simulator, simulator_thread

NOBODY = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # for plain HTTP: to read the roots takes longer than a test
BODY = json.dumps({"model": "m", "messages": [{"role": "user", "content": "hello"}]}).encode()
HEAD = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer sk-a\r\n"


def connect(sim: Simulator) -> socket.socket:
    return socket.create_connection(("127.0.0.1", sim.port), 30)


def until(link: socket.socket, wanted: bytes) -> bytes:
    data = b""
    while wanted not in data:
        more = link.recv(65536)
        if not more:
            break
        data += more
    return data


def test_one_connection_serves_many_requests(sim, client, chat):
    assert all(chat.ask(client, "hello").status_code == 200 for _ in range(5))
    assert len({record.connection for record in sim.truth}) == 1


def test_http2_is_spoken_to_who_begins_with_it(sim, chat):
    with httpx.Client(verify=NOBODY, base_url=sim.url, http1=False, http2=True, timeout=30) as client:
        answer = chat.ask(client, "hello", stream=True)
    assert answer.http_version == "HTTP/2"
    assert answer.text.endswith("data: [DONE]\n\n")
    assert sim.truth.last().http == "2"


def test_a_long_answer_waits_for_the_window_of_http2(sim):
    body = BODY.replace(b"hello", b"WORDS-30000")
    conn = h2.connection.H2Connection()
    conn.initiate_connection()
    pseudo = [(":method", "POST"), (":path", "/v1/chat/completions"), (":scheme", "http"), (":authority", "x")]
    conn.send_headers(1, [*pseudo, ("api-key", "sk-a")])
    conn.send_data(1, body, end_stream=True)
    got = unread = 0
    ended = False
    with connect(sim) as link:
        while not ended:
            link.sendall(conn.data_to_send())
            events = conn.receive_data(link.recv(65536))
            unread += sum(event.flow_controlled_length or 0 for event in events if isinstance(event, DataReceived))
            ended = any(isinstance(event, StreamEnded) for event in events)
            if unread == 65_535 or ended:  # only a window that is full is opened again
                conn.acknowledge_received_data(unread, 1)
                got, unread = got + unread, 0
    assert got > 3 * 65_535


def test_a_long_body_fits_through_the_window_of_http2(sim, chat):
    with httpx.Client(verify=NOBODY, base_url=sim.url, http1=False, http2=True, timeout=30) as client:
        assert chat.ask(client, "x" * 3_000_000).status_code == 200


def test_many_streams_share_one_connection(sim):
    async def both() -> list[httpx.Response]:
        async with httpx.AsyncClient(verify=NOBODY, base_url=sim.url, http1=False, http2=True, timeout=30) as client:
            asks = (client.post("/v1/chat/completions", content=BODY, headers={"api-key": "sk-a"}) for _ in range(40))
            return await asyncio.gather(*asks)

    assert {answer.status_code for answer in asyncio.run(both())} == {200}
    assert len({(record.connection, record.stream) for record in sim.truth}) == 40
    assert len({record.connection for record in sim.truth}) == 1


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    built = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(private + built.public_bytes(serialization.Encoding.PEM))
    return path


@pytest.fixture
def secure(certificate: Path) -> Iterator[Simulator]:
    with simulator_thread({"sk-a": "a"}, host="localhost", tls=certificate) as simulator:
        yield simulator


@pytest.mark.parametrize(("http2", "version"), [(True, "HTTP/2"), (False, "HTTP/1.1")])
def test_over_tls_the_client_chooses_the_version(secure, certificate, chat, http2, version):
    trust = ssl.create_default_context(cafile=str(certificate))
    with httpx.Client(base_url=secure.url, http2=http2, verify=trust, timeout=30) as client:
        assert chat.ask(client, "hello").http_version == version


def test_a_chunked_body_is_put_together(sim, client):
    pieces = (BODY[at : at + 7] for at in range(0, len(BODY), 7))
    answer = client.post("/v1/chat/completions", content=pieces, headers={"x-api-key": "sk-a"})
    assert answer.status_code == 200
    assert sim.truth.last().body == BODY
    assert sim.truth.last().header("transfer-encoding") == "chunked"


def test_a_compressed_body_is_read_and_kept_as_it_came(sim, client):
    packed = gzip.compress(BODY)
    headers = {"x-api-key": "sk-a", "content-encoding": "gzip"}
    assert client.post("/v1/chat/completions", content=packed, headers=headers).status_code == 200
    assert sim.truth.last().body == packed


def test_who_expects_100_gets_it_before_sending_the_body(sim):
    with connect(sim) as link:
        link.sendall(HEAD + b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(BODY))
        assert until(link, b"\r\n\r\n").startswith(b"HTTP/1.1 100 ")
        link.sendall(BODY)
        assert until(link, b"}").startswith(b"HTTP/1.1 200 ")


def test_head_has_no_body_and_keeps_the_connection(sim, client):
    assert client.head("/").status_code == 200
    assert client.head("/").content == b""
    assert client.get("/health").json() == {"status": "ok"}
    assert len({record.connection for record in sim.truth}) == 1


def test_requests_in_a_row_are_answered_in_order(sim):
    one = HEAD + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY
    with connect(sim) as link:
        link.sendall(one + one + HEAD.replace(b"POST /v1/chat/completions", b"GET /last") + b"\r\n")
        assert until(link, b"/last").count(b"HTTP/1.1 200") == 3


def test_the_spelling_and_order_of_headers_are_recorded(sim):
    with connect(sim) as link:
        link.sendall(b"GET /health HTTP/1.1\r\nHoSt: x\r\nX-B: 2\r\nx-a: 1\r\nX-B: 3\r\n\r\n")
        until(link, b"ok")
    assert sim.truth.last().headers == (("HoSt", "x"), ("X-B", "2"), ("x-a", "1"), ("X-B", "3"))


def test_nonsense_is_refused(sim):
    with connect(sim) as link:
        link.sendall(b"this is no HTTP\r\n\r\n")
        assert until(link, b"\r\n\r\n").startswith(b"HTTP/1.1 400")


@pytest.mark.parametrize("http2", [False, True])
def test_a_client_that_goes_away_is_noticed(sim, chat, http2):
    sim.fault("hang", {"after": 3})
    with httpx.Client(verify=NOBODY, base_url=sim.url, http1=not http2, http2=http2, timeout=30) as client:
        body = chat.body("hello", stream=True)
        with client.stream("POST", chat.path(), json=body, headers={"api-key": "sk-a"}) as answer:
            assert next(answer.iter_bytes())
    deadline = time.monotonic() + 30
    while not sim.truth.last().ended and time.monotonic() < deadline:
        time.sleep(0.005)
    assert sim.truth.last().ended == "cancelled"


def test_hundreds_of_connections_at_once(sim):
    async def crowd() -> list[int]:
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)
        async with httpx.AsyncClient(verify=NOBODY, base_url=sim.url, limits=limits, timeout=30) as client:
            asks = (client.get("/health") for _ in range(300))
            return [answer.status_code for answer in await asyncio.gather(*asks)]

    assert asyncio.run(crowd()) == [200] * 300
