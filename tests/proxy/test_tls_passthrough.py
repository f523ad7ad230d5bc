"""Which tunnels are opened, and what goes through a proxy behind us."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from mitmproxy.connection import Server
from mitmproxy.proxy import context
from mitmproxy.proxy.layers import TCPLayer
from mitmproxy.proxy.mode_specs import ProxyMode
from mitmproxy.test import tflow

from patchbay.proxy import client_connections, tls_passthrough
from patchbay.proxy.upstream_request import check_destination
from patchbay.settings import reader
from patchbay.settings.settings import Config
from patchbay.values.account import Account
from patchbay.values.http import Origin

SETTINGS = """
other_traffic: {other}
accounts:
  - {{id: a, provider: openai, key: example-a}}
  - {{id: b, provider: openai_compatible, base_url: "https://llm.example:8443/v1", key: example-b}}
  - {{id: c, provider: anthropic, key: example-c, enabled: false}}
  - {{id: d, provider: generic, base_url: reverse, key: example-d}}
  - {{id: e, provider: ollama, key: example-e}}
"""


def settings(other: str = "pass") -> Config:
    return reader.load(SETTINGS.format(other=other), "c")


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        (("api.openai.com", 443), True),
        (("API.OpenAI.com", 443), True),
        (("llm.example", 8443), True),
        (("localhost", 11434), True),
        (("api.openai.com", 8443), False),
        (("llm.example", 443), False),
        (("api.openai.com.evil.example", 443), False),
        (("api.anthropic.com", 443), False),  # its account is disabled
        (("chatgpt.com", 443), False),
        (("1.2.3.4", 443), False),
        (None, False),
    ],
)
def test_only_origins_of_enabled_accounts_are_ours(address: tuple[str, int] | None, expected: bool) -> None:
    assert tls_passthrough.ours(settings(), address) == expected


@pytest.mark.parametrize(
    ("other", "host", "status"),
    [("pass", "example.com", None), ("refuse", "example.com", 403), ("refuse", "api.openai.com", None)],
)
def test_a_tunnel_is_refused_where_nothing_else_may_pass(other: str, host: str, status: int | None) -> None:
    flow = tflow.tflow()
    flow.request.host, flow.request.port = host, 443

    answer = tls_passthrough.refusal(flow, settings(other))

    assert (answer.status_code if answer else None) == status


def check(account: Account, origin: Origin, via: str) -> None:
    server = Server(address=(origin.host, origin.port))
    server.tls = origin.scheme == "https"
    server.via = ("http", (via, 3128)) if via else None
    check_destination(account, origin, server, verified=True)


@pytest.mark.parametrize("via", ["", "127.0.0.1", "localhost"])
def test_a_key_may_go_in_plain_http_through_a_proxy_on_this_machine(via: str) -> None:
    local = settings().accounts[4]

    check(local, Origin("http", "localhost", 11434), via)


def test_a_key_does_not_go_in_plain_http_to_a_proxy_elsewhere() -> None:
    local, main = settings().accounts[4], settings().accounts[0]

    check(main, Origin("https", "api.openai.com", 443), "proxy.example")
    with pytest.raises(PermissionError, match="to a proxy beyond this machine"):
        check(local, Origin("http", "localhost", 11434), "proxy.example")


def running(monkeypatch: pytest.MonkeyPatch, *modes: str) -> None:
    """Let `tunnels` find a proxy server in these modes, without a client."""
    servers = [SimpleNamespace(mode=ProxyMode.parse(mode)) for mode in modes]
    addons = SimpleNamespace(get=lambda name: SimpleNamespace(connections={}, servers=servers))
    monkeypatch.setattr(client_connections, "ctx", SimpleNamespace(master=SimpleNamespace(addons=addons)))


def test_a_client_that_is_gone_is_let_be(monkeypatch: pytest.MonkeyPatch) -> None:
    running(monkeypatch)

    tls_passthrough.widen(tflow.tclient_conn())


@pytest.mark.parametrize(
    ("mode", "warned"),
    [("reverse:http://patchbay.invalid", True), ("reverse:https://api.openai.com", False), ("regular", False)],
)
def test_services_that_share_one_port_unawares_are_warned_of(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, mode: str, warned: bool
) -> None:
    running(monkeypatch, mode)

    tls_passthrough.warn(settings())

    assert ("a and b and e serve every openai model" in caplog.text) == warned
    assert bool(caplog.records) == warned


@pytest.mark.parametrize(
    ("mode", "address", "layered", "shadow", "unread"),
    [
        ("regular", ("api.openai.com", 443), True, False, True),
        ("regular", ("example.com", 443), True, False, False),
        ("regular", ("api.openai.com", 443), False, False, False),
        ("regular", ("api.openai.com", 443), True, True, False),
        ("reverse:https://example.com", ("example.com", 443), True, False, True),
        ("reverse:tcp://example.com:443", ("example.com", 443), True, False, False),
    ],
)
def test_bytes_that_are_not_read_do_not_pass_to_a_provider(
    mode: str, address: tuple[str, int], layered: bool, shadow: bool, unread: bool
) -> None:
    """The client's own key may be among them. A layer may stand below others."""
    at: Any = context.Context(tflow.tclient_conn(), SimpleNamespace())  # type: ignore[arg-type]
    at.client.proxy_mode, at.server.address = ProxyMode.parse(mode), address
    found = TCPLayer(at) if layered else None
    decided: Any = SimpleNamespace(context=at, layer=SimpleNamespace(child_layer=found))
    config = replace(settings(), mode="shadow") if shadow else settings()

    assert tls_passthrough.passes_unread(decided, config) is unread
