"""Which tunnels are opened, and what goes through a proxy behind us."""

from __future__ import annotations

import logging
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from mitmproxy.connection import Server
from mitmproxy.proxy import context
from mitmproxy.proxy.layers import TCPLayer
from mitmproxy.proxy.layers.http import HttpLayer, HttpStream
from mitmproxy.proxy.mode_specs import ProxyMode
from mitmproxy.test import tflow

from patchbay.proxy import client_connections, tls_passthrough
from patchbay.proxy.upstream_layer import Closed, PatchbayLayer
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

    answer = tls_passthrough.error_response(flow, settings(other))

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
    connections: dict[str, object] = {}
    addons = SimpleNamespace(get=lambda name: SimpleNamespace(connections=connections, servers=servers))
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


# -- what reads a tunnel -----------------------------------------------------------------------------------------------


def _tunnel(mode: str, address: tuple[object, ...] | None, *, above: bool = True, decided: bool = False) -> Any:
    """Return the layer to be decided of a connection to *address*, inside the CONNECT of an HTTP stream or not."""
    at: Any = context.Context(tflow.tclient_conn(), SimpleNamespace())  # type: ignore[arg-type]
    at.client.proxy_mode, at.server.address = ProxyMode.parse(mode), address
    at.layers = [object.__new__(HttpStream)] if above else []
    return SimpleNamespace(context=at, layer=object() if decided else None)


