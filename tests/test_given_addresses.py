"""Which account and which client an address belongs to that an answer gave."""

from __future__ import annotations

from dataclasses import replace

from patchbay import dialects
from patchbay.router import Router
from patchbay.values.http import Client, PriorServing, Request

from .test_router import UPSTREAM, account, begun, opened, request, routed, router


def test_an_address_is_known_by_its_query_and_to_no_generation() -> None:
    of = router()
    assert of.addresses.client_of("/upload/1", 0.0) is None and of.addresses.client_of("/upload/1?id=2", 0.0) is None
    assert not of.addresses.knows(opened(of, request()), 0.0)
    assert of.addresses.map_of(opened(of, request())) is None


def test_addresses_go_by_the_path_here_and_the_path_upstream() -> None:
    of = router(account("a", base_path="/base"))
    exchange = opened(of, replace(request(path="/v1/files"), address="http://here"))
    lease = routed(of, exchange)

    found = of.addresses.map_of(exchange)

    assert found is not None
    assert (found.account, found.origin, found.address) == (lease.account, lease.origin, "http://here")
    assert (found.asked, found.went, found.anywhere) == ("/v1/files", lease.edit.path, False)
    found.given.append("/v1/files/1?sig=2")
    of.addresses.note(exchange, found, 0.0)
    assert found.given == []


def given_file() -> tuple[Router, Request]:
    """Return a router whose account `b` gave an address to a client, and the request of that client for it."""
    of = router(account("a", "openai", origin=UPSTREAM), account("b", "openai", origin=UPSTREAM))
    client = Client(scope=b"s" * 16, key=b"k" * 16, may_pin=True)
    exchange = opened(of, replace(request(None, "/v1/files", x_patchbay_account="b"), client=client))
    routed(of, exchange)
    found = of.addresses.map_of(exchange)
    assert found is not None
    found.given.append("/upload/1?upload_id=0123456789abcdef")
    of.addresses.note(exchange, found, 0.0)
    asked = replace(request({}, "/upload/1?upload_id=0123456789abcdef"), method="PUT", client=client)
    return of, replace(asked, endpoint=dialects.endpoint("PUT", "/upload/1"))


def test_an_address_that_was_given_leads_to_its_account_and_its_client() -> None:
    of, asked = given_file()
    exchange = opened(of, asked, 1.0)

    assert of.addresses.knows(exchange, 1.0)
    assert exchange.identity.owner == frozenset({"b"})
    assert of.addresses.client_of(asked.path, 1.0) == Client(scope=b"s" * 16, key=b"k" * 16)
    assert of.addresses.client_of("/upload/2?upload_id=fedcba9876543210", 1.0) is None


def test_addresses_of_a_replayed_answer_are_given_to_no_client() -> None:
    of = router()
    exchange = begun(of, replace(request(None, "/v1/files"), replay=PriorServing()))
    found = of.addresses.map_of(exchange)
    assert found is not None
    found.given.append("/files/1?sig=2")
    of.addresses.note(exchange, found, 0.0)

    assert found.given == ["/files/1?sig=2"]
