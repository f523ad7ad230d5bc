"""Headers, origins, clients and endpoints: how each is looked up, shown and compared."""

from __future__ import annotations

import pytest

from patchbay.body import Body
from patchbay.values.http import DEFAULT_PORTS, Client, Endpoint, Headers, Origin, PriorServing, Request, is_loopback

FIELDS = (("Accept", "a"), ("x-Key", "sk-hidden"), ("ACCEPT", "b"))


def test_headers_are_found_in_any_case_and_kept_in_wire_order():
    headers = Headers(iter(FIELDS))
    assert (headers.get("accept"), headers.all("accept"), headers.get("x-key")) == ("a", ("a", "b"), "sk-hidden")
    assert (headers.get("none"), headers.get("none", "x"), headers.all("none")) == ("", "x", ())
    assert (list(headers), len(headers), headers.fields, list(headers.names())) == (
        list(FIELDS), 3, FIELDS, ["accept", "x-key"],
    )  # fmt: skip
    assert "accept" in headers and "Accept" not in headers and "none" not in headers
    assert repr(headers) == "Headers(accept, x-key)"
    assert len(Headers()) == 0


def test_an_origin_is_written_with_its_port_and_an_ipv6_address_in_brackets():
    assert str(Origin("https", "u.example", 443)) == "https://u.example:443"
    assert str(Origin("http", "::1", 8080)) == "http://[::1]:8080"
    assert DEFAULT_PORTS == {"http": 80, "https": 443}


@pytest.mark.parametrize(
    ("host", "loopback"),
    [("localhost", True), ("a.localhost", True), ("127.0.0.1", True), ("127.9.9.9", True), ("::1", True),
     ("10.0.0.1", False), ("::2", False), ("localhost.example", False), ("alocalhost", False), ("", False)],
)  # fmt: skip
def test_a_loopback_host_is_known_by_name_or_address(host, loopback):
    assert is_loopback(host) is loopback


@pytest.mark.parametrize(
    ("providers", "may"),
    [((), True), (("openai",), True), (("open*",), True), (("x", "openai"), True), (("OpenAI",), False),
     (("open",), False)],
)  # fmt: skip
def test_a_client_may_use_the_providers_that_its_patterns_name(providers, may):
    assert Client(providers=providers).may_use("openai") is may


def test_a_client_that_no_setting_names_is_the_local_scope_with_every_right_but_to_pin():
    client = Client()
    assert (client.scope, client.name, client.may_pin, client.key) == (b"", "local", False, b"")
    assert (client.pools, client.providers, client.models) == ((), (), ())
    assert "sk" not in repr(Client(key=b"sk"))


@pytest.mark.parametrize(
    ("endpoint", "source"),
    [
        (Endpoint(kind="generation"), "model"),
        (Endpoint(kind="resource"), "nothing"),
        (Endpoint(kind="local"), "unread"),
        (Endpoint(), "unread"),
        (Endpoint(kind="generation", source="batch"), "batch"),
    ],
)
def test_where_an_endpoint_names_its_models_is_stated_or_follows_from_its_kind(endpoint, source):
    assert endpoint.model_source == source


def test_a_path_of_no_dialect_and_a_request_that_is_no_replay_say_nothing():
    endpoint, prior = Endpoint(), PriorServing()
    assert (endpoint.dialect, endpoint.family, endpoint.kind, endpoint.suffix, endpoint.model) == (
        "", "", "other", "", "",
    )  # fmt: skip
    assert endpoint.stream is prior.edited is False
    assert (prior.account, prior.affinity, prior.thread, prior.tier, prior.session_id, prior.digest) == ("",) * 6
    assert prior.slot is None
    request = Request("GET", "/", Headers(), Body(b""), endpoint, Origin("https", "u", 443))
    assert (request.client, request.replay, request.address, request.credential_form) == (Client(), None, "", "")
