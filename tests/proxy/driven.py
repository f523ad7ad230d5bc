"""A driver with a real router and real credentials behind it, and the flow that it is attached to."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from random import Random
from typing import Any

from mitmproxy.connection import Server
from mitmproxy.http import Headers as FlowHeaders, HTTPFlow
from mitmproxy.test import tflow

from patchbay import dialects
from patchbay.accounts.lease import Lease
from patchbay.body import Body
from patchbay.credential_places import KeyHeaders
from patchbay.exchange import Exchange
from patchbay.proxy.credentials import Credentials
from patchbay.proxy.exchange_driver import DriverContext, ExchangeDriver, RequestTarget
from patchbay.router import Router
from patchbay.settings import reader
from patchbay.values.decision import Decision, Finding
from patchbay.values.http import Client, Request

KEY = "sk-real-0123456789abcdefghij"
CLIENT_KEY = "sk-client-0123456789abcdefgh"
BASE = "https://api.example.com"


class Driven:
    """One request on its way to account `main`, up to the point where it is sent."""

    def __init__(
        self,
        settings: str = "provider: openai",
        path: str = "/v1/chat/completions",
        headers: Iterable[tuple[str, str]] = (),
        body: bytes = b'{"model": "m", "messages": [{"role": "user", "content": "hi"}]}',
        method: str = "POST",
        key: str = KEY,
        more: str = "",
    ) -> None:
        text = f"{more}\naccounts:\n  - {{id: main, key: {key}, {settings}}}\n"
        self.router = Router(reader.load(text, "config.yaml"), b"k" * 32, Random(1), Random(2).randbytes)
        self.credentials = Credentials()
        account = self.router.config.accounts[0]
        for secret in account.secrets:
            asyncio.run(self.credentials.ready(secret))
        self.alarms: list[Finding] = []
        self.decisions: list[Decision] = []
        self.verified = True
        self.flow: HTTPFlow = tflow.tflow()
        origin = account.origin
        assert origin is not None
        request = self.flow.request
        request.method, request.path, request.content = method, path, body
        request.http_version, request.authority = "HTTP/1.1", ""
        request.scheme, request.host, request.port = origin.scheme, origin.host, origin.port
        given = ((name.encode(), value.encode()) for name, value in headers)
        request.headers = FlowHeaders(((b"Host", origin.host.encode()), *given))
        self.endpoint = dialects.endpoint(method, path.partition("?")[0])
        around = DriverContext(
            self.router,
            self.credentials,
            lambda: self.verified,
            self._alarm,
            lambda flow, timer: None,
            lambda flow, exchange: None,
            lambda flow, exchange, decision: self.decisions.append(decision),
        )
        self.places = KeyHeaders(self.router.config.credential_headers)
        self.driver = ExchangeDriver(self.flow, around, self.endpoint.dialect, self.places)
        vars(self.driver)["flow of the test"] = self.flow  # a test may keep the driver alone
        self.driver.target = RequestTarget(self.endpoint, origin, "bearer")
        self.server = Server(address=(origin.host, origin.port))
        self.server.tls = origin.scheme == "https"

    def _alarm(self, flow: HTTPFlow, exchange: Exchange) -> None:
        assert (flow, exchange) == (self.flow, self.driver.exchange)
        self.alarms = [each for each in exchange.verdict.findings if each.strength == "proof"]

    def open(self, form: str = "bearer", **more: Any) -> Exchange:
        """Open the exchange and give the driver its lease."""
        request = Request(
            self.flow.request.method,
            self.flow.request.path,
            self.driver.request_headers(),
            Body(self.flow.request.raw_content),
            self.endpoint,
            self.driver.target.destination,
            Client(),
            credential_form=form,
            **more,
        )
        opened = self.router.open(request, 0.0)
        assert isinstance(opened, Exchange), opened
        lease = self.router.next(opened, 0.0)
        assert isinstance(lease, Lease), lease
        self.driver.exchange, self.driver.lease = opened, lease
        return opened

    def sent(self, form: str = "bearer") -> Any:
        """Return the copy that goes on the wire."""
        if self.driver.exchange is None:
            self.open(form)
        return self.driver.wire_request(self.flow.request, self.server)
