"""Which requests of one client connection share an upstream connection (docs/providers.md)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import httpx
import pytest

from .harness import Proxy, generic_config, proxy
from .test_http2_faults import client
from .test_no_answer import CHAT, GOOD

REQUESTS = 4


class _Answers(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    opened = 0  # connections

    def setup(self) -> None:
        type(self).opened += 1
        super().setup()

    def log_message(self, format: str, *args: object) -> None: ...

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(GOOD)))
        self.end_headers()
        self.wfile.write(GOOD)


@contextmanager
def _upstream() -> Iterator[tuple[str, type[_Answers]]]:
    handler = type("Answers", (_Answers,), {"opened": 0})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}", handler
        finally:
            server.shutdown()
            thread.join()


async def _ask_in_turn(running: Proxy, *, over_http2: bool) -> set[str]:
    plain = httpx.AsyncClient(base_url=running.url, timeout=30, trust_env=False)
    async with client(running) if over_http2 else plain as asking:
        body = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
        answers = [await asking.post(CHAT, content=json.dumps(body)) for _ in range(REQUESTS)]
    assert [answer.status_code for answer in answers] == [200] * REQUESTS
    return {answer.http_version for answer in answers}


@pytest.mark.parametrize(("over_http2", "opened"), [(False, 1), (True, REQUESTS)])
def test_from_http2_to_http1_each_request_opens_a_connection(tmp_path: Path, over_http2: bool, opened: int) -> None:
    with _upstream() as (url, handler):
        settings = generic_config(tmp_path, {"one": "sk-one-0123456789abcdef"})
        with proxy(tmp_path, settings, mode=f"reverse:{url}") as running:
            assert asyncio.run(_ask_in_turn(running, over_http2=over_http2)) == {"HTTP/2" if over_http2 else "HTTP/1.1"}
        assert handler.opened == opened
