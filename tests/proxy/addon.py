"""Patchbay with its settings loaded, and flows for its hooks, called as mitmproxy would call them. Nothing listens."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable, Coroutine, Iterator
from functools import cache, wraps
from pathlib import Path
from typing import Any
from unittest.mock import patch

from mitmproxy.addons.next_layer import NextLayer
from mitmproxy.addons.proxyserver import Proxyserver
from mitmproxy.addons.readfile import ReadFile
from mitmproxy.http import Headers, HTTPFlow, Response
from mitmproxy.proxy.mode_specs import ProxyMode
from mitmproxy.test import taddons, tflow

from patchbay.proxy import compatibility
from patchbay.proxy.exchange_driver import ExchangeDriver
from patchbay.proxy.hooks import Patchbay
from patchbay.proxy.in_flight import driver_of
from patchbay.proxy.lifecycle import Service

_CHECK, _CHECKED = compatibility.check, cache(compatibility.check)  # of mitmproxy alone: once is enough for all tests
CLIENT_KEY = "sk-of-the-client-0123456789"
ACCOUNTS = """
accounts:
  - {id: one, provider: generic, base_url: "http://127.0.0.1:9", key: sk-account-one-0123456789}
  - {id: two, provider: generic, base_url: "http://127.0.0.1:9", key: sk-account-two-0123456789}
"""


def in_loop[**P](test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Run the coroutine *test* in a loop of its own."""

    @wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        asyncio.run(test(*args, **kwargs))

    return run


@contextlib.contextmanager
def patchbay(folder: Path, settings: str = ACCOUNTS, **options: Any) -> Iterator[Patchbay]:
    """Load the addon with *settings* in *folder*, inside a loop; *options* are mitmproxy's."""
    file = folder / "config.yaml"
    file.write_text(f"state: {folder / 'state'}\n{settings}")
    made = Patchbay()
    checks = _CHECKED if compatibility.check is _CHECK else compatibility.check
    with (
        patch.object(compatibility, "check", checks),
        taddons.context(Proxyserver(), NextLayer(), ReadFile(), made) as context,
    ):
        try:
            context.options.update(**{"mode": ["regular"], "patchbay_config": str(file)} | options)
            yield made
        finally:
            made.done()


@contextlib.contextmanager
def patchbay_of_a_fixture(folder: Path) -> Iterator[Patchbay]:
    """As `patchbay`, outside a loop."""
    with asyncio.Runner() as runner, contextlib.ExitStack() as stack:

        async def enter() -> Patchbay:
            return stack.enter_context(patchbay(folder))

        async def leave() -> None:
            stack.close()

        yield runner.run(enter())
        runner.run(leave())


def service(of: Patchbay) -> Service:
    assert of._lifecycle.service is not None
    return of._lifecycle.service


def driver(flow: HTTPFlow) -> ExchangeDriver:
    found = driver_of(flow)
    assert found is not None
    return found


def flow(path: str = "/v1/chat/completions", body: object = None, *, mode: str = "regular", **headers: str) -> HTTPFlow:
    """Return a request that has come in, for the accounts' host; its client has a key of its own."""
    made = tflow.tflow()
    made.live = True
    made.client_conn.proxy_mode = ProxyMode.parse(mode)
    made.client_conn.peername, made.client_conn.sockname = ("127.0.0.1", 40000), ("127.0.0.1", 8080)
    request = made.request
    request.method, request.scheme, request.host, request.port, request.path = "POST", "http", "127.0.0.1", 9, path
    fields = {"host": "127.0.0.1:9", "authorization": f"Bearer {CLIENT_KEY}", "content-type": "application/json"}
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    request.headers = Headers()
    for name, value in (fields | named).items():
        request.headers[name] = value
    said = {"model": "m", "messages": [{"role": "user", "content": "hi"}]} if body is None else body
    request.raw_content = said if isinstance(said, bytes) else json.dumps(said).encode()
    request.headers["content-length"] = str(len(request.raw_content))
    return made


async def ask(of: Patchbay, asked: HTTPFlow) -> HTTPFlow:
    """Let *asked* pass the hooks of a request."""
    await of.requestheaders(asked)
    if asked.response is None:
        await of.request(asked)
    return asked


def answer(to: HTTPFlow, body: bytes = b'{"id": "x"}', status: int = 200, **headers: str) -> Response:
    """Put an upstream's answer on *to*."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    to.response = Response.make(status, body, {"content-type": "application/json"} | named)
    return to.response


def error_of(asked: HTTPFlow) -> tuple[int, str]:
    """Return the status of the answer to *asked* and what its body says, as text."""
    assert asked.response is not None
    return asked.response.status_code, asked.response.text or ""
