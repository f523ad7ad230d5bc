"""What HTTP/2 upstreams put around an answer: interim heads before it, trailers behind it, together or apart."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
from collections.abc import Iterable, Iterator

import h2.config
import h2.connection
import h2.events
import httpx
import pytest
import trustme

from .harness import Proxy, proxy
from .tunnel import listener

GOOD = b'{"choices": [{"message": {"content": "hi"}, "finish_reason": "stop"}]}'
EVENTS = b'data: {"choices": [{"delta": {"content": "hi"}}]}\n\ndata: [DONE]\n\n'


def _serve(context: ssl.SSLContext, raw: socket.socket) -> None:
    connection = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
    with contextlib.suppress(OSError), context.wrap_socket(raw, server_side=True) as client:
        connection.initiate_connection()
        client.sendall(connection.data_to_send())
        asked: dict[int, str] = {}
        while data := client.recv(65536):
            for event in connection.receive_data(data):
                if isinstance(event, h2.events.RequestReceived):
                    assert event.stream_id and event.headers
                    asked[event.stream_id] = str(dict(event.headers).get(b"x-way", b"").decode())
                elif isinstance(event, h2.events.StreamEnded):
                    assert event.stream_id
                    for piece in _answer(connection, event.stream_id, asked[event.stream_id]):
                        client.sendall(piece)
            client.sendall(connection.data_to_send())


def _answer(connection: h2.connection.H2Connection, stream: int, way: str) -> Iterator[bytes]:
    """Yield what goes out in a packet of its own."""
    apart = "apart" in way
    for status in ("100", "103", "103") if "interim" in way else ():
        connection.send_headers(stream, [(":status", status), ("link", "</a>")])
        if apart:
            yield connection.data_to_send()
    body, kind = (EVENTS, "text/event-stream") if "events" in way else (GOOD, "application/json")
    connection.send_headers(stream, [(":status", "200"), ("content-type", kind)])
    connection.send_data(stream, body, end_stream="trailers" not in way)
    if apart:
        yield connection.data_to_send()
    if "trailers" in way:
        connection.send_headers(stream, [("x-sum", "1"), ("grpc-status", "0")], end_stream=True)
    yield connection.data_to_send()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    folder = tmp_path_factory.mktemp("http2")
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    context.set_alpn_protocols(["h2"])
    authority.cert_pem.write_to_path(folder / "ca.pem")
    with listener(lambda client: _serve(context, client)) as port:
        account = f"{{id: one, provider: generic, base_url: 'https://127.0.0.1:{port}', key: sk-one-0123456789abcdef}}"
        settings = (
            f"state: {folder}/state\njournal: {{path: {folder}/journal.jsonl}}\ngrace_period: 1s\n"
            f"accounts: [{account}]\n"
        )
        trust = ("--set", f"ssl_verify_upstream_trusted_ca={folder / 'ca.pem'}")
        with proxy(folder, settings, *trust, mode="reverse:http://patchbay.invalid") as started:
            yield started


WAYS = ("interim", "interim, apart", "trailers", "trailers, apart", "interim, trailers", "events, trailers, apart",
        "events, interim")  # fmt: skip


class _OnlyHttp2(ssl.SSLContext):
    """httpx offers both versions in any case."""

    def set_alpn_protocols(self, alpn_protocols: Iterable[str]) -> None:
        super().set_alpn_protocols(["h2"])


@pytest.mark.parametrize("way", WAYS)
def test_interim_heads_and_trailers_of_http_2_cost_no_answer(running: Proxy, way: str) -> None:
    """P3, R16: the client gets the 200 and all of its body, and the next request is served as well."""
    trusting = _OnlyHttp2(ssl.PROTOCOL_TLS_CLIENT)
    trusting.load_verify_locations(running.folder / "mitmproxy" / "mitmproxy-ca-cert.pem")
    with httpx.Client(http1=False, http2=True, verify=trusting, trust_env=False, timeout=30) as client:
        for _ in range(2):
            answer = client.post(
                running.url.replace("http:", "https:") + "/v1/chat/completions",
                json={"model": "m", "messages": [{"role": "user", "content": way}], "stream": "events" in way},
                headers={"x-way": way, "authorization": "Bearer c"},
            )
            assert answer.http_version == "HTTP/2"
            assert answer.status_code == 200 and answer.content == (EVENTS if "events" in way else GOOD)
    assert "crashed" not in running.log and "Traceback" not in running.log
    assert all(json.loads(line)["event_type"] == "chat_completion_success" for line in running.journal.splitlines())