@pytest.fixture
def master(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Stand in for mitmproxy's own choice, a TCP layer; return what it was asked to decide."""
    asked: list[Any] = []

    def choose(decided: Any) -> None:
        asked.append(decided)
        decided.layer = TCPLayer(decided.context)

    addons = SimpleNamespace(get=lambda name: SimpleNamespace(next_layer=choose) if name == "nextlayer" else None)
    options = SimpleNamespace(show_ignored_hosts=False)
    made = SimpleNamespace(master=SimpleNamespace(addons=addons), options=options)
    monkeypatch.setattr(tls_passthrough, "ctx", made)
    return asked


@pytest.mark.parametrize("other", ["pass", "refuse"])
@pytest.mark.parametrize(
    ("mode", "address", "above", "decided", "passes"),
    [
        ("regular", ("example.com", 443), True, False, True),
        ("upstream:http://proxy.example:3128", ("example.com", 443), True, False, True),
        ("socks5", ("example.com", 443), False, False, True),
        ("regular", ("example.com", 443), False, False, False),  # the request before the tunnel
        ("reverse:https://example.com", ("example.com", 443), True, False, False),
        ("regular", ("api.openai.com", 443), True, False, False),
        ("regular", ("example.com", 443), True, True, False),
        ("regular", None, True, False, True),
        ("regular", ("example.com", "443"), True, False, True),
        ("regular", ("api.openai.com", 443, 0, 0), True, False, False),  # an IPv6 address has four members
    ],
)
def test_a_tunnel_to_another_host_is_not_opened(
    master: list[Any],
    mode: str,
    address: tuple[object, ...] | None,
    above: bool,
    decided: bool,
    passes: bool,
    other: str,
) -> None:
    at = _tunnel(mode, address, above=above, decided=decided)
    before = at.layer

    assert tls_passthrough.decide(at, settings(other)) is passes
    if not passes:
        assert at.layer is before
    elif other == "refuse":
        assert isinstance(at.layer, Closed)
    else:
        assert isinstance(at.layer, TCPLayer)


@pytest.mark.parametrize("shown", [False, True])
def test_a_tunnel_that_passes_is_a_flow_where_ignored_hosts_are_shown(master: list[Any], shown: bool) -> None:
    tls_passthrough.ctx.options.show_ignored_hosts = shown
    at = _tunnel("regular", ("example.com", 443))
    tls_passthrough.decide(at, settings())

    assert (at.layer.flow is not None) is shown


@pytest.mark.parametrize(
    ("host", "asks", "layer", "told"),
    [("example.com", False, TCPLayer, False), ("api.openai.com", True, Closed, True)],
)
def test_mitmproxy_decides_about_our_tunnels_and_none_of_them_passes_unread(
    master: list[Any], caplog: pytest.LogCaptureFixture, host: str, asks: bool, layer: type, told: bool
) -> None:
    at = _tunnel("regular", (host, 443))
    at.context.layers = [object.__new__(HttpStream), object.__new__(HttpLayer)]
    monkeyed = at.context.layers[1]
    monkeyed.streams = {}
    with caplog.at_level(logging.INFO):
        tls_passthrough.next_layer(at, settings())

    assert (master == [at], type(at.layer)) == (asks, layer)
    assert ("is not read as HTTP" in caplog.text) is told
    assert isinstance(monkeyed, PatchbayLayer) is asks, "an HTTP layer becomes ours"


@pytest.mark.parametrize("scheme", ["http", "https", "http3"])
def test_a_reverse_listener_for_http_lets_nothing_pass_unread(scheme: str) -> None:
    at = _tunnel(f"reverse:{scheme}://example.com", ("example.com", 443))
    at.layer = TCPLayer(at.context)

    assert tls_passthrough.passes_unread(at, settings())


@pytest.mark.parametrize(
    ("address", "accounts", "expected"),
    [
        (("api.openai.com", 443), "accounts: []", True),
        (("localhost", 11434), "accounts: []", True),
        (("example.com", 443), "", True),
        (("example.com", 443), "accounts: [{id: a, provider: openai, key: example-a, enabled: false}]", True),
        (("api.anthropic.com", 443), "accounts: [{id: a, provider: openai, key: example-a}]", False),
    ],
)
def test_shadow_without_an_account_observes_every_host(address: tuple[str, int], accounts: str, expected: bool) -> None:
    assert tls_passthrough.ours(reader.load(f"mode: shadow\n{accounts}", "c"), address) is expected


@pytest.mark.parametrize(("mode", "recorded"), [("shadow", False), ("serve", True)])
def test_bytes_that_are_no_http_are_not_recorded_by_a_proxy_that_only_looks(
    monkeypatch: pytest.MonkeyPatch, mode: str, recorded: bool
) -> None:
    at = _tunnel("regular", ("example.com", 443))
    config = reader.load(f"mode: {mode}\naccounts: [{{id: a, provider: openai, key: example-a, enabled: false}}]", "c")
    raw = TCPLayer(at.context)
    chosen = SimpleNamespace(next_layer=lambda decided: setattr(decided, "layer", raw))
    monkeypatch.setattr(tls_passthrough, "decide", lambda *_: False)
    monkeypatch.setattr(tls_passthrough.upstream_layer, "install", lambda _: None)
    monkeypatch.setattr(
        tls_passthrough, "ctx", SimpleNamespace(master=SimpleNamespace(addons=SimpleNamespace(get=lambda _: chosen)))
    )
    tls_passthrough.next_layer(at, config)

    assert at.layer is raw and (raw.flow is not None) is recorded


def test_a_client_gets_as_many_upstream_connections_as_it_has_streams(monkeypatch: pytest.MonkeyPatch) -> None:
    client, handler = tflow.tclient_conn(), SimpleNamespace(max_conns={})
    running(monkeypatch)
    client_connections.proxyserver().connections[client.id] = handler
    tls_passthrough.widen(client)
    one, other = handler.max_conns[("a", 1)], handler.max_conns[("b", 1)]

    assert one is not other and handler.max_conns[("a", 1)] is one
    assert one._value == tls_passthrough.UPSTREAM_CONNECTIONS == 256


def test_what_mitmproxy_reads_is_left_to_it(master: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    at, chosen = _tunnel("regular", ("api.openai.com", 443)), SimpleNamespace()
    choose = SimpleNamespace(next_layer=lambda decided: setattr(decided, "layer", chosen))
    monkeypatch.setattr(tls_passthrough.ctx.master.addons, "get", lambda name: choose)
    tls_passthrough.next_layer(at, settings())

    assert at.layer is chosen
