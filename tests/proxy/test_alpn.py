"""Which protocol a client gets that offers several, before any upstream is connected."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from mitmproxy.connection import Server
from mitmproxy.proxy import mode_specs

from patchbay.proxy import alpn
from patchbay.proxy.alpn import Http1Upstreams

HERE = ("api.example.com", 443)


def hello(
    offers: tuple[bytes, ...] = (b"h2", b"http/1.1"), address: tuple[str, int] | None = HERE, mode: str = "regular"
) -> Any:
    client = SimpleNamespace(alpn="unset", proxy_mode=mode_specs.ProxyMode.parse(mode))
    return SimpleNamespace(
        context=SimpleNamespace(client=client, server=SimpleNamespace(address=address)),
        client_hello=SimpleNamespace(alpn_protocols=offers),
    )


def server(chosen: bytes, offers: tuple[bytes, ...] = (b"h2", b"http/1.1"), address: Any = HERE) -> Server:
    made = Server(address=address)
    made.alpn, made.alpn_offers = chosen, offers
    return made


@pytest.fixture
def upstreams(monkeypatch: pytest.MonkeyPatch) -> Http1Upstreams:
    monkeypatch.setattr(alpn, "ctx", SimpleNamespace(options=SimpleNamespace(connection_strategy="lazy", http2=True)))
    return Http1Upstreams()


def choice(upstreams: Http1Upstreams, *args: Any, **more: Any) -> Any:
    asked = hello(*args, **more)
    upstreams.choose(asked)
    return asked.context.client.alpn


def test_a_client_that_offers_http2_gets_it(upstreams: Http1Upstreams) -> None:
    assert choice(upstreams) == b"h2"


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"offers": (b"http/1.1",)}, "it offers no HTTP/2"),
        ({"address": None}, "the upstream is not known"),
        ({"mode": "reverse:https://patchbay.invalid"}, "any account may serve it"),
    ],
)
def test_else_its_first_offer_holds(upstreams: Http1Upstreams, given: dict[str, Any], why: str) -> None:
    assert choice(upstreams, **given) == "unset", why


@pytest.mark.parametrize(("strategy", "http2"), [("eager", True), ("lazy", False)])
def test_mitmproxys_own_choice_holds_where_it_has_made_one(
    upstreams: Http1Upstreams, monkeypatch: pytest.MonkeyPatch, strategy: str, http2: bool
) -> None:
    options = SimpleNamespace(connection_strategy=strategy, http2=http2)
    monkeypatch.setattr(alpn, "ctx", SimpleNamespace(options=options))

    assert choice(upstreams) == "unset"


def test_a_reverse_listener_with_an_upstream_of_its_own_offers_http2(upstreams: Http1Upstreams) -> None:
    assert choice(upstreams, mode="reverse:https://api.example.com") == b"h2"


def test_an_upstream_that_chose_http1_has_clients_of_http1(upstreams: Http1Upstreams) -> None:
    upstreams.record(server(b"http/1.1"))
    assert choice(upstreams) is None
    assert choice(upstreams, address=("other.example", 443)) == b"h2"
    upstreams.record(server(b"h2"))
    assert choice(upstreams) == b"h2"


@pytest.mark.parametrize("told", [server(b"http/1.1", offers=(b"http/1.1",)), server(b"http/1.1", address=None)])
def test_an_upstream_that_was_not_offered_http2_has_chosen_nothing(upstreams: Http1Upstreams, told: Server) -> None:
    upstreams.record(told)

    assert choice(upstreams) == b"h2"


def test_as_many_upstreams_are_remembered_as_may_be(upstreams: Http1Upstreams) -> None:
    for number in range(alpn.REMEMBERED + 1):
        upstreams.record(server(b"http/1.1", address=(f"u{number}.example", 443)))

    assert choice(upstreams, address=("u0.example", 443)) == b"h2"
    assert choice(upstreams, address=("u1.example", 443)) is None
    assert choice(upstreams, address=(f"u{alpn.REMEMBERED}.example", 443)) is None
